//! Nodes: read, and given or relieved of our own taint, and of the annotations that keep autoscalers off meanwhile: no more is ever written to
//! them.
//!
//! `spec.taints` is one list without merge keys: whoever writes it writes everybody's taints. So the node is read, its version compared, and
//! the patch names the place of our taint in the list, under the condition that neither version nor taint has changed.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Content, Server, protection};
use crate::exec::port::ClusterError;
use crate::exec::{OperationId, TAINT_KEY, Version};
use crate::kube::live::client::{Call, name};
use crate::kube::live::refusal::Question;
use crate::kube::live::slim::Slim;
use crate::kube::objects::Node;

/// Effect of our taint.
const EFFECT: &str = "NoSchedule";

impl Server {
    /// A node, by a quorum read.
    pub(in crate::kube::live) async fn node(&self, node: &str) -> Result<Slim<Node>, ClusterError> {
        self.read(format!("/api/v1/nodes/{}", name(node)?)).await
    }

    /// How far the kubelet's lease of a node has come: its version, which grows with every renewal. None where there is no lease, or no right to
    /// read it.
    ///
    /// Kubelets renew it every ten seconds. The status of a node that does not change they write every five minutes only, half of that more or
    /// less (`nodeStatusReportFrequency`), which is longer than a device plugin may take to come back.
    pub(in crate::kube::live) async fn kubelet_beat(&self, node: &str) -> Result<Option<u64>, ClusterError> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}", name(node)?);
        let lease: Value = match self.read(path).await {
            Ok(lease) => lease,
            Err(ClusterError::NotFound | ClusterError::Forbidden(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let version = lease.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        Ok(version.and_then(|version| version.parse().ok()))
    }

    /// Puts our taint on a node that still has this version, in place of an older one of ours; with `protect` also what keeps autoscalers off.
    pub(in crate::kube::live) async fn add_taint(
        &self,
        node: &str,
        version: Version,
        operation: &OperationId,
        protect: bool,
    ) -> Result<Slim<Node>, ClusterError> {
        let (found, annotated) = self.node_at(node, version).await?;
        let taint = json!({"key": TAINT_KEY, "value": operation.0, "effect": EFFECT});
        let mut steps = adding(&found, &taint);
        if protect {
            steps.extend(protection::on(found.metadata.annotations.all(), annotated));
        }
        self.patch_node(node, version, steps).await
    }

    /// Removes our taint with this value, and what has kept autoscalers off, from a node that still has this version; no other.
    pub(in crate::kube::live) async fn remove_taint(
        &self,
        node: &str,
        version: Version,
        operation: &OperationId,
    ) -> Result<Slim<Node>, ClusterError> {
        let (found, _) = self.node_at(node, version).await?;
        let at = position(&found, Some(&operation.0)).ok_or(ClusterError::Conflict)?;
        let mut steps = vec![
            json!({"op": "test", "path": format!("/spec/taints/{at}/key"), "value": TAINT_KEY}),
            json!({"op": "test", "path": format!("/spec/taints/{at}/value"), "value": operation.0}),
            json!({"op": "remove", "path": format!("/spec/taints/{at}")}),
        ];
        // Whether or not nodes are protected now: what is on record was put on by us.
        steps.extend(protection::off(found.metadata.annotations.all()));
        self.patch_node(node, version, steps).await
    }

    /// A node that still has this version, and whether it has any annotation, read by us or not.
    async fn node_at(&self, node: &str, version: Version) -> Result<(Arc<Node>, bool), ClusterError> {
        let raw: Box<RawValue> = self.read(format!("/api/v1/nodes/{}", name(node)?)).await?;
        let unreadable = |error: serde_json::Error| ClusterError::Invalid(format!("node {node}: {error}"));
        let found: Slim<Node> = serde_json::from_str(raw.get()).map_err(unreadable)?;
        let Annotated { metadata: Any { annotations } } = serde_json::from_str(raw.get()).map_err(unreadable)?;
        let found = found.body.map_err(|bad| ClusterError::Invalid(bad.message))?;
        let same = found.metadata.version() == version.0;
        if same { Ok((found, annotations.is_some())) } else { Err(ClusterError::Conflict) }
    }

    async fn patch_node(
        &self,
        node: &str,
        version: Version,
        mut steps: Vec<Value>,
    ) -> Result<Slim<Node>, ClusterError> {
        let version = version.0.to_string();
        // The server applies the patch anew when somebody else was faster; then the test fails.
        steps.insert(0, json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
        let body = Value::Array(steps);
        let call = Call {
            method: Method::PATCH,
            path: format!("/api/v1/nodes/{}", name(node)?),
            content: Content::Patch(&body),
            question: Question::TestedPatch,
        };
        self.write(&call).await
    }
}

/// An object, as far as it has annotations.
#[derive(Deserialize)]
struct Annotated {
    metadata: Any,
}

#[derive(Deserialize)]
struct Any {
    #[serde(default)]
    annotations: Option<IgnoredAny>,
}

/// Steps that put a taint onto a node.
fn adding(node: &Node, taint: &Value) -> Vec<Value> {
    match position(node, None) {
        Some(at) => vec![
            json!({"op": "test", "path": format!("/spec/taints/{at}/key"), "value": TAINT_KEY}),
            json!({"op": "replace", "path": format!("/spec/taints/{at}"), "value": taint}),
        ],
        // Without a list there is nothing to add to.
        None if node.spec.taints.is_empty() => {
            vec![json!({"op": "add", "path": "/spec/taints", "value": [taint]})]
        }
        None => vec![json!({"op": "add", "path": "/spec/taints/-", "value": taint})],
    }
}

/// Where our taint stands, with this value if one is asked for.
fn position(node: &Node, value: Option<&str>) -> Option<usize> {
    node.spec.taints.iter().position(|taint| taint.key == TAINT_KEY && value.is_none_or(|value| taint.value.0 == value))
}
