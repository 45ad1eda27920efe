//! What goes over the wire, and what is made of what comes back, against a server that answers from a script.
//!
//! What a real API server makes of the same requests is tested in `tests/cluster`.

mod memory;
mod people;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::client::{Server, Writes};
use super::requests::{LeaseObject, list_all, write_status};
use crate::exec::port::{ClusterError, EvictionBody, Lease};
use crate::exec::{OperationId, Version};
use crate::kube::crd;
use crate::kube::objects::Pod;
use crate::model::PodRef;

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Arrived {
    method: String,
    path: String,
    kind: String,
    body: Value,
}

/// A server that answers from a script and keeps what it was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    fn server(&self, writes: Writes) -> Server {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let script = script.clone();
            async move { Ok::<_, Infallible>(script.answer(request).await) }
        });
        Server::new(Client::new(service, "default"), "retile-test", Duration::from_secs(10), writes)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.expect("a body");
        let arrived = Arrived {
            method: head.method.to_string(),
            path: head.uri.to_string(),
            kind: head.headers["content-type"].to_str().expect("text").to_owned(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        self.arrived.lock().expect("a lock").push(arrived);
        let next = self.answers.lock().expect("a lock").pop_front();
        let (code, answer) = next.expect("one more request than the script has answers");
        Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).expect("a response")
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().expect("a lock").clone()
    }
}

fn node(version: &str, taints: &Value) -> Value {
    json!({"metadata": {"name": "n1", "resourceVersion": version, "uid": "u"}, "spec": {"taints": taints}})
}

fn operation(id: &str) -> OperationId {
    OperationId(id.to_owned())
}

const STRICT: &str = "fieldManager=retile-test&fieldValidation=Strict";

#[tokio::test]
async fn our_taint_is_put_beside_those_of_others() {
    let foreign = json!([{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]);
    for (taints, path, value) in [
        (
            json!([]),
            "/spec/taints",
            json!([{"key": "retile.dev/repartitioning", "value": "op", "effect": "NoSchedule"}]),
        ),
        (foreign, "/spec/taints/-", json!({"key": "retile.dev/repartitioning", "value": "op", "effect": "NoSchedule"})),
    ] {
        let script = Script::new([(200, node("7", &taints)), (200, node("8", &taints))]);
        let made =
            script.server(Writes::Allowed).add_taint("n1", Version(7), &operation("op"), false).await.expect("patched");
        assert_eq!(made.version(), "8");
        let patch = &script.arrived()[1];
        assert_eq!((patch.method.as_str(), patch.kind.as_str()), ("PATCH", "application/json-patch+json"));
        assert_eq!(patch.path, format!("/api/v1/nodes/n1?{STRICT}"));
        let expected = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "add", "path": path, "value": value},
        ]);
        assert_eq!(patch.body, expected);
    }
}

#[tokio::test]
async fn an_older_taint_of_ours_is_replaced_where_it_stands() {
    let taints = json!([
        {"key": "a", "effect": "NoSchedule"},
        {"key": "retile.dev/repartitioning", "value": "old", "effect": "NoSchedule"},
    ]);
    let script = Script::new([(200, node("7", &taints)), (200, node("8", &taints))]);
    script.server(Writes::Allowed).add_taint("n1", Version(7), &operation("new"), false).await.expect("patched");
    let steps = script.arrived()[1].body.clone();
    assert_eq!(steps[1]["path"], "/spec/taints/1/key");
    assert_eq!((&steps[2]["op"], &steps[2]["path"]), (&json!("replace"), &json!("/spec/taints/1")));
}

#[tokio::test]
async fn only_our_own_taint_is_removed_and_only_from_the_node_that_was_read() {
    let taints = json!([
        {"key": "a", "effect": "NoSchedule"},
        {"key": "retile.dev/repartitioning", "value": "op", "effect": "NoSchedule"},
    ]);
    let remove = async |version, id: &str, answers: Vec<(u16, Value)>| {
        let script = Script::new(answers);
        let answer = script.server(Writes::Allowed).remove_taint("n1", version, &operation(id)).await;
        (answer.map(drop), script.arrived())
    };
    let (answer, arrived) =
        remove(Version(7), "op", vec![(200, node("7", &taints)), (200, node("8", &json!([])))]).await;
    assert_eq!(answer, Ok(()));
    assert_eq!(arrived[1].body[3], json!({"op": "remove", "path": "/spec/taints/1"}));
    assert_eq!(arrived[1].body[2], json!({"op": "test", "path": "/spec/taints/1/value", "value": "op"}));
    for (version, id) in [(Version(6), "op"), (Version(7), "other")] {
        let (answer, arrived) = remove(version, id, vec![(200, node("7", &taints))]).await;
        assert_eq!((answer, arrived.len()), (Err(ClusterError::Conflict), 1), "nothing is written");
    }
    let refused =
        json!({"kind": "Status", "code": 422, "reason": "Invalid", "message": "the server rejected our request"});
    let (answer, _) = remove(Version(7), "op", vec![(200, node("7", &taints)), (422, refused)]).await;
    assert_eq!(answer, Err(ClusterError::Conflict), "somebody was faster");
}

#[tokio::test]
async fn an_eviction_is_pinned_and_a_dry_run_is_asked_for_in_the_query() {
    let pod = PodRef { namespace: "ml".into(), name: "train".into(), uid: "u-1".into() };
    for (dry_run, query) in [(false, "?"), (true, "?dryRun=All&")] {
        let script = Script::new([(201, json!({"kind": "Status", "status": "Success"}))]);
        let server = script.server(Writes::Allowed);
        server.evict(&pod, &EvictionBody::of(&pod), dry_run).await.expect("accepted");
        let arrived = &script.arrived()[0];
        assert_eq!(arrived.path, format!("/api/v1/namespaces/ml/pods/train/eviction{query}{STRICT}"));
        assert_eq!(arrived.body["deleteOptions"], json!({"preconditions": {"uid": "u-1"}}));
        assert_eq!(arrived.body["apiVersion"], "policy/v1");
    }
}

#[tokio::test]
async fn a_deletion_is_pinned() {
    let pod = PodRef { namespace: "gpu".into(), name: "plugin-x".into(), uid: "u-2".into() };
    let script = Script::new([(200, json!({}))]);
    script.server(Writes::Allowed).delete_pod(&pod).await.expect("accepted");
    let arrived = &script.arrived()[0];
    assert_eq!((arrived.method.as_str(), arrived.path.as_str()), ("DELETE", "/api/v1/namespaces/gpu/pods/plugin-x"));
    assert_eq!(arrived.body["preconditions"], json!({"uid": "u-2"}));
}

#[tokio::test]
async fn a_record_is_made_before_its_first_status() {
    let object = |version: &str| json!({"metadata": {"name": "n1", "resourceVersion": version}, "spec": {}});
    let script = Script::new([(201, object("3")), (200, object("4"))]);
    let status = crd::MigNodeStatus { node_name: "n1".into(), ..Default::default() };
    let server = script.server(Writes::Allowed);
    write_status(&server, "n1", Version(0), &status).await.expect("written");
    let arrived = script.arrived();
    assert_eq!(arrived[0].path, format!("/apis/retile.dev/v1alpha1/mignodes?{STRICT}"));
    assert_eq!(arrived[1].path, format!("/apis/retile.dev/v1alpha1/mignodes/n1/status?{STRICT}"));
    let version = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": "3"});
    assert_eq!(arrived[1].body[0], version);
    assert_eq!(arrived[1].body[1]["path"], "/status");
    let exists = json!({"kind": "Status", "code": 409, "reason": "AlreadyExists"});
    let script = Script::new([(409, exists)]);
    let answer = write_status(&script.server(Writes::Allowed), "n1", Version(0), &status).await;
    assert_eq!(answer.map(drop), Err(ClusterError::Conflict));
}

#[tokio::test]
async fn a_lease_is_written_over_the_object_that_was_read() {
    let object = |version: &str, uid: &str| {
        json!({"metadata": {"name": "retile-leader", "resourceVersion": version, "uid": uid, "labels": {"a": "b"}},
            "spec": {"holderIdentity": "x", "leaseTransitions": 4}})
    };
    let lease = Lease { holder: "me".into(), renewals: 9, transitions: 5 };
    let script = Script::new([(200, object("7", "u")), (200, object("8", "u"))]);
    let server = script.server(Writes::Allowed);
    let desk = LeaseObject::new("retile-system");
    desk.write(&server, Some(Version(7)), &lease).await.expect("written");
    let put = &script.arrived()[1];
    assert_eq!(put.method, "PUT");
    assert_eq!(
        put.path,
        format!("/apis/coordination.k8s.io/v1/namespaces/retile-system/leases/retile-leader?{STRICT}")
    );
    assert_eq!((&put.body["metadata"]["uid"], &put.body["metadata"]["resourceVersion"]), (&json!("u"), &json!("7")));
    assert_eq!(put.body["metadata"]["annotations"]["retile.dev/renewals"], "9");
    assert_eq!(put.body["metadata"]["labels"]["a"], "b");
    let script = Script::new([(200, object("8", "u"))]);
    let late = LeaseObject::new("retile-system").write(&script.server(Writes::Allowed), Some(Version(7)), &lease).await;
    assert_eq!((late, script.arrived().len()), (Err(ClusterError::Conflict), 1));
    let conflict = json!({"kind": "Status", "code": 409, "reason": "Conflict"});
    let script =
        Script::new([(200, object("9", "u")), (409, conflict), (200, object("11", "u")), (200, object("12", "u"))]);
    let server = script.server(Writes::Allowed);
    desk.write(&server, Some(Version(8)), &lease).await.expect("written");
    assert_eq!(desk.write(&server, Some(Version(9)), &lease).await, Err(ClusterError::Conflict));
    desk.write(&server, Some(Version(11)), &lease).await.expect("written");
    let methods: Vec<_> = script.arrived().iter().map(|arrived| arrived.method.clone()).collect();
    assert_eq!(
        methods,
        ["PUT", "PUT", "GET", "PUT"],
        "a renewal takes one request; after a refusal the object is read again"
    );
    assert_eq!(script.arrived()[1].body["metadata"]["resourceVersion"], "9");
}

#[tokio::test]
async fn a_program_that_writes_nothing_sends_nothing_but_reads() {
    let script = Script::new([(200, node("7", &json!([])))]);
    let server = script.server(Writes::Refused);
    let pod = PodRef { namespace: "ml".into(), name: "train".into(), uid: "u-1".into() };
    assert!(matches!(server.evict(&pod, &EvictionBody::of(&pod), true).await, Err(ClusterError::Forbidden(_))));
    assert!(matches!(server.delete_pod(&pod).await, Err(ClusterError::Forbidden(_))));
    let lease = Lease::default();
    assert!(matches!(LeaseObject::new("a").write(&server, None, &lease).await, Err(ClusterError::Forbidden(_))));
    assert!(script.arrived().is_empty());
    let tainted = server.add_taint("n1", Version(7), &operation("op"), false).await;
    assert!(matches!(tainted, Err(ClusterError::Forbidden(_))));
    assert!(script.arrived().iter().all(|arrived| arrived.method == "GET"));
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page_and_a_bad_object_costs_nobody_else() {
    let pod = |name: &str| json!({"metadata": {"name": name, "namespace": "a", "resourceVersion": "1"}, "spec": {}});
    let bad = json!({"metadata": {"name": "bad", "namespace": "a"}, "spec": {"nodeName": 7, "containers": "none"}});
    let script = Script::new([
        (200, json!({"metadata": {"continue": "to=ken"}, "items": [pod("p1"), bad]})),
        (200, json!({"metadata": {}, "items": [pod("p2")]})),
    ]);
    let pods = list_all::<Pod>(&script.server(Writes::Allowed)).await.expect("listed");
    let told: Vec<(&str, bool)> = pods.iter().map(|pod| (pod.name(), pod.body.is_ok())).collect();
    assert_eq!(told, [("p1", true), ("bad", false), ("p2", true)]);
    assert!(script.arrived()[1].path.ends_with("&continue=to%3Dken"));
    let expired = json!({"kind": "Status", "code": 410, "reason": "Expired"});
    let script = Script::new([(200, json!({"metadata": {"continue": "x"}, "items": []})), (410, expired)]);
    assert_eq!(list_all::<Pod>(&script.server(Writes::Allowed)).await.map(drop), Err(ClusterError::Expired));
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_unknown() {
    let service = tower::service_fn(|_: Request<Body>| async {
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    });
    let server = Server::new(Client::new(service, "default"), "retile-test", Duration::from_secs(10), Writes::Allowed);
    let answer = server.node("n1").await.map(drop);
    assert!(matches!(answer, Err(ClusterError::Unknown(text)) if text.contains("10 s")));
}

#[tokio::test]
async fn names_that_would_leave_their_place_in_the_path_are_refused() {
    let script = Script::default();
    let server = script.server(Writes::Allowed);
    for name in ["", "..", "a/b", "a?b", "a b", "ä", &"x".repeat(300)] {
        assert!(matches!(server.node(name).await, Err(ClusterError::Invalid(_))), "{name}");
    }
    assert!(script.arrived().is_empty());
}
