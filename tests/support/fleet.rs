//! Draws large fleets with real fragmentation: the input of the benches.
//!
//! Pods arrive and leave for a while and are placed first-fit, as a cluster without retile would; what is left is the
//! layout that a planner meets. Input: a [`Fleet`] description. Output: [`Drawn`], from which a [`PlanningInput`] is
//! built as an adapter would. Deterministic by seed.

use std::sync::Arc;

use retile::model::{
    BudgetId, Budgets, Capacity, CapacityKind, ControllerKind, Demand, DisruptionLevel, EvictionBudget, GainFactor,
    Geometry, Gpu, Instance, Layout, MigStrategy, Mode, Movability, MoveCost, Node, NodeId, NodeSet, NodeSetId,
    Occupancy, Offer, PendingPod, Placement, PlanningInput, PlanningInputBuilder, PodId, PodRef, Policy, Reason,
    ResourceId, RunningPod, Stability, Weight,
};

use super::boards;
use super::rng::Rng;

/// GPUs of one node.
pub const GPUS_PER_NODE: usize = 8;

/// Which profiles pods ask for, as weights of 1g, double-memory 1g, 2g, 3g, 4g and 7g.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Mostly small ones.
    SkewSmall,
    /// Each as often as any other.
    Uniform,
    /// Small ones and whole GPUs.
    Bimodal,
}

impl Mix {
    fn weights(self) -> [usize; 6] {
        match self {
            Self::SkewSmall => [40, 6, 22, 16, 10, 6],
            Self::Uniform => [1; 6],
            Self::Bimodal => [45, 5, 10, 5, 5, 30],
        }
    }
}

/// Profiles in the order of [`Mix::weights`].
pub const PROFILES: [&str; 6] = ["1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"];

/// What a fleet looks like.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// Seed of everything random.
    pub seed: u64,
    /// GPUs; a multiple of [`GPUS_PER_NODE`] or the last node has fewer.
    pub gpus: usize,
    /// Percentage of nodes with H100 instead of A100.
    pub h100: usize,
    /// Percentage of memory slices that running pods hold.
    pub utilisation: usize,
    /// Percentage of memory slices that waiting pods ask for.
    pub demand: usize,
    /// Pods in all, running and waiting, instead of `demand`.
    pub pods: Option<usize>,
    /// Sizes of pods.
    pub mix: Mix,
    /// Percentage of running pods that may be moved.
    pub movable: usize,
    /// Disruption budgets; a third of the pods belong to one.
    pub budgets: usize,
    /// Priorities of waiting pods, from high to low.
    pub priorities: &'static [i32],
    /// Which pods the plan may move.
    pub level: DisruptionLevel,
}

impl Fleet {
    /// 85 % held, a quarter of the capacity waiting, nobody may be moved: 8,000 pods on 10,000 GPUs.
    pub fn idle(gpus: usize) -> Self {
        Self {
            seed: 1,
            gpus,
            h100: 0,
            utilisation: 85,
            demand: 25,
            pods: None,
            mix: Mix::SkewSmall,
            movable: 70,
            budgets: 8,
            priorities: &[100, 0],
            level: DisruptionLevel::IdleOnly,
        }
    }

    /// 85 % held, a tenth of the capacity waiting, most pods may be moved.
    pub fn evict(gpus: usize) -> Self {
        Self { demand: 10, level: DisruptionLevel::Balanced, ..Self::idle(gpus) }
    }

    /// The same fleet with as many waiting pods as it takes to have `pods` pods in all.
    pub fn with_pods(self, pods: usize) -> Self {
        Self { pods: Some(pods), ..self }
    }

    /// As [`Self::evict`], a third of the nodes H100 that some pods insist on or avoid.
    pub fn mixed(gpus: usize) -> Self {
        Self { h100: 33, ..Self::evict(gpus) }
    }
}

struct DrawnGpu {
    standing: Vec<(Placement, Option<usize>)>,
}

struct DrawnPod {
    profile: usize,
    /// GPU that it runs on.
    gpu: usize,
}

/// A fleet that has been in use for a while.
pub struct Drawn {
    fleet: Fleet,
    geometry: Arc<Geometry>,
    gpus: Vec<DrawnGpu>,
    running: Vec<Option<DrawnPod>>,
    /// Profile and kind of eligibility of each waiting pod.
    waiting: Vec<(usize, usize)>,
}

/// Lets pods come and go.
pub fn draw(fleet: Fleet) -> Drawn {
    let mut rng = Rng::new(fleet.seed);
    let geometry = Arc::clone(&boards::A100);
    let gpus = (0..fleet.gpus).map(|_| DrawnGpu { standing: Vec::new() }).collect();
    let mut drawn = Drawn { fleet, geometry, gpus, running: Vec::new(), waiting: Vec::new() };
    let capacity = fleet.gpus * 8;
    let mut held = 0;
    for _ in 0..4 {
        held += drawn.arrive(&mut rng, capacity.saturating_sub(held));
        held -= drawn.leave(&mut rng, held * 3 / 10);
    }
    held += drawn.arrive(&mut rng, capacity.saturating_sub(held));
    let surplus = held.saturating_sub(capacity * fleet.utilisation / 100);
    drawn.leave(&mut rng, surplus);
    // An idle instance is as often still there as not.
    for gpu in &mut drawn.gpus {
        gpu.standing.retain(|(_, pod)| pod.is_some() || rng.chance(50));
    }
    let mut asked = 0;
    let running = drawn.running();
    let enough = |asked: usize, waiting: usize| match fleet.pods {
        Some(pods) => running + waiting >= pods,
        None => asked >= capacity * fleet.demand / 100,
    };
    while !enough(asked, drawn.waiting.len()) {
        let profile = rng.weighted(&fleet.mix.weights());
        asked += drawn.size(profile);
        drawn.waiting.push((profile, if fleet.h100 > 0 { rng.weighted(&[70, 15, 15]) } else { 0 }));
    }
    drawn
}

impl Drawn {
    /// Waiting pods.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Running pods.
    pub fn running(&self) -> usize {
        self.running.iter().flatten().count()
    }

    /// Waiting pods by profile of a seven-slice board without media variants.
    pub fn demand(&self) -> [u64; 6] {
        let mut demand = [0; 6];
        self.waiting.iter().for_each(|&(profile, _)| demand[profile] += 1);
        demand
    }

    fn size(&self, profile: usize) -> usize {
        let id = self.geometry.find(PROFILES[profile]).expect("a profile of the board");
        usize::from(self.geometry.profile(id).size.expect("the board's sizes are known"))
    }

    /// Places pods first-fit until `slices` are taken or pods find no place; returns the slices taken.
    fn arrive(&mut self, rng: &mut Rng, slices: usize) -> usize {
        let mut taken = 0;
        let mut misses = 0;
        // No GPU before the cursor of a profile has room for it, because nothing leaves meanwhile.
        let mut cursor = [0; 6];
        while taken < slices && misses < 200 {
            let profile = rng.weighted(&self.fleet.mix.weights());
            let found = (cursor[profile]..self.gpus.len()).find_map(|gpu| Some((gpu, self.place(gpu, profile)?)));
            let Some((gpu, placement)) = found else {
                cursor[profile] = self.gpus.len();
                misses += 1;
                continue;
            };
            cursor[profile] = gpu;
            let standing = &mut self.gpus[gpu].standing;
            standing.retain(|(there, pod)| pod.is_some() || !there.overlaps(placement));
            standing.push((placement, Some(self.running.len())));
            self.running.push(Some(DrawnPod { profile, gpu }));
            taken += usize::from(placement.size());
        }
        taken
    }

    /// First free place for a profile on a GPU: an idle instance of it, or else the first start that is not held.
    fn place(&self, gpu: usize, profile: usize) -> Option<Placement> {
        let id = self.geometry.find(PROFILES[profile])?;
        let standing = &self.gpus[gpu].standing;
        let idle = standing.iter().find(|(placement, pod)| pod.is_none() && placement.profile() == id);
        if let Some(&(placement, _)) = idle {
            return Some(placement);
        }
        let free = |p: &Placement| standing.iter().all(|(there, pod)| pod.is_none() || !there.overlaps(*p));
        self.geometry.profile(id).starts.iter().filter_map(|&start| self.geometry.place(id, start).ok()).find(free)
    }

    /// Lets random pods go until `slices` are free; their instances stay.
    fn leave(&mut self, rng: &mut Rng, slices: usize) -> usize {
        let mut freed = 0;
        let mut order: Vec<usize> = (0..self.running.len()).filter(|&pod| self.running[pod].is_some()).collect();
        rng.shuffle(&mut order);
        for pod in order {
            if freed >= slices {
                break;
            }
            let Some(gone) = self.running[pod].take() else { continue };
            let standing = self.gpus[gone.gpu].standing.iter_mut().find(|(_, holder)| *holder == Some(pod));
            standing.expect("a running pod holds an instance").1 = None;
            freed += self.size(gone.profile);
        }
        freed
    }

    /// Builds the planning input, as an adapter does from what it has read.
    pub fn input(&self) -> PlanningInput {
        let mut rng = Rng::new(self.fleet.seed ^ 0x5EED);
        let mut builder = PlanningInputBuilder::new(1_700_000_000);
        builder.policy(policy(self.fleet.level));
        let resources: Vec<ResourceId> =
            PROFILES.iter().map(|profile| builder.resource(&format!("nvidia.com/mig-{profile}"))).collect();
        for (&resource, weight) in resources.iter().zip(self.fleet.mix.weights()) {
            builder.forecast(resource, weight as u32);
        }
        let budgets: Vec<BudgetId> = (0..self.fleet.budgets)
            .map(|number| {
                let allowed = (self.running() / 3 / self.fleet.budgets / 5).max(1) as u32;
                builder.budget(EvictionBudget { name: format!("team-{number}/budget"), allowed })
            })
            .collect();
        let h100: Vec<bool> =
            (0..self.fleet.gpus.div_ceil(GPUS_PER_NODE)).map(|_| rng.chance(self.fleet.h100)).collect();
        let sets = node_sets(&mut builder, &h100);
        let requests = requests();
        let mut ids: Vec<Option<PodId>> = vec![None; self.running.len()];
        for (position, pod) in self.running.iter().enumerate() {
            let Some(pod) = pod else { continue };
            let movable = rng.chance(self.fleet.movable);
            ids[position] = Some(builder.running(RunningPod {
                pod: pod_ref("run", position),
                node: NodeId::new(pod.gpu / GPUS_PER_NODE),
                priority: 0,
                controller: if movable { ControllerKind::Replacing } else { ControllerKind::None },
                movability: if movable {
                    Movability::From(DisruptionLevel::Balanced)
                } else {
                    Movability::Never(Reason::BlockedByPod, "nobody makes it again".to_owned())
                },
                cost: [1, 1, 1, 2, 3][rng.below(5)],
                requests: requests.clone(),
                demand: Demand::new([(resources[pod.profile], 1)]),
                eligible: sets[0],
                budgets: if rng.chance(33) && !budgets.is_empty() { vec![*rng.pick(&budgets)] } else { Vec::new() },
                instances: Vec::new(),
            }));
        }
        for (number, &(profile, eligibility)) in self.waiting.iter().enumerate() {
            builder.pending(PendingPod {
                pod: pod_ref("wait", number),
                priority: *rng.pick(self.fleet.priorities),
                preempts: true,
                waiting_seconds: 60,
                demand: Demand::new([(resources[profile], 1)]),
                requests: requests.clone(),
                eligible: sets[eligibility],
            });
        }
        self.add_nodes(&mut builder, &h100, &resources, &ids);
        builder.build().expect("the fleet is well-formed")
    }

    fn add_nodes(
        &self,
        builder: &mut PlanningInputBuilder,
        h100: &[bool],
        resources: &[ResourceId],
        ids: &[Option<PodId>],
    ) {
        let offers: Arc<[Option<Offer>]> = self
            .geometry
            .profiles()
            .iter()
            .map(|profile| {
                let position = PROFILES.iter().position(|name| *name == profile.name)?;
                Some(Offer { resource: resources[position], replicas: 1 })
            })
            .collect();
        for (node, gpus) in self.gpus.chunks(GPUS_PER_NODE).enumerate() {
            let geometry = if h100[node] { &*boards::H100 } else { &self.geometry };
            let gpus = gpus
                .iter()
                .enumerate()
                .map(|(index, gpu)| Gpu {
                    node: NodeId::new(node),
                    index: index as u32,
                    uuid: format!("GPU-{node:05}-{index}"),
                    product: geometry.board().product_names[0].clone(),
                    geometry: Arc::clone(geometry),
                    instances: gpu.standing.iter().map(|standing| instance(*standing, ids)).collect(),
                    offers: Arc::clone(&offers),
                    frozen: None,
                })
                .collect();
            let mut free = Capacity::default();
            free.set(CapacityKind::CpuMilli, 200_000);
            free.set(CapacityKind::MemoryBytes, 1 << 40);
            free.set(CapacityKind::Pods, 200);
            let name = format!("gpu-{node:05}");
            builder.node(Node { name, strategy: MigStrategy::Mixed, free, gpus: 0..0 }, gpus);
        }
    }

    /// Panics unless every GPU holds a legal layout.
    pub fn check(&self) {
        for gpu in &self.gpus {
            let placements = gpu.standing.iter().map(|(placement, _)| *placement).collect();
            Layout::try_new(&self.geometry, placements).expect("first fit places within the rules");
        }
    }
}

/// All nodes, A100 nodes, H100 nodes.
fn node_sets(builder: &mut PlanningInputBuilder, h100: &[bool]) -> [NodeSetId; 3] {
    let of = |keep: &dyn Fn(bool) -> bool| -> NodeSet {
        h100.iter().enumerate().filter(|(_, is)| keep(**is)).map(|(node, _)| NodeId::new(node)).collect()
    };
    [builder.node_set(of(&|_| true)), builder.node_set(of(&|is| !is)), builder.node_set(of(&|is| is))]
}

fn instance((placement, pod): (Placement, Option<usize>), ids: &[Option<PodId>]) -> Instance {
    let occupancy = match pod {
        Some(pod) => Occupancy::Busy(vec![ids[pod].expect("whoever holds an instance runs")]),
        None => Occupancy::Free,
    };
    Instance { placement, uuid: None, occupancy }
}

fn requests() -> Capacity {
    let mut requests = Capacity::default();
    requests.set(CapacityKind::CpuMilli, 1000);
    requests.set(CapacityKind::MemoryBytes, 4 << 30);
    requests.set(CapacityKind::Pods, 1);
    requests
}

fn pod_ref(kind: &str, number: usize) -> PodRef {
    PodRef { namespace: format!("team-{}", number % 8), name: format!("{kind}-{number:06}"), uid: String::new() }
}

fn policy(disruption: DisruptionLevel) -> Policy {
    Policy {
        mode: Mode::Observe,
        disruption,
        weight: Weight::Slices,
        gain_factor: GainFactor::default(),
        move_cost: MoveCost::default(),
        budgets: Budgets::default(),
        stability: Stability::default(),
        ageing_seconds: 3600,
    }
}
