//! Finds the API server: the kubeconfig that is given, else the one of the environment, else the service account of the pod.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::client::{Server, Writes};

/// How to find the API server, and how to treat it.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// A kubeconfig file; without it `KUBECONFIG`, `~/.kube/config`, and then the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; its current one if absent.
    pub context: Option<String>,
    /// Name of the program, which becomes user agent and field manager, e.g. `retile-agent`.
    pub program: &'static str,
    /// Longest wait for the answer to one request.
    pub timeout: Duration,
    /// How long a busy API server is asked again; not at all by default, because programs have loops of their own.
    pub patience: Duration,
    /// Whether anything may be written at all.
    pub writes: Writes,
}

impl ConnectOptions {
    /// The usual way for a program.
    pub fn new(program: &'static str) -> Self {
        Self {
            kubeconfig: None,
            context: None,
            program,
            timeout: Duration::from_secs(10),
            patience: Duration::ZERO,
            writes: Writes::Allowed,
        }
    }
}

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {path} cannot be used: {cause}; check the path, and the file with `kubectl config view`")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// The kubeconfig has no such context.
    #[error("the kubeconfig {path} has no context `{context}`; {remedy}")]
    Context {
        /// The file.
        path: String,
        /// The context that was asked for.
        context: String,
        /// Which there are.
        remedy: String,
    },
    /// Neither kubeconfig nor service account.
    #[error("no API server is known: {0}; give --kubeconfig, or run in a pod with a service account")]
    Nowhere(kube::config::InferConfigError),
    /// No client can be made.
    #[error("no client can be made for the API server: {0}")]
    Client(kube::Error),
}

/// Makes a client; nothing is sent yet.
///
/// # Errors
/// There is no usable configuration.
pub async fn connect(options: &ConnectOptions) -> Result<Server, ConnectError> {
    let mut config = configuration(options).await?;
    // The client would repeat refused evictions for minutes; whoever asks decides when to ask again.
    config.default_retry = false;
    config.connect_timeout = Some(options.timeout);
    config.write_timeout = Some(options.timeout);
    // Watches are silent for long; each other exchange has a time limit of its own.
    config.read_timeout = None;
    let agent = format!("{}/{}", options.program, env!("CARGO_PKG_VERSION"));
    if let Ok(agent) = HeaderValue::from_str(&agent) {
        config.headers.push((USER_AGENT, agent));
    }
    let client = Client::try_from(config).map_err(ConnectError::Client)?;
    Ok(Server::new(client, options.program, options.timeout, options.writes).with_patience(options.patience))
}

async fn configuration(options: &ConnectOptions) -> Result<Config, ConnectError> {
    let ConnectOptions { kubeconfig, context, .. } = options;
    if kubeconfig.is_none() && context.is_none() {
        return Config::infer().await.map_err(ConnectError::Nowhere);
    }
    let path = kubeconfig.as_ref().map_or_else(|| "of the environment".to_owned(), |path| path.display().to_string());
    let wrong = |error: KubeconfigError| {
        let mut cause = error.to_string();
        // The path is said already.
        if let KubeconfigError::ReadConfig(source, _) = error {
            cause = source.to_string();
        }
        ConnectError::Kubeconfig { path: path.clone(), cause }
    };
    let file = kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(wrong)?;
    if let Some(context) = context
        && !file.contexts.iter().any(|known| known.name == *context)
    {
        return Err(ConnectError::Context { path, context: context.clone(), remedy: remedy(&file) });
    }
    let choice = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(file, &choice).await.map_err(wrong)
}

/// What to give instead of a context that a kubeconfig does not have.
fn remedy(file: &Kubeconfig) -> String {
    let names: Vec<String> = file.contexts.iter().map(|context| format!("`{}`", context.name)).collect();
    if names.is_empty() { "it has none: give another file".to_owned() } else { format!("it has {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: u, user: {}}]
contexts: [{name: lab, context: {cluster: c, user: u}}, {name: prod, context: {cluster: c, user: u}}]
current-context: lab
";

    async fn refused(text: Option<&str>, context: Option<&str>) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        if let Some(text) = text {
            std::fs::write(&path, text).expect("written");
        }
        let context = context.map(str::to_owned);
        let options = ConnectOptions { kubeconfig: Some(path), context, ..ConnectOptions::new("test") };
        let error = connect(&options).await.err().map(|error| error.to_string()).unwrap_or_default();
        error.replace(&folder.path().display().to_string(), "")
    }

    #[tokio::test]
    async fn an_unknown_context_names_those_that_there_are() {
        assert_eq!(refused(Some(FILE), Some("prod")).await, "");
        let said = "the kubeconfig /config has no context `dev`; it has `lab`, `prod`";
        assert_eq!(refused(Some(FILE), Some("dev")).await, said);
        assert!(refused(Some("{}"), Some("dev")).await.ends_with("it has none: give another file"));
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named_once() {
        let said = refused(None, None).await;
        assert_eq!(said.matches("/config ").count(), 1, "{said}");
        assert!(said.contains("No such file"), "{said}");
    }
}
