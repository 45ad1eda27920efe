//! Reads cluster exports into a [`crate::model::PlanningInput`]; with the feature `cluster` also the custom resources (`crd`) and a live API
//! server (`live`), which read their objects with the same code.
//!
//! Input: what `kubectl get … -o json|yaml` writes, a file or standard input. Output: a planning input with every doubt
//! kept as a finding. Only `live` talks to a cluster or reads a clock; nothing
//! prints.
//!
//! Parse, don't trust: a bad object makes only itself ineligible, and what is unknown blocks rather than permits.

mod advertised;
mod asks;
mod assemble;
mod budgets;
mod canonical;
#[cfg(feature = "cluster")]
pub mod crd;
mod eligibility;
pub mod export;
mod findings;
mod inventory;
#[cfg(feature = "cluster")]
pub mod live;
mod movability;
mod move_cost;
mod objects;
mod occupancy;
mod offers;
mod ownership;
mod pending;
mod placement_inference;
pub mod policy;
mod priority;
pub mod quantity;
mod repulsion;
mod requests;
pub mod resource_name;
pub mod scope;
mod selector;
mod stream;
pub mod strip;
mod taints;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod time;
mod unmodelled;
pub mod window;
