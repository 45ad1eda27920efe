//! One order and one copy of every object, whatever the order of the export.
//!
//! Exports that were concatenated may hold an object twice; the newer copy counts. Objects that could not be read become
//! findings, and their names go on to those who must be careful because of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::findings::Findings;
use super::objects::{Meta, Node, Pod};
use super::stream::{BadObject, Objects};

/// What could not be read, as far as it matters to others.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    /// Nodes with a pod that cannot be read.
    pub(crate) pods_on: BTreeSet<String>,
    /// Nodes whose `MigNode` cannot be read.
    pub(crate) mig_nodes: BTreeSet<String>,
    /// Namespace and name of budgets.
    pub(crate) budgets: BTreeSet<(String, String)>,
}

/// Orders all objects and drops older copies.
pub(crate) fn canonicalise(objects: &mut Objects, findings: &mut Findings) -> Unreadable {
    unique(&mut objects.nodes, "Node", |node: &Arc<Node>| &node.metadata, findings);
    unique(&mut objects.pods, "Pod", |pod: &Arc<Pod>| &pod.metadata, findings);
    unique(&mut objects.budgets, "PodDisruptionBudget", |budget| &budget.metadata, findings);
    unique(&mut objects.classes, "PriorityClass", |class| &class.metadata, findings);
    unique(&mut objects.mig_nodes, "MigNode", |node| &node.metadata, findings);
    objects.policies.sort();
    objects.policies.dedup();
    objects.slices.sort();
    objects.device_classes.sort();
    objects.bad.sort();
    report_bad(&objects.bad, findings)
}

fn unique<T: Ord>(objects: &mut Vec<T>, kind: &str, meta: impl Fn(&T) -> &Meta, findings: &mut Findings) {
    objects.sort_by(|a, b| {
        let (of_a, of_b) = (meta(a), meta(b));
        let by_name = (&of_a.namespace, &of_a.name).cmp(&(&of_b.namespace, &of_b.name));
        by_name.then_with(|| of_b.version().cmp(&of_a.version())).then_with(|| a.cmp(b))
    });
    objects.dedup_by(|later, kept| {
        let (dropped, meta_kept) = (meta(later), meta(kept));
        let same = (&dropped.namespace, &dropped.name) == (&meta_kept.namespace, &meta_kept.name);
        if same && *later != *kept {
            let object = full_name(kind, &meta_kept.namespace, &meta_kept.name);
            findings.object(object, "stands in the export more than once, with differences; the newest copy counts");
        }
        same
    });
}

fn full_name(kind: &str, namespace: &str, name: &str) -> String {
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

fn report_bad(bad: &[BadObject], findings: &mut Findings) -> Unreadable {
    let mut unreadable = Unreadable::default();
    for object in bad {
        let named = match (object.kind.as_str(), object.name.as_str()) {
            ("", _) => "An object without a readable kind".to_owned(),
            (kind, "") => format!("{kind} without a name"),
            (kind, name) => full_name(kind, &object.namespace, name),
        };
        let mut message = format!("cannot be read and is left out: {}", object.message);
        match object.kind.as_str() {
            "Pod" if !object.node.is_empty() => {
                let _ = write!(message, "; free instances on {} count as held, since it may hold one", object.node);
                unreadable.pods_on.insert(object.node.clone());
            }
            "MigNode" => {
                message += "; its node is left out too";
                unreadable.mig_nodes.insert(object.name.clone());
            }
            "PodDisruptionBudget" => {
                let _ = write!(message, "; no pod of the namespace {} is evicted", object.namespace);
                unreadable.budgets.insert((object.namespace.clone(), object.name.clone()));
            }
            _ => {}
        }
        findings.object(named, message);
    }
    unreadable
}
