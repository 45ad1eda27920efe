//! `status`: nodes with MIG GPUs, operations under way, plans, policy, leader, and who waits.
//!
//! Input: what of retile is in a cluster. Output: a [`Status`], as text or JSON. Pure but for the verb itself, so that a status can be drawn without a
//! cluster. Where retile is not installed it says so, and what to do.

mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Reach;
use super::args::{InstallationArgs, StatusArgs};
use crate::cli::SUCCESS;
use crate::cli::args::AnswerFormat;
use crate::cli::error::CliError;
use crate::cli::output::{Streams, json};
use crate::kube::crd::{self, MigNode, MigPlan, PlanPhase};
use crate::kube::live::PolicyInForce;
use crate::kube::live::installed::{Installed, WaitingPod, installed, status_written};
use crate::kube::time::parse_moment;
use crate::plan;

pub(crate) use text::{headline, node_lines, render, span};

/// What is said of a pod of which the plan in force says nothing.
const NOT_PLANNED_YET: &str = "NotPlannedYet";

/// A status. Ages are in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Version of this form.
    pub(crate) format_version: u32,
    /// Whether the custom resources are there.
    pub(crate) installed: bool,
    /// The policy in force.
    pub(crate) policy: PolicyState,
    /// Who leads; none when nobody does, or it is not known.
    pub(crate) leader: Option<Leader>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_unknown: Option<String>,
    /// Nodes with a record, by name.
    pub(crate) nodes: Vec<NodeState>,
    /// Records that cannot be read, with why.
    pub(crate) unreadable: Vec<String>,
    /// Published plans, newest first.
    pub(crate) plans: Vec<PlanState>,
    /// The newest plan that is proposed or carried out: what `waiting` cites.
    pub(crate) plan_in_force: Option<String>,
    /// Pods that wait for MIG instances, longest first.
    pub(crate) waiting: Vec<Waiting>,
    /// Why those are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_unknown: Option<String>,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PolicyState {
    /// Its object; none where nobody has written one.
    pub(crate) name: Option<String>,
    /// What is done with plans.
    pub(crate) mode: &'static str,
    /// Which pods may be moved.
    pub(crate) disruption: &'static str,
    /// Whether nothing new starts.
    pub(crate) paused: bool,
    /// Why what is written is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Leader {
    /// Which process.
    pub(crate) holder: String,
    /// For how long it has not renewed its lease.
    pub(crate) renewed: Option<i64>,
}

/// A node with a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeState {
    /// Its name.
    pub(crate) name: String,
    /// Whether somebody has paused it.
    pub(crate) paused: bool,
    /// Where its agent is.
    pub(crate) agent: String,
    /// For how long the agent has not reported.
    pub(crate) reported: Option<i64>,
    /// Age of its record.
    pub(crate) age: Option<i64>,
    /// The operation under way.
    pub(crate) operation: Option<OperationState>,
    /// How the last one ended.
    pub(crate) last: Option<EndedState>,
    /// The layouts in short.
    pub(crate) layout: String,
    /// GPUs in MIG mode, by index.
    pub(crate) gpus: Vec<GpuState>,
}

/// An operation under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OperationState {
    /// Its name.
    pub(crate) id: String,
    /// How far it is.
    pub(crate) phase: String,
    /// What it waits for, as far as the agent says.
    pub(crate) waiting_on: String,
    /// GPUs that it changes, by index.
    pub(crate) gpus: Vec<u32>,
    /// Pods that it evicts.
    pub(crate) evicts: usize,
    /// Waiting pods that it is for.
    pub(crate) serves: usize,
}

/// An operation that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct EndedState {
    /// Its name.
    pub(crate) id: String,
    /// How it ended.
    pub(crate) outcome: String,
    /// Why.
    pub(crate) detail: String,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GpuState {
    /// Index on the node.
    pub(crate) index: u32,
    /// Product.
    pub(crate) model: String,
    /// Instances, by start.
    pub(crate) instances: Vec<crd::Instance>,
}

/// A published plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PlanState {
    /// Its object.
    pub(crate) name: String,
    /// How far it is.
    pub(crate) phase: String,
    /// Whether a person approves it.
    pub(crate) approved: bool,
    /// Its age.
    pub(crate) age: Option<i64>,
    /// What it does, in words.
    pub(crate) summary: String,
    /// Why it is as far as it is.
    pub(crate) detail: String,
}

/// A pod that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Waiting {
    /// `namespace/name`.
    pub(crate) pod: String,
    /// What it asks for.
    pub(crate) wants: String,
    /// For how long it has waited.
    pub(crate) waited: Option<i64>,
    /// What the plan in force says of it: `Planned`, a reason, or `NotPlannedYet`.
    pub(crate) reason: String,
}

impl Status {
    /// The status that these objects amount to.
    pub(crate) fn of(installed: &Installed) -> Self {
        let Installed { now, nodes, policies: _, plans, lease, waiting } = installed;
        let age = |from: Option<i64>| from.map(|from| (now - from).max(0));
        let mut unreadable = Vec::new();
        let mut states = Vec::new();
        for node in nodes.iter().flatten() {
            match serde_json::from_value::<MigNode>(node.clone()) {
                Ok(read) => states.push(node_state(read, node, age)),
                Err(error) => unreadable.push(format!("MigNode {}: {error}", name_of(node))),
            }
        }
        let mut published: Vec<Published> = Vec::new();
        for plan in plans.iter().flatten() {
            match serde_json::from_value::<MigPlan>(plan.clone()) {
                Ok(read) => published.push(plan_state(read, plan, age)),
                Err(error) => unreadable.push(format!("MigPlan {}: {error}", name_of(plan))),
            }
        }
        published.sort_by(|a, b| b.made.cmp(&a.made).then_with(|| a.state.name.cmp(&b.state.name)));
        // What is superseded or over no longer says anything of who waits now.
        let in_force = published.iter().find(|plan| plan.in_force);
        let said = in_force.map(|plan| reasons(&plan.document)).unwrap_or_default();
        let plan_in_force = in_force.map(|plan| plan.state.name.clone());
        let (waiting, waiting_unknown) = match waiting {
            Ok(pods) => (pods.iter().map(|pod| waits(pod, &said, age)).collect(), None),
            Err(why) => (Vec::new(), Some(why.clone())),
        };
        Self {
            format_version: 1,
            installed: nodes.is_some(),
            policy: PolicyState::of(&installed.policy()),
            leader: installed.leader().map(|(holder, renewed)| Leader { holder, renewed }),
            leader_unknown: lease.as_ref().err().cloned(),
            nodes: states,
            unreadable,
            plans: published.into_iter().map(|plan| plan.state).collect(),
            plan_in_force,
            waiting,
            waiting_unknown,
        }
    }

    /// Waiting pods by reason.
    pub(crate) fn waiting_by_reason(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for waiting in &self.waiting {
            *counts.entry(waiting.reason.as_str()).or_default() += 1;
        }
        counts
    }
}

impl PolicyState {
    fn of(policy: &PolicyInForce) -> Self {
        let PolicyInForce { document, name, fault } = policy;
        let mode = document.policy.mode.name();
        let disruption = document.policy.disruption.as_flag();
        Self { name: name.clone(), mode, disruption, paused: document.paused, fault: fault.clone() }
    }
}

fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn created(object: &Value) -> Option<i64> {
    parse_moment(object.pointer("/metadata/creationTimestamp")?.as_str()?).ok()
}

fn node_state(read: MigNode, object: &Value, age: impl Fn(Option<i64>) -> Option<i64>) -> NodeState {
    let MigNode { metadata, spec, status } = read;
    let status = status.unwrap_or_default();
    let mut gpus: Vec<GpuState> = status
        .gpus
        .into_iter()
        .map(|gpu| GpuState { index: gpu.index, model: gpu.model, instances: gpu.instances })
        .collect();
    gpus.sort_by_key(|gpu| gpu.index);
    let paused = status.conditions.iter().any(|it| it.kind == "Paused" && it.status == crd::ConditionStatus::True);
    let operation = spec.operation.map(|operation| OperationState {
        id: operation.id,
        phase: format!("{:?}", operation.phase),
        waiting_on: status.waiting_on.clone(),
        gpus: operation.gpus.iter().map(|gpu| gpu.index).collect(),
        evicts: operation.victims.len(),
        serves: operation.beneficiaries.len(),
    });
    let last = spec.history.into_iter().next().map(|ended| EndedState {
        id: ended.id,
        outcome: format!("{:?}", ended.outcome),
        detail: ended.detail,
    });
    NodeState {
        name: metadata.name.unwrap_or_default(),
        paused,
        agent: status.phase.map_or_else(|| "Silent".to_owned(), |phase| format!("{phase:?}")),
        reported: age(status_written(object)),
        age: age(created(object)),
        operation,
        last,
        layout: status.layout,
        gpus,
    }
}

/// A published plan, as it is sorted and cited.
struct Published {
    /// When it was made, in seconds since the epoch.
    made: i64,
    /// Whether it is proposed or carried out.
    in_force: bool,
    state: PlanState,
    /// The plan itself, as JSON.
    document: String,
}

fn plan_state(read: MigPlan, object: &Value, age: impl Fn(Option<i64>) -> Option<i64>) -> Published {
    let MigPlan { metadata, spec, status } = read;
    let status = status.unwrap_or_default();
    let made = created(object);
    let in_force = matches!(status.phase, None | Some(PlanPhase::Proposed | PlanPhase::Executing));
    let state = PlanState {
        name: metadata.name.unwrap_or_default(),
        phase: status.phase.map_or_else(|| "Proposed".to_owned(), |phase| format!("{phase:?}")),
        approved: spec.approval.is_some_and(|approval| approval.approved),
        age: age(made),
        summary: spec.summary,
        detail: status.detail,
    };
    Published { made: made.unwrap_or(0), in_force, state, document: spec.document }
}

/// What a plan says of each waiting pod.
fn reasons(document: &str) -> BTreeMap<String, String> {
    let Ok(plan) = plan::from_json(document, "MigPlan") else { return BTreeMap::new() };
    let served = plan.served.into_iter().map(|pod| (pod.pod, "Planned".to_owned()));
    let unserved = plan.unserved.into_iter().map(|pod| (pod.pod, pod.reason.to_string()));
    served.chain(unserved).collect()
}

fn waits(pod: &WaitingPod, said: &BTreeMap<String, String>, age: impl Fn(Option<i64>) -> Option<i64>) -> Waiting {
    let WaitingPod { created, name, wants } = pod;
    Waiting {
        pod: name.clone(),
        wants: wants.clone(),
        waited: age(*created),
        reason: said.get(name).cloned().unwrap_or_else(|| NOT_PLANNED_YET.to_owned()),
    }
}

/// Reads a cluster and shows its status.
pub(crate) fn status(args: &StatusArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let StatusArgs { installation: InstallationArgs { cluster, namespace }, output } = args;
    let read = Reach::reading(cluster)?.ask(async |server| installed(server, namespace).await)?;
    let status = Status::of(&read);
    let shown = match output {
        AnswerFormat::Text => render(&status),
        AnswerFormat::Json => json("status", &status)?,
    };
    streams.data(&shown).map_err(CliError::Stdout)?;
    Ok(SUCCESS)
}

#[cfg(test)]
mod tests;
