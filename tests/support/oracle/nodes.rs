//! All that can be made of one node: every combination over its GPUs, by the set of pods that it evicts.

use std::collections::BTreeMap;
use std::sync::Arc;

use retile::model::{DisruptionLevel, Gpu, MigStrategy, Occupancy, Placement, PlanningInput};

use super::layouts::{self, GpuOption};
use super::weights::Weights;

/// What a combination of layouts counts for, in the order of the levels; smaller is better.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tail {
    /// 1 when a GPU of the node is touched.
    pub node_touched: i64,
    /// GPUs touched.
    pub gpus_touched: i64,
    /// Instances destroyed and created.
    pub changes: i64,
    /// Flexibility before landings, negated.
    pub minus_flexibility: i64,
    /// GPUs that are wholly free, negated.
    pub minus_free_gpus: i64,
    /// Whether all GPUs are wholly free, negated.
    pub minus_free_node: i64,
}

/// The best combination for one supply.
#[derive(Debug, Clone)]
pub struct NodeOption {
    /// What landing pods can take, by resource, up to the most that can land.
    pub supply: Vec<u32>,
    /// What it counts for.
    pub tail: Tail,
    /// Layout of each GPU.
    pub layouts: Vec<Arc<Vec<Placement>>>,
    /// What is handed over on each GPU, as bit sets over its instances.
    pub handed_over: Vec<u64>,
}

/// The options of one node by the set of evicted pods.
pub struct NodeTable {
    by_evicted: BTreeMap<u64, BTreeMap<Vec<u32>, NodeOption>>,
    /// Pods of this node.
    pub pods: u64,
}

impl NodeTable {
    /// Enumerates a node.
    pub fn new(input: &PlanningInput, weights: &Weights, level: DisruptionLevel, node: usize) -> Self {
        let gpus = &input.gpus()[input.nodes()[node].gpus.clone()];
        let mut table = Self { by_evicted: BTreeMap::new(), pods: 0 };
        for (pod, running) in input.running().iter().enumerate() {
            if running.node.index() == node {
                table.pods |= 1 << pod;
            }
        }
        match input.nodes()[node].strategy {
            MigStrategy::Mixed => {
                let options: Vec<Vec<GpuOption>> =
                    gpus.iter().map(|gpu| layouts::options(input, weights, level, gpu)).collect();
                let mut chosen = Vec::new();
                table.combine(input, weights, gpus, &options, &mut chosen);
            }
            MigStrategy::Single => {
                for options in uniform(input, weights, level, gpus) {
                    let chosen: Vec<&GpuOption> = options.iter().collect();
                    table.add(input, weights, gpus, &chosen);
                }
            }
        }
        table
    }

    /// Sets of pods that some combination evicts.
    pub fn eviction_sets(&self) -> impl Iterator<Item = u64> + '_ {
        self.by_evicted.keys().copied()
    }

    /// Options that evict exactly `evicted`.
    pub fn options(&self, evicted: u64) -> impl Iterator<Item = &NodeOption> {
        self.by_evicted.get(&evicted).into_iter().flat_map(BTreeMap::values)
    }

    fn combine<'a>(
        &mut self,
        input: &PlanningInput,
        weights: &Weights,
        gpus: &[Gpu],
        options: &'a [Vec<GpuOption>],
        chosen: &mut Vec<&'a GpuOption>,
    ) {
        let Some(next) = options.get(chosen.len()) else {
            self.add(input, weights, gpus, chosen);
            return;
        };
        for option in next {
            chosen.push(option);
            self.combine(input, weights, gpus, options, chosen);
            chosen.pop();
        }
    }

    /// Books one combination.
    fn add(&mut self, input: &PlanningInput, weights: &Weights, gpus: &[Gpu], chosen: &[&GpuOption]) {
        let mut evicted = 0_u64;
        for (gpu, option) in gpus.iter().zip(chosen) {
            for (slot, instance) in gpu.instances.iter().enumerate() {
                if (option.destroyed_held | option.handed_over) >> slot & 1 == 1
                    && let Occupancy::Busy(pods) = &instance.occupancy
                {
                    evicted |= pods.iter().map(|pod| 1 << pod.index()).sum::<u64>();
                }
            }
        }
        let mut supply = vec![0; input.resources().len()];
        let mut flexibility = 0;
        let mut free_gpus = 0;
        for (gpu, option) in gpus.iter().zip(chosen) {
            supply.iter_mut().zip(&option.supply).for_each(|(sum, more)| *sum += more);
            flexibility += option.flexibility;
            let mut whole = !option.touched();
            for (slot, instance) in gpu.instances.iter().enumerate() {
                whole &= instance.occupancy == Occupancy::Free;
                let Occupancy::Busy(pods) = &instance.occupancy else { continue };
                let staying = pods.iter().filter(|pod| evicted >> pod.index() & 1 == 0).count() as u32;
                // A held instance that is kept offers what its staying pods leave.
                if option.destroyed_held >> slot & 1 == 0
                    && let Some(offer) = gpu.offer(instance.placement.profile())
                {
                    let left = offer.replicas.saturating_sub(staying);
                    supply[offer.resource.index()] += left;
                    flexibility += i64::from(left) * weights.forecast[offer.resource.index()];
                }
            }
            free_gpus += i64::from(whole);
        }
        for (count, &most) in supply.iter_mut().zip(&weights.most) {
            *count = (*count).min(most);
        }
        let gpus_touched = chosen.iter().filter(|option| option.touched()).count() as i64;
        let tail = Tail {
            node_touched: gpus_touched.min(1),
            gpus_touched,
            changes: chosen.iter().map(|option| option.changes).sum(),
            minus_flexibility: -flexibility,
            minus_free_gpus: -free_gpus,
            minus_free_node: -i64::from(free_gpus == gpus.len() as i64),
        };
        let by_supply = self.by_evicted.entry(evicted).or_default();
        if by_supply.get(&supply).is_none_or(|other| tail < other.tail) {
            let layouts = chosen.iter().map(|option| Arc::clone(&option.layout)).collect();
            let handed_over = chosen.iter().map(|option| option.handed_over).collect();
            by_supply.insert(supply.clone(), NodeOption { supply, tail, layouts, handed_over });
        }
    }
}

/// What may be made of a node of strategy `single`: what it is, or every GPU full of the same profile.
fn uniform(input: &PlanningInput, weights: &Weights, level: DisruptionLevel, gpus: &[Gpu]) -> Vec<Vec<GpuOption>> {
    let all = |layouts: Vec<Arc<Vec<Placement>>>| -> Option<Vec<GpuOption>> {
        gpus.iter().zip(layouts).map(|(gpu, layout)| layouts::option(input, weights, level, gpu, &layout)).collect()
    };
    let now = gpus.iter().map(|gpu| Arc::new(gpu.instances.iter().map(|i| i.placement).collect())).collect();
    let mut options: Vec<Vec<GpuOption>> = all(now).into_iter().collect();
    let idle = gpus
        .iter()
        .all(|gpu| gpu.frozen.is_none() && gpu.instances.iter().all(|instance| instance.occupancy == Occupancy::Free));
    let Some(first) = gpus.first().filter(|_| idle) else { return options };
    for profile in first.geometry.profiles() {
        let mut combinations: Vec<Vec<Arc<Vec<Placement>>>> = vec![Vec::new()];
        for gpu in gpus {
            let full = full_of(gpu, &profile.name);
            combinations = combinations
                .iter()
                .flat_map(|begun| full.iter().map(|layout| [begun.as_slice(), &[Arc::clone(layout)]].concat()))
                .collect();
        }
        options.extend(combinations.into_iter().filter_map(all));
    }
    options
}

/// Every layout of nothing but a profile, with as many instances as any such layout has.
fn full_of(gpu: &Gpu, profile: &str) -> Vec<Arc<Vec<Placement>>> {
    let Some(id) = gpu.geometry.find(profile) else { return Vec::new() };
    let of_it: Vec<Arc<Vec<Placement>>> = layouts::all_layouts(&gpu.geometry)
        .iter()
        .filter(|layout| layout.iter().all(|placement| placement.profile() == id))
        .cloned()
        .collect();
    let most = of_it.iter().map(|layout| layout.len()).max().unwrap_or(0);
    of_it.into_iter().filter(|layout| layout.len() == most).collect()
}
