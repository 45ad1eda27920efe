//! `MigNode`: read, and written by compare-and-swap.
//!
//! Both parts are written by a JSON patch that sets `metadata.resourceVersion` to the version that was read: the API server then refuses with
//! 409 whatever is no longer that version. It needs no permission but `patch`, and leaves alone what others keep in the metadata.

use http::Method;
use serde_json::{Value, json};

use super::{Content, Server};
use crate::exec::Version;
use crate::exec::port::ClusterError;
use crate::kube::crd::{self, MigNode};
use crate::kube::live::client::{Call, name};
use crate::kube::live::refusal::Question;

fn collection() -> String {
    format!("/apis/{}/{}/mignodes", crd::GROUP, crd::VERSION)
}

/// The object of a node, by a quorum read.
pub(in crate::kube::live) async fn read_record(server: &Server, node: &str) -> Result<MigNode, ClusterError> {
    server.read(format!("{}/{}", collection(), name(node)?)).await
}

/// Writes the spec of an object that still has this version.
pub(in crate::kube::live) async fn write_spec(
    server: &Server,
    node: &str,
    version: Version,
    spec: &crd::MigNodeSpec,
) -> Result<MigNode, ClusterError> {
    patch(server, node, "", version, "/spec", &value(spec)?).await
}

/// Writes the status of an object that still has this version; version 0 makes the object first, if there is none.
pub(in crate::kube::live) async fn write_status(
    server: &Server,
    node: &str,
    version: Version,
    status: &crd::MigNodeStatus,
) -> Result<MigNode, ClusterError> {
    let version = if version == Version::default() { create(server, node, &status.node_uid).await? } else { version };
    patch(server, node, "/status", version, "/status", &value(status)?).await
}

/// Makes an empty object, and tells its version. It belongs to the node with this UID: when that is gone, the garbage collector of Kubernetes
/// removes it, and nobody needs a right to delete it. A crash before the status follows leaves an object that says nothing, which anybody can read.
async fn create(server: &Server, node: &str, node_uid: &str) -> Result<Version, ClusterError> {
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid});
    let body = json!({
        "apiVersion": format!("{}/{}", crd::GROUP, crd::VERSION),
        "kind": "MigNode",
        "metadata": {"name": name(node)?, "ownerReferences": [owner]},
        "spec": {},
    });
    let call =
        Call { method: Method::POST, path: collection(), content: Content::Object(&body), question: Question::Plain };
    let made: MigNode = server.write(&call).await?;
    let record = crd::record(made).map_err(|error| ClusterError::Invalid(error.to_string()))?;
    Ok(record.version)
}

async fn patch(
    server: &Server,
    node: &str,
    subresource: &str,
    version: Version,
    path: &str,
    value: &Value,
) -> Result<MigNode, ClusterError> {
    let body = json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version.0.to_string()},
        {"op": "add", "path": path, "value": value},
    ]);
    let call = Call {
        method: Method::PATCH,
        path: format!("{}/{}{subresource}", collection(), name(node)?),
        content: Content::Patch(&body),
        question: Question::Plain,
    };
    server.write(&call).await
}

fn value(part: &impl serde::Serialize) -> Result<Value, ClusterError> {
    serde_json::to_value(part).map_err(|error| ClusterError::Invalid(error.to_string()))
}
