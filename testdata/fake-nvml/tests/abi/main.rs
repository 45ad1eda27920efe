//! The library through the loader and the types that retile's own adapter uses: nvml-wrapper.
//!
//! NVML is one state per process, so every test runs in a process of its own: see `support::isolated`.

mod faults;
mod instances;
mod occupancy;
mod profiles;
mod sharing;
mod support;
mod walks;
