//! Pods, in the fields that decide demand, occupancy, eligibility and movability.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::by_name::ByName;
use super::cluster::{LabelSelector, Requirement};
use super::meta::{Labels, Meta, Text, list, or_default};
use crate::kube::quantity::Amount;
use crate::kube::time::Stamp;

/// Amounts by resource name.
pub(crate) type Amounts = ByName<Amount>;

/// A field of which only the presence matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Present;

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Pod {
    #[serde(default)]
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) spec: PodSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) status: PodStatus,
}

/// What the pod wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) node_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) node_selector: Labels,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) affinity: Affinity,
    #[serde(default, deserialize_with = "list")]
    pub(crate) tolerations: Vec<Toleration>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) containers: Vec<Container>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) init_containers: Vec<Container>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) overhead: Amounts,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) resources: Resources,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) scheduler_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) priority: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) priority_class_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) preemption_policy: String,
    #[serde(default, deserialize_with = "list")]
    pub(crate) scheduling_gates: Vec<Present>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) termination_grace_period_seconds: Option<i64>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) topology_spread_constraints: Vec<SpreadConstraint>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) volumes: Vec<Volume>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) resource_claims: Vec<Present>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) scheduling_group: Option<Present>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) workload_ref: Option<Present>,
}

/// Affinity rules; preferred ones only order nodes and are not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct Affinity {
    #[serde(default, deserialize_with = "or_default", rename = "nodeAffinity")]
    pub(crate) node: NodeAffinity,
    #[serde(default, deserialize_with = "or_default", rename = "podAffinity")]
    pub(crate) pod: PodAffinity,
    #[serde(default, deserialize_with = "or_default", rename = "podAntiAffinity")]
    pub(crate) anti: PodAffinity,
}

/// Rules about nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct NodeAffinity {
    #[serde(default, deserialize_with = "or_default", rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(crate) required: Option<NodeSelector>,
}

/// Alternatives, of which one must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeSelector {
    #[serde(default, deserialize_with = "list")]
    pub(crate) node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Requirements that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeSelectorTerm {
    #[serde(default, deserialize_with = "list")]
    pub(crate) match_expressions: Vec<Requirement>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) match_fields: Vec<Requirement>,
}

/// Rules about other pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct PodAffinity {
    #[serde(default, deserialize_with = "list", rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(crate) required: Vec<PodAffinityTerm>,
}

/// A rule about other pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodAffinityTerm {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) label_selector: Option<LabelSelector>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) namespaces: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) namespace_selector: Option<Present>,
}

/// A taint that the pod tolerates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct Toleration {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) key: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) operator: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) value: Text,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) effect: String,
}

/// A container, ordinary or init.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    /// Most pods of a cluster ask for what others ask for.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) resources: Arc<Resources>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) restart_policy: String,
    #[serde(default, deserialize_with = "list")]
    pub(crate) ports: Vec<Port>,
}

/// Requests and limits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct Resources {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) requests: Amounts,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) limits: Amounts,
}

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) host_port: i64,
}

/// A rule about spreading pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpreadConstraint {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) when_unsatisfiable: String,
}

/// A volume, in the kinds that tie a pod to a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Volume {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) empty_dir: Option<EmptyDir>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) host_path: Option<Present>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) persistent_volume_claim: Option<Present>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) ephemeral: Option<Present>,
}

/// Scratch space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct EmptyDir {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) medium: String,
}

/// What is known of the pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodStatus {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) phase: String,
    #[serde(default, deserialize_with = "list")]
    pub(crate) conditions: Vec<PodCondition>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) container_statuses: Vec<ContainerStatus>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) init_container_statuses: Vec<ContainerStatus>,
    #[serde(default)]
    pub(crate) start_time: Stamp,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) extended_resource_claim_status: Option<Present>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) nominated_node_name: String,
}

/// A condition; nodes have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodCondition {
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) status: Text,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) last_transition_time: Stamp,
    #[serde(default)]
    pub(crate) last_probe_time: Stamp,
    #[serde(default)]
    pub(crate) last_heartbeat_time: Stamp,
}

impl PodCondition {
    /// The newest of the condition's moments.
    pub(crate) fn newest(&self) -> Option<i64> {
        [self.last_transition_time.0, self.last_probe_time.0, self.last_heartbeat_time.0].into_iter().flatten().max()
    }
}

/// State of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct ContainerStatus {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) state: ContainerState,
}

/// One of waiting, running, terminated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct ContainerState {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) running: Option<RunningState>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) terminated: Option<TerminatedState>,
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningState {
    #[serde(default)]
    pub(crate) started_at: Stamp,
}

/// A container that has ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TerminatedState {
    #[serde(default)]
    pub(crate) finished_at: Stamp,
}

impl Pod {
    /// Whether the pod holds nothing any more: it has ended, and so has every container that is known of.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
            && self.containers_known().all(|container| container.state.running.is_none())
    }

    /// Whether the pod is bound to a node.
    pub(crate) fn bound(&self) -> bool {
        !self.spec.node_name.is_empty()
    }

    /// Whether the condition `Ready` is true.
    #[cfg(feature = "cluster")]
    pub(crate) fn ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status.0 == "True")
    }

    /// The newest moment in the pod's status.
    pub(crate) fn newest(&self) -> Option<i64> {
        let containers = self.containers_known().flat_map(|container| {
            let started = container.state.running.as_ref().and_then(|state| state.started_at.0);
            let finished = container.state.terminated.as_ref().and_then(|state| state.finished_at.0);
            started.into_iter().chain(finished)
        });
        let conditions = self.status.conditions.iter().filter_map(PodCondition::newest);
        containers.chain(conditions).chain(self.status.start_time.0).max()
    }

    fn containers_known(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.status.container_statuses.iter().chain(&self.status.init_container_statuses)
    }
}

impl NodeSelector {
    /// All requirements of all alternatives.
    pub(crate) fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.node_selector_terms.iter().flat_map(|term| term.match_expressions.iter().chain(&term.match_fields))
    }
}
