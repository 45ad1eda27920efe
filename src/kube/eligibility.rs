//! Which nodes a pod could use, by everything that does not change from plan to plan.
//!
//! Checked: strategy, readiness, node selector and required affinity, taints, whether the node's resources could ever
//! hold the pod, and whether its boards could ever hold the instances. Pods of one controller ask the same questions, so
//! answers are remembered by question.

use std::collections::BTreeMap;

use super::asks::Manner;
use super::inventory::dashed;
use super::objects::{Labels, Node, NodeSelector, Pod, Toleration};
use super::selector::admits;
use super::taints::{passes, untolerated};
use crate::model::{Capacity, MigStrategy, NodeId, NodeSet};

/// A node as pods see it.
pub(crate) struct Candidate<'a> {
    pub(crate) node: &'a Node,
    pub(crate) strategy: MigStrategy,
    /// Ordinary resources of the empty node.
    pub(crate) allocatable: Capacity,
    /// Most instances (or replicas) that the node could ever offer, by resource name.
    pub(crate) most: BTreeMap<String, u64>,
    /// Products of its GPUs.
    pub(crate) products: Vec<String>,
}

/// Why a node is not for a pod, from what never changes to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exclusion {
    /// The node's strategy, or the product that the pod names, does not serve the way in which the pod asks.
    Strategy,
    /// Node selector or required node affinity.
    Selector,
    /// A taint that somebody set for good.
    Taint,
    /// The empty node has too little of an ordinary resource.
    Resources,
    /// The node's boards cannot hold the instances.
    Profile,
    /// The node is cordoned, not ready, being changed or going away.
    Passing,
}

impl Exclusion {
    fn words(self) -> &'static str {
        match self {
            Self::Strategy => "offer MIG in another way than the pod asks for it",
            Self::Selector => "do not match its node selector or affinity",
            Self::Taint => "have a taint that it does not tolerate",
            Self::Resources => "are too small in CPU, memory or another resource",
            Self::Profile => "cannot hold the instances that it asks for",
            Self::Passing => "are cordoned, not ready or going away",
        }
    }
}

/// The nodes for a pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) nodes: NodeSet,
    /// Number of nodes by what excludes them.
    pub(crate) excluded: BTreeMap<Exclusion, usize>,
}

impl Answer {
    /// Whether nodes would be left if what passes had passed.
    pub(crate) fn only_passing(&self) -> bool {
        self.excluded.contains_key(&Exclusion::Passing)
    }

    /// Which predicate excludes how many nodes.
    pub(crate) fn explain(&self) -> String {
        let parts: Vec<String> =
            self.excluded.iter().map(|(exclusion, count)| format!("{count} {}", exclusion.words())).collect();
        if parts.is_empty() { "there is no node with GPUs in MIG mode".to_owned() } else { parts.join(", ") }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Rules {
    selector: Labels,
    affinity: Option<NodeSelector>,
    tolerations: Vec<Toleration>,
    manner: Manner,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    rules: usize,
    requests: Capacity,
    wants: Vec<(String, u64)>,
}

/// Answers for the pods of one cluster.
pub(crate) struct Eligibility<'a> {
    candidates: Vec<Candidate<'a>>,
    rules: BTreeMap<Rules, usize>,
    /// By number of the rules: what they exclude, node by node.
    by_rules: Vec<Vec<Option<Exclusion>>>,
    answers: BTreeMap<Question, usize>,
    answered: Vec<Answer>,
    /// Distinct combinations of sizes, and which of them each node has: fleets have few.
    sizes: Vec<usize>,
    representatives: Vec<usize>,
}

impl<'a> Eligibility<'a> {
    /// Candidates in the order of their ids.
    pub(crate) fn new(candidates: Vec<Candidate<'a>>) -> Self {
        let mut known: BTreeMap<(&Capacity, &BTreeMap<String, u64>), usize> = BTreeMap::new();
        let mut representatives = Vec::new();
        let mut sizes = Vec::with_capacity(candidates.len());
        for (position, candidate) in candidates.iter().enumerate() {
            let size = *known.entry((&candidate.allocatable, &candidate.most)).or_insert_with(|| {
                representatives.push(position);
                representatives.len() - 1
            });
            sizes.push(size);
        }
        Self {
            rules: BTreeMap::new(),
            by_rules: Vec::new(),
            answers: BTreeMap::new(),
            answered: Vec::new(),
            sizes,
            representatives,
            candidates,
        }
    }

    /// The nodes that a pod could use for `wants`, asked for in a `manner`, beside its ordinary requests.
    pub(crate) fn of(&mut self, pod: &Pod, manner: &Manner, wants: &[(String, u64)], requests: &Capacity) -> &Answer {
        let mut selector = pod.spec.node_selector.clone();
        if let Some(key) = manner.selector_key() {
            selector.remove(key);
        }
        let rules = Rules {
            selector,
            affinity: pod.spec.affinity.node.required.clone(),
            tolerations: pod.spec.tolerations.clone(),
            manner: manner.clone(),
        };
        let rules = self.number_of_rules(rules);
        let question = Question { rules, requests: requests.clone(), wants: wants.to_vec() };
        let number = self.number_of_answer(question);
        &self.answered[number]
    }

    fn number_of_rules(&mut self, rules: Rules) -> usize {
        if let Some(&number) = self.rules.get(&rules) {
            return number;
        }
        let number = self.by_rules.len();
        self.by_rules.push(self.candidates.iter().map(|candidate| excluded(candidate, &rules)).collect());
        self.rules.insert(rules, number);
        number
    }

    fn number_of_answer(&mut self, question: Question) -> usize {
        if let Some(&number) = self.answers.get(&question) {
            return number;
        }
        let number = self.answered.len();
        self.answered.push(self.answer(&question));
        self.answers.insert(question, number);
        number
    }

    fn answer(&self, question: &Question) -> Answer {
        let by_size: Vec<Option<Exclusion>> = self
            .representatives
            .iter()
            .map(|&position| too_small(&self.candidates[position], &question.requests, &question.wants))
            .collect();
        let mut answer = Answer::default();
        for (position, (by_rules, &size)) in self.by_rules[question.rules].iter().zip(&self.sizes).enumerate() {
            let exclusion = match (by_rules, by_size[size]) {
                // What never changes comes before what passes.
                (Some(Exclusion::Passing), Some(small)) => Some(small),
                (Some(exclusion), _) => Some(*exclusion),
                (None, small) => small,
            };
            match exclusion {
                Some(exclusion) => *answer.excluded.entry(exclusion).or_default() += 1,
                None => answer.nodes.insert(NodeId::new(position)),
            }
        }
        answer
    }
}

fn excluded(candidate: &Candidate<'_>, rules: &Rules) -> Option<Exclusion> {
    let node = candidate.node;
    let served = match (&rules.manner, candidate.strategy) {
        (Manner::Resource, MigStrategy::Mixed) | (Manner::Partition(_), MigStrategy::Mixed | MigStrategy::Single) => {
            true
        }
        (Manner::Product(product), MigStrategy::Single) => {
            candidate.products.iter().any(|own| dashed(own) == dashed(product))
        }
        (Manner::Resource, MigStrategy::Single) | (Manner::Product(_), MigStrategy::Mixed) => false,
    };
    if !served {
        return Some(Exclusion::Strategy);
    }
    let selected = rules.selector.iter().all(|(key, value)| node.label(key) == Some(value.0.as_str()))
        && rules.affinity.as_ref().is_none_or(|affinity| admits(affinity, &node.metadata));
    if !selected {
        return Some(Exclusion::Selector);
    }
    match untolerated(&node.spec.taints, &rules.tolerations) {
        Some(taint) if !passes(taint) => return Some(Exclusion::Taint),
        Some(_) => return Some(Exclusion::Passing),
        None => {}
    }
    (node.spec.unschedulable || !node.ready() || node.metadata.deleting()).then_some(Exclusion::Passing)
}

fn too_small(candidate: &Candidate<'_>, requests: &Capacity, wants: &[(String, u64)]) -> Option<Exclusion> {
    if !candidate.allocatable.covers(requests) {
        return Some(Exclusion::Resources);
    }
    let holds = |(resource, count): &(String, u64)| candidate.most.get(resource).is_some_and(|most| count <= most);
    (!wants.iter().all(holds)).then_some(Exclusion::Profile)
}
