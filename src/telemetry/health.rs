//! Whether a program is alive and ready: handles that its loops hold, and what the pages say.
//!
//! *Alive* is that every watched loop has beaten within its time: a loop that stands still is what a restart can cure. *Ready* is that every
//! part has said so: an API server that does not answer makes a program unready, never dead, since a restart would not help.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Health of one program; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Last beat of each loop, and how long it may rest.
    loops: BTreeMap<&'static str, (Instant, Duration)>,
    /// What each part still waits for; none when it is ready.
    parts: BTreeMap<&'static str, Option<String>>,
}

impl Health {
    /// Nothing is watched yet: alive and ready.
    pub fn new() -> Self {
        Self::default()
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        // Whoever panicked with it held has at most left out one note.
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this loop has to [`beat`](Self::beat) at least this often.
    pub fn watch(&self, what: &'static str, within: Duration) {
        self.state(|state| state.loops.insert(what, (Instant::now(), within)));
    }

    /// The loop goes on. Says nothing about a loop that is not watched.
    pub fn beat(&self, what: &'static str) {
        self.beat_at(what, Instant::now());
    }

    fn beat_at(&self, what: &'static str, now: Instant) {
        self.state(|state| {
            if let Some((last, _)) = state.loops.get_mut(what) {
                *last = now;
            }
        });
    }

    /// A loop has ended for good and is not watched any more.
    pub fn unwatch(&self, what: &'static str) {
        self.state(|state| state.loops.remove(what));
    }

    /// The part is ready.
    pub fn ready(&self, part: &'static str) {
        self.state(|state| state.parts.insert(part, None));
    }

    /// The part is not ready; `why` must hold no names of users' objects.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.state(|state| state.parts.insert(part, Some(why.into())));
    }

    /// Whether every loop beats.
    ///
    /// # Errors
    /// What has stood still, one line each.
    pub fn alive(&self) -> Result<(), String> {
        self.alive_at(Instant::now())
    }

    fn alive_at(&self, now: Instant) -> Result<(), String> {
        let still = |(what, (last, within)): (&&str, &(Instant, Duration))| {
            let rest = now.saturating_duration_since(*last);
            let over = rest > *within;
            over.then(|| format!("{what}: stands still for {} s, longer than {} s", rest.as_secs(), within.as_secs()))
        };
        self.state(|state| told(&state.loops.iter().filter_map(still).collect::<Vec<_>>()))
    }

    /// Whether every part is ready; a program that is not alive is not ready either.
    ///
    /// # Errors
    /// What is waited for, one line each.
    pub fn is_ready(&self) -> Result<(), String> {
        self.alive()?;
        let waits = |(part, why): (&&str, &Option<String>)| why.as_ref().map(|why| format!("{part}: {why}"));
        self.state(|state| told(&state.parts.iter().filter_map(waits).collect::<Vec<_>>()))
    }
}

fn told(lines: &[String]) -> Result<(), String> {
    if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_dead_until_it_beats_again() {
        let health = Health::new();
        assert_eq!(health.alive(), Ok(()));
        health.watch("loop", Duration::from_secs(10));
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!(health.alive_at(after(9)), Ok(()));
        let why = health.alive_at(after(12)).expect_err("it stands still");
        assert!(why.starts_with("loop: stands still for 1") && why.ends_with("longer than 10 s"), "{why}");
        health.clone().beat_at("loop", after(20));
        assert_eq!(health.alive_at(after(29)), Ok(()));
        assert!(health.alive_at(after(31)).is_err());
        health.unwatch("loop");
        assert_eq!(health.alive_at(after(31)), Ok(()));
    }

    #[test]
    fn what_is_not_alive_is_not_ready() {
        let health = Health::new();
        health.watch("loop", Duration::ZERO);
        health.ready("a");
        std::thread::sleep(Duration::from_millis(1));
        assert!(health.is_ready().is_err_and(|why| why.starts_with("loop: ")), "{:?}", health.is_ready());
    }

    #[test]
    fn it_is_ready_when_every_part_is() {
        let health = Health::new();
        health.not_ready("a", "waits");
        health.not_ready("b", "waits too");
        health.ready("a");
        assert_eq!(health.is_ready(), Err("b: waits too".to_owned()));
        health.ready("b");
        assert_eq!(health.is_ready(), Ok(()));
        health.not_ready("a", "again");
        assert_eq!(health.is_ready(), Err("a: again".to_owned()));
        assert_eq!(health.alive(), Ok(()), "what is not ready is alive");
    }
}
