//! Who leads: takes the lease, renews it, and knows by its own clock how long that is good for.
//!
//! Inputs: answers to `GetLease` and `WriteLease`. Outputs: these requests. Invariants: a lease of another is taken only after it has stood
//! still for its whole duration *by this process's own clock*; leadership counts from the moment at which the renewal was sent, not answered,
//! and is never resumed once it has run out.

use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Lease};
use crate::exec::{Event, Moment, Next, Version};

use super::settings::LeaseTimes;

/// Writes of unknown fate that are remembered; one that is forgotten counts as somebody else's.
const ATTEMPTS: usize = 8;

/// The lease has run out, or belongs to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

/// The machine that holds, or waits for, the lease.
#[derive(Debug)]
pub(super) struct LeaseMachine {
    identity: String,
    times: LeaseTimes,
    held: Option<Held>,
    /// What was written since the last success, and when; no two say the same, so that each is told by its content.
    attempts: Vec<(Lease, Moment)>,
    /// The lease of another as it was seen first, and when.
    seen: Option<(Lease, Moment)>,
    /// Lowest number of transitions that the next lease may say.
    floor: u64,
}

#[derive(Debug)]
struct Held {
    version: Version,
    lease: Lease,
    renewed: Moment,
}

impl LeaseMachine {
    pub(super) fn new(identity: String, times: LeaseTimes) -> Self {
        Self { identity, times, held: None, attempts: Vec::new(), seen: None, floor: 0 }
    }

    /// Whether this process leads, and may still act on it.
    pub(super) fn leads(&self, now: Moment) -> bool {
        self.held.as_ref().is_some_and(|held| now.since(held.renewed) < self.times.renew_within)
    }

    /// Whether this process led and has let the lease run out.
    pub(super) fn expired(&self, now: Moment) -> bool {
        self.held.is_some() && !self.leads(now)
    }

    /// The fencing number, while this process holds the lease.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.lease.transitions.max(self.floor))
    }

    /// Makes the fencing number greater than one that was found in a record, which happens when the lease object was lost.
    pub(super) fn exceed(&mut self, epoch: u64) {
        self.floor = self.floor.max(epoch.saturating_add(1));
    }

    pub(super) fn step(&mut self, event: Event<ClusterReply>, now: Moment) -> Next<ClusterRequest, Lost> {
        if self.expired(now) {
            return Next::End(Lost);
        }
        match event {
            Event::Wake => self.wake(now),
            Event::Reply(Ok(ClusterAnswer::Lease(version, lease))) => self.see(version, lease, now),
            Event::Reply(Err(ClusterError::NotFound)) => self.write(None, now),
            Event::Reply(Err(ClusterError::Conflict)) => Next::Ask(ClusterRequest::GetLease),
            Event::Reply(Ok(_) | Err(_)) => Next::Rest(self.times.retry),
        }
    }

    fn wake(&mut self, now: Moment) -> Next<ClusterRequest, Lost> {
        match &self.held {
            Some(held) if self.attempts.is_empty() => {
                let version = held.version;
                self.write(Some(version), now)
            }
            Some(_) | None => Next::Ask(ClusterRequest::GetLease),
        }
    }

    fn see(&mut self, version: Version, lease: Lease, now: Moment) -> Next<ClusterRequest, Lost> {
        if let Some(&(_, renewed)) = self.attempts.iter().find(|(written, _)| *written == lease) {
            self.attempts.clear();
            self.held = Some(Held { version, lease, renewed });
            return if self.leads(now) { Next::Rest(self.times.retry) } else { Next::End(Lost) };
        }
        if let Some(held) = &mut self.held {
            if held.lease != lease {
                return Next::End(Lost);
            }
            held.version = version;
            return self.write(Some(version), now);
        }
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != lease) {
            self.seen = Some((lease, now));
        }
        let Some((seen, since)) = &self.seen else { return Next::Rest(self.times.retry) };
        if seen.holder.is_empty() || now.since(*since) >= self.times.duration {
            return self.write(Some(version), now);
        }
        Next::Rest(self.times.retry)
    }

    /// Takes or renews the lease.
    fn write(&mut self, version: Option<Version>, now: Moment) -> Next<ClusterRequest, Lost> {
        let (last, transitions) = match (&self.held, &self.seen) {
            (Some(held), _) => (held.lease.renewals, held.lease.transitions),
            (None, Some((lease, _))) => (lease.renewals, lease.transitions + 1),
            (None, None) => (0, 1),
        };
        let written = self.attempts.iter().map(|(lease, _)| lease.renewals).max().unwrap_or(0);
        let lease = Lease {
            holder: self.identity.clone(),
            renewals: last.max(written) + 1,
            transitions: transitions.max(self.floor),
        };
        if self.attempts.len() == ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push((lease.clone(), now));
        Next::Ask(ClusterRequest::WriteLease { version, lease })
    }
}
