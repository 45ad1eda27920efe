//! Improves an answer by solving parts of the problem anew: a few groups and the variables next to them, all else as it is.
//!
//! A part is stated as a program over whole paths: those that pricing has met, those that the answer uses, and those close to the
//! bound at the prices of a relaxation. What it finds is an answer like any other and is re-checked by the caller; that it finds
//! nothing proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::master::{Relaxation, limits};
use crate::near::{Near, Vector};
use crate::price::{Book, Pricing};
use crate::problem::{ClassId, Dim, GroupId, Problem};
use crate::program::{Answer, Program, spread};
use crate::solution::Solution;
use crate::termination::Termination;

/// Which rows, groups and variables hang together.
#[derive(Debug)]
pub(crate) struct Adjacency {
    /// Per group, the dimensions that it contributes to, rows that touch most groups left out.
    rows: Vec<Vec<usize>>,
    /// Per dimension, its groups and its variables.
    groups: Vec<Vec<usize>>,
    vars: Vec<Vec<usize>>,
}

impl Adjacency {
    /// Collects what touches what.
    pub(crate) fn new(problem: &Problem) -> Self {
        let (groups, vars) = incidence(problem);
        let wide = (problem.groups.len() / 2).max(8);
        let mut rows = vec![Vec::new(); problem.groups.len()];
        for (dim, of) in groups.iter().enumerate().filter(|(_, of)| of.len() <= wide) {
            for &group in of {
                rows[group].push(dim);
            }
        }
        Self { rows, groups, vars }
    }

    /// Groups that share a row with one, in an order that starts elsewhere with every `turn`.
    fn neighbours(&self, group: usize, turn: usize) -> Vec<usize> {
        let near: BTreeSet<usize> =
            self.rows[group].iter().flat_map(|&dim| self.groups[dim].iter().copied()).filter(|&g| g != group).collect();
        // Variables lead on to rows of other groups: a pod may land here or there.
        let mut near: Vec<usize> = near.into_iter().collect();
        if !near.is_empty() {
            let count = near.len();
            near.rotate_left((turn * 7 + group) % count);
        }
        near
    }

    /// Variables that contribute to a row of one of the groups.
    fn vars_of(&self, groups: &[usize]) -> Vec<usize> {
        let vars: BTreeSet<usize> = groups
            .iter()
            .flat_map(|&group| &self.rows[group])
            .flat_map(|&dim| self.vars[dim].iter().copied())
            .collect();
        vars.into_iter().collect()
    }

    /// A group with some of its neighbours, and the variables next to them.
    pub(crate) fn part(&self, group: usize, size: usize, turn: usize) -> Part {
        let mut groups = vec![group];
        groups.extend(self.neighbours(group, turn).into_iter().take(size - 1));
        if groups.len() < size {
            // Groups that share no row may still share pods: any others will do.
            let all = self.rows.len();
            let others = (0..all).map(|step| (group + 1 + turn * 3 + step) % all);
            for other in others {
                if groups.len() >= size {
                    break;
                }
                if !groups.contains(&other) {
                    groups.push(other);
                }
            }
        }
        let vars = self.vars_of(&groups);
        Part { groups, vars }
    }
}

/// Per dimension, the groups and the variables that contribute to it.
pub(crate) fn incidence(problem: &Problem) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let mut of_class: Vec<BTreeSet<usize>> = Vec::with_capacity(problem.classes.len());
    let mut of_template: Vec<BTreeSet<usize>> = Vec::with_capacity(problem.templates.len());
    let dims = |effect| problem.terms(effect).iter().map(|(dim, _)| dim.index()).filter(|&dim| dim >= problem.levels);
    for template in &problem.templates {
        of_template.push(template.arcs.iter().flat_map(|arc| dims(arc.effect)).collect());
    }
    for class in &problem.classes {
        let own = class.own.iter().map(|arc| arc.effect).chain([class.active, class.idle]);
        let mut all = of_template[class.template.index()].clone();
        all.extend(own.flat_map(dims));
        of_class.push(all);
    }
    let mut groups = vec![Vec::new(); problem.dims()];
    for (position, group) in problem.groups.iter().enumerate() {
        let mut all: BTreeSet<usize> = dims(group.active).chain(dims(group.idle)).collect();
        for (class, _) in &group.members {
            all.extend(&of_class[class.index()]);
        }
        for dim in all {
            groups[dim].push(position);
        }
    }
    let mut vars = vec![Vec::new(); problem.dims()];
    for (position, var) in problem.vars.iter().enumerate() {
        for dim in dims(var.effect) {
            vars[dim].push(position);
        }
    }
    (groups, vars)
}

/// What is solved anew.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) groups: Vec<usize>,
    pub(crate) vars: Vec<usize>,
}

impl Part {
    /// Everything.
    pub(crate) fn whole(problem: &Problem) -> Self {
        Self { groups: (0..problem.groups.len()).collect(), vars: (0..problem.vars.len()).collect() }
    }
}

/// Where to look for better answers.
pub(crate) struct Improve<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) level: usize,
    /// Values that the earlier levels must keep.
    pub(crate) fixed: &'a [i64],
    /// Relaxation of the level, whose prices tell which paths are worth a look.
    pub(crate) relaxation: &'a Relaxation,
    /// How far below the bound choices are looked at.
    pub(crate) far: i64,
    /// Most paths per class.
    pub(crate) paths: usize,
    /// Nodes of the search tree.
    pub(crate) nodes: u64,
}

/// A column of the part's program: a path of a member of a group.
struct PathColumn {
    group: usize,
    member: usize,
    arcs: Vec<u16>,
    column: usize,
}

impl Improve<'_> {
    /// Solves a part anew; returns an answer that is better on the level, if one is found.
    pub(crate) fn part(
        &self,
        answer: &Solution,
        totals: &[i64],
        part: &Part,
        book: &Book,
        termination: &mut dyn Termination,
    ) -> Option<Solution> {
        let problem = self.problem;
        let pricing = Pricing::new(problem, &self.relaxation.prices);
        let slack = self.relaxation.slack_to(self.relaxation.bound.saturating_sub(self.far)).unwrap_or(i64::MAX / 8);
        let free: BTreeSet<usize> = part.groups.iter().copied().collect();
        let used = paths_in_use(problem, answer, &free);
        // What stays: all totals less what the part contributes now, the part's groups counted as idle.
        let mut base = totals.to_vec();
        let mut add = |terms: &[(Dim, i64)], times: i64| {
            for &(dim, amount) in terms {
                base[dim.index()] += amount * times;
            }
        };
        for active in answer.active.iter().filter(|active| free.contains(&active.group.index())) {
            let group = &problem.groups[active.group.index()];
            add(problem.terms(group.active), -1);
            add(problem.terms(group.idle), 1);
            for (member, path, count) in &active.paths {
                let (class, _) = group.members[*member];
                add(&problem.path_vector(class, path), -i64::from(*count));
                add(problem.terms(problem.classes[class.index()].idle), i64::from(*count));
            }
        }
        for &var in &part.vars {
            add(problem.terms(problem.vars[var].effect), -answer.vars[var]);
        }
        let mut program = Program::default();
        let mut sums: Vec<Vec<(usize, f64)>> = vec![Vec::new(); problem.dims()];
        let level = self.level;
        let mut start = Vec::new();
        let mut column = |program: &mut Program, upper: i64, terms: &[(Dim, i64)], now: i64| {
            let worth = terms.iter().find(|(dim, _)| dim.index() == level).map_or(0, |&(_, amount)| amount);
            let column = program.var(upper, worth as f64);
            for &(dim, amount) in terms {
                sums[dim.index()].push((column, amount as f64));
            }
            start.push(now);
            column
        };
        let charged = |group: usize| {
            [problem.groups[group].active, problem.groups[group].idle]
                .iter()
                .any(|&effect| problem.terms(effect).iter().any(|&(dim, _)| self.counts(dim)))
        };
        let mut columns = Vec::new();
        for &group in &part.groups {
            let of = &problem.groups[group];
            let copies = i64::from(of.count);
            let switch = charged(group).then(|| {
                let change = crate::near::subtract(problem.terms(of.active), problem.terms(of.idle));
                let now = answer.active.iter().filter(|active| active.group.index() == group).count() as i64;
                column(&mut program, copies, &change, now)
            });
            for (member, &(class, count)) in of.members.iter().enumerate() {
                let machines = copies * i64::from(count);
                let idle = problem.terms(problem.classes[class.index()].idle).to_vec();
                let mut here = Vec::new();
                let now = used.get(&(group, member));
                for (arcs, vector) in self.options(class, now, book, &pricing, slack) {
                    let uses = now.and_then(|now| now.get(&arcs)).copied().unwrap_or(0);
                    let at = column(&mut program, machines, &crate::near::subtract(&vector, &idle), uses);
                    here.push(at);
                    columns.push(PathColumn { group, member, arcs, column: at });
                }
                let mut terms: Vec<(usize, f64)> = here.iter().map(|&at| (at, 1.0)).collect();
                match switch {
                    Some(switch) => {
                        terms.push((switch, -f64::from(count)));
                        program.row(terms, None, Some(0));
                    }
                    None => program.row(terms, None, Some(machines)),
                }
            }
        }
        let mut var_columns = Vec::with_capacity(part.vars.len());
        for &var in &part.vars {
            let of = problem.vars[var];
            let terms = problem.terms(of.effect).to_vec();
            var_columns.push((var, column(&mut program, of.upper, &terms, answer.vars[var])));
        }
        for (dim, terms) in sums.into_iter().enumerate() {
            let (lower, upper) =
                if dim == level { (Some(totals[level] + 1), None) } else { limits(problem, dim, self.fixed) };
            if (lower.is_some() || upper.is_some()) && !terms.is_empty() {
                program.row(terms, lower.map(|bound| bound - base[dim]), upper.map(|bound| bound - base[dim]));
            } else if dim == level {
                return None;
            }
        }
        let Answer::Values(values, _) = program.solve(self.nodes, None, termination) else { return None };
        let mut vars = answer.vars.clone();
        for (var, column) in var_columns {
            vars[var] = values[column];
        }
        let mut active: Vec<_> =
            answer.active.iter().filter(|active| !free.contains(&active.group.index())).cloned().collect();
        for &group in &part.groups {
            let paths = columns
                .iter()
                .filter(|column| column.group == group && values[column.column] > 0)
                .map(|column| (column.member, column.arcs.clone(), values[column.column] as u32))
                .collect();
            spread(problem, GroupId(group as u32), paths, &mut active);
        }
        Some(Solution { active, vars })
    }

    fn counts(&self, dim: Dim) -> bool {
        dim.index() <= self.level || dim.index() >= self.problem.levels
    }

    /// Paths of a class to choose from, with what they contribute: those in use, the cheapest of those known, and some close to the best.
    fn options(
        &self,
        class: ClassId,
        used: Option<&BTreeMap<Vec<u16>, i64>>,
        book: &Book,
        pricing: &Pricing<'_>,
        slack: i64,
    ) -> Vec<(Vec<u16>, Vector)> {
        let problem = self.problem;
        let mut found: BTreeMap<Vector, Vec<u16>> = BTreeMap::new();
        let mut options = Vec::new();
        let short =
            |vector: &[(Dim, i64)]| -> Vector { vector.iter().copied().filter(|&(dim, _)| self.counts(dim)).collect() };
        for arcs in used.into_iter().flat_map(BTreeMap::keys) {
            let vector = problem.path_vector(class, arcs);
            found.insert(short(&vector), arcs.clone());
            options.push((arcs.clone(), vector));
        }
        let mut scratch = crate::price::Scratch::default();
        let value = pricing.class(&problem.classes[class.index()], &mut scratch);
        let near = Near { pricing, level: self.level, slack, most: self.paths as u32 * 4 };
        let (choices, _) = near.choices(problem, class, value);
        let known = book.numbers(class).map(|number| book.path(class, number).arcs.clone());
        let mut rest: Vec<(i64, Vec<u16>, Vector)> = choices
            .into_iter()
            .filter_map(|choice| choice.path)
            .chain(known)
            .map(|arcs| {
                let vector = problem.path_vector(class, &arcs);
                (-pricing.vector(&vector), arcs, vector)
            })
            .collect();
        rest.sort();
        for (_, arcs, vector) in rest {
            if options.len() >= self.paths {
                break;
            }
            let key = short(&vector);
            if let std::collections::btree_map::Entry::Vacant(place) = found.entry(key) {
                place.insert(arcs.clone());
                options.push((arcs, vector));
            }
        }
        options
    }
}

/// Paths that an answer uses in some groups, with how many machines, by group and member.
fn paths_in_use(
    problem: &Problem,
    answer: &Solution,
    groups: &BTreeSet<usize>,
) -> BTreeMap<(usize, usize), BTreeMap<Vec<u16>, i64>> {
    let mut used: BTreeMap<(usize, usize), BTreeMap<Vec<u16>, i64>> = BTreeMap::new();
    for active in answer.active.iter().filter(|active| groups.contains(&active.group.index())) {
        debug_assert!(active.group.index() < problem.groups.len());
        for (member, path, count) in &active.paths {
            let paths = used.entry((active.group.index(), *member)).or_default();
            *paths.entry(path.clone()).or_default() += i64::from(*count);
        }
    }
    used
}
