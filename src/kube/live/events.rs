//! Events for people: on the pod that waits or must move, on the node, on its record, on a policy that cannot be used.
//!
//! Inputs: notices. Outputs: events of `events.k8s.io/v1`, created once; a notice that is repeated raises the count of its series instead, at most
//! once in a while. Invariants: what one object is told is bounded, and so is what all are told in a minute; an event that is lost is not
//! missed by anything. Whoever notices decides what is worth a notice; here it is only kept from becoming noise.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::client::{Call, Content, name};
use super::clock;
use super::controller::ControllerCluster;
use super::refusal::Question;
use crate::exec::port::ClusterError;
use crate::kube::crd;
use crate::model::PodRef;

/// Who reports, for people.
const CONTROLLER: &str = "retile.dev/controller";
/// Longest note that the API server takes.
const NOTE: usize = 1000;
/// A notice that is repeated within this time belongs to the same series.
const SERIES: Duration = Duration::from_mins(30);
/// A series is written at most so often.
const REPEAT: Duration = Duration::from_mins(5);
/// Events that may be written in a minute, and at once.
const PER_MINUTE: u32 = 60;
/// Series that are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 4096;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Regarding {
    /// A pod.
    Pod(PodRef),
    /// A node, by name.
    Node(String),
    /// The record of a node, by name.
    MigNode(String),
    /// A policy, by name and, where it is known, UID.
    MigPolicy(String, String),
}

/// What has happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happened {
    /// A plan serves the pod.
    Planned,
    /// No plan serves the pod, and why.
    NotPlanned,
    /// The pod is evicted so that another may run.
    Evicted,
    /// An operation on the node has begun.
    OperationStarted,
    /// It has reached its target.
    OperationDone,
    /// It was given up; the boards are as before.
    OperationGivenUp,
    /// The node needs people.
    Degraded,
    /// The policy cannot be used.
    PolicyInvalid,
}

impl Happened {
    /// All, with the reason that the event says.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Planned, "RetilePlanned"),
        (Self::NotPlanned, "RetileNotPlanned"),
        (Self::Evicted, "RetileEvicted"),
        (Self::OperationStarted, "RetileOperationStarted"),
        (Self::OperationDone, "RetileOperationDone"),
        (Self::OperationGivenUp, "RetileOperationGivenUp"),
        (Self::Degraded, "RetileDegraded"),
        (Self::PolicyInvalid, "RetilePolicyInvalid"),
    ];

    fn reason(self) -> &'static str {
        match self {
            Self::Planned => "RetilePlanned",
            Self::NotPlanned => "RetileNotPlanned",
            Self::Evicted => "RetileEvicted",
            Self::OperationStarted => "RetileOperationStarted",
            Self::OperationDone => "RetileOperationDone",
            Self::OperationGivenUp => "RetileOperationGivenUp",
            Self::Degraded => "RetileDegraded",
            Self::PolicyInvalid => "RetilePolicyInvalid",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Planned | Self::OperationStarted | Self::OperationDone | Self::Evicted | Self::NotPlanned => "Normal",
            Self::OperationGivenUp | Self::Degraded | Self::PolicyInvalid => "Warning",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Planned | Self::NotPlanned => "Planning",
            Self::Evicted => "Eviction",
            Self::OperationStarted | Self::OperationDone | Self::OperationGivenUp | Self::Degraded => "Repartitioning",
            Self::PolicyInvalid => "Configuring",
        }
    }
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// What it is about.
    pub regarding: Regarding,
    /// What has happened.
    pub happened: Happened,
    /// In words.
    pub note: String,
}

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A new event.
    New,
    /// One more of a series.
    Repeated,
    /// Kept back: it was told not long ago, or too much is being told.
    KeptBack,
}

/// Writes events.
pub struct Events {
    instance: String,
    memory: Mutex<Memory>,
}

struct Memory {
    series: BTreeMap<Notice, Series>,
    /// Events that may still be written, and since when.
    allowance: f64,
    refilled: Instant,
}

#[derive(Debug, Clone)]
struct Series {
    namespace: String,
    name: String,
    count: u32,
    written: Instant,
}

/// What is to be written.
enum Step {
    Create,
    Raise(Series),
    Nothing,
}

impl Events {
    /// A writer; `instance` names this process, e.g. its pod.
    pub fn new(instance: &str) -> Self {
        let memory = Memory { series: BTreeMap::new(), allowance: f64::from(PER_MINUTE), refilled: Instant::now() };
        Self { instance: instance.chars().take(128).collect(), memory: Mutex::new(memory) }
    }

    /// Tells a notice.
    ///
    /// # Errors
    /// As the API server refuses. Nothing need be done about it.
    pub async fn tell(&self, cluster: &ControllerCluster, notice: &Notice) -> Result<Told, ClusterError> {
        let step = self.memory().step(notice, Instant::now());
        match step {
            Step::Nothing => Ok(Told::KeptBack),
            Step::Create => self.create(cluster, notice).await.map(|()| Told::New),
            Step::Raise(series) => raise(cluster, &series).await.map(|()| Told::Repeated),
        }
    }

    async fn create(&self, cluster: &ControllerCluster, notice: &Notice) -> Result<(), ClusterError> {
        let now = clock::now();
        let (namespace, regarding) = reference(cluster, &notice.regarding);
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": "retile-", "namespace": namespace},
            "eventTime": clock::micros(now),
            "reportingController": CONTROLLER,
            "reportingInstance": self.instance,
            "action": notice.happened.action(),
            "reason": notice.happened.reason(),
            "type": notice.happened.kind(),
            "regarding": regarding,
            "note": notice.note.chars().take(NOTE).collect::<String>(),
        });
        let call = Call {
            method: Method::POST,
            path: format!("/apis/events.k8s.io/v1/namespaces/{}/events", name(&namespace)?),
            content: Content::Object(&event),
            question: Question::Plain,
        };
        let made: Value = cluster.server().write(&call).await?;
        let name = made["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.memory().remember(notice, Series { namespace, name, count: 1, written: Instant::now() });
        Ok(())
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn raise(cluster: &ControllerCluster, series: &Series) -> Result<(), ClusterError> {
    let patch = json!({"series": {"count": series.count, "lastObservedTime": clock::micros(clock::now())}});
    let call = Call {
        method: Method::PATCH,
        path: format!("/apis/events.k8s.io/v1/namespaces/{}/events/{}", name(&series.namespace)?, name(&series.name)?),
        content: Content::Merge(&patch),
        question: Question::Plain,
    };
    cluster.server().send(&call).await
}

impl Memory {
    /// Decides about a notice, and notes the decision.
    fn step(&mut self, notice: &Notice, now: Instant) -> Step {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.allowance = (self.allowance + passed * f64::from(PER_MINUTE) / 60.0).min(f64::from(PER_MINUTE));
        self.refilled = now;
        self.series.retain(|_, series| now.saturating_duration_since(series.written) < SERIES);
        if let Some(series) = self.series.get_mut(notice) {
            // A count that is not written yet is written with the next.
            series.count = series.count.saturating_add(1);
            if now.saturating_duration_since(series.written) < REPEAT || self.allowance < 1.0 {
                return Step::Nothing;
            }
            series.written = now;
            self.allowance -= 1.0;
            return Step::Raise(series.clone());
        }
        if self.allowance < 1.0 {
            return Step::Nothing;
        }
        self.allowance -= 1.0;
        Step::Create
    }

    fn remember(&mut self, notice: &Notice, series: Series) {
        if self.series.len() >= REMEMBERED
            && let Some(oldest) =
                self.series.iter().min_by_key(|(_, series)| series.written).map(|(key, _)| key.clone())
        {
            self.series.remove(&oldest);
        }
        self.series.insert(notice.clone(), series);
    }
}

/// Namespace of an event, and the reference to what it is about. Events about objects of the cluster are in `default`.
fn reference(cluster: &ControllerCluster, regarding: &Regarding) -> (String, Value) {
    match regarding {
        Regarding::Pod(PodRef { namespace, name, uid }) => {
            let reference =
                json!({"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid});
            (namespace.clone(), reference)
        }
        Regarding::Node(name) => {
            let uid = cluster.uids(name).1.unwrap_or_default();
            ("default".to_owned(), json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}))
        }
        Regarding::MigNode(name) => {
            let uid = cluster.uids(name).0.unwrap_or_default();
            let version = format!("{}/{}", crd::GROUP, crd::VERSION);
            ("default".to_owned(), json!({"apiVersion": version, "kind": "MigNode", "name": name, "uid": uid}))
        }
        Regarding::MigPolicy(name, uid) => {
            let version = format!("{}/{}", crd::GROUP, crd::VERSION);
            ("default".to_owned(), json!({"apiVersion": version, "kind": "MigPolicy", "name": name, "uid": uid}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(name: &str) -> Notice {
        Notice { regarding: Regarding::Node(name.to_owned()), happened: Happened::Degraded, note: "broken".to_owned() }
    }

    fn memory() -> Memory {
        Memory { series: BTreeMap::new(), allowance: f64::from(PER_MINUTE), refilled: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_notice_raises_a_count_now_and_then() {
        let (mut memory, start) = (memory(), Instant::now());
        assert!(matches!(memory.step(&notice("a"), start), Step::Create));
        let series = Series { namespace: "default".into(), name: "x".into(), count: 1, written: start };
        memory.remember(&notice("a"), series);
        for seconds in 1..300 {
            assert!(matches!(memory.step(&notice("a"), start + Duration::from_secs(seconds)), Step::Nothing));
        }
        let Step::Raise(series) = memory.step(&notice("a"), start + REPEAT) else { panic!("nothing is written") };
        assert_eq!(series.count, 301);
        let later = start + REPEAT + SERIES;
        assert!(matches!(memory.step(&notice("a"), later), Step::Create), "a new series");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_kept_back() {
        let (mut memory, start) = (memory(), Instant::now());
        let written = (0..1000).filter(|n| matches!(memory.step(&notice(&n.to_string()), start), Step::Create)).count();
        assert_eq!(written, PER_MINUTE as usize);
        let after = start + Duration::from_secs(10);
        let more = (0..1000).filter(|n| matches!(memory.step(&notice(&n.to_string()), after), Step::Create)).count();
        assert_eq!(more, 10);
    }

    #[test]
    fn each_reason_is_its_own() {
        for (happened, reason) in Happened::ALL {
            assert_eq!(happened.reason(), reason);
        }
    }
}
