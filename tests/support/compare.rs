//! Holds a plan against the oracle, level by level.

use retile::model::PlanningInput;
use retile::plan::{LEVEL_NAMES, Plan, PlannedInstance, Status};

use super::oracle::Best;

/// Everything in which a plan's claims differ from the best that there is; empty when nothing does.
pub fn differences(input: &PlanningInput, plan: &Plan, best: &Best) -> Vec<String> {
    let mut found = Vec::new();
    if plan.optimality.status != Status::Optimal {
        found.push(format!("the status is {:?}", plan.optimality.status));
    }
    let names: Vec<&str> = plan.optimality.levels.iter().map(|level| level.name.as_str()).collect();
    if names != LEVEL_NAMES {
        found.push(format!("the levels are {names:?}"));
    }
    for (level, expected) in plan.optimality.levels.iter().zip(best.levels()) {
        if (level.value, level.bound) != (expected, expected) {
            found.push(format!("{}: value {} bound {}, best {expected}", level.name, level.value, level.bound));
        }
    }
    for (node, gpu) in plan.nodes.iter().flat_map(|node| node.gpus.iter().map(move |gpu| (node, gpu))) {
        let place = |instance: &PlannedInstance| (instance.start, instance.profile.clone());
        let created: Vec<_> = gpu.create.iter().map(place).collect();
        for again in gpu.destroy.iter().map(place).filter(|place| created.contains(place)) {
            found.push(format!("{} GPU {} destroys and creates again {}@{}", node.name, gpu.index, again.1, again.0));
        }
    }
    tiers(input, plan, best, &mut found);
    let displaced: i64 = best.tiers.iter().map(|tier| tier.displaced).sum();
    let planned = displaced_weight(input, plan);
    if planned != displaced {
        found.push(format!("displaced weight {planned}, best {displaced}"));
    }
    found
}

/// With several waiting priorities the plan lists the served weight of each, highest first.
fn tiers(input: &PlanningInput, plan: &Plan, best: &Best, found: &mut Vec<String>) {
    let mut waiting: Vec<i32> = input.pending().iter().map(|pod| pod.priority).collect();
    waiting.sort_unstable_by(|a, b| b.cmp(a));
    waiting.dedup();
    let listed: Vec<(i32, i64, i64)> =
        plan.optimality.levels[0].tiers.iter().map(|tier| (tier.priority, tier.value, tier.bound)).collect();
    let expected: Vec<(i32, i64, i64)> = best
        .tiers
        .iter()
        .filter(|tier| waiting.contains(&tier.priority))
        .map(|tier| (tier.priority, tier.served, tier.served))
        .collect();
    let relevant: Vec<(i32, i64, i64)> = listed.iter().copied().filter(|tier| waiting.contains(&tier.0)).collect();
    if (waiting.len() > 1 || !relevant.is_empty()) && relevant != expected {
        found.push(format!("tiers (priority, value, bound) {listed:?}, best {expected:?}"));
    }
}

/// Weight of the evicted pods that the plan leaves without a place.
pub fn displaced_weight(input: &PlanningInput, plan: &Plan) -> i64 {
    let left = plan.nodes.iter().flat_map(|node| &node.evict).filter(|eviction| eviction.placed_on.is_none());
    left.map(|eviction| {
        let pod = input.running().iter().find(|pod| pod.pod.to_string() == eviction.pod);
        let demand = &pod.expect("a plan evicts pods of its input").demand;
        let slices = demand.iter().map(|(resource, count)| u64::from(count) * u64::from(input.slices_of(resource)));
        input.policy().weight.of(slices.sum()) as i64
    })
    .sum()
}
