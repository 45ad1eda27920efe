//! What has changed.

use std::collections::BTreeSet;

/// What has changed since the last time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wake {
    /// Whether something that the loop plans with has changed: a pod newly waits, a node, a record or the policy is another.
    pub planning: bool,
    /// Nodes whose operation, if there is one, has something to look at.
    pub nodes: BTreeSet<String>,
}

impl Wake {
    /// Adds what else has changed.
    pub(super) fn add(&mut self, other: Self) {
        let Self { planning, nodes } = other;
        self.planning |= planning;
        self.nodes.extend(nodes);
    }
}
