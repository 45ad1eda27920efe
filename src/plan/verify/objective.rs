//! The objective's value of a plan, level by level, computed from the changes; and what the document says of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::changes::Changes;
use super::legal::side_by_side;
use super::pods::Served;
use super::violation::Violation;
use super::world::{Spot, World, join};
use crate::model::{Gpu, Instance, MigStrategy, Node, Occupancy, ResourceId};
use crate::plan::document::{LEVEL_NAMES, Level, Plan, Status, Tier};

/// Values of all levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Values {
    /// In the order of [`LEVEL_NAMES`].
    levels: [u64; LEVEL_NAMES.len()],
    /// Served weight by priority, highest first; empty unless there are several.
    tiers: Vec<(i32, u64)>,
}

/// Whether more is better, in the order of [`LEVEL_NAMES`].
const MORE_IS_BETTER: [bool; LEVEL_NAMES.len()] = [true, false, false, false, false, true, true, true];

/// Weight of a served pod, times its ageing factor.
pub(super) fn weight(served: &Served, world: &World<'_>) -> u64 {
    let pod = &world.input.pending()[served.pending];
    world.input.policy().weight.of(world.slices.demand(&pod.demand)).saturating_mul(world.ageing.factor(pod))
}

/// Cost of all evictions.
pub(super) fn cost(changes: &Changes, world: &World<'_>) -> u64 {
    changes.evicted.keys().map(|&pod| u64::from(world.pod(pod).cost)).sum()
}

/// Computes all levels. `left` are the replicas of each resource that are left over after all landings.
pub(super) fn values(served: &[Served], changes: &Changes, left: &[u64], world: &World<'_>) -> Values {
    let mut tiers: BTreeMap<i32, u64> = world.ageing.priorities().map(|priority| (priority, 0)).collect();
    for served in served {
        *tiers.entry(world.input.pending()[served.pending].priority).or_default() += weight(served, world);
    }
    let instance_changes: usize = changes.gpus.values().map(|gpu| gpu.destroyed.len() + gpu.created.len()).sum();
    let (free_gpus, free_nodes) = free(changes, world);
    Values {
        levels: [
            tiers.values().sum(),
            cost(changes, world),
            changes.nodes.len() as u64,
            changes.gpus.len() as u64,
            instance_changes as u64,
            flexibility(changes, left, world),
            free_gpus,
            free_nodes,
        ],
        tiers: if tiers.len() > 1 { tiers.into_iter().rev().collect() } else { Vec::new() },
    }
}

/// Untouched GPUs on which nothing is held or unknown before the change, and nodes that have only such.
fn free(changes: &Changes, world: &World<'_>) -> (u64, u64) {
    let is_free = |position: usize| {
        let idle = |instance: &Instance| instance.occupancy == Occupancy::Free;
        !changes.gpus.contains_key(&position) && world.input.gpus()[position].instances.iter().all(idle)
    };
    let gpus = (0..world.input.gpus().len()).filter(|&position| is_free(position)).count();
    let nodes = world.input.nodes().iter().filter(|node| node.gpus.clone().all(is_free)).count();
    (gpus as u64, nodes as u64)
}

/// What one instance of a profile in the forecast mix adds.
struct Wanted<'a> {
    /// Weight of the resource times the size of the profile.
    worth: u64,
    size: u8,
    starts: &'a [u8],
    most: usize,
}

fn flexibility(changes: &Changes, left: &[u64], world: &World<'_>) -> u64 {
    let mix: Vec<(ResourceId, u64)> =
        world.input.forecast().iter().map(|(&resource, &weight)| (resource, u64::from(weight))).collect();
    let mut total = 0;
    for &(resource, weight) in &mix {
        total += weight * world.slices.resource(resource) * left.get(resource.index()).copied().unwrap_or(0);
    }
    let mut known: Option<(&Gpu, Vec<Wanted<'_>>)> = None;
    let open = |node: &&Node| node.strategy != MigStrategy::Single;
    for position in world.input.nodes().iter().filter(open).flat_map(|node| node.gpus.clone()) {
        let gpu = &world.input.gpus()[position];
        if gpu.frozen.is_some() {
            continue;
        }
        let alike =
            |other: &Gpu| Arc::ptr_eq(&other.geometry, &gpu.geometry) && Arc::ptr_eq(&other.offers, &gpu.offers);
        if !known.as_ref().is_some_and(|(other, _)| alike(other)) {
            known = Some((gpu, wanted(gpu, &mix)));
        }
        let wanted = known.as_ref().map_or(&[][..], |(_, wanted)| wanted);
        for (from, to) in gaps(gpu.geometry.axis(), &changes.after(position, gpu)) {
            for Wanted { worth, size, starts, most } in wanted {
                total += worth * side_by_side(starts, *size, from, to).min(*most) as u64;
            }
        }
    }
    total
}

/// The profiles that stand for the mix on a GPU: for each resource the first of the table that offers it.
fn wanted<'a>(gpu: &'a Gpu, mix: &[(ResourceId, u64)]) -> Vec<Wanted<'a>> {
    let of = |&(resource, weight): &(ResourceId, u64)| {
        let mut offering =
            gpu.geometry.profile_ids().filter(|&id| gpu.offer(id).is_some_and(|o| o.resource == resource));
        let profile = gpu.geometry.profile(offering.next()?);
        let size = profile.size?;
        let most = usize::from(profile.max_count);
        Some(Wanted { worth: weight * u64::from(size), size, starts: &profile.starts, most })
    };
    mix.iter().filter_map(of).collect()
}

/// Maximal runs of units that nothing covers, as half-open ranges.
fn gaps(axis: u8, after: &[Spot]) -> Vec<(u8, u8)> {
    let mut gaps = Vec::new();
    let mut covered = 0_u16;
    for spot in after {
        if u16::from(spot.start) > covered {
            gaps.push((covered as u8, spot.start.min(axis)));
        }
        covered = covered.max(spot.end());
    }
    if covered < u16::from(axis) {
        gaps.push((covered as u8, axis));
    }
    gaps
}

/// Compares what the document says with `values`; the values only when `complete`.
pub(super) fn check(plan: &Plan, values: &Values, complete: bool, found: &mut Vec<Violation>) {
    let levels = &plan.optimality.levels;
    if levels.iter().map(|level| level.name.as_str()).ne(LEVEL_NAMES) {
        found.push(Violation::Levels { found: join(levels.iter().map(|level| &level.name)) });
        return;
    }
    let mut met = true;
    for (position, (level, name)) in levels.iter().zip(LEVEL_NAMES).enumerate() {
        let expected = signed(values.levels[position]);
        if complete && level.value != expected {
            found.push(Violation::Value { level: name, found: level.value, expected });
        }
        let place = format!("optimality.levels[{name}]");
        met &= bound(place, level.value, level.bound, MORE_IS_BETTER[position], found);
        let expected: &[(i32, u64)] = if position == 0 { &values.tiers } else { &[] };
        met &= tiers(name, level, expected, complete, found);
    }
    let expected = if met { Status::Optimal } else { Status::Feasible };
    // The weight of displaced pods is a level of its own that the document does not state: while there are any, a plan
    // may be short of a proof there and nowhere else.
    let displaces = plan.nodes.iter().flat_map(|node| &node.evict).any(|eviction| eviction.placed_on.is_none());
    if plan.optimality.status != expected && !(met && displaces) {
        found.push(Violation::Status { found: spelled(plan.optimality.status), expected: spelled(expected) });
    }
}

fn tiers(
    name: &'static str,
    level: &Level,
    expected: &[(i32, u64)],
    complete: bool,
    found: &mut Vec<Violation>,
) -> bool {
    let said: Vec<i32> = level.tiers.iter().map(|tier| tier.priority).collect();
    let priorities: Vec<i32> = expected.iter().map(|&(priority, _)| priority).collect();
    if said != priorities {
        found.push(Violation::Tiers { level: name, found: said, expected: priorities });
        return true;
    }
    let mut met = true;
    for (&Tier { priority, value, bound: best }, &(_, expected)) in level.tiers.iter().zip(expected) {
        let expected = signed(expected);
        if complete && value != expected {
            found.push(Violation::TierValue { priority, found: value, expected });
        }
        met &= bound(format!("optimality.levels[served].tiers[{priority}]"), value, best, true, found);
    }
    met
}

/// Whether the bound is met; raises a violation when the value is better than its bound.
fn bound(place: String, value: i64, bound: i64, more_is_better: bool, found: &mut Vec<Violation>) -> bool {
    if if more_is_better { value > bound } else { value < bound } {
        found.push(Violation::BeyondBound { place, value, bound });
        return true;
    }
    value == bound
}

fn spelled(status: Status) -> &'static str {
    match status {
        Status::Optimal => "optimal",
        Status::Feasible => "feasible",
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
