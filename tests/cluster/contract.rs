//! What the API server and its controllers do, as far as retile relies on it. No part of retile acts here: where one of these fails, a
//! promise of Kubernetes is another than the protocol, the simulator and the adapter take it for.

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Api, Client, Error};
use serde_json::{Value, json};

use fake_nvml::Config;

use super::control_plane::{ControlPlane, FLEET, HollowNode, eventually, unique};
use super::work::{allows, budget, deployment, name, pods_of, ready, template, uid};

/// Posts an eviction with this body; the status of a refusal.
async fn evict(client: &Client, pod: &Pod, options: &Value, query: &str) -> Result<(), Box<Status>> {
    let namespace = pod.metadata.namespace.as_deref().expect("pods have one");
    let mut body =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name(pod), "namespace": namespace}});
    for (key, value) in options.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}/eviction?fieldValidation=Strict{query}", name(pod));
    let request =
        http::Request::post(path).header("content-type", "application/json").body(body.to_string().into_bytes());
    match client.request::<Value>(request.expect("a path")).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) => Err(status),
        Err(other) => panic!("no answer: {other}"),
    }
}

fn pinned(uid: &str) -> Value {
    json!({"deleteOptions": {"preconditions": {"uid": uid}}})
}

fn causes(status: &Status) -> Vec<&str> {
    status.details.iter().flat_map(|details| &details.causes).map(|cause| cause.reason.as_str()).collect()
}

/// A node with a device plugin, and two pods of `app` that run there.
struct Scene {
    client: Client,
    namespace: String,
    pods: Api<Pod>,
    /// Where they run, as long as it is there.
    _node: HollowNode,
}

const APP: &str = "work";

impl Scene {
    async fn set(plane: &ControlPlane) -> Self {
        let fleet = unique("fleet");
        let node = HollowNode::register(plane, &unique("node"), Config::of(&["A100-40GB"]), &[(FLEET, &fleet)]).await;
        let namespace = plane.namespace("team").await;
        let client = plane.administrator().await;
        plane.apply(&deployment(&namespace, APP, 2, &template(APP, &fleet, None)));
        let pods = Api::namespaced(client.clone(), &namespace);
        ready(&pods, APP, 2).await;
        Self { client, namespace, pods, _node: node }
    }

    async fn one(&self) -> Pod {
        ready(&self.pods, APP, 2).await.remove(0)
    }
}

#[tokio::test]
async fn an_eviction_reaches_the_pod_that_it_is_pinned_to_and_no_other() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let scene = Scene::set(&plane).await;
    let pod = scene.one().await;
    let refused = evict(&scene.client, &pod, &pinned("00000000-0000-0000-0000-000000000000"), "").await;
    let refused = refused.expect_err("another UID");
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"), "{refused:?}");
    let there = scene.pods.get(name(&pod)).await.expect("not evicted");
    assert!(there.metadata.deletion_timestamp.is_none());
    evict(&scene.client, &pod, &pinned(uid(&pod)), "").await.expect("the budget of nobody");
    eventually("the pod is gone", async || {
        let there = scene.pods.get_opt(name(&pod)).await.ok()?;
        there.is_none_or(|there| uid(&there) != uid(&pod)).then_some(())
    })
    .await;
}

/// The field that a client library once wrote in snake case: the server would ignore it, and evict whatever has the name.
#[tokio::test]
async fn a_misspelt_field_is_refused_under_strict_validation() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let scene = Scene::set(&plane).await;
    let pod = scene.one().await;
    let misspelt = json!({"delete_options": {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}});
    let refused = evict(&scene.client, &pod, &misspelt, "").await.expect_err("an unknown field");
    assert_eq!(refused.code, 400, "{refused:?}");
    assert!(scene.pods.get(name(&pod)).await.expect("there").metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn a_dry_run_asks_and_leaves_the_pod_alone() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let scene = Scene::set(&plane).await;
    let pod = scene.one().await;
    evict(&scene.client, &pod, &pinned(uid(&pod)), "&dryRun=All").await.expect("it would be allowed");
    assert!(scene.pods.get(name(&pod)).await.expect("there").metadata.deletion_timestamp.is_none());
    plane.apply(&budget(&scene.namespace, "none", APP, 0));
    allows(&plane, &scene.namespace, "none", 0).await;
    let refused = evict(&scene.client, &pod, &pinned(uid(&pod)), "&dryRun=All").await;
    assert_eq!(refused.expect_err("the budget counts here too").code, 429);
}

#[tokio::test]
async fn a_budget_that_is_used_up_answers_429_with_its_cause_and_no_moment_to_come_back() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let scene = Scene::set(&plane).await;
    plane.apply(&budget(&scene.namespace, "one", APP, 1));
    allows(&plane, &scene.namespace, "one", 1).await;
    let both = ready(&scene.pods, APP, 2).await;
    evict(&scene.client, &both[0], &pinned(uid(&both[0])), "").await.expect("the first is allowed");
    let refused = evict(&scene.client, &both[1], &pinned(uid(&both[1])), "").await.expect_err("the second is not");
    assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"), "{refused:?}");
    assert_eq!(causes(&refused), ["DisruptionBudget"]);
    assert_eq!(refused.details.as_ref().map_or(0, |details| details.retry_after_seconds), 0);
    allows(&plane, &scene.namespace, "one", 1).await;
    evict(&scene.client, &both[1], &pinned(uid(&both[1])), "").await.expect("the budget has recovered");
}

#[tokio::test]
async fn two_budgets_over_one_pod_answer_500_for_ever() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let scene = Scene::set(&plane).await;
    for name in ["first", "second"] {
        plane.apply(&budget(&scene.namespace, name, APP, 2));
        allows(&plane, &scene.namespace, name, 2).await;
    }
    let pod = scene.one().await;
    let refused = evict(&scene.client, &pod, &pinned(uid(&pod)), "").await.expect_err("more than one budget");
    assert_eq!(refused.code, 500, "{refused:?}");
    assert!(refused.message.contains("more than one PodDisruptionBudget"), "{}", refused.message);
}

/// A bound pod that does not run yet is evicted whatever the budgets say: the caller must not rely on them for it.
#[tokio::test]
async fn budgets_do_not_protect_a_pod_that_is_pending() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let scene = Scene::set(&plane).await;
    plane.apply(&budget(&scene.namespace, "none", "starting", 0));
    let mut waiting = template("starting", "nowhere", None);
    waiting["spec"]["terminationGracePeriodSeconds"] = json!(0);
    plane.apply(&deployment(&scene.namespace, "starting", 1, &waiting));
    let pod = eventually("the pod is made", async || pods_of(&scene.pods, "starting").await.pop()).await;
    evict(&scene.client, &pod, &pinned(uid(&pod)), "").await.expect("no budget is asked");
}

fn with_taint(version: Option<&str>, key: &str) -> Value {
    json!({"metadata": {"resourceVersion": version}, "spec": {"taints": [{"key": key, "value": "x", "effect": "NoSchedule"}]}})
}

fn taints(node: &Node) -> Vec<String> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.into_iter().map(|taint| taint.key.clone()).collect()
}

#[tokio::test]
async fn a_write_from_a_version_that_is_past_is_a_conflict_and_one_without_replaces_everybodys_taints() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let fleet = unique("fleet");
    let node = HollowNode::register(&plane, &unique("node"), Config::of(&["A30-24GB"]), &[(FLEET, &fleet)]).await;
    let nodes: Api<Node> = Api::all(plane.administrator().await);
    let merge = PatchParams::default();
    let old = node.object().await.metadata.resource_version.expect("objects have one");
    nodes.patch(node.name(), &merge, &Patch::Merge(with_taint(None, "others"))).await.expect("blind writes always win");
    let stale = nodes.patch(node.name(), &merge, &Patch::Merge(with_taint(Some(&old), "ours"))).await;
    let Err(Error::Api(stale)) = stale else { panic!("a stale version was taken: {stale:?}") };
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
    assert_eq!(taints(&node.object().await), ["others"]);
    // A strategic patch merges lists in many places, but not here: this is why taints are written from what was read, or not at all.
    nodes
        .patch(node.name(), &merge, &Patch::Strategic(with_taint(None, "ours")))
        .await
        .expect("blind writes always win");
    assert_eq!(taints(&node.object().await), ["ours"]);
}

#[tokio::test]
async fn a_json_patch_whose_test_fails_is_refused_whole() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let node = HollowNode::register(&plane, &unique("node"), Config::of(&["A30-24GB"]), &[]).await;
    let patch = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
        {"op": "add", "path": "/metadata/annotations/retile.dev~1mark", "value": "x"}
    ]);
    let request = http::Request::patch(format!("/api/v1/nodes/{}", node.name()))
        .header("content-type", "application/json-patch+json")
        .body(patch.to_string().into_bytes());
    let refused = plane.administrator().await.request::<Value>(request.expect("a path")).await;
    let Err(Error::Api(refused)) = refused else { panic!("the test did not fail: {refused:?}") };
    assert_eq!(refused.code, 422, "{refused:?}");
    let annotations = node.object().await.metadata.annotations.unwrap_or_default();
    assert!(!annotations.contains_key("retile.dev/mark"));
}

const OURS: &str = "retile.dev/repartitioning";

async fn taint(plane: &ControlPlane, node: &HollowNode) {
    let nodes: Api<Node> = Api::all(plane.administrator().await);
    let patch = Patch::Merge(with_taint(None, OURS));
    nodes.patch(node.name(), &PatchParams::default(), &patch).await.expect("blind writes always win");
}

/// The device plugin's pod on a node, if it runs.
async fn plugin(pods: &Api<Pod>, node: &HollowNode) -> Option<Pod> {
    let here = ListParams::default().fields(&format!("spec.nodeName={}", node.name()));
    let pod = pods.list(&here).await.ok()?.items.pop()?;
    (super::work::is_ready(&pod) && pod.metadata.deletion_timestamp.is_none()).then_some(pod)
}

/// A `DaemonSet` whose pods do not tolerate our taint is not made again on a node that has it: an operation there would wait for ever.
#[tokio::test]
async fn a_device_plugin_comes_back_under_our_taint_only_if_it_tolerates_it() {
    let Some(plane) = ControlPlane::shared().await else { return };
    for tolerates in [&[OURS][..], &[]] {
        let fleet = unique("fleet");
        let node = HollowNode::register(&plane, &unique("node"), Config::of(&["A30-24GB"]), &[(FLEET, &fleet)]).await;
        let namespace = plane.install_plugin(&fleet, tolerates).await;
        let pods: Api<Pod> = Api::namespaced(plane.administrator().await, &namespace);
        let first = eventually("the plugin runs", async || plugin(&pods, &node).await).await;
        taint(&plane, &node).await;
        pods.delete(name(&first), &DeleteParams::default()).await.expect("it is there");
        eventually("the old pod is gone", async || pods.get_opt(name(&first)).await.ok()?.is_none().then_some(()))
            .await;
        if tolerates.is_empty() {
            // The controller has looked at the node once it says that it wants no pod there.
            eventually("the DaemonSet wants no pod", async || {
                let sets: Api<DaemonSet> = Api::namespaced(plane.administrator().await, &namespace);
                let status = sets.get("nvidia-device-plugin").await.ok()?.status?;
                (status.desired_number_scheduled == 0).then_some(())
            })
            .await;
            assert_eq!(pods.list(&ListParams::default()).await.expect("listed").items.len(), 0);
        } else {
            let second = eventually("the plugin runs again", async || plugin(&pods, &node).await).await;
            assert_ne!(uid(&second), uid(&first));
        }
    }
}

/// The whole chain that retile relies on: a pod that waits for a profile, a board that gets it, a plugin that is replaced.
#[tokio::test]
async fn a_pod_waits_until_the_plugin_was_replaced_after_the_board_had_changed() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let fleet = unique("fleet");
    let node = HollowNode::register(&plane, &unique("node"), Config::of(&["A100-40GB"]), &[(FLEET, &fleet)]).await;
    node.store().change(|boards| boards.partition(0, &[("3g.20gb", 0)])).expect("written").expect("room");
    let namespace = plane.install_plugin(&fleet, &[OURS]).await;
    let plugins: Api<Pod> = Api::namespaced(plane.administrator().await, &namespace);
    eventually("3g.20gb is advertised", async || {
        (node.allocatable().await.get("nvidia.com/mig-3g.20gb") == Some(&1)).then_some(())
    })
    .await;
    let team = plane.namespace("team").await;
    plane.apply(&deployment(&team, APP, 1, &template(APP, &fleet, Some("1g.5gb"))));
    let pods: Api<Pod> = Api::namespaced(plane.administrator().await, &team);
    eventually("the scheduler calls the pod unschedulable", async || {
        let status = pods_of(&pods, APP).await.pop()?.status?;
        status.conditions?.iter().any(|condition| condition.reason.as_deref() == Some("Unschedulable")).then_some(())
    })
    .await;
    node.store().change(|boards| boards.partition(0, &[("1g.5gb", 4)])).expect("written").expect("room");
    let old = eventually("the plugin runs", async || plugin(&plugins, &node).await).await;
    assert_eq!(node.allocatable().await.get("nvidia.com/mig-1g.5gb"), None, "the plugin has not looked again");
    plugins.delete(name(&old), &DeleteParams::default()).await.expect("it is there");
    let pod = ready(&pods, APP, 1).await.remove(0);
    assert_eq!(node.held_by(uid(&pod)).len(), 1);
    assert_eq!(node.allocatable().await.get("nvidia.com/mig-1g.5gb"), Some(&1));
}

/// After a restart the API server has no events from before: a watch from then is answered 410, and the watcher lists again.
#[tokio::test]
async fn a_watch_from_before_a_restart_of_the_api_server_has_expired() {
    let Some(plane) = ControlPlane::start().await else { return };
    let namespace = plane.namespace("team").await;
    let client = plane.administrator().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let old =
        maps.list(&ListParams::default()).await.expect("listed").metadata.resource_version.expect("lists have one");
    let map = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}})).expect("a ConfigMap");
    maps.create(&PostParams::default(), &map("before")).await.expect("a new name");
    plane.kill_api_server();
    assert!(maps.list(&ListParams::default()).await.is_err(), "nobody listens");
    plane.start_api_server().await;
    assert_eq!(maps.get("before").await.expect("the data is the same").metadata.name.as_deref(), Some("before"));
    let code = match maps.watch(&WatchParams::default().timeout(30), &old).await {
        Ok(events) => match Box::pin(events).next().await {
            Some(Ok(WatchEvent::Error(status)) | Err(Error::Api(status))) => status.code,
            other => panic!("the watch goes on: {other:?}"),
        },
        Err(Error::Api(status)) => status.code,
        Err(other) => panic!("no answer: {other}"),
    };
    assert_eq!(code, 410);
}
