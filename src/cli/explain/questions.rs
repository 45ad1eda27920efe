//! The questions that `explain pod` asks for a pod that waits on: each is the same cluster with one thing changed.

use std::collections::BTreeSet;

use super::Planner;
use super::pod::movability;
use super::whatif::Parts;
use crate::cli::error::CliError;
use crate::cli::show::names::{clean, some_of, some_pods};
use crate::model::{Budgets, DisruptionLevel, GpuId, PendingPod, PlanningInput};
use crate::plan::{Plan, ServedPod, Status};

/// Names on one line at most.
const MOST_NAMES: usize = 6;

/// One "what if": the question, and the answer of a whole plan.
pub(super) struct Probe {
    /// What is changed.
    pub(super) question: String,
    /// Whether the pod is served then.
    pub(super) answer: Answer,
    /// Where, and who is in the way.
    pub(super) detail: String,
}

/// Whether a pod is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// By a whole plan.
    Yes,
    /// By no better plan: it is proven.
    No,
    /// By none that was found within the work limit.
    Unknown,
}

impl Answer {
    fn of(plan: &Plan, pod: &PendingPod, landing: Option<&ServedPod>) -> Self {
        if landing.is_some() {
            return Self::Yes;
        }
        let Some(served) = plan.optimality.levels.first() else { return Self::Unknown };
        // Displaced weight is a level of its own, which the document does not state.
        let displaces = plan.nodes.iter().flat_map(|node| &node.evict).any(|eviction| eviction.placed_on.is_none());
        let met = match served.tiers.as_slice() {
            [] => served.value == served.bound,
            tiers => tiers.iter().filter(|tier| tier.priority >= pod.priority).all(|tier| tier.value == tier.bound),
        };
        if plan.optimality.status == Status::Optimal || met && !displaces { Self::No } else { Self::Unknown }
    }
}

/// Asks the planner.
pub(super) struct Questions<'a, 'p> {
    /// The cluster as it is.
    pub(super) input: &'a PlanningInput,
    /// The pod that waits.
    pub(super) pod: &'a PendingPod,
    /// The planner.
    pub(super) planner: &'a mut Planner<'p>,
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

    /// Whether a plan serves the pod; the plan may be of a changed input, in which the pod ranks otherwise.
    fn answer(&self, plan: &Plan, landing: Option<&ServedPod>) -> Answer {
        Answer::of(plan, self.pod, landing)
    }

    fn probe(&mut self, question: &str, parts: Parts<'_>) -> Result<Probe, CliError> {
        let (plan, landing) = self.ask(parts)?;
        let detail = landing.as_ref().map_or_else(String::new, |landing| landed(&plan, landing));
        let answer = self.answer(&plan, landing.as_ref());
        Ok(Probe { question: question.to_owned(), answer, detail })
    }

    /// Asks every question that makes sense for the cluster and its policy.
    pub(super) fn ask_all(&mut self) -> Result<Vec<Probe>, CliError> {
        let (input, pod) = (self.input, self.pod);
        let parts = || Parts::of(input);
        let mut probes = Vec::new();
        if input.pending().len() > 1 {
            probes.push(self.probe("if it were the only waiting pod", parts().only(pod))?);
        }
        let fits_alone = probes.iter().any(|probe| probe.answer == Answer::Yes);
        for level in [DisruptionLevel::Balanced, DisruptionLevel::Aggressive] {
            if level > input.policy().disruption {
                let question = format!("if `--disruption {}` were allowed", level.as_flag());
                probes.push(self.probe(&question, parts().at(level))?);
            }
        }
        let policy = input.policy();
        let asks_for_gain = policy.gain_factor.thousandths() > 0 && policy.disruption != DisruptionLevel::IdleOnly;
        if policy.budgets != Budgets::default() || asks_for_gain {
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
        Ok(Probe { question, answer: self.answer(&plan, landing.as_ref()), detail })
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
        Ok(Probe { question, answer: self.answer(&plan, landing.as_ref()), detail })
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
