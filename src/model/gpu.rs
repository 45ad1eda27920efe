//! Nodes, their GPUs, and the MIG instances on them.

use std::ops::Range;
use std::sync::Arc;

use super::capacity::Capacity;
use super::geometry::{Geometry, Placement, ProfileId};
use super::ids::{NodeId, PodId, ResourceId};
use super::reason::Reason;

/// How the node's device plugin offers MIG instances (`nvidia.com/mig.strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MigStrategy {
    /// Each profile under its own resource name; any layout is allowed.
    Mixed,
    /// Every instance as `nvidia.com/gpu`; all GPUs of the node must be cut into one and the same profile.
    Single,
}

impl MigStrategy {
    /// What a node's label says, if it has one; all but `single` name instances by their profiles.
    pub fn told(label: Option<&str>) -> Self {
        if label == Some("single") { Self::Single } else { Self::Mixed }
    }
}

/// A node that has MIG-capable GPUs.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name of the node.
    pub name: String,
    /// Strategy of the device plugin there.
    pub strategy: MigStrategy,
    /// What is left of CPU, memory and other ordinary resources: allocatable minus the requests of bound pods.
    pub free: Capacity,
    /// Positions of the node's GPUs; set by the builder.
    pub gpus: Range<usize>,
}

/// Who holds an instance. Unknown is not free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupancy {
    /// All sources say that nobody holds it.
    Free,
    /// The named pods hold it (several only with shared replicas).
    Busy(Vec<PodId>),
    /// Held, or possibly held, by something that the source cannot name; neither offered nor destroyed.
    Unknown,
}

/// A MIG instance (GPU instance with the compute instance that fills it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Where it stands.
    pub placement: Placement,
    /// MIG UUID, where the source tells it.
    pub uuid: Option<String>,
    /// Who holds it.
    pub occupancy: Occupancy,
}

/// Under which resource name, and how many times, one instance of a profile is offered on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// Resource name that pods ask for.
    pub resource: ResourceId,
    /// Times that one instance is offered: 1, or the replicas of time-slicing or MPS.
    pub replicas: u32,
}

/// One GPU in MIG mode.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// Node that it is in.
    pub node: NodeId,
    /// Index on the node, as `nvidia-smi` numbers GPUs.
    pub index: u32,
    /// GPU UUID; empty when the source does not tell it.
    pub uuid: String,
    /// Product name as reported, e.g. `NVIDIA A100-SXM4-80GB`.
    pub product: String,
    /// Board table.
    pub geometry: Arc<Geometry>,
    /// Instances ordered by start; they form a legal layout.
    pub instances: Vec<Instance>,
    /// What an instance of each profile offers here, by [`ProfileId`]; `None` when the node does not offer the profile.
    pub offers: Arc<[Option<Offer>]>,
    /// Why nothing on this GPU may be changed; `None` when it may. A frozen GPU still serves with its free instances.
    pub frozen: Option<(Reason, String)>,
}

impl Gpu {
    /// What an instance of a profile offers on this GPU.
    pub fn offer(&self, profile: ProfileId) -> Option<Offer> {
        self.offers.get(profile.index()).copied().flatten()
    }

    /// Replicas of an instance that no pod holds: all when free, the rest when shared, none when unknown.
    pub fn free_replicas(&self, instance: &Instance) -> u32 {
        let offered = self.offer(instance.placement.profile()).map_or(0, |offer| offer.replicas);
        match &instance.occupancy {
            Occupancy::Free => offered,
            Occupancy::Busy(pods) => offered.saturating_sub(pods.len() as u32),
            Occupancy::Unknown => 0,
        }
    }
}
