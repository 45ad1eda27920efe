//! The API server as the agent of one node sees it: its own record, its own node, and the pods on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Config;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::client::Server;
use super::requests::{read_record, write_status};
use super::views::{node_view, pod_view};
use super::watch::follow;
use super::{clock, refused_for};
use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest};
use crate::exec::{MigNodeStatus, NodeView, PodView, Version};
use crate::kube::budgets::Budgets;
use crate::kube::crd::{self, Circumstances};
use crate::kube::objects::{MigNode, Node, Pod};
use crate::kube::scope::Scope;

/// Annotation by which people keep retile off a node.
const PAUSED: &str = "retile.dev/paused";

/// Answers the agent's requests, and says when its record, its node or its pods have changed.
pub struct AgentCluster {
    server: Server,
    node: String,
    stirred: Arc<Notify>,
    known: Mutex<Known>,
    /// Ended when this is dropped.
    _watches: JoinSet<()>,
}

/// What was read last, for what a status tells people beside the report.
#[derive(Default)]
struct Known {
    status: Option<crd::MigNodeStatus>,
    generation: i64,
    operation: Option<String>,
    paused: Option<bool>,
}

impl AgentCluster {
    /// Starts to watch; must be called within a runtime. Watches that are refused or break are tried again, and cost no more than wakes.
    pub fn start(server: Server, node: &str) -> Self {
        let stirred = Arc::new(Notify::new());
        let mut watches = JoinSet::new();
        let named = Config::default().fields(&format!("metadata.name={node}"));
        let bound = Config::default().fields(&format!("spec.nodeName={node}"));
        let wake = || {
            let stirred = Arc::clone(&stirred);
            move |_: &(String, String)| stirred.notify_one()
        };
        watches.spawn(follow::<MigNode, _>(server.clone(), named.clone(), record_facts, wake()));
        watches.spawn(follow::<Node, _>(server.clone(), named, node_facts, wake()));
        watches.spawn(follow::<Pod, _>(server.clone(), bound, pod_facts, wake()));
        Self { server, node: node.to_owned(), stirred, known: Mutex::default(), _watches: watches }
    }

    /// Waits until something has changed since the last call.
    pub async fn changed(&self) {
        self.stirred.notified().await;
    }

    /// Answers a request of the agent's machine.
    ///
    /// # Errors
    /// As the API server refuses; requests that are not an agent's are forbidden.
    pub async fn answer(&self, request: &ClusterRequest) -> ClusterReply {
        match request {
            ClusterRequest::GetMigNode { node } => self.record(node).await,
            ClusterRequest::GetNode { node } => self.node(node).await,
            ClusterRequest::ListPods { node } => self.pods(node).await,
            ClusterRequest::WriteStatus { node, version, status } => self.write(node, *version, status).await,
            ClusterRequest::Observe { .. }
            | ClusterRequest::WriteSpec { .. }
            | ClusterRequest::AddTaint { .. }
            | ClusterRequest::RemoveTaint { .. }
            | ClusterRequest::PauseClients { .. }
            | ClusterRequest::ResumeClients { .. }
            | ClusterRequest::Evict { .. }
            | ClusterRequest::DeletePluginPod { .. }
            | ClusterRequest::GetLease
            | ClusterRequest::WriteLease { .. } => refused_for("an agent", request),
        }
    }

    async fn record(&self, node: &str) -> ClusterReply {
        let object = read_record(&self.server, node).await;
        match object {
            Ok(object) => self.take(object),
            Err(error) => {
                if error == ClusterError::NotFound {
                    // One guard: a second one in the same statement would wait for the first for ever.
                    let mut known = self.known();
                    *known = Known { paused: known.paused, ..Known::default() };
                }
                Err(error)
            }
        }
    }

    async fn node(&self, node: &str) -> ClusterReply {
        let found = self.server.node(node).await?.body.map_err(|bad| ClusterError::Invalid(bad.message))?;
        let view = node_view(&found);
        self.known().paused = Some(view.annotations.get(PAUSED).is_some_and(|value| value != "false"));
        Ok(ClusterAnswer::Node(Box::new(view)))
    }

    /// The agent asks who may hold instances; budgets are not its business, and it may not read them.
    async fn pods(&self, node: &str) -> ClusterReply {
        let budgets = Budgets::default();
        let now = clock::now().as_second();
        let pods = self.server.pods_on(node).await?;
        let views = pods.into_iter().map(|pod| match pod.body {
            Ok(pod) => Ok(pod_view(&pod, &budgets, &Scope::default(), now)),
            // It may hold anything, and what it holds cannot be told: nothing can be proven idle.
            Err(bad) => Err(ClusterError::Invalid(format!("Pod {}/{}: {}", bad.namespace, bad.name, bad.message))),
        });
        Ok(ClusterAnswer::Pods(views.collect::<Result<_, _>>()?))
    }

    async fn write(&self, node: &str, version: Version, report: &MigNodeStatus) -> ClusterReply {
        if node != self.node {
            return Err(ClusterError::Forbidden(format!("this agent reports about {}, not {node}", self.node)));
        }
        let status = {
            let known = self.known();
            let moment = clock::text(clock::now());
            let circumstances = Circumstances {
                node,
                before: known.status.as_ref(),
                generation: known.generation,
                carried: known.operation.as_deref(),
                paused: known.paused,
                moment: &moment,
            };
            crd::MigNodeStatus::of(report, &circumstances)
        };
        self.take(write_status(&self.server, node, version, &status).await?)
    }

    /// Remembers an object, and answers with its record.
    fn take(&self, object: crd::MigNode) -> ClusterReply {
        {
            let mut known = self.known();
            known.status.clone_from(&object.status);
            known.generation = object.metadata.generation.unwrap_or(0);
            known.operation = object.spec.operation.as_ref().map(|operation| operation.id.clone());
        }
        let record = crd::record(object).map_err(|error| ClusterError::Invalid(error.to_string()))?;
        Ok(ClusterAnswer::MigNode(Box::new(record)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What it holds is only what was read last; a panic elsewhere does not spoil it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The generation stands for the spec; the status is our own.
fn record_facts(record: &MigNode) -> (String, i64, bool) {
    (record.metadata.uid.clone(), record.metadata.generation, record.metadata.deleting())
}

/// All that the protocol reads of a node but its heartbeat, which the kubelet writes all the time.
fn node_facts(node: &Node) -> NodeView {
    NodeView { heartbeat: 0, version: Version::default(), ..node_view(node) }
}

fn pod_facts(pod: &Pod) -> PodView {
    pod_view(pod, &Budgets::default(), &Scope::default(), 0)
}
