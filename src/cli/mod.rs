//! The command line: verbs, rendering, and the words for everything that can go wrong.
//!
//! Inputs: arguments and files. Outputs: data on standard output, notes and errors on standard error, an exit status. Invariants: nothing
//! is printed half-done; the same arguments and files give the same bytes; no input makes it panic. This is the only module that prints;
//! all others may be used here, and none uses this one.

pub mod args;
pub mod error;
pub mod output;
pub mod show;
