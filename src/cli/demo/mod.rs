//! `demo`: eight simulated A100s that the real loop keeps fitted to arriving pods, live or as lines.
//!
//! Inputs: a seed, a length, a speed. Output: on a terminal a picture ten times a second, elsewhere one line for what happens; at the end a
//! chart and the GPUs not bought. Invariants: the same seed gives the same story, and off a terminal the same bytes at any speed; a terminal
//! that was taken over is given back.

mod cluster;
mod course;
mod ending;
mod frame;
mod render;
mod screen;
mod watch;

use std::time::Duration;

use self::cluster::{Cast, cluster};
use self::frame::Frame;
pub(crate) use self::render::cut;
use self::render::{clock, event_line, render};
pub(crate) use self::screen::{Screen, Wish};
use self::watch::{Counters, Watch};
use super::SUCCESS;
use super::args::{DemoArgs, Speed};
use super::error::CliError;
use super::output::Streams;
use crate::savings::write_history;
use crate::sim::from_sim;
use crate::sim::world::World;

/// Exit status after Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;
const HOUR: u64 = 3_600_000;
/// Pictures per second.
const PICTURES: u64 = 10;
/// How long the live view takes where no speed is asked for, in seconds.
const SHOW_SECONDS: u64 = 40;
/// From one look to the next where lines are printed, in virtual milliseconds.
const LOOK: u64 = 60_000;
/// From one line with counts to the next, in virtual milliseconds.
const COUNTS: u64 = HOUR / 2;
/// Columns of a printed line.
const LINE: usize = 110;

/// The two clusters, side by side in virtual time.
struct Stage {
    fixed: World,
    fixed_watch: Watch,
    retile: World,
    watch: Watch,
    now: u64,
    end: u64,
}

impl Stage {
    fn new(args: &DemoArgs) -> Result<Self, CliError> {
        let make = |cast| {
            cluster(cast, args.seed, args.hours)
                .map_err(|error| CliError::Internal(format!("the simulated cluster cannot be built: {error}")))
        };
        Ok(Self {
            fixed: make(Cast::Nobody)?,
            fixed_watch: Watch::default(),
            retile: make(Cast::Retile)?,
            watch: Watch::default(),
            now: 0,
            end: args.hours * HOUR,
        })
    }

    /// Lets some virtual time pass in both; false at the end of the story.
    fn pass(&mut self, ms: u64) -> bool {
        if self.now >= self.end {
            return false;
        }
        self.now = self.now.saturating_add(ms.max(1)).min(self.end);
        for (world, watch) in [(&mut self.fixed, &mut self.fixed_watch), (&mut self.retile, &mut self.watch)] {
            world.run_until(self.now);
            watch.follow(world.history());
        }
        true
    }

    fn frame(&self) -> Frame {
        Frame::of(&self.retile.snapshot(), &self.watch, self.fixed_watch.counters(), self.end)
    }
}

/// Shows the story.
pub(crate) fn demo(args: &DemoArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let mut stage = Stage::new(args)?;
    let screen = if streams.data_is_terminal { Screen::enter().map_err(CliError::Stdout)? } else { None };
    let wish = match screen {
        Some(screen) => live(&mut stage, &screen, args.speed, streams).map_err(CliError::Stdout)?,
        None => lines(&mut stage, args, streams).map_err(CliError::Stdout)?,
    };
    if wish == Wish::Stop {
        return Ok(INTERRUPTED);
    }
    while stage.pass(LOOK) {}
    let text = ending::ending(stage.fixed.history(), stage.retile.history())
        .map_err(|error| CliError::Internal(error.to_string()))?;
    streams.data(&text).map_err(CliError::Stdout)?;
    if let Some(path) = &args.history {
        let mut history = from_sim(stage.retile.history());
        history.source = format!("retile demo --seed {} --hours {}", args.seed, args.hours);
        let text = write_history(&history)
            .map_err(|error| CliError::Internal(format!("the history cannot be written: {error}")))?;
        std::fs::write(path, text).map_err(|source| CliError::Write { path: path.clone(), source })?;
    }
    Ok(SUCCESS)
}

/// Shows pictures until the story ends or somebody has seen enough.
fn live(stage: &mut Stage, screen: &Screen, speed: Option<Speed>, streams: &mut Streams<'_>) -> std::io::Result<Wish> {
    let (step, pause) = match speed {
        Some(Speed::Times(times)) => (u64::from(times) * 1000 / PICTURES, Duration::from_millis(1000 / PICTURES)),
        None => (stage.end / (SHOW_SECONDS * PICTURES), Duration::from_millis(1000 / PICTURES)),
        Some(Speed::Max) => (stage.end / (SHOW_SECONDS * PICTURES), Duration::ZERO),
    };
    while stage.pass(step) {
        let (columns, rows) = Screen::size();
        screen.draw(&render(&stage.frame(), columns, rows), streams)?;
        let wish = screen.wait(pause)?;
        if wish != Wish::Watch {
            return Ok(wish);
        }
    }
    Ok(Wish::Skip)
}

/// Prints what happens, line by line.
fn lines(stage: &mut Stage, args: &DemoArgs, streams: &mut Streams<'_>) -> std::io::Result<Wish> {
    let pause = match args.speed {
        Some(Speed::Times(times)) => Duration::from_millis(LOOK / u64::from(times)),
        Some(Speed::Max) | None => Duration::ZERO,
    };
    streams.data(&format!(
        "retile demo: eight simulated A100-80GB on two nodes, {} hours, seed {}\n\n",
        args.hours, args.seed
    ))?;
    let mut told = 0;
    while stage.pass(LOOK) {
        let events = stage.watch.events();
        let mut text: String = events[told..].iter().map(|event| event_line(event, LINE) + "\n").collect();
        told = events.len();
        if stage.now.is_multiple_of(COUNTS) {
            text += &counts_line(stage.now, stage.watch.counters(), stage.fixed_watch.counters());
        }
        if !text.is_empty() {
            streams.data(&text)?;
        }
        std::thread::sleep(pause);
    }
    streams.data("\n")?;
    Ok(Wish::Skip)
}

fn counts_line(at: u64, retile: Counters, fixed: Counters) -> String {
    let Counters { waiting, running, served, elsewhere, moved, changes } = retile;
    format!(
        "{:>6}  -- retile: {waiting} waiting, {running} running, {served} served, {elsewhere} elsewhere, {moved} moved, {changes} changes; \
         fixed layouts: {} waiting, {} elsewhere\n",
        clock(at),
        fixed.waiting,
        fixed.elsewhere
    )
}
