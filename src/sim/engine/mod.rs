//! The engine: a queue of events in virtual time.
//!
//! Invariants: events of one moment happen in the order in which they were scheduled; time never goes back; nothing outside the queue
//! makes anything happen.

mod faults;
mod kinds;
mod queue;

pub use faults::{Call, Deeds, Faults, NoFaults, Refusal, Verdict};
pub use kinds::RequestKind;
pub use queue::Queue;
