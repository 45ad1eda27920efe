//! The durable record of a node, `MigNode`: what the controller wants (spec) and what the agent reports (status).
//!
//! Invariants: the controller writes only the spec, the agent only the status, both by compare-and-swap on the version of the whole object,
//! so that neither acts on a state that the other has left. Sizes are bounded: history by [`HISTORY`], the rest by the node's hardware.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::PodRef;
use crate::plan::{Place, Step};

/// Version of the protocol that an operation follows; an agent refuses a newer one. Since 2 an operation may name GPUs of which it changes
/// no instance.
pub const PROTOCOL: u32 = 2;

/// Ended operations that a record keeps.
pub const HISTORY: usize = 8;

/// Characters of a text for people that a record keeps.
pub const DETAIL: usize = 1000;

/// Pods of one instance that a record names. Shared instances can have more; who reads the record finds that some are missing and holds
/// nothing of their kind to be free.
pub const SHARERS: usize = 64;

/// The version of an API object; it grows with every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Version(pub u64);

/// Name of one operation, never used again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OperationId(pub String);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The record of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MigNode {
    /// Name of the node, and of the record.
    pub name: String,
    /// Version of the record.
    pub version: Version,
    /// What the controller wants.
    pub spec: MigNodeSpec,
    /// What the agent reports.
    pub status: MigNodeStatus,
}

impl MigNode {
    /// The highest fencing number that the record knows; none if it knows no operation.
    pub fn highest_epoch(&self) -> Option<u64> {
        let status = self.status.operation.as_ref().map(|report| report.epoch);
        self.written_epoch().into_iter().chain(status).max()
    }

    /// The highest fencing number that a controller has written into the record; agents write none of these.
    pub fn written_epoch(&self) -> Option<u64> {
        let spec = self.spec.operation.as_ref().map(|operation| operation.epoch);
        self.spec.history.iter().map(|ended| ended.epoch).chain(spec).max()
    }
}

/// What the controller wants of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MigNodeSpec {
    /// The operation under way; at most one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// How the last operations ended, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Ended>,
}

/// One reconfiguration of one node, from claim to release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// Its name.
    pub id: OperationId,
    /// Fencing number: that of the leader that claimed or adopted it. An agent refuses one lower than it has seen.
    pub epoch: u64,
    /// Version of the protocol, [`PROTOCOL`].
    pub protocol: u32,
    /// UID of the node; a node made again under the same name inherits nothing.
    pub node_uid: String,
    /// GPUs that change, by UUID; where instances are only handed over, base and target are alike. None in a *repair*, which only makes plugin
    /// and node agree with the board again.
    pub gpus: Vec<GpuTarget>,
    /// The changes in an order that can be carried out, GPU by GPU.
    pub steps: Vec<Step>,
    /// Pods to evict.
    pub victims: Vec<Victim>,
    /// Waiting pods that the change is for.
    pub beneficiaries: Vec<PodRef>,
    /// UIDs of the pods that held instances of the node when it was planned.
    pub residents: Vec<String>,
    /// How far it is.
    pub phase: Phase,
    /// The device plugin's pod that is being replaced, recorded before it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PodRef>,
    /// How it ends, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it ends so, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The change of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GpuTarget {
    /// UUID of the GPU.
    pub uuid: String,
    /// Index of the GPU on the node, for people; never used to find it.
    pub index: u32,
    /// All instances before, ordered by start.
    pub base: Vec<Place>,
    /// All instances afterwards, ordered by start.
    pub target: Vec<Place>,
}

/// A pod to evict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Victim {
    /// Which pod, pinned by UID.
    pub pod: PodRef,
    /// Node where the plan has a place for it; none when it gives way to a higher priority.
    pub placed_on: Option<String>,
}

/// How far an operation is, as the controller writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// The node is claimed; taint and settling come next.
    Claimed,
    /// The plan still holds on fresh state; victims are being evicted.
    Draining,
    /// All victims are gone: the token on which the agent acts.
    Drained,
    /// The agent has changed the board (or restored it); the device plugin is being replaced.
    Restarting,
    /// It is given up; the agent restores what it has changed.
    Cancelling,
    /// Nothing is left but to remove the taint and to close the record.
    Releasing,
    /// Neither target nor base could be reached; the taint stays, and people are told.
    Degraded,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 7] = [
        Self::Claimed,
        Self::Draining,
        Self::Drained,
        Self::Restarting,
        Self::Cancelling,
        Self::Releasing,
        Self::Degraded,
    ];
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
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

/// An operation that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ended {
    /// Its name.
    pub id: OperationId,
    /// Epoch in which it ended.
    pub epoch: u64,
    /// UUIDs of the GPUs that it was about.
    pub gpus: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What the agent of a node reports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MigNodeStatus {
    /// UID of the node that the agent runs on.
    pub node_uid: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Highest protocol version that the agent speaks.
    pub protocol: u32,
    /// Grows with every report: a report that stands still is an agent that is gone.
    pub heartbeat: u64,
    /// GPUs in MIG mode, ordered by UUID.
    pub gpus: Vec<GpuReport>,
    /// The operation that the agent last dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationReport>,
}

/// One GPU as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GpuReport {
    /// Index on the node.
    pub index: u32,
    /// UUID.
    pub uuid: String,
    /// Product name.
    pub model: String,
    /// GPU instances, ordered by start.
    pub instances: Vec<InstanceReport>,
}

/// One GPU instance as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceReport {
    /// Profile and place.
    pub place: Place,
    /// MIG UUID; none while there is no compute instance.
    pub uuid: Option<String>,
    /// Who holds it.
    pub occupancy: ReportedOccupancy,
    /// Pods that hold it, as far as they are known.
    pub pods: Vec<PodRef>,
}

/// Whether an instance is held. Unknown is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportedOccupancy {
    /// All sources say that nobody holds it.
    Free,
    /// Somebody holds it.
    Busy,
    /// A source could not be read.
    Unknown,
}

/// Where the agent is with an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperationReport {
    /// Which operation.
    pub id: OperationId,
    /// Highest epoch that the agent has seen.
    pub epoch: u64,
    /// Boot in which it was accepted.
    pub boot_id: String,
    /// How far.
    pub phase: AgentPhase,
    /// What is the matter, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How far an agent is with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AgentPhase {
    /// There is none, or it is over.
    Idle,
    /// It agrees with node, base, epoch and taint, and has not touched anything.
    Accepted,
    /// The intent is on disk; instances are being changed.
    Executing,
    /// The board is the target, down to the compute instances.
    Repartitioned,
    /// The device plugin serves exactly the board's instances.
    Applied,
    /// It cannot be finished; instances are being restored.
    RollingBack,
    /// The board is the base again.
    RolledBack,
    /// It does not agree with what it found and has not touched anything.
    Refused,
    /// Neither target nor base can be reached without people.
    Degraded,
}

impl AgentPhase {
    /// All phases.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Accepted,
        Self::Executing,
        Self::Repartitioned,
        Self::Applied,
        Self::RollingBack,
        Self::RolledBack,
        Self::Refused,
        Self::Degraded,
    ];
}
