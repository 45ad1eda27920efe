//! `PodDisruptionBudget`s: which pods they cover and how many evictions they allow now.

use std::collections::BTreeMap;

use super::objects::{DisruptionBudget, Meta};
use super::selector::selects;

/// Budgets by namespace.
#[derive(Debug, Default)]
pub(crate) struct Budgets<'a> {
    all: Vec<&'a DisruptionBudget>,
    by_namespace: BTreeMap<&'a str, Vec<usize>>,
    /// Namespaces with a budget that cannot be read: it may cover any pod there.
    unreadable: BTreeMap<&'a str, &'a str>,
}

/// What the budgets say about one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cover {
    /// At most one budget, by position.
    Plain(Option<usize>),
    /// Several; the eviction API refuses such pods.
    Several(Vec<String>),
    /// A budget that cannot be read may cover it.
    Unreadable(String),
}

impl<'a> Budgets<'a> {
    /// Indexes budgets in their given order; `unreadable` are (namespace, name) of those that cannot be read.
    pub(crate) fn new(
        budgets: impl IntoIterator<Item = &'a DisruptionBudget>,
        unreadable: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut index = Self { unreadable: unreadable.into_iter().collect(), ..Self::default() };
        for budget in budgets {
            let position = index.all.len();
            index.by_namespace.entry(&budget.metadata.namespace).or_default().push(position);
            index.all.push(budget);
        }
        index
    }

    /// The budgets that cover a pod.
    pub(crate) fn cover(&self, pod: &Meta) -> Cover {
        if let Some(name) = self.unreadable.get(pod.namespace.as_str()) {
            return Cover::Unreadable(format!("{}/{name}", pod.namespace));
        }
        let candidates = self.by_namespace.get(pod.namespace.as_str()).map(Vec::as_slice).unwrap_or_default();
        let covering: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|&position| {
                self.all[position].spec.selector.as_ref().is_some_and(|selector| selects(selector, pod))
            })
            .collect();
        match covering.as_slice() {
            [] => Cover::Plain(None),
            [position] => Cover::Plain(Some(*position)),
            several => Cover::Several(several.iter().map(|&position| self.name(position)).collect()),
        }
    }

    /// Evictions that each budget over a pod allows now.
    #[cfg(feature = "cluster")]
    pub(crate) fn allowed_over(&self, pod: &Meta) -> Vec<u32> {
        let candidates = self.by_namespace.get(pod.namespace.as_str()).map(Vec::as_slice).unwrap_or_default();
        let covers = |&&position: &&usize| {
            self.all[position].spec.selector.as_ref().is_some_and(|selector| selects(selector, pod))
        };
        candidates.iter().filter(covers).map(|&position| self.allowed(position)).collect()
    }

    /// Namespace and name of a budget.
    pub(crate) fn name(&self, position: usize) -> String {
        let meta = &self.all[position].metadata;
        format!("{}/{}", meta.namespace, meta.name)
    }

    /// Evictions that a budget allows now; none where its status is missing or older than its spec.
    pub(crate) fn allowed(&self, position: usize) -> u32 {
        let budget = self.all[position];
        let status = &budget.status;
        if status.observed_generation < budget.metadata.generation {
            return 0;
        }
        status.disruptions_allowed.map_or(0, |allowed| u32::try_from(allowed.max(0)).unwrap_or(u32::MAX))
    }

    /// Number of budgets.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(json: &str) -> DisruptionBudget {
        serde_json::from_str(json).expect("a budget")
    }

    fn pod(namespace: &str, app: &str) -> Meta {
        serde_json::from_str(&format!(r#"{{"name":"p","namespace":"{namespace}","labels":{{"app":"{app}"}}}}"#))
            .expect("metadata")
    }

    #[test]
    fn a_pod_is_covered_in_its_namespace_only() {
        let all = budget(r#"{"metadata":{"name":"all","namespace":"a"},"spec":{"selector":{}}}"#);
        let one =
            budget(r#"{"metadata":{"name":"x","namespace":"a"},"spec":{"selector":{"matchLabels":{"app":"x"}}}}"#);
        let none = budget(r#"{"metadata":{"name":"none","namespace":"a"},"spec":{}}"#);
        let budgets = Budgets::new([&all, &one, &none], [("c", "broken")]);
        assert_eq!(budgets.cover(&pod("a", "y")), Cover::Plain(Some(0)));
        assert_eq!(budgets.cover(&pod("b", "x")), Cover::Plain(None));
        assert_eq!(budgets.cover(&pod("a", "x")), Cover::Several(vec!["a/all".to_owned(), "a/x".to_owned()]));
        assert_eq!(budgets.cover(&pod("c", "x")), Cover::Unreadable("c/broken".to_owned()));
    }

    #[test]
    fn what_is_not_computed_yet_allows_nothing() {
        for (status, allowed) in [
            (r#"{"disruptionsAllowed":2,"observedGeneration":3}"#, 2),
            (r#"{"disruptionsAllowed":2,"observedGeneration":2}"#, 0),
            (r#"{"disruptionsAllowed":-1,"observedGeneration":3}"#, 0),
            (r#"{"observedGeneration":3}"#, 0),
            ("{}", 0),
            ("null", 0),
        ] {
            let budget = budget(&format!(r#"{{"metadata":{{"generation":3}},"status":{status}}}"#));
            assert_eq!(Budgets::new([&budget], []).allowed(0), allowed, "{status}");
        }
    }
}
