//! A live API server: answers what the protocol asks of a cluster, and says when something has changed.
//!
//! Inputs: [`ClusterRequest`]s, and watches. Outputs: their answers, with the errors of
//! [`ClusterError`] exactly as that type defines them, and wakes. Invariants:
//!
//! * One request is one HTTP exchange that writes at most once; none is repeated here. Whoever asked decides what to do about an error.
//! * Each exchange has a time limit; what ends without a usable answer is unknown, never refused.
//! * Writes are compare-and-swap on the version that was read, and unknown fields are refused by the server.
//! * What cannot be read blocks: an incomplete or old index is an error, never a guess.
//!
//! Must not depend on the loop or on the agent: they drive it.

mod agent;
mod client;
mod clock;
mod connect;
mod controller;
mod events;
mod in_force;
mod index;
pub mod installed;
pub mod listing;
mod plans;
pub mod preflight;
mod reactions;
mod reception;
mod record;
mod refusal;
mod requests;
mod sights;
mod slim;
mod snapshot;
mod store;
mod thin;
mod views;
mod wake;
mod watch;

pub use agent::AgentCluster;
pub use client::{Server, Writes};
pub use clock::moment;
pub use connect::{ConnectError, ConnectOptions, connect};
pub use controller::{ControllerCluster, ControllerOptions, Health};
pub use events::{Events, Happened, Notice, Regarding, Told};
pub use in_force::PolicyInForce;
pub use plans::{KEPT, Published, Submitted, plans, publish, put_aside, set_phase, submit, who_asks};
pub use reception::{Doing, RefusedPolicy};
pub use sights::Sights;
pub use views::{PLUGIN, stays_under_our_taint};
pub use wake::Wake;

#[cfg(test)]
mod tests;

use crate::exec::port::{ClusterError, ClusterReply, ClusterRequest};

/// A request that is not made by this program.
fn refused_for(program: &str, request: &ClusterRequest) -> ClusterReply {
    let text = format!("{request:?}");
    let kind = text.split([' ', '{']).next().unwrap_or_default();
    Err(ClusterError::Forbidden(format!("{kind} is no request of {program}")))
}
