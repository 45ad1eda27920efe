//! GPUs over time as a picture: a row per GPU, in it a band per slot, in it the instances, filled while a pod holds them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plot::{hours_below, open};
use crate::cli::show::names::count;
use crate::cli::show::svg::escape;
use crate::plan::PlannedInstance;
use crate::sim::{History, Record};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 110.0;
const SLOT: f64 = 7.0;
const GAP: f64 = 10.0;
/// Most GPUs that are drawn, and most boxes: a page must open at once.
const MOST_GPUS: usize = 16;
const MOST_BOXES: usize = 12_000;

/// An instance from when to when, with who held it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    from: u64,
    to: u64,
    instance: PlannedInstance,
}

/// Draws the GPUs of a history, the first of them and from the beginning as far as a page can hold.
pub(super) fn render(title: &str, history: &History, slots: u32) -> String {
    let all = spans(history);
    let gpus: Vec<(&(String, u32), &Vec<Span>)> = all.iter().take(MOST_GPUS).collect();
    let mut froms: Vec<u64> = gpus.iter().flat_map(|(_, spans)| spans.iter().map(|span| span.from)).collect();
    froms.sort_unstable();
    let end = froms.get(MOST_BOXES).copied().unwrap_or(history.end).min(history.end).max(1);
    let row = SLOT * f64::from(slots) + GAP;
    let height = 34.0 + row * gpus.len() as f64 + 44.0;
    let x = |at: u64| LEFT + (WIDTH - LEFT - 10.0) * at.min(end) as f64 / end as f64;
    let mut out = open(title, height);
    let _ = writeln!(out, "<text class=\"h\" x=\"0\" y=\"16\">{}</text>", escape(title));
    for (index, ((node, gpu), spans)) in gpus.iter().enumerate() {
        let top = 28.0 + row * index as f64;
        let middle = top + SLOT * f64::from(slots) / 2.0 + 4.0;
        let _ =
            writeln!(out, "<text class=\"r d\" x=\"{}\" y=\"{middle:.1}\">{} / {gpu}</text>", LEFT - 8.0, escape(node));
        let _ = writeln!(
            out,
            "<rect class=\"board\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            WIDTH - LEFT - 10.0,
            SLOT * f64::from(slots)
        );
        for span in spans.iter().filter(|span| span.from < end) {
            draw(&mut out, span, top, &x);
        }
    }
    let below = 28.0 + row * gpus.len() as f64;
    let hours = end as f64 / 3_600_000.0;
    hours_below(&mut out, hours, below + 12.0, |hour| x((hour * 3_600_000.0) as u64));
    let mut remarks = Vec::new();
    if all.len() > gpus.len() {
        remarks.push(format!("{} not drawn", count((all.len() - gpus.len()) as u64, "more GPU")));
    }
    if end < history.end {
        remarks.push(format!("drawn up to hour {hours:.1} of {:.1}", history.end as f64 / 3_600_000.0));
    }
    let _ = writeln!(
        out,
        "<text class=\"d\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
        below + 32.0,
        escape(&remarks.join("; "))
    );
    out + "</svg>\n"
}

fn draw(out: &mut String, span: &Span, top: f64, x: &impl Fn(u64) -> f64) {
    let Span { from, to, instance } = span;
    let PlannedInstance { start, size, profile, pods, occupancy_unknown: _ } = instance;
    let (left, right) = (x(*from), x(*to));
    let class = if pods.is_empty() { "free".to_owned() } else { format!("held s{size}") };
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{} at {start}: {}</title></rect>",
        top + SLOT * f64::from(*start),
        (right - left).max(0.3),
        SLOT * f64::from(*size),
        escape(profile),
        if pods.is_empty() { "free".into() } else { escape(&pods.join(", ")) },
    );
}

/// Instances of every GPU with their times; an instance that changes hands begins anew.
fn spans(history: &History) -> BTreeMap<(String, u32), Vec<Span>> {
    let mut all: BTreeMap<(String, u32), Vec<Span>> = BTreeMap::new();
    let mut open: BTreeMap<(String, u32), Vec<(u64, PlannedInstance)>> = BTreeMap::new();
    for stamped in &history.records {
        let Record::Gpu { node, index, model: _, instances } = &stamped.record else { continue };
        let key = (node.clone(), *index);
        let old = open.remove(&key).unwrap_or_default();
        let done = all.entry(key.clone()).or_default();
        let mut now = Vec::new();
        for instance in instances {
            let since = old.iter().find(|(_, other)| other == instance).map_or(stamped.at, |(since, _)| *since);
            now.push((since, instance.clone()));
        }
        for (from, instance) in old {
            if !instances.contains(&instance) && stamped.at > from {
                done.push(Span { from, to: stamped.at, instance });
            }
        }
        open.insert(key, now);
    }
    for (key, rest) in open {
        let done = all.entry(key).or_default();
        done.extend(rest.into_iter().map(|(from, instance)| Span { from, to: history.end.max(from), instance }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Stamped;

    fn one(start: u8, pods: &[&str]) -> PlannedInstance {
        let pods = pods.iter().map(|&pod| pod.to_owned()).collect();
        PlannedInstance { start, size: 1, profile: "1g.10gb".into(), pods, occupancy_unknown: false }
    }

    fn record(at: u64, instances: Vec<PlannedInstance>) -> Stamped {
        let model = "NVIDIA A100-SXM4-80GB".into();
        Stamped { at, record: Record::Gpu { node: "n".into(), index: 0, model, instances } }
    }

    #[test]
    fn an_instance_is_drawn_once_for_each_holder() {
        let records = vec![
            record(0, vec![one(0, &[]), one(1, &[])]),
            record(10, vec![one(0, &["a"]), one(1, &[])]),
            record(20, vec![one(0, &["a"])]),
            record(30, vec![one(0, &[])]),
        ];
        let history = History { records, end: 40 };
        let spans: Vec<(u64, u64, u8, usize)> = spans(&history)
            .remove(&("n".to_owned(), 0))
            .expect("the GPU")
            .into_iter()
            .map(|span| (span.from, span.to, span.instance.start, span.instance.pods.len()))
            .collect();
        assert_eq!(spans, [(0, 10, 0, 0), (0, 20, 1, 0), (10, 30, 0, 1), (30, 40, 0, 0)]);
        let picture = render("a <day>", &history, 8);
        assert_eq!(picture.matches("class=\"held s1\"").count(), 1);
        assert_eq!(picture.matches("class=\"free\"").count(), 3);
        assert!(picture.contains("a &lt;day&gt;"));
    }
}
