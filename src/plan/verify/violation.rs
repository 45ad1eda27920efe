//! What can be wrong with a plan: one variant per rule.
//!
//! Every message says what is wrong, where, and what to do. Invariant: a variant is raised by one check only, so that a
//! document that breaks one rule is rejected for exactly that one.

use super::super::document::{FORMAT_VERSION, LEVEL_NAMES};

/// A rule of `docs/design/semantics.md`, or of the document's own format, that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the places that the message names")]
pub enum Violation {
    // The document as a whole.
    /// The document has another format than this program reads.
    #[error("format_version is {found}, this program reads {FORMAT_VERSION}; make the plan again with this program")]
    FormatVersion { found: u32 },
    /// The plan was made for another input.
    #[error(
        "input_fingerprint is {found}, the input has {expected}: the plan was made for another state of the cluster or \
         another policy; plan again, or verify against the export and the options that it was made from"
    )]
    Fingerprint { found: String, expected: String },
    /// The plan was made at another disruption level.
    #[error("disruption is `{found}`, the policy says `{expected}`; plan again at `{expected}`")]
    Disruption { found: String, expected: String },
    /// The plan weighs pods otherwise than the policy says.
    #[error("weight is {found}, the policy says {expected}; plan again under the policy")]
    Weight { found: String, expected: String },
    /// A list is not in the order that the format promises, or names something twice.
    #[error("{list}: `{item}` stands out of order or twice; {REMAKE}")]
    Order { list: String, item: String },
    /// A node is named that the input does not have.
    #[error("{place} names the node {node}, which the input does not have; plan again from the current export")]
    UnknownNode { place: String, node: String },

    // Changes of GPUs.
    /// A GPU is named that the node does not have.
    #[error("nodes[{node}].gpus names GPU {gpu}, which the node does not have; plan again from the current export")]
    UnknownGpu { node: String, gpu: u32 },
    /// UUID or product name are those of another GPU.
    #[error(
        "node {node}, GPU {gpu}: {field} is `{found}`, the input says `{expected}`; plan again from the current export"
    )]
    Identity { node: String, gpu: u32, field: &'static str, found: String, expected: String },
    /// A node or GPU is listed without a change.
    #[error("{place} is listed but nothing changes there; {REMAKE}")]
    NoChange { place: String },
    /// `before` is not what the input says.
    #[error(
        "node {node}, GPU {gpu}: before is [{found}], the input has [{expected}]; plan again from the current export"
    )]
    Before { node: String, gpu: u32, found: String, expected: String },
    /// `after` is not `before` without `destroy` and with `create`.
    #[error(
        "node {node}, GPU {gpu}: after is [{found}], but before without destroy and with create is [{expected}]; {REMAKE}"
    )]
    After { node: String, gpu: u32, found: String, expected: String },
    /// `after` names other pods on a kept instance than those that stay, or pods on a created one.
    #[error(
        "node {node}, GPU {gpu}: after says that [{found}] stay on {instance}, those that stay are [{expected}]; {REMAKE}"
    )]
    Staying { node: String, gpu: u32, instance: String, found: String, expected: String },
    /// Something is destroyed that is not there.
    #[error("node {node}, GPU {gpu}: destroys {instance}, which is not there; plan again from the current export")]
    DestroysAbsent { node: String, gpu: u32, instance: String },
    /// An instance is destroyed and created again at the same place.
    #[error(
        "node {node}, GPU {gpu}: destroys and creates {instance} at the same place; such an instance is kept, leave it out of both lists"
    )]
    Recreates { node: String, gpu: u32, instance: String },
    /// Something is handed over that is not there.
    #[error("node {node}, GPU {gpu}: hands over {instance}, which is not there; plan again from the current export")]
    HandsOverAbsent { node: String, gpu: u32, instance: String },
    /// An instance is handed over that is destroyed as well.
    #[error("node {node}, GPU {gpu}: hands over {instance}, which it destroys as well; list it under one of both")]
    HandsOverDestroyed { node: String, gpu: u32, instance: String },
    /// An instance is handed over that no pod holds, or that something unknown may hold.
    #[error(
        "node {node}, GPU {gpu}: hands over {instance}, on which no known pod could make way; leave it out of the list"
    )]
    HandsOverUnheld { node: String, gpu: u32, instance: String },
    /// `destroy` or `hand_over` name other pods than hold the instance, or `create` names any.
    #[error(
        "node {node}, GPU {gpu}: {list} says that [{found}] hold {instance}, the input says [{expected}]; {REMAKE}"
    )]
    Holders { node: String, gpu: u32, list: &'static str, instance: String, found: String, expected: String },
    /// A profile is named that the board does not have.
    #[error("node {node}, GPU {gpu}: the board {board} has no profile {profile}; `retile layouts` lists its profiles")]
    UnknownProfile { node: String, gpu: u32, board: String, profile: String },
    /// A profile is placed where the board cannot place it.
    #[error("node {node}, GPU {gpu}: {instance} is no place of the board {board}, {legal}; {REMAKE}")]
    Place { node: String, gpu: u32, instance: String, board: String, legal: String },
    /// Two instances share slots.
    #[error("node {node}, GPU {gpu}: {first} and {second} overlap; {REMAKE}")]
    Overlap { node: String, gpu: u32, first: String, second: String },
    /// More instances of a profile than the board takes.
    #[error("node {node}, GPU {gpu}: {count} instances of {profile}, the board takes {most}; {REMAKE}")]
    TooManyOfProfile { node: String, gpu: u32, profile: String, count: usize, most: u8 },
    /// More instances than a GPU takes.
    #[error("node {node}, GPU {gpu}: {count} instances, a GPU takes {most}; {REMAKE}")]
    TooManyInstances { node: String, gpu: u32, count: usize, most: usize },
    /// Media engines are given out twice.
    #[error("node {node}, GPU {gpu}: {instance} needs media engines that another instance takes; {REMAKE}")]
    Media { node: String, gpu: u32, instance: String },
    /// A frozen GPU is changed.
    #[error("node {node}, GPU {gpu}: must not be changed ({reason}: {detail}); plan again")]
    Frozen { node: String, gpu: u32, reason: String, detail: String },
    /// A node of strategy `single` is changed in a way that the strategy does not allow.
    #[error("node {node} has the strategy `single`: {detail}; leave the node as it is or cut all its GPUs alike")]
    SingleStrategy { node: String, detail: String },
    /// An instance is destroyed that somebody unknown may hold.
    #[error(
        "node {node}, GPU {gpu}: destroys {instance}, which something unknown may hold; find out who holds it first"
    )]
    DestroysUnknown { node: String, gpu: u32, instance: String },

    // Evictions.
    /// A pod is evicted that may not be moved.
    #[error(
        "pod {pod} holds an instance that is destroyed or handed over, but at `{level}` it may not be moved; {REMAKE}"
    )]
    NotMovable { pod: String, level: String },
    /// A pod whose instance is destroyed or handed over is not in the list of evictions.
    #[error(
        "pod {pod} holds {instance} on node {node}, GPU {gpu}, which is destroyed or handed over, but it is not evicted; {REMAKE}"
    )]
    NotEvicted { pod: String, node: String, gpu: u32, instance: String },
    /// A pod is evicted that loses nothing.
    #[error("nodes[{node}].evict names {pod}, which holds no instance that is destroyed or handed over; {REMAKE}")]
    NeedlessEviction { node: String, pod: String },
    /// A pod is evicted that the input does not have.
    #[error(
        "nodes[{node}].evict names {pod}, which holds no instance in the input; plan again from the current export"
    )]
    EvictsUnknown { node: String, pod: String },
    /// A pod is evicted from a node where it does not run.
    #[error("nodes[{node}].evict names {pod}, which runs on {actual}; {REMAKE}")]
    EvictedElsewhere { node: String, pod: String, actual: String },
    /// The UID of a pod is that of another one.
    #[error("{place}: the uid of {pod} is `{found}`, the input says `{expected}`; plan again from the current export")]
    Uid { place: String, pod: String, found: String, expected: String },
    /// A pod is evicted twice.
    #[error("nodes[{node}].evict names {pod} again, which is already evicted; {REMAKE}")]
    EvictedTwice { node: String, pod: String },
    /// An evicted pod has no place, and may not be displaced.
    #[error(
        "pod {pod} of priority {priority} is evicted without a new place, but {why}; give it a place or let it stay"
    )]
    Displaced { pod: String, priority: i32, why: &'static str },

    // Landing.
    /// A pod lands on a node that it cannot use.
    #[error("{place} puts {pod} on {node}, where the scheduler cannot put it; {REMAKE}")]
    NotEligible { place: String, pod: String, node: String },
    /// More replicas are asked for than a node offers.
    #[error(
        "node {node}: the pods that land ask for {asked} of {resource}, after the change {offered} are left; {REMAKE}"
    )]
    Supply { node: String, resource: String, asked: u64, offered: u64 },
    /// More of an ordinary resource is asked for than a node has.
    #[error("node {node}: the pods that land ask for {asked} of {resource}, {free} are free; {REMAKE}")]
    Capacity { node: String, resource: String, asked: i64, free: i64 },

    // Budgets.
    /// A `PodDisruptionBudget` is overdrawn.
    #[error("PodDisruptionBudget {budget}: {evicted} pods are evicted, {allowed} may be; evict fewer or wait")]
    DisruptionBudget { budget: String, evicted: u64, allowed: u32 },
    /// A budget of the policy is overdrawn.
    #[error("{found} nodes are touched, the policy's budget is {allowed}; plan fewer or raise spec.budgets.nodes")]
    NodeBudget { found: u64, allowed: u64 },
    /// A budget of the policy is overdrawn.
    #[error("{found} GPUs are touched, the policy's budget is {allowed}; plan fewer or raise spec.budgets.gpus")]
    GpuBudget { found: u64, allowed: u64 },
    /// A budget of the policy is overdrawn.
    #[error(
        "{found} pods are evicted, the policy's budget is {allowed}; plan fewer or raise spec.budgets.evictionsPerCycle"
    )]
    EvictionBudget { found: u64, allowed: u64 },
    /// The moves cannot pay for themselves, whatever could be served without them.
    #[error(
        "all that is served weighs {served}, the moves cost {cost}: that cannot reach the gain factor {factor}; move \
         less or lower spec.disruption.gainFactor"
    )]
    Gain { served: u64, cost: u64, factor: String },

    // Waiting pods.
    /// A pod is served that does not wait.
    #[error("served names {pod}, which is not among the waiting pods; plan again from the current export")]
    ServesUnknown { pod: String },
    /// A pod is served that cannot be planned for.
    #[error("served names {pod}, for which nothing can be promised ({reason}); list it under unserved")]
    ServesUnplannable { pod: String, reason: String },
    /// A pod is in the list of the unserved that does not wait.
    #[error("unserved names {pod}, which is not among the waiting pods; plan again from the current export")]
    UnservedUnknown { pod: String },
    /// A pod is both served and unserved.
    #[error("{pod} is both served and unserved; list it once")]
    ServedAndUnserved { pod: String },
    /// A waiting pod is in neither list.
    #[error("{pod} waits and is neither served nor unserved; list it with the reason")]
    Forgotten { pod: String },

    /// A served pod is said to land on something else than it does.
    #[error("served[{pod}].by is `{found}`, from the changes of the node follows `{expected}`; {REMAKE}")]
    ServedBy { pod: String, found: &'static str, expected: &'static str },
    /// A pod is said to wait for a reason that cannot be.
    #[error("unserved[{pod}].reason is {found}, but {why}; {REMAKE}")]
    Reason { pod: String, found: String, why: String },

    // Numbers.
    /// A total is wrong.
    #[error("summary.{field} is {found}, counted are {expected}; {REMAKE}")]
    Summary { field: &'static str, found: u64, expected: u64 },
    /// The levels are not those of the objective.
    #[error("optimality.levels are [{found}], they must be [{}]; {REMAKE}", LEVEL_NAMES.join(", "))]
    Levels { found: String },
    /// A level's value is wrong.
    #[error("optimality.levels[{level}].value is {found}, computed from the plan it is {expected}; {REMAKE}")]
    Value { level: &'static str, found: i64, expected: i64 },
    /// The tiers are not the priorities of the waiting pods, or stand where none belong.
    #[error(
        "optimality.levels[{level}].tiers are for the priorities {found:?}, they must be for {expected:?}; {REMAKE}"
    )]
    Tiers { level: &'static str, found: Vec<i32>, expected: Vec<i32> },
    /// A tier's value is wrong.
    #[error(
        "optimality.levels[served].tiers[{priority}].value is {found}, computed from the plan it is {expected}; {REMAKE}"
    )]
    TierValue { priority: i32, found: i64, expected: i64 },
    /// A value is better than what is said to be the best possible.
    #[error("{place}: the value {value} is better than the bound {bound}, which is therefore none; {REMAKE}")]
    BeyondBound { place: String, value: i64, bound: i64 },
    /// The status does not follow from values and bounds.
    #[error("optimality.status is `{found}`, from values and bounds follows `{expected}`; {REMAKE}")]
    Status { found: &'static str, expected: &'static str },

    // Steps.
    /// The steps cannot be carried out, or do not lead to `after`.
    #[error("nodes[{node}].steps{at}: {detail}; derive the steps again")]
    Steps { node: String, at: String, detail: String },
}

const REMAKE: &str = "the plan contradicts itself or its input, plan again";

/// All the rules that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan breaks {} rule(s):{}", violations.len(), list(violations))]
pub struct Rejection {
    /// In the order of the checks; never empty.
    pub violations: Vec<Violation>,
}

fn list(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    format!("\n  - {}", lines.join("\n  - "))
}
