//! What an observation amounts to, for metrics and savings.
//!
//! Input: a [`PlanningInput`]. Output: [`Figures`]. Pure. *Held* units are those of instances that somebody holds; *free* are all others that a
//! waiting profile could stand on whatever free instances gave way; while work waits, free units on which nothing that waits can stand are
//! *stranded*; without waiting work nothing is.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Demand, Geometry, Gpu, Occupancy, PlanningInput, ProfileId, ResourceId};
use crate::savings::{Instances, ModelState, State};

/// Units of the slot axis of one model's GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Units {
    pub(super) busy: u64,
    pub(super) free: u64,
    pub(super) stranded: u64,
    pub(super) unknown: u64,
}

/// The GPUs of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Model {
    pub(super) gpus: u64,
    pub(super) units: Units,
    /// Largest profile for which a GPU has room without moving anybody, and its size.
    pub(super) largest: Option<(u8, String)>,
}

/// What an observation amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Figures {
    pub(super) models: BTreeMap<String, Model>,
    /// Waiting pods that can be planned for, by name, with the profile that they ask for.
    pub(super) asks: BTreeMap<String, String>,
    /// What savings count.
    pub(super) state: State,
}

/// Profile of a pod that asks for instances of several profiles or for several instances.
const SEVERAL: &str = "several";
/// Profile of a pod that asks for what no board here has.
pub(super) const OTHER: &str = "other";

impl Figures {
    pub(super) fn of(input: &PlanningInput) -> Self {
        let boards = Boards::of(input);
        let mut figures = Self::default();
        for gpu in input.gpus() {
            let model = figures.models.entry(gpu.product.clone()).or_default();
            model.gpus += 1;
            let waiting = boards.wanted.get(gpu.product.as_str());
            count(gpu, waiting, &mut model.units);
            if let Some(largest) = largest(gpu) {
                model.largest = model.largest.take().max(Some(largest));
            }
        }
        let label = |demand: &Demand| match demand.single() {
            None => SEVERAL,
            Some(resource) => boards.labels.get(&resource).copied().unwrap_or(OTHER),
        };
        let asks = input.pending().iter().map(|pod| (pod.pod.to_string(), label(&pod.demand).to_owned()));
        figures.asks = asks.collect();
        figures.state = state(input, &boards);
        figures
    }
}

/// What the boards of an input offer.
struct Boards<'a> {
    /// Profile that a resource stands for.
    labels: BTreeMap<ResourceId, &'a str>,
    /// By model: profiles that are offered one to one, by resource.
    offered: BTreeMap<&'a str, BTreeMap<ResourceId, &'a str>>,
    /// By model: profiles for which somebody waits.
    wanted: BTreeMap<&'a str, BTreeSet<ProfileId>>,
}

impl<'a> Boards<'a> {
    fn of(input: &'a PlanningInput) -> Self {
        let waiting: BTreeSet<ResourceId> =
            input.pending().iter().flat_map(|pod| pod.demand.iter().map(|(resource, _)| resource)).collect();
        let mut boards = Self { labels: BTreeMap::new(), offered: BTreeMap::new(), wanted: BTreeMap::new() };
        let mut seen = BTreeSet::new();
        for gpu in input.gpus() {
            // Boards of one model share their tables; nodes differ in what they offer of them.
            if !seen.insert((gpu.product.as_str(), std::sync::Arc::as_ptr(&gpu.offers).cast::<()>())) {
                continue;
            }
            let offered = boards.offered.entry(&gpu.product).or_default();
            let wanted = boards.wanted.entry(&gpu.product).or_default();
            for id in gpu.geometry.profile_ids() {
                let Some(offer) = gpu.offer(id) else { continue };
                let name = gpu.geometry.profile(id).name.as_str();
                boards.labels.entry(offer.resource).or_insert(name);
                if offer.replicas == 1 {
                    offered.entry(offer.resource).or_insert(name);
                }
                if waiting.contains(&offer.resource) {
                    wanted.insert(id);
                }
            }
        }
        boards
    }
}

/// Adds the units of a GPU.
fn count(gpu: &Gpu, waiting: Option<&BTreeSet<ProfileId>>, units: &mut Units) {
    let axis = usize::from(gpu.geometry.axis());
    let mut taken = vec![false; axis];
    for instance in &gpu.instances {
        let (start, end) = (usize::from(instance.placement.start()), usize::from(instance.placement.end()));
        match instance.occupancy {
            Occupancy::Free => continue,
            Occupancy::Busy(_) => units.busy += (end - start) as u64,
            Occupancy::Unknown => units.unknown += (end - start) as u64,
        }
        taken.iter_mut().take(end).skip(start).for_each(|unit| *unit = true);
    }
    let free = taken.iter().filter(|taken| !**taken).count() as u64;
    let Some(waiting) = waiting.filter(|waiting| !waiting.is_empty()) else {
        units.free += free;
        return;
    };
    let mut usable = vec![false; axis];
    for place in gpu.geometry.placements().filter(|place| waiting.contains(&place.profile())) {
        let span = usize::from(place.start())..usize::from(place.end());
        if taken[span.clone()].iter().all(|taken| !taken) {
            usable[span].iter_mut().for_each(|unit| *unit = true);
        }
    }
    let useful = usable.iter().filter(|usable| **usable).count() as u64;
    units.free += useful;
    units.stranded += free - useful;
}

/// The largest profile for which a GPU has room: in a free instance, or, where it may be changed, wherever nobody stands.
fn largest(gpu: &Gpu) -> Option<(u8, String)> {
    let named = |geometry: &Geometry, id: ProfileId, size: u8| (size, geometry.profile(id).name.clone());
    let free = gpu.instances.iter().filter(|instance| instance.occupancy == Occupancy::Free).map(|it| it.placement);
    let there = free.filter(|place| gpu.offer(place.profile()).is_some());
    let held: Vec<_> =
        gpu.instances.iter().filter(|it| it.occupancy != Occupancy::Free).map(|it| it.placement).collect();
    let could = gpu.geometry.placements().filter(|place| {
        gpu.frozen.is_none() && gpu.offer(place.profile()).is_some() && held.iter().all(|held| !held.overlaps(*place))
    });
    // Of profiles of one size the first of the table, which is the plain one.
    let best = there.chain(could).max_by_key(|place| (place.size(), std::cmp::Reverse(place.profile())))?;
    Some(named(&gpu.geometry, best.profile(), best.size()))
}

/// GPUs and demand as savings count them. A waiting pod counts on the first model, by name, that offers all it asks for; shared instances count
/// once, for the first pod that holds them.
fn state(input: &PlanningInput, boards: &Boards<'_>) -> State {
    let mut state = State::new();
    let mut held: BTreeMap<(String, usize), Instances> = BTreeMap::new();
    for gpu in input.gpus() {
        let model: &mut ModelState = state.entry(gpu.product.clone()).or_default();
        let mut cut = Instances::new();
        for instance in &gpu.instances {
            let name = &gpu.geometry.profile(instance.placement.profile()).name;
            *cut.entry(name.clone()).or_default() += 1;
            if let Occupancy::Busy(pods) = &instance.occupancy
                && let Some(first) = pods.first()
            {
                let instances = held.entry((gpu.product.clone(), first.index())).or_default();
                *instances.entry(name.clone()).or_default() += 1;
            }
        }
        let name = if gpu.uuid.is_empty() {
            format!("{}/{}", input.nodes()[gpu.node.index()].name, gpu.index)
        } else {
            gpu.uuid.clone()
        };
        model.gpus.insert(name, cut);
    }
    for ((product, _), instances) in held {
        *state.entry(product).or_default().running.entry(instances).or_default() += 1;
    }
    for pod in input.pending() {
        let named = |offered: &BTreeMap<ResourceId, &str>| -> Option<Instances> {
            pod.demand.iter().map(|(resource, count)| Some(((*offered.get(&resource)?).to_owned(), count))).collect()
        };
        let found = boards.offered.iter().find_map(|(model, offered)| Some((*model, named(offered)?)));
        if let Some((model, instances)) = found {
            *state.entry(model.to_owned()).or_default().pending.entry(instances).or_default() += 1;
        }
    }
    state
}
