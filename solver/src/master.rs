//! Finds prices: a linear program over complete choices of the machines, grown by pricing until no choice is missing.
//!
//! The linear program is solved by [`crate::simplex`], in floating point, and proves nothing; the bound is taken from
//! [`crate::price`] at the prices rounded to integers, which is exact.

use std::ops::Range;
use std::rc::Rc;

use crate::price::{Book, Choice, Pricing, SCALE};
use crate::problem::Problem;
use crate::simplex::Master;
use crate::termination::Termination;

/// Most blocks that the groups are divided into; more blocks need fewer rounds of pricing, each of them dearer.
const BLOCKS: usize = 8;

/// Columns of complete choices, kept from level to level.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    columns: Vec<PoolColumn>,
    pub(crate) book: Book,
}

/// What one block contributes under a complete choice.
#[derive(Debug, Clone)]
struct PoolColumn {
    block: usize,
    totals: Vec<i64>,
    /// The choice; `None` when everything idles.
    choice: Option<Rc<Choice>>,
}

/// A block, the weight of a choice in it, and the choice (`None`: everything idles).
pub(crate) type Share = (usize, f64, Option<Rc<Choice>>);

/// What the relaxation of a level says.
#[derive(Debug, Clone)]
pub(crate) struct Relaxation {
    /// No answer can be better; exact.
    pub(crate) bound: i64,
    /// Exact value of the relaxation at `prices`, in units of 1/[`SCALE`].
    pub(crate) scaled: i128,
    /// Prices per dimension (the level's own is [`SCALE`]).
    pub(crate) prices: Vec<i64>,
    /// Rounds of pricing.
    pub(crate) rounds: u32,
    /// Choices that the relaxation mixes; the weights of a block add up to 1.
    pub(crate) mix: Vec<Share>,
    /// A variable that the relaxation wants between two integers, with the lower of the two.
    pub(crate) fractional: Option<(usize, i64)>,
}

impl Relaxation {
    /// Largest sum of reduced costs that an answer which reaches the bound can have, in the units of prices: the fraction
    /// that rounding the bound down cut off. `None` when it is beyond all numbers, far from any answer.
    pub(crate) fn slack(&self) -> Option<i64> {
        self.slack_to(self.bound)
    }

    /// Largest sum of reduced costs that an answer of a value can have, in the units of prices.
    pub(crate) fn slack_to(&self, value: i64) -> Option<i64> {
        i64::try_from(self.scaled - i128::from(value) * i128::from(SCALE)).ok()
    }

    /// Bounds of a dimension for an answer that reaches the bound on `level`.
    pub(crate) fn limits(
        &self,
        problem: &Problem,
        level: usize,
        dim: usize,
        fixed: &[i64],
    ) -> (Option<i64>, Option<i64>) {
        if dim == level { (Some(self.bound), None) } else { limits(problem, dim, fixed) }
    }
}

/// Bounds of the variables in one branch of the search.
pub(crate) type VarBounds = [(i64, i64)];

/// Divides the groups into blocks of about equal numbers of machines.
pub(crate) fn blocks(problem: &Problem) -> Vec<Range<usize>> {
    let groups = problem.groups.len();
    let blocks = BLOCKS.min(groups).max(1);
    (0..blocks).map(|block| block * groups / blocks..(block + 1) * groups / blocks).collect()
}

/// Finds the best bound on a level, with the earlier levels at least at `fixed`; stops early once it is down to `target`.
pub(crate) fn relax(
    problem: &Problem,
    level: usize,
    fixed: &[i64],
    bounds: &VarBounds,
    target: i64,
    pool: &mut Pool,
    termination: &mut dyn Termination,
) -> Relaxation {
    let blocks = blocks(problem);
    if pool.columns.is_empty() {
        for (block, range) in blocks.iter().enumerate() {
            let mut totals = vec![0; problem.dims()];
            for group in range.clone() {
                let copies = i64::from(problem.groups[group].count);
                problem.add_group(group, copies, false, |_| None, &mut totals);
            }
            pool.columns.push(PoolColumn { block, totals, choice: None });
        }
    }
    let mut master = Master::new(problem, level, fixed, bounds, blocks.len());
    for (position, column) in pool.columns.iter().enumerate() {
        master.add_column(column.block, &column.totals, position);
    }
    let machines = problem.classes.len() as u64 * 64 + problem.effects.len() as u64;
    let mut best: Option<Relaxation> = None;
    for round in 1..=ROUNDS {
        let value = master.optimise();
        let prices = master.prices();
        let pricing = Pricing::new(problem, &prices);
        let priced = pricing.choose(&blocks, &mut pool.book);
        let scaled = priced.value + rest(problem, fixed, bounds, &prices, &pricing);
        let bound = i64::try_from(scaled.div_euclid(i128::from(SCALE))).unwrap_or(i64::MAX);
        if best.as_ref().is_none_or(|best| scaled < best.scaled) {
            best = Some(Relaxation { bound, scaled, prices, rounds: round, mix: Vec::new(), fractional: None });
        }
        let mut improved = false;
        let choice = Rc::new(priced.choice);
        let duals = master.duals();
        for (block, (value, totals)) in priced.blocks.into_iter().enumerate() {
            if value as f64 / SCALE as f64 > duals[master.first_block + block] + 1e-7
                && master.add_column(block, &totals, pool.columns.len())
            {
                improved = true;
                pool.columns.push(PoolColumn { block, totals, choice: Some(Rc::clone(&choice)) });
            }
        }
        // The master is a restriction of the relaxation: no bound can fall below its value.
        let floor = if master.feasible() { (value + 1e-6).floor() } else { f64::NEG_INFINITY };
        let settled = best.as_ref().is_some_and(|best| best.bound <= target || best.bound as f64 <= floor);
        let stop = termination.spend(machines + master.work());
        if settled || !improved || stop {
            break;
        }
    }
    let mix = master
        .mix()
        .into_iter()
        .map(|(position, weight)| (pool.columns[position].block, weight, pool.columns[position].choice.clone()))
        .collect();
    pool.trim(&master.useful(pool.columns.len()));
    let mut best = best.expect("at least one round of pricing takes place");
    best.fractional = master.fractional();
    best.mix = mix;
    best
}

/// Most rounds of pricing for one level.
const ROUNDS: u32 = 2_000;

impl Pool {
    /// Forgets old columns that the last master did not use, once there are many.
    fn trim(&mut self, useful: &[bool]) {
        const KEEP: usize = 240;
        if self.columns.len() <= KEEP {
            return;
        }
        let surplus = self.columns.len() - KEEP;
        let mut dropped = 0;
        let mut position = 0;
        self.columns.retain(|_| {
            let keep = position < BLOCKS || useful.get(position).copied().unwrap_or(true) || dropped >= surplus;
            dropped += usize::from(!keep);
            position += 1;
            keep
        });
    }
}

/// Bounds of a dimension when earlier levels are fixed; `None` for dimensions that do not bind.
pub(crate) fn limits(problem: &Problem, dim: usize, fixed: &[i64]) -> (Option<i64>, Option<i64>) {
    if dim < problem.levels {
        (fixed.get(dim).copied(), None)
    } else {
        let row = problem.bounds(dim);
        (row.lower, row.upper)
    }
}

/// The relaxation's part that does not depend on machines: variables at their best, prices of the bounds.
fn rest(problem: &Problem, fixed: &[i64], bounds: &VarBounds, prices: &[i64], pricing: &Pricing<'_>) -> i128 {
    let mut sum = 0;
    for (var, &(least, most)) in problem.vars.iter().zip(bounds) {
        let value = pricing.effect(var.effect);
        sum += i128::from(value) * i128::from(if value > 0 { most } else { least });
    }
    for (dim, &price) in prices.iter().enumerate() {
        let (lower, upper) = limits(problem, dim, fixed);
        if let Some(lower) = lower.filter(|_| price > 0) {
            sum -= i128::from(price) * i128::from(lower);
        }
        if let Some(upper) = upper.filter(|_| price < 0) {
            sum -= i128::from(price) * i128::from(upper);
        }
    }
    sum
}
