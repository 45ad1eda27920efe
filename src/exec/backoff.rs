//! How long to wait before the next try: twice as long each time, up to a limit, and short again after a success.

use std::time::Duration;

use super::mutant::{self, Mutant};

/// Failed tries in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes another failure and says how long to wait: `first`, doubled with each failure before, at most `most`.
    pub fn fail(&mut self, first: Duration, most: Duration) -> Duration {
        let before = self.failures;
        self.failures = self.failures.saturating_add(1);
        if mutant::on(Mutant(34)) {
            return Duration::from_millis((first.as_millis() as u64).wrapping_shl(before).wrapping_mul(1 << before));
        }
        let factor = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
        first.saturating_mul(factor).min(most)
    }

    /// Failures since the last success.
    pub fn failures(self) -> u32 {
        self.failures
    }

    /// Notes a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(5);
    const MOST: Duration = Duration::from_mins(1);

    #[test]
    fn doubles_up_to_the_limit_and_starts_over_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..6).map(|_| backoff.fail(FIRST, MOST).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.fail(FIRST, MOST), FIRST);
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn never_overflows_nor_shrinks() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..200).map(|_| backoff.fail(FIRST, MOST)).collect();
        assert!(waits.is_sorted() && waits[199] == MOST);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.fail(FIRST, Duration::MAX), FIRST.saturating_mul(u32::MAX));
        assert_eq!(backoff.failures(), u32::MAX);
    }
}
