//! Looks for answers that reach the bound, among the choices that the prices leave.
//!
//! An answer whose value equals the bound can only be made of choices whose reduced costs add up to less than the
//! fraction that rounding the bound down cut off. With good prices few choices remain, many machines have the same ones, and the
//! remaining program is small whatever the number of machines.

use std::collections::BTreeMap;

use crate::master::{Relaxation, VarBounds};
use crate::near::{Choice, Near, Vector, subtract};
use crate::price::{ClassValue, Pricing, Scratch};
use crate::problem::{ClassId, Dim, EffectId, GroupId, Problem};
use crate::program::{Answer, Program, spread};
use crate::solution::Solution;
use crate::termination::Termination;

/// How much work to spend on one rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Only where few choices are left.
    Low,
    /// Also where choices must be left out, and with more search.
    High,
}

impl Effort {
    /// Most paths looked at for one class; where there are more, a quick rounding gives up.
    fn paths(self) -> u32 {
        match self {
            Self::Low => 48,
            Self::High => 400,
        }
    }

    /// Most integer columns of the remaining program; beyond that the rarest machines keep their best choice, or a quick
    /// rounding gives up.
    fn columns(self) -> usize {
        match self {
            Self::Low => 90,
            Self::High => 160,
        }
    }

    /// Search nodes of the remaining program.
    fn nodes(self) -> u64 {
        match self {
            Self::Low => 60,
            Self::High => 400,
        }
    }
}

/// Machines that have the same choices up to a constant.
#[derive(Debug, Default)]
struct Bundle {
    machines: i64,
    /// (group, member, class, machines).
    places: Vec<(GroupId, usize, ClassId, i64)>,
}

/// Finds an answer that reaches the bound of a relaxation, the best such for the next level as far as the search goes.
pub(crate) fn reach(
    problem: &Problem,
    level: usize,
    fixed: &[i64],
    bounds: &VarBounds,
    relaxation: &Relaxation,
    effort: Effort,
    termination: &mut dyn Termination,
) -> Option<Solution> {
    let slack = relaxation.slack()?;
    Rounding::new(problem, level, fixed, bounds, relaxation, slack).solve(effort, termination)
}

struct Rounding<'a> {
    problem: &'a Problem,
    level: usize,
    fixed: &'a [i64],
    vars: &'a VarBounds,
    relaxation: &'a Relaxation,
    slack: i64,
    pricing: Pricing<'a>,
    values: Vec<ClassValue>,
    choices: Vec<Option<Vec<Choice>>>,
    /// Totals of everything that is settled.
    base: Vec<i64>,
}

/// What the prices say of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Idle,
    Open,
}

impl<'a> Rounding<'a> {
    fn new(
        problem: &'a Problem,
        level: usize,
        fixed: &'a [i64],
        vars: &'a VarBounds,
        relaxation: &'a Relaxation,
        slack: i64,
    ) -> Self {
        let pricing = Pricing::new(problem, &relaxation.prices);
        let values = pricing.classes();
        Self {
            problem,
            level,
            fixed,
            vars,
            relaxation,
            slack,
            values,
            pricing,
            choices: vec![None; problem.classes.len()],
            base: vec![0; problem.dims()],
        }
    }

    fn counts(&self, dim: Dim) -> bool {
        dim.index() <= self.level || dim.index() >= self.problem.levels
    }

    /// Whether an effect contributes to what this level looks at.
    fn matters(&self, effect: EffectId) -> bool {
        self.problem.terms(effect).iter().any(|&(dim, _)| self.counts(dim))
    }

    fn state(&self, group: usize, charged: bool) -> State {
        if !charged {
            return State::Active;
        }
        let (active, idle) = self.pricing.group(group, &self.values);
        if active - idle > self.slack {
            State::Active
        } else if idle - active > self.slack {
            State::Idle
        } else {
            State::Open
        }
    }

    fn add(&mut self, effect: EffectId, times: i64) {
        for &(dim, amount) in self.problem.terms(effect) {
            self.base[dim.index()] += amount * times;
        }
    }

    fn solve(mut self, effort: Effort, termination: &mut dyn Termination) -> Option<Solution> {
        let charged = self.problem.groups.iter().any(|group| self.matters(group.active) || self.matters(group.idle));
        let mut bundles = BTreeMap::<Vec<Vector>, Bundle>::new();
        let mut open = BTreeMap::<Vector, Vec<(GroupId, u32)>>::new();
        for position in 0..self.problem.groups.len() {
            let group = &self.problem.groups[position];
            let (id, copies) = (GroupId(position as u32), i64::from(group.count));
            match self.state(position, charged) {
                State::Active => {
                    self.add(group.active, if charged { copies } else { 0 });
                    for (member, &(class, count)) in group.members.iter().enumerate() {
                        let machines = copies * i64::from(count);
                        let relative = self.relative(class, machines, effort)?;
                        let bundle = bundles.entry(relative).or_default();
                        bundle.machines += machines;
                        bundle.places.push((id, member, class, machines));
                    }
                }
                State::Idle | State::Open => {
                    self.add(group.idle, copies);
                    for &(class, count) in &group.members {
                        self.add(self.problem.classes[class.index()].idle, copies * i64::from(count));
                    }
                    if self.state(position, charged) == State::Open {
                        let vector = self.composite(position);
                        open.entry(vector).or_default().push((id, group.count));
                    }
                }
            }
        }
        self.program(&bundles, &open, effort, termination)
    }

    /// Choices of a class relative to its first; the first one's totals go to the base.
    fn relative(&mut self, class: ClassId, machines: i64, effort: Effort) -> Option<Vec<Vector>> {
        self.choices_of(class, effort)?;
        let choices = self.choices[class.index()].as_ref().expect("the line above fills it in");
        let first = choices[0].vector.clone();
        let relative = choices[1..].iter().map(|choice| subtract(&choice.vector, &first)).collect();
        for (dim, amount) in first {
            self.base[dim.index()] += amount * machines;
        }
        Some(relative)
    }

    /// Fills in the choices of a class; `None` when there are too many to be quick.
    fn choices_of(&mut self, class: ClassId, effort: Effort) -> Option<()> {
        if self.choices[class.index()].is_none() {
            let value = self.values[class.index()];
            let search = Near { pricing: &self.pricing, level: self.level, slack: self.slack, most: effort.paths() };
            let (choices, complete) = search.choices(self.problem, class, value);
            if effort == Effort::Low && !complete {
                return None;
            }
            self.choices[class.index()] = Some(choices);
        }
        Some(())
    }

    /// What changes when a group goes from idle to active with the best choice of each machine.
    fn composite(&mut self, group: usize) -> Vector {
        let of = &self.problem.groups[group];
        let mut sums = BTreeMap::<Dim, i64>::new();
        let mut add = |vector: &[(Dim, i64)], times: i64| {
            for &(dim, amount) in vector {
                *sums.entry(dim).or_default() += amount * times;
            }
        };
        add(self.problem.terms(of.active), 1);
        add(self.problem.terms(of.idle), -1);
        for &(class, count) in &of.members {
            let idle = self.problem.terms(self.problem.classes[class.index()].idle);
            let best = self.best_path(class);
            if let Some(path) = best {
                let count = i64::from(count);
                add(idle, -count);
                add(self.problem.terms(self.problem.classes[class.index()].active), count);
                for number in path {
                    add(self.problem.terms(self.problem.arc(class, number).effect), count);
                }
            }
        }
        let (level, levels) = (self.level, self.problem.levels);
        sums.into_iter()
            .filter(|&(dim, amount)| amount != 0 && (dim.index() <= level || dim.index() >= levels))
            .collect()
    }

    /// The best path of a class, or `None` when idling is at least as good.
    fn best_path(&self, class: ClassId) -> Option<Vec<u16>> {
        let value = self.values[class.index()];
        (value.active > value.idle).then(|| {
            let mut scratch = Scratch::default();
            self.pricing.distances(&self.problem.classes[class.index()], &mut scratch);
            self.pricing.best_path(class, &scratch)
        })
    }

    fn program(
        mut self,
        bundles: &BTreeMap<Vec<Vector>, Bundle>,
        open: &BTreeMap<Vector, Vec<(GroupId, u32)>>,
        effort: Effort,
        termination: &mut dyn Termination,
    ) -> Option<Solution> {
        let mut builder = Remaining::new(&self);
        let mut order: Vec<(&Vec<Vector>, &Bundle)> =
            bundles.iter().filter(|(relative, _)| !relative.is_empty()).collect();
        order.sort_by_key(|(relative, bundle)| (std::cmp::Reverse(bundle.machines), relative.len()));
        let mut columns: BTreeMap<&Vec<Vector>, usize> = BTreeMap::new();
        for (relative, bundle) in order {
            if builder.program.size() + relative.len() > effort.columns() {
                if effort == Effort::Low {
                    return None;
                }
                continue;
            }
            let first = builder.program.size();
            for vector in relative {
                builder.column(bundle.machines, vector);
            }
            if relative.len() > 1 {
                builder.limits.push(((first..first + relative.len()).collect(), bundle.machines));
            }
            columns.insert(relative, first);
        }
        let mut open_columns = Vec::new();
        for (vector, groups) in open {
            let count = groups.iter().map(|&(_, copies)| i64::from(copies)).sum();
            open_columns.push(builder.column(count, vector));
        }
        let mut vars = Vec::new();
        for (var, &(least, most)) in self.problem.vars.iter().zip(self.vars) {
            let value = self.pricing.effect(var.effect);
            let settled = if value > self.slack { most } else { least };
            for &(dim, amount) in self.problem.terms(var.effect) {
                self.base[dim.index()] += amount * settled;
            }
            let open = value.abs() <= self.slack && most > least;
            let column = open.then(|| builder.column(most - least, self.problem.terms(var.effect)));
            vars.push((settled, column));
        }
        let program = builder.finish(&self);
        let Answer::Values(values, _) = program.solve(effort.nodes(), None, termination) else { return None };
        let vars =
            vars.into_iter().map(|(settled, column)| settled + column.map_or(0, |column| values[column])).collect();
        let mut used: Vec<Vec<(usize, Vec<u16>, u32)>> = vec![Vec::new(); self.problem.groups.len()];
        for (relative, bundle) in bundles {
            let counts: Vec<i64> = match columns.get(relative) {
                Some(&first) => values[first..first + relative.len()].to_vec(),
                None => vec![0; relative.len()],
            };
            self.place(bundle, &counts, &mut used)?;
        }
        for (groups, &column) in open.values().zip(&open_columns) {
            let mut left = values[column];
            for &(group, copies) in groups {
                let take = left.min(i64::from(copies)) as u32;
                left -= i64::from(take);
                self.activate(group, take, &mut used);
            }
        }
        let mut active = Vec::new();
        for (position, paths) in used.into_iter().enumerate() {
            spread(self.problem, GroupId(position as u32), paths, &mut active);
        }
        Some(Solution { active, vars })
    }

    /// Hands the chosen numbers of a bundle's choices to its machines; the rest take the first choice.
    fn place(&self, bundle: &Bundle, counts: &[i64], used: &mut [Vec<(usize, Vec<u16>, u32)>]) -> Option<()> {
        let first = bundle.machines - counts.iter().sum::<i64>();
        let mut left: Vec<i64> = std::iter::once(first).chain(counts.iter().copied()).collect();
        let mut choice = 0;
        for &(group, member, class, machines) in &bundle.places {
            let choices = self.choices[class.index()].as_ref()?;
            let mut room = machines;
            while room > 0 {
                while left.get(choice).is_some_and(|&left| left <= 0) {
                    choice += 1;
                }
                let take = (*left.get(choice)?).min(room);
                left[choice] -= take;
                room -= take;
                if let Some(path) = &choices[choice].path {
                    used[group.index()].push((member, path.clone(), take as u32));
                }
            }
        }
        Some(())
    }

    fn activate(&self, group: GroupId, copies: u32, used: &mut [Vec<(usize, Vec<u16>, u32)>]) {
        if copies == 0 {
            return;
        }
        for (member, &(class, count)) in self.problem.groups[group.index()].members.iter().enumerate() {
            if let Some(path) = self.best_path(class) {
                used[group.index()].push((member, path, count * copies));
            }
        }
    }
}

/// The remaining program under construction.
struct Remaining {
    program: Program,
    sums: Vec<Vec<(usize, f64)>>,
    limits: Vec<(Vec<usize>, i64)>,
    objective: usize,
}

impl Remaining {
    fn new(rounding: &Rounding<'_>) -> Self {
        Self {
            program: Program::default(),
            sums: vec![Vec::new(); rounding.problem.dims()],
            limits: Vec::new(),
            objective: rounding.level,
        }
    }

    fn column(&mut self, upper: i64, vector: &[(Dim, i64)]) -> usize {
        let objective = vector.iter().find(|(dim, _)| dim.index() == self.objective).map_or(0, |&(_, amount)| amount);
        let column = self.program.var(upper, objective as f64);
        for &(dim, amount) in vector {
            self.sums[dim.index()].push((column, amount as f64));
        }
        column
    }

    fn finish(mut self, rounding: &Rounding<'_>) -> Program {
        for (columns, most) in self.limits {
            self.program.row(columns.into_iter().map(|column| (column, 1.0)).collect(), None, Some(most));
        }
        for (dim, terms) in self.sums.into_iter().enumerate() {
            let (lower, upper) = rounding.relaxation.limits(rounding.problem, rounding.level, dim, rounding.fixed);
            if lower.is_some() || upper.is_some() {
                let base = rounding.base[dim];
                self.program.row(terms, lower.map(|bound| bound - base), upper.map(|bound| bound - base));
            }
        }
        self.program
    }
}
