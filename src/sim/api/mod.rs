//! The API server of the simulator: objects with versions, compare-and-swap, graceful deletion, finalizers, evictions, watches.
//!
//! Inputs: [`ClusterRequest`](crate::exec::port::ClusterRequest)s from the loop and the agents, and direct writes of the simulated
//! scheduler, controllers and kubelets. Outputs: answers, and a log of changes that watches follow. Invariants: one counter of versions
//! for all objects; a conditional write happens only at the version that it names; what nothing changes is not written.
//!
//! Source of the eviction rules: `pkg/registry/core/pod/storage/eviction.go` of Kubernetes 1.36. Must not depend on processes or events.

mod budgets;
mod deletion;
mod eviction;
mod informer;
mod objects;
mod observe;
mod requests;
mod rules;
mod store;
#[cfg(test)]
mod tests;
mod views;

use std::rc::Rc;

pub use budgets::DELETION_TIMEOUT;
pub use deletion::{DeleteError, Deletion};
pub use informer::{Heard, Informer};
pub use objects::{
    APP, Amount, Budget, BudgetRule, BudgetStatus, Disruption, LeaseObject, Meta, NAMESPACE, Name, Node, Owner,
    PLUGIN_NAMESPACE, Pod, PodPhase, Record, Toleration, WORK,
};
pub use observe::{DO_NOT_MOVE, Observer};
pub use requests::View;
use store::Store;
pub use store::{BeforeAndAfter, Change, Object, Objects};
pub(in crate::sim) use views::{node_view, pod_view, record_view};

/// The API server.
#[derive(Debug, Clone)]
pub struct ApiServer {
    store: Store,
    uids: u64,
    /// Whether our controller keeps autoscalers off nodes with its taint.
    protects: bool,
}

impl ApiServer {
    /// An empty one that keeps at most `kept` changes for watches and stale reads.
    pub fn new(kept: usize) -> Self {
        Self { store: Store::new(kept), uids: 0, protects: false }
    }

    /// The same for a controller that keeps autoscalers off nodes with its taint, or does not.
    #[must_use]
    pub fn protecting(self, protects: bool) -> Self {
        Self { protects, ..self }
    }

    /// All objects as they are.
    pub fn objects(&self) -> &Objects {
        &self.store.objects
    }

    /// The version of the newest write.
    pub fn version(&self) -> u64 {
        self.store.version()
    }

    /// The changes after a version; `None` when they are no longer kept.
    pub fn since(&self, version: u64) -> Option<impl Iterator<Item = &Rc<Change>>> {
        self.store.since(version)
    }

    /// The newest version that was written at this moment or before it, in milliseconds, as far as the log tells.
    pub fn version_before(&self, at: u64) -> u64 {
        self.store.version_before(at)
    }

    /// The objects as they were; `None` when that is no longer kept.
    pub fn at_version(&self, version: u64) -> Option<Objects> {
        self.store.at_version(version)
    }

    /// Forgets all old versions, so that every watch must list anew.
    pub fn compact(&mut self) {
        self.store.compact();
    }

    fn born(&mut self, meta: &mut Meta, now: u64) {
        self.uids += 1;
        meta.uid = format!("uid-{}", self.uids);
        meta.created = now;
        meta.generation = 1;
    }

    /// Creates a node, unless there is one of its name.
    pub fn create_node(&mut self, now: u64, mut node: Node) -> Option<Rc<Node>> {
        if self.objects().nodes.contains_key(&node.meta.name.name) {
            return None;
        }
        self.born(&mut node.meta, now);
        let name = node.meta.name.name.clone();
        self.store.write(now, None, Some(Object::Node(Rc::new(node))));
        self.objects().nodes.get(&name).cloned()
    }

    /// Creates a pod, unless there is one of its name.
    pub fn create_pod(&mut self, now: u64, mut pod: Pod) -> Option<Rc<Pod>> {
        if self.objects().pods.contains_key(&pod.meta.name) {
            return None;
        }
        self.born(&mut pod.meta, now);
        let name = pod.meta.name.clone();
        self.store.write(now, None, Some(Object::Pod(Rc::new(pod))));
        self.objects().pods.get(&name).cloned()
    }

    /// Creates a disruption budget, unless there is one of its name.
    pub fn create_budget(&mut self, now: u64, mut budget: Budget) -> Option<Rc<Budget>> {
        if self.objects().budgets.contains_key(&budget.meta.name) {
            return None;
        }
        self.born(&mut budget.meta, now);
        let name = budget.meta.name.clone();
        self.store.write(now, None, Some(Object::Budget(Rc::new(budget))));
        self.objects().budgets.get(&name).cloned()
    }

    fn create_record(&mut self, now: u64, mut record: Record) -> Rc<Record> {
        self.born(&mut record.meta, now);
        let name = record.meta.name.name.clone();
        self.store.write(now, None, Some(Object::Record(Rc::new(record))));
        Rc::clone(&self.objects().records[&name])
    }

    /// Changes a node without condition; `None` when there is none.
    pub fn modify_node(&mut self, now: u64, name: &str, change: impl FnOnce(&mut Node)) -> Option<Rc<Node>> {
        let before = Rc::clone(self.objects().nodes.get(name)?);
        let mut after = Node::clone(&before);
        change(&mut after);
        if after == *before {
            return Some(before);
        }
        self.store.write(now, Some(Object::Node(before)), Some(Object::Node(Rc::new(after))));
        self.objects().nodes.get(name).cloned()
    }

    /// Changes a pod without condition; `None` when there is none, or none any more because its last finalizer went.
    pub fn modify_pod(&mut self, now: u64, name: &Name, change: impl FnOnce(&mut Pod)) -> Option<Rc<Pod>> {
        let before = Rc::clone(self.objects().pods.get(name)?);
        let mut after = Pod::clone(&before);
        change(&mut after);
        if after == *before {
            return Some(before);
        }
        let after = (!after.meta.gone()).then(|| Object::Pod(Rc::new(after)));
        self.store.write(now, Some(Object::Pod(before)), after);
        self.objects().pods.get(name).cloned()
    }

    /// Changes a budget without condition; a change of what it demands makes a new generation.
    pub fn modify_budget(&mut self, now: u64, name: &Name, change: impl FnOnce(&mut Budget)) -> Option<Rc<Budget>> {
        let before = Rc::clone(self.objects().budgets.get(name)?);
        let mut after = Budget::clone(&before);
        change(&mut after);
        if after == *before {
            return Some(before);
        }
        let spec = |budget: &Budget| (budget.selector.clone(), budget.rule, budget.always_allow_unhealthy);
        if spec(&after) != spec(&before) {
            after.meta.generation += 1;
        }
        self.store.write(now, Some(Object::Budget(before)), Some(Object::Budget(Rc::new(after))));
        self.objects().budgets.get(name).cloned()
    }

    /// Changes a record without condition, as people's hands may; `None` when there is none.
    pub fn modify_record(&mut self, now: u64, name: &str, change: impl FnOnce(&mut Record)) -> Option<Rc<Record>> {
        let before = Rc::clone(self.objects().records.get(name)?);
        let mut after = Record::clone(&before);
        change(&mut after);
        if after == *before {
            return Some(before);
        }
        if after.spec != before.spec {
            after.meta.generation += 1;
        }
        self.store.write(now, Some(Object::Record(before)), Some(Object::Record(Rc::new(after))));
        self.objects().records.get(name).cloned()
    }

    /// Removes a budget.
    pub fn remove_budget(&mut self, now: u64, name: &Name) {
        if let Some(before) = self.objects().budgets.get(name).cloned() {
            self.store.write(now, Some(Object::Budget(before)), None);
        }
    }

    /// Removes a record, as a person may.
    pub fn remove_record(&mut self, now: u64, name: &str) {
        if let Some(before) = self.objects().records.get(name).cloned() {
            self.store.write(now, Some(Object::Record(before)), None);
        }
    }

    /// Removes the lease, as a person may.
    pub fn remove_lease(&mut self, now: u64) {
        if let Some(before) = self.objects().leases.get(&requests::lease_name()).cloned() {
            self.store.write(now, Some(Object::Lease(before)), None);
        }
    }

    /// Removes a node; pods that are bound to it stay until somebody collects them.
    pub fn remove_node(&mut self, now: u64, name: &str) {
        if let Some(before) = self.objects().nodes.get(name).cloned() {
            self.store.write(now, Some(Object::Node(before)), None);
        }
    }
}
