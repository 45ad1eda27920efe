//! What must rest: GPUs after a change, nodes after a failure, pods that were moved.
//!
//! Inputs: histories of the records, ended operations, evictions that went out. Outputs: until when, and how many moves are left. All by this
//! process's own clock from when it saw something; a new leader therefore lets rest a little longer, never shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::exec::port::Observation;
use crate::exec::{Backoff, Ended, Moment, Operation, OperationId, Outcome, PodView};

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
    /// How long a GPU rests, as the policy said when it was last seen.
    cool_down: Duration,
}

impl Stability {
    /// Notes ended operations and owners.
    pub(super) fn note(&mut self, observation: &Observation, settings: &Settings, now: Moment) {
        let cool_down = Duration::from_secs(observation.input.policy().stability.gpu_cool_down_seconds);
        self.cool_down = cool_down;
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

    /// Notes at once that an operation of this process has ended: what is observed may lag behind.
    pub(super) fn changed(&mut self, operation: &Operation, outcome: Outcome, now: Moment) {
        let gpus: Vec<String> = operation.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        self.cool(&gpus, outcome, self.cool_down, now);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Cluster, settings};

    fn cluster(outcome: Outcome) -> Cluster {
        let mut cluster = Cluster::new().node("a", &[&[("1g.5gb", 0, Some("p"))], &[("1g.5gb", 0, Some("q"))]]);
        cluster.policy.stability.gpu_cool_down_seconds = 600;
        cluster.owners = [("p", "ReplicaSet/web"), ("q", "ReplicaSet/web")].into();
        let ended = Ended {
            id: OperationId("op-1".into()),
            epoch: 1,
            gpus: vec!["GPU-a-0".into()],
            outcome,
            detail: String::new(),
        };
        cluster.records.get_mut("a").expect("there").spec.history = vec![ended];
        cluster
    }

    #[test]
    fn a_gpu_rests_from_when_the_end_is_seen() {
        let mut memory = Stability::default();
        let observation = cluster(Outcome::Done).observe();
        memory.note(&observation, &settings("x"), Moment(5_000));
        assert_eq!(memory.rests("GPU-a-0", Moment(5_000)), Some(Moment(605_000)));
        assert_eq!(memory.rests("GPU-a-1", Moment(5_000)), None);
        memory.note(&observation, &settings("x"), Moment(400_000));
        assert_eq!(memory.rests("GPU-a-0", Moment(604_999)), Some(Moment(605_000)), "the same end counts once");
        memory.note(&observation, &settings("x"), Moment(605_000));
        assert_eq!(memory.rests("GPU-a-0", Moment(605_000)), None);
        let mut aborted = Stability::default();
        aborted.note(&cluster(Outcome::Aborted).observe(), &settings("x"), Moment(0));
        assert_eq!(aborted.rests("GPU-a-0", Moment(0)), None, "nothing was changed");
    }

    #[test]
    fn moves_count_against_the_owner_for_a_while() {
        let mut memory = Stability::default();
        let observation = cluster(Outcome::Done).observe();
        memory.note(&observation, &settings("x"), Moment(0));
        memory.moved("uid-p", Moment(0));
        let owner = memory.owner("uid-q").expect("known").to_owned();
        assert_eq!((owner.as_str(), memory.moves(&owner)), ("ml/ReplicaSet/web", 1));
        let later = Moment(0) + settings("x").move_window;
        memory.note(&observation, &settings("x"), later);
        assert_eq!(memory.moves(&owner), 0);
    }

    #[test]
    fn a_node_rests_longer_after_each_failure_and_not_after_a_success() {
        let mut memory = Stability::default();
        let settings = settings("x");
        let mut now = Moment(0);
        let mut rests = Vec::new();
        for _ in 0..9 {
            memory.ended("a", false, &settings, now);
            let (_, until) = memory.backs_off("a", now).expect("it rests");
            rests.push(until.since(now).as_secs() / 60);
            now = until;
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 360, 360]);
        memory.ended("a", true, &settings, now);
        assert_eq!(memory.backs_off("a", now), None);
    }
}
