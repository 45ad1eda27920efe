//! What the tests share: ways to the API server, and objects.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use retile::exec::port::ClusterReply;
use retile::exec::{MigNodeStatus, Version};
use retile::kube::crd::definitions;
use retile::kube::live::{AgentCluster, ConnectOptions, ControllerCluster, ControllerOptions, Server, Writes, connect};
use retile::model::PodRef;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::cluster::write_status;
use super::control_plane::{ControlPlane, Session, eventually};

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// The shared control plane with the definitions installed.
pub(crate) async fn plane() -> Option<Session<'static>> {
    let plane = ControlPlane::shared().await?;
    INSTALLED.get_or_init(|| install(&plane)).await;
    Some(plane)
}

/// Installs the definitions, as `retile crds | kubectl apply -f -` does, and waits until they are served.
pub(crate) async fn install(plane: &ControlPlane) {
    for definition in definitions().expect("definitions") {
        plane.apply(&definition.yaml);
    }
    for kind in ["mignodes", "migpolicies", "migplans"] {
        eventually(&format!("{kind} are served"), async || plane.kubectl(&["get", kind], "").0.then_some(())).await;
    }
}

pub(crate) async fn server(plane: &ControlPlane, writes: Writes) -> Server {
    let options = ConnectOptions {
        kubeconfig: Some(plane.administrator_kubeconfig()),
        timeout: Duration::from_secs(30),
        writes,
        ..ConnectOptions::new("retile-test")
    };
    connect(&options).await.expect("a kubeconfig")
}

pub(crate) async fn controller(plane: &ControlPlane, namespace: &str) -> ControllerCluster {
    let (namespace, staleness) = (namespace.to_owned(), Duration::from_secs(5));
    let options = ControllerOptions { namespace, staleness, protect_nodes: false };
    ControllerCluster::start(server(plane, Writes::Allowed).await, options)
}

pub(crate) async fn agent(plane: &ControlPlane, node: &str) -> AgentCluster {
    AgentCluster::start(server(plane, Writes::Allowed).await, node)
}

/// A node that nobody runs on.
pub(crate) async fn node(client: &Client, name: &str, taints: Value) -> Node {
    let node = json!({
        "metadata": {"name": name, "labels": {"retile.dev/managed": "true", "nvidia.com/mig.strategy": "mixed"}},
        "spec": {"taints": taints},
    });
    let node: Node = serde_json::from_value(node).expect("a node");
    Api::all(client.clone()).create(&PostParams::default(), &node).await.expect("a node")
}

/// A pod that is bound to a node from the start, so that no scheduler is needed; or one that the scheduler finds no room for, because it asks for
/// what no node here has.
pub(crate) async fn pod(client: &Client, namespace: &str, name: &str, node: Option<&str>, gpu: bool) -> Pod {
    let resource = if node.is_some() { "nvidia.com/mig-1g.10gb" } else { "nvidia.com/mig-3g.40gb" };
    let resources = if gpu { json!({"limits": {resource: "1"}}) } else { json!({}) };
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "registry.example/work", "resources": resources}],
        },
    });
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &pod).await.expect("a pod")
}

pub(crate) fn pod_ref(pod: &Pod) -> PodRef {
    PodRef {
        namespace: pod.metadata.namespace.clone().expect("pods have one"),
        name: pod.metadata.name.clone().expect("pods have one"),
        uid: pod.metadata.uid.clone().expect("pods have one"),
    }
}

pub(crate) async fn delete_node(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.delete(name, &DeleteParams::default()).await.expect("deleted");
}

/// Reports for a node, from the agent's side.
pub(crate) async fn report(agent: &AgentCluster, node: &str, version: Version, status: MigNodeStatus) -> ClusterReply {
    agent.answer(&write_status(node, version, &status)).await
}
