//! Makes workloads by a seed: a mix of profiles, a load, arrival and duration distributions.
//!
//! Input: a [`Recipe`] and a [`FleetSpec`]. Output: a [`Workload`]. Invariant: the same recipe, fleet and seed give the same workload. The
//! load is what is offered: the expected share of the fleet (of compute or of memory slices, whichever an instance takes more of) that the
//! work would hold if nothing ever waited.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution, Exp1, LogNormal};
use rand_pcg::Pcg64;

use super::fleet::{FleetSpec, plain, share};
use crate::model::{Geometry, ProfileId};
use crate::sim::{Arrival, Kind, Workload};

const HOUR: f64 = 3_600_000.0;

/// How often which instance is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mix {
    /// Mostly small instances.
    SkewSmall,
    /// All instances alike.
    Uniform,
    /// Small and whole-GPU instances, few between.
    Bimodal,
}

impl Mix {
    /// All mixes.
    pub const ALL: [Self; 3] = [Self::SkewSmall, Self::Uniform, Self::Bimodal];

    /// Spelling on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::SkewSmall => "skew-small",
            Self::Uniform => "uniform",
            Self::Bimodal => "bimodal",
        }
    }

    /// Weights of profiles by compute slices, for 1g, 1g with double memory, 2g, 3g, 4g, 7g.
    fn weights(self) -> [u32; 6] {
        match self {
            Self::SkewSmall => [30, 25, 20, 10, 10, 5],
            Self::Uniform => [1; 6],
            Self::Bimodal => [30, 15, 5, 5, 15, 30],
        }
    }

    /// Weights of the profiles of a board, in the order of its table; profiles that the board does not have drop out.
    ///
    /// The classes are 1g, 1g with double memory, 2g, 3g, 4g and 7g; a board whose largest profile has fewer slices has that one in the
    /// place of 7g.
    pub fn profiles(self, geometry: &Geometry) -> Vec<(ProfileId, u32)> {
        let all = plain(geometry);
        let largest = all.iter().map(|&id| geometry.profile(id).compute_slices).max().unwrap_or(0);
        let smallest_memory = |slices: u8| {
            let same = all.iter().filter(|&&id| geometry.profile(id).compute_slices == slices);
            same.map(|&id| geometry.profile(id).size).min().flatten()
        };
        let weight = |id: ProfileId| {
            let profile = geometry.profile(id);
            let double = profile.size > smallest_memory(profile.compute_slices);
            let [one, double_one, two, three, four, whole] = self.weights();
            match profile.compute_slices {
                slices if slices == largest => whole,
                1 if double => double_one,
                1 => one,
                2 => two,
                3 => three,
                4 => four,
                _ => 0,
            }
        };
        all.iter().map(|&id| (id, weight(id))).filter(|&(_, weight)| weight > 0).collect()
    }
}

/// How arrivals are spread over time; always a Poisson process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// The same rate at all times.
    Steady,
    /// A rate that swings over 24 hours by this part of its mean, 0 to 1: least at the start, most after 12 hours.
    Diurnal(f64),
}

/// How long work runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Durations {
    /// Exponential with this mean in milliseconds.
    Exponential(f64),
    /// Log-normal with this mean in milliseconds and this standard deviation of the logarithm.
    LogNormal(f64, f64),
}

impl Durations {
    /// The mean in milliseconds.
    pub fn mean(self) -> f64 {
        match self {
            Self::Exponential(mean) | Self::LogNormal(mean, _) => mean,
        }
    }

    fn draw(self, rng: &mut Pcg64) -> u64 {
        let time = match self {
            Self::Exponential(mean) => mean * exponential(rng),
            Self::LogNormal(mean, sigma) => {
                // exp(mu + sigma^2 / 2) is the mean of the distribution.
                let mu = mean.max(1.0).ln() - sigma * sigma / 2.0;
                LogNormal::new(mu, sigma).map_or(mean, |distribution| distribution.sample(rng))
            }
        };
        time.round().clamp(1000.0, 365.0 * 24.0 * HOUR) as u64
    }
}

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Which instances.
    pub mix: Mix,
    /// Offered load as a part of the fleet; 1 would fill it.
    pub load: f64,
    /// Time in which work arrives, in milliseconds.
    pub length: u64,
    /// When it arrives.
    pub arrivals: Arrivals,
    /// How long it runs.
    pub durations: Durations,
    /// How long it waits before it goes elsewhere, in milliseconds.
    pub patience: Option<u64>,
    /// Relative frequency of each kind.
    pub kinds: Vec<(Kind, u32)>,
}

impl Recipe {
    /// A mix at a load over a time, with exponential durations of one hour, two hours of patience, and of ten pods six of services, one of
    /// a StatefulSet and three of jobs.
    pub fn new(mix: Mix, load: f64, length: u64) -> Self {
        Self {
            mix,
            load,
            length,
            arrivals: Arrivals::Steady,
            durations: Durations::Exponential(HOUR),
            patience: Some(2 * 3_600_000),
            kinds: vec![(Kind::Service, 6), (Kind::Stateful, 1), (Kind::Job, 3)],
        }
    }

    /// Arrivals per millisecond that offer the load to a fleet.
    fn rate(&self, fleet: &FleetSpec) -> f64 {
        let weights = self.mix.profiles(&fleet.geometry);
        let sum: f64 = weights.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let mean_share: f64 =
            weights.iter().map(|&(id, weight)| share(&fleet.geometry, id) * f64::from(weight) / sum).sum();
        self.load * f64::from(fleet.gpus) / (mean_share * self.durations.mean())
    }

    /// How many pods arrive on average.
    pub fn expected(&self, fleet: &FleetSpec) -> f64 {
        let expected = self.rate(fleet) * self.length as f64;
        if expected.is_finite() { expected } else { 0.0 }
    }

    /// Makes the workload of a seed.
    pub fn generate(&self, fleet: &FleetSpec, seed: u64) -> Workload {
        let mut rng = Pcg64::seed_from_u64(seed);
        let weights = self.mix.profiles(&fleet.geometry);
        let swing = match self.arrivals {
            Arrivals::Steady => 0.0,
            Arrivals::Diurnal(swing) => swing.clamp(0.0, 1.0),
        };
        // A swinging rate is a steady one at its peak, thinned.
        let mean_rate = self.rate(fleet);
        let peak_rate = mean_rate * (1.0 + swing);
        let mut workload = Workload::default();
        if !(peak_rate > 0.0 && peak_rate.is_finite()) {
            return workload;
        }
        let mut at = 0.0;
        loop {
            at += exponential(&mut rng) / peak_rate;
            if at >= self.length as f64 {
                return workload;
            }
            let rate = mean_rate * (1.0 - swing * (at / (24.0 * HOUR) * std::f64::consts::TAU).cos());
            if rng.random::<f64>() * peak_rate >= rate {
                continue;
            }
            let profile = chosen(&weights, &mut rng);
            let kind = chosen(&self.kinds, &mut rng);
            let (Some(profile), Some(kind)) = (profile, kind) else { return workload };
            workload.arrivals.push(Arrival {
                at: at as u64,
                name: format!("work-{:06}", workload.arrivals.len()),
                instances: BTreeMap::from([(fleet.geometry.profile(profile).name.clone(), 1)]),
                runs: self.durations.draw(&mut rng),
                priority: 0,
                kind,
                patience: self.patience,
            });
        }
    }
}

fn exponential(rng: &mut Pcg64) -> f64 {
    Exp1.sample(rng)
}

/// One of several things by relative frequency; none when all have none.
fn chosen<T: Copy>(weights: &[(T, u32)], rng: &mut Pcg64) -> Option<T> {
    let sum: u32 = weights.iter().map(|&(_, weight)| weight).sum();
    if sum == 0 {
        return None;
    }
    let mut rest = rng.random_range(0..sum);
    weights.iter().find_map(|&(thing, weight)| {
        if rest < weight {
            return Some(thing);
        }
        rest -= weight;
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::replay::fleet::parse_gpus;

    const HOURS: u64 = 400;

    fn fleet(text: &str) -> FleetSpec {
        let (gpus, geometry) = parse_gpus(text).expect("a fleet");
        FleetSpec::new(geometry, gpus, 8)
    }

    fn recipe(mix: Mix, load: f64) -> Recipe {
        Recipe::new(mix, load, HOURS * 3_600_000)
    }

    /// Offered load of what was generated, by exact sums.
    fn offered(workload: &Workload, fleet: &FleetSpec, length: u64) -> f64 {
        let work = |arrival: &Arrival| {
            let id = fleet.geometry.find(arrival.instances.keys().next().expect("one profile")).expect("a profile");
            share(&fleet.geometry, id) * arrival.runs as f64
        };
        workload.arrivals.iter().map(work).sum::<f64>() / (length as f64 * f64::from(fleet.gpus))
    }

    #[test]
    fn the_load_is_what_was_asked_for() {
        for mix in Mix::ALL {
            for load in [0.5, 0.9, 1.1] {
                let fleet = fleet("32xA100-80GB");
                let recipe = recipe(mix, load);
                let got = offered(&recipe.generate(&fleet, 1), &fleet, recipe.length);
                assert!((got / load - 1.0).abs() < 0.05, "{mix:?} {load}: {got}");
                let arrived = recipe.generate(&fleet, 1).arrivals.len() as f64;
                assert!((arrived / recipe.expected(&fleet) - 1.0).abs() < 0.05, "{mix:?} {load}: {arrived} pods");
            }
        }
        let a30 = fleet("32xA30-24GB");
        let recipe = Recipe { durations: Durations::LogNormal(2.0 * HOUR, 1.0), ..recipe(Mix::Uniform, 0.8) };
        let got = offered(&recipe.generate(&a30, 3), &a30, recipe.length);
        assert!((got / 0.8 - 1.0).abs() < 0.05, "{got}");
    }

    #[test]
    fn the_mix_is_what_was_asked_for() {
        let fleet = fleet("64xA100-80GB");
        let workload = recipe(Mix::SkewSmall, 0.9).generate(&fleet, 5);
        let count = |name: &str| workload.arrivals.iter().filter(|it| it.instances.contains_key(name)).count() as f64;
        let all = workload.arrivals.len() as f64;
        for (name, part) in [("1g.10gb", 0.3), ("1g.20gb", 0.25), ("2g.20gb", 0.2), ("4g.40gb", 0.1), ("7g.80gb", 0.05)]
        {
            assert!((count(name) / all - part).abs() < 0.02, "{name}: {}", count(name) / all);
        }
        let jobs = workload.arrivals.iter().filter(|arrival| arrival.kind == Kind::Job).count() as f64;
        assert!((jobs / all - 0.3).abs() < 0.02);
    }

    #[test]
    fn a_seed_decides_and_names_are_unique_and_in_order() {
        let fleet = fleet("8xA100-80GB");
        let recipe = recipe(Mix::Bimodal, 0.9);
        let workload = recipe.generate(&fleet, 7);
        assert_eq!(workload, recipe.generate(&fleet, 7));
        assert_ne!(workload, recipe.generate(&fleet, 8));
        assert!(workload.arrivals.is_sorted_by(|a, b| (a.at, &a.name) <= (b.at, &b.name)));
        assert!(workload.arrivals.is_sorted_by(|a, b| a.name < b.name));
        assert!(workload.arrivals.iter().all(|it| it.at < recipe.length && it.runs >= 1000));
    }

    #[test]
    fn a_diurnal_rate_is_high_at_noon_and_low_at_midnight() {
        let fleet = fleet("32xA100-80GB");
        let recipe = Recipe { arrivals: Arrivals::Diurnal(0.8), ..recipe(Mix::Uniform, 0.9) };
        let workload = recipe.generate(&fleet, 1);
        let within = |from: u64, to: u64| {
            let hour = |arrival: &&Arrival| (from..to).contains(&(arrival.at / 3_600_000 % 24));
            workload.arrivals.iter().filter(hour).count()
        };
        // Between 21 and 3 the mean of the rate is 1 - 0.8 * 0.9, between 9 and 15 it is 1 + 0.8 * 0.9.
        let (night, noon) = (within(21, 24) + within(0, 3), within(9, 15));
        assert!(noon > 4 * night, "{noon} at noon, {night} at night");
    }

    #[test]
    fn nothing_is_generated_without_load_or_kinds() {
        let fleet = fleet("8xA100-80GB");
        assert!(recipe(Mix::Uniform, 0.0).generate(&fleet, 1).arrivals.is_empty());
        assert!(Recipe { kinds: Vec::new(), ..recipe(Mix::Uniform, 1.0) }.generate(&fleet, 1).arrivals.is_empty());
    }

    #[test]
    fn a_smaller_board_has_its_largest_profile_for_whole_gpus() {
        let fleet = fleet("1xA30-24GB");
        let names: Vec<(&str, u32)> = Mix::Bimodal
            .profiles(&fleet.geometry)
            .into_iter()
            .map(|(id, weight)| (fleet.geometry.profile(id).name.as_str(), weight))
            .collect();
        assert_eq!(names, [("1g.6gb", 30), ("2g.12gb", 5), ("4g.24gb", 30)]);
    }
}
