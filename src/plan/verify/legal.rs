//! Rules 1 and 2: legal layouts, and what may be destroyed and handed over.
//!
//! The arithmetic of layouts is the verifier's own, from the board's table alone.

use super::changes::{Changes, Touched};
use super::violation::Violation;
use super::world::{Spot, World, gpu_place};
use crate::model::{Geometry, Gpu, MediaEngines, MigStrategy, NodeId, Occupancy, ProfileId};

/// Most GPU instances on one GPU (the resource manager's limit NV2080).
const MOST_INSTANCES: usize = 8;

/// Checks every touched GPU and every touched node.
pub(super) fn check(changes: &Changes, world: &World<'_>, found: &mut Vec<Violation>) {
    for (&position, touched) in &changes.gpus {
        let gpu = &world.input.gpus()[position];
        let (node, index) = gpu_place(world, gpu);
        if let Some((reason, detail)) = &gpu.frozen {
            let (reason, detail) = (reason.to_string(), detail.clone());
            found.push(Violation::Frozen { node: node.clone(), gpu: index, reason, detail });
        }
        for &slot in &touched.destroyed {
            let instance = &gpu.instances[slot];
            if instance.occupancy == Occupancy::Unknown {
                let instance = Spot::of(instance).show(&gpu.geometry);
                found.push(Violation::DestroysUnknown { node: node.clone(), gpu: index, instance });
            }
        }
        for flaw in flaws(&gpu.geometry, &changes.after(position, gpu)) {
            found.push(flaw.at(&node, index, &gpu.geometry));
        }
    }
    for &node in &changes.nodes {
        if world.input.nodes()[node.index()].strategy == MigStrategy::Single
            && let Some(detail) = single_flaw(node, changes, world)
        {
            found.push(Violation::SingleStrategy { node: world.node_name(node).to_owned(), detail });
        }
    }
}

/// What is illegal about a set of instances on one board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The table does not have the place.
    Place(Spot),
    /// Two instances share a slot.
    Overlap(Spot, Spot),
    /// More instances of a profile than allowed.
    TooManyOfProfile(ProfileId, usize),
    /// More instances than a GPU takes.
    TooMany(usize),
    /// Media engines given out twice.
    Media(Spot),
}

impl Flaw {
    pub(super) fn at(self, node: &str, gpu: u32, geometry: &Geometry) -> Violation {
        let node = node.to_owned();
        match self {
            Self::Place(spot) => Violation::Place {
                node,
                gpu,
                instance: spot.show(geometry),
                board: geometry.board().key.clone(),
                legal: legal_places(geometry, spot.profile),
            },
            Self::Overlap(first, second) => {
                Violation::Overlap { node, gpu, first: first.show(geometry), second: second.show(geometry) }
            }
            Self::TooManyOfProfile(profile, count) => {
                let profile = geometry.profile(profile);
                let (profile, most) = (profile.name.clone(), profile.max_count);
                Violation::TooManyOfProfile { node, gpu, profile, count, most }
            }
            Self::TooMany(count) => Violation::TooManyInstances { node, gpu, count, most: MOST_INSTANCES },
            Self::Media(spot) => Violation::Media { node, gpu, instance: spot.show(geometry) },
        }
    }
}

fn legal_places(geometry: &Geometry, profile: ProfileId) -> String {
    let profile = geometry.profile(profile);
    match profile.size {
        Some(size) if !profile.starts.is_empty() => {
            format!("{} has {size} slots and starts at one of {:?}", profile.name, profile.starts)
        }
        Some(_) | None => format!("the places of {} are known to the device only", profile.name),
    }
}

/// All that is illegal about instances that are ordered by start.
pub(super) fn flaws(geometry: &Geometry, spots: &[Spot]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut counts = vec![0_usize; geometry.profiles().len()];
    for spot in spots {
        let profile = geometry.profile(spot.profile);
        if profile.size != Some(spot.size) || !profile.starts.contains(&spot.start) {
            flaws.push(Flaw::Place(*spot));
        }
        counts[spot.profile.index()] += 1;
    }
    // An instance can reach over several that follow, so the widest one so far is remembered.
    let mut reach: Option<Spot> = None;
    for &spot in spots {
        if let Some(widest) = reach
            && u16::from(spot.start) < widest.end()
        {
            flaws.push(Flaw::Overlap(widest, spot));
        }
        if reach.is_none_or(|widest| widest.end() < spot.end()) {
            reach = Some(spot);
        }
    }
    for (profile, &count) in geometry.profile_ids().zip(&counts) {
        if count > usize::from(geometry.profile(profile).max_count) {
            flaws.push(Flaw::TooManyOfProfile(profile, count));
        }
    }
    if spots.len() > MOST_INSTANCES {
        flaws.push(Flaw::TooMany(spots.len()));
    }
    flaws.extend(media_flaw(geometry, spots));
    flaws
}

/// One `+me` per GPU; beside `+me.all` only `-me`. Source: the media rules in the NVML header.
fn media_flaw(geometry: &Geometry, spots: &[Spot]) -> Option<Flaw> {
    let takes = |spot: &&Spot| geometry.profile(spot.profile).media;
    let of = |wanted: MediaEngines| spots.iter().filter(move |spot| takes(spot) == wanted);
    if let Some(&all) = of(MediaEngines::All).next() {
        let takers = spots.iter().filter(|spot| takes(spot) != MediaEngines::None).count();
        return (takers > 1).then_some(Flaw::Media(all));
    }
    of(MediaEngines::Extended).nth(1).map(|&second| Flaw::Media(second))
}

/// Rule 1 for a changed node of strategy `single`: nothing on it is held, unknown or frozen, and afterwards all its GPUs
/// are cut into one profile, as many instances as fit.
fn single_flaw(node: NodeId, changes: &Changes, world: &World<'_>) -> Option<String> {
    let gpus = || {
        let range = world.input.nodes()[node.index()].gpus.clone();
        range.map(|position| (position, &world.input.gpus()[position]))
    };
    if let Some(obstacle) = gpus().find_map(|(position, gpu)| obstacle(gpu, changes.gpus.get(&position))) {
        return Some(obstacle);
    }
    let mut cut: Option<&str> = None;
    for (position, gpu) in gpus() {
        let index = gpu.index;
        let after = changes.after(position, gpu);
        let Some(first) = after.first() else {
            return Some(format!("GPU {index} would be left without instances"));
        };
        let name = gpu.geometry.profile(first.profile).name.as_str();
        if let Some(other) = after.iter().find(|spot| spot.profile != first.profile) {
            return Some(format!("GPU {index} would hold {name} and {}", other.show(&gpu.geometry)));
        }
        let fit = most_of(gpu, first.profile);
        if after.len() < fit {
            return Some(format!("GPU {index} would hold {} instances of {name}, {fit} fit", after.len()));
        }
        let other = *cut.get_or_insert(name);
        if other != name {
            return Some(format!("GPU {index} would be cut into {name}, another one into {other}"));
        }
    }
    None
}

/// Why no GPU of the node of this one may be changed.
fn obstacle(gpu: &Gpu, touched: Option<&Touched>) -> Option<String> {
    let index = gpu.index;
    // A change of a frozen GPU itself, or of an unknown instance, has a violation of its own.
    if gpu.frozen.is_some() && touched.is_none() {
        return Some(format!("GPU {index} must not be changed, so no GPU of the node may be"));
    }
    gpu.instances.iter().enumerate().find_map(|(slot, instance)| {
        let destroyed = touched.is_some_and(|touched| touched.destroyed.contains(&slot));
        let shown = Spot::of(instance).show(&gpu.geometry);
        match &instance.occupancy {
            Occupancy::Busy(_) => Some(format!("{shown} on GPU {index} is held by a pod")),
            Occupancy::Unknown if !destroyed => {
                Some(format!("{shown} on GPU {index} may be held by something unknown"))
            }
            Occupancy::Free | Occupancy::Unknown => None,
        }
    })
}

/// Most instances of one profile on an empty board: of intervals of equal length, the earliest first.
fn most_of(gpu: &Gpu, profile: ProfileId) -> usize {
    let profile = gpu.geometry.profile(profile);
    let most = usize::from(profile.max_count).min(MOST_INSTANCES);
    side_by_side(&profile.starts, profile.size.unwrap_or(0), 0, gpu.geometry.axis()).min(most)
}

/// Most instances of `size` units at the given starts that stand side by side within `from..to`.
pub(super) fn side_by_side(starts: &[u8], size: u8, from: u8, to: u8) -> usize {
    let mut starts: Vec<u8> = starts.to_vec();
    starts.sort_unstable();
    let (mut free, mut count) = (u16::from(from), 0);
    if size == 0 {
        return 0;
    }
    for start in starts {
        let end = u16::from(start) + u16::from(size);
        if u16::from(start) >= free && end <= u16::from(to) {
            free = end;
            count += 1;
        }
    }
    count
}
