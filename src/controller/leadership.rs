//! The lease as it is shared: one machine, stepped by whoever renews it, and asked by whoever acts on it.
//!
//! Inputs: answers to the lease's requests, the moment. Outputs: these requests, and whether this process leads. Holds no thread and no clock.
//! Invariant: a lock is held for one step of the lease's machine and never while anything is planned, so that a lease can be renewed while its
//! holder is busy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lease::LeaseMachine;
use super::machine::Farewell;
use super::settings::LeaseTimes;
use crate::exec::port::{ClusterReply, ClusterRequest};
use crate::exec::{Event, Moment, Next};

/// A handle on this process's leadership; its clones are the same lease.
#[derive(Debug, Clone)]
pub struct Leadership(Arc<Mutex<LeaseMachine>>);

impl Leadership {
    pub(super) fn new(identity: String, times: LeaseTimes) -> Self {
        Self(Arc::new(Mutex::new(LeaseMachine::new(identity, times))))
    }

    /// Takes in what happened to the lease and says what to do next; [`Farewell::LostLeadership`] when it is lost.
    pub fn step(&self, event: Event<ClusterReply>, now: Moment) -> Next<ClusterRequest, Farewell> {
        match self.machine().step(event, now) {
            Next::Ask(request) => Next::Ask(request),
            Next::Rest(wait) => Next::Rest(wait),
            Next::End(_) => Next::End(Farewell::LostLeadership),
        }
    }

    /// Whether this process leads, and may still act on it.
    pub fn leads(&self, now: Moment) -> bool {
        self.machine().leads(now)
    }

    /// Whether this process led and has let the lease run out.
    pub fn expired(&self, now: Moment) -> bool {
        self.machine().expired(now)
    }

    /// Until when this process may act on the lease that it holds; none while it holds none.
    pub fn fresh_until(&self) -> Option<Moment> {
        self.machine().fresh_until()
    }

    /// The request that hands the lease back; none where it is not held, or where it is not known what the last write came to.
    pub fn resign(&self, now: Moment) -> Option<ClusterRequest> {
        self.machine().resign(now)
    }

    /// The fencing number, while this process holds the lease.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.machine().epoch()
    }

    /// Makes the fencing number greater than one that was found in a record, as of the next renewal.
    pub(super) fn exceed(&self, epoch: u64) {
        self.machine().exceed(epoch);
    }

    fn machine(&self) -> MutexGuard<'_, LeaseMachine> {
        // A step either happens or not; a panic in another thread leaves what was true before.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
