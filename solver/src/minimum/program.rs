//! The pattern integer program: integer copies of each pattern, at least the demand of each part type, fewest copies.
//!
//! Its size does not depend on the counts. The solver works in floating point, so large counts are first brought down:
//! the bulk of the linear relaxation's solution is fixed, less a margin, until the rest is small enough to be
//! exact. What comes back is rounded and checked in integers; the bound never comes from floating point unchecked.

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, microlp, variable};

use crate::program::{Answer, Program};

use crate::termination::WorkLimit;

use super::{Method, Minimum, MinimumError, Patterns, covers, less};

/// Demand per part type that is handed to the integer program as it is.
const SMALL: u64 = 20_000;
/// Copies of each pattern that are left open when the bulk of a large demand is fixed.
const MARGIN: u64 = 64;
/// Relative error of the linear relaxation's solution that the margin must absorb besides.
const PRECISION: u64 = 1_000_000;
/// Nodes of the search tree that an integer program may visit; those at hand need a handful.
const NODES: u64 = 20_000;
/// Largest common divisor tried when a dual solution is turned into fractions.
const MAX_DIVISOR: u32 = 5_000;

/// Fewest copies of patterns; `bound` is a proven lower bound on them.
pub(super) fn solve(patterns: &Patterns, demand: &[u64], bound: u64) -> Result<Minimum, MinimumError> {
    let mut counts = vec![0_u64; patterns.as_slice().len()];
    let mut left = demand.to_vec();
    let mut fixed = 0_u64;
    while left.iter().any(|&count| count > SMALL) {
        let bulk = bulk(patterns, &left)?;
        let copies: u64 = bulk.iter().sum();
        if copies == 0 {
            break;
        }
        for ((count, pattern), copies) in counts.iter_mut().zip(patterns.as_slice()).zip(bulk) {
            *count += copies;
            left = less(&left, pattern, copies);
        }
        fixed += copies;
    }
    let (rest, proven) = integer(patterns, &left, bound.saturating_sub(fixed))?;
    for (count, copies) in counts.iter_mut().zip(rest) {
        *count += copies;
    }
    let machines = counts.iter().sum();
    // Nothing was fixed: the search looked at everything, and its proven optimum is the minimum.
    let bound = if fixed == 0 && proven { machines } else { bound };
    if !covers(&offered(patterns, &counts), demand) {
        return Err(MinimumError::Program("the solution does not cover the demand".into()));
    }
    Ok(Minimum { machines, bound, counts, method: Method::Program })
}

/// Copies of each pattern that may be fixed without harm: the linear relaxation's, less the margin.
fn bulk(patterns: &Patterns, demand: &[u64]) -> Result<Vec<u64>, MinimumError> {
    let scale = demand.iter().copied().max().unwrap_or(1).max(1);
    let margin = MARGIN + scale / PRECISION;
    let scaled: Vec<f64> = demand.iter().map(|&count| count as f64 / scale as f64).collect();
    let shares = relaxed(patterns, &scaled)?;
    Ok(shares.iter().map(|share| ((share * scale as f64).floor().max(0.0) as u64).saturating_sub(margin)).collect())
}

/// The linear relaxation: real copies of patterns.
fn relaxed(patterns: &Patterns, demand: &[f64]) -> Result<Vec<f64>, MinimumError> {
    let mut problem = ProblemVariables::new();
    let copies: Vec<Variable> = patterns.as_slice().iter().map(|_| problem.add(variable().min(0))).collect();
    let mut model = problem.minimise(copies.iter().sum::<Expression>()).using(microlp);
    for (kind, &need) in demand.iter().enumerate() {
        model = model.with(constraint!(row(patterns, &copies, kind) >= need));
    }
    let solution = model.solve().map_err(|error| MinimumError::Program(error.to_string()))?;
    Ok(copies.iter().map(|&variable| solution.value(variable)).collect())
}

/// The integer program on a demand that is small enough, with the bound as a cut, and whether its optimum is proven.
///
/// Where the limit on search nodes ends it without values, the linear relaxation is rounded up instead.
fn integer(patterns: &Patterns, demand: &[u64], bound: u64) -> Result<(Vec<u64>, bool), MinimumError> {
    let most = demand.iter().sum::<u64>().max(bound) as i64;
    let mut program = Program::default();
    let copies: Vec<usize> = patterns.as_slice().iter().map(|_| program.var(most, -1.0)).collect();
    program.row(copies.iter().map(|&column| (column, 1.0)).collect(), Some(bound as i64), None);
    for (kind, &need) in demand.iter().enumerate() {
        let held = patterns.as_slice().iter().zip(&copies).map(|(pattern, &column)| (column, pattern[kind] as f64));
        program.row(held.filter(|&(_, count)| count > 0.0).collect(), Some(need as i64), None);
    }
    match program.solve(NODES, None, &mut WorkLimit::new(u64::MAX)) {
        Answer::Values(values, proven) => Ok((values.iter().map(|&value| value.max(0) as u64).collect(), proven)),
        // Enough machines always are a solution: a back end that finds none has lost its way.
        Answer::Unknown | Answer::Infeasible => {
            let shares = relaxed(patterns, &demand.iter().map(|&count| count as f64).collect::<Vec<_>>())?;
            Ok((shares.iter().map(|share| (share - 1e-6).ceil().max(0.0) as u64).collect(), false))
        }
    }
}

fn row(patterns: &Patterns, copies: &[Variable], kind: usize) -> Expression {
    patterns.as_slice().iter().zip(copies).map(|(pattern, &variable)| pattern[kind] as f64 * variable).sum()
}

fn offered(patterns: &Patterns, counts: &[u64]) -> Vec<u64> {
    let total = |kind: usize| {
        let offers =
            patterns.as_slice().iter().zip(counts).map(|(pattern, &copies)| pattern[kind].saturating_mul(copies));
        offers.fold(0_u64, u64::saturating_add)
    };
    (0..patterns.types()).map(total).collect()
}

/// A lower bound from the dual program, whose prices are turned into fractions and checked in integers.
pub(super) fn dual_bound(patterns: &Patterns, demand: &[u64]) -> Result<u64, MinimumError> {
    let scale = demand.iter().copied().max().unwrap_or(1).max(1) as f64;
    let mut problem = ProblemVariables::new();
    let prices: Vec<Variable> = demand.iter().map(|_| problem.add(variable().min(0).max(1))).collect();
    let value: Expression = prices.iter().zip(demand).map(|(&price, &need)| need as f64 / scale * price).sum();
    let mut model = problem.maximise(value).using(microlp);
    for pattern in patterns.as_slice() {
        let worth: Expression = pattern.iter().zip(&prices).map(|(&count, &price)| count as f64 * price).sum();
        model = model.with(constraint!(worth <= 1));
    }
    let solution = model.solve().map_err(|error| MinimumError::Program(error.to_string()))?;
    let prices: Vec<f64> = prices.iter().map(|&price| solution.value(price).clamp(0.0, 1.0)).collect();
    u64::try_from(fractions(patterns, &prices).machines(demand)).map_err(|_| MinimumError::TooLarge)
}

/// The facet that the prices stand for: with the least divisor that fits them, else rounded down.
fn fractions(patterns: &Patterns, prices: &[f64]) -> super::Facet {
    let facet = |divisor: u32, weight: fn(f64) -> f64| super::Facet {
        weights: prices.iter().map(|price| weight(price * f64::from(divisor)) as u32).collect(),
        divisor,
    };
    let close = |divisor: &u32| {
        prices.iter().map(|price| price * f64::from(*divisor)).all(|weight| (weight - weight.round()).abs() < 1e-6)
    };
    let exact = (1..=MAX_DIVISOR).filter(close).map(|divisor| facet(divisor, f64::round));
    exact.take(1).find(|facet| valid(patterns, facet)).unwrap_or_else(|| {
        let mut safe = facet(1 << 20, f64::floor);
        while !valid(patterns, &safe) {
            for weight in &mut safe.weights {
                *weight = weight.saturating_sub(1);
            }
        }
        safe
    })
}

/// Whether no pattern weighs more than the divisor.
fn valid(patterns: &Patterns, facet: &super::Facet) -> bool {
    patterns.as_slice().iter().all(|pattern| facet.machines(pattern) <= 1)
}
