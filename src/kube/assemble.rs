//! Puts the parts together: nodes with their GPUs, pods that run, pods that wait, budgets.
//!
//! Everything is taken in the order of names, so that the order of the export leaves no trace in the result.

mod nodes;
mod pods;
mod running;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::nodes::{candidate, cool_down, draft_nodes, refuse_shared_uuids};
use self::pods::sort_pods;
use super::asks::{Manner, Wanted};
use super::budgets::Budgets;
use super::canonical::Unreadable;
use super::eligibility::Eligibility;
use super::findings::Findings;
use super::inventory::NodeDraft;
use super::objects::Node;
use super::occupancy::{Tenancy, settle};
use super::offers::{NamedOffer, Offers, Unoffered};
use super::priority::Priorities;
use super::repulsion::Repulsion;
use super::scope::Scope;
use super::stream::Objects;
use crate::model::{
    BudgetId, Catalogue, Demand, EvictionBudget, InputError, MoveCost, PlanningInput, PlanningInputBuilder, Policy,
    count,
};

/// Under what the input is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    /// The moment that the objects describe.
    pub(crate) now: i64,
    /// The policy in force.
    pub(crate) policy: &'a Policy,
    /// Whether somebody has given it; without one every MIG-capable node counts.
    pub(crate) by_policy: bool,
    /// Nodes and pods that the policy is about.
    pub(crate) scope: &'a Scope,
    /// Whether the objects are all there are: then none of a kind means that there is none.
    pub(crate) complete: bool,
    /// Whether waiting pods count by their age. Not for the controller's loop, which keeps count itself and must know of a pod from its first moment.
    pub(crate) by_age: bool,
}

/// Makes a planning input of canonical objects.
pub(crate) fn assemble(
    objects: &Objects,
    unreadable: &Unreadable,
    given: Given<'_>,
    catalogue: &Catalogue,
    mut findings: Findings,
) -> Result<PlanningInput, InputError> {
    let Given { now, policy, by_policy, scope, complete, by_age } = given;
    let pods_unknown = objects.pods.is_empty() && !complete;
    let pods = sort_pods(&objects.pods, &mut findings);
    let mut drafts = draft_nodes(objects, unreadable, catalogue, given, &mut findings);
    refuse_shared_uuids(&mut drafts, &mut findings);
    cool_down(&mut drafts, now, policy);
    let offers = Offers::learn(&drafts);
    let mut assembly = Assembly {
        builder: PlanningInputBuilder::new(now),
        objects,
        now,
        least_age: if by_age { policy.stability.min_pending_age_seconds } else { 0 },
        scope,
        move_cost: policy.move_cost,
        offers: &offers,
        priorities: Priorities::new(&objects.classes),
        repulsion: Repulsion::of(objects.pods.iter().map(AsRef::as_ref)),
        budgets: Budgets::new(
            &objects.budgets,
            unreadable.budgets.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str())),
        ),
        budget_ids: Vec::new(),
        findings: &mut findings,
    };
    assembly.note_gaps(&drafts, complete);
    assembly.add_budgets();
    let named: Vec<Vec<Arc<[Option<NamedOffer>]>>> = drafts.iter().map(|draft| offers.by_gpu(draft)).collect();
    for (draft, named) in drafts.iter_mut().zip(&named) {
        let tenants = assembly.tenants(draft, &pods);
        let tenancy = Tenancy {
            tenants: &tenants,
            unreadable: unreadable.pods_on.contains(&draft.name)
                || pods.unclear.contains(draft.name.as_str())
                || pods_unknown,
            offers: named,
        };
        settle(draft, &tenancy, assembly.findings);
    }
    let nodes: BTreeMap<&str, &Node> =
        objects.nodes.iter().map(|node| (node.metadata.name.as_str(), node.as_ref())).collect();
    let candidates =
        drafts.iter().zip(&named).map(|(draft, named)| candidate(draft, named, nodes[draft.name.as_str()]));
    let mut eligibility = Eligibility::new(candidates.collect());
    let ids = assembly.add_running(&drafts, &named, &pods, &mut eligibility);
    assembly.add_nodes(&drafts, &named, &nodes, &pods, &ids);
    assembly.add_pending(&pods, &mut eligibility);
    if by_policy {
        assembly.builder.policy(policy.clone());
    }
    let mut builder = assembly.builder;
    for (object, message) in findings.into_iter() {
        builder.finding(object, message);
    }
    builder.build()
}

/// What the parts of the assembly share.
struct Assembly<'a> {
    builder: PlanningInputBuilder,
    objects: &'a Objects,
    now: i64,
    /// Seconds that a pod must have waited to count.
    least_age: u64,
    scope: &'a Scope,
    /// What is added to the cost of a move.
    move_cost: MoveCost,
    offers: &'a Offers,
    priorities: Priorities<'a>,
    repulsion: Repulsion<'a>,
    budgets: Budgets<'a>,
    budget_ids: Vec<BudgetId>,
    findings: &'a mut Findings,
}

impl Assembly<'_> {
    /// Says what the export does not show.
    fn note_gaps(&mut self, drafts: &[NodeDraft], complete: bool) {
        if drafts.is_empty() {
            self.findings.object("Export", "holds no node with GPUs in MIG mode; see the other findings, if any");
        } else if self.objects.pods.is_empty() && !complete {
            self.findings.object("Export", "holds no Pod, so every instance counts as held; export pods with `-A`");
        }
        if self.objects.budgets.is_empty() && !complete {
            self.findings.object(
                "Export",
                "holds no PodDisruptionBudget; if the cluster has some, export them (`kubectl get pdb -A`): \
                 evictions are planned as if there were none",
            );
        }
        for draft in drafts.iter().filter(|draft| draft.assumed) {
            self.builder.assume_placements();
            let gpus = count(draft.gpus.len() as u64, "GPU");
            self.findings.node(
                &draft.name,
                format!(
                    "tells counts only; the places of the instances on its {gpus}, and who holds which, are assumed"
                ),
            );
        }
    }

    fn add_budgets(&mut self) {
        for position in 0..self.budgets.len() {
            let budget = EvictionBudget { name: self.budgets.name(position), allowed: self.budgets.allowed(position) };
            let id = self.builder.budget(budget);
            self.budget_ids.push(id);
        }
    }

    /// Resources that a pod's wish means, by offered name.
    fn resolve(&self, wanted: &Wanted) -> Result<Vec<(String, u64)>, (String, Unoffered)> {
        let mut resolved: BTreeMap<String, u64> = BTreeMap::new();
        for (name, count) in &wanted.instances {
            let resource = match wanted.manner {
                Manner::Resource => self.offers.resolve(name),
                Manner::Product(_) | Manner::Partition(_) => self.offers.resolve_profile(&name.profile),
            };
            let resource = resource.map_err(|unoffered| (name.resource(), unoffered))?;
            let sum = resolved.entry(resource).or_default();
            *sum = sum.saturating_add(*count);
        }
        Ok(resolved.into_iter().collect())
    }

    fn demand(&mut self, wants: &[(String, u64)]) -> Demand {
        let builder = &mut self.builder;
        Demand::new(
            wants
                .iter()
                .map(|(resource, count)| (builder.resource(resource), u32::try_from(*count).unwrap_or(u32::MAX))),
        )
    }

    fn forecast(&mut self, demand: &Demand) {
        for (resource, count) in demand.iter() {
            self.builder.forecast(resource, count);
        }
    }
}
