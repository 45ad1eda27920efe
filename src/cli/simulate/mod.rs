//! `simulate`: replays workloads against retile and its rivals, and shows what came of it.
//!
//! Inputs: a trace or a recipe, a fleet, planners. Outputs: a table or JSON on standard output, on request a page with plots. Long replays
//! show their progress on standard error, and only on a terminal.

pub(crate) mod args;
mod cases;
mod html;
mod json;
mod plot;
mod progress;
mod table;
mod timeline;

use std::sync::Arc;

use self::args::SimulateArgs;
use self::cases::Group;
use self::progress::Progress;
use super::SUCCESS;
use super::args::AnswerFormat;
use super::error::CliError;
use super::output::Streams;
use super::source;
use crate::model::{Budgets, DisruptionLevel, Geometry, Mode, Policy, ProfileId};
use crate::planner::fit;
use crate::sim::Workload;
use crate::sim::replay::baselines::{Packer, Rule};
use crate::sim::replay::bound::least_elsewhere;
use crate::sim::replay::figures::Spread;
use crate::sim::replay::fleet::{FleetError, FleetSpec, parse_gpus};
use crate::sim::replay::pool::{Pooled, pooled};
use crate::sim::replay::{
    Engine, Needed, Outcome, ReplayError, Setup, Target, instant_engine, needed, run, whole_engine,
};

/// Steps of work for one plan: enough to prove nearly all plans of fleets of this size, about a second at worst.
const WORK_LIMIT: u64 = 1_000_000_000;

/// A group that was replayed.
#[derive(Debug)]
struct Replayed {
    group: Group,
    outcome: Outcome,
    /// Part of the requested work that must go elsewhere whatever rule is at work, by case; a proven bound.
    least: Vec<f64>,
    /// What a pool of the same slices without geometry does, by case.
    pooled: Vec<Pooled>,
    /// GPUs that each rule needs, where that was asked for, in the order of the rules.
    needed: Option<Vec<Needed>>,
}

/// Everything that a report shows.
#[derive(Debug)]
struct Report {
    setup: Setup,
    groups: Vec<Replayed>,
    price: Option<f64>,
    /// Whether nothing took time.
    instant: bool,
}

/// `simulate`.
pub(crate) fn simulate(args: &SimulateArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let fleet = fleet(args)?;
    let groups = cases::groups(args, &fleet, &exact_packer(), streams)?;
    let setup = setup(args, fleet, policy(args, streams)?);
    let total: usize = groups.iter().map(|group| group.cases.len() * setup.rules.len()).sum();
    let engine: &Engine<'_> = if args.instant { &instant_engine } else { &whole_engine };
    let mut progress = Progress::new(total as u64, streams.notes_are_terminal);
    let mut report = Report { setup, groups: Vec::new(), price: args.price, instant: args.instant };
    for group in groups {
        let of_group = Setup { cases: group.cases.clone(), ..report.setup.clone() };
        let outcome = run(&of_group, engine, &mut || progress.tick()).map_err(|error| stopped(&error))?;
        let needed = if args.needed { Some(all_needed(&of_group, &outcome, engine, &mut progress)?) } else { None };
        let least = of_each(&of_group, least_elsewhere);
        let pooled = of_each(&of_group, pooled);
        report.groups.push(Replayed { group, outcome, least, pooled, needed });
    }
    progress.end();
    let shown = match args.output {
        AnswerFormat::Text => table::render(&report),
        AnswerFormat::Json => json::render(&report)?,
    };
    if let Some(path) = &args.report {
        let page = html::render(&report);
        std::fs::write(path, page).map_err(|source| CliError::Write { path: path.clone(), source })?;
    }
    streams.data(&shown).map_err(CliError::Stdout)?;
    Ok(SUCCESS)
}

fn fleet(args: &SimulateArgs) -> Result<FleetSpec, CliError> {
    let wrong = |error: FleetError| {
        let help = match &error {
            FleetError::Form(_) => "write a number of GPUs and a model, such as 8xA100-80GB".to_owned(),
            FleetError::Board(_) => "`retile layouts --gpu MODEL` knows the models".to_owned(),
            FleetError::NotPlaceable(_) => "choose a model whose placements the catalogue knows".to_owned(),
        };
        CliError::Argument { argument: format!("--gpus {}", args.gpus), message: error.to_string(), help }
    };
    let (gpus, geometry) = parse_gpus(&args.gpus).map_err(wrong)?;
    Ok(FleetSpec::new(geometry, gpus, args.gpus_per_node))
}

/// What retile works under: the policy of a file, or that of a new installation that may move pods and has no budgets.
fn policy(args: &SimulateArgs, streams: &mut Streams<'_>) -> Result<Policy, CliError> {
    let mut policy = match &args.policy {
        Some(path) => source::read_policy(path, streams)?,
        None => Policy { disruption: DisruptionLevel::Balanced, budgets: Budgets::default(), ..Policy::installed() },
    };
    if let Some(level) = args.disruption {
        policy.disruption = level.into();
    }
    // A replay is there to see what happens.
    policy.mode = Mode::Act;
    Ok(policy)
}

fn setup(args: &SimulateArgs, fleet: FleetSpec, policy: Policy) -> Setup {
    let mut rules: Vec<Rule> = match (args.compare, args.ablate) {
        (true, _) => Rule::ALL.to_vec(),
        (false, true) => Rule::ABLATION.to_vec(),
        (false, false) => Vec::new(),
    };
    for &choice in args.planner.iter().filter(|_| !args.compare && !args.ablate) {
        let rule = Rule::from(choice);
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Setup {
        fleet,
        rules,
        cases: Vec::new(),
        period: args.period.0,
        soonest: args.soonest.0,
        policy,
        work_limit: args.work_limit.unwrap_or(WORK_LIMIT),
        packer: exact_packer(),
        threads: args.threads.map_or_else(processors, |threads| threads as usize),
    }
}

/// Packs empty GPUs exactly.
fn exact_packer() -> Packer {
    Packer::new(|geometry: &Geometry, demand: &[(ProfileId, u64)]| {
        fit::fit(geometry, demand).ok().map(|result| result.layouts)
    })
}

/// Something about the work of each case; cases of one trace differ in their seeds alone.
fn of_each<T: Copy>(setup: &Setup, about: impl Fn(&FleetSpec, &Workload) -> T) -> Vec<T> {
    let mut found: Vec<T> = Vec::new();
    for (index, case) in setup.cases.iter().enumerate() {
        let known = setup.cases[..index].iter().position(|earlier| earlier.workload == case.workload);
        found.push(known.map_or_else(|| about(&setup.fleet, &case.workload), |known| found[known]));
    }
    found
}

/// GPUs that every rule needs to be as good as the first.
fn all_needed(
    setup: &Setup,
    outcome: &Outcome,
    engine: &Engine<'_>,
    progress: &mut Progress,
) -> Result<Vec<Needed>, CliError> {
    let Some(&first) = setup.rules.first() else { return Ok(Vec::new()) };
    let target = Target::like(outcome, first, setup.fleet.gpus);
    let mut all = Vec::new();
    for &rule in &setup.rules {
        progress.say(&format!("GPUs needed by {}", rule.name()));
        all.push(needed(setup, rule, &target, engine).map_err(|error| stopped(&error))?);
    }
    Ok(all)
}

fn stopped(error: &ReplayError) -> CliError {
    CliError::Internal(error.to_string())
}

/// What every reader of a group's figures should measure them against.
fn limits(group: &Replayed) -> [String; 2] {
    let percent = |all: &[f64]| {
        let Spread { mean, min: _, max: _, deviation } = Spread::of(all);
        let spread = if all.len() > 1 { format!(" ± {:.2}", deviation * 100.0) } else { String::new() };
        format!("{:.2}{spread} %", mean * 100.0)
    };
    let elsewhere: Vec<f64> = group.pooled.iter().map(|it| it.elsewhere).collect();
    let wait = Spread::of(&group.pooled.iter().map(|it| it.wait).collect::<Vec<f64>>()).mean;
    [
        format!("whatever the planner, at least {} must go elsewhere (proven)", percent(&group.least)),
        format!(
            "a pool of the same slices, without places or any delay, sends {} elsewhere at a mean wait of {wait:.1} min",
            percent(&elsewhere)
        ),
    ]
}

/// A board's key, for titles.
fn board(report: &Report) -> String {
    let geometry: &Arc<Geometry> = &report.setup.fleet.geometry;
    geometry.board().key.clone()
}

#[cfg(test)]
mod tests;
