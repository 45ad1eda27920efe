//! How little work must go elsewhere, whatever rule is at work: what a replay can be measured against.
//!
//! Inputs: a [`FleetSpec`] and a [`Workload`]. Output: a proven lower bound of the part of the requested memory-slice-hours that goes elsewhere,
//! for every rule that ends here what it begins here, even one that knows all arrivals and running times, that moves what it likes at no cost,
//! and whose changes take no time.
//!
//! Method: a price per profile and bin of time (Lagrangean relaxation). At any prices, what can be served is worth at most what all GPUs earn
//! in their dearest layouts plus what each piece of work is worth beyond its cheapest times. So no prices can make the bound wrong, only weak;
//! subgradient steps look for good ones. Invariant: never above what goes elsewhere in a history in which nobody who went had run before.

use std::collections::BTreeMap;

use super::fleet::FleetSpec;
use crate::model::{Enumeration, Multiset, ProfileId};
use crate::sim::Workload;

const HOUR: f64 = 3_600_000.0;
/// Shortest bin, in hours; and most bins.
const BIN: f64 = 0.5;
const BINS: f64 = 400.0;
/// Steps, as far as the work allows.
const STEPS: usize = 400;
/// Bins of all work over all steps that are looked at.
const WORK: usize = 15_000_000;
/// The first step of a price, in worths of its profile, and by how much the last is shorter. Found by comparing with the exact linear program on
/// uniform work at a load of 1.1, of whose bound these reach nine tenths.
const STEP: f64 = 2.0;
const SHRINK: f64 = 20.0;

/// A piece of work, in hours.
#[derive(Debug)]
struct Job {
    from: f64,
    until: f64,
    runs: f64,
    /// Profiles, by position, and how many instances of each.
    takes: Vec<(usize, f64)>,
    worth: f64,
}

/// The problem: layouts, bins, and work that has to fit into both.
#[derive(Debug)]
struct Problem {
    gpus: f64,
    /// Instances of each profile in each layout to which nothing can be added.
    layouts: Vec<Vec<f64>>,
    /// Memory slices of each profile.
    slices: Vec<f64>,
    width: f64,
    bins: usize,
    jobs: Vec<Job>,
}

/// Least part of the requested memory-slice-hours that must go elsewhere, 0 to 1.
pub fn least_elsewhere(fleet: &FleetSpec, workload: &Workload) -> f64 {
    let (problem, requested) = Problem::new(fleet, workload);
    if problem.jobs.is_empty() || requested <= 0.0 {
        return 0.0;
    }
    (problem.excess() / requested).clamp(0.0, 1.0)
}

impl Problem {
    /// The problem, and all that is asked for; what waits for ever counts as asked for only.
    fn new(fleet: &FleetSpec, workload: &Workload) -> (Self, f64) {
        let geometry = &fleet.geometry;
        let mut profiles: Vec<ProfileId> = Vec::new();
        let mut positions = BTreeMap::<ProfileId, usize>::new();
        let mut jobs = Vec::new();
        let mut requested = 0.0;
        for arrival in &workload.arrivals {
            let known = arrival.instances.iter().filter_map(|(name, &count)| Some((geometry.find(name)?, count)));
            let mut takes = Vec::new();
            let mut slices = 0.0;
            for (id, count) in known {
                let position = *positions.entry(id).or_insert_with(|| {
                    profiles.push(id);
                    profiles.len() - 1
                });
                slices += f64::from(geometry.profile(id).size.unwrap_or(0)) * f64::from(count);
                takes.push((position, f64::from(count)));
            }
            let (from, runs) = (arrival.at as f64 / HOUR, arrival.runs as f64 / HOUR);
            requested += slices * runs;
            if let Some(patience) = arrival.patience {
                let until = from + runs + patience as f64 / HOUR;
                jobs.push(Job { from, until, runs, takes, worth: slices * runs });
            }
        }
        let horizon = jobs.iter().map(|job| job.until).fold(0.0, f64::max);
        let width = (horizon / BINS).max(BIN);
        let row = |multiset: &Multiset| profiles.iter().map(|&id| f64::from(multiset.count(id))).collect();
        let problem = Self {
            gpus: f64::from(fleet.gpus),
            layouts: Enumeration::new(geometry, &profiles).pareto().keys().map(row).collect(),
            slices: profiles.iter().map(|&id| f64::from(geometry.profile(id).size.unwrap_or(0))).collect(),
            width,
            bins: (horizon / width).ceil() as usize,
            jobs,
        };
        (problem, requested)
    }

    /// The work that cannot be served, at the best prices that are found.
    fn excess(&self) -> f64 {
        let all: f64 = self.jobs.iter().map(|job| job.worth).sum();
        let touched: usize = self.jobs.iter().map(|job| self.window(job).len()).sum();
        let steps = (WORK / touched.max(1)).clamp(50, STEPS);
        let mut prices = vec![vec![0.0; self.slices.len()]; self.bins];
        let mut squares = prices.clone();
        let mut best = all;
        for step in 0..steps {
            let (value, slope) = self.value(&prices);
            best = best.min(value);
            // Steps grow shorter, each price by what it has met.
            let shrink = STEP / (1.0 + SHRINK * step as f64 / steps as f64);
            for (bin, slopes) in slope.iter().enumerate() {
                for (profile, slope) in slopes.iter().enumerate() {
                    squares[bin][profile] += slope * slope;
                    let length = shrink * self.slices[profile] / squares[bin][profile].sqrt().max(1e-12);
                    prices[bin][profile] = (prices[bin][profile] - length * slope).max(0.0);
                }
            }
        }
        all - best
    }

    fn window(&self, job: &Job) -> std::ops::Range<usize> {
        let first = (job.from / self.width) as usize;
        let last = ((job.until / self.width).ceil() as usize).min(self.bins);
        first..last.max(first)
    }

    /// The most that can be served at some prices, and how it grows with each of them.
    fn value(&self, prices: &[Vec<f64>]) -> (f64, Vec<Vec<f64>>) {
        let mut value = 0.0;
        let mut slope = Vec::with_capacity(self.bins);
        for prices in prices {
            let earns = |layout: &Vec<f64>| layout.iter().zip(prices).map(|(count, price)| count * price).sum::<f64>();
            let dearest = self.layouts.iter().map(|layout| (earns(layout), layout)).max_by(|a, b| a.0.total_cmp(&b.0));
            let supply = self.gpus * self.width;
            value += dearest.map_or(0.0, |(earned, _)| earned * supply);
            slope
                .push(dearest.map_or_else(Vec::new, |(_, layout)| layout.iter().map(|count| count * supply).collect()));
        }
        let mut times = Vec::new();
        for job in &self.jobs {
            let cost = self.cheapest(job, prices, &mut times);
            if cost < job.worth {
                value += job.worth - cost;
                for &(_, length, bin) in &times {
                    for &(profile, count) in &job.takes {
                        slope[bin][profile] -= length * count;
                    }
                }
            }
        }
        (value, slope)
    }

    /// What the cheapest times of a piece of work cost at some prices. `times` becomes these: price, hours, bin.
    fn cheapest(&self, job: &Job, prices: &[Vec<f64>], times: &mut Vec<(f64, f64, usize)>) -> f64 {
        times.clear();
        for bin in self.window(job) {
            let (start, end) = (bin as f64 * self.width, (bin + 1) as f64 * self.width);
            let length = end.min(job.until) - start.max(job.from);
            let price = job.takes.iter().map(|&(profile, count)| prices[bin][profile] * count).sum::<f64>();
            times.push((price, length, bin));
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
        let mut rest = job.runs;
        let mut cost = 0.0;
        let mut used = 0;
        for (price, length, _) in times.iter_mut() {
            if rest <= 0.0 {
                break;
            }
            *length = length.min(rest);
            rest -= *length;
            cost += *price * *length;
            used += 1;
        }
        times.truncate(used);
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Policy;
    use crate::sim::replay::baselines::{Packer, Rule};
    use crate::sim::replay::fleet::parse_gpus;
    use crate::sim::replay::generate::{Mix, Recipe};
    use crate::sim::replay::{Case, Setup, instant_engine, run};
    use crate::sim::{Arrival, Kind};

    fn fleet(text: &str) -> FleetSpec {
        let (gpus, geometry) = parse_gpus(text).expect("a fleet");
        FleetSpec::new(geometry, gpus, 4)
    }

    fn jobs(count: usize, profile: &str, hours: u64, patience: Option<u64>) -> Workload {
        let job = |index: usize| Arrival {
            at: 0,
            name: format!("w{index}"),
            instances: [(profile.to_owned(), 1)].into(),
            runs: hours * 3_600_000,
            priority: 0,
            kind: Kind::Job,
            patience: patience.map(|hours| hours * 3_600_000),
        };
        Workload { arrivals: (0..count).map(job).collect() }
    }

    #[test]
    fn what_does_not_fit_into_the_time_must_go_elsewhere() {
        // Twelve of twenty hours fit on the one GPU until the patience of both is over.
        let bound = least_elsewhere(&fleet("1xA100-80GB"), &jobs(2, "7g.80gb", 10, Some(2)));
        assert!(bound <= 0.4 + 1e-9 && bound > 0.38, "{bound}");
        // Of 4g.40gb only one stands on a board, whatever its memory says.
        let bound = least_elsewhere(&fleet("1xA100-80GB"), &jobs(2, "4g.40gb", 10, Some(2)));
        assert!(bound <= 0.4 + 1e-9 && bound > 0.38, "{bound}");
    }

    #[test]
    fn nothing_must_go_where_all_fits_or_waits_for_ever() {
        assert!(least_elsewhere(&fleet("1xA100-80GB"), &jobs(2, "3g.40gb", 10, Some(2))) < 1e-9);
        assert!(least_elsewhere(&fleet("1xA100-80GB"), &jobs(9, "7g.80gb", 10, None)) < 1e-9);
        assert!(least_elsewhere(&fleet("1xA100-80GB"), &Workload::default()) < 1e-9);
    }

    #[test]
    fn no_rule_beats_it() {
        let fleet = fleet("2xA100-80GB");
        for mix in Mix::ALL {
            let workload = Recipe::new(mix, 1.6, 12 * 3_600_000).generate(&fleet, 3);
            let bound = least_elsewhere(&fleet, &workload);
            assert!(bound > 0.0, "{mix:?}: at such a load something must go");
            let setup = Setup {
                fleet: fleet.clone(),
                rules: vec![Rule::Static, Rule::FirstFit, Rule::Retile],
                cases: vec![Case { label: "seed 3".into(), workload, seed: 3 }],
                period: 60_000,
                soonest: None,
                policy: Policy::unlimited(),
                work_limit: 1_000_000,
                packer: Packer::new(|_, _| None),
                threads: 1,
            };
            for replayed in run(&setup, &instant_engine, &mut || {}).expect("an outcome").replays {
                let share = replayed.figures.burst_share;
                assert!(bound <= share + 1e-9, "{mix:?} {:?}: {bound} > {share}", replayed.rule);
            }
        }
    }
}
