//! All that can be made of one GPU.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use retile::model::{DisruptionLevel, Geometry, Gpu, Layout, MigStrategy, Occupancy, Placement, PlanningInput};

use super::weights::Weights;

/// A layout of one GPU and what comes with it.
#[derive(Debug, Clone)]
pub struct GpuOption {
    /// Held instances that are destroyed, as a bit set over the GPU's instances.
    pub destroyed_held: u64,
    /// Held instances that are kept and whose pods are all evicted, as a bit set.
    pub handed_over: u64,
    /// Offers of free instances that are kept and of created ones, by resource, up to the most that can land.
    pub supply: Vec<u32>,
    /// Instances destroyed and created.
    pub changes: i64,
    /// Room in uncovered runs plus all of `supply` (not cut off) at forecast weights.
    pub flexibility: i64,
    /// The layout.
    pub layout: Arc<Vec<Placement>>,
}

impl GpuOption {
    /// Whether anything changes.
    pub fn touched(&self) -> bool {
        self.changes > 0 || self.handed_over != 0
    }
}

/// Every legal layout of a GPU on a node of strategy `mixed`, each with every choice of what is handed over; the worse of
/// indistinguishable ones dropped.
pub fn options(input: &PlanningInput, weights: &Weights, level: DisruptionLevel, gpu: &Gpu) -> Vec<GpuOption> {
    let mut kept: BTreeMap<(u64, u64, Vec<u32>), GpuOption> = BTreeMap::new();
    if gpu.frozen.is_some() {
        let now: Vec<Placement> = gpu.instances.iter().map(|instance| instance.placement).collect();
        return option(input, weights, level, gpu, &Arc::new(now)).into_iter().collect();
    }
    let all = all_layouts(&gpu.geometry);
    let all = all.iter().filter_map(|layout| option(input, weights, level, gpu, layout));
    for option in all.flat_map(|option| with_hand_overs(input, level, gpu, option)) {
        let key = (option.destroyed_held, option.handed_over, option.supply.clone());
        let order = |option: &GpuOption| (option.touched(), option.changes, -option.flexibility);
        match kept.get(&key) {
            Some(other) if order(other) <= order(&option) => {}
            Some(_) | None => {
                kept.insert(key, option);
            }
        }
    }
    kept.into_values().collect()
}

/// A layout with every set of instances that may be handed over: those that stay and whose pods may all be moved. What
/// they offer then is counted where it is known who is evicted.
fn with_hand_overs(
    input: &PlanningInput,
    level: DisruptionLevel,
    gpu: &Gpu,
    option: GpuOption,
) -> impl Iterator<Item = GpuOption> {
    let mut candidates = 0_u64;
    for (slot, instance) in gpu.instances.iter().enumerate() {
        if let Occupancy::Busy(pods) = &instance.occupancy
            && option.layout.contains(&instance.placement)
            && pods.iter().all(|pod| input.running()[pod.index()].movable_at(level))
        {
            candidates |= 1 << slot;
        }
    }
    // Every subset of a bit set, from the set itself down to the empty one.
    let smaller = move |&set: &u64| (set != 0).then(|| (set - 1) & candidates);
    std::iter::successors(Some(candidates), smaller).map(move |handed_over| GpuOption { handed_over, ..option.clone() })
}

/// What a layout does to a GPU; `None` when it destroys what must stay.
pub fn option(
    input: &PlanningInput,
    weights: &Weights,
    level: DisruptionLevel,
    gpu: &Gpu,
    layout: &Arc<Vec<Placement>>,
) -> Option<GpuOption> {
    let mut destroyed_held = 0;
    let mut changes = 0;
    let mut supply = vec![0; input.resources().len()];
    for (slot, instance) in gpu.instances.iter().enumerate() {
        let stays = layout.contains(&instance.placement);
        if !stays {
            changes += 1;
        }
        match &instance.occupancy {
            Occupancy::Unknown if !stays => return None,
            Occupancy::Busy(pods) if !stays => {
                if !pods.iter().all(|pod| input.running()[pod.index()].movable_at(level)) {
                    return None;
                }
                destroyed_held |= 1 << slot;
            }
            Occupancy::Free if stays => offer(gpu, instance.placement, &mut supply),
            Occupancy::Free | Occupancy::Busy(_) | Occupancy::Unknown => {}
        }
    }
    for &placement in layout.iter() {
        if gpu.instances.iter().all(|instance| instance.placement != placement) {
            changes += 1;
            offer(gpu, placement, &mut supply);
        }
    }
    let offered: i64 = supply.iter().zip(&weights.forecast).map(|(&n, w)| i64::from(n) * w).sum();
    let flexibility = offered + room(input, weights, gpu, layout);
    for (count, &most) in supply.iter_mut().zip(&weights.most) {
        *count = (*count).min(most);
    }
    Some(GpuOption { destroyed_held, handed_over: 0, supply, changes, flexibility, layout: Arc::clone(layout) })
}

fn offer(gpu: &Gpu, placement: Placement, supply: &mut [u32]) {
    if let Some(offer) = gpu.offer(placement.profile()) {
        supply[offer.resource.index()] += offer.replicas;
    }
}

/// The part of flexibility that comes from runs of slots that nothing covers.
fn room(input: &PlanningInput, weights: &Weights, gpu: &Gpu, layout: &[Placement]) -> i64 {
    if gpu.frozen.is_some() || input.nodes()[gpu.node.index()].strategy == MigStrategy::Single {
        return 0;
    }
    let axis = gpu.geometry.axis();
    let covered = |slot: u8| layout.iter().any(|p| p.start() <= slot && slot < p.end());
    let mut room = 0;
    let mut start = 0;
    while start < axis {
        if covered(start) {
            start += 1;
            continue;
        }
        let end = (start..axis).find(|&slot| covered(slot)).unwrap_or(axis);
        for (&resource, weight) in &weights.mix {
            let first =
                gpu.geometry.profile_ids().find(|&id| gpu.offer(id).is_some_and(|offer| offer.resource == resource));
            if let Some(id) = first {
                let profile = gpu.geometry.profile(id);
                let size = profile.size.unwrap_or(0);
                let fit = side_by_side(&profile.starts, size, start, end).min(i64::from(profile.max_count));
                room += weight * i64::from(size) * fit;
            }
        }
        start = end;
    }
    room
}

/// Most instances of `size` at the given starts that stand side by side within `from..to`, by trying all.
fn side_by_side(starts: &[u8], size: u8, from: u8, to: u8) -> i64 {
    if size == 0 {
        return 0;
    }
    starts
        .iter()
        .filter(|&&start| start >= from && start + size <= to)
        .map(|&start| 1 + side_by_side(starts, size, start + size, to))
        .max()
        .unwrap_or(0)
}

/// All layouts of one board.
pub type Layouts = Arc<Vec<Arc<Vec<Placement>>>>;

thread_local! {
    /// Layouts by board: thousands of clusters use the same four boards.
    static LAYOUTS: RefCell<BTreeMap<String, (Arc<Geometry>, Layouts)>> = const { RefCell::new(BTreeMap::new()) };
}

/// All legal layouts of a board: the empty one, and every legal extension of a legal one by a placement further right.
pub fn all_layouts(geometry: &Arc<Geometry>) -> Layouts {
    LAYOUTS.with(|cache| {
        let mut cache = cache.borrow_mut();
        let entry = cache.entry(geometry.board().key.clone()).or_insert_with(|| {
            let mut layouts = Vec::new();
            extend(geometry, &mut Vec::new(), &mut layouts);
            (Arc::clone(geometry), Arc::new(layouts))
        });
        assert_eq!(&entry.0, geometry, "one board key stands for one table");
        Arc::clone(&entry.1)
    })
}

fn extend(geometry: &Geometry, layout: &mut Vec<Placement>, layouts: &mut Vec<Arc<Vec<Placement>>>) {
    layouts.push(Arc::new(layout.clone()));
    for placement in geometry.placements() {
        if layout.last().is_some_and(|last| placement.start() < last.end()) {
            continue;
        }
        layout.push(placement);
        if Layout::try_new(geometry, layout.clone()).is_ok() {
            extend(geometry, layout, layouts);
        }
        layout.pop();
    }
}
