//! The families of the agent.

use super::book::{Book, Draft};
use super::labels::labels;
use super::requests::{self, Request, RequestResult};
use super::series::{Count, Level, Spread};

/// Seconds of a call to the driver: enumeration takes milliseconds, creating an instance up to seconds.
const CALL: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// Seconds of an operation on the board.
const CHANGE: &[f64] = &[0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

labels! {
    /// A kind of call, enumerated by the code.
    Call {
        /// What is called.
        "call" => call: &'static str,
    }
    /// How a kind of call ends.
    CallResult {
        /// What is called.
        "call" => call: &'static str,
        /// `ok`, or the kind of error.
        "result" => result: &'static str,
    }
    /// How something ends.
    Ended {
        /// How.
        "result" => result: &'static str,
    }
    /// A phase of the agent.
    InPhase {
        /// Which.
        "phase" => phase: &'static str,
    }
    /// A step after a change of the board that makes devices known to the host.
    Refresh {
        /// Which step.
        "step" => step: &'static str,
        /// How it ended.
        "result" => result: &'static str,
    }
    /// Instances of one profile in one state.
    Instances {
        /// Profile as `nvidia-smi mig` spells it.
        "profile" => profile: String,
        /// `free`, `busy` or `unknown`.
        "state" => state: &'static str,
    }
    /// One GPU instance, with the keys of the DCGM exporter.
    InstanceLabels {
        /// UUID of the GPU.
        "UUID" => uuid: String,
        /// Number of the GPU instance, as the driver counts.
        "GPU_I_ID" => gpu_i_id: String,
        /// Profile as `nvidia-smi mig` spells it.
        "GPU_I_PROFILE" => profile: String,
        /// First unit on the slot axis.
        "start" => start: u8,
        /// UUID of the MIG device; empty while there is no compute instance.
        "mig_uuid" => mig_uuid: String,
    }
}

/// How an operation ends on a node.
pub const RESULTS: [&str; 4] = ["applied", "rolled_back", "refused", "degraded"];
/// Kinds of requests to the API server that an agent makes.
const REQUESTS: [&str; 4] = ["get_mig_node", "get_node", "list_pods", "write_status"];
/// Phases of the agent.
pub const PHASES: [&str; 9] =
    ["idle", "accepted", "executing", "repartitioned", "applied", "rolling_back", "rolled_back", "refused", "degraded"];

/// Handles to the families of the agent.
#[derive(Debug, Clone)]
pub struct AgentMetrics {
    /// Calls to the driver.
    pub nvml_call_seconds: Spread<Call>,
    /// Calls to the driver by how they ended.
    pub nvml_calls: Count<CallResult>,
    /// Requests to the API server.
    pub api_request_seconds: Spread<Request>,
    /// Requests to the API server by how they ended.
    pub api_requests: Count<RequestResult>,
    /// The heartbeat last reported.
    pub heartbeat: Level,
    /// Reports written.
    pub reports: Count,
    /// GPUs in MIG mode.
    pub gpus: Level,
    /// Instances by profile and state.
    pub instances: Level<Instances>,
    /// Instances whose holders cannot be told.
    pub occupancy_unknown: Level,
    /// One series per GPU instance, to join with DCGM's.
    pub instance_info: Level<InstanceLabels>,
    /// 1 for the phase that the agent is in.
    pub phase: Level<InPhase>,
    /// Operations by how they ended on the board.
    pub operations: Count<Ended>,
    /// Time from acceptance to the end on the board.
    pub operation_seconds: Spread<Ended>,
    /// Instances destroyed.
    pub destroyed: Count,
    /// Instances created.
    pub created: Count,
    /// Steps that make devices known to the host.
    pub device_refresh: Count<Refresh>,
    /// Differences between the boards and the catalogue.
    pub catalogue_differences: Level,
}

impl AgentMetrics {
    /// The families, and the book that shows them.
    pub fn new() -> (Self, Book) {
        let mut book = Draft::of("retile-agent");
        let (api_request_seconds, api_requests) = requests::families(&mut book, &REQUESTS);
        let results = || RESULTS.map(|result| Ended { result });
        let metrics = Self {
            nvml_call_seconds: book.spread("nvml_call_seconds", "Time of calls to the driver", CALL, []),
            nvml_calls: book.count("nvml_calls", "Calls to the driver", []),
            api_request_seconds,
            api_requests,
            heartbeat: book.gauge("heartbeat", "Heartbeat that was last written into the node's MigNode"),
            reports: book.counter("reports", "Reports written into the node's MigNode"),
            gpus: book.gauge("gpus", "GPUs in MIG mode"),
            instances: book.level("instances", "GPU instances by profile and state", []),
            occupancy_unknown: book
                .gauge("occupancy_unknown", "GPU instances whose holders cannot be told, which counts as held"),
            instance_info: book.level(
                "instance_info",
                "Always 1; one series per GPU instance, with the keys of the DCGM exporter to join with",
                [],
            ),
            phase: book.level(
                "agent_phase",
                "1 for the phase in which the agent is",
                PHASES.map(|phase| InPhase { phase }),
            ),
            operations: book.count("agent_operations", "Operations by how they ended on the board", results()),
            operation_seconds: book.spread(
                "agent_operation_seconds",
                "Time from the acceptance of an operation to its end on the board",
                CHANGE,
                results(),
            ),
            destroyed: book.counter("instances_destroyed", "GPU instances destroyed"),
            created: book.counter("instances_created", "GPU instances created"),
            device_refresh: book.count("device_refresh", "Steps that make new devices known to the host", []),
            catalogue_differences: book
                .gauge("catalogue_differences", "Differences between the boards of the node and the catalogue"),
        };
        metrics.phase.put(InPhase { phase: "idle" }, 1.0);
        (metrics, book.close())
    }

    /// The agent is in this phase, one of those that the page lists.
    pub fn in_phase(&self, phase: &'static str) {
        self.phase.refresh([(InPhase { phase }, 1.0)]);
    }
}
