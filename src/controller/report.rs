//! What one cycle of the loop saw, planned and started: the source of metrics, events and the demo. Bounded, whatever the cluster.

use std::collections::BTreeMap;
use std::fmt;

use crate::exec::{Moment, OperationId, Outcome};
use crate::model::{PodRef, Reason};
use crate::plan::UnservedPod;

/// Nodes, pods and operations of each kind that a report lists; beyond these it only counts.
pub const LISTED: usize = 64;

/// One cycle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CycleReport {
    /// When it ended, by the controller's clock.
    pub at: Moment,
    /// What was there.
    pub observed: Observed,
    /// What was planned; none when no plan was due, or none could be made.
    pub planned: Option<Planned>,
    /// Why no plan was made although one was due.
    pub error: Option<String>,
    /// Operations that have begun since the last report, adopted ones and repairs included: the record of the node says so. At most [`LISTED`].
    pub started: Vec<Started>,
    /// Operations that may not begin, with the API server's words, each told once, at most [`LISTED`]. They are tried again.
    pub forbidden: Vec<(String, OperationId, String)>,
    /// Nodes of operations that wait for others to be done, at most [`LISTED`].
    pub waiting: Vec<String>,
    /// Operations that ended since the last report, at most [`LISTED`].
    pub ended: Vec<(String, OperationId, Option<Outcome>, String)>,
    /// Nodes that were left alone, with the reason, at most [`LISTED`] by name.
    pub withdrawn: BTreeMap<String, (Reason, String)>,
    /// Number of all nodes that were left alone.
    pub withdrawn_count: usize,
    /// GPUs that rest.
    pub cooling: usize,
    /// Pods that are still not bound although the operation for them was done in time: somebody else took their place.
    pub stolen: usize,
    /// What became of the plan that a person approved, if one was due.
    pub approval: Option<Approval>,
}

/// What became of an approved plan in one cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Name under which it was approved.
    pub name: String,
    /// Operations that carry it out, drafted in this cycle.
    pub operations: Vec<OperationId>,
    /// Whether some of it waits for budgets or for other operations and is looked at again.
    pub goes_on: bool,
    /// Nodes of it that are not carried out in this cycle, by name, and why.
    pub left_out: BTreeMap<String, LeftOut>,
}

/// Why a node of an approved plan is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// The node, or a GPU of it that is to change, is left alone, whatever would be planned.
    Alone(Reason, String),
    /// The budgets have no room for it now.
    NoRoom(String),
    /// It would not be proposed any more.
    Moved(&'static str),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(reason, why) => write!(f, "left alone: {reason}: {why}"),
            Self::NoRoom(why) => write!(f, "waits: {}: {why}", Reason::BudgetExhausted),
            Self::Moved(why) => f.write_str(why),
        }
    }
}

/// What was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// Nodes.
    pub nodes: usize,
    /// GPUs.
    pub gpus: usize,
    /// Pods that hold instances.
    pub running: usize,
    /// Waiting pods that can be planned for.
    pub pending: usize,
    /// Waiting pods that cannot.
    pub unplannable: usize,
}

/// What was planned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// Waiting pods that find a place.
    pub served: usize,
    /// Of these, on instances that are there already.
    pub existing: usize,
    /// Waiting pods that do not, by reason; all of them.
    pub unserved: BTreeMap<Reason, usize>,
    /// Such pods with words and remedy, at most [`LISTED`] by name.
    pub why: Vec<UnservedPod>,
    /// Nodes that the plan changes.
    pub nodes: usize,
    /// GPUs that it changes.
    pub gpus: usize,
    /// Pods that it evicts.
    pub evictions: usize,
    /// Nodes whose changes the budgets did not let start, at most [`LISTED`].
    pub put_off: Vec<String>,
    /// Operations that carry the plan out, those that wait for others included.
    pub operations: Vec<OperationId>,
}

/// An operation that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Node.
    pub node: String,
    /// Operation.
    pub operation: OperationId,
    /// Why, as far as it was not planned.
    pub cause: Cause,
    /// UUIDs of the GPUs that it changes.
    pub gpus: Vec<String>,
    /// Pods to evict.
    pub victims: Vec<PodRef>,
    /// Waiting pods that it is for.
    pub beneficiaries: Vec<PodRef>,
}

/// Why an operation was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A plan asks for it.
    Planned,
    /// An earlier leader left it.
    Adopted,
    /// Something is wrong with the node.
    Repair(&'static str),
}
