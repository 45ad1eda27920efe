//! A `libnvidia-ml.so.1` for machines without a GPU.
//!
//! Clients load the cdylib as they load NVIDIA's library; what they see are MIG boards whose tables come from retile's
//! catalogue and whose instances live in a file that any number of processes share. Tests and the command `fake-nvml`
//! use the same crate as a Rust library to set a node up, to look at it from outside, and to do what no client can:
//! reboot it, occupy an instance, script a fault.
//!
//! Layers, each using only those before it: [`Code`], [`config`], [`boards`] (tables), [`node`] (the state and its
//! rules, no I/O), [`store`] (the file), [`session`] (one client process: initialisation, faults, latency), `abi` (the
//! exported symbols, and all the unsafe code). README.md tells users what is modelled, and what is not.

#![allow(
    clippy::disallowed_methods,
    reason = "the fake is configured like a driver, from its environment, and waits for events in real time"
)]

pub mod boards;
pub mod code;
pub mod config;
pub mod fault;
pub mod host;
pub mod node;
pub mod session;
pub mod store;

#[allow(unreachable_pub, reason = "its items are public to C, not to Rust")]
mod abi;
mod handle;

pub use code::Code;
pub use config::{BoardConfig, Config};
pub use fault::{Fault, Kill};
pub use node::Node;
pub use store::{Store, StoreError};

use std::path::PathBuf;

/// Where cargo has put the library that belongs to the running test or command: beside it, or one folder up.
///
/// `None` when neither folder has it, as in a program that was moved after the build.
pub fn library_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folders = program.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join("libfake_nvml.so")).find(|path| path.is_file())
}
