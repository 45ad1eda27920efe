//! What planning reads: nodes, records, pods and budgets as one [`PlanningInput`].
//!
//! Nothing is free that some source does not call free: a pod that is bound to a node and that the agent has not seen may hold any
//! instance of its profile, and an instance without a compute instance serves nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::objects::{Name, Node, Owner, Pod, PodPhase, Record};
use super::store::Objects;
use super::views::{node_view, pod_view, record_view};
use crate::exec::port::{ClusterError, Observation};
use crate::exec::{GpuReport, InstanceReport, ReportedOccupancy, TAINT_KEY, Taint};
use crate::model::{
    BudgetId, Capacity, CapacityKind, Catalogue, ControllerKind, Demand, DisruptionLevel, EvictionBudget, Geometry,
    Gpu, Instance, MigStrategy, Movability, Node as PlannedNode, NodeId, NodeSet, NodeSetId, Occupancy, Offer,
    PendingPod, Placement, PlanningInput, PlanningInputBuilder, PodId, Policy, Reason, ResourceId, RunningPod,
    STRATEGY_LABEL, Unplannable,
};

/// Annotation by which an owner keeps a pod where it is.
pub const DO_NOT_MOVE: &str = "retile.dev/do-not-move";

/// Makes observations.
#[derive(Debug, Clone)]
pub struct Observer {
    /// The policy in force; none is the unlimited one of a dry run.
    pub policy: Option<Policy>,
    /// Board tables by product name; what is not here is looked up in the catalogue.
    pub boards: BTreeMap<String, Arc<Geometry>>,
}

impl Observer {
    /// Everything that planning reads, from some state of the objects, at the moment `now` in milliseconds.
    ///
    /// # Errors
    /// The records contradict the board tables.
    pub fn observe(&self, objects: &Objects, now: u64) -> Result<Observation, ClusterError> {
        let managed: Vec<(&Node, &Record)> = objects
            .records
            .iter()
            .filter(|(_, record)| !record.status.gpus.is_empty())
            .filter_map(|(name, record)| Some((objects.nodes.get(name)?.as_ref(), record.as_ref())))
            .filter(|(node, record)| node.meta.uid == record.status.node_uid)
            .collect();
        // The protocol is shown every record, with its node as far as there is one: whose a record is, is for the loop to find out.
        let known: Vec<&Node> =
            objects.records.keys().filter_map(|name| Some(objects.nodes.get(name)?.as_ref())).collect();
        let views = |node: &Node| objects.bound_to(&node.meta.name.name).map(|pod| pod_view(pod, objects)).collect();
        Ok(Observation {
            input: Assembly::new(self, objects, now).input(&managed)?,
            nodes: known.iter().map(|node| node_view(node)).collect(),
            records: objects.records.values().map(|record| record_view(record)).collect(),
            pods: known.iter().map(|node| (node.meta.name.name.clone(), views(node))).collect(),
        })
    }

    /// The table of a board.
    pub fn board(&self, model: &str) -> Option<Arc<Geometry>> {
        let known = self.boards.get(model).cloned();
        known.or_else(|| Catalogue::embedded().find_by_product(model, None).ok().map(Arc::clone))
    }
}

/// What would make a pod again, and whether it may be moved.
pub(super) fn movability(pod: &Pod, objects: &Objects) -> (ControllerKind, Movability) {
    let never = |kind, reason, detail: &str| (kind, Movability::Never(reason, detail.to_owned()));
    let (kind, level) = match pod.owner {
        Owner::ReplicaSet | Owner::StatefulSet => (ControllerKind::Replacing, DisruptionLevel::Balanced),
        Owner::Job => (ControllerKind::Job, DisruptionLevel::Aggressive),
        Owner::DaemonSet => {
            let detail = "it belongs to a DaemonSet, so to its node";
            return never(ControllerKind::DaemonSet, Reason::PolicyForbids, detail);
        }
        Owner::None => {
            return never(ControllerKind::None, Reason::PolicyForbids, "no controller would make it again");
        }
    };
    if pod.deleting() {
        return never(kind, Reason::CoolingDown, "it is terminating already");
    }
    // What cannot be read protects; only a plain `false` does not.
    if pod.meta.annotations.get(DO_NOT_MOVE).is_some_and(|value| value != "false") {
        return never(kind, Reason::PolicyForbids, "its annotation retile.dev/do-not-move protects it");
    }
    if pod.tolerates_ours() {
        return never(kind, Reason::PolicyForbids, "it tolerates our taint, so it could come back while we work");
    }
    if objects.budgets_of(pod).nth(1).is_some() {
        return never(kind, Reason::PolicyForbids, "several disruption budgets cover it, so it cannot be evicted");
    }
    (kind, Movability::From(level))
}

/// How the plugin of a node names instances, as its label says.
fn strategy(node: &Node) -> MigStrategy {
    MigStrategy::told(node.meta.labels.get(STRATEGY_LABEL).map(String::as_str))
}

struct Assembly<'a> {
    observer: &'a Observer,
    objects: &'a Objects,
    now: u64,
    builder: PlanningInputBuilder,
    offers: BTreeMap<String, Arc<[Option<Offer>]>>,
    budgets: BTreeMap<Name, BudgetId>,
    nodes: BTreeMap<String, NodeId>,
}

impl<'a> Assembly<'a> {
    fn new(observer: &'a Observer, objects: &'a Objects, now: u64) -> Self {
        let mut builder = PlanningInputBuilder::new((now / 1000) as i64);
        if let Some(policy) = &observer.policy {
            builder.policy(policy.clone());
        }
        let budgets = objects.budgets.iter().map(|(name, budget)| {
            let allowed = budget.allows();
            let shown = format!("{}/{}", name.namespace, name.name);
            (name.clone(), builder.budget(EvictionBudget { name: shown, allowed }))
        });
        let budgets = budgets.collect();
        Self { observer, objects, now, builder, offers: BTreeMap::new(), budgets, nodes: BTreeMap::new() }
    }

    fn input(mut self, managed: &[(&Node, &Record)]) -> Result<PlanningInput, ClusterError> {
        let names = managed.iter().enumerate();
        self.nodes = names.map(|(at, (node, _))| (node.meta.name.name.clone(), NodeId::new(at))).collect();
        for (node, record) in managed {
            self.add_node(node, record)?;
        }
        for pod in self.objects.unbound() {
            self.add_waiting(pod);
        }
        self.builder.build().map_err(|error| ClusterError::Invalid(error.to_string()))
    }

    fn add_node(&mut self, node: &Node, record: &Record) -> Result<(), ClusterError> {
        let pods: Vec<&Pod> = self
            .objects
            .bound_to(&node.meta.name.name)
            .map(AsRef::as_ref)
            .filter(|pod| !pod.finished() && !pod.device_plugin())
            .collect();
        let mut free = Capacity::default();
        free.set(CapacityKind::CpuMilli, node.cpu_milli);
        free.set(CapacityKind::Pods, node.max_pods);
        for pod in &pods {
            free.subtract(&capacity(pod));
        }
        let seen = seen_on(record);
        let mut unseen = BTreeSet::new();
        let mut ids = BTreeMap::new();
        for pod in pods.iter().filter(|pod| pod.requests.values().any(|&count| count > 0)) {
            if pod.requests.values().sum::<u32>() == seen.get(pod.meta.uid.as_str()).copied().unwrap_or(0) {
                ids.insert(pod.meta.uid.as_str(), self.add_running(node, pod));
            } else {
                unseen.extend(pod.requests.keys().map(String::as_str));
            }
        }
        let mut gpus = Vec::new();
        for report in &record.status.gpus {
            gpus.push(self.gpu(node, report, &ids, &unseen)?);
        }
        let name = node.meta.name.name.clone();
        let strategy = strategy(node);
        self.builder.node(PlannedNode { name, strategy, free, gpus: 0..0 }, gpus);
        Ok(())
    }

    fn add_running(&mut self, node: &Node, pod: &Pod) -> PodId {
        let (controller, movability) = movability(pod, self.objects);
        let budgets = self.objects.budgets_of(pod).map(|budget| self.budgets[&budget.meta.name]).collect();
        let demand = self.demand(pod);
        let eligible = self.eligible(pod);
        self.builder.running(RunningPod {
            pod: pod.pod_ref(),
            node: self.nodes[&node.meta.name.name],
            priority: pod.priority,
            controller,
            movability,
            cost: 1,
            requests: capacity(pod),
            demand,
            eligible,
            budgets,
            instances: Vec::new(),
        })
    }

    fn demand(&mut self, pod: &Pod) -> Demand {
        let asked: Vec<(ResourceId, u32)> =
            pod.requests.iter().map(|(name, &count)| (self.builder.resource(name), count)).collect();
        let demand = Demand::new(asked);
        demand.iter().for_each(|(resource, count)| self.builder.forecast(resource, count));
        demand
    }

    /// Nodes where the scheduler may put a pod, our own taint left out, because it goes again. Who asks for instances does so by their own resource,
    /// which no node of the strategy `single` ever offers.
    fn eligible(&mut self, pod: &Pod) -> NodeSetId {
        let offers = |node: &Node| pod.requests.is_empty() || strategy(node) == MigStrategy::Mixed;
        let fits = |(name, _): &(&String, &NodeId)| {
            self.objects.nodes.get(*name).is_some_and(|node| lets_in(node, pod) && offers(node))
        };
        let set: NodeSet = self.nodes.iter().filter(fits).map(|(_, &id)| id).collect();
        self.builder.node_set(set)
    }

    fn gpu(
        &mut self,
        node: &Node,
        report: &GpuReport,
        ids: &BTreeMap<&str, PodId>,
        unseen: &BTreeSet<&str>,
    ) -> Result<Gpu, ClusterError> {
        let unknown = || ClusterError::Invalid(format!("the board {} is in no table", report.model));
        let geometry = self.observer.board(&report.model).ok_or_else(unknown)?;
        let offers = self.offers(&geometry);
        let mut instances = Vec::with_capacity(report.instances.len());
        for instance in &report.instances {
            let placement = placement(&geometry, instance)?;
            let withheld = unseen.contains(resource(&geometry, placement).as_str());
            let occupancy = occupancy(instance, ids, withheld);
            instances.push(Instance { placement, uuid: instance.uuid.clone(), occupancy });
        }
        let sick = (!node.ready).then(|| (Reason::PolicyForbids, "the node is not ready".to_owned()));
        let leaving = node.meta.deletion.map(|_| (Reason::PolicyForbids, "the node is being deleted".to_owned()));
        let cordoned = node.unschedulable.then(|| (Reason::PolicyForbids, "the node is cordoned".to_owned()));
        Ok(Gpu {
            node: self.nodes[&node.meta.name.name],
            index: report.index,
            uuid: report.uuid.clone(),
            product: report.model.clone(),
            geometry,
            instances,
            offers,
            frozen: sick.or(leaving).or(cordoned),
        })
    }

    fn offers(&mut self, geometry: &Geometry) -> Arc<[Option<Offer>]> {
        let key = geometry.board().key.clone();
        if let Some(offers) = self.offers.get(&key) {
            return Arc::clone(offers);
        }
        let offers: Arc<[Option<Offer>]> = geometry
            .profiles()
            .iter()
            .map(|profile| {
                let name = format!("nvidia.com/{}", profile.resource_suffix());
                profile.placeable().then(|| Offer { resource: self.builder.resource(&name), replicas: 1 })
            })
            .collect();
        self.offers.insert(key, Arc::clone(&offers));
        offers
    }

    fn add_waiting(&mut self, pod: &Pod) {
        if pod.deleting() || pod.phase != PodPhase::Pending || pod.requests.is_empty() {
            return;
        }
        let waited = self.now.saturating_sub(pod.meta.created) / 1000;
        if !pod.unschedulable {
            self.builder.unplannable(Unplannable {
                pod: pod.pod_ref(),
                reason: Reason::CoolingDown,
                detail: "the scheduler has not looked at it yet".to_owned(),
                action: "wait for the scheduler".to_owned(),
            });
            return;
        }
        let demand = self.demand(pod);
        let eligible = self.eligible(pod);
        self.builder.pending(PendingPod {
            pod: pod.pod_ref(),
            priority: pod.priority,
            preempts: pod.preempts,
            waiting_seconds: waited,
            demand,
            requests: capacity(pod),
            eligible,
        });
    }
}

fn lets_in(node: &Node, pod: &Pod) -> bool {
    let foreign: Vec<Taint> = node.taints.iter().filter(|taint| taint.key != TAINT_KEY).cloned().collect();
    node.ready && !node.unschedulable && pod.tolerates(&foreign)
}

fn capacity(pod: &Pod) -> Capacity {
    let mut capacity = Capacity::default();
    capacity.set(CapacityKind::CpuMilli, pod.cpu_milli);
    capacity.set(CapacityKind::Pods, 1);
    capacity
}

/// How many instances the agent has seen each pod hold, by UID.
fn seen_on(record: &Record) -> BTreeMap<&str, u32> {
    let mut seen = BTreeMap::new();
    for pod in record.status.gpus.iter().flat_map(|gpu| &gpu.instances).flat_map(|instance| &instance.pods) {
        *seen.entry(pod.uid.as_str()).or_default() += 1;
    }
    seen
}

fn placement(geometry: &Geometry, instance: &InstanceReport) -> Result<Placement, ClusterError> {
    let place = &instance.place;
    let invalid = |detail: String| ClusterError::Invalid(format!("board {}: {detail}", geometry.board().key));
    let id = geometry.find(&place.profile).ok_or_else(|| invalid(format!("no profile {}", place.profile)))?;
    geometry.place(id, place.start).map_err(|error| invalid(error.to_string()))
}

fn resource(geometry: &Geometry, placement: Placement) -> String {
    format!("nvidia.com/{}", geometry.profile(placement.profile()).resource_suffix())
}

fn occupancy(instance: &InstanceReport, ids: &BTreeMap<&str, PodId>, withheld: bool) -> Occupancy {
    if instance.uuid.is_none() {
        return Occupancy::Unknown;
    }
    match instance.occupancy {
        ReportedOccupancy::Free if withheld => Occupancy::Unknown,
        ReportedOccupancy::Free => Occupancy::Free,
        ReportedOccupancy::Unknown => Occupancy::Unknown,
        ReportedOccupancy::Busy => {
            let known: Option<Vec<PodId>> =
                instance.pods.iter().map(|pod| ids.get(pod.uid.as_str()).copied()).collect();
            known.filter(|known| !known.is_empty()).map_or(Occupancy::Unknown, Occupancy::Busy)
        }
    }
}
