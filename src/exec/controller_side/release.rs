//! Phase `Releasing`: removes our taint (C8), closes the record (C9).

use super::{Asked, OperationMachine, Read, Round, Todo};
use crate::exec::layout::advertises;
use crate::exec::mutant::{self, Mutant};
use crate::exec::ownership::foreign_owner;
use crate::exec::port::ClusterRequest;
use crate::exec::record::{Ended, HISTORY, MigNodeSpec, Operation, OperationId, Outcome};
use crate::exec::view::NodeView;

impl OperationMachine {
    pub(super) fn release(&mut self, round: &Round<'_>) -> Read<Todo> {
        let &Round { record, operation, now, .. } = round;
        let node = self.node_of(round)?;
        if node.can_resume() && !mutant::on(Mutant(37)) {
            // Given up with nothing changed: the plugin comes back first, which is looked for there.
            return self.replace_plugin(round, operation.outcome);
        }
        let Some(value) = ours(node, &self.id) else {
            return Ok(self.close(round, operation.outcome.unwrap_or(Outcome::Done), &operation.detail));
        };
        // Where nothing was changed, and somebody else is at the node by now, it is theirs; its plugin may be away for as long as they need.
        let left = operation.outcome == Some(Outcome::Aborted) && foreign_owner(node).is_some();
        if !left && !advertises(node, &record.status.gpus) && !mutant::on(Mutant(32)) {
            // Nobody may be sent here yet. It passes by itself, or the plugin needs a restart.
            if self.under_way(now) > self.timing.operation + self.timing.plugin {
                return Ok(self.degrade(record, "the node does not advertise what its GPUs have"));
            }
            if self.in_phase(now) > self.timing.plugin {
                return self.replace_plugin(round, operation.outcome);
            }
            return Ok(self.poll("the node to advertise what its GPUs have"));
        }
        if !left && !node.tells_product(&record.status.gpus) && self.in_phase(now) <= self.timing.plugin {
            // Pods that select the old product would be sent here. Who tells it looks once a minute.
            return Ok(self.poll("the node to tell the product of its instances"));
        }
        let request = ClusterRequest::RemoveTaint { node: self.node.clone(), version: node.version, operation: value };
        Ok(self.ask(Asked::Taint, request))
    }

    /// Takes the operation out of the record.
    pub(super) fn close(&mut self, round: &Round<'_>, outcome: Outcome, detail: &str) -> Todo {
        let mut spec = round.record.spec.clone();
        spec.operation = None;
        remember(&mut spec, &Operation { detail: detail.to_owned(), ..round.operation.clone() }, outcome);
        self.write_spec(round.record, spec)
    }
}

/// The value of the taint to remove.
fn ours(node: &NodeView, id: &OperationId) -> Option<OperationId> {
    let value = node.our_taint()?;
    (value == id.0 || mutant::on(Mutant(3))).then(|| OperationId(value.to_owned()))
}

/// Puts an operation at the head of the history.
pub(super) fn remember(spec: &mut MigNodeSpec, operation: &Operation, outcome: Outcome) {
    let Operation { id, epoch, gpus, detail, .. } = operation;
    let gpus = gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    let ended = Ended { id: id.clone(), epoch: *epoch, gpus, outcome, detail: detail.clone() };
    spec.history.insert(0, ended);
    spec.history.truncate(HISTORY);
}
