//! What layouts say: which instances an operation touches, what a device plugin must advertise.
//!
//! Inputs: targets of an operation, reports of an agent, boards. Pure.

use std::collections::BTreeMap;

use crate::model::{MIG_PREFIX, mig_resource};
use crate::plan::Place;

use super::port::BoardState;
use super::record::{GpuReport, GpuTarget, Operation};

impl Operation {
    /// Whether it changes no instance.
    pub fn is_repair(&self) -> bool {
        self.gpus.is_empty()
    }
}

impl GpuTarget {
    /// Instances that are destroyed.
    pub fn destroyed(&self) -> impl Iterator<Item = &Place> {
        self.base.iter().filter(|place| !self.target.contains(place))
    }

    /// Instances that are created.
    pub fn created(&self) -> impl Iterator<Item = &Place> {
        self.target.iter().filter(|place| !self.base.contains(place))
    }

    /// Whether an instance at this place is destroyed or created.
    pub fn touches(&self, place: &Place) -> bool {
        self.base.contains(place) != self.target.contains(place)
    }
}

/// Whether the reported instances are exactly these, each with its compute instance.
pub(super) fn reported(gpus: &[GpuReport], uuid: &str, places: &[Place]) -> bool {
    gpus.iter().find(|gpu| gpu.uuid == uuid).is_some_and(|gpu| {
        let there: Vec<&Place> = gpu.instances.iter().map(|instance| &instance.place).collect();
        same(&there, places) && gpu.instances.iter().all(|instance| instance.uuid.is_some())
    })
}

/// Whether the board has exactly these instances, each with its compute instance.
pub(super) fn holds(board: &BoardState, places: &[Place]) -> bool {
    let there: Vec<&Place> = board.instances.iter().map(|instance| &instance.place).collect();
    same(&there, places) && board.instances.iter().all(|instance| instance.compute.is_some())
}

fn same(there: &[&Place], wanted: &[Place]) -> bool {
    there.len() == wanted.len() && wanted.iter().all(|place| there.contains(&place))
}

/// Whether a node advertises exactly the reported instances, by all its MIG resources. A resource with 0 means nothing.
pub fn advertises(allocatable: &BTreeMap<String, u64>, gpus: &[GpuReport]) -> bool {
    let mut expected = BTreeMap::<String, u64>::new();
    for instance in gpus.iter().flat_map(|gpu| &gpu.instances).filter(|instance| instance.uuid.is_some()) {
        *expected.entry(mig_resource(&instance.place.profile)).or_default() += 1;
    }
    let advertised = allocatable.iter().filter(|&(name, &count)| count > 0 && name.starts_with(MIG_PREFIX));
    advertised.map(|(name, &count)| (name.clone(), count)).eq(expected)
}
