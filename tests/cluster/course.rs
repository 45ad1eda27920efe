//! What happened when, from a pod that waits to a pod that runs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;

use super::installation::{Installation, TAINT};

/// The first time of everything that was seen.
#[derive(Debug)]
pub(crate) struct Course {
    start: Instant,
    seen: Vec<(String, Duration)>,
}

impl Course {
    /// The course of an operation begins.
    #[allow(clippy::disallowed_methods, reason = "times are printed for people; no test depends on them")]
    pub(crate) fn begin() -> Self {
        Self { start: Instant::now(), seen: Vec::new() }
    }

    fn note(&mut self, what: String) {
        if !self.seen.iter().any(|(seen, _)| *seen == what) {
            self.seen.push((what, self.start.elapsed()));
        }
    }

    /// Looks once at a node, its record and a pod.
    pub(crate) async fn look(&mut self, at: &Installation, node: &str, pod: &str) {
        if let Some(record) = at.record(node).await {
            if let Some(phase) = record["spec"]["operation"]["phase"].as_str() {
                self.note(format!("controller: {phase}"));
            } else if record["spec"]["history"].is_array() {
                self.note("controller: released".into());
            }
            let phase = record["status"]["operation"]["phase"].as_str();
            if let Some(phase) = phase.filter(|phase| *phase != "Idle") {
                self.note(format!("agent: {phase}"));
            }
        }
        let nodes: Api<Node> = Api::all(at.client.clone());
        let taints = nodes.get(node).await.ok().and_then(|node| node.spec?.taints).unwrap_or_default();
        let ours = taints.iter().any(|own| own.key == TAINT);
        let tainted = self.seen.iter().any(|(seen, _)| seen == "node: tainted");
        match (ours, tainted) {
            (true, _) => self.note("node: tainted".into()),
            (false, true) => self.note("node: taint gone".into()),
            (false, false) => {}
        }
        let pods: Api<Pod> = at.pods();
        let Ok(Some(pod)) = pods.get_opt(pod).await else { return };
        for condition in pod.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default()) {
            match (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_deref()) {
                ("PodScheduled", "False", Some(reason)) => self.note(format!("pod: {reason}")),
                ("PodScheduled", "True", _) => self.note("pod: bound".into()),
                ("Ready", "True", _) => self.note("pod: ready".into()),
                (_, _, _) => {}
            }
        }
    }

    /// Whether something was seen.
    pub(crate) fn has(&self, what: &str) -> bool {
        self.seen.iter().any(|(seen, _)| seen == what)
    }

    /// A line for each thing seen, with its time and the time since the one before.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let mut before = Duration::ZERO;
        for (what, at) in &self.seen {
            let _ = writeln!(
                table,
                "{:8.2} s  +{:6.2} s  {what}",
                at.as_secs_f64(),
                at.saturating_sub(before).as_secs_f64()
            );
            before = *at;
        }
        table
    }
}
