//! Whether a running pod may be moved, and from which disruption level on.
//!
//! Whatever cannot be read protects: a pod is moved only when every source agrees that its controller makes it again
//! and the planner can prove that it lands.

use super::budgets::Cover;
use super::objects::Pod;
use super::time::parse_span;
use super::unmodelled::{Unmodelled, gang, uses_dra};
use crate::model::mutant::{self, Mutant};
use crate::model::{ControllerKind, DisruptionLevel, Movability, Reason};

const DO_NOT_MOVE: &str = "retile.dev/do-not-move";
const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// What would make the pod again, and the owner's kind where it has one.
pub(crate) fn controller(pod: &Pod) -> Result<(ControllerKind, &str), &'static str> {
    let mut owners = pod.metadata.owner_references.iter().filter(|owner| owner.controller);
    let Some(owner) = owners.next() else { return Ok((ControllerKind::None, "")) };
    if owners.next().is_some() {
        return Err("several controllers claim it");
    }
    let kind = match owner.kind.as_str() {
        "" | "Node" => ControllerKind::None,
        "DaemonSet" => ControllerKind::DaemonSet,
        "Workflow" | "TaskRun" | "PipelineRun" | "SparkApplication" => ControllerKind::Job,
        kind if kind.ends_with("Job") => ControllerKind::Job,
        _ => ControllerKind::Replacing,
    };
    Ok((kind, &owner.kind))
}

/// Decides about one pod at the moment `now`.
pub(crate) fn movability(
    pod: &Pod,
    now: i64,
    cover: &Cover,
    unmodelled: Option<&Unmodelled>,
) -> (ControllerKind, Movability) {
    let never = |kind, reason, detail: String| (kind, Movability::Never(reason, detail));
    let (kind, owner) = match controller(pod) {
        Ok(found) => found,
        Err(detail) => return never(ControllerKind::None, Reason::PolicyForbids, detail.to_owned()),
    };
    if pod.metadata.deleting() {
        return never(kind, Reason::CoolingDown, "it is terminating already".to_owned());
    }
    if let Some(detail) = protection(pod, now) {
        return never(kind, Reason::PolicyForbids, detail);
    }
    match kind {
        ControllerKind::None => {
            return never(kind, Reason::PolicyForbids, "no controller would make it again".to_owned());
        }
        ControllerKind::DaemonSet => {
            return never(kind, Reason::PolicyForbids, "it belongs to a DaemonSet, so to its node".to_owned());
        }
        ControllerKind::Job | ControllerKind::Replacing => {}
    }
    if uses_dra(pod) {
        return never(kind, Reason::NotModelled, "its devices are served by dynamic resource allocation".to_owned());
    }
    if let Some(mark) = gang(pod) {
        return never(kind, Reason::PolicyForbids, format!("it belongs to a gang ({mark})"));
    }
    if let Some(unmodelled) = unmodelled {
        let detail = format!("{}, so it is not certain that it lands again", unmodelled.detail);
        return never(kind, Reason::NotModelled, detail);
    }
    match cover {
        Cover::Several(names) => {
            let detail = format!("several disruption budgets cover it ({}), so it cannot be evicted", names.join(", "));
            return never(kind, Reason::PolicyForbids, detail);
        }
        Cover::Unreadable(name) => {
            let detail = format!("the disruption budget {name} cannot be read and may cover it");
            return never(kind, Reason::PolicyForbids, detail);
        }
        Cover::Plain(_) => {}
    }
    let level = match kind {
        ControllerKind::Replacing if !has_local_data(pod) && owner != "Job" => DisruptionLevel::Balanced,
        ControllerKind::Replacing | ControllerKind::Job | ControllerKind::DaemonSet | ControllerKind::None => {
            DisruptionLevel::Aggressive
        }
    };
    (kind, Movability::From(level))
}

/// Why the owner does not want the pod moved.
fn protection(pod: &Pod, now: i64) -> Option<String> {
    let annotations = &pod.metadata.annotations;
    if annotations.get("kubernetes.io/config.mirror").is_some() {
        return Some("it is a static pod of its node".to_owned());
    }
    for key in [DO_NOT_MOVE, DO_NOT_DISRUPT] {
        if let Some(value) = annotations.get(key).filter(|value| protects(value, pod, now)) {
            return Some(format!("its annotation {key} ({}) protects it", value.chars().take(20).collect::<String>()));
        }
    }
    if annotations.get(SAFE_TO_EVICT).is_some_and(|value| value != "true") {
        return Some(format!("its annotation {SAFE_TO_EVICT} protects it"));
    }
    (pod.metadata.namespace == "kube-system").then(|| "it belongs to the system (namespace kube-system)".to_owned())
}

/// `true`, a duration since the pod's start that has not passed, or anything that cannot be read.
fn protects(value: &str, pod: &Pod, now: i64) -> bool {
    if value == "false" {
        return false;
    }
    let started = pod.status.start_time.0.or(pod.metadata.creation_timestamp.0);
    match (parse_span(value), started) {
        (Ok(span), Some(started)) => now.saturating_sub(started) < i64::try_from(span).unwrap_or(i64::MAX),
        (Err(_), _) if mutant::on(Mutant(19)) => value == "true",
        (Ok(_), None) | (Err(_), _) => true,
    }
}

fn has_local_data(pod: &Pod) -> bool {
    pod.spec
        .volumes
        .iter()
        .any(|volume| volume.host_path.is_some() || volume.empty_dir.as_ref().is_some_and(|dir| dir.medium != "Memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(json: &str) -> Movability {
        let pod: Pod = serde_json::from_str(json).expect("a pod");
        movability(&pod, 1_000, &Cover::Plain(None), None).1
    }

    fn owned(kind: &str, annotations: &str, spec: &str) -> String {
        format!(
            r#"{{"metadata":{{"namespace":"ml","creationTimestamp":"1970-01-01T00:00:00Z","annotations":{annotations},
                "ownerReferences":[{{"kind":"{kind}","controller":true}}]}},"spec":{spec}}}"#
        )
    }

    fn is_protected(json: &str) -> bool {
        matches!(judge(json), Movability::Never(..))
    }

    #[test]
    fn controllers_decide_the_level() {
        for kind in ["ReplicaSet", "StatefulSet", "ReplicationController", "InferenceService"] {
            assert_eq!(judge(&owned(kind, "{}", "{}")), Movability::From(DisruptionLevel::Balanced), "{kind}");
        }
        for kind in ["Job", "PyTorchJob", "Workflow"] {
            assert_eq!(judge(&owned(kind, "{}", "{}")), Movability::From(DisruptionLevel::Aggressive), "{kind}");
        }
        for kind in ["DaemonSet", "Node", ""] {
            assert!(is_protected(&owned(kind, "{}", "{}")), "{kind}");
        }
        assert!(is_protected(r#"{"metadata":{"namespace":"ml"}}"#));
        let two = r#"{"metadata":{"ownerReferences":[{"kind":"ReplicaSet","controller":true},{"kind":"Job","controller":true}]}}"#;
        assert!(is_protected(two));
        let owners = r#"{"kind":"ConfigMap"},"#.repeat(300);
        let many =
            format!(r#"{{"metadata":{{"ownerReferences":[{owners}{{"kind":"ReplicaSet","controller":true}}]}}}}"#);
        assert_eq!(judge(&many), Movability::From(DisruptionLevel::Balanced));
    }

    #[test]
    fn local_data_needs_the_aggressive_level() {
        for (volume, level) in [
            (r#"{"emptyDir":{}}"#, DisruptionLevel::Aggressive),
            (r#"{"emptyDir":{"medium":"Memory"}}"#, DisruptionLevel::Balanced),
            (r#"{"hostPath":{"path":"/data"}}"#, DisruptionLevel::Aggressive),
            (r#"{"configMap":{"name":"c"}}"#, DisruptionLevel::Balanced),
        ] {
            let json = owned("ReplicaSet", "{}", &format!(r#"{{"volumes":[{volume}]}}"#));
            assert_eq!(judge(&json), Movability::From(level), "{volume}");
        }
    }

    #[test]
    fn annotations_protect_and_unreadable_ones_protect_too() {
        let annotated = |key: &str, value: &str| owned("ReplicaSet", &format!(r#"{{"{key}":"{value}"}}"#), "{}");
        let junk = "x".repeat(256 * 1024);
        for (key, value, protected) in [
            (DO_NOT_MOVE, "true", true),
            (DO_NOT_MOVE, "false", false),
            (DO_NOT_MOVE, "yse", true),
            (DO_NOT_MOVE, "", true),
            (DO_NOT_MOVE, "-5m", true),
            (DO_NOT_MOVE, junk.as_str(), true),
            (DO_NOT_MOVE, "30m", true),
            (DO_NOT_MOVE, "10m", false),
            (DO_NOT_DISRUPT, "true", true),
            (DO_NOT_DISRUPT, "10m", false),
            (SAFE_TO_EVICT, "false", true),
            (SAFE_TO_EVICT, "true", false),
        ] {
            assert_eq!(is_protected(&annotated(key, value)), protected, "{key}={value:.20}");
        }
        assert!(is_protected(&annotated("kubernetes.io/config.mirror", "abc")));
    }

    #[test]
    fn terminating_pods_gangs_and_the_system_stay() {
        let replica_set = r#""ownerReferences":[{"kind":"ReplicaSet","controller":true}]"#;
        for meta in [
            format!(r#"{{"deletionTimestamp":"2000-01-01T00:00:00Z",{replica_set}}}"#),
            format!(r#"{{"namespace":"kube-system",{replica_set}}}"#),
            format!(r#"{{"labels":{{"jobset.sigs.k8s.io/jobset-name":"x"}},{replica_set}}}"#),
        ] {
            assert!(is_protected(&format!(r#"{{"metadata":{meta}}}"#)), "{meta}");
        }
        assert!(is_protected(&owned("ReplicaSet", "{}", r#"{"resourceClaims":[{"name":"c"}]}"#)));
    }

    #[test]
    fn two_budgets_or_an_unreadable_one_protect() {
        let pod: Pod = serde_json::from_str(&owned("ReplicaSet", "{}", "{}")).expect("a pod");
        for cover in [Cover::Several(vec!["a/b".into(), "a/c".into()]), Cover::Unreadable("a/b".into())] {
            assert!(matches!(movability(&pod, 0, &cover, None).1, Movability::Never(..)));
        }
    }
}
