//! Rules 2, 3 and 7 for pods: who waits and is served, who is evicted and may be, who is left without a place.

use std::collections::BTreeMap;

use super::changes::Changes;
use super::violation::Violation;
use super::world::{Spot, World, gpu_place, split};
use crate::model::{DisruptionLevel, NodeId, PodId};
use crate::plan::document::{Eviction, Plan};

/// A waiting pod that the plan serves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    /// Position in [`crate::model::PlanningInput::pending`].
    pub(super) pending: usize,
    /// Where it lands; `None` when the input has no such node.
    pub(super) node: Option<NodeId>,
}

/// An evicted pod with a new place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) pod: PodId,
    pub(super) node: NodeId,
}

/// Checks that every waiting pod is in exactly one list; returns those served.
pub(super) fn waiting(plan: &Plan, world: &World<'_>, found: &mut Vec<Violation>) -> Vec<Served> {
    order("served", plan.served.iter().map(|served| served.pod.as_str()), found);
    order("unserved", plan.unserved.iter().map(|unserved| unserved.pod.as_str()), found);
    let mut is_served = vec![false; world.input.pending().len()];
    let mut is_unserved = vec![false; world.input.pending().len()];
    let mut listed = vec![false; world.input.unplannable().len()];
    let mut all = Vec::new();
    for served in &plan.served {
        let pod = served.pod.clone();
        if let Some(position) = world.pending(&pod) {
            if std::mem::replace(&mut is_served[position], true) {
                continue; // Twice in one list: the order says so.
            }
            let place = format!("served[{pod}]");
            uid(&place, &pod, &served.uid, &world.input.pending()[position].pod.uid, found);
            let node = find_node(&place, &served.node, world, found);
            all.push(Served { pending: position, node });
        } else if let Some(position) = world.unplannable(&pod) {
            listed[position] = true;
            let reason = world.input.unplannable()[position].reason.to_string();
            found.push(Violation::ServesUnplannable { pod, reason });
        } else {
            found.push(Violation::ServesUnknown { pod });
        }
    }
    for unserved in &plan.unserved {
        let pod = unserved.pod.clone();
        if let Some(position) = world.pending(&pod) {
            is_unserved[position] = true;
            if is_served[position] {
                found.push(Violation::ServedAndUnserved { pod });
            }
        } else if let Some(position) = world.unplannable(&pod) {
            listed[position] = true;
        } else {
            found.push(Violation::UnservedUnknown { pod });
        }
    }
    for (position, pending) in world.input.pending().iter().enumerate() {
        if !is_served[position] && !is_unserved[position] {
            found.push(Violation::Forgotten { pod: pending.pod.to_string() });
        }
    }
    for (pod, _) in world.input.unplannable().iter().zip(&listed).filter(|&(_, &listed)| !listed) {
        found.push(Violation::Forgotten { pod: pod.pod.to_string() });
    }
    all
}

/// Checks the evictions against the instances that are destroyed or handed over; returns those that land again.
pub(super) fn evictions(plan: &Plan, changes: &Changes, world: &World<'_>, found: &mut Vec<Violation>) -> Vec<Placed> {
    let mut seen = BTreeMap::new();
    let mut placed = Vec::new();
    for node_plan in &plan.nodes {
        let node = &node_plan.name;
        order(&format!("nodes[{node}].evict"), node_plan.evict.iter().map(|eviction| eviction.pod.as_str()), found);
        for eviction in &node_plan.evict {
            let name = eviction.pod.clone();
            let Some(pod) = world.running(&name) else {
                found.push(Violation::EvictsUnknown { node: node.clone(), pod: name });
                continue;
            };
            if let Some(first) = seen.insert(pod, node) {
                if first != node {
                    found.push(Violation::EvictedTwice { node: node.clone(), pod: name });
                }
                continue; // Twice in one list: the order says so.
            }
            let running = world.pod(pod);
            let actual = world.node_name(running.node);
            if actual != node {
                let actual = actual.to_owned();
                found.push(Violation::EvictedElsewhere { node: node.clone(), pod: name.clone(), actual });
            }
            let place = format!("nodes[{node}].evict[{name}]");
            uid(&place, &name, &eviction.uid, &running.pod.uid, found);
            if !changes.evicted.contains_key(&pod) {
                found.push(Violation::NeedlessEviction { node: node.clone(), pod: name });
                continue;
            }
            placed.extend(landing(&place, eviction, pod, world, found));
        }
    }
    for (&pod, &(gpu, slot)) in &changes.evicted {
        let running = world.pod(pod);
        let level = world.input.policy().disruption;
        if !running.movable_at(level) {
            let level = level.as_flag().to_owned();
            found.push(Violation::NotMovable { pod: running.pod.to_string(), level });
        }
        if !seen.contains_key(&pod) {
            let gpu = &world.input.gpus()[gpu];
            let (node, index) = gpu_place(world, gpu);
            let instance = Spot::of(&gpu.instances[slot]).show(&gpu.geometry);
            found.push(Violation::NotEvicted { pod: running.pod.to_string(), node, gpu: index, instance });
        }
    }
    placed
}

fn landing(
    place: &str,
    eviction: &Eviction,
    pod: PodId,
    world: &World<'_>,
    found: &mut Vec<Violation>,
) -> Option<Placed> {
    let Some(name) = &eviction.placed_on else {
        let priority = world.pod(pod).priority;
        let why = if world.input.policy().disruption != DisruptionLevel::Aggressive {
            "only `aggressive` plans may leave a pod without one"
        } else if world.input.pending().iter().any(|pending| pending.preempts && pending.priority > priority) {
            return None;
        } else {
            "no waiting pod of higher priority preempts"
        };
        found.push(Violation::Displaced { pod: eviction.pod.clone(), priority, why });
        return None;
    };
    find_node(place, name, world, found).map(|node| Placed { pod, node })
}

fn find_node(place: &str, name: &str, world: &World<'_>, found: &mut Vec<Violation>) -> Option<NodeId> {
    let node = world.node(name);
    if node.is_none() {
        found.push(Violation::UnknownNode { place: place.to_owned(), node: name.to_owned() });
    }
    node
}

fn uid(place: &str, pod: &str, said: &str, expected: &str, found: &mut Vec<Violation>) {
    if said != expected {
        let (said, expected) = (said.to_owned(), expected.to_owned());
        found.push(Violation::Uid { place: place.to_owned(), pod: pod.to_owned(), found: said, expected });
    }
}

/// Pods are listed by namespace, then name, none twice.
fn order<'a>(list: &str, names: impl Iterator<Item = &'a str>, found: &mut Vec<Violation>) {
    let mut last = None;
    for name in names {
        let key = split(name);
        if last >= Some(key) {
            found.push(Violation::Order { list: list.to_owned(), item: name.to_owned() });
            return;
        }
        last = Some(key);
    }
}
