//! R1 to R4: back to the base, at exactly the places of before. The same way leads back after a reboot, and after an operation that vanished.

use std::collections::BTreeMap;

use super::forward::at;
use super::situation::{Situation, find};
use super::startup::Action;
use super::{AgentMachine, Asked, Facts, Read, Todo};
use crate::exec::layout::holds;
use crate::exec::port::{BoardState, NodeRequest};
use crate::exec::record::{AgentPhase, OperationId, Phase};
use crate::plan::Place;

impl AgentMachine {
    /// R1, where the controller has given the operation up.
    pub(super) fn cancelled(&mut self, facts: &Facts<'_>, situation: &Situation) -> Option<Todo> {
        let operation = situation.operation.as_ref()?;
        let given_up = matches!(operation.phase, Phase::Cancelling | Phase::Degraded);
        let turns = matches!(
            situation.row.phase,
            AgentPhase::Accepted | AgentPhase::Executing | AgentPhase::Repartitioned | AgentPhase::Applied
        );
        (given_up && turns)
            .then(|| self.declare(facts, &operation.id, AgentPhase::RollingBack, "the controller has given it up"))
    }

    pub(super) fn backward(&mut self, facts: &Facts<'_>, situation: &Situation) -> Read<Todo> {
        let wanted = wanted(facts, situation);
        let next = next(facts, situation, &wanted);
        let Some(hand) = situation.hand.clone().filter(|_| !situation.gpus.is_empty() || situation.operation.is_some())
        else {
            return Ok(match next {
                Some((Move::Create, board, place)) => {
                    self.create(facts, situation, &OperationId(String::new()), board, place)
                }
                Some((Move::Destroy, ..)) | None => self.restored(facts, situation),
            });
        };
        let in_record = situation.operation.is_some();
        if in_record && !settled(situation.row.phase) && situation.row.phase != AgentPhase::RollingBack {
            return Ok(self.declare(facts, &hand, AgentPhase::RollingBack, "it cannot be carried on"));
        }
        let Some((step, board, place)) = next else {
            return Ok(self.restored(facts, situation));
        };
        // What an operation has reached before the reboot is made again without an intent: with one it would count as unfinished.
        let again = matches!(step, Move::Create) && situation.row.rebooted && over(situation);
        if !situation.row.intent && !again {
            return Ok(self.write_intent(facts, &hand, &situation.gpus));
        }
        match step {
            Move::Create => Ok(self.create(facts, situation, &hand, board, place)),
            Move::Destroy => {
                let node = self.node_of(facts.look)?;
                if node.our_taint().is_none() {
                    return Ok(self.wait(facts, self.timing.poll, "a taint that keeps pods away"));
                }
                self.destroy(facts, situation, &hand, board, place)
            }
        }
    }

    /// The board is the target (A7), or, on the way back or after a reboot, what it was (R4).
    pub(super) fn finish(&mut self, facts: &Facts<'_>, situation: &Situation) -> Todo {
        let forward = matches!(situation.row.phase, AgentPhase::Accepted | AgentPhase::Executing);
        if !forward || situation.row.rebooted {
            return self.restored(facts, situation);
        }
        match situation.operation.as_ref().filter(|operation| operation.phase == Phase::Drained) {
            Some(operation) => self.repartitioned(facts, situation, &operation.id),
            None => self.wait(facts, self.timing.poll, "the controller"),
        }
    }

    /// R4: everything is as it was.
    fn restored(&mut self, facts: &Facts<'_>, situation: &Situation) -> Todo {
        let hand = situation.hand.clone().unwrap_or(OperationId(String::new()));
        if let Some(todo) = self.devices(facts, situation, &hand) {
            return todo;
        }
        if situation.row.intent && (situation.row.rebooted || situation.operation.is_none()) {
            return self.clear(facts);
        }
        self.rebooted = false;
        let phase = situation.row.phase;
        match (&situation.hand, &situation.operation) {
            (Some(hand), Some(_)) if !settled(phase) => {
                self.declare(facts, hand, AgentPhase::RolledBack, "the layout is as it was")
            }
            (Some(hand), None) if !settled(phase) => self.declare(facts, hand, AgentPhase::Idle, ""),
            (_, _) => self.wait(facts, self.timing.poll, "an operation"),
        }
    }

    /// Removes the intent, and notes the layout that is there.
    pub(super) fn clear(&mut self, facts: &Facts<'_>) -> Todo {
        let applied = Some(layout(facts.boards));
        self.local(Asked::Cleared(applied.clone()), NodeRequest::ClearIntent { applied })
    }
}

#[derive(Clone, Copy)]
enum Move {
    Destroy,
    Create,
}

/// The layout of all boards in MIG mode.
pub(super) fn layout(boards: &[BoardState]) -> BTreeMap<String, Vec<Place>> {
    let enabled = boards.iter().filter(|board| board.mig_mode);
    enabled.map(|board| (board.uuid.clone(), board.instances.iter().map(|i| i.place.clone()).collect())).collect()
}

/// Phases in which there is nothing left to take back.
pub(super) fn settled(phase: AgentPhase) -> bool {
    match phase {
        AgentPhase::Idle
        | AgentPhase::Applied
        | AgentPhase::RolledBack
        | AgentPhase::Refused
        | AgentPhase::Degraded => true,
        AgentPhase::Accepted | AgentPhase::Executing | AgentPhase::Repartitioned | AgentPhase::RollingBack => false,
    }
}

/// Whether the operation was over, and only its record is still there.
fn over(situation: &Situation) -> bool {
    situation.operation.is_some() && settled(situation.row.phase) && !situation.row.intent
}

/// What each GPU is to hold: the base of the operation where it changes something, else, after a reboot, what was last applied.
fn wanted(facts: &Facts<'_>, situation: &Situation) -> BTreeMap<String, Vec<Place>> {
    let rebooted = super::startup::decide(situation.row) == Action::Restore;
    let mut wanted = facts.store.applied.clone().filter(|_| rebooted).unwrap_or_default();
    if !(rebooted && over(situation)) {
        wanted.extend(situation.gpus.iter().map(|gpu| (gpu.uuid.clone(), gpu.base.clone())));
    }
    wanted
}

/// What to do next: on each GPU first what the operation has created goes, then what is missing comes. Every layout on the way is part of
/// the one before or of the base, and so legal.
fn next<'a>(
    facts: &Facts<'a>,
    situation: &'a Situation,
    wanted: &'a BTreeMap<String, Vec<Place>>,
) -> Option<(Move, &'a BoardState, &'a Place)> {
    for gpu in &situation.gpus {
        let Some(board) = find(facts.boards, gpu) else { continue };
        let keeps = wanted.get(&gpu.uuid);
        let goes =
            gpu.created().find(|place| at(board, place).is_some() && keeps.is_some_and(|keeps| !keeps.contains(place)));
        if let Some(place) = goes {
            return Some((Move::Destroy, board, place));
        }
    }
    facts.boards.iter().filter(|board| board.mig_mode).find_map(|board| {
        let places = wanted.get(&board.uuid).filter(|places| !holds(board, places))?;
        let missing = places.iter().find(|place| at(board, place).is_none_or(|there| there.compute.is_none()))?;
        Some((Move::Create, board, missing))
    })
}
