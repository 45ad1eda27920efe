//! What must be so in the end, some time after the last fault: L1 to L4, L7, L10.

use super::{Checker, Invariant};
use crate::exec::marks;
use crate::exec::{MigNode, NodeView, Phase};

/// A node in the end.
#[derive(Debug, Clone, Copy)]
pub struct QuietNode<'a> {
    /// The node.
    pub view: &'a NodeView,
    /// Its record; none if no agent ever reported.
    pub record: Option<&'a MigNode>,
    /// Whether boards, plugin, kubelet and agent all work, and nobody else has a claim on the node.
    pub sound: bool,
    /// How long the controller will rest before it turns to the node again, in milliseconds.
    pub rest: u64,
    /// How many failures in a row the controller counts for it, and whether its last operation ended well.
    pub failures: u32,
    /// Whether its last operation ended well.
    pub succeeded: bool,
}

/// The cluster in the end.
#[derive(Debug, Clone, Copy)]
pub struct Quiet<'a> {
    /// All managed nodes.
    pub nodes: &'a [QuietNode<'a>],
    /// Nodes that a plan on the state of this moment, with every limit that rests on time lifted, would change.
    pub proposed: &'a [String],
}

impl Checker {
    /// The faults are long over, and nothing moves any more.
    pub fn quiesced(&mut self, at: u64, quiet: &Quiet<'_>) {
        for node in quiet.nodes {
            self.check_quiet_node(at, node);
        }
        let bad = quiet.nodes.iter().find(|node| !node.sound);
        for name in quiet.proposed {
            let sound = quiet.nodes.iter().any(|node| node.view.name == *name && node.sound);
            match bad {
                Some(bad) if sound => {
                    let what = format!("a change would pay, and {} is bad", bad.view.name);
                    self.violated(at, Invariant::L4, name, what);
                }
                Some(_) => {}
                None => self.violated(at, Invariant::L1, name, "a change would pay"),
            }
        }
    }

    fn check_quiet_node(&mut self, at: u64, node: &QuietNode<'_>) {
        let QuietNode { view, record, sound, rest, failures, succeeded } = *node;
        let operation = record.and_then(|record| record.spec.operation.as_ref());
        let degraded = operation.is_some_and(|operation| operation.phase == Phase::Degraded);
        let name = view.name.as_str();
        if let Some(taint) = view.our_taint().filter(|_| !degraded) {
            self.violated(at, Invariant::L2, name, format!("the taint of {taint} is left"));
        }
        let ours = [marks::PROTECTION, marks::PAUSED_CLIENTS];
        let paused =
            |client: &str| view.labels.get(&marks::label_of(client)).is_some_and(|value| value == marks::PAUSED);
        if let Some(client) = marks::CLIENTS.iter().find(|client| paused(client)) {
            self.violated(at, Invariant::L2, name, format!("{client} is left paused"));
        }
        for mark in ours.into_iter().filter(|mark| view.annotations.contains_key(*mark)) {
            // What is degraded waits for people, with its taint and what goes with that; clients are never left paused.
            if !degraded || mark == marks::PAUSED_CLIENTS {
                self.violated(at, Invariant::L2, name, format!("the annotation {mark} is left"));
            }
        }
        if let Some(operation) = operation.filter(|_| !degraded) {
            self.violated(at, Invariant::L3, name, format!("{} is left in {:?}", operation.id, operation.phase));
        }
        if let Some(operation) = operation.filter(|_| degraded && sound) {
            self.violated(at, Invariant::L10, name, format!("{} is degraded on a sound node", operation.id));
        }
        if rest > self.limits.longest_rest {
            self.violated(at, Invariant::L7, name, format!("it rests for {rest} ms"));
        }
        if succeeded && failures > 0 {
            self.violated(at, Invariant::L7, name, format!("{failures} failures are counted after a success"));
        }
    }
}
