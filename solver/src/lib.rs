//! Exact integer optimisation over classes of identical interval machines with few coupling rows.
//!
//! A *machine* is an axis that is cut into intervals: each way of cutting it is a path in a small acyclic graph, or the
//! machine is left *idle*. Machines of one class are alike; they stand in *groups* that pay a charge as soon as one of their
//! machines is not idle. What paths, idle machines, charges and *variables* (integers with a bound) contribute is
//! collected in *dimensions*: the levels of a lexicographic objective, to be maximised one after the other, and coupling
//! rows with bounds.
//!
//! The size of a problem does not grow with the number of identical machines. Every outcome carries, level by level, the
//! value reached and a bound that was proven in integer arithmetic; [`Status::Optimal`] is said only when they meet.
//!
//! * [`problem`] describes problems, [`solution`] answers, [`mod@check`] re-checks an answer with logic of its own.
//! * `price` finds the best paths for given prices, `master` (by `simplex`) the prices: together they give the bound.
//! * `program` states (restricted) problems as integer programs for good_lp; `round` and `diffuse` look for answers that
//!   reach the bound, among the choices that `near` finds close to it.
//! * [`minimum`] answers how few empty machines hold a demand, by a closed form where one is exact.
//! * [`lexicographic`] puts the parts together; `improve` solves parts of an answer anew.
//! * `components` takes a problem apart into what shares no row, `linked` solves blocks that only a few rows link.
//! * [`brute`] enumerates small problems, for tests.
//!
//! The crate knows nothing of GPUs or clusters and reads no clock: work is limited by counting it ([`Termination`]).

pub mod brute;
pub mod check;
mod components;
mod diffuse;
mod improve;
pub mod lexicographic;
mod linked;
mod master;
pub mod minimum;
mod near;
mod price;
pub mod problem;
mod program;
mod round;
mod simplex;
pub mod solution;
mod termination;

pub use components::{solve, solve_by_blocks};
pub use lexicographic::{LevelOutcome, Outcome, SolveError, Status};
pub use problem::{Arc, ClassId, Dim, EffectId, GroupId, Problem, TemplateId, VarId};
pub use solution::{ActiveGroup, Solution};
pub use termination::{Termination, WorkLimit};
