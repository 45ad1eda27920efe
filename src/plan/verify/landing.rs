//! Rules 4 and 5: what a node offers after the change, and whether all that land on it fit.

use std::collections::BTreeMap;

use super::changes::Changes;
use super::pods::{Placed, Served};
use super::violation::Violation;
use super::world::World;
use crate::model::{Capacity, CapacityKind, Demand, NodeId, NodeSetId, Occupancy, PodRef, ResourceId};

/// A pod that lands somewhere.
struct Landing<'a> {
    pod: &'a PodRef,
    node: NodeId,
    demand: &'a Demand,
    requests: &'a Capacity,
    eligible: NodeSetId,
    list: &'static str,
}

/// Checks all landings; returns the replicas of each resource that are left over in the whole cluster.
pub(super) fn check(
    served: &[Served],
    placed: &[Placed],
    changes: &Changes,
    world: &World<'_>,
    found: &mut Vec<Violation>,
) -> Vec<u64> {
    let mut per_node: BTreeMap<NodeId, Vec<Landing<'_>>> = BTreeMap::new();
    for landing in landings(served, placed, world) {
        if !world.input.may_use(landing.eligible, landing.node) {
            found.push(Violation::NotEligible {
                place: landing.list.to_owned(),
                pod: landing.pod.to_string(),
                node: world.node_name(landing.node).to_owned(),
            });
        }
        per_node.entry(landing.node).or_default().push(landing);
    }
    let gone = requests_gone(changes, world);
    let mut left = vec![0_u64; world.input.resources().len()];
    for (position, node) in world.input.nodes().iter().enumerate() {
        let node_id = NodeId::new(position);
        let offered = offered(node_id, changes, world);
        let landings = per_node.get(&node_id).map_or(&[][..], Vec::as_slice);
        let mut asked: BTreeMap<ResourceId, u64> = BTreeMap::new();
        for (resource, count) in landings.iter().flat_map(|landing| landing.demand.iter()) {
            *asked.entry(resource).or_default() += u64::from(count);
        }
        for (&resource, &asked) in &asked {
            let offered = offered[resource.index()];
            if asked > offered {
                let resource = world.input.resources()[resource.index()].clone();
                found.push(Violation::Supply { node: node.name.clone(), resource, asked, offered });
            }
        }
        for (index, &offered) in offered.iter().enumerate() {
            let asked = asked.get(&ResourceId::new(index)).copied().unwrap_or(0);
            left[index] += offered.saturating_sub(asked);
        }
        if !landings.is_empty() {
            let mut free = node.free.clone();
            if let Some(gone) = gone.get(&node_id) {
                free.add(gone);
            }
            capacity(&node.name, landings, &free, found);
        }
    }
    left
}

fn landings<'a>(served: &'a [Served], placed: &'a [Placed], world: &'a World<'a>) -> impl Iterator<Item = Landing<'a>> {
    let served = served.iter().filter_map(|served| {
        let pod = &world.input.pending()[served.pending];
        Some(Landing {
            pod: &pod.pod,
            node: served.node?,
            demand: &pod.demand,
            requests: &pod.requests,
            eligible: pod.eligible,
            list: "served",
        })
    });
    let placed = placed.iter().map(|placed| {
        let pod = world.pod(placed.pod);
        Landing {
            pod: &pod.pod,
            node: placed.node,
            demand: &pod.demand,
            requests: &pod.requests,
            eligible: pod.eligible,
            list: "evict",
        }
    });
    served.chain(placed)
}

/// Ordinary resources that the evicted pods give back, by node.
fn requests_gone(changes: &Changes, world: &World<'_>) -> BTreeMap<NodeId, Capacity> {
    let mut gone: BTreeMap<NodeId, Capacity> = BTreeMap::new();
    for &pod in changes.evicted.keys() {
        let pod = world.pod(pod);
        gone.entry(pod.node).or_default().add(&pod.requests);
    }
    gone
}

/// Replicas that nobody holds after the change, by resource.
fn offered(node: NodeId, changes: &Changes, world: &World<'_>) -> Vec<u64> {
    let mut offered = vec![0_u64; world.input.resources().len()];
    for position in world.input.nodes()[node.index()].gpus.clone() {
        let gpu = &world.input.gpus()[position];
        for slot in changes.kept(position, gpu) {
            let instance = &gpu.instances[slot];
            let Some(offer) = gpu.offer(instance.placement.profile()) else { continue };
            let taken = match &instance.occupancy {
                Occupancy::Free => 0,
                Occupancy::Busy(_) => changes.staying(&instance.occupancy).count() as u64,
                Occupancy::Unknown => continue,
            };
            offered[offer.resource.index()] += u64::from(offer.replicas).saturating_sub(taken);
        }
        for offer in changes.created(position).iter().filter_map(|spot| gpu.offer(spot.profile)) {
            offered[offer.resource.index()] += u64::from(offer.replicas);
        }
    }
    offered
}

/// Every ordinary resource that one of them asks for must suffice for the sum.
fn capacity(node: &str, landings: &[Landing<'_>], free: &Capacity, found: &mut Vec<Violation>) {
    let mut asked: BTreeMap<&CapacityKind, i64> = BTreeMap::new();
    for (kind, amount) in landings.iter().flat_map(|landing| landing.requests.iter()).filter(|&(_, amount)| amount > 0)
    {
        let sum = asked.entry(kind).or_default();
        *sum = sum.saturating_add(amount);
    }
    for (kind, asked) in asked {
        let free = free.get(kind);
        if asked > free {
            let resource = match kind {
                CapacityKind::CpuMilli => "CPU (millicores)".to_owned(),
                CapacityKind::MemoryBytes => "memory (bytes)".to_owned(),
                CapacityKind::Pods => "pods".to_owned(),
                CapacityKind::Named(name) => name.clone(),
            };
            found.push(Violation::Capacity { node: node.to_owned(), resource, asked, free });
        }
    }
}
