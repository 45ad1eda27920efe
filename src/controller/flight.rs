//! The operations that are under way, and those of the same plan that wait for them.
//!
//! Invariant: at most one operation per node. One that waits starts when all it needs are done, and is dropped when one of these fails: its
//! victims would have nowhere to go.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::port::Observation;
use crate::exec::{MigNode, Operation, OperationId, OperationMachine, Outcome, Phase};
use crate::model::PodRef;

use super::admit::Taken;
use super::report::Cause;
use super::sequence;
use super::standing;

/// An operation with its machine.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) machine: OperationMachine,
    /// As it was drafted, or found.
    pub(super) operation: Operation,
    pub(super) cause: Cause,
    /// Whether it was told that it has begun.
    pub(super) begun: bool,
    /// Whether it was told that it may not begin.
    pub(super) forbidden: bool,
    /// Whether an observation was asked for to judge it.
    pub(super) judging: bool,
    /// UID of the pod whose eviction was asked for.
    pub(super) evicting: Option<String>,
}

/// An operation that waits for others.
#[derive(Debug)]
struct Waiting {
    operation: Operation,
    needs: BTreeSet<String>,
}

/// All of them, by node.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) running: BTreeMap<String, Running>,
    waiting: BTreeMap<String, Waiting>,
}

/// What the end of an operation means for those that wait.
#[derive(Debug, Default)]
pub(super) struct Consequences {
    /// Those that can start now, by node.
    pub(super) ready: BTreeMap<String, Operation>,
    /// Those that needed it and are dropped before they have begun, with their nodes.
    pub(super) dropped: Vec<(String, OperationId)>,
}

impl Flight {
    /// Takes in the operations of one plan; returns those that start at once.
    pub(super) fn enqueue(&mut self, mut operations: BTreeMap<String, Operation>) -> BTreeMap<String, Operation> {
        let borrowed = operations.iter().map(|(node, operation)| (node.clone(), operation)).collect();
        for (node, needs) in sequence::needs(&sequence::landings(&borrowed)) {
            if needs.is_empty() {
                continue;
            }
            if let Some(operation) = operations.remove(&node) {
                self.waiting.insert(node, Waiting { operation, needs });
            }
        }
        operations
    }

    /// Notes the end of the operation of a node.
    pub(super) fn ended(&mut self, node: &str, done: bool) -> Consequences {
        if done {
            let mut ready = BTreeMap::new();
            for (name, waiting) in std::mem::take(&mut self.waiting) {
                let Waiting { operation, mut needs } = waiting;
                needs.remove(node);
                if needs.is_empty() {
                    ready.insert(name, operation);
                } else {
                    self.waiting.insert(name, Waiting { operation, needs });
                }
            }
            return Consequences { ready, dropped: Vec::new() };
        }
        let mut failed = BTreeSet::from([node.to_owned()]);
        loop {
            let before = failed.len();
            let lost = self.waiting.iter().filter(|(_, waiting)| !waiting.needs.is_disjoint(&failed));
            failed.extend(lost.map(|(name, _)| name.clone()).collect::<Vec<_>>());
            if failed.len() == before {
                break;
            }
        }
        let dropped = self.waiting.extract_if(.., |name, _| failed.contains(name));
        let dropped = dropped.map(|(name, waiting)| (name, waiting.operation.id)).collect();
        Consequences { ready: BTreeMap::new(), dropped }
    }

    /// Nodes of operations that wait for others.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &String> {
        self.waiting.keys()
    }

    /// Whether a node has an operation here.
    pub(super) fn holds(&self, node: &str) -> bool {
        self.running.contains_key(node) || self.waiting.contains_key(node)
    }

    /// Number of operations.
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// Nodes with an operation, here or in a record, and which.
    pub(super) fn busy(&self, observation: &Observation) -> BTreeMap<String, String> {
        let name = |operation: &Operation| format!("operation {}", operation.id);
        let recorded = observation.records.iter().filter_map(|record| Some((record, record.spec.operation.as_ref()?)));
        let mut busy: BTreeMap<String, String> = recorded
            .filter(|(_, operation)| operation.phase != Phase::Degraded)
            .map(|(record, operation)| (record.name.clone(), name(operation)))
            .collect();
        busy.extend(self.running.iter().map(|(node, running)| (node.clone(), name(&running.operation))));
        busy.extend(self.waiting.iter().map(|(node, waiting)| (node.clone(), name(&waiting.operation))));
        busy
    }

    /// All operations that may still reach their target, as the records say where they say anything.
    pub(super) fn hopeful<'a>(&'a self, observation: &'a Observation) -> BTreeMap<String, &'a Operation> {
        let mut all: BTreeMap<String, &Operation> =
            self.waiting.iter().map(|(node, waiting)| (node.clone(), &waiting.operation)).collect();
        all.extend(self.running.iter().map(|(node, running)| (node.clone(), &running.operation)));
        for MigNode { name, spec, .. } in &observation.records {
            let Some(operation) = &spec.operation else { continue };
            if given_up(operation) {
                all.remove(name);
            } else {
                all.insert(name.clone(), operation);
            }
        }
        all
    }

    /// What is taken of the budgets.
    pub(super) fn taken(&self, observation: &Observation, evictions: u32) -> Taken {
        let mut all = self.hopeful(observation);
        let recorded = observation.records.iter().filter_map(|record| Some((record, record.spec.operation.as_ref()?)));
        all.extend(recorded.map(|(record, operation)| (record.name.clone(), operation)));
        Taken {
            gpus: all.values().map(|operation| operation.gpus.len()).sum(),
            operations: all.into_keys().collect(),
            out_of_service: standing::consumed(observation).map(str::to_owned).collect(),
            evictions,
        }
    }
}

/// Pods that operations will serve, with the operation.
pub(super) fn beneficiaries<'a>(
    operations: impl IntoIterator<Item = &'a &'a Operation>,
) -> BTreeMap<&'a PodRef, &'a Operation> {
    let of = |operation: &'a Operation| operation.beneficiaries.iter().map(move |pod| (pod, operation));
    operations.into_iter().flat_map(|operation| of(operation)).collect()
}

fn given_up(operation: &Operation) -> bool {
    match operation.phase {
        Phase::Claimed | Phase::Draining | Phase::Drained | Phase::Restarting | Phase::Releasing => {
            operation.outcome.is_some_and(|outcome| outcome != Outcome::Done)
        }
        Phase::Cancelling | Phase::Degraded => true,
    }
}
