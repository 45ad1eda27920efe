//! Drafts made pod by pod, without search: what a plan is at least worth, and where the search begins.
//!
//! Pods are taken one after the other; each gets an instance that is free, else the best place in the eyes of a [`Fit`], where idle
//! instances give way; where the level allows it, else the place whose holders are cheapest to move and find another one at once.
//! GPUs that look alike are kept together, so that the work grows with the number of pods and of different GPUs, not with their product.
//!
//! Invariants: every GPU's instances are a legal layout at all times; a draft keeps all rules of `docs/design/semantics.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Capacity, Demand, DisruptionLevel, Geometry, GpuId, Layout, NodeId, Occupancy, Placement, PodId, ResourceId,
};

use super::assign::Landings;
use super::decode::{Changes, GpuOutcome};
use super::demand::DemandTable;
use super::scope::Scope;
use super::value::{Draft, offered};

/// Which pod is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Higher priority first, then the one that has waited longest.
    Arrival,
    /// Higher priority first, then the one that needs the most slices.
    Decreasing,
    /// Higher priority first, then the one that weighs most for what it needs, the smallest first.
    Increasing,
}

/// Which of the places that are free a pod gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The first GPU, the lowest start.
    First,
    /// The GPU on which the fewest slots stay free.
    Best,
    /// The place that makes the GPU's fragmentation grow least.
    Fragmentation,
    /// The place that touches the fewest further nodes and GPUs, then as [`Fit::Fragmentation`].
    Frugal,
}

/// Rules in the order in which they are tried. The first four are those that the simulator compares retile with.
const RULES: [(Order, Fit); 6] = [
    (Order::Decreasing, Fit::First),
    (Order::Arrival, Fit::First),
    (Order::Arrival, Fit::Best),
    (Order::Arrival, Fit::Fragmentation),
    (Order::Decreasing, Fit::Frugal),
    (Order::Increasing, Fit::Frugal),
];

/// Makes a draft by every rule; with evictions where the level allows them.
pub(super) fn drafts(scope: &Scope<'_>) -> Vec<Draft> {
    let table = DemandTable::new(scope, &BTreeSet::new());
    let ground = State::new(scope, &table);
    RULES
        .iter()
        .flat_map(|&(order, fit)| {
            let mut state = ground.clone();
            state.fit = fit;
            state.insert_all(&ordered(scope, order));
            let idle = state.draft();
            let evicting = (scope.level != DisruptionLevel::IdleOnly).then(|| {
                state.evict_for_all();
                state.draft()
            });
            [Some(idle), evicting]
        })
        .flatten()
        .collect()
}

/// Positions of the waiting pods in the order of a rule.
fn ordered(scope: &Scope<'_>, order: Order) -> Vec<usize> {
    let pending = scope.input.pending();
    let mut positions: Vec<usize> = (0..pending.len()).collect();
    positions.sort_by_key(|&position| {
        let pod = &pending[position];
        let size = match order {
            Order::Arrival => 0,
            Order::Decreasing => -scope.demand_slices(&pod.demand),
            Order::Increasing => scope.demand_slices(&pod.demand),
        };
        (std::cmp::Reverse(pod.priority), size, std::cmp::Reverse(pod.waiting_seconds), position)
    });
    positions
}

/// An instance of the working copy.
#[derive(Debug, Clone)]
struct Slot {
    placement: Placement,
    /// Position among the GPU's instances today; none when it is new.
    origin: Option<usize>,
    /// Replicas that nobody holds and nobody was given.
    free: i64,
    /// Pods that have been given a replica.
    given: u32,
    use_: Use,
}

/// Who is on an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Use {
    /// Nobody.
    Idle,
    /// Somebody who stays.
    Held,
    /// Pods that may all be moved, none of which holds another instance.
    Movable(Vec<PodId>),
}

/// How an instance stands in the way: part of what makes GPUs alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    Idle,
    Held,
    /// Costs that much to move.
    Movable(u32),
}

/// What GPUs have in common that offer the same places at the same price.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    atom: usize,
    board: usize,
    offers: usize,
    slots: Vec<(Placement, Obstacle)>,
    gpu_touched: bool,
    node_touched: bool,
}

/// Best place for a resource on GPUs of a shape: cost of those who must move, rank, placement.
type BestPlace = (i64, (i64, i64, i64), Placement);

/// GPUs of one shape, with the best places that were worked out for it, by resource and whether others may be moved.
#[derive(Debug, Clone, Default)]
struct Alike {
    gpus: BTreeSet<usize>,
    best: std::cell::RefCell<BTreeMap<(ResourceId, bool), Option<BestPlace>>>,
}

/// A place for an instance: cost of those who must move, rank, GPU, placement.
type Place = (i64, (i64, i64, i64), usize, Placement);

/// The working copy of one node, for undoing.
#[derive(Debug, Clone)]
struct NodeState {
    node: usize,
    gpus: Vec<Vec<Slot>>,
    room: Capacity,
    touched: BTreeSet<usize>,
}

/// The cluster while pods are put somewhere.
#[derive(Clone)]
struct State<'a, 'b> {
    scope: &'a Scope<'b>,
    table: &'a DemandTable,
    fit: Fit,
    gpus: Vec<Vec<Slot>>,
    room: Vec<Capacity>,
    /// GPUs and nodes with changes.
    touched: BTreeSet<usize>,
    touched_nodes: BTreeMap<usize, u32>,
    /// Nodes with free replicas, by atom and resource.
    supply: BTreeMap<(usize, ResourceId), BTreeMap<usize, i64>>,
    /// GPUs that may be changed, by shape.
    shapes: BTreeMap<Shape, Alike>,
    shape_of: Vec<Option<Shape>>,
    evicted: BTreeSet<PodId>,
    landings: Landings,
    /// Evictions that each disruption budget still allows.
    allowed: Vec<i64>,
    /// Served weight above the baseline, less what moves must bring, in thousandths; none where moves need not pay.
    surplus: Option<i64>,
    /// Saved states of nodes, while something is tried.
    saved: Option<Vec<NodeState>>,
    /// Kinds of pods that found no place, which stay without as long as only more is put somewhere.
    hopeless: BTreeSet<(usize, Demand, Capacity)>,
    /// Pods in the order in which they were taken that found no place.
    left: Vec<usize>,
}

impl<'a, 'b> State<'a, 'b> {
    fn new(scope: &'a Scope<'b>, table: &'a DemandTable) -> Self {
        let input = scope.input;
        let mut state = Self {
            scope,
            table,
            fit: Fit::First,
            gpus: Vec::with_capacity(input.gpus().len()),
            room: input.nodes().iter().map(|node| node.free.clone()).collect(),
            touched: BTreeSet::new(),
            touched_nodes: BTreeMap::new(),
            supply: BTreeMap::new(),
            shapes: BTreeMap::new(),
            shape_of: vec![None; input.gpus().len()],
            evicted: BTreeSet::new(),
            landings: Landings::default(),
            allowed: input.budgets().iter().map(|budget| i64::from(budget.allowed)).collect(),
            surplus: scope.baseline.map(|baseline| -baseline.saturating_mul(1000)),
            saved: None,
            hopeless: BTreeSet::new(),
            left: Vec::new(),
        };
        for gpu in input.gpus() {
            let slots = gpu.instances.iter().enumerate().map(|(position, instance)| {
                let use_ = match &instance.occupancy {
                    Occupancy::Free => Use::Idle,
                    Occupancy::Busy(pods) if pods.is_empty() => Use::Held,
                    Occupancy::Busy(pods) if pods.iter().all(|&pod| state.may_move(pod)) => Use::Movable(pods.clone()),
                    Occupancy::Busy(_) | Occupancy::Unknown => Use::Held,
                };
                let free = i64::from(gpu.free_replicas(instance));
                Slot { placement: instance.placement, origin: Some(position), free, given: 0, use_ }
            });
            let slots = slots.collect();
            state.gpus.push(slots);
        }
        for gpu in 0..state.gpus.len() {
            state.count_supply(gpu, 1);
            state.file(gpu);
        }
        state
    }

    /// Whether a pod may be moved here: at the level, and only from the one instance that it holds.
    fn may_move(&self, pod: PodId) -> bool {
        self.scope.movable[pod.index()] && self.scope.input.running()[pod.index()].instances.len() == 1
    }

    fn node_of(&self, gpu: usize) -> usize {
        self.scope.input.gpus()[gpu].node.index()
    }

    fn geometry(&self, gpu: usize) -> &'b Geometry {
        &self.scope.input.gpus()[gpu].geometry
    }

    /// Adds a GPU's free replicas to the supply, or takes them away.
    fn count_supply(&mut self, gpu: usize, sign: i64) {
        let node = self.node_of(gpu);
        let atom = self.table.atom_of[node];
        for position in 0..self.gpus[gpu].len() {
            let (placement, free) = (self.gpus[gpu][position].placement, self.gpus[gpu][position].free);
            if free <= 0 {
                continue;
            }
            if let Some((resource, _)) = offered(self.scope.input, gpu, placement) {
                let nodes = self.supply.entry((atom, resource)).or_default();
                let units = nodes.entry(node).or_default();
                *units += sign * free;
                if *units == 0 {
                    nodes.remove(&node);
                }
            }
        }
    }

    /// Files a GPU under its shape.
    fn file(&mut self, gpu: usize) {
        let of = &self.scope.input.gpus()[gpu];
        if !self.scope.mutable(of) {
            return;
        }
        let node = of.node.index();
        let frugal = self.fit == Fit::Frugal;
        let slots = self.gpus[gpu].iter().map(|slot| (slot.placement, self.obstacle(slot))).collect();
        let shape = Shape {
            atom: self.table.atom_of[node],
            board: std::sync::Arc::as_ptr(&of.geometry) as usize,
            offers: of.offers.as_ptr() as usize,
            slots,
            gpu_touched: (frugal || self.scope.input.policy().budgets.gpus.is_some()) && self.touched.contains(&gpu),
            node_touched: (frugal || self.scope.input.policy().budgets.nodes.is_some())
                && self.touched_nodes.contains_key(&node),
        };
        if self.shape_of[gpu].as_ref() == Some(&shape) {
            return;
        }
        if let Some(old) = self.shape_of[gpu].take()
            && let Some(alike) = self.shapes.get_mut(&old)
        {
            alike.gpus.remove(&gpu);
            if alike.gpus.is_empty() {
                self.shapes.remove(&old);
            }
        }
        self.shapes.entry(shape.clone()).or_default().gpus.insert(gpu);
        self.shape_of[gpu] = Some(shape);
    }

    fn obstacle(&self, slot: &Slot) -> Obstacle {
        match &slot.use_ {
            Use::Idle if slot.given == 0 => Obstacle::Idle,
            Use::Movable(pods) if slot.given == 0 => {
                Obstacle::Movable(pods.iter().map(|pod| self.scope.input.running()[pod.index()].cost).sum())
            }
            Use::Idle | Use::Held | Use::Movable(_) => Obstacle::Held,
        }
    }

    /// Saves a node's state, if something is being tried and it has not been saved yet.
    fn save(&mut self, node: usize) {
        let Some(saved) = &self.saved else { return };
        if saved.iter().any(|state| state.node == node) {
            return;
        }
        let range = self.scope.input.nodes()[node].gpus.clone();
        let state = NodeState {
            node,
            gpus: self.gpus[range.clone()].to_vec(),
            room: self.room[node].clone(),
            touched: range.filter(|gpu| self.touched.contains(gpu)).collect(),
        };
        self.saved.as_mut().expect("looked at above").push(state);
    }

    /// Brings the saved nodes back.
    fn undo(&mut self) {
        for state in self.saved.take().unwrap_or_default() {
            let range = self.scope.input.nodes()[state.node].gpus.clone();
            for gpu in range.clone() {
                self.count_supply(gpu, -1);
                self.touched.remove(&gpu);
            }
            self.touched.extend(&state.touched);
            match state.touched.len() as u32 {
                0 => self.touched_nodes.remove(&state.node),
                count => self.touched_nodes.insert(state.node, count),
            };
            self.room[state.node] = state.room;
            for (gpu, slots) in range.clone().zip(state.gpus) {
                self.gpus[gpu] = slots;
                self.count_supply(gpu, 1);
            }
            for gpu in range {
                self.file(gpu);
            }
        }
    }

    fn touch(&mut self, gpu: usize) {
        if !self.touched.insert(gpu) {
            return;
        }
        let node = self.node_of(gpu);
        let count = self.touched_nodes.entry(node).or_default();
        *count += 1;
        if *count == 1 {
            for other in self.scope.input.nodes()[node].gpus.clone() {
                self.file(other);
            }
        }
    }

    /// Whether the policy's budgets let a GPU be touched.
    fn touchable(&self, gpu: usize) -> bool {
        let input = self.scope.input;
        let budgets = input.policy().budgets;
        let within = |used: usize, limit: Option<u64>| limit.is_none_or(|limit| (used as u64) < limit);
        (self.touched.contains(&gpu)
            || within(self.touched.len(), budgets.gpus.map(|limit| limit.of(input.gpus().len()))))
            && (self.touched_nodes.contains_key(&self.node_of(gpu))
                || within(self.touched_nodes.len(), budgets.nodes.map(|limit| limit.of(input.nodes().len()))))
    }

    /// Puts an instance on a GPU, where idle ones give way, and gives its first replica away; says whether that is legal.
    fn put(&mut self, gpu: usize, placement: Placement) -> bool {
        let geometry = self.geometry(gpu);
        self.save(self.node_of(gpu));
        let idle = |slot: &Slot| self.obstacle(slot) == Obstacle::Idle;
        let mut kept = self.gpus[gpu].clone();
        kept.retain(|slot| !idle(slot) || !slot.placement.overlaps(placement));
        loop {
            let all = kept.iter().map(|slot| slot.placement).chain([placement]).collect();
            if Layout::try_new(geometry, all).is_ok() {
                break;
            }
            // A limit on numbers or media engines: idle instances give way, one by one.
            let Some(position) = kept.iter().rposition(idle) else { return false };
            kept.remove(position);
        }
        let Some((_, replicas)) = offered(self.scope.input, gpu, placement) else { return false };
        self.count_supply(gpu, -1);
        let origin = self.scope.input.gpus()[gpu].instances.iter().position(|known| known.placement == placement);
        kept.push(Slot { placement, origin, free: replicas - 1, given: 1, use_: Use::Idle });
        kept.sort_by_key(|slot| slot.placement.start());
        self.gpus[gpu] = kept;
        self.count_supply(gpu, 1);
        self.touch(gpu);
        self.file(gpu);
        true
    }

    /// Takes free replicas of a resource on a node.
    fn take(&mut self, node: usize, resource: ResourceId, mut count: i64) {
        self.save(node);
        for gpu in self.scope.input.nodes()[node].gpus.clone() {
            self.count_supply(gpu, -1);
            for slot in 0..self.gpus[gpu].len() {
                let of = &mut self.gpus[gpu][slot];
                let same = offered(self.scope.input, gpu, of.placement).is_some_and(|(other, _)| other == resource);
                if same && of.free > 0 && count > 0 {
                    let taken = of.free.min(count);
                    of.free -= taken;
                    of.given += taken as u32;
                    count -= taken;
                }
            }
            self.count_supply(gpu, 1);
            self.file(gpu);
            if count == 0 {
                break;
            }
        }
    }

    /// Finds a node for a demand without moving anybody, and takes what it needs there.
    fn land(&mut self, atoms: &[usize], demand: &Demand, requests: &Capacity) -> Option<usize> {
        match demand.single() {
            Some(resource) => self.land_one(atoms, resource, requests),
            None => self.land_several(atoms, demand, requests),
        }
    }

    fn land_one(&mut self, atoms: &[usize], resource: ResourceId, requests: &Capacity) -> Option<usize> {
        let free = atoms
            .iter()
            .filter_map(|&atom| {
                let nodes = self.supply.get(&(atom, resource))?;
                nodes.keys().copied().find(|&node| self.room[node].covers(requests))
            })
            .min();
        let node = if let Some(node) = free {
            self.take(node, resource, 1);
            node
        } else {
            let (_, _, gpu, placement) = self.places(atoms, resource, requests, false).into_iter().min()?;
            if !self.put(gpu, placement) {
                return None;
            }
            self.node_of(gpu)
        };
        self.room[node].subtract(requests);
        Some(node)
    }

    /// Several instances of one node: the first one that has room for all of them.
    fn land_several(&mut self, atoms: &[usize], demand: &Demand, requests: &Capacity) -> Option<usize> {
        let nodes: BTreeSet<usize> =
            atoms.iter().flat_map(|&atom| self.table.atoms[atom].nodes.iter().map(|node| node.index())).collect();
        let outer = self.saved.is_some();
        for node in nodes {
            if !self.room[node].covers(requests) {
                continue;
            }
            if !outer {
                self.saved = Some(Vec::new());
            } else if !self.could_hold(node, demand) {
                continue;
            }
            if demand.iter().all(|(resource, count)| self.provide(node, resource, i64::from(count))) {
                if !outer {
                    self.saved = None;
                }
                self.room[node].subtract(requests);
                return Some(node);
            }
            if outer {
                // What was begun here is undone with all else that is being tried.
                return None;
            }
            self.undo();
        }
        None
    }

    /// Whether a node has the replicas free already: all that is asked for while something else is being tried.
    fn could_hold(&self, node: usize, demand: &Demand) -> bool {
        let atom = self.table.atom_of[node];
        demand.iter().all(|(resource, count)| {
            let units = self.supply.get(&(atom, resource)).and_then(|nodes| nodes.get(&node));
            units.is_some_and(|&units| units >= i64::from(count))
        })
    }

    /// Takes or makes some replicas of a resource on a node; says whether it could.
    fn provide(&mut self, node: usize, resource: ResourceId, mut count: i64) -> bool {
        let atom = self.table.atom_of[node];
        while count > 0 {
            let free = self.supply.get(&(atom, resource)).and_then(|nodes| nodes.get(&node)).copied().unwrap_or(0);
            if free > 0 {
                let taken = free.min(count);
                self.take(node, resource, taken);
                count -= taken;
                continue;
            }
            let best = self.scope.input.nodes()[node]
                .gpus
                .clone()
                .filter(|&gpu| self.touchable(gpu))
                .filter_map(|gpu| {
                    let (_, rank, placement) = self.best_place(self.shape_of[gpu].as_ref()?, gpu, resource, false)?;
                    Some((rank, gpu, placement))
                })
                .min();
            let Some((_, gpu, placement)) = best else { return false };
            if !self.put(gpu, placement) {
                return false;
            }
            count -= 1;
        }
        true
    }

    /// The best place of every shape that has one, each on the first of its GPUs that has room.
    fn places(&self, atoms: &[usize], resource: ResourceId, requests: &Capacity, moving: bool) -> Vec<Place> {
        let mut places = Vec::new();
        for &atom in atoms {
            let of_atom =
                Shape { atom, board: 0, offers: 0, slots: Vec::new(), gpu_touched: false, node_touched: false };
            for (shape, alike) in self.shapes.range(of_atom..).take_while(|(shape, _)| shape.atom == atom) {
                let gpus = &alike.gpus;
                let Some(&first) = gpus.first() else { continue };
                let best = *alike
                    .best
                    .borrow_mut()
                    .entry((resource, moving))
                    .or_insert_with(|| self.best_place(shape, first, resource, moving));
                let Some((cost, rank, placement)) = best else { continue };
                let fits = |gpu: &&usize| self.touchable(**gpu) && self.room[self.node_of(**gpu)].covers(requests);
                let found = if moving {
                    // Room comes back with those who leave; it is looked at again when they have.
                    gpus.iter().find(|gpu| self.touchable(**gpu))
                } else {
                    gpus.iter().find(fits)
                };
                places.extend(found.map(|&gpu| (cost, rank, gpu, placement)));
            }
        }
        places
    }

    /// The best place for a resource on a GPU of a shape: least cost of those who must move, then the rule's rank.
    fn best_place(&self, shape: &Shape, gpu: usize, resource: ResourceId, moving: bool) -> Option<BestPlace> {
        let input = self.scope.input;
        let geometry = self.geometry(gpu);
        let stays = |obstacle: &Obstacle| match obstacle {
            Obstacle::Idle => false,
            Obstacle::Held => true,
            Obstacle::Movable(_) => !moving,
        };
        let held: Vec<Placement> =
            shape.slots.iter().filter(|(_, obstacle)| stays(obstacle)).map(|(placement, _)| *placement).collect();
        let before = match self.fit {
            Fit::Fragmentation | Fit::Frugal => fragmentation(geometry, &held),
            Fit::First | Fit::Best => 0,
        };
        geometry
            .placements()
            .filter(|&placement| offered(input, gpu, placement).is_some_and(|(other, _)| other == resource))
            .filter(|placement| held.iter().all(|other| !other.overlaps(*placement)))
            .filter(|placement| Layout::try_new(geometry, held.iter().copied().chain([*placement]).collect()).is_ok())
            .map(|placement| {
                let over = shape.slots.iter().filter(|(other, _)| other.overlaps(placement));
                let cost = over.clone().map(|(_, obstacle)| match obstacle {
                    Obstacle::Movable(cost) => i64::from(*cost),
                    Obstacle::Idle | Obstacle::Held => 0,
                });
                let rank = match self.fit {
                    Fit::First => (0, 0, 0),
                    Fit::Best => {
                        let taken: i64 = held.iter().map(|placement| i64::from(placement.size())).sum();
                        (i64::from(geometry.axis()) - taken - i64::from(placement.size()), 0, 0)
                    }
                    Fit::Fragmentation | Fit::Frugal => {
                        let with: Vec<Placement> = held.iter().copied().chain([placement]).collect();
                        let grown = fragmentation(geometry, &with) - before;
                        if self.fit == Fit::Fragmentation {
                            (grown, 0, 0)
                        } else {
                            let touched = i64::from(!shape.node_touched) * 2 + i64::from(!shape.gpu_touched);
                            (touched, over.count() as i64, grown)
                        }
                    }
                };
                (cost.sum(), rank, placement)
            })
            .min()
    }

    /// Takes the pods one by one, without moving anybody.
    fn insert_all(&mut self, order: &[usize]) {
        for alike in self.shapes.values_mut() {
            alike.best.get_mut().clear();
        }
        if self.fit == Fit::Frugal {
            for gpu in 0..self.gpus.len() {
                self.file(gpu);
            }
        }
        let mut class_of = vec![usize::MAX; self.scope.input.pending().len()];
        for (class, (_, pods)) in self.table.pending.iter().enumerate() {
            for &pod in pods {
                class_of[pod] = class;
            }
        }
        for &position in order {
            let Some((class, _)) = self.table.pending.get(class_of[position]) else { continue };
            let pod = &self.scope.input.pending()[position];
            let key = (class_of[position], pod.demand.clone(), pod.requests.clone());
            if self.hopeless.contains(&key) {
                self.left.push(position);
                continue;
            }
            if let Some(node) = self.land(&class.atoms, &pod.demand, &pod.requests) {
                self.serve(position, node);
            } else {
                self.hopeless.insert(key);
                self.left.push(position);
            }
        }
    }

    fn serve(&mut self, position: usize, node: usize) {
        self.landings.served.insert(position, NodeId::new(node));
        if let Some(surplus) = &mut self.surplus {
            *surplus += self.scope.weights[position].saturating_mul(1000);
        }
    }

    /// Makes room for the pods that found none by moving others, as long as each gains what it costs.
    fn evict_for_all(&mut self) {
        let mut class_of = BTreeMap::new();
        for (class, (_, pods)) in self.table.pending.iter().enumerate() {
            class_of.extend(pods.iter().map(|&pod| (pod, class)));
        }
        let mut hopeless = BTreeSet::new();
        for position in std::mem::take(&mut self.left) {
            let Some(&class) = class_of.get(&position) else { continue };
            let pod = &self.scope.input.pending()[position];
            let key = (class, pod.demand.clone(), pod.requests.clone());
            let Some(resource) = pod.demand.single().filter(|_| !hopeless.contains(&key)) else { continue };
            let atoms = &self.table.pending[class].0.atoms;
            let mut places = self.places(atoms, resource, &pod.requests, true);
            places.sort();
            let tried = places.into_iter().take(TRIES).any(|place| self.evict_for(position, place));
            if !tried {
                hopeless.insert(key);
            }
        }
    }

    /// Moves those who hold a place and gives it to a pod; says whether all of them land.
    fn evict_for(&mut self, position: usize, (_, _, gpu, placement): Place) -> bool {
        let input = self.scope.input;
        let pod = &input.pending()[position];
        let node = self.node_of(gpu);
        let victims: Vec<PodId> = self.gpus[gpu]
            .iter()
            .filter(|slot| slot.placement.overlaps(placement))
            .filter_map(|slot| match &slot.use_ {
                Use::Movable(pods) if slot.given == 0 => Some(pods.clone()),
                Use::Idle | Use::Held | Use::Movable(_) => None,
            })
            .flatten()
            .collect();
        let cost: i64 = victims.iter().map(|pod| i64::from(input.running()[pod.index()].cost)).sum();
        let gain = self.scope.weights[position].saturating_mul(1000);
        let factor = i64::from(input.policy().gain_factor.thousandths());
        if self.surplus.is_some_and(|surplus| surplus + gain - factor * cost < 0) {
            return false;
        }
        let within = input.policy().budgets.evictions;
        let mut allowed = self.allowed.clone();
        for budget in victims.iter().flat_map(|pod| &input.running()[pod.index()].budgets) {
            allowed[budget.index()] -= 1;
        }
        let over = within.is_some_and(|most| self.evicted.len() + victims.len() > most as usize);
        if over || allowed.iter().any(|left| *left < 0) {
            return false;
        }
        self.saved = Some(Vec::new());
        self.save(node);
        self.count_supply(gpu, -1);
        for slot in self.gpus[gpu].iter_mut().filter(|slot| slot.placement.overlaps(placement)) {
            if matches!(slot.use_, Use::Movable(_)) {
                slot.use_ = Use::Idle;
                slot.free = 0;
            }
        }
        self.count_supply(gpu, 1);
        for victim in &victims {
            self.room[node].add(&input.running()[victim.index()].requests);
        }
        let mut landed = Vec::new();
        let mut all = self.room[node].covers(&pod.requests) && self.put(gpu, placement);
        if all {
            self.room[node].subtract(&pod.requests);
        }
        for &victim in victims.iter().take_while(|_| all) {
            let of = &input.running()[victim.index()];
            let class = &self.table.moved[self.table.moved_of[&victim]];
            match self.land(&class.atoms, &of.demand, &of.requests) {
                Some(node) => landed.push((victim, Some(NodeId::new(node)))),
                None if self.scope.displaceable[victim.index()] && of.priority < pod.priority => {
                    landed.push((victim, None));
                }
                None => {
                    all = false;
                    break;
                }
            }
        }
        if !all {
            self.undo();
            return false;
        }
        self.saved = None;
        self.evicted.extend(&victims);
        self.allowed = allowed;
        self.landings.moved.extend(landed);
        self.serve(position, node);
        if let Some(surplus) = &mut self.surplus {
            *surplus -= factor * cost;
        }
        true
    }

    /// What was done, as changes and landings.
    fn draft(&self) -> Draft {
        let input = self.scope.input;
        let mut changes = Changes::default();
        for &gpu in &self.touched {
            let slots = &self.gpus[gpu];
            let kept: BTreeSet<usize> = slots.iter().filter_map(|slot| slot.origin).collect();
            let instances = &input.gpus()[gpu].instances;
            let destroyed = (0..instances.len()).filter(|slot| !kept.contains(slot)).collect();
            let created = slots.iter().filter(|slot| slot.origin.is_none()).map(|slot| slot.placement).collect();
            // Who was there has gone, and the instance has been given to somebody else.
            let handed_over = slots
                .iter()
                .filter(|slot| slot.use_ == Use::Idle)
                .filter_map(|slot| slot.origin)
                .filter(|&origin| matches!(instances[origin].occupancy, Occupancy::Busy(_)))
                .collect();
            changes.gpus.insert(GpuId::new(gpu), GpuOutcome { destroyed, created, handed_over });
        }
        changes.settle(self.scope.input);
        Draft { changes, landings: self.landings.clone() }
    }
}

/// Places that are tried for one pod before it is given up.
const TRIES: usize = 24;

/// How much of a GPU's free room is of no use: for every profile that its free slots would suffice for by number, the profile's size for
/// each start at which it cannot stand because something is held there.
fn fragmentation(geometry: &Geometry, held: &[Placement]) -> i64 {
    let taken: i64 = held.iter().map(|placement| i64::from(placement.size())).sum();
    let free = i64::from(geometry.axis()) - taken;
    geometry
        .placements()
        .filter(|placement| i64::from(placement.size()) <= free)
        .filter(|placement| {
            let with = held.iter().copied().chain([*placement]).collect();
            Layout::try_new(geometry, with).is_err()
        })
        .map(|placement| i64::from(placement.size()))
        .sum()
}
