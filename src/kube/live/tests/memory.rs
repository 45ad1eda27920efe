//! How much memory the index takes: `cargo test --release --lib memory_of_the_index -- --ignored --nocapture`.
//!
//! The objects are those of a large cluster in the size that an API server sends them, read one by one as a watch would.

use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::super::slim::{Kind, Slim};
use super::super::store::Store;
use crate::kube::objects::{Node, Pod};

const NODES: usize = 10_000;
const PODS: usize = 100_000;

/// Resident memory of this process in MiB, as the kernel counts it.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("it is there");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

fn managed_fields() -> Value {
    let fields: Value = (0..40)
        .map(|n| (format!("f:field-{n}"), json!({"f:value": {}, ".": {}})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!([{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-11-28T12:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": fields}])
}

fn pod(number: usize) -> Value {
    let environment: Vec<Value> = (0..20)
        .map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("value-{n}-of-some-length")}))
        .collect();
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(|kind| {
        json!({"type": kind, "status": "True", "lastTransitionTime": "2026-11-28T10:00:02Z", "lastProbeTime": null})
    });
    let gpu = number.is_multiple_of(5);
    let mut limits = json!({"cpu": "2", "memory": "8Gi"});
    if gpu {
        limits["nvidia.com/mig-1g.10gb"] = json!("1");
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("work-{}-{number}", number / 20), "namespace": format!("team-{}", number % 100),
            "uid": format!("00000000-0000-4000-8000-{number:012}"), "resourceVersion": (1_000_000 + number).to_string(),
            "creationTimestamp": "2026-11-28T10:00:00Z", "generateName": "work-",
            "labels": {"app": "work", "pod-template-hash": "5d4f8c7b9", "team": "research", "tier": "batch"},
            "annotations": {"example.org/large": "x".repeat(1000), "kubectl.kubernetes.io/restartedAt": "2026-11-28"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("work-{}", number / 20),
                "uid": "00000000-0000-4000-8000-000000000001", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": managed_fields(),
        },
        "spec": {
            "nodeName": format!("node-{:05}", number % NODES), "serviceAccountName": "default", "schedulerName": "default-scheduler",
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "priority": 0, "enableServiceLinks": true,
            "containers": [{"name": "main", "image": "registry.example/team/work:2026.11.28", "env": environment,
                "resources": {"requests": limits, "limits": limits},
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
            "volumes": [{"name": "token", "projected": {"sources": []}}],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "startTime": "2026-11-28T10:00:01Z", "qosClass": "Guaranteed",
            "conditions": conditions,
            "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "started": true,
                "image": "registry.example/team/work:2026.11.28", "imageID": "sha256:0123456789abcdef", "containerID": "containerd://0123456789",
                "state": {"running": {"startedAt": "2026-11-28T10:00:03Z"}}}],
        },
    })
}

fn node(number: usize) -> Value {
    let images: Vec<Value> = (0..50)
        .map(|n| json!({"names": [format!("registry.example/image-{n}:latest")], "sizeBytes": 123_456_789}))
        .collect();
    let labels: Value = (0..30)
        .map(|n| (format!("nvidia.com/label-{n}"), json!("value")))
        .chain([
            ("retile.dev/managed".to_owned(), json!("true")),
            ("kubernetes.io/hostname".to_owned(), json!(format!("node-{number:05}"))),
        ])
        .collect::<serde_json::Map<_, _>>()
        .into();
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map(|kind| {
        json!({"type": kind, "status": "True", "reason": "KubeletReady", "message": "fine",
            "lastHeartbeatTime": "2026-11-28T12:00:00Z", "lastTransitionTime": "2026-11-01T00:00:00Z"})
    });
    let amounts = json!({"cpu": "128", "memory": "2000Gi", "pods": "110", "ephemeral-storage": "1Ti", "nvidia.com/mig-1g.10gb": "28"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("node-{number:05}"), "uid": format!("00000000-0000-4000-9000-{number:012}"),
            "resourceVersion": (2_000_000 + number).to_string(), "creationTimestamp": "2026-11-01T00:00:00Z", "labels": labels,
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"}, "managedFields": managed_fields()},
        "spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
        "status": {"capacity": amounts, "allocatable": amounts, "images": images,
            "conditions": conditions},
    })
}

/// Fills a store; tells the bytes that went over the wire.
fn fill<K: Kind>(store: &mut Store<K>, count: usize, make: fn(usize) -> Value) -> usize {
    let mut bytes = 0;
    store.take(Event::Init);
    for number in 0..count {
        let text = make(number).to_string();
        bytes += text.len();
        let object: Slim<K> = serde_json::from_str(&text).expect("an object");
        assert!(object.body.is_ok(), "{:?}", object.body.err());
        store.take(Event::InitApply(object));
    }
    store.take(Event::InitDone);
    bytes
}

#[test]
#[ignore = "measures, and takes a while"]
fn memory_of_the_index_of_a_large_cluster() {
    let before = resident();
    let mut nodes: Store<Node> = Store::new();
    let wire = fill(&mut nodes, NODES, node);
    let with_nodes = resident();
    println!("{NODES} nodes: {} MiB over the wire, {} MiB in the index", wire >> 20, with_nodes - before);
    let mut pods: Store<Pod> = Store::new();
    let wire = fill(&mut pods, PODS, pod);
    let with_pods = resident();
    println!("{PODS} pods: {} MiB over the wire, {} MiB in the index", wire >> 20, with_pods - with_nodes);
    // A list that is taken anew, as after a broken watch.
    fill(&mut pods, PODS, pod);
    println!("after the pods were listed anew: {} MiB more", resident().saturating_sub(with_pods));
    assert_eq!((nodes.readable().count(), pods.readable().count()), (NODES, PODS));
}
