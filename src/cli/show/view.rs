//! What is shown of a plan: lines and bars, with what is alike drawn together.
//!
//! Input: a plan and the axes of its boards. Output: a [`View`], which names each pod, node and GPU as it is to be printed.
//! Invariant: the size of a view is bounded whatever the size of the plan, and wherever something is left out the view says so; the
//! JSON form leaves nothing out. Must not depend on the planner.

use std::collections::BTreeMap;

use super::bar::{Fate, Tile};
use super::names::{clean, count, ranges, some_of, some_pods, thousands};
use crate::model::Weight;
use crate::plan::{Eviction, GpuChange, Level, NodePlan, Plan, PlannedInstance, ServedBy, Status};

/// Length of the placement axis by product name.
pub(crate) type Axes = BTreeMap<String, u8>;

/// Groups of nodes up to which nodes are shown one group at a time; above, GPUs that change alike are shown together.
const MOST_NODE_GROUPS: usize = 12;
/// Blocks with bars at most.
const MOST_BLOCKS: usize = 40;
/// Lines of one list at most.
const MOST_LINES: usize = 16;
/// Names on one line at most.
const MOST_NAMES: usize = 4;

/// A plan, ready to be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// What this is.
    pub title: String,
    /// Changes, with bars.
    pub blocks: Vec<Block>,
    /// Lists: evictions (where they are not in the blocks), served pods, pods that wait on.
    pub sections: Vec<Section>,
    /// How good the plan is, level by level.
    pub optimality: Optimality,
    /// Totals.
    pub footer: String,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Changes that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where.
    pub title: String,
    /// GPUs, each with its bars.
    pub changes: Vec<Change>,
    /// Evictions, one line each.
    pub evictions: Vec<String>,
}

/// One GPU, or several that change alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Which.
    pub label: String,
    /// What happens.
    pub shape: Shape,
    /// Instances to destroy, with the pods on them where it is one GPU.
    pub destroy: Vec<String>,
    /// Instances to create.
    pub create: Vec<String>,
    /// Instances to hand over, with the pods on them where it is one GPU.
    pub hand_over: Vec<String>,
}

/// A change without the identity of the GPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// Product name.
    pub model: String,
    /// Length of the axis.
    pub axis: u8,
    /// Tiles now.
    pub before: Vec<Tile>,
    /// Tiles afterwards.
    pub after: Vec<Tile>,
}

/// A titled list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// What it lists.
    pub title: String,
    /// Entries: a line, and lines that belong to it.
    pub entries: Vec<(String, Vec<String>)>,
}

/// The optimality table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Optimality {
    /// In one sentence.
    pub title: String,
    /// Rows: level, value, bound, remark.
    pub rows: Vec<[String; 4]>,
}

impl View {
    /// Makes the view of a plan.
    pub(crate) fn of(plan: &Plan, axes: &Axes) -> Self {
        let groups = node_groups(&plan.nodes, axes);
        let (blocks, evictions) = if groups.len() <= MOST_NODE_GROUPS {
            (groups.into_iter().map(NodeGroup::block).collect(), None)
        } else {
            (blocks_by_shape(&plan.nodes, axes), eviction_section(&plan.nodes))
        };
        let sections = [evictions, served(plan), unserved(plan)].into_iter().flatten().collect();
        Self {
            title: title(plan),
            blocks,
            sections,
            optimality: optimality(plan),
            footer: footer(plan),
            notes: capped(notes(&plan.notes).into_iter(), "note"),
        }
    }
}

/// The block of one node.
pub(crate) fn node_block(node: &NodePlan, axes: &Axes) -> Option<Block> {
    node_groups(std::slice::from_ref(node), axes).pop().map(NodeGroup::block)
}

fn title(plan: &Plan) -> String {
    let fingerprint: String = plan.input_fingerprint.chars().take(12).collect();
    let proof = match plan.optimality.status {
        Status::Optimal => "proven optimal",
        Status::Feasible => "legal, optimality not proven",
    };
    format!("Plan for input {} · {} · {proof}", clean(&fingerprint), clean(&plan.disruption))
}

/// Nodes whose GPUs change alike.
struct NodeGroup<'a> {
    nodes: Vec<&'a NodePlan>,
    changes: Vec<(Shape, Vec<&'a GpuChange>)>,
}

fn node_groups<'a>(nodes: &'a [NodePlan], axes: &Axes) -> Vec<NodeGroup<'a>> {
    let mut position: BTreeMap<Vec<(Shape, Vec<u32>)>, usize> = BTreeMap::new();
    let mut groups: Vec<NodeGroup<'a>> = Vec::new();
    for node in nodes {
        let mut changes: Vec<(Shape, Vec<&GpuChange>)> = Vec::new();
        for gpu in &node.gpus {
            let shape = shape(gpu, axes);
            match changes.iter_mut().find(|(known, _)| *known == shape) {
                Some((_, gpus)) => gpus.push(gpu),
                None => changes.push((shape, vec![gpu])),
            }
        }
        let key = changes.iter().map(|(shape, gpus)| (shape.clone(), indices(gpus))).collect();
        if let Some(&at) = position.get(&key) {
            groups[at].nodes.push(node);
        } else {
            position.insert(key, groups.len());
            groups.push(NodeGroup { nodes: vec![node], changes });
        }
    }
    groups
}

fn indices(gpus: &[&GpuChange]) -> Vec<u32> {
    gpus.iter().map(|gpu| gpu.index).collect()
}

impl NodeGroup<'_> {
    fn block(self) -> Block {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        let alone = names.len() == 1;
        let title = if alone {
            format!("node {}", clean(names[0]))
        } else {
            format!("{} alike: {}", count(names.len() as u64, "node"), some_of(&names, MOST_NAMES))
        };
        let changes = self
            .changes
            .into_iter()
            .map(|(shape, gpus)| {
                let single = (alone && gpus.len() == 1).then(|| gpus[0]);
                let mut label = format!("GPU{} {}", if gpus.len() == 1 { "" } else { "s" }, ranges(&indices(&gpus)));
                if let Some(gpu) = single.filter(|gpu| !gpu.uuid.is_empty()) {
                    label = format!("{label}  {}", clean(&gpu.uuid));
                }
                label = format!("{label}  {}", clean(&shape.model));
                Change {
                    label,
                    destroy: operations(&gpus[0].destroy, single.is_some()),
                    create: operations(&gpus[0].create, false),
                    hand_over: operations(&gpus[0].hand_over, single.is_some()),
                    shape,
                }
            })
            .collect();
        let evictions = self
            .nodes
            .iter()
            .flat_map(|node| node.evict.iter().map(move |eviction| (node, eviction)))
            .map(|(node, eviction)| eviction_line((!alone).then_some(node.name.as_str()), eviction));
        Block { title, changes, evictions: capped(evictions, "eviction") }
    }
}

/// At most [`MOST_LINES`] lines, the last of which says how many were left out.
fn capped(lines: impl Iterator<Item = String>, what: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    let total = lines.len();
    if total > MOST_LINES {
        lines.truncate(MOST_LINES - 1);
        lines.push(format!(
            "… and {} (`-o json` lists all)",
            count((total - lines.len()) as u64, &format!("more {what}"))
        ));
    }
    lines
}

fn eviction_line(from: Option<&str>, eviction: &Eviction) -> String {
    let Eviction { pod, uid: _, placed_on } = eviction;
    let from = from.map_or_else(String::new, |node| format!(" from {}", clean(node)));
    match placed_on {
        Some(node) => format!("evict {}{from} -> lands on {}", clean(pod), clean(node)),
        None => format!("evict {}{from} -> waits again (displaced by higher priority)", clean(pod)),
    }
}

fn operations(instances: &[PlannedInstance], with_pods: bool) -> Vec<String> {
    instances
        .iter()
        .map(|PlannedInstance { start, size, profile, pods, occupancy_unknown: _ }| {
            let held =
                if with_pods && !pods.is_empty() { format!(" ({})", some_of(pods, MOST_NAMES)) } else { String::new() };
            format!("{} {start}:{size}{held}", clean(profile))
        })
        .collect()
}

fn shape(gpu: &GpuChange, axes: &Axes) -> Shape {
    let GpuChange { index: _, uuid: _, model, before, after, destroy, create, hand_over } = gpu;
    let same =
        |a: &PlannedInstance, b: &PlannedInstance| (a.start, a.size, &a.profile) == (b.start, b.size, &b.profile);
    let makes_way = |instance: &PlannedInstance| hand_over.iter().any(|other| same(other, instance));
    let tiles = |instances: &[PlannedInstance], changed: &[PlannedInstance], fate: Fate| {
        instances
            .iter()
            .map(|instance| {
                let held = !instance.pods.is_empty() || instance.occupancy_unknown;
                let fate = if changed.iter().any(|other| same(other, instance)) { fate } else { Fate::Kept };
                let word = match (fate, held) {
                    (Fate::Created, _) => "new",
                    (Fate::Kept, false) if makes_way(instance) => "handed over",
                    (Fate::Kept | Fate::Destroyed, true) if instance.occupancy_unknown => "unknown",
                    (Fate::Kept | Fate::Destroyed, true) => "busy",
                    (Fate::Kept | Fate::Destroyed, false) => "free",
                };
                Tile { start: instance.start, size: instance.size, profile: clean(&instance.profile), held, fate, word }
            })
            .collect::<Vec<_>>()
    };
    let reach =
        before.iter().chain(after).map(|instance| instance.start.saturating_add(instance.size)).max().unwrap_or(0);
    let least = match reach {
        5..=8 => 8,
        9..=12 => 12,
        reach => reach,
    };
    let axis = axes.get(model).copied().unwrap_or(0).max(least);
    Shape {
        model: model.clone(),
        axis,
        before: tiles(before, destroy, Fate::Destroyed),
        after: tiles(after, create, Fate::Created),
    }
}

/// Large plans: one block per distinct change, with the GPUs that it happens on.
fn blocks_by_shape(nodes: &[NodePlan], axes: &Axes) -> Vec<Block> {
    let mut shapes: BTreeMap<Shape, Vec<(&NodePlan, &GpuChange)>> = BTreeMap::new();
    for node in nodes {
        for gpu in &node.gpus {
            shapes.entry(shape(gpu, axes)).or_default().push((node, gpu));
        }
    }
    let mut shapes: Vec<_> = shapes.into_iter().collect();
    shapes.sort_by_key(|(_, gpus)| std::cmp::Reverse(gpus.len()));
    let hidden: Vec<_> = shapes.split_off(shapes.len().min(MOST_BLOCKS));
    let mut blocks: Vec<Block> = shapes.into_iter().map(|(shape, gpus)| shape_block(shape, &gpus)).collect();
    if !hidden.is_empty() {
        let gpus: usize = hidden.iter().map(|(_, gpus)| gpus.len()).sum();
        let title = format!(
            "… and {} on {} (`-o json` lists all)",
            count(hidden.len() as u64, "further kind") + " of change",
            count(gpus as u64, "GPU")
        );
        blocks.push(Block { title, changes: Vec::new(), evictions: Vec::new() });
    }
    blocks
}

fn shape_block(shape: Shape, gpus: &[(&NodePlan, &GpuChange)]) -> Block {
    let mut by_node: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (node, gpu) in gpus {
        by_node.entry(&node.name).or_default().push(gpu.index);
    }
    let places: Vec<String> =
        by_node.iter().map(|(node, indices)| format!("{node}/{}", ranges(indices).replace(", ", "+"))).collect();
    let title = format!(
        "{} on {}, {}",
        count(gpus.len() as u64, "GPU"),
        count(by_node.len() as u64, "node"),
        clean(&shape.model)
    );
    let (_, first) = gpus[0];
    let change = Change {
        label: some_of(&places, MOST_NAMES),
        destroy: operations(&first.destroy, false),
        create: operations(&first.create, false),
        hand_over: operations(&first.hand_over, false),
        shape,
    };
    Block { title, changes: vec![change], evictions: Vec::new() }
}

fn eviction_section(nodes: &[NodePlan]) -> Option<Section> {
    let all = nodes.iter().flat_map(|node| node.evict.iter().map(move |eviction| (node, eviction)));
    let total = all.clone().count();
    if total == 0 {
        return None;
    }
    let lines = capped(all.map(|(node, eviction)| eviction_line(Some(&node.name), eviction)), "eviction");
    Some(Section {
        title: format!("{} to evict", count(total as u64, "pod")),
        entries: lines.into_iter().map(|line| (line, Vec::new())).collect(),
    })
}

fn served(plan: &Plan) -> Option<Section> {
    if plan.served.is_empty() {
        return None;
    }
    let mut groups: BTreeMap<(ServedBy, &str), Vec<&str>> = BTreeMap::new();
    for pod in &plan.served {
        groups.entry((pod.by, &pod.node)).or_default().push(&pod.pod);
    }
    let lines = groups.iter().map(|((by, node), pods)| {
        let by = match by {
            ServedBy::Existing => "an instance that is free now",
            ServedBy::Change => "what the change makes",
        };
        format!(
            "{} on {} get{} {by}: {}",
            count(pods.len() as u64, "pod"),
            clean(node),
            if pods.len() == 1 { "s" } else { "" },
            some_pods(pods, MOST_NAMES)
        )
    });
    let title = format!(
        "Served: {} of {} ({})",
        thousands(plan.served.len() as i64),
        count(plan.summary.pending_pods, "waiting pod"),
        count(plan.summary.served_slices, "memory slice")
    );
    Some(Section { title, entries: capped(lines, "node").into_iter().map(|line| (line, Vec::new())).collect() })
}

fn unserved(plan: &Plan) -> Option<Section> {
    if plan.unserved.is_empty() {
        return None;
    }
    let mut groups: BTreeMap<(crate::model::Reason, &str, &str), Vec<&str>> = BTreeMap::new();
    for pod in &plan.unserved {
        groups.entry((pod.reason, &pod.detail, &pod.action)).or_default().push(&pod.pod);
    }
    let total = groups.len();
    let mut entries: Vec<(String, Vec<String>)> = groups
        .into_iter()
        .take(MOST_LINES)
        .map(|((reason, detail, action), pods)| {
            let head = format!("{reason}: {}", some_pods(&pods, MOST_NAMES));
            (head, vec![clean(detail), format!("to do: {}", clean(action))])
        })
        .collect();
    if total > MOST_LINES {
        entries.push((
            format!("… and {} (`-o json` lists all)", count((total - MOST_LINES) as u64, "more reason")),
            Vec::new(),
        ));
    }
    Some(Section { title: format!("Still waiting: {}", count(plan.unserved.len() as u64, "pod")), entries })
}

/// Notes, those that say the same of several objects drawn together: `Node gpu-{a, b}: …`.
fn notes(notes: &[String]) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<&str>, &str)> = Vec::new();
    for note in notes {
        let of_object = note.split_once(": ").and_then(|(object, message)| {
            let (kind, name) = object.split_once(' ')?;
            (kind.starts_with(char::is_uppercase) && !name.contains(' ')).then_some((kind, name, message))
        });
        let Some((kind, name, message)) = of_object else {
            groups.push((note, Vec::new(), ""));
            continue;
        };
        match groups.iter_mut().find(|(known, names, said)| !names.is_empty() && (*known, *said) == (kind, message)) {
            Some((_, names, _)) => names.push(name),
            None => groups.push((kind, vec![name], message)),
        }
    }
    groups
        .into_iter()
        .map(|(kind, names, message)| match names.as_slice() {
            [] => clean(kind),
            names => format!("{} {}: {}", clean(kind), some_pods(names, MOST_NAMES), clean(message)),
        })
        .collect()
}

fn optimality(plan: &Plan) -> Optimality {
    let title = match plan.optimality.status {
        Status::Optimal => "Optimality: proven on every level (value = bound)".to_owned(),
        Status::Feasible => {
            let open: Vec<&str> = plan
                .optimality
                .levels
                .iter()
                .filter(|level| level.value != level.bound)
                .map(|level| level.name.as_str())
                .collect();
            format!("Optimality: not proven on {}; a better plan may exist within the gap", some_of(&open, 8))
        }
    };
    let mut rows = Vec::new();
    for Level { name, value, bound, tiers } in &plan.optimality.levels {
        rows.push(row(clean(name), *value, *bound, meaning(name, plan.weight)));
        for tier in tiers {
            rows.push(row(format!("  priority {}", tier.priority), tier.value, tier.bound, ""));
        }
    }
    Optimality { title, rows }
}

fn row(name: String, value: i64, bound: i64, meaning: &str) -> [String; 4] {
    let gap = value.abs_diff(bound);
    let remark = match (gap, meaning) {
        (0, meaning) => meaning.to_owned(),
        (gap, "") => format!("gap {gap}"),
        (gap, meaning) => format!("gap {gap}; {meaning}"),
    };
    [name, thousands(value), thousands(bound), remark]
}

/// What a level counts.
fn meaning(level: &str, weight: Weight) -> &'static str {
    match level {
        "served" => match weight {
            Weight::Slices => "waiting demand served: memory slices, weighted by age",
            Weight::Pods => "waiting demand served: pods, weighted by age",
        },
        "disruption" => "cost of the moved pods",
        "nodes_touched" => "nodes with a change",
        "gpus_touched" => "GPUs with a change",
        "instance_changes" => "instances destroyed or created",
        "flexibility" => "room left for the forecast mix",
        "free_gpus" => "GPUs left wholly free and untouched",
        "free_nodes" => "nodes left wholly free and untouched",
        _ => "",
    }
}

fn footer(plan: &Plan) -> String {
    let crate::plan::Summary {
        pending_pods,
        served_pods,
        served_slices,
        evicted_pods,
        nodes_changed,
        gpus_changed,
        instances_destroyed,
        instances_created,
        placements_assumed,
    } = plan.summary;
    let handed_over: usize = plan.nodes.iter().flat_map(|node| &node.gpus).map(|gpu| gpu.hand_over.len()).sum();
    let handed_over =
        if handed_over > 0 { format!(", {} to hand over", thousands(handed_over as i64)) } else { String::new() };
    let changes = if gpus_changed == 0 {
        "nothing to change".to_owned()
    } else {
        format!(
            "{} on {} to change ({} to destroy, {} to create{handed_over}), {} to evict",
            count(gpus_changed, "GPU"),
            count(nodes_changed, "node"),
            count(instances_destroyed, "instance"),
            thousands(instances_created.cast_signed()),
            count(evicted_pods, "pod"),
        )
    };
    let served = format!(
        "{} of {} ({}) served",
        thousands(served_pods.cast_signed()),
        count(pending_pods, "pod"),
        count(served_slices, "slice")
    );
    let assumed = if placements_assumed { "; placements assumed" } else { "" };
    format!("Plan: {changes}; {served}{assumed}.")
}

#[cfg(test)]
#[path = "view_tests.rs"]
pub(crate) mod tests;
