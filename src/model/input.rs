//! The one argument of the planner, and its builder.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gpu::{Gpu, Node, Occupancy, Offer};
use super::ids::{BudgetId, GpuId, NodeId, NodeSetId, PodId, PodRef, ResourceId};
use super::layout::{Layout, LayoutError};
use super::pod::{Demand, PendingPod, RunningPod};
use super::policy::Policy;
use super::reason::Reason;

/// A set of nodes as a bit per node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeSet(Vec<u64>);

impl NodeSet {
    /// Adds a node.
    pub fn insert(&mut self, node: NodeId) {
        let word = node.index() / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (node.index() % 64);
    }

    /// Whether a node is in the set.
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.get(node.index() / 64).is_some_and(|word| word >> (node.index() % 64) & 1 == 1)
    }

    /// Whether no node is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<T: IntoIterator<Item = NodeId>>(nodes: T) -> Self {
        let mut set = Self::default();
        nodes.into_iter().for_each(|node| set.insert(node));
        set
    }
}

/// A `PodDisruptionBudget`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvictionBudget {
    /// Namespace and name, as `namespace/name`.
    pub name: String,
    /// Evictions that it allows now.
    pub allowed: u32,
}

/// A pending pod that asks for MIG instances but for which no plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplannable {
    /// Which pod.
    pub pod: PodRef,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub detail: String,
    /// What a person could do about it.
    pub action: String,
}

/// Something in the input that is wrong or doubtful and was left out or assumed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Object in question, e.g. `Pod ml/train-7` or `Node gpu-a-03`.
    pub object: String,
    /// What is wrong and what was done about it.
    pub message: String,
}

/// Why a builder refuses its parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Two nodes of one name.
    #[error("the node {0} stands twice in the input")]
    DuplicateNode(String),
    /// The instances of a GPU are no legal layout.
    #[error("node {node}, GPU {index}: {source}")]
    Layout {
        /// Node of the GPU.
        node: String,
        /// Index of the GPU.
        index: u32,
        /// What is illegal.
        source: LayoutError,
    },
    /// A reference points at nothing.
    #[error("{0} refers to something that is not in the input")]
    Dangling(String),
}

/// Everything that planning reads, and nothing that it does not.
///
/// Invariants: nodes ordered by name, GPUs by node and index, pods by namespace and name; every index is valid; the
/// instances of each GPU are a legal layout ordered by start; a pod is named by exactly the instances that it lists.
#[derive(Debug, Clone)]
pub struct PlanningInput {
    pub(super) now: i64,
    pub(super) policy: Policy,
    pub(super) policy_given: bool,
    pub(super) nodes: Vec<Node>,
    pub(super) gpus: Vec<Gpu>,
    pub(super) running: Vec<RunningPod>,
    pub(super) pending: Vec<PendingPod>,
    pub(super) unplannable: Vec<Unplannable>,
    pub(super) budgets: Vec<EvictionBudget>,
    pub(super) node_sets: Vec<NodeSet>,
    pub(super) resources: Vec<String>,
    pub(super) forecast: BTreeMap<ResourceId, u32>,
    pub(super) placements_assumed: bool,
    pub(super) findings: Vec<Finding>,
}

impl PlanningInput {
    /// The moment that the input describes, in seconds since the epoch.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// The operator's wishes.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the policy was given, rather than assumed for a dry run.
    pub fn policy_given(&self) -> bool {
        self.policy_given
    }

    /// The same input under other wishes.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Nodes with GPUs in MIG mode, ordered by name.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// GPUs in MIG mode, ordered by node and index.
    pub fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }

    /// Pods that hold instances.
    pub fn running(&self) -> &[RunningPod] {
        &self.running
    }

    /// Pods to plan for.
    pub fn pending(&self) -> &[PendingPod] {
        &self.pending
    }

    /// Pods that ask for MIG instances and are not planned for.
    pub fn unplannable(&self) -> &[Unplannable] {
        &self.unplannable
    }

    /// Disruption budgets.
    pub fn budgets(&self) -> &[EvictionBudget] {
        &self.budgets
    }

    /// Sets of nodes that pods may use.
    pub fn node_sets(&self) -> &[NodeSet] {
        &self.node_sets
    }

    /// Whether a set holds a node.
    pub fn may_use(&self, set: NodeSetId, node: NodeId) -> bool {
        self.node_sets[set.index()].contains(node)
    }

    /// Names of MIG resources, e.g. `nvidia.com/mig-1g.10gb`.
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// Forecast mix: relative weight of future demand by resource, from 1 to 10; the builder scales what it was given.
    pub fn forecast(&self) -> &BTreeMap<ResourceId, u32> {
        &self.forecast
    }

    /// Whether instances' places were inferred from counts.
    pub fn placements_assumed(&self) -> bool {
        self.placements_assumed
    }

    /// What was wrong or doubtful in the source.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Memory slices that one unit of `resource` stands for: the largest size among the boards that offer it, in units of
    /// the board's slot axis, divided by the replicas of an instance and rounded up; 0 when no board offers it.
    pub fn slices_of(&self, resource: ResourceId) -> u32 {
        let mut most = 0;
        let mut seen: Option<(&Gpu, u32)> = None;
        for gpu in &self.gpus {
            let size = match seen {
                Some((other, size))
                    if std::sync::Arc::ptr_eq(&other.offers, &gpu.offers)
                        && std::sync::Arc::ptr_eq(&other.geometry, &gpu.geometry) =>
                {
                    size
                }
                _ => gpu
                    .geometry
                    .profile_ids()
                    .filter_map(|id| {
                        let offer = gpu.offer(id).filter(|offer| offer.resource == resource)?;
                        Some(u32::from(gpu.geometry.profile(id).size?).div_ceil(offer.replicas.max(1)))
                    })
                    .max()
                    .unwrap_or(0),
            };
            seen = Some((gpu, size));
            most = most.max(size);
        }
        most
    }
}

/// Collects the parts of a [`PlanningInput`] in any order and puts them into canonical order.
#[derive(Debug, Default)]
pub struct PlanningInputBuilder {
    now: i64,
    policy: Option<Policy>,
    nodes: Vec<(Node, Vec<Gpu>)>,
    running: Vec<RunningPod>,
    pending: Vec<PendingPod>,
    unplannable: Vec<Unplannable>,
    budgets: Vec<EvictionBudget>,
    node_sets: BTreeMap<NodeSet, NodeSetId>,
    resources: BTreeMap<String, ResourceId>,
    forecast: BTreeMap<ResourceId, u32>,
    placements_assumed: bool,
    findings: Vec<Finding>,
}

impl PlanningInputBuilder {
    /// Starts an input that describes the moment `now`, in seconds since the epoch.
    pub fn new(now: i64) -> Self {
        Self { now, ..Self::default() }
    }

    /// Sets the policy; without one [`Policy::unlimited`] is used.
    pub fn policy(&mut self, policy: Policy) {
        self.policy = Some(policy);
    }

    /// Interns a resource name.
    pub fn resource(&mut self, name: &str) -> ResourceId {
        if let Some(&id) = self.resources.get(name) {
            return id;
        }
        let id = ResourceId::new(self.resources.len());
        self.resources.insert(name.to_owned(), id);
        id
    }

    /// Adds a node with its GPUs. Nodes must be added in order of their names, because sets of nodes and pods refer to
    /// them by position; the id returned is that position.
    pub fn node(&mut self, node: Node, mut gpus: Vec<Gpu>) -> NodeId {
        let id = NodeId::new(self.nodes.len());
        gpus.sort_by_key(|gpu| gpu.index);
        for gpu in &mut gpus {
            gpu.node = id;
            gpu.instances.sort_by_key(|instance| instance.placement.start());
        }
        self.nodes.push((node, gpus));
        id
    }

    /// Interns a set of nodes.
    pub fn node_set(&mut self, set: NodeSet) -> NodeSetId {
        let next = NodeSetId::new(self.node_sets.len());
        *self.node_sets.entry(set).or_insert(next)
    }

    /// Adds a disruption budget.
    pub fn budget(&mut self, budget: EvictionBudget) -> BudgetId {
        self.budgets.push(budget);
        BudgetId::new(self.budgets.len() - 1)
    }

    /// Adds a running pod; instances refer to the returned id in their [`Occupancy::Busy`].
    pub fn running(&mut self, pod: RunningPod) -> PodId {
        self.running.push(pod);
        PodId::new(self.running.len() - 1)
    }

    /// Adds a pod to plan for.
    pub fn pending(&mut self, pod: PendingPod) {
        self.pending.push(pod);
    }

    /// Adds a pod that is not planned for.
    pub fn unplannable(&mut self, pod: Unplannable) {
        self.unplannable.push(pod);
    }

    /// Adds weight to a resource in the forecast mix.
    pub fn forecast(&mut self, resource: ResourceId, weight: u32) {
        *self.forecast.entry(resource).or_default() += weight;
    }

    /// Says that placements were inferred.
    pub fn assume_placements(&mut self) {
        self.placements_assumed = true;
    }

    /// Adds a finding.
    pub fn finding(&mut self, object: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding { object: object.into(), message: message.into() });
    }

    /// Checks all parts and puts them into order.
    ///
    /// # Errors
    /// Duplicate nodes, illegal layouts, dangling references.
    pub fn build(mut self) -> Result<PlanningInput, InputError> {
        if let Some(pair) = self.nodes.windows(2).find(|pair| pair[0].0.name >= pair[1].0.name) {
            return Err(InputError::DuplicateNode(pair[1].0.name.clone()));
        }
        let resources = self.renumber_resources();
        let pod_order = self.sort_running();
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let mut gpus: Vec<Gpu> = Vec::new();
        for (mut node, node_gpus) in std::mem::take(&mut self.nodes) {
            node.gpus = gpus.len()..gpus.len() + node_gpus.len();
            gpus.extend(node_gpus);
            nodes.push(node);
        }
        for pod in &mut self.running {
            pod.instances.clear();
        }
        for (position, gpu) in gpus.iter_mut().enumerate() {
            let placements = gpu.instances.iter().map(|instance| instance.placement).collect();
            Layout::try_new(&gpu.geometry, placements).map_err(|source| InputError::Layout {
                node: nodes[gpu.node.index()].name.clone(),
                index: gpu.index,
                source,
            })?;
            for (slot, instance) in gpu.instances.iter_mut().enumerate() {
                if let Occupancy::Busy(pods) = &mut instance.occupancy {
                    for pod in pods.iter_mut() {
                        *pod = *pod_order.get(pod.index()).ok_or_else(|| InputError::Dangling(gpu.uuid.clone()))?;
                        self.running[pod.index()].instances.push((GpuId::new(position), slot));
                    }
                    pods.sort_unstable();
                }
            }
        }
        let mut node_sets = vec![NodeSet::default(); self.node_sets.len()];
        for (set, id) in self.node_sets {
            node_sets[id.index()] = set;
        }
        self.pending.sort_by(|a, b| a.pod.cmp(&b.pod));
        self.unplannable.sort_by(|a, b| a.pod.cmp(&b.pod));
        self.findings.sort();
        let input = PlanningInput {
            now: self.now,
            policy_given: self.policy.is_some(),
            policy: self.policy.unwrap_or_else(Policy::unlimited),
            nodes,
            gpus,
            running: self.running,
            pending: self.pending,
            unplannable: self.unplannable,
            budgets: self.budgets,
            node_sets,
            resources,
            forecast: self.forecast,
            placements_assumed: self.placements_assumed,
            findings: self.findings,
        };
        check_references(&input)?;
        Ok(input)
    }

    /// Numbers the resources in order of their names, so that the order of discovery leaves no trace.
    fn renumber_resources(&mut self) -> Vec<String> {
        let mut renamed = vec![ResourceId::new(0); self.resources.len()];
        let mut names = Vec::with_capacity(self.resources.len());
        for (name, old) in std::mem::take(&mut self.resources) {
            renamed[old.index()] = ResourceId::new(names.len());
            names.push(name);
        }
        let rename = |demand: &Demand| Demand::new(demand.iter().map(|(id, count)| (renamed[id.index()], count)));
        for pod in &mut self.running {
            pod.demand = rename(&pod.demand);
        }
        for pod in &mut self.pending {
            pod.demand = rename(&pod.demand);
        }
        let most = self.forecast.values().copied().max().unwrap_or(0);
        self.forecast = std::mem::take(&mut self.forecast)
            .into_iter()
            .filter(|&(_, weight)| weight > 0)
            .map(|(id, weight)| (renamed[id.index()], scaled(weight, most)))
            .collect();
        let mut shared: BTreeMap<Vec<Option<Offer>>, Arc<[Option<Offer>]>> = BTreeMap::new();
        for gpu in self.nodes.iter_mut().flat_map(|(_, gpus)| gpus) {
            let offers: Vec<Option<Offer>> = gpu
                .offers
                .iter()
                .map(|offer| {
                    offer.map(|Offer { resource, replicas }| Offer { resource: renamed[resource.index()], replicas })
                })
                .collect();
            gpu.offers = Arc::clone(shared.entry(offers).or_insert_with_key(|offers| offers.as_slice().into()));
        }
        names
    }

    /// Orders the running pods and returns the new id of each old one.
    fn sort_running(&mut self) -> Vec<PodId> {
        let mut order: Vec<usize> = (0..self.running.len()).collect();
        order.sort_by(|&a, &b| self.running[a].pod.cmp(&self.running[b].pod));
        let mut renamed = vec![PodId::new(0); order.len()];
        for (new, &old) in order.iter().enumerate() {
            renamed[old] = PodId::new(new);
        }
        self.running.sort_by(|a, b| a.pod.cmp(&b.pod));
        renamed
    }
}

/// Scales a weight of the forecast mix so that the largest is [`FORECAST_SCALE`]; no weight vanishes.
pub(super) fn scaled(weight: u32, most: u32) -> u32 {
    (u64::from(weight) * u64::from(FORECAST_SCALE)).div_ceil(u64::from(most.max(1))) as u32
}

/// Largest weight of the forecast mix: fine enough to rank profiles, small enough for exact arithmetic over any fleet.
const FORECAST_SCALE: u32 = 10;

fn check_references(input: &PlanningInput) -> Result<(), InputError> {
    let sets = input.node_sets.len();
    let resources = input.resources.len();
    for pod in &input.running {
        let known = pod.eligible.index() < sets
            && pod.node.index() < input.nodes.len()
            && pod.budgets.iter().all(|budget| budget.index() < input.budgets.len())
            && pod.demand.iter().all(|(resource, _)| resource.index() < resources);
        if !known {
            return Err(InputError::Dangling(format!("Pod {}", pod.pod)));
        }
    }
    for pod in &input.pending {
        if pod.eligible.index() >= sets || pod.demand.iter().any(|(resource, _)| resource.index() >= resources) {
            return Err(InputError::Dangling(format!("Pod {}", pod.pod)));
        }
    }
    Ok(())
}
