//! The controller: plans for the pods that wait for MIG instances, and, where the `MigPolicy` says so, carries the plans out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use retile::controller::Settings;
use retile::controller::run::{Clerk, DryRun, End, Options, Running, requests, start};
use retile::kube::live::{ConnectOptions, ControllerCluster, ControllerOptions, Writes, connect};
use retile::telemetry::{ControllerMetrics, Health, LogFormat, Page, Server, Tls, init_logs};
use tokio::signal::unix::{SignalKind, signal};

/// Exit status when another process leads: nothing is wrong, and this one starts anew as one that waits.
const LOST_LEADERSHIP: u8 = 75;
/// How long requests on their way and the lease may take when it is told to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plans MIG layouts for the pods that wait, and carries the plans out where the `MigPolicy` says so.
#[derive(Debug, Parser)]
#[command(name = "retile-controller", version)]
struct Arguments {
    /// Kubeconfig; without it `KUBECONFIG`, then the pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace of the leader's lease.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = "retile-system")]
    namespace: String,
    /// Name of this process for people, such as its pod's; what makes it unique is added.
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "retile-controller")]
    identity: String,
    /// Only reads: no request that could write leaves this process. It plans and counts as if it led, whoever does.
    #[arg(long)]
    dry_run: bool,
    /// Steps of work that one plan may take, about 1,000,000,000 in a second. The lease is renewed meanwhile; a plan of minutes counts as a loop that stands still.
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    work_limit: u64,
    /// Most operations under way at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    concurrency: u32,
    /// Seconds for which a watch may be broken before nothing is planned from it any more.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    staleness: u64,
    /// Keeps the Cluster Autoscaler and Karpenter off nodes under operation, by their annotations on the node, for as long as it has our taint.
    #[arg(long)]
    protect_nodes: bool,
    /// Address of `/metrics`.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    metrics_address: SocketAddr,
    /// Certificate of `/metrics` in PEM; read again when it is renewed.
    #[arg(long, value_name = "FILE", requires = "metrics_key")]
    metrics_certificate: Option<PathBuf>,
    /// Its key in PEM.
    #[arg(long, value_name = "FILE", requires = "metrics_certificate")]
    metrics_key: Option<PathBuf>,
    /// File with a token that whoever reads `/metrics` must send.
    #[arg(long, value_name = "FILE")]
    metrics_token_file: Option<PathBuf>,
    /// Address of `/healthz` and `/readyz`.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8081")]
    health_address: SocketAddr,
    /// How log lines are written: `text` or `json`.
    #[arg(long, env = "RETILE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: a level, or targets with levels.
    #[arg(long, env = "RETILE_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = init_logs(arguments.log_format, &arguments.log)
        .map_err(anyhow::Error::from)
        .and_then(|()| tokio::runtime::Runtime::new().context("no event loop can be made"))
        .and_then(|runtime| runtime.block_on(serve(arguments)));
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("retile-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // Signals count from here on, however long the start takes.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let unique = unique()?;
    let identity = format!("{}_{unique}", arguments.identity);
    let (metrics, book) = ControllerMetrics::new(&requests());
    let health = Health::new();
    let page = Page::Metrics { book, token: token(&arguments)? };
    let shown = Server::bind(arguments.metrics_address, [page], tls(&arguments)?).await?;
    let asked = Server::bind(arguments.health_address, [Page::Health(health.clone())], None).await?;
    tokio::spawn(shown.serve(std::future::pending()));
    tokio::spawn(asked.serve(std::future::pending()));
    tracing::info!(identity, dry_run = arguments.dry_run, version = env!("CARGO_PKG_VERSION"), "starts");
    let running = begin(&arguments, &identity, &unique, metrics, health).await?;
    let (stop, ended) = (running.stopper(), running.ended());
    tokio::pin!(ended);
    let how = tokio::select! {
        how = &mut ended => how,
        _ = terminate.recv() => wind_up(&stop, &mut ended).await,
        _ = interrupt.recv() => wind_up(&stop, &mut ended).await,
    };
    Ok(match how {
        End::Stopped => ExitCode::SUCCESS,
        End::LostLeadership => ExitCode::from(LOST_LEADERSHIP),
    })
}

/// Connects and starts.
async fn begin(
    arguments: &Arguments,
    identity: &str,
    unique: &str,
    metrics: ControllerMetrics,
    health: Health,
) -> anyhow::Result<Running> {
    let writes = if arguments.dry_run { Writes::Refused } else { Writes::Allowed };
    let server = connect(&ConnectOptions {
        kubeconfig: arguments.kubeconfig.clone(),
        context: arguments.context.clone(),
        writes,
        ..ConnectOptions::new("retile-controller")
    })
    .await?;
    let staleness = Duration::from_secs(arguments.staleness);
    let options =
        ControllerOptions { namespace: arguments.namespace.clone(), staleness, protect_nodes: arguments.protect_nodes };
    let cluster = Arc::new(ControllerCluster::start(server, options));
    let options = Options {
        settings: Settings { concurrency: arguments.concurrency, ..Settings::of(identity) },
        work_limit: arguments.work_limit,
        prefix: format!("op-{}", &unique[..12]),
        dry_run: arguments.dry_run,
    };
    if arguments.dry_run {
        return Ok(start(Arc::new(DryRun::new(cluster)), options, metrics, health, vanish)?);
    }
    let mut running = start(Arc::clone(&cluster), options, metrics.clone(), health, vanish)?;
    if let Some(cycles) = running.cycles() {
        let clerk = Clerk::new(cluster, &arguments.identity, metrics, running.approver());
        tokio::spawn(clerk.run(cycles));
    }
    Ok(running)
}

/// Ends the process at this very moment: whoever leads now must not meet a write of ours.
#[allow(clippy::disallowed_methods, reason = "destructors that write are just what must not run")]
fn vanish() {
    std::process::exit(LOST_LEADERSHIP.into());
}

async fn wind_up(stop: &impl Fn(), ended: &mut (impl Future<Output = End> + Unpin)) -> End {
    stop();
    tokio::time::timeout(PATIENCE, ended).await.unwrap_or_else(|_| {
        tracing::warn!("requests are still on their way; the lease runs out by itself");
        End::Stopped
    })
}

/// 32 hexadecimal digits that no other process has.
fn unique() -> anyhow::Result<String> {
    const SOURCE: &str = "/proc/sys/kernel/random/uuid";
    let uuid = std::fs::read_to_string(SOURCE).with_context(|| format!("{SOURCE} gives this process no name"))?;
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    anyhow::ensure!(digits.len() == 32, "{SOURCE} holds no UUID");
    Ok(digits)
}

fn tls(arguments: &Arguments) -> anyhow::Result<Option<Tls>> {
    let pair = arguments.metrics_certificate.clone().zip(arguments.metrics_key.clone());
    Ok(pair.map(|(certificate, key)| Tls::open(certificate, key)).transpose()?)
}

fn token(arguments: &Arguments) -> anyhow::Result<Option<String>> {
    let Some(path) = &arguments.metrics_token_file else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| format!("--metrics-token-file {}", path.display()))?;
    let token = text.trim().to_owned();
    anyhow::ensure!(!token.is_empty(), "--metrics-token-file {}: it is empty", path.display());
    Ok(Some(token))
}
