//! Phases `Drained` and `Cancelling`: the agent works, the controller waits for how it went.

use super::{OperationMachine, Read, Round, Todo};
use crate::exec::ownership::foreign_owner;
use crate::exec::record::{AgentPhase, MigNode, OperationReport, Outcome, Phase};
use crate::exec::view::{NodeView, PodView};
use crate::model::PodRef;

impl OperationMachine {
    /// What the agent says of this operation.
    fn agent<'a>(&self, record: &'a MigNode) -> Option<&'a OperationReport> {
        record.status.operation.as_ref().filter(|report| report.id == self.id)
    }

    pub(super) fn drained(&mut self, round: &Round<'_>) -> Read<Todo> {
        let record = round.record;
        let node = self.node_of(round)?;
        let agent = self.agent(record);
        let working = match agent.map(|report| report.phase) {
            Some(AgentPhase::Repartitioned | AgentPhase::Applied) => return self.replace_plugin(round, None),
            Some(AgentPhase::RolledBack) => return self.replace_plugin(round, Some(Outcome::RolledBack)),
            Some(AgentPhase::Refused) => {
                let detail = agent.map(|report| report.detail.clone()).unwrap_or_default();
                return Ok(self.abort(record, &format!("the agent refused: {detail}")));
            }
            Some(AgentPhase::Degraded) => return self.degrade_as(record, node, agent),
            Some(AgentPhase::Idle) => return Ok(self.cancel(record, "the agent has given the operation up")),
            Some(AgentPhase::Accepted | AgentPhase::Executing) | None => true,
            Some(AgentPhase::RollingBack) => false,
        };
        if self.under_way(round.now) > self.timing.operation {
            return Ok(self.cancel(record, "the agent did not finish by the operation's deadline"));
        }
        if working && let Some(foreign) = foreign_owner(node) {
            return Ok(self.cancel(record, &foreign.to_string()));
        }
        self.keep_taint(round, node)?;
        Ok(self.poll("the agent to change the instances"))
    }

    pub(super) fn cancelling(&mut self, round: &Round<'_>) -> Read<Todo> {
        let record = round.record;
        let node = self.node_of(round)?;
        let agent = self.agent(record);
        match agent.map(|report| report.phase) {
            None | Some(AgentPhase::Refused | AgentPhase::Idle) => {
                let detail = round.operation.detail.clone();
                return Ok(self.abort(record, &detail));
            }
            Some(AgentPhase::RolledBack) => return self.replace_plugin(round, Some(Outcome::RolledBack)),
            Some(AgentPhase::Degraded) => return self.degrade_as(record, node, agent),
            Some(
                AgentPhase::Accepted
                | AgentPhase::Executing
                | AgentPhase::Repartitioned
                | AgentPhase::Applied
                | AgentPhase::RollingBack,
            ) => {}
        }
        if self.in_phase(round.now) > self.timing.plugin {
            self.resume_clients(node)?;
            return Ok(self.degrade(record, "the agent could not restore the layout in time"));
        }
        if node.our_taint().is_none() {
            return Ok(self.add_taint(node));
        }
        self.pause_again(round, node)?;
        Ok(self.poll("the agent to restore the instances"))
    }

    fn degrade_as(&mut self, record: &MigNode, node: &NodeView, agent: Option<&OperationReport>) -> Read<Todo> {
        self.resume_clients(node)?;
        let detail = agent.map(|report| report.detail.clone()).unwrap_or_default();
        Ok(self.degrade(record, &detail))
    }

    /// On to `Restarting`, with the plugin's pod that must go on record before it is deleted.
    pub(super) fn replace_plugin(&mut self, round: &Round<'_>, outcome: Option<Outcome>) -> Read<Todo> {
        let pods = self.pods_of(round)?;
        let plugin = current_plugin(pods);
        Ok(self.write(round.record, |operation| {
            operation.phase = Phase::Restarting;
            operation.plugin = plugin;
            operation.outcome = outcome;
        }))
    }
}

fn current_plugin(pods: &[PodView]) -> Option<PodRef> {
    let mut plugins = pods.iter().filter(|pod| pod.device_plugin && !pod.deleting && !pod.finished);
    plugins.next().map(|pod| pod.pod.clone())
}
