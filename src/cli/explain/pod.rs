//! `explain pod`: served and by what, or waiting and why, and which single change would serve it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Planner;
use super::whatif::Parts;
use crate::cli::error::CliError;
use crate::cli::show::names::{clean, some_of, some_pods};
use crate::cli::show::{Axes, text};
use crate::model::{DisruptionLevel, GpuId, Movability, PendingPod, PlanningInput, RunningPod, Unplannable};
use crate::plan::{NodePlan, Plan, ServedBy, ServedPod, UnservedPod};

/// Names on one line at most.
const MOST_NAMES: usize = 6;

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

/// The changes of a node that make instances of the kind that a pod asks for, and who moves because of them.
fn changes_for(input: &PlanningInput, axes: &Axes, pod: &PendingPod, changes: &NodePlan) -> String {
    let wanted: BTreeSet<_> = pod.demand.iter().map(|(resource, _)| resource).collect();
    let makes = |index: u32, profile: &str| {
        let gpu =
            input.gpus().iter().find(|gpu| gpu.index == index && input.nodes()[gpu.node.index()].name == changes.name);
        let offer = gpu.and_then(|gpu| gpu.offer(gpu.geometry.find(profile)?));
        offer.is_some_and(|offer| wanted.contains(&offer.resource))
    };
    let mut relevant = changes.clone();
    relevant.gpus.retain(|gpu| gpu.create.iter().any(|instance| makes(gpu.index, &instance.profile)));
    if relevant.gpus.is_empty() {
        relevant = changes.clone();
    }
    let held: BTreeSet<&String> =
        relevant.gpus.iter().flat_map(|gpu| &gpu.destroy).flat_map(|instance| &instance.pods).collect();
    let moved: Vec<_> = relevant.evict.iter().filter(|eviction| held.contains(&eviction.pod)).cloned().collect();
    relevant.evict = moved;
    let nobody = if relevant.evict.is_empty() { "  nobody moves for it\n" } else { "" };
    text::node(&relevant, axes) + nobody
}

/// One "what if": the question, and the answer of a whole plan.
struct Probe {
    question: String,
    served: bool,
    detail: String,
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
    let _ = writeln!(out, "\nWhat would serve it (each answer is a whole plan with that one thing changed):");
    for Probe { question, served, detail } in &probes {
        let _ = writeln!(out, "  {}  {question}{detail}", if *served { "yes" } else { "no " });
    }
    if probes.iter().all(|probe| !probe.served) {
        let _ = writeln!(out, "No single change of these serves it.");
    }
    Ok(out)
}

struct Questions<'a, 'p> {
    input: &'a PlanningInput,
    pod: &'a PendingPod,
    planner: &'a mut Planner<'p>,
}

impl Questions<'_, '_> {
    fn ask(&mut self, parts: Parts<'_>) -> Result<(Plan, Option<ServedPod>), CliError> {
        let input =
            parts.build().map_err(|error| CliError::Internal(format!("a changed input does not stand: {error}")))?;
        let plan = (self.planner)(&input)?;
        let name = self.pod.pod.to_string();
        let landing = plan.served.iter().find(|served| served.pod == name).cloned();
        Ok((plan, landing))
    }

    fn probe(&mut self, question: &str, parts: Parts<'_>) -> Result<Probe, CliError> {
        let (plan, landing) = self.ask(parts)?;
        let detail = landing.as_ref().map_or_else(String::new, |landing| landed(&plan, landing));
        Ok(Probe { question: question.to_owned(), served: landing.is_some(), detail })
    }

    fn ask_all(&mut self) -> Result<Vec<Probe>, CliError> {
        let (input, pod) = (self.input, self.pod);
        let parts = || Parts::of(input);
        let mut probes = Vec::new();
        if input.pending().len() > 1 {
            probes.push(self.probe("if it were the only waiting pod", parts().only(pod))?);
        }
        let fits_alone = probes.iter().any(|probe| probe.served);
        for level in [DisruptionLevel::Balanced, DisruptionLevel::Aggressive] {
            if level > input.policy().disruption {
                let question = format!("if `--disruption {}` were allowed", level.as_flag());
                probes.push(self.probe(&question, parts().at(level))?);
            }
        }
        let policy = input.policy();
        if policy.budgets != crate::model::Budgets::default() || policy.gain_factor.thousandths() > 0 {
            probes
                .push(self.probe("if the policy set no budgets and no gain factor", parts().without_policy_limits())?);
        }
        if !input.budgets().is_empty() && policy.disruption != DisruptionLevel::IdleOnly {
            probes
                .push(self.probe("if no PodDisruptionBudget stood in the way", parts().without_disruption_budgets())?);
        }
        if !fits_alone && input.gpus().iter().any(|gpu| gpu.frozen.is_some()) {
            probes.push(self.thawed()?);
        }
        if !fits_alone && !input.running().is_empty() {
            probes.push(self.all_yielding()?);
        }
        probes.push(self.probe("if it might use every node, and asked for no CPU or memory", parts().anywhere(pod))?);
        for (product, gpu) in self.candidates() {
            let question = format!("with one more {}, empty, and room for the pod beside it", clean(&product));
            probes.push(self.probe(&question, parts().one_more(gpu, pod))?);
        }
        Ok(probes)
    }

    /// Which frozen GPUs a plan for this pod alone would change.
    fn thawed(&mut self) -> Result<Probe, CliError> {
        let (plan, landing) = self.ask(Parts::of(self.input).only(self.pod).thawed())?;
        let mut used = Vec::new();
        for gpu in self.input.gpus() {
            let node = &self.input.nodes()[gpu.node.index()].name;
            let changed =
                plan.nodes.iter().any(|n| n.name == *node && n.gpus.iter().any(|change| change.index == gpu.index));
            if let (true, Some((reason, why))) = (changed, &gpu.frozen) {
                used.push(format!("{node}/{} ({reason}: {why})", gpu.index));
            }
        }
        let detail = match (&landing, used.is_empty()) {
            (Some(_), false) => format!("\n       it would change {}", some_of(&used, MOST_NAMES)),
            (Some(landing), true) => landed(&plan, landing),
            (None, _) => String::new(),
        };
        let question = "alone, if the GPUs that may not be changed could be".to_owned();
        Ok(Probe { question, served: landing.is_some(), detail })
    }

    /// Which pods that may not be moved stand in the way of this pod alone.
    fn all_yielding(&mut self) -> Result<Probe, CliError> {
        let level = self.input.policy().disruption;
        let (plan, landing) = self.ask(Parts::of(self.input).only(self.pod).all_yielding())?;
        let evicted: BTreeSet<&String> =
            plan.nodes.iter().flat_map(|node| &node.evict).map(|eviction| &eviction.pod).collect();
        let blockers: Vec<String> = self
            .input
            .running()
            .iter()
            .filter(|pod| !pod.movable_at(level) && evicted.contains(&pod.pod.to_string()))
            .map(|pod| format!("{} ({})", pod.pod, movability(pod)))
            .collect();
        let detail = match (&landing, blockers.is_empty()) {
            (Some(_), false) => format!("\n       in the way: {}", some_of(&blockers, MOST_NAMES)),
            (Some(landing), true) => landed(&plan, landing),
            (None, _) => String::new(),
        };
        let question = "alone, if every running pod could be moved or ended, without any budget".to_owned();
        Ok(Probe { question, served: landing.is_some(), detail })
    }

    /// One GPU per product that offers something the pod asks for.
    fn candidates(&self) -> Vec<(String, GpuId)> {
        let mut seen = BTreeSet::new();
        let wanted: BTreeSet<_> = self.pod.demand.iter().map(|(resource, _)| resource).collect();
        let mut found = Vec::new();
        for (position, gpu) in self.input.gpus().iter().enumerate() {
            let usable = self.input.may_use(self.pod.eligible, gpu.node)
                && gpu.offers.iter().flatten().any(|offer| wanted.contains(&offer.resource));
            if usable && seen.insert(&gpu.product) {
                found.push((gpu.product.clone(), GpuId::new(position)));
            }
        }
        found
    }
}

/// Where the pod lands in the plan that answers a question, and how many pods that plan evicts in all.
fn landed(plan: &Plan, landing: &ServedPod) -> String {
    let node = if landing.node.ends_with('~') { "the new node".to_owned() } else { clean(&landing.node) };
    let moved: Vec<&str> = plan
        .nodes
        .iter()
        .filter(|changes| changes.name == landing.node)
        .flat_map(|changes| &changes.evict)
        .map(|eviction| eviction.pod.as_str())
        .collect();
    if moved.is_empty() {
        format!(": on {node}")
    } else {
        format!(": on {node}, from where {} would move", some_pods(&moved, MOST_NAMES))
    }
}
