//! A planner that fails, is cut off or gives only its first idea: the loop goes on, and nothing unsafe is done.

use retile::controller::{Proposal, ProposeError, Proposer, Retile};
use retile::model::PlanningInput;
use retile::plan::StepError;
use retile::planner::PlanError;
use retile::sim::world::Proposers;

use crate::faults::plan::FaultPlan;
use crate::faults::run::{Verdict, run_with};
use crate::faults::scenarios;

/// Fails so many times, then plans with so much work.
struct Unreliable {
    failures: u32,
    work: u64,
}

impl Proposer for Unreliable {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError> {
        if self.failures > 0 {
            self.failures -= 1;
            let defect = StepError::UnknownProfile { board: "A100".into(), profile: "1g.5gb".into() };
            return Err(ProposeError::Planning(PlanError::Steps(defect)));
        }
        Retile { work_limit: self.work }.propose(input)
    }
}

fn with(scenario: &str, failures: u32, work: u64) -> Verdict {
    let proposers: Proposers = Box::new(move || Box::new(Unreliable { failures, work }));
    run_with(&scenarios::named(scenario), &FaultPlan::default(), 1, proposers, 0)
}

#[test]
fn a_planner_that_fails_for_a_while_only_delays() {
    for scenario in ["s1", "s3", "s4", "s8"] {
        let verdict = with(scenario, 3, 300_000);
        assert!(!verdict.failed(), "{verdict}");
        assert!(verdict.done > 0 && verdict.waiting == 0, "{verdict}");
    }
}

#[test]
fn a_planner_that_is_cut_off_does_nothing_unsafe() {
    for scenario in ["s1", "s3", "s4", "s8"] {
        for work in [1, 50, 500, 2_000] {
            let verdict = with(scenario, 0, work);
            // That something would still pay is its whole fault.
            let others = verdict.violations.iter().filter(|it| it.invariant != retile::sim::invariants::Invariant::L1);
            assert_eq!(others.count(), 0, "work {work}: {verdict}");
        }
    }
}
