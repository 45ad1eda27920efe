//! What the planner makes of random clusters passes verification, with and without steps.
mod support;

use retile::plan::{fill_in_steps, verify};
use retile::planner::{self, WorkLimit};
use support::random::{Shape, cluster};

fn plan_and_verify(seed: u64, shape: &Shape) -> Result<(), String> {
    let spec = cluster(seed, shape);
    let input = spec.build();
    let plan = planner::plan(&input, &mut WorkLimit::default()).map_err(|error| format!("seed {seed}: {error}"))?;
    let plan = plan.into_plan();
    let shown = serde_json::to_string_pretty(&plan).expect("plans are plain data");
    let mut with_steps = plan.clone();
    fill_in_steps(&mut with_steps, &input).map_err(|error| format!("seed {seed}: {error}\n\n{spec}\n{shown}"))?;
    match verify(plan, &input).and_then(|_| verify(with_steps, &input)) {
        Ok(_) => Ok(()),
        Err(rejection) => Err(format!("seed {seed}: {rejection}\n\n{spec}\n{shown}")),
    }
}

/// Checks the first seeds; shows what is wrong with each and the first failure whole.
fn check_all(seeds: u64, shape: &Shape) {
    let failures: Vec<String> = (0..seeds).filter_map(|seed| plan_and_verify(seed, shape).err()).collect();
    let in_short = |failure: &String| failure.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let short: Vec<String> = failures.iter().map(in_short).collect();
    assert!(failures.is_empty(), "{} of {seeds} fail\n{}\n\n{}", failures.len(), short.join("\n"), failures[0]);
}

#[test]
fn plans_for_small_clusters_pass() {
    check_all(400, &Shape::SMALL);
}

#[test]
fn plans_for_larger_clusters_pass() {
    check_all(40, &Shape::MEDIUM);
}
