//! A bounded primal simplex with an explicit inverse of the basis, for the few rows of the master.
//!
//! Columns are added while it runs, and it goes on from the basis that it has. Everything idle is where it starts; rows that this
//! violates are paid for by penalties, which also bound the prices.

#![allow(clippy::float_cmp, reason = "columns and bounds that are meant to be equal were computed alike")]

use std::ops::Range;

use crate::master::{VarBounds, limits};
use crate::price::SCALE;
use crate::problem::Problem;

/// Largest price of a row, in units of the objective; keeps the integers of pricing far from overflow.
const PRICE_LIMIT: f64 = 1e5;

/// By how much the bounds of rows are loosened in the master; the exact bound does not see it.
const LOOSE: f64 = 1e-6;

/// Most pivots of one optimisation of the master.
const MOST_PIVOTS: u64 = 5_000;

/// A column of the linear program.
struct Column {
    /// Entries that are not zero, by row of the master.
    entries: Vec<(usize, f64)>,
    cost: f64,
    lower: f64,
    upper: f64,
}

/// A bounded primal simplex with an explicit inverse of the basis.
pub(crate) struct Master<'a> {
    problem: &'a Problem,
    level: usize,
    fixed: &'a [i64],
    /// Master row of each dimension.
    row_of: Vec<Option<usize>>,
    /// Row of the first block; those of the others follow.
    pub(crate) first_block: usize,
    rows: usize,
    /// What the entries of each row are divided by, so that rows are of like size.
    scale: Vec<f64>,
    columns: Vec<Column>,
    /// Columns that stand for choices: position in `columns`, position in the pool.
    choices: Vec<(usize, usize)>,
    basis: Vec<usize>,
    inverse: Vec<f64>,
    values: Vec<f64>,
    at_upper: Vec<bool>,
    basic: Vec<bool>,
    penalties: Range<usize>,
    first_var: usize,
    pivots: u64,
    since_refactor: u32,
    spent: u64,
}

impl<'a> Master<'a> {
    pub(crate) fn new(problem: &'a Problem, level: usize, fixed: &'a [i64], bounds: &VarBounds, blocks: usize) -> Self {
        let mut row_of = vec![None; problem.dims()];
        let mut rows = 0;
        for (dim, row) in row_of.iter_mut().enumerate() {
            let (lower, upper) = limits(problem, dim, fixed);
            if lower.is_some() || upper.is_some() {
                *row = Some(rows);
                rows += 1;
            }
        }
        let first_block = rows;
        rows += blocks;
        let mut scale = vec![1.0f64; rows];
        for &(dim, amount) in problem.effects.iter().flat_map(|terms| terms.iter()) {
            if let Some(row) = row_of[dim.index()] {
                scale[row] = scale[row].max(amount.unsigned_abs() as f64);
            }
        }
        let mut master = Self {
            problem,
            level,
            fixed,
            row_of,
            first_block,
            rows,
            scale,
            columns: Vec::new(),
            choices: Vec::new(),
            basis: Vec::new(),
            inverse: Vec::new(),
            values: Vec::new(),
            at_upper: Vec::new(),
            basic: Vec::new(),
            penalties: 0..0,
            first_var: 0,
            pivots: 0,
            since_refactor: 0,
            spent: 0,
        };
        master.add_slacks();
        master.first_var = master.columns.len();
        for (var, &(least, most)) in problem.vars.iter().zip(bounds) {
            let mut entries = Vec::new();
            let mut cost = 0.0;
            for &(dim, amount) in problem.terms(var.effect) {
                if dim.index() == level {
                    cost = amount as f64;
                } else if let Some(row) = master.row_of[dim.index()] {
                    entries.push((row, amount as f64 / master.scale[row]));
                }
            }
            master.push(Column { entries, cost, lower: least as f64, upper: most as f64 });
        }
        master
    }

    /// Slack of each row (sum - slack = 0) and penalties that make any start feasible.
    fn add_slacks(&mut self) {
        for dim in 0..self.row_of.len() {
            let Some(row) = self.row_of[dim] else { continue };
            let (lower, upper) = limits(self.problem, dim, self.fixed);
            // Bounds are loosened by different tiny amounts, or ties would make the simplex go in circles.
            let loose = LOOSE * (1.0 + (row * 37 % 101) as f64 / 101.0);
            self.push(Column {
                entries: vec![(row, -1.0)],
                cost: 0.0,
                lower: lower.map_or(f64::NEG_INFINITY, |bound| bound as f64 / self.scale[row] - loose),
                upper: upper.map_or(f64::INFINITY, |bound| bound as f64 / self.scale[row] + loose),
            });
        }
        let first = self.columns.len();
        for row in 0..self.first_block {
            for sign in [1.0, -1.0] {
                self.push(Column { entries: vec![(row, sign)], cost: -PRICE_LIMIT, lower: 0.0, upper: f64::INFINITY });
            }
        }
        self.penalties = first..self.columns.len();
    }

    fn push(&mut self, column: Column) -> usize {
        self.at_upper.push(column.lower == f64::NEG_INFINITY);
        self.basic.push(false);
        self.columns.push(column);
        self.columns.len() - 1
    }

    /// Adds a choice of one block; says whether it differs from all others.
    pub(crate) fn add_column(&mut self, block: usize, totals: &[i64], in_pool: usize) -> bool {
        let mut entries = Vec::new();
        for (dim, &total) in totals.iter().enumerate().filter(|(_, total)| **total != 0) {
            if let Some(row) = self.row_of[dim] {
                entries.push((row, total as f64 / self.scale[row]));
            }
        }
        entries.push((self.first_block + block, 1.0));
        let cost = totals[self.level] as f64;
        let known = self.choices.iter().any(|&(choice, _)| {
            let column = &self.columns[choice];
            column.cost == cost && column.entries == entries
        });
        if known {
            return false;
        }
        let position = self.push(Column { entries, cost, lower: 0.0, upper: f64::INFINITY });
        self.choices.push((position, in_pool));
        true
    }

    fn bound_value(&self, column: usize) -> f64 {
        let of = &self.columns[column];
        if self.at_upper[column] { of.upper } else { of.lower }
    }

    /// Starts with everything idle, and penalties on the rows that this violates.
    ///
    /// Every block weighs exactly 1 from the start and for ever: its first choice is the idle one.
    fn start(&mut self) {
        let n = self.rows;
        let idle: Vec<usize> = (self.first_block..n)
            .filter_map(|row| {
                let of_block =
                    |&&(column, _): &&(usize, usize)| self.columns[column].entries.last() == Some(&(row, 1.0));
                self.choices.iter().find(of_block).map(|&(column, _)| column)
            })
            .collect();
        let mut residual = vec![0.0; n];
        for (position, column) in self.columns.iter().enumerate() {
            let at = if idle.contains(&position) { 1.0 } else { self.bound_value(position) };
            if at != 0.0 {
                for &(row, entry) in &column.entries {
                    residual[row] -= at * entry;
                }
            }
        }
        self.inverse = vec![0.0; n * n];
        self.basis.clear();
        self.values.clear();
        for (row, &value) in residual[..self.first_block].iter().enumerate() {
            let negative = value < 0.0;
            let sign = if negative { -1.0 } else { 1.0 };
            self.basis.push(self.penalties.start + 2 * row + usize::from(negative));
            self.values.push(value.abs());
            self.inverse[row * n + row] = sign;
        }
        for (block, &column) in idle.iter().enumerate() {
            for &(row, entry) in self.columns[column].entries.iter().filter(|(row, _)| *row < self.first_block) {
                let sign = self.inverse[row * n + row];
                self.inverse[row * n + self.first_block + block] = -sign * entry;
            }
        }
        for (block, &column) in idle.iter().enumerate() {
            let row = self.first_block + block;
            self.basis.push(column);
            self.values.push(1.0);
            self.inverse[row * n + row] = 1.0;
        }
        for &column in &self.basis {
            self.basic[column] = true;
        }
    }

    /// Right-hand side: 1 on convexity rows, 0 elsewhere.
    fn recompute_values(&mut self) {
        let mut residual = vec![0.0; self.rows];
        residual[self.first_block..].fill(1.0);
        for (position, column) in self.columns.iter().enumerate() {
            if !self.basic[position] {
                let at = self.bound_value(position);
                if at != 0.0 {
                    for &(row, entry) in &column.entries {
                        residual[row] -= at * entry;
                    }
                }
            }
        }
        for row in 0..self.rows {
            self.values[row] =
                self.inverse[row * self.rows..(row + 1) * self.rows].iter().zip(&residual).map(|(a, b)| a * b).sum();
        }
    }

    /// Builds the inverse of the basis afresh by Gauss-Jordan elimination with pivoting; keeps the old one if singular.
    fn refactor(&mut self) {
        let n = self.rows;
        let mut matrix = vec![0.0; n * 2 * n];
        for (position, &column) in self.basis.iter().enumerate() {
            for &(row, entry) in &self.columns[column].entries {
                matrix[row * 2 * n + position] = entry;
            }
        }
        for row in 0..n {
            matrix[row * 2 * n + n + row] = 1.0;
        }
        for column in 0..n {
            let pivot = (column..n)
                .max_by(|&a, &b| matrix[a * 2 * n + column].abs().total_cmp(&matrix[b * 2 * n + column].abs()))
                .unwrap_or(column);
            if matrix[pivot * 2 * n + column].abs() < 1e-11 {
                return;
            }
            if pivot != column {
                for k in 0..2 * n {
                    matrix.swap(pivot * 2 * n + k, column * 2 * n + k);
                }
            }
            let scale = 1.0 / matrix[column * 2 * n + column];
            for k in 0..2 * n {
                matrix[column * 2 * n + k] *= scale;
            }
            let pivot_row: Vec<(usize, f64)> =
                (0..2 * n).map(|k| (k, matrix[column * 2 * n + k])).filter(|(_, entry)| *entry != 0.0).collect();
            for row in 0..n {
                let factor = matrix[row * 2 * n + column];
                if row != column && factor != 0.0 {
                    for &(k, entry) in &pivot_row {
                        matrix[row * 2 * n + k] -= factor * entry;
                    }
                }
            }
        }
        for row in 0..n {
            for k in 0..n {
                self.inverse[row * n + k] = matrix[row * 2 * n + n + k];
            }
        }
        self.recompute_values();
        self.since_refactor = 0;
    }

    pub(crate) fn duals(&self) -> Vec<f64> {
        let mut duals = vec![0.0; self.rows];
        for (position, &column) in self.basis.iter().enumerate() {
            let cost = self.columns[column].cost;
            if cost != 0.0 {
                for (dual, entry) in
                    duals.iter_mut().zip(&self.inverse[position * self.rows..(position + 1) * self.rows])
                {
                    *dual += cost * entry;
                }
            }
        }
        duals
    }

    /// Column that improves the objective most, with its reduced cost; the first one at all when `bland`.
    fn entering(&self, bland: bool) -> Option<(usize, f64)> {
        let duals = self.duals();
        let mut best: Option<(usize, f64)> = None;
        for (position, column) in self.columns.iter().enumerate() {
            if self.basic[position] || column.lower == column.upper {
                continue;
            }
            let priced: f64 = column.entries.iter().map(|&(row, entry)| entry * duals[row]).sum();
            let reduced = column.cost - priced;
            let gain = if self.at_upper[position] { -reduced } else { reduced };
            let tolerance = 1e-9 * (1.0 + column.cost.abs() + priced.abs());
            if gain > tolerance.max(1e-9) && best.is_none_or(|(_, known)| gain > known.abs()) {
                best = Some((position, reduced));
                if bland {
                    break;
                }
            }
        }
        best
    }

    /// Optimises and returns the objective's value, penalties included.
    pub(crate) fn optimise(&mut self) -> f64 {
        if self.basis.is_empty() {
            self.start();
        }
        let mut degenerate = 0;
        let mut pivots = 0u64;
        loop {
            while let Some((entering, reduced)) = self.entering(degenerate > 60) {
                let step = self.pivot(entering, reduced);
                degenerate = if step > 1e-9 { 0 } else { degenerate + 1 };
                pivots += 1;
                if pivots > MOST_PIVOTS {
                    break;
                }
            }
            // What looks optimal after many updates is looked at again with a fresh inverse.
            if self.since_refactor == 0 || pivots > MOST_PIVOTS {
                break;
            }
            self.refactor();
        }
        self.pivots += pivots;
        self.spent += pivots * (self.columns.len() as u64 + self.rows as u64) * self.rows as u64;
        self.value()
    }

    fn value(&self) -> f64 {
        let basic: f64 =
            self.basis.iter().zip(&self.values).map(|(&column, value)| self.columns[column].cost * value).sum();
        let fixed: f64 = (0..self.columns.len())
            .filter(|&column| !self.basic[column] && self.columns[column].cost != 0.0)
            .map(|column| self.columns[column].cost * self.bound_value(column))
            .sum();
        basic + fixed
    }

    /// Whether no penalty is in use.
    pub(crate) fn feasible(&self) -> bool {
        self.basis.iter().zip(&self.values).all(|(column, &value)| !self.penalties.contains(column) || value < 1e-7)
    }

    /// Brings a column into the basis; returns the length of the step.
    fn pivot(&mut self, entering: usize, reduced: f64) -> f64 {
        let n = self.rows;
        let direction = if reduced > 0.0 { 1.0 } else { -1.0 };
        let image: Vec<f64> = (0..n)
            .map(|row| {
                let inverse = &self.inverse[row * n..(row + 1) * n];
                self.columns[entering].entries.iter().map(|&(column, entry)| inverse[column] * entry).sum()
            })
            .collect();
        let span = self.columns[entering].upper - self.columns[entering].lower;
        let (step, leaving) = self.ratio(&image, direction, span);
        if step == f64::INFINITY {
            return 0.0;
        }
        for (value, rate) in self.values.iter_mut().zip(&image) {
            *value -= direction * step * rate;
        }
        let Some((row, at_upper)) = leaving else {
            self.at_upper[entering] = !self.at_upper[entering];
            return step;
        };
        let entered = self.bound_value(entering) + direction * step;
        let left = self.basis[row];
        self.basic[left] = false;
        self.at_upper[left] = at_upper;
        self.basic[entering] = true;
        self.basis[row] = entering;
        self.values[row] = entered;
        self.update_inverse(row, &image);
        step
    }

    /// How far the entering column can go, and the row that stops it (with whether its column leaves at its upper bound).
    ///
    /// Two passes after Harris: the first allows every row a small violation, the second takes the largest pivot among the rows
    /// that stop within that.
    fn ratio(&self, image: &[f64], direction: f64, span: f64) -> (f64, Option<(usize, bool)>) {
        let rates = || {
            image.iter().enumerate().filter(|(_, rate)| rate.abs() > 1e-9).map(|(row, rate)| {
                let change = -direction * rate;
                let of = &self.columns[self.basis[row]];
                let room = if change < 0.0 { self.values[row] - of.lower } else { of.upper - self.values[row] };
                (row, change, room.max(0.0))
            })
        };
        let reach = rates().map(|(_, change, room)| (room + 1e-8) / change.abs()).fold(span, f64::min);
        let stops = rates()
            .filter(|(_, change, room)| room / change.abs() <= reach)
            .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()).then(b.0.cmp(&a.0)));
        match stops {
            Some((row, change, room)) if room / change.abs() < span => (room / change.abs(), Some((row, change > 0.0))),
            Some(_) | None => (span, None),
        }
    }

    fn update_inverse(&mut self, row: usize, image: &[f64]) {
        let n = self.rows;
        let scale = 1.0 / image[row];
        let mut pivot_row: Vec<(usize, f64)> = Vec::new();
        for (column, entry) in self.inverse[row * n..(row + 1) * n].iter_mut().enumerate() {
            *entry *= scale;
            if *entry != 0.0 {
                pivot_row.push((column, *entry));
            }
        }
        for (other, &factor) in image.iter().enumerate() {
            if other != row && factor != 0.0 {
                let inverse = &mut self.inverse[other * n..(other + 1) * n];
                for &(column, pivot) in &pivot_row {
                    inverse[column] -= factor * pivot;
                }
            }
        }
        self.since_refactor += 1;
        if self.since_refactor > 50 {
            self.refactor();
        }
    }

    /// Prices per dimension in units of 1/[`SCALE`], with the signs that the bounds allow.
    pub(crate) fn prices(&self) -> Vec<i64> {
        let duals = self.duals();
        let mut prices = vec![0; self.row_of.len()];
        for (dim, price) in prices.iter_mut().enumerate() {
            if let Some(row) = self.row_of[dim] {
                let exact = (-duals[row]).clamp(-PRICE_LIMIT, PRICE_LIMIT) / self.scale[row];
                let rounded = (exact * SCALE as f64).round() as i64;
                let (lower, upper) = limits(self.problem, dim, self.fixed);
                let least = if upper.is_some() { i64::MIN } else { 0 };
                let most = if lower.is_some() { i64::MAX } else { 0 };
                *price = rounded.clamp(least, most);
            }
        }
        prices[self.level] = SCALE;
        prices
    }

    /// Choices of the basis: position in the pool, weight.
    pub(crate) fn mix(&self) -> Vec<(usize, f64)> {
        let weighty = self.basis.iter().zip(&self.values).filter(|(_, value)| **value > 1e-9);
        weighty
            .filter_map(|(column, value)| {
                let (_, in_pool) = self.choices.iter().find(|(choice, _)| choice == column)?;
                Some((*in_pool, *value))
            })
            .collect()
    }

    /// The variable that is furthest from an integer.
    pub(crate) fn fractional(&self) -> Option<(usize, i64)> {
        let vars = self.first_var..self.first_var + self.problem.vars.len();
        self.basis
            .iter()
            .zip(&self.values)
            .filter(|(column, _)| vars.contains(column))
            .map(|(&column, &value)| (column - self.first_var, value, (value - value.round()).abs()))
            .filter(|(_, _, distance)| *distance > 1e-5)
            .max_by(|a, b| a.2.total_cmp(&b.2).then(b.0.cmp(&a.0)))
            .map(|(var, value, _)| (var, value.floor() as i64))
    }

    /// Which columns of the pool are in the basis.
    pub(crate) fn useful(&self, pool: usize) -> Vec<bool> {
        let mut useful = vec![false; pool];
        for &(choice, in_pool) in &self.choices {
            useful[in_pool] = self.basic[choice];
        }
        useful
    }

    pub(crate) fn work(&mut self) -> u64 {
        std::mem::take(&mut self.spent)
    }
}
