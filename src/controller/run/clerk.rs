//! Tells people: events for what happened, `MigPlan` objects for what is planned, statuses of the `MigPolicy` objects, and back, which plan a
//! person approves.
//!
//! Inputs: cycles, and `MigPlan` objects. Outputs: events, `MigPlan` objects, statuses of policies, approvals for the loop. Nothing that the loop does depends on it:
//! what cannot be told is logged and counted. Invariants: a plan is published when its changes differ from those published last; a plan is
//! passed on as approved once, and only while it is proposed and the mode is `Recommend`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::people::People;
use super::policy::Wishes;
use super::reports::{Cycle, summary};
use crate::controller::Approval;
use crate::exec::OperationId;
use crate::exec::port::ClusterError;
use crate::kube::crd::{self, LastPlan, PlanPhase};
use crate::kube::live::{ControllerCluster, Doing, Events, Published, Told, moment, plans, publish, set_phase};
use crate::model::Mode;
use crate::plan::{NodePlan, Plan};
use crate::telemetry::ControllerMetrics;
use crate::telemetry::controller::ByResult;

/// Rest between two looks for approvals.
const LOOK: Duration = Duration::from_secs(5);
/// Least time between two writes of nothing but figures into a policy.
const FIGURES: Duration = Duration::from_mins(1);

/// Tells people.
pub struct Clerk<A> {
    cluster: Arc<ControllerCluster>,
    events: Events,
    metrics: ControllerMetrics,
    approve: A,
    people: People,
    mode: Mode,
    /// Changes that were published last.
    published: Vec<NodePlan>,
    /// Approved plans that were passed on.
    passed: BTreeSet<String>,
    /// Operations under way, by the plan that they carry out.
    executing: BTreeMap<String, BTreeSet<OperationId>>,
    /// What the loop does, for the policies; nothing before the first cycle, and so before this process leads.
    doing: Option<Doing>,
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
            published: Vec::new(),
            passed: BTreeSet::new(),
            executing: BTreeMap::new(),
            doing: None,
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
                    Some(cycle) => self.take(&cycle).await,
                    None => return,
                },
                _ = looks.tick() => {
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

    async fn take(&mut self, cycle: &Cycle) {
        self.mode = cycle.mode;
        self.note(cycle);
        for notice in self.people.notices(cycle) {
            let result = match self.events.tell(&self.cluster, &notice).await {
                Ok(Told::New | Told::Repeated) => "sent",
                Ok(Told::KeptBack) => "dropped",
                Err(error) => {
                    tracing::debug!(%error, "an event cannot be written");
                    "failed"
                }
            };
            self.metrics.events.add(ByResult { result }, 1);
        }
        if let Err(error) = self.publish(cycle).await {
            tracing::warn!(%error, "the plan cannot be published");
        }
        if let Some(approval) = &cycle.report.approval
            && let Err(error) = self.carried_out(approval).await
        {
            tracing::warn!(plan = approval.name, %error, "what became of the plan cannot be written");
        }
        if let Err(error) = self.ended(cycle).await {
            tracing::warn!(%error, "the end of a plan cannot be written");
        }
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
        self.doing = Some(Doing { mode: cycle.mode, refused, last_plan: last_plan.or(known) });
    }

    /// Writes how the policies are received.
    async fn receive(&mut self) -> Result<(), ClusterError> {
        let Some(doing) = &self.doing else { return Ok(()) };
        let due = self.figures.is_none_or(|since| since.elapsed() >= FIGURES);
        self.cluster.receive_policies(doing, due).await?;
        if due {
            self.figures = Some(Instant::now());
        }
        Ok(())
    }

    /// Publishes a plan with changes, and puts those aside that it takes the place of.
    async fn publish(&mut self, cycle: &Cycle) -> Result<(), ClusterError> {
        let Some(plan) = cycle.plan.as_ref().filter(|plan| !plan.nodes.is_empty() && plan.nodes != self.published)
        else {
            return Ok(());
        };
        let Published { name, .. } = publish(self.cluster.server(), plan, &summary(plan)).await?;
        tracing::info!(plan = name, "published");
        self.published.clone_from(&plan.nodes);
        for old in plans(self.cluster.server()).await? {
            let proposed = matches!(old.phase, None | Some(PlanPhase::Proposed));
            if old.name != name && proposed && !old.approved {
                set_phase(self.cluster.server(), &old.name, PlanPhase::Superseded, "a newer plan was made").await?;
            }
        }
        Ok(())
    }

    /// Looks for plans that a person has approved.
    async fn look(&mut self) -> Result<(), ClusterError> {
        for plan in plans(self.cluster.server()).await? {
            let proposed = matches!(plan.phase, None | Some(PlanPhase::Proposed));
            if !plan.approved || !proposed || !self.passed.insert(plan.name.clone()) {
                continue;
            }
            match crate::plan::from_json(&plan.document, &plan.name) {
                Ok(document) => (self.approve)(plan.name, document),
                Err(error) => {
                    let why = format!("its document cannot be read: {error}");
                    set_phase(self.cluster.server(), &plan.name, PlanPhase::Superseded, &why).await?;
                }
            }
        }
        Ok(())
    }

    async fn carried_out(&mut self, approval: &Approval) -> Result<(), ClusterError> {
        let Approval { name, operations, goes_on } = approval;
        if operations.is_empty() && !goes_on {
            let why = "the world has moved: it would not be proposed any more, so nothing of it was carried out";
            return set_phase(self.cluster.server(), name, PlanPhase::Superseded, why).await;
        }
        self.executing.entry(name.clone()).or_default().extend(operations.iter().cloned());
        let rest = if *goes_on { "; the rest waits for budgets" } else { "" };
        let listed: Vec<String> = operations.iter().map(ToString::to_string).collect();
        let detail = format!("operations: {}{rest}", listed.join(", "));
        set_phase(self.cluster.server(), name, PlanPhase::Executing, &detail).await
    }

    async fn ended(&mut self, cycle: &Cycle) -> Result<(), ClusterError> {
        for (_, operation, ..) in &cycle.report.ended {
            self.executing.values_mut().for_each(|operations| {
                operations.remove(operation);
            });
        }
        let over: Vec<String> =
            self.executing.iter().filter(|(_, left)| left.is_empty()).map(|(name, _)| name.clone()).collect();
        for name in over {
            self.executing.remove(&name);
            set_phase(self.cluster.server(), &name, PlanPhase::Finished, "all its operations are over").await?;
        }
        Ok(())
    }
}
