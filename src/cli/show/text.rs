//! A plan as text. Coloured throughout; the sink takes the colours out where they do not belong.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::bar::{self, paint};
use super::view::{self, Axes, Block, Change, Optimality, Section, View};
use crate::plan::NodePlan;

const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Columns for operations beside the margin.
const LINE: usize = 90;
/// Columns before a bar.
const MARGIN: &str = "              ";

/// Draws a view. Writing to a string cannot fail, so the results of `write!` are not looked at.
pub(crate) fn render(view: &View) -> String {
    let View { title, blocks, sections, optimality, footer, notes } = view;
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", paint(BOLD, title));
    for shown in blocks {
        block(&mut out, shown);
    }
    if blocks.iter().any(|block| !block.changes.is_empty()) {
        let _ = writeln!(out, "{}\n", bar::LEGEND);
    }
    for shown in sections {
        section(&mut out, shown);
    }
    levels(&mut out, optimality);
    let _ = writeln!(out, "{}", paint(BOLD, footer));
    for note in notes {
        let _ = writeln!(out, "Note: {note}");
    }
    out
}

/// Draws the changes of one node.
pub(crate) fn node(node: &NodePlan, axes: &Axes) -> String {
    let mut out = String::new();
    if let Some(shown) = view::node_block(node, axes) {
        block(&mut out, &shown);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn block(out: &mut String, block: &Block) {
    let Block { title, changes, evictions } = block;
    let _ = writeln!(out, "{}", paint(BOLD, title));
    for Change { label, shape, destroy, create, hand_over } in changes {
        let _ = writeln!(out, "  ~ {label}");
        let _ = writeln!(out, "      slots   {}", bar::ruler(shape.axis));
        let _ = writeln!(out, "      before  {}", bar::draw(shape.axis, &shape.before));
        let _ = writeln!(out, "      after   {}", bar::draw(shape.axis, &shape.after));
        operations(out, "destroy", '-', RED, destroy);
        operations(out, "create", '+', GREEN, create);
        operations(out, "hand over", '>', YELLOW, hand_over);
    }
    for eviction in evictions {
        let _ = writeln!(out, "  {} {eviction}", paint(YELLOW, "!"));
    }
    out.push('\n');
}

fn operations(out: &mut String, word: &str, sign: char, style: Style, operations: &[String]) {
    let margin = MARGIN.len().max("      ".len() + word.len() + 1);
    let longest = operations.iter().map(String::len).max().unwrap_or(0);
    for (number, chunk) in operations.chunks((LINE / (longest + 4)).clamp(1, 4)).enumerate() {
        let lead = if number == 0 { format!("      {word}") } else { String::new() };
        let chunk: Vec<String> = chunk.iter().map(|operation| format!("{sign} {operation}")).collect();
        let _ = writeln!(out, "{lead:<margin$}{}", paint(style, &chunk.join("  ")));
    }
}

fn section(out: &mut String, section: &Section) {
    let Section { title, entries } = section;
    let _ = writeln!(out, "{}", paint(BOLD, title));
    for (line, below) in entries {
        let _ = writeln!(out, "  {line}");
        for line in below {
            let _ = writeln!(out, "      {line}");
        }
    }
    out.push('\n');
}

fn levels(out: &mut String, optimality: &Optimality) {
    let Optimality { title, rows } = optimality;
    let _ = writeln!(out, "{}", paint(BOLD, title));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, value, bound) = (width(0).max("level".len()), width(1).max("value".len()), width(2).max("bound".len()));
    let _ = writeln!(out, "  {:<name$}  {:>value$}  {:>bound$}", "level", "value", "bound");
    for [level, reached, proven, remark] in rows {
        let line = format!("  {level:<name$}  {reached:>value$}  {proven:>bound$}  {remark}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push('\n');
}
