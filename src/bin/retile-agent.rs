//! The agent of a node: reports its GPUs, and carries out the operations that its `MigNode` asks for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, ValueEnum};
use retile::agent::run::{Driven, Ended, Notes, run};
use retile::exec::Timing;
use retile::host::inventory::{self, Kubelet};
use retile::host::{BOOT_ID, DeviceSettings, Host, HostSettings, Switch};
use retile::kube::live::{AgentCluster, ConnectOptions, connect};
use retile::nvml::{Driver, DriverError, WATCHDOG, find_library};
use retile::telemetry::{AgentMetrics, Health, LogFormat, Page, Server, init_logs};
use tokio::signal::unix::{SignalKind, signal};

/// Exit status that asks to be started anew at once: everything is as it should be, only this process is too old.
const START_ANEW: u8 = 75;

/// Reports the MIG instances of this node's GPUs, and changes them when its `MigNode` says so.
#[derive(Debug, Parser)]
#[command(name = "retile-agent", version)]
struct Arguments {
    /// Name of the node, as the kubelet registered it.
    #[arg(long, env = "NODE_NAME", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    node: String,
    /// Prints what is on this node's GPUs and ends; needs no API server and writes nothing. `retile inventory` shows the same for people.
    #[arg(long)]
    once: bool,
    /// Form of what `--once` prints.
    #[arg(short, long, value_name = "FORMAT", default_value = "mignode", requires = "once")]
    output: Form,
    /// Kubeconfig; without it `KUBECONFIG`, then the pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The driver's library; by default the one below the driver's root.
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Root folder of the driver's installation as this process sees it, such as `/run/nvidia/driver`.
    #[arg(long, value_name = "FOLDER", default_value = "/", conflicts_with = "library")]
    driver_root: PathBuf,
    /// Seconds that one call of the driver may take before the driver counts as hung.
    #[arg(long, value_name = "SECONDS", default_value_t = WATCHDOG.as_secs(), value_parser = clap::value_parser!(u64).range(1..=600))]
    driver_timeout: u64,
    /// The kubelet's pod-resources socket.
    #[arg(long, value_name = "SOCKET", default_value = retile::podresources::SOCKET)]
    kubelet: PathBuf,
    /// Folder of the agent's files, on a local disk that outlives the agent.
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/retile")]
    state_dir: PathBuf,
    /// Address of `/metrics`.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9413")]
    metrics_address: SocketAddr,
    /// Address of `/healthz` and `/readyz`.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8413")]
    health_address: SocketAddr,
    /// How log lines are written: `text` or `json`.
    #[arg(long, env = "RETILE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: a level, or targets with levels.
    #[arg(long, env = "RETILE_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    #[command(flatten)]
    devices: Devices,
}

/// What makes device nodes after instances have changed, before containers may use them.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Device nodes")]
struct Devices {
    /// Capability nodes of the instances, by `nvidia-smi -L`.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    capability_nodes: When,
    /// Control nodes, by `nvidia-ctk system create-device-nodes --control-devices`.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    control_nodes: When,
    /// The CDI specification of the management devices, by `nvidia-ctk cdi generate`.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    cdi: When,
    /// Root folder in which the programs are run and in which their paths are meant; the host's root where it is mounted.
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    tools_root: PathBuf,
    /// `nvidia-smi`, an absolute path.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/nvidia-smi")]
    nvidia_smi: PathBuf,
    /// `nvidia-ctk`, an absolute path.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/nvidia-ctk")]
    nvidia_ctk: PathBuf,
    /// The specification's file.
    #[arg(long, value_name = "FILE", default_value = "/var/run/cdi/management.nvidia.com-gpu.yaml")]
    cdi_spec: PathBuf,
    /// One more argument for `nvidia-ctk cdi generate`, such as `--driver-root=/run/nvidia/driver`; may be given several times.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    cdi_argument: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// For programs.
    Json,
    /// A `MigNode` object in YAML; `retile plan` reads it beside the node's object.
    Mignode,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum When {
    /// If the program is there, and for CDI the specification too.
    Auto,
    /// Always; a missing program is an error.
    On,
    /// Never: something else on the host does it.
    Off,
}

impl From<When> for Switch {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::On => Self::On,
            When::Off => Self::Off,
        }
    }
}

impl From<Devices> for DeviceSettings {
    fn from(devices: Devices) -> Self {
        let Devices {
            capability_nodes,
            control_nodes,
            cdi,
            tools_root,
            nvidia_smi,
            nvidia_ctk,
            cdi_spec,
            cdi_argument,
        } = devices;
        Self {
            root: tools_root,
            smi: nvidia_smi,
            ctk: nvidia_ctk,
            cdi_spec,
            cdi_arguments: cdi_argument,
            capabilities: capability_nodes.into(),
            control: control_nodes.into(),
            cdi: cdi.into(),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = init_logs(arguments.log_format, &arguments.log)
        .map_err(anyhow::Error::from)
        .and_then(|()| tokio::runtime::Runtime::new().context("no event loop can be made"))
        .and_then(|runtime| runtime.block_on(begin(arguments)));
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("retile-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn begin(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let library = match &arguments.library {
        Some(path) => std::path::absolute(path).with_context(|| format!("--library {}", path.display()))?,
        None => find_library(&arguments.driver_root).map_err(|error| told(&error))?,
    };
    let watchdog = Duration::from_secs(arguments.driver_timeout);
    if arguments.once {
        print!("{}", once(&arguments, &library, watchdog).await?);
        return Ok(ExitCode::SUCCESS);
    }
    serve(arguments, library, watchdog).await
}

/// What is wrong with the driver, and what to do.
fn told(error: &DriverError) -> anyhow::Error {
    anyhow::anyhow!("{error}; {}", error.remedy())
}

/// What is on this node's GPUs.
async fn once(arguments: &Arguments, library: &Path, watchdog: Duration) -> anyhow::Result<String> {
    let kubelet = Kubelet::ask(&arguments.kubelet).await;
    let library = library.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let driver = Driver::start(&library, watchdog)?;
        inventory::read(&driver, &kubelet)
    });
    let (report, _) = read.await?.map_err(|error| told(&error))?;
    Ok(match arguments.output {
        Form::Json => serde_json::to_string_pretty(&report)? + "\n",
        Form::Mignode => serde_saphyr::to_string(&report.mig_node(&arguments.node))?,
    })
}

async fn serve(arguments: Arguments, library: PathBuf, watchdog: Duration) -> anyhow::Result<ExitCode> {
    let Arguments { node, kubeconfig, kubelet, state_dir, metrics_address, health_address, devices, .. } = arguments;
    // Signals count from here on, however long the start takes.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let settings =
        HostSettings { library, watchdog, kubelet, state: state_dir, boot_id: BOOT_ID.into(), devices: devices.into() };
    let host = tokio::task::spawn_blocking(move || Host::start(settings)).await??;
    for plan in host.device_plan() {
        let command = plan.command.join(" ");
        tracing::info!(step = plan.step, command, left_out = plan.left_out.as_deref(), "device nodes");
    }
    let server = connect(&ConnectOptions { kubeconfig, ..ConnectOptions::new("retile-agent") }).await?;
    let cluster = AgentCluster::start(server, &node);
    let (metrics, book) = AgentMetrics::new();
    let health = Health::new();
    let timing = Timing::default();
    let mut notes = Notes::new(health.clone(), metrics, &timing);
    let shown = Server::bind(metrics_address, [Page::Metrics { book, token: None }], None).await?;
    let asked = Server::bind(health_address, [Page::Health(health)], None).await?;
    tracing::info!(node, library = %host.library().display(), version = env!("CARGO_PKG_VERSION"), "starts");
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to stop: finishes what it has begun"),
            _ = interrupt.recv() => tracing::info!("interrupted: finishes what it has begun"),
        }
    };
    let driven = Driven { cluster: &cluster, node: &host, notes: &mut notes };
    let ended = tokio::select! {
        ended = run(&node, timing, driven, stop) => ended,
        () = shown.serve(std::future::pending()) => anyhow::bail!("metrics are not served any more"),
        () = asked.serve(std::future::pending()) => anyhow::bail!("health is not served any more"),
    };
    Ok(match ended {
        Ended::Stopped => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Ended::Restart(why) => {
            tracing::warn!(why, "must be started anew");
            ExitCode::from(START_ANEW)
        }
    })
}
