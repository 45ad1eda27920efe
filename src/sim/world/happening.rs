//! Everything that can be next in the queue.

use crate::sim::engine::Refusal;
use crate::sim::process::{ProcessId, Reply, Request, Slot};

use super::hands::Hand;

/// Where an answer goes: to one life of a process, to one request of one of its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) process: ProcessId,
    pub(super) life: u64,
    pub(super) slot: Slot,
    pub(super) token: u64,
}

/// What follows the effect of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// Its answer.
    Answer,
    /// Another answer.
    Say(Refusal),
    /// The caller's crash.
    Crash,
    /// Nothing.
    Nothing,
}

/// A request on its way.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) from: Address,
    pub(super) request: Request,
    pub(super) then: Then,
    /// For reads: from so many versions ago.
    pub(super) stale: u64,
    /// More time until it is answered.
    pub(super) delay: u64,
    /// What somebody does right after it had its effect.
    pub(super) hands: Vec<Hand>,
}

/// An event.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// Work arrives.
    Arrive(String),
    /// The patience of work may be at its end.
    Patience { work: String, waits: u64 },
    /// The owner of work looks at its pods.
    Owner(String),
    /// The scheduler's next cycle.
    Schedule,
    /// The scheduler tries again what did not fit.
    Flush,
    /// The disruption controller writes budgets' status.
    Budgets,
    /// The plugin's DaemonSet looks at a node.
    DaemonSet(String),
    /// The garbage collector looks at the record of a node.
    CollectRecord(String),
    /// The collector of pods looks at a node that was gone.
    CollectPods(String),
    /// A kubelet looks at its pods.
    Kubelet { node: String, boot: u64 },
    /// A kubelet writes the status of its node.
    Heartbeat { node: String, boot: u64 },
    /// Containers of a pod start.
    Start { node: String, boot: u64, uid: String },
    /// Containers of a pod are done with their work.
    Done { node: String, boot: u64, uid: String },
    /// Containers of a pod have ended after they were told to.
    Stopped { node: String, boot: u64, uid: String },
    /// The plugin registers.
    Registers { node: String, boot: u64, uid: String },
    /// A node was silent for long.
    Silent { node: String, boot: u64 },
    /// A node is up again.
    Boot { node: String, boot: u64 },
    /// A request arrives where it is answered.
    Effect(Box<Sent>),
    /// An answer arrives.
    Deliver(Address, Box<Reply>),
    /// A rest is over.
    Rested(Address),
    /// A watch tells a slot that something has changed.
    Wake(ProcessId, Slot),
    /// A process starts.
    Launch(ProcessId),
    /// Somebody else does something.
    Hand(Box<Hand>),
}
