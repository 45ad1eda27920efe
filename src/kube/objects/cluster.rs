//! Disruption budgets, priority classes, and the traces of dynamic resource allocation.

use serde::Deserialize;

use super::meta::{Labels, Meta, Text, or_default};

/// A `PodDisruptionBudget`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct DisruptionBudget {
    #[serde(default)]
    pub(crate) metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) spec: DisruptionBudgetSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) status: DisruptionBudgetStatus,
}

/// Pods of the budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct DisruptionBudgetSpec {
    /// Absent: no pod. Empty: every pod of the namespace.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) selector: Option<LabelSelector>,
}

/// What the disruption controller last computed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DisruptionBudgetStatus {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) disruptions_allowed: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) observed_generation: i64,
}

/// A selector over labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LabelSelector {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) match_labels: Labels,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) match_expressions: Vec<Requirement>,
}

/// A requirement on one label or field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) struct Requirement {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) operator: SelectorOperator,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) values: Vec<Text>,
}

/// Operators of selectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub(crate) enum SelectorOperator {
    /// The value is one of those given.
    In,
    /// The key is absent or the value is none of those given.
    NotIn,
    /// The key is there.
    Exists,
    /// The key is absent.
    DoesNotExist,
    /// The value is a number above the one given.
    Gt,
    /// The value is a number below the one given.
    Lt,
    /// An operator of a newer API; it matches nothing.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A `PriorityClass`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PriorityClass {
    #[serde(default)]
    pub(crate) metadata: Meta,
    pub(crate) value: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) preemption_policy: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) global_default: bool,
}

/// A `ResourceSlice`: devices that a driver of dynamic resource allocation offers on a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct ResourceSlice {
    #[serde(default)]
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "an export needs no name of a slice"))]
    pub(crate) metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) spec: ResourceSliceSpec,
}

impl ResourceSlice {
    /// The node whose GPUs NVIDIA's driver of dynamic resource allocation serves with this slice, if it does.
    pub(crate) fn served_node(&self) -> Option<&str> {
        let Self { metadata: _, spec: ResourceSliceSpec { driver, node_name } } = self;
        (driver == "gpu.nvidia.com" && !node_name.is_empty()).then_some(node_name)
    }
}

/// Driver and node of a slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceSliceSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) driver: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) node_name: String,
}

/// A `DeviceClass` of dynamic resource allocation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct DeviceClass {
    #[serde(default)]
    pub(crate) metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) spec: DeviceClassSpec,
}

/// The resource name under which pods may ask for the class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceClassSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) extended_resource_name: String,
}
