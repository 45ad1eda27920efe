//! The terminal during the live view: taken over at the start, given back at the end, on errors, on Ctrl-C and on panics alike.
//!
//! Control codes go straight to the terminal; text goes through the streams, which take colours out where they do not belong.

use std::io;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::execute;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};

use super::render::{LOWEST, NARROWEST};
use crate::cli::output::Streams;

/// What the person at the terminal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To go on watching.
    Watch,
    /// To see the end at once.
    Skip,
    /// To stop.
    Stop,
}

/// A terminal that was taken over; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// Takes the terminal over, if it is large enough for a frame.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let (columns, rows) = size()?;
        if usize::from(columns) < NARROWEST || usize::from(rows) < LOWEST {
            return Ok(None);
        }
        enable_raw_mode()?;
        // From here on the terminal is given back whatever happens.
        let screen = Self(());
        execute!(io::stdout(), EnterAlternateScreen, Hide, Clear(ClearType::All))?;
        Ok(Some(screen))
    }

    /// Columns and rows now; the last column stays free, so that no terminal wraps.
    pub(crate) fn size() -> (usize, usize) {
        size()
            .map_or((NARROWEST, LOWEST), |(columns, rows)| (usize::from(columns.saturating_sub(1)), usize::from(rows)))
    }

    /// Draws lines over those before.
    #[allow(clippy::unused_self, reason = "who draws has taken the terminal over")]
    pub(crate) fn draw(&self, lines: &[String], streams: &mut Streams<'_>) -> io::Result<()> {
        let (columns, rows) = Self::size();
        let padded = lines.iter().take(rows).map(|line| {
            let width = anstream::adapter::strip_str(line).to_string().chars().count();
            format!("{line}{:room$}", "", room = columns.saturating_sub(width))
        });
        let text = padded.collect::<Vec<_>>().join("\r\n");
        execute!(io::stdout(), MoveTo(0, 0))?;
        streams.data(&text)?;
        execute!(io::stdout(), Clear(ClearType::FromCursorDown))
    }

    /// Waits so long, or until a key is pressed that means something.
    #[allow(clippy::unused_self, reason = "who waits has taken the terminal over")]
    pub(crate) fn wait(&self, pause: Duration) -> io::Result<Wish> {
        // A key that means nothing, or a new size, cuts the pause short; the next frame makes up for it.
        if !poll(pause)? {
            return Ok(Wish::Watch);
        }
        let Event::Key(key) = read()? else { return Ok(Wish::Watch) };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let pressed = key.kind != KeyEventKind::Release;
        Ok(if pressed && control && matches!(key.code, KeyCode::Char('c' | 'C')) {
            Wish::Stop
        } else if pressed && matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc) {
            Wish::Skip
        } else {
            Wish::Watch
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // When the terminal is gone there is nothing to give back.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
