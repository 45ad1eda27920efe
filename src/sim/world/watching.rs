//! Tells the checker of the invariants everything that happens, with the truth about it at that moment.
//!
//! Inputs: requests as they take effect, answers as they are delivered, processes that start, and what others do. Output: violations.
//! Invariant: watching changes nothing, so a world that is watched goes on exactly as one that is not.

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::Proposer;
use crate::exec::port::{ClusterReply, ClusterRequest};
use crate::exec::{MigNode, NodeView, Operation, OperationId, Outcome, Phase, PodView, Timing, Version, foreign_owner};
use crate::model::{Policy, Stability};
use crate::sim::api::{Name, node_view, pod_view, record_view};
use crate::sim::invariants::{
    Census, Checker, FleetCount, Limits, Look, Quiet, QuietNode, SeenDeletion, SeenEffect, SeenEnd, SeenEviction,
    SeenNodeWrite, SeenSpecWrite, SeenStatusWrite, Violation,
};
use crate::sim::node::{Effect, Health, Holder};
use crate::sim::process::{ProcessId, Request, Slot};
use crate::sim::workloads::State;

use super::World;
use super::hands::Hand;

/// How long a node must have been away before it counts against the budget: whoever plans may not know of it before, in milliseconds.
const NOTICED: u64 = 30_000;
/// From the end of an operation until those who gain by it must run, in milliseconds.
const LANDED: u64 = 180_000;

/// What is watched, and what must be remembered for it.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) checker: Checker,
    limits: Limits,
    /// Which controller last looked at a node.
    lookers: BTreeMap<String, ProcessId>,
    /// Since when nodes are not ready.
    away: BTreeMap<String, u64>,
    /// What ran when an operation was claimed.
    begun: BTreeMap<OperationId, Begun>,
    /// Operations that have ended and are to be judged later.
    ended: Vec<Ending>,
    /// When people or a fault last changed something.
    hands: Option<u64>,
    /// When an operation with victims was last claimed, and which.
    moving: Vec<(u64, OperationId)>,
}

/// What was so when an operation was claimed.
#[derive(Debug, Clone)]
struct Begun {
    at: u64,
    /// Work that ran, with its priority.
    ran: BTreeMap<String, i32>,
    /// Work that waited, with its priority: it may come to run instead of a victim.
    waited: BTreeMap<String, i32>,
    /// Lowest priority of those for whom it is done.
    lowest: Option<i32>,
    capacity: BTreeMap<String, u64>,
}

#[derive(Debug, Clone)]
struct Ending {
    due: u64,
    node: String,
    operation: OperationId,
    begun: Begun,
}

/// What was true just before a write.
#[derive(Debug, Default)]
pub(super) struct Before {
    node: String,
    record: Option<MigNode>,
    view: Option<NodeView>,
    pod: Option<PodView>,
    work: Option<String>,
    pods: Vec<PodView>,
}

impl Watching {
    pub(super) fn new(policy: Option<&Policy>) -> Self {
        let limits = Limits::new(policy.cloned().unwrap_or_else(Policy::unlimited), &Timing::default());
        Self {
            checker: Checker::new(limits.clone()),
            limits,
            lookers: BTreeMap::new(),
            away: BTreeMap::new(),
            begun: BTreeMap::new(),
            ended: Vec::new(),
            hands: None,
            moving: Vec::new(),
        }
    }
}

/// What an answer to a request will show, and of whom.
pub(super) fn look(process: &ProcessId, slot: &Slot, request: &Request) -> Option<(String, Look)> {
    let look = match request {
        Request::Cluster(request) => Look::of_cluster(request)?,
        Request::Node(request) => Look::of_node(request)?,
    };
    let actor = match (process, slot) {
        (ProcessId::Agent(node), _) => format!("agent/{node}"),
        (ProcessId::Controller(_), Slot::Operation(node)) => format!("controller/{node}"),
        (ProcessId::Controller(_), Slot::Agent | Slot::Lease | Slot::Loop) => return None,
    };
    Some((actor, look))
}

impl World {
    /// Breaches of the protocol's invariants so far.
    pub fn violations(&self) -> &[Violation] {
        self.watching.as_ref().map_or(&[], |watching| watching.checker.violations())
    }

    /// Goes on without looking for breaches, as long replays do.
    pub fn unwatched(&mut self) {
        self.watching = None;
    }

    pub(super) fn watch_start(&mut self, id: &ProcessId) {
        let Some(watching) = &mut self.watching else { return };
        match id {
            ProcessId::Agent(node) => watching.checker.on_start(&format!("agent/{node}")),
            ProcessId::Controller(_) => {
                for (node, _) in watching.lookers.iter().filter(|(_, looker)| *looker == id) {
                    watching.checker.on_start(&format!("controller/{node}"));
                }
            }
        }
    }

    pub(super) fn watch_look(&mut self, id: &ProcessId, actor: &str, look: Look, ok: bool) {
        let Some(watching) = &mut self.watching else { return };
        if let (ProcessId::Controller(_), Some(node)) = (id, actor.strip_prefix("controller/"))
            && watching.lookers.get(node) != Some(id)
        {
            watching.checker.on_start(actor);
            watching.lookers.insert(node.to_owned(), id.clone());
        }
        watching.checker.on_look(actor, look, ok);
    }

    /// Others have changed something about a node, or a pod by UID.
    pub(super) fn watch_disturbance(&mut self, what: &str) {
        let now = self.queue.now();
        if let Some(watching) = &mut self.watching {
            watching.checker.disturbed(now, what);
        }
    }

    /// Somebody does something by hand.
    pub(super) fn watch_hand(&mut self, hand: &Hand) {
        let now = self.queue.now();
        match &mut self.watching {
            Some(watching) => watching.hands = Some(now),
            None => return,
        }
        let mut what = BTreeSet::new();
        let mut works = Vec::new();
        match hand {
            Hand::Reboot(node, _)
            | Hand::DeleteNode(node)
            | Hand::RegisterNode(node)
            | Hand::RestartKubelet(node, _)
            | Hand::Mute(node, _)
            | Hand::BreakPlugin(node, _)
            | Hand::RestartPlugin(node)
            | Hand::Taint(node, _)
            | Hand::Untaint(node, _)
            | Hand::DriverManager(node, _)
            | Hand::Label(node, ..)
            | Hand::Cordon(node, _)
            | Hand::Pin(_, node)
            | Hand::DeleteRecord(node)
            | Hand::DropOperation(node)
            | Hand::Mig(node, _)
            | Hand::Health(node, ..)
            | Hand::Hold(node, ..)
            | Hand::Disk(node, _)
            | Hand::LetGo(node) => _ = what.insert(node.clone()),
            Hand::Annotate(work, ..) | Hand::DeletePods(work, _) | Hand::Finish(work) => works.push(work.clone()),
            Hand::SetBudget(..) | Hand::RemoveBudget(_) => {
                what.extend(self.api.objects().pods.values().map(|pod| pod.meta.uid.clone()));
            }
            Hand::Crash(_)
            | Hand::Pause(..)
            | Hand::Retire(_)
            | Hand::Arrive(_)
            | Hand::Compact
            | Hand::Deafen(_)
            | Hand::DeleteLease => {}
        }
        for name in works.iter().flat_map(|work| self.pods_of(work)) {
            let Some(pod) = self.api.objects().pods.get(&name) else { continue };
            what.extend(pod.node.clone());
            what.insert(pod.meta.uid.clone());
        }
        for what in what {
            self.watch_disturbance(&what);
        }
    }

    /// Notes what is true before a write takes effect.
    pub(super) fn watch_before(&self, request: &ClusterRequest) -> Option<Before> {
        self.watching.as_ref()?;
        let objects = self.api.objects();
        let record = |node: &str| objects.records.get(node).map(|record| record_view(record));
        let view = |node: &str| objects.nodes.get(node).map(|node| node_view(node));
        let pods = |node: &str| objects.bound_to(node).map(|pod| pod_view(pod, objects)).collect::<Vec<_>>();
        let mut before = Before::default();
        match request {
            ClusterRequest::WriteSpec { node, .. } => {
                before.record = record(node);
                before.pods = pods(node);
                node.clone_into(&mut before.node);
            }
            ClusterRequest::WriteStatus { node, .. } => {
                before.record = record(node);
                node.clone_into(&mut before.node);
            }
            ClusterRequest::AddTaint { node, .. }
            | ClusterRequest::RemoveTaint { node, .. }
            | ClusterRequest::PauseClients { node, dry_run: false, .. }
            | ClusterRequest::ResumeClients { node, .. } => {
                before.record = record(node);
                before.view = view(node);
                node.clone_into(&mut before.node);
            }
            ClusterRequest::Evict { pod, dry_run: false, .. } | ClusterRequest::DeletePluginPod { pod } => {
                if let Some(found) = objects.pods.get(&Name::from(pod)) {
                    before.node = found.node.clone().unwrap_or_default();
                    before.record = record(&before.node);
                    before.view = view(&before.node);
                    before.work = found.work().map(str::to_owned);
                    before.pod = Some(pod_view(found, objects));
                }
            }
            ClusterRequest::WriteLease { .. } => {}
            ClusterRequest::Evict { dry_run: true, .. }
            | ClusterRequest::PauseClients { dry_run: true, .. }
            | ClusterRequest::Observe { .. }
            | ClusterRequest::GetMigNode { .. }
            | ClusterRequest::GetNode { .. }
            | ClusterRequest::ListPods { .. }
            | ClusterRequest::GetLease => return None,
        }
        Some(before)
    }

    /// Tells the checker of a write that has taken effect, or was refused.
    pub(super) fn watch_after(
        &mut self,
        process: &ProcessId,
        request: &ClusterRequest,
        before: Option<Before>,
        reply: &ClusterReply,
    ) {
        let Some(before) = before else { return };
        let at = self.queue.now();
        match request {
            ClusterRequest::WriteLease { lease, .. } if reply.is_ok() => {
                let Some(watching) = &mut self.watching else { return };
                watching.checker.on_lease_write(&process.to_string(), lease.transitions);
            }
            ClusterRequest::WriteSpec { version, .. } if reply.is_ok() => self.watch_spec(process, *version, &before),
            ClusterRequest::WriteStatus { version, .. } if reply.is_ok() => {
                self.watch_status(process, *version, &before);
            }
            ClusterRequest::AddTaint { operation, .. }
            | ClusterRequest::RemoveTaint { operation, .. }
            | ClusterRequest::PauseClients { operation, .. }
            | ClusterRequest::ResumeClients { operation, .. }
                if reply.is_ok() =>
            {
                let Some(after) = self.api.objects().nodes.get(&before.node).map(|node| node_view(node)) else {
                    return;
                };
                let (Some(watching), Some(view)) = (&mut self.watching, &before.view) else { return };
                let machine = self.hosts.get(&before.node).filter(|host| host.up).map(|host| &host.sim);
                let record = before.record.as_ref();
                watching
                    .checker
                    .on_node_write(at, &SeenNodeWrite { operation, before: view, after: &after, record, machine });
            }
            ClusterRequest::Evict { body, .. } => {
                let Some(watching) = &mut self.watching else { return };
                let operation = before.record.as_ref().and_then(|record| record.spec.operation.as_ref());
                let seen = SeenEviction {
                    body,
                    accepted: reply.is_ok(),
                    pod: before.pod.as_ref(),
                    work: before.work.as_deref(),
                    node: before.view.as_ref(),
                    operation,
                    gains: None,
                };
                watching.checker.on_evict(at, &seen);
            }
            ClusterRequest::DeletePluginPod { pod } if reply.is_ok() => {
                let Some(watching) = &mut self.watching else { return };
                let operation = before.record.as_ref().and_then(|record| record.spec.operation.as_ref());
                let seen = SeenDeletion { asked: pod, pod: before.pod.as_ref(), node: &before.node, operation };
                watching.checker.on_delete(at, &seen);
            }
            ClusterRequest::WriteSpec { .. }
            | ClusterRequest::WriteStatus { .. }
            | ClusterRequest::AddTaint { .. }
            | ClusterRequest::RemoveTaint { .. }
            | ClusterRequest::PauseClients { .. }
            | ClusterRequest::ResumeClients { .. }
            | ClusterRequest::DeletePluginPod { .. }
            | ClusterRequest::Observe { .. }
            | ClusterRequest::GetMigNode { .. }
            | ClusterRequest::GetNode { .. }
            | ClusterRequest::ListPods { .. }
            | ClusterRequest::GetLease
            | ClusterRequest::WriteLease { .. } => {}
        }
    }

    fn watch_spec(&mut self, process: &ProcessId, based_on: Version, before: &Before) {
        let at = self.queue.now();
        let Some(after) = self.api.objects().records.get(&before.node).map(|record| record_view(record)) else {
            return;
        };
        let Some(record) = &before.record else { return };
        let fleet = self.fleet_count(&before.node);
        let writer = matches!(process, ProcessId::Controller(_)).then(|| process.to_string());
        let writer = writer.as_deref();
        let seen = SeenSpecWrite { writer, based_on, before: record, after: &after, pods: &before.pods, fleet };
        if let Some(watching) = &mut self.watching {
            watching.checker.on_spec_write(at, &seen);
        }
        let (was, is) = (record.spec.operation.as_ref(), after.spec.operation.as_ref());
        if let Some(operation) = is.filter(|is| was.is_none_or(|was| was.id != is.id)) {
            self.watch_claim(&before.node, operation);
        }
        if let Some(operation) = was.filter(|was| is.is_none_or(|is| was.id != is.id)) {
            let ended = after.spec.history.iter().find(|ended| ended.id == operation.id);
            if let Some(ended) = ended {
                self.watch_end(&before.node, &operation.id, ended.outcome);
            }
        }
    }

    fn watch_status(&mut self, process: &ProcessId, based_on: Version, before: &Before) {
        let at = self.queue.now();
        let Some(after) = self.api.objects().records.get(&before.node).map(|record| record_view(record)) else {
            return;
        };
        let none = MigNode { name: before.node.clone(), ..MigNode::default() };
        let agent_of = match process {
            ProcessId::Agent(node) => Some(node.as_str()),
            ProcessId::Controller(_) => None,
        };
        let seen =
            SeenStatusWrite { agent_of, based_on, before: before.record.as_ref().unwrap_or(&none), after: &after };
        if let Some(watching) = &mut self.watching {
            watching.checker.on_status_write(at, &seen);
            let said = |record: &MigNode| record.status.operation.as_ref().map(|said| (said.id.clone(), said.phase));
            let new = said(seen.after) != said(seen.before);
            if let Some(host) = self.hosts.get(&before.node).filter(|host| new && host.up) {
                watching.checker.on_report(at, seen.after, &host.sim);
            }
        }
    }

    /// An agent has changed a board.
    pub(super) fn watch_effect(&mut self, node: &str, life: u64, effect: &Effect) {
        let at = self.queue.now();
        let (Some(watching), Some(host)) = (&mut self.watching, self.hosts.get(node)) else { return };
        let Some(board) = host.sim.boards.iter().find(|board| board.uuid() == effect.gpu) else { return };
        let objects = self.api.objects();
        let record = objects.records.get(node).map(|record| record_view(record));
        let view = objects.nodes.get(node).map(|node| node_view(node));
        let store = host.sim.store.read();
        let seen = SeenEffect {
            node,
            node_uid: view.as_ref().map_or(host.sim.uid(), |view| view.uid.as_str()),
            process: life,
            effect,
            board,
            record: record.as_ref(),
            view: view.as_ref(),
            store: &store,
        };
        watching.checker.on_effect(at, &seen);
        // Nothing can be changed without MIG mode: where it is off now, this has switched it off.
        if !board.mig_mode() {
            watching.checker.on_mig_mode(at, &effect.gpu, true);
        }
    }

    /// Notes since when nodes are away, and judges operations that have ended a while ago.
    pub(super) fn watch_time(&mut self) {
        let now = self.queue.now();
        let Some(watching) = &mut self.watching else { return };
        if watching.ended.first().is_none_or(|ending| ending.due > now) {
            return;
        }
        let ending = watching.ended.remove(0);
        let disturbed = watching.hands.is_some_and(|at| at >= ending.begun.at);
        let others = watching.moving.iter().any(|(at, id)| *at >= ending.begun.at && *id != ending.operation);
        if disturbed || others {
            return;
        }
        self.judge_done(&ending);
    }

    fn judge_done(&mut self, ending: &Ending) {
        let now = self.queue.now();
        let Begun { ran, waited, lowest, .. } = &ending.begun;
        let mut before = Census::default();
        let mut after = Census::default();
        for (work, &priority) in ran.iter().chain(waited) {
            let state = self.works.get(work).map(|work| &work.state);
            let runs = matches!(state, Some(State::Running { .. }));
            if matches!(state, None | Some(State::Finished | State::Burst)) {
                continue;
            }
            *before.running.entry(priority).or_default() += u64::from(ran.contains_key(work));
            *after.running.entry(priority).or_default() += u64::from(runs);
        }
        let seen = SeenEnd {
            node: &ending.node,
            operation: &ending.operation,
            outcome: Outcome::Done,
            lowest: *lowest,
            before: &before,
            after: &after,
        };
        if let Some(watching) = &mut self.watching {
            watching.checker.on_end(now, &seen);
        }
    }

    fn watch_claim(&mut self, node: &str, operation: &Operation) {
        let at = self.queue.now();
        let running = self.works.all().iter().filter(|(_, work)| matches!(work.state, State::Running { .. }));
        let ran = running.map(|(name, work)| (name.clone(), work.arrival.priority)).collect();
        let pods = &self.api.objects().pods;
        let waiting = self.works.all().iter().filter(|(_, work)| matches!(work.state, State::Waiting { .. }));
        let waited = waiting.map(|(name, work)| (name.clone(), work.arrival.priority)).collect();
        let gains = operation.beneficiaries.iter().filter_map(|pod| Some(pods.get(&Name::from(pod))?.priority));
        let begun = Begun { at, ran, waited, lowest: gains.min(), capacity: self.capacity(node) };
        let Some(watching) = &mut self.watching else { return };
        watching.begun.insert(operation.id.clone(), begun);
        if !operation.victims.is_empty() {
            watching.moving.push((at, operation.id.clone()));
        }
    }

    fn watch_end(&mut self, node: &str, operation: &OperationId, outcome: Outcome) {
        let at = self.queue.now();
        let capacity = self.capacity(node);
        let Some(watching) = &mut self.watching else { return };
        let Some(begun) = watching.begun.remove(operation) else { return };
        if watching.hands.is_some_and(|hand| hand >= begun.at) {
            return;
        }
        match outcome {
            Outcome::Done => {
                let (node, operation) = (node.to_owned(), operation.clone());
                watching.ended.push(Ending { due: at + LANDED, node, operation, begun });
            }
            Outcome::RolledBack | Outcome::Aborted => {
                let before = Census { capacity: begun.capacity, ..Census::default() };
                let after = Census { capacity, ..Census::default() };
                let seen = SeenEnd { node, operation, outcome, lowest: None, before: &before, after: &after };
                watching.checker.on_end(at, &seen);
            }
            Outcome::NodeGone | Outcome::Degraded => {}
        }
    }

    fn capacity(&self, node: &str) -> BTreeMap<String, u64> {
        let mut capacity = BTreeMap::new();
        let states = self.hosts.get(node).map(|host| host.sim.states()).unwrap_or_default();
        for instance in states.iter().flat_map(|board| &board.instances) {
            *capacity.entry(instance.place.profile.clone()).or_default() += 1;
        }
        capacity
    }

    /// The fleet without a node.
    fn fleet_count(&mut self, node: &str) -> FleetCount {
        let now = self.queue.now();
        let Some(watching) = &mut self.watching else { return FleetCount { managed: 0, occupied: 0 } };
        let objects = self.api.objects();
        let ready = |name: &String| objects.nodes.get(name).is_none_or(|node| node.ready);
        watching.away.retain(|name, _| !ready(name));
        for name in objects.records.keys().filter(|name| !ready(name)) {
            watching.away.entry(name.clone()).or_insert(now);
        }
        let away = |name: &String| watching.away.get(name).is_some_and(|since| now.saturating_sub(*since) > NOTICED);
        let others = objects.records.iter().filter(|(name, _)| *name != node);
        let occupied = others.filter(|(name, record)| {
            away(name) || record.spec.operation.as_ref().is_some_and(|operation| !operation.gpus.is_empty())
        });
        FleetCount { managed: objects.records.len(), occupied: occupied.count() as u64 }
    }

    /// What would be wrong if everything stayed as it is now: judged without memory of what was before, and without noting it.
    pub fn unrest(&self, proposer: &mut dyn Proposer) -> Vec<Violation> {
        let Some(watching) = &self.watching else { return Vec::new() };
        let mut checker = Checker::new(watching.limits.clone());
        self.judge_quiet(&mut checker, proposer);
        checker.violations().to_vec()
    }

    fn judge_quiet(&self, checker: &mut Checker, proposer: &mut dyn Proposer) {
        let objects = self.api.objects();
        let views: Vec<NodeView> = objects.nodes.values().map(|node| node_view(node)).collect();
        let records: BTreeMap<&str, MigNode> =
            objects.records.iter().map(|(name, record)| (name.as_str(), record_view(record))).collect();
        let nodes: Vec<QuietNode<'_>> = views
            .iter()
            .map(|view| QuietNode {
                view,
                record: records.get(view.name.as_str()),
                sound: self.sound(view),
                rest: 0,
                failures: 0,
                succeeded: false,
            })
            .collect();
        let proposed = self.would_change(proposer);
        checker.quiesced(self.queue.now(), &Quiet { nodes: &nodes, proposed: &proposed });
    }

    /// Nodes that a plan would change now if nothing had to rest.
    fn would_change(&self, proposer: &mut dyn Proposer) -> Vec<String> {
        let Ok(observation) = self.observer.observe(self.api.objects(), self.queue.now()) else { return Vec::new() };
        let rested = Stability { min_pending_age_seconds: 0, gpu_cool_down_seconds: 0, pod_move_cap: None };
        let policy = Policy { stability: rested, ..observation.input.policy().clone() };
        let mut input = observation.input.with_policy(policy);
        for view in &observation.nodes {
            let degraded = self.api.objects().records.get(&view.name).is_some_and(|record| {
                record.spec.operation.as_ref().is_some_and(|operation| operation.phase == Phase::Degraded)
            });
            if let Some(id) = input.node_named(&view.name).filter(|_| degraded || !self.sound(view)) {
                input.withdraw_node(id, crate::model::Reason::WaitingForCapacity, "it does not work");
            }
        }
        let Ok(proposal) = proposer.propose(&input) else { return Vec::new() };
        let changed = proposal.nodes.iter().filter(|node| !node.gpus.is_empty());
        changed.map(|node| node.name.clone()).collect()
    }

    /// Whether everything that a node needs to be changed works, and nobody else claims it.
    fn sound(&self, view: &NodeView) -> bool {
        let Some(host) = self.hosts.get(&view.name) else { return false };
        let agent = self.runs(&ProcessId::Agent(view.name.clone()));
        let held = |holder: &Holder| !matches!(holder, Holder::Container { .. });
        let boards = host.sim.boards.iter().all(|board| {
            board.health() == Health::Well
                && board.mig_mode()
                && board.state().instances.iter().all(|instance| instance.compute.is_some())
                && !board.held().any(|(_, holders)| holders.iter().any(held))
        });
        let foreign = foreign_owner(view).is_some();
        host.up && !host.mute && agent && boards && view.ready && !foreign && !host.sim.plugin.crashes
    }
}
