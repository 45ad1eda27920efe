//! Phase `Claimed`: taint (C2), settle, look afresh, and find out whether the plan still holds (C3).

use std::collections::BTreeSet;

use super::{OperationMachine, Read, Round, Todo, first};
use crate::exec::layout::reported;
use crate::exec::mutant::{self, Mutant};
use crate::exec::ownership::foreign_owner;
use crate::exec::record::{MigNode, Operation, Phase};
use crate::exec::timing::Timing;
use crate::exec::view::{NodeView, PodView};
use crate::model::Movability;

impl OperationMachine {
    pub(super) fn settle(&mut self, round: &Round<'_>) -> Read<Todo> {
        let &Round { record, operation, now, .. } = round;
        let node = self.node_of(round)?;
        if let Some(reason) = self.waits.given_up.clone().or_else(|| unfit(node)) {
            return Ok(self.abort(record, &reason));
        }
        if !operation.is_repair() && node.pause_on_record() {
            return Ok(self.abort(record, "clients of the node's GPUs are paused since an earlier operation"));
        }
        self.taint(round, node)?;
        let since = *self.waits.tainted.get_or_insert_with(|| {
            self.waits.heartbeat = record.status.heartbeat;
            now
        });
        let settled = now.since(since);
        if settled < self.timing.settle && !mutant::on(Mutant(22)) {
            return Ok(self.rest(self.timing.settle.saturating_sub(settled), &"the taint to be seen by the scheduler"));
        }
        let pods = self.pods_of(round)?;
        if !mutant::on(Mutant(22))
            && let Err(reason) = still_holds(record, operation, pods, &self.timing)
        {
            return Ok(self.abort(record, &reason));
        }
        if record.status.heartbeat == self.waits.heartbeat && !mutant::on(Mutant(22)) {
            if settled > self.timing.retry_most {
                return Ok(self.abort(record, "the agent of the node does not report any more"));
            }
            return Ok(self.poll("a report of the node's agent"));
        }
        self.judge(round)?;
        Ok(self.advance(record, Phase::Draining))
    }

    /// C2. A repair takes over whatever operation's taint it finds.
    fn taint(&mut self, round: &Round<'_>, node: &NodeView) -> Read<()> {
        if node.our_taint() == Some(self.id.0.as_str()) {
            return Ok(());
        }
        if let Some(other) = node.our_taint().filter(|_| !round.operation.is_repair()) {
            let reason = format!("the node carries our taint for another operation, {other}");
            return first(self.abort(round.record, &reason));
        }
        if self.adopted && node.our_taint().is_none() {
            return first(self.abort(round.record, "it was found claimed, but not tainted"));
        }
        if self.in_phase(round.now) > self.timing.retry_most {
            return first(self.abort(round.record, "the taint could not be placed in time"));
        }
        if self.waits.tainted.is_some() {
            return self.keep_taint(round, node);
        }
        if mutant::on(Mutant(22)) {
            let pods = self.pods_of(round)?;
            if let Err(reason) = still_holds(round.record, round.operation, pods, &self.timing) {
                return first(self.abort(round.record, &reason));
            }
        }
        first(self.add_taint(node))
    }
}

/// Why a node is not one to begin an operation on, or to evict from.
pub(super) fn unfit(node: &NodeView) -> Option<String> {
    if !node.ready {
        return Some("the node is not ready".to_owned());
    }
    foreign_owner(node).map(|foreign| foreign.to_string())
}

/// Whether the operation still fits what is there now.
fn still_holds(record: &MigNode, operation: &Operation, pods: &[PodView], timing: &Timing) -> Result<(), String> {
    if operation.is_repair() {
        return Ok(());
    }
    let status = &record.status;
    if status.node_uid != operation.node_uid {
        return Err("the agent reports another node of this name".to_owned());
    }
    let changed = operation.gpus.iter().find(|gpu| !reported(&status.gpus, &gpu.uuid, &gpu.base));
    if let Some(gpu) = changed {
        return Err(format!("GPU {} is not laid out as it was planned from", gpu.uuid));
    }
    strangers(operation, pods)?;
    victims(operation, pods, timing)
}

/// Pods that hold, or will hold, instances, and that the plan does not know.
pub(super) fn strangers(operation: &Operation, pods: &[PodView]) -> Result<(), String> {
    let mut known: BTreeSet<&str> = operation.residents.iter().map(String::as_str).collect();
    known.extend(operation.victims.iter().map(|victim| victim.pod.uid.as_str()));
    let stranger = pods.iter().find(|pod| pod.holds_instances() && !known.contains(pod.pod.uid.as_str()));
    stranger.map_or(Ok(()), |pod| Err(format!("pod {} has come to the node since it was planned", pod.pod)))
}

/// Each victim is gone, or may still be evicted.
pub(super) fn victims(operation: &Operation, pods: &[PodView], timing: &Timing) -> Result<(), String> {
    let uids: BTreeSet<&str> = operation.victims.iter().map(|victim| victim.pod.uid.as_str()).collect();
    for pod in pods.iter().filter(|pod| uids.contains(pod.pod.uid.as_str()) && !pod.finished && !pod.deleting) {
        let name = &pod.pod;
        if let Movability::Never(_, why) = &pod.movability {
            return Err(format!("pod {name} must not be evicted: {why}"));
        }
        if pod.tolerates_taint {
            return Err(format!("pod {name} tolerates our taint and would come back"));
        }
        if pod.grace_seconds > timing.drain.as_secs() {
            return Err(format!("pod {name} has {} s to end, longer than a drain may take", pod.grace_seconds));
        }
        if pod.budgets.len() > 1 {
            return Err(format!("more than one PodDisruptionBudget covers pod {name}; the API evicts it never"));
        }
    }
    Ok(())
}
