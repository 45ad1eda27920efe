//! Who holds which instance: the union of what the kubelet, the driver and the API server say.
//!
//! Inputs: the boards, and what each source said, or that it could not be read. Output: holders by name where they are known, and for every
//! instance whether it is free, busy or unknown. An instance is free only when every source was read and none says or leaves open that
//! somebody holds it. Pure: same input, same answer. Must not call the driver or the kubelet itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::port::{NodeError, Occupant};
use crate::exec::{PodView, ReportedOccupancy};
use crate::model::{PodRef, mig_resource};
use crate::nvml::{Board, GpuInstanceOnBoard};
use crate::podresources::Holding;

/// What a source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<T> {
    /// It was read.
    Read(T),
    /// It could not be read.
    Failed,
    /// There is none here, or whoever reads the result adds it.
    LeftOut,
}

impl<T> Source<T> {
    fn read(&self) -> Option<&T> {
        match self {
            Self::Read(told) => Some(told),
            Self::Failed | Self::LeftOut => None,
        }
    }

    fn failed(&self) -> bool {
        match self {
            Self::Failed => true,
            Self::Read(_) | Self::LeftOut => false,
        }
    }
}

/// What each source says.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The kubelet: devices given to containers.
    pub kubelet: Source<&'a [Holding]>,
    /// The driver: instances, and the processes that use them.
    pub driver: Source<&'a [Board]>,
    /// The API server: pods bound to this node.
    pub pods: Source<&'a [PodView]>,
}

/// Who holds which instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupancy {
    occupants: Vec<Occupant>,
    complete: bool,
    /// Resource names of which a pod asks for an instance, and none is known to be its.
    unaccounted: BTreeSet<String>,
}

impl Occupancy {
    /// Joins what the sources say.
    pub fn of(sources: &Sources<'_>) -> Self {
        let Sources { kubelet, driver, pods } = sources;
        let pods_read = pods.read().copied().unwrap_or_default();
        let boards = driver.read().copied().unwrap_or_default();
        let instances = || boards.iter().flat_map(|board| &board.instances);
        // A GPU instance with several compute instances, which retile never makes, goes by the name of the first.
        let goes_by: BTreeMap<&str, &str> = instances()
            .filter_map(|instance| Some((instance, instance.name()?)))
            .flat_map(|(instance, name)| instance.computes.iter().map(move |compute| (compute.uuid.as_str(), name)))
            .collect();
        let holdings = kubelet.read().copied().unwrap_or_default().iter();
        let mut occupants: Vec<Occupant> = holdings
            .filter_map(|holding| {
                let uuid = holding.device.uuid.as_str();
                let instance = goes_by.get(uuid).copied().unwrap_or(uuid).to_owned();
                holder(holding, pods_read).map(|pod| Occupant { instance, pod: Some(pod) })
            })
            .collect();
        let named: BTreeSet<String> = occupants.iter().map(|occupant| occupant.instance.clone()).collect();
        let nameless = instances().filter(|instance| held_by_nobody_named(instance));
        let nameless = nameless.filter_map(GpuInstanceOnBoard::name).filter(|&name| !named.contains(name));
        occupants.extend(nameless.map(|name| Occupant { instance: name.to_owned(), pod: None }));
        occupants.sort();
        let unaccounted = unaccounted(&occupants, pods_read);
        let complete = [kubelet.failed(), driver.failed(), pods.failed()].iter().all(|failed| !failed);
        Self { occupants, complete, unaccounted }
    }

    /// All holders for the protocol: an instance held through several replicas stands once per replica.
    ///
    /// # Errors
    /// A source could not be read: then nothing is known to be free.
    pub fn occupants(&self) -> Result<Vec<Occupant>, NodeError> {
        if self.complete {
            return Ok(self.occupants.clone());
        }
        Err(NodeError::Local("who holds instances is not known: a source could not be read".into()))
    }

    /// Whether a GPU instance is held, and by which pods.
    pub fn of_instance(&self, instance: &GpuInstanceOnBoard) -> (ReportedOccupancy, Vec<PodRef>) {
        let holders = self.occupants.iter().filter(|it| Some(it.instance.as_str()) == instance.name());
        let holders: Vec<&Occupant> = holders.collect();
        if !holders.is_empty() {
            let mut pods: Vec<PodRef> = holders.iter().filter_map(|holder| holder.pod.clone()).collect();
            pods.sort();
            pods.dedup();
            return (ReportedOccupancy::Busy, pods);
        }
        let resource = mig_resource(&instance.place.profile);
        let shared = format!("{resource}.shared");
        let open = self.unaccounted.contains(&resource) || self.unaccounted.contains(&shared);
        // Without compute instance there is no device that anybody could hold.
        let free = instance.computes.is_empty() || self.complete && !open;
        (if free { ReportedOccupancy::Free } else { ReportedOccupancy::Unknown }, Vec::new())
    }
}

/// Whether an instance has processes, or is left alone because it is not as retile makes them.
fn held_by_nobody_named(instance: &GpuInstanceOnBoard) -> bool {
    !instance.ordinary() || instance.computes.iter().any(|compute| !compute.processes.is_empty())
}

/// The pod of a holding, with its UID where the API server knows it; none when all its containers have ended, which kubelets before 1.34 do
/// not heed.
fn holder(holding: &Holding, pods: &[PodView]) -> Option<PodRef> {
    let known = pods.iter().find(|it| it.pod.namespace == holding.namespace && it.pod.name == holding.pod);
    match known {
        Some(known) if known.finished => None,
        Some(known) => Some(known.pod.clone()),
        None => {
            let Holding { namespace, pod, device: _ } = holding;
            Some(PodRef { namespace: namespace.clone(), name: pod.clone(), uid: String::new() })
        }
    }
}

/// Resource names of which a pod asks for more instances than it is known to hold.
fn unaccounted(occupants: &[Occupant], pods: &[PodView]) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    for pod in pods.iter().filter(|pod| pod.holds_instances()) {
        let held = occupants.iter().filter(|occupant| occupant.pod.as_ref() == Some(&pod.pod)).count();
        let asked: u64 = pod.requests.values().map(|&count| u64::from(count)).sum();
        if (held as u64) < asked {
            let names = pod.requests.iter().filter(|&(_, &count)| count > 0).map(|(name, _)| name);
            open.extend(names.cloned());
        }
    }
    open
}

#[cfg(test)]
mod tests;
