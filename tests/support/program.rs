//! A small integer program in plain numbers, handed to one of `good_lp`'s solvers.
//!
//! Every answer is rounded and checked against the rows in integers before it is believed.

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, constraint, variable};

/// Who solves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The solver in Rust that is always there.
    Microlp,
    /// `HiGHS`.
    #[cfg(feature = "highs")]
    Highs,
}

/// A sum of variables with factors.
pub type Terms = Vec<(usize, i64)>;

/// Integer variables from 0 to a bound, and rows `low <= terms <= high`.
#[derive(Debug, Clone, Default)]
pub struct Program {
    upper: Vec<i64>,
    rows: Vec<(Terms, i64, i64)>,
}

impl Program {
    /// A side without a limit.
    pub const OPEN: i64 = i64::MAX;

    /// Adds a variable from 0 to `upper`.
    pub fn variable(&mut self, upper: i64) -> usize {
        self.upper.push(upper);
        self.upper.len() - 1
    }

    /// Adds `terms <= high`.
    pub fn at_most(&mut self, terms: Terms, high: i64) {
        self.rows.push((terms, -Self::OPEN, high));
    }

    /// Adds `terms >= low`.
    pub fn at_least(&mut self, terms: Terms, low: i64) {
        self.rows.push((terms, low, Self::OPEN));
    }

    /// Adds `terms = value`.
    pub fn equal(&mut self, terms: Terms, value: i64) {
        self.rows.push((terms, value, value));
    }

    /// Variables and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.upper.len(), self.rows.len())
    }

    /// Finds the values that make `objective` largest.
    ///
    /// # Errors
    /// The solver gave up, or its answer breaks a row.
    pub fn maximise(&self, objective: &Terms, backend: Backend) -> Result<Vec<i64>, String> {
        let mut variables = ProblemVariables::new();
        let handles: Vec<good_lp::Variable> =
            self.upper.iter().map(|&upper| variables.add(variable().integer().min(0.0).max(upper as f64))).collect();
        let sum = |terms: &Terms| -> Expression { terms.iter().map(|&(v, factor)| factor as f64 * handles[v]).sum() };
        let unsolved = variables.maximise(sum(objective));
        let values = match backend {
            Backend::Microlp => self.run(unsolved.using(good_lp::microlp), &sum, &handles)?,
            #[cfg(feature = "highs")]
            Backend::Highs => {
                use good_lp::WithMipGap as _;
                let model = unsolved.using(good_lp::highs).with_mip_gap(0.0).map_err(|error| error.to_string())?;
                self.run(model.set_threads(1), &sum, &handles)?
            }
        };
        self.check(&values)?;
        Ok(values)
    }

    fn run<M: SolverModel>(
        &self,
        mut model: M,
        sum: &dyn Fn(&Terms) -> Expression,
        handles: &[good_lp::Variable],
    ) -> Result<Vec<i64>, String>
    where
        M::Error: std::fmt::Display,
    {
        for (terms, low, high) in &self.rows {
            if low == high {
                model.add_constraint(constraint!(sum(terms) == *low as f64));
                continue;
            }
            if *low != -Self::OPEN {
                model.add_constraint(constraint!(sum(terms) >= *low as f64));
            }
            if *high != Self::OPEN {
                model.add_constraint(constraint!(sum(terms) <= *high as f64));
            }
        }
        let solution = model.solve().map_err(|error| error.to_string())?;
        Ok(handles.iter().map(|&handle| solution.value(handle).round() as i64).collect())
    }

    fn check(&self, values: &[i64]) -> Result<(), String> {
        if values.iter().zip(&self.upper).any(|(value, upper)| value < &0 || value > upper) {
            return Err("the solver's answer breaks a bound".to_owned());
        }
        for (terms, low, high) in &self.rows {
            let sum = evaluate(terms, values);
            if sum < *low || sum > *high {
                return Err(format!("the solver's answer breaks a row: {low} <= {sum} <= {high}"));
            }
        }
        Ok(())
    }
}

/// The value of a sum.
pub fn evaluate(terms: &Terms, values: &[i64]) -> i64 {
    terms.iter().map(|&(variable, factor)| factor * values[variable]).sum()
}
