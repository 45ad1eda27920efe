//! Solves blocks that only a few rows link: prices on the links, whole answers of blocks as columns, and a choice of one column of each block.
//!
//! The bound of a level is that of the relaxation in which each block is as good as any *integer* answer of its own at prices on the links and on
//! the earlier levels. It is taken from the blocks' proven bounds at prices rounded to fractions of small denominators, and so is exact however
//! the prices were found. Where a level's value times the denominator equals the blocks' bounds without any rest, every answer that is as good
//! consists of answers of blocks that are best at these prices: they become *strict*, and later levels look at no other columns.
//!
//! Answers come from the columns: a search over the blocks that keeps the most promising sums ([`Linked::pick`]), rounding of the linear
//! program's mix block by block ([`Linked::assemble`]), new columns around the mix ([`Linked::vary`], [`Linked::aim`]), and a few blocks solved as
//! one ([`Linked::merge`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::check::check;
use crate::components::{Part, each, merge};
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
    /// Number of each column by its totals.
    numbers: BTreeMap<Vec<i64>, usize>,
    /// What the block's best answers reach under each of the strict objectives.
    strict: Vec<i64>,
}

/// An answer of a block.
struct Column {
    /// What it contributes to the levels, then to the links.
    totals: Vec<i64>,
    solution: Solution,
}

/// A weighted sum of levels and links, as one level of a block's problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Objective {
    /// Weights of the levels, then of the links.
    weights: Vec<i64>,
}

impl Objective {
    fn of(&self, totals: &[i64]) -> i64 {
        self.weights.iter().zip(totals).map(|(weight, total)| weight * total).sum()
    }
}

/// A bound with the prices that give it.
struct Priced {
    objective: Objective,
    /// What each block is worth at most.
    values: Vec<i64>,
    /// All of it, less what the rows are priced at.
    total: i64,
}

/// The columns of a block that the linear program mixes, with their weights.
type Mix = Vec<(usize, f64)>;

/// What the linear program over the known columns says.
struct Relaxed {
    value: f64,
    /// Its prices.
    objective: Objective,
    mix: Vec<Mix>,
}

/// What is known of a level while it is worked on.
struct Progress {
    level: usize,
    bound: i64,
    /// The best prices so far.
    priced: Option<Priced>,
}

/// Bounds of the links that a block must keep, where it has any.
type Limits = (Option<i64>, Option<i64>);

/// Solves a problem block by block; `links` are the dimensions of the rows between them, which the blocks contain without bounds.
///
/// `starts` are answers to begin with. There is no outcome where none of them is legal and idling is not either.
pub(crate) fn solve(
    problem: &Problem,
    blocks: &[Part],
    links: &[usize],
    starts: &[Solution],
    termination: &mut dyn Termination,
) -> Option<Outcome> {
    let mut linked = Linked::new(problem, blocks, links);
    linked.begin(starts)?;
    let mut bounds = Vec::new();
    for level in 0..problem.levels() {
        bounds.push(linked.level(level, termination));
        if level == 0 {
            linked.polish(termination);
        }
        linked.fixed.push(linked.totals[level]);
    }
    linked.polish(termination);
    let solution = linked.join(&linked.picked);
    check(problem, &solution).ok()?;
    let totals = solution.totals(problem);
    let levels: Vec<LevelOutcome> = bounds
        .into_iter()
        .zip(&totals)
        .map(|((bound, rounds), &value)| LevelOutcome { value, bound: bound.max(value), rounds })
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
    /// Objectives under which every block must be as good as it can be.
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
                numbers: BTreeMap::new(),
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
    fn limits(&self, link: usize) -> Limits {
        let row = self.problem.bounds(self.links[link]);
        (row.lower, row.upper)
    }

    /// Enters an answer of a block; says which column it is, and whether it is new.
    fn enter(&mut self, block: usize, solution: Solution) -> (usize, bool) {
        let of = &mut self.blocks[block];
        let all = solution.totals(&of.part.problem);
        let of_links = of.links.iter().map(|dim| dim.map_or(0, |dim| all[dim.index()]));
        let totals: Vec<i64> = all[..self.levels].iter().copied().chain(of_links).collect();
        if let Some(&known) = of.numbers.get(&totals) {
            return (known, false);
        }
        let number = of.columns.len();
        of.numbers.insert(totals.clone(), number);
        of.columns.push(Column { totals, solution });
        (number, true)
    }

    /// Takes the best of the starts, or everything idle where that is legal.
    fn begin(&mut self, starts: &[Solution]) -> Option<()> {
        let idle = Solution { active: Vec::new(), vars: vec![0; self.problem.vars.len()] };
        let mut best: Option<(Vec<i64>, Vec<usize>)> = None;
        for answer in std::iter::once(&idle).chain(starts).filter(|answer| check(self.problem, answer).is_ok()) {
            let picked = (0..self.blocks.len()).map(|block| {
                let solution = self.blocks[block].part.restrict(answer);
                self.enter(block, solution).0
            });
            let picked: Vec<usize> = picked.collect();
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

    /// Bounds a level and looks for an answer that reaches the bound; returns the bound, and the rounds of pricing that it took.
    fn level(&mut self, level: usize, termination: &mut dyn Termination) -> (i64, u32) {
        let mut progress = Progress { level, bound: UNBOUNDED, priced: None };
        let mut rounds = 0;
        let mut attempts = 0;
        let mut stalled = false;
        let mut tried = BTreeSet::new();
        while rounds < ROUNDS && !termination.spend(0) && progress.bound > self.totals[level] {
            rounds += 1;
            let relaxed = self.relax(level, termination);
            let floor = (relaxed.value + 1e-6).floor();
            let between = (!stalled).then(|| between(level, progress.priced.as_ref(), &relaxed.objective));
            let next = between.into_iter().chain([relaxed.objective.clone()]);
            let next = next.into_iter().find(|objective| tried.insert((attempts, objective.clone())));
            let exhausted = next.is_none();
            let new = next.is_some_and(|objective| self.price(&mut progress, objective, attempts, termination));
            let settled = progress.bound as f64 <= floor;
            if !settled && new {
                stalled = false;
            } else if !(settled || exhausted && attempts >= ATTEMPTS) {
                // First the linear program's own prices; then an answer, for whatever comes of the bound; then more effort.
                if exhausted
                    && attempts == 0
                    && let Some(priced) = &progress.priced
                {
                    part_of(termination, |limit| {
                        (0..TURNS).for_each(|turn| self.assemble(level, priced, &relaxed.mix, turn, limit));
                    });
                }
                attempts += usize::from(exhausted);
                stalled = true;
            } else {
                part_of(termination, |limit| self.search(&progress, &relaxed.mix, attempts, limit));
                if !new {
                    break;
                }
            }
        }
        let tight = progress.priced.filter(|it| it.total == it.objective.weights[level] * self.totals[level]);
        self.held.push(tight.is_some());
        if let Some(Priced { objective, values, .. }) = tight {
            for (block, value) in self.blocks.iter_mut().zip(values) {
                block.strict.push(value);
            }
            self.strict.push(objective);
        }
        (progress.bound, rounds)
    }

    /// Prices every block under an objective and takes the bound if it is better; says whether there are new columns.
    fn price(
        &mut self,
        progress: &mut Progress,
        objective: Objective,
        attempts: usize,
        termination: &mut dyn Termination,
    ) -> bool {
        let every = vec![Some(&objective); self.blocks.len()];
        let (values, new) = self.ask(&every, attempts, termination);
        let Some(values) = values.into_iter().collect::<Option<Vec<i64>>>() else { return new };
        let total = values.iter().sum::<i64>() - self.constant(&objective);
        let bound = total.div_euclid(objective.weights[progress.level]);
        if bound < progress.bound {
            progress.bound = bound;
            progress.priced = Some(Priced { objective, values, total });
        }
        new
    }

    /// Looks for an answer that reaches the bound of a level.
    fn search(&mut self, progress: &Progress, mix: &[Mix], attempts: usize, termination: &mut dyn Termination) {
        let Progress { level, bound, priced: Some(priced) } = progress else { return };
        let (level, bound) = (*level, *bound);
        self.pick(progress, priced, mix, termination);
        if self.totals[level] >= bound {
            return;
        }
        self.assemble(level, priced, mix, 0, termination);
        for turn in 0..TURNS {
            if self.totals[level] >= bound || termination.spend(0) {
                return;
            }
            let mix = self.relax(level, termination).mix;
            self.aim(priced, &mix, turn, termination);
            self.vary(priced, turn, attempts, termination);
            self.pick(progress, priced, &mix, termination);
            if self.totals[level] < bound {
                let mix = self.relax(level, termination).mix;
                self.assemble(level, priced, &mix, turn + 1, termination);
            }
        }
        self.merge(progress, priced, termination);
    }

    /// What the bounds of the rows and of the earlier levels are priced at.
    fn constant(&self, objective: &Objective) -> i64 {
        let of_levels = self.fixed.iter().zip(&objective.weights).map(|(fixed, weight)| weight * fixed);
        let of_links = (0..self.links.len()).map(|link| {
            let weight = objective.weights[self.levels + link];
            let (lower, upper) = self.limits(link);
            weight * self.used_up(link).or(if weight > 0 { lower } else { upper }).unwrap_or(0)
        });
        of_levels.chain(of_links).sum()
    }

    /// Whether a column is as good as any under all strict objectives.
    fn is_strict(&self, block: usize, column: &Column) -> bool {
        self.strict
            .iter()
            .zip(&self.blocks[block].strict)
            .all(|(objective, &value)| objective.of(&column.totals) == value)
    }

    /// The bound of a link that is priced by a strict objective, and must therefore be used up.
    fn used_up(&self, link: usize) -> Option<i64> {
        let weight = self.strict.iter().map(|it| it.weights[self.levels + link]).find(|weight| *weight != 0)?;
        let (lower, upper) = self.limits(link);
        if weight > 0 { lower } else { upper }
    }

    /// Solves the linear program over the known columns.
    fn relax(&self, level: usize, termination: &mut dyn Termination) -> Relaxed {
        let mut frame = Problem::new(self.levels);
        for link in 0..self.links.len() {
            let (lower, upper) = self.limits(link);
            let exact = self.used_up(link);
            frame.row(exact.or(lower), exact.or(upper));
        }
        // The largest amounts tell the simplex how to scale its rows.
        let largest = (0..frame.dims()).map(|dim| {
            let amounts = self.blocks.iter().flat_map(|block| &block.columns).map(|column| column.totals[dim].abs());
            (Dim(dim as u32), amounts.max().unwrap_or(0))
        });
        frame.effect(largest.collect::<Vec<_>>());
        let mut master = Master::new(&frame, level, &self.fixed, &[], self.blocks.len());
        let mut pool = Vec::new();
        for (block, of) in self.blocks.iter().enumerate() {
            // The answer at hand comes first: the simplex begins with it.
            let picked = self.picked[block];
            let others = (0..of.columns.len()).filter(|&number| number != picked);
            for number in std::iter::once(picked).chain(others.filter(|&it| self.is_strict(block, &of.columns[it]))) {
                master.add_column(block, &of.columns[number].totals, pool.len());
                pool.push((block, number));
            }
        }
        let value = master.optimise();
        termination.spend(master.work());
        let mut mix = vec![Mix::new(); self.blocks.len()];
        for (position, weight) in master.mix() {
            let (block, number) = pool[position];
            mix[block].push((number, weight));
        }
        Relaxed { value, objective: rounded(&master.prices()), mix }
    }

    /// Asks blocks for their best answers under objectives of their own, among those that the strict ones leave. Returns what each is worth at most,
    /// and whether there are new columns.
    fn ask(
        &mut self,
        objectives: &[Option<&Objective>],
        attempts: usize,
        termination: &mut dyn Termination,
    ) -> (Vec<Option<i64>>, bool) {
        let share = termination.left() / 8 / self.blocks.len() as u64 + 1;
        let answers = each(&self.blocks, |position, block| {
            let rows: Vec<&Objective> = self.strict.iter().chain(objectives[position]).collect();
            objectives[position]?;
            let priced = priced(&block.part.problem, block, self.levels, &rows);
            let of = |column: &&Column| rows.iter().map(|row| row.of(&column.totals)).collect::<Vec<_>>();
            let best = block.columns.iter().max_by_key(of);
            let mut start = || best.iter().map(|column| column.solution.clone()).collect();
            let mut limit = WorkLimit::new(share);
            let outcome = solve_from(&priced, &block.strict, &mut start, &mut limit, Effort::Attempts(attempts)).ok();
            Some((outcome, share - limit.left()))
        });
        let strict = self.strict.len();
        self.enter_all(answers, termination, |outcome| {
            let proven = outcome.levels[..strict].iter().all(|level| level.value == level.bound);
            proven.then(|| outcome.levels[strict].bound)
        })
    }

    /// Enters what blocks have answered; returns what is read of each outcome, and whether there are new columns.
    fn enter_all(
        &mut self,
        answers: Vec<Option<(Option<Outcome>, u64)>>,
        termination: &mut dyn Termination,
        read: impl Fn(&Outcome) -> Option<i64>,
    ) -> (Vec<Option<i64>>, bool) {
        let mut new = false;
        let mut spent = 0;
        let mut values = Vec::with_capacity(answers.len());
        for (block, answer) in answers.into_iter().enumerate() {
            let (outcome, units) = answer.unwrap_or((None, 0));
            spent += units;
            values.push(outcome.as_ref().and_then(&read));
            if let Some(outcome) = outcome {
                new |= self.enter(block, outcome.solution).1;
            }
        }
        // Two threads share the work.
        termination.spend(spent / 2 + 1);
        (values, new)
    }

    /// Picks a column of each block so that the level is as good as it can be: block by block, with the most promising sums so far.
    fn pick(&mut self, progress: &Progress, priced: &Priced, mix: &[Mix], termination: &mut dyn Termination) {
        let &Progress { level, bound, .. } = progress;
        let scale = priced.objective.weights[level];
        // At the prices of the bound, an answer that is better than the one at hand has no room for columns that are far from the best.
        let slack = priced.total - scale * (self.totals[level] + 1);
        if slack < 0 {
            return;
        }
        let rows = self.rows(level);
        let mut stages: Vec<Stage> =
            mix.iter().enumerate().map(|(block, mix)| self.stage(block, priced, slack, &rows, mix)).collect();
        stages.sort_by_key(|stage| (stage.choices.len(), stage.block));
        let choices: usize = stages.iter().map(|stage| stage.choices.len()).sum();
        termination.spend((choices * BEAM * (rows.len() + 8)) as u64 / 4);
        // What the blocks that are still to come can add.
        let mut rest = vec![vec![(0i64, 0i64); rows.len()]; stages.len() + 1];
        for (position, stage) in stages.iter().enumerate().rev() {
            let (before, after) = rest.split_at_mut(position + 1);
            for (row, (known, sum)) in after[0].iter().zip(&mut before[position]).enumerate() {
                let amounts = stage.choices.iter().map(|choice| choice.sums[row]);
                let Some((least, most)) = amounts.fold(None, |range: Option<(i64, i64)>, amount| {
                    Some(range.map_or((amount, amount), |(least, most)| (least.min(amount), most.max(amount))))
                }) else {
                    return;
                };
                *sum = (known.0 + least, known.1 + most);
            }
        }
        let mut beam = vec![Partial { cost: 0, sums: vec![0; rows.len()], picked: Vec::new() }];
        let mut reference = vec![0.0; rows.len()];
        for (stage, rest) in stages.iter().zip(&rest[1..]) {
            for (sum, amount) in reference.iter_mut().zip(&stage.average) {
                *sum += amount;
            }
            beam = stage.extend(&beam, &rows, rest, slack);
            if beam.len() > BEAM {
                let far = |partial: &Partial| -> f64 {
                    let off = partial.sums.iter().zip(&reference).map(|(&sum, at)| (sum as f64 - at).abs());
                    partial.cost as f64 / scale as f64 + off.sum::<f64>() * DISTANCE
                };
                let mut scored: Vec<(f64, Partial)> = beam.into_iter().map(|it| (far(&it), it)).collect();
                scored.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.sums.cmp(&b.1.sums)));
                scored.truncate(BEAM);
                beam = scored.into_iter().map(|(_, partial)| partial).collect();
            }
        }
        beam.sort_by(|a, b| a.cost.cmp(&b.cost).then_with(|| a.sums.cmp(&b.sums)));
        for partial in beam {
            let mut picked = self.picked.clone();
            for (stage, column) in stages.iter().zip(&partial.picked) {
                picked[stage.block] = *column;
            }
            self.take(level, picked);
            if self.totals[level] >= bound {
                break;
            }
        }
    }

    /// The rows that a choice of columns must keep: earlier levels that no strict objective holds, and links.
    fn rows(&self, level: usize) -> Vec<PickRow> {
        let of_levels = (0..level).filter(|&dim| !self.held[dim]).map(|dim| PickRow {
            dim,
            lower: Some(self.fixed[dim]),
            upper: None,
        });
        let of_links = (0..self.links.len()).map(|link| {
            let (lower, upper) = self.limits(link);
            let exact = self.used_up(link);
            PickRow { dim: self.levels + link, lower: exact.or(lower), upper: exact.or(upper) }
        });
        of_levels.chain(of_links).collect()
    }

    /// The columns of a block that a better answer can be made of, cheapest first.
    fn stage(&self, block: usize, priced: &Priced, slack: i64, rows: &[PickRow], mix: &Mix) -> Stage {
        let of = &self.blocks[block];
        let sums = |column: &Column| -> Vec<i64> { rows.iter().map(|row| column.totals[row.dim]).collect() };
        let mut choices: Vec<PickChoice> = Vec::new();
        for (number, column) in of.columns.iter().enumerate() {
            let cost = priced.values[block] - priced.objective.of(&column.totals);
            if cost <= slack && self.is_strict(block, column) {
                choices.push(PickChoice { column: number, cost, sums: sums(column) });
            }
        }
        choices.sort_by(|a, b| a.sums.cmp(&b.sums).then(a.cost.cmp(&b.cost)));
        choices.dedup_by(|later, earlier| later.sums == earlier.sums);
        choices.sort_by(|a, b| a.cost.cmp(&b.cost).then_with(|| a.sums.cmp(&b.sums)));
        let mut average = vec![0.0; rows.len()];
        for &(number, weight) in mix {
            for (sum, amount) in average.iter_mut().zip(sums(&of.columns[number])) {
                *sum += weight * amount as f64;
            }
        }
        Stage { block, choices, average }
    }

    /// What a mix uses of a link, on the average.
    fn average(&self, block: usize, mix: &Mix, link: usize) -> f64 {
        let used = |number: usize| self.blocks[block].columns[number].totals[self.levels + link] as f64;
        mix.iter().map(|&(number, weight)| weight * used(number)).sum()
    }

    /// A block's problem with limits on its links, under the strict objectives and one more.
    fn within(&self, block: &Block<'_>, last: &Objective, limits: impl Fn(usize) -> Limits) -> Problem {
        let mut limited = block.part.problem.clone();
        for (link, dim) in block.links.iter().enumerate() {
            let Some(dim) = dim else { continue };
            (limited.rows[dim.index() - self.levels].lower, limited.rows[dim.index() - self.levels].upper) =
                limits(link);
        }
        let rows: Vec<&Objective> = self.strict.iter().chain([last]).collect();
        priced(&limited, block, self.levels, &rows)
    }

    /// Solves the blocks that are mixed with the links used as nearly as whole numbers can; what one cannot have the next one gets.
    fn aim(&mut self, priced: &Priced, mix: &[Mix], turn: usize, termination: &mut dyn Termination) {
        let share = termination.left() / 16 / self.blocks.len() as u64 + 1;
        let count = self.blocks.len();
        let mut carry = vec![0.0; self.links.len()];
        let mut targets: Vec<Option<Vec<i64>>> = vec![None; count];
        for step in 0..count {
            let block = (step + turn * (count / TURNS).max(1)) % count;
            if mix[block].len() < 2 {
                continue;
            }
            let whole = carry.iter_mut().enumerate().map(|(link, carry)| {
                let wanted = self.average(block, &mix[block], link) + *carry;
                *carry = wanted - wanted.round();
                wanted.round() as i64
            });
            targets[block] = Some(whole.collect());
        }
        let answers = each(&self.blocks, |position, block| {
            let target = targets[position].as_ref()?;
            let aimed = self.within(block, &priced.objective, |link| {
                let (lower, upper) = self.limits(link);
                (lower.map(|_| target[link]), upper.map(|_| target[link]))
            });
            let mut start = || block.columns.iter().map(|column| column.solution.clone()).collect();
            let mut limit = WorkLimit::new(share);
            let outcome = solve_from(&aimed, &[], &mut start, &mut limit, Effort::Attempts(1)).ok();
            Some((outcome, share - limit.left()))
        });
        self.enter_all(answers, termination, |_| None);
    }

    /// Solves every block at prices a little off those of the bound, differently for each, for columns that are nearly as good.
    fn vary(&mut self, priced: &Priced, turn: usize, attempts: usize, termination: &mut dyn Termination) {
        let objectives: Vec<Objective> = (0..self.blocks.len())
            .map(|block| {
                let mut objective = priced.objective.clone();
                for (link, weight) in objective.weights[self.levels..].iter_mut().enumerate() {
                    // A fixed pattern of -1, 0 and 1 without a period that blocks and links could share.
                    *weight =
                        *weight * FINE + [0, 1, -1, 0, -1, 1, 0][(block * 5 + link * 3 + turn * 11 + block * link) % 7];
                }
                for weight in &mut objective.weights[..self.levels] {
                    *weight *= FINE;
                }
                objective
            })
            .collect();
        self.ask(&objectives.iter().map(Some).collect::<Vec<_>>(), attempts, termination);
    }

    /// Makes one answer of the mix: block by block each takes about its share of the links, and the last few, as one, exactly what is left.
    fn assemble(&mut self, level: usize, priced: &Priced, mix: &[Mix], turn: usize, termination: &mut dyn Termination) {
        let size = |block: usize| self.blocks[block].part.problem.classes.len();
        let mut mixed: Vec<usize> = (0..self.blocks.len()).filter(|&block| mix[block].len() > 1).collect();
        mixed.sort_by_key(|&block| (size(block), block));
        let count = mixed.len().max(1);
        mixed.rotate_left(turn * 3 % count);
        let mut last = Vec::new();
        let mut classes = 0;
        while let Some(&block) = mixed.last() {
            if last.len() >= 2 && (classes + size(block) > MERGED || last.len() >= TOGETHER) {
                break;
            }
            classes += size(block);
            last.push(block);
            mixed.pop();
        }
        if last.is_empty() {
            return;
        }
        let first = |(mix, &now): (&Mix, &usize)| mix.first().map_or(now, |&(number, _)| number);
        let mut picked: Vec<usize> = mix.iter().zip(&self.picked).map(first).collect();
        let share = termination.left() / 16 + 1;
        let mut carry = vec![0.0; self.links.len()];
        for &block in &mixed {
            let of = &self.blocks[block];
            let wanted: Vec<f64> =
                carry.iter().enumerate().map(|(link, carry)| self.average(block, &mix[block], link) + carry).collect();
            let aimed = self.within(of, &priced.objective, |link| {
                let (lower, upper) = self.limits(link);
                let (below, above) = ((wanted[link] + 1e-6).floor() as i64, (wanted[link] - 1e-6).ceil() as i64);
                (lower.map(|_| below), upper.map(|_| above))
            });
            let mut start = || of.columns.iter().map(|column| column.solution.clone()).collect();
            let mut limit = WorkLimit::new(share);
            let outcome = solve_from(&aimed, &[], &mut start, &mut limit, Effort::Attempts(1)).ok();
            termination.spend(share - limit.left());
            picked[block] = if let Some(outcome) = outcome {
                self.enter(block, outcome.solution).0
            } else {
                let far = |number: usize| -> f64 {
                    let used = &self.blocks[block].columns[number].totals[self.levels..];
                    used.iter().zip(&wanted).map(|(&used, wanted)| (used as f64 - wanted).abs()).sum()
                };
                let numbers = mix[block].iter().map(|&(number, _)| number);
                numbers.min_by(|&a, &b| far(a).total_cmp(&far(b))).unwrap_or(picked[block])
            };
            let used = &self.blocks[block].columns[picked[block]].totals[self.levels..];
            carry = wanted.iter().zip(used).map(|(wanted, &used)| wanted - used as f64).collect();
        }
        if let Some(picked) = self.solve_merged(level, &picked, &last, termination) {
            self.take(level, picked);
        }
    }

    /// Solves a few blocks as one, all others as they are; begins with those that are furthest from what the prices say they are worth.
    fn merge(&mut self, progress: &Progress, priced: &Priced, termination: &mut dyn Termination) {
        let &Progress { level, bound, .. } = progress;
        let count = self.blocks.len();
        let mut quiet = 0;
        let mut turn = 0;
        while quiet < MERGES && self.totals[level] < bound && !termination.spend(0) {
            let mut order: Vec<(i64, usize)> = (0..count)
                .map(|block| {
                    let column = &self.blocks[block].columns[self.picked[block]];
                    (priced.objective.of(&column.totals) - priced.values[block], block)
                })
                .collect();
            order.sort_unstable();
            let first = turn % count.div_ceil(2);
            let mut members = vec![order[first].1];
            let mut size = self.blocks[members[0]].part.problem.classes.len();
            for step in 1..count {
                let other = order[(first + step + turn / count.div_ceil(2) * 3) % count].1;
                let more = self.blocks[other].part.problem.classes.len();
                if members.len() < TOGETHER && !members.contains(&other) && size + more <= MERGED {
                    members.push(other);
                    size += more;
                }
            }
            turn += 1;
            let now = self.picked.clone();
            let better = members.len() > 1
                && self.solve_merged(level, &now, &members, termination).is_some_and(|it| self.take(level, it));
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
        let mut merged = merge(self.problem, &parts, self.links);
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
        let dims = merged.problem.dims();
        let weights: Vec<Vec<i64>> =
            (0..=level).map(|of| (0..dims).map(|dim| i64::from(dim == of)).collect()).collect();
        let narrowed = merged.problem.with_levels(&weights);
        let whole = self.join(picked);
        let mut start = || vec![merged.restrict(&whole)];
        let given: Vec<i64> = self.fixed.iter().zip(&others).map(|(fixed, others)| fixed - others).collect();
        let share = termination.left() / 16 + 1;
        let mut limit = WorkLimit::new(share);
        let outcome = solve_from(&narrowed, &given, &mut start, &mut limit, Effort::Attempts(1));
        termination.spend(share - limit.left());
        let lifted = merged.lift(self.problem, &outcome.ok()?.solution);
        let mut picked = picked.to_vec();
        for &block in members {
            let solution = self.blocks[block].part.restrict(&lifted);
            picked[block] = self.enter(block, solution).0;
        }
        Some(picked)
    }

    /// Solves every block for itself on all levels, with the links used as they are.
    fn polish(&mut self, termination: &mut dyn Termination) {
        let share = termination.left() / 2 / self.blocks.len() as u64 + 1;
        let answers = each(&self.blocks, |position, block| {
            let column = &block.columns[self.picked[position]];
            let mut alone = block.part.problem.clone();
            for (link, dim) in block.links.iter().enumerate() {
                let Some(dim) = dim else { continue };
                let (lower, upper) = self.limits(link);
                let used = column.totals[self.levels + link];
                let row = &mut alone.rows[dim.index() - self.levels];
                (row.lower, row.upper) = (lower.map(|_| used), upper.map(|_| used));
            }
            let mut start = || vec![column.solution.clone()];
            let mut limit = WorkLimit::new(share);
            let outcome = solve_from(&alone, &[], &mut start, &mut limit, Effort::Attempts(1)).ok();
            Some((outcome, share - limit.left()))
        });
        let before: Vec<usize> = self.blocks.iter().map(|block| block.columns.len()).collect();
        self.enter_all(answers, termination, |_| None);
        // The new column of each block, if it has one, is the last.
        let last = |(block, (&now, before)): (&Block<'_>, (&usize, usize))| {
            if block.columns.len() > before { block.columns.len() - 1 } else { now }
        };
        let picked = self.blocks.iter().zip(self.picked.iter().zip(before)).map(last).collect();
        self.take(self.levels - 1, picked);
    }
}

/// Does something within a part of the work that is left.
fn part_of(termination: &mut dyn Termination, work: impl FnOnce(&mut dyn Termination)) {
    let share = termination.left() / 2 + 1;
    let mut limit = WorkLimit::new(share);
    work(&mut limit);
    termination.spend(share - limit.left());
}

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

struct PickChoice {
    column: usize,
    /// What it is worth less than the block's best.
    cost: i64,
    /// What it contributes to each row.
    sums: Vec<i64>,
}

/// Columns of the first blocks.
struct Partial {
    cost: i64,
    sums: Vec<i64>,
    picked: Vec<usize>,
}

impl Stage {
    /// Adds a column of the block to each partial choice, in all ways that the rows and the slack allow.
    fn extend(&self, beam: &[Partial], rows: &[PickRow], rest: &[(i64, i64)], slack: i64) -> Vec<Partial> {
        let mut next: BTreeMap<Vec<i64>, Partial> = BTreeMap::new();
        for partial in beam {
            for choice in &self.choices {
                let cost = partial.cost + choice.cost;
                if cost > slack {
                    break;
                }
                let sums: Vec<i64> = partial.sums.iter().zip(&choice.sums).map(|(a, b)| a + b).collect();
                let open = rows.iter().zip(&sums).zip(rest).all(|((row, sum), (least, most))| {
                    row.lower.is_none_or(|lower| sum + most >= lower)
                        && row.upper.is_none_or(|upper| sum + least <= upper)
                });
                if !open || next.get(&sums).is_some_and(|known| known.cost <= cost) {
                    continue;
                }
                let picked = partial.picked.iter().copied().chain([choice.column]).collect();
                next.insert(sums.clone(), Partial { cost, sums, picked });
            }
        }
        next.into_values().collect()
    }
}

/// A block's problem with objectives for levels.
fn priced(problem: &Problem, block: &Block<'_>, levels: usize, objectives: &[&Objective]) -> Problem {
    let mut weights = vec![vec![0i64; problem.dims()]; objectives.len()];
    for (row, objective) in weights.iter_mut().zip(objectives) {
        row[..levels].copy_from_slice(&objective.weights[..levels]);
        for (dim, &weight) in block.links.iter().zip(&objective.weights[levels..]) {
            if let Some(dim) = dim {
                row[dim.index()] = weight;
            }
        }
    }
    problem.with_levels(&weights)
}

/// Prices in units of 1/[`SCALE`] as fractions of the smallest denominator that fits them, or of the largest where none does.
fn rounded(prices: &[i64]) -> Objective {
    let fits = |denominator: i64| {
        prices.iter().all(|&price| {
            let scaled = price.saturating_mul(denominator);
            (scaled - (scaled as f64 / SCALE as f64).round() as i64 * SCALE).abs() < SCALE / 1_000
        })
    };
    let denominator = DENOMINATORS.into_iter().find(|&it| fits(it)).unwrap_or(DENOMINATORS[DENOMINATORS.len() - 1]);
    let weight = |&price: &i64| (price.saturating_mul(denominator) as f64 / SCALE as f64).round() as i64;
    Objective { weights: prices.iter().map(weight).collect() }
}

/// Prices half-way between those of the best bound so far and those of the linear program, as coarse fractions: fewer rounds go astray.
fn between(level: usize, best: Option<&Priced>, exact: &Objective) -> Objective {
    let of = |objective: &Objective, at: usize| objective.weights[at] as f64 / objective.weights[level] as f64;
    let weight = |at: usize| {
        let half = f64::midpoint(of(exact, at), best.map_or(0.0, |best| of(&best.objective, at)));
        if at == level { COARSE } else { (half * COARSE as f64).round() as i64 }
    };
    Objective { weights: (0..exact.weights.len()).map(weight).collect() }
}

/// Most rounds of pricing for a level.
const ROUNDS: u32 = 80;

/// Most attempts at a block whose bound was not reached.
const ATTEMPTS: usize = 3;

/// Denominators of prices.
const DENOMINATORS: [i64; 6] = [1, 2, 3, 4, 6, 12];

/// Denominator of prices while they are sought.
const COARSE: i64 = 2;

/// What prices are multiplied by before they are varied by 1.
const FINE: i64 = 4;

/// Sums that are kept from block to block when columns are picked.
const BEAM: usize = 200;

/// What a unit of distance from the linear program's sums weighs against a unit of the level.
const DISTANCE: f64 = 0.25;

/// Times that new columns are sought around the mix before blocks are merged.
const TURNS: usize = 4;

/// Most blocks that are solved as one.
const TOGETHER: usize = 4;

/// Merged problems in a row that may bring nothing.
const MERGES: usize = 8;

/// Most classes of a merged problem.
const MERGED: usize = 160;

/// Stands for a bound that is not known.
const UNBOUNDED: i64 = i64::MAX / 8;
