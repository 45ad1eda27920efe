//! retile's promises about the Kubernetes API, held against a real control plane: etcd, API server, controller manager and scheduler.
//!
//! `tests/control-plane/build` builds those once. Without them every test here skips and says so.

#![cfg(all(feature = "cli", feature = "controller", feature = "agent"))]

#[path = "../support/control_plane/mod.rs"]
mod control_plane;

mod approval;
mod clients;
mod contract;
mod course;
mod evictions;
mod expiry;
mod installation;
mod life;
mod live_cli;
mod nodes;
mod owners;
mod pages;
mod scale;
mod single;
mod truth;
mod work;
