//! Running pods that hold instances and pending pods that ask for them.

use super::capacity::Capacity;
use super::ids::{BudgetId, GpuId, NodeId, NodeSetId, PodRef, ResourceId};
use super::policy::DisruptionLevel;
use super::reason::Reason;

/// MIG instances (or shared replicas) that one pod needs at the same time, all on one node.
///
/// Invariant: ordered by resource, no resource twice, no count of zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand(Vec<(ResourceId, u32)>);

impl Demand {
    /// Sums up requests; counts of zero vanish.
    pub fn new(requests: impl IntoIterator<Item = (ResourceId, u32)>) -> Self {
        let mut sums: Vec<(ResourceId, u32)> = requests.into_iter().collect();
        sums.sort_by_key(|&(resource, _)| resource);
        sums.dedup_by(|again, sum| {
            let same = again.0 == sum.0;
            if same {
                sum.1 = sum.1.saturating_add(again.1);
            }
            same
        });
        sums.retain(|&(_, count)| count > 0);
        Self(sums)
    }

    /// Requests by resource.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ResourceId, u32)> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The resource of a pod that asks for exactly one instance.
    pub fn single(&self) -> Option<ResourceId> {
        match self.0.as_slice() {
            [(resource, 1)] => Some(*resource),
            _ => None,
        }
    }
}

/// What makes a pod again when it is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ControllerKind {
    /// ReplicaSet, StatefulSet, or another controller that replaces pods.
    Replacing,
    /// A Job: the work starts again.
    Job,
    /// A DaemonSet: its pod belongs to the node.
    DaemonSet,
    /// Nobody.
    None,
}

/// Whether a running pod may be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Movability {
    /// From this disruption level on.
    From(DisruptionLevel),
    /// Never, for this reason.
    Never(Reason, String),
}

/// A pod that holds MIG instances.
#[derive(Debug, Clone)]
pub struct RunningPod {
    /// Which pod.
    pub pod: PodRef,
    /// Node that it runs on.
    pub node: NodeId,
    /// Priority, after the policy's ceiling.
    pub priority: i32,
    /// What would make it again.
    pub controller: ControllerKind,
    /// Whether and from which level on it may be moved.
    pub movability: Movability,
    /// Cost of moving it, 1 for an ordinary pod; at least 1.
    pub cost: u32,
    /// Ordinary resources that it gives back when it leaves and needs where it lands.
    pub requests: Capacity,
    /// Instances that it needs where it lands.
    pub demand: Demand,
    /// Nodes where it may land (its own included, where the scheduler would take it again).
    pub eligible: NodeSetId,
    /// Budgets that its eviction counts against.
    pub budgets: Vec<BudgetId>,
    /// Instances that it holds, as (GPU, position in [`super::Gpu::instances`]); set by the builder.
    pub instances: Vec<(GpuId, usize)>,
}

impl RunningPod {
    /// Whether the pod may be moved at a disruption level.
    pub fn movable_at(&self, level: DisruptionLevel) -> bool {
        match self.movability {
            Movability::From(from) => level != DisruptionLevel::IdleOnly && level >= from,
            Movability::Never(..) => false,
        }
    }
}

/// An unschedulable pod that asks for MIG instances and that the planner can plan for.
#[derive(Debug, Clone)]
pub struct PendingPod {
    /// Which pod.
    pub pod: PodRef,
    /// Priority, after the policy's ceiling; each value is a tier of its own.
    pub priority: i32,
    /// Whether pods of lower priority may be displaced for it (`preemptionPolicy` is not `Never`).
    pub preempts: bool,
    /// Seconds that it has waited.
    pub waiting_seconds: u64,
    /// Instances that it needs.
    pub demand: Demand,
    /// Ordinary resources that it needs.
    pub requests: Capacity,
    /// Nodes where it could run.
    pub eligible: NodeSetId,
}
