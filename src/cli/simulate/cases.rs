//! What `simulate` replays: groups of cases that are compared within themselves, from a trace or generated.

use std::fmt::Write as _;
use std::path::Path;

use super::args::{ArrivalsChoice, DurationsChoice, Kinds, Patience, ResidenceChoice, SimulateArgs};
use crate::cli::error::CliError;
use crate::cli::output::Streams;
use crate::cli::show::names::{count, some_of};
use crate::cli::source::with_reader;
use crate::sim::Workload;
use crate::sim::replay::Case;
use crate::sim::replay::baselines::Packer;
use crate::sim::replay::fleet::FleetSpec;
use crate::sim::replay::generate::{Arrivals, Durations, Recipe};
use crate::sim::replay::openb::{self, Residence, Window};
use crate::sim::replay::trace::{self, TraceError};
use crate::sim::replay::unheld::{Request, Unheld, sift};

/// Workloads of one kind.
#[derive(Debug)]
pub(super) struct Group {
    /// What they are.
    pub(super) title: String,
    /// Where they come from, what was left out, what was assumed.
    pub(super) notes: Vec<String>,
    /// What was left out because no node can hold it.
    pub(super) unheld: Unheld,
    /// The workloads, one for each seed.
    pub(super) cases: Vec<Case>,
}

const HOUR: u64 = 3_600_000;
/// Most pods of generated work over all seeds: a few gigabytes, and weeks of replays.
const MOST_PODS: f64 = 5_000_000.0;
/// Most GPUs that `--gpus-per-node` takes.
pub(super) const MOST_PER_NODE: u32 = 16;

/// The groups that the arguments ask for.
pub(super) fn groups(
    args: &SimulateArgs,
    fleet: &FleetSpec,
    packer: &Packer,
    streams: &mut Streams<'_>,
) -> Result<Vec<Group>, CliError> {
    let groups = match &args.trace {
        Some(path) => traced(args, path, fleet, packer, streams)?,
        None => generated(args, fleet)?,
    };
    if groups.iter().all(|group| group.cases.iter().all(|case| case.workload.arrivals.is_empty())) {
        if let Some(Group { unheld, .. }) = groups.iter().find(|group| group.unheld.pods() > 0) {
            return Err(CliError::Argument {
                argument: "--trace".into(),
                message: format!("no node holds any pod that asks for a GPU: {}", unheld_requests(unheld, fleet)),
                help: remedy(unheld, fleet),
            });
        }
        let (argument, help) = match &args.trace {
            Some(_) if args.skip.0 == 0 && args.hours.is_none() => {
                ("--trace", "give a trace in which some pod asks for a GPU and was scheduled")
            }
            Some(_) => ("--trace", "choose another part of the trace with --skip and --hours"),
            None => ("--hours", "generate for longer, or a higher load"),
        };
        let message = "no work arrives, so there is nothing to replay".to_owned();
        return Err(CliError::Argument { argument: argument.into(), message, help: help.into() });
    }
    Ok(groups)
}

fn generated(args: &SimulateArgs, fleet: &FleetSpec) -> Result<Vec<Group>, CliError> {
    let hours = args.hours.unwrap_or(48);
    let Kinds(kinds) = &args.kinds;
    let Patience(patience) = args.patience;
    let mean = args.mean_duration.0 as f64;
    let mut groups = Vec::new();
    let mut expected = 0.0;
    for &mix in &args.mix {
        for &load in &args.load {
            let recipe = Recipe {
                arrivals: match args.arrivals {
                    ArrivalsChoice::Steady => Arrivals::Steady,
                    ArrivalsChoice::Diurnal => Arrivals::Diurnal(0.6),
                },
                durations: match args.durations {
                    DurationsChoice::Exponential => Durations::Exponential(mean),
                    DurationsChoice::Lognormal => Durations::LogNormal(mean, 1.5),
                },
                patience,
                kinds: kinds.clone(),
                ..Recipe::new(mix.into(), load, hours * HOUR)
            };
            expected += recipe.expected(fleet) * args.seeds as f64;
            if expected > MOST_PODS {
                return Err(CliError::Argument {
                    argument: "--hours, --load, --gpus, --seeds".into(),
                    message: format!("more than {MOST_PODS} pods would arrive in all, which memory may not hold"),
                    help: "generate for fewer hours, fewer seeds or fewer GPUs, or let work run for longer".into(),
                });
            }
            let case = |seed| Case { label: format!("seed {seed}"), workload: recipe.generate(fleet, seed), seed };
            groups.push(Group {
                title: format!("{} at load {load}, {}", recipe.mix.name(), count(hours, "hour")),
                notes: Vec::new(),
                // Generated pods ask for one instance that the board has.
                unheld: Unheld::default(),
                cases: (1..=args.seeds).map(case).collect(),
            });
        }
    }
    Ok(groups)
}

fn traced(
    args: &SimulateArgs,
    path: &Path,
    fleet: &FleetSpec,
    packer: &Packer,
    streams: &mut Streams<'_>,
) -> Result<Vec<Group>, CliError> {
    let mut text = String::new();
    with_reader(path, streams, |reader| reader.read_to_string(&mut text))?
        .map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    let refused = |error: TraceError| CliError::Input {
        path: path.to_owned(),
        place: Some(error.place()),
        message: error.message,
        help: error.help,
    };
    let cases = |workload: &Workload| -> Vec<Case> {
        let case = |seed| Case { label: format!("seed {seed}"), workload: workload.clone(), seed };
        (1..=args.seeds).map(case).collect()
    };
    if !openb::recognises(&text) {
        let workload = trace::read(&text).map_err(refused)?;
        check_profiles(&workload, fleet, path)?;
        let (workload, outside) = part(workload, args);
        let (workload, unheld) = sift(fleet, workload, packer);
        let mut notes = Vec::new();
        if outside > 0 {
            notes.push(format!("{} outside the chosen part of the trace", count(outside as u64, "pod")));
        }
        notes.extend(unheld_note(&unheld, fleet));
        return Ok(vec![Group { title: "the trace".into(), notes, unheld, cases: cases(&workload) }]);
    }
    let trace = openb::read(&text).map_err(refused)?;
    let residence = match args.residence {
        ResidenceChoice::Scheduled => Residence::FromScheduling,
        ResidenceChoice::Created => Residence::FromCreation,
    };
    let Patience(patience) = args.patience;
    let window = Window { skip: args.skip.0, length: args.hours.map(|hours| hours * HOUR), residence, patience };
    let group = |mapping: openb::Mapping| {
        let mapped = trace.map(&fleet.geometry, mapping, &window);
        let (workload, unheld) = sift(fleet, mapped.workload, packer);
        let mut left_out = format!(
            "left out: {} without GPU, {} with a GPU that were never scheduled",
            count(trace.without_gpu as u64, "pod"),
            trace.never_scheduled
        );
        if mapped.too_large > 0 {
            let _ = write!(
                left_out,
                ", {} for which the board has no instance that is large enough (choose a larger model with --gpus)",
                mapped.too_large
            );
        }
        if mapped.outside > 0 {
            let _ = write!(left_out, ", {} outside the chosen part", mapped.outside);
        }
        let begin = match residence {
            Residence::FromScheduling => "scheduling",
            Residence::FromCreation => "creation",
        };
        let mut notes = vec![left_out];
        notes.extend(unheld_note(&unheld, fleet));
        notes.push(format!(
            "running times from {begin} to deletion; the donor GPUs could do no MIG, so each mapping is a model"
        ));
        Group {
            title: format!("openb under {} ({})", mapping.name().to_uppercase(), mapping.words()),
            notes,
            unheld,
            cases: cases(&workload),
        }
    };
    Ok(args.mapping.mappings().into_iter().map(group).collect())
}

/// Says once what no node holds, why, and what to do about it; nothing where every pod has a node that could hold it.
fn unheld_note(unheld: &Unheld, fleet: &FleetSpec) -> Option<String> {
    (unheld.pods() > 0).then(|| {
        format!(
            "left out: {} that no node can hold: {}; their {:.1} memory-slice-hours, {:.1} % of all that is asked for, are in no figure \
             below; {}",
            count(unheld.pods(), "pod"),
            unheld_requests(unheld, fleet),
            unheld.memory_slice_hours(),
            unheld.share() * 100.0,
            remedy(unheld, fleet)
        )
    })
}

/// What is asked for and not held, such as `2 x 7g.80gb (3 pods) needs 2 GPUs of one node, which has 1`.
fn unheld_requests(unheld: &Unheld, fleet: &FleetSpec) -> String {
    let most = fleet.per_node.min(fleet.gpus);
    let one = |request: &Request| {
        let instances: Vec<String> =
            request.instances.iter().map(|(profile, number)| format!("{number} x {profile}")).collect();
        format!(
            "{} ({}) needs {} of one node, which has {most}",
            instances.join(" + "),
            count(request.pods, "pod"),
            count(request.gpus, "GPU")
        )
    };
    some_of(&unheld.requests.iter().map(one).collect::<Vec<_>>(), 3)
}

/// How to have all of it held.
fn remedy(unheld: &Unheld, fleet: &FleetSpec) -> String {
    let needed = unheld.requests.iter().map(|request| request.gpus).max().unwrap_or(0);
    let model = &fleet.geometry.board().key;
    if needed > u64::from(MOST_PER_NODE) {
        format!(
            "choose a larger model than {model} with --gpus, or let a pod ask for no more than a node of {MOST_PER_NODE} has"
        )
    } else if needed > u64::from(fleet.gpus) {
        format!("give one node so many with --gpus {needed}x{model} --gpus-per-node {needed}")
    } else {
        format!("give one node so many with --gpus-per-node {needed}")
    }
}

/// The chosen part of a trace, from its own zero, and how much lies outside.
fn part(workload: Workload, args: &SimulateArgs) -> (Workload, usize) {
    let before = workload.arrivals.len();
    let skip = args.skip.0;
    let end = args.hours.map_or(u64::MAX, |hours| skip.saturating_add(hours * HOUR));
    let mut arrivals = workload.arrivals;
    arrivals.retain(|arrival| (skip..end).contains(&arrival.at));
    for arrival in &mut arrivals {
        arrival.at -= skip;
    }
    let outside = before - arrivals.len();
    (Workload { arrivals }, outside)
}

/// Refuses a trace that asks for what the board does not have.
fn check_profiles(workload: &Workload, fleet: &FleetSpec, path: &Path) -> Result<(), CliError> {
    let geometry = &fleet.geometry;
    for arrival in &workload.arrivals {
        for name in arrival.instances.keys() {
            if geometry.find(name).is_none_or(|id| !geometry.profile(id).placeable()) {
                let known: Vec<&str> = geometry.profiles().iter().map(|profile| profile.name.as_str()).collect();
                return Err(CliError::Input {
                    path: path.to_owned(),
                    message: format!(
                        "`{}` asks for `{name}`, which {} does not have",
                        arrival.name,
                        geometry.board().key
                    ),
                    place: Some("field `instances`".into()),
                    help: format!("choose another model with --gpus, or write one of {}", known.join(", ")),
                });
            }
        }
    }
    Ok(())
}
