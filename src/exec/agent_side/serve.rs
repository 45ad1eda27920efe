//! A8, and what is left when there is nothing to change: reporting, leaving `Degraded`, and removing intents of operations that are over.

use super::backward::layout;
use super::situation::Situation;
use super::{AgentMachine, Asked, Attempt, Facts, Read, Todo};
use crate::exec::mutant::{self, Mutant};
use crate::exec::port::NodeRequest;
use crate::exec::record::{AgentPhase, Phase};

impl AgentMachine {
    /// Nothing is in hand.
    pub(super) fn serve(&mut self, facts: &Facts<'_>) -> Todo {
        self.wait(facts, self.timing.report, "an operation")
    }

    /// The board may not be touched now. A held instance is waited for, a few times; a board without MIG mode is for people.
    pub(super) fn only_report(&mut self, facts: &Facts<'_>, situation: &Situation) -> Todo {
        let Some(operation) = &situation.operation else {
            let wanted = facts.record.and_then(|record| record.spec.operation.as_ref());
            let held = "its GPUs cannot be changed: instances are held that stand in the way, or MIG mode is off";
            return match wanted.filter(|operation| operation.phase == Phase::Drained) {
                Some(operation) => self.declare(facts, &operation.id, AgentPhase::Refused, held),
                None => self.wait(facts, self.timing.poll, "instances that are held"),
            };
        };
        let (id, phase) = (&operation.id, situation.row.phase);
        if phase == AgentPhase::Degraded {
            return self.leave_degraded(facts, situation);
        }
        if !situation.row.mig_mode {
            return match phase {
                AgentPhase::Accepted | AgentPhase::Executing | AgentPhase::RollingBack | AgentPhase::Repartitioned => {
                    self.declare(facts, id, AgentPhase::Degraded, "MIG mode of a GPU has been switched off")
                }
                AgentPhase::Idle
                | AgentPhase::Applied
                | AgentPhase::RolledBack
                | AgentPhase::Refused
                | AgentPhase::Degraded => self.wait(facts, self.timing.poll, "MIG mode"),
            };
        }
        if situation.row.rebooted {
            return self.wait(facts, self.timing.poll, "instances to be free, to restore the layout");
        }
        let held = "instances of the operation that are held";
        match self.attempt(held, true) {
            Attempt::Enough if matches!(phase, AgentPhase::Accepted | AgentPhase::Executing) => {
                self.declare(facts, id, AgentPhase::RollingBack, "an instance of the operation stays held")
            }
            Attempt::Rest(wait) => self.wait(facts, wait.max(self.timing.poll), held),
            Attempt::Go | Attempt::Enough => self.wait(facts, self.timing.poll, held),
        }
    }

    /// Somebody else has changed the board: whatever was under way is for people.
    pub(super) fn drifted(&mut self, facts: &Facts<'_>, situation: &Situation) -> Todo {
        let detail = "drift: the board holds, or lacks, what the operation does not know";
        let wanted = facts.record.and_then(|record| record.spec.operation.as_ref());
        if let Some(operation) = &situation.operation {
            return match situation.row.phase {
                AgentPhase::Degraded => self.leave_degraded(facts, situation),
                AgentPhase::Accepted
                | AgentPhase::Executing
                | AgentPhase::Repartitioned
                | AgentPhase::RollingBack
                | AgentPhase::RolledBack
                | AgentPhase::Applied => self.declare(facts, &operation.id, AgentPhase::Degraded, detail),
                AgentPhase::Idle | AgentPhase::Refused => {
                    self.wait(facts, self.timing.poll, "an operation that fits the board")
                }
            };
        }
        if facts.store.intent.is_some() && healthy(facts) {
            return self.clear(facts);
        }
        match wanted.filter(|operation| operation.phase == Phase::Drained) {
            Some(operation) => self.declare(facts, &operation.id, AgentPhase::Refused, detail),
            None => self.wait(facts, self.timing.poll, "an operation"),
        }
    }

    /// Once people, or a reboot, have left the board whole, whatever its layout, the node can be taken back.
    fn leave_degraded(&mut self, facts: &Facts<'_>, situation: &Situation) -> Todo {
        let closed = situation.operation.as_ref().filter(|operation| operation.phase == Phase::Degraded);
        let Some(operation) = closed.filter(|_| healthy(facts)) else {
            return self.wait(facts, self.timing.poll, "people to repair the node");
        };
        if facts.store.intent.is_some() {
            return self.clear(facts);
        }
        self.declare(facts, &operation.id, AgentPhase::Idle, "the board is whole again")
    }

    /// A8: the plugin offers exactly what the board has, and is not the one that is being replaced: what that one offers ends with it.
    pub(super) fn verify(&mut self, facts: &Facts<'_>, situation: &Situation) -> Read<Todo> {
        let restarted = situation.operation.as_ref().filter(|operation| operation.phase == Phase::Restarting);
        let Some(operation) = restarted.filter(|_| situation.row.phase != AgentPhase::Applied) else {
            return Ok(self.wait(facts, self.timing.poll, "the controller"));
        };
        if let Some(old) = &operation.plugin {
            let pods = self.pods_of(facts.look)?;
            if pods.iter().any(|pod| pod.pod.uid == old.uid && !pod.finished) {
                return Ok(self.wait(facts, self.timing.poll, "the device plugin's pod that is being replaced to end"));
            }
        }
        let Some(offered) = &facts.look.allocatable else {
            return Ok(self.local(Asked::Allocatable, NodeRequest::Allocatable));
        };
        let instances = facts.boards.iter().filter(|board| board.mig_mode).flat_map(|board| &board.instances);
        let mut there: Vec<&String> = instances.filter_map(|instance| instance.compute.as_ref()).collect();
        there.sort_unstable();
        if !there.into_iter().eq(offered) && !mutant::on(Mutant(8)) {
            return Ok(self.wait(facts, self.timing.poll, "the device plugin to offer the board's instances"));
        }
        if facts.store.intent.is_some() || facts.store.applied.as_ref() != Some(&layout(facts.boards)) {
            return Ok(self.clear(facts));
        }
        Ok(self.declare(facts, &operation.id, AgentPhase::Applied, ""))
    }
}

/// Whether every GPU is whole: in MIG mode, each GPU instance with its compute instance.
pub(super) fn healthy(facts: &Facts<'_>) -> bool {
    facts.boards.iter().all(|board| board.mig_mode && board.instances.iter().all(|there| there.compute.is_some()))
}
