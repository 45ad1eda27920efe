//! Puts the changes of a GPU into an order that can be carried out.
//!
//! Inputs: a [`GpuChange`] and the board's [`Geometry`]. Output: one [`Step`] per destroyed and created instance, each with
//! the layout that must be there before it. Invariants: every layout on the way is legal; nothing is destroyed before some
//! creation needs its room, its media engines or its place among the instances, so creations come as early and
//! destructions as late as the conflicts allow; the same change always gives the same steps.
//!
//! The order always exists: whatever remains after all destructions is part of `after`, and a part of a legal layout is
//! legal.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use super::document::{GpuChange, Place, Plan, PlannedInstance, Step, StepAction};
use crate::model::{Geometry, GeometryError, Layout, LayoutError, Placement, PlanningInput};

/// Why a change has no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A profile that the board does not have.
    #[error("the board {board} has no profile {profile}; plan again with the board's own names")]
    UnknownProfile {
        /// Board of the GPU.
        board: String,
        /// Profile of the change.
        profile: String,
    },
    /// A place that the board does not have.
    #[error("{0}; plan again")]
    Place(#[from] GeometryError),
    /// `before` or `after` cannot be, so there is no way between them.
    #[error("the layout {which} the change is illegal: {source}; plan again")]
    Layout {
        /// `before` or `after`.
        which: &'static str,
        /// What is illegal about it.
        source: LayoutError,
    },
    /// Something is destroyed that is not there, or twice.
    #[error("{0} is destroyed but not there, or twice; plan again")]
    Absent(String),
    /// A plan names a node or GPU that the input does not have.
    #[error("{0} is not in the input; plan again from the current export")]
    Unknown(String),
}

/// Orders the changes of one GPU.
///
/// # Errors
/// `before` or `after` is no legal layout of the board, or `destroy` names something that is not in `before`.
pub fn steps(change: &GpuChange, geometry: &Geometry) -> Result<Vec<Step>, StepError> {
    let before = placements(&change.before, geometry)?;
    let destroy = placements(&change.destroy, geometry)?;
    let create = placements(&change.create, geometry)?;
    let twice = destroy.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| &pair[1]);
    if let Some(&absent) = destroy.iter().find(|placement| !before.contains(placement)).or(twice) {
        return Err(StepError::Absent(geometry.show(absent)));
    }
    check(geometry, "before", before.iter().copied())?;
    let kept = before.iter().filter(|placement| !destroy.contains(placement));
    check(geometry, "after", kept.chain(&create).copied())?;

    let conflicts = conflicts(geometry, &destroy, &create);
    let mut work = Work { geometry, change, state: before, steps: Vec::new() };
    let (mut standing, mut waiting): (BTreeSet<NodeIndex>, BTreeSet<NodeIndex>) =
        conflicts.node_indices().partition(|&node| conflicts[node].0 == StepAction::Destroy);
    loop {
        if let Some(&ready) = waiting.iter().find(|&&node| work.fits(conflicts[node].1)) {
            waiting.remove(&ready);
            work.create(conflicts[ready].1);
            continue;
        }
        let Some(victim) = next_victim(&conflicts, &standing, &waiting) else { break };
        standing.remove(&victim);
        work.destroy(conflicts[victim].1);
    }
    Ok(work.steps)
}

/// What to destroy when nothing can be created: something in the way of the creation that has the fewest in its way. Where
/// none has, limits on numbers hold creations up; then an instance of the same profile, or else any.
fn next_victim(
    conflicts: &Conflicts,
    standing: &BTreeSet<NodeIndex>,
    waiting: &BTreeSet<NodeIndex>,
) -> Option<NodeIndex> {
    let in_the_way = |&node: &NodeIndex| {
        let blockers = conflicts.neighbors_directed(node, Direction::Incoming);
        blockers.filter(|blocker| standing.contains(blocker)).collect::<BTreeSet<_>>()
    };
    let next = waiting.iter().min_by_key(|node| in_the_way(node).len());
    let alike = |next: &NodeIndex| {
        let profile = conflicts[*next].1.profile();
        standing.iter().find(|&&node| conflicts[node].1.profile() == profile).copied()
    };
    next.and_then(|next| in_the_way(next).first().copied().or_else(|| alike(next))).or(standing.first().copied())
}

/// Derives the steps of every node of a plan and puts them into the document.
///
/// # Errors
/// The plan is not one for this input; nothing is changed then.
pub fn fill_in_steps(plan: &mut Plan, input: &PlanningInput) -> Result<(), StepError> {
    let mut all = Vec::with_capacity(plan.nodes.len());
    for node_plan in &plan.nodes {
        let name = &node_plan.name;
        let node = input.nodes().binary_search_by(|node| node.name.cmp(name));
        let node = &input.nodes()[node.map_err(|_| StepError::Unknown(format!("node {name}")))?];
        let mut of_node = Vec::new();
        for change in &node_plan.gpus {
            let gpu = input.gpus()[node.gpus.clone()].iter().find(|gpu| gpu.index == change.index);
            let gpu = gpu.ok_or_else(|| StepError::Unknown(format!("node {name}, GPU {}", change.index)))?;
            of_node.extend(steps(change, &gpu.geometry)?);
        }
        all.push(of_node);
    }
    for (node_plan, steps) in plan.nodes.iter_mut().zip(all) {
        node_plan.steps = steps;
    }
    Ok(())
}

/// The state of a GPU while its steps are being written.
struct Work<'a> {
    geometry: &'a Geometry,
    change: &'a GpuChange,
    state: Vec<Placement>,
    steps: Vec<Step>,
}

impl Work<'_> {
    fn fits(&self, placement: Placement) -> bool {
        let with = self.state.iter().copied().chain([placement]).collect();
        Layout::try_new(self.geometry, with).is_ok()
    }

    fn create(&mut self, placement: Placement) {
        self.step(StepAction::Create, placement);
        self.state.push(placement);
        self.state.sort_unstable();
    }

    fn destroy(&mut self, placement: Placement) {
        self.step(StepAction::Destroy, placement);
        self.state.retain(|&other| other != placement);
    }

    fn step(&mut self, action: StepAction, placement: Placement) {
        self.steps.push(Step {
            action,
            gpu: self.change.index,
            uuid: self.change.uuid.clone(),
            instance: place(self.geometry, placement),
            precondition: self.state.iter().map(|&placement| place(self.geometry, placement)).collect(),
        });
    }
}

/// What is destroyed and created. An edge leads from an instance to every creation that cannot stand beside it: they
/// overlap, need the same media engines, or are of a profile that a board takes once. Other limits on numbers are not
/// between two instances and have no edges.
type Conflicts = DiGraph<(StepAction, Placement), ()>;

fn conflicts(geometry: &Geometry, destroy: &[Placement], create: &[Placement]) -> Conflicts {
    let mut graph = DiGraph::new();
    let old: Vec<NodeIndex> =
        destroy.iter().map(|&placement| graph.add_node((StepAction::Destroy, placement))).collect();
    for &placement in create {
        let node = graph.add_node((StepAction::Create, placement));
        for &other in &old {
            if Layout::try_new(geometry, vec![graph[other].1, placement]).is_err() {
                graph.add_edge(other, node, ());
            }
        }
    }
    graph
}

fn placements(instances: &[PlannedInstance], geometry: &Geometry) -> Result<Vec<Placement>, StepError> {
    let mut placements = Vec::with_capacity(instances.len());
    for instance in instances {
        let profile = geometry.find(&instance.profile).ok_or_else(|| StepError::UnknownProfile {
            board: geometry.board().key.clone(),
            profile: instance.profile.clone(),
        })?;
        placements.push(geometry.place(profile, instance.start)?);
    }
    placements.sort_unstable();
    Ok(placements)
}

fn check(
    geometry: &Geometry,
    which: &'static str,
    placements: impl Iterator<Item = Placement>,
) -> Result<(), StepError> {
    Layout::try_new(geometry, placements.collect()).map_err(|source| StepError::Layout { which, source })?;
    Ok(())
}

fn place(geometry: &Geometry, placement: Placement) -> Place {
    Place {
        start: placement.start(),
        size: placement.size(),
        profile: geometry.profile(placement.profile()).name.clone(),
    }
}
