//! The kubelet's device manager and its pod-resources socket.
//!
//! Inputs: the plugin's list, pods to admit, pods that end. Outputs: devices for a pod or its rejection, who has which device, what the node
//! advertises. Invariants: no device is given to two live pods that it knows of; a pod keeps the ids that it was given, whatever the plugin
//! says later; a resource that was ever advertised stays advertised, with 0 when there is none.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::port::{NodeError, Occupant};
use crate::model::PodRef;

use super::plugin::Device;

/// Which of several free instances a pod gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// On the GPU that has the fewest left of the resource.
    Packed,
    /// On the GPU that has given away the fewest of the resource: the plugin's default, which fragments.
    #[default]
    Distributed,
}

/// What the kubelet does not tell, by version and fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent traits of a kubelet, not states")]
pub struct Telling {
    /// Whether plain init containers are left out of its list, as in all versions.
    pub hides_plain_init: bool,
    /// Whether pods that have ended stay on its list until they are deleted, as before Kubernetes 1.34.
    pub lists_finished: bool,
    /// Whether its socket cannot be used.
    pub silent: bool,
}

impl Default for Telling {
    fn default() -> Self {
        Self { hides_plain_init: true, lists_finished: false, silent: false }
    }
}

/// A rejection by the kubelet; final for the pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// `UnexpectedAdmissionError`: fewer devices than the scheduler believed.
    #[error(
        "Allocate failed due to requested number of devices unavailable for {resource}. Requested: {requested}, Available: {available}, which is unexpected"
    )]
    Unavailable {
        /// Which resource.
        resource: String,
        /// How many the pod asks for.
        requested: u32,
        /// How many there are.
        available: u32,
    },
    /// `UnexpectedAdmissionError` after a restart: what the pod was given is not offered any more.
    #[error("previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}")]
    Unhealthy {
        /// Which resource.
        resource: String,
    },
}

/// What a pod was given.
#[derive(Debug, Clone)]
struct Allocation {
    pod: PodRef,
    devices: Vec<Device>,
    plain_init: bool,
    finished: bool,
}

/// The device manager of one node.
#[derive(Debug, Clone, Default)]
pub struct Kubelet {
    /// Which of several free instances a pod gets.
    pub choice: Choice,
    /// What it does not tell.
    pub telling: Telling,
    /// What the plugin offers, while it is registered.
    devices: Vec<Device>,
    /// Resources that were ever advertised.
    known: BTreeSet<String>,
    /// By UID of the pod.
    allocations: BTreeMap<String, Allocation>,
}

impl Kubelet {
    /// A kubelet to which no plugin has registered yet.
    pub fn new(choice: Choice) -> Self {
        Self { choice, ..Self::default() }
    }

    /// The plugin has registered, or sends a new list.
    pub fn register(&mut self, devices: &[Device]) {
        self.known.extend(devices.iter().map(|device| device.resource.clone()));
        self.devices = devices.to_vec();
    }

    /// The plugin has gone: nothing is healthy any more, at once. What pods were given, they keep.
    pub fn disconnect(&mut self) {
        self.devices.clear();
    }

    /// The kubelet starts anew and waits for the plugin. Without its checkpoint it does not know what it gave away.
    pub fn restart(&mut self, checkpoint_lost: bool) {
        self.disconnect();
        if checkpoint_lost {
            self.allocations.clear();
        }
    }

    /// What the node advertises: healthy devices by resource, given away or not.
    pub fn allocatable(&self) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<String, u64> = self.known.iter().map(|name| (name.clone(), 0)).collect();
        for device in &self.devices {
            *counts.entry(device.resource.clone()).or_default() += 1;
        }
        counts
    }

    /// UUIDs of all healthy devices (`GetAllocatableResources`), ordered.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn allocatable_devices(&self) -> Result<Vec<String>, NodeError> {
        self.speaks()?;
        let mut uuids: Vec<String> = self.devices.iter().map(|device| device.uuid.clone()).collect();
        uuids.sort_unstable();
        Ok(uuids)
    }

    /// Admits a pod and gives it devices, counted per resource of [`PodView::requests`](crate::exec::PodView::requests). `plain_init`: only
    /// plain init containers of the pod ask.
    ///
    /// # Errors
    /// Too few devices; the pod is rejected and nothing is given away.
    pub fn admit(
        &mut self,
        pod: &PodRef,
        requests: &BTreeMap<String, u32>,
        plain_init: bool,
    ) -> Result<Vec<Device>, AdmissionError> {
        if let Some(allocation) = self.allocations.get(&pod.uid) {
            return Ok(allocation.devices.clone());
        }
        let mut given = Vec::new();
        for (resource, &requested) in requests.iter().filter(|(_, requested)| **requested > 0) {
            given.extend(self.choose(resource, requested)?);
        }
        let allocation = Allocation { pod: pod.clone(), devices: given.clone(), plain_init, finished: false };
        self.allocations.insert(pod.uid.clone(), allocation);
        Ok(given)
    }

    /// Admits a pod again after the kubelet or the machine has started anew: it keeps what it was given.
    ///
    /// # Errors
    /// That is not offered any more.
    pub fn readmit(&self, uid: &str) -> Result<Vec<Device>, AdmissionError> {
        let devices = self.devices_of(uid);
        match devices.iter().find(|given| !self.devices.iter().any(|device| device.uuid == given.uuid)) {
            Some(lost) => Err(AdmissionError::Unhealthy { resource: lost.resource.clone() }),
            None => Ok(devices.to_vec()),
        }
    }

    /// What a pod was given.
    pub fn devices_of(&self, uid: &str) -> &[Device] {
        self.allocations.get(uid).map_or(&[], |allocation| &allocation.devices)
    }

    /// All containers of the pod have ended; its devices are free.
    pub fn finish(&mut self, uid: &str) {
        if let Some(allocation) = self.allocations.get_mut(uid) {
            allocation.finished = true;
        }
    }

    /// The pod is gone from the API, ended or, after a forced deletion, not.
    pub fn forget(&mut self, uid: &str) {
        self.allocations.remove(uid);
    }

    /// Pods that have devices and have not ended, with what they have: the truth, not what is told.
    pub fn given(&self) -> impl Iterator<Item = (&PodRef, &[Device])> {
        let live = self.allocations.values().filter(|allocation| !allocation.finished);
        live.map(|allocation| (&allocation.pod, allocation.devices.as_slice()))
    }

    /// Who has which device, as `List` of pod-resources tells; ordered by UID of the pod.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn pod_resources(&self) -> Result<Vec<Occupant>, NodeError> {
        self.speaks()?;
        let told = self.allocations.values().filter(|allocation| {
            (!allocation.plain_init || !self.telling.hides_plain_init)
                && (!allocation.finished || self.telling.lists_finished)
        });
        let occupants = told.flat_map(|allocation| {
            allocation
                .devices
                .iter()
                .map(|device| Occupant { instance: device.uuid.clone(), pod: Some(allocation.pod.clone()) })
        });
        Ok(occupants.collect())
    }

    /// Free devices of a resource in the order in which the plugin prefers them.
    fn choose(&self, resource: &str, requested: u32) -> Result<Vec<Device>, AdmissionError> {
        let mut taken: BTreeSet<&str> =
            self.given().flat_map(|(_, devices)| devices).map(|device| device.uuid.as_str()).collect();
        let offered: Vec<&Device> = self.devices.iter().filter(|device| device.resource == resource).collect();
        let free = offered.iter().filter(|device| !taken.contains(device.uuid.as_str())).count();
        let mut chosen = Vec::new();
        while (chosen.len() as u64) < u64::from(requested) {
            let next = next(&offered, &taken, self.choice).ok_or_else(|| AdmissionError::Unavailable {
                resource: resource.to_owned(),
                requested,
                available: u32::try_from(free).unwrap_or(u32::MAX),
            })?;
            taken.insert(&next.uuid);
            chosen.push(next.clone());
        }
        Ok(chosen)
    }

    fn speaks(&self) -> Result<(), NodeError> {
        if self.telling.silent {
            return Err(NodeError::Local("pod-resources: connection refused".into()));
        }
        Ok(())
    }
}

/// The free device that the plugin prefers; of several, the first by GPU and start.
fn next<'a>(offered: &[&'a Device], taken: &BTreeSet<&str>, choice: Choice) -> Option<&'a Device> {
    let on = |gpu: u32, in_use: bool| {
        offered.iter().filter(|other| other.gpu == gpu && taken.contains(other.uuid.as_str()) == in_use).count()
    };
    let free = offered.iter().copied().filter(|device| !taken.contains(device.uuid.as_str()));
    free.min_by_key(|device| {
        let crowd = match choice {
            Choice::Packed => on(device.gpu, false),
            Choice::Distributed => on(device.gpu, true),
        };
        (crowd, device.gpu, device.start)
    })
}
