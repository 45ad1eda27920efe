//! `MigPolicy`: what the operator wants. The parser in `kube::policy` reads the same fields, from files and from the API server alike.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::limits;
use super::savings::SavingsStatus;
use crate::model::Mode;

/// What retile may do, how much of it at a time, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "retile.dev",
    version = "v1alpha1",
    kind = "MigPolicy",
    plural = "migpolicies",
    singular = "migpolicy",
    shortname = "mp",
    status = "MigPolicyStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "MigPolicy says what retile may do. The one named `default` counts; without any, retile only observes.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Disruption", type_ = "string", json_path = ".spec.disruption.level"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MigPolicySpec {
    /// `Observe` changes nothing; `Recommend` publishes plans that a person approves; `Act` carries plans out.
    #[serde(default)]
    pub mode: ModeSpec,
    /// Stops new operations; those under way are seen through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// How often it plans at least; 5m if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "span")]
    pub interval: Option<String>,
    /// What makes one plan better than another.
    #[serde(default)]
    pub objective: ObjectiveSpec,
    /// Which running pods may be moved, and for how much gain.
    #[serde(default)]
    pub disruption: DisruptionSpec,
    /// Limits of one cycle.
    #[serde(default)]
    pub budgets: BudgetsSpec,
    /// What keeps layouts from flapping.
    #[serde(default)]
    pub stability: StabilitySpec,
    /// What is done to other clients of a node's GPUs (device plugin, feature discovery, DCGM) while its instances change.
    #[serde(default)]
    pub clients: ClientsSpec,
    /// Times at which operations may start; none means always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<WindowSpec>,
    /// Nodes that the policy is about, beside their label `retile.dev/managed`; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<SelectorSpec>,
    /// Pods that may be moved; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<SelectorSpec>,
    /// Namespaces whose pods are never moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 63)))]
    pub protected_namespaces: Vec<String>,
    /// Prices of GPUs, for the savings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<PricesSpec>,
}

/// What retile does with a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ModeSpec {
    /// Plans, explains and counts savings; changes nothing.
    #[default]
    Observe,
    /// Publishes plans that a person approves.
    Recommend,
    /// Carries plans out.
    Act,
}

/// What is done to other clients of a node's GPUs while its instances change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientsSpec {
    /// The device plugin's pod is replaced afterwards; nothing else is touched.
    #[default]
    Restart,
    /// Those that the GPU Operator has placed are paused meanwhile, by its own deploy labels. Needs the chart's `controller.pauseClients`.
    OperatorPause,
}

/// What makes one plan better than another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveSpec {
    /// What a waiting pod weighs: `Slices`, its memory slices, so that one large pod counts as much as many small ones; `Pods`, 1 each, so that
    /// as many pods as possible are served.
    #[serde(default)]
    pub weight: WeightSpec,
}

/// What a waiting pod weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum WeightSpec {
    /// Its memory slices.
    #[default]
    Slices,
    /// 1.
    Pods,
}

/// Which running pods a plan may move.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionSpec {
    /// `IdleOnly` moves none; `Balanced` those that land again at once; `Aggressive` also Jobs and pods with local data.
    #[serde(default)]
    pub level: Level,
    /// How much more a change must serve than it disturbs; `"0"` compares nothing, `"1.5"` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "factor")]
    pub gain_factor: Option<String>,
    /// What moves cost; each costs 1, or what the pod's annotation `retile.dev/move-cost` says, and what is added here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub move_cost: Option<MoveCostSpec>,
}

/// What is added to the cost of moving a running pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveCostSpec {
    /// Added per full hour that the pod has run; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub per_running_hour: Option<u32>,
    /// Added besides per full hour that the pod of a Job has run, whose work starts again; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub per_job_hour: Option<u32>,
}

/// Which running pods may be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Level {
    /// None.
    #[default]
    IdleOnly,
    /// Those whose controller makes them again, within budgets.
    Balanced,
    /// Also Jobs and pods with local data.
    Aggressive,
}

/// Limits of one cycle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetsSpec {
    /// Nodes changed at a time: a number or a share such as `10%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "limit")]
    pub nodes: Option<serde_json::Value>,
    /// GPUs changed at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "limit")]
    pub gpus: Option<serde_json::Value>,
    /// Pods evicted in a cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub evictions_per_cycle: Option<u32>,
}

/// What keeps layouts from flapping.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StabilitySpec {
    /// How long a pod must have waited before it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "span")]
    pub min_pending_age: Option<String>,
    /// How long a GPU rests after a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "span")]
    pub gpu_cool_down: Option<String>,
    /// How often the pods of one controller may be moved until the loop starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub pod_move_cap: Option<u32>,
}

/// A time of the week at which operations may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// Days on which it starts; every day if absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Day>,
    /// When it starts, as `HH:MM` in its zone.
    #[schemars(length(max = 5), regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub start: String,
    /// How long it lasts, at most a week.
    #[schemars(schema_with = "span")]
    pub duration: String,
    /// IANA name of the time zone; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+/-]+$"))]
    pub zone: Option<String>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// Labels that must all be there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelectorSpec {
    /// Labels and their values.
    #[serde(default)]
    #[schemars(schema_with = "labels")]
    pub match_labels: BTreeMap<String, String>,
}

/// Prices in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PricesSpec {
    /// Three capital letters, such as `USD`.
    #[schemars(length(min = 3, max = 3), regex(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// Prices by GPU model: a key of the catalogue such as `A100-80GB`, or a product name.
    #[schemars(schema_with = "models")]
    pub models: BTreeMap<String, ModelPrice>,
}

/// Prices of one GPU model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelPrice {
    /// What one GPU costs to buy.
    #[schemars(schema_with = "amount")]
    pub purchase: serde_json::Value,
    /// Months over which it is written off.
    #[schemars(range(min = 1, max = 1200))]
    pub amortisation_months: u32,
    /// Cost of capital in percent per year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub interest_percent: Option<serde_json::Value>,
    /// What one such GPU costs per hour elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub on_demand_per_hour: Option<serde_json::Value>,
}

/// How the policy is received.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigPolicyStatus {
    /// Generation that this is about.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub observed_generation: i64,
    /// Mode in which the loop works under it, which is `Observe` while it is paused; absent where another policy counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeSpec>,
    /// What the last plan came to; at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_plan: Option<LastPlan>,
    /// Savings so far, from which the next leader goes on; at most once a minute. Remove it to count anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savings: Option<SavingsStatus>,
    /// `Accepted`.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What a plan came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastPlan {
    /// When it was made, by the controller's clock.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub time: String,
    /// Waiting pods that it serves.
    #[serde(default)]
    #[schemars(range(max = i32::MAX))]
    pub served: u32,
    /// Waiting pods that it does not serve.
    #[serde(default)]
    #[schemars(range(max = i32::MAX))]
    pub unserved: u32,
    /// Nodes that it changes.
    #[serde(default)]
    #[schemars(range(max = i32::MAX))]
    pub nodes: u32,
    /// Pods that it evicts.
    #[serde(default)]
    #[schemars(range(max = i32::MAX))]
    pub evicted: u32,
}

/// How a policy is received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It is the one that counts.
    InForce,
    /// The one of this name counts.
    AnotherCounts(String),
    /// It cannot be used, for this reason.
    Refused(String),
}

impl MigPolicyStatus {
    /// The status of a policy of this generation, at a moment as RFC 3339; `doing` is what the loop does under it, where it is the one that counts.
    pub fn of(
        received: &Received,
        doing: Option<(Mode, Option<&LastPlan>, Option<&SavingsStatus>)>,
        generation: i64,
        moment: &str,
        before: Option<&Self>,
    ) -> Self {
        let (accepted, reason, message) = match received {
            Received::InForce => (true, "InForce", String::new()),
            Received::AnotherCounts(name) => {
                (false, "AnotherCounts", format!("the MigPolicy named `{name}` counts, and one counts at a time"))
            }
            Received::Refused(why) => (false, "Refused", why.clone()),
        };
        let known = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
        Self {
            observed_generation: generation,
            mode: doing.map(|(mode, ..)| mode.into()),
            last_plan: doing.and_then(|(_, plan, _)| plan.cloned()),
            savings: doing.and_then(|(_, _, savings)| savings.cloned()),
            conditions: vec![Condition::new("Accepted", accepted.into(), reason, &message, generation, moment, known)],
        }
    }
}

impl From<Mode> for ModeSpec {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Observe => Self::Observe,
            Mode::Recommend => Self::Recommend,
            Mode::Act => Self::Act,
        }
    }
}

fn text(pattern: &str, most: usize) -> Schema {
    json_schema!({"type": "string", "maxLength": most, "pattern": pattern})
}

/// A span as Go writes it.
fn span(_: &mut SchemaGenerator) -> Schema {
    text(r"^(0|\+?(([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|ms|s|m|h))+)$", 32)
}

fn factor(_: &mut SchemaGenerator) -> Schema {
    text(r"^(1000|[0-9]{1,3})(\.[0-9]{0,3})?$", 8)
}

fn limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 10,
        "pattern": "^([0-9]{1,9}|(100|[0-9]{1,2})%)$",
        "minimum": 0,
        "maximum": 999_999_999,
    })
}

fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 20,
        "pattern": r"^[0-9]{1,12}(\.[0-9]{1,6})?$",
        "minimum": 0,
    })
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

fn models(generator: &mut SchemaGenerator) -> Schema {
    let price = generator.subschema_for::<ModelPrice>();
    json_schema!({"type": "object", "maxProperties": limits::PRODUCT, "additionalProperties": price})
}
