//! Whether an operation is still worth what it costs, on what was just read.
//!
//! Inputs: a fresh [`PlanningInput`] in which nodes and demand of other operations are set aside, and the operation with those that it hangs
//! together with (they make room for its victims, or it for theirs). Output: a [`Judgement`]. Pure.
//!
//! An operation that evicts must beat the best that can be done without moving anybody, within the same budgets. One that evicts nobody must
//! serve more than the instances that are there.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::exec::Operation;
use crate::exec::port::Judgement;
use crate::model::{Budgets, DisruptionLevel, GpuId, Limit, PlanningInput, Reason};
use crate::plan::{Plan, ServedPod};
use crate::planner::{self, WorkLimit};

use super::hypothesis::{FIRST, Hypothesis, carried_out};

/// Weight by priority.
type Weights = BTreeMap<i32, i64>;

/// Judges operations that belong together, by node.
pub(super) fn judge(input: &PlanningInput, operations: &BTreeMap<String, &Operation>, work: u64) -> Judgement {
    match compare(input, operations, work) {
        Ok(()) => Judgement::Worthwhile,
        Err(why) => Judgement::Pointless(why),
    }
}

fn compare(input: &PlanningInput, operations: &BTreeMap<String, &Operation>, work: u64) -> Result<(), String> {
    let changed: usize = operations.values().map(|operation| operation.gpus.len()).sum();
    if changed == 0 {
        return Ok(());
    }
    let Hypothesis { input: after, landing, displaced, cost } = carried_out(input, operations)?;
    let evicts = !landing.is_empty() || !displaced.is_empty();
    let (before, after) = if evicts {
        (unmoved(input.clone()), within(unmoved(after), operations.len(), changed))
    } else {
        (frozen(input.clone()), frozen(after))
    };
    let (before, _) = weights(&before, work)?;
    let (after, served) = weights(&after, work)?;
    let lands: BTreeSet<&str> = served.iter().map(|served| served.uid.as_str()).collect();
    if let Some(pod) = landing.iter().find(|pod| !lands.contains(pod.uid.as_str())) {
        return Err(format!("pod {pod} would find no new place any more"));
    }
    if gain(&before, &after, &displaced) != Ordering::Greater {
        let other = if evicts { "the best change that moves nobody" } else { "the instances that are there" };
        return Err(format!("it would serve no more than {other}"));
    }
    let gained: i64 = after.values().sum::<i64>() - before.values().sum::<i64>();
    let factor = i64::from(input.policy().gain_factor.thousandths());
    if evicts && gained.saturating_mul(1000) < factor.saturating_mul(i64::try_from(cost).unwrap_or(i64::MAX)) {
        return Err(format!(
            "it would serve {gained} more for moves that cost {cost}, less than the gain factor asks for"
        ));
    }
    Ok(())
}

/// From the highest priority down: less displaced first, then more served.
fn gain(before: &Weights, after: &Weights, displaced: &Weights) -> Ordering {
    let tiers: BTreeSet<i32> = before.keys().chain(after.keys()).chain(displaced.keys()).copied().collect();
    let weight = |weights: &Weights, tier| weights.get(&tier).copied().unwrap_or(0);
    for tier in tiers.into_iter().rev() {
        let order = 0.cmp(&weight(displaced, tier)).then(weight(after, tier).cmp(&weight(before, tier)));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// The input under the rule that nobody is moved.
fn unmoved(input: PlanningInput) -> PlanningInput {
    let policy = crate::model::Policy { disruption: DisruptionLevel::IdleOnly, ..input.policy().clone() };
    input.with_policy(policy)
}

/// What the budgets leave when nodes and GPUs have been changed.
fn within(input: PlanningInput, nodes: usize, gpus: usize) -> PlanningInput {
    let Budgets { nodes: most_nodes, gpus: most_gpus, evictions } = input.policy().budgets;
    let left = |limit: Option<Limit>, of: usize, used: usize| {
        limit.map(|limit| Limit::Count(limit.of(of).saturating_sub(used as u64).try_into().unwrap_or(u32::MAX)))
    };
    let budgets = Budgets {
        nodes: left(most_nodes, input.nodes().len(), nodes),
        gpus: left(most_gpus, input.gpus().len(), gpus),
        evictions,
    };
    let policy = crate::model::Policy { budgets, ..input.policy().clone() };
    input.with_policy(policy)
}

/// The input with nothing to be changed.
fn frozen(mut input: PlanningInput) -> PlanningInput {
    for gpu in 0..input.gpus().len() {
        input.freeze_gpu(GpuId::new(gpu), Reason::PolicyForbids, "only what is there counts");
    }
    unmoved(input)
}

/// Served weight by priority, victims that land again left out; and who is served.
fn weights(input: &PlanningInput, work: u64) -> Result<(Weights, Vec<ServedPod>), String> {
    let planned = planner::plan(input, &mut WorkLimit::new(work)).map_err(|error| error.to_string())?;
    let Plan { served, optimality, .. } = planned.into_plan();
    let level = optimality.levels.first().ok_or("the plan states no levels")?;
    let mut weights: Weights = level.tiers.iter().map(|tier| (tier.priority, tier.value)).collect();
    if weights.is_empty()
        && let Some(pod) = input.pending().first()
    {
        weights.insert(pod.priority, level.value);
    }
    weights.remove(&FIRST);
    Ok((weights, served))
}
