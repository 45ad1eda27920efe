//! What must never happen, and what must happen in the end: checked by one who knows the truth.
//!
//! The engine tells the [`Checker`] every effect, at the moment when it takes effect, with what is true then; nothing here trusts what a
//! machine believes. Inputs: effects with the truth about them. Outputs: [`Violation`]s. Invariants of the checker itself: it never changes
//! what it looks at, and its memory is bounded by the number of nodes, GPUs, operations and pieces of work.
//!
//! What somebody else does between the last look of a machine and its effect cannot be seen by any machine. The engine therefore reports what
//! others do ([`Checker::disturbed`]), and for as long as [`Limits::race`] the rules that depend on it are not judged.

mod effects;
mod ends;
mod evictions;
mod quiet;
mod rule;
#[cfg(test)]
mod tests;
mod writes;

pub use effects::{Look, SeenEffect};
pub use ends::{Census, SeenEnd};
pub use evictions::{SeenDeletion, SeenEviction};
pub use quiet::{Quiet, QuietNode};
pub use rule::{Invariant, Violation};
pub use writes::{FleetCount, SeenNodeWrite, SeenSpecWrite, SeenStatusWrite};

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::{OperationId, Timing};
use crate::model::Policy;

/// Most violations that are kept; the first is what matters.
const KEPT: usize = 100;

/// What the checker measures with; times in milliseconds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The policy in force.
    pub policy: Policy,
    /// Longest grace period of a pod that may be evicted.
    pub grace: u64,
    /// Least time from the taint to the first eviction.
    pub settle: u64,
    /// Longest time between a machine's last look and its effect.
    pub race: u64,
    /// Longest time until a node's status tells what the kubelet knows.
    pub status_lag: u64,
    /// Longest time until an agent tells of a driver that has ceased to answer: its watchdog's, and its way to the API server.
    pub driver_lag: u64,
    /// Time in which one piece of work is evicted at most `policy.stability.pod_move_cap` times.
    pub move_window: u64,
    /// Most bytes of a record.
    pub record_bytes: usize,
    /// Longest rest between two tries of anything.
    pub longest_rest: u64,
}

impl Limits {
    /// The limits that a policy and the protocol's waiting times imply.
    pub fn new(policy: Policy, timing: &Timing) -> Self {
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            policy,
            grace: millis(timing.drain),
            settle: millis(timing.settle),
            race: 5_000,
            status_lag: 15_000,
            driver_lag: 40_000,
            move_window: 6 * 3_600_000,
            record_bytes: 100 * 1024,
            longest_rest: 6 * 3_600_000,
        }
    }
}

/// The checker.
#[derive(Debug, Clone)]
pub struct Checker {
    limits: Limits,
    violations: Vec<Violation>,
    /// When others last changed something about a node, or a pod by UID.
    disturbed: BTreeMap<String, u64>,
    /// What each actor last saw, since its last effect.
    looks: BTreeMap<String, BTreeMap<Look, bool>>,
    /// Highest epoch that was written for a node, by name and UID: one that was made again knows nothing of what the old one's record knew.
    epochs: BTreeMap<(String, String), u64>,
    /// Highest epoch that each controller has put on the lease.
    granted: BTreeMap<String, u64>,
    /// Latest agent process that changed a board of the node.
    agents: BTreeMap<String, u64>,
    /// When each GPU's last change was closed.
    rested: BTreeMap<String, u64>,
    /// When each piece of work was evicted.
    evicted: BTreeMap<String, Vec<u64>>,
    /// Operations that have evicted somebody.
    evicting: BTreeSet<OperationId>,
    /// Operations that an agent has refused; whatever it says of them afterwards, it has touched nothing for them.
    refused: BTreeSet<OperationId>,
    /// Operations that have paused clients.
    pausing: BTreeSet<OperationId>,
    /// The node on which each operation was claimed first.
    names: BTreeMap<OperationId, String>,
    /// When our taint on each node was last set or removed.
    tainted: BTreeMap<String, u64>,
}

impl Checker {
    /// Nothing has happened yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            violations: Vec::new(),
            disturbed: BTreeMap::new(),
            looks: BTreeMap::new(),
            epochs: BTreeMap::new(),
            granted: BTreeMap::new(),
            agents: BTreeMap::new(),
            rested: BTreeMap::new(),
            evicted: BTreeMap::new(),
            evicting: BTreeSet::new(),
            refused: BTreeSet::new(),
            pausing: BTreeSet::new(),
            names: BTreeMap::new(),
            tainted: BTreeMap::new(),
        }
    }

    /// All violations so far, in order; the first hundred.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Another policy is in force.
    pub fn set_policy(&mut self, policy: Policy) {
        self.limits.policy = policy;
    }

    /// Somebody other than us, or a fault, has changed something about a node (by name) or a pod (by UID).
    pub fn disturbed(&mut self, at: u64, what: &str) {
        self.disturbed.insert(what.to_owned(), at);
    }

    fn disturbed_within(&self, at: u64, what: &str, time: u64) -> bool {
        self.disturbed.get(what).is_some_and(|&since| at.saturating_sub(since) <= time)
    }

    fn racing(&self, at: u64, what: &str) -> bool {
        self.disturbed_within(at, what, self.limits.race)
    }

    /// Notes a violation.
    fn violated(&mut self, at: u64, invariant: Invariant, place: &str, what: impl Into<String>) {
        if self.violations.len() < KEPT {
            self.violations.push(Violation { at, invariant, place: place.to_owned(), what: what.into() });
        }
    }
}
