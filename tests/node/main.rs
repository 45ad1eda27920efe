//! What runs on a node, through NVML's C ABI: the adapter loads the fake library as it loads the driver's own.
//!
//! Every test has a node of its own, in a file, and a process of its own, because the library belongs to a process: the test starts itself
//! again with the node in its environment.

#![cfg(feature = "node")]
#![allow(clippy::disallowed_methods, reason = "each test hands its node to its own process through the environment")]

mod boards;
mod changes;
mod faults;
mod harness;
mod inventory;
