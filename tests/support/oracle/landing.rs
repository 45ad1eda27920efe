//! For one set of evicted pods: every way to spread the landing pods over the nodes, and the best one.

use std::collections::BTreeMap;

use retile::model::{Capacity, Demand, DisruptionLevel, NodeId, NodeSetId, PlanningInput};

use super::nodes::{NodeOption, NodeTable};
use super::weights::{self, Weights};
use super::{Best, BestTier};
use crate::support::spec::resource_name;

/// Pods that no rule tells apart.
struct Class {
    demand: Demand,
    requests: Capacity,
    eligible: NodeSetId,
    priority: i32,
    weight: i64,
    evicted: bool,
    count: u32,
    members: Vec<String>,
}

/// How many pods of each class land on one node, and on which of its options.
type Landing<'a> = (Vec<u32>, &'a NodeOption);

/// The best plan for one set of evicted pods.
pub struct Found<'a> {
    /// Objective, larger is better, level by level.
    pub value: Vec<i64>,
    evicted: u64,
    landings: Vec<Landing<'a>>,
    classes: Vec<Class>,
}

/// State between nodes: pods left by class, nodes and GPUs that may still be touched, served weight still needed.
type State = (usize, Vec<u32>, u64, u64, i64);
type Memo<'a> = BTreeMap<State, Option<(Vec<i64>, Option<Landing<'a>>)>>;

/// The search for one set of evicted pods.
pub struct Search<'a> {
    input: &'a PlanningInput,
    weights: &'a Weights,
    tables: &'a [NodeTable],
    evicted: u64,
    classes: Vec<Class>,
    start: State,
    options: Vec<BTreeMap<Vec<u32>, Option<&'a NodeOption>>>,
    memo: Memo<'a>,
}

impl<'a> Search<'a> {
    /// Prepares the search; `needed` is the served weight that the plan must reach, if any.
    pub fn new(
        input: &'a PlanningInput,
        weights: &'a Weights,
        tables: &'a [NodeTable],
        evicted: u64,
        needed: Option<i64>,
    ) -> Self {
        let classes = classes(input, weights, evicted);
        let counts = classes.iter().map(|class| class.count).collect();
        let budgets = input.policy().budgets;
        let nodes = budgets.nodes.map_or(u64::MAX, |limit| limit.of(input.nodes().len()));
        let gpus = budgets.gpus.map_or(u64::MAX, |limit| limit.of(input.gpus().len()));
        let start = (0, counts, nodes, gpus, needed.unwrap_or(0).max(0));
        let options = vec![BTreeMap::new(); tables.len()];
        Self { input, weights, tables, evicted, classes, start, options, memo: BTreeMap::new() }
    }

    /// The best plan that evicts exactly the given pods, if there is a legal one.
    pub fn best(mut self) -> Option<Found<'a>> {
        let mut state = self.start.clone();
        let (mut value, _) = self.solve(&state)?;
        let mut landings = Vec::new();
        while let Some((_, Some(landing))) = self.solve(&state) {
            state = self.after(&state, &landing.0, landing.1).expect("the remembered step was possible");
            landings.push(landing);
        }
        let disruption: i64 = weights::pods(self.evicted).map(|pod| i64::from(self.input.running()[pod].cost)).sum();
        value[2 * self.weights.tiers.len()] = -disruption;
        Some(Found { value, evicted: self.evicted, landings, classes: self.classes })
    }

    /// Best value of the nodes from `state` on, with the first node's landing; `None` when no legal plan goes on.
    fn solve(&mut self, state: &State) -> Option<(Vec<i64>, Option<Landing<'a>>)> {
        if let Some(known) = self.memo.get(state) {
            return known.clone();
        }
        let result =
            if state.0 == self.tables.len() { self.finish(state).map(|value| (value, None)) } else { self.step(state) };
        self.memo.insert(state.clone(), result.clone());
        result
    }

    /// All nodes have their pods: is what is left allowed to be left?
    fn finish(&self, (_, left, _, _, needed): &State) -> Option<Vec<i64>> {
        let mut value = vec![0; self.weights.width()];
        for (class, &count) in self.classes.iter().zip(left) {
            if class.evicted && count > 0 {
                let yields = self.input.policy().disruption == DisruptionLevel::Aggressive
                    && self.input.pending().iter().any(|pod| pod.preempts && pod.priority > class.priority);
                if !yields {
                    return None;
                }
                value[2 * self.weights.tier(class.priority)] -= i64::from(count) * class.weight;
            }
        }
        (*needed <= 0).then_some(value)
    }

    /// Tries every landing on the next node.
    fn step(&mut self, state: &State) -> Option<(Vec<i64>, Option<Landing<'a>>)> {
        let mut best: Option<(Vec<i64>, Option<Landing<'a>>)> = None;
        for landing in self.landings(state.0, &state.1) {
            let Some(option) = self.option(state.0, &landing) else { continue };
            let Some(next) = self.after(state, &landing, option) else { continue };
            let Some((rest, _)) = self.solve(&next) else { continue };
            let own = self.value(&landing, option);
            let value: Vec<i64> = own.iter().zip(&rest).map(|(a, b)| a + b).collect();
            if best.as_ref().is_none_or(|(other, _)| value > *other) {
                best = Some((value, Some((landing, option))));
            }
        }
        best
    }

    /// The state after a node; `None` when a budget of the policy is exceeded.
    fn after(&self, state: &State, landing: &[u32], option: &NodeOption) -> Option<State> {
        let left = state.1.iter().zip(landing).map(|(left, lands)| left - lands).collect();
        let nodes = state.2.checked_sub(option.tail.node_touched as u64)?;
        let gpus = state.3.checked_sub(option.tail.gpus_touched as u64)?;
        let served: i64 = self.served(landing);
        Some((state.0 + 1, left, nodes, gpus, (state.4 - served).max(0)))
    }

    fn served(&self, landing: &[u32]) -> i64 {
        let of_class =
            |(class, &count): (&Class, &u32)| if class.evicted { 0 } else { class.weight * i64::from(count) };
        self.classes.iter().zip(landing).map(of_class).sum()
    }

    /// All landings on a node that eligibility and ordinary resources allow, by class counts up to `left`.
    fn landings(&self, node: usize, left: &[u32]) -> Vec<Vec<u32>> {
        let mut landings: Vec<Vec<u32>> = vec![Vec::new()];
        for (class, &count) in self.classes.iter().zip(left) {
            let most = if self.input.may_use(class.eligible, NodeId::new(node)) { count } else { 0 };
            landings = landings
                .iter()
                .flat_map(|begun| (0..=most).map(|count| [begun.as_slice(), &[count]].concat()))
                .collect();
        }
        landings.retain(|landing| self.ordinary_fits(node, landing));
        landings
    }

    fn ordinary_fits(&self, node: usize, landing: &[u32]) -> bool {
        let mut free = self.input.nodes()[node].free.clone();
        for pod in weights::pods(self.evicted & self.tables[node].pods) {
            free.add(&self.input.running()[pod].requests);
        }
        let mut asked = Capacity::default();
        for (class, &count) in self.classes.iter().zip(landing) {
            (0..count).for_each(|_| asked.add(&class.requests));
        }
        asked.iter().all(|(kind, amount)| amount <= free.get(kind))
    }

    /// The best option of a node that offers what a landing takes. It also touches the fewest GPUs, so that when the
    /// budgets refuse it they refuse every other one.
    fn option(&mut self, node: usize, landing: &[u32]) -> Option<&'a NodeOption> {
        let mut taken = vec![0; self.input.resources().len()];
        for (class, &count) in self.classes.iter().zip(landing) {
            class.demand.iter().for_each(|(resource, each)| taken[resource.index()] += each * count);
        }
        let evicted = self.evicted & self.tables[node].pods;
        let table = &self.tables[node];
        *self.options[node].entry(taken).or_insert_with_key(|taken| {
            table
                .options(evicted)
                .filter(|option| taken.iter().zip(&option.supply).all(|(taken, offered)| taken <= offered))
                .min_by(|a, b| a.tail.cmp(&b.tail))
        })
    }

    /// What a node adds to the objective.
    fn value(&self, landing: &[u32], option: &NodeOption) -> Vec<i64> {
        let mut value = vec![0; self.weights.width()];
        let mut flexibility = -option.tail.minus_flexibility;
        for (class, &count) in self.classes.iter().zip(landing) {
            if !class.evicted {
                value[2 * self.weights.tier(class.priority) + 1] += class.weight * i64::from(count);
            }
            for (resource, each) in class.demand.iter() {
                flexibility -= i64::from(each * count) * self.weights.forecast[resource.index()];
            }
        }
        let tail = &option.tail;
        let levels = [
            0,
            -tail.node_touched,
            -tail.gpus_touched,
            -tail.changes,
            flexibility,
            -tail.minus_free_gpus,
            -tail.minus_free_node,
        ];
        value.splice(2 * self.weights.tiers.len().., levels);
        value
    }
}

/// Groups waiting and evicted pods.
fn classes(input: &PlanningInput, weights: &Weights, evicted: u64) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    let mut add = |new: Class| {
        let same = classes.iter_mut().find(|class| {
            class.demand == new.demand
                && class.requests == new.requests
                && class.eligible == new.eligible
                && class.priority == new.priority
                && class.weight == new.weight
                && class.evicted == new.evicted
        });
        match same {
            Some(class) => {
                class.count += 1;
                class.members.extend(new.members);
            }
            None => classes.push(new),
        }
    };
    for (pod, &weight) in input.pending().iter().zip(&weights.pending) {
        add(Class {
            demand: pod.demand.clone(),
            requests: pod.requests.clone(),
            eligible: pod.eligible,
            priority: pod.priority,
            weight,
            evicted: false,
            count: 1,
            members: vec![pod.pod.to_string()],
        });
    }
    for index in weights::pods(evicted) {
        let pod = &input.running()[index];
        add(Class {
            demand: pod.demand.clone(),
            requests: pod.requests.clone(),
            eligible: pod.eligible,
            priority: pod.priority,
            weight: weights.running[index],
            evicted: true,
            count: 1,
            members: vec![pod.pod.to_string()],
        });
    }
    classes
}

impl Found<'_> {
    /// Served weight over all priorities.
    pub fn served(&self, weights: &Weights) -> i64 {
        (0..weights.tiers.len()).map(|tier| self.value[2 * tier + 1]).sum()
    }

    /// Names the levels and puts the plan into words.
    pub fn into_best(self, input: &PlanningInput, weights: &Weights) -> Best {
        let levels = &self.value[2 * weights.tiers.len()..];
        Best {
            tiers: weights
                .tiers
                .iter()
                .enumerate()
                .map(|(tier, &priority)| BestTier {
                    priority,
                    displaced: -self.value[2 * tier],
                    served: self.value[2 * tier + 1],
                })
                .collect(),
            served: self.served(weights),
            disruption: -levels[0],
            nodes_touched: -levels[1],
            gpus_touched: -levels[2],
            instance_changes: -levels[3],
            flexibility: levels[4],
            free_gpus: levels[5],
            free_nodes: levels[6],
            witness: self.witness(input),
        }
    }

    fn witness(&self, input: &PlanningInput) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let evicted: Vec<String> =
            weights::pods(self.evicted).map(|pod| input.running()[pod].pod.to_string()).collect();
        let _ = writeln!(text, "evict {evicted:?}");
        for (node, (landing, option)) in self.landings.iter().enumerate() {
            let _ = writeln!(text, "{}:", input.nodes()[node].name);
            let gpus = &input.gpus()[input.nodes()[node].gpus.clone()];
            for ((gpu, layout), handed) in gpus.iter().zip(&option.layouts).zip(&option.handed_over) {
                let shown: Vec<String> = layout.iter().map(|&placement| gpu.geometry.show(placement)).collect();
                let _ = writeln!(text, "  gpu {}: {}", gpu.index, shown.join(" "));
                for (_, instance) in gpu.instances.iter().enumerate().filter(|(slot, _)| handed >> slot & 1 == 1) {
                    let _ = writeln!(text, "  gpu {} hands over {}", gpu.index, gpu.geometry.show(instance.placement));
                }
            }
            for (class, &count) in self.classes.iter().zip(landing).filter(|(_, count)| **count > 0) {
                let asks: Vec<String> =
                    class.demand.iter().map(|(r, n)| format!("{n}x{}", resource_name(input, r))).collect();
                let _ = writeln!(text, "  {count} of {:?} ({})", class.members, asks.join("+"));
            }
        }
        text
    }
}
