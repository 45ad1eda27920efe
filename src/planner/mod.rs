//! Turns a [`PlanningInput`] into a [`Plan`]: encode, solve, decode, report.
//!
//! Rules and objective are those of `docs/design/semantics.md`. The planner aggregates: pods that are alike become one
//! count, GPUs that are alike one class, nodes that are alike one group, so that the size of the problem does not grow
//! with the fleet. Nodes start out in *atoms* (nodes that the same pods may use), inside which supply is pooled; where
//! pooling turns out to be too generous (a pod that needs two instances of one node, a node short of CPU) the nodes in
//! question get an atom of their own with their real limits, and the problem is solved again.
//!
//! Pure: same input, same bytes out. Must not depend on execution, adapters, clocks or randomness.

mod assign;
mod decode;
mod demand;
mod encode;
pub mod fit;
mod levels;
mod machines;
mod report;
mod scope;

use std::collections::BTreeSet;

use retile_solver::{SolveError, solve};
pub use retile_solver::{Termination, WorkLimit};

use crate::model::{DisruptionLevel, NodeId, PlanningInput};
use crate::plan::Plan;

use encode::Encoding;
use scope::Scope;

/// Result of planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// Nothing is worth changing; the plan explains why.
    Unchanged(Plan),
    /// A plan with changes.
    Proposed(Plan),
}

impl Planned {
    /// The plan, with or without changes.
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Unchanged(plan) | Self::Proposed(plan) => plan,
        }
    }

    /// Takes the plan out.
    pub fn into_plan(self) -> Plan {
        match self {
            Self::Unchanged(plan) | Self::Proposed(plan) => plan,
        }
    }
}

/// Why no plan could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The search ended without any legal plan; doing nothing is legal, so this is the work limit or a defect.
    #[error("no plan was found within the work limit; raise --work-limit")]
    NoPlan(#[from] SolveError),
    /// The changes of a GPU have no legal order, which cannot be: a GPU can be emptied first.
    #[error("the plan's steps could not be put in order; please report this input")]
    Steps(#[from] crate::plan::StepError),
    /// The problem had to be refined more often than there are nodes, which cannot be.
    #[error("the plan could not be made to fit the nodes; please report this input")]
    Refinement,
}

/// Plans the best change of layouts for the pods that wait.
///
/// # Errors
/// The work limit was reached before any legal plan was found.
pub fn plan(input: &PlanningInput, termination: &mut dyn Termination) -> Result<Planned, PlanError> {
    let policy = input.policy();
    let gain = policy.gain_factor.thousandths();
    let baseline = if gain > 0 && policy.disruption != DisruptionLevel::IdleOnly {
        let scope = Scope::new(input, DisruptionLevel::IdleOnly, None);
        Some(search(&scope, termination)?.served_weight())
    } else {
        None
    };
    let scope = Scope::new(input, policy.disruption, baseline);
    let found = search(&scope, termination)?;
    let mut plan = found.into_plan(&scope);
    crate::plan::fill_in_steps(&mut plan, input)?;
    Ok(if plan.nodes.is_empty() { Planned::Unchanged(plan) } else { Planned::Proposed(plan) })
}

/// Solves, and refines the atoms until every pod has a node.
fn search<'a>(scope: &Scope<'a>, termination: &mut dyn Termination) -> Result<decode::Found<'a>, PlanError> {
    let mut refined = BTreeSet::<NodeId>::new();
    loop {
        let encoding = Encoding::new(scope, &refined);
        let outcome = solve(&encoding.problem, None, termination)?;
        let changes = decode::changes(scope, &encoding, &outcome);
        match assign::assign(scope, &encoding, &outcome, &changes) {
            Ok(landings) => return Ok(decode::Found::new(scope, &encoding, &outcome, changes, landings)),
            Err(nodes) => {
                let before = refined.len();
                refined.extend(nodes);
                if refined.len() == before {
                    return Err(PlanError::Refinement);
                }
            }
        }
    }
}
