//! Tells people: events for what happened, `MigPlan` objects for what is planned, statuses of the `MigPolicy` objects, and back, which plan a
//! person approves.
//!
//! Inputs: cycles, and `MigPlan` objects. Outputs: events, `MigPlan` objects, statuses of policies, approvals for the loop. Nothing that the loop does depends on it:
//! what cannot be told is logged and counted. Invariants: a plan is published when its changes differ from those published last; plans and what became
//! of them are written in the order of the cycles, and what the API server does not answer for now is tried again; a plan is passed on as approved
//! once, and only while it is proposed and the mode is `Recommend`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::course::{Courses, Word};
use super::people::People;
use super::policy::Wishes;
use super::reports::{Cycle, summary};
use crate::exec::port::ClusterError;
use crate::kube::crd::{self, LastPlan, PlanPhase};
use crate::kube::live::{
    ControllerCluster, Doing, Events, Notice, Published, Told, moment, plans, publish, put_aside, set_phase,
};
use crate::model::Mode;
use crate::plan::{NodePlan, Plan};
use crate::telemetry::ControllerMetrics;
use crate::telemetry::controller::ByResult;

/// Rest between two looks for approvals.
const LOOK: Duration = Duration::from_secs(5);
/// Least time between two writes of nothing but figures into a policy.
const FIGURES: Duration = Duration::from_mins(1);
/// Cycles in a row with nothing to change after which a proposal is put aside: one alone may be due to a node that is away for a moment.
const IDLE: u32 = 2;
/// Cycles that wait for the API server; the oldest are given up first.
const BACKLOG: usize = 64;

/// Tells people.
pub struct Clerk<A> {
    cluster: Arc<ControllerCluster>,
    events: Events,
    metrics: ControllerMetrics,
    approve: A,
    people: People,
    mode: Mode,
    /// The plan that was published last: its name, and its changes.
    published: Option<(String, Vec<NodePlan>)>,
    /// Cycles in a row, up to now, with nothing to change.
    idle: u32,
    /// Approved plans that were passed on.
    passed: BTreeSet<String>,
    /// Cycles whose plans are still to be published, oldest first.
    backlog: VecDeque<Cycle>,
    /// Plans that are being carried out.
    courses: Courses,
    /// What is still to be written into their statuses.
    words: VecDeque<Word>,
    /// Whether plans of an earlier leader were taken up.
    resumed: bool,
    /// What the loop does, for the policies; nothing before the first cycle, and so before this process leads.
    doing: Option<Doing>,
    /// When this process began to count savings.
    since: Option<String>,
    /// When the figures of a plan were last written into a policy.
    figures: Option<Instant>,
}

impl<A: Fn(String, Plan) + Send + Sync> Clerk<A> {
    /// A clerk of this process; `approve` passes on what a person approves.
    pub fn new(cluster: Arc<ControllerCluster>, instance: &str, metrics: ControllerMetrics, approve: A) -> Self {
        Self {
            cluster,
            events: Events::new(instance),
            metrics,
            approve,
            people: People::default(),
            mode: Mode::Observe,
            published: None,
            idle: 0,
            passed: BTreeSet::new(),
            backlog: VecDeque::new(),
            courses: Courses::default(),
            words: VecDeque::new(),
            resumed: false,
            doing: None,
            since: None,
            figures: None,
        }
    }

    /// Works until there is nobody any more whom it could hear.
    pub async fn run(mut self, mut cycles: Receiver<Cycle>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                cycle = cycles.recv() => match cycle {
                    Some(cycle) => self.take(cycle).await,
                    None => return,
                },
                _ = looks.tick() => {
                    self.work_off().await;
                    if let Err(error) = self.receive().await {
                        tracing::warn!(%error, "how the MigPolicy is received cannot be written");
                    }
                    if self.mode == Mode::Recommend && let Err(error) = self.look().await {
                        tracing::warn!(%error, "approvals cannot be read");
                    }
                }
            }
        }
    }

    async fn take(&mut self, cycle: Cycle) {
        self.mode = cycle.mode;
        self.note(&cycle);
        for notice in self.people.notices(&cycle) {
            self.tell(&notice).await;
        }
        if self.backlog.len() == BACKLOG {
            self.backlog.pop_front();
            tracing::warn!("the API server has not answered for long; what became of the oldest plan is not written");
        }
        self.backlog.push_back(cycle);
        self.work_off().await;
    }

    /// Publishes plans and writes what became of them, cycle by cycle, as far as the API server answers.
    async fn work_off(&mut self) {
        loop {
            if let Err(error) = self.write_words().await {
                tracing::warn!(%error, "what became of a plan cannot be written for now");
                return;
            }
            let Some(cycle) = self.backlog.pop_front() else { return };
            if let Err(error) = self.prepare(&cycle).await {
                tracing::warn!(%error, "the plan cannot be published for now");
                self.backlog.push_front(cycle);
                return;
            }
            self.hear(&cycle);
        }
    }

    /// Sees to it that plans have names before anything is said of them. An error passes by itself.
    async fn prepare(&mut self, cycle: &Cycle) -> Result<(), ClusterError> {
        self.resume().await?;
        match self.publish(cycle).await {
            Err(error) if lasts(&error) => {
                tracing::warn!(%error, "the plan cannot be published");
                // What carries it out must not be told of another.
                self.published = None;
                Ok(())
            }
            other => other,
        }
    }

    async fn tell(&self, notice: &Notice) {
        let result = match self.events.tell(&self.cluster, notice).await {
            Ok(Told::New | Told::Repeated) => "sent",
            Ok(Told::KeptBack) => "dropped",
            Err(error) => {
                tracing::debug!(%error, "an event cannot be written");
                "failed"
            }
        };
        self.metrics.events.add(ByResult { result }, 1);
    }

    /// Notes what the policies are told of a cycle.
    fn note(&mut self, cycle: &Cycle) {
        let known = self.doing.take().and_then(|doing| doing.last_plan);
        let count = |count: usize| crd::count(count as u64);
        let last_plan = cycle.report.planned.as_ref().map(|planned| LastPlan {
            time: moment(),
            served: count(planned.served),
            unserved: count(planned.unserved.values().sum()),
            nodes: count(planned.nodes),
            evicted: count(planned.evictions),
        });
        let refused = Wishes::of(&self.cluster.policy()).refused;
        let savings = Some(cycle.savings.status(self.since.get_or_insert_with(moment)));
        self.doing = Some(Doing { mode: cycle.mode, refused, last_plan: last_plan.or(known), savings });
    }

    /// Writes how the policies are received.
    async fn receive(&mut self) -> Result<(), ClusterError> {
        let Some(doing) = &self.doing else { return Ok(()) };
        for notice in self.people.policies(self.cluster.refused_policies(doing)) {
            self.tell(&notice).await;
        }
        let due = self.figures.is_none_or(|since| since.elapsed() >= FIGURES);
        self.cluster.receive_policies(doing, due).await?;
        if due {
            self.figures = Some(Instant::now());
        }
        Ok(())
    }

    /// Publishes a plan with changes, and puts those aside that it takes the place of; one without any only puts aside.
    async fn publish(&mut self, cycle: &Cycle) -> Result<(), ClusterError> {
        let Some(plan) = &cycle.plan else { return Ok(()) };
        if plan.nodes.is_empty() {
            return if self.idle + 1 >= IDLE { self.withdraw().await } else { Ok(()) };
        }
        if self.published.as_ref().is_some_and(|(_, nodes)| *nodes == plan.nodes) {
            return Ok(());
        }
        let Published { name, .. } = publish(self.cluster.server(), plan, &summary(plan)).await?;
        tracing::info!(plan = name, "published");
        for old in plans(self.cluster.server()).await? {
            if old.name != name {
                put_aside(self.cluster.server(), &old, "a newer plan was made").await?;
            }
        }
        self.published = Some((name, plan.nodes.clone()));
        Ok(())
    }

    /// Nothing is to be changed any more: what was proposed last is not, unless a person has approved it, and is told what becomes of that.
    async fn withdraw(&mut self) -> Result<(), ClusterError> {
        let Some((name, _)) = self.published.as_ref().filter(|(name, _)| !self.courses.hold(name)) else {
            return Ok(());
        };
        let there = plans(self.cluster.server()).await?.into_iter().find(|plan| plan.name == *name);
        if let Some(plan) = there {
            put_aside(self.cluster.server(), &plan, "nothing is to be changed any more").await?;
        }
        self.published = None;
        Ok(())
    }

    /// Looks for plans that a person has approved.
    async fn look(&mut self) -> Result<(), ClusterError> {
        for plan in plans(self.cluster.server()).await? {
            if !plan.approved || !plan.is_proposed() || !self.passed.insert(plan.name.clone()) {
                continue;
            }
            match crate::plan::from_json(&plan.document, &plan.name) {
                Ok(document) => (self.approve)(plan.name, document),
                Err(error) => {
                    let why = format!("its document cannot be read: {error}");
                    set_phase(self.cluster.server(), &plan.name, PlanPhase::Superseded, &why, None).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes up the plans that an earlier leader was carrying out, and the one that it has proposed last.
    async fn resume(&mut self) -> Result<(), ClusterError> {
        if self.resumed {
            return Ok(());
        }
        let under_way = self.cluster.operations();
        for plan in plans(self.cluster.server()).await? {
            if plan.phase == Some(PlanPhase::Executing) {
                self.courses.found(&plan.name, &plan.operations, &under_way);
            } else if plan.is_proposed()
                && !plan.approved
                && let Ok(document) = crate::plan::from_json(&plan.document, &plan.name)
            {
                self.published = Some((plan.name, document.nodes));
            }
        }
        self.resumed = true;
        Ok(())
    }

    /// Takes in what a cycle says of plans.
    fn hear(&mut self, cycle: &Cycle) {
        if let Some(plan) = &cycle.plan {
            self.idle = if plan.nodes.is_empty() { self.idle.saturating_add(1) } else { 0 };
        }
        self.words.extend(cycle.report.approval.as_ref().map(|approval| self.courses.approved(approval)));
        let begun = cycle.report.planned.as_ref().map(|planned| planned.operations.as_slice()).unwrap_or_default();
        if cycle.mode == Mode::Act
            && !begun.is_empty()
            && let Some((plan, _)) = &self.published
        {
            self.words.push_back(self.courses.begun(plan, begun));
        }
        self.words.extend(self.courses.heard(&cycle.report, cycle.mode == Mode::Recommend));
    }

    /// Writes what is still to be said of plans, in its order. An error passes by itself.
    async fn write_words(&mut self) -> Result<(), ClusterError> {
        while let Some(Word { plan, phase, detail, operations }) = self.words.front() {
            if *phase != PlanPhase::Executing && self.published.as_ref().is_some_and(|(name, _)| name == plan) {
                // Should the same be planned again, it is another plan for people.
                self.published = None;
            }
            match set_phase(self.cluster.server(), plan, *phase, detail, Some(operations)).await {
                Err(error) if lasts(&error) => {
                    tracing::warn!(plan, %error, "what became of a plan cannot be written");
                }
                other => other?,
            }
            self.words.pop_front();
        }
        Ok(())
    }
}

/// Whether the same request would be refused again.
fn lasts(error: &ClusterError) -> bool {
    match error {
        ClusterError::Forbidden(_) | ClusterError::Invalid(_) => true,
        ClusterError::Conflict
        | ClusterError::NotFound
        | ClusterError::Throttled { .. }
        | ClusterError::BlockedByBudget
        | ClusterError::SeveralBudgets
        | ClusterError::Expired
        | ClusterError::Unknown(_) => false,
    }
}
