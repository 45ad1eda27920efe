//! retile's promises about the Kubernetes API, held against a real control plane: etcd, API server, controller manager and scheduler.
//!
//! `tests/control-plane/build` builds those once. Without them every test here skips and says so.

#![cfg(all(feature = "cluster", feature = "node"))]

#[path = "../support/control_plane/mod.rs"]
mod control_plane;

mod contract;
mod work;
