//! What the planner does not model: for a pod that asks for it, nothing is promised.
//!
//! The planner knows node selectors, required node affinity, taints, and the amounts of resources. Everything else that
//! can keep a pod off a node is listed here; preferences, which only order nodes, are not.

use super::asks::Manner;
use super::objects::{NodeSelector, Pod, Requirement};
use super::resource_name::MIG_PREFIX;
use crate::model::PRODUCT_LABEL;
use crate::model::mutant::{self, Mutant};

/// Something that is not modelled, and what a person could do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unmodelled {
    pub(crate) detail: String,
    pub(crate) action: String,
}

/// Labels and annotations by which batch systems mark pods that start together or not at all.
const GANG_LABELS: [&str; 9] = [
    "scheduling.k8s.io/group-name",
    "volcano.sh/job-name",
    "pod-group.scheduling.sigs.k8s.io",
    "pod-group.scheduling.sigs.k8s.io/name",
    "scheduling.x-k8s.io/pod-group",
    "leaderworkerset.sigs.k8s.io/name",
    "jobset.sigs.k8s.io/jobset-name",
    "training.kubeflow.org/job-name",
    "kai.scheduler/pod-group",
];
const GANG_PREFIXES: [&str; 1] = ["kueue.x-k8s.io/"];
const GANG_ANNOTATIONS: [&str; 2] = ["scheduling.k8s.io/group-name", "scheduling.volcano.sh/group-name"];

/// The mark of a pod that belongs to a gang.
pub(crate) fn gang(pod: &Pod) -> Option<String> {
    if pod.spec.scheduling_group.is_some() {
        return Some("spec.schedulingGroup".to_owned());
    }
    if pod.spec.workload_ref.is_some() {
        return Some("spec.workloadRef".to_owned());
    }
    let label =
        pod.metadata.labels.keys().find(|key| {
            GANG_LABELS.contains(&key.as_str()) || GANG_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        });
    if let Some(label) = label {
        return Some(format!("label {label}"));
    }
    let annotation = GANG_ANNOTATIONS.iter().find(|key| pod.metadata.annotations.get(key).is_some());
    annotation.map(|key| format!("annotation {key}"))
}

/// Whether the pod's devices come from dynamic resource allocation.
pub(crate) fn uses_dra(pod: &Pod) -> bool {
    let served = !pod.spec.resource_claims.is_empty() || pod.status.extended_resource_claim_status.is_some();
    served && !mutant::on(Mutant(36))
}

/// The first thing about the pod that the planner does not model.
pub(crate) fn unmodelled(pod: &Pod, manner: &Manner) -> Option<Unmodelled> {
    let spec = &pod.spec;
    let because = |detail: String, action: &str| Some(Unmodelled { detail, action: action.to_owned() });
    if uses_dra(pod) {
        return because(
            "its devices are served by dynamic resource allocation".to_owned(),
            "ask for an extended resource (nvidia.com/mig-…) of NVIDIA's device plugin instead",
        );
    }
    if !matches!(spec.scheduler_name.as_str(), "" | "default-scheduler") {
        return because(
            format!("it is scheduled by `{}`, whose rules are not known", spec.scheduler_name),
            "use the default scheduler for it",
        );
    }
    if let Some(mark) = gang(pod) {
        return because(
            format!("it belongs to a gang ({mark}), which starts together or not at all"),
            "free room for the whole gang, or run it outside the gang",
        );
    }
    if !spec.affinity.anti.required.is_empty() {
        return because(
            "it has required pod anti-affinity".to_owned(),
            "make the anti-affinity preferred, or place it by node labels",
        );
    }
    if !spec.affinity.pod.required.is_empty() {
        return because(
            "it has required pod affinity".to_owned(),
            "make the affinity preferred, or place it by node labels",
        );
    }
    if spec.topology_spread_constraints.iter().any(|constraint| constraint.when_unsatisfiable != "ScheduleAnyway") {
        return because(
            "it has a hard topology spread constraint".to_owned(),
            "set whenUnsatisfiable to ScheduleAnyway",
        );
    }
    if spec.volumes.iter().any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()) {
        return because(
            "it mounts a persistent volume claim, whose volume may tie it to a zone or a node".to_owned(),
            "check where the volume can be attached and place the pod by node labels",
        );
    }
    if spec.containers.iter().chain(&spec.init_containers).flat_map(|c| &c.ports).any(|port| port.host_port != 0) {
        return because("it takes a port of its host".to_owned(), "use a Service instead of a host port");
    }
    rewritten_labels(pod, manner).map(|key| Unmodelled {
        detail: format!("it selects nodes by `{key}`, which repartitioning rewrites"),
        action: "select nodes by labels that do not depend on the MIG layout".to_owned(),
    })
}

/// A label in the pod's node selector or affinity that changes with the layout.
fn rewritten_labels(pod: &Pod, manner: &Manner) -> Option<String> {
    let single = matches!(manner, Manner::Product(_) | Manner::Partition(_));
    let rewritten = |key: &str| {
        // On nodes of the single strategy the labels of the GPU are those of its instances.
        key.starts_with(MIG_PREFIX) || single && key.starts_with("nvidia.com/gpu.") && !stable(key)
    };
    let selector = pod.spec.node_selector.iter().filter(|(key, _)| Some(key.as_str()) != manner.selector_key());
    let mut in_selector =
        selector.filter(|(key, value)| rewritten(key) || value.0.contains("-MIG-")).map(|(key, _)| key.clone());
    let required = pod.spec.affinity.node.required.as_ref();
    in_selector.next().or_else(|| {
        let mut requirements = required.into_iter().flat_map(NodeSelector::requirements);
        requirements.find(|it| rewritten(&it.key) || names_profile(it)).map(|it| it.key.clone())
    })
}

/// Labels of the GPU that stay the same whatever the layout.
fn stable(key: &str) -> bool {
    ["present", "family", "machine", "deploy.", "workload.config", "compute."]
        .iter()
        .any(|name| key.strip_prefix("nvidia.com/gpu.").is_some_and(|rest| rest.starts_with(name)))
}

fn names_profile(requirement: &Requirement) -> bool {
    requirement.key == PRODUCT_LABEL && requirement.values.iter().any(|value| value.0.contains("-MIG-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(json: &str) -> Option<String> {
        let pod: Pod = serde_json::from_str(json).expect("a pod");
        unmodelled(&pod, &Manner::Resource).map(|it| it.detail)
    }

    #[test]
    fn each_unmodelled_rule_is_named() {
        let spec = |spec: &str| format!(r#"{{"spec":{spec}}}"#);
        let label = |key: &str| format!(r#"{{"metadata":{{"labels":{{"{key}":"x"}}}}}}"#);
        let term = r#"[{"topologyKey":"kubernetes.io/hostname","labelSelector":{}}]"#;
        let affinity = |kind: &str| {
            spec(&format!(r#"{{"affinity":{{"{kind}":{{"requiredDuringSchedulingIgnoredDuringExecution":{term}}}}}}}"#))
        };
        for (json, word) in [
            (spec(r#"{"resourceClaims":[{"name":"gpu"}]}"#), "dynamic resource allocation"),
            (r#"{"status":{"extendedResourceClaimStatus":{}}}"#.to_owned(), "dynamic resource allocation"),
            (spec(r#"{"schedulerName":"volcano"}"#), "volcano"),
            (spec(r#"{"schedulingGroup":{"podGroupName":"g"}}"#), "gang"),
            (spec(r#"{"workloadRef":{"name":"w"}}"#), "gang"),
            (label("leaderworkerset.sigs.k8s.io/name"), "gang"),
            (label("jobset.sigs.k8s.io/jobset-name"), "gang"),
            (label("kueue.x-k8s.io/queue-name"), "gang"),
            (label("scheduling.x-k8s.io/pod-group"), "gang"),
            (r#"{"metadata":{"annotations":{"scheduling.k8s.io/group-name":"g"}}}"#.to_owned(), "gang"),
            (affinity("podAntiAffinity"), "anti-affinity"),
            (affinity("podAffinity"), "pod affinity"),
            (spec(r#"{"topologySpreadConstraints":[{"whenUnsatisfiable":"DoNotSchedule"}]}"#), "topology spread"),
            (spec(r#"{"volumes":[{"persistentVolumeClaim":{"claimName":"c"}}]}"#), "volume"),
            (spec(r#"{"containers":[{"ports":[{"hostPort":80}]}]}"#), "port of its host"),
            (spec(r#"{"nodeSelector":{"nvidia.com/mig-1g.10gb.count":"7"}}"#), "rewrites"),
        ] {
            assert!(reason(&json).is_some_and(|detail| detail.contains(word)), "{json}: {:?}", reason(&json));
        }
    }

    #[test]
    fn preferences_and_stable_labels_are_modelled() {
        for json in [
            r#"{"spec":{"topologySpreadConstraints":[{"whenUnsatisfiable":"ScheduleAnyway"}]}}"#,
            r#"{"spec":{"affinity":{"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1}]}}}}"#,
            r#"{"spec":{"nodeSelector":{"nvidia.com/gpu.product":"NVIDIA-A100-SXM4-80GB","zone":"a"}}}"#,
            r#"{"spec":{"nodeSelector":{"nvidia.com/mig.strategy":"mixed","nvidia.com/mig.capable":"true"}}}"#,
            r#"{"spec":{"schedulerName":"default-scheduler","volumes":[{"emptyDir":{}}],"containers":[{"ports":[{}]}]}}"#,
        ] {
            assert_eq!(reason(json), None, "{json}");
        }
    }
}
