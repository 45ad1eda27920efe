//! Savings for people: what would have been needed, what was put off, what that is worth, and what each claim rests on.

use std::fmt::Write as _;

use anstyle::Style;

use crate::cli::show::bar::paint;
use crate::cli::show::names::{clean, count, thousands};
use crate::savings::{
    BurstReport, Counterfactual, CounterfactualReport, ModelReport, Report, Sensitivity, Split, Total, Worth,
};

const BOLD: Style = Style::new().bold();

/// Draws a report. Writing to a string cannot fail, so the results of `write!` are not looked at.
pub(crate) fn render(report: &Report, source: &str) -> String {
    let Report { format_version: _, from_ms, until_ms, currency, models, totals } = report;
    let mut out = String::new();
    let span = span(until_ms.saturating_sub(*from_ms) / 1000);
    let source = if source.is_empty() { String::new() } else { format!(" ({})", clean(source)) };
    let _ = writeln!(out, "{}\n", paint(BOLD, &format!("GPUs deferred over {span}{source}")));
    if models.is_empty() {
        out += "The history holds no GPU and no demand.\n";
        return out;
    }
    for model in models {
        model_block(&mut out, model, currency.as_deref());
    }
    if models.len() > 1 {
        total_block(&mut out, totals, currency.as_deref());
    }
    out += "Needed: the fewest GPUs that hold the highest demand, running and waiting, exactly. Deferred: what would have had to be\n\
            bought on top of the GPUs that are there, less what has to be bought anyway.\n";
    match currency {
        Some(_) => {
            out += "Worth: the part of the price that would have been written off in those GPU-hours. The price tag is no saving: the GPUs\n\
                    may have to be bought later.\n";
        }
        None => out += "What that is worth: give your prices with --prices FILE.\n",
    }
    out
}

/// What a counterfactual is called.
pub(crate) fn title(counterfactual: Counterfactual) -> &'static str {
    match counterfactual {
        Counterfactual::CurrentLayout => "layouts kept as they were",
        Counterfactual::BestStatic => "best fixed layouts in hindsight",
        Counterfactual::WholeGpu => "whole GPUs per pod",
    }
}

fn model_block(out: &mut String, report: &ModelReport, currency: Option<&str>) {
    let ModelReport {
        model,
        gpus,
        owned,
        needed,
        counterfactuals,
        split,
        sensitivity,
        waited_pod_seconds,
        burst,
        priced,
    } = report;
    let there = if owned == gpus { count(*gpus, "GPU") } else { format!("{}, once {owned}", count(*gpus, "GPU")) };
    let _ = writeln!(out, "{}", paint(BOLD, &format!("{}: {there}; retile needs {needed}", clean(model))));
    let rows = counterfactuals.iter().map(|row| {
        let CounterfactualReport { counterfactual, needed, deferred, deferred_gpu_seconds, worth } = row;
        Row {
            counterfactual: *counterfactual,
            needed: Some(*needed),
            deferred: *deferred,
            seconds: *deferred_gpu_seconds,
            worth: *worth,
        }
    });
    table(out, &rows.collect::<Vec<_>>(), currency);
    let Split { mig, dynamic } = split;
    let _ = writeln!(out, "  MIG itself        {} (best fixed layouts against whole GPUs per pod)", difference(*mig));
    let _ = writeln!(out, "  dynamic MIG adds  {} (retile against best fixed layouts)", difference(*dynamic));
    for Sensitivity { time_permille, needed, otherwise } in sensitivity {
        let otherwise: Vec<String> = otherwise.iter().map(|needed| thousands(needed.cast_signed())).collect();
        let _ = writeln!(
            out,
            "  for {} % of the time  retile needs {}, the others {}",
            f64::from(*time_permille) / 10.0,
            thousands(needed.cast_signed()),
            otherwise.join(", ")
        );
    }
    let _ = writeln!(out, "  waited in fact    {} of pods; under the others nobody waits", span(*waited_pod_seconds));
    let BurstReport { pods, gpu_seconds, cost } = burst;
    if *pods > 0 {
        let cost = match (cost, currency) {
            (Some(cost), Some(currency)) => format!(", {cost} {currency} on demand"),
            (None, _) | (_, None) => String::new(),
        };
        let _ = writeln!(out, "  went elsewhere    {}, {} GPU-hours{cost}", count(*pods, "pod"), hours(*gpu_seconds));
    }
    if currency.is_some() && !priced {
        let _ = writeln!(out, "  no price is given for this model");
    }
    out.push('\n');
}

fn total_block(out: &mut String, totals: &[Total], currency: Option<&str>) {
    let _ = writeln!(out, "{}", paint(BOLD, "All models"));
    let rows = totals.iter().map(|total| {
        let Total { counterfactual, deferred, deferred_gpu_seconds, worth } = total;
        Row {
            counterfactual: *counterfactual,
            needed: None,
            deferred: *deferred,
            seconds: *deferred_gpu_seconds,
            worth: *worth,
        }
    });
    table(out, &rows.collect::<Vec<_>>(), currency);
    out.push('\n');
}

struct Row {
    counterfactual: Counterfactual,
    needed: Option<u64>,
    deferred: u64,
    seconds: u64,
    worth: Option<Worth>,
}

/// Draws rows with their heads; columns that no row fills are left out.
fn table(out: &mut String, rows: &[Row], currency: Option<&str>) {
    let money = |text: &str| format!("{text} {}", currency.unwrap_or_default());
    let mut columns: Vec<(String, Vec<Option<String>>)> = Vec::new();
    let mut column = |head: String, cell: &dyn Fn(&Row) -> Option<String>| {
        let cells: Vec<Option<String>> = rows.iter().map(cell).collect();
        if cells.iter().any(Option::is_some) {
            columns.push((head, cells));
        }
    };
    column("needed".into(), &|row| row.needed.map(|needed| thousands(needed.cast_signed())));
    column("deferred".into(), &|row| Some(thousands(row.deferred.cast_signed())));
    column("GPU-hours".into(), &|row| Some(hours(row.seconds)));
    column(money("worth"), &|row| row.worth.map(|worth| worth.amortised.to_string()));
    column(money("capital cost"), &|row| row.worth?.capital_cost.map(|cost| cost.to_string()));
    column(money("price tag"), &|row| row.worth.map(|worth| worth.sticker_price.to_string()));
    let first = rows.iter().map(|row| title(row.counterfactual).len()).max().unwrap_or(0);
    let widths: Vec<usize> = columns
        .iter()
        .map(|(head, cells)| cells.iter().flatten().map(String::len).max().unwrap_or(0).max(head.len()))
        .collect();
    let mut line = |title: &str, cells: Vec<&str>| {
        let _ = write!(out, "  {title:<first$}");
        for (cell, width) in cells.into_iter().zip(&widths) {
            let _ = write!(out, "  {cell:>width$}");
        }
        out.push('\n');
    };
    line("without retile", columns.iter().map(|(head, _)| head.as_str()).collect());
    for (index, row) in rows.iter().enumerate() {
        let cells = columns.iter().map(|(_, cells)| cells[index].as_deref().unwrap_or("-")).collect();
        line(title(row.counterfactual), cells);
    }
}

/// `2 GPUs fewer`, `1 GPU more`.
fn difference(gpus: i64) -> String {
    let word = if gpus < 0 { "more" } else { "fewer" };
    format!("{} {word}", count(gpus.unsigned_abs(), "GPU"))
}

/// Hours with one digit, rounded down.
pub(crate) fn hours(seconds: u64) -> String {
    format!("{}.{}", thousands((seconds / 3600).cast_signed()), seconds % 3600 / 360)
}

/// `2 d 3 h`, `3 h 20 min`, `20 min`, `15 s`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{} d {} h", thousands(days.cast_signed()), hours % 24),
    }
}
