//! Nodes whose device plugin has the strategy `single`: instances are offered as GPUs, and pods ask for a product.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;

use super::control_plane::{Pace, eventually};
use super::installation::{ALL, Installation, TAINT, at_once};
use super::work::{deployment, ready, template};

const NODE: &str = "gpu-a";
const PRODUCT: &str = "nvidia.com/gpu.product";
const BOARD: &str = "NVIDIA-A100-SXM4-40GB";

/// The product by which feature discovery tells the instances of such a node.
fn product(profile: &str) -> String {
    format!("{BOARD}-MIG-{profile}")
}

#[tokio::test]
async fn a_node_of_the_strategy_single_is_reshaped_for_who_asks_for_its_product() {
    let Some(mut cluster) = Installation::make("act", &at_once("Act")).await else { return };
    let labels = [("nvidia.com/mig.strategy", "single"), (PRODUCT, &*product("3g.20gb"))];
    let boards: [(&str, &[(&str, u32)]); 1] = [("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])];
    cluster.add_labelled_node(NODE, &boards, &labels, Pace::default()).await;
    let offered = |count: u64| [("nvidia.com/gpu".to_owned(), count)].into();
    assert_eq!(cluster.nodes[0].allocatable().await, offered(2));
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);

    let mut wanted = template("small", ALL, None);
    wanted["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = json!("1");
    wanted["spec"]["nodeSelector"][PRODUCT] = json!(product("1g.5gb"));
    cluster.plane.apply(&deployment(&cluster.team, "small", 1, &wanted));
    eventually("the board is cut into small instances", async || {
        cluster.controllers[0].must_run();
        (cluster.nodes[0].layout(0).len() == 7).then_some(())
    })
    .await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let held_back = async || {
        let taints = nodes.get(NODE).await.ok()?.spec?.taints.unwrap_or_default();
        taints.iter().any(|taint| taint.key == TAINT).then_some(())
    };
    eventually("the node offers them, and waits for its product", async || {
        let record = cluster.record(NODE).await?;
        (record["spec"]["operation"]["phase"] == "Releasing").then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(held_back().await.is_some(), "pods that want the old product would come");
    // Feature discovery sees them too.
    let label = format!("{PRODUCT}={}", product("1g.5gb"));
    let (done, said) = cluster.plane.kubectl(&["label", "node", NODE, &label, "--overwrite"], "");
    assert!(done, "{said}");
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await, ["Done"]);
    let pod = ready(&cluster.pods(), "small", 1).await.remove(0);
    assert_eq!(cluster.nodes[0].allocatable().await, offered(7));
    assert_eq!(cluster.nodes[0].held_by(pod.metadata.uid.as_deref().expect("it has one")).len(), 1);
}
