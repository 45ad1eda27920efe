//! What a planning run may do: which pods may move, what each waiting pod weighs, what may be created where.

use std::collections::BTreeMap;

use crate::model::{
    DisruptionLevel, Gpu, MigStrategy, NodeId, Occupancy, PlanningInput, Policy, ResourceId, RunningPod,
};

/// The rules of one run, worked out once.
pub(super) struct Scope<'a> {
    pub(super) input: &'a PlanningInput,
    pub(super) level: DisruptionLevel,
    /// Per running pod: whether it may be moved.
    pub(super) movable: Vec<bool>,
    /// Per running pod: whether it may be left without a place.
    pub(super) displaceable: Vec<bool>,
    /// Per pending pod: its weight times ageing.
    pub(super) weights: Vec<i64>,
    /// Memory slices of one unit of each resource.
    pub(super) slices: Vec<i64>,
    /// Served weight of the best plan without evictions, or the most that it could be, where a gain factor asks for it.
    pub(super) baseline: Option<i64>,
}

impl<'a> Scope<'a> {
    /// Works out the rules at a disruption level.
    pub(super) fn new(input: &'a PlanningInput, level: DisruptionLevel) -> Self {
        let slices: Vec<i64> =
            (0..input.resources().len()).map(|index| i64::from(input.slices_of(ResourceId::new(index)))).collect();
        let no_moves = input.policy().stability.pod_move_cap == Some(0);
        let movable: Vec<bool> = input
            .running()
            .iter()
            .map(|pod| pod.movable_at(level) && !no_moves && !pod.instances.is_empty() && known_everywhere(input, pod))
            .collect();
        let highest = input.pending().iter().filter(|pod| pod.preempts).map(|pod| pod.priority).max();
        let displaceable = input
            .running()
            .iter()
            .zip(&movable)
            .map(|(pod, &movable)| {
                movable && level == DisruptionLevel::Aggressive && highest.is_some_and(|highest| pod.priority < highest)
            })
            .collect();
        let weights = weights(input, &slices);
        Self { input, level, movable, displaceable, weights, slices, baseline: None }
    }

    /// Memory slices of a demand.
    pub(super) fn demand_slices(&self, demand: &crate::model::Demand) -> i64 {
        demand.iter().map(|(resource, count)| self.slices[resource.index()].saturating_mul(i64::from(count))).sum()
    }

    /// Weight of a pod by its demand, without ageing.
    pub(super) fn weight(&self, demand: &crate::model::Demand) -> i64 {
        weight(self.input, self.demand_slices(demand))
    }

    /// Weight of a resource in the forecast mix.
    pub(super) fn forecast(&self, resource: ResourceId) -> i64 {
        self.input.forecast().get(&resource).copied().map_or(0, i64::from)
    }

    /// What one unit of a resource left over is worth on the level of flexibility.
    pub(super) fn spare_value(&self, resource: ResourceId) -> i64 {
        self.forecast(resource) * self.slices[resource.index()]
    }

    /// Whether a running pod is one whose instances are planned one by one because it holds several.
    pub(super) fn holds_several(pod: &RunningPod) -> bool {
        pod.instances.len() > 1
    }

    /// Whether nobody holds, or may hold, anything on a GPU.
    pub(super) fn vacant(gpu: &Gpu) -> bool {
        gpu.instances.iter().all(|instance| instance.occupancy == Occupancy::Free)
    }

    /// Whether a node of strategy `single` may be cut anew: all its GPUs vacant, none frozen.
    pub(super) fn recuttable(&self, node: NodeId) -> bool {
        let of = &self.input.nodes()[node.index()];
        of.strategy == MigStrategy::Single
            && self.input.gpus()[of.gpus.clone()].iter().all(|gpu| gpu.frozen.is_none() && Self::vacant(gpu))
    }

    /// Whether single instances may be destroyed and created on a GPU.
    pub(super) fn mutable(&self, gpu: &Gpu) -> bool {
        gpu.frozen.is_none() && self.input.nodes()[gpu.node.index()].strategy == MigStrategy::Mixed
    }
}

/// Whether every GPU that a pod holds instances on may be changed; otherwise nothing is gained by moving it.
fn known_everywhere(input: &PlanningInput, pod: &RunningPod) -> bool {
    pod.instances.iter().any(|&(gpu, _)| {
        let gpu = &input.gpus()[gpu.index()];
        gpu.frozen.is_none() && input.nodes()[gpu.node.index()].strategy == MigStrategy::Mixed
    })
}

/// Weight of a pod that asks for so many memory slices.
fn weight(input: &PlanningInput, slices: i64) -> i64 {
    input.policy().weight.of(slices.unsigned_abs()).cast_signed()
}

fn weights(input: &PlanningInput, slices: &[i64]) -> Vec<i64> {
    let mut youngest = BTreeMap::<i32, u64>::new();
    for pod in input.pending() {
        let least = youngest.entry(pod.priority).or_insert(u64::MAX);
        *least = (*least).min(pod.waiting_seconds);
    }
    let period = input.policy().ageing_seconds;
    input
        .pending()
        .iter()
        .map(|pod| {
            let older = pod.waiting_seconds - youngest[&pod.priority];
            let ageing = 1 + older.checked_div(period).unwrap_or(0).min(Policy::MAX_AGEING - 1) as i64;
            let own: i64 = pod
                .demand
                .iter()
                .map(|(resource, count)| slices[resource.index()].saturating_mul(i64::from(count)))
                .fold(0, i64::saturating_add);
            weight(input, own).saturating_mul(ageing)
        })
        .collect()
}
