//! The API server as the driver sees it, and the stand-in for the lease of a program that may write nothing.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::kept::Counted;
use super::policy::Wishes;
use crate::exec::Version;
use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Lease};
use crate::kube::live::{ControllerCluster, Health, Wake};

/// Answers the controller's requests.
pub trait ClusterPort: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: &ClusterRequest) -> impl Future<Output = ClusterReply> + Send;

    /// Waits until something has changed since the last call, and tells what.
    fn changed(&self) -> impl Future<Output = Wake> + Send;

    /// What the policy in force wants of the loop.
    fn wishes(&self) -> Wishes;

    /// Savings that earlier leaders have kept.
    fn kept(&self) -> Option<Counted>;

    /// Whether what is known of the cluster can be relied upon.
    fn known(&self) -> Known;
}

/// How far what is known of the cluster can be relied upon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Why it cannot.
    pub doubt: Option<String>,
    /// For how long it may be out of date.
    pub age: Duration,
}

impl ClusterPort for ControllerCluster {
    async fn answer(&self, request: &ClusterRequest) -> ClusterReply {
        Self::answer(self, request).await
    }

    async fn changed(&self) -> Wake {
        Self::changed(self).await
    }

    fn wishes(&self) -> Wishes {
        Wishes::of(&self.policy())
    }

    fn kept(&self) -> Option<Counted> {
        self.kept_savings().map(Counted::of)
    }

    fn known(&self) -> Known {
        let Health { doubt, age } = self.health();
        Known { doubt, age }
    }
}

impl<C: ClusterPort> ClusterPort for Arc<C> {
    async fn answer(&self, request: &ClusterRequest) -> ClusterReply {
        C::answer(self, request).await
    }

    async fn changed(&self) -> Wake {
        C::changed(self).await
    }

    fn wishes(&self) -> Wishes {
        C::wishes(self)
    }

    fn kept(&self) -> Option<Counted> {
        C::kept(self)
    }

    fn known(&self) -> Known {
        C::known(self)
    }
}

/// A cluster in which this process always leads, because it writes nothing: the lease is kept here and nowhere else.
pub struct DryRun<C> {
    cluster: C,
    lease: Mutex<Option<(Version, Lease)>>,
}

impl<C> DryRun<C> {
    /// Reads from a cluster, which must refuse writes by itself.
    pub fn new(cluster: C) -> Self {
        Self { cluster, lease: Mutex::default() }
    }

    fn lease(&self, request: &ClusterRequest) -> Option<ClusterReply> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let ClusterRequest::WriteLease { version: _, lease: written } = request {
            let version = lease.as_ref().map_or(1, |(version, _)| version.0 + 1);
            *lease = Some((Version(version), written.clone()));
        } else if *request != ClusterRequest::GetLease {
            return None;
        }
        let found = lease.clone().map(|(version, lease)| ClusterAnswer::Lease(version, lease));
        Some(found.ok_or(ClusterError::NotFound))
    }
}

impl<C: ClusterPort> ClusterPort for DryRun<C> {
    async fn answer(&self, request: &ClusterRequest) -> ClusterReply {
        match self.lease(request) {
            Some(reply) => reply,
            None => self.cluster.answer(request).await,
        }
    }

    async fn changed(&self) -> Wake {
        self.cluster.changed().await
    }

    fn wishes(&self) -> Wishes {
        self.cluster.wishes()
    }

    fn kept(&self) -> Option<Counted> {
        self.cluster.kept()
    }

    fn known(&self) -> Known {
        self.cluster.known()
    }
}

/// Kinds of requests that a controller makes, for metrics: all but the agent's.
pub fn requests() -> Vec<&'static str> {
    ClusterRequest::KINDS.into_iter().filter(|kind| *kind != "write_status").collect()
}

/// Whether a request changes the cluster. The lease is how leadership is had, and does not depend on it.
pub(super) fn needs_leadership(request: &ClusterRequest) -> bool {
    match request {
        ClusterRequest::WriteSpec { .. }
        | ClusterRequest::WriteStatus { .. }
        | ClusterRequest::AddTaint { .. }
        | ClusterRequest::RemoveTaint { .. }
        | ClusterRequest::PauseClients { .. }
        | ClusterRequest::ResumeClients { .. }
        | ClusterRequest::Evict { .. }
        | ClusterRequest::DeletePluginPod { .. } => true,
        ClusterRequest::Observe { .. }
        | ClusterRequest::GetMigNode { .. }
        | ClusterRequest::GetNode { .. }
        | ClusterRequest::ListPods { .. }
        | ClusterRequest::GetLease
        | ClusterRequest::WriteLease { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_count_every_kind_of_answer() {
        assert!(std::iter::once("ok").chain(ClusterError::KINDS).eq(crate::telemetry::requests::RESULTS));
    }
}
