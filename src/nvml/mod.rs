//! The NVIDIA driver of this machine, through its management library (NVML).
//!
//! Input: the library's path. Outputs: boards with their geometry, instances and processes ([`Driver::boards`], [`Driver::inventory`]), and
//! instances created and destroyed one by one at exact places. Invariants:
//!
//! * MIG mode is read and never written; no GPU is ever reset.
//! * An instance is destroyed only with an [`crate::exec::IdleProof`], and only if right before it is still what the proof names.
//! * GPUs are known by UUID and PCI address, never by index; GPU instances by their place, never by their id.
//! * The table that a device reports is the truth; the catalogue confirms it, and differences are reported.
//! * A call that does not return ends all calls ([`DriverError::Hung`]).
//! * Unsafe code is in one file, `raw.rs`.
//!
//! Must not depend on Kubernetes, the kubelet, the planner or the command line.

mod board;
mod change;
mod driver;
mod error;
mod library;
#[allow(unsafe_code, reason = "the calls into the driver's library; each says why it is sound")]
mod raw;
mod session;
mod table;

pub use board::{Board, ComputeInstanceOnBoard, GpuInstanceOnBoard, Inventory, MigMode, Unread};
pub use driver::{Driver, WATCHDOG};
pub use error::DriverError;
pub use library::find_library;
pub use table::{Difference, Fact, Table};
