//! Draws a [`Frame`] as lines of text for a width, coloured; the sink takes the colours out where they do not belong.
//!
//! Invariant: no line is wider than asked for, and no more lines than asked for; readable without colour.

use anstyle::{AnsiColor, Style};

use super::frame::{Frame, GpuFrame, NodeFrame, WaitingFrame};
use super::watch::{Counters, Event};
use crate::cli::show::bar::{self, paint};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Fewest columns in which a frame can be drawn.
pub(super) const NARROWEST: usize = 66;
/// Fewest rows.
pub(super) const LOWEST: usize = 20;
/// From this width on, who waits stands beside the GPUs.
const WIDE: usize = 110;
/// Columns of the GPUs in a wide frame.
const LEFT: usize = 64;

/// Draws a frame.
pub(super) fn render(frame: &Frame, width: usize, height: usize) -> Vec<String> {
    let Frame { at, end, retile, fixed, nodes, waiting, last } = frame;
    let mut lines = vec![title(*at, *end, width), String::new()];
    lines.extend(table(*retile, *fixed));
    lines.push(String::new());
    let gpus = nodes.iter().flat_map(node_lines);
    if width >= WIDE {
        let gpus: Vec<String> = gpus.collect();
        let beside = waiting_lines(waiting, width - LEFT - 2, gpus.len());
        for (row, left) in gpus.iter().enumerate() {
            let right = beside.get(row).map_or("", String::as_str);
            let room = LEFT.saturating_sub(columns(left));
            lines.push(format!("{left}{:room$}  {right}", "").trim_end().to_owned());
        }
    } else {
        lines.extend(gpus);
        lines.push(String::new());
        // Two lines are left to what happened last.
        let room = height.saturating_sub(lines.len() + 3);
        lines.extend(waiting_lines(waiting, width, room.max(2)));
    }
    lines.push(String::new());
    let room = height.saturating_sub(lines.len());
    lines.extend(last.iter().take(room).map(|event| event_line(event, width)));
    lines.truncate(height);
    lines.into_iter().map(|line| if columns(&line) > width { cut(&line, width) } else { line }).collect()
}

/// `3:24`: hours and minutes.
pub(super) fn clock(ms: u64) -> String {
    format!("{}:{:02}", ms / 3_600_000, ms / 60_000 % 60)
}

/// An event in one line.
pub(super) fn event_line(event: &Event, width: usize) -> String {
    let Event { at, node, text } = event;
    let space = if node.is_empty() { "" } else { " " };
    cut(&format!("{:>6}  {node}{space}{text}", clock(*at)), width)
}

fn title(at: u64, end: u64, width: usize) -> String {
    let left = format!("retile demo   {} of {}   ", clock(at), clock(end));
    let right = "   q to the end, Ctrl-C stops";
    let room = width.saturating_sub(left.len() + right.len() + 2).min(40);
    let done = usize::try_from(u128::from(at) * room as u128 / u128::from(end.max(1))).unwrap_or(room).min(room);
    format!("{}[{}{}]{}", paint(BOLD, &left), "=".repeat(done), " ".repeat(room - done), paint(DIM, right))
}

fn table(retile: Counters, fixed: Counters) -> [String; 3] {
    let row = |name: &str, counters: Counters, moves: bool| {
        let Counters { waiting, running, served, elsewhere, moved, changes } = counters;
        let done = |count: u64| if moves { count.to_string() } else { "-".to_owned() };
        format!("{name:<14}{waiting:>9}{running:>9}{served:>9}{elsewhere:>11}{:>9}{:>9}", done(moved), done(changes))
    };
    let head = format!(
        "{:<14}{:>9}{:>9}{:>9}{:>11}{:>9}{:>9}",
        "", "waiting", "running", "served", "elsewhere", "moved", "changes"
    );
    [paint(DIM, &head), paint(BOLD, &row("retile", retile, true)), row("fixed layouts", fixed, false)]
}

fn node_lines(node: &NodeFrame) -> Vec<String> {
    let NodeFrame { name, operation, gpus } = node;
    let head = match operation {
        Some(operation) => format!("{}  {}", paint(BOLD, name), paint(YELLOW, &cut(operation, LEFT - name.len() - 2))),
        None => paint(BOLD, name),
    };
    let gpu = |gpu: &GpuFrame| format!("  {:>2} {}", gpu.index, bar::draw(gpu.axis, &gpu.tiles));
    std::iter::once(head).chain(gpus.iter().map(gpu)).collect()
}

/// Who waits, with a head, in at most `room` lines.
fn waiting_lines(waiting: &[WaitingFrame], width: usize, room: usize) -> Vec<String> {
    let head = match waiting.len() {
        0 => "nobody waits".to_owned(),
        1 => "1 waits".to_owned(),
        many => format!("{many} wait, longest first"),
    };
    let mut lines = vec![paint(BOLD, &head)];
    let all = waiting.len() < room;
    let shown = if all { waiting.len() } else { room.saturating_sub(2) };
    for WaitingFrame { work, wants, waited } in &waiting[..shown] {
        lines.push(cut(&format!("{:>6}  {work:<14} {wants}", clock(*waited)), width));
    }
    if !all && room > 1 {
        lines.push(cut(&format!("        and {} more", waiting.len() - shown), width));
    }
    lines
}

/// Columns that a line takes.
fn columns(line: &str) -> usize {
    anstream::adapter::strip_str(line).to_string().chars().count()
}

/// A line cut to a width, without its colours where it was too long.
pub(crate) fn cut(line: &str, width: usize) -> String {
    let plain = anstream::adapter::strip_str(line).to_string();
    if plain.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = plain.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
