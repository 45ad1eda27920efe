//! Amounts of node resources other than MIG: what a pod asks for and what a node has left.

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
/// Ordered by resource, none twice: pods name two or three, so that a list is smaller and faster than a tree.
///
/// Free amounts of a node may be negative: a node can be overcommitted, and then nothing that asks for the resource fits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Capacity(Vec<(CapacityKind, i64)>);

impl Capacity {
    fn position(&self, kind: &CapacityKind) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(kind))
    }

    /// Amount of one resource.
    pub fn get(&self, kind: &CapacityKind) -> i64 {
        self.position(kind).map_or(0, |position| self.0[position].1)
    }

    /// Sets an amount; zero removes the entry so that equal capacities compare equal.
    pub fn set(&mut self, kind: CapacityKind, amount: i64) {
        match self.position(&kind) {
            Ok(position) if amount == 0 => drop(self.0.remove(position)),
            Ok(position) => self.0[position].1 = amount,
            Err(_) if amount == 0 => {}
            Err(position) => self.0.insert(position, (kind, amount)),
        }
    }

    /// Adds amounts, saturating.
    pub fn add(&mut self, other: &Self) {
        for (kind, amount) in &other.0 {
            self.change(kind, |sum| sum.saturating_add(*amount));
        }
    }

    /// Takes amounts away, saturating; the result may be negative.
    pub fn subtract(&mut self, other: &Self) {
        for (kind, amount) in &other.0 {
            self.change(kind, |rest| rest.saturating_sub(*amount));
        }
    }

    fn change(&mut self, kind: &CapacityKind, change: impl FnOnce(i64) -> i64) {
        let amount = change(self.get(kind));
        match self.position(kind) {
            Ok(position) if amount != 0 => self.0[position].1 = amount,
            Ok(_) | Err(_) => self.set(kind.clone(), amount),
        }
    }

    /// Whether every positive amount of `request` is there; a request of zero always fits.
    pub fn covers(&self, request: &Self) -> bool {
        request.0.iter().all(|(kind, amount)| *amount <= 0 || *amount <= self.get(kind))
    }

    /// Entries with a non-zero amount.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&CapacityKind, i64)> {
        self.0.iter().map(|(kind, amount)| (kind, *amount))
    }
}
