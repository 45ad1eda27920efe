//! The verbs that talk to a cluster.
//!
//! Inputs: a kubeconfig, and what the API server answers. Outputs: as each verb says. Invariants: nothing is written to a cluster but by `apply`;
//! each request has a time limit; a refusal says which right is missing, on what, and which role has it. Decisions are made by pure code that is
//! given everything; this module and its rooms fetch, and show.

mod apply;
pub(crate) mod args;
mod doctor;
mod reach;
mod snapshot;
mod standing;
mod status;
mod top;

pub(crate) use apply::apply;
pub(crate) use doctor::doctor;
pub(crate) use reach::{NAME, Reach};
pub(crate) use snapshot::snapshot;
pub(crate) use standing::LeftAlone;
pub(crate) use status::status;
pub(crate) use top::top;
