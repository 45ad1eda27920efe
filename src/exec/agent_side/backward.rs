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
        if facts.store.intent.is_none() {
            return Ok(self.write_intent(facts, &hand, &situation.gpus));
        }
        match step {
            Move::Create => Ok(self.create(facts, situation, &hand, board, place)),
            Move::Destroy => {
                let node = self.node_of(facts.look)?;
                if node.our_taint().is_none() {
                    return Ok(self.wait(facts, situation, self.timing.poll, "a taint that keeps pods away"));
                }
                self.destroy(facts, situation, &hand, board, place)
            }
        }
    }

    /// R4: everything is as it was.
    fn restored(&mut self, facts: &Facts<'_>, situation: &Situation) -> Todo {
        let rebooted = situation.row.rebooted;
        let stale = facts.store.intent.as_ref().filter(|_| rebooted || situation.operation.is_none());
        if stale.is_some() {
            return self.clear(facts);
        }
        let hand = situation.hand.as_ref();
        let (Some(hand), Some(_)) = (hand, &situation.operation) else {
            return match hand {
                Some(hand) => self.declare(facts, hand, AgentPhase::Idle, ""),
                None => self.wait_settled(facts),
            };
        };
        let phase = if settled(situation.row.phase) { situation.row.phase } else { AgentPhase::RolledBack };
        self.declare(facts, hand, phase, "the layout is as it was")
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
fn settled(phase: AgentPhase) -> bool {
    match phase {
        AgentPhase::Idle
        | AgentPhase::Applied
        | AgentPhase::RolledBack
        | AgentPhase::Refused
        | AgentPhase::Degraded => true,
        AgentPhase::Accepted | AgentPhase::Executing | AgentPhase::Repartitioned | AgentPhase::RollingBack => false,
    }
}

/// What each GPU is to hold: the base of the operation where it changes something, else, after a reboot, what was last applied.
fn wanted(facts: &Facts<'_>, situation: &Situation) -> BTreeMap<String, Vec<Place>> {
    let rebooted = super::startup::decide(situation.row) == Action::Restore;
    let mut wanted = facts.store.applied.clone().filter(|_| rebooted).unwrap_or_default();
    let over = situation.operation.is_some() && settled(situation.row.phase) && facts.store.intent.is_none();
    if !(rebooted && over) {
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
