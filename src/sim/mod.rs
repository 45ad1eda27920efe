//! A simulated cluster in virtual time: one seed, one thread, the real loop and the real protocol inside.
//!
//! Inputs: a fleet, a [`Workload`], a [`Proposer`](crate::controller::Proposer), faults, a seed. Output: a [`History`]. Invariants: the same
//! inputs give the same history, byte for byte; after every event the safety invariants of the protocol are checked.
//!
//! Must not depend on adapters, clocks or the environment.

pub mod api;
pub mod engine;
mod history;
pub mod invariants;
pub mod node;
pub mod process;
pub mod replay;
mod savings_history;
pub mod scheduler;
pub mod story;
mod workload;
pub mod workloads;
pub mod world;

pub use history::{BurstReason, History, Record, Stamped};
pub use savings_history::from_sim;
pub use workload::{Arrival, Kind, Workload};
