//! Amounts of node resources other than MIG: what a pod asks for and what a node has left.

use std::collections::BTreeMap;

/// Names an ordinary resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapacityKind {
    /// CPU in millicores.
    CpuMilli,
    /// Memory in bytes.
    MemoryBytes,
    /// Places for pods; every pod takes one.
    Pods,
    /// Any other resource by its Kubernetes name, in its own unit (bytes for ephemeral storage and huge pages).
    Named(String),
}

/// Amounts by resource, all in integer units; a resource that is absent counts as zero.
///
/// Free amounts of a node may be negative: a node can be overcommitted, and then nothing that asks for the resource fits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Capacity(BTreeMap<CapacityKind, i64>);

impl Capacity {
    /// Amount of one resource.
    pub fn get(&self, kind: &CapacityKind) -> i64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// Sets an amount; zero removes the entry so that equal capacities compare equal.
    pub fn set(&mut self, kind: CapacityKind, amount: i64) {
        if amount == 0 {
            self.0.remove(&kind);
        } else {
            self.0.insert(kind, amount);
        }
    }

    /// Adds amounts, saturating.
    pub fn add(&mut self, other: &Self) {
        for (kind, &amount) in &other.0 {
            let sum = self.get(kind).saturating_add(amount);
            self.set(kind.clone(), sum);
        }
    }

    /// Takes amounts away, saturating; the result may be negative.
    pub fn subtract(&mut self, other: &Self) {
        for (kind, &amount) in &other.0 {
            let rest = self.get(kind).saturating_sub(amount);
            self.set(kind.clone(), rest);
        }
    }

    /// Whether every positive amount of `request` is there; a request of zero always fits.
    pub fn covers(&self, request: &Self) -> bool {
        request.0.iter().all(|(kind, &amount)| amount <= 0 || amount <= self.get(kind))
    }

    /// Entries with a non-zero amount.
    pub fn iter(&self) -> impl Iterator<Item = (&CapacityKind, i64)> {
        self.0.iter().map(|(kind, &amount)| (kind, amount))
    }
}
