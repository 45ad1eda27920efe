//! The controller's loop: observe, plan, verify, start operations, see them through.
//!
//! Sans-IO like the machines of [`crate::exec`]: it is told what happened and answers with what to ask next, one request at a time for each
//! of its [`Ticket`]s. Production and the simulator drive the same code.
//!
//! Inputs: [`Observation`](crate::exec::port::Observation)s. Outputs: requests to the API server. Invariants: it acts only while its lease is
//! fresh by its own monotonic clock; a plan is carried out only if the independent verifier has accepted it; demand that an operation under
//! way serves is not planned for twice.
//!
//! Must not depend on adapters, except in `run.rs`.

mod admit;
mod burst;
mod cycle;
mod demand;
mod fate;
mod flight;
mod forecast;
mod hindrance;
mod hypothesis;
mod judge;
mod leadership;
mod lease;
mod machine;
mod nodes;
mod propose;
mod report;
#[cfg(feature = "controller")]
pub mod run;
mod sequence;
mod settings;
mod stability;
mod standing;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use leadership::Leadership;
pub use machine::{Asked, Controller, Farewell, Ticket};
pub use propose::{Proposal, ProposeError, Proposer, Retile};
pub use report::{Approval, Cause, CycleReport, LISTED, LeftOut, Observed, Planned, Started};
pub use settings::{LeaseTimes, Settings};
pub use standing::left_alone;
