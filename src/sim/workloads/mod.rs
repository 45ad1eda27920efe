//! The cluster's own controllers: `ReplicaSet`s, `StatefulSet`s and `Job`s make pods again, and work has a fate.
//!
//! Inputs: [`Arrival`]s, and what became of their pods. Outputs: pods in the API server, and [`Record`]s of what happened to the work.
//! Invariants: running time counts only while containers run; what a new pod goes on with depends on its [`Kind`]; the time that work
//! waits counts in all, however often it was interrupted.

mod fate;
mod pods;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::api::{ApiServer, Deletion, Disruption, Name, Pod};
use super::history::{BurstReason, Record};
use super::workload::{Arrival, Kind};
pub use fate::Stop;

/// How a piece of work stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not arrived yet.
    Ahead,
    /// It waits, since this moment in milliseconds.
    Waiting {
        /// Since when.
        since: u64,
    },
    /// It runs.
    Running {
        /// Since when.
        since: u64,
        /// Node.
        node: String,
        /// UID of its pod.
        uid: String,
    },
    /// It is done.
    Finished,
    /// It went elsewhere.
    Burst,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What arrived.
    pub arrival: Arrival,
    /// Instances that it asks for, by resource.
    pub requests: BTreeMap<String, u32>,
    /// How it stands.
    pub state: State,
    /// Running time that it still needs, in milliseconds.
    pub rest: u64,
    /// Time that it has waited in all before the current wait, in milliseconds.
    pub waited: u64,
    /// Waits so far; a timer of an earlier wait means nothing.
    pub waits: u64,
    /// Pods made so far.
    pods: u64,
    /// Before this moment no pod is made again, in milliseconds.
    not_before: u64,
}

/// All work, by name.
#[derive(Debug, Clone, Default)]
pub struct Works {
    works: BTreeMap<String, Work>,
    /// Fields that pods of some work are made with, besides what follows from the arrival.
    templates: BTreeMap<String, Template>,
}

/// What pods of some work are made with, besides what follows from its arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Grace period in seconds.
    pub grace_seconds: u64,
    /// CPU in millicores.
    pub cpu_milli: i64,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// More labels.
    pub labels: BTreeMap<String, String>,
    /// Tolerations.
    pub tolerations: Vec<super::api::Toleration>,
    /// `preemptionPolicy` other than `Never`.
    pub preempts: bool,
    /// Finalizers.
    pub finalizers: std::collections::BTreeSet<String>,
}

impl Default for Template {
    fn default() -> Self {
        Self {
            grace_seconds: 30,
            cpu_milli: 100,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            tolerations: Vec::new(),
            preempts: true,
            finalizers: std::collections::BTreeSet::new(),
        }
    }
}

/// What the owner of some work wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Nothing.
    Never,
    /// To look again after this many milliseconds.
    After(u64),
}

/// How long a Job waits before it makes a pod again after one has failed, in milliseconds.
const JOB_BACK_OFF: u64 = 10_000;

impl Works {
    /// All work, ordered by name.
    pub fn all(&self) -> &BTreeMap<String, Work> {
        &self.works
    }

    /// One piece of work.
    pub fn get(&self, name: &str) -> Option<&Work> {
        self.works.get(name)
    }

    /// Sets what the pods of some work are made with, from the next one on.
    pub fn set_template(&mut self, work: &str, template: Template) {
        self.templates.insert(work.to_owned(), template);
    }

    /// What the pods of some work are made with.
    pub fn template(&self, work: &str) -> Template {
        self.templates.get(work).cloned().unwrap_or_default()
    }

    /// Adds work that has not arrived; `requests` is what it asks for by resource.
    pub fn add(&mut self, arrival: Arrival, requests: BTreeMap<String, u32>) {
        let rest = arrival.runs;
        let name = arrival.name.clone();
        let state = State::Ahead;
        self.works.insert(name, Work { arrival, requests, state, rest, waited: 0, waits: 0, pods: 0, not_before: 0 });
    }

    /// Work arrives: it waits, and its owner makes the first pod.
    pub fn arrive(&mut self, name: &str, api: &mut ApiServer, now: u64) -> Vec<Record> {
        let Some(work) = self.works.get_mut(name).filter(|work| work.state == State::Ahead) else { return Vec::new() };
        work.wait(now);
        let record = Record::Arrived { work: name.to_owned(), instances: work.arrival.instances.clone() };
        self.make_pod(name, api, now);
        vec![record]
    }

    /// The owner looks at its pods and makes one again, if there is none that counts.
    pub fn reconcile(&mut self, name: &str, api: &mut ApiServer, now: u64) -> (Vec<Record>, Again) {
        let nothing = (Vec::new(), Again::Never);
        let Some(work) = self.works.get(name) else { return nothing };
        let done = matches!(work.state, State::Finished | State::Burst);
        let ahead = work.state == State::Ahead;
        let pods: Vec<std::rc::Rc<Pod>> = self.pods_of(name, api);
        for pod in pods.iter().filter(|pod| pod.finished() || (done && !pod.deleting())) {
            // Finished pods are cleared away, and so is what an owner that is gone has left; gone already is as good.
            let _ = api.delete_pod(now, &pod.meta.name, &Deletion::default());
        }
        if done || ahead || pods.iter().any(|pod| !pod.finished() && !pod.deleting()) {
            return nothing;
        }
        let failed = pods.iter().any(|pod| pod.finished() && pod.disruption.is_none());
        if failed
            && work.arrival.kind == Kind::Job
            && let Some(work) = self.works.get_mut(name)
        {
            work.not_before = now.saturating_add(JOB_BACK_OFF);
        }
        let Some(work) = self.works.get(name) else { return nothing };
        match work.arrival.kind {
            Kind::Job if now < work.not_before => (Vec::new(), Again::After(work.not_before - now)),
            // The name must be free first; its removal is a change that brings the owner back here.
            Kind::Stateful if !self.pods_of(name, api).is_empty() => nothing,
            Kind::Service | Kind::Stateful | Kind::Job => {
                self.make_pod(name, api, now);
                nothing
            }
            Kind::Bare if pods.is_empty() && matches!(work.state, State::Waiting { .. }) => {
                (self.burst(name, BurstReason::Lost), Again::Never)
            }
            Kind::Bare => nothing,
        }
    }

    /// When the patience of waiting work ends; `None` when it does not wait or waits for ever.
    pub fn patience_ends(&self, name: &str) -> Option<u64> {
        let work = self.works.get(name)?;
        let State::Waiting { since } = work.state else { return None };
        let patience = work.arrival.patience?;
        Some(since.saturating_add(patience.saturating_sub(work.waited)))
    }

    /// Work that has waited long enough goes elsewhere. A pod that is on its way to run is let go on: then it is asked again later.
    pub fn lose_patience(&mut self, name: &str, waits: u64, api: &mut ApiServer, now: u64) -> (Vec<Record>, Again) {
        let Some(work) = self.works.get(name) else { return (Vec::new(), Again::Never) };
        let due = work.waits == waits && self.patience_ends(name).is_some_and(|end| end <= now);
        if !due {
            return (Vec::new(), Again::Never);
        }
        let starting = |pod: &std::rc::Rc<Pod>| pod.node.is_some() && !pod.finished() && !pod.deleting();
        if self.pods_of(name, api).iter().any(starting) {
            return (Vec::new(), Again::After(1000));
        }
        let record = self.burst(name, BurstReason::OutOfPatience);
        self.reconcile(name, api, now);
        (record, Again::Never)
    }

    fn burst(&mut self, name: &str, reason: BurstReason) -> Vec<Record> {
        let Some(work) = self.works.get_mut(name) else { return Vec::new() };
        work.state = State::Burst;
        vec![Record::Burst { work: name.to_owned(), reason, rest: work.rest }]
    }

    fn pods_of(&self, name: &str, api: &ApiServer) -> Vec<std::rc::Rc<Pod>> {
        let Some(work) = self.works.get(name) else { return Vec::new() };
        work.names()
            .filter_map(|name| api.objects().pods.get(&name).cloned())
            .filter(|pod| pod.work() == Some(name))
            .collect()
    }
}

impl Work {
    fn wait(&mut self, now: u64) {
        self.state = State::Waiting { since: now };
        self.waits += 1;
    }

    /// Names of pods that there may still be: the last few that were made.
    fn names(&self) -> impl Iterator<Item = Name> + '_ {
        let first =
            if self.arrival.kind == Kind::Stateful { self.pods.saturating_sub(1) } else { self.pods.saturating_sub(8) };
        (first..self.pods).map(|number| self.name_of(number))
    }
}

/// How a stop is told: by us, or by somebody else.
fn stopped(work: &str, lost: u64, disruption: Option<Disruption>) -> Record {
    let work = work.to_owned();
    match disruption {
        Some(Disruption::Evicted) => Record::Evicted { work, lost },
        Some(Disruption::Preempted) | None => Record::Interrupted { work, lost },
    }
}
