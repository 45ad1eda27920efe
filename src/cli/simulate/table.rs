//! The table of `simulate` for people.

use std::fmt::Write as _;

use super::{Replayed, Report, board, limits};
use crate::cli::show::names::count;
use crate::sim::replay::figures::{Figures, Slices, Spread};

/// A column: heading, decimals, value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Heading.
    pub(super) name: &'static str,
    /// What it says, for legends.
    pub(super) words: &'static str,
    decimals: usize,
    value: fn(&Figures) -> f64,
}

/// Percent of one amount of memory slices in another.
fn percent(of: Slices, whole: Slices) -> f64 {
    if whole.memory > 0.0 { of.memory * 100.0 / whole.memory } else { 0.0 }
}

/// What a reader of an instant replay must know.
pub(super) const INSTANT: &str = "Changes, starts and ends took no time in these replays: a bound, not a forecast.";

/// The columns that are shown for every planner.
const COLUMNS: [Column; 12] = [
    Column {
        name: "elsewhere %",
        words: "part of the requested memory-slice-hours that went elsewhere, out of patience",
        decimals: 2,
        value: |it| it.burst_share * 100.0,
    },
    Column { name: "served", words: "pods that ran here", decimals: 0, value: |it| it.served as f64 },
    Column {
        name: "wait mean",
        words: "all waiting of a pod, also of those that went elsewhere, in minutes",
        decimals: 1,
        value: |it| it.total_wait.mean,
    },
    Column { name: "p50", words: "its median", decimals: 1, value: |it| it.total_wait.p50 },
    Column { name: "p95", words: "its 95th percentile", decimals: 1, value: |it| it.total_wait.p95 },
    Column {
        name: "held %",
        words: "part of the GPUs' memory-slice-hours that pods held",
        decimals: 1,
        value: |it| percent(it.allocated, it.capacity),
    },
    Column {
        name: "stranded %",
        words: "free while pods waited, and of no use to them however idle instances are cut",
        decimals: 2,
        value: |it| percent(it.stranded, it.capacity),
    },
    Column {
        name: "miscut %",
        words: "free while pods waited, and of no use to them as it was cut",
        decimals: 1,
        value: |it| percent(it.miscut, it.capacity),
    },
    Column {
        name: "lost %",
        words: "free on nodes that were being reconfigured",
        decimals: 2,
        value: |it| percent(it.reconfiguring, it.capacity),
    },
    Column {
        name: "operations",
        words: "reconfigurations that ended as planned",
        decimals: 0,
        value: |it| it.operations as f64,
    },
    Column { name: "moves/100", words: "evictions per 100 pods", decimals: 1, value: |it| it.moves_per_100 },
    Column {
        name: "redone h",
        words: "memory-slice-hours of work that evictions made be done again",
        decimals: 1,
        value: |it| it.evicted_work.memory,
    },
];

/// Shown where some pod of the report still waits at the end, because what waits for ever goes nowhere.
const WAITING: Column = Column {
    name: "waiting",
    words: "pods that still wait at the end: neither served nor elsewhere, because their patience has no end",
    decimals: 0,
    value: |it| it.waiting as f64,
};

/// The columns of a report, in order; the same for all of its groups.
pub(super) fn columns(report: &Report) -> Vec<Column> {
    let waits = |group: &Replayed| group.outcome.replays.iter().any(|it| it.figures.waiting > 0);
    let mut columns = COLUMNS.to_vec();
    if report.groups.iter().any(waits) {
        columns.insert(2, WAITING);
    }
    columns
}

impl Column {
    /// The value over some replays: the mean, with the standard deviation where there are several.
    pub(super) fn show(&self, runs: &[&Figures]) -> String {
        let values: Vec<f64> = runs.iter().map(|figures| (self.value)(figures)).collect();
        let Spread { mean, min: _, max: _, deviation } = Spread::of(&values);
        let decimals = self.decimals;
        if values.len() > 1 {
            format!("{mean:.decimals$} ± {deviation:.decimals$}")
        } else {
            format!("{mean:.decimals$}")
        }
    }
}

/// Headings and rows of a group's table; the last columns only where they were asked for.
pub(super) fn rows(report: &Report, group: &Replayed) -> (Vec<String>, Vec<Vec<String>>) {
    let columns = columns(report);
    let mut headings: Vec<String> =
        ["planner"].into_iter().chain(columns.iter().map(|it| it.name)).map(str::to_owned).collect();
    if report.price.is_some() {
        headings.push("cost elsewhere".into());
    }
    if group.needed.is_some() {
        headings.push("GPUs needed".into());
    }
    let row = |(position, &rule): (usize, &crate::sim::replay::baselines::Rule)| {
        let runs: Vec<&Figures> = group.outcome.of(rule).map(|it| &it.figures).collect();
        let mut cells = vec![rule.name().to_owned()];
        cells.extend(columns.iter().map(|column| column.show(&runs)));
        if let Some(price) = report.price {
            let costs: Vec<f64> = runs.iter().map(|it| cost(it, report, price)).collect();
            cells.push(format!("{:.2}", Spread::of(&costs).mean));
        }
        if let Some(needed) = &group.needed {
            cells.push(needed[position].gpus.map_or_else(|| "too many".into(), |gpus| gpus.to_string()));
        }
        cells
    };
    (headings, report.setup.rules.iter().enumerate().map(row).collect())
}

/// What the work that went elsewhere costs there, by the share of a GPU that it needs.
pub(super) fn cost(figures: &Figures, report: &Report, price: f64) -> f64 {
    figures.burst_hours.memory / f64::from(report.setup.fleet.memory_slices().max(1)) * price
}

/// The table.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let fleet = &report.setup.fleet;
    for group in &report.groups {
        let pods: Vec<usize> = group.group.cases.iter().map(|case| case.workload.arrivals.len()).collect();
        let mean = pods.iter().sum::<usize>() / pods.len().max(1);
        let _ = writeln!(
            out,
            "{} on {} x {}: {}{}",
            group.group.title,
            fleet.gpus,
            board(report),
            count(mean as u64, "pod"),
            if pods.len() > 1 {
                format!(" on average over {} seeds; mean ± standard deviation", pods.len())
            } else {
                String::new()
            }
        );
        for note in &group.group.notes {
            let _ = writeln!(out, "  {note}");
        }
        for limit in limits(group) {
            let _ = writeln!(out, "  {limit}");
        }
        out.push('\n');
        let (headings, rows) = rows(report, group);
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        for row in std::iter::once(&headings).chain(&rows) {
            let mut line = String::from(" ");
            for (column, cell) in row.iter().enumerate() {
                let fill = " ".repeat(widths[column] - cell.chars().count());
                let _ = if column == 0 { write!(line, " {cell}{fill}") } else { write!(line, "  {fill}{cell}") };
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out.push('\n');
    }
    if report.instant {
        let _ = writeln!(out, "{INSTANT}");
    }
    let _ = writeln!(out, "Waiting in minutes; percentages of memory-slice-hours.");
    for column in columns(report) {
        let _ = writeln!(out, "  {:<12} {}", column.name, column.words);
    }
    if let (Some(first), true) = (report.setup.rules.first(), report.groups.iter().any(|group| group.needed.is_some()))
    {
        let _ = writeln!(
            out,
            "  {:<12} the fewest with which pods wait no longer and no more goes elsewhere than with {}",
            "GPUs needed",
            first.name()
        );
    }
    out
}
