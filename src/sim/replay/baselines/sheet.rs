//! A working copy of the cluster's instances on which the rules put what waits.
//!
//! Input: a [`PlanningInput`]. Output: a [`Proposal`]. Invariants: every GPU's instances are a legal layout at all times; what somebody
//! holds, or may hold, stays where it is unless a rule evicts it by name; an idle instance gives way when its slots are needed and stays
//! otherwise; nothing is changed on a GPU that is frozen.

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::Proposal;
use crate::model::{
    Capacity, Geometry, GpuId, Layout, NodeId, NodeSetId, Occupancy, Placement, PlanningInput, PodId, ProfileId,
    ResourceId,
};
use crate::plan::{Eviction, GpuChange, NodePlan, PlannedInstance, ServedBy, ServedPod, steps};

/// Who is on an instance while a rule works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody.
    Nobody,
    /// Pods that run there.
    Running(Vec<PodId>),
    /// Somebody whom the source cannot name.
    Unknown,
    /// A waiting pod, by its position in [`PlanningInput::pending`].
    Waiting(usize),
    /// A pod that is moved there.
    Landing(PodId),
}

/// An instance of the working copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Where it stands.
    pub(super) placement: Placement,
    /// Who is on it.
    pub(super) holder: Holder,
}

/// The working copy.
#[derive(Debug, Clone)]
pub(super) struct Sheet<'i> {
    input: &'i PlanningInput,
    gpus: Vec<Vec<Slot>>,
    /// What is left of ordinary resources, by node.
    free: Vec<Capacity>,
    evicted: BTreeSet<PodId>,
}

impl<'i> Sheet<'i> {
    /// The cluster as it is.
    pub(super) fn new(input: &'i PlanningInput) -> Self {
        let slot = |instance: &crate::model::Instance| Slot {
            placement: instance.placement,
            holder: match &instance.occupancy {
                Occupancy::Free => Holder::Nobody,
                Occupancy::Busy(pods) => Holder::Running(pods.clone()),
                Occupancy::Unknown => Holder::Unknown,
            },
        };
        Self {
            input,
            gpus: input.gpus().iter().map(|gpu| gpu.instances.iter().map(slot).collect()).collect(),
            free: input.nodes().iter().map(|node| node.free.clone()).collect(),
            evicted: BTreeSet::new(),
        }
    }

    /// What the copy was made of.
    pub(super) fn input(&self) -> &'i PlanningInput {
        self.input
    }

    /// Instances of a GPU.
    pub(super) fn slots(&self, gpu: usize) -> &[Slot] {
        &self.gpus[gpu]
    }

    /// Board of a GPU.
    pub(super) fn geometry(&self, gpu: usize) -> &'i Geometry {
        &self.input.gpus()[gpu].geometry
    }

    /// Placements of a GPU that somebody holds or is promised.
    pub(super) fn held(&self, gpu: usize) -> Vec<Placement> {
        let held = self.gpus[gpu].iter().filter(|slot| slot.holder != Holder::Nobody);
        held.map(|slot| slot.placement).collect()
    }

    /// Profiles of a GPU that are offered there as a resource, each instance to one pod.
    pub(super) fn profiles(&self, gpu: usize, resource: ResourceId) -> Vec<ProfileId> {
        let gpu = &self.input.gpus()[gpu];
        let offers = |id: &ProfileId| gpu.offer(*id).is_some_and(|it| it.resource == resource && it.replicas == 1);
        gpu.geometry.profile_ids().filter(offers).collect()
    }

    /// Placements of a resource on a GPU that nothing held stands in the way of.
    pub(super) fn options(&self, gpu: usize, resource: ResourceId) -> Vec<Placement> {
        if self.input.gpus()[gpu].frozen.is_some() {
            return Vec::new();
        }
        let geometry = self.geometry(gpu);
        let profiles = self.profiles(gpu, resource);
        let held = self.held(gpu);
        let legal = |placement: &Placement| {
            profiles.contains(&placement.profile())
                && Layout::try_new(geometry, held.iter().copied().chain([*placement]).collect()).is_ok()
        };
        geometry.placements().filter(legal).collect()
    }

    /// Takes an idle instance of a resource on a GPU; says whether there was one.
    pub(super) fn take_idle(&mut self, gpu: usize, resource: ResourceId, holder: Holder) -> bool {
        let profiles = self.profiles(gpu, resource);
        let idle = |slot: &&mut Slot| slot.holder == Holder::Nobody && profiles.contains(&slot.placement.profile());
        let Some(slot) = self.gpus[gpu].iter_mut().find(idle) else { return false };
        slot.holder = holder;
        true
    }

    /// Puts an instance where idle ones give way to it; says whether that is legal.
    pub(super) fn put(&mut self, gpu: usize, placement: Placement, holder: Holder) -> bool {
        let geometry = self.geometry(gpu);
        let mut kept = self.gpus[gpu].clone();
        kept.retain(|slot| slot.holder != Holder::Nobody || !slot.placement.overlaps(placement));
        loop {
            let all = kept.iter().map(|slot| slot.placement).chain([placement]).collect();
            if Layout::try_new(geometry, all).is_ok() {
                break;
            }
            // A limit on numbers or media engines: idle instances give way, one by one.
            let Some(idle) = kept.iter().rposition(|slot| slot.holder == Holder::Nobody) else { return false };
            kept.remove(idle);
        }
        kept.push(Slot { placement, holder });
        kept.sort_by_key(|slot| slot.placement.start());
        self.gpus[gpu] = kept;
        true
    }

    /// Replaces the instances of a GPU; says whether they are a legal layout.
    pub(super) fn replace(&mut self, gpu: usize, mut slots: Vec<Slot>) -> bool {
        slots.sort_by_key(|slot| slot.placement.start());
        let layout = Layout::try_new(self.geometry(gpu), slots.iter().map(|slot| slot.placement).collect());
        if layout.is_ok() {
            self.gpus[gpu] = slots;
        }
        layout.is_ok()
    }

    /// Notes that a running pod has to go.
    pub(super) fn evict(&mut self, pod: PodId) {
        self.evicted.insert(pod);
    }

    /// GPUs of the nodes that a pod may use and that have room for its other requests, node by node.
    pub(super) fn nodes_for(&self, eligible: NodeSetId, requests: &Capacity) -> Vec<(NodeId, std::ops::Range<usize>)> {
        let nodes = self.input.nodes().iter().enumerate().map(|(index, node)| (NodeId::new(index), node));
        nodes
            .filter(|(id, _)| self.input.may_use(eligible, *id) && self.free[id.index()].covers(requests))
            .map(|(id, node)| (id, node.gpus.clone()))
            .collect()
    }

    /// Takes a pod's ordinary requests from a node.
    pub(super) fn charge(&mut self, node: NodeId, requests: &Capacity) {
        self.free[node.index()].subtract(requests);
    }

    /// What has to be done to make the cluster look like the copy.
    pub(super) fn proposal(&self) -> Proposal {
        from_layouts(self.input, &self.gpus, &self.evicted)
    }
}

/// Changes that lead from what is to the given instances of every GPU. Pods that are evicted land where they are promised an instance.
fn from_layouts(input: &PlanningInput, gpus: &[Vec<Slot>], evicted: &BTreeSet<PodId>) -> Proposal {
    let mut landings: BTreeMap<PodId, NodeId> = BTreeMap::new();
    let mut served: BTreeMap<usize, (NodeId, ServedBy)> = BTreeMap::new();
    for (gpu, slots) in input.gpus().iter().zip(gpus) {
        for slot in slots {
            match &slot.holder {
                Holder::Landing(pod) => {
                    landings.insert(*pod, gpu.node);
                }
                Holder::Waiting(pod) => {
                    let there = gpu
                        .instances
                        .iter()
                        .any(|it| it.placement == slot.placement && it.occupancy == Occupancy::Free);
                    let by = if there { ServedBy::Existing } else { ServedBy::Change };
                    let entry = served.entry(*pod).or_insert((gpu.node, by));
                    entry.1 = entry.1.max(by);
                }
                Holder::Nobody | Holder::Running(_) | Holder::Unknown => {}
            }
        }
    }
    let mut nodes = Vec::new();
    for (index, node) in input.nodes().iter().enumerate() {
        let changes: Vec<(GpuId, GpuChange)> = node
            .gpus
            .clone()
            .filter_map(|gpu| Some((GpuId::new(gpu), change(input, gpu, &gpus[gpu], evicted)?)))
            .collect();
        let mut evict: Vec<Eviction> = evicted
            .iter()
            .map(|pod| (pod, &input.running()[pod.index()]))
            .filter(|(_, pod)| pod.node == NodeId::new(index))
            .map(|(id, pod)| Eviction {
                pod: pod.pod.to_string(),
                uid: pod.pod.uid.clone(),
                placed_on: landings.get(id).map(|node| input.nodes()[node.index()].name.clone()),
            })
            .collect();
        if changes.is_empty() && evict.is_empty() {
            continue;
        }
        evict.sort_by(|a, b| a.pod.cmp(&b.pod));
        let steps = changes.iter().flat_map(|(gpu, change)| {
            let geometry = &input.gpus()[gpu.index()].geometry;
            steps(change, geometry).expect("both layouts are legal, and what is destroyed was there")
        });
        let steps = steps.collect();
        nodes.push(NodePlan {
            name: node.name.clone(),
            gpus: changes.into_iter().map(|(_, change)| change).collect(),
            evict,
            steps,
        });
    }
    let served = served
        .into_iter()
        .map(|(pod, (node, by))| {
            let pod = &input.pending()[pod].pod;
            ServedPod { pod: pod.to_string(), uid: pod.uid.clone(), node: input.nodes()[node.index()].name.clone(), by }
        })
        .collect();
    Proposal { nodes, served, plan: None }
}

/// The change of one GPU; none when its instances stay.
fn change(input: &PlanningInput, index: usize, slots: &[Slot], evicted: &BTreeSet<PodId>) -> Option<GpuChange> {
    let gpu = &input.gpus()[index];
    let instance = |placement: Placement, pods: &[PodId], occupancy_unknown: bool| {
        let mut pods: Vec<String> = pods.iter().map(|pod| input.running()[pod.index()].pod.to_string()).collect();
        pods.sort();
        PlannedInstance {
            start: placement.start(),
            size: placement.size(),
            profile: gpu.geometry.profile(placement.profile()).name.clone(),
            pods,
            occupancy_unknown,
        }
    };
    let was = |placement: Placement| gpu.instances.iter().any(|it| it.placement == placement);
    let stays = |placement: Placement| slots.iter().any(|slot| slot.placement == placement);
    let now = |it: &crate::model::Instance| match &it.occupancy {
        Occupancy::Free => instance(it.placement, &[], false),
        Occupancy::Busy(pods) => instance(it.placement, pods, false),
        Occupancy::Unknown => instance(it.placement, &[], true),
    };
    let then = |slot: &Slot| match &slot.holder {
        Holder::Nobody | Holder::Waiting(_) | Holder::Landing(_) => instance(slot.placement, &[], false),
        Holder::Unknown => instance(slot.placement, &[], true),
        Holder::Running(pods) => {
            let staying: Vec<PodId> = pods.iter().copied().filter(|pod| !evicted.contains(pod)).collect();
            instance(slot.placement, &staying, false)
        }
    };
    let destroy: Vec<PlannedInstance> = gpu.instances.iter().filter(|it| !stays(it.placement)).map(now).collect();
    let create: Vec<PlannedInstance> = slots.iter().filter(|slot| !was(slot.placement)).map(then).collect();
    let makes_way = |occupancy: &Occupancy| matches!(occupancy, Occupancy::Busy(pods) if pods.iter().all(|pod| evicted.contains(pod)));
    let handed_over = gpu.instances.iter().filter(|it| stays(it.placement) && makes_way(&it.occupancy));
    let hand_over: Vec<PlannedInstance> = handed_over.map(now).collect();
    (!destroy.is_empty() || !create.is_empty() || !hand_over.is_empty()).then(|| GpuChange {
        index: gpu.index,
        uuid: gpu.uuid.clone(),
        model: gpu.product.clone(),
        before: gpu.instances.iter().map(now).collect(),
        after: slots.iter().map(then).collect(),
        destroy,
        create,
        hand_over,
    })
}
