//! Why a waiting pod finds no place, and what a reader of the plan should know.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Budgets, Demand, Gpu, Limit, Movability, NodeId, NodeSetId, Occupancy, Placement, PlanningInput, PodId, Reason,
    ResourceId,
};
use crate::plan::{Summary, UnservedPod};

use super::assign::Landings;
use super::decode::Changes;
use super::scope::Scope;

/// Reason, words and remedy.
type Verdict = (Reason, String, String);

/// Every waiting pod without a place, plannable or not.
pub(super) fn unserved(scope: &Scope<'_>, landings: &Landings, changes: &Changes) -> Vec<UnservedPod> {
    let input = scope.input;
    let spent = spent_budget(input, changes);
    let used_up = used_up(input, changes);
    let mut verdicts = BTreeMap::<(NodeSetId, &Demand), Verdict>::new();
    let mut pods: Vec<UnservedPod> = input
        .unplannable()
        .iter()
        .map(|pod| UnservedPod {
            pod: pod.pod.to_string(),
            reason: pod.reason,
            detail: pod.detail.clone(),
            action: pod.action.clone(),
        })
        .collect();
    for (position, pod) in input.pending().iter().enumerate() {
        if landings.served.contains_key(&position) {
            continue;
        }
        let (reason, detail, action) = verdicts
            .entry((pod.eligible, &pod.demand))
            .or_insert_with(|| verdict(scope, &used_up, pod.eligible, &pod.demand, spent.as_deref()))
            .clone();
        pods.push(UnservedPod { pod: pod.pod.to_string(), reason, detail, action });
    }
    pods.sort_by(|a, b| a.pod.cmp(&b.pod));
    pods
}

/// What evictions the plan leaves.
struct UsedUp {
    evicted: BTreeSet<PodId>,
    /// Per `PodDisruptionBudget`: whether it allows no further eviction.
    budgets: Vec<bool>,
}

fn used_up(input: &PlanningInput, changes: &Changes) -> UsedUp {
    let mut left: Vec<i64> = input.budgets().iter().map(|budget| i64::from(budget.allowed)).collect();
    for &pod in &changes.evicted {
        for budget in &input.running()[pod.index()].budgets {
            left[budget.index()] -= 1;
        }
    }
    UsedUp { evicted: changes.evicted.clone(), budgets: left.into_iter().map(|left| left <= 0).collect() }
}

/// Which budget of the policy the plan uses up, in words; budgets that leave nothing more to use are not to blame.
fn spent_budget(input: &PlanningInput, changes: &Changes) -> Option<String> {
    let Budgets { nodes, gpus, evictions } = input.policy().budgets;
    let full = |used: usize, of: usize, limit: Option<u64>, what: &str| {
        limit.filter(|&limit| used as u64 >= limit && used < of).map(|limit| format!("{what} ({limit} per cycle)"))
    };
    let (all_nodes, all_gpus) = (input.nodes().len(), input.gpus().len());
    full(changes.evicted.len(), usize::MAX, evictions.map(u64::from), "evictions")
        .or_else(|| full(changes.gpus.len(), all_gpus, gpus.map(|limit| limit.of(all_gpus)), "GPUs"))
        .or_else(|| full(changes.touched_nodes.len(), all_nodes, nodes.map(|limit| limit.of(all_nodes)), "nodes"))
}

/// Why the pods on a GPU leave no place, from never to soon.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pin {
    /// A budget allows no further eviction: its name, and a pod that it protects.
    Budget(String, String),
    /// The disruption level moves no such pod: the pod.
    Level(String),
    /// A pod that never moves, and why.
    Pod(String, String),
}

/// GPUs that a pod could use, by what stands in its way.
#[derive(Default)]
struct Survey {
    /// GPUs on eligible nodes that offer the resource.
    offering: usize,
    /// One that is frozen: `node/index`, and why.
    frozen: Option<(String, Reason, String)>,
    frozen_count: usize,
    /// GPUs on which no legal place is left by what may not go, and what that is on one of them.
    pinned: usize,
    pinned_by: Option<Pin>,
    /// Most instances of the resource that one node could hold.
    most_on_a_node: u64,
}

fn survey(scope: &Scope<'_>, used_up: &UsedUp, eligible: NodeSetId, resource: ResourceId) -> Survey {
    let input = scope.input;
    let mut survey = Survey::default();
    for (position, node) in input.nodes().iter().enumerate() {
        if !input.may_use(eligible, NodeId::new(position)) {
            continue;
        }
        let mut on_node = 0;
        for gpu in &input.gpus()[node.gpus.clone()] {
            let most = most_instances(gpu, resource);
            if most == 0 {
                continue;
            }
            on_node += most;
            survey.offering += 1;
            if let Some((reason, why)) = &gpu.frozen {
                survey.frozen_count += 1;
                let of = || (format!("{}/{}", node.name, gpu.index), *reason, why.clone());
                survey.frozen.get_or_insert_with(of);
            } else if let Some(pin) = pinned(scope, used_up, gpu, resource) {
                survey.pinned += 1;
                // What is nearest to being lifted is the one to name.
                let nearest = survey.pinned_by.take().map_or(pin.clone(), |known| known.min(pin));
                survey.pinned_by = Some(nearest);
            }
        }
        survey.most_on_a_node = survey.most_on_a_node.max(on_node);
    }
    survey
}

/// Most units of a resource that an empty GPU could offer.
fn most_instances(gpu: &Gpu, resource: ResourceId) -> u64 {
    gpu.geometry
        .profile_ids()
        .filter_map(|id| {
            let offer = gpu.offer(id).filter(|offer| offer.resource == resource)?;
            let profile = gpu.geometry.profile(id);
            Some(u64::from(profile.max_count) * u64::from(offer.replicas) * u64::from(profile.placeable()))
        })
        .max()
        .unwrap_or(0)
}

/// What leaves no place for an instance on a GPU, if something does: pods that never move, then those that the level or an
/// exhausted budget keeps.
fn pinned(scope: &Scope<'_>, used_up: &UsedUp, gpu: &Gpu, resource: ResourceId) -> Option<Pin> {
    let mut blocked = Vec::new();
    let mut pins = Vec::new();
    for instance in &gpu.instances {
        match &instance.occupancy {
            Occupancy::Free => {}
            Occupancy::Unknown => blocked.push(instance.placement),
            Occupancy::Busy(pods) => {
                let pin = pods.iter().filter_map(|&pod| pin_of(scope, used_up, pod)).max();
                pins.extend(pin.map(|pin| (pin, instance.placement)));
            }
        }
    }
    let open = |blocked: &[Placement]| {
        gpu.geometry.placements().any(|placement| {
            gpu.offer(placement.profile()).is_some_and(|offer| offer.resource == resource)
                && blocked.iter().all(|other| !other.overlaps(placement))
        })
    };
    pins.sort_by(|a, b| b.cmp(a));
    for (pin, placement) in pins {
        blocked.push(placement);
        if !open(&blocked) {
            return Some(pin);
        }
    }
    None
}

/// What keeps a pod where it is, if something does.
fn pin_of(scope: &Scope<'_>, used_up: &UsedUp, pod: PodId) -> Option<Pin> {
    let input = scope.input;
    let of = &input.running()[pod.index()];
    let name = || of.pod.to_string();
    if let Movability::Never(_, why) = &of.movability {
        return Some(Pin::Pod(name(), why.clone()));
    }
    if !scope.movable[pod.index()] {
        return Some(Pin::Level(name()));
    }
    if used_up.evicted.contains(&pod) {
        return None;
    }
    let spent = of.budgets.iter().find(|budget| used_up.budgets[budget.index()])?;
    Some(Pin::Budget(input.budgets()[spent.index()].name.clone(), name()))
}

fn verdict(scope: &Scope<'_>, used_up: &UsedUp, eligible: NodeSetId, demand: &Demand, spent: Option<&str>) -> Verdict {
    let input = scope.input;
    for (resource, count) in demand.iter() {
        let name = &input.resources()[resource.index()];
        let survey = survey(scope, used_up, eligible, resource);
        if survey.offering == 0 {
            return (
                Reason::Unsatisfiable,
                format!("no node that the pod may use has a GPU that can offer {name}"),
                "ask for a profile that the cluster's GPUs have, or widen the pod's node selection".to_owned(),
            );
        }
        if survey.most_on_a_node < u64::from(count) {
            return (
                Reason::Unsatisfiable,
                format!(
                    "it asks for {count} of {name} on one node; no node can hold more than {}",
                    survey.most_on_a_node
                ),
                "split the pod, or ask for fewer instances".to_owned(),
            );
        }
        if let Some((gpu, reason, why)) = survey.frozen.filter(|_| survey.frozen_count == survey.offering) {
            return (
                reason,
                format!("all {} GPUs that could offer {name} must be left as they are: {why}", survey.offering),
                format!(
                    "mend what keeps them; `retile explain gpu {gpu}` tells it for that one, with --live or the export"
                ),
            );
        }
        if let Some(pin) = survey.pinned_by.filter(|_| survey.pinned + survey.frozen_count == survey.offering) {
            return blocked(scope, name, pin);
        }
    }
    crowded(scope, spent)
}

/// Every GPU is blocked by pods that may not go.
fn blocked(scope: &Scope<'_>, resource: &str, pin: Pin) -> Verdict {
    match pin {
        Pin::Pod(pod, why) => (
            Reason::BlockedByPod,
            format!("pods that may not be moved leave no place for {resource}, such as {pod}: {why}"),
            format!("wait for {pod} to end, or allow it to be moved"),
        ),
        Pin::Level(pod) => (
            Reason::PolicyForbids,
            format!("pods that {} does not move leave no place for {resource}, such as {pod}", scope.level.as_flag()),
            format!("wait for {pod} to end, or plan at a higher disruption level"),
        ),
        Pin::Budget(budget, pod) => (
            Reason::BudgetExhausted,
            format!(
                "pods whose PodDisruptionBudget allows no further eviction leave no place for {resource}, such as {pod} \
                 under {budget}"
            ),
            format!("wait until {budget} allows evictions again, or relax it"),
        ),
    }
}

/// Room exists in principle; say what keeps it from the pod now.
fn crowded(scope: &Scope<'_>, spent: Option<&str>) -> Verdict {
    if let Some(budget) = spent {
        return (
            Reason::BudgetExhausted,
            format!("the plan uses up the budget for {budget}"),
            "wait for the next cycle, or raise that budget of the policy".to_owned(),
        );
    }
    let budgets = scope.input.policy().budgets;
    let limited = budgets.nodes.is_some() || budgets.gpus.is_some() || budgets.evictions.is_some();
    match (scope.baseline.is_some(), limited) {
        (_, true) => (
            Reason::BudgetExhausted,
            "no plan within the policy's budgets and gainFactor has room for it".to_owned(),
            "wait for running pods to end, or raise the budgets of the policy".to_owned(),
        ),
        (true, false) => (
            Reason::NotWorthDisruption,
            "room could only come from moves whose gain does not reach the policy's gainFactor".to_owned(),
            "wait for running pods to end, or lower disruption.gainFactor".to_owned(),
        ),
        (false, false) => (
            Reason::WaitingForCapacity,
            "no plan has room for it as well: what there is goes to demand that comes first, or the nodes lack another \
             resource that it asks for, such as CPU"
                .to_owned(),
            "wait for running pods to end or add a GPU; `retile explain pod` tells what would make room".to_owned(),
        ),
    }
}

/// What a reader should know besides the changes.
pub(super) fn notes(input: &PlanningInput, summary: &Summary) -> Vec<String> {
    let mut notes = Vec::new();
    if summary.placements_assumed {
        notes.push(
            "placements assumed: the export has no MigNode objects, so the places of instances and who holds them were \
             inferred from counts"
                .to_owned(),
        );
    }
    if !input.policy_given() && summary.gpus_changed > 0 {
        let per = |used: u64, limit: u64| used.div_ceil(limit.max(1));
        let nodes = per(summary.nodes_changed, Limit::Percent(10).of(input.nodes().len()));
        let gpus = per(summary.gpus_changed, Limit::Percent(10).of(input.gpus().len()));
        let cycles = nodes.max(gpus).max(per(summary.evicted_pods, 5));
        notes.push(format!(
            "no policy was given: this is everything that would pay; the default budgets (10% of nodes, 10% of GPUs, \
             5 evictions per cycle) would spread it over {cycles} cycle{}",
            if cycles == 1 { "" } else { "s" }
        ));
    }
    notes.extend(input.findings().iter().map(|finding| format!("{}: {}", finding.object, finding.message)));
    notes
}
