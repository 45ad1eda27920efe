//! Which changes of the index wake whom. Pure.
//!
//! What is written all the time and means nothing to the loop (heartbeats of kubelets and agents, statuses of containers) wakes nobody.

use std::sync::Arc;

use super::index::Index;
use super::record::Record;
use super::slim::{Kind as _, PolicyText};
use super::store::Change;
use super::views::{is_plugin, node_view, tolerates_ours};
use super::wake::Wake;
use crate::exec::{NodeView, Version};
use crate::kube::objects::{Node, Pod, ResourceSlice};
use crate::kube::requests::mentions_device;

/// What follows from a change.
#[derive(Default)]
pub(super) struct Reaction {
    pub(super) wake: Wake,
    /// Whether the policies have to be read anew.
    pub(super) policies: bool,
}

impl Reaction {
    pub(super) fn add(&mut self, other: Self) {
        self.wake.add(other.wake);
        self.policies |= other.policies;
    }
}

/// Nothing.
pub(super) fn none<K>(_: &Index, _: &Change<K>) -> Reaction {
    Reaction::default()
}

pub(super) fn node(_: &Index, change: &Change<Node>) -> Reaction {
    let facts = |node: &Node| NodeView { heartbeat: 0, version: Version::default(), ..node_view(node) };
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    if before.map(facts) == after.map(facts) {
        return Reaction::default();
    }
    let name = after.or(before).map(|node| node.metadata.name.clone());
    Reaction { wake: Wake { planning: true, nodes: name.into_iter().collect() }, policies: false }
}

pub(super) fn pod(index: &Index, change: &Change<Pod>) -> Reaction {
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    let newly_waits = after.is_some_and(waits) && !before.is_some_and(waits);
    let plugin = before.and_then(plugin_facts) != after.and_then(plugin_facts);
    let mut wake = Wake { planning: newly_waits || plugin, ..Wake::default() };
    let facts =
        |pod: &Pod| (pod.metadata.uid.clone(), pod.bound(), pod.metadata.deleting(), pod.has_ended(), pod.ready());
    if before.map(facts) != after.map(facts) {
        let node = after.or(before).map(|pod| pod.spec.node_name.clone()).unwrap_or_default();
        // Only a node with a record can be under operation.
        if index.records.named(&node).is_some() {
            wake.nodes.insert(node);
        }
    }
    Reaction { wake, policies: false }
}

/// What decides whether a pod of the device plugin keeps its node out; none of other pods.
fn plugin_facts(pod: &Pod) -> Option<(String, String, bool, bool)> {
    let name = |pod: &Pod| (pod.metadata.uid.clone(), pod.spec.node_name.clone());
    let (uid, node) = is_plugin(&pod.metadata).then(|| name(pod))?;
    Some((uid, node, pod.metadata.deleting() || pod.has_ended(), tolerates_ours(pod)))
}

/// A node that gets another owner, or is left by one.
pub(super) fn slice(_: &Index, change: &Change<ResourceSlice>) -> Reaction {
    let served = |slice: &Option<Arc<ResourceSlice>>| slice.as_ref()?.served_node().map(str::to_owned);
    let (before, after) = (served(&change.before), served(&change.after));
    if before == after {
        return Reaction::default();
    }
    Reaction { wake: Wake { planning: true, nodes: before.into_iter().chain(after).collect() }, policies: false }
}

/// Whether a pod waits for devices, and the scheduler has said that there are none.
fn waits(pod: &Pod) -> bool {
    let unschedulable = || {
        pod.status.conditions.iter().any(|condition| {
            condition.kind == "PodScheduled" && condition.status.0 == "False" && condition.reason == "Unschedulable"
        })
    };
    !pod.bound() && !pod.metadata.deleting() && unschedulable() && mentions_device(pod)
}

pub(super) fn record(_: &Index, change: &Change<Record>) -> Reaction {
    let facts = |record: &Record| {
        let status = &record.record.status;
        (status.node_uid.clone(), status.operation.clone())
    };
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    if before.map(facts) == after.map(facts) {
        return Reaction::default();
    }
    let name = after.or(before).map(|record| record.record.name.clone());
    Reaction { wake: Wake { planning: true, nodes: name.into_iter().collect() }, policies: false }
}

pub(super) fn policy(_: &Index, change: &Change<PolicyText>) -> Reaction {
    // The generation stands for the spec; the status is our own.
    let facts = |policy: &PolicyText| (policy.meta().uid.clone(), policy.meta().generation);
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    if before.is_some() && before.map(facts) == after.map(facts) {
        return Reaction::default();
    }
    Reaction { wake: Wake { planning: true, ..Wake::default() }, policies: true }
}
