//! The plan document, its steps, and its independent verification.
//!
//! Inputs: a [`crate::model::PlanningInput`] and a solution in the planner's terms. Outputs: [`Plan`], the document that
//! people review, programs read and the executor carries out. Invariant: a plan names every instance by profile *and*
//! start, so that nothing is left to choose at execution time. This module must not depend on the planner: the verifier
//! in particular shares types with the producer, never its logic.

mod document;

pub use document::{
    Eviction, FORMAT_VERSION, GpuChange, LEVEL_NAMES, Level, NodePlan, Optimality, Plan, PlannedInstance, ServedBy,
    ServedPod, Status, Summary, Tier, UnservedPod,
};

/// Placeholder until the fingerprint module lands.
pub fn fingerprint(_input: &crate::model::PlanningInput) -> String {
    String::new()
}
