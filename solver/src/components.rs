//! Takes a problem apart into components that share nothing, solves each for itself, and joins the answers.
//!
//! A lexicographic optimum over a product of feasible sets is the product of the lexicographic optima, so the join is exact. Rows that
//! the caller calls shared (budgets over everything) may connect components without binding: they are left out first and looked at
//! afterwards; only where the joined answer breaks one is the problem solved as a whole.

use std::collections::BTreeMap;

use petgraph::unionfind::UnionFind;

use crate::check::check;
use crate::improve::incidence;
use crate::lexicographic::{LevelOutcome, Outcome, SolveError, Status, solve_whole};
use crate::problem::{Arc, Class, ClassId, Dim, EffectId, Group, GroupId, Problem, Template, TemplateId, Var};
use crate::solution::{ActiveGroup, Solution};
use crate::termination::{Termination, WorkLimit};

/// Solves a problem, component by component where it has several; `start` is asked for legal answers to begin with where the first look does
/// not settle everything.
///
/// # Errors
/// No legal answer was found.
pub fn solve(
    problem: &Problem,
    start: &mut dyn FnMut() -> Vec<Solution>,
    termination: &mut dyn Termination,
) -> Result<Outcome, SolveError> {
    let parts = split(problem);
    if parts.len() < 2 {
        return solve_whole(problem, start, termination, false);
    }
    let sizes: Vec<u64> = parts.iter().map(Part::size).collect();
    let (all, left) = (sizes.iter().sum::<u64>().max(1), termination.left());
    let share = |part: usize| (u128::from(left) * u128::from(sizes[part]) / u128::from(all)) as u64;
    let none = Vec::new();
    let first: Vec<Option<Outcome>> = each(&parts, |position, part| {
        let mut limit = WorkLimit::new(share(position));
        solve_whole(&part.problem, &mut || none.clone(), &mut limit, true).ok()
    });
    let mut starts: Vec<Solution> = Vec::new();
    let outcomes = if first.iter().all(Option::is_some) {
        first
    } else {
        starts = start();
        each(&parts, |position, part| {
            if let Some(outcome) = &first[position] {
                return Some(outcome.clone());
            }
            let mut limit = WorkLimit::new(share(position));
            let mut restricted = || starts.iter().map(|answer| part.restrict(answer)).collect();
            solve_whole(&part.problem, &mut restricted, &mut limit, false).ok()
        })
    };
    termination.spend(
        outcomes.iter().zip(0..).filter(|(outcome, _)| outcome.is_some()).map(|(_, part)| share(part) / 4).sum(),
    );
    if let Some(outcomes) = outcomes.into_iter().collect::<Option<Vec<Outcome>>>()
        && let Some(joined) = join(problem, &parts, &outcomes)
    {
        return Ok(joined);
    }
    // A shared row binds, or a component has no answer by itself.
    let mut again = || if starts.is_empty() { start() } else { std::mem::take(&mut starts) };
    solve_whole(problem, &mut again, termination, false)
}

/// Does something with every part, on two threads; results come in order.
fn each<T: Send>(parts: &[Part], work: impl Fn(usize, &Part) -> T + Sync) -> Vec<T> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let position = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(part) = parts.get(position) else { return done };
            done.push((position, work(position, part)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let second = scope.spawn(run);
        let mut first = run();
        match second.join() {
            Ok(rest) => first.extend(rest),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        first
    });
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, result)| result).collect()
}

/// A component as a problem of its own.
#[derive(Debug)]
struct Part {
    problem: Problem,
    /// Group and variable of the whole problem, by those of the part.
    groups: Vec<usize>,
    vars: Vec<usize>,
}

impl Part {
    /// How large it is, in rows of its tables.
    fn size(&self) -> u64 {
        (self.problem.classes.len() * 16 + self.problem.groups.len() + self.vars.len() * 4) as u64 + 1
    }

    /// What an answer of the whole problem says of the part.
    fn restrict(&self, answer: &Solution) -> Solution {
        let index: BTreeMap<usize, usize> = self.groups.iter().enumerate().map(|(new, &old)| (old, new)).collect();
        let active = answer.active.iter().filter_map(|active| {
            let group = GroupId(*index.get(&active.group.index())? as u32);
            Some(ActiveGroup { group, paths: active.paths.clone() })
        });
        let active = active.collect();
        Solution { active, vars: self.vars.iter().map(|&var| answer.vars.get(var).copied().unwrap_or(0)).collect() }
    }
}

/// The components of a problem; groups that no row touches make up one.
fn split(problem: &Problem) -> Vec<Part> {
    let (groups, vars) = incidence(problem);
    let first_var = problem.groups.len();
    let nodes = first_var + problem.vars.len();
    let mut sets = UnionFind::<usize>::new(nodes + 1);
    let touched = |dim: usize| groups[dim].iter().copied().chain(vars[dim].iter().map(|var| first_var + var));
    let rows = || (problem.levels..problem.dims()).filter(|&dim| !problem.shared[dim - problem.levels]);
    let mut lonely = vec![true; nodes];
    for dim in rows() {
        let mut all = touched(dim);
        if let Some(first) = all.next() {
            lonely[first] = false;
            for other in all {
                lonely[other] = false;
                sets.union(first, other);
            }
        }
    }
    for node in (0..nodes).filter(|&node| lonely[node]) {
        sets.union(nodes, node);
    }
    let mut numbers = BTreeMap::<usize, usize>::new();
    let mut members: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for node in 0..nodes {
        let number = *numbers.entry(sets.find(node)).or_insert(members.len());
        if number == members.len() {
            members.push((Vec::new(), Vec::new()));
        }
        if node < first_var { members[number].0.push(node) } else { members[number].1.push(node - first_var) }
    }
    if members.len() < 2 {
        return Vec::new();
    }
    // The component of each row: that of what it touches; none where a shared row touches several.
    let of_row: Vec<Option<usize>> = (0..problem.dims())
        .map(|dim| {
            let mut found = touched(dim).map(|node| numbers[&sets.find(node)]);
            let first = found.next()?;
            found.all(|other| other == first).then_some(first)
        })
        .collect();
    let mut of_part: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
    for (dim, part) in of_row.iter().enumerate().skip(problem.levels) {
        if let Some(part) = *part {
            of_part[part].push(dim);
        }
    }
    members
        .into_iter()
        .zip(of_part)
        .map(|((groups, vars), rows)| Extract::new(problem, &rows).part(groups, vars))
        .collect()
}

/// A part under construction.
struct Extract<'a> {
    problem: &'a Problem,
    part: Problem,
    dims: BTreeMap<usize, Dim>,
    effects: BTreeMap<EffectId, EffectId>,
    templates: BTreeMap<TemplateId, TemplateId>,
    classes: BTreeMap<ClassId, ClassId>,
}

impl<'a> Extract<'a> {
    fn new(problem: &'a Problem, rows: &[usize]) -> Self {
        let mut part = Problem::new(problem.levels);
        let mut dims: BTreeMap<usize, Dim> = (0..problem.levels).map(|level| (level, Dim(level as u32))).collect();
        for &dim in rows {
            let bounds = problem.bounds(dim);
            dims.insert(dim, part.row(bounds.lower, bounds.upper));
        }
        let empty = BTreeMap::new();
        Self { problem, part, dims, effects: empty, templates: BTreeMap::new(), classes: BTreeMap::new() }
    }

    fn effect(&mut self, effect: EffectId) -> EffectId {
        if let Some(&known) = self.effects.get(&effect) {
            return known;
        }
        let terms: Vec<(Dim, i64)> = self
            .problem
            .terms(effect)
            .iter()
            .filter_map(|&(dim, amount)| Some((*self.dims.get(&dim.index())?, amount)))
            .collect();
        let new = self.part.effect(terms);
        self.effects.insert(effect, new);
        new
    }

    /// Arcs in the order that they have, so that their numbers stay the same.
    fn arcs(&mut self, arcs: &[Arc]) -> Vec<Arc> {
        arcs.iter().map(|arc| Arc { effect: self.effect(arc.effect), ..*arc }).collect()
    }

    fn class(&mut self, class: ClassId) -> ClassId {
        if let Some(&known) = self.classes.get(&class) {
            return known;
        }
        let of = &self.problem.classes[class.index()];
        let template = if let Some(&known) = self.templates.get(&of.template) {
            known
        } else {
            let old = &self.problem.templates[of.template.index()];
            let arcs = self.arcs(&old.arcs);
            self.part.templates.push(Template { nodes: old.nodes, arcs });
            let new = TemplateId(self.part.templates.len() as u32 - 1);
            self.templates.insert(of.template, new);
            new
        };
        let own = self.arcs(&of.own);
        let (active, idle) = (self.effect(of.active), self.effect(of.idle));
        self.part.classes.push(Class { template, own, active, idle });
        let new = ClassId(self.part.classes.len() as u32 - 1);
        self.classes.insert(class, new);
        new
    }

    fn part(mut self, groups: Vec<usize>, vars: Vec<usize>) -> Part {
        for &group in &groups {
            let of = &self.problem.groups[group];
            let members = of.members.iter().map(|&(class, count)| (self.class(class), count)).collect();
            let (active, idle) = (self.effect(of.active), self.effect(of.idle));
            self.part.groups.push(Group { count: of.count, members, active, idle });
        }
        for &var in &vars {
            let of = self.problem.vars[var];
            let effect = self.effect(of.effect);
            self.part.vars.push(Var { upper: of.upper, effect });
        }
        Part { problem: self.part, groups, vars }
    }
}

/// One answer of all parts; none when it breaks a shared row.
fn join(problem: &Problem, parts: &[Part], outcomes: &[Outcome]) -> Option<Outcome> {
    let mut solution = Solution { active: Vec::new(), vars: vec![0; problem.vars.len()] };
    for (part, outcome) in parts.iter().zip(outcomes) {
        for active in &outcome.solution.active {
            let group = GroupId(part.groups[active.group.index()] as u32);
            solution.active.push(ActiveGroup { group, paths: active.paths.clone() });
        }
        for (&var, &value) in part.vars.iter().zip(&outcome.solution.vars) {
            solution.vars[var] = value;
        }
    }
    solution.active.sort_by_key(|active| active.group);
    check(problem, &solution).ok()?;
    let totals = solution.totals(problem);
    let mut levels = Vec::with_capacity(problem.levels());
    let mut proven = true;
    for (level, &value) in totals.iter().enumerate().take(problem.levels()) {
        let of = |pick: fn(&LevelOutcome) -> i64| -> i64 {
            outcomes.iter().map(|outcome| pick(&outcome.levels[level])).sum()
        };
        // Behind a level that is not proven the parts' bounds no longer add up: one part may give up what another gains.
        let bound = if proven { of(|level| level.bound) } else { i64::MAX / 4 };
        let rounds = outcomes.iter().map(|outcome| outcome.levels[level].rounds).max().unwrap_or(0);
        levels.push(LevelOutcome { value, bound, rounds });
        proven &= bound == value;
    }
    let status = if proven { Status::Optimal } else { Status::Feasible };
    Some(Outcome { status, solution, totals, levels })
}
