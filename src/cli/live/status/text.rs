//! A [`Status`] for people.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::{GpuState, NOT_PLANNED_YET, NodeState, PlanState, Status};
use crate::cli::show::bar::{self, Fate, Tile, paint};
use crate::cli::show::names::{clean, count, ranges};
use crate::kube::crd::{Instance, Occupancy};
use crate::model::Catalogue;

const BOLD: Style = Style::new().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Up to so many GPUs are drawn one by one.
const DRAWN: usize = 32;
/// Waiting pods and plans that are listed.
const LISTED: usize = 8;

/// The whole status.
pub(crate) fn render(status: &Status) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", headline(status));
    for line in &status.unreadable {
        let _ = writeln!(out, "cannot be read: {}", clean(line));
    }
    if !status.installed {
        return out;
    }
    if status.nodes.is_empty() {
        out += "\nNo node has reported. Agents run on nodes with MIG-capable GPUs; `retile doctor` says why one may not.\n";
    } else {
        out += "\n";
        out += &table(&status.nodes);
    }
    let gpus: usize = status.nodes.iter().map(|node| node.gpus.len()).sum();
    if gpus > 0 && gpus <= DRAWN {
        for node in status.nodes.iter().filter(|node| !node.gpus.is_empty()) {
            let _ = writeln!(out, "\n{}", node_lines(node).join("\n"));
        }
    }
    out += &waiting(status);
    out += &plans(&status.plans);
    out
}

/// Policy, leader and counts, line by line.
pub(crate) fn headline(status: &Status) -> String {
    if !status.installed {
        return "retile is not installed here: the API server does not know mignodes.retile.dev\n  \
                help: `retile plan --live` works without; `retile doctor` says what an installation needs, `retile crds` prints its custom resources"
            .to_owned();
    }
    let policy = &status.policy;
    let name =
        policy.name.as_deref().map_or_else(|| "Policy: none, as".to_owned(), |name| format!("Policy {}:", clean(name)));
    let paused = if policy.paused { ", paused: nothing new starts" } else { "" };
    let mut lines = vec![format!("{name} {}, {}{paused}", policy.mode, policy.disruption)];
    if let Some(fault) = &policy.fault {
        lines.push(format!("  not in force: {}", clean(fault)));
    }
    lines.push(match (&status.leader, &status.leader_unknown) {
        (Some(leader), _) => {
            let renewed =
                leader.renewed.map_or_else(String::new, |seconds| format!(", lease renewed {} ago", span(seconds)));
            format!("Leader {}{renewed}", clean(&leader.holder))
        }
        (None, Some(why)) => format!("Leader: not known: {}", clean(why)),
        (None, None) => "Leader: none; without one nothing is planned".to_owned(),
    });
    let gpus: usize = status.nodes.iter().map(|node| node.gpus.len()).sum();
    let operations = status.nodes.iter().filter(|node| node.operation.is_some()).count();
    let waiting = match &status.waiting_unknown {
        Some(_) => "waiting pods are not known".to_owned(),
        None => format!("{} waiting", count(status.waiting.len() as u64, "pod")),
    };
    lines.push(format!(
        "{}, {} in MIG mode, {} under way, {waiting}",
        count(status.nodes.len() as u64, "node"),
        count(gpus as u64, "GPU"),
        count(operations as u64, "operation"),
    ));
    lines.join("\n")
}

/// One line for each node.
fn table(nodes: &[NodeState]) -> String {
    let head = ["NODE", "GPUS", "OPERATION", "AGENT", "WAITING ON", "REPORT", "AGE", "LAST"].map(str::to_owned);
    let mut rows = vec![head];
    for node in nodes {
        let dash = || "-".to_owned();
        let operation = match &node.operation {
            Some(operation) => operation.phase.clone(),
            None if node.paused => "paused".to_owned(),
            None => dash(),
        };
        let waiting = node.operation.as_ref().map(|it| it.waiting_on.clone()).filter(|it| !it.is_empty());
        let last = node.last.as_ref().map_or_else(dash, |last| match last.detail.as_str() {
            "" => last.outcome.clone(),
            detail => format!("{}: {detail}", last.outcome),
        });
        rows.push([
            node.name.clone(),
            node.gpus.len().to_string(),
            operation,
            node.agent.clone(),
            waiting.unwrap_or_else(dash),
            node.reported.map_or_else(dash, span),
            node.age.map_or_else(dash, span),
            last,
        ]);
    }
    columns(&rows)
}

/// Rows with their columns under each other.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| std::array::from_fn(|at| clean(&row[at]))).collect();
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// A node with its GPUs as bars.
pub(crate) fn node_lines(node: &NodeState) -> Vec<String> {
    let mut head = paint(BOLD, &clean(&node.name));
    if let Some(operation) = &node.operation {
        let waits = if operation.waiting_on.is_empty() {
            String::new()
        } else {
            format!(", waits for {}", operation.waiting_on)
        };
        let what = format!(
            "{} {}: GPU {}, evicts {}, for {}{waits}",
            operation.id,
            operation.phase,
            ranges(&operation.gpus),
            count(operation.evicts as u64, "pod"),
            count(operation.serves as u64, "waiting pod"),
        );
        let _ = write!(head, "  {}", paint(YELLOW, &clean(&what)));
    }
    std::iter::once(head).chain(node.gpus.iter().map(gpu_line)).collect()
}

fn gpu_line(gpu: &GpuState) -> String {
    let GpuState { index, model, instances } = gpu;
    if let Ok(geometry) = Catalogue::embedded().find_by_product(model, None) {
        let tiles: Vec<Tile> = instances.iter().map(tile).collect();
        return format!("  {index:>2} {}", bar::draw(geometry.axis(), &tiles));
    }
    let cut: Vec<String> = instances.iter().map(|it| format!("{}@{}", it.profile, it.start)).collect();
    format!("  {index:>2} {}: {}", clean(model), clean(&cut.join(" ")))
}

fn tile(instance: &Instance) -> Tile {
    let (held, word) = match instance.occupancy {
        Occupancy::Free => (false, "free"),
        Occupancy::Busy => (true, "busy"),
        Occupancy::Unknown => (true, "unknown"),
    };
    Tile { start: instance.start, size: instance.size, profile: instance.profile.clone(), held, fate: Fate::Kept, word }
}

fn waiting(status: &Status) -> String {
    if let Some(why) = &status.waiting_unknown {
        return format!("\nWaiting pods are not known: {}\n", clean(why));
    }
    if status.waiting.is_empty() {
        return String::new();
    }
    let reasons: Vec<String> =
        status.waiting_by_reason().into_iter().map(|(reason, pods)| format!("{pods} {reason}")).collect();
    let (says, head) = match &status.plan_in_force {
        Some(plan) => (format!("by what {} says", clean(plan)), "PLAN SAYS"),
        None => ("no plan being in force".to_owned(), "PLAN"),
    };
    let mut rows = vec![["WAITING POD", "WANTS", "FOR", head].map(str::to_owned)];
    for pod in status.waiting.iter().take(LISTED) {
        let waited = pod.waited.map_or_else(|| "-".to_owned(), span);
        rows.push([pod.pod.clone(), pod.wants.clone(), waited, pod.reason.clone()]);
    }
    let more = status.waiting.len().saturating_sub(LISTED);
    let more = if more > 0 { format!("… and {more} more; -o json has all\n") } else { String::new() };
    let unsaid = if status.waiting.iter().any(|pod| pod.reason == NOT_PLANNED_YET) {
        "`retile explain pod NAMESPACE/NAME --live` says why one waits of which no plan says it\n"
    } else {
        ""
    };
    format!("\nWaiting, {says}: {}\n{}{more}{unsaid}", reasons.join(", "), columns(&rows))
}

fn plans(plans: &[PlanState]) -> String {
    if plans.is_empty() {
        return String::new();
    }
    let mut rows = vec![["PLAN", "PHASE", "APPROVED", "AGE", "WHAT"].map(str::to_owned)];
    for plan in plans.iter().take(LISTED) {
        let approved = if plan.approved { "yes" } else { "no" };
        let what = if plan.detail.is_empty() { &plan.summary } else { &plan.detail };
        rows.push([
            plan.name.clone(),
            plan.phase.clone(),
            approved.to_owned(),
            plan.age.map_or_else(|| "-".to_owned(), span),
            what.clone(),
        ]);
    }
    format!("\n{}", columns(&rows))
}

/// A span of time as `kubectl` writes ages: `12s`, `5m`, `3h`, `9d`.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
