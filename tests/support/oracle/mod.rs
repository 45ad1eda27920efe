//! Brute force: the best objective that any legal plan reaches, by looking at all of them.
//!
//! Input: a small [`PlanningInput`]. Output: [`Best`], the value of every level of `docs/design/semantics.md`, with one
//! plan that reaches it. Method, in the order of the files:
//!
//! 1. [`layouts`]: all legal layouts of every GPU, by extending legal ones, each with what it destroys and offers, and with
//!    every choice of what is handed over.
//! 2. [`nodes`]: all combinations over the GPUs of a node, by the set of pods that they evict.
//! 3. [`landing`]: for every set of evicted pods all ways to spread the landing pods over the nodes.
//!
//! Of options that differ in nothing that a constraint or a higher level can see, the worse ones are dropped:
//!
//! - Two options that destroy and hand over the same held instances and offer the same (counted up to what could ever land) differ
//!   only in touching, changes and flexibility, which add up over GPUs; so the one that is first in their order wins
//!   whatever else the plan does, and since it touches fewer GPUs no budget can speak against it.
//! - Offers beyond everything that could ever land are never taken; what is left over counts for flexibility, which is
//!   booked as "all that is offered" on the side of the layouts less "all that lands" on the side of the pods.
//!
//! The oracle shares the input's vocabulary with the planner and nothing else; it must never call planner or solver.

mod landing;
pub mod layouts;
mod nodes;
mod weights;

use retile::model::{DisruptionLevel, PlanningInput};

use landing::Search;
use nodes::NodeTable;
use weights::Weights;

/// The best value of every level, in strict order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Best {
    /// Per priority, from high to low.
    pub tiers: Vec<BestTier>,
    /// Served weight over all priorities.
    pub served: i64,
    /// Cost of the evicted pods.
    pub disruption: i64,
    /// Nodes with a touched GPU.
    pub nodes_touched: i64,
    /// Touched GPUs.
    pub gpus_touched: i64,
    /// Instances destroyed and created.
    pub instance_changes: i64,
    /// Room for the forecast.
    pub flexibility: i64,
    /// GPUs that are wholly free.
    pub free_gpus: i64,
    /// Nodes that are wholly free.
    pub free_nodes: i64,
    /// A plan that reaches these values, in words.
    pub witness: String,
}

/// One priority of [`Best`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BestTier {
    /// Priority.
    pub priority: i32,
    /// Weight of evicted pods without a place.
    pub displaced: i64,
    /// Weight of waiting pods that land.
    pub served: i64,
}

impl Best {
    /// Values in the order of the plan's levels.
    pub fn levels(&self) -> [i64; 8] {
        [
            self.served,
            self.disruption,
            self.nodes_touched,
            self.gpus_touched,
            self.instance_changes,
            self.flexibility,
            self.free_gpus,
            self.free_nodes,
        ]
    }
}

/// Finds the best plan under the policy of the input.
///
/// # Panics
/// With more than 64 running pods: this is for small clusters.
pub fn best(input: &PlanningInput) -> Best {
    assert!(input.running().len() <= 64, "the oracle is for small clusters");
    let weights = Weights::new(input);
    let level = input.policy().disruption;
    let tables: Vec<NodeTable> =
        (0..input.nodes().len()).map(|node| NodeTable::new(input, &weights, level, node)).collect();
    let still = Search::new(input, &weights, &tables, 0, None).best().expect("changing nothing is a legal plan");
    if level == DisruptionLevel::IdleOnly {
        return still.into_best(input, &weights);
    }
    let baseline: i64 = still.served(&weights);
    let gain = i64::from(input.policy().gain_factor.thousandths());
    let mut best = still;
    for evicted in eviction_sets(input, &tables) {
        let disruption: i64 = weights::pods(evicted).map(|pod| i64::from(input.running()[pod].cost)).sum();
        // Rule 8, in thousandths: 1000 x (served - W0) >= f x disruption.
        let needed = (gain > 0).then(|| baseline + (gain * disruption + 999).div_euclid(1000));
        if let Some(found) = Search::new(input, &weights, &tables, evicted, needed).best()
            && found.value > best.value
        {
            best = found;
        }
    }
    best.into_best(input, &weights)
}

/// All non-empty sets of pods that layouts can evict together within the budgets, as bit sets.
fn eviction_sets(input: &PlanningInput, tables: &[NodeTable]) -> Vec<u64> {
    let mut sets = vec![0_u64];
    for table in tables {
        sets = sets.iter().flat_map(|set| table.eviction_sets().map(move |more| set | more)).collect();
    }
    sets.retain(|&set| {
        let within = input.budgets().iter().enumerate().all(|(index, budget)| {
            let count = weights::pods(set)
                .filter(|&pod| input.running()[pod].budgets.iter().any(|b| b.index() == index))
                .count();
            count <= budget.allowed as usize
        });
        let few = input.policy().budgets.evictions.is_none_or(|most| set.count_ones() <= most);
        set != 0 && within && few
    });
    sets
}
