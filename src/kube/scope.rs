//! What a policy is about, beside its limits: which nodes, and which pods may be moved.

use std::collections::{BTreeMap, BTreeSet};

use super::objects::Meta;
use crate::model::{Movability, Reason};

/// Nodes and pods that a policy is about; by default all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Labels that a node must have.
    pub nodes: BTreeMap<String, String>,
    /// Labels that a pod must have to be moved.
    pub pods: BTreeMap<String, String>,
    /// Namespaces whose pods are never moved.
    pub protected: BTreeSet<String>,
}

impl Scope {
    /// Why a node is none of the policy's business.
    pub(crate) fn leaves_out(&self, node: &Meta) -> Option<String> {
        let (key, value) = missing(&self.nodes, node)?;
        Some(format!("the policy is about nodes with the label `{key}={value}`"))
    }

    /// Whether a pod may be moved that otherwise may be so.
    pub(crate) fn narrow(&self, pod: &Meta, movability: Movability) -> Movability {
        match movability {
            Movability::From(level) => {
                let protected = self.protects(pod).map(|why| Movability::Never(Reason::PolicyForbids, why));
                protected.unwrap_or(Movability::From(level))
            }
            Movability::Never(..) => movability,
        }
    }

    /// Why a pod may not be moved.
    fn protects(&self, pod: &Meta) -> Option<String> {
        if self.protected.contains(&pod.namespace) {
            return Some(format!("the policy protects the namespace {}", pod.namespace));
        }
        let (key, value) = missing(&self.pods, pod)?;
        Some(format!("the policy moves only pods with the label `{key}={value}`"))
    }
}

/// A label that an object lacks.
fn missing<'a>(labels: &'a BTreeMap<String, String>, object: &Meta) -> Option<(&'a String, &'a String)> {
    labels.iter().find(|(key, value)| object.label(key) != Some(value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(json: &str) -> Meta {
        serde_json::from_str(json).expect("metadata")
    }

    #[test]
    fn all_labels_must_be_there() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let scope = Scope { nodes: labels.clone(), pods: labels, protected: BTreeSet::from(["db".to_owned()]) };
        let whole = meta(r#"{"namespace":"ml","labels":{"a":"1","b":"2","c":"3"}}"#);
        assert_eq!((scope.leaves_out(&whole), scope.protects(&whole)), (None, None));
        let part = meta(r#"{"namespace":"ml","labels":{"a":"1","b":"x"}}"#);
        assert!(scope.leaves_out(&part).is_some_and(|why| why.contains("b=2")));
        assert!(scope.protects(&part).is_some());
        assert!(scope.protects(&meta(r#"{"namespace":"db","labels":{"a":"1","b":"2"}}"#)).is_some());
        assert_eq!(Scope::default().protects(&part), None);
    }
}
