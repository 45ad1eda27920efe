//! The adapter `kube::live` against a real API server: the contract that the simulator is held to as well, and beside it what only a real server
//! has: refused rights, schemas, tables, the index, events and plans.
//!
//! `tests/control-plane/build` builds the programs once. Without them every test here skips and says so.

#![cfg(all(feature = "cluster", feature = "node"))]

#[path = "../contract/cases/mod.rs"]
#[macro_use]
mod cases;
#[path = "../contract/cluster.rs"]
mod cluster;
#[path = "../support/control_plane/mod.rs"]
mod control_plane;

#[cfg(feature = "controller")]
mod clerk;
mod contract;
mod index;
mod policies;
mod records;
mod requests;
mod scene;
