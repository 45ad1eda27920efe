//! Pods that are alike, and nodes that the same pods may use.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Capacity, Demand, NodeId, NodeSetId, PodId};

use super::scope::Scope;

/// Nodes that all pods treat alike; supply is pooled inside one.
#[derive(Debug)]
pub(super) struct Atom {
    pub(super) nodes: Vec<NodeId>,
    /// Whether the atom is one node with its ordinary resources modelled.
    pub(super) refined: bool,
}

/// Pods that are alike: same needs, same nodes, same worth.
#[derive(Debug)]
pub(super) struct DemandClass {
    pub(super) demand: Demand,
    /// Ordinary resources, where some atom of the class models them.
    pub(super) requests: Capacity,
    /// Atoms that the pods may use and where their resources are offered.
    pub(super) atoms: Vec<usize>,
    /// Priority, and weight of one pod when served; for pods to be moved the weight is not used.
    pub(super) priority: i32,
    pub(super) weight: i64,
}

/// Atoms and classes of one run.
#[derive(Debug)]
pub(super) struct DemandTable {
    pub(super) atoms: Vec<Atom>,
    /// Atom of each node.
    pub(super) atom_of: Vec<usize>,
    /// Classes of waiting pods, with positions in the input's pending pods.
    pub(super) pending: Vec<(DemandClass, Vec<usize>)>,
    /// Classes of pods that may be moved.
    pub(super) moved: Vec<DemandClass>,
    /// Class in `moved` of each running pod that may be moved.
    pub(super) moved_of: BTreeMap<PodId, usize>,
}

impl DemandTable {
    /// Groups pods and nodes; refined nodes get an atom each.
    pub(super) fn new(scope: &Scope<'_>, refined: &BTreeSet<NodeId>) -> Self {
        let (atoms, atom_of) = atoms(scope, refined);
        let offered = offered(scope, &atoms);
        let input = scope.input;
        let allowed = |set: NodeSetId, demand: &Demand| -> Vec<usize> {
            (0..atoms.len())
                .filter(|&atom| {
                    input.may_use(set, atoms[atom].nodes[0])
                        && demand.iter().all(|(resource, _)| offered[atom].contains(&resource.index()))
                })
                .collect()
        };
        let relevant = |requests: &Capacity, atoms_of: &[usize]| -> Capacity {
            if atoms_of.iter().any(|&atom| atoms[atom].refined) { requests.clone() } else { Capacity::default() }
        };
        let mut sets = BTreeMap::<(NodeSetId, Demand), Vec<usize>>::new();
        let mut pending = BTreeMap::<(i32, i64, Demand, Vec<usize>, Capacity), Vec<usize>>::new();
        for (position, pod) in input.pending().iter().enumerate() {
            let here = sets
                .entry((pod.eligible, pod.demand.clone()))
                .or_insert_with(|| allowed(pod.eligible, &pod.demand))
                .clone();
            if here.is_empty() {
                continue;
            }
            let requests = relevant(&pod.requests, &here);
            pending
                .entry((-pod.priority, -scope.weights[position], pod.demand.clone(), here, requests))
                .or_default()
                .push(position);
        }
        let pending = pending
            .into_iter()
            .map(|((priority, weight, demand, atoms, requests), mut pods)| {
                // The longest wait comes first when a class is served in part.
                pods.sort_by_key(|&pod| (std::cmp::Reverse(input.pending()[pod].waiting_seconds), pod));
                (DemandClass { demand, requests, atoms, priority: -priority, weight: -weight }, pods)
            })
            .collect();
        let mut moved: Vec<DemandClass> = Vec::new();
        let mut known = BTreeMap::<(Demand, Vec<usize>, Capacity, Option<i32>), usize>::new();
        let mut moved_of = BTreeMap::new();
        for (position, pod) in input.running().iter().enumerate().filter(|&(position, _)| scope.movable[position]) {
            let here = sets
                .entry((pod.eligible, pod.demand.clone()))
                .or_insert_with(|| allowed(pod.eligible, &pod.demand))
                .clone();
            let requests = relevant(&pod.requests, &here);
            let priority = scope.displaceable[position].then_some(pod.priority);
            let class =
                *known.entry((pod.demand.clone(), here.clone(), requests.clone(), priority)).or_insert(moved.len());
            if class == moved.len() {
                let demand = pod.demand.clone();
                moved.push(DemandClass { demand, requests, atoms: here, priority: pod.priority, weight: 0 });
            }
            moved_of.insert(PodId::new(position), class);
        }
        Self { atoms, atom_of, pending, moved, moved_of }
    }
}

/// Parts the nodes by the sets of nodes that pods use.
fn atoms(scope: &Scope<'_>, refined: &BTreeSet<NodeId>) -> (Vec<Atom>, Vec<usize>) {
    let input = scope.input;
    let movable = input.running().iter().zip(&scope.movable).filter(|(_, movable)| **movable);
    let used: BTreeSet<NodeSetId> =
        input.pending().iter().map(|pod| pod.eligible).chain(movable.map(|(pod, _)| pod.eligible)).collect();
    let mut index = BTreeMap::<(Vec<u64>, Option<NodeId>), usize>::new();
    let mut atoms: Vec<Atom> = Vec::new();
    let mut atom_of = Vec::with_capacity(input.nodes().len());
    for position in 0..input.nodes().len() {
        let node = NodeId::new(position);
        let mut signature = vec![0u64; used.len().div_ceil(64)];
        for (bit, &set) in used.iter().enumerate() {
            signature[bit / 64] |= u64::from(input.may_use(set, node)) << (bit % 64);
        }
        let own = refined.contains(&node).then_some(node);
        let atom = *index.entry((signature, own)).or_insert(atoms.len());
        if atom == atoms.len() {
            atoms.push(Atom { nodes: Vec::new(), refined: own.is_some() });
        }
        atoms[atom].nodes.push(node);
        atom_of.push(atom);
    }
    (atoms, atom_of)
}

/// Resources that the GPUs of each atom can offer at all.
fn offered(scope: &Scope<'_>, atoms: &[Atom]) -> Vec<BTreeSet<usize>> {
    let input = scope.input;
    atoms
        .iter()
        .map(|atom| {
            let gpus = atom.nodes.iter().flat_map(|node| &input.gpus()[input.nodes()[node.index()].gpus.clone()]);
            let mut resources = BTreeSet::new();
            let mut last = None;
            for gpu in gpus {
                let tables = (std::sync::Arc::as_ptr(&gpu.offers).cast::<u8>(), std::sync::Arc::as_ptr(&gpu.geometry));
                if last != Some(tables) {
                    resources.extend(gpu.offers.iter().flatten().map(|offer| offer.resource.index()));
                    last = Some(tables);
                }
            }
            resources
        })
        .collect()
}
