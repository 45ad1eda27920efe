//! The API objects of a hollow node, as a kubelet writes them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

/// Prefix of the resources of MIG instances.
const MIG: &str = "nvidia.com/mig-";
/// The resource of GPUs, and of all instances where the plugin's strategy is `single`.
pub(super) const GPU: &str = "nvidia.com/gpu";

/// Whether a resource is one that the device plugin offers.
fn is_offered(name: &str) -> bool {
    name.starts_with(MIG) || name == GPU
}

/// Labels that GPU feature discovery and the kubelet put on a node with these boards.
pub(super) fn labels(name: &str, boards: &[&str]) -> BTreeMap<String, String> {
    let board = boards.first().and_then(|key| fake_nvml::boards::Board::find(key)).expect("a board of the fake");
    let (product, count) = (board.product().replace(' ', "-"), boards.len().to_string());
    let labels = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("nvidia.com/mig.capable", "true"),
        ("nvidia.com/mig.strategy", "mixed"),
        ("nvidia.com/gpu.present", "true"),
        ("nvidia.com/gpu.product", product.as_str()),
        ("nvidia.com/gpu.count", count.as_str()),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub(super) fn node(name: &str, labels: &BTreeMap<String, String>) -> Node {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
    serde_json::from_value(node).expect("a node")
}

/// The status that a kubelet reports: a strategic merge patch.
pub(super) fn status(mig: &BTreeMap<String, u64>, now: &str) -> Value {
    let mut amounts = json!({"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "110"});
    for (resource, amount) in mig {
        amounts[resource] = json!(amount.to_string());
    }
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": reason, "lastHeartbeatTime": now});
    json!({"status": {
        "capacity": amounts,
        "allocatable": amounts,
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "nodeInfo": {
            "architecture": "amd64", "bootID": "hollow", "containerRuntimeVersion": "hollow://1", "kernelVersion": "6.1.0",
            "kubeProxyVersion": "", "kubeletVersion": "v1.36.3", "machineID": "hollow", "operatingSystem": "linux",
            "osImage": "hollow", "systemUUID": "hollow"
        }
    }})
}

/// The lease by which a kubelet says that it lives.
pub(super) fn lease(name: &str, node_uid: &str, now: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}]
        },
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}
    })
}

/// The status of a pod that runs.
pub(super) fn running(pod: &Pod, now: &str) -> Value {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let container = |name: &str, image: &str| {
        json!({"name": name, "image": image, "imageID": image, "ready": true, "started": true, "restartCount": 0,
               "containerID": format!("hollow://{name}"), "state": {"running": {"startedAt": now}}})
    };
    let containers: Vec<Value> =
        containers.iter().map(|own| container(&own.name, own.image.as_deref().unwrap_or_default())).collect();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let conditions = ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"].map(condition);
    json!({"status": {"phase": "Running", "startTime": now, "containerStatuses": containers, "conditions": conditions}})
}

/// The status of a pod whose containers have all ended.
pub(super) fn ended(pod: &Pod, code: i32, now: &str) -> Value {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ended = |name: &str, image: &str| {
        json!({"name": name, "image": image, "imageID": image, "ready": false, "started": false, "restartCount": 0,
               "state": {"terminated": {"exitCode": code, "reason": if code == 0 {"Completed"} else {"Error"}, "startedAt": now, "finishedAt": now}}})
    };
    let containers: Vec<Value> =
        containers.iter().map(|own| ended(&own.name, own.image.as_deref().unwrap_or_default())).collect();
    let condition =
        |kind: &str| json!({"type": kind, "status": "False", "reason": "PodCompleted", "lastTransitionTime": now});
    let conditions = ["ContainersReady", "Ready"].map(condition);
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    json!({"status": {"phase": phase, "containerStatuses": containers, "conditions": conditions}})
}

/// The status of a pod that the kubelet does not let in.
pub(super) fn rejected(message: &str) -> Value {
    json!({"status": {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": message}})
}

/// GPUs and MIG resources that a pod asks for: what its containers need together, or more if one of its init containers does.
pub(super) fn requests(pod: &Pod) -> BTreeMap<String, u64> {
    let Some(spec) = &pod.spec else { return BTreeMap::new() };
    let mut all = BTreeMap::<String, u64>::new();
    for (resource, amount) in spec.containers.iter().flat_map(|own| limits(own.resources.as_ref())) {
        *all.entry(resource).or_default() += amount;
    }
    for (resource, amount) in spec.init_containers.iter().flatten().flat_map(|own| limits(own.resources.as_ref())) {
        let most = all.entry(resource).or_default();
        *most = amount.max(*most);
    }
    all.into_iter().filter(|&(_, amount)| amount > 0).collect()
}

fn limits(resources: Option<&k8s_openapi::api::core::v1::ResourceRequirements>) -> Vec<(String, u64)> {
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let mig = limits.into_iter().flatten().filter(|(name, _)| is_offered(name));
    mig.filter_map(|(name, amount)| amount.0.parse().ok().map(|amount| (name.clone(), amount))).collect()
}

/// Whether a pod is the device plugin's, by the labels of NVIDIA's charts.
pub(super) fn is_plugin(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let has = |key: &str, value: &str| labels.and_then(|labels| labels.get(key)).is_some_and(|own| own == value);
    has("app", "nvidia-device-plugin-daemonset") || has("app.kubernetes.io/name", "nvidia-device-plugin")
}

pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the node can take pods: its kubelet says so, and no taint of the node controller is left.
pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    ready && !taints.into_iter().any(|taint| taint.key.starts_with("node.kubernetes.io/"))
}

/// Amounts of GPUs and MIG resources that a node advertises.
pub(super) fn mig_allocatable(node: &Node) -> BTreeMap<String, u64> {
    let amounts = node.status.iter().flat_map(|status| status.allocatable.iter().flatten());
    let mig = amounts.filter(|(name, _)| is_offered(name));
    mig.filter_map(|(name, amount)| amount.0.parse().ok().map(|amount| (name.clone(), amount))).collect()
}
