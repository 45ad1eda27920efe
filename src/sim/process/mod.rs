//! What runs as a process in the simulated cluster, seen from the engine: machines that ask, rest and end.
//!
//! A process has one or more slots, each with at most one request or rest under way: the agent has one, the controller one for its lease,
//! one for its loop and one for each operation. Invariants: a process knows its own monotonic clock only; a crash drops it with all that it
//! remembers.

mod agent;
mod controller;

pub use agent::Agent;
pub use controller::{ControllerProcess, Said};

use std::fmt;
use std::time::Duration;

use crate::exec::Moment;
use crate::exec::port::{ClusterReply, ClusterRequest, NodeReply, NodeRequest};

/// What a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProcessId {
    /// A replica of the controller, by number.
    Controller(u32),
    /// The agent of a node.
    Agent(String),
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(number) => write!(f, "controller-{number}"),
            Self::Agent(node) => write!(f, "agent@{node}"),
        }
    }
}

/// A part of a process that has one request or rest at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The only one of an agent.
    Agent,
    /// The controller's lease.
    Lease,
    /// The controller's loop.
    Loop,
    /// The controller's operation on a node.
    Operation(String),
}

/// A request of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To the API server.
    Cluster(ClusterRequest),
    /// To its own node.
    Node(NodeRequest),
}

/// The answer to a [`Request`] of the same kind.
#[derive(Debug, Clone)]
pub enum Reply {
    /// From the API server.
    Cluster(ClusterReply),
    /// From the node.
    Node(NodeReply),
}

/// What a slot is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// Its rest is over, or something that it watches has changed.
    Wake,
    /// The answer to its request.
    Reply(Reply),
}

/// What a slot does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Asks, and waits for the answer.
    Ask(Request),
    /// Rests so long, or until it is woken.
    Rest(Duration),
    /// Is over.
    End,
    /// The whole process ends, to be made anew.
    Exit,
}

/// The code of a process.
pub trait Program {
    /// Starts; each slot's first action.
    fn start(&mut self, now: Moment) -> Vec<(Slot, Action)>;

    /// Tells a slot something; the next action of that slot, and the first ones of new slots.
    fn step(&mut self, slot: &Slot, told: Told, now: Moment) -> Vec<(Slot, Action)>;
}
