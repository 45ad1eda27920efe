//! What the loop has done, as metrics.
//!
//! Inputs: observations, reports, plans, answers of the API server. Output: figures in [`ControllerMetrics`]. Decides nothing. Bounded: it keeps
//! what the last observation asked for, and the operations that are under way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::books::Books;
use super::figures::{Figures, Model, OTHER};
use super::kept::Counted;
use super::policy::Wishes;
use crate::controller::{Cause, Controller, CycleReport};
use crate::exec::port::{ClusterError, ClusterReply, ClusterRequest, Observation};
use crate::exec::{Moment, OperationId, Outcome, Phase};
use crate::model::{Mode, PlanningInput, Reason};
use crate::plan::{LEVEL_NAMES, Plan};
use crate::savings::{SavingsError, State};
use crate::telemetry::controller::{
    ByCause, ByModel, ByReason, ByResult, Invariant, Largest, Objective, Operations, Part, Slices, Unserved,
};
use crate::telemetry::requests::{Request, RequestResult};
use crate::telemetry::{ControllerMetrics, Whole};

/// An operation as it was last seen.
struct Seen {
    id: OperationId,
    since: Moment,
    furthest: Phase,
}

/// Notes what happens.
pub(super) struct Notes {
    metrics: ControllerMetrics,
    books: Books,
    asks: BTreeMap<String, String>,
    operations: BTreeMap<String, Seen>,
}

impl Notes {
    pub(super) fn new(metrics: ControllerMetrics, books: Books) -> Self {
        Self { metrics, books, asks: BTreeMap::new(), operations: BTreeMap::new() }
    }

    pub(super) fn metrics(&self) -> &ControllerMetrics {
        &self.metrics
    }

    /// Another policy is in force.
    pub(super) fn wishes(&mut self, wishes: &Wishes) {
        self.books.prices(wishes);
        self.metrics.policy_stale.set(if wishes.refused.is_some() { 1.0 } else { 0.0 });
    }

    /// Goes on with the savings that an earlier leader has kept.
    pub(super) fn resume(&mut self, kept: Counted) {
        self.books.resume(kept);
    }

    /// The savings, for the next leader.
    pub(super) fn savings(&self) -> Counted {
        self.books.keep()
    }

    /// Nobody could be told of a cycle.
    pub(super) fn dropped(&self) {
        self.metrics.events.add(ByResult { result: "dropped" }, 1);
    }

    /// An answer of the API server.
    pub(super) fn answer(&mut self, request: &ClusterRequest, reply: &ClusterReply, seconds: f64) {
        let (request, result) = (request.kind(), crate::exec::result(reply));
        self.metrics.api_request_seconds.note(Request { request }, seconds);
        self.metrics.api_requests.add(RequestResult { request, result }, 1);
    }

    /// The answer to an eviction that is no dry run.
    pub(super) fn eviction(&mut self, reply: &ClusterReply) {
        let result = match reply {
            Ok(_) => "accepted",
            Err(
                error @ (ClusterError::BlockedByBudget
                | ClusterError::SeveralBudgets
                | ClusterError::NotFound
                | ClusterError::Conflict),
            ) => error.kind(),
            Err(
                ClusterError::Throttled { .. }
                | ClusterError::Forbidden(_)
                | ClusterError::Invalid(_)
                | ClusterError::Expired
                | ClusterError::Unknown(_),
            ) => "error",
        };
        self.metrics.evictions.add(ByResult { result }, 1);
    }

    /// Everything that planning reads.
    pub(super) fn observe(&mut self, observation: &Observation, mode: Mode, now: Moment) {
        let input = &observation.input;
        let Figures { models, asks, state } = Figures::of(input);
        self.asks = asks;
        self.models(&models);
        self.metrics.nodes.set(input.nodes().len() as f64);
        self.metrics.running_pods.set(input.running().len() as f64);
        self.metrics.pending_pods.set((input.pending().len() + input.unplannable().len()) as f64);
        self.metrics.in_mode(mode);
        self.books(input, now, &state);
    }

    fn books(&mut self, input: &PlanningInput, now: Moment, state: &State) {
        let counted = self.books.observe(input, now, state, &self.metrics);
        self.counted(counted);
    }

    fn counted(&self, counted: Result<(), SavingsError>) {
        if let Err(error) = counted {
            tracing::error!(%error, "savings cannot be counted");
            self.metrics.invariant_violations.add(Invariant { id: "savings_refused" }, 1);
        }
    }

    fn models(&self, models: &BTreeMap<String, Model>) {
        let mut gpus = Vec::new();
        let mut slices = Vec::new();
        let mut largest = Vec::new();
        for (model, figures) in models {
            gpus.push((ByModel { model: model.clone() }, figures.gpus as f64));
            let super::figures::Units { busy, free, stranded, unknown } = figures.units;
            for (state, units) in [("busy", busy), ("free", free), ("stranded", stranded), ("unknown", unknown)] {
                slices.push((Slices { model: model.clone(), state }, units as f64));
            }
            let (size, profile) = figures.largest.clone().unwrap_or_default();
            largest.push((Largest { model: model.clone(), profile }, f64::from(size)));
        }
        self.metrics.gpus.replace(gpus);
        self.metrics.slices.replace(slices);
        self.metrics.largest_placeable.replace(largest);
    }

    /// What has happened since the last call, after each step of the controller.
    pub(super) fn follow(&mut self, controller: &Controller, age: Duration, now: Moment) {
        for (node, id, phase, _) in controller.operations() {
            let phase = phase.unwrap_or(Phase::Claimed);
            let fresh = || Seen { id: id.clone(), since: now, furthest: phase };
            let seen = self.operations.entry(node.to_owned()).or_insert_with(fresh);
            if seen.id != *id {
                *seen = fresh();
            }
            seen.furthest = further(seen.furthest, phase);
        }
        self.metrics.leader.set(if controller.may_write(now) { 1.0 } else { 0.0 });
        let running = controller.operations().count();
        self.metrics.operations_running.set(running as f64);
        let oldest = self.operations.values().map(|seen| now.since(seen.since)).max().unwrap_or_default();
        self.metrics.taint_age_seconds.set(oldest.as_secs_f64());
        self.metrics.cache_age_seconds.set(age.as_secs_f64());
        let counted = self.books.pass(now, &self.metrics);
        self.counted(counted);
    }

    /// A cycle, with the plan that it made.
    pub(super) fn report(&mut self, report: &CycleReport, plan: Option<&Plan>, now: Moment) {
        let metrics = &self.metrics;
        for started in &report.started {
            let cause = match started.cause {
                Cause::Planned => "planned",
                Cause::Adopted => "adopted",
                Cause::Repair(_) => "repair",
            };
            metrics.operations_started.add(ByCause { cause }, 1);
        }
        metrics.operations_waiting.set(report.waiting.len() as f64);
        metrics.stolen.add(Whole, report.stolen as u64);
        if report.error.is_some() {
            metrics.plans.add(ByResult { result: "failed" }, 1);
        }
        if let Some(planned) = &report.planned {
            let result = if planned.gpus == 0 { "unchanged" } else { "proposed" };
            metrics.plans.add(ByResult { result }, 1);
            metrics.gpus_cooling.set(report.cooling as f64);
            let parts = [
                ("served_pods", planned.served),
                ("served_on_existing", planned.existing),
                ("nodes", planned.nodes),
                ("gpus", planned.gpus),
                ("evictions", planned.evictions),
            ];
            metrics.planned.refresh(parts.map(|(what, count)| (Part { what }, count as f64)));
            for (&reason, &count) in &planned.unserved {
                metrics.rejected.add(ByReason { reason }, count as u64);
            }
            let mut withdrawn = BTreeMap::new();
            for (reason, _) in report.withdrawn.values() {
                *withdrawn.entry(*reason).or_insert(0) += 1;
            }
            metrics.withdrawn(&withdrawn);
        }
        if let Some(approval) = &report.approval {
            let result = if approval.operations.is_empty() { "refused" } else { "carried_out" };
            metrics.approvals.add(ByResult { result }, 1);
        }
        if let Some(plan) = plan {
            self.plan(plan);
        }
        for (node, id, outcome, _) in &report.ended {
            self.ended(node, id, *outcome, now);
        }
    }

    fn plan(&self, plan: &Plan) {
        let mut unserved: BTreeMap<(String, Reason), f64> = BTreeMap::new();
        for pod in &plan.unserved {
            let profile = self.asks.get(&pod.pod).map_or(OTHER, String::as_str);
            *unserved.entry((profile.to_owned(), pod.reason)).or_default() += 1.0;
        }
        let series = unserved.into_iter().map(|((profile, reason), count)| (Unserved { profile, reason }, count));
        // Profiles that were there before fall to 0 and stay, so that alerts end.
        self.metrics.unserved_pods.refresh(series);
        let gap = |name: &'static str| {
            let level = plan.optimality.levels.iter().find(|level| level.name == name);
            // Of the last levels more is better, of the others less: either way it is the distance that counts.
            (Objective { level: name }, level.map_or(0, |level| level.bound.abs_diff(level.value)) as f64)
        };
        self.metrics.plan_gap.refresh(LEVEL_NAMES.map(gap));
    }

    fn ended(&mut self, node: &str, id: &OperationId, outcome: Option<Outcome>, now: Moment) {
        let result = match outcome {
            Some(Outcome::Done) => "done",
            Some(Outcome::RolledBack) => "rolled_back",
            Some(Outcome::Aborted) => "aborted",
            Some(Outcome::NodeGone) => "node_gone",
            Some(Outcome::Degraded) => "degraded",
            None => "left",
        };
        let seen = self.operations.remove(node).filter(|seen| seen.id == *id);
        let step = phase_name(seen.as_ref().map_or(Phase::Claimed, |seen| seen.furthest));
        self.metrics.operations.add(Operations { result, step }, 1);
        if let Some(seen) = seen {
            self.metrics.operation_seconds.note(ByResult { result }, now.since(seen.since).as_secs_f64());
        }
        if outcome == Some(Outcome::RolledBack) {
            self.metrics.rollbacks.add(Whole, 1);
        }
    }
}

/// The phase that is further on the way to the target; giving up and letting go are no progress.
fn further(one: Phase, other: Phase) -> Phase {
    let rank = |phase: Phase| match phase {
        Phase::Claimed => 0,
        Phase::Draining => 1,
        Phase::Drained => 2,
        Phase::Restarting => 3,
        Phase::Cancelling | Phase::Releasing => -1,
        Phase::Degraded => 4,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// A phase as metrics spell it.
fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Claimed => "claimed",
        Phase::Draining => "draining",
        Phase::Drained => "drained",
        Phase::Restarting => "restarting",
        Phase::Cancelling => "cancelling",
        Phase::Releasing => "releasing",
        Phase::Degraded => "degraded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::controller::{CAUSES, RESULTS, STEPS};

    #[test]
    fn every_phase_is_one_that_metrics_list() {
        for phase in Phase::ALL {
            assert!(STEPS.contains(&phase_name(phase)), "{phase:?}");
            assert_eq!(
                further(Phase::Drained, phase) == Phase::Drained,
                phase <= Phase::Drained || phase_is_no_progress(phase)
            );
        }
        assert!(RESULTS.contains(&"left") && CAUSES.contains(&"repair"));
    }

    fn phase_is_no_progress(phase: Phase) -> bool {
        matches!(phase, Phase::Cancelling | Phase::Releasing)
    }
}
