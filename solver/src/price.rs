//! Best choices for given prices: longest paths through every class, in integers.
//!
//! Prices are integers in units of 1/[`SCALE`] of the objective, so the value of relaxing the rows at these prices is
//! exact, and so is the bound that follows from it, however the prices were found.

use crate::problem::{Class, ClassId, Dim, Problem};

/// Denominator of prices: a multiple of all numbers up to 14, so that the usual fractional prices are exact.
pub(crate) const SCALE: i64 = 720_720;

/// Values of everything under one vector of prices.
pub(crate) struct Pricing<'a> {
    problem: &'a Problem,
    prices: &'a [i64],
    /// Value of each effect.
    values: Vec<i64>,
}

/// What the machines of a class would do: value when active, value when idle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClassValue {
    pub(crate) active: i64,
    pub(crate) idle: i64,
}

/// What every machine does: the best choice under some vector of prices.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Per group: whether its copies are active.
    pub(crate) active: Vec<bool>,
    /// Per class: the path of its machines in active groups, by its number in the [`Book`]; `None` where idling is best.
    pub(crate) paths: Vec<Option<u16>>,
}

/// A choice with its value, the totals kept apart by blocks of groups.
#[derive(Debug)]
pub(crate) struct Priced {
    pub(crate) choice: Choice,
    /// Value of all machines and groups together.
    pub(crate) value: i128,
    /// Value and totals per dimension of each block.
    pub(crate) blocks: Vec<(i128, Vec<i64>)>,
}

/// A path that was best at some prices, with the sum of its contributions (the active machine's own included).
#[derive(Debug, Clone)]
pub(crate) struct KnownPath {
    pub(crate) arcs: Vec<u16>,
    pub(crate) vector: Vec<(Dim, i64)>,
}

/// All paths that were ever best, by class.
#[derive(Debug, Default)]
pub(crate) struct Book {
    paths: Vec<Vec<KnownPath>>,
}

impl Book {
    /// The number of a path, which is entered if it is new.
    pub(crate) fn number(&mut self, problem: &Problem, class: ClassId, arcs: &[u16]) -> u16 {
        if self.paths.len() < problem.classes.len() {
            self.paths.resize_with(problem.classes.len(), Vec::new);
        }
        let known = &mut self.paths[class.index()];
        // The best path seldom changes from one round to the next, and then most often back to a recent one.
        if let Some(number) = known.iter().rposition(|path| path.arcs == arcs) {
            return number as u16;
        }
        let vector = problem.path_vector(class, arcs);
        known.push(KnownPath { arcs: arcs.to_vec(), vector });
        (known.len() - 1) as u16
    }

    /// Numbers of the paths known of a class.
    pub(crate) fn numbers(&self, class: ClassId) -> impl Iterator<Item = u16> + use<> {
        0..self.paths.get(class.index()).map_or(0, Vec::len) as u16
    }

    /// A path by its number.
    pub(crate) fn path(&self, class: ClassId, number: u16) -> &KnownPath {
        &self.paths[class.index()][usize::from(number)]
    }
}

/// Distances from the source and the arcs by which they are reached; reused from class to class.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) distance: Vec<i64>,
    back: Vec<u16>,
}

/// Problems with fewer classes are priced faster than a thread starts.
const WORTH_A_THREAD: usize = 600;

/// Stands for "cannot be reached"; far from overflow when values are added.
const UNREACHED: i64 = i64::MIN / 4;

impl<'a> Pricing<'a> {
    /// Prices every effect.
    pub(crate) fn new(problem: &'a Problem, prices: &'a [i64]) -> Self {
        let values = problem
            .effects
            .iter()
            .map(|terms| terms.iter().map(|&(dim, amount)| prices[dim.index()] * amount).sum())
            .collect();
        Self { problem, prices, values }
    }

    pub(crate) fn effect(&self, effect: crate::EffectId) -> i64 {
        self.values[effect.index()]
    }

    /// Value of a sum of contributions.
    pub(crate) fn vector(&self, terms: &[(Dim, i64)]) -> i64 {
        terms.iter().map(|&(dim, amount)| self.prices[dim.index()] * amount).sum()
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
        self.best_path_into(class, scratch, &mut path);
        path
    }

    /// Value of every class, and its best path where that beats idling; large problems on two threads.
    fn best_paths(&self) -> Vec<(ClassValue, Option<Vec<u16>>)> {
        let classes = self.problem.classes.len();
        let part = |range: std::ops::Range<usize>| {
            let mut scratch = Scratch::default();
            range
                .map(|position| {
                    let value = self.class(&self.problem.classes[position], &mut scratch);
                    let path = (value.active > value.idle).then(|| self.best_path(ClassId(position as u32), &scratch));
                    (value, path)
                })
                .collect::<Vec<_>>()
        };
        if classes < WORTH_A_THREAD {
            return part(0..classes);
        }
        std::thread::scope(|scope| {
            let second = scope.spawn(|| part(classes / 2..classes));
            let mut first = part(0..classes / 2);
            match second.join() {
                Ok(rest) => first.extend(rest),
                Err(panic) => std::panic::resume_unwind(panic),
            }
            first
        })
    }

    fn best_path_into(&self, class: ClassId, scratch: &Scratch, path: &mut Vec<u16>) {
        path.clear();
        let mut node = scratch.distance.len() - 1;
        while node > 0 {
            let number = scratch.back[node];
            path.push(number);
            node = usize::from(self.problem.arc(class, number).from);
        }
        path.reverse();
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
    pub(crate) fn choose(&self, blocks: &[std::ops::Range<usize>], book: &mut Book) -> Priced {
        let problem = self.problem;
        let mut values = Vec::with_capacity(problem.classes.len());
        let mut paths = Vec::with_capacity(problem.classes.len());
        for (value, path) in self.best_paths() {
            let id = ClassId(values.len() as u32);
            paths.push(path.map(|arcs| book.number(problem, id, &arcs)));
            values.push(value);
        }
        let mut active = vec![false; problem.groups.len()];
        let mut priced_blocks = Vec::with_capacity(blocks.len());
        let mut total_value = 0;
        for block in blocks {
            let mut totals = vec![0; problem.dims()];
            let mut value = 0i128;
            for position in block.clone() {
                let (running, idle) = self.group(position, &values);
                let group = &problem.groups[position];
                let copies = i64::from(group.count);
                active[position] = running > idle;
                value += i128::from(running.max(idle)) * i128::from(copies);
                problem.add_group(
                    position,
                    copies,
                    active[position],
                    |class| paths[class.index()].map(|number| book.path(class, number).vector.as_slice()),
                    &mut totals,
                );
            }
            total_value += value;
            priced_blocks.push((value, totals));
        }
        Priced { choice: Choice { active, paths }, value: total_value, blocks: priced_blocks }
    }
}

fn relax(scratch: &mut Scratch, here: i64, to: usize, value: i64, number: usize) {
    let reached = here + value;
    if reached > scratch.distance[to] && here > UNREACHED {
        scratch.distance[to] = reached;
        scratch.back[to] = number as u16;
    }
}
