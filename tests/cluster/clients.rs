//! The GPU Operator's clients of a node's GPUs are paused while its instances change, where the policy says so.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use super::control_plane::{FLEET, Pace, eventually};
use super::installation::{ALL, Installation, PLUGINS, TAINT, at_once, policy_object};
use super::work::{deployment, name, ready, template, uid};

const NODE: &str = "gpu-a";
const DEPLOY: &str = "nvidia.com/gpu.deploy.";
const RECORD: &str = "retile.dev/paused-clients";
/// What the operator's labels say on the node, after what they have in common.
const LABELS: [(&str, &str); 4] =
    [("dcgm", "true"), ("device-plugin", "true"), ("mig-manager", "false"), ("nvsm", "false")];

/// The same overlay with a component of `deploy/kustomize`, as a user's own kustomization adds it.
fn add_component(cluster: &Installation, overlay: &str, component: &str) {
    let folder = cluster.plane.folder().join("kustomization");
    std::fs::create_dir_all(&folder).expect("the folder can be written");
    let up = "../".repeat(folder.canonicalize().expect("it is there").components().count() - 1);
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).strip_prefix("/").expect("an absolute path").display();
    let kustomization = json!({
        "resources": [format!("{up}{tree}/deploy/kustomize/overlays/{overlay}")],
        "components": [format!("{up}{tree}/deploy/kustomize/components/{component}")],
    });
    std::fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).expect("written");
    let path = folder.display().to_string();
    let (done, said) = cluster.plane.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &path], "");
    assert!(done, "{said}");
}

/// NVIDIA's plugin and DCGM as the operator runs them: on nodes with their labels.
fn install_operator(cluster: &Installation) {
    let plugin = format!("{DEPLOY}device-plugin");
    cluster.plane.install_plugin_in(PLUGINS, &[(FLEET, ALL), (plugin.as_str(), "true")], &[TAINT]);
    let labels = json!({"app": "nvidia-dcgm"});
    let dcgm = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "nvidia-dcgm", "namespace": PLUGINS},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {
                "nodeSelector": {format!("{DEPLOY}dcgm"): "true"},
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "nvidia-dcgm-ctr", "image": "nvcr.io/nvidia/cloud-native/dcgm:4.5"}],
            },
        }},
    });
    cluster.plane.apply(&dcgm.to_string());
}

fn label(cluster: &Installation, labels: &[(&str, &str)]) {
    for (client, value) in labels {
        let label = format!("{DEPLOY}{client}={value}");
        let (done, said) = cluster.plane.kubectl(&["label", "node", NODE, &label, "--overwrite"], "");
        assert!(done, "{said}");
    }
}

/// A node whose two halves are free, under the operator, and a policy that has the operator's clients paused; with components of
/// `deploy/kustomize`.
async fn under_operator(components: &[&str]) -> Option<Installation> {
    let mut policy = at_once("Act");
    policy["clients"] = json!("operator-pause");
    let mut cluster = Installation::make("act", &policy).await?;
    for component in components {
        add_component(&cluster, "act", component);
        // The overlay has a policy of its own.
        cluster.plane.apply(&policy_object(&policy));
    }
    cluster.add_node(NODE, &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    label(&cluster, &LABELS);
    install_operator(&cluster);
    eventually("the operator's clients run", async || (clients(&cluster).await.len() == 2).then_some(())).await;
    Some(cluster)
}

/// Starts a controller, and a pod that waits for a smaller instance.
async fn one_waits(cluster: &mut Installation) {
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    cluster.plane.apply(&deployment(&cluster.team, "small", 1, &template("small", ALL, Some("1g.5gb"))));
}

/// The operator's pods on the node that are not being deleted: UID by application.
async fn clients(cluster: &Installation) -> BTreeMap<String, String> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), PLUGINS);
    let listed = pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let there = listed.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && super::work::is_ready(pod));
    there
        .map(|pod| (if name(pod).contains("dcgm") { "dcgm" } else { "plugin" }.to_owned(), uid(pod).to_owned()))
        .collect()
}

/// What the operator's labels say on the node, and the record of those that are paused.
async fn labels(cluster: &Installation) -> (BTreeMap<String, String>, Option<String>) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = nodes.get(NODE).await.expect("it is there").metadata;
    let labels = node.labels.unwrap_or_default().into_iter();
    let labels = labels.filter_map(|(key, value)| Some((key.strip_prefix(DEPLOY)?.to_owned(), value)));
    (labels.collect(), node.annotations.unwrap_or_default().remove(RECORD))
}

fn as_before() -> (BTreeMap<String, String>, Option<String>) {
    (LABELS.map(|(client, value)| (client.to_owned(), value.to_owned())).into(), None)
}

#[tokio::test]
async fn the_operators_clients_are_away_while_instances_change_and_come_back() {
    let Some(mut cluster) = under_operator(&["pause-clients"]).await else { return };
    let before = clients(&cluster).await;
    one_waits(&mut cluster).await;
    eventually("clients are paused, on record, and gone", async || {
        cluster.controllers[0].must_run();
        let (labels, record) = labels(&cluster).await;
        let paused = ["dcgm", "device-plugin"].iter().all(|client| labels[*client] == "paused-for-mig-change");
        (paused && record.as_deref() == Some("device-plugin,dcgm") && clients(&cluster).await.is_empty()).then_some(())
    })
    .await;
    ready(&cluster.pods(), "small", 1).await;
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await, ["Done"]);
    assert_eq!(labels(&cluster).await, as_before());
    let after =
        eventually("both are back", async || Some(clients(&cluster).await).filter(|there| there.len() == 2)).await;
    assert!(after.iter().all(|(client, uid)| before[client] != *uid), "{before:?} {after:?}");
    let controller = "system:serviceaccount:retile-system:retile-controller";
    let deleted = cluster
        .plane
        .audited_of(controller)
        .into_iter()
        .find(|asked| asked.verb == "delete" && asked.resource == "pods");
    assert_eq!(deleted, None, "the operator's DaemonSets have replaced them");
}

#[tokio::test]
async fn without_the_switch_of_the_installation_no_label_is_written_and_nothing_is_changed() {
    let Some(mut cluster) = under_operator(&[]).await else { return };
    let before = clients(&cluster).await;
    one_waits(&mut cluster).await;
    let told = eventually("the operation is given up", async || {
        cluster.controllers[0].must_run();
        let record = cluster.record(NODE).await?;
        let ended = record["spec"]["history"][0].clone();
        (ended["outcome"] == "Aborted").then_some(ended["detail"].as_str()?.to_owned())
    })
    .await;
    for word in
        ["clients may not be paused", "changes no label of a node", "controller.pauseClients", "clients: restart"]
    {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!((labels(&cluster).await, clients(&cluster).await), (as_before(), before));
    assert_eq!(cluster.nodes[0].layout(0), ["3g.20gb@0", "3g.20gb@4"]);
}

#[tokio::test]
async fn killed_while_clients_are_paused_the_next_leader_lets_them_go_on() {
    let Some(mut cluster) = under_operator(&["pause-clients"]).await else { return };
    one_waits(&mut cluster).await;
    eventually("clients are paused", async || labels(&cluster).await.1).await;
    cluster.controllers[0].kill();
    cluster.agents[0].kill();
    cluster.agents[0] = cluster.agent(NODE).await;
    cluster.controllers[0] = cluster.controller("controller-2").await;
    ready(&cluster.pods(), "small", 1).await;
    cluster.released(NODE).await;
    assert_eq!(labels(&cluster).await, as_before());
}
