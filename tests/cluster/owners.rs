//! Owners that appear while an operation is under way.

use serde_json::{Value, json};

use super::control_plane::{Pace, eventually};
use super::installation::{ALL, Installation, at_once};
use super::work::{deployment, template};

/// A node on which somebody else shows up, how it shows, and what people are told.
struct Case {
    node: &'static str,
    sign: fn(&Installation, &str),
    told: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        node: "labelled",
        sign: by_label,
        told: "NVIDIA's mig-manager owns the node now (label nvidia.com/mig.config=all-balanced)",
    },
    Case {
        node: "sliced",
        sign: by_slice,
        told: "NVIDIA's DRA driver owns the node now (a ResourceSlice of gpu.nvidia.com)",
    },
    Case {
        node: "offering",
        sign: by_resource,
        told: "InstaSlice owns the node now (resource mig.das.com/mig-1g.5gb)",
    },
];

/// As an administrator does who lets the GPU Operator's mig-manager lay the node out.
fn by_label(cluster: &Installation, node: &str) {
    let (done, said) = cluster.plane.kubectl(&["label", "node", node, "nvidia.com/mig.config=all-balanced"], "");
    assert!(done, "{said}");
}

/// As NVIDIA's DRA driver does when it starts on the node.
fn by_slice(cluster: &Installation, node: &str) {
    let slice = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": format!("{node}-gpu.nvidia.com")},
        "spec": {
            "driver": "gpu.nvidia.com", "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "gpu-0"}]
        }
    });
    cluster.plane.apply(&slice.to_string());
}

/// As `InstaSlice`'s device plugin does.
fn by_resource(cluster: &Installation, node: &str) {
    let patch = json!({"status": {"capacity": {"mig.das.com/mig-1g.5gb": "7"}}}).to_string();
    let arguments = ["patch", "node", node, "--subresource=status", "--type=merge", "--patch", &patch];
    let (done, said) = cluster.plane.kubectl(&arguments, "");
    assert!(done, "{said}");
}

/// Each sign comes when the node is claimed and nothing has been changed yet: the operation is given up, says for whom, and leaves nothing behind.
#[tokio::test]
async fn an_owner_that_appears_in_the_middle_is_given_way_to() {
    let policy = at_once("Act");
    let Some(mut cluster) = Installation::make("act", &policy).await else { return };
    for case in &CASES {
        cluster.add_node(case.node, &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    }
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    for case in &CASES {
        let mut pods = template(case.node, ALL, Some("1g.5gb"));
        pods["spec"]["nodeSelector"]["kubernetes.io/hostname"] = json!(case.node);
        cluster.plane.apply(&deployment(&cluster.team, case.node, 1, &pods));
    }
    for case in &CASES {
        eventually(&format!("{} is claimed", case.node), async || {
            cluster.controllers[0].must_run();
            let record = cluster.record(case.node).await?;
            record["spec"]["operation"].is_object().then_some(())
        })
        .await;
        eventually("autoscalers are kept off", async || {
            let on = Some("true".to_owned());
            let [autoscaler, karpenter, record] = cluster.protection(case.node).await;
            (autoscaler == on && karpenter == on && record.is_some()).then_some(())
        })
        .await;
        (case.sign)(&cluster, case.node);
    }
    for (case, node) in CASES.iter().zip(&cluster.nodes) {
        cluster.released(case.node).await;
        let record = cluster.record(case.node).await.expect("the agent reports");
        let ended = &record["spec"]["history"][0];
        let detail = ended["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with(case.told), "{}: {ended}", case.node);
        assert!(matches!(ended["outcome"].as_str(), Some("Aborted" | "RolledBack")), "{ended}");
        assert_eq!(node.layout(0), ["3g.20gb@0", "3g.20gb@4"], "{}", case.node);
    }
    // The pod that asked for the change is told whom the node belongs to, and nothing is tried again.
    eventually("the next plan leaves all three alone", async || {
        let log = cluster.controllers[0].log();
        CASES.iter().all(|case| told_of(&log, case)).then_some(())
    })
    .await;
    for case in &CASES {
        let record = cluster.record(case.node).await.expect("the agent reports");
        let ended = record["spec"]["history"].as_array().map_or(0, Vec::len);
        assert_eq!((ended, record["spec"]["operation"].clone()), (1, Value::Null), "{}: {record:#}", case.node);
    }
}

/// Whether the controller has said why it leaves a node as it is.
fn told_of(log: &str, case: &Case) -> bool {
    let owner = case.told.split(" owns ").next().unwrap_or_default();
    log.lines().any(|line| line.contains(case.node) && line.contains("is left as it is") && line.contains(owner))
}
