//! Nodes: read, and given or relieved of our own taint and of the marks that go with an operation (`exec::marks`): no more is ever written to them.
//!
//! `spec.taints` is one list without merge keys: whoever writes it writes everybody's taints. So the node is read, its version compared, and
//! the patch names the place of our taint in the list, under the condition that neither version nor taint has changed.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Content, Server};
use crate::exec::marks::{self, Marking, Marks};
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
        let Found { node: found, annotated } = self.node_at(node, version).await?;
        let taint = json!({"key": TAINT_KEY, "value": operation.0, "effect": EFFECT});
        let mut steps = adding(&found, &taint);
        if protect {
            steps.extend(marking(&marks::protect(found.metadata.annotations.all()), annotated));
        }
        self.patch_node(node, version, steps, false).await
    }

    /// Removes our taint with this value, and what has kept autoscalers off, from a node that still has this version; no other.
    pub(in crate::kube::live) async fn remove_taint(
        &self,
        node: &str,
        version: Version,
        operation: &OperationId,
    ) -> Result<Slim<Node>, ClusterError> {
        let Found { node: found, annotated } = self.node_at(node, version).await?;
        let (at, mut steps) = tainted(&found, operation)?;
        steps.push(json!({"op": "remove", "path": format!("/spec/taints/{at}")}));
        // Whether or not nodes are protected now: what is on record was put on by us.
        steps.extend(marking(&marks::unprotect(found.metadata.annotations.all()), annotated));
        self.patch_node(node, version, steps, false).await
    }

    /// Writes marks onto a node that still has this version; with `under`, only while it has the taint of that operation; with `dry_run` the
    /// server only says whether it would be allowed.
    pub(in crate::kube::live) async fn mark(
        &self,
        node: &str,
        version: Version,
        under: Option<&OperationId>,
        marks: Marking,
        dry_run: bool,
    ) -> Result<Slim<Node>, ClusterError> {
        let Found { node: found, annotated } = self.node_at(node, version).await?;
        let mut steps = match under {
            Some(operation) => tainted(&found, operation)?.1,
            None => Vec::new(),
        };
        let meta = &found.metadata;
        steps.extend(marking(&marks(&meta.plain_labels(), meta.annotations.all()), annotated));
        self.patch_node(node, version, steps, dry_run).await
    }

    /// A node that still has this version.
    async fn node_at(&self, node: &str, version: Version) -> Result<Found, ClusterError> {
        let raw: Box<RawValue> = self.read(format!("/api/v1/nodes/{}", name(node)?)).await?;
        let unreadable = |error: serde_json::Error| ClusterError::Invalid(format!("node {node}: {error}"));
        let found: Slim<Node> = serde_json::from_str(raw.get()).map_err(unreadable)?;
        let Annotated { metadata: Any { annotations } } = serde_json::from_str(raw.get()).map_err(unreadable)?;
        let node = found.body.map_err(|bad| ClusterError::Invalid(bad.message))?;
        let same = node.metadata.version() == version.0;
        if same { Ok(Found { node, annotated: annotations.is_some() }) } else { Err(ClusterError::Conflict) }
    }

    async fn patch_node(
        &self,
        node: &str,
        version: Version,
        mut steps: Vec<Value>,
        dry_run: bool,
    ) -> Result<Slim<Node>, ClusterError> {
        let version = version.0.to_string();
        // The server applies the patch anew when somebody else was faster; then the test fails.
        steps.insert(0, json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
        let body = Value::Array(steps);
        let call = Call {
            method: Method::PATCH,
            path: format!("/api/v1/nodes/{}{}", name(node)?, if dry_run { "?dryRun=All" } else { "" }),
            content: Content::Patch(&body),
            question: Question::TestedPatch,
        };
        self.write(&call).await
    }
}

/// A node as it was read before it is patched.
struct Found {
    node: Arc<Node>,
    /// Whether it has any annotation, read by us or not: without any there is no map to add to.
    annotated: bool,
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

/// Where the taint of an operation stands, and steps that make sure of it.
fn tainted(node: &Node, operation: &OperationId) -> Result<(usize, Vec<Value>), ClusterError> {
    let at = position(node, Some(&operation.0)).ok_or(ClusterError::Conflict)?;
    let steps = vec![
        json!({"op": "test", "path": format!("/spec/taints/{at}/key"), "value": TAINT_KEY}),
        json!({"op": "test", "path": format!("/spec/taints/{at}/value"), "value": operation.0}),
    ];
    Ok((at, steps))
}

/// Steps that write marks; `annotated` is whether the node has annotations at all.
fn marking(marks: &Marks, annotated: bool) -> Vec<Value> {
    let Marks { labels, annotations } = marks;
    let mut steps: Vec<Value> = Vec::new();
    if !annotated && !annotations.is_empty() {
        steps.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    for (key, value) in annotations {
        let path = format!("/metadata/annotations/{}", escaped(key));
        steps.push(match value {
            Some(value) => json!({"op": "add", "path": path, "value": value}),
            None => json!({"op": "remove", "path": path}),
        });
    }
    for (key, value) in labels {
        steps.push(json!({"op": "replace", "path": format!("/metadata/labels/{}", escaped(key)), "value": value}));
    }
    steps
}

/// A key as JSON pointers spell it.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Where our taint stands, with this value if one is asked for.
fn position(node: &Node, value: Option<&str>) -> Option<usize> {
    node.spec.taints.iter().position(|taint| taint.key == TAINT_KEY && value.is_none_or(|value| taint.value.0 == value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(marks: &Marks, annotated: bool) -> Vec<String> {
        let told = |step: Value| format!("{} {} {}", step["op"], step["path"], step["value"]).replace('"', "");
        marking(marks, annotated).into_iter().map(told).collect()
    }

    #[test]
    fn marks_are_patched_into_a_node_with_and_without_annotations() {
        let labels = [("nvidia.com/gpu.deploy.dcgm".to_owned(), "true".to_owned())].into();
        let pause = marks::pause(&labels, &std::collections::BTreeMap::new());
        let record = "add /metadata/annotations/retile.dev~1paused-clients dcgm";
        let label = "replace /metadata/labels/nvidia.com~1gpu.deploy.dcgm paused-for-mig-change";
        assert_eq!(steps(&pause, true), [record, label]);
        assert_eq!(steps(&pause, false), ["add /metadata/annotations {}", record, label]);
        let off = Marks { annotations: [(marks::PAUSED_CLIENTS, None)].into(), ..Marks::default() };
        assert_eq!(steps(&off, true), ["remove /metadata/annotations/retile.dev~1paused-clients null"]);
        assert!(steps(&Marks::default(), false).is_empty());
    }
}
