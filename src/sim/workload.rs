//! What arrives at a simulated cluster.

use std::collections::BTreeMap;

/// Pods in order of their arrival.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workload {
    /// Ordered by `at`, then by name.
    pub arrivals: Vec<Arrival>,
}

/// One piece of work: a pod, and what makes it again when it is evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives, in milliseconds from the start.
    pub at: u64,
    /// Its name, unique in the workload.
    pub name: String,
    /// Instances that it needs at the same time on one node, by profile as the boards of the fleet name it.
    pub instances: BTreeMap<String, u32>,
    /// How long it runs, in milliseconds of running time.
    pub runs: u64,
    /// Priority.
    pub priority: i32,
    /// What makes it again.
    pub kind: Kind,
    /// How long it waits in all before it goes elsewhere (to burst capacity), in milliseconds; `None` for ever.
    pub patience: Option<u64>,
}

/// What makes a pod again when it is evicted, and what is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Owned by a ReplicaSet: a new pod goes on with the rest of the running time.
    Service,
    /// Owned by a StatefulSet: a new pod of the same name goes on with the rest.
    Stateful,
    /// Owned by a Job: a new pod starts the work anew.
    Job,
    /// Owned by nobody: evicted, it is lost.
    Bare,
}
