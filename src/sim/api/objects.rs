//! The objects that the API server keeps, reduced to what the loop, the protocol and the cluster's own controllers read and write.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::port::Lease;
use crate::exec::{MigNodeSpec, MigNodeStatus, TAINT_KEY, Taint};
use crate::model::PodRef;

/// Label of a pod that names its work.
pub const WORK: &str = "work";
/// Label of a pod that names the application that its work belongs to.
pub const APP: &str = "app";
/// Namespace of all work.
pub const NAMESPACE: &str = "default";
/// Namespace of the device plugin.
pub const PLUGIN_NAMESPACE: &str = "gpu-operator";

/// Namespace and name; cluster-scoped objects have no namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Name {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Name {
    /// Name of a namespaced object.
    pub fn of(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Name of a cluster-scoped object.
    pub fn cluster(name: &str) -> Self {
        Self::of("", name)
    }
}

impl From<&PodRef> for Name {
    fn from(pod: &PodRef) -> Self {
        Self::of(&pod.namespace, &pod.name)
    }
}

/// What all objects have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Namespace and name.
    pub name: Name,
    /// Set by the server, never used again.
    pub uid: String,
    /// Version of the object: the global counter at its last write.
    pub version: u64,
    /// Grows when the spec changes.
    pub generation: u64,
    /// When it was created, in milliseconds of the server's clock.
    pub created: u64,
    /// When it will have been deleted, grace included; set while it is being deleted.
    pub deletion: Option<u64>,
    /// Grace period of the deletion under way, in seconds; zero once nothing but finalizers holds it.
    pub deletion_grace: Option<u64>,
    /// Who must agree before it goes.
    pub finalizers: BTreeSet<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// What all objects have.
    pub meta: Meta,
    /// Condition `Ready`.
    pub ready: bool,
    /// Cordoned by people.
    pub unschedulable: bool,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Grows whenever the kubelet writes the status.
    pub heartbeat: u64,
    /// Allocatable extended resources.
    pub allocatable: BTreeMap<String, u64>,
    /// Allocatable CPU in millicores.
    pub cpu_milli: i64,
    /// Allocatable places for pods.
    pub max_pods: i64,
}

/// What a pod tolerates; an empty key with `exists` tolerates everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toleration {
    /// Key, empty for all keys.
    pub key: String,
    /// Value that must be equal, unless `exists`.
    pub value: String,
    /// Operator `Exists`.
    pub exists: bool,
    /// Effect, empty for all effects.
    pub effect: String,
}

impl Toleration {
    /// Whether it covers a taint.
    pub fn covers(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = if self.key.is_empty() { self.exists } else { self.key == taint.key };
        effect && key && (self.exists || self.value == taint.value)
    }
}

/// What made a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Owner {
    /// Nobody.
    #[default]
    None,
    /// A ReplicaSet.
    ReplicaSet,
    /// A StatefulSet.
    StatefulSet,
    /// A Job.
    Job,
    /// A DaemonSet.
    DaemonSet,
}

/// Phase of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum PodPhase {
    /// Not all containers have started.
    #[default]
    Pending,
    /// Containers run.
    Running,
    /// All ended well.
    Succeeded,
    /// Some ended badly, or the node never let it in.
    Failed,
}

/// Why a pod stops before its time, as its conditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disruption {
    /// Through the eviction API.
    Evicted,
    /// By the scheduler, for a pod of higher priority.
    Preempted,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// What all objects have.
    pub meta: Meta,
    /// What made it.
    pub owner: Owner,
    /// Node that it is bound to.
    pub node: Option<String>,
    /// Phase.
    pub phase: PodPhase,
    /// Whether it is Ready.
    pub ready: bool,
    /// Reason of a failure, e.g. `UnexpectedAdmissionError`.
    pub reason: String,
    /// Instances that it asks for, by resource.
    pub requests: BTreeMap<String, u32>,
    /// CPU that it asks for, in millicores.
    pub cpu_milli: i64,
    /// Priority.
    pub priority: i32,
    /// Whether it may displace others (`preemptionPolicy` is not `Never`).
    pub preempts: bool,
    /// What it tolerates.
    pub tolerations: Vec<Toleration>,
    /// Grace period in seconds.
    pub grace_seconds: u64,
    /// Condition `PodScheduled` is false with reason `Unschedulable`.
    pub unschedulable: bool,
    /// Node where the scheduler makes room for it.
    pub nominated: Option<String>,
    /// Condition `DisruptionTarget`.
    pub disruption: Option<Disruption>,
}

impl Pod {
    /// Which pod.
    pub fn pod_ref(&self) -> PodRef {
        let Name { namespace, name } = self.meta.name.clone();
        PodRef { namespace, name, uid: self.meta.uid.clone() }
    }

    /// Whether its containers have ended for good.
    pub fn finished(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Whether it is being deleted.
    pub fn deleting(&self) -> bool {
        self.meta.deletion.is_some()
    }

    /// Whether it is of the device plugin.
    pub fn device_plugin(&self) -> bool {
        self.owner == Owner::DaemonSet && self.meta.name.namespace == PLUGIN_NAMESPACE
    }

    /// Whether it tolerates all taints of a node that keep pods away.
    pub fn tolerates(&self, taints: &[Taint]) -> bool {
        let hard = taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
        hard.into_iter().all(|taint| self.tolerations.iter().any(|toleration| toleration.covers(taint)))
    }

    /// Whether it tolerates our own taint, whatever operation it names.
    pub fn tolerates_ours(&self) -> bool {
        let ours = Taint { key: TAINT_KEY.to_owned(), value: String::new(), effect: "NoSchedule".to_owned() };
        self.tolerates(&[ours])
            || self.tolerations.iter().any(|toleration| toleration.key == TAINT_KEY && toleration.effect != "NoExecute")
    }

    /// The work that it does.
    pub fn work(&self) -> Option<&str> {
        self.meta.labels.get(WORK).map(String::as_str)
    }
}

/// An amount of pods, or a share of them in per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// Per cent, rounded up.
    Percent(u32),
}

impl Amount {
    /// The number out of `total`; shares round up, as Kubernetes does.
    pub fn of(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(share) => (u64::from(total) * u64::from(share)).div_ceil(100).try_into().unwrap_or(u32::MAX),
        }
    }
}

/// What a disruption budget demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetRule {
    /// So many stay available.
    MinAvailable(Amount),
    /// So many may be away.
    MaxUnavailable(Amount),
}

/// A `PodDisruptionBudget`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// What all objects have.
    pub meta: Meta,
    /// Labels that a pod must have; none matches every pod of the namespace.
    pub selector: BTreeMap<String, String>,
    /// What it demands.
    pub rule: BudgetRule,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`.
    pub always_allow_unhealthy: bool,
    /// What its controller last wrote.
    pub status: BudgetStatus,
}

/// Status of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BudgetStatus {
    /// Generation that it is about.
    pub observed: u64,
    /// Evictions allowed now.
    pub allowed: i64,
    /// Healthy pods.
    pub healthy: u32,
    /// Healthy pods that there must be.
    pub desired: u32,
    /// Pods that there should be.
    pub expected: u32,
    /// Pods whose eviction was granted and that are not yet seen to go, with the moment in milliseconds.
    pub disrupted: BTreeMap<String, u64>,
}

impl Budget {
    /// Whether it covers a pod.
    pub fn covers(&self, pod: &Pod) -> bool {
        self.meta.name.namespace == pod.meta.name.namespace
            && self.selector.iter().all(|(key, value)| pod.meta.labels.get(key) == Some(value))
    }
}

/// The record of a node, with what all objects have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// What all objects have.
    pub meta: Meta,
    /// UID of the node that it belongs to, as the first report named it.
    pub owner: String,
    /// What the controller wants.
    pub spec: MigNodeSpec,
    /// What the agent reports.
    pub status: MigNodeStatus,
}

/// The leader's lease, with what all objects have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseObject {
    /// What all objects have.
    pub meta: Meta,
    /// Its content.
    pub lease: Lease,
}
