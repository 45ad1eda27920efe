//! Waiting for what real servers do in their own time. A limit only turns a test that hangs into one that fails.

use std::time::{Duration, Instant};

/// Far more than anything here takes, on a machine that is busy with much else.
const LIMIT: Duration = Duration::from_mins(4);
const STEP: Duration = Duration::from_millis(50);

/// Looks again and again until there is something to see.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(LIMIT, what, look).await
}

/// The same with another limit.
pub async fn eventually_within<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(start.elapsed() < limit, "not within {} s: {what}", limit.as_secs());
        tokio::time::sleep(STEP).await;
    }
}
