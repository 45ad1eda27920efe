//! The custom resources of `retile.dev/v1alpha1` as the API server stores them: their schemas, and the way between them and the records of
//! [`crate::exec`].
//!
//! Inputs and outputs: records of the protocol, and the objects that stand for them. Invariants: a record that goes to an object and back is the
//! same record, except for texts that are longer than the schema allows, which are cut; every list and every text is bounded, so that the
//! API server can bound the cost of the rules. The files `deploy/crds/*.yaml` are written from these types, and a test compares them.
//!
//! Must not depend on a client: whoever has an object in its hands can read it.

#![allow(unreachable_pub, reason = "the derivation of schemas makes public types inside functions")]
#![allow(clippy::duplicated_attributes, reason = "columns of a table have attributes of the same name")]

mod condition;
mod limits;
mod mig_node;
mod mig_plan;
mod mig_policy;
mod report;
mod savings;
mod schema;
mod spec;
mod status;

pub use condition::{Condition, ConditionStatus};
pub use limits::count;
pub(crate) use limits::{DETAIL, cut};
pub use mig_node::{MigNode, record};
pub(crate) use mig_plan::DOCUMENT as PLAN_DOCUMENT;
pub use mig_plan::{Approval, MigPlan, MigPlanSpec, MigPlanStatus, PlanPhase};
pub use mig_policy::{
    BudgetsSpec, DisruptionSpec, LastPlan, Level, MigPolicy, MigPolicySpec, MigPolicyStatus, ModeSpec, ModelPrice,
    PricesSpec, Received, SelectorSpec, StabilitySpec, WindowSpec,
};
pub use report::Circumstances;
pub use savings::{DeferredTime, ModelSavings, SavingsStatus};
pub use schema::{Definition, definitions};
pub use spec::{
    Ended, GpuTarget, MigNodeSpec, Operation, Outcome, Phase, Place, Pod, Step, StepAction, Victim, WireError,
};
pub use status::{AgentPhase, Gpu, Instance, MigNodeStatus, Occupancy, OperationReport};

/// Group of all custom resources.
pub const GROUP: &str = "retile.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";

#[cfg(test)]
mod tests;
