//! Newtypes for identities, so that an index into one table is never used on another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// Wraps a position in the table that this index belongs to.
            pub fn new(index: usize) -> Self {
                Self(u32::try_from(index).expect("tables of a planning input hold fewer than 2^32 entries"))
            }

            /// Returns the position in the table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// Position of a node in [`super::PlanningInput::nodes`].
    NodeId
);
index!(
    /// Position of a GPU in [`super::PlanningInput::gpus`].
    GpuId
);
index!(
    /// Position of a running pod in [`super::PlanningInput::running`].
    PodId
);
index!(
    /// Position of a MIG resource name in [`super::PlanningInput::resources`].
    ResourceId
);
index!(
    /// Position of a set of nodes in [`super::PlanningInput::node_sets`].
    NodeSetId
);
index!(
    /// Position of a `PodDisruptionBudget` in [`super::PlanningInput::budgets`].
    BudgetId
);

/// Names one pod object: namespace, name, and the UID that tells it from a successor of the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// `metadata.uid`; empty when the source did not carry one.
    pub uid: String,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
