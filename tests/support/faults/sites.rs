//! Where faults strike: the 21 steps of the protocol, and every other kind of request by who asks.

use std::collections::BTreeSet;

use retile::exec::port::{ClusterRequest, NodeRequest};
use retile::exec::{AgentPhase, MigNodeSpec, MigNodeStatus, Phase};
use retile::sim::engine::Call;
use retile::sim::process::{ProcessId, Request, Slot};

use super::plan::named;

named! {
    /// A place where faults strike.
    Site {
        C1, C2, C3, C4, C5, C6, C7, C8, C9, A1, A2, A3, A4, A5, A6, A7, A8, R1, R2, R3, R4,
        Spec, Report, Observe, Judge, RecordOfLead, RecordOfAgent, NodeOfLead, NodeOfAgent, PodsOfLead, PodsOfAgent, DryRun,
        GetLease, WriteLease, ReadStore, ClearIntent, Enumerate, Occupants, Allocatable, Devices,
        Clock,
    }
}

/// The protocol's steps.
pub const STEPS: [Site; 21] = [
    Site::C1,
    Site::C2,
    Site::C3,
    Site::C4,
    Site::C5,
    Site::C6,
    Site::C7,
    Site::C8,
    Site::C9,
    Site::A1,
    Site::A2,
    Site::A3,
    Site::A4,
    Site::A5,
    Site::A6,
    Site::A7,
    Site::A8,
    Site::R1,
    Site::R2,
    Site::R3,
    Site::R4,
];
/// Steps that only a roll-back takes.
pub const BACKWARD: [Site; 4] = [Site::R1, Site::R2, Site::R3, Site::R4];
/// Requests to the API server.
pub const API: [Site; 23] = [
    Site::C1,
    Site::C2,
    Site::C3,
    Site::C4,
    Site::C5,
    Site::C6,
    Site::C7,
    Site::C8,
    Site::C9,
    Site::A1,
    Site::A7,
    Site::A8,
    Site::Report,
    Site::Observe,
    Site::Judge,
    Site::RecordOfLead,
    Site::RecordOfAgent,
    Site::NodeOfLead,
    Site::NodeOfAgent,
    Site::PodsOfLead,
    Site::PodsOfAgent,
    Site::DryRun,
    Site::WriteLease,
];
/// Requests to the driver, the kubelet and the disk of a node.
pub const NODE: [Site; 13] = [
    Site::ReadStore,
    Site::A2,
    Site::ClearIntent,
    Site::Enumerate,
    Site::Occupants,
    Site::Allocatable,
    Site::A3,
    Site::A4,
    Site::A5,
    Site::A6,
    Site::R2,
    Site::R3,
    Site::Devices,
];
/// Reads of the API server.
pub const READS: [Site; 10] = [
    Site::Observe,
    Site::Judge,
    Site::RecordOfLead,
    Site::RecordOfAgent,
    Site::NodeOfLead,
    Site::NodeOfAgent,
    Site::PodsOfLead,
    Site::PodsOfAgent,
    Site::GetLease,
    Site::DryRun,
];

/// Tells requests apart; it knows which agents are on their way back.
#[derive(Debug, Default)]
pub struct Sites {
    backward: BTreeSet<String>,
}

impl Sites {
    pub fn of(&mut self, call: &Call<'_>) -> Site {
        match (call.request, call.process) {
            (Request::Cluster(request), ProcessId::Agent(node)) => self.of_agent(node, request),
            (Request::Cluster(request), ProcessId::Controller(_)) => of_lead(call.slot, request),
            (Request::Node(request), ProcessId::Agent(node)) => of_node(self.backward.contains(node), request),
            (Request::Node(_), ProcessId::Controller(_)) => Site::ReadStore,
        }
    }

    fn of_agent(&mut self, node: &str, request: &ClusterRequest) -> Site {
        match request {
            ClusterRequest::GetNode { .. } => Site::NodeOfAgent,
            ClusterRequest::ListPods { .. } => Site::PodsOfAgent,
            ClusterRequest::WriteStatus { status, .. } => self.of_status(node, status),
            _ => Site::RecordOfAgent,
        }
    }

    fn of_status(&mut self, node: &str, status: &MigNodeStatus) -> Site {
        let phase = status.operation.as_ref().map_or(AgentPhase::Idle, |report| report.phase);
        if phase == AgentPhase::RollingBack {
            let new = self.backward.insert(node.to_owned());
            return if new { Site::R1 } else { Site::Report };
        }
        let was = self.backward.remove(node);
        match phase {
            AgentPhase::Accepted => Site::A1,
            AgentPhase::Repartitioned => Site::A7,
            AgentPhase::Applied => Site::A8,
            AgentPhase::RolledBack | AgentPhase::Degraded if was => Site::R4,
            _ => Site::Report,
        }
    }
}

fn of_lead(slot: &Slot, request: &ClusterRequest) -> Site {
    match request {
        ClusterRequest::Observe { .. } if *slot == Slot::Loop => Site::Observe,
        ClusterRequest::Observe { .. } => Site::Judge,
        ClusterRequest::GetNode { .. } => Site::NodeOfLead,
        ClusterRequest::ListPods { .. } => Site::PodsOfLead,
        ClusterRequest::WriteSpec { spec, .. } => of_spec(spec),
        ClusterRequest::AddTaint { .. } => Site::C2,
        ClusterRequest::RemoveTaint { .. } => Site::C8,
        ClusterRequest::Evict { dry_run: true, .. } | ClusterRequest::PauseClients { dry_run: true, .. } => {
            Site::DryRun
        }
        ClusterRequest::Evict { .. } => Site::C4,
        // Both bring the plugin to look at the board anew; nothing else pauses it first.
        ClusterRequest::DeletePluginPod { .. }
        | ClusterRequest::PauseClients { .. }
        | ClusterRequest::ResumeClients { .. } => Site::C6,
        ClusterRequest::GetLease => Site::GetLease,
        ClusterRequest::WriteLease { .. } => Site::WriteLease,
        ClusterRequest::GetMigNode { .. } | ClusterRequest::WriteStatus { .. } => Site::RecordOfLead,
    }
}

fn of_spec(spec: &MigNodeSpec) -> Site {
    match spec.operation.as_ref().map(|operation| operation.phase) {
        None => Site::C9,
        Some(Phase::Claimed) => Site::C1,
        Some(Phase::Draining) => Site::C3,
        Some(Phase::Drained) => Site::C5,
        Some(Phase::Releasing) => Site::C7,
        Some(Phase::Restarting | Phase::Cancelling | Phase::Degraded) => Site::Spec,
    }
}

fn of_node(backward: bool, request: &NodeRequest) -> Site {
    match request {
        NodeRequest::ReadStore => Site::ReadStore,
        NodeRequest::WriteIntent(_) => Site::A2,
        NodeRequest::ClearIntent { .. } => Site::ClearIntent,
        NodeRequest::Enumerate => Site::Enumerate,
        NodeRequest::Occupants => Site::Occupants,
        NodeRequest::Allocatable => Site::Allocatable,
        NodeRequest::RefreshDevices => Site::Devices,
        NodeRequest::DestroyComputeInstance(_) | NodeRequest::DestroyGpuInstance(_) if backward => Site::R2,
        NodeRequest::CreateGpuInstance { .. } | NodeRequest::CreateComputeInstance { .. } if backward => Site::R3,
        NodeRequest::DestroyComputeInstance(_) => Site::A3,
        NodeRequest::DestroyGpuInstance(_) => Site::A4,
        NodeRequest::CreateGpuInstance { .. } => Site::A5,
        NodeRequest::CreateComputeInstance { .. } => Site::A6,
    }
}
