//! Follows a plan that was handed in until it is over.
//!
//! Inputs: records of nodes and plans, looked at every other second. Outputs: a line for each thing that is new; how it ended. A plan that is
//! finished may still have failed on a node, so what counts is how the operations of its nodes ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::operations_of;
use crate::cli::error::CliError;
use crate::cli::live::Reach;
use crate::cli::output::Streams;
use crate::cli::show::names::clean;
use crate::kube::live::installed::{Installed, installed};

/// Rest between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Every operation is done.
    Done,
    /// It was put aside, or not every operation is done.
    Other,
}

/// A plan that is followed.
#[derive(Debug)]
pub(super) struct Following {
    plan: String,
    nodes: BTreeSet<String>,
    /// Operations that were known before.
    old: BTreeSet<String>,
    /// What was said last of a node, or of the plan (an empty name).
    said: BTreeMap<String, String>,
    /// How operations ended, by name.
    ended: BTreeMap<String, String>,
}

impl Following {
    pub(super) fn new(plan: &str, nodes: BTreeSet<String>, before: &Installed) -> Self {
        let old = before.nodes.iter().flatten().flat_map(operations_of).collect();
        Self { plan: plan.to_owned(), nodes, old, said: BTreeMap::new(), ended: BTreeMap::new() }
    }

    /// Looks until it is over, or for so many seconds.
    pub(super) fn follow(
        &mut self,
        reach: &Reach,
        namespace: &str,
        seconds: u64,
        streams: &mut Streams<'_>,
    ) -> Result<End, CliError> {
        for _ in 0..seconds.div_ceil(LOOK.as_secs()).max(1) {
            let now = reach.ask(async |server| installed(server, namespace).await)?;
            let (lines, end) = self.look(&now);
            if !lines.is_empty() {
                streams.data(&lines).map_err(CliError::Stdout)?;
            }
            if let Some(end) = end {
                return Ok(end);
            }
            std::thread::sleep(LOOK);
        }
        Err(CliError::Cluster {
            message: format!("migplan/{} is not over after {seconds} s", self.plan),
            help: "it goes on without this command; `retile status` shows how far it is".into(),
        })
    }

    /// What is new, and whether it is over.
    fn look(&mut self, now: &Installed) -> (String, Option<End>) {
        let mut lines = String::new();
        for record in now.nodes.iter().flatten() {
            let name = record.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            if self.nodes.contains(name) {
                self.node(name, record, &mut lines);
            }
        }
        let called = |plan: &&Value| plan.pointer("/metadata/name").and_then(Value::as_str) == Some(&self.plan);
        let Some(plan) = now.plans.iter().flatten().find(called) else {
            self.say("", "the MigPlan is gone: somebody has deleted it", &mut lines);
            return (lines, Some(End::Other));
        };
        let phase = plan["status"]["phase"].as_str().unwrap_or("Proposed").to_owned();
        let detail = plan["status"]["detail"].as_str().unwrap_or_default().to_owned();
        let shown = if detail.is_empty() { phase.clone() } else { format!("{phase}: {detail}") };
        self.say("", &shown, &mut lines);
        let end = match phase.as_str() {
            "Superseded" => Some(End::Other),
            "Finished" if self.ended.values().any(|outcome| outcome != "Done") => Some(End::Other),
            "Finished" => Some(End::Done),
            _ => None,
        };
        (lines, end)
    }

    fn node(&mut self, name: &str, record: &Value, lines: &mut String) {
        for ended in record["spec"]["history"].as_array().into_iter().flatten() {
            let text = |field: &str| ended[field].as_str().unwrap_or_default().to_owned();
            let (id, outcome, detail) = (text("id"), text("outcome"), text("detail"));
            if self.old.contains(&id) || self.ended.contains_key(&id) {
                continue;
            }
            let why = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            self.say(name, &format!("{id} {outcome}{why}"), lines);
            self.ended.insert(id, outcome);
        }
        let operation = &record["spec"]["operation"];
        if let (Some(id), Some(phase)) = (operation["id"].as_str(), operation["phase"].as_str())
            && !self.old.contains(id)
        {
            let waits = record["status"]["waitingOn"].as_str().filter(|waits| !waits.is_empty());
            let waits = waits.map_or_else(String::new, |waits| format!(", the agent waits for {waits}"));
            self.say(name, &format!("{id} {phase}{waits}"), lines);
        }
    }

    /// Says what was not said last.
    fn say(&mut self, of: &str, what: &str, lines: &mut String) {
        if self.said.get(of).is_some_and(|said| said == what) {
            return;
        }
        self.said.insert(of.to_owned(), what.to_owned());
        let of = if of.is_empty() { format!("migplan/{}", self.plan) } else { format!("node/{of}") };
        let _ = writeln!(lines, "{}  {}", clean(&of), clean(what));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(spec: &Value, phase: &str) -> Installed {
        Installed {
            now: 0,
            nodes: Some(vec![json!({"metadata": {"name": "a"}, "spec": spec})]),
            policies: None,
            plans: Some(vec![json!({"metadata": {"name": "plan-1"}, "status": {"phase": phase}})]),
            lease: Ok(None),
            waiting: Ok(Vec::new()),
        }
    }

    fn ended(id: &str, outcome: &str) -> Value {
        json!({"id": id, "outcome": outcome})
    }

    #[test]
    fn each_step_is_told_once_and_the_end_is_that_of_the_operations() {
        let old = ended("op-0", "RolledBack");
        let mut following =
            Following::new("plan-1", ["a".to_owned()].into(), &state(&json!({"history": [old]}), "Proposed"));
        let waits = state(&json!({"history": [old]}), "Proposed");
        assert_eq!(following.look(&waits), ("migplan/plan-1  Proposed\n".into(), None));
        assert_eq!(following.look(&waits), (String::new(), None));
        let acts = state(&json!({"history": [old], "operation": {"id": "op-1", "phase": "Claimed"}}), "Executing");
        assert_eq!(following.look(&acts).0, "node/a  op-1 Claimed\nmigplan/plan-1  Executing\n");
        let done = state(&json!({"history": [ended("op-1", "Done"), old]}), "Finished");
        assert_eq!(following.look(&done), ("node/a  op-1 Done\nmigplan/plan-1  Finished\n".into(), Some(End::Done)));
    }

    #[test]
    fn what_failed_or_was_put_aside_is_no_success() {
        let fresh = || Following::new("plan-1", ["a".to_owned()].into(), &state(&json!({}), "Proposed"));
        let failed = state(&json!({"history": [ended("op-1", "RolledBack")]}), "Finished");
        assert_eq!(fresh().look(&failed).1, Some(End::Other));
        assert_eq!(fresh().look(&state(&json!({}), "Superseded")).1, Some(End::Other));
        let gone = Installed { plans: Some(Vec::new()), ..state(&json!({}), "Proposed") };
        let (lines, end) = fresh().look(&gone);
        assert!(lines.contains("is gone") && end == Some(End::Other), "{lines}");
    }
}
