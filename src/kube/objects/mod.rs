//! The few fields of Kubernetes objects that planning reads, as they stand in an export.
//!
//! Own structures rather than the generated ones: they skip everything else while parsing, which is what keeps a large
//! export small in memory, and they are lenient where the API is (absent, `null`, quantities as numbers). A field of
//! the wrong shape makes its object unreadable, and only that object.

mod by_name;
mod cluster;
mod meta;
mod node;
mod pod;

pub(crate) use by_name::ByName;
pub(crate) use cluster::{
    DeviceClass, DisruptionBudget, LabelSelector, PriorityClass, Requirement, ResourceSlice, SelectorOperator,
};
pub(crate) use meta::{Annotations, Labels, Meta, Stamps, Text};
pub(crate) use node::{MigNode, Node, ReportedGpu, ReportedPod, Taint};
pub(crate) use pod::{Container, NodeSelector, NodeSelectorTerm, Pod, PodCondition, Resources, Toleration};
