//! Pods that go because of us: S6, S7, S9, S10, and how often (L8).

use super::{Checker, Invariant, Look};
use crate::exec::port::EvictionBody;
use crate::exec::{NodeView, Operation, Phase, PodView};
use crate::model::{DisruptionLevel, Movability, PodRef};

/// An eviction that we have posted, not a dry run.
#[derive(Debug, Clone, Copy)]
pub struct SeenEviction<'a> {
    /// What was posted.
    pub body: &'a EvictionBody,
    /// Whether the API server agreed.
    pub accepted: bool,
    /// The pod just before, in truth; none if there is none of this name.
    pub pod: Option<&'a PodView>,
    /// What the pod's successors have in common; it counts how often they are moved.
    pub work: Option<&'a str>,
    /// The node that it is bound to.
    pub node: Option<&'a NodeView>,
    /// The operation of that node.
    pub operation: Option<&'a Operation>,
    /// Whether the operation, on the state of this moment, still gains more than it costs; none if nobody has worked it out.
    pub gains: Option<bool>,
}

/// A pod that we have deleted.
#[derive(Debug, Clone, Copy)]
pub struct SeenDeletion<'a> {
    /// Which pod was asked for.
    pub asked: &'a PodRef,
    /// The pod just before, in truth; none if there is none of this name.
    pub pod: Option<&'a PodView>,
    /// Name of the node that it is bound to.
    pub node: &'a str,
    /// The operation of that node.
    pub operation: Option<&'a Operation>,
}

impl Checker {
    /// We have posted an eviction.
    pub fn on_evict(&mut self, at: u64, seen: &SeenEviction<'_>) {
        let place = format!("{}/{}", seen.body.metadata.namespace, seen.body.metadata.name);
        let pinned = seen.body.pins();
        let Some(pinned) = pinned.as_deref() else {
            self.violated(at, Invariant::S6, &place, "the eviction is not pinned to a UID");
            return self.check_accepted(at, seen, &place);
        };
        let planned = seen.operation.is_some_and(|operation| {
            operation.phase == Phase::Draining && operation.victims.iter().any(|victim| victim.pod.uid == pinned)
        });
        let node = seen.node.map_or("", |node| node.name.as_str());
        // A pod that is gone cannot be hurt, and its node's operation is not known.
        if seen.pod.is_some_and(|pod| pod.pod.uid == pinned) && !planned && !self.racing(at, node) {
            self.violated(at, Invariant::S6, &place, "it is no victim of an operation that drains its node");
        }
        self.check_accepted(at, seen, &place);
    }

    /// We have deleted a pod. Only the device plugin's may be, and only to make it look at the board again.
    pub fn on_delete(&mut self, at: u64, seen: &SeenDeletion<'_>) {
        let Some(pod) = seen.pod else { return };
        let place = seen.asked.to_string();
        if !pod.device_plugin || pod.pod.uid != seen.asked.uid {
            self.violated(
                at,
                Invariant::S6,
                &place,
                "it was deleted and is not the device plugin's pod that was meant",
            );
        }
        let restarting = seen.operation.is_some_and(|operation| {
            operation.phase == Phase::Restarting && operation.plugin.as_ref() == Some(seen.asked)
        });
        if !restarting && !self.racing(at, seen.node) {
            self.violated(at, Invariant::S3, &place, "the device plugin was restarted by no operation");
        }
    }

    fn check_accepted(&mut self, at: u64, seen: &SeenEviction<'_>, place: &str) {
        let (true, Some(pod)) = (seen.accepted, seen.pod) else { return };
        self.check_pod(at, pod, place);
        if pod.ready && pod.budgets.contains(&0) {
            self.violated(at, Invariant::S9, place, "its disruption budget did not allow it");
        }
        if let (Some(node), Some(operation)) = (seen.node, seen.operation) {
            if node.our_taint() != Some(operation.id.0.as_str()) && !self.racing(at, &node.name) {
                self.violated(at, Invariant::S6, place, format!("{} has no taint on {}", operation.id, node.name));
            }
            let actor = format!("controller/{}", node.name);
            let unseen = self.unseen(&actor, &[Look::Record, Look::Node, Look::Pods]);
            if !unseen.is_empty() {
                self.violated(at, Invariant::S19, place, format!("it was evicted without a look at {unseen:?}"));
            }
            if self.evicting.insert(operation.id.clone()) && seen.gains == Some(false) {
                self.violated(at, Invariant::S7, place, format!("{} gains nothing any more", operation.id));
            }
        }
        self.count(at, seen.work, place);
    }

    fn check_pod(&mut self, at: u64, pod: &PodView, place: &str) {
        let PodView {
            pod: name,
            owner: _,
            requests: _,
            deleting: _,
            finished: _,
            ready: _,
            device_plugin,
            deployed_as: _,
            tolerates_taint,
            grace_seconds,
            movability,
            budgets: _,
        } = pod;
        if self.racing(at, &name.uid) {
            return;
        }
        let level = self.limits.policy.disruption;
        let why = match movability {
            Movability::From(from) if level != DisruptionLevel::IdleOnly && level >= *from => None,
            Movability::From(from) => Some(format!("it may move from {} on", from.as_flag())),
            Movability::Never(reason, detail) => Some(format!("it must not move: {reason:?} {detail}")),
        };
        let why = why.or_else(|| device_plugin.then(|| "it is the device plugin's".to_owned()));
        let why = why.or_else(|| tolerates_taint.then(|| "it tolerates our taint".to_owned()));
        let long = grace_seconds.saturating_mul(1000) > self.limits.grace;
        let why = why.or_else(|| long.then(|| format!("it takes {grace_seconds} s to end")));
        if let Some(why) = why {
            self.violated(at, Invariant::S10, place, why);
        }
    }

    fn count(&mut self, at: u64, work: Option<&str>, place: &str) {
        let (Some(work), Some(cap)) = (work, self.limits.policy.stability.pod_move_cap) else { return };
        let window = self.limits.move_window;
        let times = self.evicted.entry(work.to_owned()).or_default();
        times.retain(|&before| at.saturating_sub(before) < window);
        times.push(at);
        let count = times.len();
        if count as u64 > u64::from(cap) {
            self.violated(at, Invariant::L8, place, format!("{work} was evicted {count} times"));
        }
    }
}
