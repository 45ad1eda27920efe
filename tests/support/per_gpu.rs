//! The straightforward integer program: a yes or no per GPU and placement, solved level by level.
//!
//! Input: a [`PlanningInput`] of any size. Output: the levels from `served` to `instance_changes`. This is how one would
//! write the problem down without thinking about size; it is a second opinion for the planner and the baseline of its
//! benches. It must not use planner, solver or oracle.
//!
//! | variable | meaning |
//! |---|---|
//! | `y[g, p]` | GPU g has an instance at placement p afterwards |
//! | `m[n, k]` | the node n of strategy `single` takes its k-th cut |
//! | `h[g, p]` | GPU g keeps the instance at placement p, and all pods on it are evicted |
//! | `e[j]` | the running pod j is evicted |
//! | `x[c, n]` | pods of class c that land on node n |
//! | `d[c]` | evicted pods of class c without a place |
//! | `t[g]`, `u[n]` | GPU and node are touched |

use std::collections::BTreeMap;

use retile::model::{
    Capacity, Demand, DisruptionLevel, Geometry, Gpu, Layout, MediaEngines, MigStrategy, NodeId, NodeSetId, Occupancy,
    Placement, PlanningInput, Policy, ProfileId, ResourceId, RunningPod,
};

use super::program::{Backend, Program, Terms, evaluate};

/// The levels that the program settles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// Per priority, from high to low: (priority, displaced, served).
    pub tiers: Vec<(i32, i64, i64)>,
    /// Cost of the evicted pods.
    pub disruption: i64,
    /// Nodes touched.
    pub nodes_touched: i64,
    /// GPUs touched.
    pub gpus_touched: i64,
    /// Instances destroyed and created.
    pub instance_changes: i64,
}

impl Levels {
    /// Served weight over all priorities.
    pub fn served(&self) -> i64 {
        self.tiers.iter().map(|tier| tier.2).sum()
    }
}

/// Solves the program under the policy of the input.
///
/// # Errors
/// What the solver says when it gives up.
pub fn solve(input: &PlanningInput, backend: Backend) -> Result<Levels, String> {
    let policy = input.policy();
    let gain = i64::from(policy.gain_factor.thousandths());
    if gain == 0 || policy.disruption == DisruptionLevel::IdleOnly {
        return Model::new(input, policy.disruption).solve(backend);
    }
    let still = Model::new(input, DisruptionLevel::IdleOnly).solve(backend)?;
    let mut model = Model::new(input, policy.disruption);
    // Plans without evictions that serve less than the best of them are cut off too; they are worse than it.
    let mut terms: Terms = model.served.iter().flatten().map(|&(v, weight)| (v, 1000 * weight)).collect();
    terms.extend(model.cost.iter().map(|&(v, cost)| (v, -gain * cost)));
    model.program.at_least(terms, 1000 * still.served());
    model.solve(backend)
}

/// Only the first level, as a sum of tiers: what the benches time.
///
/// # Errors
/// What the solver says when it gives up.
pub fn solve_served(input: &PlanningInput, backend: Backend) -> Result<i64, String> {
    let model = Model::new(input, input.policy().disruption);
    let objective: Terms = model.served.iter().flatten().copied().collect();
    let values = model.program.maximise(&objective, backend)?;
    Ok(evaluate(&objective, &values))
}

/// Pods that no rule tells apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    priority: i32,
    weight: i64,
    evicted: bool,
    demand: Demand,
    requests: Capacity,
    eligible: NodeSetId,
}

struct Model<'a> {
    input: &'a PlanningInput,
    level: DisruptionLevel,
    program: Program,
    tiers: Vec<i32>,
    /// Objective terms.
    displaced: Vec<Terms>,
    served: Vec<Terms>,
    cost: Terms,
    nodes: Terms,
    gpus: Terms,
    changes: Terms,
    changes_constant: i64,
    /// Eviction of each running pod that may be evicted.
    evictions: BTreeMap<usize, usize>,
    /// Instances that each of them holds: whether it is kept, and whether it is handed over where it can be.
    holds: BTreeMap<usize, Vec<(usize, Option<usize>)>>,
    /// What each node offers: terms and a constant, by resource.
    supply: Vec<BTreeMap<ResourceId, (Terms, i64)>>,
}

impl<'a> Model<'a> {
    fn new(input: &'a PlanningInput, level: DisruptionLevel) -> Self {
        let mut tiers: Vec<i32> = input.pending().iter().map(|pod| pod.priority).collect();
        tiers.extend(input.running().iter().map(|pod| pod.priority));
        tiers.sort_unstable_by(|a, b| b.cmp(a));
        tiers.dedup();
        let mut model = Self {
            input,
            level,
            program: Program::default(),
            displaced: vec![Terms::new(); tiers.len()],
            served: vec![Terms::new(); tiers.len()],
            tiers,
            cost: Terms::new(),
            nodes: Terms::new(),
            gpus: Terms::new(),
            changes: Terms::new(),
            changes_constant: 0,
            evictions: BTreeMap::new(),
            holds: BTreeMap::new(),
            supply: vec![BTreeMap::new(); input.nodes().len()],
        };
        for (index, pod) in input.running().iter().enumerate().filter(|(_, pod)| pod.movable_at(level)) {
            let evicted = model.program.variable(1);
            model.evictions.insert(index, evicted);
            model.cost.push((evicted, i64::from(pod.cost)));
        }
        for node in 0..input.nodes().len() {
            model.add_node(node);
        }
        model.add_eviction_rule();
        model.add_landings();
        model.add_budgets();
        model
    }

    fn add_node(&mut self, node: usize) {
        let touched = self.program.variable(1);
        self.nodes.push((touched, 1));
        let gpus = &self.input.gpus()[self.input.nodes()[node].gpus.clone()];
        match self.input.nodes()[node].strategy {
            MigStrategy::Mixed => gpus.iter().for_each(|gpu| self.add_gpu(gpu, node, touched)),
            MigStrategy::Single => self.add_single(gpus, node, touched),
        }
    }

    fn offer(&mut self, gpu: &Gpu, node: usize, profile: ProfileId, variable: usize) {
        if let Some(offer) = gpu.offer(profile) {
            let (terms, _) = self.supply[node].entry(offer.resource).or_default();
            terms.push((variable, i64::from(offer.replicas)));
        }
    }

    /// Replicas that the pods on an instance take unless they are evicted: one each.
    fn take_held(&mut self, gpu: &Gpu, node: usize, profile: ProfileId, pods: &[retile::model::PodId]) {
        let Some(offer) = gpu.offer(profile) else { return };
        let (terms, constant) = self.supply[node].entry(offer.resource).or_default();
        for pod in pods {
            *constant -= 1;
            if let Some(&evicted) = self.evictions.get(&pod.index()) {
                terms.push((evicted, 1));
            }
        }
    }

    fn add_gpu(&mut self, gpu: &Gpu, node: usize, node_touched: usize) {
        let touched = self.program.variable(1);
        self.gpus.push((touched, 1));
        self.program.at_most(vec![(touched, 1), (node_touched, -1)], 0);
        let mut standing: Vec<(Placement, usize)> = Vec::new();
        for instance in &gpu.instances {
            let kept = self.program.variable(1);
            let profile = instance.placement.profile();
            standing.push((instance.placement, kept));
            let stays = match &instance.occupancy {
                Occupancy::Free => {
                    self.offer(gpu, node, profile, kept);
                    false
                }
                Occupancy::Busy(pods) => {
                    self.offer(gpu, node, profile, kept);
                    self.take_held(gpu, node, profile, pods);
                    pods.iter().any(|pod| !self.evictions.contains_key(&pod.index()))
                }
                Occupancy::Unknown => true,
            };
            if stays || gpu.frozen.is_some() {
                self.program.equal(vec![(kept, 1)], 1);
            }
            if let Occupancy::Busy(pods) = &instance.occupancy {
                let handed = (!stays && gpu.frozen.is_none()).then(|| self.program.variable(1));
                if let Some(handed) = handed {
                    self.program.at_most(vec![(handed, 1), (kept, -1)], 0);
                    self.program.at_most(vec![(handed, 1), (touched, -1)], 0);
                }
                for pod in pods {
                    if let Some(&evicted) = self.evictions.get(&pod.index()) {
                        self.program.at_least(vec![(kept, 1), (evicted, 1)], 1);
                        self.holds.entry(pod.index()).or_default().push((kept, handed));
                        if let Some(handed) = handed {
                            self.program.at_most(vec![(handed, 1), (evicted, -1)], 0);
                        }
                    }
                }
            }
            self.changes.push((kept, -1));
            self.changes_constant += 1;
            self.program.at_least(vec![(touched, 1), (kept, 1)], 1);
        }
        let before = standing.len();
        if gpu.frozen.is_none() {
            for placement in gpu.geometry.placements() {
                if gpu.offer(placement.profile()).is_some() && standing.iter().all(|(there, _)| *there != placement) {
                    let created = self.program.variable(1);
                    standing.push((placement, created));
                    self.offer(gpu, node, placement.profile(), created);
                }
            }
        }
        for &(_, created) in &standing[before..] {
            self.changes.push((created, 1));
            self.program.at_most(vec![(created, 1), (touched, -1)], 0);
        }
        self.add_legality(&gpu.geometry, &standing);
    }

    /// No overlap, at most so many of a profile, media engines once.
    fn add_legality(&mut self, geometry: &Geometry, standing: &[(Placement, usize)]) {
        let those = |keep: &dyn Fn(Placement) -> bool| -> Terms {
            standing.iter().filter(|(placement, _)| keep(*placement)).map(|&(_, v)| (v, 1)).collect()
        };
        for slot in 0..geometry.axis() {
            self.program.at_most(those(&|p| p.start() <= slot && slot < p.end()), 1);
        }
        for id in geometry.profile_ids() {
            let count = those(&|p| p.profile() == id);
            if count.len() > usize::from(geometry.profile(id).max_count) {
                self.program.at_most(count, i64::from(geometry.profile(id).max_count));
            }
        }
        let media = |p: Placement| geometry.profile(p.profile()).media;
        let extended = those(&|p| matches!(media(p), MediaEngines::Extended | MediaEngines::All));
        self.program.at_most(extended, 1);
        let mut all: Terms = those(&|p| media(p) == MediaEngines::All).into_iter().map(|(v, _)| (v, 8)).collect();
        if !all.is_empty() {
            all.extend(those(&|p| !matches!(media(p), MediaEngines::All | MediaEngines::None)));
            self.program.at_most(all, 8);
        }
        self.program.at_most(those(&|_| true), 8);
    }

    /// A node of strategy `single`: one yes or no per cut.
    fn add_single(&mut self, gpus: &[Gpu], node: usize, node_touched: usize) {
        let still = self.program.variable(1);
        let mut choice = vec![(still, 1)];
        for gpu in gpus {
            for instance in &gpu.instances {
                match &instance.occupancy {
                    Occupancy::Free => self.offer(gpu, node, instance.placement.profile(), still),
                    Occupancy::Busy(pods) => {
                        self.offer(gpu, node, instance.placement.profile(), still);
                        // These pods cannot be evicted, because nothing is changed here while they hold it.
                        self.take_held(gpu, node, instance.placement.profile(), pods);
                        for pod in pods {
                            if let Some(&evicted) = self.evictions.get(&pod.index()) {
                                self.program.equal(vec![(evicted, 1)], 0);
                            }
                        }
                    }
                    Occupancy::Unknown => {}
                }
            }
        }
        let idle = |gpu: &Gpu| {
            gpu.frozen.is_none() && gpu.instances.iter().all(|instance| instance.occupancy == Occupancy::Free)
        };
        let touched: Vec<usize> = gpus.iter().map(|_| self.program.variable(1)).collect();
        self.gpus.extend(touched.iter().map(|&touched| (touched, 1)));
        for &touched in &touched {
            self.program.at_most(vec![(touched, 1), (node_touched, -1)], 0);
        }
        if gpus.iter().all(idle) {
            for id in gpus[0].geometry.profile_ids() {
                let cut = self.program.variable(1);
                choice.push((cut, 1));
                let mut changes = 0;
                for (gpu, &touched) in gpus.iter().zip(&touched) {
                    let (count, here) = full_of(gpu, id);
                    (0..count).for_each(|_| self.offer(gpu, node, id, cut));
                    changes += here;
                    if here > 0 {
                        self.program.at_most(vec![(cut, 1), (touched, -1)], 0);
                    }
                }
                self.changes.push((cut, changes));
            }
        }
        self.program.equal(choice, 1);
    }

    /// A pod is evicted only when an instance that it holds is destroyed or handed over.
    fn add_eviction_rule(&mut self) {
        for (pod, &evicted) in &self.evictions {
            let held = self.holds.remove(pod).unwrap_or_default();
            let count = held.len() as i64;
            let mut terms: Terms = held.iter().map(|&(kept, _)| (kept, 1)).collect();
            terms.extend(held.iter().filter_map(|&(_, handed)| Some((handed?, -1))));
            terms.push((evicted, 1));
            self.program.at_most(terms, count);
        }
    }

    fn add_landings(&mut self) {
        let input = self.input;
        let weights = pending_weights(input);
        let mut kinds: BTreeMap<Kind, (i64, Vec<usize>)> = BTreeMap::new();
        for (pod, weight) in input.pending().iter().zip(weights) {
            let kind = Kind {
                priority: pod.priority,
                weight,
                evicted: false,
                demand: pod.demand.clone(),
                requests: pod.requests.clone(),
                eligible: pod.eligible,
            };
            kinds.entry(kind).or_default().0 += 1;
        }
        for (&index, &evicted) in &self.evictions {
            let entry = kinds.entry(running_kind(input, &input.running()[index])).or_default();
            entry.0 += 1;
            entry.1.push(evicted);
        }
        let mut takes: Vec<BTreeMap<ResourceId, Terms>> = vec![BTreeMap::new(); input.nodes().len()];
        let mut asks: Vec<BTreeMap<_, Terms>> = vec![BTreeMap::new(); input.nodes().len()];
        for (kind, (count, evicted)) in kinds {
            let tier = self.tiers.iter().position(|&tier| tier == kind.priority).expect("all priorities are tiers");
            let mut placed = Terms::new();
            for node in 0..input.nodes().len() {
                if !input.may_use(kind.eligible, NodeId::new(node)) {
                    continue;
                }
                let lands = self.program.variable(count);
                placed.push((lands, 1));
                for (resource, each) in kind.demand.iter() {
                    takes[node].entry(resource).or_default().push((lands, i64::from(each)));
                }
                for (what, amount) in kind.requests.iter() {
                    asks[node].entry(what.clone()).or_default().push((lands, amount));
                }
            }
            if !kind.evicted {
                self.served[tier].extend(placed.iter().map(|&(v, _)| (v, kind.weight)));
                self.program.at_most(placed, count);
                continue;
            }
            let yields = self.level == DisruptionLevel::Aggressive
                && input.pending().iter().any(|pod| pod.preempts && pod.priority > kind.priority);
            let left = self.program.variable(if yields { count } else { 0 });
            self.displaced[tier].push((left, kind.weight));
            placed.push((left, 1));
            placed.extend(evicted.into_iter().map(|evicted| (evicted, -1)));
            self.program.equal(placed, 0);
        }
        for (node, takes) in takes.into_iter().enumerate() {
            for (resource, mut terms) in takes {
                let (offered, constant) = self.supply[node].remove(&resource).unwrap_or_default();
                terms.extend(offered.into_iter().map(|(v, n)| (v, -n)));
                self.program.at_most(terms, constant);
            }
        }
        for (node, asks) in asks.into_iter().enumerate() {
            for (what, mut terms) in asks {
                let free = input.nodes()[node].free.get(&what);
                assert!(free >= 0, "the program does not model overcommitted nodes");
                for (&pod, &evicted) in &self.evictions {
                    let pod = &input.running()[pod];
                    if pod.node.index() == node {
                        terms.push((evicted, -pod.requests.get(&what)));
                    }
                }
                self.program.at_most(terms, free);
            }
        }
    }

    fn add_budgets(&mut self) {
        let input = self.input;
        for (index, budget) in input.budgets().iter().enumerate() {
            let counts = |pod: usize| input.running()[pod].budgets.iter().any(|b| b.index() == index);
            let terms = self.evictions.iter().filter(|(pod, _)| counts(**pod)).map(|(_, &v)| (v, 1)).collect();
            self.program.at_most(terms, i64::from(budget.allowed));
        }
        let budgets = input.policy().budgets;
        if let Some(limit) = budgets.nodes {
            self.program.at_most(self.nodes.clone(), limit.of(input.nodes().len()) as i64);
        }
        if let Some(limit) = budgets.gpus {
            self.program.at_most(self.gpus.clone(), limit.of(input.gpus().len()) as i64);
        }
        if let Some(most) = budgets.evictions {
            self.program.at_most(self.evictions.values().map(|&v| (v, 1)).collect(), i64::from(most));
        }
    }

    /// Solves level by level, each with the levels above it fixed.
    fn solve(mut self, backend: Backend) -> Result<Levels, String> {
        let mut tiers = Vec::new();
        for tier in 0..self.tiers.len() {
            let displaced = self.displaced[tier].clone();
            let displaced = self.level_down(&displaced, backend)?;
            let served = self.served[tier].clone();
            let served = self.level_up(&served, backend)?;
            tiers.push((self.tiers[tier], displaced, served));
        }
        let [cost, nodes, gpus, changes] =
            [self.cost.clone(), self.nodes.clone(), self.gpus.clone(), self.changes.clone()];
        Ok(Levels {
            tiers,
            disruption: self.level_down(&cost, backend)?,
            nodes_touched: self.level_down(&nodes, backend)?,
            gpus_touched: self.level_down(&gpus, backend)?,
            instance_changes: self.level_down(&changes, backend)? + self.changes_constant,
        })
    }

    fn level_up(&mut self, terms: &Terms, backend: Backend) -> Result<i64, String> {
        if terms.is_empty() {
            return Ok(0);
        }
        let values = self.program.maximise(terms, backend)?;
        let value = evaluate(terms, &values);
        self.program.at_least(terms.clone(), value);
        Ok(value)
    }

    fn level_down(&mut self, terms: &Terms, backend: Backend) -> Result<i64, String> {
        let negative: Terms = terms.iter().map(|&(v, factor)| (v, -factor)).collect();
        self.level_up(&negative, backend).map(|value| -value)
    }
}

fn running_kind(input: &PlanningInput, pod: &RunningPod) -> Kind {
    Kind {
        priority: pod.priority,
        weight: weight(input, &pod.demand),
        evicted: true,
        demand: pod.demand.clone(),
        requests: pod.requests.clone(),
        eligible: pod.eligible,
    }
}

/// Weight of a pod without ageing.
fn weight(input: &PlanningInput, demand: &Demand) -> i64 {
    let slices = demand.iter().map(|(resource, count)| u64::from(count) * u64::from(input.slices_of(resource))).sum();
    input.policy().weight.of(slices) as i64
}

/// Weight times ageing, of each waiting pod.
fn pending_weights(input: &PlanningInput) -> Vec<i64> {
    let mut youngest: BTreeMap<i32, u64> = BTreeMap::new();
    for pod in input.pending() {
        let least = youngest.entry(pod.priority).or_insert(u64::MAX);
        *least = (*least).min(pod.waiting_seconds);
    }
    let ageing = |pod: &retile::model::PendingPod| match input.policy().ageing_seconds {
        0 => 1,
        step => 1 + ((pod.waiting_seconds - youngest[&pod.priority]) / step).min(Policy::MAX_AGEING - 1) as i64,
    };
    let mut known: BTreeMap<&Demand, i64> = BTreeMap::new();
    input
        .pending()
        .iter()
        .map(|pod| *known.entry(&pod.demand).or_insert_with(|| weight(input, &pod.demand)) * ageing(pod))
        .collect()
}

/// As many instances of a profile as fit on a GPU: how many, and the fewest changes that lead there.
fn full_of(gpu: &Gpu, id: ProfileId) -> (usize, i64) {
    let there: Vec<Placement> = gpu.instances.iter().map(|instance| instance.placement).collect();
    let placements: Vec<Placement> = gpu.geometry.placements().filter(|p| p.profile() == id).collect();
    let mut best = (0, i64::MAX);
    for chosen in 0..1_u32 << placements.len() {
        let layout: Vec<Placement> =
            (0..placements.len()).filter(|bit| chosen >> bit & 1 == 1).map(|bit| placements[bit]).collect();
        if Layout::try_new(&gpu.geometry, layout.clone()).is_err() {
            continue;
        }
        let kept = layout.iter().filter(|placement| there.contains(placement)).count();
        let changes = (layout.len() + there.len() - 2 * kept) as i64;
        if layout.len() > best.0 || (layout.len() == best.0 && changes < best.1) {
            best = (layout.len(), changes);
        }
    }
    best
}
