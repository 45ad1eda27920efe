//! Limits on work, counted and never timed, so that the same input gives the same answer on every machine.

/// Decides whether a search may go on.
pub trait Termination {
    /// Accounts for `units` of work (about a nanosecond each) and says whether to stop.
    fn spend(&mut self, units: u64) -> bool;

    /// Work that is left.
    fn left(&self) -> u64;
}

/// Stops after a fixed amount of work.
#[derive(Debug, Clone)]
pub struct WorkLimit {
    left: u64,
}

impl WorkLimit {
    /// Allows `units` of work.
    pub fn new(units: u64) -> Self {
        Self { left: units }
    }
}

impl Default for WorkLimit {
    /// Enough to prove all but the most entangled problems; a run of this length takes on the order of ten seconds.
    fn default() -> Self {
        Self::new(8_000_000_000)
    }
}

impl Termination for WorkLimit {
    fn spend(&mut self, units: u64) -> bool {
        self.left = self.left.saturating_sub(units);
        self.left == 0
    }

    fn left(&self) -> u64 {
        self.left
    }
}
