//! Moments and waiting times. Moments of two processes are never compared.

use std::time::Duration;

/// A moment on one process's own monotonic clock, in milliseconds from an origin that means nothing elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// Time since an earlier moment; none at all when that moment lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// How long an operation waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the taint to the first look at who is on the node: longer than the scheduler's cache lags.
    pub settle: Duration,
    /// From the first eviction until all victims must be gone.
    pub drain: Duration,
    /// From the claim until the operation must be over, one way or the other.
    pub operation: Duration,
    /// How long a new device plugin may take to serve the layout.
    pub plugin: Duration,
    /// First rest after a refused eviction or a lost race; doubles up to `retry_most`.
    pub retry_first: Duration,
    /// Longest rest between two tries.
    pub retry_most: Duration,
    /// Rest between two looks at something that changes by itself.
    pub poll: Duration,
    /// Longest rest between two reports of an agent that has nothing to do; whatever it watches wakes it sooner.
    pub report: Duration,
    /// Lost races for one write after which an operation gives up.
    pub conflicts: u32,
    /// Tries to destroy an instance that the driver calls in use.
    pub in_use: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(5),
            drain: Duration::from_mins(10),
            operation: Duration::from_mins(18),
            plugin: Duration::from_mins(2),
            retry_first: Duration::from_secs(5),
            retry_most: Duration::from_mins(1),
            poll: Duration::from_secs(2),
            report: Duration::from_secs(15),
            conflicts: 8,
            in_use: 3,
        }
    }
}
