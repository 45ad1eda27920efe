//! Which nodes are left alone, and which need a repair.
//!
//! Inputs: observations. Outputs: a reason per node. Invariant: what stands out for a moment only (a cache that lags, a plugin that restarts) is
//! never repaired: it must stand, by this process's own clock. One bad node has no influence on another.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exec::mutant::{self, Mutant};
use crate::exec::port::Observation;
use crate::exec::{
    AgentPhase, MigNode, Moment, NodeView, PROTECTION, PROTOCOL, Phase, PodView, TAINT_KEY, advertises, foreign_owner,
};
use crate::model::{MigStrategy, PlanningInput, Reason};

use super::settings::Settings;

/// Why a node is left alone, in words.
pub(super) type Withdrawal = (Reason, String);

/// What must stand for a while before it counts.
#[derive(Debug)]
struct Watch {
    uid: String,
    heartbeat: u64,
    beat: Moment,
    /// Since when our taint has been there without an operation.
    orphaned: Option<Moment>,
    /// Since when the node has advertised other instances than its boards have.
    differs: Option<Moment>,
}

/// What is known of the nodes over time.
#[derive(Debug, Default)]
pub(super) struct NodeWatch {
    watches: BTreeMap<String, Watch>,
}

/// A node with its record, as observed.
#[derive(Clone, Copy)]
struct Seen<'a> {
    node: &'a NodeView,
    record: Option<&'a MigNode>,
    /// Pods that are bound to it.
    pods: &'a [PodView],
    /// Whether what it advertises can be compared with its boards.
    comparable: bool,
}

impl NodeWatch {
    /// Notes heartbeats, and since when something is wrong.
    pub(super) fn note(&mut self, observation: &Observation, now: Moment) {
        self.watches
            .retain(|name, watch| observation.nodes.iter().any(|node| node.name == *name && node.uid == watch.uid));
        for seen in seen(observation) {
            let heartbeat = seen.record.map_or(0, |record| record.status.heartbeat);
            let watch = self.watches.entry(seen.node.name.clone()).or_insert_with(|| Watch {
                uid: seen.node.uid.clone(),
                heartbeat,
                beat: now,
                orphaned: None,
                differs: None,
            });
            if watch.heartbeat != heartbeat {
                (watch.heartbeat, watch.beat) = (heartbeat, now);
            }
            watch.orphaned = orphaned(seen).then(|| watch.orphaned.unwrap_or(now));
            watch.differs = differs(seen).then(|| watch.differs.unwrap_or(now));
        }
    }

    /// Why nodes of the input are left alone; `busy` says what is under way on them.
    pub(super) fn withdrawals(
        &self,
        observation: &Observation,
        busy: &BTreeMap<String, String>,
        settings: &Settings,
        now: Moment,
    ) -> BTreeMap<String, Withdrawal> {
        let views: BTreeMap<&str, Seen<'_>> = seen(observation).map(|seen| (seen.node.name.as_str(), seen)).collect();
        let nodes = observation.input.nodes().iter().map(|node| node.name.as_str());
        let why = |name: &str| match views.get(name) {
            Some(seen) => self.why(*seen, busy, settings, now),
            None => Some((Reason::WaitingForCapacity, "the node is gone".to_owned())),
        };
        nodes.filter_map(|name| Some((name.to_owned(), why(name)?))).collect()
    }

    fn why(
        &self,
        seen: Seen<'_>,
        busy: &BTreeMap<String, String>,
        settings: &Settings,
        now: Moment,
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
            return unready(format!(
                "the node's agent speaks protocol {spoken}, {PROTOCOL} is needed; update the agent"
            ));
        }
        if let Some(degraded) = degraded(record) {
            return unready(degraded);
        }
        if let Some(stays_away) = stays_away(seen) {
            return Some((Reason::PolicyForbids, stays_away));
        }
        if let Some(beat) = self.watches.get(&node.name).map(|watch| watch.beat)
            && now.since(beat) > settings.silence
        {
            return unready(format!("the node's agent has been silent for {} s", now.since(beat).as_secs()));
        }
        if mutant::on(Mutant(9)) && self.watches.values().any(|watch| now.since(watch.beat) > settings.silence) {
            return unready("the agent of another node has been silent".to_owned());
        }
        if let Some(taint) = node.our_taint() {
            return Some((Reason::WaitingForExecution, format!("the node carries our taint of operation {taint}")));
        }
        differs(seen).then(|| {
            (Reason::WaitingForExecution, "the node advertises other instances than its boards have".to_owned())
        })
    }

    /// Nodes that need a repair and can have one now, with why; ordered by name.
    pub(super) fn cures(
        &self,
        observation: &Observation,
        busy: &BTreeMap<String, String>,
        settings: &Settings,
        now: Moment,
    ) -> Vec<(String, &'static str)> {
        let stood = |since: Option<Moment>, least: Duration| since.is_some_and(|since| now.since(since) >= least);
        let cure = |seen: Seen<'_>| {
            let Seen { node, record, .. } = seen;
            let record = record.filter(|record| record.status.node_uid == node.uid)?;
            let watch = self.watches.get(&node.name)?;
            let reachable = node.ready && foreign_owner(node).is_none() && now.since(watch.beat) <= settings.silence;
            if busy.contains_key(&node.name) || !reachable || agent_degraded(record) || stays_away(seen).is_some() {
                return None;
            }
            if record.spec.operation.as_ref().is_some_and(|operation| operation.phase == Phase::Degraded) {
                return Some((node.name.clone(), "the board of a degraded node is well again"));
            }
            if record.spec.operation.is_some() {
                return None;
            }
            if stood(watch.orphaned, settings.timing.settle) {
                return Some((
                    node.name.clone(),
                    "our taint, or our protection from autoscalers, is there without an operation",
                ));
            }
            stood(watch.differs, settings.timing.plugin)
                .then(|| (node.name.clone(), "the node advertises other instances than its boards have"))
        };
        seen(observation).filter_map(cure).collect()
    }

    /// When something that stands will have stood long enough to be repaired.
    pub(super) fn next(&self, settings: &Settings, now: Moment) -> Option<Moment> {
        let due = |watch: &Watch| {
            let orphaned = watch.orphaned.map(|since| since + settings.timing.settle);
            let differs = watch.differs.map(|since| since + settings.timing.plugin);
            orphaned.into_iter().chain(differs).filter(|&at| at > now).min()
        };
        self.watches.values().filter_map(due).min()
    }
}

/// Nodes that count as consumed in every budget although no operation of ours is under way: not ready, or degraded.
pub(super) fn consumed(observation: &Observation) -> impl Iterator<Item = &str> {
    seen(observation)
        .filter(|seen| !seen.node.ready || seen.record.and_then(degraded).is_some())
        .map(|seen| seen.node.name.as_str())
}

fn seen(observation: &Observation) -> impl Iterator<Item = Seen<'_>> {
    let records: BTreeMap<&str, &MigNode> =
        observation.records.iter().map(|record| (record.name.as_str(), record)).collect();
    observation.nodes.iter().map(move |node| Seen {
        node,
        record: records.get(node.name.as_str()).copied(),
        pods: observation.pods.get(&node.name).map(Vec::as_slice).unwrap_or_default(),
        comparable: comparable(&observation.input, &node.name),
    })
}

/// Whether each instance of a node is advertised once, under the name of its own profile.
fn comparable(input: &PlanningInput, name: &str) -> bool {
    let Some(node) = input.node_named(name).map(|node| &input.nodes()[node.index()]) else { return false };
    let plain = |gpu: &crate::model::Gpu| gpu.offers.iter().flatten().all(|offer| offer.replicas == 1);
    node.strategy == MigStrategy::Mixed && input.gpus()[node.gpus.clone()].iter().all(plain)
}

/// Why the device plugin would not come back to a node under operation: the controller of a `DaemonSet` makes no pod on a node whose taints it
/// does not tolerate. Pods that are there already stay, so that nobody notices before.
fn stays_away(seen: Seen<'_>) -> Option<String> {
    let mut plugins = seen.pods.iter().filter(|pod| pod.device_plugin && !pod.deleting && !pod.finished);
    let plugin = plugins.find(|pod| !pod.tolerates_taint)?;
    Some(format!(
        "the device plugin's pod {} does not tolerate the taint {TAINT_KEY} and would not come back to the node; add a toleration for it to the plugin's DaemonSet",
        plugin.pod
    ))
}

/// Whether what we put on a node under operation is there without one. Who takes our taint off by hand leaves the rest.
fn orphaned(seen: Seen<'_>) -> bool {
    let left = seen.node.our_taint().is_some() || seen.node.annotations.contains_key(PROTECTION);
    left && seen.record.is_some_and(|record| record.spec.operation.is_none())
}

fn differs(seen: Seen<'_>) -> bool {
    let reported = seen.record.filter(|record| record.status.node_uid == seen.node.uid);
    seen.comparable && reported.is_some_and(|record| !advertises(&seen.node.allocatable, &record.status.gpus))
}

fn agent_degraded(record: &MigNode) -> bool {
    record.status.operation.as_ref().is_some_and(|operation| operation.phase == AgentPhase::Degraded)
}

fn degraded(record: &MigNode) -> Option<String> {
    if let Some(operation) = record.spec.operation.as_ref().filter(|operation| operation.phase == Phase::Degraded) {
        return Some(format!("operation {} left the node degraded: {}", operation.id, operation.detail));
    }
    let report = record.status.operation.as_ref().filter(|_| agent_degraded(record))?;
    Some(format!("the node's agent reports a degraded board: {}", report.detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Cluster, pod, settings};

    #[test]
    fn a_node_whose_device_plugin_would_not_come_back_is_left_alone() {
        let cluster = Cluster::new().node("a", &[&[("1g.5gb", 0, Some("v"))]]).node("b", &[&[]]);
        let mut observation = cluster.observe();
        let seen = |observation: &Observation| {
            let watch = NodeWatch::default();
            watch.withdrawals(observation, &BTreeMap::new(), &settings("me"), Moment(0))
        };
        let pods = observation.pods.get_mut("a").expect("one holds an instance");
        let plugin = PodView { pod: pod("plugin"), device_plugin: true, requests: BTreeMap::new(), ..pods[0].clone() };
        pods.push(PodView { tolerates_taint: true, ..plugin.clone() });
        assert_eq!(seen(&observation), BTreeMap::new());
        observation.pods.get_mut("a").expect("as above").push(plugin);
        let withdrawn = seen(&observation);
        let (reason, why) = &withdrawn["a"];
        assert_eq!((withdrawn.len(), *reason), (1, Reason::PolicyForbids));
        assert!(why.contains("ml/plugin") && why.contains("toleration"), "{why}");
    }
}
