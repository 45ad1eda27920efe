//! Faults against the whole of retile in a simulated cluster: what may never happen does not, and everything comes to rest.
//!
//! This is the part that fits into every test run; `cargo test --release --test swarm` does all of it. See `docs/design/faults.md`.

#[path = "../support/faults/mod.rs"]
mod faults;

mod directed;
mod regressions;
mod scenarios;
mod solver;
