//! What the protocol sees of the objects.

use std::collections::BTreeSet;

use super::objects::{Node, Owner, Pod, Record};
use super::observe::movability;
use super::store::Objects;
use crate::exec::marks::DEPLOY_PLUGIN;
use crate::exec::{MigNode, NodeView, PodView, Version};

pub(in crate::sim) fn node_view(node: &Node) -> NodeView {
    NodeView {
        name: node.meta.name.name.clone(),
        uid: node.meta.uid.clone(),
        version: Version(node.meta.version),
        ready: node.ready,
        deleting: node.meta.deletion.is_some(),
        cordoned: node.unschedulable,
        heartbeat: node.heartbeat,
        taints: node.taints.clone(),
        labels: node.meta.labels.clone(),
        annotations: node.meta.annotations.clone(),
        allocatable: node.allocatable.clone(),
        // No other partitioner of these kinds is played; those that show by labels are.
        foreign_resources: BTreeSet::new(),
        served_by_dra: false,
    }
}

pub(in crate::sim) fn pod_view(pod: &Pod, objects: &Objects) -> PodView {
    let budgets = objects.budgets_of(pod).map(|budget| budget.allows()).collect();
    PodView {
        pod: pod.pod_ref(),
        owner: owner(pod),
        requests: pod.requests.clone(),
        deleting: pod.deleting(),
        finished: pod.finished(),
        ready: pod.ready,
        device_plugin: pod.device_plugin(),
        deployed_as: deployed_as(pod, objects),
        tolerates_taint: pod.tolerates_ours(),
        grace_seconds: pod.grace_seconds,
        movability: movability(pod, objects).1,
        budgets,
    }
}

/// The plugin is placed by its deploy label where its node has that.
fn deployed_as(pod: &Pod, objects: &Objects) -> BTreeSet<String> {
    let node = pod.node.as_ref().filter(|_| pod.device_plugin()).and_then(|node| objects.nodes.get(node));
    let by_label = node.is_some_and(|node| node.meta.labels.contains_key(DEPLOY_PLUGIN));
    by_label.then(|| "device-plugin".to_owned()).into_iter().collect()
}

pub(in crate::sim) fn record_view(record: &Record) -> MigNode {
    MigNode {
        name: record.meta.name.name.clone(),
        version: Version(record.meta.version),
        spec: record.spec.clone(),
        status: record.status.clone(),
    }
}

/// The controller that makes a pod again; work has one of its own.
fn owner(pod: &Pod) -> Option<String> {
    let kind = match pod.owner {
        Owner::None => return None,
        Owner::ReplicaSet => "ReplicaSet",
        Owner::StatefulSet => "StatefulSet",
        Owner::Job => "Job",
        Owner::DaemonSet => "DaemonSet",
    };
    Some(format!("{kind}/{}", pod.work().unwrap_or("nvidia-device-plugin-daemonset")))
}
