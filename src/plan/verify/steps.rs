//! The steps of each node, carried out on paper: every precondition holds, every layout on the way is legal, and the last
//! one is `after`. Where steps are missing altogether, `told` says so.

use std::collections::BTreeMap;

use super::changes::Changes;
use super::legal::flaws;
use super::violation::Violation;
use super::world::{Spot, World, join};
use crate::model::Gpu;
use crate::plan::document::{NodePlan, Place, Plan, Step, StepAction};

/// Checks the steps of all nodes.
pub(super) fn check(plan: &Plan, changes: &Changes, world: &World<'_>, found: &mut Vec<Violation>) {
    for node_plan in plan.nodes.iter().filter(|node| !node.steps.is_empty()) {
        if let Err((at, detail)) = replay(node_plan, changes, world) {
            let at = at.map_or(String::new(), |at| format!("[{at}]"));
            found.push(Violation::Steps { node: node_plan.name.clone(), at, detail });
        }
    }
}

/// Carries the steps out; the error is the first thing wrong, with the step's position.
fn replay(node_plan: &NodePlan, changes: &Changes, world: &World<'_>) -> Result<(), (Option<usize>, String)> {
    let Some(node) = world.node(&node_plan.name) else { return Ok(()) };
    let mut states: BTreeMap<u32, (usize, Vec<Spot>)> = BTreeMap::new();
    let mut expected_steps = 0;
    for change in &node_plan.gpus {
        let Some(position) = world.gpu(node, change.index) else { continue };
        let Some(touched) = changes.gpus.get(&position) else { continue };
        expected_steps += touched.destroyed.len() + touched.created.len();
        let gpu = &world.input.gpus()[position];
        states.insert(change.index, (position, gpu.instances.iter().map(Spot::of).collect()));
    }
    for (at, step) in node_plan.steps.iter().enumerate() {
        let here = |detail: String| (Some(at), detail);
        let Some((position, state)) = states.get_mut(&step.gpu) else {
            return Err(here(format!("changes GPU {}, which is not in the node's list of changes", step.gpu)));
        };
        let gpu = &world.input.gpus()[*position];
        carry_out(step, gpu, state).map_err(here)?;
    }
    for (index, (position, state)) in &states {
        let gpu = &world.input.gpus()[*position];
        let after = changes.after(*position, gpu);
        if *state != after {
            let (state, after) = (shown(gpu, state), shown(gpu, &after));
            return Err((None, format!("leave GPU {index} as [{state}] instead of [{after}]")));
        }
    }
    // All changes are made, so any further step is made in vain and undone again.
    if node_plan.steps.len() > expected_steps {
        return Err((None, format!("are {}, the changes need {expected_steps}", node_plan.steps.len())));
    }
    Ok(())
}

fn carry_out(step: &Step, gpu: &Gpu, state: &mut Vec<Spot>) -> Result<(), String> {
    let Step { action, gpu: _, uuid, instance, precondition } = step;
    if *uuid != gpu.uuid {
        return Err(format!("names the UUID `{uuid}`, the GPU has `{}`", gpu.uuid));
    }
    let resolve = |place: &Place| {
        let profile = gpu.geometry.find(&place.profile)?;
        Some(Spot { start: place.start, size: place.size, profile })
    };
    let said: Option<Vec<Spot>> = precondition.iter().map(resolve).collect();
    if said.as_ref() != Some(state) {
        return Err(format!("the precondition differs from the layout that is there then, [{}]", shown(gpu, state)));
    }
    let Some(spot) = resolve(instance) else {
        return Err(format!("the board has no profile {}", instance.profile));
    };
    let standing = state.iter().position(|&other| other == spot);
    match (action, standing) {
        (StepAction::Destroy, Some(position)) => {
            state.remove(position);
        }
        (StepAction::Destroy, None) => {
            return Err(format!("destroys {}, which is not there", spot.show(&gpu.geometry)));
        }
        (StepAction::Create, _) => {
            state.push(spot);
            state.sort_unstable();
        }
    }
    if flaws(&gpu.geometry, state).is_empty() {
        return Ok(());
    }
    Err(format!("leads to [{}], which is no legal layout", shown(gpu, state)))
}

fn shown(gpu: &Gpu, state: &[Spot]) -> String {
    join(state.iter().map(|spot| spot.show(&gpu.geometry)))
}
