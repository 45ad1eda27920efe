//! The vocabulary of planning: what a board can be cut into, what a cluster looks like, what is asked of it.
//!
//! Inputs: the geometry catalogue and facts gathered by an adapter. Output: a [`PlanningInput`], the one argument of
//! the planner and the one reference of the verifier. Invariants are kept by private fields and fallible constructors.
//! This module depends on nothing but the standard library and serde.

mod adjust;
mod capacity;
mod catalogue;
mod enumerate;
mod geometry;
mod gpu;
mod ids;
mod input;
mod layout;
pub mod mutant;
mod pod;
mod policy;
mod reason;
mod resource;
mod words;

pub use capacity::{Capacity, CapacityKind};
pub use catalogue::{BoardFileError, Catalogue, LookupError, read_board};
pub use enumerate::{Enumeration, Multiset};
pub use geometry::{Board, Geometry, GeometryError, MediaEngines, MediaUse, Placement, Profile, ProfileId};
pub use gpu::{Gpu, Instance, MigStrategy, Node, Occupancy, Offer};
pub use ids::{BudgetId, GpuId, NodeId, NodeSetId, PodId, PodRef, ResourceId};
pub use input::{EvictionBudget, Finding, InputError, NodeSet, PlanningInput, PlanningInputBuilder, Unplannable};
pub use layout::{Layout, LayoutError};
pub use pod::{ControllerKind, Demand, Movability, PendingPod, RunningPod};
pub use policy::{Budgets, Clients, DisruptionLevel, GainFactor, Limit, Mode, MoveCost, Policy, Stability, Weight};
pub use reason::Reason;
pub use resource::{
    GPU_RESOURCE, MIG_PREFIX, PRODUCT_LABEL, REPLICAS_LABEL, STRATEGY_LABEL, mig_resource, profile_in_names,
};
pub use words::{count, thousands};
