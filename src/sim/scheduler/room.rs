//! What pods take of a node.

use std::collections::BTreeMap;

use crate::sim::api::{Node, Pod};

/// Parts per million, the unit of fractions.
const WHOLE: u64 = 1_000_000;

/// Amounts that are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Room {
    instances: BTreeMap<String, i64>,
    cpu_milli: i64,
    pods: i64,
}

impl Room {
    /// Adds what a pod takes.
    pub(super) fn take(&mut self, pod: &Pod) {
        self.add(pod, 1);
    }

    /// Takes away what a pod took.
    pub(super) fn give(&mut self, pod: &Pod) {
        self.add(pod, -1);
    }

    fn add(&mut self, pod: &Pod, sign: i64) {
        for (resource, &count) in &pod.requests {
            match self.instances.get_mut(resource) {
                Some(taken) => *taken += sign * i64::from(count),
                None => drop(self.instances.insert(resource.clone(), sign * i64::from(count))),
            }
        }
        self.cpu_milli += sign * pod.cpu_milli;
        self.pods += sign;
    }

    /// What is left of it without another part.
    pub(super) fn without(mut self, other: &Self) -> Self {
        for (resource, count) in &other.instances {
            *self.instances.entry(resource.clone()).or_default() -= count;
        }
        self.cpu_milli -= other.cpu_milli;
        self.pods -= other.pods;
        self
    }

    /// Whether it is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.cpu_milli == 0 && self.pods == 0
    }

    fn taken(&self, resource: &str) -> i64 {
        self.instances.get(resource).copied().unwrap_or(0)
    }

    /// Whether a node of which this is taken has room for a pod.
    pub(super) fn leaves_room(&self, node: &Node, pod: &Pod) -> bool {
        let instances = pod
            .requests
            .iter()
            .all(|(resource, &count)| count == 0 || self.taken(resource) + i64::from(count) <= offered(node, resource));
        instances
            && (pod.cpu_milli == 0 || self.cpu_milli + pod.cpu_milli <= node.cpu_milli)
            && self.pods < node.max_pods
    }

    /// Fraction of what a pod asks for that would be taken with it, in parts per million, averaged over resources.
    pub(super) fn fraction(&self, node: &Node, pod: &Pod) -> u64 {
        let share = |taken: i64, of: i64| taken.max(0) as u64 * WHOLE / of.max(1) as u64;
        let instances = pod
            .requests
            .iter()
            .map(|(resource, &count)| share(self.taken(resource) + i64::from(count), offered(node, resource)));
        let shares: Vec<u64> = instances.chain([share(self.cpu_milli + pod.cpu_milli, node.cpu_milli)]).collect();
        shares.iter().sum::<u64>() / shares.len() as u64
    }
}

fn offered(node: &Node, resource: &str) -> i64 {
    node.allocatable.get(resource).map_or(0, |&count| i64::try_from(count).unwrap_or(i64::MAX))
}
