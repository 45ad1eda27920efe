//! Rules that take the waiting pods one by one and never move a running one.

use std::cmp::Reverse;

use super::sheet::{Holder, Sheet};
use crate::controller::{Proposal, ProposeError, Proposer};
use crate::model::{Geometry, Layout, PendingPod, Placement, PlanningInput};

/// Which pod is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Higher priority first, then the one that has waited longest.
    Arrival,
    /// Higher priority first, then the one that needs the most slices.
    Decreasing,
}

/// Which of the places that are free it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The first GPU, the lowest start.
    First,
    /// The GPU on which the fewest slots stay free.
    Best,
    /// The place that makes the GPU's fragmentation grow least: the rule of Zambianco, Fasol and Doriguzzi-Corin, "An Online
    /// Fragmentation-Aware GPU Scheduler for Multi-Tenant MIG-based Clouds" (2025), with the score of [`fragmentation`].
    Fragmentation,
}

/// A rule without foresight: an idle instance that fits is used; otherwise the pod gets the best place in the rule's eyes, and idle
/// instances there give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greedy {
    /// Which pod is next.
    pub order: Order,
    /// Where it goes.
    pub fit: Fit,
}

impl Proposer for Greedy {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError> {
        let mut sheet = Sheet::new(input);
        for pod in ordered(input, self.order) {
            place(&mut sheet, pod, self.fit);
        }
        Ok(sheet.proposal())
    }
}

/// Positions of the waiting pods in the order of a rule.
pub(super) fn ordered(input: &PlanningInput, order: Order) -> Vec<usize> {
    let pending = input.pending();
    let mut positions: Vec<usize> = (0..pending.len()).collect();
    let waited = |pod: &PendingPod| Reverse(pod.waiting_seconds);
    positions.sort_by_key(|&position| {
        let pod = &pending[position];
        let size = match order {
            Order::Arrival => 0,
            Order::Decreasing => slices(input, pod),
        };
        (Reverse(pod.priority), Reverse(size), waited(pod), position)
    });
    positions
}

/// Memory slices that a waiting pod needs.
pub(super) fn slices(input: &PlanningInput, pod: &PendingPod) -> u64 {
    pod.demand.iter().map(|(resource, count)| u64::from(input.slices_of(resource)) * u64::from(count)).sum()
}

/// Finds all instances of a waiting pod on one node; says whether it did. Nothing changes otherwise.
pub(super) fn place(sheet: &mut Sheet<'_>, position: usize, fit: Fit) -> bool {
    let pod = &sheet.input().pending()[position];
    let nodes = sheet.nodes_for(pod.eligible, &pod.requests);
    // One instance: every GPU of every node competes.
    if let Some(resource) = pod.demand.single() {
        let idle = |sheet: &mut Sheet<'_>, gpu| sheet.take_idle(gpu, resource, Holder::Waiting(position));
        for (node, gpus) in &nodes {
            if gpus.clone().any(|gpu| idle(sheet, gpu)) {
                sheet.charge(*node, &pod.requests);
                return true;
            }
        }
        let best = nodes
            .iter()
            .flat_map(|(node, gpus)| gpus.clone().map(|gpu| (*node, gpu)))
            .flat_map(|(node, gpu)| sheet.options(gpu, resource).into_iter().map(move |place| (node, gpu, place)))
            .min_by_key(|&(_, gpu, place)| (rank(sheet, gpu, place, fit), gpu, place));
        let Some((node, gpu, placement)) = best else { return false };
        if sheet.put(gpu, placement, Holder::Waiting(position)) {
            sheet.charge(node, &pod.requests);
            return true;
        }
        return false;
    }
    // Several: the first node that has room for all of them.
    for (node, gpus) in nodes {
        let mut trial = sheet.clone();
        let wanted = pod.demand.iter().flat_map(|(resource, count)| std::iter::repeat_n(resource, count as usize));
        let all = wanted.into_iter().all(|resource| {
            if gpus.clone().any(|gpu| trial.take_idle(gpu, resource, Holder::Waiting(position))) {
                return true;
            }
            let best = gpus
                .clone()
                .flat_map(|gpu| trial.options(gpu, resource).into_iter().map(move |place| (gpu, place)))
                .min_by_key(|&(gpu, place)| (rank(&trial, gpu, place, fit), gpu, place));
            best.is_some_and(|(gpu, place)| trial.put(gpu, place, Holder::Waiting(position)))
        });
        if all {
            trial.charge(node, &pod.requests);
            *sheet = trial;
            return true;
        }
    }
    false
}

/// How bad a place is; less is better.
fn rank(sheet: &Sheet<'_>, gpu: usize, placement: Placement, fit: Fit) -> i64 {
    match fit {
        Fit::First => 0,
        Fit::Best => {
            let held: i64 = sheet.held(gpu).iter().map(|it| i64::from(it.size())).sum();
            i64::from(sheet.geometry(gpu).axis()) - held - i64::from(placement.size())
        }
        Fit::Fragmentation => {
            let geometry = sheet.geometry(gpu);
            let mut held = sheet.held(gpu);
            let before = fragmentation(geometry, &held);
            held.push(placement);
            fragmentation(geometry, &held) - before
        }
    }
}

/// How much of a GPU's free room is of no use: for every profile that its free slots would suffice for by number, the profile's size for
/// each start at which it cannot stand because something is held there.
pub fn fragmentation(geometry: &Geometry, held: &[Placement]) -> i64 {
    let taken: i64 = held.iter().map(|placement| i64::from(placement.size())).sum();
    let free = i64::from(geometry.axis()) - taken;
    geometry
        .placements()
        .filter(|placement| i64::from(placement.size()) <= free)
        .filter(|placement| {
            let with = held.iter().copied().chain([*placement]).collect();
            Layout::try_new(geometry, with).is_err()
        })
        .map(|placement| i64::from(placement.size()))
        .sum()
}
