//! `MigPlan`: a verified plan, published for people and, in `Recommend`, for their approval. The spec never changes.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::limits;

/// Largest plan document in bytes that is published; etcd refuses objects above 1.5 MiB.
pub(crate) const DOCUMENT: usize = 768 * 1024;

/// A verified plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "retile.dev",
    version = "v1alpha1",
    kind = "MigPlan",
    plural = "migplans",
    singular = "migplan",
    shortname = "mpl",
    status = "MigPlanStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "MigPlan is a plan that retile has verified. In mode `Recommend` it is carried out once a person approves it.",
    printcolumn(name = "Serves", type_ = "integer", json_path = ".spec.served"),
    printcolumn(name = "Evicts", type_ = "integer", json_path = ".spec.evicted"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".spec.nodes"),
    printcolumn(name = "Approved", type_ = "boolean", json_path = ".spec.approval.approved"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.document == oldSelf.document && self.fingerprint == oldSelf.fingerprint && self.served == oldSelf.served && \
         self.evicted == oldSelf.evicted && self.nodes == oldSelf.nodes && self.summary == oldSelf.summary"
    ).message("a plan never changes; only its approval does")
)]
pub struct MigPlanSpec {
    /// Fingerprint of the state that the plan was made for.
    #[schemars(length(max = limits::ID))]
    pub fingerprint: String,
    /// Waiting pods that it serves.
    #[schemars(range(max = i32::MAX))]
    pub served: u32,
    /// Pods that it evicts.
    #[schemars(range(max = i32::MAX))]
    pub evicted: u32,
    /// Nodes that it changes.
    #[schemars(range(max = i32::MAX))]
    pub nodes: u32,
    /// What it does, in words.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub summary: String,
    /// The plan as `retile plan -o json` prints it: `retile verify` and `retile apply` read it.
    #[schemars(length(max = DOCUMENT))]
    pub document: String,
    /// A person's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// Whether a person wants the plan carried out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Whether it is approved.
    pub approved: bool,
    /// Who, for the record; the audit log has the truth.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = limits::NAME))]
    pub by: String,
}

/// What became of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigPlanStatus {
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PlanPhase>,
    /// Why, in words.
    #[serde(default)]
    #[schemars(length(max = limits::DETAIL))]
    pub detail: String,
    /// Operations that carry it out.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = limits::ID)))]
    pub operations: Vec<String>,
    /// Aspects of its state.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How far a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PlanPhase {
    /// Published; nothing of it has begun.
    Proposed,
    /// Operations carry it out, or wait for budgets.
    Executing,
    /// All its operations are over.
    Finished,
    /// A newer plan was made, or nothing of it was carried out.
    Superseded,
}
