//! The families of the controller.

use std::collections::BTreeMap;

use crate::model::{Mode, Reason};
use crate::plan::LEVEL_NAMES;

use super::book::{Book, Draft};
use super::labels::{Whole, labels};
use super::requests::{self, Request, RequestResult};
use super::series::{Count, Level, Spread, Sum};

/// Seconds of a plan.
const PLAN: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0];
/// Seconds of an operation, from its claim to its release.
const OPERATION: &[f64] = &[5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0, 1080.0, 1800.0];

labels! {
    /// GPUs of one model.
    ByModel {
        /// Product name.
        "model" => model: String,
    }
    /// What would have been, for one model.
    Otherwise {
        /// Product name.
        "model" => model: String,
        /// `current_layout`, `best_static` or `whole_gpu`.
        "counterfactual" => counterfactual: &'static str,
    }
    /// Money under one counterfactual.
    Money {
        /// As the policy's prices name it.
        "currency" => currency: String,
        /// `current_layout`, `best_static` or `whole_gpu`.
        "counterfactual" => counterfactual: &'static str,
    }
    /// Demand that is not served.
    Unserved {
        /// Profile as `nvidia-smi mig` spells it; `other` for what no board here has, `several` for a pod that asks for more than one kind.
        "profile" => profile: String,
        /// Why.
        "reason" => reason: Reason,
    }
    /// Units of the slot axis in one state.
    Slices {
        /// Product name.
        "model" => model: String,
        /// `busy`, `free`, `stranded` or `unknown`.
        "state" => state: &'static str,
    }
    /// A profile of one model.
    Largest {
        /// Product name.
        "model" => model: String,
        /// Profile as `nvidia-smi mig` spells it; empty when none can be placed.
        "profile" => profile: String,
    }
    /// A level of the objective.
    Objective {
        /// Its name.
        "level" => level: &'static str,
    }
    /// How something ended.
    ByResult {
        /// How.
        "result" => result: &'static str,
    }
    /// How an operation ended, and where.
    Operations {
        /// How.
        "result" => result: &'static str,
        /// The furthest phase that it has reached.
        "step" => step: &'static str,
    }
    /// Why an operation was started.
    ByCause {
        /// Why.
        "cause" => cause: &'static str,
    }
    /// Why something was left alone.
    ByReason {
        /// Why.
        "reason" => reason: Reason,
    }
    /// A mode.
    ByMode {
        /// Which.
        "mode" => mode: &'static str,
    }
    /// An invariant.
    Invariant {
        /// Which.
        "id" => id: &'static str,
    }
    /// A part of a plan.
    Part {
        /// What is counted.
        "what" => what: &'static str,
    }
}

/// States of slices.
pub const SLICES: [&str; 4] = ["busy", "free", "stranded", "unknown"];
/// How a plan ends.
pub const PLANS: [&str; 3] = ["unchanged", "proposed", "failed"];
/// How an operation ends; `left` when somebody else leads it.
pub const RESULTS: [&str; 6] = ["done", "rolled_back", "aborted", "node_gone", "degraded", "left"];
/// Phases that an operation reaches.
pub const STEPS: [&str; 7] = ["claimed", "draining", "drained", "restarting", "cancelling", "releasing", "degraded"];
/// Why an operation is started.
pub const CAUSES: [&str; 3] = ["planned", "adopted", "repair"];
/// How the API server answers to an eviction.
pub const EVICTIONS: [&str; 6] = ["accepted", "blocked_by_budget", "several_budgets", "not_found", "conflict", "error"];
/// What must never happen: a plan of our own that the verifier refuses, a write that was decided but not sent because the lease was not
/// fresh is no such thing.
pub const INVARIANTS: [&str; 2] = ["plan_refused", "savings_refused"];
/// What of an approved plan becomes.
pub const APPROVALS: [&str; 2] = ["carried_out", "refused"];
/// What becomes of an event.
pub const EVENTS: [&str; 3] = ["sent", "failed", "dropped"];

/// Handles to the families of the controller.
#[derive(Debug, Clone)]
pub struct ControllerMetrics {
    /// Purchases put off now.
    pub deferred_gpus: Level<Otherwise>,
    /// For how long.
    pub deferred_gpu_seconds: Sum<Otherwise>,
    /// What that is worth.
    pub deferred_cost: Sum<Money>,
    /// Fewest GPUs for the highest demand.
    pub gpus_needed: Level<ByModel>,
    /// GPUs there.
    pub gpus: Level<ByModel>,
    /// Pods that are not served.
    pub unserved_pods: Level<Unserved>,
    /// Slices by state.
    pub slices: Level<Slices>,
    /// Largest profile that could be placed.
    pub largest_placeable: Level<Largest>,
    /// Nodes there.
    pub nodes: Level,
    /// Nodes left alone.
    pub nodes_withdrawn: Level<ByReason>,
    /// GPUs that rest.
    pub gpus_cooling: Level,
    /// Pods that hold instances.
    pub running_pods: Level,
    /// Pods that wait.
    pub pending_pods: Level,
    /// Time of planning.
    pub plan_seconds: Spread,
    /// Plans by how they ended.
    pub plans: Count<ByResult>,
    /// What the last plan comes to.
    pub planned: Level<Part>,
    /// Distance between value and bound.
    pub plan_gap: Level<Objective>,
    /// Operations started.
    pub operations_started: Count<ByCause>,
    /// Operations ended.
    pub operations: Count<Operations>,
    /// Time of operations.
    pub operation_seconds: Spread<ByResult>,
    /// Operations under way.
    pub operations_running: Level,
    /// Operations that wait for others.
    pub operations_waiting: Level,
    /// Age of the oldest taint of ours that this process has seen put on.
    pub taint_age_seconds: Level,
    /// Evictions by answer.
    pub evictions: Count<ByResult>,
    /// Operations rolled back.
    pub rollbacks: Count,
    /// Pods that were to be served and still wait although their operation is done.
    pub stolen: Count,
    /// Pods and nodes refused by a reason, each cycle.
    pub rejected: Count<ByReason>,
    /// Approved plans by what became of them.
    pub approvals: Count<ByResult>,
    /// Events by what became of them.
    pub events: Count<ByResult>,
    /// Requests to the API server.
    pub api_request_seconds: Spread<Request>,
    /// Requests to the API server by answer.
    pub api_requests: Count<RequestResult>,
    /// How far what is known may lag behind.
    pub cache_age_seconds: Level,
    /// Whether this process leads.
    pub leader: Level,
    /// The mode in force.
    pub mode: Level<ByMode>,
    /// Whether the policy in force is an older one because the newest cannot be read.
    pub policy_stale: Level,
    /// What must never happen.
    pub invariant_violations: Count<Invariant>,
}

impl ControllerMetrics {
    /// The families, and the book that shows them. `kinds` are those of the requests that are made.
    #[allow(clippy::too_many_lines, reason = "one line per family, in the order of the page")]
    pub fn new(kinds: &[&'static str]) -> (Self, Book) {
        let mut book = Draft::of("retile-controller");
        let results = |all: &'static [&'static str]| all.iter().map(|&result| ByResult { result });
        let operations = RESULTS.iter().flat_map(|&result| STEPS.iter().map(move |&step| Operations { result, step }));
        let (api_request_seconds, api_requests) = requests::families(&mut book, kinds);
        let metrics = Self {
            deferred_gpus: book.level("deferred_gpus", "GPUs whose purchase is put off now, against what would have been needed otherwise", []),
            deferred_gpu_seconds: book.sum("deferred_gpu_seconds", "For how long purchases were put off, summed over GPUs", []),
            deferred_cost: book.sum("deferred_cost", "What the deferral is worth: the share of the price that would have been written off in that time", []),
            gpus_needed: book.level("gpus_needed", "Fewest GPUs that the highest demand so far needs when layouts follow it; more than there are means: buy", []),
            gpus: book.level("gpus", "GPUs in MIG mode on nodes that take part", []),
            unserved_pods: book.level("unserved_pods", "Waiting pods that the last plan does not serve", []),
            slices: book.level("slices", "Units of the slot axis: held, free within an instance, not usable by any waiting or larger profile as cut now (stranded), or with holders that cannot be told", []),
            largest_placeable: book.level("largest_placeable_profile", "Units of the largest profile for which a GPU has room without moving anybody", []),
            nodes: book.gauge("nodes", "Nodes with GPUs in MIG mode"),
            nodes_withdrawn: book.level("nodes_withdrawn", "Nodes left alone by the last plan", Reason::ALL.map(|reason| ByReason { reason })),
            gpus_cooling: book.gauge("gpus_cooling", "GPUs that rest after a change or after failures on their node"),
            running_pods: book.gauge("running_pods", "Pods that hold GPU instances"),
            pending_pods: book.gauge("pending_pods", "Pods that wait for GPU instances, plannable or not"),
            plan_seconds: book.spread("plan_seconds", "Time from an observation to what follows from it, planning and verification included", PLAN, [Whole]),
            plans: book.count("plans", "Plans by how they ended", results(&PLANS)),
            planned: book.level("planned", "What the last plan comes to", ["served_pods", "served_on_existing", "nodes", "gpus", "evictions"].map(|what| Part { what })),
            plan_gap: book.level("plan_gap", "Proven bound less value of the last plan, by level of the objective; 0 is proven optimal", LEVEL_NAMES.map(|level| Objective { level })),
            operations_started: book.count("operations_started", "Operations started", CAUSES.map(|cause| ByCause { cause })),
            operations: book.count("operations", "Operations ended, by result and the furthest phase that they reached", operations),
            operation_seconds: book.spread("operation_seconds", "Time of an operation under this process, from its claim or adoption to its end", OPERATION, results(&RESULTS)),
            operations_running: book.gauge("operations_running", "Operations under way"),
            operations_waiting: book.gauge("operations_waiting", "Operations that wait for another one of the same plan"),
            taint_age_seconds: book.gauge("taint_age_seconds", "Age of the oldest operation under way, as this process has known it; its node keeps new pods off"),
            evictions: book.count("evictions", "Evictions asked for, by answer", results(&EVICTIONS)),
            rollbacks: book.counter("rollbacks", "Operations whose node was brought back to the layout before"),
            stolen: book.counter("stolen", "Pods that found no place although the operation for them was done: somebody else took it"),
            rejected: book.count("rejected", "Pods that a plan did not serve, counted at each plan, by reason", Reason::ALL.map(|reason| ByReason { reason })),
            approvals: book.count("approvals", "Plans that a person approved, by what became of them", results(&APPROVALS)),
            events: book.count("events", "Events for pods, nodes, MigNodes and MigPolicies, by what became of them", results(&EVENTS)),
            api_request_seconds,
            api_requests,
            cache_age_seconds: book.gauge("cache_age_seconds", "For how long the watch that is worst off has been broken: how far what is known may lag behind"),
            leader: book.gauge("leader", "1 while this process holds the lease"),
            mode: book.level("mode", "1 for the mode in force", Mode::ALL.map(|mode| ByMode { mode: mode.name() })),
            policy_stale: book.gauge("policy_stale", "1 while the newest MigPolicy cannot be used and the last good one stays in force"),
            invariant_violations: book.count("invariant_violations", "What must never happen; any value but 0 is a defect", INVARIANTS.map(|id| Invariant { id })),
        };
        (metrics, book.close())
    }

    /// The mode in force.
    pub fn in_mode(&self, mode: Mode) {
        self.mode.refresh([(ByMode { mode: mode.name() }, 1.0)]);
    }

    /// Nodes that were left alone, by reason.
    pub fn withdrawn(&self, counts: &BTreeMap<Reason, usize>) {
        self.nodes_withdrawn.refresh(counts.iter().map(|(&reason, &count)| (ByReason { reason }, count as f64)));
    }
}
