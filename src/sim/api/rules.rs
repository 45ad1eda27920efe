//! What the definition of `MigNode` refuses beyond what its types do: the rules between an old spec and a new one, and the bounds of lists.
//!
//! Inputs: specs and statuses as they are to be written. Outputs: what is stored of them, cut where only people read it; or why not. Definition
//! and cuts are the adapter's, which nothing here may use: the contract's cases hold both to the same answers. Pure.

use crate::exec::port::ClusterError;
use crate::exec::{MigNodeSpec, MigNodeStatus, Operation};

/// GPUs of a node.
const GPUS: usize = 32;
/// Instances of a GPU.
const INSTANCES: usize = 16;
/// Pods of an instance.
const SHARERS: usize = 64;
/// Pods of one kind in an operation.
const PODS: usize = 512;
/// Ended operations.
const ENDED: usize = 16;
/// Characters of a text for people.
const DETAIL: usize = 1024;

/// A spec as it is stored.
pub(super) fn cut_spec(spec: &MigNodeSpec) -> MigNodeSpec {
    let mut spec = spec.clone();
    spec.history.truncate(ENDED);
    let details = spec.history.iter_mut().map(|ended| &mut ended.detail);
    details.chain(spec.operation.as_mut().map(|operation| &mut operation.detail)).for_each(cut);
    spec
}

/// A status as it is stored.
pub(super) fn cut_status(status: &MigNodeStatus) -> MigNodeStatus {
    let mut status = status.clone();
    let instances = status.gpus.iter_mut().flat_map(|gpu| &mut gpu.instances);
    instances.for_each(|instance| instance.pods.truncate(SHARERS));
    status.operation.as_mut().map(|operation| &mut operation.detail).into_iter().for_each(cut);
    status
}

fn cut(text: &mut String) {
    if text.chars().count() > DETAIL {
        *text = text.chars().take(DETAIL - 1).chain(['…']).collect();
    }
}

/// Whether a spec may follow another.
pub(super) fn check_spec(before: &MigNodeSpec, after: &MigNodeSpec) -> Result<(), ClusterError> {
    let Some(is) = &after.operation else { return Ok(()) };
    bound("spec.operation.gpus", is.gpus.len(), GPUS)?;
    bound("spec.operation.victims", is.victims.len(), PODS)?;
    bound("spec.operation.beneficiaries", is.beneficiaries.len(), PODS)?;
    bound("spec.operation.residents", is.residents.len(), PODS)?;
    let Some(was) = before.operation.as_ref().filter(|was| was.id == is.id) else { return Ok(()) };
    if fixed(was) != fixed(is) {
        let text = "spec: what an operation changes is fixed when it is claimed; end it and claim a new one";
        return Err(ClusterError::Invalid(text.to_owned()));
    }
    if is.epoch < was.epoch {
        return Err(ClusterError::Invalid("spec: the epoch of an operation never goes back".to_owned()));
    }
    Ok(())
}

/// Whether a status may be written.
pub(super) fn check_status(status: &MigNodeStatus) -> Result<(), ClusterError> {
    bound("status.gpus", status.gpus.len(), GPUS)?;
    for gpu in &status.gpus {
        bound("status.gpus[].instances", gpu.instances.len(), INSTANCES)?;
    }
    Ok(())
}

/// What must stay as it was claimed.
fn fixed(operation: &Operation) -> impl PartialEq + use<'_> {
    (&operation.node_uid, &operation.gpus, &operation.victims, operation.protocol)
}

fn bound(field: &str, count: usize, most: usize) -> Result<(), ClusterError> {
    if count <= most {
        return Ok(());
    }
    Err(ClusterError::Invalid(format!("{field}: Too many: {count}: must have at most {most} items")))
}
