//! Why a waiting pod finds no place, and what a reader of the plan should know.

use std::collections::BTreeMap;

use crate::model::{
    Budgets, Demand, DisruptionLevel, Gpu, Limit, Movability, NodeId, NodeSetId, Occupancy, PlanningInput, Reason,
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
            .or_insert_with(|| verdict(scope, pod.eligible, &pod.demand, spent.as_deref()))
            .clone();
        pods.push(UnservedPod { pod: pod.pod.to_string(), reason, detail, action });
    }
    pods.sort_by(|a, b| a.pod.cmp(&b.pod));
    pods
}

/// Which budget of the policy the plan uses up, in words.
fn spent_budget(input: &PlanningInput, changes: &Changes) -> Option<String> {
    let Budgets { nodes, gpus, evictions } = input.policy().budgets;
    let full = |used: usize, limit: Option<u64>, what: &str| {
        limit.filter(|&limit| used as u64 >= limit).map(|limit| format!("{what} ({limit} per cycle)"))
    };
    full(changes.touched_nodes.len(), nodes.map(|limit| limit.of(input.nodes().len())), "nodes")
        .or_else(|| full(changes.gpus.len(), gpus.map(|limit| limit.of(input.gpus().len())), "GPUs"))
        .or_else(|| full(changes.evicted.len(), evictions.map(u64::from), "evictions"))
}

/// GPUs that a pod could use, by what stands in its way.
#[derive(Default)]
struct Survey {
    /// GPUs on eligible nodes that offer the resource.
    offering: usize,
    frozen: Option<(Reason, String)>,
    frozen_count: usize,
    /// GPUs where pods that never move leave no legal place.
    pinned: usize,
    pinned_by: Option<(String, String)>,
    /// Most instances of the resource that one node could hold.
    most_on_a_node: u64,
}

fn survey(scope: &Scope<'_>, eligible: NodeSetId, resource: ResourceId) -> Survey {
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
            if let Some(frozen) = &gpu.frozen {
                survey.frozen_count += 1;
                survey.frozen.get_or_insert_with(|| frozen.clone());
            } else if let Some(pod) = pinned(input, gpu, resource) {
                survey.pinned += 1;
                survey.pinned_by.get_or_insert(pod);
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

/// The first pod that never moves, when such pods leave no place for an instance on a GPU.
fn pinned(input: &PlanningInput, gpu: &Gpu, resource: ResourceId) -> Option<(String, String)> {
    let mut first = None;
    let mut blocked = Vec::new();
    for instance in &gpu.instances {
        match &instance.occupancy {
            Occupancy::Free => {}
            Occupancy::Unknown => blocked.push(instance.placement),
            Occupancy::Busy(pods) => {
                for pod in pods {
                    let pod = &input.running()[pod.index()];
                    if let Movability::Never(_, why) = &pod.movability {
                        blocked.push(instance.placement);
                        first.get_or_insert_with(|| (pod.pod.to_string(), why.clone()));
                    }
                }
            }
        }
    }
    let open = gpu.geometry.placements().any(|placement| {
        gpu.offer(placement.profile()).is_some_and(|offer| offer.resource == resource)
            && blocked.iter().all(|other| !other.overlaps(placement))
    });
    if open { None } else { first }
}

fn verdict(scope: &Scope<'_>, eligible: NodeSetId, demand: &Demand, spent: Option<&str>) -> Verdict {
    let input = scope.input;
    for (resource, count) in demand.iter() {
        let name = &input.resources()[resource.index()];
        let survey = survey(scope, eligible, resource);
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
        if let Some((reason, why)) = survey.frozen.filter(|_| survey.frozen_count == survey.offering) {
            return (
                reason,
                format!("all {} GPUs that could offer {name} must be left as they are: {why}", survey.offering),
                "see the reason given for the GPUs with `retile explain gpu NODE/INDEX`".to_owned(),
            );
        }
        if let Some((pod, why)) = survey.pinned_by.filter(|_| survey.pinned + survey.frozen_count == survey.offering) {
            return (
                Reason::BlockedByPod,
                format!("pods that may not be moved leave no place for {name}, such as {pod}: {why}"),
                format!("wait for {pod} to end, or allow it to be moved"),
            );
        }
    }
    crowded(scope, spent)
}

/// Room exists in principle; say what keeps it from the pod now.
fn crowded(scope: &Scope<'_>, spent: Option<&str>) -> Verdict {
    if let Some(budget) = spent {
        return (
            Reason::BudgetExhausted,
            format!("the plan uses up the budget for {budget}"),
            "wait for the next cycle, or raise the budget of the policy".to_owned(),
        );
    }
    let held = |level: DisruptionLevel| scope.input.running().iter().any(|pod| pod.movable_at(level));
    match scope.level {
        DisruptionLevel::IdleOnly if held(DisruptionLevel::Balanced) => (
            Reason::WaitingForCapacity,
            "no layout of the free slots has room for it, and idle-only moves no running pod".to_owned(),
            "wait for running pods to end, or plan with --disruption balanced".to_owned(),
        ),
        DisruptionLevel::Balanced if held(DisruptionLevel::Aggressive) && scope.baseline.is_none() => (
            Reason::WaitingForCapacity,
            "no legal layout has room for it, also when every pod that balanced may move is moved".to_owned(),
            "wait for running pods to end, add a GPU, or look at --disruption aggressive".to_owned(),
        ),
        DisruptionLevel::Balanced | DisruptionLevel::Aggressive if scope.baseline.is_some() => (
            Reason::NotWorthDisruption,
            "room could only come from moves whose gain does not reach the policy's gainFactor".to_owned(),
            "wait for running pods to end, or lower disruption.gainFactor".to_owned(),
        ),
        DisruptionLevel::IdleOnly | DisruptionLevel::Balanced | DisruptionLevel::Aggressive => (
            Reason::WaitingForCapacity,
            "the GPUs that it may use are full: no legal layout has room for it".to_owned(),
            "wait for running pods to end, or add a GPU".to_owned(),
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
