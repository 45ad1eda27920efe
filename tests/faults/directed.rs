//! Directed families: all crash points, and a sample of the others.

use crate::faults::families::{Case, cases};
use crate::faults::run::run;
use crate::faults::{scenarios, shrink, swarm};

/// Runs cases on all cores and tells of those that fail.
fn hold(cases: &[Case]) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let chunk = cases.len().div_ceil(threads).max(1);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            cases.chunks(chunk).map(|part| scope.spawn(|| part.iter().filter_map(fails).collect())).collect();
        workers.into_iter().flat_map(|worker| -> Vec<String> { worker.join().expect("a run panics") }).collect()
    });
    assert!(failures.is_empty(), "{} fail\n{}", failures.len(), failures.join("\n"));
}

fn fails(case: &Case) -> Option<String> {
    let mut scenario = scenarios::named(case.scenario);
    scenario.settings.controllers = case.controllers;
    let verdict = run(&scenario, &case.plan, 1);
    verdict.failed().then(|| verdict.to_string())
}

/// Every so manyth case of a family.
fn sample(family: &str, every: usize) -> Vec<Case> {
    cases(family).into_iter().skip(every / 2).step_by(every).collect()
}

#[test]
fn a_crash_before_or_after_every_effect_of_every_scenario() {
    hold(&cases("F1"));
}

#[test]
fn a_sample_of_second_crashes_while_resuming() {
    hold(&sample("F2", 97));
}

#[test]
fn a_sample_of_faults_of_api_and_node() {
    hold(&["F3", "F4"].iter().flat_map(|family| sample(family, 31)).collect::<Vec<_>>());
}

#[test]
fn a_sample_of_stale_reads_unheard_events_and_leaders() {
    hold(&["F5", "F6", "F7", "F12"].iter().flat_map(|family| sample(family, 13)).collect::<Vec<_>>());
}

#[test]
fn a_sample_of_what_others_do() {
    hold(&["F8", "F9", "F10", "F11", "F15"].iter().flat_map(|family| sample(family, 17)).collect::<Vec<_>>());
}

#[test]
fn random_clusters_with_random_faults() {
    let failures: Vec<String> = (0..100)
        .filter_map(|seed| {
            let (scenario, plan) = swarm::of_seed(seed);
            let verdict = run(&scenario, &plan, seed);
            verdict.failed().then(|| shrink::shrink(&scenario, &verdict).1.to_string())
        })
        .collect();
    assert!(failures.is_empty(), "{} fail\n{}", failures.len(), failures.join("\n"));
}
