//! A plan as a picture: one self-contained SVG file, legible on light and dark grounds, with every number as text.

use std::fmt::Write as _;

use super::bar::{self, Fate, Tile};
use super::view::{Block, Change, Optimality, Section, View};

const WIDTH: u32 = 1000;
const LINE: u32 = 20;
const LEFT: u32 = 24;
const BAR_LEFT: u32 = 110;
const BAR_WIDTH: u32 = 864;
const BAR_HEIGHT: u32 = 26;
/// Characters of the body font that fit a line; longer lines are wrapped.
const COLUMNS: usize = 118;

/// Colours by role: plain rules first, for viewers that know neither themes nor variables, then those for dark grounds. Every box keeps
/// its label and an outline, so nothing is said by colour alone.
const STYLE: &str = "\
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace;font-size:13px;fill:#1b1f24;white-space:pre}\
text.h{font-weight:bold;font-size:15px}text.d{fill:#59636e}text.c{text-anchor:middle}text.r{text-anchor:end}\
rect{stroke:#8c959f}rect.ground{fill:#ffffff;stroke:none}rect.axis{fill:none;stroke-dasharray:3 3}\
rect.held{fill:#cfe3ff}rect.free{fill:#ffffff}rect.new{fill:#c8f0d0;stroke-width:2}rect.gone{fill:#ffd8d3;stroke-dasharray:5 3}\
@media(prefers-color-scheme:dark){text{fill:#e8ecf1}text.d{fill:#a3adb8}rect{stroke:#6b7580}rect.ground{fill:#14181d}\
rect.held{fill:#1f3f66}rect.free{fill:#14181d}rect.new{fill:#1d4a2a}rect.gone{fill:#5a2320}}";

/// Draws a view.
pub(crate) fn render(view: &View) -> String {
    let View { title, blocks, sections, optimality, footer, notes } = view;
    let mut canvas = Canvas { body: String::new(), y: 12 };
    canvas.line("h", LEFT, title);
    for block in blocks {
        canvas.block(block);
    }
    if blocks.iter().any(|block| !block.changes.is_empty()) {
        canvas.gap();
        canvas.legend();
    }
    for section in sections {
        canvas.section(section);
    }
    canvas.optimality(optimality);
    canvas.gap();
    canvas.wrapped("h", LEFT, footer);
    for note in notes {
        canvas.wrapped("d", LEFT, &format!("Note: {note}"));
    }
    let height = canvas.y + 16;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{}</title>\n<desc>{}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n{}</svg>\n",
        escape(title),
        escape(footer),
        canvas.body
    )
}

/// Text for an XML document; characters that XML forbids are dropped.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

/// Elements from top to bottom.
struct Canvas {
    body: String,
    y: u32,
}

impl Canvas {
    fn gap(&mut self) {
        self.y += LINE / 2;
    }

    fn line(&mut self, class: &str, x: u32, text: &str) {
        self.y += LINE;
        let _ = writeln!(self.body, "<text class=\"{class}\" x=\"{x}\" y=\"{}\">{}</text>", self.y, escape(text));
    }

    fn wrapped(&mut self, class: &str, x: u32, text: &str) {
        let room = (if class == "h" { COLUMNS * 13 / 15 } else { COLUMNS }) - (x - LEFT) as usize / 8;
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                self.line(class, x, &line);
                line.clear();
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(class, x, &line);
    }

    fn block(&mut self, block: &Block) {
        let Block { title, changes, evictions } = block;
        self.gap();
        self.line("h", LEFT, title);
        for Change { label, shape, destroy, create, hand_over } in changes {
            self.wrapped("t", LEFT + 16, label);
            self.ruler(shape.axis);
            self.bar("before", shape.axis, &shape.before);
            self.bar("after", shape.axis, &shape.after);
            for (word, sign, operations) in
                [("destroy", '-', destroy), ("create", '+', create), ("hand over", '>', hand_over)]
            {
                if !operations.is_empty() {
                    let listed: Vec<String> =
                        operations.iter().map(|operation| format!("{sign} {operation}")).collect();
                    self.wrapped("d", LEFT + 16, &format!("{word}  {}", listed.join("  ")));
                }
            }
            self.gap();
        }
        for eviction in evictions {
            self.wrapped("t", LEFT + 16, &format!("! {eviction}"));
        }
    }

    fn ruler(&mut self, axis: u8) {
        self.y += LINE;
        for slot in 0..axis {
            let x = at(slot, axis) + 4;
            let _ = writeln!(self.body, "<text class=\"d\" x=\"{x}\" y=\"{}\">{slot}</text>", self.y);
        }
    }

    fn bar(&mut self, word: &str, axis: u8, tiles: &[Tile]) {
        let top = self.y + 6;
        self.y = top + BAR_HEIGHT;
        let base = top + 18;
        let _ = writeln!(self.body, "<text class=\"d\" x=\"{}\" y=\"{base}\">{word}</text>", LEFT + 16);
        let _ = writeln!(
            self.body,
            "<rect class=\"axis\" x=\"{BAR_LEFT}\" y=\"{top}\" width=\"{BAR_WIDTH}\" height=\"{BAR_HEIGHT}\"/>"
        );
        for tile in tiles {
            let (left, right) = (at(tile.start, axis), at(tile.start.saturating_add(tile.size), axis));
            let width = right.saturating_sub(left);
            let room = width as usize / 9;
            let long = format!("{} {}", tile.profile, tile.word);
            let label = if long.len() <= room { long } else { bar::label(&tile.profile, room) };
            let _ = writeln!(
                self.body,
                "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\"><title>{} {}:{} {}</title></rect>\
                 <text class=\"c\" x=\"{}\" y=\"{base}\">{}</text>",
                class(tile),
                left + 1,
                top + 2,
                width.saturating_sub(2),
                BAR_HEIGHT - 4,
                escape(&tile.profile),
                tile.start,
                tile.size,
                tile.word,
                left + width / 2,
                escape(&label)
            );
        }
    }

    fn legend(&mut self) {
        self.y += LINE;
        let mut x = LEFT;
        for (class, text) in [
            ("held", "held by a pod"),
            ("free", "free"),
            ("gone", "to destroy"),
            ("new", "to create"),
            ("axis", "not cut"),
        ] {
            let _ = writeln!(
                self.body,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"24\" height=\"14\" rx=\"3\"/>\
                 <text class=\"d\" x=\"{}\" y=\"{}\">{text}</text>",
                self.y - 11,
                x + 30,
                self.y
            );
            x += 160;
        }
    }

    fn section(&mut self, section: &Section) {
        let Section { title, entries } = section;
        self.gap();
        self.line("h", LEFT, title);
        for (line, below) in entries {
            self.wrapped("t", LEFT + 16, line);
            for line in below {
                self.wrapped("d", LEFT + 40, line);
            }
        }
    }

    fn optimality(&mut self, optimality: &Optimality) {
        let Optimality { title, rows } = optimality;
        self.gap();
        self.line("h", LEFT, title);
        for [level, value, bound, remark] in rows {
            self.line("t", LEFT + 16, level);
            for (x, class, text) in [(300, "r", value), (312, "d", &format!("of {bound}")), (430, "d", remark)] {
                let _ =
                    writeln!(self.body, "<text class=\"{class}\" x=\"{x}\" y=\"{}\">{}</text>", self.y, escape(text));
            }
        }
    }
}

/// Where a slot begins.
fn at(slot: u8, axis: u8) -> u32 {
    BAR_LEFT + BAR_WIDTH * u32::from(slot) / u32::from(axis.max(1))
}

fn class(tile: &Tile) -> &'static str {
    match (tile.fate, tile.held) {
        (Fate::Created, _) => "new",
        (Fate::Destroyed, _) => "gone",
        (Fate::Kept, true) => "held",
        (Fate::Kept, false) => "free",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::show::view::tests::{plan_with_many_nodes, plan_with_one_move};

    #[test]
    fn names_from_the_cluster_cannot_break_out_of_their_text() {
        assert_eq!(escape("<a href=\"x\">&\u{7}"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn the_picture_is_self_contained_and_says_in_text_what_it_draws() {
        let view = View::of(&plan_with_one_move(), &std::collections::BTreeMap::new());
        let picture = render(&view);
        assert!(picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
        assert!(!picture.contains("href") && !picture.contains("url("), "nothing is loaded from elsewhere");
        for text in ["3g.40gb busy", "1g.10gb", "evict ml/train-7 -&gt; lands on gpu-a-05", "prefers-color-scheme:dark"]
        {
            assert!(picture.contains(text), "{text} is missing in\n{picture}");
        }
        assert_eq!(picture.matches("class=\"axis\" x=\"110\"").count(), 2, "one bar before and one after");
    }

    #[test]
    fn a_plan_for_thousands_of_nodes_stays_a_picture_that_a_viewer_opens() {
        let picture = render(&View::of(&plan_with_many_nodes(3000), &std::collections::BTreeMap::new()));
        assert!(picture.len() < 100_000, "{} bytes", picture.len());
    }
}
