//! `explain gpu`: what a GPU holds, what the plan does with it, and what keeps it from more.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::pod::movability;
use crate::cli::show::bar::{self, Fate, Tile};
use crate::cli::show::names::{clean, some_pods};
use crate::cli::show::{Axes, text};
use crate::model::{
    Demand, Gpu, GpuId, Instance, Layout, MediaEngines, MigStrategy, Occupancy, Placement, PlanningInput, ResourceId,
};
use crate::plan::{GpuChange, NodePlan, Plan, ServedBy};

/// Finds a GPU by the name of its node and its index there.
pub(crate) fn find(input: &PlanningInput, node: &str, index: u32) -> Option<GpuId> {
    let node = input.nodes().iter().find(|known| known.name == node)?;
    node.gpus.clone().find(|&position| input.gpus()[position].index == index).map(GpuId::new)
}

/// Explains one GPU; `alone` is why a controller leaves its node alone, where it does.
pub(crate) fn explain(input: &PlanningInput, plan: &Plan, axes: &Axes, id: GpuId, alone: Option<&str>) -> String {
    let gpu = &input.gpus()[id.index()];
    let node = &input.nodes()[gpu.node.index()];
    let changes = plan.nodes.iter().find(|changes| changes.name == node.name);
    let change = changes.and_then(|changes| changes.gpus.iter().find(|change| change.index == gpu.index));
    let axis = gpu.geometry.axis();
    let mut out = format!(
        "GPU {}/{}  {}{} (board {}, {axis} slots)\n",
        clean(&node.name),
        gpu.index,
        if gpu.uuid.is_empty() { String::new() } else { clean(&gpu.uuid) + "  " },
        clean(&gpu.product),
        clean(&gpu.geometry.board().key)
    );
    let _ = writeln!(out, "      slots   {}", bar::ruler(axis));
    let _ = writeln!(out, "      now     {}", bar::draw(axis, &tiles(gpu)));
    let _ = writeln!(out, "{}\n\nInstances", bar::LEGEND);
    if gpu.instances.is_empty() {
        let _ = writeln!(out, "  none: the GPU is in MIG mode and not cut");
    }
    for instance in &gpu.instances {
        let _ = writeln!(out, "  {}", holder(input, gpu, instance));
    }
    let _ = writeln!(out, "\nWhat the plan does");
    match (changes, change) {
        (Some(changes), Some(change)) => out += &changed(input, gpu, changes, change, axes, plan),
        (_, None) | (None, _) => {
            let _ = writeln!(out, "  leaves it as it is");
        }
    }
    let _ = writeln!(out, "\nWhat keeps it from more");
    for line in obstacles(input, gpu, change.is_some(), alone) {
        let _ = writeln!(out, "  {line}");
    }
    let _ = writeln!(out, "\nLargest profile that can be placed");
    for (when, kept) in stages(input, gpu) {
        let largest = largest(gpu, &kept).unwrap_or_else(|| "none".into());
        let _ = writeln!(out, "  {when:<48} {largest}");
    }
    out
}

fn tiles(gpu: &Gpu) -> Vec<Tile> {
    gpu.instances
        .iter()
        .map(|instance| {
            let (held, word) = match instance.occupancy {
                Occupancy::Free => (false, "free"),
                Occupancy::Busy(_) => (true, "busy"),
                Occupancy::Unknown => (true, "unknown"),
            };
            let placement = instance.placement;
            let profile = gpu.geometry.profile(placement.profile()).name.clone();
            Tile { start: placement.start(), size: placement.size(), profile, held, fate: Fate::Kept, word }
        })
        .collect()
}

fn holder(input: &PlanningInput, gpu: &Gpu, instance: &Instance) -> String {
    let place = format!("{:<18}", gpu.geometry.show(instance.placement));
    match &instance.occupancy {
        Occupancy::Free => format!("{place} free"),
        Occupancy::Unknown => format!("{place} held or not, the source does not tell: neither offered nor destroyed"),
        Occupancy::Busy(pods) => {
            let pods: Vec<String> = pods
                .iter()
                .map(|id| {
                    let pod = &input.running()[id.index()];
                    format!("{}, which {}", clean(&pod.pod.to_string()), movability(pod))
                })
                .collect();
            format!("{place} held by {}", pods.join("; "))
        }
    }
}

fn changed(
    input: &PlanningInput,
    gpu: &Gpu,
    changes: &NodePlan,
    change: &GpuChange,
    axes: &Axes,
    plan: &Plan,
) -> String {
    let leaves = change.destroy.iter().chain(&change.hand_over);
    let held: BTreeSet<&String> = leaves.flat_map(|instance| &instance.pods).collect();
    let evict = changes.evict.iter().filter(|eviction| held.contains(&eviction.pod)).cloned().collect();
    let node = NodePlan { name: changes.name.clone(), gpus: vec![change.clone()], evict, steps: Vec::new() };
    let mut out = text::node(&node, axes);
    let does = match (change.create.is_empty(), change.hand_over.is_empty()) {
        (_, true) => "creates",
        (true, false) => "hands over",
        (false, false) => "creates and hands over",
    };
    for (what, pods) in beneficiaries(input, gpu, change, &changes.name, plan) {
        if !pods.is_empty() {
            let _ = writeln!(out, "  why: what it {does} is there for {what}: {}", some_pods(&pods, 6));
        }
    }
    out
}

/// The waiting and the moved pods that land on the node and ask for what the GPU's new or handed-over instances offer.
fn beneficiaries<'p>(
    input: &PlanningInput,
    gpu: &Gpu,
    change: &GpuChange,
    node: &str,
    plan: &'p Plan,
) -> [(&'static str, Vec<&'p str>); 2] {
    let offered: BTreeSet<ResourceId> = change
        .create
        .iter()
        .chain(&change.hand_over)
        .filter_map(|instance| gpu.offer(gpu.geometry.find(&instance.profile)?).map(|offer| offer.resource))
        .collect();
    let asks = |demand: &Demand| demand.iter().any(|(resource, _)| offered.contains(&resource));
    let waiting: BTreeSet<String> =
        input.pending().iter().filter(|pod| asks(&pod.demand)).map(|pod| pod.pod.to_string()).collect();
    let running: BTreeSet<String> =
        input.running().iter().filter(|pod| asks(&pod.demand)).map(|pod| pod.pod.to_string()).collect();
    let served = plan.served.iter().filter(|pod| pod.node == node && pod.by == ServedBy::Change);
    let moved = plan.nodes.iter().flat_map(|node| &node.evict);
    let arriving = moved.filter(|eviction| eviction.placed_on.as_deref() == Some(node));
    [
        ("waiting pods", served.map(|pod| pod.pod.as_str()).filter(|pod| waiting.contains(*pod)).collect()),
        (
            "pods that move here",
            arriving.map(|eviction| eviction.pod.as_str()).filter(|pod| running.contains(*pod)).collect(),
        ),
    ]
}

fn obstacles(input: &PlanningInput, gpu: &Gpu, changed: bool, alone: Option<&str>) -> Vec<String> {
    let node = &input.nodes()[gpu.node.index()];
    let level = input.policy().disruption;
    let mut lines = Vec::new();
    if let Some(why) = alone {
        lines.push(format!("the controller leaves its node alone and carries out nothing there: {why}"));
    }
    if let Some((reason, why)) = &gpu.frozen {
        lines.push(format!("it may not be changed: {reason}: {}", clean(why)));
    }
    if node.strategy == MigStrategy::Single {
        lines.push("the node uses the strategy `single`: all its GPUs are cut alike, or none is changed".into());
    }
    for instance in &gpu.instances {
        let place = gpu.geometry.show(instance.placement);
        match &instance.occupancy {
            Occupancy::Free => {}
            Occupancy::Unknown => lines.push(format!("{place} may be in use; the source does not say by whom")),
            Occupancy::Busy(pods) => {
                for pod in pods.iter().map(|id| &input.running()[id.index()]).filter(|pod| !pod.movable_at(level)) {
                    let why = if level == crate::model::DisruptionLevel::IdleOnly {
                        "nobody is moved at `idle-only`".to_owned()
                    } else {
                        movability(pod)
                    };
                    lines.push(format!("{place} is held by {}: {why}", clean(&pod.pod.to_string())));
                }
            }
        }
    }
    if lines.is_empty() && !changed {
        lines.push("nothing: it could be changed, and no better plan does; idle instances are destroyed only when their slots are needed".into());
    } else if lines.is_empty() {
        lines.push("nothing".into());
    }
    lines
}

/// What must stay, from now to an empty board.
fn stages(input: &PlanningInput, gpu: &Gpu) -> Vec<(&'static str, Vec<Placement>)> {
    let level = input.policy().disruption;
    let keep = |stays: &dyn Fn(&Instance) -> bool| {
        gpu.instances.iter().filter(|instance| stays(instance)).map(|instance| instance.placement).collect::<Vec<_>>()
    };
    let now = ("in the slots that are not cut", keep(&|_| true));
    if gpu.frozen.is_some() {
        return vec![now];
    }
    let movable = |instance: &Instance| match &instance.occupancy {
        Occupancy::Free => true,
        Occupancy::Unknown => false,
        Occupancy::Busy(pods) => pods.iter().all(|id| input.running()[id.index()].movable_at(level)),
    };
    vec![
        now,
        ("when free instances are destroyed", keep(&|instance| instance.occupancy != Occupancy::Free)),
        ("when every pod is moved that may be", keep(&|instance| !movable(instance))),
    ]
}

/// The largest profile with a legal place beside what is kept, with that place.
fn largest(gpu: &Gpu, kept: &[Placement]) -> Option<String> {
    let geometry = &gpu.geometry;
    geometry
        .placements()
        .filter(|place| {
            let together = kept.iter().copied().chain([*place]).collect();
            Layout::try_new(geometry, together).is_ok()
        })
        .max_by_key(|place| {
            let profile = geometry.profile(place.profile());
            (
                place.size(),
                profile.compute_slices,
                profile.media == MediaEngines::Standard,
                std::cmp::Reverse(place.start()),
            )
        })
        .map(|place| geometry.show(place))
}
