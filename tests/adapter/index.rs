//! The index: whole before it is used, woken by what matters, told when it is old, and well again afterwards.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use retile::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Observation};
use retile::exec::{GpuReport, InstanceReport, MigNodeStatus, ReportedOccupancy, Version};
use retile::kube::live::{ControllerCluster, Events, Happened, Notice, Regarding, Told};
use retile::model::{Mode, Occupancy};
use retile::plan::Place;
use serde_json::json;

use super::cluster::{record_of, status};
use super::control_plane::{ControlPlane, eventually, eventually_within, unique};
use super::scene::{self, agent, controller, delete_node, install, pod, pod_ref, report};

fn observed(reply: ClusterReply) -> Result<Observation, ClusterError> {
    let answer = reply?;
    let ClusterAnswer::Observed(observation) = answer else { panic!("no observation: {answer:?}") };
    Ok(*observation)
}

async fn observe(controller: &ControllerCluster, fresh: bool) -> Result<Observation, ClusterError> {
    observed(controller.answer(&ClusterRequest::Observe { fresh }).await)
}

fn board(instances: &[(u8, ReportedOccupancy)]) -> MigNodeStatus {
    let instance = |&(start, occupancy): &(u8, ReportedOccupancy)| InstanceReport {
        place: Place { start, size: 1, profile: "1g.10gb".to_owned() },
        uuid: Some(format!("MIG-{start}")),
        occupancy,
        pods: Vec::new(),
    };
    let gpu = GpuReport {
        index: 0,
        uuid: "GPU-1".to_owned(),
        model: "NVIDIA A100-SXM4-80GB".to_owned(),
        instances: instances.iter().map(instance).collect(),
    };
    MigNodeStatus { gpus: vec![gpu], ..status(1) }
}

/// A control plane of its own: what is in the cluster counts here, and servers are stopped.
#[tokio::test]
async fn the_index_follows_the_cluster_and_knows_when_it_does_not() {
    let Some(plane) = ControlPlane::start().await else { return };
    let without = controller(&plane, "default").await;
    eventually("the missing definitions are told", async || {
        without.health().doubt.filter(|doubt| doubt.contains("retile crds")).map(drop)
    })
    .await;
    assert!(matches!(observe(&without, false).await, Err(ClusterError::Unknown(_))));
    drop(without);
    install(&plane).await;

    let client = plane.administrator().await;
    let namespace = plane.namespace("team").await;
    let name = unique("node");
    let made = scene::node(&client, &name, json!([])).await;
    let agent = agent(&plane, &name).await;
    let mut told = board(&[(0, ReportedOccupancy::Free), (1, ReportedOccupancy::Free)]);
    told.node_uid = made.metadata.uid.expect("nodes have one");
    let written = record_of(report(&agent, &name, Version(0), told.clone()).await);

    let controller = controller(&plane, "default").await;
    eventually("the index is whole", async || observe(&controller, false).await.ok()).await;
    let ready = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-28T12:00:00Z",
            "lastTransitionTime": "2026-11-28T12:00:00Z"}],
        "capacity": {"cpu": "8", "pods": "110", "memory": "64Gi", "nvidia.com/mig-1g.10gb": "2"},
        "allocatable": {"cpu": "8", "pods": "110", "memory": "64Gi", "nvidia.com/mig-1g.10gb": "2"},
    }});
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    let patch = kube::api::Patch::Merge(&ready);
    nodes.patch_status(&name, &kube::api::PatchParams::default(), &patch).await.expect("a status");
    eventually("cache and fresh lists say the same", async || {
        let (cached, fresh) = (observe(&controller, false).await.ok()?, observe(&controller, true).await.ok()?);
        assert_eq!(fresh.records, std::slice::from_ref(&written));
        let free = |observation: &Observation| {
            observation
                .input
                .gpus()
                .iter()
                .flat_map(|gpu| &gpu.instances)
                .filter(|it| it.occupancy == Occupancy::Free)
                .count()
        };
        let same = cached.records == fresh.records && free(&cached) == 2 && free(&fresh) == 2;
        (same && cached.nodes.first()?.ready && cached.nodes[0].allocatable["nvidia.com/mig-1g.10gb"] == 2)
            .then_some(())
    })
    .await;
    assert_eq!(controller.policy().document.policy.mode, Mode::Observe, "nobody has written one");

    a_policy_counts_at_once(&plane, &controller).await;
    the_loop_is_woken(&client, &namespace, &controller).await;
    a_bound_pod_is_seen(&client, &namespace, &name, &controller).await;
    events_are_told_once(&plane, &client, &namespace, &name, &controller).await;

    plane.kill_api_server();
    let down = observe(&controller, true).await;
    assert!(matches!(down, Err(ClusterError::Unknown(_))), "{:?}", down.map(drop));
    eventually_within(Duration::from_mins(2), "the index counts as old", async || controller.health().doubt).await;
    assert!(matches!(observe(&controller, false).await, Err(ClusterError::Unknown(_))));
    plane.start_api_server().await;
    eventually_within(Duration::from_mins(2), "the index is well again", async || {
        controller.health().doubt.is_none().then_some(())
    })
    .await;
    delete_node(&client, &name).await;
    eventually("what is gone is seen to be gone", async || {
        observe(&controller, false).await.ok()?.nodes.is_empty().then_some(())
    })
    .await;
}

async fn a_policy_counts_at_once(plane: &ControlPlane, controller: &ControllerCluster) {
    let policy = |spec: serde_json::Value| {
        json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "default"}, "spec": spec})
            .to_string()
    };
    plane.apply(&policy(json!({"mode": "Act", "disruption": {"level": "Balanced"}})));
    eventually("the policy is in force", async || {
        (controller.policy().document.policy.mode == Mode::Act).then_some(())
    })
    .await;
    assert_eq!(observe(controller, false).await.expect("observed").input.policy().mode, Mode::Act);
    // The schema cannot know the zones of the world; the parser does.
    let bad =
        json!({"mode": "Recommend", "windows": [{"start": "22:00", "duration": "1h", "zone": "Europe/Atlantis"}]});
    plane.apply(&policy(bad));
    eventually("the fault is told", async || controller.policy().fault).await;
    assert_eq!(controller.policy().document.policy.mode, Mode::Act, "the last good one stays");
    plane.apply(&policy(json!({"mode": "Act", "paused": true})));
    eventually("the pause is in force", async || {
        let policy = controller.policy();
        (policy.fault.is_none() && policy.document.paused).then_some(())
    })
    .await;
    assert_eq!(observe(controller, false).await.expect("observed").input.policy().mode, Mode::Observe);
}

/// A pod that the scheduler cannot place wakes the loop.
async fn the_loop_is_woken(client: &kube::Client, namespace: &str, controller: &ControllerCluster) {
    pod(client, namespace, "waits", None, true).await;
    eventually("the loop is woken", async || {
        let wake = tokio::time::timeout(Duration::from_millis(500), controller.changed()).await.ok()?;
        let there = observe(controller, false).await.ok()?;
        let known = there.input.pending().len() + there.input.unplannable().len();
        (wake.planning && known > 0).then_some(())
    })
    .await;
}

/// A pod on the node that the agent has not seen may hold any instance: none of its profile is free.
async fn a_bound_pod_is_seen(client: &kube::Client, namespace: &str, node: &str, controller: &ControllerCluster) {
    let bound = pod_ref(&pod(client, namespace, "bound", Some(node), true).await);
    eventually("the operation of the node is woken", async || {
        let wake = tokio::time::timeout(Duration::from_secs(1), controller.changed()).await.ok()?;
        wake.nodes.contains(node).then_some(())
    })
    .await;
    for fresh in [false, true] {
        let observation = observe(controller, fresh).await.expect("observed");
        assert_eq!(observation.pods[node].iter().map(|view| &view.pod).collect::<Vec<_>>(), [&bound]);
        let gpus = observation.input.gpus();
        let free = gpus.iter().flat_map(|gpu| &gpu.instances).filter(|it| it.occupancy == Occupancy::Free).count();
        assert_eq!(free, 0, "fresh: {fresh}");
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    pods.delete("bound", &kube::api::DeleteParams::default()).await.expect("deleted");
}

async fn events_are_told_once(
    plane: &ControlPlane,
    client: &kube::Client,
    namespace: &str,
    node: &str,
    controller: &ControllerCluster,
) {
    let events = Events::new("test-pod");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let waiting = pod_ref(&pods.get("waits").await.expect("it waits"));
    let notices = [Regarding::Pod(waiting), Regarding::Node(node.to_owned()), Regarding::MigNode(node.to_owned())].map(
        |regarding| Notice { regarding, happened: Happened::NotPlanned, note: "no room before tomorrow".to_owned() },
    );
    for notice in &notices {
        assert_eq!(events.tell(controller, notice).await, Ok(Told::New));
        assert_eq!(events.tell(controller, notice).await, Ok(Told::KeptBack));
    }
    let (_, described) = plane.kubectl(&["describe", "pod", "waits", "-n", namespace], "");
    assert!(described.contains("RetileNotPlanned") && described.contains("no room before tomorrow"), "{described}");
    for kind in ["node", "mignode"] {
        let (_, described) = plane.kubectl(&["describe", kind, node], "");
        assert!(described.contains("no room before tomorrow"), "{kind}: {described}");
    }
}
