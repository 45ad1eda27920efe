//! Best choices for given prices: longest paths through every class, in integers.
//!
//! Prices are integers in units of 1/[`SCALE`] of the objective, so the value of relaxing the rows at these prices is
//! exact, and so is the bound that follows from it, however the prices were found.

use crate::problem::{Class, ClassId, Problem};

/// Denominator of prices: a multiple of all numbers up to 14, so that the usual fractional prices are exact.
pub(crate) const SCALE: i64 = 720_720;

/// Values of everything under one vector of prices.
pub(crate) struct Pricing<'a> {
    problem: &'a Problem,
    /// Value of each effect.
    values: Vec<i64>,
}

/// What the machines of a class would do: value when active, value when idle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClassValue {
    pub(crate) active: i64,
    pub(crate) idle: i64,
}

/// The best choice of all machines under a vector of prices.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// Value of all machines and groups together.
    pub(crate) value: i128,
    /// What they contribute to every dimension, block by block.
    pub(crate) blocks: Vec<BlockChoice>,
}

/// The part of a choice that falls to one block of groups.
#[derive(Debug, Clone)]
pub(crate) struct BlockChoice {
    pub(crate) value: i128,
    pub(crate) totals: Vec<i64>,
}

/// Distances from the source and the arcs by which they are reached; reused from class to class.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) distance: Vec<i64>,
    back: Vec<u16>,
}

/// Stands for "cannot be reached"; far from overflow when values are added.
const UNREACHED: i64 = i64::MIN / 4;

impl<'a> Pricing<'a> {
    /// Prices every effect.
    pub(crate) fn new(problem: &'a Problem, prices: &[i64]) -> Self {
        let values = problem
            .effects
            .iter()
            .map(|terms| terms.iter().map(|&(dim, amount)| prices[dim.index()] * amount).sum())
            .collect();
        Self { problem, values }
    }

    pub(crate) fn effect(&self, effect: crate::EffectId) -> i64 {
        self.values[effect.index()]
    }

    /// Longest distances from the source of a class to all its nodes.
    pub(crate) fn distances(&self, class: &Class, scratch: &mut Scratch) {
        let template = &self.problem.templates[class.template.index()];
        let nodes = usize::from(template.nodes);
        scratch.distance.clear();
        scratch.distance.resize(nodes, UNREACHED);
        scratch.back.clear();
        scratch.back.resize(nodes, 0);
        scratch.distance[0] = 0;
        let first_own = template.arcs.len();
        let (mut own, mut next) = (0, 0);
        for node in 0..nodes {
            let here = scratch.distance[node];
            while let Some(arc) = class.own.get(own).filter(|arc| usize::from(arc.from) == node) {
                relax(scratch, here, usize::from(arc.to), self.effect(arc.effect), first_own + own);
                own += 1;
            }
            while let Some(arc) = template.arcs.get(next).filter(|arc| usize::from(arc.from) == node) {
                relax(scratch, here, usize::from(arc.to), self.effect(arc.effect), next);
                next += 1;
            }
        }
    }

    /// Values of the machines of a class.
    pub(crate) fn class(&self, class: &Class, scratch: &mut Scratch) -> ClassValue {
        self.distances(class, scratch);
        let longest = scratch.distance.last().copied().unwrap_or(UNREACHED);
        ClassValue { active: longest + self.effect(class.active), idle: self.effect(class.idle) }
    }

    /// Numbers of the arcs on the best path found by the last call of [`Self::distances`], first to last.
    pub(crate) fn best_path(&self, class: ClassId, scratch: &Scratch) -> Vec<u16> {
        let mut path = Vec::new();
        let mut node = scratch.distance.len() - 1;
        while node > 0 {
            let number = scratch.back[node];
            path.push(number);
            node = usize::from(self.problem.arc(class, number).from);
        }
        path.reverse();
        path
    }

    /// Values of all classes.
    pub(crate) fn classes(&self) -> Vec<ClassValue> {
        let mut scratch = Scratch::default();
        self.problem.classes.iter().map(|class| self.class(class, &mut scratch)).collect()
    }

    /// Value of a group with some machine active, and with all idle.
    pub(crate) fn group(&self, group: usize, classes: &[ClassValue]) -> (i64, i64) {
        let group = &self.problem.groups[group];
        let (mut active, mut idle) = (self.effect(group.active), self.effect(group.idle));
        for &(class, count) in &group.members {
            let value = classes[class.index()];
            active += i64::from(count) * value.active.max(value.idle);
            idle += i64::from(count) * value.idle;
        }
        (active, idle)
    }

    /// The best choice of everything; `blocks` lists the groups' ranges whose totals are kept apart.
    pub(crate) fn choose(&self, blocks: &[std::ops::Range<usize>]) -> Choice {
        let classes = self.classes();
        let mut paths: Vec<Option<Vec<u16>>> = vec![None; classes.len()];
        let mut scratch = Scratch::default();
        let mut counts = vec![0i64; self.problem.effects.len()];
        let mut choice = Choice { value: 0, blocks: Vec::with_capacity(blocks.len()) };
        for block in blocks {
            let mut active_machines = vec![0i64; 0];
            active_machines.resize(classes.len(), 0);
            counts.fill(0);
            let mut value = 0i128;
            for position in block.clone() {
                let group = &self.problem.groups[position];
                let copies = i64::from(group.count);
                let (active, idle) = self.group(position, &classes);
                value += i128::from(active.max(idle)) * i128::from(copies);
                let running = active > idle;
                counts[if running { group.active } else { group.idle }.index()] += copies;
                for &(class, count) in &group.members {
                    let machines = copies * i64::from(count);
                    let of = classes[class.index()];
                    if running && of.active > of.idle {
                        active_machines[class.index()] += machines;
                    } else {
                        counts[self.problem.classes[class.index()].idle.index()] += machines;
                    }
                }
            }
            for (position, &machines) in active_machines.iter().enumerate().filter(|&(_, &machines)| machines > 0) {
                let class = &self.problem.classes[position];
                let id = ClassId(position as u32);
                let path = paths[position].get_or_insert_with(|| {
                    self.distances(class, &mut scratch);
                    self.best_path(id, &scratch)
                });
                counts[class.active.index()] += machines;
                for &number in path.iter() {
                    counts[self.problem.arc(id, number).effect.index()] += machines;
                }
            }
            choice.value += value;
            choice.blocks.push(BlockChoice { value, totals: self.totals(&counts) });
        }
        choice
    }

    fn totals(&self, counts: &[i64]) -> Vec<i64> {
        let mut totals = vec![0; self.problem.dims()];
        for (terms, &count) in self.problem.effects.iter().zip(counts).filter(|&(_, &count)| count != 0) {
            for &(dim, amount) in terms.iter() {
                totals[dim.index()] += amount * count;
            }
        }
        totals
    }
}

fn relax(scratch: &mut Scratch, here: i64, to: usize, value: i64, number: usize) {
    let reached = here + value;
    if reached > scratch.distance[to] && here > UNREACHED {
        scratch.distance[to] = reached;
        scratch.back[to] = number as u16;
    }
}
