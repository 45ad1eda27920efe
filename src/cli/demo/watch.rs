//! What happens in a simulated cluster, followed as it happens and told in words.
//!
//! Input: the simulator's [`History`], which only grows. Outputs: counts and [`Event`]s. Invariant: following it in one go or piece by piece
//! gives the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::show::names::some_of;
use crate::exec::Outcome;
use crate::plan::PlannedInstance;
use crate::sim::{BurstReason, History, Record, Stamped};

/// Names listed in one line.
const NAMES: usize = 3;

/// Counts of pieces of work, and of what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    /// Waiting now.
    pub(super) waiting: u64,
    /// Running now.
    pub(super) running: u64,
    /// Started at least once, here.
    pub(super) served: u64,
    /// Gone elsewhere.
    pub(super) elsewhere: u64,
    /// Evictions by retile.
    pub(super) moved: u64,
    /// Operations carried out.
    pub(super) changes: u64,
}

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// When, in milliseconds.
    pub(super) at: u64,
    /// Node.
    pub(super) node: String,
    /// What.
    pub(super) text: String,
}

/// An instance by place and profile.
type Cut = BTreeMap<u8, String>;

/// Follows a history.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: usize,
    layouts: BTreeMap<(String, u32), Cut>,
    /// When an instance that is there was made, for those that were not there at the start.
    made: BTreeMap<(String, u32, u8), u64>,
    /// Layouts of a node when its operation was claimed.
    claimed: BTreeMap<String, BTreeMap<u32, Cut>>,
    started: BTreeSet<String>,
    running: BTreeSet<String>,
    counters: Counters,
    events: Vec<Event>,
}

impl Watch {
    /// Follows what is new.
    pub(super) fn follow(&mut self, history: &History) {
        for Stamped { at, record } in history.records.iter().skip(self.seen) {
            self.take(*at, record);
        }
        self.seen = history.records.len();
    }

    /// The counts now.
    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// All that was worth telling, in order.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// When the instance of a GPU at a start was made; none if it was there from the start.
    pub(super) fn made(&self, node: &str, index: u32, start: u8) -> Option<u64> {
        self.made.get(&(node.to_owned(), index, start)).copied()
    }

    fn take(&mut self, at: u64, record: &Record) {
        match record {
            Record::Arrived { work: _, instances: _ } => self.counters.waiting += 1,
            Record::Started { work, node: _ } => {
                if self.running.insert(work.clone()) {
                    self.counters.running += 1;
                    self.counters.waiting = self.counters.waiting.saturating_sub(1);
                }
                if self.started.insert(work.clone()) {
                    self.counters.served += 1;
                }
            }
            Record::Evicted { work, lost: _ } => {
                self.counters.moved += 1;
                self.waits_again(work);
            }
            Record::Interrupted { work, lost: _ } => self.waits_again(work),
            Record::Finished { work } => {
                if self.running.remove(work) {
                    self.counters.running -= 1;
                }
            }
            Record::Burst { work, reason, rest: _ } => {
                if self.running.remove(work) {
                    self.counters.running -= 1;
                } else {
                    self.counters.waiting = self.counters.waiting.saturating_sub(1);
                }
                self.counters.elsewhere += 1;
                let why = match reason {
                    BurstReason::OutOfPatience => "has waited long enough and goes elsewhere",
                    BurstReason::Lost => "is lost and goes elsewhere",
                };
                self.tell(at, "", format!("{work} {why}"));
            }
            Record::Gpu { node, index, model: _, instances } => self.cut(at, node, *index, instances),
            Record::Claimed { node, operation: _, victims } => {
                self.claimed.insert(node.clone(), self.layouts_of(node));
                let text = match victims.as_slice() {
                    [] => "is claimed for a change; nobody has to move".to_owned(),
                    some => format!("is claimed for a change; to move: {}", some_of(some, NAMES)),
                };
                self.tell(at, node, text);
            }
            Record::Ended { node, operation: _, outcome } => self.ended(at, node, *outcome),
            Record::Planned { served: _, unserved: _ } => {}
        }
    }

    fn tell(&mut self, at: u64, node: &str, text: String) {
        self.events.push(Event { at, node: node.to_owned(), text });
    }

    fn waits_again(&mut self, work: &str) {
        if self.running.remove(work) {
            self.counters.running -= 1;
            self.counters.waiting += 1;
        }
    }

    fn cut(&mut self, at: u64, node: &str, index: u32, instances: &[PlannedInstance]) {
        let now: Cut = instances.iter().map(|instance| (instance.start, instance.profile.clone())).collect();
        let key = (node.to_owned(), index);
        if let Some(before) = self.layouts.get(&key) {
            for (start, profile) in &now {
                if before.get(start) != Some(profile) {
                    self.made.insert((node.to_owned(), index, *start), at);
                }
            }
        }
        self.layouts.insert(key, now);
    }

    fn layouts_of(&self, node: &str) -> BTreeMap<u32, Cut> {
        let here = self.layouts.iter().filter(|((name, _), _)| name == node);
        here.map(|((_, index), cut)| (*index, cut.clone())).collect()
    }

    fn ended(&mut self, at: u64, node: &str, outcome: Outcome) {
        let before = self.claimed.remove(node).unwrap_or_default();
        let text = match outcome {
            Outcome::Done => {
                self.counters.changes += 1;
                let changed: Vec<String> = self
                    .layouts_of(node)
                    .into_iter()
                    .filter_map(|(index, after)| change(index, before.get(&index)?, &after))
                    .collect();
                if changed.is_empty() { "agrees with its board again".to_owned() } else { changed.join("; ") }
            }
            Outcome::RolledBack => "is as it was before: the change could not be finished".to_owned(),
            Outcome::Aborted => "stays as it is: the change was given up before anything was touched".to_owned(),
            Outcome::NodeGone => "is gone".to_owned(),
            Outcome::Degraded => "needs a person: neither the old nor the new layout could be reached".to_owned(),
        };
        self.tell(at, node, text);
    }
}

/// `GPU 1: 3g.40gb -> 2g.20gb 1g.10gb`: what went and what came.
fn change(index: u32, before: &Cut, after: &Cut) -> Option<String> {
    let only = |one: &Cut, other: &Cut| -> Vec<String> {
        let mut counts: BTreeMap<&String, u32> = BTreeMap::new();
        for (start, profile) in one {
            if other.get(start) != Some(profile) {
                *counts.entry(profile).or_default() += 1;
            }
        }
        // Large ones first, as people cut.
        let shown = counts.into_iter().rev().map(|(profile, count)| match count {
            1 => profile.clone(),
            count => format!("{count} x {profile}"),
        });
        shown.collect()
    };
    let (gone, come) = (only(before, after), only(after, before));
    let or_nothing = |list: Vec<String>| if list.is_empty() { "free slots".to_owned() } else { list.join(" + ") };
    (before != after).then(|| format!("GPU {index}: {} -> {}", or_nothing(gone), or_nothing(come)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(cut: &[(&str, u8)]) -> Vec<PlannedInstance> {
        let instance = |&(profile, start): &(&str, u8)| PlannedInstance {
            start,
            size: 1,
            profile: profile.into(),
            pods: Vec::new(),
            occupancy_unknown: false,
        };
        cut.iter().map(instance).collect()
    }

    fn gpu(cut: &[(&str, u8)]) -> Record {
        Record::Gpu { node: "n".into(), index: 1, model: "A100".into(), instances: instances(cut) }
    }

    fn told() -> History {
        let work = |name: &str| name.to_owned();
        let records = [
            gpu(&[("3g.40gb", 0), ("3g.40gb", 4)]),
            Record::Arrived { work: work("a"), instances: BTreeMap::new() },
            Record::Arrived { work: work("b"), instances: BTreeMap::new() },
            Record::Arrived { work: work("c"), instances: BTreeMap::new() },
            Record::Started { work: work("a"), node: "n".into() },
            Record::Claimed { node: "n".into(), operation: "op".into(), victims: vec![work("a")] },
            Record::Evicted { work: work("a"), lost: 0 },
            gpu(&[("3g.40gb", 4)]),
            gpu(&[("1g.10gb", 0), ("1g.10gb", 1), ("2g.20gb", 2), ("3g.40gb", 4)]),
            Record::Ended { node: "n".into(), operation: "op".into(), outcome: Outcome::Done },
            Record::Started { work: work("a"), node: "n".into() },
            Record::Started { work: work("b"), node: "n".into() },
            Record::Burst { work: work("c"), reason: BurstReason::OutOfPatience, rest: 5 },
            Record::Finished { work: work("b") },
        ];
        let stamp = |(at, record): (usize, Record)| Stamped { at: at as u64, record };
        History { records: records.into_iter().enumerate().map(stamp).collect(), end: 20 }
    }

    #[test]
    fn counts_and_events_are_those_of_the_story() {
        let mut watch = Watch::default();
        watch.follow(&told());
        let counted = Counters { waiting: 0, running: 1, served: 2, elsewhere: 1, moved: 1, changes: 1 };
        assert_eq!(watch.counters(), counted);
        let texts: Vec<&str> = watch.events().iter().map(|event| event.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "is claimed for a change; to move: a",
                "GPU 1: 3g.40gb -> 2g.20gb + 2 x 1g.10gb",
                "c has waited long enough and goes elsewhere",
            ]
        );
        assert_eq!((watch.made("n", 1, 0), watch.made("n", 1, 4)), (Some(8), None));
    }

    #[test]
    fn piece_by_piece_is_the_same_as_in_one_go() {
        let whole = told();
        let mut watch = Watch::default();
        for length in 0..=whole.records.len() {
            watch.follow(&History { records: whole.records[..length].to_vec(), end: 0 });
        }
        let mut once = Watch::default();
        once.follow(&whole);
        assert_eq!((watch.counters(), watch.events()), (once.counters(), once.events()));
    }
}
