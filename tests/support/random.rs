//! Draws random clusters that touch every rule of `docs/design/semantics.md`.
//!
//! Input: a seed and a [`Shape`]. Output: a [`Spec`]; the same seed and shape give the same cluster for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use retile::model::{
    Budgets, ControllerKind, DisruptionLevel, GainFactor, Geometry, Layout, Limit, MediaEngines, MigStrategy, Mode,
    Movability, MoveCost, Placement, Policy, Reason, Stability, Weight,
};

use super::boards;
use super::rng::Rng;
use super::spec::{GpuSpec, Held, InstanceSpec, NodeSpec, Ordinary, PendingSpec, RunningSpec, Spec};

/// How large clusters are and what they may contain.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Nodes, at least and at most.
    pub nodes: (usize, usize),
    /// GPUs of a node, at least and at most.
    pub gpus_per_node: (usize, usize),
    /// GPUs in all.
    pub gpus: usize,
    /// Kinds of waiting pods, at least and at most.
    pub pending_kinds: (usize, usize),
    /// Waiting pods of one kind, at least and at most.
    pub pods_per_kind: (usize, usize),
    /// Running pods that may be moved at some level.
    pub movable: usize,
    /// Whether the policy may limit a cycle and ask for a gain.
    pub limits: bool,
    /// Whether pods may ask for several instances.
    pub several: bool,
    /// Whether pods may be kept from nodes by eligibility, CPU or memory.
    pub obstacles: bool,
    /// Percentage of nodes with strategy `single`.
    pub single: usize,
}

impl Shape {
    /// Clusters that a brute-force search settles in milliseconds.
    pub const SMALL: Self = Self {
        nodes: (1, 3),
        gpus_per_node: (1, 2),
        gpus: 4,
        pending_kinds: (1, 3),
        pods_per_kind: (1, 3),
        movable: 6,
        limits: true,
        several: true,
        obstacles: true,
        single: 10,
    };

    /// Clusters for the per-GPU integer program.
    pub const MEDIUM: Self = Self {
        nodes: (3, 8),
        gpus_per_node: (2, 6),
        gpus: 40,
        pending_kinds: (2, 6),
        pods_per_kind: (1, 8),
        movable: usize::MAX,
        limits: true,
        several: true,
        obstacles: true,
        single: 5,
    };
}

/// Profiles that the cluster's people like: instances and demand are mostly drawn from these, so that they meet.
struct Taste {
    names: BTreeSet<String>,
    /// Small instances scattered over the boards and large ones asked for: the case in which moves pay.
    scattered: bool,
}

/// Draws the cluster of a seed.
pub fn cluster(seed: u64, shape: &Shape) -> Spec {
    let mut rng = Rng::new(seed);
    let rng = &mut rng;
    let taste = draw_taste(rng);
    let tight = shape.obstacles && rng.chance(25);
    let tiers: Vec<i32> = [100, 10, 0][..[1, 2, 3][rng.weighted(&[40, 40, 20])]].to_vec();
    let nodes = draw_nodes(rng, shape, tight, &taste);
    let budgets: Vec<(String, u32)> =
        (0..rng.below(3)).map(|index| (format!("ns/pdb-{index}"), rng.below(3) as u32)).collect();
    let mut spec = Spec {
        // Drawn apart, so that a seed's cluster is the same under either weight.
        policy: Policy {
            weight: if Rng::new(!seed).chance(25) { Weight::Pods } else { Weight::Slices },
            ..draw_policy(rng, shape)
        },
        nodes,
        running: Vec::new(),
        pending: Vec::new(),
        budgets,
        forecast: Vec::new(),
    };
    draw_running(rng, shape, &mut spec, &tiers, tight);
    draw_pending(rng, shape, &mut spec, &tiers, tight, &taste);
    draw_forecast(rng, &mut spec);
    spec
}

fn draw_taste(rng: &mut Rng) -> Taste {
    let scattered = rng.chance(55);
    let names = [&boards::A30, &boards::A100, &boards::H100, &boards::RTX6000]
        .into_iter()
        .flat_map(|board| board.profiles())
        .filter(|profile| rng.chance(if profile.media == MediaEngines::Standard { 65 } else { 15 }))
        .map(|profile| profile.name.clone())
        .collect();
    Taste { names, scattered }
}

fn draw_policy(rng: &mut Rng, shape: &Shape) -> Policy {
    let levels = [DisruptionLevel::IdleOnly, DisruptionLevel::Balanced, DisruptionLevel::Aggressive];
    let disruption = levels[rng.weighted(&[10, 45, 45])];
    let gains = [0, 200, 500, 1000, 1500, 3000];
    let limited = |rng: &mut Rng, most: usize| {
        (shape.limits && rng.chance(15)).then(|| {
            if rng.chance(30) {
                Limit::Percent([0, 10, 34, 50, 100][rng.below(5)])
            } else {
                Limit::Count(rng.below(most + 1) as u32)
            }
        })
    };
    let gain = if shape.limits && rng.chance(30) { *rng.pick(&gains) } else { 0 };
    let nodes = limited(rng, 2);
    let gpus = limited(rng, 3);
    let evictions = (shape.limits && rng.chance(15)).then(|| rng.below(4) as u32);
    Policy {
        mode: Mode::Observe,
        disruption,
        weight: Weight::Slices,
        gain_factor: GainFactor::from_thousandths(gain),
        move_cost: MoveCost::default(),
        budgets: Budgets { nodes, gpus, evictions },
        stability: Stability::default(),
        ageing_seconds: *rng.pick(&[0, 600, 3600]),
    }
}

fn draw_board(rng: &mut Rng) -> Arc<Geometry> {
    Arc::clone(match rng.weighted(&[30, 40, 15, 15]) {
        0 => &boards::A30,
        1 => &boards::A100,
        2 => &boards::H100,
        _ => &boards::RTX6000,
    })
}

fn draw_nodes(rng: &mut Rng, shape: &Shape, tight: bool, taste: &Taste) -> Vec<NodeSpec> {
    let mut nodes = Vec::new();
    let mut left = shape.gpus;
    let usual = draw_board(rng);
    for number in 0..rng.between(shape.nodes.0, shape.nodes.1) {
        let count = rng.between(shape.gpus_per_node.0, shape.gpus_per_node.1).min(left);
        if count == 0 {
            break;
        }
        left -= count;
        let board = if rng.chance(60) { Arc::clone(&usual) } else { draw_board(rng) };
        let strategy = if rng.chance(shape.single) { MigStrategy::Single } else { MigStrategy::Mixed };
        let other = if strategy == MigStrategy::Mixed && rng.chance(10) { draw_board(rng) } else { Arc::clone(&board) };
        let geometries: Vec<Arc<Geometry>> =
            (0..count).map(|index| Arc::clone(if index == 1 { &other } else { &board })).collect();
        let offers = draw_offers(rng, strategy, &[&board, &other]);
        let uniform = if strategy == MigStrategy::Single { full_of_one(rng, &board) } else { Vec::new() };
        let gpus = geometries
            .into_iter()
            .enumerate()
            .map(|(index, geometry)| {
                let placements = match strategy {
                    MigStrategy::Single => uniform.clone(),
                    MigStrategy::Mixed => draw_layout(rng, &geometry, taste),
                };
                GpuSpec {
                    index: index as u32,
                    frozen: rng.chance(10),
                    instances: placements
                        .into_iter()
                        .map(|placement| InstanceSpec {
                            profile: geometry.profile(placement.profile()).name.clone(),
                            start: placement.start(),
                            held: Held::Free,
                        })
                        .collect(),
                    geometry,
                }
            })
            .collect();
        nodes.push(NodeSpec { name: format!("node-{number}"), strategy, free: draw_free(rng, tight), offers, gpus });
    }
    nodes
}

fn draw_free(rng: &mut Rng, tight: bool) -> Ordinary {
    if !tight {
        return Ordinary { cpu: 1_000_000, memory: 1_000_000, pods: 500 };
    }
    let cpu = if rng.chance(8) { -500 } else { 500 * rng.below(8) as i64 };
    Ordinary { cpu, memory: 1024 * rng.below(8) as i64, pods: if rng.chance(15) { rng.below(4) as i64 } else { 50 } }
}

fn draw_offers(rng: &mut Rng, strategy: MigStrategy, boards: &[&Arc<Geometry>]) -> BTreeMap<String, (String, u32)> {
    let mut offers = BTreeMap::new();
    let sharing = strategy == MigStrategy::Mixed && rng.chance(20);
    for profile in boards.iter().flat_map(|board| board.profiles()) {
        let name = match strategy {
            MigStrategy::Single => "nvidia.com/gpu".to_owned(),
            MigStrategy::Mixed => format!("nvidia.com/{}", profile.resource_suffix()),
        };
        let offer = if sharing && rng.chance(30) {
            (format!("{name}.shared"), rng.between(2, 3) as u32)
        } else if strategy == MigStrategy::Mixed && rng.chance(4) {
            (format!("nvidia.com/mig-{}g.any", profile.compute_slices), 1)
        } else {
            (name, 1)
        };
        if strategy == MigStrategy::Single || rng.chance(94) {
            offers.insert(profile.name.clone(), offer);
        }
    }
    offers
}

/// Fills a board with random placements, one after the other, as far as a random number of tries gets.
fn draw_layout(rng: &mut Rng, geometry: &Geometry, taste: &Taste) -> Vec<Placement> {
    let all: Vec<Placement> = geometry.placements().collect();
    let liked: Vec<Placement> =
        all.iter().copied().filter(|p| taste.names.contains(&geometry.profile(p.profile()).name)).collect();
    let small: Vec<Placement> = all.iter().copied().filter(|p| p.size() * 4 <= geometry.axis()).collect();
    let tries = if taste.scattered || rng.chance(40) { rng.between(1, 4) } else { rng.below(14) };
    let mut placements: Vec<Placement> = Vec::new();
    for _ in 0..tries {
        let mut tried = placements.clone();
        let anything = liked.is_empty() || rng.chance(12);
        let from = if taste.scattered && rng.chance(80) { &small } else { &liked };
        tried.push(*rng.pick(if anything { &all } else { from }));
        if Layout::try_new(geometry, tried.clone()).is_ok() {
            placements = tried;
        }
    }
    placements
}

/// As many instances of one random profile as fit, or none at all.
fn full_of_one(rng: &mut Rng, geometry: &Geometry) -> Vec<Placement> {
    if rng.chance(15) {
        return Vec::new();
    }
    let profile = rng.below(geometry.profiles().len());
    let mut placements: Vec<Placement> = Vec::new();
    for placement in geometry.placements().filter(|placement| placement.profile().index() == profile) {
        let mut tried = placements.clone();
        tried.push(placement);
        if Layout::try_new(geometry, tried.clone()).is_ok() {
            placements = tried;
        }
    }
    placements
}

fn draw_requests(rng: &mut Rng, tight: bool) -> Ordinary {
    if !tight {
        return Ordinary { cpu: 1000, memory: 1024, pods: 1 };
    }
    Ordinary { cpu: 500 * rng.below(4) as i64, memory: 1024 * rng.below(3) as i64, pods: 1 }
}

fn draw_eligible(rng: &mut Rng, shape: &Shape, nodes: usize) -> Vec<usize> {
    if !shape.obstacles || rng.chance(60) {
        return (0..nodes).collect();
    }
    let some: Vec<usize> = (0..nodes).filter(|_| rng.chance(60)).collect();
    if some.is_empty() && !rng.chance(10) { (0..nodes).collect() } else { some }
}

/// Hands the instances to pods.
fn draw_running(rng: &mut Rng, shape: &Shape, spec: &mut Spec, tiers: &[i32], tight: bool) {
    let busy = *rng.pick(&[40, 60, 80, 90]);
    let mut movable = 0;
    for node in 0..spec.nodes.len() {
        // One entry per replica that somebody holds.
        let mut slots: Vec<(usize, usize, String)> = Vec::new();
        let offers = spec.nodes[node].offers.clone();
        for (gpu, spec_gpu) in spec.nodes[node].gpus.iter_mut().enumerate() {
            for (slot, instance) in spec_gpu.instances.iter_mut().enumerate() {
                if rng.chance(4) {
                    instance.held = Held::Unknown;
                } else if let Some((resource, replicas)) = offers.get(&instance.profile)
                    && rng.chance(busy)
                {
                    let holders = rng.between(1, *replicas as usize);
                    slots.extend((0..holders).map(|_| (gpu, slot, resource.clone())));
                }
            }
        }
        rng.shuffle(&mut slots);
        while let Some(first) = slots.pop() {
            let mut held = vec![first];
            while shape.several && held.len() < 3 && rng.chance(12) {
                let Some(other) = slots.iter().position(|slot| held.iter().all(|h| (h.0, h.1) != (slot.0, slot.1)))
                else {
                    break;
                };
                held.push(slots.swap_remove(other));
            }
            let mut pod = draw_pod(rng, shape, spec, tiers, tight, node);
            if movable >= shape.movable {
                pod.movability = Movability::Never(Reason::BlockedByPod, "enough pods move already".to_owned());
            } else if matches!(pod.movability, Movability::From(_)) {
                movable += 1;
            }
            let position = spec.running.len();
            for (gpu, slot, resource) in held {
                pod.demand.push((resource, 1));
                let held = &mut spec.nodes[node].gpus[gpu].instances[slot].held;
                match held {
                    Held::By(pods) => pods.push(position),
                    Held::Free | Held::Unknown => *held = Held::By(vec![position]),
                }
            }
            spec.running.push(pod);
        }
    }
}

fn draw_pod(rng: &mut Rng, shape: &Shape, spec: &Spec, tiers: &[i32], tight: bool, node: usize) -> RunningSpec {
    let (movability, controller) = match rng.weighted(&[65, 20, 15]) {
        0 => (Movability::From(DisruptionLevel::Balanced), ControllerKind::Replacing),
        1 => (Movability::From(DisruptionLevel::Aggressive), ControllerKind::Job),
        _ => (Movability::Never(Reason::BlockedByPod, "nobody makes it again".to_owned()), ControllerKind::None),
    };
    let mut eligible = draw_eligible(rng, shape, spec.nodes.len());
    if !eligible.contains(&node) && rng.chance(80) {
        eligible.push(node);
    }
    RunningSpec {
        name: format!("run-{:02}", spec.running.len()),
        node,
        priority: if rng.chance(12) { -5 } else { *rng.pick(tiers) },
        controller,
        movability,
        cost: [1, 2, 3][rng.weighted(&[60, 25, 15])],
        requests: draw_requests(rng, tight),
        demand: Vec::new(),
        eligible,
        budgets: (0..spec.budgets.len()).filter(|_| rng.chance(35)).collect(),
    }
}

/// Draws kinds of waiting pods and some of each.
fn draw_pending(rng: &mut Rng, shape: &Shape, spec: &mut Spec, tiers: &[i32], tight: bool, taste: &Taste) {
    for _ in 0..rng.between(shape.pending_kinds.0, shape.pending_kinds.1) {
        let kind = PendingSpec {
            name: String::new(),
            priority: *rng.pick(tiers),
            preempts: rng.chance(75),
            waiting_seconds: 0,
            requests: draw_requests(rng, tight),
            demand: draw_demand(rng, shape, spec, taste),
            eligible: draw_eligible(rng, shape, spec.nodes.len()),
        };
        let age = rng.below(8000);
        for _ in 0..rng.between(shape.pods_per_kind.0, shape.pods_per_kind.1) {
            let name = format!("wait-{:02}", spec.pending.len());
            let waiting_seconds = if rng.chance(70) { age } else { rng.below(40_000) } as u64;
            spec.pending.push(PendingSpec { name, waiting_seconds, ..kind.clone() });
        }
    }
}

fn draw_demand(rng: &mut Rng, shape: &Shape, spec: &Spec, taste: &Taste) -> Vec<(String, u32)> {
    if rng.chance(2) {
        return vec![("nvidia.com/mig-9g.900gb".to_owned(), 1)];
    }
    let node = rng.pick(&spec.nodes).clone();
    let offers: Vec<(&String, &String)> = node.offers.iter().map(|(profile, (name, _))| (profile, name)).collect();
    let liked: Vec<&String> =
        offers.iter().filter(|(profile, _)| taste.names.contains(*profile)).map(|(_, n)| *n).collect();
    let all: Vec<&String> = offers.iter().map(|(_, name)| *name).collect();
    if taste.scattered && rng.chance(60) {
        let geometry = &node.gpus[0].geometry;
        let large = geometry.profiles().iter().filter(|p| p.size.unwrap_or(0) * 2 >= geometry.axis());
        let large: Vec<&(String, u32)> = large.filter_map(|p| node.offers.get(&p.name)).collect();
        if !large.is_empty() {
            return vec![(rng.pick(&large).0.clone(), 1)];
        }
    }
    let offered = if liked.is_empty() || rng.chance(10) { all } else { liked };
    if offered.is_empty() {
        return vec![("nvidia.com/mig-9g.900gb".to_owned(), 1)];
    }
    let mut demand = vec![((*rng.pick(&offered)).clone(), 1)];
    while shape.several && demand.len() < 3 && rng.chance(15) {
        demand.push(((*rng.pick(&offered)).clone(), 1));
    }
    demand
}

fn draw_forecast(rng: &mut Rng, spec: &mut Spec) {
    let offered: Vec<String> =
        spec.nodes.iter().flat_map(|node| node.offers.values().map(|(name, _)| name.clone())).collect();
    let mut forecast: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..rng.below(4) {
        if !offered.is_empty() {
            forecast.insert(rng.pick(&offered).clone(), rng.between(1, 5) as u32);
        }
    }
    spec.forecast = forecast.into_iter().collect();
}
