//! The plan document, its steps, and its independent verification.
//!
//! Inputs: a [`crate::model::PlanningInput`] and a solution in the planner's terms. Outputs: [`Plan`], the document that
//! people review, programs read and the executor carries out. Invariant: a plan names every instance by profile *and*
//! start, so that nothing is left to choose at execution time. This module must not depend on the planner: the verifier
//! in particular shares types with the producer, never its logic.

mod diff;
mod document;
mod fingerprint;
mod schema;
mod steps;
mod storage;
mod verify;
mod weight;

pub use diff::{GpuKey, PlanDiff, diff};
pub use document::{
    Eviction, FORMAT_VERSION, GpuChange, LEVEL_NAMES, Level, NodePlan, Optimality, Place, Plan, PlannedInstance,
    ServedBy, ServedPod, Status, Step, StepAction, Summary, Tier, UnservedPod,
};
pub use fingerprint::fingerprint;
pub use schema::schema;
pub use steps::{StepError, fill_in_steps, steps};

pub use storage::{StorageError, UNEDITED, from_json, load, save, to_json, write_whole};
pub use verify::{Rejection, Verified, Violation, verify};
