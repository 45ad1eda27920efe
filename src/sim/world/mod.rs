//! A simulated cluster: fleet, API server, scheduler, controllers, kubelets, and the processes of retile in it.
//!
//! Inputs: a [`Fleet`], a [`Workload`], [`Settings`], [`Programs`] to run, [`Faults`], a seed. Outputs: a [`History`], and a [`Snapshot`] at
//! any moment. Invariants: the same inputs give the same history; everything that happens comes from the queue; processes see the cluster
//! only through their requests.

mod collectors;
mod fleet;
mod hands;
mod happening;
mod hosts;
mod kubelets;
#[cfg(test)]
mod loop_tests;
mod notes;
#[cfg(test)]
mod operation_tests;
mod processes;
mod retile;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod watches;
mod watching;

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand_pcg::Pcg64;

pub use fleet::{BoardSpec, Fleet, FleetError, NodeSpec};
pub use hands::{Hand, When, max_unavailable, min_available};
pub use notes::Noted;
pub use processes::Programs;
pub use retile::{Deployed, Proposers};
pub use settings::{Settings, Span};
pub use snapshot::{OnGpu, Snapshot, UnderWay, Waiting};

use happening::Happening;
use hosts::Host;
use processes::Process;

use super::api::{ApiServer, Informer, Meta, Name, Observer};
use super::engine::{Faults, NoFaults, Queue, RequestKind};
use super::history::{History, Record};
use super::process::ProcessId;
use super::scheduler::Scheduler;
use super::workload::{Arrival, Workload};
use super::workloads::Works;

/// The simulated cluster.
pub struct World {
    settings: Settings,
    queue: Queue<Happening>,
    rng: Pcg64,
    api: ApiServer,
    observer: Observer,
    cache: Informer,
    scheduler: Scheduler,
    works: Works,
    fleet: Fleet,
    hosts: BTreeMap<String, Host>,
    programs: Box<dyn Programs>,
    processes: BTreeMap<ProcessId, Process>,
    faults: Box<dyn Faults>,
    before: BTreeMap<(RequestKind, u64), Vec<Hand>>,
    after: BTreeMap<(RequestKind, u64), Vec<Hand>>,
    /// Deploy labels of nodes, by UID, as the driver manager has found them before it paused clients.
    upgrades: BTreeMap<String, BTreeMap<String, String>>,
    /// Requests so far, by kind.
    requests: BTreeMap<RequestKind, u64>,
    /// Version up to which changes were passed on.
    seen: u64,
    /// What is already in the queue and need not be put there again.
    due: Due,
    notes: notes::Notes,
    events: u64,
    /// Who looks for breaches of the invariants; none where nobody does.
    watching: Option<watching::Watching>,
}

/// Events that are in the queue at most once.
#[derive(Debug, Clone, Default)]
struct Due {
    schedule: bool,
    flush: bool,
    budgets: bool,
    owners: BTreeSet<String>,
    kubelets: BTreeSet<String>,
    daemon_sets: BTreeSet<String>,
}

impl World {
    /// Builds the cluster at its moment zero: nodes are up, plugins serve the layouts, processes are about to start.
    ///
    /// # Errors
    /// The fleet or the workload contradicts itself.
    pub fn new(
        fleet: Fleet,
        workload: &Workload,
        settings: Settings,
        programs: Box<dyn Programs>,
        seed: u64,
    ) -> Result<Self, FleetError> {
        let api = ApiServer::new(settings.kept_changes).protecting(settings.protect_nodes);
        let boards = fleet.nodes.iter().flat_map(|node| &node.boards);
        let boards = boards.map(|board| (hosts::model_of(&board.geometry), board.geometry.clone())).collect();
        let mut world = Self {
            observer: Observer { policy: settings.policy.clone(), boards },
            cache: Informer::new(&api, settings.cache_lag),
            scheduler: Scheduler::new(&api, settings.scheduler_lag, settings.scoring, settings.preemption),
            queue: Queue::default(),
            rng: Pcg64::seed_from_u64(seed),
            api,
            works: Works::default(),
            hosts: BTreeMap::new(),
            programs,
            processes: BTreeMap::new(),
            faults: Box::new(NoFaults),
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            upgrades: BTreeMap::new(),
            requests: BTreeMap::new(),
            seen: 0,
            due: Due::default(),
            notes: notes::Notes::new(settings.trace),
            events: 0,
            watching: Some(watching::Watching::new(settings.policy.as_ref())),
            fleet,
            settings,
        };
        world.set_up(workload)?;
        Ok(world)
    }

    fn set_up(&mut self, workload: &Workload) -> Result<(), FleetError> {
        for spec in self.fleet.nodes.clone() {
            if self.hosts.contains_key(&spec.name) {
                return Err(FleetError::Duplicate(spec.name));
            }
            self.register_node(&spec.name);
            let uid = self.api.objects().nodes.get(&spec.name).map(|node| node.meta.uid.clone()).unwrap_or_default();
            let host = Host::new(&spec, &uid)?;
            self.hosts.insert(spec.name.clone(), host);
            self.begin_plugin(&spec.name);
            self.note_gpus(&spec.name);
            self.begin_heartbeats(&spec.name);
            self.launch_soon(ProcessId::Agent(spec.name));
        }
        for number in 0..self.settings.controllers {
            self.launch_soon(ProcessId::Controller(number));
        }
        let mut names = BTreeSet::new();
        for arrival in &workload.arrivals {
            if !names.insert(&arrival.name) {
                return Err(FleetError::DuplicateWork(arrival.name.clone()));
            }
            let requests = self.requests_of(arrival)?;
            self.works.add(arrival.clone(), requests);
            self.queue.at(arrival.at, Happening::Arrive(arrival.name.clone()));
        }
        self.pass_on();
        Ok(())
    }

    fn requests_of(&self, arrival: &Arrival) -> Result<BTreeMap<String, u32>, FleetError> {
        let named = arrival.instances.iter().map(|(profile, &count)| {
            let unknown = || FleetError::Profile { work: arrival.name.clone(), profile: profile.clone() };
            Ok((self.fleet.resource(profile).ok_or_else(unknown)?, count))
        });
        named.collect()
    }

    /// Adds work that arrives now; with a node, its first pod is bound there past the scheduler.
    fn add_work(&mut self, arrival: Arrival, node: Option<&str>) {
        // Work that cannot be named in the fleet's terms never was.
        let Ok(requests) = self.requests_of(&arrival) else { return };
        let name = arrival.name.clone();
        self.works.add(arrival, requests);
        self.arrive(&name);
        if let Some(node) = node {
            let now = self.queue.now();
            for pod in self.pods_of(&name) {
                self.api.modify_pod(now, &pod, |pod| pod.node = Some(node.to_owned()));
            }
        }
    }

    /// Puts faults in place of those before.
    pub fn set_faults(&mut self, faults: Box<dyn Faults>) {
        self.faults = faults;
    }

    /// The present moment, in milliseconds.
    pub fn now(&self) -> u64 {
        self.queue.now()
    }

    /// Moment of the next event, in milliseconds.
    pub fn next_at(&self) -> Option<u64> {
        self.queue.next_at()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Requests so far, by kind.
    pub fn requests(&self) -> &BTreeMap<RequestKind, u64> {
        &self.requests
    }

    /// The API server, to look at.
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// Has somebody outside the simulation write to the API server at this moment, given in milliseconds: what follows from it follows.
    pub fn write<T>(&mut self, write: impl FnOnce(&mut ApiServer, u64) -> T) -> T {
        let written = write(&mut self.api, self.queue.now());
        self.pass_on();
        written
    }

    /// All work.
    pub fn works(&self) -> &Works {
        &self.works
    }

    /// What the pods of some work are made with.
    pub fn set_template(&mut self, work: &str, template: super::workloads::Template) {
        self.works.set_template(work, template);
    }

    /// What has happened so far.
    pub fn history(&mut self) -> &History {
        self.notes.history.end = self.queue.now();
        &self.notes.history
    }

    /// Lets everything happen until a moment, which is then the present.
    pub fn run_until(&mut self, until: u64) {
        while self.queue.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.queue.advance(until);
    }

    /// Lets the next event happen; false if there is none.
    pub fn step(&mut self) -> bool {
        let Some(event) = self.queue.pop() else { return false };
        self.events += 1;
        self.happen(event);
        self.pass_on();
        self.watch_time();
        true
    }

    fn happen(&mut self, event: Happening) {
        let now = self.queue.now();
        match event {
            Happening::Arrive(work) => self.arrive(&work),
            Happening::Patience { work, waits } => self.ask_patience(&work, waits),
            Happening::Owner(work) => self.reconcile(&work),
            Happening::Schedule => self.schedule(),
            Happening::Flush => {
                self.due.flush = false;
                self.schedule();
            }
            Happening::Budgets => {
                self.due.budgets = false;
                if let Some(again) = self.api.control_budgets(now) {
                    self.queue.at(again, Happening::Budgets);
                }
            }
            Happening::CollectRecord(node) => self.collect_record(&node),
            Happening::CollectPods(node) => self.collect_pods(&node),
            Happening::DaemonSet(node) => self.control_plugin(&node),
            Happening::Kubelet { node, boot } => self.sync_pods(&node, boot),
            Happening::Heartbeat { node, boot } => self.heartbeat(&node, boot),
            Happening::Start { node, boot, uid } => self.start_containers(&node, boot, &uid),
            Happening::Done { node, boot, uid } => {
                if self.host_at(&node, boot).is_some() {
                    self.containers_done(&node, &uid);
                }
            }
            Happening::Stopped { node, boot, uid } => self.containers_stopped(&node, boot, &uid),
            Happening::Registers { node, boot, uid } => self.plugin_registers(&node, boot, &uid),
            Happening::Silent { node, boot } => self.silent(&node, boot),
            Happening::Boot { node, boot } => self.boot(&node, boot),
            Happening::Effect(sent) => self.effect(*sent),
            Happening::Deliver(address, reply) => self.deliver(&address, *reply),
            Happening::Rested(address) => self.rested(&address),
            Happening::Wake(process, slot) => self.wake(&process, &slot),
            Happening::Launch(process) => self.launch(&process),
            Happening::Hand(hand) => self.lay_hand(&hand),
        }
    }

    fn arrive(&mut self, work: &str) {
        let records = self.works.arrive(work, &mut self.api, self.queue.now());
        self.note(records);
        self.set_patience(work);
    }

    fn set_patience(&mut self, work: &str) {
        let Some(end) = self.works.patience_ends(work) else { return };
        let waits = self.works.get(work).map_or(0, |work| work.waits);
        self.queue.at(end, Happening::Patience { work: work.to_owned(), waits });
    }

    fn ask_patience(&mut self, work: &str, waits: u64) {
        let (records, again) = self.works.lose_patience(work, waits, &mut self.api, self.queue.now());
        self.note(records);
        if let super::workloads::Again::After(millis) = again {
            self.queue.after(millis, Happening::Patience { work: work.to_owned(), waits });
        }
    }

    fn reconcile(&mut self, work: &str) {
        self.due.owners.remove(work);
        let (records, again) = self.works.reconcile(work, &mut self.api, self.queue.now());
        self.note(records);
        if let super::workloads::Again::After(millis) = again {
            self.queue.after(millis, Happening::Owner(work.to_owned()));
        }
    }

    fn schedule(&mut self) {
        self.due.schedule = false;
        let now = self.queue.now();
        self.scheduler.follow(&self.api, now);
        self.scheduler.cycle(&mut self.api, now);
        if self.scheduler.busy() {
            self.due.schedule = true;
            self.queue.after(self.settings.scheduler_cycle, Happening::Schedule);
        }
        if !self.due.flush
            && let Some(at) = self.scheduler.next_flush()
        {
            self.due.flush = true;
            self.queue.at(at, Happening::Flush);
        }
    }

    /// Draws a delay.
    fn draw(&mut self, span: Span) -> u64 {
        if span.most <= span.least {
            return span.least;
        }
        Uniform::new_inclusive(span.least, span.most).map_or(span.least, |range| range.sample(&mut self.rng))
    }

    /// Notes what has happened to work; work that waits anew has its patience asked again.
    fn note(&mut self, records: Vec<Record>) {
        for record in records {
            let waits = match &record {
                Record::Evicted { work, .. } | Record::Interrupted { work, .. } => Some(work.clone()),
                Record::Arrived { .. }
                | Record::Started { .. }
                | Record::Finished { .. }
                | Record::Burst { .. }
                | Record::Gpu { .. }
                | Record::Claimed { .. }
                | Record::Ended { .. }
                | Record::Planned { .. } => None,
            };
            self.notes.push(self.queue.now(), record);
            if let Some(work) = waits {
                self.set_patience(&work);
            }
        }
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        let now = self.queue.now();
        self.notes.trace(now, line);
    }

    /// The node object, as its kubelet registers it.
    fn register_node(&mut self, name: &str) {
        let Some(spec) = self.fleet.nodes.iter().find(|spec| spec.name == name) else { return };
        let node = super::api::Node {
            meta: Meta { name: Name::cluster(name), labels: spec.labels.clone(), ..Meta::default() },
            ready: true,
            allocatable: self.hosts.get(name).map(|host| host.sim.allocatable()).unwrap_or_default(),
            cpu_milli: spec.cpu_milli,
            max_pods: 110,
            ..super::api::Node::default()
        };
        self.api.create_node(self.queue.now(), node);
    }
}
