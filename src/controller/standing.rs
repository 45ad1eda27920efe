//! What one look says of the nodes: which of them are left alone, and why.
//!
//! Inputs: an observation. Outputs: a reason per node, in words. Pure, so that the loop and whoever asks for the state of a cluster by other means say
//! the same of the same state. One bad node has no influence on another.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exec::marks::{PAUSED_CLIENTS, PROTECTION};
use crate::exec::port::Observation;
use crate::exec::{AgentPhase, MigNode, NodeView, PROTOCOL, Phase, PodView, TAINT_KEY, advertises, foreign_owner};
use crate::model::{MigStrategy, PlanningInput, REPLICAS_LABEL, Reason};

use super::flight::Flight;

/// Why a node is left alone, in words.
pub(super) type Withdrawal = (Reason, String);

/// A node with its record, as observed.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) node: &'a NodeView,
    pub(super) record: Option<&'a MigNode>,
    /// Pods that are bound to it.
    pods: &'a [PodView],
    /// Whether what it advertises can be compared with its boards.
    comparable: bool,
    /// Whether each instance is offered several times.
    shared: bool,
}

/// Why nodes of the input are left alone, as far as one look tells; `silent` is for how long agents have not been heard of, where that is known.
/// The loop says the same of the same state, and more where it remembers more: what rests after a change or a failure, it knows by its own clock.
pub fn left_alone(
    observation: &Observation,
    silent: &BTreeMap<String, Duration>,
    patience: Duration,
) -> BTreeMap<String, (Reason, String)> {
    let busy = Flight::default().busy(observation);
    let quiet = |name: &str| silent.get(name).copied().unwrap_or_default();
    each_node(observation, |seen| standing(seen, &busy, quiet(&seen.node.name), patience))
}

/// What a look at each node of the input gives.
pub(super) fn each_node(
    observation: &Observation,
    look: impl Fn(Seen<'_>) -> Option<Withdrawal>,
) -> BTreeMap<String, Withdrawal> {
    let views: BTreeMap<&str, Seen<'_>> = seen(observation).map(|seen| (seen.node.name.as_str(), seen)).collect();
    let nodes = observation.input.nodes().iter().map(|node| node.name.as_str());
    let why = |name: &str| match views.get(name) {
        Some(seen) => look(*seen),
        None => Some((Reason::WaitingForCapacity, "the node is gone".to_owned())),
    };
    nodes.filter_map(|name| Some((name.to_owned(), why(name)?))).collect()
}

/// Why a node is left alone, whose agent has been silent for so long; `busy` says what is under way on nodes.
pub(super) fn standing(
    seen: Seen<'_>,
    busy: &BTreeMap<String, String>,
    silent: Duration,
    patience: Duration,
) -> Option<Withdrawal> {
    let Seen { node, record, .. } = seen;
    if let Some(operation) = busy.get(&node.name) {
        return Some((Reason::WaitingForExecution, format!("{operation} is under way on the node")));
    }
    let unready = |why: String| Some((Reason::WaitingForCapacity, why));
    if let Some(foreign) = foreign_owner(node) {
        return Some((Reason::PolicyForbids, format!("{} owns the node ({})", foreign.who, foreign.sign)));
    }
    if !node.ready {
        return unready("the node is not ready".to_owned());
    }
    let Some(record) = record.filter(|record| record.status.node_uid == node.uid) else {
        return unready("the node's agent has not reported; is its pod running?".to_owned());
    };
    if record.status.protocol < PROTOCOL {
        let spoken = record.status.protocol;
        return unready(format!("the node's agent speaks protocol {spoken}, {PROTOCOL} is needed; update the agent"));
    }
    if let Some(degraded) = degraded(record) {
        return unready(degraded);
    }
    if let Some(stays_away) = stays_away(seen) {
        return Some((Reason::PolicyForbids, stays_away));
    }
    if seen.shared {
        let why = "its instances are offered several times (replicas), and who holds them all cannot be told";
        return Some((Reason::PolicyForbids, why.to_owned()));
    }
    if silent > patience {
        return unready(format!("the node's agent has been silent for {} s", silent.as_secs()));
    }
    if let Some(taint) = node.our_taint() {
        return Some((Reason::WaitingForExecution, format!("the node carries our taint of operation {taint}")));
    }
    if seen.node.pause_on_record() {
        let why =
            format!("clients of its GPUs are still paused since an earlier operation (annotation {PAUSED_CLIENTS})");
        return Some((Reason::WaitingForExecution, why));
    }
    differs(seen)
        .then(|| (Reason::WaitingForExecution, "the node advertises other instances than its boards have".to_owned()))
}

/// How a node offers its instances: whether under the names of their own profiles, and whether several times each.
fn offers(input: &PlanningInput, node: &NodeView) -> (bool, bool) {
    let Some(planned) = input.node_named(&node.name).map(|node| &input.nodes()[node.index()]) else {
        return (false, false);
    };
    let several = |gpu: &crate::model::Gpu| gpu.offers.iter().flatten().any(|offer| offer.replicas > 1);
    let mixed = planned.strategy == MigStrategy::Mixed;
    // Under the strategy `single` the replicas are those of GPUs.
    let of_gpus =
        node.labels.get(REPLICAS_LABEL).and_then(|text| text.parse::<u64>().ok()).is_some_and(|count| count > 1);
    (mixed, input.gpus()[planned.gpus.clone()].iter().any(several) || !mixed && of_gpus)
}

/// Why the device plugin would not come back to a node under operation: the controller of a `DaemonSet` makes no pod on a node whose taints it
/// does not tolerate. Pods that are there already stay, so that nobody notices before.
pub(super) fn stays_away(seen: Seen<'_>) -> Option<String> {
    let mut plugins = seen.pods.iter().filter(|pod| pod.device_plugin && !pod.deleting && !pod.finished);
    let plugin = plugins.find(|pod| !pod.tolerates_taint)?;
    Some(format!(
        "the device plugin's pod {} does not tolerate the taint {TAINT_KEY} and would not come back to the node; add a toleration for it to the plugin's DaemonSet",
        plugin.pod
    ))
}

/// Whether what we put on a node under operation is there without one. Who takes our taint off by hand leaves the rest.
pub(super) fn orphaned(seen: Seen<'_>) -> bool {
    let protected = seen.node.annotations.contains_key(PROTECTION);
    let left = protected || seen.node.can_resume() || seen.node.our_taint().is_some();
    left && seen.record.is_some_and(|record| record.spec.operation.is_none())
}

pub(super) fn differs(seen: Seen<'_>) -> bool {
    let reported = seen.record.filter(|record| record.status.node_uid == seen.node.uid);
    seen.comparable && reported.is_some_and(|record| !advertises(seen.node, &record.status.gpus))
}

pub(super) fn agent_degraded(record: &MigNode) -> bool {
    record.status.operation.as_ref().is_some_and(|operation| operation.phase == AgentPhase::Degraded)
}

fn degraded(record: &MigNode) -> Option<String> {
    if let Some(operation) = record.spec.operation.as_ref().filter(|operation| operation.phase == Phase::Degraded) {
        return Some(format!("operation {} left the node degraded: {}", operation.id, operation.detail));
    }
    let report = record.status.operation.as_ref().filter(|_| agent_degraded(record))?;
    Some(format!("the node's agent reports a degraded board: {}", report.detail))
}

/// Nodes that count as consumed in every budget although no operation of ours is under way: not ready, or degraded.
pub(super) fn consumed(observation: &Observation) -> impl Iterator<Item = &str> {
    seen(observation)
        .filter(|seen| !seen.node.ready || seen.record.and_then(degraded).is_some())
        .map(|seen| seen.node.name.as_str())
}

/// The nodes with their records.
pub(super) fn seen(observation: &Observation) -> impl Iterator<Item = Seen<'_>> {
    let records: BTreeMap<&str, &MigNode> =
        observation.records.iter().map(|record| (record.name.as_str(), record)).collect();
    observation.nodes.iter().map(move |node| {
        let (by_profile, shared) = offers(&observation.input, node);
        Seen {
            node,
            record: records.get(node.name.as_str()).copied(),
            pods: observation.pods.get(&node.name).map(Vec::as_slice).unwrap_or_default(),
            comparable: by_profile && !shared,
            shared,
        }
    })
}
