//! Selectors over labels, and the node selectors of pods.
//!
//! Semantics of the API server and the scheduler: an empty label selector selects everything, an empty term of a node
//! selector selects nothing, `NotIn` holds where the key is absent.

use super::objects::{LabelSelector, Meta, NodeSelector, NodeSelectorTerm, Requirement, SelectorOperator};

/// Whether a requirement holds for a value; `None` when the operator is not known here.
fn holds(requirement: &Requirement, value: Option<&str>) -> Option<bool> {
    let listed = |value: &str| requirement.values.iter().any(|text| text.0 == value);
    let compared = |order: std::cmp::Ordering| {
        let bound = requirement.values.first().and_then(|text| text.0.parse::<i64>().ok());
        let value = value.and_then(|value| value.parse::<i64>().ok());
        value.zip(bound).is_some_and(|(value, bound)| value.cmp(&bound) == order)
    };
    Some(match requirement.operator {
        SelectorOperator::In => value.is_some_and(listed),
        SelectorOperator::NotIn => !value.is_some_and(listed),
        SelectorOperator::Exists => value.is_some(),
        SelectorOperator::DoesNotExist => value.is_none(),
        SelectorOperator::Gt => compared(std::cmp::Ordering::Greater),
        SelectorOperator::Lt => compared(std::cmp::Ordering::Less),
        SelectorOperator::Unknown => return None,
    })
}

/// Whether a label selector selects an object; an operator that is not known here selects, because selecting protects.
pub(crate) fn selects(selector: &LabelSelector, object: &Meta) -> bool {
    selector.match_labels.iter().all(|(key, value)| object.label(key) == Some(value.0.as_str()))
        && selector
            .match_expressions
            .iter()
            .all(|requirement| holds(requirement, object.label(&requirement.key)).unwrap_or(true))
}

/// Whether a node's metadata satisfies required node affinity.
pub(crate) fn admits(selector: &NodeSelector, node: &Meta) -> bool {
    selector.node_selector_terms.iter().any(|term| admits_term(term, node))
}

fn admits_term(term: &NodeSelectorTerm, node: &Meta) -> bool {
    if term.match_expressions.is_empty() && term.match_fields.is_empty() {
        return false;
    }
    let labels = term
        .match_expressions
        .iter()
        .all(|requirement| holds(requirement, node.label(&requirement.key)).unwrap_or(false));
    let fields = term
        .match_fields
        .iter()
        .all(|requirement| requirement.key == "metadata.name" && holds(requirement, Some(&node.name)).unwrap_or(false));
    labels && fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(labels: &str) -> Meta {
        serde_json::from_str(&format!(r#"{{"name":"n1","labels":{labels}}}"#)).expect("metadata")
    }

    fn node_selector(expressions: &str) -> NodeSelector {
        serde_json::from_str(&format!(r#"{{"nodeSelectorTerms":[{{"matchExpressions":[{expressions}]}}]}}"#))
            .expect("a selector")
    }

    #[test]
    fn every_operator_means_what_the_scheduler_means() {
        let node = meta(r#"{"zone":"a","cores":"64"}"#);
        for (expression, expected) in [
            (r#"{"key":"zone","operator":"In","values":["a","b"]}"#, true),
            (r#"{"key":"zone","operator":"In","values":["b"]}"#, false),
            (r#"{"key":"zone","operator":"NotIn","values":["b"]}"#, true),
            (r#"{"key":"gone","operator":"NotIn","values":["b"]}"#, true),
            (r#"{"key":"zone","operator":"NotIn","values":["a"]}"#, false),
            (r#"{"key":"zone","operator":"Exists"}"#, true),
            (r#"{"key":"gone","operator":"Exists"}"#, false),
            (r#"{"key":"gone","operator":"DoesNotExist"}"#, true),
            (r#"{"key":"cores","operator":"Gt","values":["32"]}"#, true),
            (r#"{"key":"cores","operator":"Lt","values":["32"]}"#, false),
            (r#"{"key":"zone","operator":"Gt","values":["32"]}"#, false),
            (r#"{"key":"zone","operator":"Resembles","values":["a"]}"#, false),
        ] {
            assert_eq!(admits(&node_selector(expression), &node), expected, "{expression}");
        }
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_one_admits_nothing() {
        let node = meta("{}");
        let read = |text: &str| serde_json::from_str::<NodeSelector>(text).expect("a selector");
        assert!(!admits(&read(r#"{"nodeSelectorTerms":[]}"#), &node));
        assert!(!admits(&read(r#"{"nodeSelectorTerms":[{}]}"#), &node));
        let by_name = r#"{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}"#;
        assert!(admits(&read(&format!(r#"{{"nodeSelectorTerms":[{{}},{by_name}]}}"#)), &node));
    }

    #[test]
    fn an_empty_label_selector_selects_everything_and_an_unknown_operator_protects() {
        let read = |text: &str| serde_json::from_str::<LabelSelector>(text).expect("a selector");
        let pod = meta(r#"{"app":"x"}"#);
        assert!(selects(&read("{}"), &pod));
        assert!(selects(&read(r#"{"matchLabels":{"app":"x"}}"#), &pod));
        assert!(!selects(&read(r#"{"matchLabels":{"app":"y"}}"#), &pod));
        assert!(!selects(&read(r#"{"matchExpressions":[{"key":"app","operator":"DoesNotExist"}]}"#), &pod));
        assert!(selects(&read(r#"{"matchExpressions":[{"key":"app","operator":"Newer"}]}"#), &pod));
    }
}
