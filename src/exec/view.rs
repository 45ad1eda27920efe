//! Nodes and pods as the protocol sees them: what adapters make of API objects.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Movability, PodRef};

use super::record::Version;

/// Key of the taint that keeps new pods off a node under operation; its value is the operation's id, its effect `NoSchedule`.
pub const TAINT_KEY: &str = "retile.dev/repartitioning";

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; often empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A node object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about a node, not states")]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its version.
    pub version: Version,
    /// Whether the condition `Ready` is true.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether somebody has cordoned it; that is never ours to change.
    pub cordoned: bool,
    /// Grows whenever the kubelet has shown that it lives: a renewal of its lease, or a write of the status, changed or not.
    pub heartbeat: u64,
    /// All its taints.
    pub taints: Vec<Taint>,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// All its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Allocatable amounts of `nvidia.com/mig-…` and `nvidia.com/gpu`; a resource that was removed stays with 0.
    pub allocatable: BTreeMap<String, u64>,
    /// Extended resources by which another partitioner shows that it serves the node: see [`partitioner_of`](super::partitioner_of).
    pub foreign_resources: BTreeSet<String>,
    /// Whether NVIDIA's driver of dynamic resource allocation offers devices of the node in a `ResourceSlice`. The agent may not read those,
    /// and is told no: the controller has it give up.
    pub served_by_dra: bool,
}

impl NodeView {
    /// The value of our own taint, which names an operation.
    pub fn our_taint(&self) -> Option<&str> {
        self.taints.iter().find(|taint| taint.key == TAINT_KEY).map(|taint| taint.value.as_str())
    }
}

/// A pod that is bound to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about a pod, not states")]
pub struct PodView {
    /// Which pod.
    pub pod: PodRef,
    /// What makes it again when it is gone, as `kind/name` of its controller within its namespace; none when nobody does.
    pub owner: Option<String>,
    /// Instances that it asks for, by resource name, counted as the scheduler does.
    pub requests: BTreeMap<String, u32>,
    /// Whether it is being deleted; it still holds what it has.
    pub deleting: bool,
    /// Whether all its containers have ended for good: it holds nothing any more.
    pub finished: bool,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it is the device plugin's.
    pub device_plugin: bool,
    /// As which clients of [`CLIENTS`](super::marks::CLIENTS) the GPU Operator's labels place it on its node.
    pub deployed_as: BTreeSet<String>,
    /// Whether it tolerates our taint, so that it could come back while we work.
    pub tolerates_taint: bool,
    /// Grace period for its end, in seconds.
    pub grace_seconds: u64,
    /// Whether and from which level on it may be moved.
    pub movability: Movability,
    /// Evictions that each `PodDisruptionBudget` over it allows now; with more than one the API refuses to evict it at all.
    pub budgets: Vec<u32>,
}

impl PodView {
    /// Whether it holds, or may come to hold, instances.
    pub fn holds_instances(&self) -> bool {
        !self.finished && self.requests.values().any(|&count| count > 0)
    }
}
