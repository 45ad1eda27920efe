//! `MigNode.spec`: what the controller wants of a node.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{self, cut};
use super::status::MigNodeStatus;
use crate::exec;
use crate::model::PodRef;
use crate::plan;

/// An object that no record can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MigNode {name}, {field}: {message}")]
pub struct WireError {
    /// Name of the object.
    pub name: String,
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// An enumeration of the protocol with its spelling on the wire, which is the same.
macro_rules! mirrored {
    ($(#[$about:meta])* $name:ident = $core:path { $($(#[$doc:meta])* $variant:ident),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[derive(schemars::JsonSchema)]
        $(#[$about])*
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl From<$core> for $name {
            fn from(core: $core) -> Self {
                use $core as Core;
                match core { $(Core::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $core {
            fn from(wire: $name) -> Self {
                use $core as Core;
                match wire { $($name::$variant => Core::$variant),+ }
            }
        }
    };
}
pub(super) use mirrored;

/// What the controller wants of a node. People do not write here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "retile.dev",
    version = "v1alpha1",
    kind = "MigNode",
    plural = "mignodes",
    singular = "mignode",
    shortname = "mn",
    status = "MigNodeStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "MigNode is the record of one node with MIG GPUs: the controller writes the spec, the node's agent the status.",
    printcolumn(name = "GPUs", type_ = "integer", json_path = ".status.gpuCount"),
    printcolumn(name = "Layout", type_ = "string", json_path = ".status.layout"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".spec.operation.phase"),
    printcolumn(name = "Agent", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Waiting-On", type_ = "string", json_path = ".status.waitingOn"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Operation", type_ = "string", json_path = ".spec.operation.id", priority = 1),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(oldSelf.operation) || !has(self.operation) || self.operation.id != oldSelf.operation.id || \
         (self.operation.nodeUid == oldSelf.operation.nodeUid && self.operation.gpus == oldSelf.operation.gpus && \
         self.operation.victims == oldSelf.operation.victims && self.operation.protocol == oldSelf.operation.protocol)"
    ).message("what an operation changes is fixed when it is claimed; end it and claim a new one"),
    validation = Rule::new(
        "!has(oldSelf.operation) || !has(self.operation) || self.operation.id != oldSelf.operation.id || \
         self.operation.epoch >= oldSelf.operation.epoch"
    ).message("the epoch of an operation never goes back")
)]
pub struct MigNodeSpec {
    /// The operation under way; at most one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// How the last operations ended, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ENDED))]
    pub history: Vec<Ended>,
}

/// One reconfiguration of one node, from claim to release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Name of the operation, never used again.
    #[schemars(length(min = 1, max = limits::ID))]
    pub id: String,
    /// Fencing number: that of the leader that claimed or adopted it.
    #[schemars(range(max = limits::COUNTER))]
    pub epoch: u64,
    /// Version of the protocol.
    #[schemars(range(min = 1, max = i32::MAX))]
    pub protocol: u32,
    /// UID of the node.
    #[schemars(length(max = limits::ID))]
    pub node_uid: String,
    /// GPUs that change. None in a repair, which only makes plugin and node agree with the boards again.
    #[schemars(length(max = limits::GPUS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uuid".into()]))]
    pub gpus: Vec<GpuTarget>,
    /// The changes in an order that can be carried out, GPU by GPU.
    #[schemars(length(max = limits::STEPS))]
    pub steps: Vec<Step>,
    /// Pods to evict.
    #[schemars(length(max = limits::PODS))]
    pub victims: Vec<Victim>,
    /// Waiting pods that the change is for.
    #[schemars(length(max = limits::PODS))]
    pub beneficiaries: Vec<Pod>,
    /// UIDs of the pods that held instances of the node when it was planned.
    #[schemars(length(max = limits::PODS), inner(length(max = limits::ID)))]
    pub residents: Vec<String>,
    /// How far the controller is.
    pub phase: Phase,
    /// The device plugin's pod that is being replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Pod>,
    /// How it ends, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it ends so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = limits::DETAIL))]
    pub detail: String,
}

/// The change of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuTarget {
    /// UUID of the GPU.
    #[schemars(length(min = 1, max = limits::ID))]
    pub uuid: String,
    /// Index of the GPU on the node, for people; never used to find it.
    #[schemars(range(max = 255))]
    pub index: u32,
    /// All instances before, ordered by start.
    #[schemars(length(max = limits::INSTANCES))]
    pub base: Vec<Place>,
    /// All instances afterwards, ordered by start.
    #[schemars(length(max = limits::INSTANCES))]
    pub target: Vec<Place>,
}

/// An instance by profile and exact place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.start + self.size <= 32").message("the instance ends beyond any board"))]
pub struct Place {
    /// First unit on the board's slot axis.
    #[schemars(range(max = 31))]
    pub start: u8,
    /// Units taken.
    #[schemars(range(min = 1, max = 32))]
    pub size: u8,
    /// Profile as `nvidia-smi mig` spells it.
    #[schemars(length(min = 1, max = limits::PRODUCT))]
    pub profile: String,
}

/// One change of one instance, with the layout that must be there before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What is done.
    pub action: StepAction,
    /// Index of the GPU on the node.
    #[schemars(range(max = 255))]
    pub gpu: u32,
    /// UUID of the GPU.
    #[schemars(length(max = limits::ID))]
    pub uuid: String,
    /// The instance that is destroyed or created.
    pub instance: Place,
    /// All instances of the GPU before the step, ordered by start.
    #[schemars(length(max = limits::INSTANCES))]
    pub precondition: Vec<Place>,
}

mirrored! {
    /// What a step does to an instance.
    #[serde(rename_all = "kebab-case")]
    StepAction = plan::StepAction {
        /// Destroys it.
        Destroy,
        /// Creates it.
        Create,
    }
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Namespace.
    #[schemars(length(max = limits::NAME))]
    pub namespace: String,
    /// Name.
    #[schemars(length(max = limits::NAME))]
    pub name: String,
    /// UID.
    #[serde(default)]
    #[schemars(length(max = limits::ID))]
    pub uid: String,
}

/// A pod to evict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Victim {
    /// Which pod, pinned by UID.
    pub pod: Pod,
    /// Node where the plan has a place for it; none when it gives way to a higher priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::NAME))]
    pub placed_on: Option<String>,
}

mirrored! {
    /// How far an operation is, as the controller writes it.
    Phase = exec::Phase {
        /// The node is claimed; taint and settling come next.
        Claimed,
        /// The plan still holds on fresh state; victims are being evicted.
        Draining,
        /// All victims are gone: the agent acts.
        Drained,
        /// The agent is done; the device plugin is being replaced.
        Restarting,
        /// It is given up; the agent restores what it has changed.
        Cancelling,
        /// The taint goes and the record is closed.
        Releasing,
        /// Neither target nor base could be reached; people are needed.
        Degraded,
    }
}

mirrored! {
    /// How an operation ended.
    Outcome = exec::Outcome {
        /// The node advertises the target.
        Done,
        /// The board is as it was before.
        RolledBack,
        /// It was given up before anything changed.
        Aborted,
        /// The node is gone, or another one has its name.
        NodeGone,
        /// Neither target nor base could be reached.
        Degraded,
    }
}

/// An operation that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Its name.
    #[schemars(length(max = limits::ID))]
    pub id: String,
    /// Epoch in which it ended.
    #[schemars(range(max = limits::COUNTER))]
    pub epoch: u64,
    /// UUIDs of the GPUs that it was about.
    #[schemars(length(max = limits::GPUS), inner(length(max = limits::ID)))]
    pub gpus: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = limits::DETAIL))]
    pub detail: String,
}

impl From<&PodRef> for Pod {
    fn from(pod: &PodRef) -> Self {
        let PodRef { namespace, name, uid } = pod.clone();
        Self { namespace, name, uid }
    }
}

impl From<Pod> for PodRef {
    fn from(pod: Pod) -> Self {
        let Pod { namespace, name, uid } = pod;
        Self { namespace, name, uid }
    }
}

impl From<&plan::Place> for Place {
    fn from(place: &plan::Place) -> Self {
        let plan::Place { start, size, profile } = place.clone();
        Self { start, size, profile }
    }
}

impl From<Place> for plan::Place {
    fn from(place: Place) -> Self {
        let Place { start, size, profile } = place;
        Self { start, size, profile }
    }
}

impl From<&plan::Step> for Step {
    fn from(step: &plan::Step) -> Self {
        let plan::Step { action, gpu, uuid, instance, precondition } = step;
        Self {
            action: (*action).into(),
            gpu: *gpu,
            uuid: uuid.clone(),
            instance: instance.into(),
            precondition: precondition.iter().map(Place::from).collect(),
        }
    }
}

impl From<Step> for plan::Step {
    fn from(step: Step) -> Self {
        let Step { action, gpu, uuid, instance, precondition } = step;
        Self {
            action: action.into(),
            gpu,
            uuid,
            instance: instance.into(),
            precondition: precondition.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&exec::GpuTarget> for GpuTarget {
    fn from(gpu: &exec::GpuTarget) -> Self {
        let exec::GpuTarget { uuid, index, base, target } = gpu;
        let places = |places: &[plan::Place]| places.iter().map(Place::from).collect();
        Self { uuid: uuid.clone(), index: *index, base: places(base), target: places(target) }
    }
}

impl From<GpuTarget> for exec::GpuTarget {
    fn from(gpu: GpuTarget) -> Self {
        let GpuTarget { uuid, index, base, target } = gpu;
        let places = |places: Vec<Place>| places.into_iter().map(Into::into).collect();
        Self { uuid, index, base: places(base), target: places(target) }
    }
}

impl From<&exec::Victim> for Victim {
    fn from(victim: &exec::Victim) -> Self {
        let exec::Victim { pod, placed_on } = victim;
        Self { pod: pod.into(), placed_on: placed_on.clone() }
    }
}

impl From<Victim> for exec::Victim {
    fn from(victim: Victim) -> Self {
        let Victim { pod, placed_on } = victim;
        Self { pod: pod.into(), placed_on }
    }
}

impl From<&exec::Ended> for Ended {
    fn from(ended: &exec::Ended) -> Self {
        let exec::Ended { id, epoch, gpus, outcome, detail } = ended;
        Self {
            id: id.0.clone(),
            epoch: *epoch,
            gpus: gpus.clone(),
            outcome: (*outcome).into(),
            detail: cut(detail, limits::DETAIL),
        }
    }
}

impl From<Ended> for exec::Ended {
    fn from(ended: Ended) -> Self {
        let Ended { id, epoch, gpus, outcome, detail } = ended;
        Self { id: exec::OperationId(id), epoch, gpus, outcome: outcome.into(), detail }
    }
}

impl From<&exec::Operation> for Operation {
    fn from(operation: &exec::Operation) -> Self {
        let exec::Operation {
            id,
            epoch,
            protocol,
            node_uid,
            gpus,
            steps,
            victims,
            beneficiaries,
            residents,
            phase,
            plugin,
            outcome,
            detail,
        } = operation;
        Self {
            id: id.0.clone(),
            epoch: *epoch,
            protocol: *protocol,
            node_uid: node_uid.clone(),
            gpus: gpus.iter().map(GpuTarget::from).collect(),
            steps: steps.iter().map(Step::from).collect(),
            victims: victims.iter().map(Victim::from).collect(),
            beneficiaries: beneficiaries.iter().map(Pod::from).collect(),
            residents: residents.clone(),
            phase: (*phase).into(),
            plugin: plugin.as_ref().map(Pod::from),
            outcome: outcome.map(Into::into),
            detail: cut(detail, limits::DETAIL),
        }
    }
}

impl From<Operation> for exec::Operation {
    fn from(operation: Operation) -> Self {
        let Operation {
            id,
            epoch,
            protocol,
            node_uid,
            gpus,
            steps,
            victims,
            beneficiaries,
            residents,
            phase,
            plugin,
            outcome,
            detail,
        } = operation;
        Self {
            id: exec::OperationId(id),
            epoch,
            protocol,
            node_uid,
            gpus: gpus.into_iter().map(Into::into).collect(),
            steps: steps.into_iter().map(Into::into).collect(),
            victims: victims.into_iter().map(Into::into).collect(),
            beneficiaries: beneficiaries.into_iter().map(Into::into).collect(),
            residents,
            phase: phase.into(),
            plugin: plugin.map(Into::into),
            outcome: outcome.map(Into::into),
            detail,
        }
    }
}

impl From<&exec::MigNodeSpec> for MigNodeSpec {
    fn from(spec: &exec::MigNodeSpec) -> Self {
        let exec::MigNodeSpec { operation, history } = spec;
        Self {
            operation: operation.as_ref().map(Operation::from),
            history: history.iter().take(limits::ENDED).map(Ended::from).collect(),
        }
    }
}

impl From<MigNodeSpec> for exec::MigNodeSpec {
    fn from(spec: MigNodeSpec) -> Self {
        let MigNodeSpec { operation, history } = spec;
        Self { operation: operation.map(Into::into), history: history.into_iter().map(Into::into).collect() }
    }
}
