//! Solves blocks that only a few rows link: prices on the links, whole answers of blocks as columns, an integer program that picks one of each.
//!
//! The bound of a level is that of the relaxation in which each block is as good as any *integer* answer of its own, at prices on the links
//! and on the earlier levels: it is taken from the blocks' proven bounds at prices rounded to fractions of small denominators, and so is
//! exact however the prices were found. Where a level's bound is reached without any rest, answers that are as good consist
//! of answers of blocks that are best at these prices, and later levels look at no others.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::check;
use crate::components::{Part, each};
use crate::lexicographic::{Effort, LevelOutcome, Outcome, Status, solve_from};
use crate::price::SCALE;
use crate::problem::{Dim, Problem};
use crate::simplex::Master;
use crate::solution::Solution;
use crate::termination::{Termination, WorkLimit};

/// A block with the answers of it that are known.
struct Block<'a> {
    part: &'a Part,
    /// Dimension of each link in the block's problem, if it touches the block.
    links: Vec<Option<Dim>>,
    columns: Vec<Column>,
    known: BTreeSet<Vec<i64>>,
    /// What the block's best answers reach under each of the strict objectives.
    strict: Vec<i64>,
}

/// An answer of a block.
#[derive(Clone)]
struct Column {
    /// What it contributes to the levels, then to the links.
    totals: Vec<i64>,
    solution: Solution,
}

/// A weighted sum of levels and links, as one level of a block's problem.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Objective {
    /// Weights of the levels, then of the links.
    weights: Vec<i64>,
}

impl Objective {
    fn of(&self, totals: &[i64]) -> i64 {
        self.weights.iter().zip(totals).map(|(weight, total)| weight * total).sum()
    }
}

/// What a block answered at some prices.
struct Answered {
    bound: i64,
    column: Option<Column>,
}

/// A bound with the prices that give it.
struct Tight {
    objective: Objective,
    /// What each block is worth at most.
    values: Vec<i64>,
    /// All of it, less what the rows are priced at.
    all: i64,
}

/// What the linear program over the known columns says.
struct Relaxed {
    value: f64,
    feasible: bool,
    /// Its prices.
    objective: Objective,
    mix: Vec<Mix>,
}

/// The columns of a block that the linear program mixes, with their weights.
type Mix = Vec<(usize, f64)>;

/// A row that a choice of columns must keep.
struct PickRow {
    dim: usize,
    lower: Option<i64>,
    upper: Option<i64>,
}

/// What a block can be made to do, cheapest first.
struct Stage {
    block: usize,
    choices: Vec<PickChoice>,
    /// What the linear program lets it contribute to each row.
    average: Vec<f64>,
}

impl Stage {
    fn widest(&self) -> usize {
        self.choices.len()
    }
}

struct PickChoice {
    column: usize,
    cost: i64,
    sums: Vec<i64>,
}

/// Columns of the first blocks.
struct Partial {
    cost: i64,
    sums: Vec<i64>,
    picked: Vec<usize>,
}

/// Solves a problem block by block; `links` are the dimensions of the rows between them, `blocks` contain these rows without bounds.
pub(crate) fn solve(
    problem: &Problem,
    blocks: &[Part],
    links: &[usize],
    starts: &[Solution],
    termination: &mut dyn Termination,
) -> Option<Outcome> {
    let mut linked = Linked::new(problem, blocks, links);
    linked.begin(starts)?;
    if std::env::var("RELAX").is_ok() {
        let t0 = std::time::Instant::now();
        let mut pool = crate::master::Pool::default();
        let bounds: Vec<(i64, i64)> = problem.vars.iter().map(|var| (0, var.upper)).collect();
        let mut limit = WorkLimit::new(termination.left());
        let relaxed = crate::master::relax(problem, 0, &[], &bounds, i64::MIN, &mut pool, &mut limit);
        eprintln!("relaxed: {} rounds {} {:?} units {} prices {:?}", relaxed.bound, relaxed.rounds, t0.elapsed(), termination.left() - limit.left(), links.iter().map(|&l| relaxed.prices[l] as f64 / SCALE as f64).collect::<Vec<_>>());
    }
    let mut bounds = Vec::new();
    let mut rounds = Vec::new();
    for level in 0..problem.levels() {
        let (bound, took) = linked.level(level, termination);
        bounds.push(bound);
        rounds.push(took);
        if level == 0 {
            linked.polish(termination);
        }
        linked.fixed.push(linked.totals[level]);
    }
    linked.polish(termination);
    let solution = linked.join(&linked.picked);
    check(problem, &solution).ok()?;
    let totals = solution.totals(problem);
    let levels: Vec<LevelOutcome> = (0..problem.levels())
        .map(|level| LevelOutcome {
            value: totals[level],
            bound: bounds[level].max(totals[level]),
            rounds: rounds[level],
        })
        .collect();
    let proven = levels.iter().all(|level| level.value == level.bound);
    let status = if proven { Status::Optimal } else { Status::Feasible };
    Some(Outcome { status, solution, totals, levels })
}

struct Linked<'a> {
    problem: &'a Problem,
    blocks: Vec<Block<'a>>,
    links: &'a [usize],
    levels: usize,
    /// Objectives that every block must reach the best of, and the value of all blocks together less what the rows are priced at.
    strict: Vec<Objective>,
    /// Values that the earlier levels must keep.
    fixed: Vec<i64>,
    /// Whether a strict objective holds an earlier level where it is.
    held: Vec<bool>,
    /// The answer as it stands: a column of each block, and their sum.
    picked: Vec<usize>,
    totals: Vec<i64>,
}

impl<'a> Linked<'a> {
    fn new(problem: &'a Problem, parts: &'a [Part], links: &'a [usize]) -> Self {
        let blocks = parts
            .iter()
            .map(|part| Block {
                part,
                links: links.iter().map(|dim| part.dims.get(dim).copied()).collect(),
                columns: Vec::new(),
                known: BTreeSet::new(),
                strict: Vec::new(),
            })
            .collect();
        Self {
            problem,
            blocks,
            links,
            levels: problem.levels(),
            strict: Vec::new(),
            fixed: Vec::new(),
            held: Vec::new(),
            picked: Vec::new(),
            totals: Vec::new(),
        }
    }

    /// Bounds of a link.
    fn limits(&self, link: usize) -> (Option<i64>, Option<i64>) {
        let row = self.problem.bounds(self.links[link]);
        (row.lower, row.upper)
    }

    /// Enters an answer of a block; says which column it is.
    fn enter(&mut self, block: usize, column: Column) -> (usize, bool) {
        let of = &mut self.blocks[block];
        if of.known.insert(column.totals.clone()) {
            of.columns.push(column);
            return (of.columns.len() - 1, true);
        }
        let known = of.columns.iter().position(|known| known.totals == column.totals);
        (known.unwrap_or_default(), false)
    }

    /// Takes the best of the starts, or everything idle where that is legal.
    fn begin(&mut self, starts: &[Solution]) -> Option<()> {
        let idle = Solution { active: Vec::new(), vars: vec![0; self.problem.vars.len()] };
        let mut best: Option<(Vec<i64>, Vec<usize>)> = None;
        for answer in std::iter::once(&idle).chain(starts) {
            let legal = check(self.problem, answer).is_ok();
            let mut picked = Vec::with_capacity(self.blocks.len());
            for block in 0..self.blocks.len() {
                let solution = self.blocks[block].part.restrict(answer);
                if check(&self.blocks[block].part.problem, &solution).is_err() {
                    break;
                }
                let column = column(&self.blocks[block], self.levels, solution);
                picked.push(self.enter(block, column).0);
            }
            if !legal || picked.len() < self.blocks.len() {
                continue;
            }
            let totals = self.sum(&picked);
            if best.as_ref().is_none_or(|(known, _)| totals[..self.levels] > known[..self.levels]) {
                best = Some((totals, picked));
            }
        }
        (self.totals, self.picked) = best?;
        Some(())
    }

    fn sum(&self, picked: &[usize]) -> Vec<i64> {
        let mut totals = vec![0; self.levels + self.links.len()];
        for (block, &column) in self.blocks.iter().zip(picked) {
            for (sum, amount) in totals.iter_mut().zip(&block.columns[column].totals) {
                *sum += amount;
            }
        }
        totals
    }

    /// Joins a column of each block to one answer.
    fn join(&self, picked: &[usize]) -> Solution {
        let mut solution = Solution { active: Vec::new(), vars: vec![0; self.problem.vars.len()] };
        for (block, &column) in self.blocks.iter().zip(picked) {
            block.part.lift_into(&block.columns[column].solution, &mut solution);
        }
        solution.active.sort_by_key(|active| active.group);
        solution
    }

    /// Bounds a level and looks for an answer that reaches the bound; returns it, and the rounds that it took.
    fn level(&mut self, level: usize, termination: &mut dyn Termination) -> (i64, u32) {
        let mut bound = UNBOUNDED;
        let mut tight: Option<Tight> = None;
        let mut rounds = 0;
        let mut attempts = 0;
        let mut stalled = false;
        let mut tried = BTreeSet::new();
        while rounds < ROUNDS && !termination.spend(0) && bound > self.totals[level] {
            rounds += 1;
            let t0 = std::time::Instant::now();
            let Relaxed { value, objective: exact, mix, .. } = self.prices(level, &[], termination);
            let mut new = false;
            let effort = Effort::Attempts(attempts);
            let centre = tight.as_ref().map(|tight| &tight.objective);
            let between = (!stalled).then(|| self.between(level, centre, &exact));
            let objective =
                between.into_iter().chain([exact]).find(|it| tried.insert((attempts, it.weights.clone())));
            let exhausted = objective.is_none();
            if let Some(objective) = objective {
                let answered = self.ask(&objective, effort, termination);
                let values: Vec<i64> = answered.iter().map(|it| it.bound).collect();
                for (block, it) in answered.into_iter().enumerate() {
                    if let Some(column) = it.column {
                        new |= self.enter(block, column).1;
                    }
                }
                if values.iter().all(|&value| value < UNBOUNDED) {
                    let all = values.iter().sum::<i64>() - self.constant(&objective);
                    let here = all.div_euclid(objective.weights[level]);
                    if here < bound || tight.is_none() {
                        bound = bound.min(here);
                        tight = Some(Tight { objective, values, all });
                    }
                }
            }
            if std::env::var("RELAX").is_ok() && level == 0 {
                eprintln!("  {:?}", tight.as_ref().map(|t| t.objective.weights[self.levels..].iter().map(|w| *w as f64 / t.objective.weights[0] as f64).collect::<Vec<_>>()));
            }
            if std::env::var("LINKED").is_ok() {
                eprintln!("level {level} round {rounds} value {value:.3} bound {bound} scale {} have {} new {new} mixed {} left {} {:?}", tight.as_ref().map_or(0, |t| t.objective.weights[level]), self.totals[level], mix.iter().filter(|m| m.len() > 1).count(), termination.left(), t0.elapsed());
            }
            if !new && bound as f64 > (value + 1e-6).floor() && !(exhausted && attempts >= 3) {
                attempts += usize::from(exhausted);
                stalled = true;
                continue;
            }
            stalled = false;
            if !new || bound as f64 <= (value + 1e-6).floor() {
                self.pick(level, bound, tight.as_ref(), &mix, termination);
                if self.totals[level] >= bound {
                    break;
                }
                let Relaxed { mix, .. } = self.prices(level, &[], termination);
                let t0 = std::time::Instant::now();
                if let Some(tight) = &tight {
                    self.assemble(level, tight, &mix, termination);
                    if std::env::var("LINKED").is_ok() {
                        eprintln!("  assembled: have {} {:?}", self.totals[level], t0.elapsed());
                    }
                    if self.totals[level] >= bound {
                        break;
                    }
                    self.dive(level, effort, termination);
                    if std::env::var("LINKED").is_ok() {
                        eprintln!("  dived: have {} {:?}", self.totals[level], t0.elapsed());
                    }
                    if self.totals[level] >= bound {
                        break;
                    }
                }
                let mut found = false;
                for turn in 0..TURNS {
                    let added = tight.as_ref().is_some_and(|tight| self.aim(level, tight, &mix, turn, termination));
                    found |= added;
                    self.pick(level, bound, tight.as_ref(), &mix, termination);
                    if self.totals[level] >= bound || termination.spend(0) {
                        break;
                    }
                }
                if let Some(tight) = &tight {
                    self.merge(level, bound, tight, termination);
                }
                if std::env::var("LINKED").is_ok() {
                    eprintln!("  aimed: found {found} have {} {:?}", self.totals[level], t0.elapsed());
                }
                if !new {
                    break;
                }
            }
        }
        if std::env::var("LINKED").is_ok() {
            eprintln!("level {level} rounds {rounds} bound {bound} have {} columns {}", self.totals[level], self.blocks.iter().map(|b| b.columns.len()).sum::<usize>());
        }
        let tight = tight.filter(|tight| tight.all == tight.objective.weights[level] * self.totals[level]);
        self.held.push(tight.is_some());
        if let Some(Tight { objective, values, .. }) = tight {
            for (block, value) in self.blocks.iter_mut().zip(values) {
                block.strict.push(value);
            }
            self.strict.push(objective);
        }
        (bound, rounds)
    }

    /// Solves the blocks that the linear program mixes with their links used as nearly as whole numbers can; says whether that gave new columns.
    fn aim(&mut self, level: usize, tight: &Tight, mix: &[Mix], turn: usize, termination: &mut dyn Termination) -> bool {
        let share = termination.left() / 8 / self.blocks.len() as u64 + 1;
        let mut carry = vec![0.0; self.links.len()];
        let mut targets: Vec<Option<Vec<i64>>> = vec![None; self.blocks.len()];
        let count = self.blocks.len();
        for step in 0..count {
            let block = (step + turn * (count / TURNS).max(1)) % count;
            if mix[block].len() < 2 {
                continue;
            }
            let mut target = Vec::with_capacity(self.links.len());
            for (link, carry) in carry.iter_mut().enumerate() {
                let average: f64 = mix[block]
                    .iter()
                    .map(|&(number, weight)| weight * self.blocks[block].columns[number].totals[self.levels + link] as f64)
                    .sum();
                let whole = (average + *carry).round();
                *carry += average - whole;
                target.push(whole as i64);
            }
            targets[block] = Some(target);
        }
        let answers = each(&self.blocks, |position, block| {
            let target = targets[position].as_ref()?;
            let rows: Vec<&Objective> = self.strict.iter().chain([&tight.objective]).collect();
            let mut aimed = block.part.problem.clone();
            for (link, dim) in block.links.iter().enumerate() {
                let Some(dim) = dim else { continue };
                let (lower, upper) = self.limits(link);
                let row = &mut aimed.rows[dim.index() - self.levels];
                row.lower = lower.map(|_| target[link]);
                row.upper = upper.map(|_| target[link]);
            }
            let priced = priced(&aimed, block, self.levels, &rows);
            let mut limit = WorkLimit::new(share);
            let fits = |column: &&Column| {
                column.totals[self.levels..].iter().zip(target).enumerate().all(|(link, (&used, &target))| {
                    let (lower, upper) = self.limits(link);
                    lower.is_none_or(|_| used >= target) && upper.is_none_or(|_| used <= target)
                })
            };
            let mut start = || block.columns.iter().filter(fits).map(|column| column.solution.clone()).collect();
            let outcome = solve_from(&priced, &[], &mut start, &mut limit, Effort::Attempts(1)).ok();
            Some((outcome, share - limit.left()))
        });
        let mut spent = 0;
        let mut new = false;
        let _ = level;
        for (block, answer) in answers.into_iter().enumerate() {
            let Some((outcome, units)) = answer else { continue };
            spent += units;
            if let Some(outcome) = outcome {
                let column = column(&self.blocks[block], self.levels, outcome.solution);
                new |= self.enter(block, column).1;
            }
        }
        termination.spend(spent / 2);
        new
    }

    /// What the bounds of the rows and of the earlier levels are priced at.
    fn constant(&self, objective: &Objective) -> i64 {
        let mut sum = 0;
        for (level, &fixed) in self.fixed.iter().enumerate() {
            sum += objective.weights[level] * fixed;
        }
        for link in 0..self.links.len() {
            let (lower, upper) = self.limits(link);
            let weight = objective.weights[self.levels + link];
            sum += weight * self.used_up(link).or(if weight > 0 { lower } else { upper }).unwrap_or(0);
        }
        sum
    }

    /// Whether a column is as good as any under all strict objectives.
    fn strict(&self, block: usize, column: &Column) -> bool {
        self.strict
            .iter()
            .zip(&self.blocks[block].strict)
            .all(|(objective, &value)| objective.of(&column.totals) == value)
    }

    /// Whether a link is priced by a strict objective, and must therefore be used up: its bound then.
    fn used_up(&self, link: usize) -> Option<i64> {
        let weight = self.strict.iter().map(|it| it.weights[self.levels + link]).find(|weight| *weight != 0)?;
        let (lower, upper) = self.limits(link);
        if weight > 0 { lower } else { upper }
    }

    /// Solves the linear program over the known columns: its value, the prices as a block's objective, and the columns that it mixes.
    fn prices(&self, level: usize, pinned: &[Option<usize>], termination: &mut dyn Termination) -> Relaxed {
        let mut frame = Problem::new(self.levels);
        for link in 0..self.links.len() {
            let (lower, upper) = self.limits(link);
            match self.used_up(link) {
                Some(exact) => frame.row(Some(exact), Some(exact)),
                None => frame.row(lower, upper),
            };
        }
        let most: Vec<i64> = (0..frame.dims())
            .map(|dim| {
                self.blocks.iter().flat_map(|b| &b.columns).map(|column| column.totals[dim].abs()).max().unwrap_or(0)
            })
            .collect();
        frame.effect(most.iter().enumerate().map(|(dim, &most)| (Dim(dim as u32), most)));
        let mut master = Master::new(&frame, level, &self.fixed, &[], self.blocks.len());
        let mut pool = Vec::new();
        for (block, of) in self.blocks.iter().enumerate() {
            let picked = self.picked[block];
            if let Some(number) = pinned.get(block).copied().flatten() {
                master.add_column(block, &of.columns[number].totals, pool.len());
                pool.push((block, number));
                continue;
            }
            for number in std::iter::once(picked).chain((0..of.columns.len()).filter(|&number| number != picked)) {
                let column = &of.columns[number];
                if number == picked || self.strict(block, column) {
                    master.add_column(block, &column.totals, pool.len());
                    pool.push((block, number));
                }
            }
        }
        let value = master.optimise();
        termination.spend(master.work());
        let exact = master.prices();
        let denominator = DENOMINATORS
            .into_iter()
            .find(|&d| {
                exact.iter().all(|&price| {
                    let scaled = price.saturating_mul(d);
                    (scaled - (scaled as f64 / SCALE as f64).round() as i64 * SCALE).abs() < SCALE / 1_000
                })
            })
            .unwrap_or(DENOMINATORS[DENOMINATORS.len() - 1]);
        let weights = exact
            .iter()
            .map(|&price| (price.saturating_mul(denominator) as f64 / SCALE as f64).round() as i64)
            .collect();
        let mut mix = vec![Vec::new(); self.blocks.len()];
        for (position, weight) in master.mix() {
            let (block, number) = pool[position];
            mix[block].push((number, weight));
        }
        Relaxed { value, feasible: master.feasible(), objective: Objective { weights }, mix }
    }

    /// Prices half-way between those of the best bound so far and those of the linear program, as coarse fractions: fewer rounds go astray.
    fn between(&self, level: usize, centre: Option<&Objective>, exact: &Objective) -> Objective {
        let scaled = |objective: &Objective, at: usize| {
            objective.weights[at] as f64 / objective.weights[level].max(1) as f64
        };
        let weights = (0..exact.weights.len())
            .map(|at| {
                if at == level {
                    return COARSE;
                }
                let half = (scaled(exact, at) + centre.map_or(0.0, |centre| scaled(centre, at))) / 2.0;
                (half * COARSE as f64).round() as i64
            })
            .collect();
        Objective { weights }
    }

    /// Asks every block for its best answer under an objective, among those that the strict ones leave.
    fn ask(&self, objective: &Objective, effort: Effort, termination: &mut dyn Termination) -> Vec<Answered> {
        let share = termination.left() / 8 / self.blocks.len() as u64 + 1;
        let answers = each(&self.blocks, |_, block| {
            let rows: Vec<&Objective> = self.strict.iter().chain([objective]).collect();
            let priced = priced(&block.part.problem, block, self.levels, &rows);
            let mut limit = WorkLimit::new(share);
            let of = |column: &Column| rows.iter().map(|row| row.of(&column.totals)).collect::<Vec<_>>();
            let best = block.columns.iter().max_by_key(|column| of(column));
            let mut start = || best.iter().map(|column| column.solution.clone()).collect();
            let outcome = solve_from(&priced, &block.strict, &mut start, &mut limit, effort).ok();
            (outcome, share - limit.left())
        });
        let mut spent = 0;
        let answered = answers
            .into_iter()
            .zip(&self.blocks)
            .map(|((outcome, units), block)| {
                spent += units;
                let Some(outcome) = outcome else { return Answered { bound: UNBOUNDED, column: None } };
                if std::env::var("LINKED").is_ok() {
                    let last = &outcome.levels[self.strict.len()];
                    if last.bound > last.value && std::env::var("GAPS").is_ok() {
                        eprintln!("   gap {} of {} weight {} classes {} groups {} units {units} of {share}", last.bound - last.value, last.value, objective.weights.iter().filter(|w| **w != 0).count(), block.part.problem.classes.len(), block.part.problem.groups.len());
                    }
                }
                let proven = outcome.levels[..self.strict.len()].iter().all(|level| level.value == level.bound);
                let bound = if proven { outcome.levels[self.strict.len()].bound } else { UNBOUNDED };
                Answered { bound, column: Some(column(block, self.levels, outcome.solution)) }
            })
            .collect();
        termination.spend(spent / 2);
        answered
    }

    /// Picks a column of each block so that the level is as good as it can be: block by block, with the most promising sums so far.
    fn pick(&mut self, level: usize, bound: i64, tight: Option<&Tight>, mix: &[Mix], termination: &mut dyn Termination) {
        if self.totals[level] >= bound {
            return;
        }
        // At the prices of the bound, an answer that is better than the one at hand has no room for columns that are far from the best.
        let Some(tight) = tight else { return };
        let scale = tight.objective.weights[level];
        let slack = tight.all - scale * (self.totals[level] + 1);
        let rows = self.rows(level);
        let mut stages: Vec<Stage> = (0..self.blocks.len()).map(|block| self.stage(block, tight, slack, &rows, &mix[block])).collect();
        stages.sort_by_key(|stage| (stage.choices.len() > 1, stage.widest(), stage.block));
        let candidates: u64 = stages.iter().map(|stage| stage.choices.len() as u64).sum();
        if termination.spend(candidates * (BEAM * rows.len()) as u64 * 2) {
            return;
        }
        // What the blocks that are still to come can add.
        let mut rest = vec![vec![(0i64, 0i64); rows.len()]; stages.len() + 1];
        for (position, stage) in stages.iter().enumerate().rev() {
            for row in 0..rows.len() {
                let amounts = stage.choices.iter().map(|choice| choice.sums[row]);
                let (least, most) = amounts.fold((i64::MAX, i64::MIN), |(a, b), x| (a.min(x), b.max(x)));
                rest[position][row] = (rest[position + 1][row].0 + least, rest[position + 1][row].1 + most);
            }
        }
        let mut beam = vec![Partial { cost: 0, sums: vec![0; rows.len()], picked: Vec::new() }];
        let mut reference = vec![0.0; rows.len()];
        for (position, stage) in stages.iter().enumerate() {
            for (sum, amount) in reference.iter_mut().zip(&stage.average) {
                *sum += amount;
            }
            let mut next: BTreeMap<Vec<i64>, Partial> = BTreeMap::new();
            for partial in &beam {
                for choice in &stage.choices {
                    let cost = partial.cost + choice.cost;
                    if cost > slack {
                        break;
                    }
                    let sums: Vec<i64> = partial.sums.iter().zip(&choice.sums).map(|(a, b)| a + b).collect();
                    let open = rows.iter().zip(&sums).zip(&rest[position + 1]).all(|((row, sum), (least, most))| {
                        row.lower.is_none_or(|lower| sum + most >= lower) && row.upper.is_none_or(|upper| sum + least <= upper)
                    });
                    if !open || next.get(&sums).is_some_and(|known| known.cost <= cost) {
                        continue;
                    }
                    let mut picked = partial.picked.clone();
                    picked.push(choice.column);
                    next.insert(sums.clone(), Partial { cost, sums, picked });
                }
            }
            beam = next.into_values().collect();
            if beam.len() > BEAM {
                let far = |partial: &Partial| -> f64 {
                    let distance: f64 = partial.sums.iter().zip(&reference).map(|(&sum, at)| (sum as f64 - at).abs()).sum();
                    partial.cost as f64 / scale as f64 + distance * DISTANCE
                };
                let mut scored: Vec<(f64, Partial)> = beam.into_iter().map(|partial| (far(&partial), partial)).collect();
                scored.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.sums.cmp(&b.1.sums)));
                scored.truncate(BEAM);
                beam = scored.into_iter().map(|(_, partial)| partial).collect();
            }
        }
        let debug = beam.len();
        let mut best: Vec<Partial> = beam;
        best.sort_by(|a, b| a.cost.cmp(&b.cost).then_with(|| a.sums.cmp(&b.sums)));
        for partial in best {
            let mut picked = self.picked.clone();
            for (stage, column) in stages.iter().zip(&partial.picked) {
                picked[stage.block] = *column;
            }
            if self.take(level, picked) && self.totals[level] >= bound {
                break;
            }
        }
        if std::env::var("LINKED").is_ok() {
            eprintln!("  pick level {level}: {candidates} candidates slack {slack} found {debug} have {}", self.totals[level]);
        }
    }

    /// The rows that a choice of columns must keep: links, and earlier levels that no strict objective holds.
    fn rows(&self, level: usize) -> Vec<PickRow> {
        let mut rows = Vec::new();
        for (dim, &fixed) in self.fixed.iter().enumerate().take(level) {
            if !self.held[dim] {
                rows.push(PickRow { dim, lower: Some(fixed), upper: None });
            }
        }
        for link in 0..self.links.len() {
            let (lower, upper) = self.limits(link);
            let exact = self.used_up(link);
            rows.push(PickRow { dim: self.levels + link, lower: exact.or(lower), upper: exact.or(upper) });
        }
        rows
    }

    /// The columns of a block that an answer can be made of, cheapest first.
    fn stage(&self, block: usize, tight: &Tight, slack: i64, rows: &[PickRow], mix: &Mix) -> Stage {
        let of = &self.blocks[block];
        let sums = |column: &Column| -> Vec<i64> { rows.iter().map(|row| column.totals[row.dim]).collect() };
        let mut choices: Vec<PickChoice> = Vec::new();
        for (number, column) in of.columns.iter().enumerate() {
            let cost = tight.values[block] - tight.objective.of(&column.totals);
            if cost <= slack && self.strict(block, column) {
                choices.push(PickChoice { column: number, cost, sums: sums(column) });
            }
        }
        choices.sort_by(|a, b| a.cost.cmp(&b.cost).then_with(|| a.sums.cmp(&b.sums)));
        choices.dedup_by(|later, earlier| later.sums == earlier.sums);
        let mut average = vec![0.0; rows.len()];
        for &(number, weight) in mix {
            for (sum, amount) in average.iter_mut().zip(sums(&of.columns[number])) {
                *sum += weight * amount as f64;
            }
        }
        Stage { block, choices, average }
    }

    /// Takes a choice of columns if it is legal and better up to a level.
    fn take(&mut self, level: usize, picked: Vec<usize>) -> bool {
        let totals = self.sum(&picked);
        let legal = (0..self.links.len()).all(|link| {
            let (lower, upper) = self.limits(link);
            let sum = totals[self.levels + link];
            lower.is_none_or(|lower| sum >= lower) && upper.is_none_or(|upper| sum <= upper)
        });
        let better = totals[..=level] > self.totals[..=level];
        if legal && better {
            self.picked = picked;
            self.totals = totals;
        }
        legal && better
    }

    /// Makes one answer of the mix: block by block each takes about its share of the links, and the last few, as one, what is left exactly.
    fn assemble(&mut self, level: usize, tight: &Tight, mix: &[Mix], termination: &mut dyn Termination) {
        let size = |block: usize| self.blocks[block].part.problem.classes.len();
        let mut mixed: Vec<usize> = (0..self.blocks.len()).filter(|&block| mix[block].len() > 1).collect();
        mixed.sort_by_key(|&block| (size(block), block));
        let mut picked: Vec<usize> = mix.iter().zip(&self.picked).map(|(mix, &now)| mix.first().map_or(now, |it| it.0)).collect();
        let mut last = Vec::new();
        let mut classes = 0;
        while let Some(&block) = mixed.last() {
            if last.len() >= 2 && (classes + size(block) > MERGED || last.len() >= LAST) {
                break;
            }
            classes += size(block);
            last.push(block);
            mixed.pop();
        }
        if last.is_empty() {
            return;
        }
        let share = termination.left() / 64 + 1;
        let mut carry = vec![0.0; self.links.len()];
        for &block in &mixed {
            let of = &self.blocks[block];
            let wanted: Vec<f64> = carry
                .iter()
                .enumerate()
                .map(|(link, carry)| {
                    let average: f64 = mix[block]
                        .iter()
                        .map(|&(number, weight)| weight * of.columns[number].totals[self.levels + link] as f64)
                        .sum();
                    average + carry
                })
                .collect();
            let mut aimed = of.part.problem.clone();
            for (link, dim) in of.links.iter().enumerate() {
                let Some(dim) = dim else { continue };
                let (lower, upper) = self.limits(link);
                let row = &mut aimed.rows[dim.index() - self.levels];
                row.lower = lower.map(|_| (wanted[link] + 1e-6).floor() as i64);
                row.upper = upper.map(|_| (wanted[link] - 1e-6).ceil() as i64);
            }
            let rows: Vec<&Objective> = self.strict.iter().chain([&tight.objective]).collect();
            let priced = priced(&aimed, of, self.levels, &rows);
            let mut limit = WorkLimit::new(share);
            let mut start = || of.columns.iter().map(|column| column.solution.clone()).collect();
            let outcome = solve_from(&priced, &[], &mut start, &mut limit, Effort::Attempts(1)).ok();
            termination.spend(share - limit.left());
            let number = match outcome {
                Some(outcome) => {
                    let column = column(&self.blocks[block], self.levels, outcome.solution);
                    self.enter(block, column).0
                }
                None => {
                    let far = |number: usize| -> f64 {
                        let used = &of.columns[number].totals[self.levels..];
                        used.iter().zip(&wanted).map(|(&used, wanted)| (used as f64 - wanted).abs()).sum()
                    };
                    mix[block].iter().map(|it| it.0).min_by(|&a, &b| far(a).total_cmp(&far(b))).unwrap_or(0)
                }
            };
            picked[block] = number;
            let used = &self.blocks[block].columns[number].totals[self.levels..];
            for ((carry, wanted), &used) in carry.iter_mut().zip(&wanted).zip(used) {
                *carry = wanted - used as f64;
            }
        }
        if let Some(picked) = self.solve_merged(level, &picked, &last, termination) {
            self.take(level, picked);
        }
    }

    /// Pins one mixed block after the other to its weightiest column and lets the rest find new columns around it, until nothing is mixed.
    fn dive(&mut self, level: usize, effort: Effort, termination: &mut dyn Termination) {
        let mut pinned = vec![None; self.blocks.len()];
        let mut rounds = 0;
        while !termination.spend(0) {
            let Relaxed { value, feasible, objective, mix } = self.prices(level, &pinned, termination);
            if rounds < DIVE_ROUNDS {
                rounds += 1;
                let mut new = false;
                for (block, it) in self.ask(&objective, effort, termination).into_iter().enumerate() {
                    if let Some(column) = it.column {
                        new |= self.enter(block, column).1;
                    }
                }
                if new {
                    continue;
                }
            }
            if !feasible || value < (self.totals[level] + 1) as f64 - 1e-6 {
                return;
            }
            rounds = 0;
            let weightiest = |mix: &Mix| mix.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            let next = (0..self.blocks.len())
                .filter(|&block| pinned[block].is_none() && mix[block].len() > 1)
                .filter_map(|block| weightiest(&mix[block]).map(|(number, weight)| (block, number, weight)))
                .max_by(|a, b| a.2.total_cmp(&b.2).then(b.0.cmp(&a.0)));
            let Some((block, number, _)) = next else {
                let picked = mix.iter().zip(&self.picked).map(|(mix, &now)| weightiest(mix).map_or(now, |it| it.0));
                self.take(level, picked.collect());
                return;
            };
            pinned[block] = Some(number);
        }
    }

    /// Solves a few blocks as one, all others as they are; begins with those that are furthest from what the prices say they are worth.
    fn merge(&mut self, level: usize, bound: i64, tight: &Tight, termination: &mut dyn Termination) {
        let mut quiet = 0;
        let mut turn = 0;
        while quiet < MERGES && self.totals[level] < bound && !termination.spend(0) {
            let mut guilty: Vec<(i64, usize)> = (0..self.blocks.len())
                .map(|block| {
                    let column = &self.blocks[block].columns[self.picked[block]];
                    (tight.objective.of(&column.totals) - tight.values[block], block)
                })
                .collect();
            guilty.sort_unstable();
            let count = guilty.len();
            let first = turn % (count / 2).max(1);
            let mut members = vec![guilty[first].1];
            let mut size = self.blocks[members[0]].part.problem.classes.len();
            for step in 1..count {
                let other = guilty[(first + step + turn / (count / 2).max(1) * 3) % count].1;
                let more = self.blocks[other].part.problem.classes.len();
                if !members.contains(&other) && size + more <= MERGED {
                    members.push(other);
                    size += more;
                }
                if members.len() >= 4 {
                    break;
                }
            }
            turn += 1;
            let t0 = std::time::Instant::now();
            let before = self.totals[level];
            let now = self.picked.clone();
            let better = members.len() > 1
                && self.solve_merged(level, &now, &members, termination).is_some_and(|picked| self.take(level, picked));
            if std::env::var("LINKED").is_ok() {
                eprintln!("  merged {members:?} size {size}: {before} -> {} {:?}", self.totals[level], t0.elapsed());
            }
            quiet = if better { 0 } else { quiet + 1 };
        }
    }

    /// Solves a few blocks as one, all others as they are picked: a choice of columns that keeps the earlier levels and the links, if there is one.
    fn solve_merged(
        &mut self,
        level: usize,
        picked: &[usize],
        members: &[usize],
        termination: &mut dyn Termination,
    ) -> Option<Vec<usize>> {
        let parts: Vec<&Part> = members.iter().map(|&block| self.blocks[block].part).collect();
        let mut merged = crate::components::merge(self.problem, &parts, self.links);
        let mut others = self.sum(picked);
        for &block in members {
            for (sum, amount) in others.iter_mut().zip(&self.blocks[block].columns[picked[block]].totals) {
                *sum -= amount;
            }
        }
        for (link, dim) in self.links.iter().enumerate() {
            let Some(&dim) = merged.dims.get(dim) else { continue };
            let (lower, upper) = self.limits(link);
            let row = &mut merged.problem.rows[dim.index() - self.levels];
            row.lower = lower.map(|lower| lower - others[self.levels + link]);
            row.upper = upper.map(|upper| upper - others[self.levels + link]);
        }
        let weights: Vec<Vec<i64>> =
            (0..=level).map(|of| (0..merged.problem.dims()).map(|dim| i64::from(dim == of)).collect()).collect();
        let priced = merged.problem.with_levels(&weights);
        let whole = self.join(picked);
        let mut start = || vec![merged.restrict(&whole)];
        let share = termination.left() / 64 + 1;
        let mut limit = WorkLimit::new(share);
        let given: Vec<i64> = self.fixed.iter().zip(&others).map(|(fixed, others)| fixed - others).collect();
        let outcome = solve_from(&priced, &given, &mut start, &mut limit, Effort::Attempts(2));
        termination.spend(share - limit.left());
        let lifted = merged.lift(self.problem, &outcome.ok()?.solution);
        let mut picked = picked.to_vec();
        for &block in members {
            let solution = self.blocks[block].part.restrict(&lifted);
            let column = column(&self.blocks[block], self.levels, solution);
            picked[block] = self.enter(block, column).0;
        }
        Some(picked)
    }

    /// Solves every block for itself on all levels, with the links used as they are.
    fn polish(&mut self, termination: &mut dyn Termination) {
        let share = termination.left() / self.blocks.len() as u64 + 1;
        let answers = each(&self.blocks, |position, block| {
            let column = &block.columns[self.picked[position]];
            let mut alone = block.part.problem.clone();
            for (link, dim) in block.links.iter().enumerate() {
                let Some(dim) = dim else { continue };
                let (lower, upper) = self.limits(link);
                let used = column.totals[self.levels + link];
                let row = &mut alone.rows[dim.index() - self.levels];
                row.lower = lower.map(|_| used);
                row.upper = upper.map(|_| used);
            }
            let mut limit = WorkLimit::new(share);
            let mut start = || vec![column.solution.clone()];
            let outcome = solve_from(&alone, &[], &mut start, &mut limit, Effort::FULL).ok();
            (outcome, share - limit.left())
        });
        let mut spent = 0;
        let mut picked = self.picked.clone();
        for (block, (outcome, units)) in answers.into_iter().enumerate() {
            spent += units;
            if let Some(outcome) = outcome {
                let column = column(&self.blocks[block], self.levels, outcome.solution);
                picked[block] = self.enter(block, column).0;
            }
        }
        termination.spend(spent / 2);
        self.take(self.levels - 1, picked);
    }
}

/// An answer of a block as a column.
fn column(block: &Block<'_>, levels: usize, solution: Solution) -> Column {
    let totals = solution.totals(&block.part.problem);
    let of_links = block.links.iter().map(|dim| dim.map_or(0, |dim| totals[dim.index()]));
    Column { totals: totals[..levels].iter().copied().chain(of_links).collect(), solution }
}

/// A block's problem with objectives for levels.
fn priced(old: &Problem, block: &Block<'_>, levels: usize, objectives: &[&Objective]) -> Problem {
    let mut weights = vec![vec![0i64; old.dims()]; objectives.len()];
    for (row, objective) in weights.iter_mut().zip(objectives) {
        row[..levels].copy_from_slice(&objective.weights[..levels]);
        for (link, dim) in block.links.iter().enumerate() {
            if let Some(dim) = dim {
                row[dim.index()] = objective.weights[levels + link];
            }
        }
    }
    old.with_levels(&weights)
}

/// Most rounds of pricing for a level.
const ROUNDS: u32 = 60;

/// Denominators of prices, the first that fits is taken; the last one where none does.
const DENOMINATORS: [i64; 6] = [1, 2, 3, 4, 6, 12];

/// Sums that are kept from block to block when columns are picked.
const BEAM: usize = 200;

/// What a unit of distance from the linear program's sums weighs against a unit of the level.
const DISTANCE: f64 = 0.25;

/// Denominator of prices while they are sought.
const COARSE: i64 = 2;

/// Times that whole numbers are aimed at before a level is given up.
const TURNS: usize = 3;

/// Merged problems in a row that may bring nothing.
const MERGES: usize = 12;

/// Rounds of pricing between two pinned blocks.
const DIVE_ROUNDS: u32 = 3;

/// Most blocks that take what all others leave.
const LAST: usize = 4;

/// Most classes of a merged problem.
const MERGED: usize = 120;

/// Stands for a bound that is not known.
const UNBOUNDED: i64 = i64::MAX / 8;
