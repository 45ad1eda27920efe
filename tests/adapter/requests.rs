//! Nodes, pods and the lease: each write happens once, to the object that was read, or not at all.

use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use retile::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, EvictionBody, Lease};
use retile::exec::{NodeView, TAINT_KEY, Version};
use retile::kube::live::{ControllerCluster, ControllerOptions, Server, Writes};
use retile::model::PodRef;
use serde_json::json;

use super::control_plane::{eventually, unique};
use super::scene::{controller, node, operation, plane, pod, pod_ref, run, server, view};

fn get(node: &str) -> ClusterRequest {
    ClusterRequest::GetNode { node: node.to_owned() }
}

/// A node as it is. Whose it is cannot be said before the first lists are complete.
async fn seen(controller: &ControllerCluster, node: &str) -> NodeView {
    let answer = eventually("the node is seen", async || controller.answer(&get(node)).await.ok()).await;
    view(Ok(answer))
}

fn taint(node: &str, version: Version, id: &str) -> ClusterRequest {
    ClusterRequest::AddTaint { node: node.to_owned(), version, operation: operation(id) }
}

fn untaint(node: &str, version: Version, id: &str) -> ClusterRequest {
    ClusterRequest::RemoveTaint { node: node.to_owned(), version, operation: operation(id) }
}

#[tokio::test]
async fn our_taint_comes_and_goes_and_those_of_others_stay() {
    let Some(plane) = plane().await else { return };
    let (name, client) = (unique("node"), plane.administrator().await);
    let foreign = json!([{"key": "example.org/keep", "value": "1", "effect": "NoSchedule"}]);
    node(&client, &name, foreign).await;
    let controller = controller(&plane, "default").await;
    // Its own controllers write to a new node, so that any version may be past by now.
    let tainted = eventually("the node is tainted", async || {
        let before = seen(&controller, &name).await;
        match controller.answer(&taint(&name, before.version, "op-1")).await {
            Err(ClusterError::Conflict) => None,
            reply => Some(view(reply)),
        }
    })
    .await;
    assert_eq!(tainted.our_taint(), Some("op-1"));
    assert!(tainted.taints.iter().any(|taint| taint.key == "example.org/keep"));
    let replaced = eventually("the taint is replaced", async || {
        let before = seen(&controller, &name).await;
        controller.answer(&taint(&name, before.version, "op-2")).await.ok()
    })
    .await;
    let replaced = view(Ok(replaced));
    assert_eq!(replaced.taints.iter().filter(|taint| taint.key == TAINT_KEY).count(), 1);
    let past = controller.answer(&untaint(&name, Version(tainted.version.0 - 1), "op-2")).await;
    assert_eq!(past.map(drop), Err(ClusterError::Conflict));
    let other = controller.answer(&untaint(&name, replaced.version, "op-1")).await;
    assert_eq!(other.map(drop), Err(ClusterError::Conflict), "not our operation");
    let clean = eventually("the taint is removed", async || {
        let before = seen(&controller, &name).await;
        controller.answer(&untaint(&name, before.version, "op-2")).await.ok()
    })
    .await;
    let clean = view(Ok(clean));
    assert_eq!(clean.our_taint(), None);
    assert!(clean.taints.iter().any(|taint| taint.key == "example.org/keep"));
    let missing = controller.answer(&taint("no-such-node", Version(1), "op")).await;
    assert_eq!(missing.map(drop), Err(ClusterError::NotFound));
}

#[tokio::test]
async fn of_many_that_taint_the_same_version_one_succeeds() {
    let Some(plane) = plane().await else { return };
    let (name, client) = (unique("node"), plane.administrator().await);
    node(&client, &name, json!([])).await;
    let controller = controller(&plane, "default").await;
    eventually("one of all succeeds", async || {
        let version = seen(&controller, &name).await.version;
        let tries = (0..8).map(|number| {
            let request = taint(&name, version, &format!("op-{number}"));
            let controller = &controller;
            async move { controller.answer(&request).await.map(drop) }
        });
        let answers = futures::future::join_all(tries).await;
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!(won <= 1, "{answers:?}");
        let lost = answers.iter().filter(|answer| **answer == Err(ClusterError::Conflict)).count();
        assert_eq!(won + lost, answers.len(), "{answers:?}");
        (won == 1).then_some(())
    })
    .await;
}

async fn evict(controller: &ControllerCluster, pod: &PodRef, dry_run: bool) -> Result<(), ClusterError> {
    let request = ClusterRequest::Evict { pod: pod.clone(), body: EvictionBody::of(pod), dry_run };
    accepted(controller.answer(&request).await)
}

fn accepted(reply: ClusterReply) -> Result<(), ClusterError> {
    let answer = reply?;
    assert!(matches!(answer, ClusterAnswer::Accepted), "not an acceptance: {answer:?}");
    Ok(())
}

#[tokio::test]
async fn an_eviction_reaches_one_pod_and_no_other() {
    let Some(plane) = plane().await else { return };
    let client = plane.administrator().await;
    let namespace = plane.namespace("team").await;
    let controller = controller(&plane, "default").await;
    let victim = pod_ref(&pod(&client, &namespace, "victim", Some("nowhere"), true).await);
    let stranger = PodRef { uid: "00000000-0000-0000-0000-000000000000".to_owned(), ..victim.clone() };
    assert_eq!(evict(&controller, &stranger, false).await, Err(ClusterError::Conflict));
    assert_eq!(evict(&controller, &victim, true).await, Ok(()));
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let there = pods.get("victim").await.expect("asked only");
    assert!(there.metadata.deletion_timestamp.is_none());
    assert_eq!(evict(&controller, &victim, false).await, Ok(()));
    eventually("the pod is gone", async || pods.get_opt("victim").await.ok()?.is_none().then_some(())).await;
    assert_eq!(evict(&controller, &victim, false).await, Err(ClusterError::NotFound));
}

#[tokio::test]
async fn budgets_are_told_apart_from_a_busy_server() {
    let Some(plane) = plane().await else { return };
    let client = plane.administrator().await;
    let namespace = plane.namespace("team").await;
    let controller = controller(&plane, "default").await;
    let made = pod(&client, &namespace, "guarded", Some("nowhere"), true).await;
    run(&client, &made).await;
    let victim = pod_ref(&made);
    let budget = |name: &str| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": namespace},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}}})
        .to_string()
    };
    plane.apply(&budget("one"));
    eventually("the budget blocks", async || {
        (evict(&controller, &victim, true).await == Err(ClusterError::BlockedByBudget)).then_some(())
    })
    .await;
    let pods = ClusterRequest::ListPods { node: "nowhere".to_owned() };
    let Ok(ClusterAnswer::Pods(views)) = controller.answer(&pods).await else { panic!("no pods") };
    let seen = views.iter().find(|view| view.pod == victim).expect("it is listed");
    assert_eq!(seen.budgets, [0]);
    plane.apply(&budget("two"));
    eventually("two budgets are one too many", async || {
        (evict(&controller, &victim, false).await == Err(ClusterError::SeveralBudgets)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_of_the_plugin_is_deleted_by_its_uid() {
    let Some(plane) = plane().await else { return };
    let client = plane.administrator().await;
    let namespace = plane.namespace("plugin").await;
    let controller = controller(&plane, "default").await;
    let plugin = pod_ref(&pod(&client, &namespace, "plugin", Some("nowhere"), false).await);
    let stranger = PodRef { uid: "00000000-0000-0000-0000-000000000000".to_owned(), ..plugin.clone() };
    let delete = async |pod: PodRef| accepted(controller.answer(&ClusterRequest::DeletePluginPod { pod }).await);
    assert_eq!(delete(stranger).await, Err(ClusterError::Conflict));
    assert_eq!(delete(plugin.clone()).await, Ok(()));
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    eventually("the pod is gone", async || pods.get_opt("plugin").await.ok()?.is_none().then_some(())).await;
    assert_eq!(delete(plugin).await, Err(ClusterError::NotFound));
}

fn lease(reply: ClusterReply) -> (Version, Lease) {
    match reply {
        Ok(ClusterAnswer::Lease(version, lease)) => (version, lease),
        other => panic!("no lease: {other:?}"),
    }
}

#[tokio::test]
async fn the_lease_is_taken_by_one_and_never_made_anew_by_its_holder() {
    let Some(plane) = plane().await else { return };
    let namespace = plane.namespace("retile").await;
    let controller = controller(&plane, &namespace).await;
    let wanted = |renewals| Lease { holder: "a".to_owned(), renewals, transitions: 1 };
    let write = |version, renewals| ClusterRequest::WriteLease { version, lease: wanted(renewals) };
    assert_eq!(controller.answer(&ClusterRequest::GetLease).await.map(drop), Err(ClusterError::NotFound));
    let (first, made) = lease(controller.answer(&write(None, 1)).await);
    assert_eq!(made, wanted(1));
    assert_eq!(controller.answer(&write(None, 2)).await.map(drop), Err(ClusterError::Conflict));
    let (second, _) = lease(controller.answer(&write(Some(first), 2)).await);
    assert_eq!(controller.answer(&write(Some(first), 3)).await.map(drop), Err(ClusterError::Conflict));
    assert_eq!(lease(controller.answer(&ClusterRequest::GetLease).await), (second, wanted(2)));
    let leases: Api<LeaseObject> = Api::namespaced(plane.administrator().await, &namespace);
    leases.delete("retile-leader", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(controller.answer(&write(Some(second), 3)).await.map(drop), Err(ClusterError::NotFound));
    assert!(leases.get_opt("retile-leader").await.expect("asked").is_none(), "its epoch is lost, so it must be seen");
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
    for request in [get("any"), ClusterRequest::GetLease, ClusterRequest::Observe { fresh: false }] {
        let answer = controller.answer(&request).await.map(drop);
        assert!(matches!(answer, Err(ClusterError::Forbidden(_) | ClusterError::Unknown(_))), "{answer:?}");
    }
    assert!(matches!(controller.answer(&get("any")).await, Err(ClusterError::Forbidden(_))));
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
