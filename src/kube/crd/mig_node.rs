//! The object `MigNode` as a record of the protocol.

pub use super::spec::MigNode;
use super::spec::WireError;
use crate::exec::{self, Version};

/// The record that an object stands for.
///
/// # Errors
/// The object has no name or no version that is a number, or reports about another node.
pub fn record(object: MigNode) -> Result<exec::MigNode, WireError> {
    let MigNode { metadata, spec, status } = object;
    let name = metadata.name.unwrap_or_default();
    let version = metadata.resource_version.unwrap_or_default();
    let wrong = |field, message: String| WireError { name: name.clone(), field, message };
    if name.is_empty() {
        return Err(wrong("metadata.name", "it is missing".to_owned()));
    }
    // The API promises no more than equality, but every server counts.
    let version = version.parse().map_err(|_| {
        let message =
            format!("`{version}` is no number; this API server counts versions in a way that is not known here");
        wrong("metadata.resourceVersion", message)
    })?;
    let status = status.unwrap_or_default().read(&name)?;
    Ok(exec::MigNode { version: Version(version), spec: spec.into(), status, name })
}
