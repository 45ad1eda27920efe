//! Writes a draft as an answer to the solver's problem, for the search to begin with.

use std::collections::{BTreeMap, BTreeSet};

use retile_solver::{ActiveGroup, ClassId, Problem, Solution};

use crate::model::{NodeId, Placement, PodId};

use super::decode::GpuOutcome;
use super::encode::Encoding;
use super::machines::{GpuPart, Piece, uniform_cuts};
use super::scope::Scope;
use super::value::Draft;

/// The draft as an answer; none where the problem has no words for it. The solver checks what it is given.
pub(super) fn solution(scope: &Scope<'_>, encoding: &Encoding, draft: &Draft) -> Option<Solution> {
    let mut active = Vec::new();
    for (group, nodes) in &encoding.groups {
        let classes = encoding.problem.members(*group);
        for node in nodes {
            let mut paths = Vec::new();
            for (member, (parts, class)) in node.members.iter().zip(&classes).enumerate() {
                for part in parts {
                    if let Some(change) = change(scope, part, draft) {
                        paths.push((member, path(scope, &encoding.problem, *class, part, change)?, 1));
                    }
                }
            }
            if !paths.is_empty() {
                active.push(ActiveGroup { group: *group, paths });
            }
        }
    }
    Some(Solution { active, vars: vars(scope, encoding, draft)? })
}

/// What a draft changes on the GPU of a part, or on the first changed GPU of a node that is cut as one.
fn change<'d>(scope: &Scope<'_>, part: &GpuPart, draft: &'d Draft) -> Option<&'d GpuOutcome> {
    let whole = part.own.iter().any(|piece| matches!(piece, Piece::Uniform(_)));
    if !whole {
        return draft.changes.gpus.get(&part.gpu);
    }
    let node = scope.input.gpus()[part.gpu.index()].node;
    let gpus = scope.input.nodes()[node.index()].gpus.clone();
    gpus.into_iter().find_map(|gpu| draft.changes.gpus.get(&crate::model::GpuId::new(gpu)))
}

/// The path of a GPU's machine that leads to its new layout.
fn path(scope: &Scope<'_>, problem: &Problem, class: ClassId, part: &GpuPart, change: &GpuOutcome) -> Option<Vec<u16>> {
    let gpu = &scope.input.gpus()[part.gpu.index()];
    let pieces: Vec<Piece> = part.pieces.iter().copied().chain(part.own.iter().copied()).collect();
    if pieces.iter().any(|piece| matches!(piece, Piece::Uniform(_))) {
        let node = &scope.input.nodes()[gpu.node.index()];
        let gpus = &scope.input.gpus()[node.gpus.clone()];
        let created = change.created.first()?;
        let number = pieces.iter().position(|piece| match piece {
            Piece::Uniform(profile) => {
                uniform_cuts(gpus, *profile).is_some_and(|cuts| cuts.iter().flatten().any(|cut| cut == created))
            }
            Piece::Empty | Piece::Fixed | Piece::Create(_) | Piece::Keep(_) | Piece::HandOver(_) => false,
        })?;
        return Some(vec![number as u16]);
    }
    let kept: Vec<(usize, Placement)> = (0..gpu.instances.len())
        .filter(|slot| !change.destroyed.contains(slot))
        .map(|slot| (slot, gpu.instances[slot].placement))
        .collect();
    // Pieces of the new layout by where they begin; what is fixed stands for itself.
    let mut walk = Walk {
        problem,
        class,
        pieces: &pieces,
        kept: &kept,
        created: &change.created,
        handed_over: &change.handed_over,
        sink: problem.sink(class),
        path: Vec::new(),
    };
    walk.from(0, false).then_some(walk.path)
}

/// A search for the one path that spells a layout.
struct Walk<'a> {
    problem: &'a Problem,
    class: ClassId,
    pieces: &'a [Piece],
    kept: &'a [(usize, Placement)],
    created: &'a [Placement],
    handed_over: &'a [usize],
    sink: u16,
    path: Vec<u16>,
}

impl Walk<'_> {
    /// Goes on from a node of the graph; says whether the sink was reached with every instance used.
    fn from(&mut self, node: u16, after_run: bool) -> bool {
        if node == self.sink {
            let used = |wanted: Piece| self.path.iter().any(|&number| self.pieces[usize::from(number)] == wanted);
            return self
                .kept
                .iter()
                .all(|(slot, _)| used(Piece::Keep(*slot)) || used(Piece::HandOver(*slot)) || !self.keepable(*slot))
                && self.created.iter().all(|&placement| used(Piece::Create(placement)));
        }
        for number in 0..self.pieces.len() as u16 {
            let arc = self.problem.arc(self.class, number);
            if arc.from != node {
                continue;
            }
            let run = match self.pieces[usize::from(number)] {
                Piece::Empty => true,
                Piece::Fixed => false,
                Piece::Create(placement) => {
                    if !self.created.contains(&placement) {
                        continue;
                    }
                    false
                }
                Piece::Keep(slot) => {
                    if self.handed_over.contains(&slot) || !self.kept.iter().any(|(kept, _)| *kept == slot) {
                        continue;
                    }
                    false
                }
                Piece::HandOver(slot) => {
                    if !self.handed_over.contains(&slot) {
                        continue;
                    }
                    false
                }
                Piece::Uniform(_) => continue,
            };
            if run && after_run {
                continue;
            }
            self.path.push(number);
            if self.from(arc.to, run) {
                return true;
            }
            self.path.pop();
        }
        false
    }

    /// Whether an instance has a piece of its own for being kept; one that is fixed has not.
    fn keepable(&self, slot: usize) -> bool {
        self.pieces.contains(&Piece::Keep(slot))
    }
}

/// Values of the variables: who lands in which atom, who is displaced, and pods that hold several instances.
fn vars(scope: &Scope<'_>, encoding: &Encoding, draft: &Draft) -> Option<Vec<i64>> {
    let mut vars = vec![0i64; encoding.problem.var_count()];
    let table = &encoding.table;
    let atom = |node: &NodeId| table.atom_of[node.index()];
    for ((_, pods), landing) in table.pending.iter().zip(&encoding.pending) {
        for node in pods.iter().filter_map(|pod| draft.landings.served.get(pod)) {
            let (_, var) = landing.vars.iter().find(|(of, _)| *of == atom(node))?;
            vars[var.index()] += 1;
        }
    }
    for pod in &draft.changes.evicted {
        let landing = &encoding.moved[*table.moved_of.get(pod)?];
        if landing.folded.is_some() {
            continue;
        }
        let var = match draft.landings.moved.get(pod).copied().flatten() {
            Some(node) => landing.vars.iter().find(|(of, _)| *of == atom(&node))?.1,
            None => landing.displaced?,
        };
        vars[var.index()] += 1;
    }
    let gone = |(gpu, slot): (crate::model::GpuId, usize)| {
        draft
            .changes
            .gpus
            .get(&gpu)
            .is_some_and(|change| change.destroyed.contains(&slot) || change.handed_over.contains(&slot))
    };
    for (pod, several) in &encoding.several {
        if !draft.changes.evicted.contains(pod) {
            continue;
        }
        vars[several.evict.index()] = 1;
        for &(instance, var) in &several.freed {
            vars[var.index()] = i64::from(!gone(instance));
        }
    }
    let landing_nodes: BTreeMap<NodeId, Vec<PodOrWaiting>> = landers(draft);
    for (&(of, ref kind), &closed) in &encoding.closed {
        let node = table.atoms[of].nodes[0];
        let asks = |who: &PodOrWaiting| match who {
            PodOrWaiting::Waiting(pod) => scope.input.pending()[*pod].requests.get(kind) > 0,
            PodOrWaiting::Running(pod) => scope.input.running()[pod.index()].requests.get(kind) > 0,
        };
        let anybody = landing_nodes.get(&node).is_some_and(|who| who.iter().any(asks));
        vars[closed.index()] = i64::from(!anybody);
    }
    Some(vars)
}

/// Who lands on a node.
enum PodOrWaiting {
    Waiting(usize),
    Running(PodId),
}

fn landers(draft: &Draft) -> BTreeMap<NodeId, Vec<PodOrWaiting>> {
    let mut nodes: BTreeMap<NodeId, Vec<PodOrWaiting>> = BTreeMap::new();
    for (&pod, &node) in &draft.landings.served {
        nodes.entry(node).or_default().push(PodOrWaiting::Waiting(pod));
    }
    let moved: BTreeSet<(PodId, NodeId)> =
        draft.landings.moved.iter().filter_map(|(&pod, &node)| Some((pod, node?))).collect();
    for (pod, node) in moved {
        nodes.entry(node).or_default().push(PodOrWaiting::Running(pod));
    }
    nodes
}
