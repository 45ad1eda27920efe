//! Runs that once failed. Each line: scenario (or `swarm`), faults (or the seed's own, `-`), seed, replicas of the controller.

use crate::faults::plan::FaultPlan;
use crate::faults::run::run;
use crate::faults::{scenarios, swarm};

const RUNS: &str = include_str!("regressions.txt");

#[test]
fn what_once_failed_holds() {
    let mut failures = Vec::new();
    for line in RUNS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, faults, seed, controllers] = fields[..] else { panic!("{line}: four fields") };
        let seed: u64 = seed.parse().expect("a seed");
        let (scenario, plan) = if name == "swarm" {
            swarm::of_seed(seed)
        } else {
            let mut scenario = scenarios::named(name);
            scenario.settings.controllers = controllers.parse().expect("a number");
            (scenario, faults.parse::<FaultPlan>().expect("faults"))
        };
        let verdict = run(&scenario, &plan, seed);
        if verdict.failed() {
            failures.push(verdict.to_string());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
