//! The command line, as clap reads it. The reference page `docs/reference/cli.md` is generated from these definitions.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use super::live::args::{ApplyArgs, ClusterArgs, DoctorArgs, DryRun, LiveArgs, SnapshotArgs, StatusArgs, TopArgs};
pub use super::simulate::args::{
    ArrivalsChoice, DurationsChoice, Kinds, MappingChoice, MixChoice, Patience, ResidenceChoice, RuleChoice,
    SimulateArgs, Span,
};
use crate::model::DisruptionLevel;
use crate::planner::WorkLimit;

/// Fits the MIG partitions of a Kubernetes cluster to the pods that are waiting.
///
/// Plans from a cluster export (`kubectl get nodes,pods,pdb,priorityclasses -A -o json`, or `retile snapshot`), or with `--live` from the cluster
/// itself.
#[derive(Debug, Parser)]
#[command(name = "retile", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Says which GPUs to change, which pods move, and which waiting pods are served.
    ///
    /// The plan is proven optimal, or its gap is stated, and it is checked by independent code before it is printed.
    Plan(PlanArgs),
    /// Says why a pod or a GPU is treated as it is, and what would change it.
    Explain(ExplainArgs),
    /// Says how many empty GPUs of a model hold a number of instances, exactly.
    Fit(FitArgs),
    /// Draws the layouts that a GPU model can be cut into.
    Layouts(LayoutsArgs),
    /// Replays a trace, or generated work, against retile and the rules that others use.
    ///
    /// Shows what each serves, how long pods wait, what goes elsewhere, and what that costs in reconfigurations and moves.
    Simulate(Box<SimulateArgs>),
    /// Shows retile keep eight simulated A100s fitted to arriving pods: no cluster, no GPU, no network.
    ///
    /// The controller's loop and the operation protocol are the real ones; only the cluster around them is simulated. Ends with a chart and
    /// the GPUs not bought. The same seed gives the same story.
    Demo(DemoArgs),
    /// Says how many GPUs need not be bought, for how long, and what that is worth, from a history.
    Savings(SavingsArgs),
    /// Checks a saved plan against a cluster export, without the planner's code.
    Verify(VerifyArgs),
    /// Hands a saved plan to the controller, approved, after checking it against the cluster as it is now.
    ///
    /// Refused when the world has moved since the plan was made, when the policy does not let plans be approved (its mode must be `Recommend`), or
    /// while it is paused; then nothing is written. Made with `retile plan --live --save FILE`.
    Apply(ApplyArgs),
    /// Writes what planning reads of a cluster, and nothing else, as an export that can be given away.
    ///
    /// Only reads. Left out are environments, commands, images, names of secrets and claims, foreign annotations, managed fields, messages, prices;
    /// labels and names stay. The plan of a snapshot is the plan of the full export.
    Snapshot(SnapshotArgs),
    /// Shows nodes with MIG GPUs, operations under way, plans, the policy, who leads, and who waits.
    Status(StatusArgs),
    /// Watches a cluster live: GPUs as bars, operations, and who waits.
    Top(TopArgs),
    /// Examines a cluster before or after installing retile: API server, custom resources, controller, agents, nodes, rights, other owners of GPUs.
    ///
    /// Only reads. Exits with 1 when something does not work; each finding says what to do.
    Doctor(DoctorArgs),
    /// Shows this machine's GPUs: what they are cut into, who holds what, and where a board differs from the catalogue.
    ///
    /// Reads the NVIDIA driver and the kubelet's pod-resources socket and changes nothing. Works with MIG on or off; reading GPU
    /// instances needs root or `CAP_SYS_ADMIN`.
    #[cfg(feature = "node")]
    Inventory(InventoryArgs),
    /// Prints the definitions of the custom resources, to be applied before anything else is installed.
    ///
    /// `retile crds | kubectl apply --server-side -f -`
    Crds,
    /// Prints a completion script for a shell.
    Completions {
        /// Shell to complete for.
        shell: clap_complete::Shell,
    },
}

/// Where the cluster comes from, and under which wishes it is planned.
#[derive(Debug, Clone, clap::Args)]
pub struct SourceArgs {
    /// Cluster export, JSON or YAML; `-` or nothing reads standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE", default_value = "-", conflicts_with = "live")]
    pub file: PathBuf,
    /// The cluster itself.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Which running pods may be moved; overrides the policy, and `idle-only` where there is none.
    #[arg(long, value_name = "LEVEL")]
    pub disruption: Option<Disruption>,
    /// `MigPolicy` to plan under, JSON or YAML; wins over one in the export.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The moment that the export describes, such as `2026-11-21T10:00:00Z`; its newest timestamp by default, and with `--live` the present.
    #[arg(long, value_name = "TIME")]
    pub now: Option<jiff::Timestamp>,
}

/// How long the planner may search.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct SearchArgs {
    /// Steps of work after which the planner stops and states its gap; the same number gives the same plan anywhere.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub work_limit: Option<u64>,
}

impl SearchArgs {
    /// The work that is allowed.
    pub(crate) fn limit(self) -> WorkLimit {
        self.work_limit.map_or_else(WorkLimit::default, WorkLimit::new)
    }
}

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Cluster and wishes.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How long the planner may search.
    #[command(flatten)]
    pub search: SearchArgs,
    /// Form of the plan on standard output.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: PlanFormat,
    /// Also writes the plan as JSON to a file, for review and for `verify`.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Exits with 2 when the plan changes something, 0 when it is proven that there is nothing to do, 3 when nothing was found and that is not proven.
    #[arg(long)]
    pub exit_code: bool,
}

/// Forms of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people: bars of slots before and after.
    Text,
    /// For programs: the published contract.
    Json,
    /// The same as JSON, in YAML.
    Yaml,
    /// A picture.
    Svg,
}

/// Forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Which running pods a plan may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Disruption {
    /// None: only free instances are destroyed.
    IdleOnly,
    /// Pods whose controller makes them again, each with a new place in the same plan.
    Balanced,
    /// Also Jobs and pods with local data; a pod may give way to one of higher priority.
    Aggressive,
}

impl From<Disruption> for DisruptionLevel {
    fn from(level: Disruption) -> Self {
        match level {
            Disruption::IdleOnly => Self::IdleOnly,
            Disruption::Balanced => Self::Balanced,
            Disruption::Aggressive => Self::Aggressive,
        }
    }
}

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// What to explain.
    #[command(subcommand)]
    pub what: ExplainWhat,
}

/// What `explain` explains.
#[derive(Debug, Subcommand)]
pub enum ExplainWhat {
    /// Why a pod waits, what would serve it, or what the plan does with it.
    Pod {
        /// Pod as `NAMESPACE/NAME`; a name alone means the namespace `default`.
        #[arg(value_name = "NAMESPACE/NAME")]
        pod: String,
        /// Cluster and wishes.
        #[command(flatten)]
        source: SourceArgs,
        /// How long the planner may search.
        #[command(flatten)]
        search: SearchArgs,
    },
    /// What a GPU holds, what the plan does with it, and what keeps it from more.
    Gpu {
        /// GPU as `NODE/INDEX`, numbered as `nvidia-smi` does.
        #[arg(value_name = "NODE/INDEX")]
        gpu: String,
        /// Cluster and wishes.
        #[command(flatten)]
        source: SourceArgs,
        /// How long the planner may search.
        #[command(flatten)]
        search: SearchArgs,
    },
}

/// Arguments of `fit`.
#[derive(Debug, clap::Args)]
pub struct FitArgs {
    /// GPU model, such as `a100-80gb`, or a product name as the driver reports it.
    #[arg(long, value_name = "MODEL")]
    pub gpu: String,
    /// Instances, such as `1g.10gb=9 3g.40gb=2`; a profile alone means one.
    #[arg(value_name = "PROFILE=COUNT", required = true)]
    pub instances: Vec<String>,
    /// Form of the answer.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: AnswerFormat,
}

/// Arguments of `layouts`.
#[derive(Debug, clap::Args)]
pub struct LayoutsArgs {
    /// GPU model, such as `h100-80gb`, or a product name as the driver reports it.
    #[arg(long, value_name = "MODEL")]
    pub gpu: String,
    /// Only layouts with at least one instance of this profile.
    #[arg(long, value_name = "PROFILE")]
    pub containing: Option<String>,
    /// Every legal state, also those with room for more; by default only those with none left.
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Plan as `plan --save` or `plan -o json` wrote it.
    pub plan: PathBuf,
    /// Cluster and wishes that the plan was made for.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Which story; the same number gives the same one.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
    /// Virtual seconds per second on the clock, or `max` for no pauses; by default so that it ends in under a minute.
    #[arg(long, value_name = "SPEED")]
    pub speed: Option<Speed>,
    /// How many hours of the cluster are told.
    #[arg(long, value_name = "HOURS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=168))]
    pub hours: u64,
    /// Also writes the story as a savings history, for `retile savings -f`.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
}

/// How fast virtual time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// So many virtual seconds per second.
    Times(u32),
    /// As fast as it goes.
    Max,
}

impl std::str::FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.parse().ok().filter(|&times| (1..=1_000_000).contains(&times));
        times.map(Self::Times).ok_or("write virtual seconds per second from 1 to 1000000, such as 600, or `max`")
    }
}

/// Arguments of `savings`.
#[derive(Debug, clap::Args)]
pub struct SavingsArgs {
    /// Savings history, JSON lines; `-` or nothing reads standard input.
    #[arg(short = 'f', long = "file", value_name = "HISTORY", default_value = "-")]
    pub file: PathBuf,
    /// Prices per GPU model, JSON or YAML; without them GPUs and hours are told, and no money.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Form of the report.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: AnswerFormat,
}

/// Arguments of `inventory`.
#[cfg(feature = "node")]
#[derive(Debug, clap::Args)]
pub struct InventoryArgs {
    /// The driver's library; by default the one below the driver's root.
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
    /// Root folder of the driver's installation, such as `/run/nvidia/driver` for one in a container.
    #[arg(long, value_name = "FOLDER", default_value = "/", conflicts_with = "library")]
    pub driver_root: PathBuf,
    /// The kubelet's pod-resources socket.
    #[arg(long, value_name = "SOCKET", default_value = crate::podresources::SOCKET)]
    pub kubelet: PathBuf,
    /// Leaves the kubelet out, on a machine that is no Kubernetes node: then only processes tell what is held.
    #[arg(long, conflicts_with = "kubelet")]
    pub no_kubelet: bool,
    /// Name of the node in a `MigNode`; the machine's by default.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Form of the inventory.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: InventoryFormat,
}

/// Forms of an inventory.
#[cfg(feature = "node")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InventoryFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A `MigNode` object in YAML; `plan` reads it beside the node's object.
    Mignode,
}
