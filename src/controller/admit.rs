//! How much may be changed now: the policy's budgets, less what is under way or out of service already.
//!
//! Inputs: policy, observation, operations in flight. Outputs: the budgets that the plan gets, and a check that it keeps them. Invariant: nodes that are
//! not ready or degraded count as consumed, so that retile never adds to an outage what the operator allowed for a quiet day.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::Operation;
use crate::model::{Budgets, Limit, PlanningInput, Policy, count};

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

    /// What is left once these operations have begun.
    pub(super) fn after(mut self, operations: &BTreeMap<String, Operation>) -> Self {
        for operation in operations.values() {
            // Only what fits is ever admitted.
            let _ = self.take(1, operation.gpus.len() as u64, operation.victims.len() as u64);
        }
        self
    }

    /// Why a change of one node does not fit, in words.
    pub(super) fn lacks(mut self, gpus: usize, evictions: usize) -> Option<String> {
        let none = self.take(1, gpus as u64, evictions as u64).is_none();
        let parts = [(Some(self.nodes), "node"), (self.gpus, "GPU"), (self.evictions, "eviction")];
        let parts = parts.into_iter().filter_map(|(room, what)| Some(count(room?, what)));
        none.then(|| format!("the budgets leave room for {} now", parts.collect::<Vec<_>>().join(", ")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Cluster, place, pod};
    use crate::exec::{GpuTarget, OperationId, Origin, Victim, repair};

    fn input(nodes: Option<Limit>, gpus: Option<Limit>, evictions: Option<u32>) -> PlanningInput {
        let mut cluster = Cluster::new();
        cluster.policy.budgets = Budgets { nodes, gpus, evictions };
        for name in ["a", "b", "c", "d"] {
            cluster = cluster.node(name, &[&[], &[]]);
        }
        cluster.observe().input
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn operation(gpus: usize, victims: &[(&str, &str)]) -> Operation {
        let origin = Origin { id: OperationId("op".into()), epoch: 1, node_uid: String::new(), residents: Vec::new() };
        let target = |index| GpuTarget {
            uuid: format!("GPU-{index}"),
            index: index as u32,
            base: Vec::new(),
            target: vec![place("1g.5gb", 0)],
        };
        let victim = |&(name, on): &(&str, &str)| Victim { pod: pod(name), placed_on: Some(on.to_owned()) };
        Operation {
            gpus: (0..gpus).map(target).collect(),
            victims: victims.iter().map(victim).collect(),
            ..repair(origin)
        }
    }

    #[test]
    fn what_is_under_way_or_out_of_service_is_consumed() {
        let input = input(Some(Limit::Percent(50)), Some(Limit::Count(5)), Some(3));
        let room = |operations: &[&str], out: &[&str]| {
            let taken =
                Taken { operations: set(operations), gpus: operations.len(), out_of_service: set(out), evictions: 1 };
            Room::of(&input, &taken, 16)
        };
        assert_eq!(room(&[], &[]), Room { nodes: 2, gpus: Some(5), evictions: Some(2) });
        assert_eq!(room(&["a"], &[]), Room { nodes: 1, gpus: Some(4), evictions: Some(2) });
        assert_eq!(room(&["a"], &["b"]), Room { nodes: 0, gpus: Some(2), evictions: Some(2) });
        assert_eq!(room(&["a"], &["a"]), room(&["a"], &[]), "a node is counted once");
        assert_eq!(room(&["a", "b", "c"], &[]).nodes, 0);
        assert_eq!(Room::of(&input, &Taken::default(), 1).nodes, 1, "concurrency is a limit of its own");
        assert_eq!(room(&["a"], &[]).narrow(&input).budgets.nodes, Some(Limit::Count(1)));
    }

    #[test]
    fn no_budget_means_no_limit_for_the_search() {
        let input = input(None, None, None);
        let room = Room::of(&input, &Taken::default(), 16);
        assert_eq!(room.narrow(&input).budgets, Budgets::default());
    }

    #[test]
    fn what_hangs_together_is_put_off_together() {
        let room = Room { nodes: 3, gpus: Some(4), evictions: Some(1) };
        let operations = BTreeMap::from([
            ("a".to_owned(), operation(2, &[("v", "b")])),
            ("b".to_owned(), operation(3, &[])),
            ("c".to_owned(), operation(1, &[])),
        ]);
        let (admitted, put_off) = room.admit(operations);
        assert_eq!(admitted.keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(put_off, ["a", "b"]);
        let (none, _) = room.admit([("x".to_owned(), operation(1, &[("v", "y"), ("w", "y")]))].into());
        assert!(none.is_empty(), "two evictions, one allowed");
    }
}
