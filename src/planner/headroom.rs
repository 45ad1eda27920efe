//! What a plan leaves of the budgets, and whether one more change fits into that.
//!
//! Inputs: a draft's changes and landings. Output: per waiting pod an [`Outlook`]. Invariant: a pod is said to be short of a budget only where
//! every way to make room for it on one GPU takes more than the plan leaves, so a budget that is set and does not bind is never to blame.
//! Where pods that would have to leave could land is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    BudgetId, Budgets, Demand, Gpu, GpuId, MigStrategy, Movability, NodeId, NodeSetId, Occupancy, Placement, PodId,
    ResourceId,
};

use super::assign::Landings;
use super::decode::Changes;
use super::report::{Room, room};
use super::scope::Scope;

/// Of a budget, what the plan uses and what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) used: u64,
    pub(super) allowed: u64,
}

impl Use {
    /// By how much a need exceeds what is left; the need itself, or 0 where it fits.
    fn short(self, need: u64) -> u64 {
        if self.used.saturating_add(need) > self.allowed { need } else { 0 }
    }
}

/// What one way to make room needs and does not get; the least is the nearest to being had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shortage {
    /// How many budgets are too small for it.
    budgets: usize,
    /// Evictions, where the policy's budget is too small for them.
    pub(super) evictions: u64,
    /// A `PodDisruptionBudget` that is too small: its place in the order of names, which one it is, and evictions under it.
    pub(super) disruption: Option<(usize, BudgetId, u64)>,
    /// GPUs, where the policy's budget is too small for them.
    pub(super) gpus: u64,
    /// Nodes, where the policy's budget is too small for them.
    pub(super) nodes: u64,
}

/// Whether one more change could make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// What stands there leaves no room, whatever the budgets.
    Closed,
    /// Only by more than some budget leaves.
    Short(Shortage),
    /// The budgets leave enough for it; and whether somebody would have to move.
    Open { moves: bool },
}

impl Outlook {
    /// The better of two ways; of two open ones it is said of either that somebody moves.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Open { moves }, Self::Open { moves: too }) => Self::Open { moves: moves || too },
            (open @ Self::Open { .. }, _) | (_, open @ Self::Open { .. }) => open,
            (Self::Short(one), Self::Short(two)) => Self::Short(one.min(two)),
            (short @ Self::Short(_), Self::Closed) | (Self::Closed, short) => short,
        }
    }
}

/// What a plan uses of every budget, and what it leaves free.
pub(super) struct Headroom<'a> {
    scope: &'a Scope<'a>,
    changes: &'a Changes,
    pub(super) nodes: Option<Use>,
    pub(super) gpus: Option<Use>,
    pub(super) evictions: Option<Use>,
    /// Per `PodDisruptionBudget`.
    pub(super) disruption: Vec<Use>,
    /// Place of each in the order of their names: the order in which they were read must leave no trace.
    ranks: Vec<usize>,
    /// What lands on each node.
    landing: BTreeMap<NodeId, Vec<&'a Demand>>,
    /// Units of each resource that are left over on a node after all landings; worked out when first asked for.
    spare: BTreeMap<NodeId, BTreeMap<ResourceId, i64>>,
    /// Per resource and GPU, worked out when first asked for.
    known: BTreeMap<ResourceId, Vec<Option<Outlook>>>,
}

impl<'a> Headroom<'a> {
    pub(super) fn new(scope: &'a Scope<'a>, landings: &'a Landings, changes: &'a Changes) -> Self {
        let input = scope.input;
        let Budgets { nodes, gpus, evictions } = input.policy().budgets;
        let of = |used: usize, allowed| Use { used: used as u64, allowed };
        let mut disruption: Vec<Use> = input.budgets().iter().map(|budget| of(0, u64::from(budget.allowed))).collect();
        for budget in changes.evicted.iter().flat_map(|pod| &input.running()[pod.index()].budgets) {
            disruption[budget.index()].used += 1;
        }
        let mut order: Vec<usize> = (0..disruption.len()).collect();
        order.sort_by_key(|&budget| &input.budgets()[budget].name);
        let mut ranks = vec![0; order.len()];
        for (rank, budget) in order.into_iter().enumerate() {
            ranks[budget] = rank;
        }
        let served = landings.served.iter().map(|(&pod, &node)| (node, &input.pending()[pod].demand));
        let moved =
            landings.moved.iter().filter_map(|(pod, &node)| Some((node?, &input.running()[pod.index()].demand)));
        let mut landing = BTreeMap::<NodeId, Vec<&Demand>>::new();
        for (node, demand) in served.chain(moved) {
            landing.entry(node).or_default().push(demand);
        }
        Self {
            scope,
            changes,
            nodes: nodes.map(|limit| of(changes.touched_nodes.len(), limit.of(input.nodes().len()))),
            gpus: gpus.map(|limit| of(changes.gpus.len(), limit.of(input.gpus().len()))),
            evictions: evictions.map(|limit| of(changes.evicted.len(), u64::from(limit))),
            disruption,
            ranks,
            landing,
            spare: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Whether a pod was evicted by the plan.
    pub(super) fn evicts(&self, pod: PodId) -> bool {
        self.changes.evicted.contains(&pod)
    }

    /// Whether anything is to be told beyond that there is no room: without budgets and without a gain factor nothing is.
    fn matters(&self) -> bool {
        let limited = self.nodes.is_some() || self.gpus.is_some() || self.evictions.is_some();
        limited || !self.disruption.is_empty() || self.scope.baseline.is_some()
    }

    /// Whether one more change on one of the nodes could make room for every resource of a demand.
    pub(super) fn outlook(&mut self, eligible: NodeSetId, demand: &Demand) -> Outlook {
        if !self.matters() {
            return Outlook::Closed;
        }
        let mut all = Outlook::Open { moves: false };
        for (resource, _) in demand.iter() {
            let of_one = self.of_resource(eligible, resource);
            all = match (all, of_one) {
                (Outlook::Open { moves }, Outlook::Open { moves: too }) => Outlook::Open { moves: moves || too },
                (Outlook::Closed, _) | (_, Outlook::Closed) => Outlook::Closed,
                (short @ Outlook::Short(_), _) | (Outlook::Open { .. }, short) => short,
            };
        }
        all
    }

    fn of_resource(&mut self, eligible: NodeSetId, resource: ResourceId) -> Outlook {
        let input = self.scope.input;
        let mut best = Outlook::Closed;
        let mut seen: Option<(&Gpu, Room)> = None;
        for (position, node) in input.nodes().iter().enumerate() {
            let id = NodeId::new(position);
            if !input.may_use(eligible, id) {
                continue;
            }
            if self.spare(id, resource) > 0 {
                best = best.or(Outlook::Open { moves: false });
            }
            for position in node.gpus.clone() {
                let known = self.known.entry(resource).or_insert_with(|| vec![None; input.gpus().len()])[position];
                let of_gpu = known.unwrap_or_else(|| {
                    let gpu = &input.gpus()[position];
                    let alike = |other: &Gpu| {
                        Arc::ptr_eq(&other.geometry, &gpu.geometry) && Arc::ptr_eq(&other.offers, &gpu.offers)
                    };
                    let (_, room) = match seen.take() {
                        Some((other, room)) if alike(other) => seen.insert((gpu, room)),
                        Some(_) | None => seen.insert((gpu, room(gpu, resource))),
                    };
                    self.of_gpu(position, &room.places)
                });
                self.known.entry(resource).and_modify(|known| known[position] = Some(of_gpu));
                best = best.or(of_gpu);
            }
        }
        best
    }

    fn of_gpu(&mut self, position: usize, places: &[Placement]) -> Outlook {
        let input = self.scope.input;
        let gpu = &input.gpus()[position];
        let new_node = !self.changes.touched_nodes.contains(&gpu.node);
        if gpu.frozen.is_some() || places.is_empty() {
            return Outlook::Closed;
        }
        let node = &input.nodes()[gpu.node.index()];
        if node.strategy == MigStrategy::Single {
            let all = node.gpus.len() as u64;
            let open = new_node && self.scope.recuttable(gpu.node);
            return if open { self.weigh(&BTreeSet::new(), all, new_node) } else { Outlook::Closed };
        }
        let new_gpu = u64::from(!self.changes.gpus.contains_key(&GpuId::new(position)));
        let mut best = Outlook::Closed;
        for &place in places {
            if let Some(leaving) = self.leaving(position, place) {
                best = best.or(self.weigh(&leaving, new_gpu, new_node));
            }
        }
        best
    }

    /// Who would have to leave so that a place becomes free after the plan; none where something cannot.
    fn leaving(&mut self, position: usize, place: Placement) -> Option<BTreeSet<PodId>> {
        let input = self.scope.input;
        let changes = self.changes;
        let gpu = &input.gpus()[position];
        let change = changes.gpus.get(&GpuId::new(position));
        if change.is_some_and(|change| change.created.iter().any(|created| created.overlaps(place))) {
            return None;
        }
        let mut leaving = BTreeSet::new();
        for (slot, instance) in gpu.instances.iter().enumerate() {
            let gone = change.is_some_and(|change| change.destroyed.contains(&slot));
            if gone || !instance.placement.overlaps(place) {
                continue;
            }
            match &instance.occupancy {
                Occupancy::Unknown => return None,
                Occupancy::Free => {
                    // Where nothing of its kind is left over on the node, somebody lands on it.
                    let offer = gpu.offer(instance.placement.profile());
                    if offer.is_some_and(|offer| self.spare(gpu.node, offer.resource) <= 0) {
                        return None;
                    }
                }
                Occupancy::Busy(pods) => {
                    for &pod in pods {
                        let never = matches!(input.running()[pod.index()].movability, Movability::Never(..));
                        if never || !self.scope.movable[pod.index()] || changes.evicted.contains(&pod) {
                            return None;
                        }
                        leaving.insert(pod);
                    }
                }
            }
        }
        Some(leaving)
    }

    /// Compares what a way takes with what the plan leaves.
    fn weigh(&self, leaving: &BTreeSet<PodId>, gpus: u64, new_node: bool) -> Outlook {
        let mut under = BTreeMap::<(usize, BudgetId), u64>::new();
        for &budget in leaving.iter().flat_map(|pod| &self.scope.input.running()[pod.index()].budgets) {
            *under.entry((self.ranks[budget.index()], budget)).or_default() += 1;
        }
        let short = |limit: Option<Use>, need: u64| limit.map_or(0, |limit| limit.short(need));
        let overdrawn = |(&(rank, budget), &need): (&(usize, BudgetId), &u64)| {
            Some((rank, budget, self.disruption[budget.index()].short(need))).filter(|(_, _, short)| *short > 0)
        };
        let evictions = short(self.evictions, leaving.len() as u64);
        let disruption = under.iter().find_map(overdrawn);
        let gpus = short(self.gpus, gpus);
        let nodes = short(self.nodes, u64::from(new_node));
        let budgets = [evictions > 0, disruption.is_some(), gpus > 0, nodes > 0].into_iter().filter(|&is| is).count();
        if budgets == 0 {
            return Outlook::Open { moves: !leaving.is_empty() };
        }
        Outlook::Short(Shortage { budgets, evictions, disruption, gpus, nodes })
    }

    /// Units of a resource that are left over on a node after all landings.
    fn spare(&mut self, node: NodeId, resource: ResourceId) -> i64 {
        let (scope, changes, landing) = (self.scope, self.changes, &self.landing);
        let spare = self.spare.entry(node).or_insert_with(|| {
            let mut spare = changes.supply(scope, node);
            for (resource, count) in landing.get(&node).into_iter().flatten().flat_map(|demand| demand.iter()) {
                *spare.entry(resource).or_default() -= i64::from(count);
            }
            spare
        });
        spare.get(&resource).copied().unwrap_or(0)
    }
}
