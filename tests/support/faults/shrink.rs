//! Makes a run that fails smaller: fewer faults, less work, as long as the same invariant is breached.

use retile::sim::invariants::Invariant;

use super::plan::FaultPlan;
use super::run::{Verdict, run, run_with};
use super::scenarios::Scenario;

/// Lines of the trace that are shown.
const SHOWN: usize = 400;
/// Lines of the trace that are kept; more than a run has.
const KEPT: usize = 1_000_000;

/// The smallest run that was found, with its trace up to the first breach.
pub fn shrink(scenario: &Scenario, failed: &Verdict) -> (Scenario, Verdict) {
    let Some(first) = failed.violations.first().map(|violation| violation.invariant) else {
        return (scenario.clone(), failed.clone());
    };
    let seed = failed.seed;
    let mut plan = failed.plan.clone();
    let mut scenario = scenario.clone();
    let fails = |scenario: &Scenario, plan: &FaultPlan| breaks(&run(scenario, plan, seed), first);
    let mut at = 0;
    while at < plan.0.len() {
        let mut fewer = plan.clone();
        fewer.0.remove(at);
        if fails(&scenario, &fewer) {
            plan = fewer;
        } else {
            at += 1;
        }
    }
    let mut at = 0;
    while at < scenario.workload.arrivals.len() && scenario.workload.arrivals.len() > 1 {
        let mut fewer = scenario.clone();
        fewer.workload.arrivals.remove(at);
        if fails(&fewer, &plan) {
            scenario = fewer;
        } else {
            at += 1;
        }
    }
    let proposers = Box::new(|| {
        Box::new(retile::controller::Retile { work_limit: 300_000 }) as Box<dyn retile::controller::Proposer>
    });
    let mut smallest = run_with(&scenario, &plan, seed, proposers, KEPT);
    let breach = smallest.violations.first().map_or(u64::MAX, |violation| violation.at);
    let moment = |line: &String| line.split_whitespace().next().and_then(|at| at.parse::<u64>().ok()).unwrap_or(0);
    smallest.trace.retain(|line| moment(line) <= breach);
    smallest.trace.drain(..smallest.trace.len().saturating_sub(SHOWN));
    (scenario, smallest)
}

fn breaks(verdict: &Verdict, invariant: Invariant) -> bool {
    verdict.violations.iter().any(|violation| violation.invariant == invariant)
}
