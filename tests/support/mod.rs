//! What the tests of the planner share: board tables, random clusters, the brute-force oracle, the per-GPU program.
//!
//! Nothing in here may use the planner or the solver: it is the measure that they are held against. Inputs of the oracle
//! and of the per-GPU program are a [`retile::model::PlanningInput`], the rules are those of `docs/design/semantics.md`.
#![allow(dead_code, reason = "every test binary uses a part")]
#![allow(unreachable_pub, reason = "a module of several test binaries, not a crate of its own")]

pub mod apply;
pub mod boards;
pub mod compare;
pub mod fleet;
pub mod oracle;
pub mod per_gpu;
pub mod program;
pub mod random;
pub mod rng;
pub mod spec;
