//! Makes the status object of an agent's report: what the protocol needs, and beside it what people and `kubectl get` read.

use std::fmt::Write as _;

use super::condition::{Condition, ConditionStatus};
use super::limits::{self, cut};
use super::status::{AgentPhase, Gpu, Instance, MigNodeStatus, OperationReport};
use crate::exec;

/// What goes into a status object beside the agent's report.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// The status that is replaced, where it is known.
    pub before: Option<&'a MigNodeStatus>,
    /// Generation of the object.
    pub generation: i64,
    /// The operation that the record carried when it was last read. The report of another one is only kept for whoever has not read it yet.
    pub carried: Option<&'a str>,
    /// Whether the node is paused, where that is known.
    pub paused: Option<bool>,
    /// The moment, as RFC 3339; written down for people and for the cool-down, never compared with a moment of another machine.
    pub moment: &'a str,
}

impl MigNodeStatus {
    /// The object for a report.
    pub fn of(report: &exec::MigNodeStatus, circumstances: &Circumstances<'_>) -> Self {
        let exec::MigNodeStatus { node_uid, boot_id, protocol, heartbeat, gpus, operation } = report;
        let gpus: Vec<Gpu> = gpus.iter().map(|gpu| reported(gpu, circumstances)).collect();
        let operation = operation.as_ref().map(OperationReport::from);
        let current = operation.as_ref().filter(|report| goes_on(report, circumstances.carried));
        Self {
            node_name: circumstances.node.to_owned(),
            node_uid: node_uid.clone(),
            boot_id: boot_id.clone(),
            protocol: *protocol,
            heartbeat: *heartbeat,
            observed_generation: circumstances.generation,
            gpu_count: u32::try_from(gpus.len()).unwrap_or(u32::MAX),
            layout: layouts(&gpus),
            phase: Some(current.map_or(AgentPhase::Idle, |operation| operation.phase)),
            waiting_on: current.map(waiting_on).unwrap_or_default(),
            conditions: conditions(current, circumstances),
            gpus,
            operation,
        }
    }
}

/// Whether a report is about something that is still going on for people: not once the record has been released from its operation.
fn goes_on(report: &OperationReport, carried: Option<&str>) -> bool {
    match report.phase {
        AgentPhase::Applied | AgentPhase::RolledBack | AgentPhase::Refused => carried == Some(report.id.as_str()),
        AgentPhase::Idle
        | AgentPhase::Accepted
        | AgentPhase::Executing
        | AgentPhase::Repartitioned
        | AgentPhase::RollingBack
        | AgentPhase::Degraded => true,
    }
}

fn reported(gpu: &exec::GpuReport, circumstances: &Circumstances<'_>) -> Gpu {
    let exec::GpuReport { index, uuid, model, instances } = gpu;
    let instances: Vec<Instance> = instances.iter().map(Instance::from).collect();
    let before = circumstances.before.and_then(|before| before.gpus.iter().find(|old| old.uuid == *uuid));
    let last_changed = match before {
        Some(old) if same_layout(&old.instances, &instances) => old.last_changed.clone(),
        // Of a board that is new to us nothing is known to have changed.
        None => None,
        Some(_) => Some(circumstances.moment.to_owned()),
    };
    Gpu {
        index: *index,
        uuid: uuid.clone(),
        model: model.clone(),
        mig_mode: "Enabled".to_owned(),
        pending_mig_mode: None,
        instances,
        last_changed,
    }
}

fn same_layout(old: &[Instance], new: &[Instance]) -> bool {
    let places = |instances: &[Instance]| -> Vec<(u8, u8, String)> {
        instances.iter().map(|instance| (instance.start, instance.size, instance.profile.clone())).collect()
    };
    places(old) == places(new)
}

/// Equal layouts together, in the order of the GPUs that have them first: `6× 7×1g.10gb, 2× 3g.40gb 4×1g.10gb`.
fn layouts(gpus: &[Gpu]) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for layout in gpus.iter().map(|gpu| layout(&gpu.instances)) {
        match kinds.iter_mut().find(|(known, _)| *known == layout) {
            Some((_, count)) => *count += 1,
            None => kinds.push((layout, 1)),
        }
    }
    let shown: Vec<String> = kinds
        .iter()
        .map(|(layout, count)| if *count == 1 { layout.clone() } else { format!("{count}× {layout}") })
        .collect();
    cut(&shown.join(", "), limits::NAME)
}

fn layout(instances: &[Instance]) -> String {
    let mut text = String::new();
    let mut rest = instances;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|instance| instance.profile == first.profile).count();
        let gap = if text.is_empty() { "" } else { " " };
        let _ = match count {
            1 => write!(text, "{gap}{}", first.profile),
            _ => write!(text, "{gap}{count}×{}", first.profile),
        };
        rest = &rest[count..];
    }
    if text.is_empty() { "empty".to_owned() } else { text }
}

fn waiting_on(operation: &OperationReport) -> String {
    let text = match operation.phase {
        AgentPhase::Idle => "",
        AgentPhase::Accepted => "the controller: drain",
        AgentPhase::Executing | AgentPhase::RollingBack => "the driver",
        AgentPhase::Repartitioned => "the controller: device plugin",
        AgentPhase::Applied | AgentPhase::RolledBack | AgentPhase::Refused => "the controller: release",
        AgentPhase::Degraded => "people",
    };
    if operation.detail.is_empty() || text.is_empty() {
        return text.to_owned();
    }
    cut(&format!("{text} ({})", operation.detail), limits::NAME)
}

fn conditions(operation: Option<&OperationReport>, circumstances: &Circumstances<'_>) -> Vec<Condition> {
    let phase = operation.map_or(AgentPhase::Idle, |operation| operation.phase);
    let detail = operation.map(|operation| operation.detail.as_str()).unwrap_or_default();
    let before = circumstances.before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let condition = |kind, status, reason: &str, message: &str| {
        Condition::new(kind, status, reason, message, circumstances.generation, circumstances.moment, before)
    };
    let degraded = phase == AgentPhase::Degraded;
    let moving = match phase {
        AgentPhase::Accepted | AgentPhase::Executing | AgentPhase::Repartitioned | AgentPhase::RollingBack => true,
        AgentPhase::Idle
        | AgentPhase::Applied
        | AgentPhase::RolledBack
        | AgentPhase::Refused
        | AgentPhase::Degraded => false,
    };
    let progress = format!("{phase:?}");
    let (paused, pause) = match circumstances.paused {
        Some(true) => (ConditionStatus::True, "AnnotatedOnNode"),
        Some(false) => (ConditionStatus::False, "NotAnnotated"),
        None => (ConditionStatus::Unknown, "NodeNotRead"),
    };
    vec![
        condition("Ready", (!degraded).into(), if degraded { "Degraded" } else { "Reporting" }, ""),
        condition("Progressing", moving.into(), &progress, detail),
        condition("Degraded", degraded.into(), if degraded { "BoardBeyondRepair" } else { "AsExpected" }, detail),
        condition("Paused", paused, pause, ""),
    ]
}
