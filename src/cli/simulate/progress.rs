//! Progress of long replays, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error, or nothing.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for a number of replays; shown only where notes go to a terminal.
    pub(super) fn new(total: u64, shown: bool) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} replays, {elapsed}, {eta} to go {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// One more replay is over.
    pub(super) fn tick(&mut self) {
        self.0.inc(1);
    }

    /// Says what is being done.
    pub(super) fn say(&mut self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.tick();
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        self.0.finish_and_clear();
    }
}
