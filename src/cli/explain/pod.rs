//! `explain pod`: served and by what, or waiting and why, and which single change would serve it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Planner;
use super::questions::{Answer, Probe, Questions};
use crate::cli::error::CliError;
use crate::cli::show::names::clean;
use crate::cli::show::{Axes, text};
use crate::model::{DisruptionLevel, Movability, PendingPod, PlanningInput, RunningPod, Unplannable};
use crate::plan::{NodePlan, Plan, ServedBy, ServedPod, UnservedPod};

/// What the input says of a pod.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// It waits and is planned for.
    Pending(&'a PendingPod),
    /// It waits and is not planned for.
    Unplannable(&'a Unplannable),
    /// It holds instances.
    Running(&'a RunningPod),
}

impl<'a> Subject<'a> {
    /// Finds a pod by `namespace/name`.
    pub(crate) fn find(input: &'a PlanningInput, name: &str) -> Option<Self> {
        let pending = input.pending().iter().find(|pod| pod.pod.to_string() == name).map(Self::Pending);
        pending
            .or_else(|| input.unplannable().iter().find(|pod| pod.pod.to_string() == name).map(Self::Unplannable))
            .or_else(|| input.running().iter().find(|pod| pod.pod.to_string() == name).map(Self::Running))
    }
}

/// Explains one pod.
///
/// # Errors
/// What the planner says to a changed input.
pub(crate) fn explain(
    input: &PlanningInput,
    plan: &Plan,
    axes: &Axes,
    subject: Subject<'_>,
    planner: &mut Planner<'_>,
) -> Result<String, CliError> {
    match subject {
        Subject::Running(pod) => Ok(running(input, plan, pod)),
        Subject::Unplannable(Unplannable { pod, reason, detail, action }) => Ok(format!(
            "Pod {} is not planned for: {reason}\n  why    {}\n  to do  {}\n",
            clean(&pod.to_string()),
            clean(detail),
            clean(action)
        )),
        Subject::Pending(pod) => {
            let name = pod.pod.to_string();
            match plan.served.iter().find(|served| served.pod == name) {
                Some(landing) => Ok(served(input, plan, axes, pod, landing)),
                None => waiting(input, plan, pod, planner),
            }
        }
    }
}

fn demand(input: &PlanningInput, demand: &crate::model::Demand) -> String {
    let parts: Vec<String> = demand
        .iter()
        .map(|(resource, count)| format!("{count} × {}", clean(&input.resources()[resource.index()])))
        .collect();
    parts.join(", ")
}

fn running(input: &PlanningInput, plan: &Plan, pod: &RunningPod) -> String {
    let name = pod.pod.to_string();
    let node = &input.nodes()[pod.node.index()].name;
    let mut out = format!("Pod {} runs on {} and holds {}\n", clean(&name), clean(node), demand(input, &pod.demand));
    for &(gpu, slot) in &pod.instances {
        let gpu = &input.gpus()[gpu.index()];
        let _ = writeln!(out, "  holds  {} on GPU {}", gpu.geometry.show(gpu.instances[slot].placement), gpu.index);
    }
    let _ = writeln!(out, "  moves  {}", movability(pod));
    for budget in &pod.budgets {
        let budget = &input.budgets()[budget.index()];
        let _ = writeln!(out, "  budget {} allows {} evictions now", clean(&budget.name), budget.allowed);
    }
    let eviction = plan.nodes.iter().flat_map(|node| &node.evict).find(|eviction| eviction.pod == name);
    let fate = match eviction.map(|eviction| eviction.placed_on.as_deref()) {
        None => "leaves it where it is".to_owned(),
        Some(Some(to)) => format!("evicts it, and has a place for it on {}", clean(to)),
        Some(None) => "evicts it for a pod of higher priority; it waits again".to_owned(),
    };
    let _ = writeln!(out, "  plan   {fate}");
    out
}

/// Whether a pod may be moved, in words.
pub(crate) fn movability(pod: &RunningPod) -> String {
    match &pod.movability {
        Movability::From(DisruptionLevel::IdleOnly | DisruptionLevel::Balanced) => {
            format!("may be moved from `balanced` on, at cost {}", pod.cost)
        }
        Movability::From(DisruptionLevel::Aggressive) => {
            format!("may be moved at `aggressive` only, at cost {}", pod.cost)
        }
        Movability::Never(reason, why) => format!("may not be moved: {reason}: {}", clean(why)),
    }
}

fn served(input: &PlanningInput, plan: &Plan, axes: &Axes, pod: &PendingPod, landing: &ServedPod) -> String {
    let ServedPod { pod: name, uid: _, node, by } = landing;
    let mut out = format!("Pod {} is served by the plan on {}\n", clean(name), clean(node));
    let _ = writeln!(out, "  asks for  {}", demand(input, &pod.demand));
    match by {
        ServedBy::Existing => {
            let _ = writeln!(out, "  lands on  an instance that is free there now; nothing is changed for it");
        }
        ServedBy::Change => {
            let _ = writeln!(out, "  lands on  what the change there makes or frees");
            if let Some(changes) = plan.nodes.iter().find(|changes| changes.name == *node) {
                out += &changes_for(input, axes, pod, changes);
            }
        }
    }
    out.push_str("The scheduler may choose another place of equal use.\n");
    out
}

/// The changes of a node that make or hand over instances of the kind that a pod asks for, and who moves because of them.
fn changes_for(input: &PlanningInput, axes: &Axes, pod: &PendingPod, changes: &NodePlan) -> String {
    let wanted: BTreeSet<_> = pod.demand.iter().map(|(resource, _)| resource).collect();
    let makes = |index: u32, profile: &str| {
        let gpu =
            input.gpus().iter().find(|gpu| gpu.index == index && input.nodes()[gpu.node.index()].name == changes.name);
        let offer = gpu.and_then(|gpu| gpu.offer(gpu.geometry.find(profile)?));
        offer.is_some_and(|offer| wanted.contains(&offer.resource))
    };
    let mut relevant = changes.clone();
    relevant.gpus.retain(|gpu| {
        let mut offers = gpu.create.iter().chain(&gpu.hand_over);
        offers.any(|instance| makes(gpu.index, &instance.profile))
    });
    if relevant.gpus.is_empty() {
        relevant = changes.clone();
    }
    let leaves = relevant.gpus.iter().flat_map(|gpu| gpu.destroy.iter().chain(&gpu.hand_over));
    let held: BTreeSet<&String> = leaves.flat_map(|instance| &instance.pods).collect();
    let moved: Vec<_> = relevant.evict.iter().filter(|eviction| held.contains(&eviction.pod)).cloned().collect();
    relevant.evict = moved;
    let nobody = if relevant.evict.is_empty() { "  nobody moves for it\n" } else { "" };
    text::node(&relevant, axes) + nobody
}

fn waiting(
    input: &PlanningInput,
    plan: &Plan,
    pod: &PendingPod,
    planner: &mut Planner<'_>,
) -> Result<String, CliError> {
    let name = pod.pod.to_string();
    let mut out = String::new();
    match plan.unserved.iter().find(|unserved| unserved.pod == name) {
        Some(UnservedPod { pod: _, reason, detail, action }) => {
            let _ = writeln!(out, "Pod {} keeps waiting: {reason}", clean(&name));
            let _ = writeln!(out, "  asks for  {}", demand(input, &pod.demand));
            let _ = writeln!(out, "  why       {}", clean(detail));
            let _ = writeln!(out, "  to do     {}", clean(action));
        }
        None => {
            return Err(CliError::Internal(format!("the plan neither serves {name} nor says why not")));
        }
    }
    let probes = Questions { input, pod, planner }.ask_all()?;
    let unknown = probes.iter().any(|probe| probe.answer == Answer::Unknown);
    let _ = writeln!(out, "\nWhat would serve it (each answer is a whole plan with that one thing changed):");
    for Probe { question, answer, detail } in &probes {
        let word = match answer {
            Answer::Yes => "yes    ",
            Answer::No => "no     ",
            Answer::Unknown => "unknown",
        };
        let word = if unknown { word } else { &word[..3] };
        let _ = writeln!(out, "  {word}  {question}{detail}");
    }
    let none = probes.iter().all(|probe| probe.answer != Answer::Yes);
    match (none, unknown) {
        (true, false) => out.push_str("No single change of these serves it.\n"),
        (true, true) => out.push_str("For none of these was a plan found that serves it; what is unknown may still.\n"),
        (false, _) => {}
    }
    if unknown {
        out.push_str("unknown: the search ended at its work limit; --work-limit sets a higher one.\n");
    }
    Ok(out)
}
