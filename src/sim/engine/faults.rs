//! Faults: what may go wrong with each single request.

use crate::exec::port::{ClusterError, NodeError};
use crate::sim::process::{ProcessId, Request, Slot};
use crate::sim::world::Hand;

use super::kinds::RequestKind;

/// A request on its way, as a fault sees it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The moment, in milliseconds.
    pub at: u64,
    /// Who asks.
    pub process: &'a ProcessId,
    /// Which part of it.
    pub slot: &'a Slot,
    /// What is asked.
    pub request: &'a Request,
    /// Its kind.
    pub kind: RequestKind,
    /// How many requests there were before, of all processes.
    pub number: u64,
    /// How many of this kind there were before.
    pub number_of_kind: u64,
}

/// An error that a fault makes; one of the kind of the request, or it is told as an unknown one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Of the API server.
    Cluster(ClusterError),
    /// Of the node.
    Node(NodeError),
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// What should.
    #[default]
    Pass,
    /// It has no effect, and this is the answer.
    Refuse(Refusal),
    /// It has its effect, and this is the answer.
    Lose(Refusal),
    /// It takes so many milliseconds more.
    Delay(u64),
    /// The caller is told that it failed, and it has its effect only so many milliseconds later.
    Late(u64, Refusal),
    /// It is never answered; whether it has its effect.
    Hang(bool),
    /// A read is answered from the state of so many versions ago.
    Stale(u64),
    /// The caller crashes before the request is sent.
    CrashBefore,
    /// The caller crashes when the request has had its effect, before it is answered.
    CrashAfter,
}

/// What somebody does around a request.
#[derive(Debug, Clone, Default)]
pub struct Deeds {
    /// Before it is sent.
    pub before: Vec<Hand>,
    /// Right after it had its effect.
    pub after: Vec<Hand>,
}

/// Decides about every request.
pub trait Faults {
    /// What becomes of a request.
    fn judge(&mut self, call: &Call<'_>) -> Verdict;

    /// What somebody does around a request; asked after [`Faults::judge`].
    fn deeds(&mut self, _: &Call<'_>) -> Deeds {
        Deeds::default()
    }
}

/// Nothing goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn judge(&mut self, _: &Call<'_>) -> Verdict {
        Verdict::Pass
    }
}

impl<F: FnMut(&Call<'_>) -> Verdict> Faults for F {
    fn judge(&mut self, call: &Call<'_>) -> Verdict {
        self(call)
    }
}
