//! One picture of the demo: everything that is drawn, and nothing else.
//!
//! Input: a [`Snapshot`] of the simulated cluster and what a [`Watch`] has seen. Invariant: drawing needs nothing but a frame, so pictures can
//! be tested without a terminal.

use super::watch::{Counters, Event, Watch};
use crate::cli::show::bar::{Fate, Tile};
use crate::exec::{AgentPhase, Phase};
use crate::sim::world::{OnGpu, Snapshot, UnderWay, Waiting};

/// For how long a new instance is drawn as new, in milliseconds.
const NEW: u64 = 5 * 60_000;
/// Events kept in a frame.
const EVENTS: usize = 8;

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// The moment, in milliseconds.
    pub(super) at: u64,
    /// The end of the story, in milliseconds.
    pub(super) end: u64,
    /// With retile.
    pub(super) retile: Counters,
    /// On layouts that stay as they are.
    pub(super) fixed: Counters,
    /// Nodes, by name.
    pub(super) nodes: Vec<NodeFrame>,
    /// Who waits, longest first.
    pub(super) waiting: Vec<WaitingFrame>,
    /// What happened last, newest first.
    pub(super) last: Vec<Event>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeFrame {
    /// Its name.
    pub(super) name: String,
    /// What is being done to it, and what that waits for.
    pub(super) operation: Option<String>,
    /// Its GPUs, by index.
    pub(super) gpus: Vec<GpuFrame>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GpuFrame {
    /// Index on the node.
    pub(super) index: u32,
    /// Units of its slot axis.
    pub(super) axis: u8,
    /// Its instances.
    pub(super) tiles: Vec<Tile>,
}

/// Work that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WaitingFrame {
    /// Which.
    pub(super) work: String,
    /// What it asks for.
    pub(super) wants: String,
    /// For how long, in milliseconds.
    pub(super) waited: u64,
}

impl Frame {
    /// The picture of a moment.
    pub(super) fn of(snapshot: &Snapshot, watch: &Watch, fixed: Counters, end: u64) -> Self {
        let Snapshot { at, gpus, waiting, running: _, finished: _, burst: _, operations } = snapshot;
        let mut nodes: Vec<NodeFrame> = Vec::new();
        for gpu in gpus {
            if nodes.last().is_none_or(|node| node.name != gpu.node) {
                let operation = operations.iter().find(|operation| operation.node == gpu.node).map(told);
                nodes.push(NodeFrame { name: gpu.node.clone(), operation, gpus: Vec::new() });
            }
            if let Some(node) = nodes.last_mut() {
                node.gpus.push(gpu_frame(gpu, watch, *at));
            }
        }
        let waits = |waiting: &Waiting| {
            let Waiting { work, instances, since } = waiting;
            let wants = instances.iter().map(|(profile, count)| match count {
                1 => profile.clone(),
                count => format!("{count} x {profile}"),
            });
            let wants = wants.collect::<Vec<_>>().join(" + ");
            WaitingFrame { work: work.clone(), wants, waited: at.saturating_sub(*since) }
        };
        Self {
            at: *at,
            end,
            retile: watch.counters(),
            fixed,
            nodes,
            waiting: waiting.iter().map(waits).collect(),
            last: watch.events().iter().rev().take(EVENTS).cloned().collect(),
        }
    }
}

fn gpu_frame(gpu: &OnGpu, watch: &Watch, at: u64) -> GpuFrame {
    let OnGpu { node, index, model: _, axis, instances } = gpu;
    let tile = |instance: &crate::plan::PlannedInstance| {
        let new = watch.made(node, *index, instance.start).is_some_and(|made| at.saturating_sub(made) < NEW);
        let held = !instance.pods.is_empty();
        Tile {
            start: instance.start,
            size: instance.size,
            profile: instance.profile.clone(),
            held,
            fate: if new && !held { Fate::Created } else { Fate::Kept },
            word: "",
        }
    };
    GpuFrame { index: *index, axis: *axis, tiles: instances.iter().map(tile).collect() }
}

/// How far an operation is, and what it waits for.
fn told(operation: &UnderWay) -> String {
    let UnderWay { node: _, operation: _, phase, agent, victims } = operation;
    match phase {
        Phase::Claimed => "claimed: no new pods; looking once more before anybody is moved".to_owned(),
        Phase::Draining if *victims == 0 => "draining: nobody has to move".to_owned(),
        Phase::Draining if *victims == 1 => "draining: waits for 1 pod to leave".to_owned(),
        Phase::Draining => format!("draining: waits for {victims} pods to leave"),
        Phase::Drained => drained(*agent).to_owned(),
        Phase::Restarting => "restarting: waits for the node to advertise the new layout".to_owned(),
        Phase::Cancelling => "cancelling: waits for the agent to restore the layout".to_owned(),
        Phase::Releasing => "releasing: pods may come again".to_owned(),
        Phase::Degraded => "degraded: waits for a person".to_owned(),
    }
}

fn drained(agent: Option<AgentPhase>) -> &'static str {
    match agent {
        None | Some(AgentPhase::Idle) => "drained: waits for the node's agent",
        Some(AgentPhase::Accepted) => "drained: the agent is about to begin",
        Some(AgentPhase::Executing) => "changing: the agent destroys and creates instances",
        Some(AgentPhase::Repartitioned | AgentPhase::Applied) => "changed: the device plugin comes next",
        Some(AgentPhase::RollingBack) => "rolling back: the agent restores the layout",
        Some(AgentPhase::RolledBack) => "rolled back: the device plugin comes next",
        Some(AgentPhase::Refused) => "refused: nothing was touched",
        Some(AgentPhase::Degraded) => "degraded: waits for a person",
    }
}
