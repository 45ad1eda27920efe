//! Reads a `MigPolicy`: what the operator allows.
//!
//! Strict where the rest of this module is lenient: a policy that is half understood would allow what its author forbade.
//! Unknown fields, values out of range and duplicate keys are errors that name line and key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, Visitor};

use super::scope::Scope;
use super::stream::yaml_error;
use super::time::parse_span;
use super::window::Window;
use crate::model::{Budgets, Clients, DisruptionLevel, GainFactor, Limit, Mode, MoveCost, Policy, Stability, Weight};

/// Largest policy that is read.
const MAX_BYTES: usize = 1 << 20;

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .place.as_ref().map(|(line, column)| format!("line {line}, column {column}: ")).unwrap_or_default())]
pub struct PolicyError {
    /// Line and column, from 1, where there is a place.
    pub place: Option<(usize, usize)>,
    /// What is wrong, with the key, and what is allowed.
    pub message: String,
}

impl PolicyError {
    fn whole(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyObject {
    api_version: String,
    kind: String,
    #[serde(default)]
    #[expect(dead_code, reason = "metadata may stand there and is not read")]
    metadata: IgnoredAny,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    #[expect(dead_code, reason = "a status may stand there and is not read")]
    status: IgnoredAny,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    mode: ModeName,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    interval: Option<Checked<Span>>,
    #[serde(default)]
    objective: ObjectiveSpec,
    #[serde(default)]
    disruption: DisruptionSpec,
    #[serde(default)]
    budgets: BudgetsSpec,
    #[serde(default)]
    stability: StabilitySpec,
    #[serde(default)]
    clients: ClientsName,
    #[serde(default)]
    windows: Vec<WindowSpec>,
    #[serde(default)]
    node_selector: Option<SelectorSpec>,
    #[serde(default)]
    pod_selector: Option<SelectorSpec>,
    #[serde(default)]
    protected_namespaces: BTreeSet<String>,
    /// Prices are for the accounting, which reads them itself.
    #[serde(default)]
    prices: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SelectorSpec {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WindowFields {
    #[serde(default)]
    days: Vec<String>,
    start: String,
    duration: Checked<Span>,
    #[serde(default)]
    zone: Option<String>,
}

struct WindowSpec(Window);

impl<'de> Deserialize<'de> for WindowSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WindowFields { days, start, duration: Checked(Span(seconds)), zone } =
            WindowFields::deserialize(deserializer)?;
        Window::new(&days, &start, seconds, zone.as_deref()).map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize, Default)]
enum ModeName {
    #[default]
    Observe,
    Recommend,
    Act,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum ClientsName {
    #[default]
    Restart,
    OperatorPause,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ObjectiveSpec {
    #[serde(default)]
    weight: WeightName,
}

#[derive(Deserialize, Default)]
enum WeightName {
    #[default]
    Slices,
    Pods,
}

#[derive(Deserialize, Default)]
enum LevelName {
    #[default]
    IdleOnly,
    Balanced,
    Aggressive,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DisruptionSpec {
    #[serde(default)]
    level: LevelName,
    #[serde(default)]
    gain_factor: Option<Checked<GainFactor>>,
    #[serde(default)]
    move_cost: Option<MoveCostSpec>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MoveCostSpec {
    #[serde(default)]
    per_running_hour: Option<Checked<PerHour>>,
    #[serde(default)]
    per_job_hour: Option<Checked<PerHour>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BudgetsSpec {
    #[serde(default)]
    nodes: Option<Checked<Limit>>,
    #[serde(default)]
    gpus: Option<Checked<Limit>>,
    #[serde(default)]
    evictions_per_cycle: Option<Checked<Count>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StabilitySpec {
    #[serde(default)]
    min_pending_age: Option<Checked<Span>>,
    #[serde(default)]
    gpu_cool_down: Option<Checked<Span>>,
    #[serde(default)]
    pod_move_cap: Option<Checked<Count>>,
}

/// A value that is read from a string or a number and checked by its own parser.
struct Checked<T>(T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CheckedVisitor<T>(PhantomData<T>);
        impl<T: FromStr<Err = String>> Visitor<'_> for CheckedVisitor<T> {
            type Value = Checked<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Checked<T>, E> {
                text.parse().map(Checked).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Checked<T>, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Checked<T>, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Checked<T>, E> {
                self.visit_str(&value.to_string())
            }
        }
        deserializer.deserialize_any(CheckedVisitor(PhantomData))
    }
}

/// Seconds.
struct Span(u64);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_span(text).map(Self)
    }
}

/// A whole number.
struct Count(u32);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is no whole number of at least 0"))
    }
}

/// What an hour adds to the cost of a move.
struct PerHour(u32);

impl FromStr for PerHour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let most = MoveCost::MOST_PER_HOUR;
        let value = text.parse().ok().filter(|&value| value <= most);
        value.map(Self).ok_or_else(|| format!("`{text}` is no whole number from 0 to {most}"))
    }
}

/// A policy with everything that its object says.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyDocument {
    /// What the planner reads.
    pub policy: Policy,
    /// Whether new operations are stopped.
    pub paused: bool,
    /// How often the loop plans at least, in seconds; none leaves it as it is.
    pub interval: Option<u64>,
    /// What operations do to other clients of a node's GPUs.
    pub clients: Clients,
    /// Times at which operations may start; none means always.
    pub windows: Vec<Window>,
    /// Nodes and pods that it is about.
    pub scope: Scope,
    /// Prices as they are written, for the accounting.
    pub prices: Option<serde_json::Value>,
}

impl Default for PolicyDocument {
    /// What holds where nobody has written a policy.
    fn default() -> Self {
        Self {
            policy: Policy::installed(),
            paused: false,
            interval: None,
            clients: Clients::default(),
            windows: Vec::new(),
            scope: Scope::default(),
            prices: None,
        }
    }
}

impl PolicyDocument {
    /// Whether operations may start at a moment, in seconds since the epoch.
    pub fn open(&self, moment: i64) -> bool {
        !self.paused && (self.windows.is_empty() || self.windows.iter().any(|window| window.holds(moment)))
    }

    /// The policy as it is in force at a moment. While it is paused or outside of its windows plans are made and published, and nothing starts.
    pub fn in_force(&self, moment: i64) -> Policy {
        let mut policy = self.policy.clone();
        if policy.mode == Mode::Act && !self.open(moment) {
            policy.mode = Mode::Observe;
        }
        policy
    }
}

/// Reads what the planner needs of a policy from YAML or JSON.
///
/// # Errors
/// Text that is no `MigPolicy` of `retile.dev/v1alpha1`, with line and key.
pub fn parse_policy(text: &str) -> Result<Policy, PolicyError> {
    parse_policy_document(text).map(|document| document.policy)
}

/// Reads a policy from YAML or JSON.
///
/// # Errors
/// Text that is no `MigPolicy` of `retile.dev/v1alpha1`, with line and key.
pub fn parse_policy_document(text: &str) -> Result<PolicyDocument, PolicyError> {
    if text.len() > MAX_BYTES {
        return Err(PolicyError::whole(format!("the policy has {} bytes; at most 1 MiB are read", text.len())));
    }
    if text.trim().is_empty() {
        return Err(PolicyError::whole("the policy is empty; it must hold one MigPolicy (retile.dev/v1alpha1)"));
    }
    let mut path = None;
    let read = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize::<_, PolicyObject>(deserializer).map_err(|error| {
            path = Some(error.path().to_string());
            error.into_inner()
        })
    });
    let object = read.map_err(|error| {
        let error = yaml_error(&error);
        let key = path.filter(|path| path != "." && !path.is_empty()).map(|path| format!("{path}: "));
        PolicyError {
            place: (error.line > 0).then_some((error.line, error.column)),
            message: format!("{}{}", key.unwrap_or_default(), error.message),
        }
    })?;
    if object.kind != "MigPolicy" || object.api_version != "retile.dev/v1alpha1" {
        return Err(PolicyError::whole(format!(
            "this is a {} of {}; a MigPolicy of retile.dev/v1alpha1 is needed",
            object.kind, object.api_version
        )));
    }
    Ok(document(object.spec))
}

/// The policy with the defaults of absent fields.
fn document(spec: Spec) -> PolicyDocument {
    let Spec {
        mode,
        paused,
        interval,
        objective,
        disruption,
        budgets,
        stability,
        clients,
        windows,
        node_selector,
        pod_selector,
        protected_namespaces: protected,
        prices,
    } = spec;
    let labels = |selector: Option<SelectorSpec>| selector.unwrap_or_default().match_labels;
    PolicyDocument {
        policy: policy(&mode, &objective, &disruption, budgets, stability),
        paused,
        interval: interval.map(|Checked(Span(seconds))| seconds),
        clients: match clients {
            ClientsName::Restart => Clients::Restart,
            ClientsName::OperatorPause => Clients::OperatorPause,
        },
        windows: windows.into_iter().map(|WindowSpec(window)| window).collect(),
        scope: Scope { nodes: labels(node_selector), pods: labels(pod_selector), protected },
        prices,
    }
}

fn policy(
    mode: &ModeName,
    objective: &ObjectiveSpec,
    disruption: &DisruptionSpec,
    budgets: BudgetsSpec,
    stability: StabilitySpec,
) -> Policy {
    let span = |value: Option<Checked<Span>>, default| value.map_or(default, |Checked(Span(seconds))| seconds);
    let count = |value: Option<Checked<Count>>, default| value.map(|Checked(Count(count))| count).or(default);
    let limit = |value: Option<Checked<Limit>>, default| value.map(|Checked(limit)| limit).or(default);
    let per_hour =
        |value: &Option<Checked<PerHour>>, default| value.as_ref().map_or(default, |Checked(PerHour(value))| *value);
    let none = MoveCostSpec::default();
    let MoveCostSpec { per_running_hour, per_job_hour } = disruption.move_cost.as_ref().unwrap_or(&none);
    let absent = Policy::installed();
    Policy {
        mode: match mode {
            ModeName::Observe => Mode::Observe,
            ModeName::Recommend => Mode::Recommend,
            ModeName::Act => Mode::Act,
        },
        disruption: match disruption.level {
            LevelName::IdleOnly => DisruptionLevel::IdleOnly,
            LevelName::Balanced => DisruptionLevel::Balanced,
            LevelName::Aggressive => DisruptionLevel::Aggressive,
        },
        weight: match objective.weight {
            WeightName::Slices => Weight::Slices,
            WeightName::Pods => Weight::Pods,
        },
        gain_factor: disruption.gain_factor.as_ref().map_or(absent.gain_factor, |Checked(factor)| *factor),
        move_cost: MoveCost {
            per_running_hour: per_hour(per_running_hour, absent.move_cost.per_running_hour),
            per_job_hour: per_hour(per_job_hour, absent.move_cost.per_job_hour),
        },
        budgets: Budgets {
            nodes: limit(budgets.nodes, absent.budgets.nodes),
            gpus: limit(budgets.gpus, absent.budgets.gpus),
            evictions: count(budgets.evictions_per_cycle, absent.budgets.evictions),
        },
        stability: Stability {
            min_pending_age_seconds: span(stability.min_pending_age, absent.stability.min_pending_age_seconds),
            gpu_cool_down_seconds: span(stability.gpu_cool_down, absent.stability.gpu_cool_down_seconds),
            pod_move_cap: count(stability.pod_move_cap, absent.stability.pod_move_cap),
        },
        ageing_seconds: absent.ageing_seconds,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const FULL: &str = "\
apiVersion: retile.dev/v1alpha1
kind: MigPolicy
metadata: {name: default}
spec:
  mode: Recommend
  interval: 5m
  disruption: {level: Balanced, gainFactor: \"0\", moveCost: {perRunningHour: 2, perJobHour: 30}}
  budgets: {nodes: 3, gpus: 0%, evictionsPerCycle: 7}
  stability: {minPendingAge: 1m30s, gpuCoolDown: 0s, podMoveCap: 2}
  clients: operator-pause
  objective: {weight: Pods}
";

    #[test]
    fn a_full_policy_is_read() {
        let policy = parse_policy(FULL).expect("a policy");
        assert_eq!((policy.mode, policy.disruption), (Mode::Recommend, DisruptionLevel::Balanced));
        assert_eq!(policy.gain_factor.thousandths(), 0);
        assert_eq!(policy.weight, Weight::Pods);
        assert_eq!(policy.move_cost, MoveCost { per_running_hour: 2, per_job_hour: 30 });
        let budgets = Budgets { nodes: Some(Limit::Count(3)), gpus: Some(Limit::Percent(0)), evictions: Some(7) };
        assert_eq!(policy.budgets, budgets);
        let stability = Stability { min_pending_age_seconds: 90, gpu_cool_down_seconds: 0, pod_move_cap: Some(2) };
        assert_eq!(policy.stability, stability);
        assert_eq!(parse_policy_document(FULL).expect("a policy").clients, Clients::OperatorPause);
    }

    #[test]
    fn absent_fields_have_the_careful_defaults() {
        let policy = parse_policy("{apiVersion: retile.dev/v1alpha1, kind: MigPolicy}").expect("a policy");
        assert_eq!((policy.mode, policy.disruption), (Mode::Observe, DisruptionLevel::IdleOnly));
        assert_eq!(policy.gain_factor.thousandths(), 1500);
        assert_eq!(policy.weight, Weight::Slices);
        assert_eq!(policy.move_cost, MoveCost::default());
        assert_eq!(policy.budgets.evictions, Some(5));
        assert_eq!(policy.stability.min_pending_age_seconds, 30);
        assert_eq!(PolicyDocument::default().clients, Clients::Restart);
    }

    #[test]
    fn a_cost_of_moves_may_be_left_out_in_part_and_as_a_whole() {
        for (text, cost) in [
            ("null", MoveCost::default()),
            ("{}", MoveCost::default()),
            ("{perJobHour: 1000}", MoveCost { per_job_hour: 1000, ..MoveCost::default() }),
            ("{perRunningHour: 1, perJobHour: null}", MoveCost { per_running_hour: 1, ..MoveCost::default() }),
        ] {
            let policy = parse_policy(&FULL.replace("{perRunningHour: 2, perJobHour: 30}", text)).expect(text);
            assert_eq!(policy.move_cost, cost, "{text}");
        }
    }

    #[test]
    fn errors_name_line_and_key() {
        for (from, to, line, word) in [
            ("mode: Recommend", "mode: Recomend", 5, "mode"),
            ("mode: Recommend", "mood: Act", 5, "mood"),
            ("interval: 5m", "interval: 5", 6, "interval"),
            ("operator-pause", "operator-paused", 10, "clients"),
            ("weight: Pods", "weight: pods", 11, "weight"),
            ("weight: Pods", "weigh: Pods", 11, "weigh"),
            ("interval: 5m", "interval: 1d", 6, "interval"),
            ("interval: 5m", "interval: -5m", 6, "interval"),
            ("gainFactor: \"0\"", "gainFactor: .nan", 7, "gainFactor"),
            ("gainFactor: \"0\"", "gainFactor: .inf", 7, "gainFactor"),
            ("gainFactor: \"0\"", "gainFactor: -1", 7, "gainFactor"),
            ("perRunningHour: 2", "perRunningHour: 1001", 7, "perRunningHour"),
            ("perRunningHour: 2", "perRunningHour: -1", 7, "perRunningHour"),
            ("perRunningHour: 2", "perRunningHour: 1.5", 7, "perRunningHour"),
            ("perJobHour: 30", "perJobhour: 30", 7, "perJobhour"),
            ("nodes: 3", "nodes: 150%", 8, "nodes"),
            ("nodes: 3", "nodes: -1", 8, "nodes"),
            ("nodes: 3", "nodes: [3]", 8, "nodes"),
            ("evictionsPerCycle: 7", "evictionsPerCycle: -7", 8, "evictionsPerCycle"),
            ("gpuCoolDown: 0s", "gpuCoolDown: -1s", 9, "gpuCoolDown"),
            ("interval: 5m", "mode: Act", 6, "mode"),
            ("  interval: 5m", "\tinterval: 5m", 5, "tab"),
        ] {
            let error = parse_policy(&FULL.replace(from, to)).expect_err(to);
            assert_eq!(error.place.map(|(line, _)| line), Some(line), "{to}: {error}");
            assert!(error.to_string().contains(word), "{to}: {error}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in ["", "  \n", "just text", "[]", "{}", "kind: MigPolicy", &FULL.replace("MigPolicy", "Policy")] {
            assert!(parse_policy(text).is_err(), "{text}");
        }
        let long = format!("{FULL}# {}", "x".repeat(1 << 20));
        assert!(parse_policy(&long).expect_err("too long").to_string().contains("1 MiB"));
        let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (name, before) in "bcdefghijk".chars().zip("abcdefghij".chars()) {
            let aliases = vec![format!("*{before}"); 9].join(",");
            let _ = writeln!(bomb, "{name}: &{name} [{aliases}]");
        }
        assert!(parse_policy(&bomb).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = parse_policy(&text);
        }
    }
}
