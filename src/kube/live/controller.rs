//! The API server as the controller sees it: everything that planning reads, and what an operation writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Duration;

use super::client::Server;
use super::in_force::PolicyInForce;
use super::index::Shared;
use super::record::Record;
use super::refusal::is_not_served;
use super::requests::{LeaseObject, list_all, list_some, read_record, write_spec};
use super::slim::{Kind, Slim, collection};
use super::snapshot::{Snapshot, matters, relevant};
use super::views::{node_view, pod_view};
use super::wake::Wake;
use super::{clock, refused_for};
use crate::exec::marks;
use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Observation};
use crate::exec::{NodeView, OperationId, Phase};
use crate::kube::budgets::Budgets;
use crate::kube::crd;
use crate::kube::objects::{DeviceClass, DisruptionBudget, Node, Pod, PriorityClass, ResourceSlice};
use crate::kube::stream::BadObject;

/// Settings of the controller's side.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// Namespace of the lease.
    pub namespace: String,
    /// How long a watch may be broken before the index counts as old.
    pub staleness: Duration,
    /// Whether autoscalers are kept off nodes under operation.
    pub protect_nodes: bool,
}

/// Whether the index can be relied upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why it cannot.
    pub doubt: Option<String>,
    /// For how long the watch that is worst off has been broken.
    pub age: Duration,
}

/// Answers the controller's requests, and says when something has changed.
pub struct ControllerCluster {
    server: Server,
    options: ControllerOptions,
    shared: Arc<Shared>,
    lease: LeaseObject,
    /// Ended when this is dropped.
    _watches: JoinSet<()>,
}

impl ControllerCluster {
    /// Starts to watch; must be called within a runtime.
    pub fn start(server: Server, options: ControllerOptions) -> Self {
        let shared = Arc::new(Shared::new());
        let watches = shared.watch(&server);
        let lease = LeaseObject::new(&options.namespace);
        Self { server, options, shared, lease, _watches: watches }
    }

    /// The way to the API server, for what else a controller writes.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Waits until something has changed since the last call, and tells what.
    pub async fn changed(&self) -> Wake {
        self.shared.changed().await
    }

    /// Whether the index can be relied upon.
    pub fn health(&self) -> Health {
        let index = self.shared.index();
        Health { doubt: index.doubt(self.options.staleness), age: index.age() }
    }

    /// The policy in force.
    pub fn policy(&self) -> PolicyInForce {
        self.shared.keeper().in_force()
    }

    /// The index as it is now.
    pub(super) fn index(&self) -> std::sync::MutexGuard<'_, super::index::Index> {
        self.shared.index()
    }

    /// Operations that records of nodes carry, but for those that wait for people.
    pub fn operations(&self) -> BTreeSet<OperationId> {
        let index = self.shared.index();
        let carried = index.records.readable().filter_map(|record| record.record.spec.operation.as_ref());
        carried.filter(|operation| operation.phase != Phase::Degraded).map(|operation| operation.id.clone()).collect()
    }

    /// UID of a node's record and of the node, as far as the index knows them.
    pub(super) fn uids(&self, node: &str) -> (Option<String>, Option<String>) {
        let index = self.shared.index();
        let record = index.records.named(node).map(|record| record.report.metadata.uid.clone());
        (record, index.nodes.named(node).map(|node| node.metadata.uid.clone()))
    }

    /// Answers a request of the controller's machine.
    ///
    /// # Errors
    /// As the API server refuses; and an index that cannot be relied upon is [`ClusterError::Unknown`].
    pub async fn answer(&self, request: &ClusterRequest) -> ClusterReply {
        let server = &self.server;
        match request {
            ClusterRequest::Observe { fresh } => {
                let observation = if *fresh { self.observe_freshly().await? } else { self.observe().await? };
                Ok(ClusterAnswer::Observed(Box::new(observation)))
            }
            ClusterRequest::GetMigNode { node } => record(read_record(server, node).await?),
            ClusterRequest::GetNode { node } => {
                // Before the node, so that what the node says is not older than the beat.
                let beat = server.kubelet_beat(node).await?;
                let mut view = node_view_of(server.node(node).await?)?;
                view.heartbeat = beat.unwrap_or(view.heartbeat);
                view.served_by_dra = self.served_by_dra(node)?;
                Ok(ClusterAnswer::Node(Box::new(view)))
            }
            ClusterRequest::ListPods { node } => self.pods(node).await,
            ClusterRequest::WriteSpec { node, version, spec } => {
                record(write_spec(server, node, *version, &crd::MigNodeSpec::from(&**spec)).await?)
            }
            ClusterRequest::AddTaint { node, version, operation } => {
                view(server.add_taint(node, *version, operation, self.options.protect_nodes).await?)
            }
            ClusterRequest::RemoveTaint { node, version, operation } => {
                view(server.remove_taint(node, *version, operation).await?)
            }
            ClusterRequest::PauseClients { node, version, operation, dry_run } => {
                view(server.mark(node, *version, Some(operation), marks::pause, *dry_run).await?)
            }
            ClusterRequest::ResumeClients { node, version, .. } => {
                view(server.mark(node, *version, None, marks::resume, false).await?)
            }
            ClusterRequest::Evict { pod, body, dry_run } => {
                server.evict(pod, body, *dry_run).await.map(|()| ClusterAnswer::Accepted)
            }
            ClusterRequest::DeletePluginPod { pod } => server.delete_pod(pod).await.map(|()| ClusterAnswer::Accepted),
            ClusterRequest::GetLease => lease(self.lease.get(server).await),
            ClusterRequest::WriteLease { version, lease: wanted } => {
                lease(self.lease.write(server, *version, wanted).await)
            }
            ClusterRequest::WriteStatus { .. } => refused_for("a controller", request),
        }
    }

    /// Whether NVIDIA's DRA driver serves a node, as the watch of its slices has told: the one part of a node that does not stand on it, and
    /// that is not worth a list with each look.
    fn served_by_dra(&self, node: &str) -> Result<bool, ClusterError> {
        let index = self.shared.index();
        match index.slices.doubt(self.options.staleness) {
            Some(doubt) => Err(ClusterError::Unknown(doubt)),
            None => Ok(index.slices.readable().any(|slice| slice.served_node() == Some(node))),
        }
    }

    async fn observe(&self) -> Result<Observation, ClusterError> {
        let snapshot = {
            let index = self.shared.index();
            if let Some(doubt) = index.doubt(self.options.staleness) {
                return Err(ClusterError::Unknown(doubt));
            }
            index.snapshot()
        };
        self.assemble(snapshot).await
    }

    /// Lists everything now. The policy that counts is the one that the index keeps, once it knows it.
    async fn observe_freshly(&self) -> Result<Observation, ClusterError> {
        if let Some(doubt) = self.shared.index().policies.doubt(self.options.staleness) {
            return Err(ClusterError::Unknown(doubt));
        }
        let server = &self.server;
        let (nodes, records, budgets, classes) = futures::try_join!(
            list_all::<Node>(server),
            list_all::<Record>(server),
            list_all::<DisruptionBudget>(server),
            list_all::<PriorityClass>(server),
        )?;
        let (device_classes, slices) =
            futures::try_join!(if_served::<DeviceClass>(server), if_served::<ResourceSlice>(server))?;
        let mut snapshot = Snapshot::default();
        let mut bad = Vec::new();
        let nodes = sorted(nodes, &mut bad);
        snapshot.add_records(sorted(records, &mut bad).iter());
        let relevant = relevant(&nodes, &snapshot.records);
        let keep = |pod: &Slim<Pod>| pod.body.as_ref().map_or(true, |pod| matters(pod, &relevant));
        let pods = list_some(server, &collection::<Pod>(), "", keep).await?;
        let objects = &mut snapshot.objects;
        objects.nodes = nodes;
        objects.pods = sorted(pods, &mut bad);
        objects.budgets = own(sorted(budgets, &mut bad));
        objects.classes = own(sorted(classes, &mut bad));
        objects.device_classes = own(sorted(device_classes, &mut bad));
        objects.slices = own(sorted(slices, &mut bad));
        objects.bad = bad;
        self.assemble(snapshot).await
    }

    async fn assemble(&self, snapshot: Snapshot) -> Result<Observation, ClusterError> {
        let document = self.policy().document;
        let now = clock::now().as_second();
        // Seconds of work in a large cluster, during which the lease must still be renewed.
        tokio::task::spawn_blocking(move || snapshot.observe(&document, now))
            .await
            .map_err(|error| ClusterError::Unknown(format!("the observation was not finished: {error}")))?
    }

    async fn pods(&self, node: &str) -> ClusterReply {
        let mut pods = Vec::new();
        for pod in self.server.pods_on(node).await? {
            // It may hold anything, and what it holds cannot be told.
            pods.push(pod.body.map_err(|bad| ClusterError::Invalid(described(&bad)))?);
        }
        let namespaces: BTreeSet<&str> = pods
            .iter()
            .filter(|pod| crate::kube::requests::mentions_device(pod))
            .map(|pod| pod.metadata.namespace.as_str())
            .collect();
        let (mut budgets, mut bad) = (Vec::new(), Vec::new());
        for namespace in namespaces {
            budgets.extend(sorted(self.server.budgets_in(namespace).await?, &mut bad));
        }
        let bad = bad.iter().map(|bad| (bad.namespace.as_str(), bad.name.as_str()));
        let budgets = Budgets::new(budgets.iter().map(AsRef::as_ref), bad);
        let (document, now) = (self.policy().document, clock::now().as_second());
        Ok(ClusterAnswer::Pods(pods.iter().map(|pod| pod_view(pod, &budgets, &document.scope, now)).collect()))
    }
}

/// Objects of a kind that older API servers do not have.
async fn if_served<K: Kind>(server: &Server) -> Result<Vec<Slim<K>>, ClusterError> {
    match list_all::<K>(server).await {
        Err(error) if error == ClusterError::NotFound || is_not_served(&error) => Ok(Vec::new()),
        other => other,
    }
}

/// Those that can be read; the others go where the bad ones are.
fn sorted<K: Kind>(objects: Vec<Slim<K>>, bad: &mut Vec<BadObject>) -> Vec<Arc<K>> {
    objects.into_iter().filter_map(|object| object.body.map_err(|unreadable| bad.push(unreadable)).ok()).collect()
}

fn own<K: Clone>(objects: Vec<Arc<K>>) -> Vec<K> {
    objects.into_iter().map(Arc::unwrap_or_clone).collect()
}

fn described(bad: &BadObject) -> String {
    format!("Pod {}/{}: {}", bad.namespace, bad.name, bad.message)
}

fn record(object: crd::MigNode) -> ClusterReply {
    let record = crd::record(object).map_err(|error| ClusterError::Invalid(error.to_string()))?;
    Ok(ClusterAnswer::MigNode(Box::new(record)))
}

fn view(node: Slim<Node>) -> ClusterReply {
    Ok(ClusterAnswer::Node(Box::new(node_view_of(node)?)))
}

fn node_view_of(node: Slim<Node>) -> Result<NodeView, ClusterError> {
    let node = node.body.map_err(|bad| ClusterError::Invalid(bad.message))?;
    Ok(node_view(&node))
}

fn lease(answer: Result<(crate::exec::Version, crate::exec::port::Lease), ClusterError>) -> ClusterReply {
    answer.map(|(version, lease)| ClusterAnswer::Lease(version, lease))
}
