//! Thousands of random small clusters: every level of the plan is what a brute-force search finds, proven, and legal.
//!
//! `RETILE_SEED=17 cargo test --test optimality` runs one seed and prints its cluster; `RETILE_SEEDS=100..200` a range.
#![allow(clippy::disallowed_methods, reason = "cargo leaves a test no arguments: what to run comes by environment")]
mod support;

use std::ops::Range;

use retile::planner::{self, WorkLimit};
use support::random::{Shape, cluster};
use support::{compare, oracle};

/// Seeds of the full run, split over the tests below so that they run side by side.
const SEEDS: usize = 6000;

fn check(seed: u64) -> Result<(), String> {
    let spec = cluster(seed, &Shape::SMALL);
    let input = spec.build();
    let best = oracle::best(&input);
    let planned = planner::plan(&input, &mut WorkLimit::default())
        .map_err(|error| format!("seed {seed}:\n  no plan: {error}\n{spec}"))?;
    let plan = planned.plan();
    let mut wrong = compare::differences(&input, plan, &best);
    if let Err(rejection) = retile::plan::verify(plan.clone(), &input) {
        wrong.push(format!("verify refuses: {rejection}"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let shown = serde_json::to_string_pretty(plan).expect("plans are plain data");
    Err(format!(
        "seed {seed}:\n  {}\n{spec}\nbest plan of the oracle {:?}:\n{}\nplan:\n{shown}\nrun again: RETILE_SEED={seed}",
        wrong.join("\n  "),
        best.levels(),
        best.witness
    ))
}

/// Checks all seeds of a range and shows the first failures whole, the others by their seeds.
fn check_all(seeds: Range<usize>) {
    let failures: Vec<(usize, String)> =
        seeds.filter_map(|seed| check(seed as u64).err().map(|message| (seed, message))).collect();
    if let Some((_, first)) = failures.first() {
        let all: Vec<String> = failures.iter().map(|(_, message)| in_short(message)).collect();
        panic!("{} clusters differ\n{}\n\nthe first of them:\n{first}", all.len(), all.join("\n"));
    }
}

/// The lines that say what differs, as one.
fn in_short(message: &str) -> String {
    let lines = message.lines().enumerate().take_while(|(number, line)| *number == 0 || line.starts_with("  "));
    lines.map(|(_, line)| line.trim()).collect::<Vec<_>>().join(" | ")
}

/// The seeds to run in one of `parts` tests.
fn seeds(part: usize, parts: usize) -> Range<usize> {
    let number = |text: &str| text.parse::<usize>().expect("RETILE_SEED and RETILE_SEEDS hold numbers");
    if let Ok(one) = std::env::var("RETILE_SEED") {
        let seed = number(&one);
        println!("{}", cluster(seed as u64, &Shape::SMALL));
        return if part == 0 { seed..seed + 1 } else { 0..0 };
    }
    let whole = match std::env::var("RETILE_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("RETILE_SEEDS looks like 100..200");
            number(from)..number(to)
        }
        Err(_) => 0..SEEDS,
    };
    let at = |part: usize| whole.start + whole.len() * part / parts;
    at(part)..at(part + 1)
}

#[test]
fn plans_reach_what_brute_force_finds_1() {
    check_all(seeds(0, 4));
}

#[test]
fn plans_reach_what_brute_force_finds_2() {
    check_all(seeds(1, 4));
}

#[test]
fn plans_reach_what_brute_force_finds_3() {
    check_all(seeds(2, 4));
}

#[test]
fn plans_reach_what_brute_force_finds_4() {
    check_all(seeds(3, 4));
}
