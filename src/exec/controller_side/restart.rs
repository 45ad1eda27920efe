//! Phase `Restarting`: lets paused clients go on, or replaces the device plugin's pod (C6), and waits until the node advertises what the board has (C7).

use super::{Asked, OperationMachine, Read, Round, Todo};
use crate::exec::layout::{advertises, reported};
use crate::exec::mutant::{self, Mutant};
use crate::exec::port::ClusterRequest;
use crate::exec::record::{AgentPhase, MigNode, Operation, Outcome, Phase};
use crate::exec::view::{NodeView, PodView};

impl OperationMachine {
    pub(super) fn restart(&mut self, round: &Round<'_>) -> Read<Todo> {
        let &Round { record, operation, .. } = round;
        let node = self.node_of(round)?;
        self.resume_clients(node)?;
        let pods = self.pods_of(round)?;
        let old = operation.plugin.as_ref().map(|plugin| plugin.uid.as_str());
        let lingering = pods.iter().find(|pod| Some(pod.pod.uid.as_str()) == old && !pod.finished);
        if let Some(pod) = lingering.filter(|pod| !pod.deleting) {
            return Ok(self.ask(Asked::Plugin, ClusterRequest::DeletePluginPod { pod: pod.pod.clone() }));
        }
        let agent = record.status.operation.as_ref().filter(|report| report.id == self.id).map(|report| report.phase);
        if agent == Some(AgentPhase::Degraded) {
            return Ok(self.degrade(record, "the agent could not keep the layout"));
        }
        let serving = (lingering.is_none() && successor(pods, old)) || mutant::on(Mutant(10));
        let unchanged = operation.outcome == Some(Outcome::Aborted) || operation.only_hands_over();
        let applied = agent == Some(AgentPhase::Applied) || unchanged;
        if serving
            && applied
            && self.steady(node, record)
            && let Some(outcome) = reached(operation, record)
        {
            return Ok(self.write(record, |operation| {
                operation.phase = Phase::Releasing;
                operation.outcome = Some(outcome);
            }));
        }
        self.wait_for_plugin(round, serving)
    }

    /// Whether the node has advertised the layout on two of its heartbeats.
    fn steady(&mut self, node: &NodeView, record: &MigNode) -> bool {
        if mutant::on(Mutant(32)) {
            return true;
        }
        if !advertises(node, &record.status.gpus) {
            self.waits.advertised = None;
            return false;
        }
        *self.waits.advertised.get_or_insert(node.heartbeat) != node.heartbeat
    }

    /// A plugin that does not come back: the old layout once, then people.
    fn wait_for_plugin(&mut self, round: &Round<'_>, serving: bool) -> Read<Todo> {
        let &Round { record, operation, now, .. } = round;
        let over = self.under_way(now) > self.timing.operation + self.timing.plugin;
        if over || self.in_phase(now) > self.timing.plugin {
            let reason = "the device plugin does not serve the board's instances in time";
            let restored = matches!(operation.outcome, Some(Outcome::RolledBack | Outcome::Aborted));
            let restored = restored || operation.only_hands_over();
            return Ok(if over || restored { self.degrade(record, reason) } else { self.cancel(record, reason) });
        }
        let node = self.node_of(round)?;
        if node.our_taint().is_none() {
            return Ok(self.add_taint(node));
        }
        Ok(self.poll(if serving { "the node to advertise the layout" } else { "a new pod of the device plugin" }))
    }
}

/// Whether another pod of the plugin is ready.
fn successor(pods: &[PodView], old: Option<&str>) -> bool {
    let mut plugins = pods.iter().filter(|pod| pod.device_plugin && !pod.deleting && !pod.finished);
    plugins.any(|pod| pod.ready && Some(pod.pod.uid.as_str()) != old)
}

/// How the operation ends with the board as it is reported; nothing while it is neither.
fn reached(operation: &Operation, record: &MigNode) -> Option<Outcome> {
    if let Some(outcome) = operation.outcome {
        return Some(outcome);
    }
    let gpus = &record.status.gpus;
    if operation.gpus.iter().all(|gpu| reported(gpus, &gpu.uuid, &gpu.target)) {
        return Some(Outcome::Done);
    }
    operation.gpus.iter().all(|gpu| reported(gpus, &gpu.uuid, &gpu.base)).then_some(Outcome::RolledBack)
}
