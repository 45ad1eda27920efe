//! Reads the solver's answer back: which instances go, stay and come, and the plan document that says so.

use std::collections::{BTreeMap, BTreeSet};

use retile_solver::Outcome;

use crate::model::{Gpu, GpuId, NodeId, Occupancy, PendingPod, Placement, PlanningInput, PodId, ResourceId};
use crate::plan::{
    Eviction, FORMAT_VERSION, GpuChange, LEVEL_NAMES, Level, NodePlan, Optimality, Plan, PlannedInstance, ServedBy,
    ServedPod, Status, Summary, Tier,
};

use super::assign::Landings;
use super::encode::Encoding;
use super::levels::Levels;
use super::machines::{GpuPart, Piece, difference, uniform_cuts};
use super::report;
use super::scope::Scope;
use super::value::Draft;

/// New layout of one GPU.
#[derive(Debug, Clone, Default)]
pub(super) struct GpuOutcome {
    /// Positions of destroyed instances.
    pub(super) destroyed: Vec<usize>,
    /// Placements created.
    pub(super) created: Vec<Placement>,
    /// Positions of instances that are kept and whose pods are evicted.
    pub(super) handed_over: Vec<usize>,
}

impl GpuOutcome {
    /// Whether anything changes.
    fn touched(&self) -> bool {
        let Self { destroyed, created, handed_over } = self;
        !destroyed.is_empty() || !created.is_empty() || !handed_over.is_empty()
    }
}

/// All changes of a plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    pub(super) gpus: BTreeMap<GpuId, GpuOutcome>,
    pub(super) touched_nodes: BTreeSet<NodeId>,
    pub(super) evicted: BTreeSet<PodId>,
    /// Evicted pods by the node that they leave.
    pub(super) leaving: BTreeMap<NodeId, Vec<PodId>>,
}

impl Changes {
    /// Forgets GPUs that do not change, and notes who must leave and which nodes are touched.
    pub(super) fn settle(&mut self, input: &PlanningInput) {
        self.gpus.retain(|_, change| change.touched());
        for (&id, change) in &self.gpus {
            let gpu = &input.gpus()[id.index()];
            self.touched_nodes.insert(gpu.node);
            for &slot in change.destroyed.iter().chain(&change.handed_over) {
                if let Occupancy::Busy(pods) = &gpu.instances[slot].occupancy {
                    self.evicted.extend(pods.iter().copied());
                }
            }
        }
        self.state_once(input);
        for &pod in &self.evicted {
            self.leaving.entry(input.running()[pod.index()].node).or_default().push(pod);
        }
    }

    /// Of all that says that the same pods leave, keeps what comes last: where a pod that is evicted anyway leaves another instance of a GPU
    /// that changes, it may be called handed over or just freed, and the same plan is to have the same words.
    fn state_once(&mut self, input: &PlanningInput) {
        if !self.evicted.iter().any(|pod| Scope::holds_several(&input.running()[pod.index()])) {
            return;
        }
        let holders = |gpu: GpuId, slot: usize| match &input.gpus()[gpu.index()].instances[slot].occupancy {
            Occupancy::Busy(pods) => pods.as_slice(),
            Occupancy::Free | Occupancy::Unknown => &[],
        };
        let mut reasons = BTreeMap::<PodId, usize>::new();
        for (&id, change) in &mut self.gpus {
            let slots = 0..input.gpus()[id.index()].instances.len();
            let leave = |pods: &[PodId]| !pods.is_empty() && pods.iter().all(|pod| self.evicted.contains(pod));
            change.handed_over =
                slots.filter(|slot| !change.destroyed.contains(slot) && leave(holders(id, *slot))).collect();
            for pod in change.destroyed.iter().chain(&change.handed_over).flat_map(|&slot| holders(id, slot)) {
                *reasons.entry(*pod).or_default() += 1;
            }
        }
        for (&id, GpuOutcome { destroyed, created, handed_over }) in &mut self.gpus {
            let cut = !destroyed.is_empty() || !created.is_empty();
            let mut left = handed_over.len();
            handed_over.retain(|&slot| {
                let pods = holders(id, slot);
                let needed = !cut && left == 1 || pods.iter().any(|pod| reasons.get(pod) == Some(&1));
                if !needed {
                    left -= 1;
                    for pod in pods {
                        reasons.entry(*pod).and_modify(|count| *count -= 1);
                    }
                }
                needed
            });
        }
    }

    /// Units of each resource that are free on a node after the change.
    pub(super) fn supply(&self, scope: &Scope<'_>, node: NodeId) -> BTreeMap<ResourceId, i64> {
        let input = scope.input;
        let mut supply = self.free_and_kept(scope, node);
        for position in input.nodes()[node.index()].gpus.clone() {
            let gpu = &input.gpus()[position];
            let change = self.gpus.get(&GpuId::new(position));
            for (slot, instance) in gpu.instances.iter().enumerate() {
                let kept = change.is_none_or(|change| !change.destroyed.contains(&slot));
                if let (true, Occupancy::Busy(pods), Some(offer)) =
                    (kept, &instance.occupancy, gpu.offer(instance.placement.profile()))
                {
                    let left = pods.iter().filter(|pod| self.evicted.contains(pod)).count() as i64;
                    *supply.entry(offer.resource).or_default() += left;
                }
            }
            for placement in change.into_iter().flat_map(|change| &change.created) {
                if let Some(offer) = gpu.offer(placement.profile()) {
                    *supply.entry(offer.resource).or_default() += i64::from(offer.replicas);
                }
            }
        }
        supply
    }

    /// Units of each resource that are free on a node before the change and are kept.
    fn free_and_kept(&self, scope: &Scope<'_>, node: NodeId) -> BTreeMap<ResourceId, i64> {
        let input = scope.input;
        let mut supply = BTreeMap::new();
        for position in input.nodes()[node.index()].gpus.clone() {
            let gpu = &input.gpus()[position];
            let change = self.gpus.get(&GpuId::new(position));
            for (slot, instance) in gpu.instances.iter().enumerate() {
                let Some(offer) = gpu.offer(instance.placement.profile()) else { continue };
                if change.is_some_and(|change| change.destroyed.contains(&slot)) {
                    continue;
                }
                *supply.entry(offer.resource).or_default() += i64::from(gpu.free_replicas(instance));
            }
        }
        supply
    }
}

/// Reads the changes off the solver's answer.
pub(super) fn changes(scope: &Scope<'_>, encoding: &Encoding, outcome: &Outcome) -> Changes {
    let input = scope.input;
    let mut changes = Changes::default();
    let mut used = vec![0usize; encoding.groups.len()];
    let index: BTreeMap<_, _> = encoding.groups.iter().enumerate().map(|(position, (id, _))| (*id, position)).collect();
    for active in &outcome.solution.active {
        let group = index[&active.group];
        let node = &encoding.groups[group].1[used[group]];
        used[group] += 1;
        let mut next = vec![0usize; node.members.len()];
        for (member, path, count) in &active.paths {
            for _ in 0..*count {
                let part = &node.members[*member][next[*member]];
                next[*member] += 1;
                apply(input, part, path, &mut changes);
            }
        }
    }
    changes.settle(input);
    changes
}

fn apply(input: &PlanningInput, part: &GpuPart, path: &[u16], changes: &mut Changes) {
    let piece = |number: u16| {
        let number = usize::from(number);
        part.pieces.get(number).copied().unwrap_or_else(|| part.own[number - part.pieces.len()])
    };
    let gpu = &input.gpus()[part.gpu.index()];
    let mut kept = BTreeSet::new();
    let mut created = Vec::new();
    let mut handed_over = Vec::new();
    for &number in path {
        match piece(number) {
            Piece::Empty | Piece::Fixed => {}
            Piece::Create(placement) => created.push(placement),
            Piece::Keep(slot) => {
                kept.insert(slot);
            }
            Piece::HandOver(slot) => {
                kept.insert(slot);
                handed_over.push(slot);
            }
            Piece::Uniform(profile) => {
                let range = input.nodes()[gpu.node.index()].gpus.clone();
                let gpus = &input.gpus()[range.clone()];
                for (position, cut) in range.zip(uniform_cuts(gpus, profile).into_iter().flatten()) {
                    let (destroyed, created) = difference(&input.gpus()[position], &cut);
                    changes
                        .gpus
                        .insert(GpuId::new(position), GpuOutcome { destroyed, created, handed_over: Vec::new() });
                }
                return;
            }
        }
    }
    let stays = |slot: &usize| kept.contains(slot) || part.own.iter().all(|piece| *piece != Piece::Keep(*slot));
    let destroyed = (0..gpu.instances.len()).filter(|slot| !stays(slot)).collect();
    handed_over.sort_unstable();
    changes.gpus.insert(part.gpu, GpuOutcome { destroyed, created, handed_over });
}

/// A draft on its way to a document, with what it is worth and what any draft could be worth.
pub(super) struct Found<'a> {
    input: &'a PlanningInput,
    changes: Changes,
    landings: Landings,
    optimality: Optimality,
}

impl<'a> Found<'a> {
    pub(super) fn new(scope: &Scope<'a>, draft: Draft, levels: &Levels, values: &[i64], bounds: &[i64]) -> Self {
        let optimality = optimality(scope, levels, values, bounds);
        Self { input: scope.input, changes: draft.changes, landings: draft.landings, optimality }
    }

    /// Writes the document.
    pub(super) fn into_plan(self, scope: &Scope<'_>) -> Plan {
        let input = self.input;
        let nodes = self.nodes();
        let served = self.served(scope);
        let unserved = report::unserved(scope, &self.landings, &self.changes, &self.optimality);
        let count =
            |of: fn(&GpuChange) -> usize| nodes.iter().flat_map(|node| &node.gpus).map(of).sum::<usize>() as u64;
        let summary = Summary {
            pending_pods: (input.pending().len() + input.unplannable().len()) as u64,
            served_pods: served.len() as u64,
            served_slices: self.served_slices(scope),
            evicted_pods: self.changes.evicted.len() as u64,
            nodes_changed: nodes.len() as u64,
            gpus_changed: self.changes.gpus.len() as u64,
            instances_destroyed: count(|gpu| gpu.destroy.len()),
            instances_created: count(|gpu| gpu.create.len()),
            placements_assumed: input.placements_assumed(),
        };
        let notes = report::notes(input, &summary);
        Plan {
            format_version: FORMAT_VERSION,
            producer: concat!("retile ", env!("CARGO_PKG_VERSION")).to_owned(),
            input_fingerprint: crate::plan::fingerprint(input),
            parent: None,
            disruption: scope.level.as_flag().to_owned(),
            weight: input.policy().weight,
            optimality: self.optimality,
            summary,
            nodes,
            served,
            unserved,
            notes,
        }
    }

    /// Memory slices of all that is served.
    fn served_slices(&self, scope: &Scope<'_>) -> u64 {
        let served = self.landings.served.keys();
        served.map(|&pod| scope.demand_slices(&self.input.pending()[pod].demand).unsigned_abs()).sum()
    }

    fn nodes(&self) -> Vec<NodePlan> {
        let mut nodes = Vec::new();
        for &node in &self.changes.touched_nodes {
            let of = &self.input.nodes()[node.index()];
            let gpus = of
                .gpus
                .clone()
                .filter_map(|position| {
                    let change = self.changes.gpus.get(&GpuId::new(position))?;
                    Some(self.gpu_change(&self.input.gpus()[position], change))
                })
                .collect();
            let evict = self.changes.leaving.get(&node).into_iter().flatten().map(|&pod| self.eviction(pod)).collect();
            nodes.push(NodePlan { name: of.name.clone(), gpus, evict, steps: Vec::new() });
        }
        nodes
    }

    fn eviction(&self, pod: PodId) -> Eviction {
        let of = &self.input.running()[pod.index()];
        let place = self.landings.moved.get(&pod).copied().flatten();
        Eviction {
            pod: of.pod.to_string(),
            uid: of.pod.uid.clone(),
            placed_on: place.map(|node| self.input.nodes()[node.index()].name.clone()),
        }
    }

    fn gpu_change(&self, gpu: &Gpu, change: &GpuOutcome) -> GpuChange {
        let show = |placement: Placement, pods: Vec<String>| PlannedInstance {
            start: placement.start(),
            size: placement.size(),
            profile: gpu.geometry.profile(placement.profile()).name.clone(),
            pods,
            occupancy_unknown: gpu
                .instances
                .iter()
                .any(|instance| instance.placement == placement && instance.occupancy == Occupancy::Unknown),
        };
        let holders = |slot: usize, all: bool| match &gpu.instances[slot].occupancy {
            Occupancy::Busy(pods) => pods
                .iter()
                .filter(|pod| all || !self.changes.evicted.contains(pod))
                .map(|pod| self.input.running()[pod.index()].pod.to_string())
                .collect(),
            Occupancy::Free | Occupancy::Unknown => Vec::new(),
        };
        let slots = 0..gpu.instances.len();
        let before = slots.clone().map(|slot| show(gpu.instances[slot].placement, holders(slot, true))).collect();
        let held = |slots: &[usize]| {
            slots.iter().map(|&slot| show(gpu.instances[slot].placement, holders(slot, true))).collect()
        };
        let mut create: Vec<PlannedInstance> =
            change.created.iter().map(|&placement| show(placement, Vec::new())).collect();
        create.sort();
        let mut after: Vec<PlannedInstance> = slots
            .filter(|slot| !change.destroyed.contains(slot))
            .map(|slot| show(gpu.instances[slot].placement, holders(slot, false)))
            .chain(create.iter().cloned())
            .collect();
        after.sort();
        GpuChange {
            index: gpu.index,
            uuid: gpu.uuid.clone(),
            model: gpu.product.clone(),
            before,
            after,
            destroy: held(&change.destroyed),
            create,
            hand_over: held(&change.handed_over),
        }
    }

    fn served(&self, scope: &Scope<'_>) -> Vec<ServedPod> {
        // Instances that are free now and stay serve first; only what they cannot take is served by the change.
        let mut free = BTreeMap::<NodeId, BTreeMap<ResourceId, i64>>::new();
        self.landings
            .served
            .iter()
            .map(|(&position, &node)| {
                let PendingPod { pod, demand, .. } = &self.input.pending()[position];
                let here = free.entry(node).or_insert_with(|| self.changes.free_and_kept(scope, node));
                let existing = demand
                    .iter()
                    .all(|(resource, count)| here.get(&resource).is_some_and(|units| *units >= i64::from(count)));
                if existing {
                    for (resource, count) in demand.iter() {
                        *here.entry(resource).or_default() -= i64::from(count);
                    }
                }
                ServedPod {
                    pod: pod.to_string(),
                    uid: pod.uid.clone(),
                    node: self.input.nodes()[node.index()].name.clone(),
                    by: if existing { ServedBy::Existing } else { ServedBy::Change },
                }
            })
            .collect()
    }
}

/// Translates values and bounds, level by level, into those of the document.
fn optimality(scope: &Scope<'_>, levels: &Levels, values: &[i64], bounds: &[i64]) -> Optimality {
    let mut tiers: Vec<Tier> = levels
        .tiers
        .iter()
        .map(|tier| Tier { priority: tier.priority, value: values[tier.served], bound: bounds[tier.served] })
        .collect();
    let waiting: BTreeSet<i32> = scope.input.pending().iter().map(|pod| pod.priority).collect();
    tiers.retain(|tier| waiting.contains(&tier.priority));
    let mut shown = vec![Level {
        name: LEVEL_NAMES[0].to_owned(),
        value: tiers.iter().map(|tier| tier.value).sum(),
        bound: tiers.iter().map(|tier| tier.bound).sum(),
        tiers: if tiers.len() > 1 { tiers } else { Vec::new() },
    }];
    for (name, level, sign) in levels.rest() {
        let (value, bound) = (sign * values[level], sign * bounds[level]);
        shown.push(Level { name: name.to_owned(), value, bound, tiers: Vec::new() });
    }
    let status = if values == bounds { Status::Optimal } else { Status::Feasible };
    Optimality { status, levels: shown }
}
