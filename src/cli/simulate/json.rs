//! The result of `simulate` for programs; a contract.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::cost;
use super::{Replayed, Report, board};
use crate::cli::error::CliError;
use crate::cli::output::json;
use crate::sim::replay::figures::{Figures, Spread, spreads};
use crate::sim::replay::unheld::{Request, Unheld};

/// Version of the format; raised only when a reader of the old one would be misled.
const FORMAT_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
struct Document {
    format_version: u32,
    producer: String,
    gpus: u32,
    gpus_per_node: u32,
    model: String,
    period_seconds: u64,
    /// How soon the next plan may come when new demand has settled; `null` when the period is kept.
    soonest_seconds: Option<u64>,
    disruption: &'static str,
    /// Whether changes, starts and ends took no time.
    instant: bool,
    groups: Vec<GroupDocument>,
}

/// Workloads of one kind under all planners.
#[derive(Debug, Serialize)]
struct GroupDocument {
    title: String,
    notes: Vec<String>,
    /// Pods that no node can hold; they were not replayed and are in no figure.
    unheld: UnheldDocument,
    /// Part of the requested memory-slice-hours that must go elsewhere whatever planner is at work: a proven bound from below.
    least_elsewhere: Spread,
    /// What a pool of the same slices without places, layouts, moves or any delay sends elsewhere, in the best of four orders of service.
    pooled_elsewhere: Spread,
    planners: Vec<PlannerDocument>,
}

/// What no node can hold.
#[derive(Debug, Serialize)]
struct UnheldDocument {
    pods: u64,
    memory_slice_hours: f64,
    /// Part of all memory-slice-hours that are asked for, with these.
    share: f64,
    requests: Vec<RequestDocument>,
}

/// Pods that ask for the same instances.
#[derive(Debug, Serialize)]
struct RequestDocument {
    instances: BTreeMap<String, u32>,
    pods: u64,
    memory_slice_hours: f64,
    /// Fewest GPUs of one node that would hold one of the pods.
    gpus_of_one_node: u64,
}

/// One planner: spreads over the seeds, and each seed.
#[derive(Debug, Serialize)]
struct PlannerDocument {
    name: &'static str,
    description: &'static str,
    figures: BTreeMap<&'static str, Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_elsewhere: Option<Spread>,
    /// Present with `--needed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus_needed: Option<NeededDocument>,
    runs: Vec<RunDocument>,
}

/// GPUs needed to be as good as the first planner.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct NeededDocument {
    /// `null` when four times the fleet is not enough.
    gpus: Option<u32>,
}

#[derive(Debug, Serialize)]
struct RunDocument {
    label: String,
    seed: u64,
    figures: BTreeMap<&'static str, f64>,
}

/// The document as text.
pub(super) fn render(report: &Report) -> Result<String, CliError> {
    let setup = &report.setup;
    let document = Document {
        format_version: FORMAT_VERSION,
        producer: concat!("retile ", env!("CARGO_PKG_VERSION")).to_owned(),
        gpus: setup.fleet.gpus,
        gpus_per_node: setup.fleet.per_node,
        model: board(report),
        period_seconds: setup.period / 1000,
        soonest_seconds: setup.soonest.map(|soonest| soonest / 1000),
        disruption: setup.policy.disruption.as_flag(),
        instant: report.instant,
        groups: report.groups.iter().map(|group| of_group(report, group)).collect(),
    };
    json("result", &document)
}

fn of_unheld(unheld: &Unheld) -> UnheldDocument {
    let request = |request: &Request| RequestDocument {
        instances: request.instances.clone(),
        pods: request.pods,
        memory_slice_hours: request.memory_slice_hours,
        gpus_of_one_node: request.gpus,
    };
    UnheldDocument {
        pods: unheld.pods(),
        memory_slice_hours: unheld.memory_slice_hours(),
        share: unheld.share(),
        requests: unheld.requests.iter().map(request).collect(),
    }
}

fn of_group(report: &Report, group: &Replayed) -> GroupDocument {
    let planner = |(position, &rule): (usize, &crate::sim::replay::baselines::Rule)| {
        let runs: Vec<Figures> = group.outcome.of(rule).map(|it| it.figures.clone()).collect();
        let run = |replayed: &crate::sim::replay::Replayed| {
            let case = &group.group.cases[replayed.case];
            RunDocument {
                label: case.label.clone(),
                seed: case.seed,
                figures: replayed.figures.named().into_iter().collect(),
            }
        };
        PlannerDocument {
            name: rule.name(),
            description: rule.words(),
            figures: spreads(&runs).into_iter().collect(),
            cost_elsewhere: report
                .price
                .map(|price| Spread::of(&runs.iter().map(|it| cost(it, report, price)).collect::<Vec<_>>())),
            gpus_needed: group.needed.as_ref().map(|needed| NeededDocument { gpus: needed[position].gpus }),
            runs: group.outcome.of(rule).map(run).collect(),
        }
    };
    GroupDocument {
        title: group.group.title.clone(),
        notes: group.group.notes.clone(),
        unheld: of_unheld(&group.group.unheld),
        least_elsewhere: Spread::of(&group.least),
        pooled_elsewhere: Spread::of(&group.pooled.iter().map(|it| it.elsewhere).collect::<Vec<_>>()),
        planners: report.setup.rules.iter().enumerate().map(planner).collect(),
    }
}
