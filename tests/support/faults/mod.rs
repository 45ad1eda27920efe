//! Faults for the simulated cluster: scenarios, a vocabulary of faults that can be written down in a line, runs, and smaller runs that fail
//! the same way.

#![allow(dead_code, unreachable_pub, reason = "shared by test binaries, each of which uses a part")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a fault is about few of many kinds of requests")]

pub mod deeds;
pub mod families;
pub mod plan;
pub mod run;
pub mod scenarios;
pub mod shrink;
pub mod sites;
pub mod swarm;
