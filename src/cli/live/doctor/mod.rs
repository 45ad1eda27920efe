//! `doctor`: whether a cluster is ready for retile, and, where retile is installed, whether all of it works.
//!
//! Input: [`Facts`]. Output: checks, each ok, a warning or a failure with its remedy. The checks are pure; who owns a node's GPUs is told by the
//! code that planning itself uses. Works before anything is installed: then it says what an installation will meet.

mod installation;
mod nodes;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::Reach;
use super::args::{DoctorArgs, InstallationArgs};
use crate::cli::args::AnswerFormat;
use crate::cli::error::CliError;
use crate::cli::output::{Streams, json};
use crate::cli::show::bar::paint;
use crate::cli::show::names::{clean, count};
use crate::cli::{FAILURE, SUCCESS};
use crate::kube::live::preflight::{Facts, facts};

/// How a check ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, or will, with a limit that is told.
    Warn,
    /// It does not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What it is about.
    pub(super) area: &'static str,
    /// How it ends.
    pub(super) level: Level,
    /// What was found.
    pub(super) found: String,
    /// What to do; empty where there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

impl Check {
    /// As it should be.
    pub(super) fn ok(area: &'static str, found: impl Into<String>) -> Self {
        Self { area, level: Level::Ok, found: found.into(), remedy: String::new() }
    }

    /// A limit.
    pub(super) fn warn(area: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { area, level: Level::Warn, found: found.into(), remedy: remedy.into() }
    }

    /// It does not work.
    pub(super) fn fail(area: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { area, level: Level::Fail, found: found.into(), remedy: remedy.into() }
    }
}

/// All checks.
fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = installation::checks(facts);
    checks.extend(nodes::checks(facts));
    checks
}

/// Examines a cluster.
pub(crate) fn doctor(args: &DoctorArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let DoctorArgs { installation: InstallationArgs { cluster, namespace }, output } = args;
    let facts = Reach::reading(cluster)?.ask(async |server| facts(server, namespace).await)?;
    let checks = checks(&facts);
    let shown = match output {
        AnswerFormat::Text => render(&checks),
        AnswerFormat::Json => json("checks", &serde_json::json!({"format_version": 1, "checks": checks}))?,
    };
    streams.data(&shown).map_err(CliError::Stdout)?;
    Ok(if checks.iter().any(|check| check.level == Level::Fail) { FAILURE } else { SUCCESS })
}

fn render(checks: &[Check]) -> String {
    let mut out = String::new();
    let mut area = "";
    for check in checks {
        if check.area != area {
            let gap = if area.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}{}", paint(Style::new().bold(), check.area));
            area = check.area;
        }
        let (word, colour) = match check.level {
            Level::Ok => ("ok  ", AnsiColor::Green),
            Level::Warn => ("warn", AnsiColor::Yellow),
            Level::Fail => ("FAIL", AnsiColor::Red),
        };
        let _ = writeln!(out, "  {} {}", paint(colour.on_default(), word), clean(&check.found));
        if !check.remedy.is_empty() {
            let _ = writeln!(out, "       {}", clean(&check.remedy));
        }
    }
    let of = |level| checks.iter().filter(|check| check.level == level).count() as u64;
    let (warnings, failures) = (of(Level::Warn), of(Level::Fail));
    let _ = writeln!(
        out,
        "\n{}, {}, {}",
        count(of(Level::Ok), "check") + " ok",
        count(warnings, "warning"),
        count(failures, "failure")
    );
    out
}

#[cfg(test)]
mod tests;
