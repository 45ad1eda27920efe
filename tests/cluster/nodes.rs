//! Nodes that go, and nodes that come back.

use kube::Api;
use kube::api::DeleteParams;

use super::control_plane::{Pace, eventually};
use super::installation::{ALL, Installation, at_once};
use super::work::{deployment, ready, template};

/// A node whose object is deleted and made again under its name is another node: nothing of an operation before is taken over, and the boards,
/// which are the machine's, are reported as they are.
#[tokio::test]
async fn a_node_that_is_made_again_is_planned_for_as_a_new_one() {
    let policy = at_once("Act");
    let Some(mut cluster) = Installation::make("act", &policy).await else { return };
    cluster.add_node("a", &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    let before = cluster.nodes[0].object().await.metadata.uid;
    cluster.agents.clear();
    cluster.nodes[0].switch_off();
    cluster.nodes[0].delete().await;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client.clone());
    eventually("the node object is gone", async || nodes.get_opt("a").await.ok()?.is_none().then_some(())).await;
    eventually("the record went with its node", async || cluster.record("a").await.is_none().then_some(())).await;
    // The garbage collector takes the pods of a node that is gone; a test does not wait for its quarantine.
    for namespace in ["gpu-operator", super::installation::NAMESPACE] {
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(cluster.client.clone(), namespace);
        for pod in pods.list(&kube::api::ListParams::default().fields("spec.nodeName=a")).await.expect("listed").items {
            let _ = pods.delete(super::work::name(&pod), &DeleteParams::default().grace_period(0)).await;
        }
    }
    cluster.nodes[0].switch_on().await;
    assert_ne!(cluster.nodes[0].object().await.metadata.uid, before);
    let agent = cluster.agent("a").await;
    cluster.agents.push(agent);
    cluster.plane.apply(&deployment(&cluster.team, "small", 1, &template("small", ALL, Some("1g.5gb"))));
    ready(&cluster.pods(), "small", 1).await;
    cluster.released("a").await;
    assert_eq!(cluster.outcomes("a").await.first().map(String::as_str), Some("Done"));
}
