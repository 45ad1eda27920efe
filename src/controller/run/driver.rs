//! The thread on which the controller lives: it takes in what happens, one thing after the other, and sends what the controller asks.
//!
//! Planning happens here and nowhere else, so that neither the tasks that talk to the API server nor the thread that keeps the lease wait for
//! it. Invariants: a write leaves only while the lease is fresh at the very moment at which it is sent; once leadership is lost nothing is
//! sent any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;

use super::desk::{Desk, Order};
use super::keeper::LetGo;
use super::notes::Notes;
use super::policy::Wishes;
use super::port::{self, ClusterPort, Known};
use super::refusals::{Refusal, Refusals};
use super::reports::{self, Cycle};
use crate::controller::{Leadership, Settings, Ticket};
use crate::exec::Moment;
use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Observation};
use crate::kube::live::Wake;
use crate::model::{Finding, Mode, PodRef};
use crate::plan::Plan;
use crate::telemetry::Health;

/// The loop in health.
pub(super) const LOOP: &str = "controller";
/// How long the thread may be busy with one thing. The longest is a plan, whose work is bounded.
pub(super) const STILL: Duration = Duration::from_mins(2);
/// How often it looks at the time at least.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Rest between two looks at the index while it is not complete.
const LOOK: Duration = Duration::from_millis(100);

/// This process's own monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "the edge: the controller is told the moment")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// What happens to the thread.
pub(super) enum Happening {
    /// This process has come to lead.
    Leads,
    /// A request was answered. Those of the lease are told for the metrics only.
    Answered { ticket: Ticket, request: Box<ClusterRequest>, reply: Box<ClusterReply>, seconds: f64 },
    /// A write was not sent, because the lease had run out.
    Withheld,
    /// Something in the cluster has changed.
    Changed(Wake),
    /// A person approves a plan, which has this name.
    Approved(String, Box<Plan>),
    /// The process is to end.
    Stop,
}

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to; the lease is handed back where it was held.
    Stopped,
    /// This process does not lead any more, and must end at once.
    LostLeadership,
}

/// How the thread ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// So, at once.
    Now(End),
    /// As the thread of the lease does, which was told to let go.
    WithTheLease,
}

/// The thread.
pub(super) struct Driver<C> {
    pub(super) desk: Desk,
    pub(super) leadership: Leadership,
    pub(super) cluster: Arc<C>,
    pub(super) runtime: Handle,
    pub(super) clock: Clock,
    pub(super) inbox: Receiver<Happening>,
    pub(super) outbox: Sender<Happening>,
    pub(super) notes: Notes,
    /// Whether what earlier leaders have kept was read.
    pub(super) resumed: bool,
    pub(super) refusals: Refusals,
    pub(super) health: Health,
    /// Settings with which the program was started.
    pub(super) base: Settings,
    /// Settings that are in force.
    pub(super) settings: Settings,
    pub(super) wishes: Wishes,
    /// Whether only to observe, whatever the policy says.
    pub(super) dry_run: bool,
    /// Pods that the last observation shows waiting, by name.
    pub(super) waiting: BTreeMap<String, PodRef>,
    /// What was wrong or doubtful in the last observation.
    pub(super) findings: BTreeSet<Finding>,
    /// Takes what people are told.
    pub(super) cycles: tokio::sync::mpsc::Sender<Cycle>,
}

/// Whether a refusal says something about the API server, or about our rights there, and not about the object that was asked for.
fn hampers(error: &ClusterError) -> bool {
    match error {
        ClusterError::Unknown(_) | ClusterError::Forbidden(_) | ClusterError::Throttled { .. } => true,
        ClusterError::Conflict
        | ClusterError::NotFound
        | ClusterError::BlockedByBudget
        | ClusterError::SeveralBudgets
        | ClusterError::Invalid(_)
        | ClusterError::Expired => false,
    }
}

impl<C: ClusterPort> Driver<C> {
    /// Runs until it is stopped or leadership is lost. `keep` starts the thread that keeps the lease, once the cluster is known: who cannot see
    /// must not keep the lease from others. What that gives is told when nothing needs the lease any more.
    pub(super) fn run(mut self, keep: impl FnOnce() -> std::io::Result<LetGo>) -> Ended {
        self.health.watch(LOOP, STILL);
        if self.await_index() == Some(End::Stopped) {
            return Ended::Now(End::Stopped);
        }
        let let_go = match keep() {
            Ok(let_go) => let_go,
            Err(error) => {
                tracing::error!(%error, "the system gives no thread for the lease");
                return Ended::Now(End::LostLeadership);
            }
        };
        let mut end = None;
        while end.is_none() {
            let now = self.clock.now();
            let wait = self.desk.next().map_or(TICK, |next| next.since(now).min(TICK));
            let happening = match self.inbox.recv_timeout(wait) {
                Ok(happening) => Some(happening),
                Err(RecvTimeoutError::Timeout) => None,
                // The thread holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.health.beat(LOOP);
            let mut orders = happening.map(|happening| self.take(happening)).unwrap_or_default();
            orders.extend(self.desk.tick(self.clock.now()));
            self.follow();
            end = self.carry_out(orders);
        }
        self.health.unwatch(LOOP);
        if end == Some(End::LostLeadership) {
            return Ended::Now(End::LostLeadership);
        }
        let_go.tell();
        Ended::WithTheLease
    }

    /// Waits until the cluster is known.
    fn await_index(&mut self) -> Option<End> {
        while let Some(why) = self.cluster.known().doubt {
            self.health.not_ready(super::INDEX, why);
            self.health.beat(LOOP);
            if let Ok(Happening::Stop) = self.inbox.recv_timeout(LOOK) {
                return Some(End::Stopped);
            }
        }
        None
    }

    fn take(&mut self, happening: Happening) -> Vec<Order> {
        let now = self.clock.now();
        match happening {
            Happening::Leads => self.desk.lead(now),
            Happening::Answered { ticket, request, reply, seconds } => {
                self.answered(&ticket, &request, &reply, seconds);
                if ticket == Ticket::Lease { Vec::new() } else { self.hear(&ticket, *reply) }
            }
            Happening::Withheld => vec![Order::Vanish],
            Happening::Changed(Wake { planning, nodes }) => {
                let mut orders = Vec::new();
                if planning {
                    orders.extend(self.desk.stir(&Ticket::Loop, now));
                }
                for node in nodes {
                    orders.extend(self.desk.stir(&Ticket::Operation(node), now));
                }
                orders
            }
            Happening::Approved(name, plan) => {
                tracing::info!(plan = name, "a plan is approved");
                self.desk.controller.approve(name, *plan);
                self.desk.stir(&Ticket::Loop, now)
            }
            Happening::Stop => {
                tracing::info!("stopping: what is under way on nodes goes on with the next leader");
                self.desk.stop()
            }
        }
    }

    /// What an answer says of the API server.
    fn answered(&mut self, ticket: &Ticket, request: &ClusterRequest, reply: &ClusterReply, seconds: f64) {
        self.notes.answer(request, reply, seconds);
        if let ClusterRequest::Evict { dry_run: false, .. } = request {
            self.notes.eviction(reply);
        }
        if let Some(refusal) = self.refusals.note(request, reply) {
            let Refusal { request, object, why, remedy } = &refusal;
            tracing::warn!(
                request,
                object,
                why,
                remedy,
                "forbidden; it is tried again, and told again once it has been allowed"
            );
        }
        match reply {
            Ok(_) => self.health.ready(super::API),
            Err(error) => {
                tracing::debug!(?ticket, request = request.kind(), %error, "not done");
                if hampers(error) {
                    let why = format!("the last {} ended as {}", request.kind(), error.kind());
                    self.health.not_ready(super::API, why);
                }
            }
        }
        if *ticket == Ticket::Loop
            && let Err(error) = reply
        {
            tracing::warn!(%error, "the cluster cannot be observed");
        }
    }

    /// Lets the controller take in an answer.
    fn hear(&mut self, ticket: &Ticket, reply: ClusterReply) -> Vec<Order> {
        let observed = match &reply {
            Ok(ClusterAnswer::Observed(observation)) if *ticket == Ticket::Loop => {
                self.observe(observation);
                true
            }
            Ok(_) | Err(_) => false,
        };
        let before = self.clock.now();
        let orders = self.desk.answered(ticket, reply, before);
        if observed {
            self.report(self.clock.now().since(before));
        }
        orders
    }

    /// What an observation says beside what the controller does with it.
    fn observe(&mut self, observation: &Observation) {
        let now = self.clock.now();
        if !std::mem::replace(&mut self.resumed, true)
            && let Some(kept) = self.cluster.kept()
        {
            self.notes.resume(kept);
        }
        let wishes = self.cluster.wishes();
        if wishes != self.wishes {
            if let Some(why) = wishes.refused.as_ref().filter(|_| wishes.refused != self.wishes.refused) {
                tracing::error!(why, "the newest MigPolicy is refused; the last good one stays in force");
            }
            self.notes.wishes(&wishes);
            self.wishes = wishes;
        }
        let mode = if self.dry_run { Mode::Observe } else { observation.input.policy().mode };
        let settings = self.wishes.settings(&self.base, mode);
        if settings != self.settings {
            tracing::info!(mode = ?settings.mode, period = ?settings.period, paused = self.wishes.paused, "policy in force");
            self.desk.controller.reconfigure(&settings);
            self.settings = settings;
        }
        self.notes.observe(observation, self.settings.mode, now);
        let input = &observation.input;
        self.findings = reports::log_findings(input.findings(), &self.findings);
        let pods = input.pending().iter().map(|pod| &pod.pod).chain(input.unplannable().iter().map(|pod| &pod.pod));
        self.waiting = pods.map(|pod| (pod.to_string(), pod.clone())).collect();
    }

    /// Passes on what the last cycle came to.
    fn report(&mut self, took: Duration) {
        let plan = self.desk.controller.take_plan();
        let reports = self.desk.controller.take_reports();
        if plan.is_some() {
            self.notes.metrics().plan_seconds.took(took.as_secs_f64());
        }
        let last = reports.len().saturating_sub(1);
        let mut plan = plan.map(Arc::new);
        for (position, report) in reports.into_iter().enumerate() {
            let plan = if position == last { plan.take() } else { None };
            reports::log(&report, took);
            self.notes.report(&report, plan.as_deref(), self.clock.now());
            let why = report.planned.iter().flat_map(|planned| &planned.why);
            let waiting = why.filter_map(|pod| self.waiting.get_key_value(&pod.pod));
            let waiting = waiting.map(|(name, pod)| (name.clone(), pod.clone())).collect();
            let (mode, savings) = (self.settings.mode, self.notes.savings());
            let cycle = Cycle { report: Box::new(report), plan, mode, waiting, savings };
            // Where nobody listens nobody misses it.
            if let Err(TrySendError::Full(_)) = self.cycles.try_send(cycle) {
                self.notes.dropped();
            }
        }
    }

    fn follow(&mut self) {
        let now = self.clock.now();
        let Known { doubt, age } = self.cluster.known();
        self.notes.follow(&self.desk.controller, age, now);
        match doubt {
            Some(why) => self.health.not_ready(super::INDEX, why),
            None => self.health.ready(super::INDEX),
        }
    }

    /// Sends what is asked for. The end counts before everything else.
    fn carry_out(&mut self, orders: Vec<Order>) -> Option<End> {
        if orders.contains(&Order::Vanish) {
            return Some(End::LostLeadership);
        }
        let mut end = None;
        for order in orders {
            match order {
                Order::Send(ticket, request) => self.send(ticket, request),
                Order::Rest => end = Some(End::Stopped),
                Order::Vanish => return Some(End::LostLeadership),
            }
        }
        end
    }

    fn send(&self, ticket: Ticket, request: Box<ClusterRequest>) {
        let leadership = self.leadership.clone();
        let guarded = port::needs_leadership(&request);
        let (cluster, clock, outbox) = (Arc::clone(&self.cluster), self.clock, self.outbox.clone());
        self.runtime.spawn(async move {
            let asked = clock.now();
            // The last moment before it leaves: a process that was suspended until now leads no more.
            let happening = if guarded && !leadership.leads(asked) {
                Happening::Withheld
            } else {
                let reply = Box::new(cluster.answer(&request).await);
                let seconds = clock.now().since(asked).as_secs_f64();
                Happening::Answered { ticket, request, reply, seconds }
            };
            // Nobody hears it any more when the thread has ended.
            drop(outbox.send(happening));
        });
    }
}
