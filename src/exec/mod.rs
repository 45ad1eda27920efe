//! The operation protocol: how one node's planned change becomes instances, without ever hurting anybody on the way.
//!
//! Two machines share the work, each without any input or output of its own. The *controller side* claims a node, taints it, lets it
//! settle, evicts, restarts the device plugin, and releases; the *agent side* destroys and creates instances and rolls back what it
//! cannot finish. A machine is told what happened and answers with the one thing to do next ([`Next`]): a request, a rest, or its end.
//! Whoever drives it, a production task or the simulator, answers requests; a crash is that nobody delivers the answer.
//!
//! Inputs: an [`Operation`] made from a plan's node. Outputs: requests of the [`port`] types. Invariants:
//!
//! * Every decision is derived from what was just read (record, node, pods, board), never from what a machine remembers, except for how long
//!   it has been waiting. A machine that starts anew at any point finishes or rolls back what it finds.
//! * Records are written by compare-and-swap, so that two controllers cannot both lead one operation.
//! * An instance is destroyed only with an [`IdleProof`], and only if the operation names it.
//!
//! Must not depend on the planner or the solver, on clocks, chance or the environment: no meaningful choice is left for execution time.

pub mod agent_side;
mod backoff;
mod controller_side;
mod draft;
mod layout;
pub mod marks;
mod ownership;
pub mod port;
mod proof;
mod record;
mod seen;
mod spelling;
#[cfg(test)]
mod tests;
mod timing;
mod view;

pub use agent_side::{AgentEnd, AgentMachine};
pub use backoff::Backoff;
pub use controller_side::{Closed, OperationMachine};
pub use draft::{DraftError, Origin, draft, repair};
pub use layout::advertises;
pub use ownership::{Foreign, foreign_owner, partitioner_of};
pub use proof::{IdleProof, NotIdle};
pub use record::{
    AgentPhase, DETAIL, Ended, GpuReport, GpuTarget, HISTORY, InstanceReport, MigNode, MigNodeSpec, MigNodeStatus,
    Operation, OperationId, OperationReport, Outcome, PROTOCOL, Phase, ReportedOccupancy, SHARERS, Version, Victim,
};
pub use spelling::result;
pub use timing::{Moment, Timing};
pub use view::{NodeView, PodView, TAINT_KEY, Taint};

/// Defects that tests switch on.
pub use crate::model::mutant;

use std::time::Duration;

/// What a machine is told.
#[derive(Debug, Clone)]
pub enum Event<Reply> {
    /// The machine starts, or its rest is over, or something that it watches has changed: it looks again.
    Wake,
    /// The answer to its last request.
    Reply(Reply),
}

/// What a machine does next; always exactly one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<Request, End> {
    /// It asks, and waits for the answer.
    Ask(Request),
    /// It rests for this long, or until it is woken.
    Rest(Duration),
    /// It has nothing more to do.
    End(End),
}
