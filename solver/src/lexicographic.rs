//! Solves the levels one after the other, each with the earlier ones fixed at the value reached.

use crate::check::check;
use crate::diffuse;
use crate::improve::{Adjacency, Improve, Part};
use crate::master::{self, Pool, Relaxation};
use crate::problem::Problem;
use crate::program::FlowProgram;
use crate::round;
use crate::solution::Solution;
use crate::termination::Termination;

/// Whether all levels are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// On every level the value equals the bound.
    Optimal,
    /// A legal answer; some bound is not reached.
    Feasible,
}

/// What was reached and proven on one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelOutcome {
    /// Value of the answer.
    pub value: i64,
    /// No answer that is as good on the earlier levels exceeds this.
    pub bound: i64,
    /// Rounds of pricing that the bound took.
    pub rounds: u32,
}

/// An answer with its proof.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whether all levels are proven.
    pub status: Status,
    /// The answer.
    pub solution: Solution,
    /// Its totals per dimension.
    pub totals: Vec<i64>,
    /// One entry per level.
    pub levels: Vec<LevelOutcome>,
}

impl Outcome {
    /// Values of the levels.
    pub(crate) fn values(&self) -> Vec<i64> {
        self.levels.iter().map(|level| level.value).collect()
    }

    /// Takes over bounds from another outcome of the same problem, as far as its answer is not better on the levels before.
    pub(crate) fn strengthen(&mut self, other: &Self) {
        for (level, known) in self.levels.iter_mut().zip(&other.levels) {
            level.bound = level.bound.min(known.bound).max(level.value);
            if level.value < known.value {
                break;
            }
        }
        let proven = self.levels.iter().all(|level| level.value == level.bound);
        self.status = if proven { Status::Optimal } else { Status::Feasible };
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// The rows contradict each other, or no legal answer was found within the limits.
    #[error("no legal answer was found: the rows contradict each other or the work limit is too low")]
    NoAnswer,
}

/// Flow programs of up to this many columns are solved whole when rounding does not reach the bound.
#[cfg(not(feature = "highs"))]
const WHOLE: usize = 6_000;
/// With HiGHS larger programs are worth trying.
#[cfg(feature = "highs")]
const WHOLE: usize = 30_000;

/// Solves a problem as one; `start` is asked for legal answers to begin with where the first look does not settle everything.
///
/// Each level's bound is taken for its value until shown otherwise: prices of later levels leave fewer choices, so that an answer
/// which reaches several levels at once is often easier to find than one that reaches the first alone. What turns out not to be
/// reached is searched in earnest, and the levels after it are done again.
///
/// # Errors
/// No legal answer was found, or a search that should be quick did not reach every bound.
pub(crate) fn solve_whole(
    problem: &Problem,
    start: &mut dyn FnMut() -> Vec<Solution>,
    termination: &mut dyn Termination,
    effort: Effort,
) -> Result<Outcome, SolveError> {
    solve_from(problem, &[], start, termination, effort)
}

/// How hard to search for what was not reached at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Not at all: there is no answer then.
    Quick,
    /// By so many attempts, each larger than the one before.
    Attempts(usize),
}

impl Effort {
    /// Every attempt that there is.
    pub(crate) const FULL: Self = Self::Attempts(ATTEMPTS.len());
}

/// Solves a problem whose first levels are known to reach the `given` values and no more.
///
/// # Errors
/// As for [`solve_whole`].
pub(crate) fn solve_from(
    problem: &Problem,
    given: &[i64],
    start: &mut dyn FnMut() -> Vec<Solution>,
    termination: &mut dyn Termination,
    effort: Effort,
) -> Result<Outcome, SolveError> {
    let mut search = Search {
        problem,
        relaxations: vec![None; problem.levels()],
        best: None,
        fixed: given.to_vec(),
        attempts: match effort {
            Effort::Quick => 0,
            Effort::Attempts(attempts) => attempts,
        },
        pool: Pool::default(),
        adjacency: None,
    };
    search.offer(Solution { active: Vec::new(), vars: vec![0; problem.vars.len()] });
    let mut levels: Vec<LevelOutcome> =
        given.iter().map(|&value| LevelOutcome { value, bound: value, rounds: 0 }).collect();
    let mut started = false;
    loop {
        while levels.len() < problem.levels() {
            let outcome = search.glance(levels.len(), termination);
            search.fixed.push(outcome.value);
            levels.push(outcome);
        }
        search.diffuse(termination);
        if effort == Effort::Quick && search.first_missed().is_some() {
            return Err(SolveError::NoAnswer);
        }
        if search.first_missed().is_some() && !std::mem::replace(&mut started, true) {
            for answer in start() {
                search.offer(answer);
            }
        }
        let Some(missed) = search.first_missed() else {
            let Some((level, value)) = search.first_surpassed() else { break };
            search.fixed.truncate(level);
            search.fixed.push(value);
            search.relaxations[level + 1..].fill(None);
            levels.truncate(level + 1);
            levels[level].value = value;
            levels[level].bound = levels[level].bound.max(value);
            continue;
        };
        search.fixed.truncate(missed);
        let glanced = levels[missed].bound;
        levels.truncate(missed);
        let outcome = search.insist(missed, glanced, termination).ok_or(SolveError::NoAnswer)?;
        search.relaxations[missed..].fill(None);
        search.fixed.push(outcome.value);
        levels.push(outcome);
    }
    let Some((solution, totals)) = search.best else { return Err(SolveError::NoAnswer) };
    let proven = levels.iter().all(|level| level.value == level.bound);
    Ok(Outcome { status: if proven { Status::Optimal } else { Status::Feasible }, solution, totals, levels })
}

struct Search<'a> {
    problem: &'a Problem,
    /// Relaxations of the levels that were glanced at.
    relaxations: Vec<Option<Relaxation>>,
    best: Option<(Solution, Vec<i64>)>,
    /// Values of the earlier levels, some perhaps not reached yet.
    fixed: Vec<i64>,
    /// Attempts at a level whose bound was not reached.
    attempts: usize,
    pool: Pool,
    /// What touches what, worked out when it is first needed.
    adjacency: Option<Adjacency>,
}

impl Search<'_> {
    /// Takes a legal answer if it is better; says whether it was.
    fn offer(&mut self, candidate: Solution) -> bool {
        if check(self.problem, &candidate).is_err() {
            return false;
        }
        let totals = candidate.totals(self.problem);
        let levels = self.problem.levels();
        let better = self.best.as_ref().is_none_or(|(_, best)| totals[..levels] > best[..levels]);
        if better {
            self.best = Some((candidate, totals));
        }
        better
    }

    /// The first level on which the best answer does not reach what is fixed.
    fn first_missed(&self) -> Option<usize> {
        let reached = |level: usize| self.best.as_ref().is_some_and(|(_, totals)| totals[level] >= self.fixed[level]);
        (0..self.fixed.len()).find(|&level| !reached(level))
    }

    /// The first level on which the best answer does better than what is fixed, and its value there: where an earlier search was cut off, one for
    /// a later level may come upon it.
    fn first_surpassed(&self) -> Option<(usize, i64)> {
        let (_, totals) = self.best.as_ref()?;
        totals.iter().zip(&self.fixed).position(|(total, fixed)| total > fixed).map(|level| (level, totals[level]))
    }

    /// Value of the best answer on a level, if it reaches what is fixed on the earlier ones.
    fn value(&self, level: usize) -> Option<i64> {
        let (_, totals) = self.best.as_ref()?;
        totals.iter().zip(&self.fixed[..level]).all(|(total, fixed)| total >= fixed).then_some(totals[level])
    }

    /// All variables within their own bounds.
    fn whole(&self) -> Vec<(i64, i64)> {
        self.problem.vars.iter().map(|var| (0, var.upper)).collect()
    }

    /// Bounds a level, tries to reach the bound, and supposes that it can be reached.
    fn glance(&mut self, level: usize, termination: &mut dyn Termination) -> LevelOutcome {
        // Without work left a large problem is not looked at: whatever is known by then has to do.
        if termination.spend(0) && self.problem.classes.len() * self.problem.dims() > LARGE {
            return LevelOutcome { value: UNBOUNDED, bound: UNBOUNDED, rounds: 0 };
        }
        let bounds = self.whole();
        let target = self.value(level).unwrap_or(i64::MIN);
        let relaxation = master::relax(self.problem, level, &self.fixed, &bounds, target, &mut self.pool, termination);
        if target < relaxation.bound
            && self.problem.classes.len() <= FEW_CLASSES
            && let Some(candidate) =
                round::reach(self.problem, level, &self.fixed, &bounds, &relaxation, round::Effort::Low, termination)
        {
            self.offer(candidate);
        }
        let bound = relaxation.bound.max(self.value(level).unwrap_or(i64::MIN));
        let rounds = relaxation.rounds;
        self.relaxations[level] = Some(relaxation);
        LevelOutcome { value: bound, bound, rounds }
    }

    /// Tries to reach all levels at once from the relaxation of the last one; failing that, as many as possible.
    fn diffuse(&mut self, termination: &mut dyn Termination) {
        let bounds = self.whole();
        for level in (0..self.fixed.len()).rev() {
            if self.first_missed().is_none_or(|missed| missed > level) {
                return;
            }
            let Some(relaxation) = &self.relaxations[level] else { continue };
            let fixed = &self.fixed[..level];
            let book = &mut self.pool.book;
            let least = relaxation.bound;
            let found = diffuse::reach(self.problem, level, fixed, &bounds, relaxation, least, book, termination);
            if let Some(candidate) = found {
                self.offer(candidate);
            }
        }
    }

    /// Searches a level whose `bound` was not reached; the earlier ones are.
    ///
    /// Exchanges that begin at the relaxation's mix come first, then parts of the answer are solved anew, then the level is branched on;
    /// each round of this goes further than the one before.
    fn insist(&mut self, level: usize, mut bound: i64, termination: &mut dyn Termination) -> Option<LevelOutcome> {
        let mut rounds = 0;
        for (attempt, &(branches, nodes)) in ATTEMPTS.iter().take(self.attempts).enumerate() {
            if termination.spend(0) && self.value(level).is_some() {
                break;
            }
            self.improve(level, attempt, termination);
            if self.value(level).is_some_and(|value| value >= bound) {
                break;
            }
            let (branched, more) = self.branch(level, branches, termination);
            bound = bound.min(branched);
            rounds += more;
            if self.value(level).is_some_and(|value| value >= bound) {
                break;
            }
            bound = bound.min(self.whole_program(level, nodes, termination).unwrap_or(bound));
            if self.value(level).is_some_and(|value| value >= bound) {
                break;
            }
        }
        let value = self.value(level)?;
        Some(LevelOutcome { value, bound: bound.max(value), rounds })
    }

    /// Improves the answer on a level, part by part, until no part of the attempt's size does.
    fn improve(&mut self, level: usize, attempt: usize, termination: &mut dyn Termination) {
        let problem = self.problem;
        let bounds = self.whole();
        let Some(relaxation) = self.relaxations[level].take() else { return };
        if attempt == 0 {
            let least = self.value(level).map_or(i64::MIN / 4, |value| value + 1);
            let book = &mut self.pool.book;
            let fixed = &self.fixed;
            if let Some(found) = diffuse::reach(problem, level, fixed, &bounds, &relaxation, least, book, termination) {
                self.offer(found);
            }
        }
        let adjacency = self.adjacency.take().unwrap_or_else(|| Adjacency::new(problem));
        let groups = problem.groups.len();
        let (size, paths, nodes) = PARTS[attempt.min(PARTS.len() - 1)];
        if problem.classes.len() * paths <= WHOLE_PATHS
            && size < groups
            && let Some((answer, totals)) = self.best.clone().filter(|_| self.value(level).is_some())
        {
            let improve =
                Improve { problem, level, fixed: &self.fixed, relaxation: &relaxation, far: FAR, paths, nodes };
            let found = improve.part(&answer, &totals, &Part::whole(problem), &self.pool.book, termination);
            if let Some(found) = found {
                self.offer(found);
            }
        }
        let mut quiet = 0;
        let mut turn = 0;
        while quiet < groups * TURNS {
            let reached = self.value(level);
            if reached.is_some_and(|value| value >= relaxation.bound) || termination.spend(0) {
                break;
            }
            let Some((answer, totals)) = self.best.clone().filter(|_| reached.is_some()) else { break };
            let part =
                if size >= groups { Part::whole(problem) } else { adjacency.part(turn % groups, size, turn / groups) };
            let improve =
                Improve { problem, level, fixed: &self.fixed, relaxation: &relaxation, far: FAR, paths, nodes };
            let found = improve.part(&answer, &totals, &part, &self.pool.book, termination);
            let better = found.is_some_and(|found| self.offer(found));
            quiet = if better { 0 } else { quiet + 1 };
            if size >= groups && !better {
                break;
            }
            turn += 1;
        }
        self.adjacency = Some(adjacency);
        self.relaxations[level] = Some(relaxation);
    }

    /// Solves a level as one program; returns the value if it is proven to be the best.
    fn whole_program(&mut self, level: usize, nodes: u64, termination: &mut dyn Termination) -> Option<i64> {
        let whole = FlowProgram::new(self.problem, level, &self.fixed);
        if whole.size() > WHOLE {
            return None;
        }
        let (candidate, proven) = whole.solve(self.problem, nodes, termination)?;
        let value = candidate.totals(self.problem)[level];
        self.offer(candidate);
        (proven && self.value(level) == Some(value)).then_some(value)
    }

    /// Tries to reach the bound of a relaxation, by diffusion first.
    fn round(
        &mut self,
        level: usize,
        bound: i64,
        bounds: &[(i64, i64)],
        relaxation: &Relaxation,
        termination: &mut dyn Termination,
    ) {
        let least = self.value(level).map_or(bound, |value| (value + 1).min(bound));
        let (fixed, book) = (&self.fixed, &mut self.pool.book);
        if let Some(found) = diffuse::reach(self.problem, level, fixed, bounds, relaxation, least, book, termination) {
            self.offer(found);
        }
        if self.problem.classes.len() <= FEW_CLASSES
            && self.value(level).is_none_or(|value| value < bound)
            && let Some(candidate) =
                round::reach(self.problem, level, &self.fixed, bounds, relaxation, round::Effort::High, termination)
        {
            self.offer(candidate);
        }
    }

    /// Relaxes and rounds; while a gap is left and some variable is torn between two integers, looks at both sides.
    /// Returns the bound that is left, and the rounds of pricing.
    fn branch(&mut self, level: usize, branches: usize, termination: &mut dyn Termination) -> (i64, u32) {
        // Branches by the bound of their parent; the best one is last.
        let mut open = vec![(i64::MAX, self.whole())];
        let mut left = i64::MIN;
        let mut rounds = 0;
        for _ in 0..branches {
            let Some((parent, bounds)) = open.pop() else { break };
            let target = self.value(level).unwrap_or(i64::MIN);
            if parent <= target {
                continue;
            }
            if rounds > 0 && termination.spend(0) {
                left = left.max(parent);
                break;
            }
            let relaxation =
                master::relax(self.problem, level, &self.fixed, &bounds, target, &mut self.pool, termination);
            rounds += relaxation.rounds;
            let bound = relaxation.bound.min(parent);
            if bound <= target {
                continue;
            }
            self.round(level, bound, &bounds, &relaxation, termination);
            if self.value(level).is_some_and(|value| value >= bound) {
                continue;
            }
            let Some((var, lower)) = relaxation.fractional else {
                left = left.max(bound);
                continue;
            };
            for side in [(bounds[var].0, lower), (lower + 1, bounds[var].1)] {
                let mut narrower = bounds.clone();
                narrower[var] = side;
                open.push((bound, narrower));
            }
            open.sort_by_key(|(bound, _)| *bound);
        }
        let reached = self.value(level).unwrap_or(i64::MIN);
        let open = open.iter().map(|(bound, _)| *bound).filter(|bound| *bound > reached).max().unwrap_or(i64::MIN);
        (left.max(open).max(reached), rounds)
    }
}

/// Classes times dimensions from which a problem is large.
const LARGE: usize = 100_000;

/// Stands for a bound that is not known.
const UNBOUNDED: i64 = i64::MAX / 8;

/// Looking at all choices of all machines takes too long where there are more classes.
const FEW_CLASSES: usize = 150;

/// Parts that are tried per group without any success before the sweep ends.
const TURNS: usize = 2;

/// Most paths of a program over all classes.
const WHOLE_PATHS: usize = 2_400;

/// How far below the bound paths are looked at when a part is solved anew.
const FAR: i64 = 3;

/// Groups of a part, most paths per class, and search nodes, in successive attempts.
const PARTS: [(usize, usize, u64); 3] = [(2, 16, 300), (3, 24, 600), (4, 32, 1_500)];

/// Most branches, and most search nodes of the whole program, in successive attempts at one level.
const ATTEMPTS: [(usize, u64); 3] = [(6, 40), (60, 400), (400, 20_000)];
