//! Annotations by which autoscalers are kept off a node under operation, which may look as if it were idle.
//!
//! Inputs: the annotations of a node as it was read. Outputs: steps of a JSON patch, which goes together with that of our taint: a node has our
//! annotations while it has our taint, whichever way an operation ends. Pure. Invariants: what somebody else has set, to whatever value, is never
//! changed; what we have set is on record on the node itself, and only that is taken off again.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::exec::PROTECTION;

/// What the Cluster Autoscaler and Karpenter read.
const KEYS: [&str; 2] = ["cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt"];
/// The value that protects.
const ON: &str = "true";

/// Steps that protect a node; `any` is whether it has annotations at all, without which there is no map to add to.
pub(super) fn on(annotations: &BTreeMap<String, String>, any: bool) -> Vec<Value> {
    let ours: Vec<&str> = KEYS.into_iter().filter(|key| !annotations.contains_key(*key)).collect();
    if ours.is_empty() || annotations.contains_key(PROTECTION) {
        return Vec::new();
    }
    let record = (PROTECTION, ours.join(","));
    let added = ours.into_iter().map(|key| (key, ON.to_owned())).chain([record]);
    if any {
        return added.map(|(key, value)| json!({"op": "add", "path": path(key), "value": value})).collect();
    }
    let map: Map<String, Value> = added.map(|(key, value)| (key.to_owned(), json!(value))).collect();
    vec![json!({"op": "add", "path": "/metadata/annotations", "value": map})]
}

/// Steps that take off what [`on`] has put on. A value that somebody has changed since is theirs, and stays.
pub(super) fn off(annotations: &BTreeMap<String, String>) -> Vec<Value> {
    let Some(record) = annotations.get(PROTECTION) else { return Vec::new() };
    let ours = record.split(',').filter(|key| KEYS.contains(key));
    let ours = ours.filter(|key| annotations.get(*key).is_some_and(|value| value == ON));
    ours.chain([PROTECTION]).map(|key| json!({"op": "remove", "path": path(key)})).collect()
}

/// The place of an annotation, as JSON pointers spell it.
fn path(key: &str) -> String {
    format!("/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(annotations: &[(&str, &str)]) -> BTreeMap<String, String> {
        annotations.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn paths(steps: &[Value]) -> Vec<String> {
        steps.iter().map(|step| format!("{} {}", step["op"].as_str().unwrap_or_default(), step["path"])).collect()
    }

    const AUTOSCALER: &str = r#""/metadata/annotations/cluster-autoscaler.kubernetes.io~1scale-down-disabled""#;
    const KARPENTER: &str = r#""/metadata/annotations/karpenter.sh~1do-not-disrupt""#;
    const RECORD: &str = r#""/metadata/annotations/retile.dev~1autoscaler-protection""#;

    #[test]
    fn what_was_not_there_is_set_and_recorded_and_taken_off_again() {
        let steps = on(&node(&[("other", "x")]), true);
        assert_eq!(paths(&steps), [AUTOSCALER, KARPENTER, RECORD].map(|path| format!("add {path}")));
        assert_eq!((&steps[0]["value"], &steps[2]["value"]), (&json!("true"), &json!(KEYS.join(","))));
        let after = node(&[(KEYS[0], "true"), (KEYS[1], "true"), (PROTECTION, &KEYS.join(","))]);
        assert_eq!(paths(&off(&after)), [AUTOSCALER, KARPENTER, RECORD].map(|path| format!("remove {path}")));
        assert_eq!(on(&after, true), Vec::<Value>::new(), "done twice it is done once");
    }

    #[test]
    fn a_node_without_annotations_gets_the_map_with_them() {
        let steps = on(&node(&[]), false);
        let map = json!({KEYS[0]: "true", KEYS[1]: "true", PROTECTION: KEYS.join(",")});
        assert_eq!(steps, [json!({"op": "add", "path": "/metadata/annotations", "value": map})]);
    }

    #[test]
    fn what_others_have_set_stays_as_it_is() {
        let steps = on(&node(&[(KEYS[1], "false")]), true);
        assert_eq!(paths(&steps), [AUTOSCALER, RECORD].map(|path| format!("add {path}")));
        assert_eq!(steps[1]["value"], json!(KEYS[0]));
        assert_eq!(on(&node(&[(KEYS[0], "true"), (KEYS[1], "10m")]), true), Vec::<Value>::new());
        let after = node(&[(KEYS[0], "false"), (KEYS[1], "true"), (PROTECTION, KEYS[0])]);
        assert_eq!(
            paths(&off(&after)),
            [format!("remove {RECORD}")],
            "one was changed since, the other was never ours"
        );
        assert_eq!(off(&node(&[(KEYS[0], "true")])), Vec::<Value>::new());
    }

    #[test]
    fn a_record_that_names_strangers_takes_off_nothing_of_theirs() {
        let after = node(&[("example.org/other", "true"), (PROTECTION, "example.org/other")]);
        assert_eq!(paths(&off(&after)), [format!("remove {RECORD}")]);
    }
}
