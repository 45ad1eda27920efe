//! What the definition of `MigNode` refuses beyond what its types do: the rules between an old spec and a new one, and the bounds of lists.
//!
//! Inputs: specs and statuses as they are to be written. Output: why not. The definition is the adapter's, which nothing here may use; the
//! contract's cases hold both to the same answers. Pure.

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

/// Whether a spec may follow another.
pub(super) fn check_spec(before: &MigNodeSpec, after: &MigNodeSpec) -> Result<(), ClusterError> {
    bound("spec.history", after.history.len(), ENDED)?;
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
        for instance in &gpu.instances {
            bound("status.gpus[].instances[].pods", instance.pods.len(), SHARERS)?;
        }
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
