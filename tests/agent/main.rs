//! The agent as a program: the real process with the real adapter and the fake library, against an API server and a kubelet of the test.
//!
//! `RETILE_CHANGES` and `RETILE_KILLS` ask for more than the few rounds that every run makes, `RETILE_SEED` for others;
//! `docs/how-to/run-the-agent.md` has the commands for all of them.

#![cfg(feature = "agent")]
#![allow(unreachable_pub, reason = "modules that several test binaries share")]
#![allow(clippy::disallowed_methods, reason = "how much is tested is asked for in the environment")]

#[path = "../support/api_server.rs"]
mod api_server;
mod changes;
mod harness;
mod kills;
#[path = "../support/kubelet.rs"]
mod kubelet;
mod layouts;
mod ledger;
mod life;
#[path = "../support/pod_resources.rs"]
mod pod_resources;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../support/rng.rs"]
mod rng;
