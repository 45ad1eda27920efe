//! What must rest: GPUs after a change, nodes after a failure, pods that were moved.
//!
//! Inputs: histories of the records, ended operations, evictions that went out. Outputs: until when, and how many moves are left. All by this
//! process's own clock from when it saw something; a new leader therefore lets rest a little longer, never shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::exec::port::Observation;
use crate::exec::{Backoff, Ended, Moment, OperationId, Outcome, PodView};

use super::settings::Settings;

/// The memory of what happened lately.
#[derive(Debug, Default)]
pub(super) struct Stability {
    /// GPUs that rest, by UUID, and until when.
    cooling: BTreeMap<String, Moment>,
    /// Ended operations that have been noted, as long as a record lists them.
    noted: BTreeSet<OperationId>,
    /// Nodes whose last operations failed, and until when they rest.
    failed: BTreeMap<String, (Backoff, Moment)>,
    /// Who makes the pods again, by UID of the pod.
    owners: BTreeMap<String, String>,
    /// When pods of an owner were moved.
    moves: BTreeMap<String, Vec<Moment>>,
    /// Evictions that plans have asked for, and when.
    planned: Vec<(Moment, u32)>,
}

impl Stability {
    /// Notes ended operations and owners.
    pub(super) fn note(&mut self, observation: &Observation, settings: &Settings, now: Moment) {
        let cool_down = Duration::from_secs(observation.input.policy().stability.gpu_cool_down_seconds);
        let ended: Vec<&Ended> = observation.records.iter().flat_map(|record| &record.spec.history).collect();
        for &end in &ended {
            if self.noted.insert(end.id.clone()) {
                self.cool(&end.gpus, end.outcome, cool_down, now);
            }
        }
        let listed: BTreeSet<&OperationId> = ended.iter().map(|end| &end.id).collect();
        self.noted.retain(|id| listed.contains(id));
        self.cooling.retain(|_, until| *until > now);
        self.failed.retain(|_, (_, until)| now.since(*until) < settings.back_off_most);
        self.owners = observation.pods.values().flatten().map(|pod| (pod.pod.uid.clone(), owner(pod))).collect();
        self.moves.retain(|_, moments| {
            moments.retain(|&moment| now.since(moment) < settings.move_window);
            !moments.is_empty()
        });
        self.planned.retain(|&(moment, _)| now.since(moment) < settings.period);
    }

    fn cool(&mut self, gpus: &[String], outcome: Outcome, cool_down: Duration, now: Moment) {
        // What was given up before anything changed leaves nothing to rest.
        if outcome != Outcome::Aborted {
            self.cooling.extend(gpus.iter().map(|gpu| (gpu.clone(), now + cool_down)));
        }
    }

    /// Until when a GPU rests.
    pub(super) fn rests(&self, gpu: &str, now: Moment) -> Option<Moment> {
        self.cooling.get(gpu).copied().filter(|&until| until > now)
    }

    /// Notes how an operation on a node has ended.
    pub(super) fn ended(&mut self, node: &str, success: bool, settings: &Settings, now: Moment) {
        if success {
            self.failed.remove(node);
        } else {
            let (backoff, until) = self.failed.entry(node.to_owned()).or_default();
            *until = now + backoff.fail(settings.back_off_first, settings.back_off_most);
        }
    }

    /// Until when a node rests after failures, and after how many.
    pub(super) fn backs_off(&self, node: &str, now: Moment) -> Option<(u32, Moment)> {
        let &(backoff, until) = self.failed.get(node)?;
        (until > now).then(|| (backoff.failures(), until))
    }

    /// Notes that a pod was evicted.
    pub(super) fn moved(&mut self, uid: &str, now: Moment) {
        if let Some(owner) = self.owners.get(uid) {
            self.moves.entry(owner.clone()).or_default().push(now);
        }
    }

    /// Who makes a pod again: its owner, or itself where nobody does.
    pub(super) fn owner(&self, uid: &str) -> Option<&str> {
        self.owners.get(uid).map(String::as_str)
    }

    /// Moves that an owner has had lately.
    pub(super) fn moves(&self, owner: &str) -> u32 {
        self.moves.get(owner).map_or(0, |moments| moments.len() as u32)
    }

    /// Notes evictions that a plan asks for.
    pub(super) fn plan_evictions(&mut self, count: u32, now: Moment) {
        if count > 0 {
            self.planned.push((now, count));
        }
    }

    /// Evictions that plans have asked for within the last period.
    pub(super) fn evictions(&self, period: Duration, now: Moment) -> u32 {
        self.planned.iter().filter(|(moment, _)| now.since(*moment) < period).map(|(_, count)| count).sum()
    }
}

fn owner(pod: &PodView) -> String {
    let name = pod.owner.clone().unwrap_or_else(|| format!("Pod/{}", pod.pod.name));
    format!("{}/{name}", pod.pod.namespace)
}
