//! What the protocol asks of the world, and what the world answers. Whoever answers these is a port: a Kubernetes client, NVML and the
//! kubelet on a node, or the simulator.
//!
//! Each request is one effect at most, so that between any two of them a crash is possible and harmless.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{PlanningInput, PodRef};
use crate::plan::Place;

use super::mutant::{self, Mutant};
use super::proof::IdleProof;
use super::record::{GpuTarget, MigNode, MigNodeSpec, MigNodeStatus, Operation, OperationId, Version};
use super::view::{NodeView, PodView};

/// A request to the API server. Reads are fresh (a quorum read), never from a cache, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterRequest {
    /// Everything that planning reads.
    Observe {
        /// Whether a cache will not do.
        fresh: bool,
    },
    /// The record of a node.
    GetMigNode {
        /// Name of the node.
        node: String,
    },
    /// A node.
    GetNode {
        /// Its name.
        node: String,
    },
    /// All pods that are bound to a node.
    ListPods {
        /// Name of the node.
        node: String,
    },
    /// Writes the spec of a record that still has this version.
    WriteSpec {
        /// Name of the node.
        node: String,
        /// Version that was read.
        version: Version,
        /// The new spec.
        spec: Box<MigNodeSpec>,
    },
    /// Writes the status of a record that still has this version; version 0 makes the record, if there is none.
    WriteStatus {
        /// Name of the node.
        node: String,
        /// Version that was read; 0 when there was no record.
        version: Version,
        /// The new status.
        status: Box<MigNodeStatus>,
    },
    /// Puts our taint on a node that still has this version, in place of an older one of ours.
    AddTaint {
        /// Name of the node.
        node: String,
        /// Version that was read.
        version: Version,
        /// Value of the taint.
        operation: OperationId,
    },
    /// Removes our taint with this value from a node that still has this version; no other.
    RemoveTaint {
        /// Name of the node.
        node: String,
        /// Version that was read.
        version: Version,
        /// Value that the taint must have.
        operation: OperationId,
    },
    /// Pauses the clients of the GPUs that the GPU Operator has placed, by their labels and with a record of that, on a node that still has this version
    /// and this operation's taint.
    PauseClients {
        /// Name of the node.
        node: String,
        /// Version that was read.
        version: Version,
        /// Value that our taint must have.
        operation: OperationId,
        /// Whether only to ask if it would be allowed.
        dry_run: bool,
    },
    /// Lets the clients go on that are on record as paused, on a node that still has this version.
    ResumeClients {
        /// Name of the node.
        node: String,
        /// Version that was read.
        version: Version,
        /// In whose name.
        operation: OperationId,
    },
    /// Posts an eviction.
    Evict {
        /// Namespace and name of the pod; what pins it to its UID stands in the body.
        pod: PodRef,
        /// The object that is posted.
        body: EvictionBody,
        /// Whether only to ask if it would be allowed.
        dry_run: bool,
    },
    /// Deletes a pod of the device plugin, pinned by UID.
    DeletePluginPod {
        /// Which pod.
        pod: PodRef,
    },
    /// The lease of the leader.
    GetLease,
    /// Writes the lease, if it still has this version (`None`: if there is none).
    WriteLease {
        /// Version that was read.
        version: Option<Version>,
        /// The new lease.
        lease: Lease,
    },
}

/// The body of an eviction, `policy/v1`. Only `deleteOptions` in this spelling reaches the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvictionBody {
    /// `policy/v1`.
    pub api_version: String,
    /// `Eviction`.
    pub kind: String,
    /// Name and namespace of the pod.
    pub metadata: EvictionName,
    /// What pins the eviction to one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_options: Option<DeleteOptions>,
}

/// Name and namespace of the pod to evict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictionName {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// Options of a deletion; never a grace period of our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteOptions {
    /// What must be so.
    pub preconditions: Preconditions,
}

/// What must be so for a deletion to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preconditions {
    /// UID of the object.
    pub uid: String,
}

impl EvictionBody {
    /// The eviction of exactly this pod.
    pub fn of(pod: &PodRef) -> Self {
        Self {
            api_version: "policy/v1".into(),
            kind: "Eviction".into(),
            metadata: EvictionName { name: pod.name.clone(), namespace: pod.namespace.clone() },
            delete_options: Some(DeleteOptions { preconditions: Preconditions { uid: pod.uid.clone() } }),
        }
    }

    /// The body as it is posted.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_json(&self) -> Result<serde_json::Value, serde_json::Error> {
        let mut json = serde_json::to_value(self)?;
        if mutant::on(Mutant(2))
            && let Some(options) = json.as_object_mut().and_then(|body| body.remove("deleteOptions"))
        {
            json["delete_options"] = options;
        }
        Ok(json)
    }

    /// UID of the only pod that the API server will evict for this body, as it reads it.
    pub fn pins(&self) -> Option<String> {
        let json = self.to_json().ok()?;
        json.pointer("/deleteOptions/preconditions/uid").and_then(serde_json::Value::as_str).map(str::to_owned)
    }
}

/// The leader's lease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    /// Who holds it; empty when it was handed back.
    pub holder: String,
    /// Grows with every renewal, so that others see by their own clock how long it has stood still.
    pub renewals: u64,
    /// Grows with every change of the holder: the fencing epoch.
    pub transitions: u64,
}

/// The answer to a [`ClusterRequest`].
pub type ClusterReply = Result<ClusterAnswer, ClusterError>;

/// What the API server says when it agrees.
#[derive(Debug, Clone)]
pub enum ClusterAnswer {
    /// To `Observe`.
    Observed(Box<Observation>),
    /// To `GetMigNode`, `WriteSpec` and `WriteStatus`: the record as it is now.
    MigNode(Box<MigNode>),
    /// To `GetNode`, and to the writes of a node: the node as it is now.
    Node(Box<NodeView>),
    /// To `ListPods`.
    Pods(Vec<PodView>),
    /// To `Evict` and `DeletePluginPod`: accepted, which is not yet gone.
    Accepted,
    /// To `GetLease` and `WriteLease`.
    Lease(Version, Lease),
}

/// Everything that planning reads, at one moment.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Input of the planner, under the policy in force. Nodes under operation are in it as they are.
    pub input: PlanningInput,
    /// The nodes with GPUs in MIG mode, ordered by name.
    pub nodes: Vec<NodeView>,
    /// Their records, ordered by name; a node whose agent has never reported has none.
    pub records: Vec<MigNode>,
    /// Pods bound to each of them.
    pub pods: BTreeMap<String, Vec<PodView>>,
}

/// What the API server says when it does not agree, or does not say at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// 409: the object has changed since it was read, or has another UID.
    #[error("the object has changed since it was read")]
    Conflict,
    /// 404.
    #[error("there is no such object")]
    NotFound,
    /// 429 of the API server itself.
    #[error("the API server is busy")]
    Throttled {
        /// What it asks for.
        retry_after: Option<Duration>,
    },
    /// 429 with the cause `DisruptionBudget`.
    #[error("a PodDisruptionBudget does not allow the eviction now")]
    BlockedByBudget,
    /// 500 of an eviction with several budgets.
    #[error("more than one PodDisruptionBudget matches the pod")]
    SeveralBudgets,
    /// 403.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// 400 and 422.
    #[error("refused as invalid: {0}")]
    Invalid(String),
    /// 410: the read is too old to be continued.
    #[error("the version asked for is no longer kept")]
    Expired,
    /// 500, 503 and 504, timeouts and broken connections: it may have been done or not.
    #[error("no usable answer: {0}")]
    Unknown(String),
}

/// A request of the agent to its own node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeRequest {
    /// The kernel's boot id and what is kept on disk.
    ReadStore,
    /// Writes the intent and makes sure that it is on disk.
    WriteIntent(Intent),
    /// Removes the intent, and records the layout that was reached as the last applied one.
    ClearIntent {
        /// Layout of every GPU, by UUID; `None` leaves the recorded one as it is.
        applied: Option<BTreeMap<String, Vec<Place>>>,
    },
    /// All GPUs with their GPU instances and compute instances.
    Enumerate,
    /// Who holds instances, as the kubelet's pod-resources and the driver's process lists say.
    Occupants,
    /// UUIDs that the device plugin offers to the kubelet.
    Allocatable,
    /// Makes what containers need beside the instances themselves: device nodes of all instances that are there, and the node's list of
    /// devices for container runtimes. Done twice it is done once.
    RefreshDevices,
    /// Destroys the compute instance in a GPU instance that is proven idle.
    DestroyComputeInstance(IdleProof),
    /// Destroys a GPU instance that is proven idle.
    DestroyGpuInstance(IdleProof),
    /// Creates a GPU instance at an exact place.
    CreateGpuInstance {
        /// UUID of the GPU.
        gpu: String,
        /// Profile and place.
        place: Place,
    },
    /// Creates the compute instance that fills a GPU instance.
    CreateComputeInstance {
        /// UUID of the GPU.
        gpu: String,
        /// Profile and place of the GPU instance.
        place: Place,
    },
}

/// What an agent is about to do, on disk before it does it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// Which operation.
    pub id: OperationId,
    /// Its epoch.
    pub epoch: u64,
    /// UID of the node.
    pub node_uid: String,
    /// Boot in which it was written.
    pub boot_id: String,
    /// What changes.
    pub gpus: Vec<GpuTarget>,
    /// UUIDs of all compute instances of the node that the operation must not touch.
    pub neighbours: Vec<String>,
}

/// The answer to a [`NodeRequest`].
pub type NodeReply = Result<NodeAnswer, NodeError>;

/// What a node says when it agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAnswer {
    /// To `ReadStore`.
    Store(Store),
    /// To `Enumerate`: the boards ordered by UUID.
    Boards(Vec<BoardState>),
    /// To `Occupants`.
    Occupants(Vec<Occupant>),
    /// To `Allocatable`: ordered.
    Allocatable(Vec<String>),
    /// Done. For NVML calls it is only said to be done: what is true is what `Enumerate` shows.
    Done,
}

/// What an agent finds on disk and in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Store {
    /// The kernel's boot id.
    pub boot_id: String,
    /// The intent that was not cleared; an unreadable one counts as none and is reported.
    pub intent: Option<Intent>,
    /// Whether there was an intent that could not be read.
    pub intent_unreadable: bool,
    /// The last applied layout of every GPU, by UUID.
    pub applied: Option<BTreeMap<String, Vec<Place>>>,
}

/// A GPU as the driver shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardState {
    /// Index on the node.
    pub index: u32,
    /// UUID.
    pub uuid: String,
    /// Product name.
    pub model: String,
    /// Whether MIG mode is on, and not about to change.
    pub mig_mode: bool,
    /// GPU instances, ordered by start.
    pub instances: Vec<InstanceState>,
}

/// A GPU instance as the driver shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    /// Profile and place.
    pub place: Place,
    /// UUID of the compute instance that fills it; none when there is no compute instance.
    pub compute: Option<String>,
}

/// Something that holds an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occupant {
    /// UUID of the compute instance that is held.
    pub instance: String,
    /// The pod, when the kubelet names it, without UID where it does not tell that; none for a mere process.
    pub pod: Option<PodRef>,
}

/// Why a node does not do what it was asked. Codes of NVML are ambiguous: what is true is what `Enumerate` shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Somebody holds the instance, or the release of what it held is not finished.
    #[error("in use")]
    InUse,
    /// No room, or already there.
    #[error("insufficient resources")]
    InsufficientResources,
    /// No such instance.
    #[error("not found")]
    NotFound,
    /// Not allowed.
    #[error("no permission")]
    NoPermission,
    /// The driver does not understand the request.
    #[error("invalid argument")]
    InvalidArgument,
    /// The GPU has fallen off the bus or needs a reset.
    #[error("the GPU is lost")]
    GpuLost,
    /// The driver was reloaded under the library: the process must start anew.
    #[error("library and driver do not match")]
    LibraryMismatch,
    /// It may have been done or not.
    #[error("unknown error")]
    Unknown,
    /// No answer within the watchdog's time.
    #[error("the driver does not answer")]
    Hung,
    /// A file or socket of the node cannot be used.
    #[error("{0}")]
    Local(String),
}

/// A request of the agent's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentRequest {
    /// To the API server: `GetMigNode`, `GetNode`, `ListPods` and `WriteStatus` only.
    Cluster(ClusterRequest),
    /// To its own node.
    Node(NodeRequest),
}

/// The answer to an [`AgentRequest`] of the same kind.
#[derive(Debug, Clone)]
pub enum AgentReply {
    /// From the API server.
    Cluster(ClusterReply),
    /// From the node.
    Node(NodeReply),
}

/// A request of the controller's machine for one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationRequest {
    /// To the API server.
    Cluster(ClusterRequest),
    /// To the loop that planned it: does the operation, on fresh state, still gain more than it costs? Planning is not for this layer.
    Judge(Box<Operation>),
}

/// The answer to an [`OperationRequest`] of the same kind.
#[derive(Debug, Clone)]
pub enum OperationReply {
    /// From the API server.
    Cluster(ClusterReply),
    /// From the loop.
    Judged(Judgement),
}

/// Whether an operation is still worth what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is.
    Worthwhile,
    /// It is not, or it cannot be told: the operation is given up.
    Pointless(String),
}
