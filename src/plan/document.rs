//! The plan as a document: the JSON contract that `retile plan -o json` prints and `--save` writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Reason, Weight};

/// Version of the document format; raised only when a reader of the old one would be misled.
pub const FORMAT_VERSION: u32 = 1;

/// Names of the objective's levels, in strict order of precedence.
pub const LEVEL_NAMES: [&str; 8] = [
    "served",
    "disruption",
    "nodes_touched",
    "gpus_touched",
    "instance_changes",
    "flexibility",
    "free_gpus",
    "free_nodes",
];

/// An immutable, fully specified proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of this format.
    pub format_version: u32,
    /// Program and version that made the plan. Informative: not checked by `verify`.
    pub producer: String,
    /// SHA-256 over the canonical form of the planning input, in hexadecimal: the world that the plan was made for.
    pub input_fingerprint: String,
    /// Fingerprint of the plan that this one follows, if any. Informative: not checked by `verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Disruption level that the plan was made under: `idle-only`, `balanced` or `aggressive`.
    pub disruption: String,
    /// What a served pod weighs before its age counts: `slices`, its memory slices, or `pods`, 1 each; `slices` if absent.
    #[serde(default, skip_serializing_if = "Weight::is_default")]
    pub weight: Weight,
    /// How good the plan is, and how good any plan could be.
    pub optimality: Optimality,
    /// Totals.
    pub summary: Summary,
    /// Nodes with changes, ordered by name.
    pub nodes: Vec<NodePlan>,
    /// Waiting pods that find a place, ordered by name.
    pub served: Vec<ServedPod>,
    /// Waiting pods that do not, with the reason, ordered by name.
    pub unserved: Vec<UnservedPod>,
    /// What a reader should know: assumptions, doubtful input, what more disruption would add, how many cycles the default budgets would take.
    /// Informative: not checked by `verify`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Whether all levels are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// On every level the value equals the proven bound.
    Optimal,
    /// A legal plan; on some level the bound is not reached and the gap is the difference.
    Feasible,
}

/// The value reached and the bound proven, level by level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Optimality {
    /// Whether all levels are proven.
    pub status: Status,
    /// One entry per level, in order of precedence.
    pub levels: Vec<Level>,
}

/// One level of the objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Name, one of [`LEVEL_NAMES`].
    pub name: String,
    /// Value reached.
    pub value: i64,
    /// Value that no plan can better, given the levels above.
    pub bound: i64,
    /// For `served` with several priorities: the value of each, highest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

/// Served demand of one priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Priority of the pods.
    pub priority: i32,
    /// Weight served.
    pub value: i64,
    /// Weight that no plan can exceed, given the higher priorities.
    pub bound: i64,
}

/// Totals of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Waiting pods that ask for MIG instances, plannable or not.
    pub pending_pods: u64,
    /// Waiting pods that find a place.
    pub served_pods: u64,
    /// Memory slices that these pods ask for.
    #[serde(default)]
    pub served_slices: u64,
    /// Running pods that are evicted.
    pub evicted_pods: u64,
    /// Nodes with a touched GPU.
    pub nodes_changed: u64,
    /// GPUs on which an instance is destroyed, created or handed over.
    pub gpus_changed: u64,
    /// Instances destroyed.
    pub instances_destroyed: u64,
    /// Instances created.
    pub instances_created: u64,
    /// Whether the source only gave counts, so that the places of instances were inferred.
    pub placements_assumed: bool,
}

/// Changes on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// Name of the node.
    pub name: String,
    /// Touched GPUs, ordered by index.
    pub gpus: Vec<GpuChange>,
    /// Pods to evict from this node, ordered by name.
    pub evict: Vec<Eviction>,
    /// The changes of `gpus` in an order that can be carried out, GPU by GPU, once the pods of `evict` are gone; empty
    /// only where instances are only handed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// What a step does to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepAction {
    /// Destroys the instance; by then nobody may hold it.
    Destroy,
    /// Creates the instance.
    Create,
}

/// One change of one instance, with the layout that must be there before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is done.
    pub action: StepAction,
    /// Index of the GPU on the node.
    pub gpu: u32,
    /// GPU UUID; empty when the source does not tell it.
    pub uuid: String,
    /// The instance that is destroyed or created.
    pub instance: Place,
    /// All instances of the GPU before the step, ordered by start.
    pub precondition: Vec<Place>,
}

/// An instance by profile and exact place alone, whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// First unit on the board's slot axis.
    pub start: u8,
    /// Units taken.
    pub size: u8,
    /// Profile as `nvidia-smi mig` spells it.
    pub profile: String,
}

/// Changes on one GPU: `before` without `destroy` and with `create` is `after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuChange {
    /// Index on the node.
    pub index: u32,
    /// GPU UUID; empty when the source does not tell it.
    pub uuid: String,
    /// Product name.
    pub model: String,
    /// Instances now, ordered by start.
    pub before: Vec<PlannedInstance>,
    /// Instances afterwards, ordered by start; `pods` names those that stay.
    pub after: Vec<PlannedInstance>,
    /// Instances to destroy, ordered by start.
    pub destroy: Vec<PlannedInstance>,
    /// Instances to create, ordered by start.
    pub create: Vec<PlannedInstance>,
    /// Instances to hand over, ordered by start: they are kept, and the pods on them, which `pods` names, make way for others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hand_over: Vec<PlannedInstance>,
}

/// An instance by profile and exact place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedInstance {
    /// First unit on the board's slot axis.
    pub start: u8,
    /// Units taken.
    pub size: u8,
    /// Profile as `nvidia-smi mig` spells it.
    pub profile: String,
    /// Pods that hold it, as `namespace/name`.
    #[serde(default)]
    pub pods: Vec<String>,
    /// Whether it is, or may be, held by something that the source cannot name. Unknown is not free.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub occupancy_unknown: bool,
}

/// A pod to evict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Eviction {
    /// Pod as `namespace/name`.
    pub pod: String,
    /// UID that the eviction is pinned to.
    pub uid: String,
    /// Node where the same plan has a place for it; `null` when it is displaced by a pod of higher priority.
    pub placed_on: Option<String>,
}

/// What a served pod lands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServedBy {
    /// The node had, without any change, a free instance for it.
    Existing,
    /// Instances that the plan creates, hands over or frees on the node.
    Change,
}

/// A waiting pod that finds a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServedPod {
    /// Pod as `namespace/name`.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// Node where the plan has a place for it. The scheduler may choose another one of equal use.
    pub node: String,
    /// What it lands on: on each node, what is free now and stays serves first, in the order of this list.
    pub by: ServedBy,
}

/// A waiting pod that finds no place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnservedPod {
    /// Pod as `namespace/name`.
    pub pod: String,
    /// Why. `verify` refuses what the cluster and the policy rule out, and repeats no search.
    pub reason: Reason,
    /// Why, in words. Informative: not checked by `verify`.
    pub detail: String,
    /// What would change it. Informative: not checked by `verify`.
    pub action: String,
}
