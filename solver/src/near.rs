//! The choices of one class whose reduced cost is small: all that an answer near the bound can be made of.

use std::collections::BTreeMap;

use crate::price::{ClassValue, Pricing};
use crate::problem::{ClassId, Dim, Problem};

/// Most different choices kept for one class.
const OPTIONS: usize = 16;

/// A sparse vector over dimensions, ordered.
pub(crate) type Vector = Vec<(Dim, i64)>;

/// One way to use a machine of a class: idle, or a path.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// What it contributes to the levels up to the one at hand and to the rows.
    pub(crate) vector: Vector,
    /// What it contributes to later levels, to break ties.
    later: Vec<i64>,
    /// Numbers of the arcs; `None` when the machine idles.
    pub(crate) path: Option<Vec<u16>>,
}

/// What to look for.
pub(crate) struct Near<'a, 'p> {
    pub(crate) pricing: &'a Pricing<'p>,
    pub(crate) level: usize,
    /// Largest reduced cost, in the units of prices.
    pub(crate) slack: i64,
    /// Most paths looked at.
    pub(crate) most: u32,
}

impl Near<'_, '_> {
    /// The choices of a class, ordered by vector, at least one; and whether all paths were looked at.
    pub(crate) fn choices(&self, problem: &Problem, class: ClassId, value: ClassValue) -> (Vec<Choice>, bool) {
        let mut walk = Walk::new(self, problem, class);
        let best = value.active.max(value.idle);
        let of = &problem.classes[class.index()];
        if best - value.idle <= self.slack {
            walk.record(problem.terms(of.idle).to_vec(), None);
        }
        let slack = self.slack - (best - value.active);
        if slack >= 0 {
            walk.walk(0, slack, &mut Vec::new());
        }
        let complete = walk.paths < self.most;
        let mut found = walk.found;
        found.sort_by(|a, b| a.vector.cmp(&b.vector));
        (found, complete)
    }
}

/// A depth-first walk over the paths within the slack.
struct Walk<'a> {
    problem: &'a Problem,
    class: ClassId,
    level: usize,
    to_sink: Vec<i64>,
    /// Number, arc and value, ordered by the node that they leave.
    arcs: Vec<(u16, crate::Arc, i64)>,
    starts: Vec<usize>,
    found: Vec<Choice>,
    paths: u32,
    most: u32,
}

impl<'a> Walk<'a> {
    fn new(near: &Near<'_, '_>, problem: &'a Problem, class: ClassId) -> Self {
        let of = &problem.classes[class.index()];
        let nodes = usize::from(problem.templates[of.template.index()].nodes);
        let mut arcs: Vec<_> =
            problem.arcs(of).map(|(number, arc)| (number, arc, near.pricing.effect(arc.effect))).collect();
        arcs.sort_by_key(|&(number, arc, _)| (arc.from, number));
        let starts = (0..=nodes).map(|node| arcs.partition_point(|(_, arc, _)| usize::from(arc.from) < node)).collect();
        let mut to_sink = vec![i64::MIN / 4; nodes];
        to_sink[nodes - 1] = 0;
        for &(_, arc, value) in arcs.iter().rev() {
            let through = value + to_sink[usize::from(arc.to)];
            let here = &mut to_sink[usize::from(arc.from)];
            *here = (*here).max(through);
        }
        Self { problem, class, level: near.level, to_sink, arcs, starts, found: Vec::new(), paths: 0, most: near.most }
    }

    fn walk(&mut self, node: u16, slack: i64, path: &mut Vec<u16>) {
        if self.paths >= self.most {
            return;
        }
        if usize::from(node) + 1 == self.to_sink.len() {
            self.paths += 1;
            self.record(self.problem.path_vector(self.class, path), Some(path.clone()));
            return;
        }
        for position in self.starts[usize::from(node)]..self.starts[usize::from(node) + 1] {
            let (number, arc, value) = self.arcs[position];
            let cost = self.to_sink[usize::from(node)] - value - self.to_sink[usize::from(arc.to)];
            if cost <= slack {
                path.push(number);
                self.walk(arc.to, slack - cost, path);
                path.pop();
            }
        }
    }

    /// Keeps a choice, unless one with the same vector is at least as good on the later levels.
    fn record(&mut self, terms: Vector, path: Option<Vec<u16>>) {
        let (level, levels) = (self.level, self.problem.levels);
        let mut later = vec![0; levels.saturating_sub(level + 1)];
        let mut vector = Vector::new();
        for (dim, amount) in terms {
            if dim.index() <= level || dim.index() >= levels {
                vector.push((dim, amount));
            } else {
                later[dim.index() - level - 1] += amount;
            }
        }
        if let Some(known) = self.found.iter_mut().find(|choice| choice.vector == vector) {
            if known.later < later {
                *known = Choice { vector, later, path };
            }
        } else if self.found.len() < OPTIONS {
            self.found.push(Choice { vector, later, path });
        }
    }
}

/// The difference of two vectors.
pub(crate) fn subtract(vector: &[(Dim, i64)], other: &[(Dim, i64)]) -> Vector {
    let mut sums: BTreeMap<Dim, i64> = vector.iter().copied().collect();
    for &(dim, amount) in other {
        *sums.entry(dim).or_default() -= amount;
    }
    sums.into_iter().filter(|&(_, amount)| amount != 0).collect()
}
