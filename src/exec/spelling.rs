//! What requests and refusals are called in logs and in the labels of metrics: one spelling for every program.
//!
//! Input: a request or an error. Output: its kind. Pure. Invariant: kinds are `snake_case`, never take a value from the cluster, and are all in
//! the list beside them, so that whoever counts can begin at 0.

use super::port::{ClusterError, ClusterReply, ClusterRequest, NodeError, NodeRequest};

impl ClusterRequest {
    /// All kinds.
    pub const KINDS: [&'static str; 16] = [
        "observe",
        "get_mig_node",
        "get_node",
        "list_pods",
        "write_spec",
        "write_status",
        "add_taint",
        "remove_taint",
        "pause_clients",
        "pause_clients_dry_run",
        "resume_clients",
        "evict",
        "evict_dry_run",
        "delete_plugin_pod",
        "get_lease",
        "write_lease",
    ];

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Observe { .. } => "observe",
            Self::GetMigNode { .. } => "get_mig_node",
            Self::GetNode { .. } => "get_node",
            Self::ListPods { .. } => "list_pods",
            Self::WriteSpec { .. } => "write_spec",
            Self::WriteStatus { .. } => "write_status",
            Self::AddTaint { .. } => "add_taint",
            Self::RemoveTaint { .. } => "remove_taint",
            Self::PauseClients { dry_run: false, .. } => "pause_clients",
            Self::PauseClients { dry_run: true, .. } => "pause_clients_dry_run",
            Self::ResumeClients { .. } => "resume_clients",
            Self::Evict { dry_run: false, .. } => "evict",
            Self::Evict { dry_run: true, .. } => "evict_dry_run",
            Self::DeletePluginPod { .. } => "delete_plugin_pod",
            Self::GetLease => "get_lease",
            Self::WriteLease { .. } => "write_lease",
        }
    }
}

impl ClusterError {
    /// All kinds.
    pub const KINDS: [&'static str; 9] = [
        "conflict",
        "not_found",
        "throttled",
        "blocked_by_budget",
        "several_budgets",
        "forbidden",
        "invalid",
        "expired",
        "unknown",
    ];

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Throttled { .. } => "throttled",
            Self::BlockedByBudget => "blocked_by_budget",
            Self::SeveralBudgets => "several_budgets",
            Self::Forbidden(_) => "forbidden",
            Self::Invalid(_) => "invalid",
            Self::Expired => "expired",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// How the API server answered: `ok`, or the kind of its refusal.
pub fn result(reply: &ClusterReply) -> &'static str {
    reply.as_ref().map_or_else(ClusterError::kind, |_| "ok")
}

impl NodeRequest {
    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ReadStore => "read_store",
            Self::WriteIntent(_) => "write_intent",
            Self::ClearIntent { .. } => "clear_intent",
            Self::Enumerate => "enumerate",
            Self::Occupants => "occupants",
            Self::Allocatable => "allocatable",
            Self::RefreshDevices => "refresh_devices",
            Self::DestroyComputeInstance(_) => "destroy_compute_instance",
            Self::DestroyGpuInstance(_) => "destroy_gpu_instance",
            Self::CreateGpuInstance { .. } => "create_gpu_instance",
            Self::CreateComputeInstance { .. } => "create_compute_instance",
        }
    }
}

impl NodeError {
    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InUse => "in_use",
            Self::InsufficientResources => "insufficient_resources",
            Self::NotFound => "not_found",
            Self::NoPermission => "no_permission",
            Self::InvalidArgument => "invalid_argument",
            Self::GpuLost => "gpu_lost",
            Self::LibraryMismatch => "library_mismatch",
            Self::Unknown => "unknown",
            Self::Hung => "hung",
            Self::Local(_) => "local",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::port::{EvictionBody, Lease};
    use crate::exec::{MigNodeSpec, MigNodeStatus, OperationId, Version};
    use crate::model::PodRef;

    #[test]
    fn every_kind_of_request_and_refusal_is_listed_once() {
        let (node, version) = (String::new, Version(1));
        let pod = PodRef { namespace: "a".into(), name: "b".into(), uid: "c".into() };
        let evict = |dry_run| ClusterRequest::Evict { pod: pod.clone(), body: EvictionBody::of(&pod), dry_run };
        let pause =
            |dry_run| ClusterRequest::PauseClients { node: node(), version, operation: OperationId(node()), dry_run };
        let requests = [
            ClusterRequest::Observe { fresh: true },
            ClusterRequest::GetMigNode { node: node() },
            ClusterRequest::GetNode { node: node() },
            ClusterRequest::ListPods { node: node() },
            ClusterRequest::WriteSpec { node: node(), version, spec: Box::new(MigNodeSpec::default()) },
            ClusterRequest::WriteStatus { node: node(), version, status: Box::new(MigNodeStatus::default()) },
            ClusterRequest::AddTaint { node: node(), version, operation: OperationId(node()) },
            ClusterRequest::RemoveTaint { node: node(), version, operation: OperationId(node()) },
            pause(false),
            pause(true),
            ClusterRequest::ResumeClients { node: node(), version, operation: OperationId(node()) },
            evict(false),
            evict(true),
            ClusterRequest::DeletePluginPod { pod: pod.clone() },
            ClusterRequest::GetLease,
            ClusterRequest::WriteLease { version: None, lease: Lease::default() },
        ];
        assert_eq!(requests.each_ref().map(ClusterRequest::kind), ClusterRequest::KINDS);
        let refusals = [
            ClusterError::Conflict,
            ClusterError::NotFound,
            ClusterError::Throttled { retry_after: None },
            ClusterError::BlockedByBudget,
            ClusterError::SeveralBudgets,
            ClusterError::Forbidden(node()),
            ClusterError::Invalid(node()),
            ClusterError::Expired,
            ClusterError::Unknown(node()),
        ];
        assert_eq!(refusals.each_ref().map(ClusterError::kind), ClusterError::KINDS);
    }
}
