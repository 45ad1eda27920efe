//! The adapter `kube::live` against a real API server: each request, its refusals, the index, events and plans.
//!
//! `tests/control-plane/build` builds the programs once. Without them every test here skips and says so.

#![cfg(all(feature = "cluster", feature = "node"))]

#[path = "../support/control_plane/mod.rs"]
mod control_plane;

mod index;
mod policies;
mod records;
mod requests;
mod scene;
