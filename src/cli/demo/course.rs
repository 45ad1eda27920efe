//! How a simulated story went: who waited, for how long, and what went elsewhere, over time.
//!
//! Input: a whole [`History`]. Invariant: every wait counts until work starts, goes elsewhere, or the story ends.

use std::collections::BTreeMap;

use crate::sim::{History, Record, Stamped};

/// The course of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    /// Equal parts of the time, in order.
    pub(super) parts: Vec<Part>,
    /// What each piece of work has waited in all, in milliseconds, ascending.
    pub(super) waits: Vec<u64>,
}

/// A part of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Part {
    /// Milliseconds of waiting, summed over pods.
    pub(super) waited: u64,
    /// Pieces of work that went elsewhere.
    pub(super) elsewhere: u64,
}

impl Course {
    /// Cuts a story into so many parts.
    pub(super) fn of(history: &History, parts: u64) -> Self {
        let length = history.end.div_ceil(parts.max(1)).max(1);
        let mut course = Self { parts: vec![Part::default(); parts as usize], waits: Vec::new() };
        let mut since: BTreeMap<&str, u64> = BTreeMap::new();
        let mut waits: BTreeMap<&str, u64> = BTreeMap::new();
        for Stamped { at, record } in &history.records {
            match record {
                Record::Arrived { work, instances: _ } => {
                    since.insert(work, *at);
                    waits.insert(work, 0);
                }
                Record::Evicted { work, lost: _ } | Record::Interrupted { work, lost: _ } => {
                    since.insert(work, *at);
                }
                Record::Started { work, node: _ } | Record::Finished { work } => {
                    course.waited(&mut since, &mut waits, work, *at, length);
                }
                Record::Burst { work, reason: _, rest: _ } => {
                    course.waited(&mut since, &mut waits, work, *at, length);
                    if let Some(part) = course.parts.get_mut((at / length) as usize) {
                        part.elsewhere += 1;
                    }
                }
                Record::Gpu { .. } | Record::Claimed { .. } | Record::Ended { .. } | Record::Planned { .. } => {}
            }
        }
        for work in since.keys().copied().collect::<Vec<_>>() {
            course.waited(&mut since, &mut waits, work, history.end, length);
        }
        course.waits = waits.into_values().collect();
        course.waits.sort_unstable();
        course
    }

    /// A wait is over; it counts in every part that it touches.
    fn waited<'h>(
        &mut self,
        since: &mut BTreeMap<&'h str, u64>,
        waits: &mut BTreeMap<&'h str, u64>,
        work: &str,
        until: u64,
        length: u64,
    ) {
        let Some(from) = since.remove(work) else { return };
        if let Some(wait) = waits.get_mut(work) {
            *wait += until.saturating_sub(from);
        }
        for (index, part) in self.parts.iter_mut().enumerate() {
            let (begin, end) = (index as u64 * length, (index as u64 + 1) * length);
            part.waited += until.min(end).saturating_sub(from.max(begin));
        }
    }

    /// Mean wait, in milliseconds.
    pub(super) fn mean(&self) -> u64 {
        self.waits.iter().sum::<u64>().checked_div(self.waits.len() as u64).unwrap_or(0)
    }

    /// The wait that so many percent of the work does not exceed, in milliseconds.
    pub(super) fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.waits.len() * percent).div_ceil(100).max(1);
        self.waits.get(rank - 1).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::BurstReason;

    #[test]
    fn waits_fall_into_the_parts_of_the_time_that_they_touch() {
        let work = |name: &str| name.to_owned();
        let records = [
            (0, Record::Arrived { work: work("a"), instances: BTreeMap::new() }),
            (5, Record::Arrived { work: work("b"), instances: BTreeMap::new() }),
            (10, Record::Started { work: work("a"), node: work("n") }),
            (25, Record::Burst { work: work("b"), reason: BurstReason::OutOfPatience, rest: 1 }),
            (30, Record::Evicted { work: work("a"), lost: 0 }),
        ];
        let records = records.into_iter().map(|(at, record)| Stamped { at, record }).collect();
        let course = Course::of(&History { records, end: 40 }, 2);
        assert_eq!(course.parts, [Part { waited: 10 + 15, elsewhere: 0 }, Part { waited: 5 + 10, elsewhere: 1 }]);
        assert_eq!(course.waits, [20, 20]);
        assert_eq!((course.mean(), course.percentile(50), course.percentile(95)), (20, 20, 20));
    }

    #[test]
    fn nothing_happened_is_no_wait() {
        let course = Course::of(&History::default(), 3);
        assert_eq!((course.mean(), course.percentile(95), course.parts.len()), (0, 0, 3));
    }
}
