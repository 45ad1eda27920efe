//! Pods without what nobody reads of them.
//!
//! Most pods of a cluster ask for no device. What counts of those that are bound is the room that they take, whether they have ended, and whom
//! their anti-affinity keeps away, and as which clients the GPU Operator places them; labels, tolerations, volumes and the rest decide only about
//! pods that hold or want instances. In a large cluster they are most of what the index would keep.

use std::sync::Arc;

use super::views::is_plugin;
use crate::exec::marks::DEPLOY;
use crate::kube::objects::{Container, Meta, Pod};
use crate::kube::requests::mentions_device;

/// Drops what nobody reads of a pod that is bound and asks for no device.
pub(super) fn thin(pod: &mut Pod) {
    let claims = !pod.spec.resource_claims.is_empty() || pod.status.extended_resource_claim_status.is_some();
    if !pod.bound() || claims || mentions_device(pod) || is_plugin(&pod.metadata) {
        return;
    }
    let Meta { labels, annotations, owner_references, .. } = &mut pod.metadata;
    drop(std::mem::take(labels));
    drop(std::mem::take(annotations));
    let spec = &mut pod.spec;
    spec.node_selector.retain(|key, _| key.starts_with(DEPLOY));
    if spec.node_selector.is_empty() {
        *owner_references = Vec::new();
    }
    drop(std::mem::take(&mut spec.affinity.node));
    drop(std::mem::take(&mut spec.affinity.pod));
    spec.tolerations = Vec::new();
    spec.scheduler_name = String::new();
    spec.priority_class_name = String::new();
    spec.preemption_policy = String::new();
    spec.topology_spread_constraints = Vec::new();
    spec.volumes = Vec::new();
    for Container { resources, restart_policy: _, ports } in spec.containers.iter_mut().chain(&mut spec.init_containers)
    {
        // Requests default from limits: where all limits can be read, they say no more than the requests do with them.
        let resources = Arc::make_mut(resources);
        if resources.limits.iter().all(|(_, amount)| amount.0.is_ok()) {
            for (name, amount) in std::mem::take(&mut resources.limits) {
                if !resources.requests.contains_key(&name) {
                    resources.requests.insert(name, amount);
                }
            }
        }
        *ports = Vec::new();
    }
    spec.containers.shrink_to_fit();
    let conditions = &mut pod.status.conditions;
    conditions.retain(|condition| condition.kind == "Ready");
    conditions.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kube::budgets::Budgets;
    use crate::kube::live::views::pod_view;
    use crate::kube::repulsion::Repulsion;
    use crate::kube::requests::effective;
    use crate::kube::scope::Scope;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "web", "tier": "front"},
                "annotations": {"retile.dev/do-not-move": "true"},
                "ownerReferences": [{"kind": "DaemonSet", "name": "web", "controller": true}]},
            "spec": {"nodeName": "a", "nodeSelector": {"disk": "fast"}, "terminationGracePeriodSeconds": 7,
                "tolerations": [{"key": "x", "operator": "Exists"}], "volumes": [{"emptyDir": {}}],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]}},
                "containers": [
                    {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}}, "ports": [{"hostPort": 80}]},
                    {"resources": {"limits": {"memory": "3Gi"}}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]},
        });
        change(&mut pod);
        serde_json::from_value(pod).expect("a pod")
    }

    fn thinned(pod: &Pod) -> Pod {
        let mut thinned = pod.clone();
        thin(&mut thinned);
        thinned
    }

    #[test]
    fn what_counts_of_a_pod_without_devices_stays() {
        let whole = pod(|_| {});
        let thin = thinned(&whole);
        assert_eq!(effective(&thin), effective(&whole));
        let view = |pod: &Pod| pod_view(pod, &Budgets::default(), &Scope::default(), 0);
        let (before, after) = (view(&whole), view(&thin));
        assert_eq!((&after.pod, &after.requests, after.ready), (&before.pod, &before.requests, before.ready));
        assert_eq!((after.finished, after.grace_seconds), (before.finished, before.grace_seconds));
        assert!(!after.holds_instances() && !after.device_plugin);
        let web = pod(|pod| pod["metadata"]["name"] = json!("other"));
        assert!(Repulsion::of([&thin]).against(&web).is_some(), "it still keeps others away");
        assert!(thin.metadata.labels.is_empty() && thin.spec.volumes.is_empty() && thin.spec.tolerations.is_empty());
        assert_eq!(thin.spec.containers[0].resources.limits.len() + thin.status.conditions.len(), 1);
    }

    #[test]
    fn a_client_that_the_operator_has_placed_is_still_known_as_one() {
        let dcgm = pod(|pod| pod["spec"]["nodeSelector"]["nvidia.com/gpu.deploy.dcgm"] = json!("true"));
        let view = |pod: &Pod| pod_view(pod, &Budgets::default(), &Scope::default(), 0);
        let thin = thinned(&dcgm);
        assert_eq!(view(&thin).deployed_as, ["dcgm".to_owned()].into());
        assert_eq!((view(&thin).deployed_as, thin.spec.node_selector.len()), (view(&dcgm).deployed_as, 1));
        let unowned = pod(|pod| {
            pod["spec"]["nodeSelector"]["nvidia.com/gpu.deploy.dcgm"] = json!("true");
            pod["metadata"]["ownerReferences"] = json!([]);
        });
        assert_eq!(view(&unowned).deployed_as.len(), 0, "only a DaemonSet's pod goes with the label");
    }

    #[test]
    fn pods_that_are_looked_at_closely_stay_whole() {
        for change in [
            |pod: &mut Value| pod["spec"]["nodeName"] = json!(null),
            |pod: &mut Value| pod["spec"]["containers"][1]["resources"]["limits"]["nvidia.com/mig-1g.5gb"] = json!("1"),
            |pod: &mut Value| pod["spec"]["resourceClaims"] = json!([{"name": "gpu"}]),
            |pod: &mut Value| pod["metadata"]["labels"]["app.kubernetes.io/name"] = json!("nvidia-device-plugin"),
        ] {
            let whole = pod(change);
            assert_eq!(thinned(&whole), whole);
        }
    }

    #[test]
    fn what_cannot_be_read_stays_to_be_told() {
        let whole = pod(|pod| pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("many"));
        assert!(effective(&whole).is_err());
        assert_eq!(effective(&thinned(&whole)), effective(&whole));
    }
}
