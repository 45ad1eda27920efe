//! What is left plans like the whole, and tells no more than planning needs.

use std::path::Path;

use serde_json::{Value, json};

use super::{Stripped, strip};
use crate::kube::export::{ReadOptions, Source, read};
use crate::model::PlanningInput;

fn of(text: &str) -> Stripped {
    strip("test", &mut text.as_bytes()).expect("an export")
}

/// All that is read of an export, findings included, but for the value of a field of the wrong shape: it goes, so its message cannot name it.
fn input(text: &str) -> String {
    let all = format!("{:#?}", whole_input(text));
    let lines = all.lines().map(|line| line.split(" invalid type: ").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn whole_input(text: &str) -> PlanningInput {
    read(Source::Reader("test", &mut text.as_bytes()), &ReadOptions::default()).expect("an export")
}

/// A pod that says more than planning needs, wherever it can.
fn talkative() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "namespace": "ml", "uid": "u", "labels": {"app": "p"},
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "SECRET", "example.com/token": "SECRET",
                "retile.dev/do-not-move": "true",
            },
            "managedFields": [
                {"manager": "SECRET", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:SECRET": {}}},
                {"manager": "b", "time": "2026-01-04T00:00:00Z"},
            ],
            "ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "controller": true, "uid": "SECRET"}],
        },
        "spec": {
            "nodeName": "n",
            "serviceAccountName": "SECRET", "imagePullSecrets": [{"name": "SECRET"}],
            "containers": [{
                "name": "SECRET", "image": "SECRET", "command": ["SECRET"], "args": ["SECRET"],
                "env": [{"name": "A", "value": "SECRET"}], "envFrom": [{"secretRef": {"name": "SECRET"}}],
                "volumeMounts": [{"name": "SECRET"}],
                "ports": [{"hostPort": 80, "name": "SECRET"}],
                "resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}, "claims": [{"name": "SECRET"}]},
            }],
            "volumes": [
                {"name": "SECRET", "secret": {"secretName": "SECRET"}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "SECRET"}},
                {"name": "h", "hostPath": {"path": "/SECRET"}},
                {"name": "e", "emptyDir": {"medium": "Memory"}},
            ],
            "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": "SECRET"}]}},
        },
        "status": {
            "phase": "Running", "podIP": "SECRET", "message": "SECRET",
            "conditions": [{"type": "Ready", "status": "True", "message": "SECRET"}],
            "containerStatuses": [{"imageID": "SECRET", "state": {"running": {"startedAt": "2026-01-02T00:00:00Z"}}}],
        },
    })
}

#[test]
fn nothing_stays_that_nobody_reads() {
    let pod = talkative();
    let left = of(&pod.to_string());
    let [left] = left.objects.as_slice() else { panic!("{left:?}") };
    assert!(!left.contains("SECRET"), "{left}");
    let left: Value = serde_json::from_str(left).expect("JSON");
    assert_eq!(left["metadata"]["annotations"], json!({"retile.dev/do-not-move": "true"}));
    assert_eq!(left["metadata"]["managedFields"], json!([{"time": "2026-01-04T00:00:00Z"}]));
    assert_eq!(
        left["spec"]["volumes"],
        json!([{}, {"persistentVolumeClaim": {}}, {"hostPath": {}}, {"emptyDir": {"medium": "Memory"}}]),
        "each volume is there, and says no more than that it ties the pod to a place"
    );
}

#[test]
fn what_is_left_is_read_as_the_whole_and_stripping_again_changes_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/snapshots");
    let files = ["one-dgx-a100.json", "six-gpu-nodes.json", "three-nodes-reported.yaml", "bad/objects.yaml"];
    for file in files {
        let whole = std::fs::read_to_string(folder.join(file)).expect("it is shipped");
        let stripped = of(&whole);
        let left = stripped.list();
        assert!(left.len() < whole.len() || whole.len() < 100_000, "{file}");
        assert_eq!(input(&left), input(&whole), "{file}");
        assert_eq!(of(&left).list(), left, "{file}");
    }
}

#[test]
fn the_moment_of_what_is_left_out_stays() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}},
        {"apiVersion": "v1", "kind": "Secret", "data": {"key": "U0VDUkVU"},
         "metadata": {"name": "s", "creationTimestamp": "2026-02-01T00:00:00Z"}},
    ]});
    let stripped = of(&list.to_string());
    assert_eq!((stripped.objects.len(), stripped.left_out), (1, 1));
    let left = stripped.list();
    assert!(!left.contains("U0VDUkVU"));
    assert_eq!(whole_input(&left).now(), whole_input(&list.to_string()).now());
}

#[test]
fn only_of_a_whole_listing_is_it_known_that_what_is_missing_does_not_exist() {
    let node = json!({"metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB",
        "nvidia.com/mig.capable": "true", "nvidia.com/mig.strategy": "mixed", "nvidia.com/gpu.count": "1"}},
        "status": {"allocatable": {"nvidia.com/mig-7g.40gb": "1"}}});
    for whole in [false, true] {
        let mut listing = Stripped { moment: Some(1), whole, ..Stripped::default() };
        listing.add(node.clone(), "v1", "Node");
        let again = of(&listing.list());
        assert_eq!(again, listing, "it says so itself, and again when it is stripped again");
        let input = whole_input(&again.list());
        let missing = input.findings().iter().filter(|finding| finding.message.contains("holds no Pod")).count();
        assert_eq!(missing, if whole { 0 } else { 2 }, "pods, and disruption budgets");
    }
}

#[test]
fn a_typed_list_gives_its_items_their_kind_wherever_it_says_it() {
    let list = r#"{"items": [{"metadata": {"name": "n"}}], "kind": "NodeList", "apiVersion": "v1"}"#;
    assert_eq!(of(list).objects, [r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}"#]);
}

#[test]
fn a_bad_object_stays_bad_without_saying_why() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": "SECRET"});
    assert_eq!(of(&pod.to_string()).objects, [r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":""}"#]);
}

#[test]
fn prices_go_and_what_a_policy_says_beside_them_stays() {
    let policy = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "default"},
        "spec": {"mode": "Act", "prices": {"currency": "EUR"}, "typo": 1}, "status": {"conditions": []}});
    let left: Value = serde_json::from_str(&of(&policy.to_string()).objects[0]).expect("JSON");
    assert_eq!(left["spec"], json!({"mode": "Act", "typo": 1}));
    assert!(left.get("status").is_none());
}
