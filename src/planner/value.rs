//! What a draft is worth, level by level, computed from its changes and landings alone.
//!
//! Input: a [`Draft`]. Output: one number per level of [`Levels`], each to be maximised (what the document minimises is negative).
//! This is the planner's own arithmetic; the verifier has another.

use std::collections::BTreeMap;

use crate::model::{Gpu, GpuId, MigStrategy, Offer, Placement, PlanningInput, ResourceId};

use super::assign::Landings;
use super::decode::{Changes, GpuOutcome};
use super::levels::Levels;
use super::machines::run_value;
use super::scope::Scope;

/// A plan in the planner's terms: what changes, and who lands where.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) changes: Changes,
    pub(super) landings: Landings,
}

/// Values of the levels under one scope.
pub(super) struct Appraiser<'a, 'b> {
    scope: &'a Scope<'b>,
    levels: Levels,
    /// Worth of the runs that all GPUs leave empty now, and of all free replicas.
    flexibility: i64,
    /// GPUs on which nobody holds anything, per GPU.
    vacant: Vec<bool>,
}

impl<'a, 'b> Appraiser<'a, 'b> {
    /// Appraises the cluster as it is.
    pub(super) fn new(scope: &'a Scope<'b>) -> Self {
        let input = scope.input;
        let mut runs = Runs::default();
        let mut flexibility = 0;
        for gpu in input.gpus() {
            flexibility += runs.between(scope, gpu, gpu.instances.iter().map(|instance| instance.placement));
            for instance in &gpu.instances {
                if let Some(offer) = gpu.offer(instance.placement.profile()) {
                    flexibility += scope.spare_value(offer.resource) * i64::from(gpu.free_replicas(instance));
                }
            }
        }
        let vacant = input.gpus().iter().map(Scope::vacant).collect();
        Self { scope, levels: Levels::new(scope), flexibility, vacant }
    }

    /// Values of a draft.
    pub(super) fn value(&self, draft: &Draft) -> Vec<i64> {
        let scope = self.scope;
        let input = scope.input;
        let levels = &self.levels;
        let mut values = vec![0; levels.count];
        for &pod in draft.landings.served.keys() {
            if let Some(tier) = levels.tier(input.pending()[pod].priority) {
                values[tier.served] += scope.weights[pod];
            }
        }
        let mut flexibility = self.flexibility;
        for &pod in &draft.changes.evicted {
            let of = &input.running()[pod.index()];
            values[levels.disruption] -= i64::from(of.cost);
            if draft.landings.moved.get(&pod).copied().flatten().is_none() {
                if let Some(level) = levels.tier(of.priority).and_then(|tier| tier.displaced) {
                    values[level] -= scope.weight(&of.demand);
                }
            } else {
                flexibility -= scope.demand_worth(&of.demand);
            }
            // What it held and is not destroyed becomes free.
            for &(gpu, slot) in &of.instances {
                let destroyed = draft.changes.gpus.get(&gpu).is_some_and(|change| change.destroyed.contains(&slot));
                let held = &input.gpus()[gpu.index()];
                if let (false, Some(offer)) = (destroyed, held.offer(held.instances[slot].placement.profile())) {
                    flexibility += scope.spare_value(offer.resource);
                }
            }
        }
        for &pod in draft.landings.served.keys() {
            flexibility -= scope.demand_worth(&input.pending()[pod].demand);
        }
        let mut runs = Runs::default();
        let mut touched = 0;
        for (&id, change) in &draft.changes.gpus {
            touched += 1;
            values[levels.changes] -= (change.destroyed.len() + change.created.len()) as i64;
            flexibility += self.difference(&mut runs, &input.gpus()[id.index()], change);
        }
        values[levels.nodes] = -(draft.changes.touched_nodes.len() as i64);
        values[levels.gpus] = -touched;
        values[levels.flexibility] = flexibility;
        let untouched = |gpu: usize| !draft.changes.gpus.contains_key(&GpuId::new(gpu));
        let free = |gpu: usize| self.vacant[gpu] && untouched(gpu);
        values[levels.free_gpus] = (0..self.vacant.len()).filter(|&gpu| free(gpu)).count() as i64;
        let all_free = |node: &&crate::model::Node| !node.gpus.is_empty() && node.gpus.clone().all(free);
        values[levels.free_nodes] = input.nodes().iter().filter(all_free).count() as i64;
        values
    }

    /// What a change of one GPU adds to flexibility: runs, and the replicas that go and come.
    fn difference(&self, runs: &mut Runs, gpu: &Gpu, change: &GpuOutcome) -> i64 {
        let scope = self.scope;
        let mut sum = 0;
        for &slot in &change.destroyed {
            if let Some(offer) = gpu.offer(gpu.instances[slot].placement.profile()) {
                sum -= scope.spare_value(offer.resource) * i64::from(gpu.free_replicas(&gpu.instances[slot]));
            }
        }
        for placement in &change.created {
            if let Some(offer) = gpu.offer(placement.profile()) {
                sum += scope.spare_value(offer.resource) * i64::from(offer.replicas);
            }
        }
        let before = gpu.instances.iter().map(|instance| instance.placement);
        let mut after: Vec<Placement> = (0..gpu.instances.len())
            .filter(|slot| !change.destroyed.contains(slot))
            .map(|slot| gpu.instances[slot].placement)
            .chain(change.created.iter().copied())
            .collect();
        after.sort_by_key(|placement| placement.start());
        sum + runs.between(scope, gpu, after.into_iter()) - runs.between(scope, gpu, before)
    }

    /// Values that no draft can exceed, whatever it does.
    pub(super) fn ceilings(&self) -> Vec<i64> {
        let scope = self.scope;
        let input = scope.input;
        let levels = &self.levels;
        let mut most = vec![0; levels.count];
        for (pod, &weight) in input.pending().iter().zip(&scope.weights) {
            if let Some(tier) = levels.tier(pod.priority) {
                most[tier.served] += weight;
            }
        }
        let mix: i64 = input.forecast().keys().map(|&resource| scope.forecast(resource)).sum();
        most[levels.flexibility] = input
            .gpus()
            .iter()
            .map(|gpu| {
                let replicas = gpu.offers.iter().flatten().map(|offer: &Offer| i64::from(offer.replicas)).max();
                mix * i64::from(gpu.geometry.axis()) * 2 * replicas.unwrap_or(1).max(1)
            })
            .fold(0, i64::saturating_add);
        most[levels.free_gpus] = self.vacant.iter().filter(|vacant| **vacant).count() as i64;
        let all = |node: &&crate::model::Node| !node.gpus.is_empty() && node.gpus.clone().all(|gpu| self.vacant[gpu]);
        most[levels.free_nodes] = input.nodes().iter().filter(all).count() as i64;
        most
    }
}

impl Scope<'_> {
    /// What the replicas that a pod takes are worth on the level of flexibility.
    fn demand_worth(&self, demand: &crate::model::Demand) -> i64 {
        demand.iter().map(|(resource, count)| self.spare_value(resource) * i64::from(count)).sum()
    }
}

/// Table of a board's runs: geometry, offers, begin and end.
type RunKey = (usize, usize, u8, u8);

/// Worth of runs that was worked out before.
#[derive(Default)]
struct Runs(BTreeMap<RunKey, i64>);

impl Runs {
    /// Worth of the slots that placements, ordered by start, leave empty on a GPU; nothing where nothing may be changed.
    fn between(&mut self, scope: &Scope<'_>, gpu: &Gpu, placements: impl Iterator<Item = Placement>) -> i64 {
        let single = scope.input.nodes()[gpu.node.index()].strategy == MigStrategy::Single;
        if gpu.frozen.is_some() || single {
            return 0;
        }
        let mut sum = 0;
        let mut from = 0;
        let axis = gpu.geometry.axis();
        for (start, end) in placements.map(|placement| (placement.start(), placement.end())).chain([(axis, axis)]) {
            if from < start {
                let board = std::sync::Arc::as_ptr(&gpu.geometry) as usize;
                let offers = gpu.offers.as_ptr() as usize;
                sum +=
                    *self.0.entry((board, offers, from, start)).or_insert_with(|| run_value(scope, gpu, from, start));
            }
            from = end;
        }
        sum
    }
}

/// Units of a resource that a GPU's instance offers when it is made.
pub(super) fn offered(input: &PlanningInput, gpu: usize, placement: Placement) -> Option<(ResourceId, i64)> {
    input.gpus()[gpu].offer(placement.profile()).map(|offer| (offer.resource, i64::from(offer.replicas)))
}
