//! The fewest identical machines that offer at least a demanded multiset of parts.
//!
//! Input: the [`Patterns`] of one machine, that is the multisets of parts that it can hold at once, and a demand per part
//! type. Output: the number of machines, a proven lower bound, and how often each pattern is used.
//!
//! The linear relaxation over patterns has few dual vertices, so its value is the maximum of few linear functions, the
//! [`ClosedForm`]: an answer in some tens of nanoseconds, whatever the counts. Rounded up it is always a lower bound; for the
//! machines of this project it is the exact minimum (the *integer round-up property*), which [`ClosedForm::gap`] checks
//! completely for given patterns. Whether the property holds or not, an answer is never taken on trust: patterns that reach
//! the bound are exhibited, and where none are found an integer program decides.
//!
//! This module knows nothing of what parts and machines are, and uses no floating point outside the integer program.

mod facets;
mod program;
#[cfg(test)]
mod tests;

/// Most part types that are handled.
pub const MAX_TYPES: usize = 64;

/// Why no minimum is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MinimumError {
    /// A pattern or a demand has the wrong length.
    #[error("a vector of {found} counts where there are {expected} part types")]
    Length {
        /// Part types.
        expected: usize,
        /// Counts given.
        found: usize,
    },
    /// A part type is in no pattern, so that no number of machines offers it.
    #[error("no pattern holds part type {0}")]
    NoPattern(usize),
    /// There are more part types than [`MAX_TYPES`], or a count of a pattern is out of range.
    #[error("{0}")]
    Shape(String),
    /// The number of machines does not fit 64 bits.
    #[error("the demand needs 2^63 parts or more")]
    TooLarge,
    /// The integer program ended without an answer.
    #[error("the integer program failed: {0}")]
    Program(String),
}

/// What one machine can hold: the multisets of parts that are not contained in another, in canonical order.
///
/// Invariants: every part type is in some pattern; no pattern is contained in another; counts are below 2^16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    types: usize,
    patterns: Vec<Vec<u64>>,
}

impl Patterns {
    /// Keeps the Pareto-maximal ones of the given multisets (a machine that can hold a multiset can hold any part of it).
    ///
    /// # Errors
    /// Vectors of different lengths, a part type that no pattern holds, numbers out of range.
    pub fn try_new(types: usize, patterns: impl IntoIterator<Item = Vec<u64>>) -> Result<Self, MinimumError> {
        let mut patterns: Vec<Vec<u64>> = patterns.into_iter().collect();
        if let Some(pattern) = patterns.iter().find(|pattern| pattern.len() != types) {
            return Err(MinimumError::Length { expected: types, found: pattern.len() });
        }
        if types > MAX_TYPES || patterns.iter().flatten().any(|&count| count >= 1 << 16) {
            return Err(MinimumError::Shape(format!("more than {MAX_TYPES} part types, or a count of 2^16 and more")));
        }
        if let Some(missing) = (0..types).find(|&kind| patterns.iter().all(|pattern| pattern[kind] == 0)) {
            return Err(MinimumError::NoPattern(missing));
        }
        patterns.sort_unstable_by(|a, b| b.cmp(a));
        patterns.dedup();
        let dominated = |pattern: &Vec<u64>| patterns.iter().any(|other| other != pattern && covers(other, pattern));
        let maximal = patterns.iter().filter(|pattern| !dominated(pattern)).cloned().collect();
        Ok(Self { types, patterns: maximal })
    }

    /// Number of part types.
    pub fn types(&self) -> usize {
        self.types
    }

    /// Whether a part of either type can always stand where one of the other stands.
    fn interchangeable(&self, first: usize, second: usize) -> bool {
        let replaces = |old: usize, new: usize| {
            self.patterns.iter().filter(|pattern| pattern[old] > 0).all(|pattern| {
                let mut replaced = pattern.clone();
                replaced[old] -= 1;
                replaced[new] += 1;
                self.patterns.iter().any(|other| covers(other, &replaced))
            })
        };
        replaces(first, second) && replaces(second, first)
    }

    /// The patterns, from the lexicographically largest.
    pub fn as_slice(&self) -> &[Vec<u64>] {
        &self.patterns
    }
}

/// A valid inequality: no machine holds parts of more than `divisor` weight together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Facet {
    /// Weight of each part type.
    pub weights: Vec<u32>,
    /// Weight that one machine can hold.
    pub divisor: u32,
}

impl Facet {
    /// `⌈weights·demand / divisor⌉`.
    fn machines(&self, demand: &[u64]) -> u128 {
        // 64 types of weight below 2^32 and count below 2^64: the sum stays below 2^102.
        let weight: u128 =
            self.weights.iter().zip(demand).map(|(&weight, &count)| u128::from(weight) * u128::from(count)).sum();
        weight.div_ceil(u128::from(self.divisor))
    }
}

/// The value of the linear relaxation over patterns, rounded up, as the maximum of few ceilings.
///
/// A part type whose weight equals the divisor in every facet fills a machine by itself: it adds its count to the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedForm {
    facets: Vec<Facet>,
}

impl ClosedForm {
    /// Derives the formula from the patterns; `None` when that takes too much work.
    pub fn derive(patterns: &Patterns) -> Option<Self> {
        facets::derive(patterns.types, &patterns.patterns).map(|facets| Self { facets })
    }

    /// The facets, in canonical order.
    pub fn facets(&self) -> &[Facet] {
        &self.facets
    }

    /// A lower bound on the number of machines, the rounded-up value of the linear relaxation; `None` beyond 64 bits.
    pub fn machines(&self, demand: &[u64]) -> Option<u64> {
        let most = self.facets.iter().map(|facet| facet.machines(demand)).max().unwrap_or(0);
        u64::try_from(most).ok()
    }

    /// Searches a demand that needs more machines than the formula says; `None` is a proof that it is always exact.
    ///
    /// The demands that the formula gives at most k machines are the lattice points of k·P, where P is the polytope of the
    /// facets; its vertices are multisets that a machine can hold. Take a demand of n part types in k·P with k ≥ n. In a triangulation of
    /// P whose simplices hold no lattice points but their corners it is Σ λᵢvᵢ with Σ λᵢ = k. Some λᵢ is at least 1, and
    /// then one machine with the pattern vᵢ leaves a demand in (k−1)·P; otherwise k = n, and Σ (1−λᵢ)vᵢ would be a lattice
    /// point inside a simplex. So only demands of fewer than n machines need looking at: each must have a pattern that
    /// leaves one machine less. Part types that fill a machine alone (weight = divisor everywhere) split off and are left out, and of
    /// interchangeable types one stands for all.
    pub fn gap(&self, patterns: &Patterns) -> Option<Vec<u64>> {
        let alone = |kind: usize| self.facets.iter().all(|facet| facet.weights[kind] == facet.divisor);
        let again = |kind: usize| (0..kind).any(|earlier| patterns.interchangeable(earlier, kind));
        let kinds: Vec<usize> = (0..patterns.types).filter(|&kind| !alone(kind) && !again(kind)).collect();
        let most = kinds.len().saturating_sub(1).max(1) as u64;
        let mut demand = vec![0; patterns.types];
        self.gap_from(patterns, &kinds, most, &mut demand).then_some(demand)
    }

    /// Walks all demands of the given types with at most `most` machines; leaves the first gap in `demand`.
    fn gap_from(&self, patterns: &Patterns, kinds: &[usize], most: u64, demand: &mut [u64]) -> bool {
        let Some((&kind, rest)) = kinds.split_first() else {
            return !self.splits(patterns, demand);
        };
        while self.machines(demand).is_some_and(|machines| machines <= most) {
            if self.gap_from(patterns, rest, most, demand) {
                return true;
            }
            demand[kind] += 1;
        }
        demand[kind] = 0;
        false
    }

    /// Whether one machine of some pattern leaves a demand for one machine less.
    fn splits(&self, patterns: &Patterns, demand: &[u64]) -> bool {
        let machines = self.machines(demand);
        machines == Some(0)
            || patterns.patterns.iter().any(|pattern| {
                let left = less(demand, pattern, 1);
                self.machines(&left).map(|left| left + 1) == machines
            })
    }

    /// Uses each pattern as often as the formula says that no machine is wasted, in order; what no pattern takes is left
    /// in `demand`.
    ///
    /// How many copies of a pattern waste nothing is found by bisection, because taking one more never makes up for a
    /// machine wasted before. For the same reason a pattern that is exhausted stays so: one pass is enough, and where
    /// the formula is exact it leaves nothing.
    fn peel(&self, patterns: &Patterns, demand: &mut Vec<u64>) -> Option<Vec<u64>> {
        let mut machines = self.machines(demand)?;
        let mut counts = Vec::with_capacity(patterns.patterns.len());
        for pattern in &patterns.patterns {
            let (mut wasteless, mut wasteful) = (0, machines + 1);
            while wasteful - wasteless > 1 {
                let middle = wasteless + (wasteful - wasteless) / 2;
                if self.machines(&less(demand, pattern, middle))? + middle == machines {
                    wasteless = middle;
                } else {
                    wasteful = middle;
                }
            }
            *demand = less(demand, pattern, wasteless);
            machines -= wasteless;
            counts.push(wasteless);
        }
        Some(counts)
    }
}

/// How a minimum was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The formula, and patterns that reach it.
    ClosedForm,
    /// An integer program over the patterns.
    Program,
}

/// Fewest machines, and the patterns that offer the demand on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimum {
    /// Number of machines, the sum of `counts`.
    pub machines: u64,
    /// Proven lower bound; the number is the exact minimum when they are equal.
    pub bound: u64,
    /// Machines per pattern, in the order of [`Patterns::as_slice`].
    pub counts: Vec<u64>,
    /// How the answer was found.
    pub method: Method,
}

/// Patterns with their closed form, ready for any number of questions.
#[derive(Debug, Clone)]
pub struct Machine {
    patterns: Patterns,
    closed_form: Option<ClosedForm>,
}

impl Machine {
    /// Derives the closed form of the patterns, where that is possible.
    pub fn new(patterns: Patterns) -> Self {
        let closed_form = ClosedForm::derive(&patterns);
        Self { patterns, closed_form }
    }

    /// Patterns of one machine.
    pub fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// Closed form of the linear relaxation, where it could be derived.
    pub fn closed_form(&self) -> Option<&ClosedForm> {
        self.closed_form.as_ref()
    }

    /// The fewest machines for a demand, with patterns that realise it.
    ///
    /// # Errors
    /// A demand of the wrong length or beyond the range, a failure of the integer program.
    pub fn minimum(&self, demand: &[u64]) -> Result<Minimum, MinimumError> {
        if demand.len() != self.patterns.types {
            return Err(MinimumError::Length { expected: self.patterns.types, found: demand.len() });
        }
        // One machine per part is always enough, so that no number of machines below overflows.
        let parts = demand.iter().try_fold(0_u64, |sum, &count| sum.checked_add(count));
        parts.filter(|&parts| parts < 1 << 63).ok_or(MinimumError::TooLarge)?;
        let Some(closed_form) = &self.closed_form else {
            let bound = program::dual_bound(&self.patterns, demand)?;
            return program::solve(&self.patterns, demand, bound);
        };
        let bound = closed_form.machines(demand).ok_or(MinimumError::TooLarge)?;
        let mut left = demand.to_vec();
        let counts = closed_form.peel(&self.patterns, &mut left).ok_or(MinimumError::TooLarge)?;
        if left.iter().all(|&count| count == 0) {
            let machines = counts.iter().sum();
            return Ok(Minimum { machines, bound, counts, method: Method::ClosedForm });
        }
        program::solve(&self.patterns, demand, bound)
    }
}

/// Whether each count of `more` is at least that of `fewer`.
fn covers(more: &[u64], fewer: &[u64]) -> bool {
    more.iter().zip(fewer).all(|(more, fewer)| more >= fewer)
}

/// What is left of a demand after `copies` machines of a pattern.
fn less(demand: &[u64], pattern: &[u64], copies: u64) -> Vec<u64> {
    let offered = |count: &u64| count.saturating_mul(copies);
    demand.iter().zip(pattern).map(|(&need, count)| need.saturating_sub(offered(count))).collect()
}
