//! Nodes, and the report of retile's agent about a node's GPUs.

use serde::Deserialize;

use super::meta::{Meta, Text, list, or_default};
use super::pod::{Amounts, PodCondition};
use crate::kube::time::Stamp;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Node {
    #[serde(default)]
    pub(crate) metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) spec: NodeSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) status: NodeStatus,
}

/// What is asked of the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct NodeSpec {
    #[serde(default, deserialize_with = "list")]
    pub(crate) taints: Vec<Taint>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) unschedulable: bool,
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct Taint {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) key: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) value: Text,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) effect: String,
}

/// What is known of the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct NodeStatus {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) allocatable: Amounts,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) capacity: Amounts,
    #[serde(default, deserialize_with = "list")]
    pub(crate) conditions: Vec<PodCondition>,
}

impl Node {
    /// Value of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.metadata.label(key)
    }

    /// Whether the kubelet reports ready; a node without the condition counts as ready.
    pub(crate) fn ready(&self) -> bool {
        self.status.conditions.iter().filter(|condition| condition.kind == "Ready").all(|c| c.status.0 == "True")
    }
}

/// `MigNode` of `retile.dev/v1alpha1`, in the fields that the planner reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct MigNode {
    #[serde(default)]
    pub(crate) metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) status: MigNodeStatus,
}

/// The agent's report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MigNodeStatus {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) node_name: String,
    #[serde(default, deserialize_with = "list")]
    pub(crate) gpus: Vec<ReportedGpu>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) conditions: Vec<PodCondition>,
}

/// A GPU as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportedGpu {
    pub(crate) index: u32,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) uuid: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) model: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) mig_mode: Text,
    /// Mode after the next reset, where it differs.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) pending_mig_mode: Text,
    #[serde(default, deserialize_with = "list")]
    pub(crate) instances: Vec<ReportedInstance>,
    /// When the GPU's layout last changed.
    #[serde(default)]
    pub(crate) last_changed: Stamp,
}

/// A MIG instance as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct ReportedInstance {
    pub(crate) profile: String,
    pub(crate) start: u8,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) size: Option<u8>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) uuid: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) occupancy: Text,
    #[serde(default, deserialize_with = "list")]
    pub(crate) pods: Vec<ReportedPod>,
}

/// A pod that the agent sees on an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct ReportedPod {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) uid: String,
}
