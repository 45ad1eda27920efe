//! Pods: listed by node, evicted, and, those of the device plugin, deleted; each pinned to a UID.

use http::Method;
use serde_json::json;

use super::{Content, Server, list};
use crate::exec::port::{ClusterError, EvictionBody};
use crate::kube::live::client::{Call, name};
use crate::kube::live::refusal::Question;
use crate::kube::live::slim::Slim;
use crate::kube::objects::{DisruptionBudget, Pod};
use crate::model::PodRef;

fn path(pod: &PodRef) -> Result<String, ClusterError> {
    Ok(format!("/api/v1/namespaces/{}/pods/{}", name(&pod.namespace)?, name(&pod.name)?))
}

impl Server {
    /// All pods that are bound to a node, by a quorum read.
    pub(in crate::kube::live) async fn pods_on(&self, node: &str) -> Result<Vec<Slim<Pod>>, ClusterError> {
        list(self, "/api/v1/pods", &format!("spec.nodeName={}", name(node)?)).await
    }

    /// The disruption budgets of a namespace, by a quorum read.
    pub(in crate::kube::live) async fn budgets_in(
        &self,
        namespace: &str,
    ) -> Result<Vec<Slim<DisruptionBudget>>, ClusterError> {
        list(self, &format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets", name(namespace)?), "").await
    }

    /// Posts an eviction; with `dry_run` the server only says whether it would be allowed.
    pub(in crate::kube::live) async fn evict(
        &self,
        pod: &PodRef,
        body: &EvictionBody,
        dry_run: bool,
    ) -> Result<(), ClusterError> {
        let body = body.to_json().map_err(|error| ClusterError::Invalid(error.to_string()))?;
        let query = if dry_run { "?dryRun=All" } else { "" };
        let call = Call {
            method: Method::POST,
            path: format!("{}/eviction{query}", path(pod)?),
            content: Content::Object(&body),
            question: Question::Eviction,
        };
        self.send(&call).await
    }

    /// Deletes a pod with this UID.
    pub(in crate::kube::live) async fn delete_pod(&self, pod: &PodRef) -> Result<(), ClusterError> {
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": pod.uid}});
        let call = Call {
            method: Method::DELETE,
            path: path(pod)?,
            content: Content::Object(&body),
            question: Question::Plain,
        };
        self.send(&call).await
    }
}
