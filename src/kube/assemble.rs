//! Puts the parts together: nodes with their GPUs, pods that run, pods that wait, budgets.
//!
//! Everything is taken in the order of names, so that the order of the export leaves no trace in the result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::asks::{Ask, Manner, Wanted, ask};
use super::budgets::{Budgets, Cover};
use super::canonical::Unreadable;
use super::eligibility::{Answer, Candidate, Eligibility};
use super::findings::Findings;
use super::inventory::{GpuDraft, Holder, Inventory, NodeDraft};
use super::movability::movability;
use super::objects::{MigNode, Node, Pod};
use super::occupancy::{Tenancy, Tenant, settle};
use super::offers::{NamedOffer, Offers, Unoffered};
use super::ownership::{Circumstances, freeze, hand_over_needed};
use super::pending::{self, Waiting};
use super::priority::Priorities;
use super::requests::{Requests, effective, ordinary_capacity};
use super::stream::Objects;
use super::unmodelled::unmodelled;
use crate::model::{
    BudgetId, Capacity, Catalogue, Demand, EvictionBudget, Gpu, InputError, Instance, MigStrategy, NodeId, NodeSetId,
    Occupancy, Offer, PendingPod, PlanningInput, PlanningInputBuilder, PodId, PodRef, Policy, Reason, RunningPod,
    Unplannable,
};

/// A pod with everything that is derived from it alone.
struct Digest<'a> {
    pod: &'a Pod,
    id: PodRef,
    requests: Requests,
    ask: Ask,
}

/// Pods, sorted into those that matter.
#[derive(Default)]
struct Pods<'a> {
    /// All that hold or want instances.
    digests: Vec<Digest<'a>>,
    /// Positions in `digests` of bound pods, by node.
    bound: BTreeMap<&'a str, Vec<usize>>,
    /// Positions in `digests` of pods without a node.
    unbound: Vec<usize>,
    /// Ordinary resources taken, by node.
    taken: BTreeMap<&'a str, Capacity>,
    /// Nodes with a pod whose requests cannot be read.
    unclear: BTreeSet<&'a str>,
    /// Unbound pods whose requests cannot be read.
    malformed: Vec<(&'a Pod, String)>,
}

/// Makes a planning input of canonical objects.
pub(crate) fn assemble(
    objects: &Objects,
    unreadable: &Unreadable,
    now: i64,
    policy: &Policy,
    policy_given: bool,
    catalogue: &Catalogue,
    mut findings: Findings,
) -> Result<PlanningInput, InputError> {
    let pods = sort_pods(&objects.pods, &mut findings);
    let mut drafts = draft_nodes(objects, unreadable, catalogue, policy_given, &mut findings);
    refuse_shared_uuids(&mut drafts, &mut findings);
    cool_down(&mut drafts, now, policy);
    let offers = Offers::learn(&drafts);
    let mut assembly = Assembly {
        builder: PlanningInputBuilder::new(now),
        objects,
        now,
        policy,
        offers: &offers,
        priorities: Priorities::new(&objects.classes),
        budgets: Budgets::new(
            &objects.budgets,
            unreadable.budgets.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str())),
        ),
        budget_ids: Vec::new(),
        findings: &mut findings,
    };
    assembly.note_gaps(&drafts);
    assembly.add_budgets();
    let named: Vec<Vec<Vec<Option<NamedOffer>>>> =
        drafts.iter().map(|draft| draft.gpus.iter().map(|gpu| offers.of(draft, &gpu.geometry)).collect()).collect();
    for (draft, named) in drafts.iter_mut().zip(&named) {
        let tenants = assembly.tenants(draft, &pods);
        let tenancy = Tenancy {
            tenants: &tenants,
            unreadable: unreadable.pods_on.contains(&draft.name)
                || pods.unclear.contains(draft.name.as_str())
                || objects.pods.is_empty(),
            offers: named,
        };
        settle(draft, &tenancy, assembly.findings);
    }
    let nodes: BTreeMap<&str, &Node> = objects.nodes.iter().map(|node| (node.metadata.name.as_str(), node)).collect();
    let candidates =
        drafts.iter().zip(&named).map(|(draft, named)| candidate(draft, named, nodes[draft.name.as_str()]));
    let mut eligibility = Eligibility::new(candidates.collect());
    let ids = assembly.add_running(&drafts, &pods, &mut eligibility);
    assembly.add_nodes(&drafts, &named, &nodes, &pods, &ids);
    assembly.add_pending(&pods, &mut eligibility);
    if policy_given {
        assembly.builder.policy(policy.clone());
    }
    let mut builder = assembly.builder;
    for (object, message) in findings.into_iter() {
        builder.finding(object, message);
    }
    builder.build()
}

fn pod_ref(pod: &Pod) -> PodRef {
    let meta = &pod.metadata;
    PodRef { namespace: meta.namespace.clone(), name: meta.name.clone(), uid: meta.uid.clone() }
}

fn sort_pods<'a>(pods: &'a [Pod], findings: &mut Findings) -> Pods<'a> {
    let mut sorted = Pods::default();
    for pod in pods.iter().filter(|pod| !pod.has_ended()) {
        let node = pod.spec.node_name.as_str();
        let requests = match effective(pod) {
            Ok(requests) => requests,
            Err(error) => {
                let consequence = if pod.bound() {
                    sorted.unclear.insert(node);
                    format!("; free instances on {node} count as held and nothing lands there")
                } else {
                    sorted.malformed.push((pod, error.to_string()));
                    String::new()
                };
                findings.pod(pod_ref(pod), format!("asks for something malformed: {error}{consequence}"));
                continue;
            }
        };
        if pod.bound() {
            sorted.taken.entry(node).or_default().add(&requests.ordinary);
        }
        let ask = ask(pod, &requests);
        if ask == Ask::Nothing {
            continue;
        }
        let position = sorted.digests.len();
        if pod.bound() {
            sorted.bound.entry(node).or_default().push(position);
        } else {
            sorted.unbound.push(position);
        }
        sorted.digests.push(Digest { pod, id: pod_ref(pod), requests, ask });
    }
    sorted
}

fn draft_nodes(
    objects: &Objects,
    unreadable: &Unreadable,
    catalogue: &Catalogue,
    policy_given: bool,
    findings: &mut Findings,
) -> Vec<NodeDraft> {
    let reports: BTreeMap<&str, &MigNode> =
        objects.mig_nodes.iter().map(|report| (report.metadata.name.as_str(), report)).collect();
    let known: BTreeSet<&str> = objects.nodes.iter().map(|node| node.metadata.name.as_str()).collect();
    for name in reports.keys().filter(|name| !known.contains(*name)) {
        findings.mig_node(name, "reports about a node that is not in the export, and is left out");
    }
    let dra: BTreeSet<&str> = objects
        .slices
        .iter()
        .filter(|slice| slice.spec.driver == "gpu.nvidia.com")
        .map(|slice| slice.spec.node_name.as_str())
        .collect();
    let mut inventory = Inventory::new(catalogue);
    let mut drafts = Vec::new();
    for node in &objects.nodes {
        let name = node.metadata.name.as_str();
        if unreadable.mig_nodes.contains(name) {
            continue;
        }
        let Some(mut draft) = inventory.draft(node, reports.get(name).copied(), findings) else { continue };
        let circumstances = Circumstances { policy_given, served_by_dra: dra.contains(name) };
        match freeze(node, circumstances) {
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
fn refuse_shared_uuids(drafts: &mut [NodeDraft], findings: &mut Findings) {
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

fn cool_down(drafts: &mut [NodeDraft], now: i64, policy: &Policy) {
    let rest = i64::try_from(policy.stability.gpu_cool_down_seconds).unwrap_or(i64::MAX);
    for gpu in drafts.iter_mut().flat_map(|draft| &mut draft.gpus).filter(|gpu| gpu.frozen.is_none()) {
        let Some(changed) = gpu.last_changed else { continue };
        let left = rest.saturating_sub(now.saturating_sub(changed).max(0));
        if left > 0 {
            gpu.frozen = Some((Reason::CoolingDown, format!("it was changed recently and rests {left} s more")));
        }
    }
}

fn candidate<'a>(draft: &NodeDraft, named: &[Vec<Option<NamedOffer>>], node: &'a Node) -> Candidate<'a> {
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for (gpu, offers) in draft.gpus.iter().zip(named) {
        let mut of_gpu: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, offer) in gpu.geometry.profile_ids().zip(offers) {
            let Some((resource, replicas)) = offer else { continue };
            let count = if gpu.frozen.is_some() {
                gpu.instances.iter().filter(|instance| instance.placement.profile() == id).count() as u64
            } else {
                u64::from(gpu.geometry.profile(id).max_count)
            };
            *of_gpu.entry(resource).or_default() += count * u64::from(*replicas);
        }
        for (resource, count) in of_gpu {
            *most.entry(resource.to_owned()).or_default() += count;
        }
    }
    most.retain(|_, count| *count > 0);
    let products = draft.gpus.iter().map(|gpu| gpu.product.clone()).collect();
    let allocatable = ordinary_capacity(&node.status.allocatable);
    Candidate { node, strategy: draft.strategy, allocatable, most, products }
}

/// What the parts of the assembly share.
struct Assembly<'a> {
    builder: PlanningInputBuilder,
    objects: &'a Objects,
    now: i64,
    policy: &'a Policy,
    offers: &'a Offers,
    priorities: Priorities<'a>,
    budgets: Budgets<'a>,
    budget_ids: Vec<BudgetId>,
    findings: &'a mut Findings,
}

impl Assembly<'_> {
    /// Says what the export does not show.
    fn note_gaps(&mut self, drafts: &[NodeDraft]) {
        let objects = self.objects;
        if drafts.is_empty() {
            self.findings.object("Export", "holds no node with GPUs in MIG mode; see the other findings, if any");
        } else if objects.pods.is_empty() {
            self.findings.object("Export", "holds no Pod, so every instance counts as held; export pods with `-A`");
        }
        if objects.budgets.is_empty() {
            self.findings.object(
                "Export",
                "holds no PodDisruptionBudget; if the cluster has some, export them (`kubectl get pdb -A`): \
                 evictions are planned as if there were none",
            );
        }
        for draft in drafts.iter().filter(|draft| draft.assumed) {
            self.builder.assume_placements();
            let gpus = draft.gpus.len();
            self.findings.node(
                &draft.name,
                format!("tells counts only; the places of the instances on its {gpus} GPUs, and who holds which, are assumed"),
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

    /// The pods that hold instances of a node, with what they hold in the node's own names.
    fn tenants(&self, draft: &NodeDraft, pods: &Pods<'_>) -> Vec<Tenant> {
        let bound = pods.bound.get(draft.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let tenant = |&position: &usize| {
            let digest = &pods.digests[position];
            let wants = self.holds(draft, digest);
            (!wants.is_empty()).then(|| Tenant { position, pod: digest.id.clone(), wants })
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
                let names =
                    names.filter_map(|(name, &count)| Some((super::resource_name::parse_resource(name)?.ok()?, count)));
                let wanted = Wanted { instances: names.collect(), manner: Manner::Resource };
                self.resolve(&wanted).unwrap_or_default()
            }
            (Ask::WholeGpus(_), MigStrategy::Mixed)
            | (Ask::Nothing | Ask::Malformed(_), _)
            | (Ask::Both, MigStrategy::Single) => Vec::new(),
        }
    }

    /// Adds the pods that hold instances; returns their ids by position.
    fn add_running(
        &mut self,
        drafts: &[NodeDraft],
        pods: &Pods<'_>,
        eligibility: &mut Eligibility<'_>,
    ) -> BTreeMap<usize, PodId> {
        let mut held: BTreeMap<usize, (NodeId, BTreeMap<String, u64>)> = BTreeMap::new();
        for (number, draft) in drafts.iter().enumerate() {
            for gpu in &draft.gpus {
                let offers = self.offers.of(draft, &gpu.geometry);
                for instance in &gpu.instances {
                    let Holder::Pods(holders) = &instance.holder else { continue };
                    let Some((resource, _)) = &offers[instance.placement.profile().index()] else { continue };
                    for &position in holders {
                        let entry = held.entry(position).or_insert_with(|| (NodeId::new(number), BTreeMap::new()));
                        *entry.1.entry(resource.clone()).or_default() += 1;
                    }
                }
            }
        }
        let mut ids = BTreeMap::new();
        for (position, (node, resources)) in held {
            let digest = &pods.digests[position];
            let id = self.add_runner(digest, node, &resources, eligibility);
            ids.insert(position, id);
        }
        ids
    }

    fn add_runner(
        &mut self,
        digest: &Digest<'_>,
        node: NodeId,
        held: &BTreeMap<String, u64>,
        eligibility: &mut Eligibility<'_>,
    ) -> PodId {
        let (wants, manner) = match &digest.ask {
            Ask::Instances(wanted) => (self.resolve(wanted).ok(), wanted.manner.clone()),
            Ask::WholeGpus(_) | Ask::Both | Ask::Nothing | Ask::Malformed(_) => (None, Manner::Resource),
        };
        let provable = wants.as_ref().is_some_and(|wants| wants.iter().cloned().eq(held.clone()));
        let wants = wants.filter(|_| provable).unwrap_or_else(|| held.clone().into_iter().collect());
        let cover = self.budgets.cover(&digest.pod.metadata);
        let reason = unmodelled(digest.pod, &manner).or_else(|| {
            (!provable).then(|| super::unmodelled::Unmodelled {
                detail: "what it holds is not what it asks for by name".to_owned(),
                action: "ask for MIG instances by resource name".to_owned(),
            })
        });
        let (controller, movability) = movability(digest.pod, self.now, &cover, reason.as_ref());
        let answer = eligibility.of(digest.pod, &manner, &wants, &digest.requests.ordinary);
        let eligible = self.builder.node_set(answer.nodes.clone());
        let demand = self.demand(&wants);
        self.forecast(&demand);
        let budgets = match cover {
            Cover::Plain(Some(position)) => vec![self.budget_ids[position]],
            Cover::Plain(None) | Cover::Several(_) | Cover::Unreadable(_) => Vec::new(),
        };
        self.builder.running(RunningPod {
            pod: digest.id.clone(),
            node,
            priority: self.priorities.of(digest.pod).value,
            controller,
            movability,
            cost: 1,
            requests: digest.requests.ordinary.clone(),
            demand,
            eligible,
            budgets,
            instances: Vec::new(),
        })
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

    fn add_nodes(
        &mut self,
        drafts: &[NodeDraft],
        named: &[Vec<Vec<Option<NamedOffer>>>],
        nodes: &BTreeMap<&str, &Node>,
        pods: &Pods<'_>,
        ids: &BTreeMap<usize, PodId>,
    ) {
        let mut offers: BTreeMap<Vec<Option<NamedOffer>>, Arc<[Option<Offer>]>> = BTreeMap::new();
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
                let offers = offers.entry(named.clone()).or_insert_with(|| {
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

    fn add_pending(&mut self, pods: &Pods<'_>, eligibility: &mut Eligibility<'_>) {
        for (pod, error) in &pods.malformed {
            if super::requests::mentions_device(pod) && !pod.metadata.deleting() {
                self.refuse(
                    pod_ref(pod),
                    Reason::Unsatisfiable,
                    format!("it asks for something malformed: {error}"),
                    "correct the resources of its containers",
                );
            }
        }
        let served_by_dra: BTreeSet<&str> =
            self.objects.device_classes.iter().map(|class| class.spec.extended_resource_name.as_str()).collect();
        for &position in &pods.unbound {
            self.add_waiting(&pods.digests[position], &served_by_dra, eligibility);
        }
    }

    fn add_waiting(&mut self, digest: &Digest<'_>, served_by_dra: &BTreeSet<&str>, eligibility: &mut Eligibility<'_>) {
        let waiting = pending::judge(digest.pod, self.now, self.policy.stability.min_pending_age_seconds);
        let gone = waiting == Waiting::Gone;
        let wanted = match &digest.ask {
            Ask::Instances(wanted) if !gone => wanted,
            Ask::Malformed(detail) if !gone => {
                return self.refuse(
                    digest.id.clone(),
                    Reason::Unsatisfiable,
                    detail.clone(),
                    "correct the resource name in its containers",
                );
            }
            Ask::Both if !gone => {
                return self.refuse(
                    digest.id.clone(),
                    Reason::Unsatisfiable,
                    "it asks for MIG instances and for whole GPUs, which no node offers together as planned here"
                        .to_owned(),
                    "ask for either of them",
                );
            }
            Ask::Nothing | Ask::WholeGpus(_) | Ask::Instances(_) | Ask::Malformed(_) | Ask::Both => return,
        };
        if let Some(name) = digest.requests.devices.keys().find(|name| served_by_dra.contains(name.as_str())) {
            return self.refuse(
                digest.id.clone(),
                Reason::NotModelled,
                format!("a DeviceClass serves {name} through dynamic resource allocation"),
                "remove extendedResourceName from the DeviceClass where the device plugin shall serve the name",
            );
        }
        if let Waiting::Gated = waiting {
            return self.refuse(
                digest.id.clone(),
                Reason::NotModelled,
                "it is held back by scheduling gates".to_owned(),
                "wait until whoever set the gates lifts them",
            );
        }
        if let Some(unmodelled) = unmodelled(digest.pod, &wanted.manner) {
            return self.refuse(digest.id.clone(), Reason::NotModelled, unmodelled.detail, &unmodelled.action);
        }
        let wants = match self.resolve(wanted) {
            Ok(wants) => wants,
            Err((name, unoffered)) => return self.refuse_unoffered(digest, &name, &unoffered),
        };
        let answer = eligibility.of(digest.pod, &wanted.manner, &wants, &digest.requests.ordinary);
        if answer.nodes.is_empty() {
            let answer = answer.clone();
            return self.refuse_everywhere(digest, &answer);
        }
        let set = answer.nodes.clone();
        if let Waiting::Young(detail, action) = waiting {
            return self.refuse(digest.id.clone(), Reason::CoolingDown, detail, action);
        }
        let eligible = self.builder.node_set(set);
        self.add_plannable(digest, &wants, eligible);
    }

    fn add_plannable(&mut self, digest: &Digest<'_>, wants: &[(String, u64)], eligible: NodeSetId) {
        let demand = self.demand(wants);
        self.forecast(&demand);
        let priority = self.priorities.of(digest.pod);
        if priority.lowered {
            let message = "its priority is above what users may set; it counts as 1000000000";
            self.findings.pod(&digest.id, message);
        }
        self.builder.pending(PendingPod {
            pod: digest.id.clone(),
            priority: priority.value,
            preempts: priority.preempts,
            waiting_seconds: pending::waited(digest.pod, self.now),
            demand,
            requests: digest.requests.ordinary.clone(),
            eligible,
        });
    }

    fn refuse(&mut self, pod: PodRef, reason: Reason, detail: String, action: &str) {
        self.builder.unplannable(Unplannable { pod, reason, detail, action: action.to_owned() });
    }

    fn refuse_unoffered(&mut self, digest: &Digest<'_>, name: &str, unoffered: &Unoffered) {
        let (detail, action) = match unoffered {
            Unoffered::UnknownProfile => {
                let known: Vec<&str> = self.offers.profiles().collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                (
                    format!("no GPU of the cluster has the profile that it asks for as {name}"),
                    format!("ask for a profile that the cluster's boards have: {known}"),
                )
            }
            Unoffered::OtherName(other) => (
                format!("the cluster's nodes offer that profile as {other}, not as {name}"),
                format!("ask for {other}"),
            ),
            Unoffered::NotShared => (
                format!("no node shares that profile, so {name} is not offered"),
                "ask for the whole instance, or configure sharing in the device plugin".to_owned(),
            ),
        };
        self.refuse(digest.id.clone(), Reason::Unsatisfiable, detail, &action);
    }

    fn refuse_everywhere(&mut self, digest: &Digest<'_>, answer: &Answer) {
        let reason = if answer.only_passing() { Reason::WaitingForCapacity } else { Reason::Unsatisfiable };
        let action = if answer.only_passing() {
            "wait until the nodes are back, or uncordon them"
        } else {
            "change what it asks for or its node rules, or add a node that fits"
        };
        self.refuse(digest.id.clone(), reason, format!("no node is eligible: {}", answer.explain()), action);
    }
}

fn model_gpu(gpu: &GpuDraft, offers: Arc<[Option<Offer>]>, ids: &BTreeMap<usize, PodId>) -> Gpu {
    let instances = gpu.instances.iter().map(|instance| Instance {
        placement: instance.placement,
        uuid: instance.uuid.clone(),
        occupancy: match &instance.holder {
            Holder::Free => Occupancy::Free,
            Holder::Unknown | Holder::Reported(_) => Occupancy::Unknown,
            Holder::Pods(pods) => {
                Occupancy::Busy(pods.iter().filter_map(|position| ids.get(position)).copied().collect())
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
