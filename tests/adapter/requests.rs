//! What the adapter refuses by itself, and what it says when the API server does.

use retile::exec::NodeView;
use retile::exec::port::{ClusterError, ClusterRequest};
use retile::kube::live::{ControllerCluster, ControllerOptions, Server, Writes};
use serde_json::json;

use super::cluster::{get_node, node_of, taint};
use super::control_plane::{eventually, unique};
use super::scene::{node, plane, server};

/// A node as it is. Whose it is cannot be said before the first lists are complete.
async fn seen(controller: &ControllerCluster, node: &str) -> NodeView {
    let answer = eventually("the node is seen", async || controller.answer(&get_node(node)).await.ok()).await;
    node_of(Ok(answer))
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let Some(plane) = plane().await else { return };
    let namespace = plane.namespace("nobody").await;
    let token = plane.token(&namespace, "default").await;
    let options = retile::kube::live::ConnectOptions {
        kubeconfig: Some(plane.kubeconfig(&namespace, &token)),
        ..retile::kube::live::ConnectOptions::new("retile-test")
    };
    let server: Server = retile::kube::live::connect(&options).await.expect("a kubeconfig");
    let options = ControllerOptions { namespace, staleness: std::time::Duration::from_secs(5), protect_nodes: false };
    let controller = ControllerCluster::start(server, options);
    for request in [get_node("any"), ClusterRequest::GetLease, ClusterRequest::Observe { fresh: false }] {
        let answer = controller.answer(&request).await.map(drop);
        assert!(matches!(answer, Err(ClusterError::Forbidden(_) | ClusterError::Unknown(_))), "{answer:?}");
    }
    assert!(matches!(controller.answer(&get_node("any")).await, Err(ClusterError::Forbidden(_))));
    eventually("the index says what is in the way", async || {
        controller.health().doubt.filter(|doubt| doubt.contains("forbidden")).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_program_that_writes_nothing_leaves_no_write_in_the_audit() {
    let Some(plane) = plane().await else { return };
    let name = unique("node");
    node(&plane.administrator().await, &name, json!([])).await;
    let (namespace, staleness) = ("default".to_owned(), std::time::Duration::from_secs(5));
    let options = ControllerOptions { namespace, staleness, protect_nodes: false };
    let controller = ControllerCluster::start(server(&plane, Writes::Refused).await, options);
    let version = seen(&controller, &name).await.version;
    let refused = controller.answer(&taint(&name, version, "op")).await;
    assert!(matches!(refused, Err(ClusterError::Forbidden(_))));
    let written = plane.audited().into_iter().filter(|it| it.writes() && it.resource == "nodes" && it.name == name);
    assert_eq!(written.filter(|it| it.verb == "patch" && it.path.contains("retile-test")).count(), 0);
}
