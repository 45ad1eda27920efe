//! A small cluster that the tests of this module describe, observe, and let the controller act on: an API server without any life of its own.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Lease, Observation};
use crate::exec::{
    Ended, Event, GpuReport, InstanceReport, MigNode, MigNodeStatus, Moment, Next, NodeView, OperationId, Outcome,
    PROTOCOL, PodView, ReportedOccupancy, TAINT_KEY, Taint, Version,
};
use crate::model::{
    Capacity, Catalogue, ControllerKind, Demand, DisruptionLevel, Geometry, Gpu, Instance, MigStrategy, Movability,
    Node, NodeId, NodeSet, Occupancy, Offer, PendingPod, PlanningInputBuilder, PodRef, Policy, RunningPod,
};
use crate::plan::Place;

use super::{Asked, Controller, Farewell, Proposer, Retile, Settings, Ticket};

/// An instance: profile, start, and the pod that holds it.
pub(super) type Cut = (&'static str, u8, Option<&'static str>);

/// A cluster of A100-40GB nodes.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) policy: Policy,
    pub(super) nodes: BTreeMap<String, NodeView>,
    pub(super) records: BTreeMap<String, MigNode>,
    /// Per node and GPU: its instances.
    pub(super) cuts: BTreeMap<String, Vec<Vec<Cut>>>,
    /// Waiting pods with what they ask for; priority.
    pub(super) pending: BTreeMap<String, (&'static str, i32)>,
    /// Waiting pods that may use one node alone.
    pub(super) only: BTreeMap<&'static str, &'static str>,
    /// Priorities of running pods other than 0.
    pub(super) priorities: BTreeMap<&'static str, i32>,
    pub(super) owners: BTreeMap<&'static str, &'static str>,
    pub(super) lease: Option<(Version, Lease)>,
    /// Nodes with a pod of the device plugin, and whether it tolerates our taint.
    pub(super) plugins: BTreeMap<String, bool>,
    /// Kinds of requests that the controller has no right to.
    pub(super) forbidden: BTreeSet<&'static str>,
    /// How often each instance is offered.
    pub(super) replicas: u32,
}

fn geometry() -> Arc<Geometry> {
    Arc::clone(Catalogue::embedded().find_by_key("a100-40gb").expect("in the catalogue"))
}

pub(super) fn resource(profile: &str) -> String {
    crate::model::mig_resource(profile)
}

pub(super) fn pod(name: &str) -> PodRef {
    PodRef { namespace: "ml".into(), name: name.into(), uid: format!("uid-{name}") }
}

pub(super) fn place(profile: &str, start: u8) -> Place {
    let geometry = geometry();
    let of = geometry.profile(geometry.find(profile).expect("a profile"));
    Place { start, size: of.size.expect("placeable"), profile: profile.to_owned() }
}

impl Cluster {
    pub(super) fn new() -> Self {
        Self {
            policy: Policy { ageing_seconds: 0, ..Policy::unlimited() },
            nodes: BTreeMap::new(),
            records: BTreeMap::new(),
            cuts: BTreeMap::new(),
            pending: BTreeMap::new(),
            only: BTreeMap::new(),
            priorities: BTreeMap::new(),
            owners: BTreeMap::new(),
            lease: None,
            plugins: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            replicas: 1,
        }
    }

    /// Adds a node whose agent has reported.
    pub(super) fn node(mut self, name: &str, gpus: &[&[Cut]]) -> Self {
        let view = NodeView { name: name.into(), uid: format!("uid-{name}"), ready: true, ..NodeView::default() };
        self.nodes.insert(name.to_owned(), view);
        let status = MigNodeStatus {
            node_uid: format!("uid-{name}"),
            protocol: PROTOCOL,
            heartbeat: 1,
            ..MigNodeStatus::default()
        };
        self.records.insert(name.to_owned(), MigNode { name: name.into(), status, ..MigNode::default() });
        self.cuts.insert(name.to_owned(), gpus.iter().map(|gpu| gpu.to_vec()).collect());
        self.report();
        self
    }

    pub(super) fn waiting(mut self, name: &str, profile: &'static str) -> Self {
        self.pending.insert(name.to_owned(), (profile, 0));
        self
    }

    /// Brings what agents report and nodes advertise in line with the boards, and lets all heartbeats beat.
    pub(super) fn report(&mut self) {
        for (name, gpus) in &self.cuts {
            let record = self.records.get_mut(name).expect("added together");
            record.status.heartbeat += 1;
            record.version.0 += 1;
            record.status.gpus = gpus.iter().enumerate().map(|(index, cuts)| report(name, index, cuts)).collect();
            let node = self.nodes.get_mut(name).expect("added together");
            node.heartbeat += 1;
            node.allocatable.clear();
            for (profile, ..) in gpus.iter().flatten() {
                *node.allocatable.entry(resource(profile)).or_default() += 1;
            }
        }
    }

    fn view(&self, name: &'static str, profile: &str) -> PodView {
        PodView {
            pod: pod(name),
            owner: self.owners.get(name).map(|&owner| owner.to_owned()),
            requests: [(resource(profile), 1)].into(),
            deleting: false,
            finished: false,
            ready: true,
            device_plugin: false,
            deployed_as: std::collections::BTreeSet::new(),
            tolerates_taint: false,
            grace_seconds: 30,
            movability: Movability::From(DisruptionLevel::Balanced),
            budgets: Vec::new(),
        }
    }

    fn pods(&self, node: &str) -> Vec<PodView> {
        let cuts = self.cuts.get(node).into_iter().flatten().flatten();
        let holders = cuts.filter_map(|&(profile, _, holder)| Some(self.view(holder?, profile)));
        let plugin = self.plugins.get(node).map(|&tolerates_taint| PodView {
            device_plugin: true,
            deployed_as: std::collections::BTreeSet::new(),
            tolerates_taint,
            requests: BTreeMap::new(),
            ..self.view("plugin", "1g.5gb")
        });
        holders.chain(plugin).collect()
    }

    pub(super) fn observe(&self) -> Observation {
        let geometry = geometry();
        let mut builder = PlanningInputBuilder::new(0);
        builder.policy(self.policy.clone());
        let offers: Vec<Option<Offer>> = geometry
            .profiles()
            .iter()
            .map(|profile| {
                let resource = profile.placeable().then(|| builder.resource(&resource(&profile.name)));
                resource.map(|resource| Offer { resource, replicas: self.replicas })
            })
            .collect();
        let all = builder.node_set((0..self.nodes.len()).map(NodeId::new).collect::<NodeSet>());
        for (position, (name, gpus)) in self.cuts.iter().enumerate() {
            let mut boards = Vec::new();
            for (index, cuts) in gpus.iter().enumerate() {
                let mut instances = Vec::new();
                for &(profile, start, holder) in cuts {
                    let demand = Demand::new([(builder.resource(&resource(profile)), 1)]);
                    let occupancy = holder.map_or(Occupancy::Free, |holder| {
                        Occupancy::Busy(vec![builder.running(RunningPod {
                            pod: pod(holder),
                            node: NodeId::new(position),
                            priority: self.priorities.get(holder).copied().unwrap_or(0),
                            controller: ControllerKind::Replacing,
                            movability: Movability::From(DisruptionLevel::Balanced),
                            cost: 1,
                            requests: Capacity::default(),
                            demand,
                            eligible: all,
                            budgets: Vec::new(),
                            instances: Vec::new(),
                        })])
                    });
                    let profile = geometry.find(profile).expect("a profile");
                    let placement = geometry.place(profile, start).expect("a place");
                    instances.push(Instance { placement, uuid: None, occupancy });
                }
                boards.push(Gpu {
                    node: NodeId::new(position),
                    index: index as u32,
                    uuid: format!("GPU-{name}-{index}"),
                    product: geometry.board().product_names[0].clone(),
                    geometry: Arc::clone(&geometry),
                    instances,
                    offers: offers.clone().into(),
                    frozen: None,
                });
            }
            let node = Node { name: name.clone(), strategy: MigStrategy::Mixed, free: Capacity::default(), gpus: 0..0 };
            builder.node(node, boards);
        }
        for (name, &(profile, priority)) in &self.pending {
            let demand = Demand::new([(builder.resource(&resource(profile)), 1)]);
            let only = self.only.get(name.as_str()).and_then(|only| self.cuts.keys().position(|node| node == only));
            let eligible = only.map_or(all, |node| builder.node_set([NodeId::new(node)].into_iter().collect()));
            builder.pending(PendingPod {
                pod: pod(name),
                priority,
                preempts: true,
                waiting_seconds: 60,
                demand,
                requests: Capacity::default(),
                eligible,
            });
        }
        Observation {
            input: builder.build().expect("a legal cluster"),
            nodes: self.nodes.values().cloned().collect(),
            records: self.records.values().cloned().collect(),
            pods: self.nodes.keys().map(|name| (name.clone(), self.pods(name))).collect(),
        }
    }

    /// Answers a request, and does what it asks.
    pub(super) fn answer(&mut self, request: &ClusterRequest) -> ClusterReply {
        if self.forbidden.contains(request.kind()) {
            return Err(ClusterError::Forbidden(format!("{} is not allowed", request.kind())));
        }
        let record = |cluster: &Self, node: &str| cluster.records.get(node).cloned().ok_or(ClusterError::NotFound);
        match request {
            ClusterRequest::Observe { .. } => Ok(ClusterAnswer::Observed(Box::new(self.observe()))),
            ClusterRequest::GetMigNode { node } => Ok(ClusterAnswer::MigNode(Box::new(record(self, node)?))),
            ClusterRequest::GetNode { node } => {
                Ok(ClusterAnswer::Node(Box::new(self.nodes.get(node).cloned().ok_or(ClusterError::NotFound)?)))
            }
            ClusterRequest::ListPods { node } => Ok(ClusterAnswer::Pods(self.pods(node))),
            ClusterRequest::WriteSpec { node, version, spec } => {
                let record = self.records.get_mut(node).ok_or(ClusterError::NotFound)?;
                if record.version != *version {
                    return Err(ClusterError::Conflict);
                }
                record.version.0 += 1;
                record.spec = (**spec).clone();
                Ok(ClusterAnswer::MigNode(Box::new(record.clone())))
            }
            ClusterRequest::AddTaint { node, operation, .. } => {
                self.taint(node, Some(&operation.0));
                Ok(ClusterAnswer::Node(Box::new(self.nodes[node].clone())))
            }
            ClusterRequest::RemoveTaint { node, .. } => {
                self.taint(node, None);
                Ok(ClusterAnswer::Node(Box::new(self.nodes[node].clone())))
            }
            ClusterRequest::PauseClients { node, .. } | ClusterRequest::ResumeClients { node, .. } => {
                Ok(ClusterAnswer::Node(Box::new(self.nodes[node].clone())))
            }
            ClusterRequest::Evict { pod, dry_run, .. } => {
                if !dry_run {
                    let held = self.cuts.values_mut().flatten().flatten();
                    held.filter(|cut| cut.2 == Some(pod.name.as_str())).for_each(|cut| cut.2 = None);
                }
                Ok(ClusterAnswer::Accepted)
            }
            ClusterRequest::DeletePluginPod { .. } => Ok(ClusterAnswer::Accepted),
            ClusterRequest::WriteStatus { .. } => {
                Err(ClusterError::Forbidden("the controller writes no status".into()))
            }
            ClusterRequest::GetLease => self
                .lease
                .clone()
                .map(|(version, lease)| ClusterAnswer::Lease(version, lease))
                .ok_or(ClusterError::NotFound),
            ClusterRequest::WriteLease { version, lease } => {
                if self.lease.as_ref().map(|(version, _)| *version) != *version {
                    return Err(ClusterError::Conflict);
                }
                let next = Version(version.map_or(1, |version| version.0 + 1));
                self.lease = Some((next, lease.clone()));
                Ok(ClusterAnswer::Lease(next, lease.clone()))
            }
        }
    }

    pub(super) fn taint(&mut self, node: &str, value: Option<&str>) {
        let node = self.nodes.get_mut(node).expect("there");
        node.taints.retain(|taint| taint.key != TAINT_KEY);
        let taint = |value: &str| Taint { key: TAINT_KEY.into(), value: value.into(), effect: "NoSchedule".into() };
        node.taints.extend(value.map(taint));
    }

    /// Ends the operation of a node as if everybody had done their part.
    pub(super) fn end(&mut self, node: &str, outcome: Outcome) -> OperationId {
        let record = self.records.get_mut(node).expect("there");
        let operation = record.spec.operation.take().expect("an operation is under way");
        let gpus = operation.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        let ended = Ended { id: operation.id.clone(), epoch: operation.epoch, gpus, outcome, detail: String::new() };
        record.spec.history.insert(0, ended);
        record.version.0 += 1;
        self.taint(node, None);
        operation.id
    }
}

fn report(node: &str, index: usize, cuts: &[Cut]) -> GpuReport {
    let instances = cuts.iter().map(|&(profile, start, holder)| InstanceReport {
        place: place(profile, start),
        uuid: Some(format!("MIG-{node}-{index}-{start}")),
        occupancy: if holder.is_some() { ReportedOccupancy::Busy } else { ReportedOccupancy::Free },
        pods: holder.map(pod).into_iter().collect(),
    });
    GpuReport {
        index: index as u32,
        uuid: format!("GPU-{node}-{index}"),
        model: "NVIDIA A100-SXM4-40GB".into(),
        instances: instances.collect(),
    }
}

/// A controller with its cluster, driven through time.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) controller: Controller,
    pub(super) now: Moment,
    rests: BTreeMap<Ticket, Moment>,
    /// Every request that went out.
    pub(super) log: Vec<(Ticket, ClusterRequest)>,
    pub(super) farewells: Vec<(Ticket, Farewell)>,
    /// Tickets whose requests find nobody.
    pub(super) deaf: BTreeSet<Ticket>,
}

pub(super) fn settings(identity: &str) -> Settings {
    Settings { forecast: None, ..Settings::of(identity) }
}

impl Stage {
    pub(super) fn new(cluster: Cluster, settings: Settings) -> Self {
        Self::with(cluster, settings, Box::new(Retile { work_limit: 1_000_000 }))
    }

    pub(super) fn with(cluster: Cluster, settings: Settings, proposer: Box<dyn Proposer>) -> Self {
        let count = Rc::new(Cell::new(0));
        let identity = settings.identity.clone();
        let ids = move || {
            count.set(count.get() + 1);
            format!("{identity}-{}", count.get())
        };
        let controller = Controller::new(settings, proposer, Box::new(ids));
        let mut stage = Self {
            cluster,
            controller,
            now: Moment(1_000),
            rests: BTreeMap::new(),
            log: Vec::new(),
            farewells: Vec::new(),
            deaf: BTreeSet::new(),
        };
        let asked = stage.controller.start(stage.now);
        stage.carry_out(asked);
        stage
    }

    fn carry_out(&mut self, asked: Vec<Asked>) {
        let mut open: std::collections::VecDeque<Asked> = asked.into();
        while let Some((ticket, next)) = open.pop_front() {
            match next {
                Next::Ask(request) => {
                    self.log.push((ticket.clone(), request.clone()));
                    if self.deaf.contains(&ticket) {
                        continue;
                    }
                    let reply = self.cluster.answer(&request);
                    open.extend(self.controller.step(&ticket, Event::Reply(reply), self.now));
                }
                Next::Rest(wait) => _ = self.rests.insert(ticket, self.now + wait),
                Next::End(farewell) => {
                    self.rests.remove(&ticket);
                    self.farewells.push((ticket, farewell));
                }
            }
        }
    }

    /// Lets time pass; every rest that is over wakes its ticket. Agents' hearts beat once a second.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((ticket, at)) = self
            .rests
            .iter()
            .min_by_key(|(_, at)| **at)
            .map(|(ticket, at)| (ticket.clone(), *at))
            .filter(|(_, at)| *at <= end)
        {
            self.rests.remove(&ticket);
            self.now = self.now.max(at);
            let asked = self.controller.step(&ticket, Event::Wake, self.now);
            self.carry_out(asked);
        }
        self.now = end;
    }

    /// As [`Self::pass`], with agents that report every ten seconds.
    pub(super) fn live(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(10));
            self.pass(step);
            self.cluster.report();
            left -= step;
        }
    }

    pub(super) fn wake(&mut self, ticket: &Ticket) {
        self.rests.remove(ticket);
        let asked = self.controller.step(ticket, Event::Wake, self.now);
        self.carry_out(asked);
    }

    /// Nodes that carry an operation.
    pub(super) fn claimed(&self) -> Vec<&str> {
        let carries = self.cluster.records.values().filter(|record| record.spec.operation.is_some());
        carries.map(|record| record.name.as_str()).collect()
    }

    /// Requests that write, the lease's left out.
    pub(super) fn writes(&self) -> usize {
        self.log.iter().filter(|(ticket, request)| *ticket != Ticket::Lease && writes(request)).count()
    }
}

pub(super) fn writes(request: &ClusterRequest) -> bool {
    match request {
        ClusterRequest::Observe { .. }
        | ClusterRequest::GetMigNode { .. }
        | ClusterRequest::GetNode { .. }
        | ClusterRequest::ListPods { .. }
        | ClusterRequest::GetLease => false,
        ClusterRequest::WriteSpec { .. }
        | ClusterRequest::WriteStatus { .. }
        | ClusterRequest::AddTaint { .. }
        | ClusterRequest::RemoveTaint { .. }
        | ClusterRequest::PauseClients { .. }
        | ClusterRequest::ResumeClients { .. }
        | ClusterRequest::Evict { .. }
        | ClusterRequest::DeletePluginPod { .. }
        | ClusterRequest::WriteLease { .. } => true,
    }
}
