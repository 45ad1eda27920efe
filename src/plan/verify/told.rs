//! What the document tells of a plan that stands: what served pods land on, why the others wait on, and how the changes are ordered.
//!
//! Reasons are held against what the input rules out. That no plan has room for a pod, or that the moves for it do not pay, only another
//! optimisation could tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::changes::Changes;
use super::pods::Served;
use super::violation::Violation;
use super::world::World;
use crate::model::{
    BudgetId, Demand, DisruptionLevel, Gpu, MigStrategy, Movability, NodeId, NodeSetId, Occupancy, PodId, Reason,
    ResourceId,
};
use crate::plan::document::{Plan, ServedBy};

/// Checks all of it.
pub(super) fn check(plan: &Plan, served: &[Served], changes: &Changes, world: &World<'_>, found: &mut Vec<Violation>) {
    steps(plan, found);
    landed_on(plan, served, changes, world, found);
    let binding = binds(changes, world);
    let mut surveys = BTreeMap::<(NodeSetId, ResourceId), Survey>::new();
    for unserved in &plan.unserved {
        let said = unserved.reason;
        let why = if let Some(position) = world.unplannable(&unserved.pod) {
            let known = world.input.unplannable()[position].reason;
            (said != known).then(|| format!("nothing can be promised to it for the reason {known}"))
        } else {
            world.pending(&unserved.pod).and_then(|position| {
                let pod = &world.input.pending()[position];
                for (resource, _) in pod.demand.iter() {
                    surveys
                        .entry((pod.eligible, resource))
                        .or_insert_with(|| Survey::new(world, pod.eligible, resource));
                }
                let of = |resource| &surveys[&(pod.eligible, resource)];
                contradiction(said, &pod.demand, of, binding, world).map(str::to_owned)
            })
        };
        if let Some(why) = why {
            found.push(Violation::Reason { pod: unserved.pod.clone(), found: said.to_string(), why });
        }
    }
}

/// Where instances are destroyed or created there are steps for it.
fn steps(plan: &Plan, found: &mut Vec<Violation>) {
    for node in plan.nodes.iter().filter(|node| node.steps.is_empty()) {
        if node.gpus.iter().any(|gpu| !gpu.destroy.is_empty() || !gpu.create.is_empty()) {
            let detail = "are missing, though instances are destroyed or created".to_owned();
            found.push(Violation::Steps { node: node.name.clone(), at: String::new(), detail });
        }
    }
}

/// On each node, in the order of the list, what is free now and stays serves first.
fn landed_on(plan: &Plan, served: &[Served], changes: &Changes, world: &World<'_>, found: &mut Vec<Violation>) {
    let mut free = BTreeMap::<NodeId, Vec<u64>>::new();
    for (listed, served) in plan.served.iter().zip(served) {
        let Some(node) = served.node else { continue };
        let left = free.entry(node).or_insert_with(|| free_and_kept(node, changes, world));
        let demand = &world.input.pending()[served.pending].demand;
        let existing = demand.iter().all(|(resource, count)| left[resource.index()] >= u64::from(count));
        if existing {
            for (resource, count) in demand.iter() {
                left[resource.index()] -= u64::from(count);
            }
        }
        let expected = if existing { ServedBy::Existing } else { ServedBy::Change };
        if listed.by != expected {
            let (said, expected) = (spelled(listed.by), spelled(expected));
            found.push(Violation::ServedBy { pod: listed.pod.clone(), found: said, expected });
        }
    }
}

fn spelled(by: ServedBy) -> &'static str {
    match by {
        ServedBy::Existing => "existing",
        ServedBy::Change => "change",
    }
}

/// Replicas that nobody holds before the change and that are not destroyed, by resource.
fn free_and_kept(node: NodeId, changes: &Changes, world: &World<'_>) -> Vec<u64> {
    let mut free = vec![0; world.input.resources().len()];
    for position in world.input.nodes()[node.index()].gpus.clone() {
        let gpu = &world.input.gpus()[position];
        for slot in changes.kept(position, gpu) {
            let instance = &gpu.instances[slot];
            let Some(offer) = gpu.offer(instance.placement.profile()) else { continue };
            let held = match &instance.occupancy {
                Occupancy::Free => 0,
                Occupancy::Busy(pods) => pods.len() as u64,
                Occupancy::Unknown => continue,
            };
            free[offer.resource.index()] += u64::from(offer.replicas).saturating_sub(held);
        }
    }
    free
}

/// What the nodes of a set could do for a resource.
#[derive(Debug, Default)]
struct Survey {
    /// Most units that one node could ever hold.
    most: u64,
    /// Why GPUs that could hold it must not be changed.
    frozen: BTreeSet<Reason>,
    /// Whether a pod on such a GPU never moves.
    protected: bool,
    /// Whether a pod on such a GPU is kept there by the policy or the strategy of its node.
    kept: bool,
}

impl Survey {
    fn new(world: &World<'_>, eligible: NodeSetId, resource: ResourceId) -> Self {
        let mut survey = Self::default();
        let mut known: Option<(&Gpu, u64)> = None;
        let policy = world.input.policy();
        for (position, node) in world.input.nodes().iter().enumerate() {
            if !world.input.may_use(eligible, NodeId::new(position)) {
                continue;
            }
            let mut here = 0;
            for gpu in &world.input.gpus()[node.gpus.clone()] {
                let most = match known {
                    Some((other, most))
                        if Arc::ptr_eq(&other.geometry, &gpu.geometry) && Arc::ptr_eq(&other.offers, &gpu.offers) =>
                    {
                        most
                    }
                    Some(_) | None => most_units(gpu, resource),
                };
                known = Some((gpu, most));
                if most == 0 {
                    continue;
                }
                here += most;
                survey.frozen.extend(gpu.frozen.as_ref().map(|(reason, _)| *reason));
                for pod in held(gpu) {
                    let pod = world.pod(pod);
                    let never = matches!(pod.movability, Movability::Never(..));
                    survey.protected |= never;
                    let fixed = node.strategy == MigStrategy::Single || policy.stability.pod_move_cap == Some(0);
                    survey.kept |= !never && (fixed || !pod.movable_at(policy.disruption));
                }
            }
            survey.most = survey.most.max(here);
        }
        survey
    }
}

/// Most units of a resource that an empty board could offer.
fn most_units(gpu: &Gpu, resource: ResourceId) -> u64 {
    let units = gpu.geometry.profile_ids().filter_map(|id| {
        let offer = gpu.offer(id).filter(|offer| offer.resource == resource)?;
        let profile = gpu.geometry.profile(id);
        let placeable = profile.size.is_some() && !profile.starts.is_empty();
        placeable.then(|| u64::from(profile.max_count) * u64::from(offer.replicas))
    });
    units.max().unwrap_or(0)
}

fn held(gpu: &Gpu) -> impl Iterator<Item = PodId> + '_ {
    let pods = gpu.instances.iter().map(|instance| match &instance.occupancy {
        Occupancy::Busy(pods) => pods.as_slice(),
        Occupancy::Free | Occupancy::Unknown => &[],
    });
    pods.flatten().copied()
}

/// Why a reason cannot be that of a pod, if it cannot.
fn contradiction<'a>(
    said: Reason,
    demand: &Demand,
    of: impl Fn(ResourceId) -> &'a Survey,
    binding: bool,
    world: &World<'_>,
) -> Option<&'static str> {
    let policy = world.input.policy();
    let any = |holds: &dyn Fn(&Survey) -> bool| demand.iter().any(|(resource, _)| holds(of(resource)));
    let impossible = demand.iter().any(|(resource, count)| of(resource).most < u64::from(count));
    if impossible && said != Reason::Unsatisfiable {
        return Some("no node that it may use could ever hold it");
    }
    if any(&|survey| survey.frozen.contains(&said)) {
        return None;
    }
    let moves = policy.disruption != DisruptionLevel::IdleOnly;
    match said {
        Reason::Unsatisfiable => (!impossible).then_some("a node that it may use could hold it"),
        Reason::BudgetExhausted => (!binding).then_some("every budget leaves enough for one more change"),
        Reason::BlockedByPod => {
            (!any(&|survey| survey.protected)).then_some("every pod on the GPUs that it could use may be moved")
        }
        Reason::PolicyForbids => (!any(&|survey| survey.kept))
            .then_some("the policy keeps no pod on the GPUs that it could use, and no such GPU from being changed"),
        Reason::NotWorthDisruption => {
            (!moves || policy.gain_factor.thousandths() == 0).then_some("the policy asks for no gain, or moves nobody")
        }
        Reason::WaitingForCapacity => None,
        Reason::CoolingDown | Reason::NotModelled | Reason::WaitingForExecution => {
            Some("that is the reason of no GPU that it could use")
        }
    }
}

/// Whether some budget leaves less than one more GPU could take.
fn binds(changes: &Changes, world: &World<'_>) -> bool {
    let input = world.input;
    let policy = input.policy();
    let short = |allowed: Option<u64>, used: usize, need: u64| {
        allowed.is_some_and(|allowed| allowed < (used as u64).saturating_add(need))
    };
    let single = input.nodes().iter().filter(|node| node.strategy == MigStrategy::Single);
    let gpus = single.map(|node| node.gpus.len() as u64).max().unwrap_or(1).max(1);
    if short(policy.budgets.nodes.map(|limit| limit.of(input.nodes().len())), changes.nodes.len(), 1)
        || short(policy.budgets.gpus.map(|limit| limit.of(input.gpus().len())), changes.gpus.len(), gpus)
    {
        return true;
    }
    if policy.disruption == DisruptionLevel::IdleOnly {
        return false;
    }
    let mut used = BTreeMap::<BudgetId, u64>::new();
    for &budget in changes.evicted.keys().flat_map(|&pod| &world.pod(pod).budgets) {
        *used.entry(budget).or_default() += 1;
    }
    input.gpus().iter().any(|gpu| {
        let pods: BTreeSet<PodId> = held(gpu).collect();
        let mut under = BTreeMap::<BudgetId, u64>::new();
        for &budget in pods.iter().flat_map(|&pod| &world.pod(pod).budgets) {
            *under.entry(budget).or_default() += 1;
        }
        let overdrawn = |(budget, need): (&BudgetId, &u64)| {
            let used = used.get(budget).copied().unwrap_or(0);
            u64::from(input.budgets()[budget.index()].allowed) < used + need
        };
        short(policy.budgets.evictions.map(u64::from), changes.evicted.len(), pods.len() as u64)
            || under.iter().any(overdrawn)
    })
}
