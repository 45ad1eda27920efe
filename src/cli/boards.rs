//! `layouts` and `fit`: questions about a board that need no cluster.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::args::{AnswerFormat, FitArgs, LayoutsArgs};
use super::error::{CliError, near_misses};
use super::output::json;
use super::show::bar::{self, Fate, Tile};
use super::show::names::{count, thousands};
use crate::model::{Catalogue, Enumeration, Geometry, Layout, LookupError, MediaEngines, Placement, ProfileId};
use crate::planner::fit::{FitError, FitResult, fit as fewest};

/// The board that a person means.
fn board(asked: &str) -> Result<&'static Geometry, CliError> {
    let argument =
        |message: String, help: String| CliError::Argument { argument: format!("--gpu {asked}"), message, help };
    Catalogue::embedded().find_by_key(asked).map(|geometry| &**geometry).map_err(|error| match &error {
        LookupError::UnknownKey { near, keys, .. } => {
            let near = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) };
            argument(format!("no GPU model is called `{asked}`"), format!("{near}the models are {}", keys.join(", ")))
        }
        LookupError::Ambiguous { keys, .. } => {
            argument(format!("`{asked}` stands for several GPU models"), format!("write one of {}", keys.join(", ")))
        }
        LookupError::UnknownProduct { .. } | LookupError::UnknownPciId(_) => {
            argument(error.to_string(), "write a model such as `a100-80gb`".into())
        }
    })
}

/// A profile of a board whose places are known.
fn profile(geometry: &Geometry, argument: &str, name: &str) -> Result<ProfileId, CliError> {
    let known: Vec<&str> = geometry.profiles().iter().map(|profile| profile.name.as_str()).collect();
    let board = &geometry.board().key;
    let wrong = |message: String, help: String| CliError::Argument { argument: argument.to_owned(), message, help };
    let Some(id) = geometry.find(name) else {
        let near = near_misses(name, known.iter().copied());
        let near = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) };
        return Err(wrong(
            format!("{board} has no profile `{name}`"),
            format!("{near}its profiles are {}", known.join(", ")),
        ));
    };
    if geometry.profile(id).placeable() {
        Ok(id)
    } else {
        Err(wrong(
            format!("where `{name}` can stand on a {board} is known to the device only"),
            "the catalogue has no placements for this profile, so nothing can be said without such a GPU".into(),
        ))
    }
}

/// Draws the layouts of a board.
pub(crate) fn layouts(args: &LayoutsArgs) -> Result<String, CliError> {
    let LayoutsArgs { gpu, containing, all } = args;
    let geometry = board(gpu)?;
    let containing =
        containing.as_deref().map(|name| profile(geometry, &format!("--containing {name}"), name)).transpose()?;
    if geometry.axis() == 0 {
        return Err(CliError::Argument {
            argument: format!("--gpu {gpu}"),
            message: format!("the placements of {} are known to the device only", geometry.board().key),
            help: "choose a board whose placements the catalogue knows".into(),
        });
    }
    let plain = |id: &ProfileId| geometry.profile(*id).media == MediaEngines::Standard || Some(*id) == containing;
    let (drawn, left_out): (Vec<ProfileId>, Vec<ProfileId>) =
        geometry.profile_ids().filter(|id| geometry.profile(*id).placeable()).partition(plain);
    let states = Enumeration::new(geometry, &drawn);
    let chosen: Vec<&Layout> = if *all { states.states().iter().collect() } else { states.maximal() };
    let chosen: Vec<&Layout> = chosen
        .into_iter()
        .filter(|layout| containing.is_none_or(|id| layout.placements().iter().any(|place| place.profile() == id)))
        .collect();
    let names = |ids: &[ProfileId]| -> String {
        ids.iter().map(|id| geometry.profile(*id).name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut out = format!(
        "{}: {}{}, cut into {}\n\n",
        geometry.board().key,
        count(chosen.len() as u64, if *all { "legal state" } else { "layout" }),
        if *all { "" } else { " without room for more" },
        names(&drawn)
    );
    let _ = writeln!(out, "    {}", bar::ruler(geometry.axis()));
    for layout in &chosen {
        let _ = writeln!(out, "    {}", draw(geometry, layout.placements()));
    }
    if !left_out.is_empty() {
        let example = &geometry.profile(left_out[0]).name;
        let _ = writeln!(
            out,
            "\nNot drawn are the variants that only take other media engines (`--containing {example}` draws them): {}.",
            names(&left_out)
        );
    }
    Ok(out)
}

fn draw(geometry: &Geometry, placements: &[Placement]) -> String {
    let tiles: Vec<Tile> = placements
        .iter()
        .map(|place| Tile {
            start: place.start(),
            size: place.size(),
            profile: geometry.profile(place.profile()).name.clone(),
            held: false,
            fate: Fate::Kept,
            word: "",
        })
        .collect();
    bar::draw(geometry.axis(), &tiles)
}

/// Instances wanted, by profile, from arguments such as `1g.10gb=9`.
fn wanted(geometry: &Geometry, arguments: &[String]) -> Result<BTreeMap<ProfileId, u64>, CliError> {
    let mut sums = BTreeMap::new();
    for argument in arguments {
        let wrong = |message: String| CliError::Argument {
            argument: argument.clone(),
            message,
            help: "write a profile and a count from 0 to 1000000000, such as `1g.10gb=9`".into(),
        };
        let (name, number) = argument.split_once('=').unwrap_or((argument, "1"));
        if name.is_empty() {
            return Err(wrong("the name of the profile is missing".into()));
        }
        let id = profile(geometry, argument, name)?;
        let number: u64 = number
            .parse()
            .ok()
            .filter(|&number| number <= MOST_INSTANCES)
            .ok_or_else(|| wrong(format!("`{number}` is not a count of instances")))?;
        let sum = sums.entry(id).or_insert(0_u64);
        *sum += number;
        if *sum > MOST_INSTANCES {
            return Err(wrong(format!("`{name}` is asked for {} times in all", thousands(sum.cast_signed()))));
        }
    }
    sums.retain(|_, count| *count > 0);
    Ok(sums)
}

/// More instances than any fleet holds, and few enough that sums stay far from the range of the arithmetic.
const MOST_INSTANCES: u64 = 1_000_000_000;

/// The JSON form of an answer; a contract.
#[derive(Debug, serde::Serialize)]
struct FitAnswer {
    /// Fewest empty GPUs.
    gpus: u64,
    /// How many of them are cut into which layout.
    layouts: Vec<FitLayout>,
}

/// GPUs that are cut alike.
#[derive(Debug, serde::Serialize)]
struct FitLayout {
    /// Number of GPUs.
    count: u64,
    /// Instances as `profile@start`.
    instances: Vec<String>,
}

/// Says how many GPUs a number of instances needs.
pub(crate) fn fit(args: &FitArgs) -> Result<String, CliError> {
    let FitArgs { gpu, instances, output } = args;
    let geometry = board(gpu)?;
    let wanted: Vec<(ProfileId, u64)> = wanted(geometry, instances)?.into_iter().collect();
    let result = fewest(geometry, &wanted).map_err(|error| fit_failure(&error, instances))?;
    match output {
        AnswerFormat::Text => Ok(fit_text(geometry, &wanted, &result)),
        AnswerFormat::Json => {
            let name = |place: &Placement| format!("{}@{}", geometry.profile(place.profile()).name, place.start());
            let layouts = result
                .layouts
                .iter()
                .map(|(count, layout)| FitLayout {
                    count: *count,
                    instances: layout.placements().iter().map(name).collect(),
                })
                .collect();
            let answer = FitAnswer { gpus: result.gpus, layouts };
            json("answer", &answer)
        }
    }
}

fn fit_failure(error: &FitError, arguments: &[String]) -> CliError {
    let help = match error {
        FitError::NotPlaceable { .. } | FitError::NeverFits { .. } => "leave this profile out, or choose another board",
        FitError::TooLarge => "ask for fewer instances at once",
        FitError::Foreign { .. } | FitError::Solver(_) => "please report this question",
    };
    CliError::Argument { argument: arguments.join(" "), message: error.to_string(), help: help.into() }
}

fn fit_text(geometry: &Geometry, wanted: &[(ProfileId, u64)], result: &FitResult) -> String {
    let FitResult { gpus, bound, layouts, spare, method: _ } = result;
    let listed = |counts: &[(ProfileId, u64)]| -> String {
        let parts: Vec<String> = counts
            .iter()
            .map(|&(id, number)| format!("{} × {}", thousands(number.cast_signed()), geometry.profile(id).name))
            .collect();
        if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
    };
    let proof = if gpus == bound {
        "fewer cannot hold them".to_owned()
    } else {
        format!("at least {} are needed", thousands(bound.cast_signed()))
    };
    let board = &geometry.board().key;
    let mut out = format!("{} of model {board} for {}; {proof}.\n", count(*gpus, "GPU"), listed(wanted));
    if layouts.is_empty() {
        return out;
    }
    let width = layouts.iter().map(|(number, _)| thousands(number.cast_signed()).len()).max().unwrap_or(1);
    let _ = writeln!(out, "\n  {:width$}    {}", "", bar::ruler(geometry.axis()));
    for (number, layout) in layouts {
        let _ =
            writeln!(out, "  {:>width$} × {}", thousands(number.cast_signed()), draw(geometry, layout.placements()));
    }
    if !spare.is_empty() {
        let _ = writeln!(out, "\nThe same GPUs also hold {}.", listed(spare));
    }
    out
}
