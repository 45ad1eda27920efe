//! Verification: the only way to a [`Verified`] plan.
//!
//! Inputs: a [`Plan`], from wherever it comes, and the [`PlanningInput`] that it claims to be for. Output: the same plan
//! as [`Verified`], or every rule of `docs/design/semantics.md` that it breaks. Invariants: the verifier believes no
//! number and no list of the document that it can derive from the input and the lists of destroyed and created
//! instances; it shares types with the planner, never logic, and has its own arithmetic for layouts, weights and room.
//! It must not depend on the planner, the solver or [`crate::model::Layout`].
//!
//! What cannot be decided without solving the problem again is not checked: that a bound is really one (only that no
//! value is better than its bound), that the displaced weight, which the document does not state, is least, and the gain
//! factor's W0 (see `limits`). Of the reasons of those who wait on, what would need a search is not checked either; `producer`, `parent`, `notes`, and
//! `detail` and `action` of the unserved are words for people, which nothing is derived from.

mod changes;
mod landing;
mod legal;
mod limits;
mod objective;
mod pods;
mod steps;
mod told;
mod totals;
mod violation;
mod world;

use std::ops::Deref;

pub use violation::{Rejection, Violation};

use super::document::Plan;
use crate::model::PlanningInput;

/// Proof that a value passed [`verify`]; only that function makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Gives up the proof and returns the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Checks a plan against its input by every rule of `docs/design/semantics.md` and of the document's format.
///
/// # Errors
/// All the rules that the plan breaks.
pub fn verify(plan: Plan, input: &PlanningInput) -> Result<Verified<Plan>, Rejection> {
    let violations = violations(&plan, input);
    if violations.is_empty() { Ok(Verified(plan)) } else { Err(Rejection { violations }) }
}

fn violations(plan: &Plan, input: &PlanningInput) -> Vec<Violation> {
    let mut found = Vec::new();
    let world = world::World::new(input);
    totals::header(plan, input, &mut found);
    let changes = changes::resolve(plan, &world, &mut found);
    legal::check(&changes, &world, &mut found);
    let served = pods::waiting(plan, &world, &mut found);
    let placed = pods::evictions(plan, &changes, &world, &mut found);
    let left = landing::check(&served, &placed, &changes, &world, &mut found);
    limits::check(&served, &changes, &world, &mut found);
    totals::summary(plan, &served, &changes, &world, &mut found);
    objective::check(plan, &objective::values(&served, &changes, &left, &world), changes.complete, &mut found);
    steps::check(plan, &changes, &world, &mut found);
    if found.is_empty() {
        // What follows from the plan is looked at once the plan itself stands.
        told::check(plan, &served, &changes, &world, &mut found);
    }
    found
}
