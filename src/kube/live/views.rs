//! Nodes and pods as the protocol sees them, made of the objects that the export reader reads.
//!
//! Where a node has to be judged, nothing is assumed: without a `Ready` condition it is not ready, and a pod whose requests cannot be read
//! counts as asking for whatever device it names.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::marks::{CLIENTS, DEPLOY, DEPLOYED};
use crate::exec::{NodeView, PodView, TAINT_KEY, Taint, Version, partitioner_of};
use crate::kube::asks::{Ask, Manner, ask};
use crate::kube::budgets::Budgets;
use crate::kube::movability::{controller, movability};
use crate::kube::objects::{self, Meta, Node, Pod};
use crate::kube::requests::{effective, is_device};
use crate::kube::scope::Scope;
use crate::kube::taints::tolerates;
use crate::kube::unmodelled::unmodelled;
use crate::model::{ControllerKind, GPU_RESOURCE, MIG_PREFIX, PodRef};

/// Labels by which pods of NVIDIA's device plugin are known, with the values that the GPU operator and the plugin's own chart give.
pub const PLUGIN: [(&str, &str); 2] =
    [("app", "nvidia-device-plugin-daemonset"), ("app.kubernetes.io/name", "nvidia-device-plugin")];
/// What Kubernetes gives a pod that asks for nothing else.
const GRACE_SECONDS: u64 = 30;

/// A node as the protocol sees it. That NVIDIA's DRA driver serves it stands in other objects, and is for the caller to add.
pub(super) fn node_view(node: &Node) -> NodeView {
    let meta = &node.metadata;
    let ready = node.status.conditions.iter().find(|condition| condition.kind == "Ready");
    let allocatable =
        node.status.allocatable.iter().filter(|(name, _)| name.starts_with(MIG_PREFIX) || *name == GPU_RESOURCE);
    NodeView {
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        version: Version(meta.version()),
        ready: ready.is_some_and(|condition| condition.status.0 == "True"),
        deleting: meta.deleting(),
        cordoned: node.spec.unschedulable,
        heartbeat: ready
            .and_then(|condition| condition.last_heartbeat_time.0)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(0),
        taints: node.spec.taints.iter().map(taint).collect(),
        labels: meta.plain_labels(),
        annotations: meta.annotations.all().clone(),
        allocatable: allocatable
            .map(|(name, amount)| {
                let units = amount.0.as_ref().map_or(0, |quantity| quantity.units());
                (name.clone(), u64::try_from(units).unwrap_or(0))
            })
            .collect(),
        foreign_resources: node.status.capacity.keys().filter(|name| partitioner_of(name).is_some()).cloned().collect(),
        served_by_dra: false,
    }
}

fn taint(taint: &objects::Taint) -> Taint {
    let objects::Taint { key, value, effect } = taint.clone();
    Taint { key, value: value.0, effect }
}

/// A pod as the protocol sees it, under these budgets and this policy, at the moment `now`.
pub(super) fn pod_view(pod: &Pod, budgets: &Budgets<'_>, scope: &Scope, now: i64) -> PodView {
    let meta = &pod.metadata;
    let (requests, manner) = asked(pod);
    let cover = budgets.cover(meta);
    let kind = controller(pod).map_or(ControllerKind::None, |(kind, _)| kind);
    let reason = unmodelled(pod, &manner);
    PodView {
        pod: PodRef { namespace: meta.namespace.clone(), name: meta.name.clone(), uid: meta.uid.clone() },
        owner: owner(pod),
        requests,
        deleting: meta.deleting(),
        finished: pod.has_ended(),
        ready: pod.ready(),
        device_plugin: kind == ControllerKind::DaemonSet && is_plugin(meta),
        deployed_as: if kind == ControllerKind::DaemonSet { deployed_as(pod) } else { BTreeSet::new() },
        tolerates_taint: tolerates_ours(pod),
        grace_seconds: pod
            .spec
            .termination_grace_period_seconds
            .map_or(GRACE_SECONDS, |seconds| u64::try_from(seconds).unwrap_or(0)),
        movability: scope.narrow(meta, movability(pod, now, &cover, reason.as_ref()).1),
        budgets: budgets.allowed_over(meta),
    }
}

/// The clients of a node's GPUs as which the GPU Operator's labels place a pod, as its node selector says.
fn deployed_as(pod: &Pod) -> BTreeSet<String> {
    let asked = pod.spec.node_selector.iter().filter(|(_, value)| value.0 == DEPLOYED);
    let clients = asked.filter_map(|(key, _)| key.strip_prefix(DEPLOY)).filter(|client| CLIENTS.contains(client));
    clients.map(str::to_owned).collect()
}

/// Whether the labels are those of a pod of NVIDIA's device plugin.
pub(super) fn is_plugin(meta: &Meta) -> bool {
    PLUGIN.iter().any(|(key, value)| meta.label(key) == Some(value))
}

/// Devices that a pod asks for, and how.
fn asked(pod: &Pod) -> (BTreeMap<String, u32>, Manner) {
    let Ok(requests) = effective(pod) else {
        let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
        let names = containers.flat_map(|it| it.resources.limits.keys().chain(it.resources.requests.keys()));
        return (names.filter(|name| is_device(name)).map(|name| (name.clone(), 1)).collect(), Manner::Resource);
    };
    let manner = match ask(pod, &requests) {
        Ask::Instances(wanted) => wanted.manner,
        Ask::Nothing | Ask::WholeGpus(_) | Ask::Malformed(_) | Ask::Both => Manner::Resource,
    };
    let devices = requests.devices.into_iter();
    (devices.map(|(name, count)| (name, u32::try_from(count).unwrap_or(u32::MAX))).collect(), manner)
}

/// What makes the pod again: `kind/name` of its controller.
fn owner(pod: &Pod) -> Option<String> {
    let owner = pod.metadata.owner_references.iter().find(|owner| owner.controller)?;
    Some(format!("{}/{}", owner.kind, owner.name))
}

/// Whether a pod, as the API server tells it, may come back to a node under operation; what cannot be read may not.
pub fn stays_under_our_taint(pod: &serde_json::Value) -> bool {
    serde_json::from_str::<Pod>(&pod.to_string()).is_ok_and(|pod| tolerates_ours(&pod))
}

/// Whether the pod tolerates our taint, whatever operation it names.
pub(super) fn tolerates_ours(pod: &Pod) -> bool {
    let ours: objects::Taint =
        objects::Taint { key: TAINT_KEY.to_owned(), value: objects::Text::default(), effect: "NoSchedule".to_owned() };
    pod.spec.tolerations.iter().any(|toleration| {
        // A toleration of one value may be that of any operation.
        tolerates(toleration, &ours) || toleration.key == TAINT_KEY && toleration.effect != "NoExecute"
    })
}
