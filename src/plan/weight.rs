//! What a waiting pod weighs, and what a resource is worth, by `docs/design/semantics.md`.
//!
//! Inputs: a [`PlanningInput`]. Outputs: memory slices and ageing factors. This is the verifier's own arithmetic; it must
//! not be replaced by the planner's.

use std::collections::BTreeMap;

use crate::model::{Demand, PendingPod, PlanningInput, Policy, ResourceId};

/// Ageing factors of the pending pods of one input.
#[derive(Debug)]
pub(super) struct AgeingFactors {
    /// Least waiting time of the pending pods of each priority, in seconds.
    least: BTreeMap<i32, u64>,
    /// Seconds per step; 0 switches ageing off.
    seconds: u64,
}

impl AgeingFactors {
    pub(super) fn of(input: &PlanningInput) -> Self {
        let mut least = BTreeMap::new();
        for pod in input.pending() {
            let entry = least.entry(pod.priority).or_insert(pod.waiting_seconds);
            *entry = pod.waiting_seconds.min(*entry);
        }
        Self { least, seconds: input.policy().ageing_seconds }
    }

    /// Factor of one pending pod, 1 to [`Policy::MAX_AGEING`].
    pub(super) fn factor(&self, pod: &PendingPod) -> u64 {
        let least = self.least.get(&pod.priority).copied().unwrap_or(pod.waiting_seconds);
        let waited = pod.waiting_seconds.saturating_sub(least);
        1 + waited.checked_div(self.seconds).unwrap_or(0).min(Policy::MAX_AGEING - 1)
    }

    /// Priorities of the pending pods, highest first.
    pub(super) fn priorities(&self) -> impl Iterator<Item = i32> + '_ {
        self.least.keys().rev().copied()
    }
}

/// Memory slices of each resource.
#[derive(Debug)]
pub(super) struct Slices(Vec<u64>);

impl Slices {
    pub(super) fn of(input: &PlanningInput) -> Self {
        let resources = 0..input.resources().len();
        Self(resources.map(|index| u64::from(input.slices_of(ResourceId::new(index)))).collect())
    }

    /// Slices that one replica of a resource stands for.
    pub(super) fn resource(&self, resource: ResourceId) -> u64 {
        self.0.get(resource.index()).copied().unwrap_or(0)
    }

    /// Slices that a pod asks for.
    pub(super) fn demand(&self, demand: &Demand) -> u64 {
        demand.iter().map(|(resource, count)| self.resource(resource).saturating_mul(u64::from(count))).sum()
    }
}
