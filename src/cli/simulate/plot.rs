//! Plots as inline SVG: bars with spreads, and lines over time. Every mark has its value as text.

use std::fmt::Write as _;

use crate::cli::show::svg::escape;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 190.0;
const ROW: f64 = 26.0;
/// Least room behind the longest bar for its text, and the room that a letter takes at most on average.
const BEHIND: f64 = 150.0;
const LETTER: f64 = 7.0;

/// One part of a stacked bar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Class of the style sheet, which decides the colour.
    pub(super) class: &'static str,
    /// What it is.
    pub(super) name: &'static str,
    /// Length.
    pub(super) value: f64,
}

/// A row of a bar plot.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    /// Label at the left.
    pub(super) label: String,
    /// Parts from left to right.
    pub(super) parts: Vec<Part>,
    /// Least and greatest of the whole over the seeds, drawn as a whisker.
    pub(super) range: Option<(f64, f64)>,
    /// The value in words, behind the bar.
    pub(super) text: String,
}

/// A plot of horizontal bars from zero.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let total = |bar: &Bar| bar.parts.iter().map(|part| part.value).sum::<f64>();
    let most = bars.iter().map(|bar| total(bar).max(bar.range.map_or(0.0, |(_, most)| most))).fold(0.0, f64::max);
    let letters = bars.iter().map(|bar| bar.text.chars().count()).max().unwrap_or(0);
    let behind = BEHIND.max(8.0 + LETTER * letters as f64);
    let scale = (WIDTH - LEFT - behind) / if most > 0.0 { most } else { 1.0 };
    let height = 34.0 + ROW * bars.len() as f64;
    let mut out = open(title, height);
    let _ = writeln!(out, "<text class=\"h\" x=\"0\" y=\"16\">{}</text>", escape(&format!("{title} ({unit})")));
    for (row, bar) in bars.iter().enumerate() {
        let top = 28.0 + ROW * row as f64;
        let base = top + 14.0;
        let _ = writeln!(out, "<text class=\"r\" x=\"{}\" y=\"{base:.1}\">{}</text>", LEFT - 8.0, escape(&bar.label));
        let mut x = LEFT;
        for part in &bar.parts {
            let width = part.value.max(0.0) * scale;
            let _ = writeln!(
                out,
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"18\"><title>{}: {:.2}</title></rect>",
                part.class,
                escape(part.name),
                part.value
            );
            x += width;
        }
        if let Some((least, most)) = bar.range {
            let (from, to, y) = (LEFT + least.max(0.0) * scale, LEFT + most.max(0.0) * scale, top + 9.0);
            let _ = writeln!(
                out,
                "<path class=\"whisker\" d=\"M{from:.1} {y:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8\"/>",
                y - 4.0,
                y - 4.0
            );
            x = x.max(to);
        }
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{base:.1}\">{}</text>", x + 8.0, escape(&bar.text));
    }
    out + "</svg>\n"
}

/// A line over time: points of (hours, value).
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Name in the legend.
    pub(super) name: String,
    /// Points in order of time; the value holds until the next.
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot of step lines over time.
pub(super) fn lines(title: &str, unit: &str, lines: &[Line]) -> String {
    const HEIGHT: f64 = 180.0;
    let all = || lines.iter().flat_map(|line| &line.points);
    let hours = all().map(|point| point.0).fold(0.0, f64::max).max(1e-9);
    let most = all().map(|point| point.1).fold(0.0, f64::max).max(1e-9);
    let (left, bottom) = (60.0, 30.0 + HEIGHT);
    let x = |hour: f64| left + (WIDTH - left - 10.0) * hour / hours;
    let y = |value: f64| bottom - HEIGHT * value / most;
    let mut out = open(title, bottom + 24.0 + 18.0 * lines.len() as f64);
    let _ = writeln!(out, "<text class=\"h\" x=\"0\" y=\"16\">{}</text>", escape(&format!("{title} ({unit})")));
    let _ = writeln!(out, "<path class=\"axis\" d=\"M{left} 30V{bottom}H{:.1}\"/>", WIDTH - 10.0);
    for (value, at) in [(0.0, bottom), (most, 38.0)] {
        let _ = writeln!(out, "<text class=\"r d\" x=\"{}\" y=\"{at}\">{value:.0}</text>", left - 6.0);
    }
    hours_below(&mut out, hours, bottom + 16.0, x);
    for (index, line) in lines.iter().enumerate() {
        let mut path = String::new();
        for (position, &(hour, value)) in thinned(&line.points).iter().enumerate() {
            let _ = if position == 0 {
                write!(path, "M{:.1} {:.1}", x(hour), y(value))
            } else {
                write!(path, "H{:.1}V{:.1}", x(hour), y(value))
            };
        }
        let _ = writeln!(out, "<path class=\"line c{}\" d=\"{path}\"/>", index % 6);
        let at = bottom + 36.0 + 18.0 * index as f64;
        let highest = line.points.iter().map(|point| point.1).fold(0.0, f64::max);
        let _ = writeln!(
            out,
            "<path class=\"line c{}\" d=\"M{left} {:.1}h24\"/><text x=\"{}\" y=\"{at:.1}\">{} (at most {highest:.0})</text>",
            index % 6,
            at - 4.0,
            left + 32.0,
            escape(&line.name)
        );
    }
    out + "</svg>\n"
}

/// Labels of an axis of hours.
pub(super) fn hours_below(out: &mut String, hours: f64, y: f64, x: impl Fn(f64) -> f64) {
    let step = [1.0, 2.0, 6.0, 12.0, 24.0, 48.0, 168.0, 720.0, 8760.0].into_iter().find(|step| hours / step <= 14.0);
    let step = step.unwrap_or(hours.max(1.0));
    let mut hour = 0.0;
    while hour <= hours {
        let _ = writeln!(out, "<text class=\"c d\" x=\"{:.1}\" y=\"{y:.1}\">{hour:.0} h</text>", x(hour));
        hour += step;
    }
}

/// The beginning of a picture.
pub(super) fn open(title: &str, height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\n", escape(title))
}

/// At most some thousand points: of each stretch the highest, so that no peak is lost, and the last.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(2000).max(1);
    let peak = |some: &[(f64, f64)]| some.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(stretch).filter_map(peak).chain(points.last().copied().filter(|_| stretch > 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_say_their_values() {
        let bar = |label: &str, value| Bar {
            label: label.into(),
            parts: vec![Part { class: "held", name: "held", value }],
            range: Some((value / 2.0, value)),
            text: format!("{value} %"),
        };
        let picture = bars("Work <elsewhere>", "%", &[bar("static", 5.6), bar("retile", 0.0)]);
        assert!(picture.contains("Work &lt;elsewhere&gt; (%)") && picture.contains("5.6 %"));
        assert!(picture.contains("width=\"560.0\"") && picture.contains("width=\"0.0\""), "{picture}");
        assert!(!bars("nothing", "%", &[]).contains("NaN"));
    }

    #[test]
    fn the_longest_bar_leaves_room_for_its_text() {
        let text = "63.9 held, 4.7 stranded, 12.3 miscut, 0.5 lost".to_owned();
        let letters = text.len() as f64;
        let parts =
            vec![Part { class: "c", name: "held", value: 63.9 }, Part { class: "b", name: "miscut", value: 12.3 }];
        let picture = bars("slices", "%", &[Bar { label: "static".into(), parts, range: None, text }]);
        let (before, _) = picture
            .split_once("\">63.9 held")
            .map(|(it, _)| it.rsplit_once("\" y=").expect("a place"))
            .expect("the text");
        let x: f64 = before.rsplit_once("x=\"").expect("a place").1.parse().expect("a number");
        assert!(x + LETTER * letters <= WIDTH, "it begins at {x}:\n{picture}");
    }

    #[test]
    fn thinning_keeps_peaks() {
        let mut points: Vec<(f64, f64)> = (0..50_000).map(|at| (f64::from(at), 0.0)).collect();
        points[12_345].1 = 7.0;
        let thin = thinned(&points);
        assert!(thin.len() <= 2001 && thin.iter().any(|point| point.1 > 6.0) && thin.last() == points.last());
        let picture = lines("t", "pods", &[Line { name: "static".into(), points }]);
        assert!(picture.contains("at most 7") && !picture.contains("NaN"));
    }
}
