//! Kinds of requests: the call sites at which faults strike.

use crate::exec::port::{ClusterRequest, NodeRequest};
use crate::sim::process::Request;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident),* $(,)?) => {
        /// A kind of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RequestKind {
            $($(#[$doc])* $kind),*
        }

        impl RequestKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];
        }
    };
}

kinds! {
    /// Everything that planning reads.
    Observe,
    /// The record of a node.
    GetMigNode,
    /// A node.
    GetNode,
    /// Pods of a node.
    ListPods,
    /// The spec of a record.
    WriteSpec,
    /// The status of a record.
    WriteStatus,
    /// Our taint.
    AddTaint,
    /// Our taint, away.
    RemoveTaint,
    /// Clients of GPUs, paused.
    PauseClients,
    /// Paused clients, let go on.
    ResumeClients,
    /// An eviction that is meant.
    Evict,
    /// An eviction, or a pause of clients, that is only asked about.
    DryRun,
    /// The device plugin's pod.
    DeletePluginPod,
    /// The lease.
    GetLease,
    /// The lease, written.
    WriteLease,
    /// Boot id and files.
    ReadStore,
    /// The intent.
    WriteIntent,
    /// The intent, away.
    ClearIntent,
    /// GPUs and instances.
    Enumerate,
    /// Holders.
    Occupants,
    /// What the plugin offers.
    Allocatable,
    /// Device nodes.
    RefreshDevices,
    /// A compute instance, destroyed.
    DestroyComputeInstance,
    /// A GPU instance, destroyed.
    DestroyGpuInstance,
    /// A GPU instance, created.
    CreateGpuInstance,
    /// A compute instance, created.
    CreateComputeInstance,
}

impl RequestKind {
    /// The kind of a request.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Cluster(request) => Self::of_cluster(request),
            Request::Node(request) => Self::of_node(request),
        }
    }

    fn of_cluster(request: &ClusterRequest) -> Self {
        match request {
            ClusterRequest::Observe { .. } => Self::Observe,
            ClusterRequest::GetMigNode { .. } => Self::GetMigNode,
            ClusterRequest::GetNode { .. } => Self::GetNode,
            ClusterRequest::ListPods { .. } => Self::ListPods,
            ClusterRequest::WriteSpec { .. } => Self::WriteSpec,
            ClusterRequest::WriteStatus { .. } => Self::WriteStatus,
            ClusterRequest::AddTaint { .. } => Self::AddTaint,
            ClusterRequest::RemoveTaint { .. } => Self::RemoveTaint,
            ClusterRequest::PauseClients { dry_run: false, .. } => Self::PauseClients,
            ClusterRequest::ResumeClients { .. } => Self::ResumeClients,
            ClusterRequest::Evict { dry_run: false, .. } => Self::Evict,
            ClusterRequest::Evict { dry_run: true, .. } | ClusterRequest::PauseClients { dry_run: true, .. } => {
                Self::DryRun
            }
            ClusterRequest::DeletePluginPod { .. } => Self::DeletePluginPod,
            ClusterRequest::GetLease => Self::GetLease,
            ClusterRequest::WriteLease { .. } => Self::WriteLease,
        }
    }

    fn of_node(request: &NodeRequest) -> Self {
        match request {
            NodeRequest::ReadStore => Self::ReadStore,
            NodeRequest::WriteIntent(_) => Self::WriteIntent,
            NodeRequest::ClearIntent { .. } => Self::ClearIntent,
            NodeRequest::Enumerate => Self::Enumerate,
            NodeRequest::Occupants => Self::Occupants,
            NodeRequest::Allocatable => Self::Allocatable,
            NodeRequest::RefreshDevices => Self::RefreshDevices,
            NodeRequest::DestroyComputeInstance(_) => Self::DestroyComputeInstance,
            NodeRequest::DestroyGpuInstance(_) => Self::DestroyGpuInstance,
            NodeRequest::CreateGpuInstance { .. } => Self::CreateGpuInstance,
            NodeRequest::CreateComputeInstance { .. } => Self::CreateComputeInstance,
        }
    }

    /// Whether it changes something.
    pub fn writes(self) -> bool {
        match self {
            Self::Observe
            | Self::GetMigNode
            | Self::GetNode
            | Self::ListPods
            | Self::DryRun
            | Self::GetLease
            | Self::ReadStore
            | Self::Enumerate
            | Self::Occupants
            | Self::Allocatable => false,
            Self::WriteSpec
            | Self::WriteStatus
            | Self::AddTaint
            | Self::RemoveTaint
            | Self::PauseClients
            | Self::ResumeClients
            | Self::Evict
            | Self::DeletePluginPod
            | Self::WriteLease
            | Self::WriteIntent
            | Self::ClearIntent
            | Self::RefreshDevices
            | Self::DestroyComputeInstance
            | Self::DestroyGpuInstance
            | Self::CreateGpuInstance
            | Self::CreateComputeInstance => true,
        }
    }
}
