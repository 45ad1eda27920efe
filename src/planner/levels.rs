//! Which level of the solver stands for which level of the objective.

use std::collections::BTreeSet;

use crate::plan::LEVEL_NAMES;

use super::scope::Scope;

/// Levels of a priority: displaced weight (where displacing is allowed), then served weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct TierLevels {
    pub(super) priority: i32,
    pub(super) displaced: Option<usize>,
    pub(super) served: usize,
}

/// Positions of all levels in the solver's problem.
#[derive(Debug, Clone)]
pub(super) struct Levels {
    /// Highest priority first.
    pub(super) tiers: Vec<TierLevels>,
    pub(super) disruption: usize,
    pub(super) nodes: usize,
    pub(super) gpus: usize,
    pub(super) changes: usize,
    pub(super) flexibility: usize,
    pub(super) free_gpus: usize,
    pub(super) free_nodes: usize,
    pub(super) count: usize,
}

impl Levels {
    /// Lays out the levels for the priorities that occur.
    pub(super) fn new(scope: &Scope<'_>) -> Self {
        let displaced: BTreeSet<i32> = scope
            .input
            .running()
            .iter()
            .zip(&scope.displaceable)
            .filter(|(_, displaceable)| **displaceable)
            .map(|(pod, _)| pod.priority)
            .collect();
        let priorities: BTreeSet<i32> =
            scope.input.pending().iter().map(|pod| pod.priority).chain(displaced.iter().copied()).collect();
        let mut next = 0;
        let mut level = || {
            next += 1;
            next - 1
        };
        let tiers = priorities
            .into_iter()
            .rev()
            .map(|priority| TierLevels {
                priority,
                displaced: displaced.contains(&priority).then(&mut level),
                served: level(),
            })
            .collect();
        let [disruption, nodes, gpus, changes, flexibility, free_gpus, free_nodes] = std::array::from_fn(|_| level());
        Self { tiers, disruption, nodes, gpus, changes, flexibility, free_gpus, free_nodes, count: next }
    }

    /// The levels of a priority.
    pub(super) fn tier(&self, priority: i32) -> Option<TierLevels> {
        self.tiers.iter().find(|tier| tier.priority == priority).copied()
    }

    /// Name, level and sign of the levels after `served`: what counts is minimised, except for the last three.
    pub(super) fn rest(&self) -> [(&'static str, usize, i64); 7] {
        [
            (LEVEL_NAMES[1], self.disruption, -1),
            (LEVEL_NAMES[2], self.nodes, -1),
            (LEVEL_NAMES[3], self.gpus, -1),
            (LEVEL_NAMES[4], self.changes, -1),
            (LEVEL_NAMES[5], self.flexibility, 1),
            (LEVEL_NAMES[6], self.free_gpus, 1),
            (LEVEL_NAMES[7], self.free_nodes, 1),
        ]
    }
}
