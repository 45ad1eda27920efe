//! Why something does not happen: one enum for conditions, events, metrics, `explain` and the documentation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a pod is not served or an object is left alone, from "never" to "soon".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Reason {
    /// No GPU of the cluster can ever host it.
    Unsatisfiable,
    /// The policy, or an owner's decision that retile honours, says no.
    PolicyForbids,
    /// A budget of the policy or a `PodDisruptionBudget` is used up.
    BudgetExhausted,
    /// A named pod stands in the way and may not be moved.
    BlockedByPod,
    /// It could be done, but the gain does not pay for the disruption.
    NotWorthDisruption,
    /// A cool-down or waiting time has not passed.
    CoolingDown,
    /// Room for it does not exist, even after the best plan.
    WaitingForCapacity,
    /// It is planned and being carried out.
    WaitingForExecution,
    /// The planner does not model something that the pod asks for, so it promises nothing.
    NotModelled,
}

impl Reason {
    /// All reasons, in order.
    pub const ALL: [Self; 9] = [
        Self::Unsatisfiable,
        Self::PolicyForbids,
        Self::BudgetExhausted,
        Self::BlockedByPod,
        Self::NotWorthDisruption,
        Self::CoolingDown,
        Self::WaitingForCapacity,
        Self::WaitingForExecution,
        Self::NotModelled,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
