//! A1: looks at an operation, and accepts or refuses it. Nothing has been touched either way.

use std::collections::BTreeMap;

use super::situation::{Situation, find};
use super::{AgentMachine, Facts, Read, Todo};
use crate::exec::layout::holds;
use crate::exec::record::{AgentPhase, Operation, PROTOCOL, Phase};
use crate::plan::{Place, StepAction};

impl AgentMachine {
    pub(super) fn consider(&mut self, facts: &Facts<'_>, situation: &Situation) -> Read<Todo> {
        let wanted = facts.record.and_then(|record| record.spec.operation.as_ref());
        let Some(operation) = wanted.filter(|operation| operation.phase == Phase::Drained) else {
            return Ok(self.wait(facts, self.timing.poll, "an operation that is drained"));
        };
        let node = self.node_of(facts.look)?;
        if let Err(reason) = agree(operation, facts, situation, &node.uid) {
            return Ok(self.declare(facts, &operation.id, AgentPhase::Refused, &reason));
        }
        if node.our_taint() != Some(operation.id.0.as_str()) {
            return Ok(self.wait(facts, self.timing.poll, "the operation's taint"));
        }
        self.epoch = self.epoch.max(operation.epoch);
        Ok(self.declare(facts, &operation.id, AgentPhase::Accepted, ""))
    }
}

/// Whether the operation is meant for what is here.
fn agree(operation: &Operation, facts: &Facts<'_>, situation: &Situation, node_uid: &str) -> Result<(), String> {
    if operation.protocol > PROTOCOL {
        return Err(format!("it follows protocol {}, this agent {PROTOCOL}", operation.protocol));
    }
    if operation.node_uid != node_uid {
        return Err("it is meant for another node of this name".to_owned());
    }
    if operation.epoch < situation.epoch {
        return Err(format!("its epoch {} is stale; {} was seen", operation.epoch, situation.epoch));
    }
    for gpu in &operation.gpus {
        let board = find(facts.boards, gpu).ok_or_else(|| format!("there is no GPU {}", gpu.uuid))?;
        if !board.mig_mode {
            return Err(format!("MIG mode of GPU {} is off", gpu.uuid));
        }
        if !holds(board, &gpu.base) {
            return Err(format!("drift: GPU {} is not laid out as the operation expects", gpu.uuid));
        }
    }
    carried_out(operation)
}

/// Whether the steps lead from base to target, each from where the last one ended.
fn carried_out(operation: &Operation) -> Result<(), String> {
    let start = operation.gpus.iter().map(|gpu| (gpu.uuid.as_str(), gpu.base.clone()));
    let mut layouts: BTreeMap<&str, Vec<Place>> = start.collect();
    for step in &operation.steps {
        let wrong =
            || format!("step on {}@{} does not fit the layout before it", step.instance.profile, step.instance.start);
        let layout = layouts.get_mut(step.uuid.as_str()).ok_or_else(wrong)?;
        let there = layout.contains(&step.instance);
        let apart = layout.iter().all(|other| !overlap(other, &step.instance));
        match step.action {
            StepAction::Destroy if there => layout.retain(|place| *place != step.instance),
            StepAction::Create if apart => layout.push(step.instance.clone()),
            StepAction::Destroy | StepAction::Create => return Err(wrong()),
        }
    }
    for gpu in &operation.gpus {
        let reached = layouts.get_mut(gpu.uuid.as_str()).map(std::mem::take).unwrap_or_default();
        if reached.len() != gpu.target.len() || !gpu.target.iter().all(|place| reached.contains(place)) {
            return Err(format!("its steps do not lead to the target of GPU {}", gpu.uuid));
        }
    }
    Ok(())
}

fn overlap(one: &Place, other: &Place) -> bool {
    one.start < other.start.saturating_add(other.size) && other.start < one.start.saturating_add(one.size)
}
