//! Which waiting pods count: those that have waited long enough, and whose shape of demand was not planned for in vain.
//!
//! Inputs: observations, and how operations ended. Outputs: why a pod does not count yet, and when it will. Times are this process's own: a pod's
//! wait begins when it is first seen and goes on as long as it stays, so that pods of one burst count some looks apart; [`super::burst`] brings them
//! together. Bounded by the pods that wait, and by shapes that failed lately.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::exec::{Backoff, Moment};
use crate::model::{PendingPod, PlanningInput, PodRef, Reason};

use super::settings::Settings;

/// Most that the waiting time is multiplied with for demand that keeps vanishing.
const FICKLE_MOST: u32 = 7;
/// Time after which one vanished pod less is held against a shape.
const FICKLE_DECAY: Duration = Duration::from_mins(10);

/// Pods that ask for the same, for the same people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    namespace: String,
    priority: i32,
    demand: Vec<(String, u32)>,
}

#[derive(Debug)]
struct Waiting {
    since: Moment,
    shape: Shape,
    /// Whether a plan was made in which it counted.
    planned: bool,
}

/// What is held against a shape.
#[derive(Debug, Default)]
struct Doubts {
    failures: Backoff,
    held_until: Moment,
    /// Pods that vanished soon after they had come.
    fickle: u32,
    fickle_since: Moment,
}

/// The waiting pods, and what is known of their kind.
#[derive(Debug, Default)]
pub(super) struct DemandBook {
    waiting: BTreeMap<PodRef, Waiting>,
    doubts: BTreeMap<Shape, Doubts>,
    /// Pods that an operation was for, and until when they should be bound.
    expected: BTreeMap<PodRef, (Shape, Moment)>,
    /// Pods that were not bound in time, since this was last asked.
    stolen: usize,
}

impl DemandBook {
    /// Notes who waits, who was bound (by UID) and who has vanished.
    pub(super) fn note(&mut self, input: &PlanningInput, bound: &BTreeSet<&str>, settings: &Settings, now: Moment) {
        for pod in input.pending() {
            self.waiting.entry(pod.pod.clone()).or_insert_with(|| Waiting {
                since: now,
                shape: shape(pod, input),
                planned: false,
            });
        }
        let present: BTreeSet<&PodRef> =
            input.pending().iter().map(|pod| &pod.pod).chain(input.unplannable().iter().map(|pod| &pod.pod)).collect();
        self.settle_expected(&present, bound, settings, now);
        let young = Duration::from_secs(input.policy().stability.min_pending_age_seconds) * 2;
        let gone: Vec<PodRef> = self.waiting.keys().filter(|pod| !present.contains(pod)).cloned().collect();
        for pod in gone {
            let Some(waiting) = self.waiting.remove(&pod) else { continue };
            if bound.contains(pod.uid.as_str()) {
                if let Some(doubts) = self.doubts.get_mut(&waiting.shape) {
                    doubts.failures.reset();
                    doubts.held_until = now;
                }
            } else if now.since(waiting.since) < young {
                let doubts = self.doubts.entry(waiting.shape).or_default();
                doubts.fickle = doubts.fickle.saturating_add(1).min(FICKLE_MOST);
                doubts.fickle_since = now;
            }
        }
        self.forget(settings, now);
    }

    /// Whether the operations for pods that should be bound by now were in vain.
    fn settle_expected(
        &mut self,
        present: &BTreeSet<&PodRef>,
        bound: &BTreeSet<&str>,
        settings: &Settings,
        now: Moment,
    ) {
        let Self { doubts, stolen, expected, .. } = self;
        expected.retain(|pod, (shape, until)| {
            if bound.contains(pod.uid.as_str()) {
                doubts.remove(shape);
                return false;
            }
            if !present.contains(pod) {
                return false;
            }
            if now < *until {
                return true;
            }
            *stolen += 1;
            let doubts = doubts.entry(shape.clone()).or_default();
            // Several pods of one shape fail together but once.
            if doubts.held_until <= now {
                doubts.held_until = now + doubts.failures.fail(settings.back_off_first, settings.back_off_most);
            }
            false
        });
    }

    /// How many pods were not bound in time although the operation for them was done, since the last call.
    pub(super) fn take_stolen(&mut self) -> usize {
        std::mem::take(&mut self.stolen)
    }

    fn forget(&mut self, settings: &Settings, now: Moment) {
        self.doubts.retain(|_, doubts| {
            if now.since(doubts.fickle_since) >= FICKLE_DECAY {
                doubts.fickle = doubts.fickle.saturating_sub(1);
                doubts.fickle_since = now;
            }
            let failed = doubts.failures.failures() > 0 && now.since(doubts.held_until) < settings.back_off_most;
            failed || doubts.fickle > 0
        });
    }

    /// Notes that an operation that was for these pods has done its part.
    pub(super) fn expect(&mut self, beneficiaries: &[PodRef], landing: Duration, now: Moment) {
        for pod in beneficiaries {
            if let Some(waiting) = self.waiting.get(pod) {
                self.expected.insert(pod.clone(), (waiting.shape.clone(), now + landing));
            }
        }
    }

    /// When a pod counts, by its age alone.
    fn settles(&self, waiting: &Waiting, least: Duration) -> Moment {
        let fickle = self.doubts.get(&waiting.shape).map_or(0, |doubts| doubts.fickle);
        waiting.since + least.saturating_mul(fickle + 1)
    }

    /// Why a waiting pod does not count yet, with what will change it.
    pub(super) fn hold_back(&self, pod: &PodRef, least: Duration, now: Moment) -> Option<(Reason, String, String)> {
        let waiting = self.waiting.get(pod)?;
        let settles = self.settles(waiting, least);
        if settles > now {
            let left = settles.since(now).as_secs().max(1);
            let detail = format!("it has waited {} s and counts in {left} s", now.since(waiting.since).as_secs());
            return Some((Reason::CoolingDown, detail, "wait; the policy's minPendingAge sets how long".to_owned()));
        }
        let doubts = self.doubts.get(&waiting.shape).filter(|doubts| doubts.held_until > now)?;
        let (failures, left) = (doubts.failures.failures(), doubts.held_until.since(now).as_secs().max(1));
        let detail =
            format!("{failures} operations in a row did not get such pods scheduled; the next try is in {left} s");
        Some((
            Reason::CoolingDown,
            detail,
            "see the scheduler's events of the pod: what keeps it off its node?".to_owned(),
        ))
    }

    /// Notes that a plan is made now, in which every pod counts that is not held back.
    pub(super) fn planned(&mut self, least: Duration, now: Moment) {
        let counting: Vec<PodRef> =
            self.waiting.keys().filter(|pod| self.hold_back(pod, least, now).is_none()).cloned().collect();
        for pod in counting {
            if let Some(waiting) = self.waiting.get_mut(&pod) {
                waiting.planned = true;
            }
        }
    }

    /// When each pod that no plan has counted yet will count; a moment that is past for one that counts now.
    pub(super) fn counts(&self, least: Duration) -> impl Iterator<Item = Moment> {
        let new = self.waiting.values().filter(|waiting| !waiting.planned);
        let held = |waiting: &Waiting| self.doubts.get(&waiting.shape).map_or(Moment(0), |doubts| doubts.held_until);
        new.map(move |waiting| self.settles(waiting, least).max(held(waiting)))
    }
}

fn shape(pod: &PendingPod, input: &PlanningInput) -> Shape {
    let name = |resource: crate::model::ResourceId| input.resources()[resource.index()].clone();
    Shape {
        namespace: pod.pod.namespace.clone(),
        priority: pod.priority,
        demand: pod.demand.iter().map(|(resource, count)| (name(resource), count)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Cluster, pod, settings};

    const LEAST: Duration = Duration::from_secs(30);

    struct Desk {
        book: DemandBook,
        cluster: Cluster,
        now: Moment,
    }

    impl Desk {
        fn new() -> Self {
            let mut cluster = Cluster::new().node("a", &[&[]]);
            cluster.policy.stability.min_pending_age_seconds = 30;
            Self { book: DemandBook::default(), cluster, now: Moment(0) }
        }

        /// Looks at who waits, `seconds` later; `bound` are pods that run now.
        fn look(&mut self, seconds: u64, waiting: &[&str], bound: &[&str]) {
            self.now = self.now + Duration::from_secs(seconds);
            self.cluster.pending = waiting.iter().map(|name| ((*name).to_owned(), ("1g.5gb", 0))).collect();
            let bound: Vec<String> = bound.iter().map(|name| pod(name).uid).collect();
            let bound = bound.iter().map(String::as_str).collect();
            self.book.note(&self.cluster.observe().input, &bound, &settings("a"), self.now);
        }

        fn counts(&self, name: &str) -> bool {
            self.book.hold_back(&pod(name), LEAST, self.now).is_none()
        }

        /// An operation for a pod that does not get it scheduled.
        fn in_vain(&mut self, name: &str) {
            self.book.expect(&[pod(name)], Duration::from_mins(1), self.now);
            self.look(60, &[name], &[]);
        }
    }

    #[test]
    fn a_pod_counts_when_it_has_waited_by_our_own_clock() {
        let mut desk = Desk::new();
        desk.look(0, &["p"], &[]);
        assert!(!desk.counts("p"), "whatever age the input says");
        assert_eq!(desk.book.counts(LEAST).collect::<Vec<_>>(), [Moment(30_000)]);
        desk.look(29, &["p"], &[]);
        assert!(!desk.counts("p"));
        desk.look(1, &["p"], &[]);
        assert!(desk.counts("p"));
        desk.book.planned(LEAST, desk.now);
        assert_eq!(desk.book.counts(LEAST).count(), 0, "a plan has counted it");
    }

    #[test]
    fn demand_that_keeps_vanishing_waits_longer_for_a_while() {
        let mut desk = Desk::new();
        for name in ["p1", "p2"] {
            desk.look(1, &[name], &[]);
        }
        desk.look(1, &["p3"], &[]);
        desk.look(60, &["p3"], &[]);
        assert!(!desk.counts("p3"), "two have vanished: three times the age");
        desk.look(30, &["p3"], &[]);
        assert!(desk.counts("p3"));
        for _ in 0..3 {
            desk.look(600, &["p3"], &[]);
        }
        desk.look(1, &["p4"], &["p3"]);
        desk.look(30, &["p4"], &[]);
        assert!(desk.counts("p4"), "it is forgiven");
    }

    #[test]
    fn demand_that_ran_or_waited_long_may_go() {
        let mut desk = Desk::new();
        desk.look(0, &["served", "patient"], &[]);
        desk.look(10, &["patient"], &["served"]);
        desk.look(60, &["next"], &[]);
        desk.look(30, &["next"], &[]);
        assert!(desk.counts("next"));
    }

    #[test]
    fn a_shape_whose_operations_are_in_vain_is_held_back_longer_each_time_and_forgiven_after_a_success() {
        let mut desk = Desk::new();
        desk.look(0, &["p"], &[]);
        desk.look(30, &["p"], &[]);
        let mut waits = Vec::new();
        for _ in 0..12 {
            desk.in_vain("p");
            let from = desk.now;
            let (reason, _, _) = desk.book.hold_back(&pod("p"), LEAST, desk.now).expect("held back");
            assert_eq!(reason, Reason::CoolingDown);
            while !desk.counts("p") {
                desk.look(60, &["p"], &[]);
            }
            waits.push(desk.now.since(from).as_secs() / 60);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 360, 360, 360, 360, 360], "in minutes, saturating");
        desk.book.expect(&[pod("p")], Duration::from_mins(1), desk.now);
        desk.look(30, &["q"], &["p"]);
        desk.look(30, &["q"], &[]);
        desk.in_vain("q");
        desk.look(300, &["q"], &[]);
        assert!(desk.counts("q"), "after a success it starts over");
    }
}
