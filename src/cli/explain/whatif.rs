//! Inputs with one thing changed: the questions behind "what would change it?".
//!
//! Input: a [`PlanningInput`]. Output: another one that differs in exactly what the caller changed. The planner answers both in the
//! same way; nothing here judges. Invariant: positions of nodes, GPUs, running pods, budgets, resources and node sets stay as they are, because all
//! tables are handed to the builder in canonical order, and nodes are only ever added at the end.

use crate::model::{
    Budgets, Capacity, DisruptionLevel, EvictionBudget, GainFactor, Gpu, GpuId, InputError, MigStrategy, Movability,
    Node, NodeId, NodeSet, PendingPod, PlanningInput, PlanningInputBuilder, Policy, RunningPod,
};

/// The parts of an input that a question may change.
#[derive(Debug, Clone)]
pub(crate) struct Parts<'a> {
    source: &'a PlanningInput,
    policy: Policy,
    nodes: Vec<(Node, Vec<Gpu>)>,
    running: Vec<RunningPod>,
    pending: Vec<PendingPod>,
    budgets: Vec<EvictionBudget>,
    node_sets: Vec<NodeSet>,
}

impl<'a> Parts<'a> {
    /// The parts as they are.
    pub(crate) fn of(source: &'a PlanningInput) -> Self {
        let nodes =
            source.nodes().iter().map(|node| (node.clone(), source.gpus()[node.gpus.clone()].to_vec())).collect();
        Self {
            source,
            policy: source.policy().clone(),
            nodes,
            running: source.running().to_vec(),
            pending: source.pending().to_vec(),
            budgets: source.budgets().to_vec(),
            node_sets: source.node_sets().to_vec(),
        }
    }

    /// Plans for one waiting pod alone.
    pub(crate) fn only(mut self, pod: &PendingPod) -> Self {
        self.pending.retain(|other| other.pod == pod.pod);
        self
    }

    /// Plans under another disruption level.
    pub(crate) fn at(mut self, level: DisruptionLevel) -> Self {
        self.policy.disruption = level;
        self
    }

    /// Lifts the policy's budgets and gain factor.
    pub(crate) fn without_policy_limits(mut self) -> Self {
        self.policy.budgets = Budgets::default();
        self.policy.gain_factor = GainFactor::default();
        self
    }

    /// Lets every `PodDisruptionBudget` allow any number of evictions.
    pub(crate) fn without_disruption_budgets(mut self) -> Self {
        for budget in &mut self.budgets {
            budget.allowed = u32::MAX;
        }
        self
    }

    /// Lets every frozen GPU be changed.
    pub(crate) fn thawed(mut self) -> Self {
        for (_, gpus) in &mut self.nodes {
            for gpu in gpus {
                gpu.frozen = None;
            }
        }
        self
    }

    /// Lets every running pod be moved, and end where there is no other place for it, by ranking it below all that wait.
    /// The planner keeps what ends to the least that the waiting pods need.
    pub(crate) fn all_yielding(mut self) -> Self {
        self.policy.disruption = DisruptionLevel::Aggressive;
        for pod in &mut self.running {
            pod.movability = Movability::From(DisruptionLevel::Balanced);
            pod.priority = i32::MIN;
        }
        for pod in &mut self.pending {
            pod.priority = pod.priority.max(i32::MIN + 1);
            pod.preempts = true;
        }
        self.without_policy_limits().without_disruption_budgets()
    }

    /// Lets one waiting pod use every node, with all the CPU and memory that it asks for.
    pub(crate) fn anywhere(mut self, pod: &PendingPod) -> Self {
        let everywhere: NodeSet = (0..self.nodes.len()).map(NodeId::new).collect();
        let position = self.node_sets.iter().position(|set| *set == everywhere).unwrap_or_else(|| {
            self.node_sets.push(everywhere);
            self.node_sets.len() - 1
        });
        for other in self.pending.iter_mut().filter(|other| other.pod == pod.pod) {
            other.eligible = crate::model::NodeSetId::new(position);
            other.requests = Capacity::default();
        }
        self
    }

    /// Adds a node with one empty GPU like `like`, with room for `pod`, that every pod may use that may use the node of `like`.
    pub(crate) fn one_more(mut self, like: GpuId, pod: &PendingPod) -> Self {
        let mut gpu = self.source.gpus()[like.index()].clone();
        let twin = gpu.node;
        let last = self.nodes.last().map_or("", |(node, _)| node.name.as_str());
        let node =
            Node { name: format!("{last}~"), strategy: MigStrategy::Mixed, free: pod.requests.clone(), gpus: 0..0 };
        gpu.instances.clear();
        gpu.frozen = None;
        gpu.index = 0;
        gpu.uuid = String::new();
        let added = NodeId::new(self.nodes.len());
        for set in self.node_sets.iter_mut().filter(|set| set.contains(twin)) {
            set.insert(added);
        }
        self.nodes.push((node, vec![gpu]));
        self
    }

    /// Puts the parts together again.
    ///
    /// # Errors
    /// Never for parts that came from an input that stands; the builder's refusal is passed on all the same.
    pub(crate) fn build(self) -> Result<PlanningInput, InputError> {
        let Self { source, policy, nodes, running, pending, budgets, node_sets } = self;
        let mut builder = PlanningInputBuilder::new(source.now());
        if source.policy_given() {
            builder.policy(policy.clone());
        }
        for name in source.resources() {
            builder.resource(name);
        }
        for (node, gpus) in nodes {
            builder.node(node, gpus);
        }
        for set in node_sets {
            builder.node_set(set);
        }
        for budget in budgets {
            builder.budget(budget);
        }
        for pod in running {
            builder.running(pod);
        }
        for pod in pending {
            builder.pending(pod);
        }
        for pod in source.unplannable() {
            builder.unplannable(pod.clone());
        }
        for (&resource, &weight) in source.forecast() {
            builder.forecast(resource, weight);
        }
        if source.placements_assumed() {
            builder.assume_placements();
        }
        for finding in source.findings() {
            builder.finding(finding.object.clone(), finding.message.clone());
        }
        Ok(builder.build()?.with_policy(policy))
    }
}
