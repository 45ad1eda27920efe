//! The kubelet's pod-resources socket.
//!
//! Input: the kubelet's Unix socket (API `v1`). Outputs: who holds which MIG device ([`PodResources::holdings`]) and what the device plugin
//! offers ([`PodResources::allocatable`]). Invariant: an answer is understood to the end or is an error; there is no partial one, because
//! what is not understood could hold an instance.
//!
//! Must not depend on any other module of the library.

mod client;
mod device;
mod message;

pub use client::{Holding, PodResources, PodResourcesError, SOCKET};
pub use device::{DeviceIdError, MigDevice};
