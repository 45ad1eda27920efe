//! Required anti-affinity of pods that run: it keeps other pods away, whatever those say themselves.
//!
//! The planner does not model it, so a pod that such a rule may concern is not planned for. Rules are collected once;
//! pods of one controller have the same, so there are few.

use std::collections::BTreeMap;

use super::objects::{LabelSelector, Pod};
use super::selector::selects;
use super::unmodelled::Unmodelled;

/// Where a rule looks for pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope<'a> {
    /// In these namespaces.
    Namespaces(Vec<&'a str>),
    /// In namespaces that labels select; which those are is not known here, so it may be any.
    Anywhere,
}

/// The rules of all pods that run, each with one pod that has it.
#[derive(Debug, Default)]
pub(crate) struct Repulsion<'a>(BTreeMap<(Scope<'a>, &'a LabelSelector), String>);

impl<'a> Repulsion<'a> {
    /// Collects the rules of the pods that hold a place on a node.
    pub(crate) fn of(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut rules = BTreeMap::new();
        for pod in pods.into_iter().filter(|pod| pod.bound() && !pod.has_ended()) {
            for term in &pod.spec.affinity.anti.required {
                let Some(selector) = &term.label_selector else { continue };
                let scope = if term.namespace_selector.is_some() {
                    Scope::Anywhere
                } else if term.namespaces.is_empty() {
                    Scope::Namespaces(vec![&pod.metadata.namespace])
                } else {
                    Scope::Namespaces(term.namespaces.iter().map(String::as_str).collect())
                };
                let name = || format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
                rules.entry((scope, selector)).or_insert_with(name);
            }
        }
        Self(rules)
    }

    /// A rule that may keep a pod away from some node.
    pub(crate) fn against(&self, pod: &Pod) -> Option<Unmodelled> {
        if self.0.is_empty() {
            return None;
        }
        let namespace = pod.metadata.namespace.as_str();
        let own = format!("{namespace}/{}", pod.metadata.name);
        let rule = self.0.iter().find(|((scope, selector), name)| {
            let in_scope = match scope {
                Scope::Namespaces(namespaces) => namespaces.contains(&namespace),
                Scope::Anywhere => true,
            };
            in_scope && **name != own && selects(selector, &pod.metadata)
        });
        rule.map(|(_, name)| Unmodelled {
            detail: format!("the running pod {name} keeps it away by required pod anti-affinity"),
            action: "make that anti-affinity preferred, or separate the pods by node labels".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, namespace: &str, app: &str, spec: &str) -> Pod {
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{"app":"{app}"}}}},"spec":{spec}}}"#
        ))
        .expect("a pod")
    }

    fn repelling(node: &str, term: &str) -> Pod {
        let affinity = format!(r#"{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}"#);
        let spec = format!(r#"{{"nodeName":"{node}","affinity":{{"podAntiAffinity":{affinity}}}}}"#);
        pod("guard", "a", "guard", &spec)
    }

    #[test]
    fn rules_reach_as_far_as_their_scope() {
        let selector = r#""labelSelector":{"matchLabels":{"app":"x"}}"#;
        for (term, in_a, in_b) in [
            (format!("{{{selector}}}"), true, false),
            (format!(r#"{{{selector},"namespaces":["b"]}}"#), false, true),
            (format!(r#"{{{selector},"namespaceSelector":{{}}}}"#), true, true),
            (r#"{"topologyKey":"zone"}"#.to_owned(), false, false),
        ] {
            let pods = [repelling("n", &term)];
            let repulsion = Repulsion::of(&pods);
            assert_eq!(repulsion.against(&pod("p", "a", "x", "{}")).is_some(), in_a, "{term}");
            assert_eq!(repulsion.against(&pod("p", "b", "x", "{}")).is_some(), in_b, "{term}");
            assert!(repulsion.against(&pod("p", "a", "y", "{}")).is_none());
        }
    }

    #[test]
    fn pods_without_a_place_repel_nobody() {
        let pods = [repelling("", r#"{"labelSelector":{}}"#)];
        assert!(Repulsion::of(&pods).against(&pod("p", "a", "x", "{}")).is_none());
    }
}
