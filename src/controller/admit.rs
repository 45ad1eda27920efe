//! How much may be changed now: the policy's budgets, less what is under way or out of service already.
//!
//! Inputs: policy, observation, operations in flight. Outputs: the budgets that the plan gets, and a check that it keeps them. Invariant: nodes that are
//! not ready or degraded count as consumed, so that retile never adds to an outage what the operator allowed for a quiet day.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::Operation;
use crate::model::{Budgets, Limit, PlanningInput, Policy};

use super::sequence;

/// What is left of each budget; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    nodes: u64,
    gpus: Option<u64>,
    evictions: Option<u64>,
}

/// What is taken already.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Nodes with an operation that is under way or waits for another.
    pub(super) operations: BTreeSet<String>,
    /// GPUs that these change.
    pub(super) gpus: usize,
    /// Nodes that are not ready, or degraded.
    pub(super) out_of_service: BTreeSet<String>,
    /// Evictions that plans of this period have asked for.
    pub(super) evictions: u32,
}

impl Room {
    /// What the budgets of the input's policy leave.
    pub(super) fn of(input: &PlanningInput, taken: &Taken, concurrency: u32) -> Self {
        let Budgets { nodes, gpus, evictions } = input.policy().budgets;
        let (all_nodes, all_gpus) = (input.nodes().len(), input.gpus().len());
        let out = || taken.out_of_service.iter().filter(|node| !taken.operations.contains(*node));
        let out_gpus: usize =
            out().filter_map(|node| input.node_named(node)).map(|node| input.nodes()[node.index()].gpus.len()).sum();
        let slots = u64::from(concurrency).saturating_sub(taken.operations.len() as u64);
        let left = |limit: Limit, of: usize, used: usize| limit.of(of).saturating_sub(used as u64);
        Self {
            nodes: nodes
                .map_or(u64::MAX, |limit| left(limit, all_nodes, taken.operations.len() + out().count()))
                .min(slots),
            gpus: gpus.map(|limit| left(limit, all_gpus, taken.gpus + out_gpus)),
            evictions: evictions.map(|limit| u64::from(limit.saturating_sub(taken.evictions))),
        }
    }

    /// The policy with what is left as its budgets. A budget that exceeds what there is would only burden the search and is left out.
    pub(super) fn narrow(self, input: &PlanningInput) -> Policy {
        let count = |left: u64| u32::try_from(left).unwrap_or(u32::MAX);
        let nodes = (self.nodes < input.nodes().len() as u64).then(|| Limit::Count(count(self.nodes)));
        let gpus = self.gpus.map(|left| Limit::Count(count(left)));
        let budgets = Budgets { nodes, gpus, evictions: self.evictions.map(count) };
        Policy { budgets, ..input.policy().clone() }
    }

    /// Sorts operations into those that may start and those that would exceed the room. What hangs together stays together.
    pub(super) fn admit(
        mut self,
        mut operations: BTreeMap<String, Operation>,
    ) -> (BTreeMap<String, Operation>, Vec<String>) {
        let landings =
            sequence::landings(&operations.iter().map(|(node, operation)| (node.clone(), operation)).collect());
        let mut put_off = Vec::new();
        for component in sequence::components(&landings) {
            let members = || component.iter().filter_map(|node| operations.get(node));
            let gpus: usize = members().map(|operation| operation.gpus.len()).sum();
            let evictions: usize = members().map(|operation| operation.victims.len()).sum();
            if self.take(component.len() as u64, gpus as u64, evictions as u64).is_none() {
                operations.retain(|node, _| !component.contains(node));
                put_off.extend(component);
            }
        }
        (operations, put_off)
    }

    fn take(&mut self, nodes: u64, gpus: u64, evictions: u64) -> Option<()> {
        let left = |room: Option<u64>, used: u64| room.map_or(Some(None), |room| room.checked_sub(used).map(Some));
        *self = Self {
            nodes: self.nodes.checked_sub(nodes)?,
            gpus: left(self.gpus, gpus)?,
            evictions: left(self.evictions, evictions)?,
        };
        Some(())
    }
}
