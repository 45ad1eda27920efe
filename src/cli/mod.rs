//! The command line: verbs, rendering, and the words for everything that can go wrong.
//!
//! Inputs: arguments and files. Outputs: data on standard output, notes and errors on standard error, an exit status. Invariants: nothing
//! is printed half-done; the same arguments and files give the same bytes; no input makes it panic. This is the only module that prints;
//! all others may be used here, and none uses this one.

pub mod args;
mod boards;
mod demo;
mod error;
mod explain;
#[cfg(feature = "node")]
mod inventory;
mod live;
mod more;
mod output;
mod planning;
mod savings;
mod show;
mod simulate;
mod source;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use self::args::{Args, Verb};
use self::error::CliError;
pub use self::output::Streams;

/// Exit status: done, or nothing to do.
pub const SUCCESS: u8 = 0;
/// Exit status: something is wrong; standard error says what.
pub const FAILURE: u8 = 1;
/// Exit status of `plan --exit-code`: there are changes.
pub const CHANGES: u8 = 2;
/// Exit status of `plan --exit-code`: no change was found, and that none is worth making is not proven.
pub const UNPROVEN: u8 = 3;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    ExitCode::from(output::with_process_streams(|streams| run(std::env::args_os(), streams)))
}

/// Runs a command line on given streams and returns the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = command(arguments.first());
    let parsed = command.try_get_matches_from(&arguments).and_then(|matches| Args::from_arg_matches(&matches));
    let result = match parsed {
        Ok(Args { verb }) => dispatch(verb, streams),
        Err(error) if error.use_stderr() => {
            streams.note(&error.render().ansi().to_string());
            return FAILURE;
        }
        Err(help) => streams.data(&help.render().ansi().to_string()).map(|()| SUCCESS).map_err(CliError::Stdout),
    };
    result.unwrap_or_else(|error| {
        streams.note(&error.render());
        FAILURE
    })
}

/// The clap command, under the name that it was called by: `retile`, or `kubectl retile` when kubectl found it as a plugin.
pub fn command(program: Option<&OsString>) -> clap::Command {
    let stem = program.and_then(|program| std::path::Path::new(program).file_stem()?.to_str());
    let command = Args::command();
    if stem == Some("kubectl-retile") { command.bin_name("kubectl retile") } else { command }
}

/// All definitions as one document after another.
fn crds() -> Result<String, CliError> {
    let definitions = crate::kube::crd::definitions();
    let definitions =
        definitions.map_err(|error| CliError::Internal(format!("the definitions cannot be written: {error}")))?;
    let documents: Vec<String> = definitions.into_iter().map(|definition| definition.yaml).collect();
    Ok(documents.join("---\n"))
}

fn dispatch(verb: Verb, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let text = match verb {
        Verb::Plan(args) => return planning::plan(&args, streams),
        Verb::Explain(args) => return planning::explain(&args, streams),
        Verb::Verify(args) => return planning::verify(&args, streams),
        Verb::Apply(args) => return live::apply(&args, streams),
        Verb::Snapshot(args) => return live::snapshot(&args, streams),
        Verb::Top(args) => return live::top(&args, streams),
        Verb::Doctor(args) => return live::doctor(&args, streams),
        Verb::Status(args) => return live::status(&args, streams),
        Verb::Simulate(args) => return simulate::simulate(&args, streams),
        Verb::Demo(args) => return demo::demo(&args, streams),
        Verb::Savings(args) => savings::savings(&args, streams)?,
        Verb::Fit(args) => boards::fit(&args)?,
        Verb::Layouts(args) => boards::layouts(&args)?,
        #[cfg(feature = "node")]
        Verb::Inventory(args) => inventory::inventory(&args)?,
        Verb::Crds => crds()?,
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "retile", &mut script);
            String::from_utf8_lossy(&script).into_owned()
        }
    };
    streams.data(&text).map(|()| SUCCESS).map_err(CliError::Stdout)
}
