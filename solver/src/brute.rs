//! Enumerates small problems completely; the oracle of the tests.

use crate::problem::{ClassId, GroupId, Problem};
use crate::solution::{ActiveGroup, Solution};

/// Finds the lexicographically best values of all levels by trying everything; `None` when no answer is legal.
///
/// The time grows with the product of all numbers of choices: for problems with a handful of machines only.
pub fn best(problem: &Problem) -> Option<Vec<i64>> {
    let mut search = Search { problem, best: None, machines: Vec::new(), solution: Solution::default() };
    for (position, group) in problem.groups.iter().enumerate() {
        for copy in 0..group.count {
            for (member, &(class, count)) in group.members.iter().enumerate() {
                for _ in 0..count {
                    search.machines.push((GroupId(position as u32), copy, member, paths(problem, class)));
                }
            }
        }
    }
    let mut picked = Vec::new();
    search.machine(&mut picked);
    search.best
}

/// All paths of a class.
fn paths(problem: &Problem, class: ClassId) -> Vec<Vec<u16>> {
    let of = &problem.classes[class.index()];
    let sink = problem.templates[of.template.index()].nodes - 1;
    let arcs: Vec<_> = problem.arcs(of).collect();
    let mut done = Vec::new();
    let mut open: Vec<(u16, Vec<u16>)> = vec![(0, Vec::new())];
    while let Some((node, path)) = open.pop() {
        if node == sink {
            done.push(path);
            continue;
        }
        for &(number, arc) in arcs.iter().filter(|(_, arc)| arc.from == node) {
            let mut longer = path.clone();
            longer.push(number);
            open.push((arc.to, longer));
        }
    }
    done
}

struct Search<'a> {
    problem: &'a Problem,
    best: Option<Vec<i64>>,
    machines: Vec<(GroupId, u32, usize, Vec<Vec<u16>>)>,
    solution: Solution,
}

impl Search<'_> {
    fn machine(&mut self, picked: &mut Vec<Option<Vec<u16>>>) {
        if picked.len() == self.machines.len() {
            self.solution.active = self.active(picked);
            self.solution.vars.clear();
            self.var();
            return;
        }
        let choices = self.machines[picked.len()].3.clone();
        for choice in std::iter::once(None).chain(choices.into_iter().map(Some)) {
            picked.push(choice);
            self.machine(picked);
            picked.pop();
        }
    }

    fn active(&self, picked: &[Option<Vec<u16>>]) -> Vec<ActiveGroup> {
        let mut active: Vec<((GroupId, u32), ActiveGroup)> = Vec::new();
        for ((group, copy, member, _), path) in self.machines.iter().zip(picked) {
            let Some(path) = path else { continue };
            if active.last().is_none_or(|(key, _)| *key != (*group, *copy)) {
                active.push(((*group, *copy), ActiveGroup { group: *group, paths: Vec::new() }));
            }
            if let Some((_, last)) = active.last_mut() {
                last.paths.push((*member, path.clone(), 1));
            }
        }
        active.into_iter().map(|(_, group)| group).collect()
    }

    fn var(&mut self) {
        let next = self.solution.vars.len();
        if let Some(var) = self.problem.vars.get(next) {
            for value in 0..=var.upper {
                self.solution.vars.push(value);
                self.var();
                self.solution.vars.pop();
            }
            return;
        }
        if crate::check::check(self.problem, &self.solution).is_ok() {
            let levels = self.solution.totals(self.problem)[..self.problem.levels()].to_vec();
            if self.best.as_ref().is_none_or(|best| levels > *best) {
                self.best = Some(levels);
            }
        }
    }
}
