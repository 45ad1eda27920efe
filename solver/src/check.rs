//! Re-checks an answer against its problem. Shares the types with the search, none of its logic.

use crate::problem::Problem;
use crate::solution::Solution;

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The number of variables differs.
    #[error("{found} values for {expected} variables")]
    VarCount {
        /// Variables of the problem.
        expected: usize,
        /// Values of the answer.
        found: usize,
    },
    /// A variable is out of bounds.
    #[error("variable {var} is {value}, beyond 0..={upper}")]
    VarBounds {
        /// Position of the variable.
        var: usize,
        /// Its value.
        value: i64,
        /// Its upper bound.
        upper: i64,
    },
    /// More copies of a group are active, or more machines of a class are in use, than there are.
    #[error("group {group}: more in use than there is")]
    Overuse {
        /// Position of the group.
        group: usize,
    },
    /// Arcs that do not lead from the source to the sink.
    #[error("group {group}: a path is broken at arc {arc}")]
    BrokenPath {
        /// Position of the group.
        group: usize,
        /// Number of the arc.
        arc: u16,
    },
    /// A row's sum is out of bounds.
    #[error("row {row} sums up to {sum}, beyond {lower:?}..{upper:?}")]
    Row {
        /// Position of the row.
        row: usize,
        /// Sum of the answer.
        sum: i64,
        /// Lower bound.
        lower: Option<i64>,
        /// Upper bound.
        upper: Option<i64>,
    },
}

/// Checks that an answer is legal.
///
/// # Errors
/// The first violation found.
pub fn check(problem: &Problem, solution: &Solution) -> Result<(), Violation> {
    if problem.vars.len() != solution.vars.len() {
        return Err(Violation::VarCount { expected: problem.vars.len(), found: solution.vars.len() });
    }
    for (position, (var, &value)) in problem.vars.iter().zip(&solution.vars).enumerate() {
        if value < 0 || value > var.upper {
            return Err(Violation::VarBounds { var: position, value, upper: var.upper });
        }
    }
    let mut copies = vec![0u32; problem.groups.len()];
    for active in &solution.active {
        let position = active.group.index();
        let group = &problem.groups[position];
        copies[position] += 1;
        let mut used = vec![0u32; group.members.len()];
        for (member, path, count) in &active.paths {
            let Some(&(class, _)) = group.members.get(*member) else {
                return Err(Violation::Overuse { group: position });
            };
            used[*member] += count;
            let mut node = 0;
            for &number in path {
                let arc = problem.arc(class, number);
                if arc.from != node {
                    return Err(Violation::BrokenPath { group: position, arc: number });
                }
                node = arc.to;
            }
            let template = problem.classes[class.index()].template;
            if node + 1 != problem.templates[template.index()].nodes {
                return Err(Violation::BrokenPath { group: position, arc: path.last().copied().unwrap_or(0) });
            }
        }
        let overused = used.iter().zip(&group.members).any(|(&used, &(_, there))| used > there);
        if overused || copies[position] > group.count {
            return Err(Violation::Overuse { group: position });
        }
    }
    let totals = solution.totals(problem);
    for (row, bounds) in problem.rows.iter().enumerate() {
        let sum = totals[problem.levels + row];
        if bounds.lower.is_some_and(|lower| sum < lower) || bounds.upper.is_some_and(|upper| sum > upper) {
            return Err(Violation::Row { row, sum, lower: bounds.lower, upper: bounds.upper });
        }
    }
    Ok(())
}
