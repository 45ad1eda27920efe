//! Pods and what makes them.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::control_plane::{ControlPlane, eventually};

/// The template of a pod that asks for one instance, or for none, and may run on the nodes of a fleet only.
pub(crate) fn template(app: &str, fleet: &str, profile: Option<&str>) -> Value {
    let mut limits = json!({"cpu": "1"});
    if let Some(profile) = profile {
        limits[format!("nvidia.com/mig-{profile}")] = json!("1");
    }
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "nodeSelector": {super::control_plane::FLEET: fleet},
            "terminationGracePeriodSeconds": 5,
            "containers": [{"name": "main", "image": "registry.example/work", "resources": {"limits": limits}}]
        }
    })
}

/// A `Deployment` of so many pods.
pub(crate) fn deployment(namespace: &str, app: &str, replicas: u32, template: &Value) -> String {
    let labels = json!({"app": app});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    });
    deployment.to_string()
}

/// A `PodDisruptionBudget` over the pods of an app.
pub(crate) fn budget(namespace: &str, name: &str, app: &str, max_unavailable: u32) -> String {
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"maxUnavailable": max_unavailable, "selector": {"matchLabels": {"app": app}}}
    });
    budget.to_string()
}

/// The pods of an app that are not being deleted.
pub(crate) async fn pods_of(pods: &Api<Pod>, app: &str) -> Vec<Pod> {
    let listed = pods.list(&ListParams::default().labels(&format!("app={app}"))).await;
    let listed = listed.map(|list| list.items).unwrap_or_default();
    listed.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
}

/// Waits until so many pods of an app are ready.
pub(crate) async fn ready(pods: &Api<Pod>, app: &str, count: usize) -> Vec<Pod> {
    eventually(&format!("{count} pods of {app} are ready"), async || {
        let there = pods_of(pods, app).await;
        (there.len() == count && there.iter().all(is_ready)).then_some(there)
    })
    .await
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until a `PodDisruptionBudget` allows this many disruptions.
pub(crate) async fn allows(plane: &ControlPlane, namespace: &str, name: &str, disruptions: i32) {
    use k8s_openapi::api::policy::v1::PodDisruptionBudget;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(plane.administrator().await, namespace);
    eventually(&format!("the budget {name} allows {disruptions}"), async || {
        let status = budgets.get(name).await.ok()?.status?;
        (status.disruptions_allowed == disruptions && status.expected_pods > 0).then_some(())
    })
    .await;
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().expect("a pod of the API server has a name")
}

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().expect("a pod of the API server has a UID")
}
