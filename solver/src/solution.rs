//! Answers: which groups are active, on which paths their machines are, and the values of the variables.

use crate::problem::{GroupId, Problem};

/// One active copy of a group; machines that are not listed are idle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveGroup {
    /// Which group.
    pub group: GroupId,
    /// Paths in use: position in the group's members, numbers of the arcs in order, how many machines.
    pub paths: Vec<(usize, Vec<u16>, u32)>,
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Solution {
    /// Active groups; all other copies are idle.
    pub active: Vec<ActiveGroup>,
    /// Values of the variables in the order of adding.
    pub vars: Vec<i64>,
}

impl Solution {
    /// Sums up what the answer contributes to every dimension.
    pub fn totals(&self, problem: &Problem) -> Vec<i64> {
        let mut totals = vec![0; problem.dims()];
        let mut add = |effect: crate::EffectId, times: i64| {
            for &(dim, amount) in problem.terms(effect) {
                totals[dim.index()] += amount * times;
            }
        };
        let mut idle: Vec<i64> = problem.groups.iter().map(|group| i64::from(group.count)).collect();
        for active in &self.active {
            idle[active.group.index()] -= 1;
            let group = &problem.groups[active.group.index()];
            add(group.active, 1);
            let mut left: Vec<i64> = group.members.iter().map(|&(_, count)| i64::from(count)).collect();
            for (member, path, count) in &active.paths {
                let (class, _) = group.members[*member];
                left[*member] -= i64::from(*count);
                add(problem.classes[class.index()].active, i64::from(*count));
                for &arc in path {
                    add(problem.arc(class, arc).effect, i64::from(*count));
                }
            }
            for (&(class, _), &machines) in group.members.iter().zip(&left) {
                add(problem.classes[class.index()].idle, machines);
            }
        }
        for (group, &copies) in problem.groups.iter().zip(&idle) {
            add(group.idle, copies);
            for &(class, count) in &group.members {
                add(problem.classes[class.index()].idle, copies * i64::from(count));
            }
        }
        for (var, &value) in problem.vars.iter().zip(&self.vars) {
            add(var.effect, value);
        }
        totals
    }
}
