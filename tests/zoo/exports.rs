//! Defects in reading pods and nodes.

use retile::kube::export::{ReadOptions, Source, read};
use retile::model::{Movability, PlanningInput};
use serde_json::{Value, json};

use crate::{keeps, kills};

const MIG: &str = "nvidia.com/mig-1g.10gb";

/// A node with one A100 that is cut into seven.
fn node() -> Value {
    let amounts = json!({"cpu": "64", "memory": "512Gi", "pods": "110", MIG: "7"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "labels": {
            "nvidia.com/mig.capable": "true", "nvidia.com/mig.strategy": "mixed",
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920",
            "nvidia.com/gpu.count": "1", "nvidia.com/mig-1g.10gb.count": "7",
        }},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A pod that waits for one instance.
fn waiting(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ml", "uid": format!("uid-{name}"),
                     "creationTimestamp": "2026-01-01T00:00:00Z",
                     "ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "controller": true}]},
        "spec": {"containers": [{"name": "main", "resources": {"limits": {MIG: "1"}}}]},
        "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
    })
}

/// The same, running.
fn running(name: &str) -> Value {
    let mut pod = waiting(name);
    pod["spec"]["nodeName"] = json!("n");
    pod["status"] = json!({"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]});
    pod
}

fn input(pods: Vec<Value>) -> PlanningInput {
    let items: Vec<Value> = std::iter::once(node()).chain(pods).collect();
    let text = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let mut bytes = text.as_bytes();
    read(Source::Reader("export", &mut bytes), &ReadOptions::default()).expect("a readable export")
}

#[test]
fn defect_19_an_annotation_that_cannot_be_read_does_not_protect() {
    kills(19, "S10", || {
        for value in ["yse", "", "-5m", "TRUE "] {
            let mut pod = running("p");
            pod["metadata"]["annotations"] = json!({"retile.dev/do-not-move": value});
            let input = input(vec![pod]);
            let protected = matches!(input.running()[0].movability, Movability::Never(..));
            keeps("S10", protected, || format!("a pod with do-not-move=\"{value}\" may be evicted"))?;
        }
        Ok(())
    });
}

#[test]
fn defect_29_a_nomination_means_preemption_only() {
    kills(29, "S8", || {
        let mut expected = waiting("expected");
        expected["status"]["nominatedNodeName"] = json!("n");
        let input = input(vec![expected, waiting("other")]);
        assert!(input.pending().iter().all(|pod| pod.pod.name != "expected"), "somebody sees to it already");
        assert!(input.pending().iter().any(|pod| pod.pod.name == "other"));
        let kept = input.gpus().iter().all(|gpu| gpu.frozen.is_some());
        keeps("S8", kept, || "a node changes that somebody expects a pod on".to_owned())
    });
}

#[test]
fn defect_30_only_plain_containers_are_counted() {
    kills(30, "S1", || {
        let mut pod = running("p");
        let ask = json!({"limits": {MIG: "2"}});
        pod["spec"]["initContainers"] = json!([{"name": "sidecar", "restartPolicy": "Always", "resources": ask}]);
        let input = input(vec![pod]);
        let held: u32 = input.running().iter().flat_map(|pod| pod.demand.iter()).map(|(_, count)| count).sum();
        keeps("S1", held == 3, || format!("a pod that holds 3 instances is counted with {held}"))
    });
}

#[test]
fn defect_36_pods_that_dynamic_resource_allocation_serves_are_acted_on() {
    kills(36, "S10", || {
        let mut served = running("served");
        served["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "claim"}]);
        let mut waits = waiting("waits");
        waits["status"]["extendedResourceClaimStatus"] = json!({"resourceClaimName": "claim"});
        let input = input(vec![served, waits]);
        let victim = input.running().iter().any(|pod| matches!(pod.movability, Movability::From(_)));
        keeps("S10", !victim, || "a pod of DRA may be evicted".to_owned())?;
        keeps("S10", input.pending().is_empty(), || "a pod that DRA serves is planned for".to_owned())
    });
}
