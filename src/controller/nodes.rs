//! Which nodes are left alone, and which need a repair, as far as that takes more than one look.
//!
//! Inputs: observations. Outputs: a reason per node. What one look tells is in `standing`. Invariant: what stands out for a moment only (a cache that
//! lags, a plugin that restarts) is never repaired: it must stand, by this process's own clock. One bad node has no influence on another.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exec::mutant::{self, Mutant};
use crate::exec::port::Observation;
use crate::exec::{Moment, Phase, foreign_owner};
use crate::model::{Mode, Reason};

use super::settings::Settings;
use super::standing::{Seen, Withdrawal, agent_degraded, differs, each_node, orphaned, seen, standing, stays_away};

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
        each_node(observation, |seen| self.why(seen, busy, settings, now))
    }

    fn why(
        &self,
        seen: Seen<'_>,
        busy: &BTreeMap<String, String>,
        settings: &Settings,
        now: Moment,
    ) -> Option<Withdrawal> {
        let watch = self.watches.get(&seen.node.name);
        let silent = watch.map_or(Duration::ZERO, |watch| now.since(watch.beat));
        let loud = || {
            let other =
                mutant::on(Mutant(9)) && self.watches.values().any(|watch| now.since(watch.beat) > settings.silence);
            other.then(|| (Reason::WaitingForCapacity, "the agent of another node has been silent".to_owned()))
        };
        standing(seen, busy, silent, settings.silence).or_else(loud)
    }

    /// Nodes that need a repair and can have one now, with why; ordered by name. Where people approve plans, only what operations have left behind is
    /// repaired: that was approved.
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
                    "our taint, our protection from autoscalers or our pause of clients is there without an operation",
                ));
            }
            let unasked = settings.mode == Mode::Act;
            (unasked && stood(watch.differs, settings.timing.plugin))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Cluster, pod, settings};
    use crate::exec::PodView;

    #[test]
    fn a_node_whose_instances_are_offered_several_times_is_left_alone() {
        for (replicas, expected) in [(1, 0), (2, 1)] {
            let cluster = Cluster { replicas, ..Cluster::new() }.node("a", &[&[]]);
            let watch = NodeWatch::default();
            let withdrawn =
                watch.withdrawals(&cluster.observe(), &BTreeMap::new(), &settings("me"), Moment(0)).into_values();
            let told: Vec<_> = withdrawn.collect();
            assert_eq!(told.iter().filter(|(_, why)| why.contains("replicas")).count(), expected, "{told:?}");
        }
    }

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
