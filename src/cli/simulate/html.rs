//! The report of `simulate`: one HTML page with tables and plots that loads nothing and runs nothing.
//!
//! Invariants: well-formed as XML; legible on light and dark grounds; every number of a plot stands in it as text.

use std::fmt::Write as _;

use super::plot::{self, Bar, Line, Part};
use super::table::{INSTANT, columns, cost, rows};
use super::{Replayed, Report, board, limits, timeline};
use crate::cli::show::names::count;
use crate::cli::show::svg::escape;
use crate::sim::replay::baselines::Rule;
use crate::sim::replay::figures::{Figures, Spread};
use crate::sim::{History, Record};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#59636e;--ground:#ffffff;--edge:#8c959f;--free:#ffffff;--a:#4a7fc1;--b:#d98b2b;\
--c:#3f9a5a;--d:#b5485d;--e:#8661b3;--f:#6b7580;--h1:#9cc4f5;--h2:#78aeea;--h4:#4a86cf;--h8:#2d5fa0}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--dim:#a3adb8;--ground:#14181d;--edge:#6b7580;--free:#14181d;--a:#6fa5e8;\
--b:#e6a652;--c:#62bd7d;--d:#dc7389;--e:#ab8ad6;--f:#98a3ae;--h1:#22446e;--h2:#2c5a91;--h4:#3f7ac0;--h8:#6fa5e8}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:1100px;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}td,th{padding:.25em .6em;text-align:right;white-space:nowrap;\
border-bottom:1px solid var(--edge)}td:first-child,th:first-child{text-align:left}p.d,dd{color:var(--dim)}dt{font-weight:bold}dd{margin:0 0 .3em 1.5em}\
svg{width:100%;height:auto;margin:1em 0;font:13px system-ui,sans-serif}svg text{fill:var(--ink)}svg text.h{font-weight:bold;font-size:15px}\
svg text.d{fill:var(--dim)}svg text.r{text-anchor:end}svg text.c{text-anchor:middle}\
rect.a{fill:var(--a)}rect.b{fill:var(--b)}rect.c{fill:var(--c)}rect.d{fill:var(--d)}rect.e{fill:var(--e)}rect.f{fill:var(--f)}\
rect.board{fill:none;stroke:var(--edge);stroke-dasharray:3 3}rect.free{fill:var(--free);stroke:var(--edge);stroke-width:.4}\
rect.held{stroke:var(--ground);stroke-width:.3}rect.s1{fill:var(--h1)}rect.s2{fill:var(--h2)}rect.s3,rect.s4{fill:var(--h4)}\
rect.s5,rect.s6,rect.s7,rect.s8{fill:var(--h8)}rect.s12,rect.s9,rect.s10{fill:var(--h8)}path{fill:none;stroke:var(--edge)}path.whisker{stroke:var(--ink)}\
path.line{stroke-width:1.6}path.c0{stroke:var(--a)}path.c1{stroke:var(--b)}path.c2{stroke:var(--c)}path.c3{stroke:var(--d)}path.c4{stroke:var(--e)}\
path.c5{stroke:var(--f)}";

/// Draws the page.
pub(super) fn render(report: &Report) -> String {
    let setup = &report.setup;
    let title = format!("Replay on {} x {}", setup.fleet.gpus, board(report));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>{}</h1>\n",
        escape(&title),
        escape(&title)
    );
    let _ = writeln!(
        out,
        "<p class=\"d\">retile {}: plans every {} seconds, disruption level {}, nodes of up to {}.</p>",
        env!("CARGO_PKG_VERSION"),
        setup.period / 1000,
        setup.policy.disruption.as_flag(),
        count(u64::from(setup.fleet.per_node), "GPU"),
    );
    if report.instant {
        let _ = writeln!(out, "<p>{}</p>", escape(INSTANT));
    }
    for group in &report.groups {
        section(&mut out, report, group);
    }
    legend(&mut out, report);
    out + "</body>\n</html>\n"
}

fn section(out: &mut String, report: &Report, group: &Replayed) {
    let _ = writeln!(out, "<h2>{}</h2>", escape(&group.group.title));
    for note in &group.group.notes {
        let _ = writeln!(out, "<p class=\"d\">{}</p>", escape(note));
    }
    for limit in limits(group) {
        let _ = writeln!(out, "<p class=\"d\">{}</p>", escape(&limit));
    }
    let (headings, rows) = rows(report, group);
    out.push_str("<table>\n<tr>");
    for heading in &headings {
        let _ = write!(out, "<th>{}</th>", escape(heading));
    }
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in &row {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
    plots(out, report, group);
    over_time(out, report, group);
}

/// Bars that compare the planners.
fn plots(out: &mut String, report: &Report, group: &Replayed) {
    let figures = |rule: Rule| -> Vec<&Figures> { group.outcome.of(rule).map(|it| &it.figures).collect() };
    let spread = |rule: Rule, value: &dyn Fn(&Figures) -> f64| {
        Spread::of(&figures(rule).into_iter().map(value).collect::<Vec<_>>())
    };
    let simple = |class: &'static str, name: &'static str, unit: &str, value: &dyn Fn(&Figures) -> f64| -> Vec<Bar> {
        let bar = |&rule: &Rule| {
            let Spread { mean, min, max, deviation } = spread(rule, value);
            let several = figures(rule).len() > 1;
            Bar {
                label: rule.name().into(),
                parts: vec![Part { class, name, value: mean }],
                range: several.then_some((min, max)),
                text: if several { format!("{mean:.2} ± {deviation:.2} {unit}") } else { format!("{mean:.2} {unit}") },
            }
        };
        report.setup.rules.iter().map(bar).collect()
    };
    let elsewhere = simple("d", "elsewhere", "%", &|it| it.burst_share * 100.0);
    out.push_str(&plot::bars("Work that went elsewhere", "% of requested memory-slice-hours", &elsewhere));
    if let Some(price) = report.price {
        let costs = simple("d", "cost", "", &|it| cost(it, report, price));
        let unit = format!("at {price:.2} for a GPU-hour");
        out.push_str(&plot::bars("Cost of the work that went elsewhere", &unit, &costs));
    }
    out.push_str(&plot::bars("Mean waiting", "minutes", &simple("a", "mean", "min", &|it| it.total_wait.mean)));
    out.push_str(&plot::bars(
        "95th percentile of waiting",
        "minutes",
        &simple("a", "p95", "min", &|it| it.total_wait.p95),
    ));
    let slices = |&rule: &Rule| {
        let share = |value: fn(&Figures) -> f64| {
            let capacity = |it: &Figures| it.capacity.memory.max(1e-9);
            spread(rule, &|it| value(it) * 100.0 / capacity(it)).mean
        };
        let (held, stranded, miscut) =
            (share(|it| it.allocated.memory), share(|it| it.stranded.memory), share(|it| it.miscut.memory));
        let lost = share(|it| it.reconfiguring.memory);
        let parts = vec![
            Part { class: "c", name: "held by pods", value: held },
            Part { class: "d", name: "stranded: free, of no use to what waits however it is cut", value: stranded },
            Part {
                class: "b",
                name: "miscut: free, of no use to what waits as it is cut",
                value: (miscut - stranded).max(0.0),
            },
            Part { class: "e", name: "lost to reconfiguration", value: lost },
        ];
        let text = format!("{held:.1} held, {stranded:.1} stranded, {miscut:.1} miscut, {lost:.1} lost");
        Bar { label: rule.name().into(), parts, range: None, text }
    };
    let bars: Vec<Bar> = report.setup.rules.iter().map(slices).collect();
    out.push_str(&plot::bars(
        "Memory slices",
        "% of slice-hours; green held, red stranded, orange miscut, violet lost",
        &bars,
    ));
    let moves = simple("e", "moves", "", &|it| it.moves_per_100);
    out.push_str(&plot::bars("Moves", "evictions per 100 pods", &moves));
    if let Some(needed) = &group.needed {
        let bar = |(position, &rule): (usize, &Rule)| {
            let gpus = needed[position].gpus;
            let text = gpus.map_or_else(|| "too many".to_owned(), |gpus| gpus.to_string());
            let value = f64::from(gpus.unwrap_or(0));
            Bar { label: rule.name().into(), parts: vec![Part { class: "a", name: "GPUs", value }], range: None, text }
        };
        let bars: Vec<Bar> = report.setup.rules.iter().enumerate().map(bar).collect();
        out.push_str(&plot::bars("GPUs needed to be as good as the first", "GPUs", &bars));
    }
}

/// What happened over time in the first case: who waited, what went elsewhere, what the GPUs looked like.
fn over_time(out: &mut String, report: &Report, group: &Replayed) {
    let Some(first) = group.group.cases.first() else { return };
    let of = |rule: Rule| group.outcome.of(rule).find(|it| it.case == 0);
    let histories: Vec<(Rule, &History)> =
        report.setup.rules.iter().filter_map(|&rule| Some((rule, &of(rule)?.history))).collect();
    let _ = writeln!(out, "<h3>{} over time</h3>", escape(&first.label));
    let line = |count: fn(&History) -> Vec<(f64, f64)>| -> Vec<Line> {
        let all = histories.iter();
        all.map(|(rule, history)| Line { name: rule.name().into(), points: count(history) }).collect()
    };
    // Six lines can be told apart.
    for lines in line(waiting).chunks(6) {
        out.push_str(&plot::lines("Pods that wait", "pods", lines));
    }
    for lines in line(elsewhere).chunks(6) {
        out.push_str(&plot::lines("Pods that went elsewhere so far", "pods", lines));
    }
    let chosen = |(rule, _): &&(Rule, &History)| histories.len() <= 2 || [Rule::Retile, Rule::Static].contains(rule);
    for (rule, history) in histories.iter().filter(chosen) {
        let title = format!("GPUs under {}: slots over time, filled while held", rule.name());
        out.push_str(&timeline::render(&title, history, report.setup.fleet.memory_slices()));
    }
}

/// Counts up and down over a history, in hours.
fn counted(history: &History, change: fn(&Record) -> f64) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, 0.0)];
    let mut value = 0.0;
    for stamped in &history.records {
        let by = change(&stamped.record);
        if by != 0.0 {
            value += by;
            points.push((stamped.at as f64 / 3_600_000.0, value));
        }
    }
    points.push((history.end as f64 / 3_600_000.0, value));
    points
}

fn waiting(history: &History) -> Vec<(f64, f64)> {
    counted(history, |record| match record {
        Record::Arrived { .. } | Record::Evicted { .. } | Record::Interrupted { .. } => 1.0,
        Record::Started { .. } | Record::Burst { .. } => -1.0,
        Record::Finished { .. }
        | Record::Gpu { .. }
        | Record::Claimed { .. }
        | Record::Ended { .. }
        | Record::Planned { .. } => 0.0,
    })
}

fn elsewhere(history: &History) -> Vec<(f64, f64)> {
    counted(history, |record| match record {
        Record::Burst { .. } => 1.0,
        Record::Arrived { .. }
        | Record::Evicted { .. }
        | Record::Interrupted { .. }
        | Record::Started { .. }
        | Record::Finished { .. }
        | Record::Gpu { .. }
        | Record::Claimed { .. }
        | Record::Ended { .. }
        | Record::Planned { .. } => 0.0,
    })
}

fn legend(out: &mut String, report: &Report) {
    out.push_str("<h2>Words</h2>\n<dl>\n");
    for column in columns(report) {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(column.name), escape(column.words));
    }
    for rule in &report.setup.rules {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(rule.name()), escape(rule.words()));
    }
    out.push_str("</dl>\n");
}
