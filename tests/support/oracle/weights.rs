//! What pods weigh, which resources can ever be taken, and the shape of the objective vector.

use std::collections::BTreeMap;

use retile::model::{Demand, PlanningInput, Policy, ResourceId};

/// Numbers that are fixed for one input.
pub struct Weights {
    /// Priorities of waiting and running pods, from high to low.
    pub tiers: Vec<i32>,
    /// Weight of each waiting pod with ageing.
    pub pending: Vec<i64>,
    /// Weight of each running pod, without ageing.
    pub running: Vec<i64>,
    /// Most of each resource that could ever land, by resource.
    pub most: Vec<u32>,
    /// Forecast weight times slices, by resource.
    pub forecast: Vec<i64>,
    /// Forecast weight, by resource.
    pub mix: BTreeMap<ResourceId, i64>,
}

impl Weights {
    /// Computes them.
    pub fn new(input: &PlanningInput) -> Self {
        let slices = |demand: &Demand| -> i64 {
            demand.iter().map(|(resource, count)| i64::from(count) * i64::from(input.slices_of(resource))).sum()
        };
        let weight = |demand: &Demand| input.policy().weight.of(slices(demand) as u64) as i64;
        let mut tiers: Vec<i32> = input.pending().iter().map(|pod| pod.priority).collect();
        tiers.extend(input.running().iter().map(|pod| pod.priority));
        tiers.sort_unstable_by(|a, b| b.cmp(a));
        tiers.dedup();
        let mut most = vec![0; input.resources().len()];
        let demands =
            input.pending().iter().map(|pod| &pod.demand).chain(input.running().iter().map(|pod| &pod.demand));
        for (resource, count) in demands.flat_map(Demand::iter) {
            most[resource.index()] += count;
        }
        let mix: BTreeMap<ResourceId, i64> = input.forecast().iter().map(|(&r, &w)| (r, i64::from(w))).collect();
        let forecast = (0..input.resources().len())
            .map(ResourceId::new)
            .map(|resource| mix.get(&resource).map_or(0, |w| w * i64::from(input.slices_of(resource))))
            .collect();
        Self {
            tiers,
            pending: input
                .pending()
                .iter()
                .map(|pod| weight(&pod.demand) * ageing(input, pod.priority, pod.waiting_seconds))
                .collect(),
            running: input.running().iter().map(|pod| weight(&pod.demand)).collect(),
            most,
            forecast,
            mix,
        }
    }

    /// Position of a priority in [`Self::tiers`].
    pub fn tier(&self, priority: i32) -> usize {
        self.tiers.iter().position(|&tier| tier == priority).expect("every priority of the input is a tier")
    }

    /// Length of the objective vector: two per tier, then seven levels.
    pub fn width(&self) -> usize {
        2 * self.tiers.len() + 7
    }
}

/// 1 + min(7, steps waited longer than the youngest of the same priority).
fn ageing(input: &PlanningInput, priority: i32, waiting: u64) -> i64 {
    let step = input.policy().ageing_seconds;
    if step == 0 {
        return 1;
    }
    let youngest = input
        .pending()
        .iter()
        .filter(|pod| pod.priority == priority)
        .map(|pod| pod.waiting_seconds)
        .min()
        .expect("the pod itself has this priority");
    1 + ((waiting - youngest) / step).min(Policy::MAX_AGEING - 1) as i64
}

/// Members of a bit set of running pods.
pub fn pods(set: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |bit| set >> bit & 1 == 1)
}
