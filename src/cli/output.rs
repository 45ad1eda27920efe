//! Where output goes: data to one sink, notes to another, and whether either may be coloured.
//!
//! This is the only file of the library that touches the process's own streams. A reader that has gone away (`| head`) is not an error.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;

use super::error::CliError;

/// An answer for programs, as indented JSON; `what` names it where it cannot be written.
pub(crate) fn json(what: &str, answer: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(answer)
        .map_err(|error| CliError::Internal(format!("the {what} cannot be written as JSON: {error}")))?;
    Ok(text + "\n")
}

/// The streams of one run; tests put buffers here.
pub struct Streams<'a> {
    /// Standard input.
    pub input: &'a mut dyn BufRead,
    /// Data.
    pub data: &'a mut dyn Write,
    /// Notes and errors.
    pub notes: &'a mut dyn Write,
    /// Whether the input is a terminal, where waiting for an export in silence would puzzle a person.
    pub input_is_terminal: bool,
    /// Whether notes go to a terminal, where progress may be shown.
    pub notes_are_terminal: bool,
    /// Whether data goes to a terminal, where a live view can be drawn.
    pub data_is_terminal: bool,
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// Runs something on the process's own streams: colours reach terminals only, and obey `NO_COLOR` and its like.
pub(super) fn with_process_streams<T>(run: impl FnOnce(&mut Streams<'_>) -> T) -> T {
    let stdin = io::stdin();
    let input_is_terminal = stdin.is_terminal();
    let data_is_terminal = io::stdout().is_terminal();
    let mut data = io::BufWriter::new(anstream::stdout().lock());
    let notes_are_terminal = io::stderr().is_terminal();
    let mut notes = anstream::stderr().lock();
    let mut input = stdin.lock();
    let mut streams = Streams {
        input: &mut input,
        data: &mut data,
        notes: &mut notes,
        input_is_terminal,
        notes_are_terminal,
        data_is_terminal,
    };
    let result = run(&mut streams);
    // A failure to flush was already reported by `Streams::data`, which flushes; here only a closed pipe is left.
    let _ = data.flush();
    result
}

impl Streams<'_> {
    /// Writes data and flushes it.
    ///
    /// # Errors
    /// What the sink says, except that a reader that has gone is no error.
    pub fn data(&mut self, text: &str) -> io::Result<()> {
        let written = self.data.write_all(text.as_bytes()).and_then(|()| self.data.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Writes notes; when even standard error is gone, there is nobody left to tell.
    pub fn note(&mut self, text: &str) {
        let _ = self.notes.write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write_to(kind: io::ErrorKind) -> io::Result<()> {
        let mut streams = Streams {
            input: &mut io::empty(),
            data: &mut Failing(kind),
            notes: &mut io::sink(),
            input_is_terminal: false,
            notes_are_terminal: false,
            data_is_terminal: false,
        };
        streams.data("text")
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is() {
        assert!(write_to(io::ErrorKind::BrokenPipe).is_ok());
        assert_eq!(write_to(io::ErrorKind::StorageFull).expect_err("a full disk").kind(), io::ErrorKind::StorageFull);
    }
}
