//! Taints and tolerations.

use super::objects::{Taint, Toleration};

/// Taints of somebody who is taking the node away.
const REMOVAL: [&str; 3] = ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"];
/// Taint of a running reconfiguration.
const OPERATION: &str = "retile.dev/repartitioning";

/// The taint that keeps a pod off a node, if any.
///
/// Only `NoSchedule` and `NoExecute` keep pods off; operators of a newer API tolerate nothing here.
pub(crate) fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// Whether a toleration covers a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    let any_key = toleration.key.is_empty();
    match toleration.operator.as_str() {
        "Exists" => any_key || toleration.key == taint.key,
        "" | "Equal" => !any_key && toleration.key == taint.key && toleration.value == taint.value,
        _ => false,
    }
}

/// The taint by which somebody says that the node will go away.
pub(crate) fn removal(taints: &[Taint]) -> Option<&Taint> {
    taints.iter().find(|taint| REMOVAL.contains(&taint.key.as_str()))
}

/// The taint of a reconfiguration that is under way.
pub(crate) fn operation(taints: &[Taint]) -> Option<&Taint> {
    taints.iter().find(|taint| taint.key == OPERATION)
}

/// Whether a taint passes by itself: the node is cordoned, not ready, being changed or going away.
pub(crate) fn passes(taint: &Taint) -> bool {
    taint.key.starts_with("node.kubernetes.io/")
        || taint.key.starts_with("node.cloudprovider.kubernetes.io/")
        || taint.key == OPERATION
        || REMOVAL.contains(&taint.key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        serde_json::from_value(serde_json::json!({"key": key, "value": value, "effect": effect})).expect("a taint")
    }

    fn toleration(json: &str) -> Toleration {
        serde_json::from_str(json).expect("a toleration")
    }

    #[test]
    fn tolerations_match_as_in_the_scheduler() {
        let gpu = [taint("nvidia.com/gpu", "present", "NoSchedule")];
        for (json, tolerated) in [
            (r#"{"operator":"Exists"}"#, true),
            (r#"{"key":"nvidia.com/gpu","operator":"Exists"}"#, true),
            (r#"{"key":"nvidia.com/gpu","operator":"Exists","effect":"NoExecute"}"#, false),
            (r#"{"key":"nvidia.com/gpu","value":"present"}"#, true),
            (r#"{"key":"nvidia.com/gpu","operator":"Equal","value":"absent"}"#, false),
            (r#"{"key":"other","operator":"Exists"}"#, false),
            (r#"{"value":"present"}"#, false),
            (r#"{"key":"nvidia.com/gpu","operator":"Gt","value":"1"}"#, false),
        ] {
            assert_eq!(untolerated(&gpu, &[toleration(json)]).is_none(), tolerated, "{json}");
        }
        assert!(untolerated(&gpu, &[]).is_some());
    }

    #[test]
    fn only_hard_effects_keep_pods_off() {
        let soft = [taint("a", "", "PreferNoSchedule"), taint("b", "", ""), taint("c", "", "Sometimes")];
        assert_eq!(untolerated(&soft, &[]), None);
        let many: Vec<Taint> = (0..1000).map(|number| taint(&format!("k{number}"), "", "NoSchedule")).collect();
        assert!(untolerated(&many, &[toleration(r#"{"operator":"Exists"}"#)]).is_none());
    }

    #[test]
    fn nodes_that_go_away_say_so() {
        assert!(removal(&[taint("ToBeDeletedByClusterAutoscaler", "1", "NoSchedule")]).is_some());
        assert!(removal(&[taint("karpenter.sh/disrupted", "", "NoSchedule")]).is_some());
        assert!(removal(&[taint("DeletionCandidateOfClusterAutoscaler", "1", "PreferNoSchedule")]).is_none());
        assert!(removal(&[taint("nvidia.com/gpu", "", "NoSchedule")]).is_none());
    }
}
