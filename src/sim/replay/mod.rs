//! Replays: workloads read, mapped or generated; the rules that are compared; what a history amounts to.
pub mod baselines;
pub mod fleet;
pub mod generate;
pub mod openb;
pub mod trace;
