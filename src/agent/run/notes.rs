//! What passes between the machine and the world, as logs, metrics and health.
//!
//! Inputs: requests, their answers, rests. Outputs: lines, figures, beats. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::exec::port::{AgentReply, AgentRequest, ClusterError, ClusterRequest, NodeError, NodeRequest};
use crate::exec::{AgentPhase, MigNodeStatus, OperationId, OperationReport, ReportedOccupancy, Timing};
use crate::nvml::{Board, MigMode};
use crate::telemetry::agent::{Call, CallResult, Ended, InstanceLabels, Instances, Refresh};
use crate::telemetry::requests::{Request, RequestResult};
use crate::telemetry::{AgentMetrics, Health};

/// The loop that must go on for the agent to be alive.
const LOOP: &str = "agent";
/// Parts that must be well for it to be ready.
const API: &str = "apiServer";
const DRIVER: &str = "driver";
const KUBELET: &str = "kubelet";
/// One request may take as long as this: a driver's call that is given up, child processes, the API server's time limit.
const SLOWEST: Duration = Duration::from_mins(4);

/// Where it is noted what happens.
#[derive(Debug)]
pub struct Notes {
    health: Health,
    metrics: AgentMetrics,
    /// What the status said that is being written.
    writing: Option<Box<MigNodeStatus>>,
    /// The operation in hand, as it was last reported, and since when.
    in_hand: Option<(OperationId, AgentPhase, Instant)>,
    /// What it waited for when it last rested.
    waited_on: String,
    told: Option<String>,
}

/// A request that is out.
#[derive(Debug)]
pub(super) struct Asked {
    name: &'static str,
    since: Instant,
    of: Of,
}

/// Whom it was asked, and what that tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    ApiServer,
    Driver,
    Kubelet,
    Files,
    Devices,
    Created,
    Destroyed,
}

impl Notes {
    /// Begins to watch the loop.
    pub fn new(health: Health, metrics: AgentMetrics, timing: &Timing) -> Self {
        health.watch(LOOP, SLOWEST + timing.report.max(timing.retry_most));
        for part in [API, DRIVER, KUBELET] {
            health.not_ready(part, "not asked yet");
        }
        Self { health, metrics, writing: None, in_hand: None, waited_on: String::new(), told: None }
    }

    pub(super) fn rests(&mut self, waiting_on: &str) {
        self.health.beat(LOOP);
        if self.waited_on != waiting_on {
            tracing::info!(waiting_on, "rests");
            waiting_on.clone_into(&mut self.waited_on);
        }
    }

    pub(super) fn wakes(&mut self) {
        self.health.beat(LOOP);
    }

    pub(super) fn asks(&mut self, request: &AgentRequest) -> Asked {
        let (name, of) = match request {
            AgentRequest::Cluster(request) => (request.kind(), Of::ApiServer),
            AgentRequest::Node(request) => (request.kind(), whom(request)),
        };
        if let AgentRequest::Cluster(ClusterRequest::WriteStatus { status, .. }) = request {
            self.writing = Some(status.clone());
        }
        Asked { name, since: Instant::now(), of }
    }

    pub(super) fn hears(&mut self, asked: &Asked, reply: &AgentReply) {
        self.health.beat(LOOP);
        let &Asked { name, since, of } = asked;
        let seconds = since.elapsed().as_secs_f64();
        match reply {
            AgentReply::Cluster(reply) => {
                let result = crate::exec::result(reply);
                self.metrics.api_request_seconds.note(Request { request: name }, seconds);
                self.metrics.api_requests.add(RequestResult { request: name, result }, 1);
                self.heard_cluster(name, reply.as_ref().err());
            }
            AgentReply::Node(reply) => {
                let result = reply.as_ref().map_or_else(NodeError::kind, |_| "ok");
                if !matches!(of, Of::Files | Of::Devices) {
                    self.metrics.nvml_call_seconds.note(Call { call: name }, seconds);
                    self.metrics.nvml_calls.add(CallResult { call: name, result }, 1);
                }
                match (of, reply) {
                    (Of::Created, Ok(_)) => self.metrics.created.more(1),
                    (Of::Destroyed, Ok(_)) => self.metrics.destroyed.more(1),
                    (_, _) => {}
                }
                self.heard_node(name, of, reply.as_ref().err());
            }
        }
    }

    fn heard_cluster(&mut self, name: &'static str, error: Option<&ClusterError>) {
        let written = self.writing.take();
        match error {
            // That there is no record yet is an answer like any other.
            None | Some(ClusterError::NotFound | ClusterError::Conflict) => {
                self.health.ready(API);
                self.told = None;
            }
            Some(error) => {
                let why = format!("{name}: {error}");
                self.health.not_ready(API, why.clone());
                if self.told.as_ref() != Some(&why) {
                    tracing::warn!(request = name, %error, "the API server does not do it");
                    self.told = Some(why);
                }
            }
        }
        if error.is_none()
            && let Some(status) = written
        {
            self.reported(&status);
        }
    }

    fn heard_node(&self, name: &'static str, of: Of, error: Option<&NodeError>) {
        let part = match of {
            Of::Driver | Of::Created | Of::Destroyed => DRIVER,
            Of::Kubelet => KUBELET,
            Of::ApiServer | Of::Files | Of::Devices => return self.heard_file(name, of, error),
        };
        match error {
            None => self.health.ready(part),
            // A refusal of one change says nothing about the driver as a whole.
            Some(NodeError::InUse | NodeError::InsufficientResources | NodeError::NotFound) => {
                tracing::info!(request = name, error = ?error, "the driver does not do it");
            }
            Some(
                error @ (NodeError::NoPermission
                | NodeError::InvalidArgument
                | NodeError::GpuLost
                | NodeError::LibraryMismatch
                | NodeError::Unknown
                | NodeError::Hung
                | NodeError::Local(_)),
            ) => {
                self.health.not_ready(part, format!("{name}: {error}"));
                tracing::warn!(request = name, %error, "the node does not do it");
            }
        }
    }

    fn heard_file(&self, name: &'static str, of: Of, error: Option<&NodeError>) {
        if of == Of::Devices {
            let result = if error.is_none() { "ok" } else { "failed" };
            self.metrics.device_refresh.add(Refresh { step: "all", result }, 1);
        }
        if let Some(error) = error {
            tracing::error!(request = name, %error, "the node does not do it");
        }
    }

    /// What the driver shows.
    pub(super) fn shows(&self, boards: &[Board]) {
        let enabled = || boards.iter().filter(|board| board.mig == MigMode::Enabled);
        self.metrics.gpus.set(enabled().count() as f64);
        let tables = boards.iter().filter_map(|board| board.table.as_ref());
        self.metrics.catalogue_differences.set(tables.map(|table| table.differences.len()).sum::<usize>() as f64);
        let instances = enabled().flat_map(|board| {
            board.instances.iter().map(|instance| InstanceLabels {
                uuid: board.uuid.clone(),
                gpu_i_id: instance.id.to_string(),
                profile: instance.place.profile.clone(),
                start: instance.place.start,
                mig_uuid: instance.name().unwrap_or_default().to_owned(),
            })
        });
        self.metrics.instance_info.replace(instances.map(|labels| (labels, 1.0)));
    }

    /// A status that the API server has taken.
    fn reported(&mut self, status: &MigNodeStatus) {
        self.metrics.reports.more(1);
        self.metrics.heartbeat.set(status.heartbeat as f64);
        let mut unknown = 0_u32;
        let mut counts = BTreeMap::<Instances, f64>::new();
        for instance in status.gpus.iter().flat_map(|gpu| &gpu.instances) {
            let state = match instance.occupancy {
                ReportedOccupancy::Free => "free",
                ReportedOccupancy::Busy => "busy",
                ReportedOccupancy::Unknown => {
                    unknown += 1;
                    "unknown"
                }
            };
            *counts.entry(Instances { profile: instance.place.profile.clone(), state }).or_default() += 1.0;
        }
        self.metrics.instances.replace(counts);
        self.metrics.occupancy_unknown.set(f64::from(unknown));
        self.in_phase(status.operation.as_ref());
    }

    fn in_phase(&mut self, report: Option<&OperationReport>) {
        self.metrics.in_phase(report.map_or("idle", |report| phase_name(report.phase)));
        let Some(report) = report else {
            self.in_hand = None;
            return;
        };
        let before = self.in_hand.as_ref().filter(|(id, ..)| *id == report.id);
        if before.is_some_and(|(_, phase, _)| *phase == report.phase) {
            return;
        }
        let since = before.map(|(.., since)| *since);
        let OperationReport { id, phase, detail, epoch: _, boot_id: _ } = report;
        tracing::info!(operation = %id, phase = phase_name(*phase), detail, "reports");
        if let (Some(result), Some(since)) = (result_name(*phase), since) {
            self.metrics.operations.add(Ended { result }, 1);
            self.metrics.operation_seconds.note(Ended { result }, since.elapsed().as_secs_f64());
        }
        self.in_hand = Some((id.clone(), *phase, since.unwrap_or_else(Instant::now)));
    }
}

fn phase_name(phase: AgentPhase) -> &'static str {
    match phase {
        AgentPhase::Idle => "idle",
        AgentPhase::Accepted => "accepted",
        AgentPhase::Executing => "executing",
        AgentPhase::Repartitioned => "repartitioned",
        AgentPhase::Applied => "applied",
        AgentPhase::RollingBack => "rolling_back",
        AgentPhase::RolledBack => "rolled_back",
        AgentPhase::Refused => "refused",
        AgentPhase::Degraded => "degraded",
    }
}

/// How an operation ends with a phase, if it does.
fn result_name(phase: AgentPhase) -> Option<&'static str> {
    match phase {
        AgentPhase::Applied => Some("applied"),
        AgentPhase::RolledBack => Some("rolled_back"),
        AgentPhase::Refused => Some("refused"),
        AgentPhase::Degraded => Some("degraded"),
        AgentPhase::Idle
        | AgentPhase::Accepted
        | AgentPhase::Executing
        | AgentPhase::Repartitioned
        | AgentPhase::RollingBack => None,
    }
}

/// Whom a request to the node is for; changes are logged.
fn whom(request: &NodeRequest) -> Of {
    match request {
        NodeRequest::ReadStore | NodeRequest::ClearIntent { .. } => Of::Files,
        NodeRequest::WriteIntent(intent) => {
            tracing::info!(operation = %intent.id, gpus = intent.gpus.len(), "writes down what it is about to do");
            Of::Files
        }
        NodeRequest::Enumerate => Of::Driver,
        NodeRequest::Occupants | NodeRequest::Allocatable => Of::Kubelet,
        NodeRequest::RefreshDevices => {
            tracing::info!("makes the device nodes of the instances");
            Of::Devices
        }
        NodeRequest::DestroyComputeInstance(proof) => {
            let (place, uuid) = (proof.place(), proof.compute().unwrap_or_default());
            let (profile, start) = (place.profile.as_str(), place.start);
            tracing::info!(gpu = proof.gpu(), profile, start, uuid, "destroys a compute instance");
            Of::Driver
        }
        NodeRequest::DestroyGpuInstance(proof) => {
            let (profile, start) = (proof.place().profile.as_str(), proof.place().start);
            tracing::info!(gpu = proof.gpu(), profile, start, "destroys a GPU instance");
            Of::Destroyed
        }
        NodeRequest::CreateGpuInstance { gpu, place } => {
            tracing::info!(gpu, profile = place.profile, start = place.start, "creates a GPU instance");
            Of::Created
        }
        NodeRequest::CreateComputeInstance { gpu, place } => {
            tracing::info!(gpu, profile = place.profile, start = place.start, "creates a compute instance");
            Of::Driver
        }
    }
}
