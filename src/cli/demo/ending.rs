//! The end of the demo: a chart of both clusters over time, their figures, and the GPUs not bought.
//!
//! Inputs: the histories of the two clusters. Output: text. The savings come from [`crate::savings`], like everywhere else.

use std::fmt::Write as _;

use anstyle::Style;

use super::course::{Course, Part};
use super::render::clock;
use super::watch::{Counters, Watch};
use crate::cli::savings::{hours, span, title};
use crate::cli::show::bar::paint;
use crate::cli::show::names::count;
use crate::savings::{Amount, Currency, HistoryError, ModelReport, Price, PriceError, Prices, Report, Split};
use crate::sim::story::BOARD;
use crate::sim::{History, from_sim};

const BOLD: Style = Style::new().bold();
/// Rows of the chart.
const ROWS: u64 = 16;
/// Columns of a bar of the chart.
const BAR: u64 = 18;

/// Why the end cannot be told: a defect.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndingError {
    /// The simulator's history makes no sense.
    #[error("the simulated history makes no sense at {}: {source}", .source.line)]
    History {
        /// Where and why.
        #[from]
        source: HistoryError,
    },
    /// The numbers do not add up.
    #[error("the simulated history does not add up: {0}")]
    Savings(#[from] crate::savings::SavingsError),
    /// The example's prices are none.
    #[error("the prices of the example are refused: {0}")]
    Prices(#[from] PriceError),
}

/// Prices for the example; said to be such.
fn example_prices() -> Result<Prices, PriceError> {
    let price = Price {
        purchase: Amount::whole(15_000),
        amortisation_months: 36,
        interest_percent: None,
        on_demand_per_hour: Some(Amount::micros(3_670_000)),
    };
    Ok(Prices { currency: Currency::new("USD")?, models: [(BOARD.to_owned(), price)].into() })
}

/// Tells how the story ended. Writing to a string cannot fail, so the results of `write!` are not looked at.
pub(super) fn ending(fixed: &History, retile: &History) -> Result<String, EndingError> {
    let prices = example_prices()?;
    let of =
        |history: &History| -> Result<Report, EndingError> { Ok(from_sim(history).savings()?.report(Some(&prices))?) };
    let (fixed_report, report) = (of(fixed)?, of(retile)?);
    let mut out = String::new();
    chart(&mut out, [fixed, retile]);
    figures(&mut out, [(fixed, &fixed_report), (retile, &report)]);
    for model in &report.models {
        not_bought(&mut out, model, &prices, report.until_ms);
    }
    Ok(out)
}

/// Pods that wait, as bars, and work that went elsewhere, part by part of the time.
fn chart(out: &mut String, histories: [&History; 2]) {
    let end = histories[1].end;
    let courses = histories.map(|history| Course::of(history, ROWS));
    let length = end.div_ceil(ROWS).max(1);
    // Mean number of waiting pods, in tenths.
    let tenths = |part: &Part| part.waited * 10 / length;
    let most = courses.iter().flat_map(|course| &course.parts).map(tenths).max().unwrap_or(0).max(1);
    let half = BAR as usize + 5 + 11;
    let _ = writeln!(out, "{}\n", paint(BOLD, "Pods that wait (mean), and work that went elsewhere"));
    let _ = writeln!(out, "        {:<half$}   retile", "fixed layouts");
    let head = format!("{:<width$}{:>11}", "waiting", "elsewhere", width = half - 11);
    let _ = writeln!(out, "  from  {head}   {head}");
    for (row, (fixed, retile)) in courses[0].parts.iter().zip(&courses[1].parts).enumerate() {
        let cell = |part: &Part| {
            let bar = "#".repeat((tenths(part) * BAR).div_ceil(most) as usize);
            let mean = format!("{}.{}", tenths(part) / 10, tenths(part) % 10);
            let elsewhere = if part.elsewhere == 0 { "-".to_owned() } else { part.elsewhere.to_string() };
            format!("{bar:<width$}{mean:>5}{elsewhere:>11}", width = BAR as usize)
        };
        let _ = writeln!(out, "{:>6}  {}   {}", clock(row as u64 * length), cell(fixed), cell(retile));
    }
    out.push('\n');
}

/// The figures of both clusters side by side.
fn figures(out: &mut String, clusters: [(&History, &Report); 2]) {
    let columns = clusters.map(|(history, report)| {
        let mut watch = Watch::default();
        watch.follow(history);
        let Counters { waiting: _, running: _, served, elsewhere, moved, changes } = watch.counters();
        let course = Course::of(history, 1);
        let gpu_seconds: u64 = report.models.iter().map(|model| model.burst.gpu_seconds).sum();
        [
            served.to_string(),
            elsewhere.to_string(),
            hours(gpu_seconds),
            span(course.mean() / 1000),
            span(course.percentile(50) / 1000),
            span(course.percentile(95) / 1000),
            moved.to_string(),
            changes.to_string(),
        ]
    });
    let names = [
        "pieces of work served here",
        "gone elsewhere",
        "GPU-hours gone elsewhere",
        "mean wait",
        "half of the work waited at most",
        "95 of 100 waited at most",
        "pods moved",
        "operations",
    ];
    let _ = writeln!(out, "{}", paint(BOLD, &format!("{:<34}{:>14}{:>12}", "", "fixed layouts", "retile")));
    for (row, name) in names.into_iter().enumerate() {
        let _ = writeln!(out, "{name:<34}{:>14}{:>12}", columns[0][row], columns[1][row]);
    }
    out.push('\n');
}

fn not_bought(out: &mut String, model: &ModelReport, prices: &Prices, until_ms: u64) {
    let owned = model.owned;
    let _ = writeln!(out, "{}", paint(BOLD, "GPUs not bought"));
    let _ = writeln!(
        out,
        "At its peak this demand fits on {} when layouts follow it; {owned} are there. To let nobody wait without retile:",
        count(model.needed, "GPU")
    );
    for row in &model.counterfactuals {
        let _ =
            writeln!(out, "  {:<32} {:>3} needed  {:>3} to buy", title(row.counterfactual), row.needed, row.deferred);
    }
    let Split { mig, dynamic } = model.split;
    let _ = writeln!(
        out,
        "Of these, MIG itself makes a difference of {mig} and dynamic MIG of {dynamic}; with retile some pods did wait, see above."
    );
    let best =
        model.counterfactuals.iter().find(|row| row.counterfactual == crate::savings::Counterfactual::BestStatic);
    let worth = best.and_then(|row| Some((row, row.worth?)));
    if let Some((row, worth)) = worth.filter(|(row, _)| row.deferred > 0) {
        let currency = prices.currency.code();
        let _ = writeln!(
            out,
            "With example prices, against the best fixed layouts: the price tag of {} is {} {currency}; of that,\n\
             {} {currency} would have been written off in these {}. `retile savings --prices` takes yours.",
            count(row.deferred, "GPU"),
            worth.sticker_price,
            worth.amortised,
            span(until_ms / 1000)
        );
    }
}
