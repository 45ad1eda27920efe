//! A2 to A7: puts the intent on disk, takes the steps in their order, and verifies the whole.

use super::backward::settled;
use super::situation::{Situation, find};
use super::{AgentMachine, Asked, Attempt, Facts, Read, Todo, first};
use crate::exec::mutant::{self, Mutant};
use crate::exec::ownership::foreign_owner;
use crate::exec::port::{BoardState, InstanceState, Intent, NodeRequest};
use crate::exec::proof::IdleProof;
use crate::exec::record::{AgentPhase, GpuTarget, Operation, OperationId, Phase};
use crate::plan::{Place, StepAction};

impl AgentMachine {
    pub(super) fn forward(&mut self, facts: &Facts<'_>, situation: &Situation) -> Read<Todo> {
        let wanted = situation.operation.as_ref();
        let Some(operation) = wanted.filter(|operation| operation.phase == Phase::Drained) else {
            return Ok(self.wait(facts, self.timing.poll, "the controller"));
        };
        if !situation.row.intent {
            return Ok(self.write_intent(facts, &operation.id, &operation.gpus));
        }
        if situation.row.phase == AgentPhase::Accepted {
            return Ok(self.declare(facts, &operation.id, AgentPhase::Executing, ""));
        }
        if mutant::on(Mutant(13))
            && let Some((board, place)) = neighbour(facts, operation)
        {
            return self.destroy(facts, situation, &operation.id, board, place);
        }
        let next = operation.steps.iter().find_map(|step| {
            let gpu = operation.gpus.iter().find(|gpu| gpu.uuid == step.uuid)?;
            let board = find(facts.boards, gpu)?;
            let there = at(board, &step.instance);
            let done = match step.action {
                StepAction::Destroy => there.is_none(),
                StepAction::Create => there.is_some_and(|there| there.compute.is_some()),
            };
            (!done).then_some((step, board))
        });
        let Some((step, board)) = next else {
            return Ok(self.repartitioned(facts, situation, &operation.id));
        };
        let guarded = self.guard(facts, situation, operation)?;
        if let Some(reason) = guarded {
            return Ok(self.declare(facts, &operation.id, AgentPhase::RollingBack, &reason));
        }
        match step.action {
            StepAction::Destroy => self.destroy(facts, situation, &operation.id, board, &step.instance),
            StepAction::Create => Ok(self.create(facts, situation, &operation.id, board, &step.instance)),
        }
    }

    /// A2, first half: what is about to be done, on disk.
    pub(super) fn write_intent(&mut self, facts: &Facts<'_>, id: &OperationId, gpus: &[GpuTarget]) -> Todo {
        let changed =
            |board: &BoardState, place: &Place| gpus.iter().any(|gpu| gpu.uuid == board.uuid && gpu.touches(place));
        let neighbours = facts.boards.iter().flat_map(|board| {
            let kept = board.instances.iter().filter(move |there| !changed(board, &there.place));
            kept.filter_map(|there| there.compute.clone())
        });
        let intent = Intent {
            id: id.clone(),
            epoch: self.epoch,
            node_uid: self.uid.clone().unwrap_or_default(),
            boot_id: facts.store.boot_id.clone(),
            gpus: gpus.to_vec(),
            neighbours: neighbours.collect(),
        };
        self.local(Asked::Intent(Box::new(intent.clone())), NodeRequest::WriteIntent(intent))
    }

    /// A7: the board is the target, and containers can use it.
    pub(super) fn repartitioned(&mut self, facts: &Facts<'_>, situation: &Situation, id: &OperationId) -> Todo {
        let before = self.devices(facts, situation, id);
        before.unwrap_or_else(|| self.declare(facts, id, AgentPhase::Repartitioned, ""))
    }

    /// What comes before anybody may take new instances into use: their device nodes, made by this process for exactly what is there now.
    pub(super) fn devices(&mut self, facts: &Facts<'_>, situation: &Situation, id: &OperationId) -> Option<Todo> {
        let instances = facts.boards.iter().flat_map(|board| &board.instances);
        let there: Vec<String> = instances.filter_map(|instance| instance.compute.clone()).collect();
        if self.devices.as_ref() == Some(&there) {
            return None;
        }
        let todo = self.instead(facts, situation, id, "to make the device nodes of the instances", None);
        Some(todo.unwrap_or_else(|| self.local(Asked::Devices(there), NodeRequest::RefreshDevices)))
    }

    /// Whether the node is still ours to change; why not, if the changes must be taken back.
    fn guard(&mut self, facts: &Facts<'_>, situation: &Situation, operation: &Operation) -> Read<Option<String>> {
        let node = self.node_of(facts.look)?;
        if node.uid != operation.node_uid || operation.epoch < situation.epoch {
            return first(self.wait(facts, self.timing.poll, "an operation of this node and epoch"));
        }
        if node.our_taint() != Some(operation.id.0.as_str()) {
            return first(self.wait(facts, self.timing.poll, "the operation's taint"));
        }
        Ok(foreign_owner(node).map(|foreign| foreign.to_string()))
    }

    /// A3 and A4, or R2: the compute instance, then, with the next look, the GPU instance.
    pub(super) fn destroy(
        &mut self,
        facts: &Facts<'_>,
        situation: &Situation,
        id: &OperationId,
        board: &BoardState,
        place: &Place,
    ) -> Read<Todo> {
        let (node, pods) = (self.node_of(facts.look)?, self.pods_of(facts.look)?);
        let proof =
            facts.occupants.ok_or_else(|| "who holds instances cannot be read".to_owned()).and_then(|occupants| {
                let resources = node.asked_for_by(&place.profile);
                IdleProof::establish(board, place, &resources, occupants, pods).map_err(|why| why.to_string())
            });
        let part = if at(board, place).is_some_and(|there| there.compute.is_some()) { "compute" } else { "GPU" };
        let what = format!("to destroy the {part} instance of {}@{} on {}", place.profile, place.start, board.uuid);
        if let Some(todo) = self.instead(facts, situation, id, &what, proof.as_ref().err().map(String::as_str)) {
            return Ok(todo);
        }
        Ok(match proof {
            Ok(proof) if proof.compute().is_some() => {
                self.local(Asked::Instance, NodeRequest::DestroyComputeInstance(proof))
            }
            Ok(proof) => self.local(Asked::Instance, NodeRequest::DestroyGpuInstance(proof)),
            Err(why) => self.wait(facts, self.timing.retry_first, &why),
        })
    }

    /// A5 and A6, or R3: the GPU instance, then, with the next look, its compute instance.
    pub(super) fn create(
        &mut self,
        facts: &Facts<'_>,
        situation: &Situation,
        id: &OperationId,
        board: &BoardState,
        place: &Place,
    ) -> Todo {
        let (gpu, there) = (board.uuid.clone(), at(board, place).is_some());
        let part = if there { "compute" } else { "GPU" };
        let what = format!("to create the {part} instance of {}@{} on {gpu}", place.profile, place.start);
        if let Some(todo) = self.instead(facts, situation, id, &what, None) {
            return todo;
        }
        let place = place.clone();
        let request = if there {
            NodeRequest::CreateComputeInstance { gpu, place }
        } else {
            NodeRequest::CreateGpuInstance { gpu, place }
        };
        self.local(Asked::Instance, request)
    }

    /// Says what to do in place of a try: wait, or, after enough of them, turn back; and on the way back, leave it to people.
    fn instead(
        &mut self,
        facts: &Facts<'_>,
        situation: &Situation,
        id: &OperationId,
        what: &str,
        held: Option<&str>,
    ) -> Option<Todo> {
        let attempt = self.attempt(what, held.is_some());
        let refusal = self.refusal.clone();
        let why = held.or(refusal.as_deref()).unwrap_or("the driver does not do it");
        match attempt {
            Attempt::Go => None,
            Attempt::Rest(wait) => Some(self.wait(facts, wait, &format!("another try {what}: {why}"))),
            Attempt::Enough if settled(situation.row.phase) => {
                // Nobody waits for it any more: it is tried again now and then.
                self.trying.clear();
                Some(self.wait(facts, self.timing.retry_most, &format!("another try {what}: {why}")))
            }
            Attempt::Enough => {
                let forward = matches!(situation.row.phase, AgentPhase::Accepted | AgentPhase::Executing);
                let phase = match forward {
                    true if mutant::on(Mutant(14)) => AgentPhase::RolledBack,
                    true => AgentPhase::RollingBack,
                    false => AgentPhase::Degraded,
                };
                Some(self.declare(facts, id, phase, &format!("it was not possible {what}: {why}")))
            }
        }
    }
}

/// An instance of a changed GPU that stays; for the defect of clearing the whole GPU.
fn neighbour<'a>(facts: &Facts<'a>, operation: &'a Operation) -> Option<(&'a BoardState, &'a Place)> {
    operation.gpus.iter().find_map(|gpu| {
        let board = find(facts.boards, gpu)?;
        board.instances.iter().find(|there| !gpu.touches(&there.place)).map(|there| (board, &there.place))
    })
}

/// The instance at a place.
pub(super) fn at<'a>(board: &'a BoardState, place: &Place) -> Option<&'a InstanceState> {
    board
        .instances
        .iter()
        .find(|there| there.place == *place || (mutant::on(Mutant(35)) && there.place.start == place.start))
}
