//! `MigNode.status`: what the agent of a node reports. The planner's export reader reads the same shape.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::limits::{self, cut};
use super::spec::{Pod, WireError, mirrored};
use crate::exec;
use crate::plan;

/// What the agent of a node reports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigNodeStatus {
    /// Name of the node that the report is about.
    #[serde(default)]
    #[schemars(length(max = limits::NAME))]
    pub node_name: String,
    /// UID of the node.
    #[serde(default)]
    #[schemars(length(max = limits::ID))]
    pub node_uid: String,
    /// The kernel's boot id.
    #[serde(default)]
    #[schemars(length(max = limits::ID))]
    pub boot_id: String,
    /// Highest protocol version that the agent speaks.
    #[serde(default)]
    #[schemars(range(max = i32::MAX))]
    pub protocol: u32,
    /// Grows with every report.
    #[serde(default)]
    #[schemars(range(max = limits::COUNTER))]
    pub heartbeat: u64,
    /// Generation of the object when this was written.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub observed_generation: i64,
    /// Number of GPUs in MIG mode.
    #[serde(default)]
    #[schemars(range(max = 255))]
    pub gpu_count: u32,
    /// The layouts in short, for people.
    #[serde(default)]
    #[schemars(length(max = limits::NAME))]
    pub layout: String,
    /// How far the agent is with the operation that the node is claimed for; `Idle` once it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<AgentPhase>,
    /// What the agent waits for, in words; empty when for nothing.
    #[serde(default)]
    #[schemars(length(max = limits::NAME))]
    pub waiting_on: String,
    /// GPUs in MIG mode, ordered by UUID.
    #[serde(default)]
    #[schemars(length(max = limits::GPUS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uuid".into()]))]
    pub gpus: Vec<Gpu>,
    /// The operation that the agent last dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationReport>,
    /// `Ready`, `Progressing`, `Degraded`, `Paused`.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One GPU as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Index on the node.
    #[schemars(range(max = 255))]
    pub index: u32,
    /// UUID.
    #[schemars(length(min = 1, max = limits::ID))]
    pub uuid: String,
    /// Product name.
    #[serde(default)]
    #[schemars(length(max = limits::PRODUCT))]
    pub model: String,
    /// `Enabled` or `Disabled`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub mig_mode: String,
    /// Mode after the next reset, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub pending_mig_mode: Option<String>,
    /// GPU instances, ordered by start.
    #[serde(default)]
    #[schemars(length(max = limits::INSTANCES))]
    pub instances: Vec<Instance>,
    /// When the agent first saw this layout, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_changed: Option<String>,
}

/// One GPU instance as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Profile as `nvidia-smi mig` spells it.
    #[schemars(length(min = 1, max = limits::PRODUCT))]
    pub profile: String,
    /// First unit on the board's slot axis.
    #[schemars(range(max = 31))]
    pub start: u8,
    /// Units taken.
    #[schemars(range(min = 1, max = 32))]
    pub size: u8,
    /// MIG UUID; none while there is no compute instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::ID))]
    pub uuid: Option<String>,
    /// Whether it is held.
    pub occupancy: Occupancy,
    /// Pods that hold it, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::SHARERS))]
    pub pods: Vec<Pod>,
}

mirrored! {
    /// Whether an instance is held. Unknown is not free.
    #[serde(rename_all = "lowercase")]
    Occupancy = exec::ReportedOccupancy {
        /// All sources say that nobody holds it.
        Free,
        /// Somebody holds it.
        Busy,
        /// A source could not be read.
        Unknown,
    }
}

/// Where the agent is with an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationReport {
    /// Which operation.
    #[schemars(length(max = limits::ID))]
    pub id: String,
    /// Highest epoch that the agent has seen.
    #[schemars(range(max = limits::COUNTER))]
    pub epoch: u64,
    /// Boot in which it was accepted.
    #[serde(default)]
    #[schemars(length(max = limits::ID))]
    pub boot_id: String,
    /// How far.
    pub phase: AgentPhase,
    /// What is the matter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = limits::DETAIL))]
    pub detail: String,
}

mirrored! {
    /// How far an agent is with an operation.
    AgentPhase = exec::AgentPhase {
        /// There is none, or it is over.
        Idle,
        /// It agrees and has not touched anything.
        Accepted,
        /// Instances are being changed.
        Executing,
        /// The boards are the target.
        Repartitioned,
        /// The device plugin serves exactly the boards' instances.
        Applied,
        /// Instances are being restored.
        RollingBack,
        /// The boards are as before.
        RolledBack,
        /// It does not agree and has not touched anything.
        Refused,
        /// Neither target nor base can be reached without people.
        Degraded,
    }
}

impl From<&exec::InstanceReport> for Instance {
    fn from(instance: &exec::InstanceReport) -> Self {
        let exec::InstanceReport { place, uuid, occupancy, pods } = instance;
        let plan::Place { start, size, profile } = place.clone();
        Self {
            profile,
            start,
            size,
            uuid: uuid.clone(),
            occupancy: (*occupancy).into(),
            pods: pods.iter().take(limits::SHARERS).map(Pod::from).collect(),
        }
    }
}

impl From<Instance> for exec::InstanceReport {
    fn from(instance: Instance) -> Self {
        let Instance { profile, start, size, uuid, occupancy, pods } = instance;
        Self {
            place: plan::Place { start, size, profile },
            uuid,
            occupancy: occupancy.into(),
            pods: pods.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&exec::OperationReport> for OperationReport {
    fn from(report: &exec::OperationReport) -> Self {
        let exec::OperationReport { id, epoch, boot_id, phase, detail } = report;
        Self {
            id: id.0.clone(),
            epoch: *epoch,
            boot_id: boot_id.clone(),
            phase: (*phase).into(),
            detail: cut(detail, limits::DETAIL),
        }
    }
}

impl From<OperationReport> for exec::OperationReport {
    fn from(report: OperationReport) -> Self {
        let OperationReport { id, epoch, boot_id, phase, detail } = report;
        Self { id: exec::OperationId(id), epoch, boot_id, phase: phase.into(), detail }
    }
}

impl MigNodeStatus {
    /// The report as the protocol reads it. GPUs that are not in MIG mode, or about to leave it, are not part of it.
    ///
    /// # Errors
    /// It reports about another node than the object is named after.
    pub fn read(self, name: &str) -> Result<exec::MigNodeStatus, WireError> {
        let Self {
            node_name,
            node_uid,
            boot_id,
            protocol,
            heartbeat,
            observed_generation: _,
            gpu_count: _,
            layout: _,
            phase: _,
            waiting_on: _,
            gpus,
            operation,
            conditions: _,
        } = self;
        if !node_name.is_empty() && node_name != name {
            let message = format!("it reports about the node {node_name}");
            return Err(WireError { name: name.to_owned(), field: "status.nodeName", message });
        }
        let gpus = gpus.into_iter().filter(Gpu::in_mig_mode).map(|gpu| {
            let Gpu { index, uuid, model, mig_mode: _, pending_mig_mode: _, instances, last_changed: _ } = gpu;
            exec::GpuReport { index, uuid, model, instances: instances.into_iter().map(Into::into).collect() }
        });
        Ok(exec::MigNodeStatus {
            node_uid,
            boot_id,
            protocol,
            heartbeat,
            gpus: gpus.collect(),
            operation: operation.map(Into::into),
        })
    }
}

impl Gpu {
    fn in_mig_mode(&self) -> bool {
        let stays = self.pending_mig_mode.as_ref().is_none_or(|pending| pending.eq_ignore_ascii_case("enabled"));
        self.mig_mode.eq_ignore_ascii_case("enabled") && stays
    }
}
