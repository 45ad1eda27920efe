//! `savings`: GPUs and money deferred, from a history.
//!
//! Inputs: a savings history and, if wanted, prices. Output: a table or JSON. All numbers come from [`crate::savings`].

mod text;

use std::path::Path;

use super::args::{AnswerFormat, SavingsArgs};
use super::error::CliError;
use super::output::{Streams, json};
use super::show::names::count;
use super::source::read_text;
use crate::savings::{HistoryProblem, PriceError, Prices, SavingsError, read_history};

pub(crate) use text::{hours, render, span, title};

/// How a history is made; the remedy for everything that is none.
const MAKE_A_HISTORY: &str = "give a history as docs/how-to/savings.md describes it";

/// Reads a history and says what it comes to.
pub(crate) fn savings(args: &SavingsArgs, streams: &mut Streams<'_>) -> Result<String, CliError> {
    let SavingsArgs { file, prices, output } = args;
    let prices = prices.as_deref().map(|path| read_prices(path, file, streams)).transpose()?;
    let text = read_text(file, streams)?;
    let read = read_history(&text).and_then(|history| history.savings().map(|savings| (history, savings)));
    let (history, savings) = read.map_err(|error| {
        let (message, help) = told(&error.problem);
        CliError::Input { path: file.clone(), message, place: Some(format!("line {}", error.line)), help }
    })?;
    let report = savings
        .report(prices.as_ref())
        .map_err(|error| CliError::Internal(format!("the history was read but does not add up: {error}")))?;
    match output {
        AnswerFormat::Text => Ok(render(&report, &history.source)),
        AnswerFormat::Json => json("report", &report),
    }
}

/// What is wrong, and what to do: behind the last semicolon, or in general.
fn split(message: &str) -> (String, String) {
    let (what, help) = message.rsplit_once("; ").unwrap_or((message, MAKE_A_HISTORY));
    (what.to_owned(), help.to_owned())
}

fn told(problem: &HistoryProblem) -> (String, String) {
    match problem {
        HistoryProblem::Savings(SavingsError::UnknownProfile { model, profile, known }) => {
            (format!("{model} has no profile `{profile}`"), format!("its profiles are {known}"))
        }
        problem @ (HistoryProblem::Empty
        | HistoryProblem::Form(_)
        | HistoryProblem::Format(_)
        | HistoryProblem::Version(_)
        | HistoryProblem::Happenings(_)
        | HistoryProblem::NotThere(_)
        | HistoryProblem::AfterEnd
        | HistoryProblem::Savings(
            SavingsError::UnknownModel { .. }
            | SavingsError::Backwards { .. }
            | SavingsError::TooMany { .. }
            | SavingsError::Fit { .. },
        )) => split(&problem.to_string()),
    }
}

/// Reads prices, JSON or YAML.
fn read_prices(path: &Path, history: &Path, streams: &mut Streams<'_>) -> Result<Prices, CliError> {
    if path.as_os_str() == "-" && history.as_os_str() == "-" {
        return Err(CliError::Argument {
            argument: "--prices -".into(),
            message: "the prices and the history cannot both come from standard input".into(),
            help: "give the history with -f FILE".into(),
        });
    }
    let text = read_text(path, streams)?;
    let wrong = |message: String, place: Option<String>, help: String| CliError::Input {
        path: path.to_owned(),
        message: format!("the prices cannot be used: {message}"),
        place,
        help,
    };
    let prices: Prices = serde_saphyr::from_str(&text).map_err(|error| {
        let place = error.location().map(|place| format!("line {}, column {}", place.line(), place.column()));
        let text = error.without_snippet().to_string();
        let text = text.split(" at line ").next().unwrap_or(&text);
        let (message, help) = text.split_once("; ").unwrap_or((text, FORM));
        wrong(message.to_owned(), place, help.to_owned())
    })?;
    prices.check().map_err(|error| {
        let help = match &error {
            PriceError::Model { .. } => "write a model as `retile fit --gpu` takes it, such as A100-80GB".to_owned(),
            PriceError::Currency(_) | PriceError::Amortisation(_) | PriceError::Twice { .. } => {
                split(&error.to_string()).1
            }
        };
        wrong(split(&error.to_string()).0, None, help)
    })?;
    if prices.models.is_empty() {
        streams.note(&format!("note: {} in the prices; no value is told\n", count(0, "model")));
    }
    Ok(prices)
}

/// The form of prices; the remedy for a file of another one.
const FORM: &str = "write `currency: USD` and, under `models:`, per GPU model `purchase`, `amortisationMonths` and, if wanted, \
                    `interestPercent` and `onDemandPerHour`";
