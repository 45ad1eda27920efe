//! What a program says about itself: logs, metrics, health.
//!
//! Inputs: what the wiring notes (figures, beats, readiness). Outputs: lines on stderr, and two pages per program, `/metrics` and
//! `/healthz` with `/readyz`, each on an address of its own, because health is asked by the kubelet and holds no data while metrics do.
//!
//! Invariants: no label takes its value from a pod, a namespace or a token; labels are enumerated or bounded by the hardware of the cluster
//! or of the node. Counters that are enumerated start at 0. A slow or silent client holds up nobody else and is cut off.
//!
//! Must not depend on the loops or on any adapter; who serves the pages decides nothing.

pub mod agent;
mod book;
pub mod controller;
mod health;
mod labels;
mod logs;
pub mod requests;
mod series;
mod server;
#[cfg(test)]
mod tests;
mod tls;

pub use agent::AgentMetrics;
pub use book::{Book, Build, FamilyDoc, Kind};
pub use controller::ControllerMetrics;
pub use health::Health;
pub use labels::{Labels, Whole};
pub use logs::{LogError, LogFormat, init as init_logs};
pub use series::{Count, Level, Spread, Sum};
pub use server::{Page, Server, ServerError};
pub use tls::{Tls, TlsError};
