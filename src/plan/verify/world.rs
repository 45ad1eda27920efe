//! Look-ups by the names that documents use.
//!
//! Relies on the order that [`PlanningInput`] promises: nodes by name, GPUs by index, pods by namespace and name.

use std::fmt;

use crate::model::{BudgetId, Geometry, Gpu, Instance, NodeId, PendingPod, PlanningInput, PodId, PodRef, ProfileId};
use crate::model::{RunningPod, Unplannable};
use crate::plan::document::PlannedInstance;
use crate::plan::weight::{AgeingFactors, Slices};

/// The input with what the checks look up in it.
pub(super) struct World<'a> {
    pub(super) input: &'a PlanningInput,
    pub(super) slices: Slices,
    pub(super) ageing: AgeingFactors,
}

/// A profile at a place, as the document says it; not necessarily a legal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) start: u8,
    pub(super) size: u8,
    pub(super) profile: ProfileId,
}

impl Spot {
    pub(super) fn of(instance: &Instance) -> Self {
        let placement = instance.placement;
        Self { start: placement.start(), size: placement.size(), profile: placement.profile() }
    }

    /// First unit after the instance; wide enough for any document.
    pub(super) fn end(self) -> u16 {
        u16::from(self.start) + u16::from(self.size)
    }

    pub(super) fn show(self, geometry: &Geometry) -> String {
        format!("{}@{}:{}", geometry.profile(self.profile).name, self.start, self.size)
    }
}

impl<'a> World<'a> {
    pub(super) fn new(input: &'a PlanningInput) -> Self {
        Self { input, slices: Slices::of(input), ageing: AgeingFactors::of(input) }
    }

    pub(super) fn node(&self, name: &str) -> Option<NodeId> {
        self.input.nodes().binary_search_by(|node| node.name.as_str().cmp(name)).ok().map(NodeId::new)
    }

    pub(super) fn node_name(&self, node: NodeId) -> &'a str {
        &self.input.nodes()[node.index()].name
    }

    /// Position of a GPU in the input.
    pub(super) fn gpu(&self, node: NodeId, index: u32) -> Option<usize> {
        let range = self.input.nodes()[node.index()].gpus.clone();
        let start = range.start;
        self.input.gpus()[range].binary_search_by_key(&index, |gpu| gpu.index).ok().map(|position| start + position)
    }

    pub(super) fn running(&self, name: &str) -> Option<PodId> {
        position(self.input.running(), name, |pod: &RunningPod| &pod.pod).map(PodId::new)
    }

    pub(super) fn pod(&self, pod: PodId) -> &'a RunningPod {
        &self.input.running()[pod.index()]
    }

    /// Position of a pod in [`PlanningInput::pending`].
    pub(super) fn pending(&self, name: &str) -> Option<usize> {
        position(self.input.pending(), name, |pod: &PendingPod| &pod.pod)
    }

    /// Position of a pod in [`PlanningInput::unplannable`].
    pub(super) fn unplannable(&self, name: &str) -> Option<usize> {
        position(self.input.unplannable(), name, |pod: &Unplannable| &pod.pod)
    }

    pub(super) fn budget_name(&self, budget: BudgetId) -> &'a str {
        &self.input.budgets()[budget.index()].name
    }

    /// Names of pods, in the order of the input.
    pub(super) fn names(&self, pods: impl IntoIterator<Item = PodId>) -> Vec<String> {
        pods.into_iter().map(|pod| self.pod(pod).pod.to_string()).collect()
    }
}

/// Namespace and name of `namespace/name`: the order in which documents list pods.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("", name))
}

fn position<T>(sorted: &[T], name: &str, key: impl Fn(&T) -> &PodRef) -> Option<usize> {
    let wanted = split(name);
    sorted
        .binary_search_by(|item| {
            let pod = key(item);
            (pod.namespace.as_str(), pod.name.as_str()).cmp(&wanted)
        })
        .ok()
}

/// Where in the document a GPU stands.
pub(super) fn gpu_place(world: &World<'_>, gpu: &Gpu) -> (String, u32) {
    (world.node_name(gpu.node).to_owned(), gpu.index)
}

pub(super) fn show(instance: &PlannedInstance) -> String {
    format!("{}@{}:{}", instance.profile, instance.start, instance.size)
}

pub(super) fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
