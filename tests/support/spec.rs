//! A small cluster in plain words: what the generator draws, what a failing test prints, what a plan is applied to.
//!
//! A [`Spec`] has no canonical order. [`Spec::build`] turns it into a [`PlanningInput`] with the parts inserted as they
//! stand, or shuffled, so that a test can ask whether the order of insertion leaves a trace.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use retile::model::{
    BudgetId, Capacity, CapacityKind, ControllerKind, Demand, EvictionBudget, Geometry, Gpu, GpuId, Instance,
    MigStrategy, Movability, Node, NodeId, NodeSet, Occupancy, Offer, PendingPod, PlanningInput, PlanningInputBuilder,
    PodId, PodRef, Policy, Reason, ResourceId, RunningPod,
};

use super::rng::Rng;

/// CPU in millicores, memory in MiB, places for pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ordinary {
    /// CPU in millicores.
    pub cpu: i64,
    /// Memory in MiB.
    pub memory: i64,
    /// Pods.
    pub pods: i64,
}

impl Ordinary {
    /// The same in the vocabulary of the planner.
    pub fn capacity(self) -> Capacity {
        let mut capacity = Capacity::default();
        capacity.set(CapacityKind::CpuMilli, self.cpu);
        capacity.set(CapacityKind::MemoryBytes, self.memory << 20);
        capacity.set(CapacityKind::Pods, self.pods);
        capacity
    }
}

/// A node and its GPUs.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    pub name: String,
    pub strategy: MigStrategy,
    pub free: Ordinary,
    /// Resource name and replicas by profile name; a profile that is missing is not offered.
    pub offers: BTreeMap<String, (String, u32)>,
    pub gpus: Vec<GpuSpec>,
}

/// A GPU and its instances.
#[derive(Debug, Clone)]
pub struct GpuSpec {
    pub index: u32,
    pub geometry: Arc<Geometry>,
    pub frozen: bool,
    pub instances: Vec<InstanceSpec>,
}

/// An instance by profile name and start.
#[derive(Debug, Clone)]
pub struct InstanceSpec {
    pub profile: String,
    pub start: u8,
    pub held: Held,
}

/// Who holds an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    Free,
    /// Positions in [`Spec::running`].
    By(Vec<usize>),
    Unknown,
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct RunningSpec {
    pub name: String,
    pub node: usize,
    pub priority: i32,
    pub controller: ControllerKind,
    pub movability: Movability,
    pub cost: u32,
    pub requests: Ordinary,
    pub demand: Vec<(String, u32)>,
    pub eligible: Vec<usize>,
    pub budgets: Vec<usize>,
}

/// A pod that waits.
#[derive(Debug, Clone)]
pub struct PendingSpec {
    pub name: String,
    pub priority: i32,
    pub preempts: bool,
    pub waiting_seconds: u64,
    pub requests: Ordinary,
    pub demand: Vec<(String, u32)>,
    pub eligible: Vec<usize>,
}

/// A cluster, its demand and the policy.
#[derive(Debug, Clone)]
pub struct Spec {
    pub policy: Policy,
    pub nodes: Vec<NodeSpec>,
    pub running: Vec<RunningSpec>,
    pub pending: Vec<PendingSpec>,
    /// Name and evictions allowed.
    pub budgets: Vec<(String, u32)>,
    pub forecast: Vec<(String, u32)>,
}

impl Spec {
    /// Builds the input with the parts in the order of the spec.
    pub fn build(&self) -> PlanningInput {
        self.build_in_order(None)
    }

    /// Builds the input with the parts in a random order.
    pub fn build_shuffled(&self, seed: u64) -> PlanningInput {
        self.build_in_order(Some(&mut Rng::new(seed)))
    }

    fn build_in_order(&self, mut rng: Option<&mut Rng>) -> PlanningInput {
        let mut builder = PlanningInputBuilder::new(1_700_000_000);
        builder.policy(self.policy.clone());
        for name in ordered(self.resource_names(), &mut rng) {
            builder.resource(&name);
        }
        let mut budget_ids = vec![BudgetId::new(0); self.budgets.len()];
        for position in ordered((0..self.budgets.len()).collect(), &mut rng) {
            let (name, allowed) = &self.budgets[position];
            budget_ids[position] = builder.budget(EvictionBudget { name: name.clone(), allowed: *allowed });
        }
        for (name, weight) in ordered(self.forecast.clone(), &mut rng) {
            let resource = builder.resource(&name);
            builder.forecast(resource, weight);
        }
        let mut pod_ids = vec![PodId::new(0); self.running.len()];
        for position in ordered((0..self.running.len()).collect(), &mut rng) {
            pod_ids[position] = add_running(&mut builder, &self.running[position], &budget_ids);
        }
        for pod in ordered(self.pending.clone(), &mut rng) {
            let pending = PendingPod {
                pod: pod_ref(&pod.name),
                priority: pod.priority,
                preempts: pod.preempts,
                waiting_seconds: pod.waiting_seconds,
                demand: demand(&mut builder, &pod.demand),
                requests: pod.requests.capacity(),
                eligible: builder.node_set(pod.eligible.iter().map(|&node| NodeId::new(node)).collect::<NodeSet>()),
            };
            builder.pending(pending);
        }
        for node in &self.nodes {
            let mut gpus = Vec::new();
            for gpu in ordered(node.gpus.clone(), &mut rng) {
                gpus.push(build_gpu(&mut builder, node, gpu, &pod_ids, &mut rng));
            }
            let free = node.free.capacity();
            builder.node(Node { name: node.name.clone(), strategy: node.strategy, free, gpus: 0..0 }, gpus);
        }
        builder.build().expect("the generator draws well-formed clusters")
    }

    /// Every resource name that occurs, once.
    fn resource_names(&self) -> Vec<String> {
        let offered = self.nodes.iter().flat_map(|node| node.offers.values().map(|(name, _)| name));
        let asked = self.running.iter().flat_map(|pod| pod.demand.iter().map(|(name, _)| name));
        let waiting = self.pending.iter().flat_map(|pod| pod.demand.iter().map(|(name, _)| name));
        let expected = self.forecast.iter().map(|(name, _)| name);
        let names: std::collections::BTreeSet<&String> = offered.chain(asked).chain(waiting).chain(expected).collect();
        names.into_iter().cloned().collect()
    }

    /// Position of a running pod by the name that a plan gives it.
    pub fn running_named(&self, name: &str) -> Option<usize> {
        self.running.iter().position(|pod| pod_ref(&pod.name).to_string() == name)
    }
}

fn add_running(builder: &mut PlanningInputBuilder, pod: &RunningSpec, budgets: &[BudgetId]) -> PodId {
    let running = RunningPod {
        pod: pod_ref(&pod.name),
        node: NodeId::new(pod.node),
        priority: pod.priority,
        controller: pod.controller,
        movability: pod.movability.clone(),
        cost: pod.cost,
        requests: pod.requests.capacity(),
        demand: demand(builder, &pod.demand),
        eligible: builder.node_set(pod.eligible.iter().map(|&node| NodeId::new(node)).collect::<NodeSet>()),
        budgets: pod.budgets.iter().map(|&budget| budgets[budget]).collect(),
        instances: Vec::<(GpuId, usize)>::new(),
    };
    builder.running(running)
}

/// The reference of a pod of the tests.
pub fn pod_ref(name: &str) -> PodRef {
    PodRef { namespace: "ns".to_owned(), name: name.to_owned(), uid: format!("uid-{name}") }
}

fn ordered<T>(mut items: Vec<T>, rng: &mut Option<&mut Rng>) -> Vec<T> {
    if let Some(rng) = rng {
        rng.shuffle(&mut items);
    }
    items
}

fn demand(builder: &mut PlanningInputBuilder, demand: &[(String, u32)]) -> Demand {
    Demand::new(demand.iter().map(|(name, count)| (builder.resource(name), *count)))
}

fn build_gpu(
    builder: &mut PlanningInputBuilder,
    node: &NodeSpec,
    gpu: GpuSpec,
    pod_ids: &[PodId],
    rng: &mut Option<&mut Rng>,
) -> Gpu {
    let geometry = Arc::clone(&gpu.geometry);
    let mut instances = Vec::new();
    for instance in ordered(gpu.instances, rng) {
        let profile = geometry.find(&instance.profile).expect("the spec names profiles of its own board");
        instances.push(Instance {
            placement: geometry.place(profile, instance.start).expect("the spec names legal starts"),
            uuid: Some(format!("MIG-{}-{}-{}", node.name, gpu.index, instance.start)),
            occupancy: match instance.held {
                Held::Free => Occupancy::Free,
                Held::By(pods) => {
                    Occupancy::Busy(ordered(pods, rng).into_iter().map(|position| pod_ids[position]).collect())
                }
                Held::Unknown => Occupancy::Unknown,
            },
        });
    }
    let offers: Vec<Option<Offer>> = geometry
        .profiles()
        .iter()
        .map(|profile| {
            let (name, replicas) = node.offers.get(&profile.name)?;
            Some(Offer { resource: builder.resource(name), replicas: *replicas })
        })
        .collect();
    Gpu {
        node: NodeId::new(0),
        index: gpu.index,
        uuid: format!("GPU-{}-{}", node.name, gpu.index),
        product: geometry.board().product_names[0].clone(),
        geometry,
        instances,
        offers: offers.into(),
        frozen: gpu.frozen.then(|| (Reason::CoolingDown, "changed a moment ago".to_owned())),
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy: {:?}", self.policy)?;
        for (position, node) in self.nodes.iter().enumerate() {
            writeln!(f, "node {position} {} {:?} free {}", node.name, node.strategy, node.free)?;
            let offers: Vec<String> = node.offers.iter().map(|(p, (r, n))| format!("{p}->{}x{n}", short(r))).collect();
            writeln!(f, "  offers {}", offers.join(" "))?;
            for gpu in &node.gpus {
                let key = &gpu.geometry.board().key;
                let frozen = if gpu.frozen { " FROZEN" } else { "" };
                write!(f, "  gpu {} {key}{frozen}:", gpu.index)?;
                for instance in &gpu.instances {
                    let held = match &instance.held {
                        Held::Free => "free".to_owned(),
                        Held::Unknown => "unknown".to_owned(),
                        Held::By(pods) => {
                            let names: Vec<&str> = pods.iter().map(|&pod| self.running[pod].name.as_str()).collect();
                            names.join("+")
                        }
                    };
                    write!(f, " {}@{}[{held}]", instance.profile, instance.start)?;
                }
                writeln!(f)?;
            }
        }
        for pod in &self.running {
            writeln!(
                f,
                "running {} on {} prio {} cost {} {:?} {:?} wants {} asks {} eligible {:?} pdbs {:?}",
                pod.name,
                pod.node,
                pod.priority,
                pod.cost,
                pod.controller,
                pod.movability,
                pod.requests,
                show_demand(&pod.demand),
                pod.eligible,
                pod.budgets
            )?;
        }
        for pod in &self.pending {
            writeln!(
                f,
                "pending {} prio {}{} waited {} wants {} asks {} eligible {:?}",
                pod.name,
                pod.priority,
                if pod.preempts { " preempts" } else { "" },
                pod.waiting_seconds,
                pod.requests,
                show_demand(&pod.demand),
                pod.eligible
            )?;
        }
        writeln!(f, "pdbs {:?}", self.budgets)?;
        writeln!(f, "forecast {:?}", self.forecast)
    }
}

impl fmt::Display for Ordinary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m/{}Mi/{}", self.cpu, self.memory, self.pods)
    }
}

fn short(resource: &str) -> &str {
    resource.strip_prefix("nvidia.com/").unwrap_or(resource)
}

fn show_demand(demand: &[(String, u32)]) -> String {
    let parts: Vec<String> = demand.iter().map(|(name, count)| format!("{count}x{}", short(name))).collect();
    parts.join("+")
}

/// The resource that an interned id stands for, for messages.
pub fn resource_name(input: &PlanningInput, resource: ResourceId) -> &str {
    short(&input.resources()[resource.index()])
}
