//! A cluster as it would be once some operations were done.
//!
//! Input: a fresh [`PlanningInput`] and operations by node. Output: another input in which the boards hold the targets and the victims wait for a
//! place, ranked above all others. Pure. What is done already stays as it is: the same operation twice gives the same cluster.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::{GpuTarget, Operation};
use crate::model::{
    Capacity, Gpu, Instance, NodeId, Occupancy, PendingPod, PlanningInput, PlanningInputBuilder, PodId, PodRef,
    RunningPod,
};

/// Priority of victims that must find a new place.
pub(super) const FIRST: i32 = i32::MAX;

/// A cluster with operations done.
#[derive(Debug)]
pub(super) struct Hypothesis {
    pub(super) input: PlanningInput,
    /// Victims that must land again and still hold their places in the fresh input.
    pub(super) landing: Vec<PodRef>,
    /// Memory slices of the victims that give way, by priority.
    pub(super) displaced: BTreeMap<i32, i64>,
    /// What moving the victims costs.
    pub(super) cost: u64,
}

/// Carries out operations in thought.
///
/// # Errors
/// In words, why an operation cannot be carried out on this cluster.
pub(super) fn carried_out(
    input: &PlanningInput,
    operations: &BTreeMap<String, &Operation>,
) -> Result<Hypothesis, String> {
    let mut victims = BTreeMap::<&str, bool>::new();
    for victim in operations.values().flat_map(|operation| &operation.victims) {
        victims.insert(victim.pod.uid.as_str(), victim.placed_on.is_some());
    }
    let evicted = |pod: &RunningPod| victims.get(pod.pod.uid.as_str()).copied();
    let mut builder = PlanningInputBuilder::new(input.now());
    for name in input.resources() {
        builder.resource(name);
    }
    let mut renamed = BTreeMap::<PodId, PodId>::new();
    let (mut landing, mut displaced, mut cost) = (Vec::new(), BTreeMap::new(), 0);
    let mut freed = BTreeMap::<NodeId, Capacity>::new();
    for (position, pod) in input.running().iter().enumerate() {
        match evicted(pod) {
            None => {
                renamed.insert(PodId::new(position), builder.running(pod.clone()));
                continue;
            }
            Some(true) => {
                landing.push(pod.pod.clone());
                builder.pending(landing_pod(pod));
            }
            Some(false) => {
                let slices: u64 = pod
                    .demand
                    .iter()
                    .map(|(resource, count)| u64::from(input.slices_of(resource)) * u64::from(count))
                    .sum();
                *displaced.entry(pod.priority).or_default() += input.policy().weight.of(slices).cast_signed();
            }
        }
        cost += u64::from(pod.cost);
        freed.entry(pod.node).or_default().add(&pod.requests);
    }
    let gone: BTreeSet<PodId> =
        (0..input.running().len()).map(PodId::new).filter(|pod| !renamed.contains_key(pod)).collect();
    for (position, node) in input.nodes().iter().enumerate() {
        let mut node = node.clone();
        let mut gpus = input.gpus()[node.gpus.clone()].to_vec();
        for gpu in &mut gpus {
            release(gpu, &gone);
        }
        if let Some(operation) = operations.get(&node.name) {
            for target in &operation.gpus {
                cut(&mut gpus, target).map_err(|why| format!("node {}: {why}", node.name))?;
            }
        }
        for instance in gpus.iter_mut().flat_map(|gpu| &mut gpu.instances) {
            if let Occupancy::Busy(pods) = &mut instance.occupancy {
                for pod in pods {
                    *pod = renamed[pod];
                }
            }
        }
        if let Some(freed) = freed.get(&NodeId::new(position)) {
            node.free.add(freed);
        }
        builder.node(node, gpus);
    }
    rest(input, &mut builder);
    let mut built = builder.build().map_err(|error| error.to_string())?.with_policy(input.policy().clone());
    let mix = input.forecast().iter().map(|(id, &weight)| (input.resources()[id.index()].clone(), u64::from(weight)));
    built.replace_forecast(&mix.collect());
    Ok(Hypothesis { input: built, landing, displaced, cost })
}

/// What operations leave as it is.
fn rest(input: &PlanningInput, builder: &mut PlanningInputBuilder) {
    for set in input.node_sets() {
        builder.node_set(set.clone());
    }
    for budget in input.budgets() {
        builder.budget(budget.clone());
    }
    for pod in input.pending() {
        builder.pending(pod.clone());
    }
    for pod in input.unplannable() {
        builder.unplannable(pod.clone());
    }
}

fn landing_pod(pod: &RunningPod) -> PendingPod {
    PendingPod {
        pod: pod.pod.clone(),
        priority: FIRST,
        preempts: false,
        waiting_seconds: 0,
        demand: pod.demand.clone(),
        requests: pod.requests.clone(),
        eligible: pod.eligible,
    }
}

/// Frees what pods that are gone have held.
fn release(gpu: &mut Gpu, gone: &BTreeSet<PodId>) {
    for instance in &mut gpu.instances {
        if let Occupancy::Busy(pods) = &mut instance.occupancy {
            pods.retain(|pod| !gone.contains(pod));
            if pods.is_empty() {
                instance.occupancy = Occupancy::Free;
            }
        }
    }
}

/// Cuts a GPU as its target says; what stands there already keeps who holds it.
fn cut(gpus: &mut [Gpu], target: &GpuTarget) -> Result<(), String> {
    let gpu =
        gpus.iter_mut().find(|gpu| gpu.uuid == target.uuid).ok_or_else(|| format!("GPU {} is gone", target.uuid))?;
    let mut instances = Vec::with_capacity(target.target.len());
    for place in &target.target {
        let profile = gpu.geometry.find(&place.profile).ok_or_else(|| format!("no profile {}", place.profile))?;
        let placement = gpu.geometry.place(profile, place.start).map_err(|error| error.to_string())?;
        let there = gpu.instances.iter().find(|instance| instance.placement == placement).cloned();
        instances.push(there.unwrap_or(Instance { placement, uuid: None, occupancy: Occupancy::Free }));
    }
    let held = gpu.instances.iter().find(|instance| {
        instance.occupancy != Occupancy::Free && !instances.iter().any(|kept| kept.placement == instance.placement)
    });
    if let Some(held) = held {
        return Err(format!("{} of GPU {} is held", gpu.geometry.show(held.placement), gpu.index));
    }
    gpu.instances = instances;
    Ok(())
}
