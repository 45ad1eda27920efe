//! What is expected to come: a mix of what has come lately.
//!
//! Inputs: observations. Output: a weight per resource name. Each arriving pod adds one unit per instance that it asks for; with every
//! arrival what came before loses a little, so that it counts half after a set number of arrivals, however long these took. Integer arithmetic
//! throughout: the same arrivals give the same mix.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Demand, PlanningInput, PodRef};

/// One instance asked for, in the fixed-point arithmetic of the weights.
const UNIT: u64 = 1 << 32;
/// 1 / ln 2 in thousandths: from a half-life to the time in which a weight falls to 1/e.
const PER_HALF_LIFE: u64 = 1443;

/// The mix of recent demand.
#[derive(Debug)]
pub(super) struct Forecast {
    /// A weight loses one part in this many with each arrival.
    parts: u64,
    weights: BTreeMap<String, u64>,
    /// Pods that are there and have been counted.
    counted: BTreeSet<PodRef>,
}

impl Forecast {
    /// A mix in which an arrival counts half after `half_life` further arrivals.
    pub(super) fn new(half_life: u32) -> Self {
        let parts = (u64::from(half_life.max(1)) * PER_HALF_LIFE / 1000).max(2);
        Self { parts, weights: BTreeMap::new(), counted: BTreeSet::new() }
    }

    /// Counts the pods that have come since the last time.
    pub(super) fn note(&mut self, input: &PlanningInput) {
        let running = input.running().iter().map(|pod| (&pod.pod, &pod.demand));
        let pods = running.chain(input.pending().iter().map(|pod| (&pod.pod, &pod.demand)));
        let mut present = BTreeSet::new();
        let mut arrived = Vec::<&Demand>::new();
        for (pod, demand) in pods {
            if !self.counted.contains(pod) {
                arrived.push(demand);
            }
            present.insert(pod.clone());
        }
        // A pod that is set aside for a while is still the same pod.
        let aside = input.unplannable().iter().map(|pod| &pod.pod).filter(|pod| self.counted.contains(pod));
        present.extend(aside.cloned());
        self.counted = present;
        for _ in 0..arrived.len() {
            self.weights.retain(|_, weight| {
                *weight -= (*weight).div_ceil(self.parts);
                *weight > 0
            });
        }
        for (resource, count) in arrived.into_iter().flat_map(Demand::iter) {
            let weight = self.weights.entry(input.resources()[resource.index()].clone()).or_default();
            *weight = weight.saturating_add(UNIT.saturating_mul(u64::from(count)));
        }
    }

    /// Weights by resource name; empty before the first arrival.
    pub(super) fn mix(&self) -> &BTreeMap<String, u64> {
        &self.weights
    }
}
