//! When a burst of demand is over, so that one plan counts all of it.
//!
//! Inputs: when a plan is due, and when each pod that no plan has counted will count. Output: when the plan is made. Pure. Pods of one `kubectl apply`
//! are seen by different looks and count some seconds apart; a plan for the first of them alone would cut boards that the others then find in
//! their way. Invariant: a plan is put off by at most [`MOST`], however steadily pods arrive.

use std::time::Duration;

use crate::exec::Moment;

/// Pods that count no further apart belong together; more than from one look to the next ([`crate::exec::Timing::poll`]).
const GAP: Duration = Duration::from_secs(4);
/// The longest that a plan waits for more.
const MOST: Duration = Duration::from_secs(10);

/// When a plan is made that is due at a moment, where pods begin to count at these moments, and whoever no look has seen yet not before he
/// has waited for `least`.
pub(super) fn end(due: Moment, counts: impl Iterator<Item = Moment>, least: Duration) -> Moment {
    let bound = due + MOST;
    let mut counts: Vec<Moment> = counts.filter(|&counts| counts <= bound).collect();
    counts.sort_unstable();
    let mut end = due;
    for &counts in &counts {
        if counts.since(end) > GAP {
            break;
        }
        end = end.max(counts);
    }
    // Pods that wait for less than the gap come unannounced: only time tells that there are no more.
    let unannounced = GAP.saturating_sub(least);
    let last = counts.into_iter().filter(|&counts| counts <= end).max();
    last.map_or(end, |last| end.max(last + unannounced)).min(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(30);

    /// When a plan is made that is due at 100 s, in seconds.
    fn made(counts: &[u64], least: Duration) -> u64 {
        let counts = counts.iter().map(|seconds| Moment(seconds * 1000));
        end(Moment(100_000), counts, least).since(Moment(0)).as_secs()
    }

    #[test]
    fn a_plan_waits_for_pods_that_count_soon_and_for_those_that_follow_them() {
        assert_eq!(made(&[], LEAST), 100);
        assert_eq!(made(&[100], LEAST), 100, "alone");
        assert_eq!(made(&[102, 100, 101], LEAST), 102, "in any order");
        assert_eq!(made(&[100, 104, 108], LEAST), 108);
        assert_eq!(made(&[100, 105], LEAST), 100, "too far apart");
        assert_eq!(made(&[80, 103], LEAST), 103, "the first was to wait for the last plan's rest");
        assert_eq!(made(&[103], LEAST), 103, "a plan of the period as well");
    }

    #[test]
    fn a_steady_trickle_puts_a_plan_off_no_longer_than_the_bound() {
        let trickle: Vec<u64> = (100..200).collect();
        assert_eq!(made(&trickle, LEAST), 110);
        assert_eq!(made(&trickle, Duration::ZERO), 110);
    }

    #[test]
    fn pods_that_count_at_once_are_waited_for_unseen() {
        assert_eq!(made(&[100], Duration::ZERO), 104);
        assert_eq!(made(&[100], Duration::from_secs(3)), 101);
        assert_eq!(made(&[98], Duration::ZERO), 102);
        assert_eq!(made(&[50], Duration::ZERO), 100, "it has been quiet since");
        assert_eq!(made(&[], Duration::ZERO), 100, "nobody is new");
    }
}
