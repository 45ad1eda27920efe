//! Who leads: takes the lease, renews it, and knows by its own clock how long that is good for.
//!
//! Inputs: answers to `GetLease` and `WriteLease`. Outputs: these requests. Invariants: a lease of another is taken only after it has stood
//! still for its whole duration *by this process's own clock*; leadership counts from the moment at which the renewal was sent, not answered,
//! and is never resumed once it has run out. A lease that is gone frees nobody: its holder acts on until it runs out and makes it anew with its next
//! renewal, so that who has seen it held waits for its whole duration as well. A fencing number counts once the lease itself says it.

use crate::exec::mutant::{self, Mutant};
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
    /// Since when there is no lease where one was seen.
    missing: Option<Moment>,
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
        Self { identity, times, held: None, attempts: Vec::new(), seen: None, missing: None, floor: 0 }
    }

    /// Whether this process leads, and may still act on it.
    pub(super) fn leads(&self, now: Moment) -> bool {
        self.held.as_ref().is_some_and(|held| now.since(held.renewed) < self.times.renew_within)
    }

    /// Until when this process may act on the lease that it holds; none while it holds none.
    pub(super) fn fresh_until(&self) -> Option<Moment> {
        self.held.as_ref().map(|held| held.renewed + self.times.renew_within)
    }

    /// The request that hands the lease back, so that another process need not wait for it to run out. None where it is not held, or where
    /// it is not known what the last write came to.
    pub(super) fn resign(&mut self, now: Moment) -> Option<ClusterRequest> {
        if !self.leads(now) || !self.attempts.is_empty() {
            return None;
        }
        let Held { version, lease, renewed: _ } = self.held.take()?;
        // The transitions stay: whoever takes an empty lease counts on from there.
        let lease = Lease { holder: String::new(), renewals: lease.renewals + 1, transitions: lease.transitions };
        Some(ClusterRequest::WriteLease { version: Some(version), lease })
    }

    /// Whether this process led and has let the lease run out.
    pub(super) fn expired(&self, now: Moment) -> bool {
        self.held.is_some() && !self.leads(now)
    }

    /// The fencing number, while this process holds the lease.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.lease.transitions)
    }

    /// Makes the fencing number greater than one that was found in a record, as of the next renewal. That happens when the lease object was lost; or
    /// somebody else leads by now, which the renewal finds out: who is outdated must not outbid.
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
            Event::Reply(Err(ClusterError::NotFound)) => self.gone(now),
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

    /// There is no lease. Whoever held it may act on it for a while, and may not know yet.
    fn gone(&mut self, now: Moment) -> Next<ClusterRequest, Lost> {
        let others = self.held.is_none() && self.seen.as_ref().is_some_and(|(lease, _)| !lease.holder.is_empty());
        let since = *self.missing.get_or_insert(now);
        if others && now.since(since) < self.times.duration {
            return Next::Rest(self.times.retry);
        }
        self.write(None, now)
    }

    fn see(&mut self, version: Version, lease: Lease, now: Moment) -> Next<ClusterRequest, Lost> {
        self.missing = None;
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
        let stale = mutant::on(Mutant(25)) && now.since(Moment(seen.renewals)) >= self.times.duration;
        if seen.holder.is_empty() || now.since(*since) >= self.times.duration || stale {
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
            renewals: if mutant::on(Mutant(25)) { now.0 } else { last.max(written) + 1 },
            transitions: transitions.max(self.floor),
        };
        if self.attempts.len() == ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push((lease.clone(), now));
        Next::Ask(ClusterRequest::WriteLease { version, lease })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(identity: &str) -> LeaseMachine {
        LeaseMachine::new(identity.to_owned(), LeaseTimes::default())
    }

    fn lease(holder: &str, renewals: u64, transitions: u64) -> Lease {
        Lease { holder: holder.to_owned(), renewals, transitions }
    }

    fn reply(version: u64, lease: Lease) -> Event<ClusterReply> {
        Event::Reply(Ok(ClusterAnswer::Lease(Version(version), lease)))
    }

    fn written(next: Next<ClusterRequest, Lost>) -> (Option<Version>, Lease) {
        let Next::Ask(ClusterRequest::WriteLease { version, lease }) = next else { panic!("{next:?}") };
        (version, lease)
    }

    const READ: Next<ClusterRequest, Lost> = Next::Ask(ClusterRequest::GetLease);
    const REST: Next<ClusterRequest, Lost> = Next::Rest(std::time::Duration::from_secs(2));

    /// A machine that has taken a lease that was not there, with what it wrote.
    fn leader() -> (LeaseMachine, Lease) {
        let mut machine = machine("a");
        assert_eq!(machine.step(Event::Wake, Moment(0)), READ);
        let (version, mine) = written(machine.step(Event::Reply(Err(ClusterError::NotFound)), Moment(0)));
        assert_eq!((version, &mine), (None, &lease("a", 1, 1)));
        assert_eq!(machine.step(reply(1, mine.clone()), Moment(100)), REST);
        (machine, mine)
    }

    #[test]
    fn a_lease_of_another_is_taken_after_it_has_stood_still_by_our_own_clock() {
        let mut machine = machine("b");
        machine.step(Event::Wake, Moment(0));
        assert_eq!(machine.step(reply(7, lease("a", 40, 3)), Moment(0)), REST);
        assert_eq!(machine.step(reply(8, lease("a", 41, 3)), Moment(14_000)), REST, "it was renewed");
        assert_eq!(machine.step(reply(8, lease("a", 41, 3)), Moment(28_900)), REST);
        let (version, mine) = written(machine.step(reply(8, lease("a", 41, 3)), Moment(29_000)));
        assert_eq!((version, &mine), (Some(Version(8)), &lease("b", 42, 4)), "the epoch grows with the holder");
        assert!(!machine.leads(Moment(29_000)), "not before the write is answered");
        machine.step(reply(9, mine), Moment(29_500));
        assert!(machine.leads(Moment(29_500)));
        assert_eq!(machine.epoch(), Some(4));
    }

    #[test]
    fn a_lease_that_was_handed_back_is_taken_at_once() {
        let mut machine = machine("b");
        assert_eq!(written(machine.step(reply(8, lease("", 41, 3)), Moment(0))).1, lease("b", 42, 4));
    }

    #[test]
    fn leadership_counts_from_when_the_renewal_was_sent_and_is_not_resumed() {
        let (mut machine, mine) = leader();
        let (version, renewed) = written(machine.step(Event::Wake, Moment(2_000)));
        assert_eq!((version, &renewed), (Some(Version(1)), &lease("a", 2, 1)));
        machine.step(reply(2, renewed), Moment(9_000));
        assert!(machine.leads(Moment(11_900)) && !machine.leads(Moment(12_000)));
        assert!(machine.expired(Moment(12_000)));
        assert_eq!(machine.step(reply(2, mine), Moment(12_000)), Next::End(Lost));
    }

    #[test]
    fn a_write_whose_answer_is_lost_is_known_by_what_it_said() {
        let (mut machine, _) = leader();
        let (_, renewed) = written(machine.step(Event::Wake, Moment(2_000)));
        let lost = || Event::Reply(Err(ClusterError::Unknown("timeout".into())));
        assert_eq!(machine.step(lost(), Moment(3_000)), REST);
        assert_eq!(machine.step(Event::Wake, Moment(5_000)), READ);
        assert_eq!(machine.step(reply(2, renewed), Moment(5_100)), REST, "it had been applied");
        assert!(!machine.leads(Moment(12_000)), "as of its sending");
        let (_, next) = written(machine.step(Event::Wake, Moment(7_000)));
        assert_eq!(machine.step(lost(), Moment(7_000)), REST);
        assert_eq!(machine.step(Event::Wake, Moment(9_000)), READ);
        let (_, again) = written(machine.step(reply(2, lease("a", 2, 1)), Moment(9_000)));
        assert!(next != again, "each write can be told from the others");
    }

    #[test]
    fn another_holder_ends_it() {
        let (mut machine, _) = leader();
        machine.step(Event::Wake, Moment(2_000));
        assert_eq!(machine.step(Event::Reply(Err(ClusterError::Conflict)), Moment(2_000)), READ);
        assert_eq!(machine.step(reply(5, lease("b", 2, 2)), Moment(2_100)), Next::End(Lost));
    }

    #[test]
    fn it_is_handed_back_only_when_it_is_known_to_be_held() {
        let (mut machine, mine) = leader();
        assert_eq!(machine.fresh_until(), Some(Moment(10_000)));
        let (_, renewed) = written(machine.step(Event::Wake, Moment(2_000)));
        assert_eq!(machine.resign(Moment(2_000)), None, "a write is outstanding");
        machine.step(reply(2, renewed), Moment(2_100));
        let handed_back = machine.resign(Moment(2_200)).expect("it is held");
        let empty = Lease { holder: String::new(), renewals: 3, ..mine };
        assert_eq!(handed_back, ClusterRequest::WriteLease { version: Some(Version(2)), lease: empty });
        assert!(!machine.leads(Moment(2_200)) && machine.fresh_until().is_none());
        assert_eq!(leader().0.resign(Moment(10_000)), None, "it has run out");
    }

    #[test]
    fn a_lease_object_that_is_lost_does_not_lower_the_epoch() {
        let (mut machine, _) = leader();
        machine.exceed(6);
        assert_eq!(machine.epoch(), Some(1), "not before the lease says it");
        machine.step(Event::Wake, Moment(2_000));
        let (version, mine) = written(machine.step(Event::Reply(Err(ClusterError::NotFound)), Moment(2_000)));
        assert_eq!((version, mine.transitions), (None, 7));
        machine.step(reply(9, mine), Moment(2_100));
        assert_eq!(machine.epoch(), Some(7));
    }

    #[test]
    fn a_leader_that_is_outdated_does_not_outbid_the_new_one() {
        let (mut machine, _) = leader();
        // The lease was deleted and taken, and the new leader's number is on record.
        machine.exceed(2);
        assert_eq!(machine.epoch(), Some(1), "not before the lease says it");
        assert_eq!(written(machine.step(Event::Wake, Moment(2_000))).1.transitions, 3);
        assert_eq!(machine.step(Event::Reply(Err(ClusterError::Conflict)), Moment(2_000)), READ);
        assert_eq!(machine.step(reply(5, lease("b", 2, 2)), Moment(2_100)), Next::End(Lost));
    }

    #[test]
    fn a_lease_that_is_gone_is_taken_only_after_its_duration_by_who_has_seen_it_held() {
        let gone = || Event::Reply(Err(ClusterError::NotFound));
        let mut machine = machine("b");
        machine.step(Event::Wake, Moment(0));
        assert_eq!(machine.step(reply(7, lease("a", 40, 3)), Moment(0)), REST);
        assert_eq!(machine.step(gone(), Moment(14_000)), REST, "it may have been renewed a moment ago");
        assert_eq!(machine.step(reply(9, lease("a", 41, 3)), Moment(16_000)), REST, "its holder has made it anew");
        assert_eq!(machine.step(gone(), Moment(18_000)), REST);
        assert_eq!(machine.step(gone(), Moment(32_900)), REST);
        let (version, mine) = written(machine.step(gone(), Moment(33_000)));
        assert_eq!((version, mine), (None, lease("b", 42, 4)));
    }
}
