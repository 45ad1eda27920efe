//! A partitioner after nebuly-ai/nos, the one open project that rewrote MIG layouts for waiting pods under the stock device plugin.
//!
//! Its published rules: pods by priority, then the smallest first; nodes by name; per node each GPU alone takes that geometry of a fixed
//! list which provides the most instances of lacking profiles, a small one counting as much as a large one; a geometry is possible when it
//! has at least what is used, *by number*; what is lacking is counted against the free instances of the whole cluster; only free instances
//! are destroyed; places are not planned, and what cannot be placed next to what is used is left out.
//!
//! Better here than there: a pod that has found a node is not placed again on the next one, names of the list's profiles are right on
//! every board, ties go to the first geometry of the list, and places are searched completely.

use std::collections::BTreeMap;

use super::greedy::{Order, ordered, slices};
use super::sheet::{Holder, Sheet, Slot};
use crate::controller::{Proposal, ProposeError, Proposer};
use crate::model::{Geometry, Layout, Placement, PlanningInput, ProfileId};
use crate::sim::replay::fleet::{compute_slices, menu};

/// Instances by compute slices: (slices, count).
type Listed = &'static [(u8, u8)];

/// The list for boards of seven compute slices; it lacks 4g+3g and 3g+4x1g.
const SEVEN: [Listed; 12] = [
    &[(7, 1)],
    &[(4, 1), (2, 1), (1, 1)],
    &[(4, 1), (1, 3)],
    &[(3, 2)],
    &[(3, 1), (2, 1), (1, 1)],
    &[(3, 1), (1, 3)],
    &[(2, 2), (3, 1)],
    &[(2, 1), (1, 2), (3, 1)],
    &[(2, 3), (1, 1)],
    &[(2, 2), (1, 3)],
    &[(2, 1), (1, 5)],
    &[(1, 7)],
];
/// The list for boards of four compute slices.
const FOUR: [Listed; 4] = [&[(4, 1)], &[(2, 2)], &[(2, 1), (1, 2)], &[(1, 4)]];

/// The rules of nos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nos;

/// Instances by profile.
type Counts = BTreeMap<ProfileId, u32>;

impl Proposer for Nos {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError> {
        let mut sheet = Sheet::new(input);
        let mut waiting = smallest_first(input);
        for (index, node) in input.nodes().iter().enumerate() {
            let lacking = lacking(&sheet, &waiting);
            if lacking.is_empty() {
                break;
            }
            let mut trial = sheet.clone();
            let mut rest = lacking;
            for gpu in node.gpus.clone() {
                update_geometry(&mut trial, gpu, &mut rest);
            }
            let id = crate::model::NodeId::new(index);
            let before = waiting.len();
            waiting.retain(|&pod| !add(&mut trial, id, pod));
            if waiting.len() < before {
                sheet = trial;
            }
        }
        Ok(sheet.proposal())
    }
}

fn smallest_first(input: &PlanningInput) -> Vec<usize> {
    let mut pods = ordered(input, Order::Arrival);
    pods.sort_by_key(|&pod| {
        let waiting = &input.pending()[pod];
        (std::cmp::Reverse(waiting.priority), slices(input, waiting))
    });
    pods
}

/// Resources that the waiting pods lack, each pod against all free instances of the cluster.
fn lacking(sheet: &Sheet<'_>, waiting: &[usize]) -> BTreeMap<crate::model::ResourceId, u32> {
    let input = sheet.input();
    let mut lacking = BTreeMap::new();
    for &pod in waiting {
        for (resource, count) in input.pending()[pod].demand.iter() {
            let free: usize = (0..input.gpus().len())
                .map(|gpu| {
                    let profiles = sheet.profiles(gpu, resource);
                    let idle =
                        |slot: &&Slot| slot.holder == Holder::Nobody && profiles.contains(&slot.placement.profile());
                    sheet.slots(gpu).iter().filter(idle).count()
                })
                .sum();
            let lack = count.saturating_sub(free as u32);
            if lack > 0 {
                *lacking.entry(resource).or_default() += lack;
            }
        }
    }
    lacking
}

/// The list of a board; none for boards that nos did not know.
fn geometries(geometry: &Geometry) -> Vec<Counts> {
    let list: &[Listed] = match compute_slices(geometry) {
        7 => &SEVEN,
        4 => &FOUR,
        _ => &[],
    };
    let profiles = menu(geometry);
    let named = |slices: u8| profiles.iter().copied().find(|&id| geometry.profile(id).compute_slices == slices);
    let counts = |listed: &Listed| -> Option<Counts> {
        listed.iter().map(|&(slices, count)| Some((named(slices)?, u32::from(count)))).collect()
    };
    list.iter().filter_map(counts).collect()
}

fn counted<'s>(slots: impl Iterator<Item = &'s Slot>) -> Counts {
    let mut counts = Counts::new();
    for slot in slots {
        *counts.entry(slot.placement.profile()).or_default() += 1;
    }
    counts
}

/// Gives a GPU the geometry that provides the most lacking instances, and takes what it provides off the list.
fn update_geometry(sheet: &mut Sheet<'_>, gpu: usize, lacking: &mut BTreeMap<crate::model::ResourceId, u32>) {
    if sheet.input().gpus()[gpu].frozen.is_some() {
        return;
    }
    let used = counted(sheet.slots(gpu).iter().filter(|slot| slot.holder != Holder::Nobody));
    let free = counted(sheet.slots(gpu).iter().filter(|slot| slot.holder == Holder::Nobody));
    let of = |counts: &Counts, id: ProfileId| counts.get(&id).copied().unwrap_or(0);
    let required: Vec<(ProfileId, u32)> = lacking
        .iter()
        .flat_map(|(&resource, &count)| sheet.profiles(gpu, resource).into_iter().map(move |id| (id, count)))
        .filter(|&(id, count)| of(&free, id) < count)
        .collect();
    let provided = |candidate: &Counts| -> u32 {
        required.iter().map(|&(id, count)| of(candidate, id).saturating_sub(of(&used, id)).min(count)).sum()
    };
    let mut best: Option<(u32, Counts)> = None;
    for candidate in geometries(sheet.geometry(gpu)) {
        let possible = used.iter().all(|(&id, &count)| of(&candidate, id) >= count);
        let provides = provided(&candidate);
        if possible && provides > best.as_ref().map_or(0, |(most, _)| *most) {
            best = Some((provides, candidate));
        }
    }
    if let Some((_, chosen)) = best {
        let wanted = chosen.iter().map(|(&id, &count)| (id, count - of(&used, id))).collect();
        apply(sheet, gpu, &wanted);
    }
    let idle = counted(sheet.slots(gpu).iter().filter(|slot| slot.holder == Holder::Nobody));
    for (&resource, lack) in &mut *lacking {
        let profiles = sheet.profiles(gpu, resource);
        let there: u32 = profiles.iter().map(|&id| of(&idle, id)).sum();
        *lack = lack.saturating_sub(there);
    }
    lacking.retain(|_, lack| *lack > 0);
}

/// Makes the free instances of a GPU the wanted ones, as far as they find a place beside the used ones.
fn apply(sheet: &mut Sheet<'_>, gpu: usize, wanted: &Counts) {
    let geometry = sheet.geometry(gpu);
    let used: Vec<Slot> = sheet.slots(gpu).iter().filter(|slot| slot.holder != Holder::Nobody).cloned().collect();
    let idle: Vec<Placement> =
        sheet.slots(gpu).iter().filter(|slot| slot.holder == Holder::Nobody).map(|slot| slot.placement).collect();
    let held: Vec<Placement> = used.iter().map(|slot| slot.placement).collect();
    // Large ones first, since they have the fewest starts.
    let mut list: Vec<ProfileId> =
        wanted.iter().flat_map(|(&id, &count)| std::iter::repeat_n(id, count as usize)).collect();
    list.sort_by_key(|&id| std::cmp::Reverse(geometry.profile(id).size));
    let placed = arranged(geometry, &held, &idle, &list).unwrap_or_else(|| {
        let mut placed = held.clone();
        for &id in &list {
            if let Some(more) = arranged(geometry, &placed, &idle, &[id]) {
                placed.extend(more);
            }
        }
        placed.split_off(held.len())
    });
    let free = placed.into_iter().map(|placement| Slot { placement, holder: Holder::Nobody });
    sheet.replace(gpu, used.into_iter().chain(free).collect());
}

/// Places for profiles beside what is held, those of idle instances first; `None` when there is no way.
fn arranged(geometry: &Geometry, held: &[Placement], idle: &[Placement], list: &[ProfileId]) -> Option<Vec<Placement>> {
    let Some((&next, rest)) = list.split_first() else { return Some(Vec::new()) };
    let mut options: Vec<Placement> = geometry.placements().filter(|it| it.profile() == next).collect();
    options.sort_by_key(|placement| (!idle.contains(placement), placement.start()));
    options.into_iter().find_map(|placement| {
        let with: Vec<Placement> = held.iter().copied().chain([placement]).collect();
        Layout::try_new(geometry, with.clone()).ok()?;
        let mut others = arranged(geometry, &with, idle, rest)?;
        others.push(placement);
        Some(others)
    })
}

/// Adds a pod to a node if its free instances suffice.
fn add(sheet: &mut Sheet<'_>, node: crate::model::NodeId, position: usize) -> bool {
    let pod = &sheet.input().pending()[position];
    let nodes = sheet.nodes_for(pod.eligible, &pod.requests);
    let Some((_, gpus)) = nodes.into_iter().find(|(id, _)| *id == node) else { return false };
    let mut trial = sheet.clone();
    let wanted = pod.demand.iter().flat_map(|(resource, count)| std::iter::repeat_n(resource, count as usize));
    let all = wanted
        .into_iter()
        .all(|resource| gpus.clone().any(|gpu| trial.take_idle(gpu, resource, Holder::Waiting(position))));
    if all {
        trial.charge(node, &pod.requests);
        *sheet = trial;
    }
    all
}
