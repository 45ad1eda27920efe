//! Makes an operation out of a plan's node.
//!
//! Input: a [`NodePlan`] with its steps, and what the controller knows of the node. Output: an [`Operation`] in phase `Claimed`. Nothing is
//! chosen here: every place, order and victim stands in the plan.

use crate::model::PodRef;
use crate::plan::{GpuChange, NodePlan, Place, PlannedInstance, ServedBy, ServedPod};

use super::record::{GpuTarget, Operation, OperationId, PROTOCOL, Phase, Victim};

/// Why a plan's node cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// GPUs are found by UUID alone.
    #[error("the plan does not tell the UUID of GPU {gpu} of node {node}; plan from what the agent reports")]
    NoUuid {
        /// Name of the node.
        node: String,
        /// Index of the GPU.
        gpu: u32,
    },
    /// GPUs change, but in no order.
    #[error("the plan has no steps for node {0}; derive them before it is carried out")]
    NoSteps(String),
    /// An eviction cannot be pinned.
    #[error("the plan does not tell which pod {0} is, by namespace, name and UID; plan again from fresh state")]
    NoPod(String),
}

/// What an operation has that a plan does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name.
    pub id: OperationId,
    /// The leader's fencing number.
    pub epoch: u64,
    /// UID of the node.
    pub node_uid: String,
    /// UIDs of all pods that hold instances of the node.
    pub residents: Vec<String>,
}

/// The operation that carries out a plan on one node, for those of the served pods that land there because of it.
///
/// # Errors
/// The plan leaves open which GPU, pod or order is meant.
pub fn draft(plan: &NodePlan, served: &[ServedPod], origin: Origin) -> Result<Operation, DraftError> {
    let NodePlan { name, gpus, evict, steps } = plan;
    if steps.is_empty() && gpus.iter().any(|change| !change.destroy.is_empty() || !change.create.is_empty()) {
        return Err(DraftError::NoSteps(name.clone()));
    }
    let gpus = gpus.iter().map(|change| target(name, change)).collect::<Result<_, _>>()?;
    let victims = evict
        .iter()
        .map(|eviction| Ok(Victim { pod: pod(&eviction.pod, &eviction.uid)?, placed_on: eviction.placed_on.clone() }))
        .collect::<Result<_, _>>()?;
    let here = served.iter().filter(|served| served.node == *name && served.by == ServedBy::Change);
    let beneficiaries = here.map(|served| pod(&served.pod, &served.uid)).collect::<Result<_, _>>()?;
    Ok(Operation { gpus, steps: steps.clone(), victims, beneficiaries, ..repair(origin) })
}

/// An operation that changes no instance: it makes device plugin and node agree with the board again, and then frees the node.
pub fn repair(origin: Origin) -> Operation {
    let Origin { id, epoch, node_uid, residents } = origin;
    Operation {
        id,
        epoch,
        protocol: PROTOCOL,
        node_uid,
        gpus: Vec::new(),
        steps: Vec::new(),
        victims: Vec::new(),
        beneficiaries: Vec::new(),
        residents,
        phase: Phase::Claimed,
        plugin: None,
        outcome: None,
        detail: String::new(),
    }
}

fn target(node: &str, change: &GpuChange) -> Result<GpuTarget, DraftError> {
    let GpuChange { index, uuid, model: _, before, after, destroy: _, create: _, hand_over: _ } = change;
    if uuid.is_empty() {
        return Err(DraftError::NoUuid { node: node.to_owned(), gpu: *index });
    }
    Ok(GpuTarget { uuid: uuid.clone(), index: *index, base: places(before), target: places(after) })
}

fn places(instances: &[PlannedInstance]) -> Vec<Place> {
    let mut places: Vec<Place> =
        instances.iter().map(|i| Place { start: i.start, size: i.size, profile: i.profile.clone() }).collect();
    places.sort_unstable();
    places
}

fn pod(name: &str, uid: &str) -> Result<PodRef, DraftError> {
    let parts = name.split_once('/').filter(|_| !uid.is_empty());
    let (namespace, name) = parts.ok_or_else(|| DraftError::NoPod(name.to_owned()))?;
    Ok(PodRef { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, from_json};

    fn plan() -> Plan {
        from_json(include_str!("../../testdata/plans/valid/moves.json"), "a committed plan").expect("a plan")
    }

    fn origin() -> Origin {
        Origin { id: OperationId("op-1".into()), epoch: 3, node_uid: "n-1".into(), residents: vec!["p".into()] }
    }

    #[test]
    fn an_operation_says_what_the_plan_says() {
        let Plan { nodes, served, .. } = plan();
        let operation = draft(&nodes[0], &served, origin()).expect("an operation");
        assert_eq!(operation.gpus.len(), nodes[0].gpus.len());
        assert_eq!(operation.gpus[0].base.len(), nodes[0].gpus[0].before.len());
        assert_eq!(operation.gpus[0].target.len(), nodes[0].gpus[0].after.len());
        assert_eq!(operation.steps, nodes[0].steps);
        assert_eq!(operation.victims.len(), nodes[0].evict.len());
        assert_eq!(operation.victims[0].pod.uid, nodes[0].evict[0].uid);
        assert_eq!((operation.phase, operation.epoch, operation.protocol), (Phase::Claimed, 3, PROTOCOL));
    }

    #[test]
    fn what_cannot_be_pinned_is_refused() {
        let Plan { nodes, served, .. } = plan();
        let mut nameless = nodes[0].clone();
        nameless.gpus[0].uuid.clear();
        assert!(matches!(draft(&nameless, &served, origin()), Err(DraftError::NoUuid { .. })));
        let mut unordered = nodes[0].clone();
        unordered.steps.clear();
        assert!(matches!(draft(&unordered, &served, origin()), Err(DraftError::NoSteps(_))));
        let mut loose = nodes[0].clone();
        loose.evict[0].uid.clear();
        assert!(matches!(draft(&loose, &served, origin()), Err(DraftError::NoPod(_))));
    }

    #[test]
    fn a_repair_changes_nothing() {
        let repair = repair(origin());
        assert!(repair.is_repair() && repair.steps.is_empty() && repair.victims.is_empty());
    }
}
