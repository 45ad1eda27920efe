//! Arguments of `simulate`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::cases::MOST_PER_NODE;
use crate::cli::args::{AnswerFormat, Disruption};
use crate::sim::Kind;
use crate::sim::replay::baselines::{Mechanism, Rule};
use crate::sim::replay::generate::Mix;
use crate::sim::replay::openb::Mapping;
use crate::sim::replay::trace::kind_named;

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub u64);

/// A length of time, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub Option<u64>);

/// A length of time in milliseconds, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soonest(pub Option<u64>);

/// How often each kind of pod is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds(pub Vec<(Kind, u32)>);

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct SimulateArgs {
    /// Trace to replay: retile's JSON lines, or the openb list of pods as CSV; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mix", "load", "arrivals", "durations", "mean_duration", "kinds"])]
    pub trace: Option<PathBuf>,
    /// How fractions of GPUs in an openb trace become profiles; side by side unless one is named.
    #[arg(long, value_name = "MAPPING", value_enum, default_value = "all", requires = "trace")]
    pub mapping: MappingChoice,
    /// From when to when a pod of an openb trace is said to have run: from its scheduling or from its creation to its deletion.
    #[arg(long, value_name = "FROM", value_enum, default_value = "scheduled", requires = "trace")]
    pub residence: ResidenceChoice,
    /// Part of the trace to leave out at its start, such as `115d`.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "0s", requires = "trace")]
    pub skip: Span,
    /// Mixes of profiles to generate.
    #[arg(long, value_name = "MIX", value_enum, value_delimiter = ',', default_value = "skew-small")]
    pub mix: Vec<MixChoice>,
    /// Loads to generate, as parts of the fleet that would be held if nothing ever waited.
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = load, default_value = "0.9")]
    pub load: Vec<f64>,
    /// Time in which work arrives, in hours: 48 of a generated workload, all of a trace.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub hours: Option<u64>,
    /// Arrivals at the same rate at all times, or swinging over the day by 60 % of their mean.
    #[arg(long, value_name = "KIND", value_enum, default_value = "steady")]
    pub arrivals: ArrivalsChoice,
    /// Distribution of running times.
    #[arg(long, value_name = "KIND", value_enum, default_value = "exponential")]
    pub durations: DurationsChoice,
    /// Mean running time.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "1h")]
    pub mean_duration: Span,
    /// How long work waits in all before it goes elsewhere, or `none` for ever; a trace of our own form has its own.
    #[arg(long, value_name = "TIME", value_parser = patience, default_value = "2h")]
    pub patience: Patience,
    /// Relative frequency of the kinds of pods.
    #[arg(long, value_name = "KIND=N,…", value_parser = kinds, default_value = "service=6,stateful=1,job=3")]
    pub kinds: Kinds,
    /// GPUs and their model.
    #[arg(long, value_name = "NxMODEL", default_value = "8xA100-80GB")]
    pub gpus: String,
    /// GPUs of one node.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_PER_NODE)), default_value = "4")]
    pub gpus_per_node: u32,
    /// Who proposes changes; several are compared.
    #[arg(
        long,
        value_name = "NAME",
        value_enum,
        value_delimiter = ',',
        default_value = "static,retile",
        conflicts_with = "compare"
    )]
    pub planner: Vec<RuleChoice>,
    /// Compares retile with every baseline.
    #[arg(long)]
    pub compare: bool,
    /// Compares retile with itself without each of the mechanisms that keep layouts steady, and without all of them.
    #[arg(long, conflicts_with_all = ["compare", "planner"])]
    pub ablate: bool,
    /// Seeds to replay; the table shows their mean and spread.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000), default_value = "1")]
    pub seeds: u64,
    /// Time between two plans.
    #[arg(long, value_name = "TIME", value_parser = period, default_value = "5m")]
    pub period: Span,
    /// How soon after a plan the next one may come when new demand has settled; `none` to keep to the period, under any planner.
    #[arg(long, value_name = "TIME", value_parser = soonest, default_value = "none")]
    pub soonest: Soonest,
    /// Which running pods retile may move; overrides the policy.
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub disruption: Option<Disruption>,
    /// `MigPolicy` that retile works under; without one that of a new installation, at `balanced` and without budgets.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Steps of work after which the planner stops; the same number gives the same plan anywhere.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub work_limit: Option<u64>,
    /// Replays in a cluster in which changes, starts and ends take no time: the bound of what planning alone could do.
    #[arg(long)]
    pub instant: bool,
    /// Also finds by bisection how many GPUs each planner needs to be as good as the first: no more waiting, no more work elsewhere.
    #[arg(long)]
    pub needed: bool,
    /// Price of a GPU-hour elsewhere, to show what the work that goes there costs.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub price: Option<f64>,
    /// Replays at a time; by default as many as there are processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub threads: Option<u64>,
    /// Form of the table on standard output.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: AnswerFormat,
    /// Also writes a page with plots: one HTML file that needs neither network nor scripts.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Mappings of an openb trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MappingChoice {
    /// All, side by side.
    All,
    /// Share of compute slices.
    M1,
    /// Share of compute and of memory slices.
    M2,
    /// Memory of a donor GPU with 16 GiB.
    M3,
    /// Memory of a donor GPU with 32 GiB.
    M4,
}

impl MappingChoice {
    /// The mappings that are meant.
    pub fn mappings(self) -> Vec<Mapping> {
        match self {
            Self::All => Mapping::ALL.to_vec(),
            Self::M1 => vec![Mapping::Compute],
            Self::M2 => vec![Mapping::Both],
            Self::M3 => vec![Mapping::Donor16],
            Self::M4 => vec![Mapping::Donor32],
        }
    }
}

/// Begin of a pod's running time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ResidenceChoice {
    /// Its scheduling.
    Scheduled,
    /// Its creation.
    Created,
}

/// Mixes of profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MixChoice {
    /// Mostly small instances.
    SkewSmall,
    /// All instances alike.
    Uniform,
    /// Small ones and whole GPUs.
    Bimodal,
}

impl From<MixChoice> for Mix {
    fn from(choice: MixChoice) -> Self {
        match choice {
            MixChoice::SkewSmall => Self::SkewSmall,
            MixChoice::Uniform => Self::Uniform,
            MixChoice::Bimodal => Self::Bimodal,
        }
    }
}

/// Rates of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsChoice {
    /// The same at all times.
    Steady,
    /// Swinging over the day.
    Diurnal,
}

/// Distributions of running times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DurationsChoice {
    /// Exponential.
    Exponential,
    /// Log-normal with a standard deviation of the logarithm of 1.5: a heavy tail.
    Lognormal,
}

/// Who proposes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuleChoice {
    /// Layouts cut once for the mean demand of each profile.
    Static,
    /// The best fixed layouts with the whole trace known.
    StaticHindsight,
    /// Pods in order of arrival to the first place.
    FirstFit,
    /// Pods in order of arrival to the fullest GPU.
    BestFit,
    /// The largest pods first, to the first place.
    FirstFitDecreasing,
    /// Pods in order of arrival to the place that fragments least.
    Fragmentation,
    /// After nebuly-ai/nos.
    NosLike,
    /// retile.
    Retile,
    /// retile, for which demand counts at once.
    RetileNoWaiting,
    /// retile without rest for GPUs.
    RetileNoRest,
    /// retile, for which any gain is worth any moves.
    RetileNoGainFactor,
    /// retile, which moves pods as often as it likes.
    RetileNoMoveCap,
    /// retile without a forecast.
    RetileNoForecast,
    /// retile without any of these.
    RetileBare,
    /// Everything packed anew whenever that serves more; a yardstick.
    FullRepack,
}

impl From<RuleChoice> for Rule {
    fn from(choice: RuleChoice) -> Self {
        match choice {
            RuleChoice::Static => Self::Static,
            RuleChoice::StaticHindsight => Self::Hindsight,
            RuleChoice::FirstFit => Self::FirstFit,
            RuleChoice::BestFit => Self::BestFit,
            RuleChoice::FirstFitDecreasing => Self::Decreasing,
            RuleChoice::Fragmentation => Self::Fragmentation,
            RuleChoice::NosLike => Self::Nos,
            RuleChoice::Retile => Self::Retile,
            RuleChoice::RetileNoWaiting => Self::Without(Mechanism::Waiting),
            RuleChoice::RetileNoRest => Self::Without(Mechanism::Rest),
            RuleChoice::RetileNoGainFactor => Self::Without(Mechanism::GainFactor),
            RuleChoice::RetileNoMoveCap => Self::Without(Mechanism::MoveCap),
            RuleChoice::RetileNoForecast => Self::Without(Mechanism::Forecast),
            RuleChoice::RetileBare => Self::Bare,
            RuleChoice::FullRepack => Self::Repack,
        }
    }
}

/// Reads a time such as `90s`, `5m`, `2h` or `115d`.
fn span(text: &str) -> Result<Span, String> {
    let wrong = || format!("`{text}` is no time; write a whole number and a unit, such as 90s, 5m, 2h or 115d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let each: u64 = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    number.checked_mul(each).filter(|&time| time <= 1 << 45).map(Span).ok_or_else(wrong)
}

fn period(text: &str) -> Result<Span, String> {
    span(text).and_then(
        |Span(time)| if time > 0 { Ok(Span(time)) } else { Err("the period must be longer than no time".into()) },
    )
}

fn patience(text: &str) -> Result<Patience, String> {
    if text == "none" { Ok(Patience(None)) } else { span(text).map(|Span(time)| Patience(Some(time))) }
}

fn soonest(text: &str) -> Result<Soonest, String> {
    match (text, span(text)) {
        ("none", _) => Ok(Soonest(None)),
        (_, Ok(Span(0))) => Err("it must be longer than no time; write `none` to keep to the period".into()),
        (_, other) => other.map(|Span(time)| Soonest(Some(time))),
    }
}

fn load(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|load: &f64| *load > 0.0 && *load <= 10.0);
    number.ok_or_else(|| format!("`{text}` is no load; write a part of the fleet above 0 and up to 10, such as 0.9"))
}

fn price(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|price: &f64| *price >= 0.0 && *price <= 1e6);
    number.ok_or_else(|| format!("`{text}` is no price; write an amount per GPU-hour, such as 3.50"))
}

fn kinds(text: &str) -> Result<Kinds, String> {
    let help = "write kinds and frequencies such as service=6,job=4; the kinds are service, stateful, job and bare";
    let one = |part: &str| {
        let (name, number) = part.split_once('=')?;
        Some((kind_named(name.trim())?, number.trim().parse::<u32>().ok().filter(|number| *number <= 1_000_000)?))
    };
    let kinds: Option<Vec<(Kind, u32)>> = text.split(',').map(one).collect();
    let kinds = kinds.filter(|kinds| kinds.iter().any(|(_, number)| *number > 0));
    kinds.map(Kinds).ok_or_else(|| format!("`{text}` does not say how frequent which kind is; {help}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(span("90s"), Ok(Span(90_000)));
        assert_eq!(span("115d"), Ok(Span(115 * 86_400_000)));
        for wrong in ["", "5", "m", "-5m", "1.5h", "5µ", "99999999999999d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        assert!(period("0s").is_err());
        assert_eq!(patience("none"), Ok(Patience(None)));
        assert_eq!((soonest("none"), soonest("30s")), (Ok(Soonest(None)), Ok(Soonest(Some(30_000)))));
        assert!(soonest("0s").is_err());
    }

    #[test]
    fn loads_prices_and_kinds_are_checked() {
        assert!(load("0.9").is_ok() && load("0").is_err() && load("NaN").is_err() && load("11").is_err());
        assert!(price("3.5").is_ok() && price("-1").is_err());
        assert_eq!(kinds("service=6, bare=0"), Ok(Kinds(vec![(Kind::Service, 6), (Kind::Bare, 0)])));
        assert!(kinds("cron=1").is_err() && kinds("service=0").is_err() && kinds("service").is_err());
    }
}
