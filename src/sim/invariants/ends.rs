//! What an operation leaves behind: S8.

use std::collections::BTreeMap;

use super::{Checker, Invariant};
use crate::exec::{OperationId, Outcome};

/// What runs on the nodes that an operation touches, and what the node offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Running pods by priority. Those that end or arrive by themselves in between are in neither census.
    pub running: BTreeMap<i32, u64>,
    /// Instances of the node by profile.
    pub capacity: BTreeMap<String, u64>,
}

/// An operation that has ended, long enough ago that those who gain by it run.
#[derive(Debug, Clone, Copy)]
pub struct SeenEnd<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Which operation.
    pub operation: &'a OperationId,
    /// How it ended.
    pub outcome: Outcome,
    /// Lowest priority of those for whom it was done; none if it was done for nobody.
    pub lowest: Option<i32>,
    /// When it was claimed.
    pub before: &'a Census,
    /// Now.
    pub after: &'a Census,
}

impl Checker {
    /// An operation has ended.
    pub fn on_end(&mut self, at: u64, seen: &SeenEnd<'_>) {
        match seen.outcome {
            Outcome::Done => self.check_running(at, seen),
            Outcome::RolledBack | Outcome::Aborted => self.check_capacity(at, seen),
            Outcome::NodeGone | Outcome::Degraded => {}
        }
    }

    fn check_running(&mut self, at: u64, seen: &SeenEnd<'_>) {
        let from = |census: &Census, priority: i32| census.running.range(priority..).map(|(_, count)| count).sum();
        let lowest = seen.lowest.unwrap_or(i32::MIN);
        let levels = seen.before.running.range(lowest..).map(|(priority, _)| *priority);
        let loss = levels.chain(seen.lowest).find_map(|priority| {
            let (before, after): (u64, u64) = (from(seen.before, priority), from(seen.after, priority));
            (after < before).then(|| format!("{before} pods of priority {priority} and above ran, {after} do"))
        });
        if let Some(loss) = loss {
            self.violated(at, Invariant::S8, seen.node, format!("{}: {loss}", seen.operation));
        }
    }

    fn check_capacity(&mut self, at: u64, seen: &SeenEnd<'_>) {
        let now = |profile: &String| seen.after.capacity.get(profile).copied().unwrap_or(0);
        let lost = seen.before.capacity.iter().find(|(profile, before)| now(profile) < **before);
        if let Some((profile, before)) = lost {
            let what = format!("{} was given up: {before} {profile} were there, {} are", seen.operation, now(profile));
            self.violated(at, Invariant::S8, seen.node, what);
        }
    }
}
