//! Pods that hold instances.

use std::sync::Arc;

use super::Assembly;
use super::pods::{Digest, Pods};
use crate::kube::asks::{Ask, Manner, Wanted};
use crate::kube::budgets::Cover;
use crate::kube::eligibility::Eligibility;
use crate::kube::inventory::{Holder, NodeDraft};
use crate::kube::movability::movability;
use crate::kube::move_cost::move_cost;
use crate::kube::occupancy::Tenant;
use crate::kube::offers::NamedOffer;
use crate::kube::resource_name::parse_resource;
use crate::kube::unmodelled::{Unmodelled, unmodelled};
use crate::model::{MigStrategy, NodeId, PodId, RunningPod};

/// Resources that a pod holds, ordered by name.
type Held<'a> = Vec<(&'a str, u64)>;

impl Assembly<'_> {
    /// The pods that hold instances of a node, with what they hold in the node's own names.
    pub(super) fn tenants(&self, draft: &NodeDraft, pods: &Pods<'_>) -> Vec<Tenant> {
        let bound = pods.bound.get(draft.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let tenant = |&position: &usize| {
            let digest = &pods.digests[position];
            let wants = self.holds(draft, digest);
            (!wants.is_empty()).then(|| Tenant { position, pod: digest.id(), wants })
        };
        bound.iter().filter_map(tenant).collect()
    }

    fn holds(&self, draft: &NodeDraft, digest: &Digest<'_>) -> Vec<(String, u64)> {
        let instance_of_single = || {
            let gpu = draft.gpus.iter().find(|gpu| !gpu.instances.is_empty())?;
            let id = gpu.instances[0].placement.profile();
            self.offers.of(draft, &gpu.geometry).into_iter().nth(id.index()).flatten().map(|(resource, _)| resource)
        };
        match (&digest.ask, draft.strategy) {
            (Ask::WholeGpus(count), MigStrategy::Single) => {
                instance_of_single().map(|resource| vec![(resource, *count)]).unwrap_or_default()
            }
            (Ask::Instances(wanted), MigStrategy::Single) => {
                let count = wanted.instances.iter().map(|(_, count)| *count).sum();
                instance_of_single().map(|resource| vec![(resource, count)]).unwrap_or_default()
            }
            (Ask::Instances(wanted), MigStrategy::Mixed) => self.resolve(wanted).unwrap_or_default(),
            (Ask::Both, MigStrategy::Mixed) => {
                let names = digest.requests.devices.iter();
                let names = names.filter_map(|(name, &count)| Some((parse_resource(name)?.ok()?, count)));
                let wanted = Wanted { instances: names.collect(), manner: Manner::Resource };
                self.resolve(&wanted).unwrap_or_default()
            }
            (Ask::WholeGpus(_), MigStrategy::Mixed)
            | (Ask::Nothing | Ask::Malformed(_), _)
            | (Ask::Both, MigStrategy::Single) => Vec::new(),
        }
    }

    /// Adds the pods that hold instances; returns their ids by position.
    pub(super) fn add_running(
        &mut self,
        drafts: &[NodeDraft],
        named: &[Vec<Arc<[Option<NamedOffer>]>>],
        pods: &Pods<'_>,
        eligibility: &mut Eligibility<'_>,
    ) -> Vec<Option<PodId>> {
        let mut held: Vec<Option<(NodeId, Held<'_>)>> = pods.digests.iter().map(|_| None).collect();
        for (number, (draft, named)) in drafts.iter().zip(named).enumerate() {
            for (gpu, offers) in draft.gpus.iter().zip(named) {
                for instance in &gpu.instances {
                    let Holder::Pods(holders) = &instance.holder else { continue };
                    let Some((resource, _)) = &offers[instance.placement.profile().index()] else { continue };
                    for &position in holders {
                        let (_, held) =
                            held[position].get_or_insert_with(|| (NodeId::new(number), Vec::with_capacity(1)));
                        match held.binary_search_by(|(known, _)| (*known).cmp(resource.as_str())) {
                            Ok(at) => held[at].1 += 1,
                            Err(at) => held.insert(at, (resource, 1)),
                        }
                    }
                }
            }
        }
        let mut add = |(digest, held): (&Digest<'_>, Option<(NodeId, Held<'_>)>)| {
            held.map(|(node, held)| self.add_runner(digest, node, &held, eligibility))
        };
        pods.digests.iter().zip(held).map(&mut add).collect()
    }

    fn add_runner(
        &mut self,
        digest: &Digest<'_>,
        node: NodeId,
        held: &[(&str, u64)],
        eligibility: &mut Eligibility<'_>,
    ) -> PodId {
        let (wants, manner) = match &digest.ask {
            Ask::Instances(wanted) => (self.resolve(wanted).ok(), wanted.manner.clone()),
            Ask::WholeGpus(_) | Ask::Both | Ask::Nothing | Ask::Malformed(_) => (None, Manner::Resource),
        };
        let as_held = |wants: &Vec<(String, u64)>| {
            wants.iter().map(|(resource, count)| (resource.as_str(), *count)).eq(held.iter().copied())
        };
        let provable = wants.as_ref().is_some_and(as_held);
        let owned = || held.iter().map(|&(resource, count)| (resource.to_owned(), count)).collect();
        let wants = wants.filter(|_| provable).unwrap_or_else(owned);
        let cover = self.budgets.cover(&digest.pod.metadata);
        let reason = unmodelled(digest.pod, &manner).or_else(|| self.repulsion.against(digest.pod)).or_else(|| {
            (!provable).then(|| Unmodelled {
                detail: "what it holds is not what it asks for by name".to_owned(),
                action: "ask for MIG instances by resource name".to_owned(),
            })
        });
        let (controller, movability) = movability(digest.pod, self.now, &cover, reason.as_ref());
        let movability = self.scope.narrow(&digest.pod.metadata, movability);
        let cost = move_cost(digest.pod, &digest.id(), controller, self.now, self.move_cost, self.findings);
        let answer = eligibility.of(digest.pod, &manner, &wants, &digest.requests.ordinary);
        let eligible = self.builder.node_set(answer.nodes.clone());
        let demand = self.demand(&wants);
        self.forecast(&demand);
        let budgets = match cover {
            Cover::Plain(Some(position)) => vec![self.budget_ids[position]],
            Cover::Plain(None) | Cover::Several(_) | Cover::Unreadable(_) => Vec::new(),
        };
        self.builder.running(RunningPod {
            pod: digest.id(),
            node,
            priority: self.priorities.of(digest.pod).value,
            controller,
            movability,
            cost,
            requests: digest.requests.ordinary.clone(),
            demand,
            eligible,
            budgets,
            instances: Vec::new(),
        })
    }
}
