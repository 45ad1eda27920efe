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
mod construct;
mod decode;
mod demand;
mod encode;
pub mod fit;
mod headroom;
mod legal;
mod levels;
mod machines;
mod report;
mod scope;
mod start;
mod value;

use std::cell::Cell;
use std::collections::BTreeSet;

use retile_solver::solve;
pub use retile_solver::{Termination, WorkLimit};

use crate::model::{DisruptionLevel, NodeId, PlanningInput};
use crate::plan::Plan;

use assign::Assigned;
use encode::Encoding;
use scope::Scope;
use value::{Appraiser, Draft};

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
    /// The changes of a GPU have no legal order, which cannot be: a GPU can be emptied first.
    #[error("the plan's steps could not be put in order; please report this input")]
    Steps(#[from] crate::plan::StepError),
}

/// Plans the best change of layouts for the pods that wait.
///
/// There always is a plan: the best of what the search has found by the end of its work and of the drafts that are made without search. Each
/// disruption level up to the policy's is searched within the given work when the one above it does not settle everything, so that a
/// level that allows more never serves less.
///
/// # Errors
/// The plan's steps have no order, which would be a defect.
pub fn plan(input: &PlanningInput, termination: &mut dyn Termination) -> Result<Planned, PlanError> {
    let work = termination.left();
    let spent = Cell::new(0);
    let stage = Stages { input, work, spent: &spent }.stage(input.policy().disruption);
    termination.spend(spent.get());
    let mut plan = stage.found.into_plan(&stage.scope);
    crate::plan::fill_in_steps(&mut plan, input)?;
    Ok(if plan.nodes.is_empty() { Planned::Unchanged(plan) } else { Planned::Proposed(plan) })
}

/// The search at one disruption level, ended.
struct Stage<'a> {
    scope: Scope<'a>,
    best: Best,
    found: decode::Found<'a>,
}

/// Searches level by level, each within the same work.
#[derive(Clone, Copy)]
struct Stages<'a, 'b> {
    input: &'a PlanningInput,
    work: u64,
    /// Work of all searches so far.
    spent: &'b Cell<u64>,
}

impl<'a> Stages<'a, '_> {
    fn stage(self, level: DisruptionLevel) -> Stage<'a> {
        let mut scope = Scope::new(self.input, level);
        let mut known = None;
        if self.input.policy().gain_factor.thousandths() > 0 && level != DisruptionLevel::IdleOnly {
            let idle = self.stage(DisruptionLevel::IdleOnly);
            // Where it is not proven what can be served without moves, moves must beat the most that could be.
            let levels = levels::Levels::new(&idle.scope);
            scope.baseline = Some(levels.tiers.iter().map(|tier| idle.best.bounds[tier.served]).sum());
            known = Some(idle.best.draft);
        }
        let lower = match level {
            DisruptionLevel::IdleOnly => None,
            DisruptionLevel::Balanced => Some(DisruptionLevel::IdleOnly),
            DisruptionLevel::Aggressive => Some(DisruptionLevel::Balanced),
        };
        let mut less = || -> Vec<Draft> {
            let idle = known.take().into_iter();
            // With a gain factor the level below has been searched already where it is the first.
            let below = lower.filter(|lower| scope.baseline.is_none() || *lower != DisruptionLevel::IdleOnly);
            idle.chain(below.map(|lower| self.stage(lower).best.draft)).collect()
        };
        let mut limit = WorkLimit::new(self.work);
        let best = search(&scope, &mut less, &mut limit);
        self.spent.set(self.spent.get().saturating_add(self.work - limit.left()));
        let levels = levels::Levels::new(&scope);
        let found = decode::Found::new(&scope, best.draft.clone(), &levels, &best.values, &best.bounds);
        Stage { scope, best, found }
    }
}

/// The best draft of a search, with its values and the bounds that were proven, level by level.
struct Best {
    draft: Draft,
    values: Vec<i64>,
    bounds: Vec<i64>,
}

impl Best {
    /// Takes a draft if it is better.
    fn offer(&mut self, appraiser: &Appraiser<'_, '_>, draft: Draft) {
        let values = appraiser.value(&draft);
        if values > self.values {
            *self = Self { draft, values, bounds: std::mem::take(&mut self.bounds) };
        }
    }

    /// Takes over the bounds of an outcome: each holds for all drafts that are as good as its answer on the earlier levels.
    fn bound(&mut self, encoding: &Encoding, outcome: &retile_solver::Outcome) {
        for (level, reached) in outcome.levels.iter().enumerate() {
            let offset = encoding.offsets[level];
            self.bounds[level] = self.bounds[level].min(reached.bound + offset).max(self.values[level]);
            if self.values[level] < reached.value + offset {
                break;
            }
        }
    }
}

/// Solves, and refines the atoms until every pod has a node. `less` gives the best drafts of lower disruption levels.
fn search(scope: &Scope<'_>, less: &mut dyn FnMut() -> Vec<Draft>, termination: &mut dyn Termination) -> Best {
    let appraiser = Appraiser::new(scope);
    let draft = Draft::default();
    let mut best = Best { values: appraiser.value(&draft), draft, bounds: appraiser.ceilings() };
    let mut begun = false;
    let mut refined = BTreeSet::<NodeId>::new();
    loop {
        let encoding = Encoding::new(scope, &refined);
        let mut start = || {
            if !std::mem::replace(&mut begun, true) {
                for draft in construct::drafts(scope).into_iter().chain(less()) {
                    best.offer(&appraiser, draft);
                }
            }
            Vec::from_iter(start::solution(scope, &encoding, &best.draft))
        };
        // What is found may have to be refined: something must be left for that.
        let share = termination.left() / 2 + 1;
        let mut limit = WorkLimit::new(share);
        let outcome = solve(&encoding.problem, &mut start, &mut limit);
        termination.spend(share - limit.left());
        if let Ok(outcome) = &outcome {
            let changes = decode::changes(scope, &encoding, outcome);
            let Assigned { landings, doubtful, stranded } = assign::assign(scope, &encoding, outcome, &changes);
            let draft = Draft { changes, landings };
            if !stranded && (doubtful.is_empty() || legal::pays(scope, &draft)) {
                best.offer(&appraiser, draft);
            }
            best.bound(&encoding, outcome);
            let before = refined.len();
            refined.extend(&doubtful);
            if doubtful.is_empty() || refined.len() == before {
                break;
            }
        }
        if outcome.is_err() || termination.spend(0) {
            break;
        }
    }
    // Where the search ended before it asked for a start, or began anew with finer atoms, something may be left to try.
    if best.values != best.bounds && !begun {
        for draft in construct::drafts(scope).into_iter().chain(less()) {
            best.offer(&appraiser, draft);
        }
    }
    for (bound, &value) in best.bounds.iter_mut().zip(&best.values) {
        *bound = (*bound).max(value);
    }
    best
}
