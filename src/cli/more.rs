//! What more disruption than a plan's would add, in one line.
//!
//! Inputs: the planning input, its plan, and the work that was spent on it. Output: a note for people, or none where nothing more was found. Invariants:
//! what is promised is a whole plan that the verifier has accepted, and what such a plan serves is called the least where it is not proven; the work
//! is bounded by what the plan itself took.

use super::show::names::{count, thousands};
use crate::model::{DisruptionLevel, GainFactor, PlanningInput, Policy};
use crate::plan::{self, Plan, Summary};
use crate::planner::{self, WorkLimit};

/// Work that is always allowed in all, about a tenth of a second.
const LEAST_WORK: u64 = 100_000_000;
/// Searches that all tries come to: each level searches the lower ones first.
const SEARCHES: u64 = 8;

/// Plans again with more disruption until something else is served, and says what; where no moves pay by the gain factor, what they would
/// serve without one. The input is handed back as it was.
pub(super) fn disruption(input: PlanningInput, plan: &Plan, spent: u64) -> (PlanningInput, Option<String>) {
    let policy = input.policy().clone();
    let work = spent.max(LEAST_WORK) / SEARCHES;
    let mut input = input;
    let mut note = None;
    for (disruption, gain_factor) in [
        (DisruptionLevel::Balanced, policy.gain_factor),
        (DisruptionLevel::Aggressive, policy.gain_factor),
        (DisruptionLevel::Balanced, GainFactor::default()),
    ] {
        input = input.with_policy(Policy { disruption, gain_factor, ..policy.clone() });
        let planned = planner::plan(&input, &mut WorkLimit::new(work)).ok();
        let Some(other) = planned.and_then(|planned| plan::verify(planned.into_plan(), &input).ok()) else { continue };
        if served(&other.summary) != served(&plan.summary) {
            let what = describe(disruption, &plan.summary, &other);
            note = Some(if gain_factor == policy.gain_factor {
                format!("with --disruption: {what}")
            } else {
                format!("more disruption: {what}, which the default gainFactor does not take")
            });
            break;
        }
    }
    (input.with_policy(policy), note)
}

/// Slices and pods.
fn served(summary: &Summary) -> (u64, u64) {
    (summary.served_slices, summary.served_pods)
}

/// Such as `balanced: 16 instead of 15 memory slices, but 6 fewer pods and 3 moves`.
fn describe(level: DisruptionLevel, now: &Summary, other: &Plan) -> String {
    let proven = other.optimality.levels.first().is_some_and(|served| served.value == served.bound);
    let least = if proven { "" } else { "at least " };
    let Summary { served_pods, served_slices, evicted_pods, .. } = other.summary;
    let slices = if served_slices == now.served_slices {
        format!("the same {}", count(served_slices, "memory slice"))
    } else {
        let now = thousands(now.served_slices.cast_signed());
        format!("{} instead of {now} memory slices", thousands(served_slices.cast_signed()))
    };
    let difference = count(served_pods.abs_diff(now.served_pods), "pod");
    let (number, noun) = difference.split_once(' ').unwrap_or((&difference, ""));
    let moves = count(evicted_pods, "move");
    let rest = match served_pods.cmp(&now.served_pods) {
        std::cmp::Ordering::Less => format!(", but {number} fewer {noun} and {moves}"),
        std::cmp::Ordering::Equal => format!(" for {moves}"),
        std::cmp::Ordering::Greater => format!(" and {number} more {noun} for {moves}"),
    };
    format!("{}: {least}{slices}{rest}", level.as_flag())
}
