//! Rules 6 and 8: budgets, and the gain that moves must bring.
//!
//! Rule 8 compares with W0, the served weight of the best plan that evicts nobody, which only another optimisation could
//! tell. What is decidable is checked: W0 is never negative, so the whole served weight must reach the factor times the
//! cost. A plan that passes may still gain less than the factor asks for; the planner's tests cover that with the
//! brute-force oracle.

use std::collections::BTreeMap;

use super::changes::Changes;
use super::objective::{cost, weight};
use super::pods::Served;
use super::violation::Violation;
use super::world::World;
use crate::model::BudgetId;

/// Checks all limits.
pub(super) fn check(served: &[Served], changes: &Changes, world: &World<'_>, found: &mut Vec<Violation>) {
    let mut evicted: BTreeMap<BudgetId, u64> = BTreeMap::new();
    for &budget in changes.evicted.keys().flat_map(|&pod| &world.pod(pod).budgets) {
        *evicted.entry(budget).or_default() += 1;
    }
    for (budget, evicted) in evicted {
        let allowed = world.input.budgets()[budget.index()].allowed;
        if evicted > u64::from(allowed) {
            let budget = world.budget_name(budget).to_owned();
            found.push(Violation::DisruptionBudget { budget, evicted, allowed });
        }
    }
    let budgets = world.input.policy().budgets;
    let over = |count: usize, allowed: Option<u64>| {
        let count = count as u64;
        allowed.filter(|&allowed| count > allowed).map(|allowed| (count, allowed))
    };
    let nodes = budgets.nodes.map(|limit| limit.of(world.input.nodes().len()));
    if let Some((found_, allowed)) = over(changes.nodes.len(), nodes) {
        found.push(Violation::NodeBudget { found: found_, allowed });
    }
    let gpus = budgets.gpus.map(|limit| limit.of(world.input.gpus().len()));
    if let Some((found_, allowed)) = over(changes.gpus.len(), gpus) {
        found.push(Violation::GpuBudget { found: found_, allowed });
    }
    if let Some((found_, allowed)) = over(changes.evicted.len(), budgets.evictions.map(u64::from)) {
        found.push(Violation::EvictionBudget { found: found_, allowed });
    }
    gain(served, changes, world, found);
}

fn gain(served: &[Served], changes: &Changes, world: &World<'_>, found: &mut Vec<Violation>) {
    let thousandths = world.input.policy().gain_factor.thousandths();
    if thousandths == 0 || changes.evicted.is_empty() {
        return;
    }
    let served: u64 = served.iter().map(|served| weight(served, world)).sum();
    let cost = cost(changes, world);
    if u128::from(served) * 1000 < u128::from(thousandths) * u128::from(cost) {
        let factor = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
        found.push(Violation::Gain { served, cost, factor });
    }
}
