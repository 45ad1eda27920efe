//! Whole exports through the entrance.

#![expect(clippy::needless_pass_by_value, reason = "test values are written where they are passed")]

mod bad_files;
mod bad_nodes;
mod bad_pods;
mod fixtures;
mod large;
mod move_cost;
mod occupancy;
mod order;
mod sharing;
mod shipped;

use serde_json::{Value, json};

use super::export::{PolicyFile, ReadError, ReadOptions, Source, read};
use crate::model::{Occupancy, PlanningInput, Reason, Unplannable};

const MIG_1G: &str = "nvidia.com/mig-1g.10gb";

/// A ready A100 node of the mixed strategy, all of whose GPUs are cut into seven `1g.10gb`.
fn node(name: &str, gpus: u64) -> Value {
    let count = (gpus * 7).to_string();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "nvidia.com/mig.capable": "true", "nvidia.com/mig.strategy": "mixed",
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920",
            "nvidia.com/gpu.count": gpus.to_string(),
            "nvidia.com/mig-1g.10gb.count": count,
        }},
        "status": {
            "capacity": {"cpu": "64", "memory": "512Gi", "pods": "110", MIG_1G: count, "nvidia.com/gpu": "0"},
            "allocatable": {"cpu": "64", "memory": "512Gi", "pods": "110", MIG_1G: count, "nvidia.com/gpu": "0"},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    })
}

/// An unschedulable pod that asks for one `1g.10gb`.
fn waiting(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ml", "uid": format!("uid-{name}"),
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "main", "resources": {"limits": {MIG_1G: "1"}}}]},
        "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
    })
}

/// A pod of a `ReplicaSet` that runs on a node and holds one `1g.10gb`.
fn running(name: &str, node: &str) -> Value {
    let mut pod = waiting(name);
    pod["spec"]["nodeName"] = json!(node);
    pod["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "name": "rs", "controller": true}]);
    pod["status"] = json!({"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]});
    pod
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items.into_iter().collect::<Vec<_>>()})
}

fn read_bytes(bytes: &[u8], options: &ReadOptions) -> Result<PlanningInput, ReadError> {
    let mut reader = bytes;
    read(Source::Reader("export", &mut reader), options)
}

fn input(items: impl IntoIterator<Item = Value>) -> PlanningInput {
    read_bytes(list(items).to_string().as_bytes(), &ReadOptions::default()).expect("a readable export")
}

fn under_policy(items: impl IntoIterator<Item = Value>, spec: &str) -> PlanningInput {
    let text = format!("{{apiVersion: retile.dev/v1alpha1, kind: MigPolicy, spec: {spec}}}");
    let policy = Some(PolicyFile { name: "policy.yaml".to_owned(), text });
    let options = ReadOptions { policy, ..ReadOptions::default() };
    read_bytes(list(items).to_string().as_bytes(), &options).expect("a readable export")
}

fn refusal<'a>(input: &'a PlanningInput, name: &str) -> &'a Unplannable {
    input.unplannable().iter().find(|pod| pod.pod.name == name).unwrap_or_else(|| panic!("{name} is not refused"))
}

fn reason(input: &PlanningInput, name: &str) -> Option<Reason> {
    input.unplannable().iter().find(|pod| pod.pod.name == name).map(|pod| pod.reason)
}

fn is_pending(input: &PlanningInput, name: &str) -> bool {
    input.pending().iter().any(|pod| pod.pod.name == name)
}

fn finding(input: &PlanningInput, object: &str) -> String {
    let found: Vec<&str> =
        input.findings().iter().filter(|it| it.object == object).map(|it| it.message.as_str()).collect();
    found.join("\n")
}

/// Free, busy and unknown instances.
fn occupancy(input: &PlanningInput) -> (usize, usize, usize) {
    let mut counts = (0, 0, 0);
    for instance in input.gpus().iter().flat_map(|gpu| &gpu.instances) {
        match instance.occupancy {
            Occupancy::Free => counts.0 += 1,
            Occupancy::Busy(_) => counts.1 += 1,
            Occupancy::Unknown => counts.2 += 1,
        }
    }
    counts
}
