//! Arguments of the verbs that talk to a cluster.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::args::AnswerFormat;

/// Which cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClusterArgs {
    /// Kubeconfig; without it `KUBECONFIG`, `~/.kube/config`, then the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one by default.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// An installation of retile.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct InstallationArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Namespace of the controller.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "retile-system")]
    pub namespace: String,
}

/// Whether the cluster itself is read instead of an export, and which.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LiveArgs {
    /// Reads the cluster itself, afresh, instead of an export; changes nothing.
    #[arg(long)]
    pub live: bool,
    /// Kubeconfig for `--live`; without it `KUBECONFIG`, `~/.kube/config`, then the pod's service account.
    #[arg(long, value_name = "FILE", requires = "live", conflicts_with = "file")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig for `--live`; its current one by default.
    #[arg(long, value_name = "NAME", requires = "live", conflicts_with = "file")]
    pub context: Option<String>,
}

impl LiveArgs {
    /// The cluster, where it is to be read.
    pub(crate) fn cluster(&self) -> Option<ClusterArgs> {
        let Self { live, kubeconfig, context } = self.clone();
        live.then_some(ClusterArgs { kubeconfig, context })
    }
}

/// Arguments of `snapshot`.
#[derive(Debug, clap::Args)]
pub struct SnapshotArgs {
    /// Strips this export instead of reading a cluster, JSON or YAML; `-` reads standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    pub file: Option<PathBuf>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// File to write, whole or not at all; `-` is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Which installation.
    #[command(flatten)]
    pub installation: InstallationArgs,
    /// Form of the status.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: AnswerFormat,
}

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// Plan as `plan --live --save` or `plan --live -o json` wrote it; `-` reads standard input.
    pub plan: PathBuf,
    /// Which installation.
    #[command(flatten)]
    pub installation: InstallationArgs,
    /// Submits without asking; needed where nobody can be asked.
    #[arg(short, long)]
    pub yes: bool,
    /// Has the API server check the request without keeping it.
    #[arg(long, value_name = "WHERE")]
    pub dry_run: Option<DryRun>,
    /// Follows the plan until it is carried out or put aside.
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Seconds that `--wait` waits at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "wait", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

/// Where a dry run takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// In the API server: rights, admission and schema are checked, and nothing is kept.
    Server,
}

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Which installation.
    #[command(flatten)]
    pub installation: InstallationArgs,
    /// Form of the answer.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: AnswerFormat,
}

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Which installation.
    #[command(flatten)]
    pub installation: InstallationArgs,
    /// Shows one picture and ends; what it does anyway where standard output is no terminal.
    #[arg(long)]
    pub once: bool,
    /// Seconds from one look to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
}
