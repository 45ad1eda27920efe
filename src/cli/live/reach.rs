//! The way to a cluster, for one verb: a client, an event loop, and words for what goes wrong.

use std::time::Duration;

use super::args::ClusterArgs;
use crate::cli::error::CliError;
use crate::exec::port::ClusterError;
use crate::kube::live::listing::Unanswered;
use crate::kube::live::{ConnectError, ConnectOptions, Server, Writes, connect};

/// How the cluster is called in messages.
pub(crate) const NAME: &str = "the cluster";
/// Longest wait for the answer to one request.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a busy API server is asked again. One that has just learnt of a kind is busy for a moment.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection, and what drives it.
pub(crate) struct Reach {
    runtime: tokio::runtime::Runtime,
    server: Server,
}

impl Reach {
    /// A way to the cluster that cannot write.
    pub(crate) fn reading(cluster: &ClusterArgs) -> Result<Self, CliError> {
        Self::new(cluster, Writes::Refused)
    }

    /// A way to the cluster that can write.
    pub(crate) fn writing(cluster: &ClusterArgs) -> Result<Self, CliError> {
        Self::new(cluster, Writes::Allowed)
    }

    fn new(cluster: &ClusterArgs, writes: Writes) -> Result<Self, CliError> {
        let ClusterArgs { kubeconfig, context } = cluster.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::Internal(format!("no event loop can be made: {error}")))?;
        let options = ConnectOptions {
            kubeconfig,
            context,
            timeout: TIMEOUT,
            patience: PATIENCE,
            writes,
            ..ConnectOptions::new("retile")
        };
        let server = runtime.block_on(connect(&options)).map_err(|error| no_way(&error))?;
        Ok(Self { runtime, server })
    }

    /// Asks something of the API server.
    pub(crate) fn ask<T>(&self, question: impl AsyncFnOnce(&Server) -> Result<T, Unanswered>) -> Result<T, CliError> {
        self.runtime.block_on(question(&self.server)).map_err(unanswered)
    }
}

/// Why there is no client.
fn no_way(error: &ConnectError) -> CliError {
    let text = error.to_string();
    let (message, help) = text.rsplit_once("; ").unwrap_or((&text, "check the kubeconfig with `kubectl version`"));
    CliError::Cluster { message: message.to_owned(), help: help.to_owned() }
}

/// A request that was refused, or not answered, as what is wrong and what to do.
pub(crate) fn unanswered(unanswered: Unanswered) -> CliError {
    let Unanswered { verb, resource, error } = unanswered;
    let (message, help) = match error {
        ClusterError::Forbidden(text) if text.starts_with("not authenticated") => (
            format!("the API server does not know who asks to {verb} {resource}: {text}"),
            "renew the credentials of the kubeconfig, or choose another --context".to_owned(),
        ),
        ClusterError::Forbidden(text) => (format!("not allowed to {verb} {resource}: {text}"), role(verb, &resource)),
        ClusterError::Unknown(text) => (
            format!("no usable answer to {verb} {resource}: {text}"),
            "check the server's address in the kubeconfig and the way there; `kubectl get --raw /readyz` says whether it serves"
                .to_owned(),
        ),
        ClusterError::Throttled { .. } => {
            (format!("the API server is too busy to {verb} {resource}"), "try again in a minute".to_owned())
        }
        ClusterError::NotFound => (
            format!("cannot {verb} {resource}: there is none"),
            "see `retile doctor` for what is installed; `retile crds` prints the custom resources".to_owned(),
        ),
        other @ (ClusterError::Conflict
        | ClusterError::BlockedByBudget
        | ClusterError::SeveralBudgets
        | ClusterError::Invalid(_)
        | ClusterError::Expired) => {
            (format!("cannot {verb} {resource}: {other}"), "see what has changed, and try again".to_owned())
        }
    };
    CliError::Cluster { message, help }
}

/// Which role to ask for.
fn role(verb: &str, resource: &str) -> String {
    let reads = matches!(verb, "list" | "get" | "watch");
    match (resource.ends_with(".retile.dev"), reads) {
        (true, true) => "ask for the ClusterRole `retile-viewer`, which comes with the installation".to_owned(),
        (true, false) => "ask for the ClusterRole `retile-operator`, which comes with the installation".to_owned(),
        (false, _) => format!(
            "ask for a ClusterRole with the verb `{verb}` on `{resource}`; docs/how-to/live.md has one with all that is read"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(verb: &'static str, resource: &str, error: ClusterError) -> String {
        unanswered(Unanswered { verb, resource: resource.to_owned(), error }).render()
    }

    #[test]
    fn a_missing_right_names_verb_resource_and_role() {
        let forbidden = |verb, resource| said(verb, resource, ClusterError::Forbidden("no".into()));
        assert!(forbidden("list", "mignodes.retile.dev").contains("not allowed to list mignodes.retile.dev: no\n"));
        assert!(forbidden("list", "mignodes.retile.dev").contains("retile-viewer"));
        assert!(forbidden("create", "migplans.retile.dev").contains("retile-operator"));
        assert!(forbidden("list", "pods").contains("`list` on `pods`"));
        let unknown = said("list", "pods", ClusterError::Forbidden("not authenticated: Unauthorized".into()));
        assert!(unknown.contains("credentials"), "{unknown}");
    }

    #[test]
    fn an_api_server_that_cannot_be_reached_is_said_with_where_to_look() {
        let gone = said("list", "nodes", ClusterError::Unknown("connection refused".into()));
        assert!(gone.contains("connection refused") && gone.contains("/readyz"), "{gone}");
    }
}
