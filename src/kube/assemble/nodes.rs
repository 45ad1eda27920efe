//! Nodes: drafts of their GPUs, what freezes them, and their place in the planning input.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pods::Pods;
use super::{Assembly, Given};
use crate::kube::canonical::Unreadable;
use crate::kube::eligibility::Candidate;
use crate::kube::findings::Findings;
use crate::kube::inventory::{GpuDraft, Holder, Inventory, NodeDraft};
use crate::kube::objects::{MigNode, Node, ResourceSlice};
use crate::kube::offers::NamedOffer;
use crate::kube::ownership::{Circumstances, freeze, hand_over_needed};
use crate::kube::requests::ordinary_capacity;
use crate::kube::stream::Objects;
use crate::model::mutant::{self, Mutant};
use crate::model::{Capacity, Catalogue, Gpu, Instance, NodeId, Occupancy, Offer, PodId, Policy, Reason};

pub(super) fn draft_nodes(
    objects: &Objects,
    unreadable: &Unreadable,
    catalogue: &Catalogue,
    given: Given<'_>,
    findings: &mut Findings,
) -> Vec<NodeDraft> {
    let reports: BTreeMap<&str, &MigNode> =
        objects.mig_nodes.iter().map(|report| (report.metadata.name.as_str(), report.as_ref())).collect();
    let known: BTreeSet<&str> = objects.nodes.iter().map(|node| node.metadata.name.as_str()).collect();
    for name in reports.keys().filter(|name| !known.contains(*name)) {
        findings.mig_node(name, "reports about a node that is not in the export, and is left out");
    }
    let dra: BTreeSet<&str> = objects.slices.iter().filter_map(ResourceSlice::served_node).collect();
    let unbound = objects.pods.iter().filter(|pod| !pod.bound() && !pod.has_ended());
    let nominated: BTreeSet<&str> = unbound.map(|pod| pod.status.nominated_node_name.as_str()).collect();
    let mut inventory = Inventory::new(catalogue);
    let mut drafts = Vec::new();
    for node in &objects.nodes {
        let name = node.metadata.name.as_str();
        if unreadable.mig_nodes.contains(name) {
            continue;
        }
        let Some(mut draft) = inventory.draft(node, reports.get(name).copied(), findings) else { continue };
        let circumstances = Circumstances {
            policy_given: given.by_policy,
            served_by_dra: dra.contains(name),
            nominated: nominated.contains(name) && !mutant::on(Mutant(29)),
        };
        let left_out = given.scope.leaves_out(&node.metadata).map(|why| (Reason::PolicyForbids, why));
        match left_out.or_else(|| freeze(node, circumstances)) {
            Some(frozen) => {
                findings.node(name, format!("is left as it is: {}", frozen.1));
                draft.gpus.iter_mut().for_each(|gpu| gpu.frozen = Some(frozen.clone()));
            }
            None if hand_over_needed(node) => findings.node(
                name,
                "belongs to NVIDIA's mig-manager until it is handed over with nvidia.com/gpu.deploy.mig-manager=false; \
                 the plan treats it as handed over",
            ),
            None => {}
        }
        drafts.push(draft);
    }
    drafts
}

/// A UUID that two GPUs report is a cloned machine or a lie; neither is touched.
pub(super) fn refuse_shared_uuids(drafts: &mut [NodeDraft], findings: &mut Findings) {
    let mut seen: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for (node, draft) in drafts.iter().enumerate() {
        for (gpu, it) in draft.gpus.iter().enumerate().filter(|(_, gpu)| !gpu.uuid.is_empty()) {
            seen.entry(it.uuid.clone()).or_default().push((node, gpu));
        }
    }
    for (uuid, places) in seen.into_iter().filter(|(_, places)| places.len() > 1) {
        for (node, gpu) in places {
            let draft = &mut drafts[node];
            let message = format!("its UUID {uuid} is reported by another GPU too");
            findings.mig_node(&draft.name, format!("GPU {} is frozen: {message}", draft.gpus[gpu].index));
            draft.gpus[gpu].frozen = Some((Reason::PolicyForbids, message));
            let free = draft.gpus[gpu].instances.iter_mut().filter(|instance| instance.holder == Holder::Free);
            free.for_each(|instance| instance.holder = Holder::Unknown);
        }
    }
}

pub(super) fn cool_down(drafts: &mut [NodeDraft], now: i64, policy: &Policy) {
    let rest = i64::try_from(policy.stability.gpu_cool_down_seconds).unwrap_or(i64::MAX);
    for gpu in drafts.iter_mut().flat_map(|draft| &mut draft.gpus).filter(|gpu| gpu.frozen.is_none()) {
        let Some(changed) = gpu.last_changed else { continue };
        let left = rest.saturating_sub(now.saturating_sub(changed).max(0));
        if left > 0 {
            gpu.frozen = Some((Reason::CoolingDown, format!("it was changed recently and rests {left} s more")));
        }
    }
}

pub(super) fn candidate<'a>(draft: &NodeDraft, named: &[Arc<[Option<NamedOffer>]>], node: &'a Node) -> Candidate<'a> {
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for (gpu, offers) in draft.gpus.iter().zip(named) {
        let mut of_gpu: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, offer) in gpu.geometry.profile_ids().zip(offers.iter()) {
            let Some((resource, replicas)) = offer else { continue };
            // A board that must be left as it is counts too: the planner then names the reason why it must.
            let count = u64::from(gpu.geometry.profile(id).max_count);
            *of_gpu.entry(resource).or_default() += count * u64::from(*replicas);
        }
        for (resource, count) in of_gpu {
            *most.entry(resource).or_default() += count;
        }
    }
    let most = most.into_iter().filter(|(_, count)| *count > 0);
    let most = most.map(|(resource, count)| (resource.to_owned(), count)).collect();
    let products = draft.gpus.iter().map(|gpu| gpu.product.clone()).collect();
    let allocatable = ordinary_capacity(&node.status.allocatable);
    Candidate { node, strategy: draft.strategy, allocatable, most, products }
}

/// Offers by their names, each set once.
type KnownOffers = BTreeMap<Arc<[Option<NamedOffer>]>, Arc<[Option<Offer>]>>;

impl Assembly<'_> {
    pub(super) fn add_nodes(
        &mut self,
        drafts: &[NodeDraft],
        named: &[Vec<Arc<[Option<NamedOffer>]>>],
        nodes: &BTreeMap<&str, &Node>,
        pods: &Pods<'_>,
        ids: &[Option<PodId>],
    ) {
        let mut offers = KnownOffers::new();
        for (draft, named) in drafts.iter().zip(named) {
            let name = draft.name.as_str();
            let mut free = Capacity::default();
            if !pods.unclear.contains(name) {
                free = ordinary_capacity(&nodes[name].status.allocatable);
                if let Some(taken) = pods.taken.get(name) {
                    free.subtract(taken);
                }
            }
            let mut gpus = Vec::with_capacity(draft.gpus.len());
            for (gpu, named) in draft.gpus.iter().zip(named) {
                let builder = &mut self.builder;
                let offers = offers.entry(Arc::clone(named)).or_insert_with(|| {
                    let mut offer = |(resource, replicas): &NamedOffer| Offer {
                        resource: builder.resource(resource),
                        replicas: *replicas,
                    };
                    named.iter().map(|named| named.as_ref().map(&mut offer)).collect::<Vec<_>>().into()
                });
                gpus.push(model_gpu(gpu, Arc::clone(offers), ids));
            }
            let node = crate::model::Node { name: name.to_owned(), strategy: draft.strategy, free, gpus: 0..0 };
            self.builder.node(node, gpus);
        }
    }
}

fn model_gpu(gpu: &GpuDraft, offers: Arc<[Option<Offer>]>, ids: &[Option<PodId>]) -> Gpu {
    let instances = gpu.instances.iter().map(|instance| Instance {
        placement: instance.placement,
        uuid: instance.uuid.clone(),
        occupancy: match &instance.holder {
            Holder::Free => Occupancy::Free,
            Holder::Unknown | Holder::Reported(_) => Occupancy::Unknown,
            Holder::Pods(pods) => {
                Occupancy::Busy(pods.iter().filter_map(|&position| ids.get(position).copied().flatten()).collect())
            }
        },
    });
    Gpu {
        node: NodeId::new(0),
        index: gpu.index,
        uuid: gpu.uuid.clone(),
        product: gpu.product.clone(),
        geometry: Arc::clone(&gpu.geometry),
        instances: instances.collect(),
        offers,
        frozen: gpu.frozen.clone(),
    }
}
