//! What happened in a simulated cluster: the one source of reports, charts and savings.

use std::collections::BTreeMap;

use crate::exec::Outcome;
use crate::plan::PlannedInstance;

/// Everything that happened, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Records ordered by time.
    pub records: Vec<Stamped>,
    /// When the simulation ended, in milliseconds.
    pub end: u64,
}

/// A record with its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// Milliseconds from the start.
    pub at: u64,
    /// What happened.
    pub record: Record,
}

/// Why work went elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BurstReason {
    /// It had waited as long as it was willing to.
    OutOfPatience,
    /// It was lost: evicted or rejected, and nothing makes it again.
    Lost,
}

/// Something that happened. Work is named by [`Arrival::name`](super::Arrival::name), whatever its pods are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Work arrived.
    Arrived {
        /// Which.
        work: String,
        /// Instances that it needs, by profile.
        instances: BTreeMap<String, u32>,
    },
    /// Work runs, for the first time or again.
    Started {
        /// Which.
        work: String,
        /// Node.
        node: String,
    },
    /// Work was evicted by us; it waits again, or is lost.
    Evicted {
        /// Which.
        work: String,
        /// Running time that must be done again, in milliseconds.
        lost: u64,
    },
    /// Work stopped for another reason: preempted, rejected by its node, or lost with it; it waits again, or is lost.
    Interrupted {
        /// Which.
        work: String,
        /// Running time that must be done again, in milliseconds.
        lost: u64,
    },
    /// Work is done.
    Finished {
        /// Which.
        work: String,
    },
    /// Work went elsewhere.
    Burst {
        /// Which.
        work: String,
        /// Why.
        reason: BurstReason,
        /// Running time that it still needed, in milliseconds.
        rest: u64,
    },
    /// A GPU's instances, or who holds them, have changed; also at the start for every GPU.
    Gpu {
        /// Node.
        node: String,
        /// Index on the node.
        index: u32,
        /// Product name.
        model: String,
        /// All instances now; `pods` names the work that holds them.
        instances: Vec<PlannedInstance>,
    },
    /// An operation was claimed.
    Claimed {
        /// Node.
        node: String,
        /// Operation.
        operation: String,
        /// Work to be evicted.
        victims: Vec<String>,
    },
    /// An operation ended.
    Ended {
        /// Node.
        node: String,
        /// Operation.
        operation: String,
        /// How.
        outcome: Outcome,
    },
    /// The loop has planned.
    Planned {
        /// Waiting pods that the plan serves.
        served: u64,
        /// Waiting pods that it does not.
        unserved: u64,
    },
}
