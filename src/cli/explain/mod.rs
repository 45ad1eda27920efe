//! `explain`: why a pod or a GPU is treated as it is, and what would change it.
//!
//! Inputs: the planning input, its plan, and the planner itself as a function, which answers every "what if" in the same way as the first
//! question. Output: text. Invariant: a "yes" is always a whole plan in which the pod is served; nothing is guessed.

pub(crate) mod gpu;
pub(crate) mod pod;
mod questions;
pub(crate) mod whatif;

use super::error::CliError;
use crate::model::PlanningInput;
use crate::plan::Plan;

/// The planner, as `explain` sees it: the same function and the same limits for every question.
pub(crate) type Planner<'a> = dyn FnMut(&PlanningInput) -> Result<Plan, CliError> + 'a;

#[cfg(test)]
mod tests;
