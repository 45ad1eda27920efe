//! Why a waiting pod finds no place, and what a reader of the plan should know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::{cmp, fmt};

use crate::model::{
    Budgets, Demand, Gpu, Limit, Movability, NodeId, NodeSetId, Occupancy, Placement, PlanningInput, PodId, PodRef,
    Reason, ResourceId,
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
    let mut obstacles = Obstacles::new(scope, &used_up);
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
            .or_insert_with(|| verdict(&mut obstacles, pod.eligible, &pod.demand, spent.as_deref()))
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

/// A pod, ordered as its name is as text.
#[derive(Debug, Clone, Copy)]
struct Name<'a>(&'a PodRef);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Ord for Name<'_> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        let text = |name: &Self| {
            let PodRef { namespace, name, uid: _ } = name.0;
            namespace.bytes().chain([b'/']).chain(name.bytes())
        };
        text(self).cmp(text(other))
    }
}

impl PartialOrd for Name<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Name<'_> {}

/// Why the pods on a GPU leave no place, from never to soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pin<'a> {
    /// A budget allows no further eviction: its name, and a pod that it protects.
    Budget(&'a str, Name<'a>),
    /// The disruption level moves no such pod: the pod.
    Level(Name<'a>),
    /// A pod that never moves, and why.
    Pod(Name<'a>, &'a str),
}

/// GPUs that a pod could use, by what stands in its way.
#[derive(Default)]
struct Survey<'a> {
    /// GPUs on eligible nodes that offer the resource.
    offering: usize,
    /// One that is frozen: `node/index`, and why.
    frozen: Option<(String, Reason, String)>,
    frozen_count: usize,
    /// GPUs on which no legal place is left by what may not go, and what that is on one of them.
    pinned: usize,
    pinned_by: Option<Pin<'a>>,
    /// Most instances of the resource that one node could hold.
    most_on_a_node: u64,
}

/// Where an empty board could offer a resource, and the most units of it there.
#[derive(Debug, Clone, Default)]
struct Room {
    most: u64,
    places: Vec<Placement>,
}

/// What stands in the way of each resource on each GPU, worked out when it is first asked for: pools overlap, so many pods ask the same.
struct Obstacles<'a> {
    scope: &'a Scope<'a>,
    used_up: &'a UsedUp,
    /// By resource, then by GPU.
    pinned: BTreeMap<ResourceId, Vec<Looked<'a>>>,
}

/// What was seen when a GPU was looked at.
#[derive(Clone, Copy)]
enum Looked<'a> {
    NotYet,
    At(Option<Pin<'a>>),
}

impl<'a> Obstacles<'a> {
    fn new(scope: &'a Scope<'a>, used_up: &'a UsedUp) -> Self {
        Self { scope, used_up, pinned: BTreeMap::new() }
    }

    fn survey(&mut self, eligible: NodeSetId, resource: ResourceId) -> Survey<'a> {
        let (scope, used_up) = (self.scope, self.used_up);
        let input = scope.input;
        let pinned_of = self.pinned.entry(resource).or_insert_with(|| vec![Looked::NotYet; input.gpus().len()]);
        let mut survey = Survey::default();
        let mut seen: Option<(&Gpu, Room)> = None;
        for (position, node) in input.nodes().iter().enumerate() {
            if !input.may_use(eligible, NodeId::new(position)) {
                continue;
            }
            let mut on_node = 0;
            for position in node.gpus.clone() {
                let gpu = &input.gpus()[position];
                let alike = |other: &Gpu| {
                    Arc::ptr_eq(&other.geometry, &gpu.geometry) && Arc::ptr_eq(&other.offers, &gpu.offers)
                };
                let (_, room) = match seen.take() {
                    Some((other, room)) if alike(other) => seen.insert((gpu, room)),
                    Some(_) | None => seen.insert((gpu, room(gpu, resource))),
                };
                if room.most == 0 {
                    continue;
                }
                on_node += room.most;
                survey.offering += 1;
                if let Some((reason, why)) = &gpu.frozen {
                    survey.frozen_count += 1;
                    let of = || (format!("{}/{}", node.name, gpu.index), *reason, why.clone());
                    survey.frozen.get_or_insert_with(of);
                    continue;
                }
                let seen = match pinned_of[position] {
                    Looked::At(seen) => seen,
                    Looked::NotYet => pinned(scope, used_up, gpu, &room.places),
                };
                pinned_of[position] = Looked::At(seen);
                if let Some(pin) = seen {
                    survey.pinned += 1;
                    // What is nearest to being lifted is the one to name.
                    survey.pinned_by = Some(survey.pinned_by.map_or(pin, |known| known.min(pin)));
                }
            }
            survey.most_on_a_node = survey.most_on_a_node.max(on_node);
        }
        survey
    }
}

fn room(gpu: &Gpu, resource: ResourceId) -> Room {
    let offering = |id| gpu.offer(id).filter(|offer| offer.resource == resource);
    let units = gpu.geometry.profile_ids().filter_map(|id| {
        let offer = offering(id)?;
        let profile = gpu.geometry.profile(id);
        Some(u64::from(profile.max_count) * u64::from(offer.replicas) * u64::from(profile.placeable()))
    });
    let places = gpu.geometry.placements().filter(|placement| offering(placement.profile()).is_some());
    Room { most: units.max().unwrap_or(0), places: places.collect() }
}

/// What leaves none of the places on a GPU, if something does: pods that never move, then those that the level or an
/// exhausted budget keeps.
fn pinned<'a>(scope: &'a Scope<'_>, used_up: &UsedUp, gpu: &Gpu, places: &[Placement]) -> Option<Pin<'a>> {
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
    let open = |blocked: &[Placement]| places.iter().any(|&place| blocked.iter().all(|other| !other.overlaps(place)));
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
fn pin_of<'a>(scope: &'a Scope<'_>, used_up: &UsedUp, pod: PodId) -> Option<Pin<'a>> {
    let input = scope.input;
    let of = &input.running()[pod.index()];
    if let Movability::Never(_, why) = &of.movability {
        return Some(Pin::Pod(Name(&of.pod), why));
    }
    if !scope.movable[pod.index()] {
        return Some(Pin::Level(Name(&of.pod)));
    }
    if used_up.evicted.contains(&pod) {
        return None;
    }
    let spent = of.budgets.iter().find(|budget| used_up.budgets[budget.index()])?;
    Some(Pin::Budget(&input.budgets()[spent.index()].name, Name(&of.pod)))
}

fn verdict(obstacles: &mut Obstacles<'_>, eligible: NodeSetId, demand: &Demand, spent: Option<&str>) -> Verdict {
    let scope = obstacles.scope;
    let input = scope.input;
    for (resource, count) in demand.iter() {
        let name = &input.resources()[resource.index()];
        let survey = obstacles.survey(eligible, resource);
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
fn blocked(scope: &Scope<'_>, resource: &str, pin: Pin<'_>) -> Verdict {
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
