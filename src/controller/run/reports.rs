//! What people are told of a cycle: lines in the log, and what goes to the cluster as events and plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::kept::Counted;
use crate::controller::{Cause, CycleReport};
use crate::model::{Finding, Mode, PodRef, count};
use crate::plan::Plan;

/// A cycle, for whoever tells people.
#[derive(Debug, Clone)]
pub struct Cycle {
    /// What happened.
    pub report: Box<CycleReport>,
    /// The plan that was made.
    pub plan: Option<Arc<Plan>>,
    /// Mode in force.
    pub mode: Mode,
    /// The savings so far.
    pub savings: Counted,
    /// The pods that the report says are not served, by name.
    pub waiting: BTreeMap<String, PodRef>,
}

/// Findings that are logged at once; a broken cluster must not fill the log.
const FINDINGS: usize = 64;

/// Writes what is wrong or doubtful in what was observed into the log, as far as it was not so before. Returns what is so now.
pub(super) fn log_findings(now: &[Finding], before: &BTreeSet<Finding>) -> BTreeSet<Finding> {
    let now: BTreeSet<Finding> = now.iter().cloned().collect();
    let mut new = now.difference(before);
    for Finding { object, message } in new.by_ref().take(FINDINGS) {
        tracing::warn!(object, message, "found");
    }
    let more = new.count();
    if more > 0 {
        tracing::warn!(more, "and further findings");
    }
    now
}

/// Writes a cycle into the log.
pub(super) fn log(report: &CycleReport, took: Duration) {
    if let Some(error) = &report.error {
        tracing::error!(error, "no plan could be made; nothing is carried out");
    }
    if let Some(planned) = &report.planned {
        let unserved: usize = planned.unserved.values().sum();
        tracing::info!(
            pending = report.observed.pending,
            unplannable = report.observed.unplannable,
            served = planned.served,
            unserved,
            nodes = planned.nodes,
            gpus = planned.gpus,
            evictions = planned.evictions,
            put_off = planned.put_off.len(),
            left_alone = report.withdrawn_count,
            cooling = report.cooling,
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "planned"
        );
    }
    for started in &report.started {
        let cause = match started.cause {
            Cause::Planned => "planned",
            Cause::Adopted => "adopted",
            Cause::Repair(why) => why,
        };
        let victims = started.victims.len();
        tracing::info!(node = started.node, operation = %started.operation, cause, victims, "operation starts");
    }
    for (node, operation, why) in &report.forbidden {
        tracing::warn!(node, %operation, why, "operation cannot begin: its claim is forbidden; it is tried again");
    }
    for (node, operation, outcome, detail) in &report.ended {
        if let Some(outcome) = outcome {
            tracing::info!(node, %operation, ?outcome, detail, "operation ends");
        } else {
            tracing::info!(node, %operation, detail, "operation is led by somebody else");
        }
    }
    if let Some(approval) = &report.approval {
        for (node, why) in &approval.left_out {
            tracing::warn!(plan = approval.name, node, %why, "a node of the approved plan is not carried out");
        }
        if approval.operations.is_empty() {
            tracing::warn!(
                plan = approval.name,
                goes_on = approval.goes_on,
                "nothing of the approved plan is carried out now"
            );
        } else {
            tracing::info!(
                plan = approval.name,
                operations = approval.operations.len(),
                "the approved plan is carried out"
            );
        }
    }
}

/// What a plan does, in a line for people.
pub(super) fn summary(plan: &Plan) -> String {
    let crate::plan::Summary { pending_pods, served_pods, evicted_pods, nodes_changed, gpus_changed, .. } =
        &plan.summary;
    let nodes: Vec<&str> = plan.nodes.iter().take(8).map(|node| node.name.as_str()).collect();
    let more = if plan.nodes.len() > nodes.len() { " …" } else { "" };
    format!(
        "serves {served_pods} of {}; changes {} on {} ({}{more}); evicts {}",
        count(*pending_pods, "waiting pod"),
        count(*gpus_changed, "GPU"),
        count(*nodes_changed, "node"),
        nodes.join(", "),
        count(*evicted_pods, "pod"),
    )
}
