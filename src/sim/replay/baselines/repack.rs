//! Full repack: what could be served if every pod that may move at all could move for nothing.
//!
//! It is a yardstick, not a rival: it packs everything that runs and everything that waits anew, with exact packing where a [`Packer`] gives
//! it, and moves as many pods as that takes. It moves nobody where nothing is gained.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::greedy::{Fit, Order, ordered, place, slices};
use super::sheet::{Holder, Sheet, Slot};
use crate::controller::{Proposal, ProposeError, Proposer};
use crate::model::{Geometry, Layout, Movability, NodeId, Occupancy, PlanningInput, PodId, ProfileId, ResourceId};

/// The function of a [`Packer`].
type Pack = dyn Fn(&Geometry, &[(ProfileId, u64)]) -> Option<Vec<(u64, Layout)>> + Send + Sync;

/// Packs instances into as few empty GPUs of a board as it can: how many GPUs are cut into which layout.
#[derive(Clone)]
pub struct Packer(Arc<Pack>);

impl Packer {
    /// Wraps a function. It answers `None` where it has no answer; the layouts that it gives must hold the demand.
    pub fn new(
        pack: impl Fn(&Geometry, &[(ProfileId, u64)]) -> Option<Vec<(u64, Layout)>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(pack))
    }

    fn packed(&self, geometry: &Geometry, demand: &BTreeMap<ProfileId, u64>) -> Option<(u64, Vec<(u64, Layout)>)> {
        let demand: Vec<(ProfileId, u64)> = demand.iter().map(|(&id, &count)| (id, count)).collect();
        let packed = (self.0)(geometry, &demand)?;
        Some((packed.iter().try_fold(0_u64, |sum, (count, _)| sum.checked_add(*count))?, packed))
    }

    /// How many GPUs hold a demand; `None` where there is no answer.
    pub fn fewest(&self, geometry: &Geometry, demand: &BTreeMap<ProfileId, u64>) -> Option<u64> {
        self.packed(geometry, demand).map(|(needed, _)| needed)
    }

    /// Layouts of `gpus` GPUs that hold a demand.
    fn within(&self, geometry: &Geometry, demand: &BTreeMap<ProfileId, u64>, gpus: usize) -> Option<Vec<Layout>> {
        let (needed, packed) = self.packed(geometry, demand)?;
        (needed <= gpus as u64)
            .then(|| packed.into_iter().flat_map(|(count, it)| std::iter::repeat_n(it, count as usize)).collect())
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

/// The yardstick.
#[derive(Debug, Clone)]
pub struct Repack {
    /// How empty GPUs are packed.
    pub packer: Packer,
}

impl Proposer for Repack {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError> {
        let mut still = Sheet::new(input);
        let order = ordered(input, Order::Decreasing);
        let left: Vec<usize> = order.iter().copied().filter(|&pod| !place(&mut still, pod, Fit::Best)).collect();
        if left.is_empty() {
            return Ok(still.proposal());
        }
        let gain = |served: &[usize]| -> u64 { served.iter().map(|&pod| slices(input, &input.pending()[pod])).sum() };
        let without: Vec<usize> = order.iter().copied().filter(|pod| !left.contains(pod)).collect();
        match self.repacked(input, &order) {
            Some((sheet, served)) if gain(&served) > gain(&without) => Ok(sheet.proposal()),
            Some(_) | None => Ok(still.proposal()),
        }
    }
}

/// GPUs that may be packed anew, and the single-instance pods on them.
struct Pool {
    gpus: Vec<usize>,
    pods: Vec<(PodId, ProfileId)>,
}

impl Repack {
    /// The cluster packed anew, with the waiting pods that find a place.
    fn repacked<'i>(&self, input: &'i PlanningInput, order: &[usize]) -> Option<(Sheet<'i>, Vec<usize>)> {
        let pool = Pool::of(input)?;
        let geometry = &input.gpus()[pool.gpus[0]].geometry;
        let mut demand: BTreeMap<ProfileId, u64> = BTreeMap::new();
        for (_, profile) in &pool.pods {
            *demand.entry(*profile).or_default() += 1;
        }
        let mut layouts = self.packer.within(geometry, &demand, pool.gpus.len())?;
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        for &pod in order {
            let waiting = &input.pending()[pod];
            let profile = waiting.demand.single().filter(|_| everywhere(input, waiting.eligible));
            let Some(profile) = profile.and_then(|resource| profile_of(input, pool.gpus[0], resource)) else {
                others.push(pod);
                continue;
            };
            *demand.entry(profile).or_default() += 1;
            if let Some(fits) = self.packer.within(geometry, &demand, pool.gpus.len()) {
                layouts = fits;
                chosen.push((pod, profile));
            } else {
                *demand.entry(profile).or_default() -= 1;
                others.push(pod);
            }
        }
        let mut sheet = pool.laid_out(input, layouts, &chosen)?;
        let mut served: Vec<usize> = chosen.into_iter().map(|(pod, _)| pod).collect();
        served.extend(others.into_iter().filter(|&pod| place(&mut sheet, pod, Fit::Best)));
        Some((sheet, served))
    }
}

impl Pool {
    /// GPUs of the most frequent board that hold nothing immovable; `None` when there are none.
    fn of(input: &PlanningInput) -> Option<Self> {
        let first = input.gpus().iter().find(|gpu| gpu.frozen.is_none())?;
        let mut pool = Self { gpus: Vec::new(), pods: Vec::new() };
        for (index, gpu) in input.gpus().iter().enumerate() {
            if gpu.frozen.is_some() || !Arc::ptr_eq(&gpu.geometry, &first.geometry) || gpu.offers != first.offers {
                continue;
            }
            let pods: Option<Vec<(PodId, ProfileId)>> = gpu
                .instances
                .iter()
                .filter_map(|instance| match &instance.occupancy {
                    Occupancy::Free => None,
                    Occupancy::Unknown => Some(None),
                    Occupancy::Busy(pods) => match pods.as_slice() {
                        [pod] if movable(input, *pod) => Some(Some((*pod, instance.placement.profile()))),
                        _ => Some(None),
                    },
                })
                .collect();
            if let Some(pods) = pods {
                pool.gpus.push(index);
                pool.pods.extend(pods);
            }
        }
        (!pool.gpus.is_empty()).then_some(pool)
    }

    /// Gives each GPU one of the layouts, the one that keeps most of what runs there; pods whose instance goes land on another.
    fn laid_out<'i>(
        &self,
        input: &'i PlanningInput,
        mut layouts: Vec<Layout>,
        chosen: &[(usize, ProfileId)],
    ) -> Option<Sheet<'i>> {
        let mut sheet = Sheet::new(input);
        layouts.resize(self.gpus.len(), Layout::default());
        // Pairs of GPU and layout with the most instances in common first.
        let mut open: Vec<usize> = self.gpus.clone();
        let mut given: BTreeMap<usize, Layout> = BTreeMap::new();
        while !open.is_empty() {
            let common = |gpu: usize, layout: &Layout| {
                let busy = input.gpus()[gpu].instances.iter().filter(|it| it.occupancy != Occupancy::Free);
                busy.filter(|it| layout.placements().contains(&it.placement)).map(|it| it.placement.size()).sum::<u8>()
            };
            let pairs = (0..open.len()).flat_map(|gpu| (0..layouts.len()).map(move |layout| (gpu, layout)));
            let (gpu, layout) = pairs
                .max_by_key(|&(gpu, layout)| (common(open[gpu], &layouts[layout]), std::cmp::Reverse((gpu, layout))))?;
            given.insert(open.remove(gpu), layouts.remove(layout));
        }
        let mut homeless: Vec<(PodId, ProfileId)> = Vec::new();
        let mut free: BTreeMap<ProfileId, Vec<(usize, usize)>> = BTreeMap::new();
        let mut slots: BTreeMap<usize, Vec<Slot>> = BTreeMap::new();
        for (&gpu, layout) in &given {
            let mut of_gpu = Vec::new();
            for &placement in layout.placements() {
                let there = input.gpus()[gpu].instances.iter().find(|it| it.placement == placement);
                let holder = match there.map(|it| &it.occupancy) {
                    Some(Occupancy::Busy(pods)) => Holder::Running(pods.clone()),
                    Some(Occupancy::Free | Occupancy::Unknown) | None => {
                        free.entry(placement.profile()).or_default().push((gpu, of_gpu.len()));
                        Holder::Nobody
                    }
                };
                of_gpu.push(Slot { placement, holder });
            }
            for instance in &input.gpus()[gpu].instances {
                if let (Occupancy::Busy(pods), false) =
                    (&instance.occupancy, layout.placements().contains(&instance.placement))
                {
                    homeless.extend(pods.iter().map(|&pod| (pod, instance.placement.profile())));
                }
            }
            slots.insert(gpu, of_gpu);
        }
        let mut settle = |profile: ProfileId, holder: Holder| -> Option<usize> {
            let (gpu, slot) = free.get_mut(&profile)?.pop()?;
            slots.get_mut(&gpu)?[slot].holder = holder;
            Some(gpu)
        };
        for &(pod, profile) in &homeless {
            settle(profile, Holder::Landing(pod))?;
            sheet.evict(pod);
        }
        for &(pod, profile) in chosen {
            let gpu = settle(profile, Holder::Waiting(pod))?;
            sheet.charge(input.gpus()[gpu].node, &input.pending()[pod].requests);
        }
        for (gpu, of_gpu) in slots {
            if !sheet.replace(gpu, of_gpu) {
                return None;
            }
        }
        Some(sheet)
    }
}

/// Whether a pod with one instance may be moved, to any node.
fn movable(input: &PlanningInput, pod: PodId) -> bool {
    let pod = &input.running()[pod.index()];
    let allowed = match pod.movability {
        Movability::From(_) => true,
        Movability::Never(..) => false,
    };
    allowed && pod.demand.single().is_some() && everywhere(input, pod.eligible)
}

fn everywhere(input: &PlanningInput, set: crate::model::NodeSetId) -> bool {
    (0..input.nodes().len()).all(|node| input.may_use(set, NodeId::new(node)))
}

/// The profile that a GPU offers as a resource, each instance to one pod.
fn profile_of(input: &PlanningInput, gpu: usize, resource: ResourceId) -> Option<ProfileId> {
    let gpu = &input.gpus()[gpu];
    gpu.geometry.profile_ids().find(|&id| gpu.offer(id).is_some_and(|it| it.resource == resource && it.replicas == 1))
}
