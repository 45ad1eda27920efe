//! What changes cost, beside what clearing and making whole GPUs anew would have cost.

use std::collections::BTreeSet;
use std::fmt;

use fake_nvml::boards::Board;
use retile::plan::Place;

/// Sums over changes of one kind of board.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    changes: usize,
    /// Calls of any kind.
    calls: usize,
    ours: Work,
    whole: Work,
    /// Held instances that stood on a board that changed.
    neighbours: usize,
}

/// Instances, and the time that they take.
#[derive(Debug, Default, Clone)]
struct Work {
    destroyed: usize,
    created: usize,
    seconds: f64,
}

impl Work {
    fn add(&mut self, board: &Board, destroyed: &BTreeSet<&Place>, created: &BTreeSet<&Place>) {
        self.destroyed += destroyed.len();
        self.created += created.len();
        let seconds = |place: &Place, which: usize| {
            let profile = board.profiles.iter().find(|profile| profile.name == place.profile).expect("of this board");
            board.seconds(profile.id)[which]
        };
        self.seconds += created.iter().map(|place| seconds(place, 0)).sum::<f64>();
        self.seconds += destroyed.iter().map(|place| seconds(place, 1)).sum::<f64>();
    }
}

impl Ledger {
    /// Notes a change.
    pub(crate) fn note(&mut self, key: &str, base: &[Place], target: &[Place], held: usize, calls: usize) {
        let board = Board::find(key).expect("a board");
        let (base, target): (BTreeSet<&Place>, BTreeSet<&Place>) = (base.iter().collect(), target.iter().collect());
        self.changes += 1;
        self.calls += calls;
        self.neighbours += held;
        self.ours.add(board, &(&base - &target), &(&target - &base));
        self.whole.add(board, &base, &target);
    }
}

/// One line of the table.
pub(crate) const HEAD: &str = "board             changes  calls each  | one by one: destroyed created seconds each | whole GPU: destroyed \
created seconds each  held instances destroyed";

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, calls, ours, whole, neighbours } = self;
        let each = |sum: f64| sum / (*changes).max(1) as f64;
        write!(
            f,
            "{changes:>7}  {:>10.0}  | {:>21} {:>7} {:>12.2} | {:>20} {:>7} {:>12.2}  {neighbours:>24}",
            each(*calls as f64),
            ours.destroyed,
            ours.created,
            each(ours.seconds),
            whole.destroyed,
            whole.created,
            each(whole.seconds)
        )
    }
}
