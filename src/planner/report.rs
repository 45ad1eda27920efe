//! Why a waiting pod finds no place, and what a reader of the plan should know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::{cmp, fmt};

use crate::model::{
    Demand, Gpu, Limit, Movability, NodeId, NodeSetId, Occupancy, Placement, PlanningInput, PodId, PodRef, Reason,
    ResourceId,
};
use crate::plan::{Optimality, Status, Summary, UnservedPod};

use super::assign::Landings;
use super::decode::Changes;
use super::headroom::{Headroom, Outlook, Shortage, Use};
use super::scope::Scope;

/// Reason, words and remedy.
type Verdict = (Reason, String, String);

/// Every waiting pod without a place, plannable or not.
pub(super) fn unserved(
    scope: &Scope<'_>,
    landings: &Landings,
    changes: &Changes,
    optimality: &Optimality,
) -> Vec<UnservedPod> {
    let input = scope.input;
    let proven = Proven::new(landings, optimality);
    let mut obstacles = Obstacles::new(scope, Headroom::new(scope, landings, changes));
    let mut verdicts = BTreeMap::<(NodeSetId, bool, &Demand), Verdict>::new();
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
        let proven = proven.of(pod.priority);
        let (reason, detail, action) = verdicts
            .entry((pod.eligible, proven, &pod.demand))
            .or_insert_with(|| verdict(&mut obstacles, pod.eligible, &pod.demand, proven))
            .clone();
        pods.push(UnservedPod { pod: pod.pod.to_string(), reason, detail, action });
    }
    pods.sort_by(|a, b| a.pod.cmp(&b.pod));
    pods
}

/// Of which pods it is proven that no plan serves more of their kind.
struct Proven {
    /// The highest priority of which it is not; none where all is proven.
    open: Option<i32>,
}

impl Proven {
    fn new(landings: &Landings, optimality: &Optimality) -> Self {
        let served = optimality.levels.first();
        let tiers = served.map_or(&[][..], |level| level.tiers.as_slice());
        let tier = tiers.iter().find(|tier| tier.value != tier.bound).map(|tier| tier.priority);
        // The weight that is displaced is a level of its own, which the document does not state.
        let displaced = landings.moved.values().any(Option::is_none) && optimality.status == Status::Feasible;
        let whole = displaced || tiers.is_empty() && served.is_some_and(|level| level.value != level.bound);
        Self { open: if whole { Some(i32::MAX) } else { tier } }
    }

    fn of(&self, priority: i32) -> bool {
        self.open.is_none_or(|open| priority > open)
    }
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
    /// A budget allows no further eviction: its name, a pod that it protects, and its position.
    Budget(&'a str, Name<'a>, usize),
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
pub(super) struct Room {
    most: u64,
    pub(super) places: Vec<Placement>,
}

/// What stands in the way of each resource on each GPU, worked out when it is first asked for: pools overlap, so many pods ask the same.
struct Obstacles<'a> {
    scope: &'a Scope<'a>,
    headroom: Headroom<'a>,
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
    fn new(scope: &'a Scope<'a>, headroom: Headroom<'a>) -> Self {
        Self { scope, headroom, pinned: BTreeMap::new() }
    }

    fn survey(&mut self, eligible: NodeSetId, resource: ResourceId) -> Survey<'a> {
        let (scope, headroom) = (self.scope, &self.headroom);
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
                    Looked::NotYet => pinned(scope, headroom, gpu, &room.places),
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

pub(super) fn room(gpu: &Gpu, resource: ResourceId) -> Room {
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
fn pinned<'a>(scope: &'a Scope<'_>, headroom: &Headroom<'_>, gpu: &Gpu, places: &[Placement]) -> Option<Pin<'a>> {
    let mut blocked = Vec::new();
    let mut pins = Vec::new();
    for instance in &gpu.instances {
        match &instance.occupancy {
            Occupancy::Free => {}
            Occupancy::Unknown => blocked.push(instance.placement),
            Occupancy::Busy(pods) => {
                let pin = pods.iter().filter_map(|&pod| pin_of(scope, headroom, pod)).max();
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
fn pin_of<'a>(scope: &'a Scope<'_>, headroom: &Headroom<'_>, pod: PodId) -> Option<Pin<'a>> {
    let input = scope.input;
    let of = &input.running()[pod.index()];
    if let Movability::Never(_, why) = &of.movability {
        return Some(Pin::Pod(Name(&of.pod), why));
    }
    if !scope.movable[pod.index()] {
        return Some(Pin::Level(Name(&of.pod)));
    }
    if headroom.evicts(pod) {
        return None;
    }
    let full = |use_: Use| use_.used >= use_.allowed;
    let spent = of.budgets.iter().filter(|budget| full(headroom.disruption[budget.index()]));
    let named = spent.map(|budget| (input.budgets()[budget.index()].name.as_str(), budget.index()));
    named.min().map(|(name, budget)| Pin::Budget(name, Name(&of.pod), budget))
}

fn verdict(obstacles: &mut Obstacles<'_>, eligible: NodeSetId, demand: &Demand, proven: bool) -> Verdict {
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
    }
    for (resource, _) in demand.iter() {
        let name = &input.resources()[resource.index()];
        let survey = obstacles.survey(eligible, resource);
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
            return blocked(scope, &obstacles.headroom, name, pin);
        }
    }
    match obstacles.headroom.outlook(eligible, demand) {
        Outlook::Short(shortage) => exhausted(scope, &obstacles.headroom, shortage),
        outlook @ (Outlook::Closed | Outlook::Open { .. }) => crowded(scope, outlook, proven),
    }
}

/// Every GPU is blocked by pods that may not go.
fn blocked(scope: &Scope<'_>, headroom: &Headroom<'_>, resource: &str, pin: Pin<'_>) -> Verdict {
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
        Pin::Budget(name, pod, budget) => {
            let Use { used, allowed } = headroom.disruption[budget];
            (
                Reason::BudgetExhausted,
                format!(
                    "pods whose PodDisruptionBudget allows no further eviction leave no place for {resource}, such as \
                     {pod} under {name}, of which the plan uses {used} of {allowed} evictions"
                ),
                format!("wait until {name} allows evictions again, or relax it"),
            )
        }
    }
}

/// Room exists in principle, and some budget leaves too little for it.
fn exhausted(scope: &Scope<'_>, headroom: &Headroom<'_>, shortage: Shortage) -> Verdict {
    let Shortage { evictions, disruption, gpus, nodes, .. } = shortage;
    let mut details = Vec::new();
    let mut raise = Vec::new();
    let policy = [
        (evictions, headroom.evictions, "eviction", "evictionsPerCycle"),
        (gpus, headroom.gpus, "changed GPU", "gpus"),
        (nodes, headroom.nodes, "changed node", "nodes"),
    ];
    for (need, limit, what, field) in policy {
        if let (Some(Use { used, allowed }), true) = (limit, need > 0) {
            let s = if need == 1 { "" } else { "s" };
            details.push(format!("{need} {what}{s} more, and the plan uses {used} of {allowed} per cycle"));
            raise.push(format!("raise budgets.{field} of the policy"));
        }
    }
    if let Some((_, budget, need)) = disruption {
        let Use { used, allowed } = headroom.disruption[budget.index()];
        let name = &scope.input.budgets()[budget.index()].name;
        let s = if need == 1 { "" } else { "s" };
        details.push(format!(
            "{need} eviction{s} more under the PodDisruptionBudget {name}, and the plan uses {used} of {allowed}"
        ));
        raise.push(format!("relax {name}"));
    }
    (
        Reason::BudgetExhausted,
        format!("room for it would take {}", details.join("; and ")),
        format!("wait for the next cycle, or {}", raise.join(" and ")),
    )
}

/// Room exists in principle; say what keeps it from the pod now.
fn crowded(scope: &Scope<'_>, outlook: Outlook, proven: bool) -> Verdict {
    if !proven {
        return (
            Reason::WaitingForCapacity,
            "no room for it was found within the work limit, and that there is none is not proven".to_owned(),
            "search further with a higher --work-limit, wait for running pods to end, or add a GPU".to_owned(),
        );
    }
    if scope.baseline.is_some() && outlook == (Outlook::Open { moves: true }) {
        return (
            Reason::NotWorthDisruption,
            "room could only come from moves whose gain does not reach the policy's gainFactor".to_owned(),
            "wait for running pods to end, or lower disruption.gainFactor".to_owned(),
        );
    }
    (
        Reason::WaitingForCapacity,
        "no plan has room for it as well: what there is goes to demand that comes first, or the nodes lack another \
         resource that it asks for, such as CPU"
            .to_owned(),
        "wait for running pods to end or add a GPU; `retile explain pod` tells what would make room".to_owned(),
    )
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
            "no policy was given: nothing limits the plan but the disruption level; the default budgets (10% of nodes, 10% of \
             GPUs, 5 evictions per cycle) would spread it over {cycles} cycle{}",
            if cycles == 1 { "" } else { "s" }
        ));
    }
    notes.extend(input.findings().iter().map(|finding| format!("{}: {}", finding.object, finding.message)));
    notes
}
