//! Finds the API server: the kubeconfig that is given, else the one of the environment, else the service account of the pod.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
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
    /// Whether anything may be written at all.
    pub writes: Writes,
}

impl ConnectOptions {
    /// The usual way for a program.
    pub fn new(program: &'static str) -> Self {
        Self { kubeconfig: None, context: None, program, timeout: Duration::from_secs(10), writes: Writes::Allowed }
    }
}

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read.
    #[error("the kubeconfig {path} cannot be used: {cause}; check the path, the context and the file")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong; a part of the message, and therefore no source of it.
        cause: kube::config::KubeconfigError,
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
    Ok(Server::new(client, options.program, options.timeout, options.writes))
}

async fn configuration(options: &ConnectOptions) -> Result<Config, ConnectError> {
    let choice = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &options.kubeconfig {
        let wrong = |cause| ConnectError::Kubeconfig { path: path.display().to_string(), cause };
        let file = Kubeconfig::read_from(path).map_err(wrong)?;
        return Config::from_custom_kubeconfig(file, &choice).await.map_err(wrong);
    }
    if options.context.is_some() {
        let wrong = |cause| ConnectError::Kubeconfig { path: "of the environment".to_owned(), cause };
        return Config::from_kubeconfig(&choice).await.map_err(wrong);
    }
    Config::infer().await.map_err(ConnectError::Nowhere)
}
