//! What the API server keeps: the objects as they are, and a bounded log of how they came to be so.
//!
//! Whoever watches reads the log from where it left off; a log that has been cut off in between means 410 and a new list.
//! The state at an earlier version is the state now with the later changes undone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::objects::{Budget, LeaseObject, Meta, Name, Node, Pod, Record};

/// An object of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A node.
    Node(Rc<Node>),
    /// A pod.
    Pod(Rc<Pod>),
    /// A disruption budget.
    Budget(Rc<Budget>),
    /// The record of a node.
    Record(Rc<Record>),
    /// A lease.
    Lease(Rc<LeaseObject>),
}

impl Object {
    /// What all objects have.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Node(node) => &node.meta,
            Self::Pod(pod) => &pod.meta,
            Self::Budget(budget) => &budget.meta,
            Self::Record(record) => &record.meta,
            Self::Lease(lease) => &lease.meta,
        }
    }

    pub(super) fn stamp(&mut self, version: u64) {
        match self {
            Self::Node(node) => Rc::make_mut(node).meta.version = version,
            Self::Pod(pod) => Rc::make_mut(pod).meta.version = version,
            Self::Budget(budget) => Rc::make_mut(budget).meta.version = version,
            Self::Record(record) => Rc::make_mut(record).meta.version = version,
            Self::Lease(lease) => Rc::make_mut(lease).meta.version = version,
        }
    }
}

/// A pod before and after a write.
pub type BeforeAndAfter<'a> = (Option<&'a Rc<Pod>>, Option<&'a Rc<Pod>>);

/// One write.
#[derive(Debug, Clone)]
pub struct Change {
    /// Version that it made.
    pub version: u64,
    /// When, in milliseconds.
    pub at: u64,
    /// The object before; none if it was created.
    pub before: Option<Object>,
    /// The object afterwards; none if it was removed.
    pub after: Option<Object>,
}

impl Change {
    /// The object, as it is or was.
    pub fn object(&self) -> &Object {
        self.after.as_ref().or(self.before.as_ref()).expect("a change is of an object before or after")
    }

    /// The pod before and after, if it is one.
    pub fn pod(&self) -> Option<BeforeAndAfter<'_>> {
        fn pod(object: Option<&Object>) -> Option<&Rc<Pod>> {
            match object {
                Some(Object::Pod(pod)) => Some(pod),
                Some(Object::Node(_) | Object::Budget(_) | Object::Record(_) | Object::Lease(_)) | None => None,
            }
        }
        matches!(self.object(), Object::Pod(_)).then(|| (pod(self.before.as_ref()), pod(self.after.as_ref())))
    }
}

/// A set of objects: those that there are, or those that somebody believes in.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Rc<Node>>,
    /// Pods by namespace and name.
    pub pods: BTreeMap<Name, Rc<Pod>>,
    /// Disruption budgets by namespace and name.
    pub budgets: BTreeMap<Name, Rc<Budget>>,
    /// Records by name of the node.
    pub records: BTreeMap<String, Rc<Record>>,
    /// Leases by name.
    pub leases: BTreeMap<Name, Rc<LeaseObject>>,
    bound: BTreeMap<String, BTreeSet<Name>>,
    unbound: BTreeSet<Name>,
}

impl Objects {
    /// Pods that are bound to a node, ordered by name.
    pub fn bound_to(&self, node: &str) -> impl Iterator<Item = &Rc<Pod>> {
        self.bound.get(node).into_iter().flatten().filter_map(|name| self.pods.get(name))
    }

    /// Pods that are bound to no node, ordered by name.
    pub fn unbound(&self) -> impl Iterator<Item = &Rc<Pod>> {
        self.unbound.iter().filter_map(|name| self.pods.get(name))
    }

    /// Budgets over a pod.
    pub fn budgets_of<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Rc<Budget>> {
        self.budgets.values().filter(move |budget| budget.covers(pod))
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &Change) {
        self.replace(change.object().meta().name.clone(), change.before.as_ref(), change.after.as_ref());
    }

    fn undo(&mut self, change: &Change) {
        self.replace(change.object().meta().name.clone(), change.after.as_ref(), change.before.as_ref());
    }

    fn replace(&mut self, name: Name, before: Option<&Object>, after: Option<&Object>) {
        match before {
            Some(Object::Pod(pod)) => self.remove_pod(pod),
            // An object is replaced in its place.
            _ if after.is_some() => {}
            Some(Object::Node(_)) => drop(self.nodes.remove(&name.name)),
            Some(Object::Budget(_)) => drop(self.budgets.remove(&name)),
            Some(Object::Record(_)) => drop(self.records.remove(&name.name)),
            Some(Object::Lease(_)) => drop(self.leases.remove(&name)),
            None => {}
        }
        match after {
            Some(Object::Node(node)) => drop(self.nodes.insert(name.name, Rc::clone(node))),
            Some(Object::Pod(pod)) => self.insert_pod(name, pod),
            Some(Object::Budget(budget)) => drop(self.budgets.insert(name, Rc::clone(budget))),
            Some(Object::Record(record)) => drop(self.records.insert(name.name, Rc::clone(record))),
            Some(Object::Lease(lease)) => drop(self.leases.insert(name, Rc::clone(lease))),
            None => {}
        }
    }

    fn remove_pod(&mut self, pod: &Pod) {
        self.pods.remove(&pod.meta.name);
        self.unbound.remove(&pod.meta.name);
        if let Some(node) = &pod.node
            && let Some(bound) = self.bound.get_mut(node)
        {
            bound.remove(&pod.meta.name);
        }
    }

    fn insert_pod(&mut self, name: Name, pod: &Rc<Pod>) {
        match &pod.node {
            Some(node) => self.bound.entry(node.clone()).or_default().insert(name.clone()),
            None => self.unbound.insert(name.clone()),
        };
        self.pods.insert(name, Rc::clone(pod));
    }
}

/// The objects and the log of their changes.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) objects: Objects,
    version: u64,
    log: VecDeque<Rc<Change>>,
    kept: usize,
}

impl Store {
    /// Keeps at most `kept` changes.
    pub(super) fn new(kept: usize) -> Self {
        Self { objects: Objects::default(), version: 0, log: VecDeque::new(), kept }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn write(&mut self, at: u64, before: Option<Object>, mut after: Option<Object>) -> Rc<Change> {
        self.version += 1;
        if let Some(after) = &mut after {
            after.stamp(self.version);
        }
        let change = Rc::new(Change { version: self.version, at, before, after });
        self.objects.apply(&change);
        self.log.push_back(Rc::clone(&change));
        while self.log.len() > self.kept {
            self.log.pop_front();
        }
        change
    }

    /// The changes after a version, oldest first; `None` when some of them are no longer kept.
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Rc<Change>>> {
        let missing = (self.version - version.min(self.version)) as usize;
        let from = self.log.len().checked_sub(missing)?;
        Some(self.log.range(from..))
    }

    /// The objects as they were at a version; `None` when that is too long ago.
    pub(super) fn at_version(&self, version: u64) -> Option<Objects> {
        let later: Vec<&Rc<Change>> = self.since(version)?.collect();
        let mut objects = self.objects.clone();
        later.into_iter().rev().for_each(|change| objects.undo(change));
        Some(objects)
    }

    /// Forgets all changes, as compaction does.
    pub(super) fn compact(&mut self) {
        self.log.clear();
    }

    /// The newest version that is at least so old, as far as the log tells.
    pub(super) fn version_before(&self, at: u64) -> u64 {
        let after = self.log.partition_point(|change| change.at <= at);
        self.version - (self.log.len() - after) as u64
    }
}
