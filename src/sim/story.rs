//! A day in a cluster whose demand changes: the story that `retile demo` tells.
//!
//! Inputs: a seed and a number of hours. Output: a [`Workload`] for eight A100-80GB, and the layouts that somebody cut them into in the belief
//! that the mix stays as it is on average. Notebooks dominate the first third, inference services the second, training jobs the last; the
//! work asked for stays about the same, a little below what the GPUs hold. Invariant: the same inputs give the same story.

use std::collections::BTreeMap;

use rand::distr::weighted::WeightedIndex;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64;

use super::workload::{Arrival, Kind, Workload};

/// GPU model of the story, as the catalogue calls it.
pub const BOARD: &str = "A100-80GB";
/// Nodes of the story.
pub const NODES: u32 = 2;
/// GPUs of each node.
pub const GPUS: u32 = 4;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// Compute slices of the eight GPUs.
const SLICES: f64 = 56.0;
/// Work asked for, as a part of [`SLICES`].
const LOAD: f64 = 0.8;
/// Acts of the story.
const ACTS: usize = 3;

/// A kind of work.
struct Part {
    name: &'static str,
    profile: &'static str,
    /// Compute slices.
    slices: f64,
    kind: Kind,
    /// Minutes that it runs, from and to.
    runs: (u64, u64),
    /// Minutes that it is willing to wait.
    patience: u64,
    /// Share of the work asked for, by act.
    shares: [u32; ACTS],
}

#[rustfmt::skip]
const PARTS: [Part; 6] = [
    Part { name: "notebook", profile: "1g.10gb", slices: 1.0, kind: Kind::Stateful, runs: (30, 90), patience: 20, shares: [55, 15, 10] },
    Part { name: "lab", profile: "2g.20gb", slices: 2.0, kind: Kind::Stateful, runs: (30, 90), patience: 20, shares: [25, 10, 5] },
    Part { name: "chat", profile: "1g.10gb", slices: 1.0, kind: Kind::Service, runs: (60, 150), patience: 30, shares: [10, 15, 5] },
    Part { name: "search", profile: "2g.20gb", slices: 2.0, kind: Kind::Service, runs: (60, 150), patience: 30, shares: [5, 45, 10] },
    Part { name: "tune", profile: "3g.40gb", slices: 3.0, kind: Kind::Job, runs: (20, 60), patience: 40, shares: [5, 15, 50] },
    Part { name: "train", profile: "4g.40gb", slices: 4.0, kind: Kind::Job, runs: (30, 90), patience: 40, shares: [0, 0, 20] },
];

/// The layouts at the start, which fit the average of the whole story: per node, the instances of its GPUs as profile and start.
pub const LAYOUTS: [&[(&str, u8)]; GPUS as usize] = [
    &[("1g.10gb", 0), ("1g.10gb", 1), ("1g.10gb", 2), ("1g.10gb", 3), ("1g.10gb", 4), ("1g.10gb", 5), ("1g.10gb", 6)],
    &[("2g.20gb", 0), ("2g.20gb", 2), ("2g.20gb", 4), ("1g.10gb", 6)],
    &[("4g.40gb", 0), ("3g.40gb", 4)],
    &[("3g.40gb", 0), ("2g.20gb", 4), ("1g.10gb", 6)],
];

/// Tells the story of so many hours.
pub fn story(seed: u64, hours: u64) -> Workload {
    let mut rng = Pcg64::seed_from_u64(seed);
    let end = hours * HOUR;
    let mut arrivals = Vec::new();
    let mut counts = [0_u32; PARTS.len()];
    // The cluster is in use when the story begins: some work arrives at once, as if it had come before.
    let mut at = 0_f64;
    let mut opening = 0.0;
    while opening < SLICES * LOAD {
        let part = draw(0, &mut rng, minutes);
        opening += PARTS[part].slices;
        arrivals.push(arrival(part, rng.random_range(0..3 * MINUTE), &mut counts, &mut rng));
    }
    loop {
        let act = act(at as u64, end);
        // Work arrives as often as keeps the asked part of the slices busy: load = rate × mean of slices × time.
        let shares = f64::from(PARTS.iter().map(|part| part.shares[act]).sum::<u32>());
        let rate: f64 = PARTS
            .iter()
            .map(|part| SLICES * LOAD * f64::from(part.shares[act]) / shares / (part.slices * minutes(part)))
            .sum();
        let gap: f64 = Exp1.sample(&mut rng);
        at += gap / rate * MINUTE as f64;
        if at as u64 >= end {
            break;
        }
        let part = draw(act, &mut rng, |_| 1.0);
        arrivals.push(arrival(part, at as u64, &mut counts, &mut rng));
    }
    arrivals.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    Workload { arrivals }
}

/// Mean running time in minutes.
fn minutes(part: &Part) -> f64 {
    (part.runs.0 + part.runs.1) as f64 / 2.0
}

/// The act in which a moment lies.
fn act(at: u64, end: u64) -> usize {
    usize::try_from(at * ACTS as u64 / end.max(1)).unwrap_or(ACTS).min(ACTS - 1)
}

/// Draws a kind of work: as often as its share of the slices says, times a weight.
fn draw(act: usize, rng: &mut Pcg64, weight: impl Fn(&Part) -> f64) -> usize {
    let weights = PARTS.iter().map(|part| f64::from(part.shares[act]) * weight(part) / (part.slices * minutes(part)));
    WeightedIndex::new(weights).map_or(0, |parts| parts.sample(rng))
}

fn arrival(part: usize, at: u64, counts: &mut [u32; PARTS.len()], rng: &mut Pcg64) -> Arrival {
    let Part { name, profile, slices: _, kind, runs, patience, shares: _ } = &PARTS[part];
    counts[part] += 1;
    Arrival {
        at,
        name: format!("{name}-{:03}", counts[part]),
        instances: BTreeMap::from([((*profile).to_owned(), 1)]),
        runs: rng.random_range(runs.0 * MINUTE..=runs.1 * MINUTE),
        priority: 0,
        kind: *kind,
        patience: Some(patience * MINUTE),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Catalogue, Layout};

    #[test]
    fn the_same_seed_tells_the_same_story_and_another_another() {
        assert_eq!(story(7, 8), story(7, 8));
        assert_ne!(story(7, 8), story(8, 8));
    }

    #[test]
    fn a_story_is_in_order_names_nobody_twice_and_changes() {
        for seed in 0..20 {
            let Workload { arrivals } = story(seed, 9);
            assert!(arrivals.windows(2).all(|pair| (pair[0].at, &pair[0].name) < (pair[1].at, &pair[1].name)));
            let names: BTreeSet<&String> = arrivals.iter().map(|arrival| &arrival.name).collect();
            assert_eq!(names.len(), arrivals.len());
            let of = |act: u64, name: &str| {
                let within = |arrival: &&Arrival| (act * 3 * HOUR..(act + 1) * 3 * HOUR).contains(&arrival.at);
                arrivals.iter().filter(within).filter(|arrival| arrival.name.starts_with(name)).count()
            };
            assert!(of(0, "notebook") > of(2, "notebook") && of(2, "tune") > of(0, "tune"), "seed {seed}");
        }
    }

    #[test]
    fn the_work_asked_for_stays_below_what_the_gpus_hold() {
        let slices = |arrival: &Arrival| {
            let part = PARTS.iter().find(|part| arrival.name.starts_with(part.name)).expect("a kind of work");
            part.slices * arrival.runs as f64
        };
        let mut asked = 0.0;
        for seed in 0..30 {
            asked += story(seed, 24).arrivals.iter().map(slices).sum::<f64>();
        }
        let load = asked / (30.0 * SLICES * 24.0 * HOUR as f64);
        assert!((0.75..0.9).contains(&load), "{load}");
    }

    #[test]
    fn the_layouts_at_the_start_are_legal() {
        let board = Catalogue::embedded().find_by_key(BOARD).expect("a board");
        for layout in LAYOUTS {
            let place = |&(profile, start): &(&str, u8)| {
                board.place(board.find(profile).expect("a profile"), start).expect("a place")
            };
            Layout::try_new(board, layout.iter().map(place).collect()).expect("a layout");
        }
        assert!(PARTS.iter().all(|part| board.find(part.profile).is_some()));
    }
}
