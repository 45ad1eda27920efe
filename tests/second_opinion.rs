//! Hundreds of larger clusters: the plan's levels are those of the straightforward integer program on `HiGHS`.
//!
//! Needs the feature `highs` (cmake and a C++ compiler): `cargo test --features highs --test second_opinion`.
//! `RETILE_SEED=17` runs one seed and prints its cluster, `RETILE_SEEDS=0..40` a range.
#![allow(clippy::disallowed_methods, reason = "cargo leaves a test no arguments: what to run comes by environment")]
#![cfg(feature = "highs")]

mod support;

use std::time::Instant;

use retile::model::DisruptionLevel;
use retile::plan::Status;
use retile::planner::{self, WorkLimit};
use support::compare;
use support::fleet::{self, Fleet, Mix};
use support::per_gpu::{self, Levels};
use support::program::Backend;
use support::random::{Shape, cluster};

/// Seeds of the full run.
const SEEDS: u64 = 300;

/// Fleets of the full run.
const FLEETS: u64 = 200;

fn check(seed: u64) -> Result<usize, String> {
    let mut spec = cluster(seed, &Shape::MEDIUM);
    // The program does not model nodes that are overcommitted before anything lands.
    for node in &mut spec.nodes {
        node.free.cpu = node.free.cpu.max(0);
    }
    let input = spec.build();
    let started = Instant::now();
    let expected = per_gpu::solve(&input, Backend::Highs).map_err(|e| format!("seed {seed}: HiGHS: {e}\n{spec}"))?;
    let program = started.elapsed();
    let started = Instant::now();
    let planned = planner::plan(&input, &mut WorkLimit::default())
        .map_err(|error| format!("seed {seed}: no plan: {error}\n{spec}"))?;
    let plan = planned.plan();
    // For the reader only; nothing depends on it.
    println!("seed {seed}: {} GPUs, HiGHS {program:.1?}, planner {:.1?}", input.gpus().len(), started.elapsed());
    let level = |index: usize| plan.optimality.levels[index].value;
    let found = Levels {
        tiers: expected.tiers.clone(),
        disruption: level(1),
        nodes_touched: level(2),
        gpus_touched: level(3),
        instance_changes: level(4),
    };
    let displaced: i64 = expected.tiers.iter().map(|tier| tier.1).sum();
    let served_by_tier = plan.optimality.levels[0].tiers.iter().all(|tier| {
        let same = expected.tiers.iter().find(|(priority, ..)| *priority == tier.priority);
        same.is_some_and(|&(_, _, served)| served == tier.value)
    });
    let agrees = plan.optimality.status == Status::Optimal
        && found == expected
        && level(0) == expected.served()
        && served_by_tier
        && compare::displaced_weight(&input, plan) == displaced;
    if agrees {
        return Ok(input.gpus().len());
    }
    let optimality = &plan.optimality;
    Err(format!("seed {seed}:\nHiGHS {expected:?}\nplan {optimality:#?}\n{spec}\nrun again: RETILE_SEED={seed}"))
}

#[test]
fn plans_reach_what_the_per_gpu_program_finds() {
    let number = |text: &str| text.parse::<u64>().expect("RETILE_SEED and RETILE_SEEDS hold numbers");
    let seeds = match (std::env::var("RETILE_SEED"), std::env::var("RETILE_SEEDS")) {
        (Ok(one), _) => {
            println!("{}", cluster(number(&one), &Shape::MEDIUM));
            number(&one)..number(&one) + 1
        }
        (Err(_), Ok(range)) => {
            let (from, to) = range.split_once("..").expect("RETILE_SEEDS looks like 0..40");
            number(from)..number(to)
        }
        (Err(_), Err(_)) => 0..SEEDS,
    };
    let mut gpus = Vec::new();
    let mut failures = Vec::new();
    for seed in seeds {
        match check(seed) {
            Ok(count) => gpus.push(count),
            Err(message) => failures.push(message),
        }
    }
    println!("{} clusters of {:?} to {:?} GPUs agree", gpus.len(), gpus.iter().min(), gpus.iter().max());
    let seeds: Vec<&str> = failures.iter().filter_map(|message| message.lines().next()).collect();
    assert!(failures.is_empty(), "{} clusters differ: {seeds:?}\n{}", failures.len(), failures[0]);
}

/// Fleets of 8 to 40 GPUs, as the benches draw them, of every mix.
#[test]
fn plans_of_fleets_reach_what_the_per_gpu_program_finds() {
    let mut gpus = 0;
    for seed in 0..FLEETS {
        let mix = [Mix::SkewSmall, Mix::Uniform, Mix::Bimodal][seed as usize % 3];
        let size = 8 + (seed as usize * 7) % 33;
        let level = if seed % 5 == 0 { DisruptionLevel::IdleOnly } else { DisruptionLevel::Balanced };
        let utilisation = 80 + (seed as usize * 3) % 16;
        let fleet = Fleet { seed, mix, level, utilisation, ..Fleet::evict(size) };
        let input = fleet::draw(fleet).input();
        let started = Instant::now();
        let expected = per_gpu::solve(&input, Backend::Highs).expect("HiGHS solves small fleets");
        let program = started.elapsed();
        let started = Instant::now();
        let planned = planner::plan(&input, &mut WorkLimit::default()).expect("fleets have plans");
        let plan = planned.plan();
        println!("fleet {seed}: {size} GPUs, HiGHS {program:.1?}, planner {:.1?}", started.elapsed());
        let level = |index: usize| plan.optimality.levels[index].value;
        assert_eq!(plan.optimality.status, Status::Optimal, "fleet {seed}");
        assert_eq!(level(0), expected.served(), "fleet {seed}");
        let others = (level(1), level(2), level(3), level(4));
        let wanted = (expected.disruption, expected.nodes_touched, expected.gpus_touched, expected.instance_changes);
        assert_eq!(others, wanted, "fleet {seed}");
        retile::plan::verify(plan.clone(), &input).expect("the verifier accepts what the planner makes");
        gpus += size;
    }
    println!("{FLEETS} fleets with {gpus} GPUs in all: same levels");
}
