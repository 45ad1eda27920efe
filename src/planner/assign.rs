//! Gives every landing pod a node: inside an atom supply is pooled, here it is not.

use std::collections::{BTreeMap, BTreeSet};

use retile_solver::Outcome;

use crate::model::{Capacity, Demand, NodeId, PodId, ResourceId};

use super::decode::Changes;
use super::encode::Encoding;
use super::scope::Scope;

/// Where pods land.
#[derive(Debug, Clone, Default)]
pub(super) struct Landings {
    /// Node per served pending pod (position in the input's pending pods).
    pub(super) served: BTreeMap<usize, NodeId>,
    /// Node per evicted pod; `None` for those left without a place.
    pub(super) moved: BTreeMap<PodId, Option<NodeId>>,
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Pending(usize),
    Moved(PodId),
}

/// Who landed where, and what kept others from landing.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// Those who found a node.
    pub(super) landings: Landings,
    /// Nodes whose real limits must be modelled, because somebody found no room; empty when all landed.
    pub(super) doubtful: BTreeSet<NodeId>,
    /// Whether a pod that must leave found no new place.
    pub(super) stranded: bool,
}

/// Gives every landing pod a node, or names nodes whose real limits must be modelled.
pub(super) fn assign(scope: &Scope<'_>, encoding: &Encoding, outcome: &Outcome, changes: &Changes) -> Assigned {
    let mut landings = Landings::default();
    let mut waiting: Vec<Vec<Who>> = vec![Vec::new(); encoding.table.atoms.len()];
    for ((_, pods), landing) in encoding.table.pending.iter().zip(&encoding.pending) {
        let mut pods = pods.iter().copied();
        for &(atom, var) in &landing.vars {
            let count = outcome.solution.vars[var.index()] as usize;
            waiting[atom].extend(pods.by_ref().take(count).map(Who::Pending));
        }
    }
    let mut evicted: Vec<Vec<PodId>> = vec![Vec::new(); encoding.table.moved.len()];
    for &pod in &changes.evicted {
        evicted[encoding.table.moved_of[&pod]].push(pod);
    }
    for (pods, landing) in evicted.into_iter().zip(&encoding.moved) {
        let mut pods = pods.into_iter();
        for &(atom, var) in &landing.vars {
            let count = outcome.solution.vars[var.index()] as usize;
            waiting[atom].extend(pods.by_ref().take(count).map(Who::Moved));
        }
        match landing.folded {
            Some(atom) => waiting[atom].extend(pods.map(Who::Moved)),
            None => landings.moved.extend(pods.map(|pod| (pod, None))),
        }
    }
    let (mut doubtful, mut stranded) = (BTreeSet::new(), false);
    for (atom, pods) in waiting.into_iter().enumerate().filter(|(_, pods)| !pods.is_empty()) {
        let nodes = &encoding.table.atoms[atom].nodes;
        stranded |= Atom::new(scope, changes, nodes).land(pods, &mut landings, &mut doubtful);
    }
    Assigned { landings, doubtful, stranded }
}

/// The nodes of one atom while pods land on them.
struct Atom<'a, 'b> {
    scope: &'a Scope<'b>,
    nodes: Vec<NodeId>,
    supply: Vec<BTreeMap<ResourceId, i64>>,
    room: Vec<Capacity>,
    /// First node worth looking at for each resource.
    next: BTreeMap<ResourceId, usize>,
}

/// Most nodes that one failed landing asks to be modelled.
const AT_ONCE: usize = 48;

impl<'a, 'b> Atom<'a, 'b> {
    fn new(scope: &'a Scope<'b>, changes: &Changes, nodes: &[NodeId]) -> Self {
        let mut nodes = nodes.to_vec();
        // Untouched nodes first: what is there already should be used before what is about to be made.
        nodes.sort_by_key(|node| (changes.touched_nodes.contains(node), *node));
        let supply = nodes.iter().map(|&node| changes.supply(scope, node)).collect();
        let room = nodes
            .iter()
            .map(|node| {
                let mut room = scope.input.nodes()[node.index()].free.clone();
                for pod in changes.leaving.get(node).into_iter().flatten() {
                    room.add(&scope.input.running()[pod.index()].requests);
                }
                room
            })
            .collect();
        Self { scope, nodes, supply, room, next: BTreeMap::new() }
    }

    fn needs(&self, who: Who) -> (&'b Demand, &'b Capacity) {
        match who {
            Who::Pending(pod) => (&self.scope.input.pending()[pod].demand, &self.scope.input.pending()[pod].requests),
            Who::Moved(pod) => {
                let pod = &self.scope.input.running()[pod.index()];
                (&pod.demand, &pod.requests)
            }
        }
    }

    /// Lands the most demanding pods first; says whether one that must leave finds no place.
    fn land(mut self, mut pods: Vec<Who>, landings: &mut Landings, doubtful: &mut BTreeSet<NodeId>) -> bool {
        pods.sort_by_cached_key(|&who| {
            let (demand, requests) = self.needs(who);
            let sizes: Vec<i64> = requests.iter().map(|(_, amount)| -amount).collect();
            (demand.single().is_some(), -self.scope.demand_slices(demand), sizes)
        });
        let mut stranded = false;
        for who in pods {
            let (demand, requests) = self.needs(who);
            let Some(position) = self.find(demand, requests) else {
                doubtful.extend(self.tight(demand));
                stranded |= matches!(who, Who::Moved(_));
                continue;
            };
            for (resource, count) in demand.iter() {
                *self.supply[position].entry(resource).or_default() -= i64::from(count);
            }
            self.room[position].subtract(requests);
            let node = self.nodes[position];
            match who {
                Who::Pending(pod) => {
                    landings.served.insert(pod, node);
                }
                Who::Moved(pod) => {
                    landings.moved.insert(pod, Some(node));
                }
            }
        }
        stranded
    }

    fn find(&mut self, demand: &Demand, requests: &Capacity) -> Option<usize> {
        let (first, _) = demand.iter().next()?;
        let mut start = self.next.get(&first).copied().unwrap_or(0);
        while self.supply.get(start).is_some_and(|supply| supply.get(&first).is_none_or(|units| *units <= 0)) {
            start += 1;
        }
        self.next.insert(first, start);
        (start..self.nodes.len()).find(|&position| {
            demand.iter().all(|(resource, count)| {
                self.supply[position].get(&resource).is_some_and(|units| *units >= i64::from(count))
            }) && self.room[position].covers(requests)
        })
    }

    /// Nodes whose limits stand in the way: those with supply first, then any.
    fn tight(&self, demand: &Demand) -> Vec<NodeId> {
        let supplied = |position: &usize| {
            demand.iter().any(|(resource, _)| self.supply[*position].get(&resource).is_some_and(|units| *units > 0))
        };
        let positions: Vec<usize> = (0..self.nodes.len()).collect();
        let (first, rest): (Vec<usize>, Vec<usize>) = positions.into_iter().partition(supplied);
        let offering = first.len().max(AT_ONCE / 2);
        first.into_iter().chain(rest).take(offering.min(AT_ONCE)).map(|position| self.nodes[position]).collect()
    }
}
