//! Logs: one line per event on stderr, as text for people or JSON for machines.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// All, as the options spell them.
    pub const ALL: [(&'static str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, format)| format).ok_or_else(|| format!("`{text}` is no log format; write `text` or `json`"))
    }
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error(
        "log filter `{filter}`: {source}; write a level (`info`) or targets with levels (`info,retile::controller=debug`)"
    )]
    Filter {
        /// As it was written.
        filter: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else takes the logs of this process already.
    #[error("logs are set up already: {0}")]
    Taken(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends the logs of this process to stderr. `filter` is a level, or targets with levels.
///
/// # Errors
/// The filter is wrong, or logs are set up already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let parsed =
        EnvFilter::builder().parse(filter).map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(LogError::Taken)
}
