//! The document's head and its totals.

use super::changes::Changes;
use super::pods::Served;
use super::violation::Violation;
use super::world::World;
use crate::model::PlanningInput;
use crate::plan::document::{FORMAT_VERSION, Plan, Summary};
use crate::plan::fingerprint;

/// Version, fingerprint, disruption level.
pub(super) fn header(plan: &Plan, input: &PlanningInput, found: &mut Vec<Violation>) {
    if plan.format_version != FORMAT_VERSION {
        found.push(Violation::FormatVersion { found: plan.format_version });
    }
    let expected = fingerprint(input);
    if plan.input_fingerprint != expected {
        found.push(Violation::Fingerprint { found: plan.input_fingerprint.clone(), expected });
    }
    let expected = input.policy().disruption.as_flag();
    if plan.disruption != expected {
        found.push(Violation::Disruption { found: plan.disruption.clone(), expected: expected.to_owned() });
    }
    let expected = input.policy().weight;
    if plan.weight != expected {
        found.push(Violation::Weight { found: format!("{:?}", plan.weight), expected: format!("{expected:?}") });
    }
}

/// Every number of the summary.
pub(super) fn summary(
    plan: &Plan,
    served: &[Served],
    changes: &Changes,
    world: &World<'_>,
    found: &mut Vec<Violation>,
) {
    let Summary {
        pending_pods,
        served_pods,
        served_slices,
        evicted_pods,
        nodes_changed,
        gpus_changed,
        instances_destroyed,
        instances_created,
        placements_assumed,
    } = plan.summary;
    let slices = |served: &Served| world.slices.demand(&world.input.pending()[served.pending].demand);
    let slices: u64 = served.iter().map(slices).sum();
    if served_slices != slices {
        found.push(Violation::Summary { field: "served_slices", found: served_slices, expected: slices });
    }
    let destroyed: usize = changes.gpus.values().map(|gpu| gpu.destroyed.len()).sum();
    let created: usize = changes.gpus.values().map(|gpu| gpu.created.len()).sum();
    for (field, said, expected) in [
        ("pending_pods", pending_pods, world.input.pending().len() + world.input.unplannable().len()),
        ("served_pods", served_pods, plan.served.len()),
        ("evicted_pods", evicted_pods, changes.evicted.len()),
        ("nodes_changed", nodes_changed, changes.nodes.len()),
        ("gpus_changed", gpus_changed, changes.gpus.len()),
        ("instances_destroyed", instances_destroyed, destroyed),
        ("instances_created", instances_created, created),
        ("placements_assumed", placements_assumed.into(), world.input.placements_assumed().into()),
    ] {
        let expected = expected as u64;
        if said != expected {
            found.push(Violation::Summary { field, found: said, expected });
        }
    }
}
