//! Takes a problem apart into components that share nothing, solves each for itself, and joins the answers.
//!
//! A lexicographic optimum over a product of feasible sets is the product of the lexicographic optima, so the join is exact. Rows that
//! the caller calls shared (budgets over everything) may connect components without binding: they are left out first and looked at
//! afterwards; only where the joined answer breaks one is the problem solved as a whole.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::unionfind::UnionFind;

use crate::check::check;
use crate::improve::incidence;
use crate::lexicographic::{Effort, LevelOutcome, Outcome, SolveError, Status, solve_whole};
use crate::linked;
use crate::problem::{
    Arc, Class, ClassId, Dim, EffectId, Group, GroupId, Problem, Reach, Row, Template, TemplateId, Var,
};
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
    let Split { parts, between: _ } = split(problem, |reach| reach != Reach::Shared, false);
    if parts.len() < 2 {
        return component(problem, start, termination);
    }
    let sizes: Vec<u64> = parts.iter().map(Part::size).collect();
    let (all, left) = (sizes.iter().sum::<u64>().max(1), termination.left());
    let share = |part: usize| (u128::from(left) * u128::from(sizes[part]) / u128::from(all)) as u64;
    let none = Vec::new();
    let first: Vec<Option<Outcome>> = each(&parts, |position, part| {
        let mut limit = WorkLimit::new(share(position));
        solve_whole(&part.problem, &mut || none.clone(), &mut limit, Effort::Quick).ok()
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
            component(&part.problem, &mut restricted, &mut limit).ok()
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
    // A shared row binds, or a component has no answer by itself: now these rows are priced like links.
    let mut again = || if starts.is_empty() { start() } else { std::mem::take(&mut starts) };
    component(problem, &mut again, termination)
}

/// Solves what hangs together: as one where it is small, as blocks and links where there are several blocks, and as one again where that
/// leaves something open.
fn component(
    problem: &Problem,
    start: &mut dyn FnMut() -> Vec<Solution>,
    termination: &mut dyn Termination,
) -> Result<Outcome, SolveError> {
    let Split { parts: blocks, between } = split(problem, |reach| reach == Reach::Block, true);
    if blocks.len() < 2 {
        return solve_whole(problem, start, termination, Effort::FULL);
    }
    let size = (problem.classes.len() * problem.dims()) as u64;
    let small = size <= SMALL;
    if small {
        let share = (termination.left() / 2 + 1).min(size * QUICK);
        let mut limit = WorkLimit::new(share);
        let quick = solve_whole(problem, &mut Vec::new, &mut limit, Effort::Quick);
        termination.spend(share - limit.left());
        if quick.is_ok() {
            return quick;
        }
    }
    let mut starts = start();
    let linked = linked::solve(problem, &blocks, &between, &starts, termination);
    let Some(linked) = linked else { return solve_whole(problem, &mut || starts.clone(), termination, Effort::FULL) };
    if linked.status == Status::Optimal || !small || termination.spend(0) {
        return Ok(linked);
    }
    starts.insert(0, linked.solution.clone());
    match solve_whole(problem, &mut || starts.clone(), termination, Effort::FULL) {
        Ok(mut whole) if whole.values() >= linked.values() => {
            whole.strengthen(&linked);
            Ok(whole)
        }
        Ok(whole) => {
            let mut linked = linked;
            linked.strengthen(&whole);
            Ok(linked)
        }
        Err(_) => Ok(linked),
    }
}

/// Solves a problem as blocks and links, however small it is, and as nothing else; for tests, which would otherwise meet blocks of large problems
/// only. There is no outcome where there are fewer than two blocks.
pub fn solve_by_blocks(problem: &Problem, starts: &[Solution], termination: &mut dyn Termination) -> Option<Outcome> {
    let Split { parts: blocks, between } = split(problem, |reach| reach == Reach::Block, true);
    if blocks.len() < 2 { None } else { linked::solve(problem, &blocks, &between, starts, termination) }
}

/// Classes times dimensions up to which a problem of several blocks is first looked at as one.
const SMALL: u64 = 60_000;

/// Most work of that first look, per class and dimension.
const QUICK: u64 = 20_000;

/// Does something with every part, on two threads; results come in order.
pub(crate) fn each<P: Sync, T: Send>(parts: &[P], work: impl Fn(usize, &P) -> T + Sync) -> Vec<T> {
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
pub(crate) struct Part {
    pub(crate) problem: Problem,
    /// Group and variable of the whole problem, by those of the part.
    pub(crate) groups: Vec<usize>,
    pub(crate) vars: Vec<usize>,
    /// Dimensions of the part, by those of the whole problem.
    pub(crate) dims: BTreeMap<usize, Dim>,
}

impl Part {
    /// How large it is, in rows of its tables.
    fn size(&self) -> u64 {
        (self.problem.classes.len() * 16 + self.problem.groups.len() + self.vars.len() * 4) as u64 + 1
    }

    /// An answer of the part as one of the whole problem, all else idle.
    pub(crate) fn lift(&self, problem: &Problem, answer: &Solution) -> Solution {
        let mut solution = Solution { active: Vec::new(), vars: vec![0; problem.vars.len()] };
        self.lift_into(answer, &mut solution);
        solution
    }

    /// Adds an answer of the part to one of the whole problem.
    pub(crate) fn lift_into(&self, answer: &Solution, whole: &mut Solution) {
        for active in &answer.active {
            let group = GroupId(self.groups[active.group.index()] as u32);
            whole.active.push(ActiveGroup { group, paths: active.paths.clone() });
        }
        for (&var, &value) in self.vars.iter().zip(&answer.vars) {
            whole.vars[var] = value;
        }
    }

    /// What an answer of the whole problem says of the part.
    pub(crate) fn restrict(&self, answer: &Solution) -> Solution {
        let index: BTreeMap<usize, usize> = self.groups.iter().enumerate().map(|(new, &old)| (old, new)).collect();
        let active = answer.active.iter().filter_map(|active| {
            let group = GroupId(*index.get(&active.group.index())? as u32);
            Some(ActiveGroup { group, paths: active.paths.clone() })
        });
        let active = active.collect();
        Solution { active, vars: self.vars.iter().map(|&var| answer.vars.get(var).copied().unwrap_or(0)).collect() }
    }
}

/// What is left of a problem in parts when only some rows connect, and the rows that touch several of them; what no row touches makes up one.
struct Split {
    parts: Vec<Part>,
    between: Vec<usize>,
}

/// Takes a problem apart along the rows that do not connect. Rows between parts are left out of them, or stay there without bounds (`keep`).
fn split(problem: &Problem, connects: impl Fn(Reach) -> bool, keep: bool) -> Split {
    let (groups, vars) = incidence(problem);
    let first_var = problem.groups.len();
    let nodes = first_var + problem.vars.len();
    let mut sets = UnionFind::<usize>::new(nodes + 1);
    let touched = |dim: usize| groups[dim].iter().copied().chain(vars[dim].iter().map(|var| first_var + var));
    let rows = || (problem.levels..problem.dims()).filter(|&dim| connects(problem.reach[dim - problem.levels]));
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
        return Split { parts: Vec::new(), between: Vec::new() };
    }
    // The component of each row: that of what it touches; none where a shared row touches several.
    let mut of_part: Vec<Vec<(usize, bool)>> = vec![Vec::new(); members.len()];
    let mut between = Vec::new();
    for dim in problem.levels..problem.dims() {
        let found: BTreeSet<usize> = touched(dim).map(|node| numbers[&sets.find(node)]).collect();
        if found.len() > 1 {
            between.push(dim);
        }
        for &part in found.iter().filter(|_| keep || found.len() == 1) {
            of_part[part].push((dim, found.len() == 1));
        }
    }
    let parts = members
        .into_iter()
        .zip(of_part)
        .map(|((groups, vars), rows)| Extract::new(problem, &rows).part(groups, vars))
        .collect();
    Split { parts, between }
}

/// Several parts as one; the rows between parts keep no bounds.
pub(crate) fn merge(problem: &Problem, parts: &[&Part], between: &[usize]) -> Part {
    let mut groups: Vec<usize> = parts.iter().flat_map(|part| part.groups.iter().copied()).collect();
    let mut vars: Vec<usize> = parts.iter().flat_map(|part| part.vars.iter().copied()).collect();
    groups.sort_unstable();
    vars.sort_unstable();
    let dims: BTreeSet<usize> = parts.iter().flat_map(|part| part.dims.keys().copied()).collect();
    let rows: Vec<(usize, bool)> = dims
        .into_iter()
        .filter(|&dim| dim >= problem.levels)
        .map(|dim| (dim, between.binary_search(&dim).is_err()))
        .collect();
    Extract::new(problem, &rows).part(groups, vars)
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
    /// Begins with the rows of a part: their dimensions, and whether they keep their bounds.
    fn new(problem: &'a Problem, rows: &[(usize, bool)]) -> Self {
        let mut part = Problem::new(problem.levels);
        let mut dims: BTreeMap<usize, Dim> = (0..problem.levels).map(|level| (level, Dim(level as u32))).collect();
        for &(dim, bounded) in rows {
            let Row { lower, upper } = if bounded { problem.bounds(dim) } else { Row { lower: None, upper: None } };
            dims.insert(dim, part.row_of(problem.reach[dim - problem.levels], lower, upper));
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
        Part { problem: self.part, groups, vars, dims: self.dims }
    }
}

/// One answer of all parts; none when it breaks a shared row.
fn join(problem: &Problem, parts: &[Part], outcomes: &[Outcome]) -> Option<Outcome> {
    let mut solution = Solution { active: Vec::new(), vars: vec![0; problem.vars.len()] };
    for (part, outcome) in parts.iter().zip(outcomes) {
        part.lift_into(&outcome.solution, &mut solution);
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
