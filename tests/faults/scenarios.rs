//! The base scenarios without a fault, and the vocabulary of faults.

use crate::faults::families::{NAMES, cases};
use crate::faults::plan::{FaultPlan, Kind};
use crate::faults::run::run;
use crate::faults::scenarios;

#[test]
fn every_scenario_ends_as_it_should_when_nothing_goes_wrong() {
    let mut wrong = Vec::new();
    for scenario in scenarios::all() {
        let verdict = run(&scenario, &FaultPlan::default(), 1);
        let expected = scenario.expected;
        let evictions = expected.evictions.is_none_or(|evictions| evictions == verdict.evictions);
        if verdict.failed() || verdict.done < expected.done || !evictions || verdict.waiting != expected.waiting {
            let (done, evicted, waiting) = (verdict.done, verdict.evictions, verdict.waiting);
            wrong
                .push(format!("{verdict}: {done} done, {evicted} evictions, {waiting} waiting; expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_run_twice_is_the_same() {
    let scenario = scenarios::named("s5");
    let plan: FaultPlan = "C4#0x1>Crash;A5#0x1<Unknown".parse().expect("as written");
    let (one, other) = (run(&scenario, &plan, 7), run(&scenario, &plan, 7));
    assert_eq!((one.events, one.hits, one.violations), (other.events, other.hits, other.violations));
}

#[test]
fn every_plan_of_faults_can_be_written_down_and_read_back() {
    for case in NAMES.iter().flat_map(|family| cases(family)) {
        assert_eq!(case.plan.to_string().parse(), Ok(case.plan));
    }
    assert_eq!("none".parse(), Ok(FaultPlan::default()));
    for bad in ["C1", "C1#0x1", "C1#0x1<Nothing", "X1#0x1<Crash", "C1#ax1<Crash", ""] {
        assert!(bad.parse::<FaultPlan>().is_err(), "{bad}");
    }
    assert!(Kind::ALL.len() > 60);
}
