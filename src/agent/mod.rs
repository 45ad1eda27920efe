//! The agent as a program: drives [`AgentMachine`](crate::exec::AgentMachine) with a real API server and a real node.
//!
//! Everything is in the wiring, [`run`]: the machine decides, the adapters act, and nothing in between chooses anything.

pub mod run;
