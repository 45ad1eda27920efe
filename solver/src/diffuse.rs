//! Turns the mix of choices that the relaxation ends with into one answer: spread the rounding error, then repair it.
//!
//! The relaxation's optimum mixes a few complete choices. Machine by machine, each takes the choice that keeps the running
//! difference from the mix smallest, so that the sums of all machines end up a few units away from the mix whatever their number. A small
//! integer program over exchanges between choices close to the bound then makes the sums exact.

use std::collections::BTreeMap;

use crate::master::{Relaxation, VarBounds, limits};
use crate::near::{Near, Vector, subtract};
use crate::price::{Book, ClassValue, Pricing};
use crate::problem::{ClassId, Dim, GroupId, Problem};
use crate::program::{Answer, Program};
use crate::solution::{ActiveGroup, Solution};
use crate::termination::Termination;

/// Most kinds of exchanges in the repairing program.
const EXCHANGES: usize = 150;

/// Most paths looked at for one machine's exchanges.
const PATHS: u32 = 96;

/// How many different uses of classes are looked at for exchanges, in successive attempts.
const SAMPLES: [usize; 2] = [160, 4_000];

/// Most times that one kind of exchange is used.
const TIMES: i64 = 40;

/// Search nodes of the repairing program.
const NODES: u64 = 80;

/// A copy of a group: active or not, and per machine its member and path (a number in the book; `None` idles).
#[derive(Debug, Clone)]
struct Unit {
    group: usize,
    active: bool,
    machines: Vec<(usize, Option<u16>)>,
}

/// Finds an answer of at least the value `least` on a level, the best that exchanges lead to from the relaxation's mix.
#[expect(clippy::too_many_arguments, reason = "the level as it stands, and what the search carries along")]
pub(crate) fn reach(
    problem: &Problem,
    level: usize,
    fixed: &[i64],
    bounds: &VarBounds,
    relaxation: &Relaxation,
    least: i64,
    book: &mut Book,
    termination: &mut dyn Termination,
) -> Option<Solution> {
    let slack = relaxation.slack_to(least.max(relaxation.bound.saturating_sub(FAR)))?;
    let pricing = Pricing::new(problem, &relaxation.prices);
    let values = pricing.classes();
    let mut diffusion = Diffusion {
        problem,
        level,
        fixed,
        bounds,
        relaxation,
        least,
        pricing,
        values,
        slack,
        book,
        termination,
        complete: false,
    };
    let units = diffusion.spread();
    if diffusion.termination.spend(units.len() as u64 * WORK_PER_UNIT) {
        return None;
    }
    // A sample of the machines usually offers all exchanges that are needed; where it does not, all are looked at.
    SAMPLES.into_iter().find_map(|sample| diffusion.repair(&mut units.clone(), sample))
}

/// How far below the bound choices are still looked at.
const FAR: i64 = 3;

/// Work that spreading the error over one copy of a group stands for.
const WORK_PER_UNIT: u64 = 3_000;

/// What a unit of the level outweighs in the repairing program: as many exchanges.
const WORTH: f64 = 64.0;

struct Diffusion<'a, 'b> {
    problem: &'a Problem,
    level: usize,
    fixed: &'a [i64],
    bounds: &'a VarBounds,
    relaxation: &'a Relaxation,
    /// Least value on the level.
    least: i64,
    pricing: Pricing<'a>,
    values: Vec<ClassValue>,
    slack: i64,
    book: &'b mut Book,
    termination: &'b mut dyn Termination,
    /// Whether the last attempt looked at all machines.
    complete: bool,
}

/// What a machine could do instead: what that changes, and the path.
type Alternatives = Vec<(Vector, Option<u16>)>;

/// One way a machine is used in the mix, with its share.
type Shares = Vec<(f64, Option<u16>)>;

impl Diffusion<'_, '_> {
    fn counts(&self, dim: Dim) -> bool {
        dim.index() <= self.level || dim.index() >= self.problem.levels
    }

    /// What a machine contributes to the dimensions at hand.
    fn vector(&self, class: ClassId, path: Option<u16>) -> Vector {
        let terms = match path {
            Some(number) => self.book.path(class, number).vector.as_slice(),
            None => self.problem.terms(self.problem.classes[class.index()].idle),
        };
        terms.iter().copied().filter(|&(dim, _)| self.counts(dim)).collect()
    }

    /// Largest amount per dimension, to weigh errors of different dimensions against each other.
    fn scales(&self) -> Vec<f64> {
        let mut scales = vec![1.0f64; self.problem.dims()];
        for terms in &self.problem.effects {
            for &(dim, amount) in terms {
                let scale = &mut scales[dim.index()];
                *scale = scale.max(amount.unsigned_abs() as f64);
            }
        }
        scales
    }

    /// Follows the mix as closely as single machines can.
    fn spread(&self) -> Vec<Unit> {
        let scales = self.scales();
        let mut error = vec![0.0; self.problem.dims()];
        let mut units = Vec::new();
        let ranges = crate::master::blocks(self.problem);
        for (block, range) in ranges.into_iter().enumerate() {
            let shares: Vec<_> = self.relaxation.mix.iter().filter(|(of, _, _)| *of == block).collect();
            let total: f64 = shares.iter().map(|(_, weight, _)| weight).sum();
            for group in range {
                let of = &self.problem.groups[group];
                let running = |choice: &Option<std::rc::Rc<crate::price::Choice>>| {
                    choice.as_ref().is_some_and(|choice| choice.active[group])
                };
                let active: f64 =
                    shares.iter().filter(|(_, _, choice)| running(choice)).map(|(_, weight, _)| weight / total).sum();
                let open = self.open(group);
                if active < 1e-9 && !open {
                    continue;
                }
                let uses: Vec<(ClassId, u32, Shares)> = of
                    .members
                    .iter()
                    .map(|&(class, count)| {
                        let mut uses = Shares::new();
                        for (_, weight, choice) in shares.iter().filter(|(_, _, choice)| running(choice)) {
                            let path = choice.as_ref().and_then(|choice| choice.paths[class.index()]);
                            match uses.iter_mut().find(|(_, known)| *known == path) {
                                Some((share, _)) => *share += weight / total / active,
                                None => uses.push((weight / total / active, path)),
                            }
                        }
                        (class, count, uses)
                    })
                    .collect();
                for _ in 0..of.count {
                    units.push(self.unit(group, active, &uses, &scales, &mut error));
                }
            }
        }
        units
    }

    /// Whether a group could as well be active as idle.
    fn open(&self, group: usize) -> bool {
        let (active, idle) = self.pricing.group(group, &self.values);
        (active - idle).abs() <= self.slack
    }

    /// Decides one copy of a group and carries the error on.
    fn unit(
        &self,
        group: usize,
        active: f64,
        uses: &[(ClassId, u32, Shares)],
        scales: &[f64],
        error: &mut [f64],
    ) -> Unit {
        let of = &self.problem.groups[group];
        let running = if active > 1.0 - 1e-9 {
            true
        } else if active < 1e-9 {
            false
        } else {
            // What being active means on the average, relative to idling.
            let mut change = vec![0.0; error.len()];
            let mut add = |terms: &[(Dim, i64)], times: f64| {
                for &(dim, amount) in terms.iter().filter(|&&(dim, _)| self.counts(dim)) {
                    change[dim.index()] += amount as f64 * times;
                }
            };
            add(self.problem.terms(of.active), 1.0);
            add(self.problem.terms(of.idle), -1.0);
            for (class, count, shares) in uses {
                let idle = self.vector(*class, None);
                for (share, path) in shares {
                    add(&self.vector(*class, *path), share * f64::from(*count));
                    add(&idle, -share * f64::from(*count));
                }
            }
            let norm = |taken: f64| -> f64 {
                change
                    .iter()
                    .zip(error.iter())
                    .zip(scales)
                    .map(|((c, e), s)| ((e + (active - taken) * c) / s).powi(2))
                    .sum()
            };
            let running = norm(1.0) < norm(0.0);
            let taken = if running { 1.0 } else { 0.0 };
            for (sum, part) in error.iter_mut().zip(&change) {
                *sum += (active - taken) * part;
            }
            running
        };
        let mut machines = Vec::new();
        for (member, (class, count, shares)) in uses.iter().enumerate() {
            for _ in 0..*count {
                let path = if running { self.machine(*class, shares, scales, error) } else { None };
                machines.push((member, path));
            }
        }
        Unit { group, active: running, machines }
    }

    /// Decides one machine of an active copy and carries the error on.
    fn machine(&self, class: ClassId, shares: &Shares, scales: &[f64], error: &mut [f64]) -> Option<u16> {
        let [(_, only)] = shares.as_slice() else {
            let vectors: Vec<Vector> = shares.iter().map(|(_, path)| self.vector(class, *path)).collect();
            for ((share, _), vector) in shares.iter().zip(&vectors) {
                for &(dim, amount) in vector {
                    error[dim.index()] += share * amount as f64;
                }
            }
            let cost = |vector: &Vector| -> f64 {
                vector
                    .iter()
                    .map(|&(dim, amount)| {
                        let (e, s) = (error[dim.index()], scales[dim.index()]);
                        ((e - amount as f64) / s).powi(2) - (e / s).powi(2)
                    })
                    .sum()
            };
            let best = (0..vectors.len()).min_by(|&a, &b| cost(&vectors[a]).total_cmp(&cost(&vectors[b])))?;
            for &(dim, amount) in &vectors[best] {
                error[dim.index()] -= amount as f64;
            }
            return shares[best].1;
        };
        *only
    }

    /// Makes the sums exact by exchanging choices of single machines and of whole groups.
    fn repair(&mut self, units: &mut [Unit], sample: usize) -> Option<Solution> {
        if self.complete {
            return None;
        }
        let exchanges = self.exchanges(units, sample);
        let mut base = self.totals(units);
        let mut kinds: Vec<(&Vector, &Vec<Exchange>)> = exchanges.iter().collect();
        kinds.sort_by_key(|(vector, sources)| {
            let norm: i64 = vector.iter().map(|(_, amount)| amount.abs().min(1_000)).sum();
            (vector.len() as i64 + norm, std::cmp::Reverse(sources.len()))
        });
        kinds.truncate(EXCHANGES);
        let mut program = Program::default();
        let mut sums: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.problem.dims()];
        for (vector, sources) in &kinds {
            let worth = at(vector, self.level) as f64 * WORTH - 1.0;
            let column = program.var((sources.len() as i64).min(TIMES), worth);
            for &(dim, amount) in *vector {
                sums[dim.index()].push((column, amount as f64));
            }
        }
        let mut vars = Vec::new();
        for (var, &(least, most)) in self.problem.vars.iter().zip(self.bounds) {
            let value = self.pricing.effect(var.effect);
            let open = value.abs() <= self.slack && most > least;
            let settled = if !open && value > 0 { most } else { least };
            let column = open.then(|| {
                let column = program.var(most - least, at(self.problem.terms(var.effect), self.level) as f64 * WORTH);
                for &(dim, amount) in self.problem.terms(var.effect).iter().filter(|&&(dim, _)| self.counts(dim)) {
                    sums[dim.index()].push((column, amount as f64));
                }
                column
            });
            for &(dim, amount) in self.problem.terms(var.effect) {
                base[dim.index()] += amount * settled;
            }
            vars.push((settled, column));
        }
        for (dim, terms) in sums.into_iter().enumerate() {
            let (lower, upper) =
                if dim == self.level { (Some(self.least), None) } else { limits(self.problem, dim, self.fixed) };
            let met = lower.is_none_or(|bound| base[dim] >= bound) && upper.is_none_or(|bound| base[dim] <= bound);
            if terms.is_empty() {
                if !met {
                    return None;
                }
            } else if lower.is_some() || upper.is_some() {
                program.row(terms, lower.map(|bound| bound - base[dim]), upper.map(|bound| bound - base[dim]));
            }
        }
        let Answer::Values(values, _) = program.solve(NODES, None, self.termination) else { return None };
        let mut moved = vec![Vec::new(); units.len()];
        for ((_, sources), &times) in kinds.iter().zip(&values) {
            self.exchange(units, &mut moved, sources, times)?;
        }
        let vars = vars
            .into_iter()
            .map(|(settled, column)| settled + column.map_or(0, |column: usize| values[column]))
            .collect();
        Some(self.solution(units, vars))
    }

    /// Applies one kind of exchange as often as asked, each time to a machine that was not exchanged before.
    fn exchange(&self, units: &mut [Unit], moved: &mut [Vec<usize>], sources: &[Exchange], times: i64) -> Option<()> {
        let mut left = times;
        for source in sources {
            if left == 0 {
                break;
            }
            let touched = &mut moved[source.unit];
            match source.machine {
                Some((machine, path)) if !touched.contains(&machine) && !touched.contains(&usize::MAX) => {
                    units[source.unit].machines[machine].1 = path;
                    touched.push(machine);
                    left -= 1;
                }
                None if touched.is_empty() => {
                    self.flip(&mut units[source.unit]);
                    touched.push(usize::MAX);
                    left -= 1;
                }
                Some(_) | None => {}
            }
        }
        (left == 0).then_some(())
    }

    /// Turns a copy of a group from active to idle or back.
    fn flip(&self, unit: &mut Unit) {
        unit.active = !unit.active;
        let members = &self.problem.groups[unit.group].members;
        for (member, path) in &mut unit.machines {
            *path = if unit.active { self.best(members[*member].0) } else { None };
        }
    }

    /// The best path that is already in the book, where it beats idling.
    fn best(&self, class: ClassId) -> Option<u16> {
        let value = self.values[class.index()];
        if value.active <= value.idle {
            return None;
        }
        let target = value.active;
        self.book.numbers(class).find(|&number| self.pricing.vector(&self.book.path(class, number).vector) == target)
    }

    fn totals(&self, units: &[Unit]) -> Vec<i64> {
        let mut totals = vec![0; self.problem.dims()];
        let mut idle: Vec<i64> = self.problem.groups.iter().map(|group| i64::from(group.count)).collect();
        for unit in units {
            idle[unit.group] -= 1;
            for (dim, amount) in self.unit_vector(unit) {
                totals[dim.index()] += amount;
            }
        }
        for (group, &copies) in idle.iter().enumerate() {
            self.problem.add_group(group, copies, false, |_| None, &mut totals);
        }
        totals
    }

    fn unit_vector(&self, unit: &Unit) -> Vector {
        let of = &self.problem.groups[unit.group];
        let running = unit.active;
        let mut terms = self.problem.terms(if running { of.active } else { of.idle }).to_vec();
        for (member, path) in &unit.machines {
            let class = of.members[*member].0;
            match path.filter(|_| running) {
                Some(number) => terms.extend_from_slice(&self.book.path(class, number).vector),
                None => terms.extend_from_slice(self.problem.terms(self.problem.classes[class.index()].idle)),
            }
        }
        let mut vector = crate::problem::sum_up(terms);
        vector.retain(|&(dim, _)| self.counts(dim));
        vector
    }

    /// Exchanges between choices close to the bound, by what they change, of at most `sample` different uses.
    fn exchanges(&mut self, units: &[Unit], sample: usize) -> BTreeMap<Vector, Vec<Exchange>> {
        let mut exchanges = BTreeMap::<Vector, Vec<Exchange>>::new();
        let mut known = BTreeMap::<(ClassId, Option<u16>), Alternatives>::new();
        let mut left_out = false;
        for position in strided(units.len()) {
            let unit = &units[position];
            if self.open(unit.group) && exchanges.len() < sample {
                let mut other = unit.clone();
                self.flip(&mut other);
                let vector = subtract(&self.unit_vector(&other), &self.unit_vector(unit));
                exchanges.entry(vector).or_default().push(Exchange { unit: position, machine: None });
            }
            if !unit.active {
                continue;
            }
            for (machine, &(member, path)) in unit.machines.iter().enumerate() {
                let class = self.problem.groups[unit.group].members[member].0;
                if !known.contains_key(&(class, path)) {
                    if known.len() >= sample {
                        left_out = true;
                        continue;
                    }
                    let others = self.others(class, path);
                    known.insert((class, path), others);
                }
                for (vector, to) in &known[&(class, path)] {
                    let exchange = Exchange { unit: position, machine: Some((machine, *to)) };
                    match exchanges.get_mut(vector) {
                        Some(sources) if sources.len() >= 4 * TIMES as usize => {}
                        Some(sources) => sources.push(exchange),
                        None => {
                            exchanges.insert(vector.clone(), vec![exchange]);
                        }
                    }
                }
            }
        }
        self.complete = !left_out;
        exchanges
    }

    /// What a machine on a path could do instead, and what that changes.
    fn others(&mut self, class: ClassId, path: Option<u16>) -> Alternatives {
        let now = self.vector(class, path);
        let near = Near { pricing: &self.pricing, level: self.level, slack: self.slack, most: PATHS };
        let (choices, _) = near.choices(self.problem, class, self.values[class.index()]);
        choices
            .into_iter()
            .filter(|choice| choice.vector != now)
            .map(|choice| {
                let number = choice.path.as_ref().map(|arcs| self.book.number(self.problem, class, arcs));
                (subtract(&choice.vector, &now), number)
            })
            .collect()
    }

    fn solution(&self, units: &[Unit], vars: Vec<i64>) -> Solution {
        let mut active = Vec::new();
        for unit in units.iter().filter(|unit| unit.active) {
            let members = &self.problem.groups[unit.group].members;
            let paths: Vec<_> = unit
                .machines
                .iter()
                .filter_map(|&(member, path)| {
                    let arcs = &self.book.path(members[member].0, path?).arcs;
                    Some((member, arcs.clone(), 1))
                })
                .collect();
            if !paths.is_empty() {
                active.push(ActiveGroup { group: GroupId(unit.group as u32), paths });
            }
        }
        Solution { active, vars }
    }
}

/// What a sum of contributions has on a dimension.
fn at(terms: &[(Dim, i64)], dim: usize) -> i64 {
    terms.iter().find(|(of, _)| of.index() == dim).map_or(0, |&(_, amount)| amount)
}

/// A possible change of one machine (and the path that it would take), or of a whole copy of a group.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    unit: usize,
    machine: Option<(usize, Option<u16>)>,
}

/// All positions below `count`, far from each other first, in an order that is the same every time.
fn strided(count: usize) -> impl Iterator<Item = usize> {
    let stride = (count / 16).max(1);
    (0..stride).flat_map(move |first| (first..count).step_by(stride))
}
