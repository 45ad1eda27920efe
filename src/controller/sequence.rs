//! In which order the operations of one plan may start.
//!
//! Input: for each node that changes, the other nodes that change and where its victims are to land. Output: what each has to wait for.
//! Invariant: an operation whose victims need places that another one creates starts only when that one is done, unless the two wait for
//! each other, directly or round a ring; these start together. Nothing waits for ever.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::Operation;

/// For each node, the nodes of the same plan where its victims land.
pub(super) type Landings = BTreeMap<String, BTreeSet<String>>;

/// The nodes of the same plan where the victims of each operation land.
pub(super) fn landings(operations: &BTreeMap<String, &Operation>) -> Landings {
    let of = |node: &String, operation: &Operation| {
        let places = operation.victims.iter().filter_map(|victim| victim.placed_on.as_ref());
        places.filter(|place| *place != node && operations.contains_key(*place)).cloned().collect()
    };
    operations.iter().map(|(node, operation)| (node.clone(), of(node, operation))).collect()
}

/// What each operation has to wait for.
pub(super) fn needs(landings: &Landings) -> Landings {
    let reach: Landings = landings.keys().map(|node| (node.clone(), reachable(landings, node))).collect();
    let together = |a: &String, b: &String| a == b || (reach[a].contains(b) && reach[b].contains(a));
    let mut needs = Landings::new();
    for node in landings.keys() {
        // Those that start together wait for everything that one of them waits for.
        let ring = landings.keys().filter(|other| together(node, other));
        let all = ring.flat_map(|member| &landings[member]).filter(|place| !together(node, place));
        needs.insert(node.clone(), all.cloned().collect());
    }
    needs
}

/// Operations that hang together, whoever waits for whom; in order of their first node.
pub(super) fn components(landings: &Landings) -> Vec<BTreeSet<String>> {
    let mut both = landings.clone();
    for (node, places) in landings {
        for place in places {
            both.entry(place.clone()).or_default().insert(node.clone());
        }
    }
    let mut components: Vec<BTreeSet<String>> = Vec::new();
    for node in landings.keys() {
        if components.iter().any(|component| component.contains(node)) {
            continue;
        }
        let mut component = reachable(&both, node);
        component.insert(node.clone());
        components.push(component);
    }
    components
}

/// Nodes that can be reached from one by at least one step.
fn reachable(landings: &Landings, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = landings.get(from).into_iter().flatten().collect();
    while let Some(node) = open.pop() {
        if reached.insert(node.clone()) {
            open.extend(landings.get(node).into_iter().flatten());
        }
    }
    reached
}
