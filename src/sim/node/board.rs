//! One GPU as NVML shows it: the tree of GPU instances and compute instances, who holds them, and the codes that do not tell why.
//!
//! Inputs: the calls of a driver's client, by exact [`Place`]. Outputs: what the driver answers, and [`Board::state`], the only truth.
//! Invariants: the instances are a legal layout at every moment; a compute instance has a UUID that no other ever had; an instance that a
//! client has opened is not destroyed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::exec::port::{BoardState, InstanceState, NodeError};
use crate::model::{Geometry, Layout, Placement};
use crate::plan::Place;

use super::holder::Holder;

/// Whether the driver can still talk to a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// It answers.
    #[default]
    Well,
    /// Calls do not return (Xid 119, a hanging GSP).
    Hung,
    /// It has fallen off the bus (Xid 79).
    Lost,
}

/// A GPU instance.
#[derive(Debug, Clone)]
struct GpuInstance {
    placement: Placement,
    place: Place,
    compute: Option<ComputeInstance>,
    /// Tries to destroy it that still fail, because what its compute instance held is not yet released.
    releasing: u32,
}

/// A compute instance, which fills its GPU instance.
#[derive(Debug, Clone)]
struct ComputeInstance {
    uuid: String,
    holders: Vec<Holder>,
    /// Whether containers can reach it.
    device_nodes: bool,
}

/// A simulated GPU.
#[derive(Debug, Clone)]
pub struct Board {
    geometry: Arc<Geometry>,
    index: u32,
    uuid: String,
    model: String,
    mig_mode: bool,
    health: Health,
    /// By start.
    instances: BTreeMap<u8, GpuInstance>,
    /// Containers that were given an instance which is no more, with its placement: their permission outlives it.
    stale: Vec<(Placement, Holder)>,
    /// Compute instances made so far; part of the next one's UUID.
    made: u64,
    /// Tries to destroy a GPU instance that fail after its compute instance was destroyed.
    release_tries: u32,
    /// Whether a profiler holds the whole GPU, which keeps the first GPU instance from being made.
    profiled: bool,
}

impl Board {
    /// An empty GPU in MIG mode.
    pub fn new(geometry: Arc<Geometry>, index: u32, uuid: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            geometry,
            index,
            uuid: uuid.into(),
            model: model.into(),
            mig_mode: true,
            health: Health::Well,
            instances: BTreeMap::new(),
            stale: Vec::new(),
            made: 0,
            release_tries: 0,
            profiled: false,
        }
    }

    /// The GPU's UUID.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Its index on the node.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The board's table.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether MIG mode is on.
    pub fn mig_mode(&self) -> bool {
        self.mig_mode
    }

    /// Whether the driver can talk to it.
    pub fn health(&self) -> Health {
        self.health
    }

    /// A fault, or its repair: a GPU that was hung or lost keeps its instances until a reboot.
    pub fn set_health(&mut self, health: Health) {
        self.health = health;
    }

    /// Switches MIG mode, as an operator does. Instances are gone with the mode.
    pub fn set_mig_mode(&mut self, on: bool) {
        self.mig_mode = on;
        if !on {
            self.instances.clear();
        }
    }

    /// How many tries to destroy a GPU instance fail after its compute instance was destroyed.
    pub fn set_release_tries(&mut self, tries: u32) {
        self.release_tries = tries;
    }

    /// Whether a profiler holds the whole GPU.
    pub fn set_profiled(&mut self, profiled: bool) {
        self.profiled = profiled;
    }

    /// The GPU's index, which a reboot may change.
    pub fn set_index(&mut self, index: u32) {
        self.index = index;
    }

    /// What the driver shows, GPU instances without a compute instance included.
    ///
    /// # Errors
    /// The GPU is hung or lost.
    pub fn enumerate(&self) -> Result<BoardState, NodeError> {
        self.reachable()?;
        Ok(self.state())
    }

    /// What is there, whether or not the driver can tell.
    pub fn state(&self) -> BoardState {
        let instances = self.instances.values().map(|instance| InstanceState {
            place: instance.place.clone(),
            compute: instance.compute.as_ref().map(|compute| compute.uuid.clone()),
        });
        BoardState {
            index: self.index,
            uuid: self.uuid.clone(),
            model: self.model.clone(),
            mig_mode: self.mig_mode,
            instances: instances.collect(),
        }
    }

    /// Creates a GPU instance at an exact place.
    ///
    /// # Errors
    /// `InvalidArgument`: no such place on this board, or MIG mode is off. `InsufficientResources`: it is already there, or something is in
    /// the way, or a limit is reached. `InUse`: the GPU is empty and a profiler holds it. Or the GPU is hung or lost.
    pub fn create_gpu_instance(&mut self, place: &Place) -> Result<(), NodeError> {
        self.usable()?;
        let placement = self.placement(place).ok_or(NodeError::InvalidArgument)?;
        if self.instances.is_empty() && self.profiled {
            return Err(NodeError::InUse);
        }
        let with = self.placements().chain([placement]).collect();
        Layout::try_new(&self.geometry, with).map_err(|_| NodeError::InsufficientResources)?;
        let instance = GpuInstance { placement, place: place.clone(), compute: None, releasing: 0 };
        self.instances.insert(placement.start(), instance);
        Ok(())
    }

    /// Creates the compute instance that fills a GPU instance, and answers with its UUID, which is new.
    ///
    /// # Errors
    /// `NotFound`: no such GPU instance. `InsufficientResources`: it has a compute instance. Or the GPU is hung or lost.
    pub fn create_compute_instance(&mut self, place: &Place) -> Result<String, NodeError> {
        self.usable()?;
        let uuid = format!("MIG-{}-{}", self.uuid.strip_prefix("GPU-").unwrap_or(&self.uuid), self.made + 1);
        let instance = self.instance(place)?;
        if instance.compute.is_some() {
            return Err(NodeError::InsufficientResources);
        }
        instance.compute = Some(ComputeInstance { uuid: uuid.clone(), holders: Vec::new(), device_nodes: false });
        instance.releasing = 0;
        self.made += 1;
        Ok(uuid)
    }

    /// Destroys the compute instance in a GPU instance, if it is still the expected one, and answers with its UUID. Containers that were
    /// given it and have not opened it do not notice.
    ///
    /// # Errors
    /// `NotFound`: it is not there, or another one is. `InUse`: a client has opened it. Or the GPU is hung or lost.
    pub fn destroy_compute_instance(&mut self, place: &Place, expected: Option<&str>) -> Result<String, NodeError> {
        self.usable()?;
        let tries = self.release_tries;
        let instance = self.instance(place)?;
        let compute = instance.compute.as_ref().ok_or(NodeError::NotFound)?;
        if expected.is_some_and(|expected| expected != compute.uuid) {
            return Err(NodeError::NotFound);
        }
        if compute.holders.iter().any(Holder::blocks) {
            return Err(NodeError::InUse);
        }
        instance.releasing = tries;
        let placement = instance.placement;
        let Some(ComputeInstance { uuid, holders, device_nodes: _ }) = instance.compute.take() else {
            return Err(NodeError::NotFound);
        };
        self.stale.extend(holders.into_iter().map(|holder| (placement, holder)));
        Ok(uuid)
    }

    /// Destroys a GPU instance without a compute instance.
    ///
    /// # Errors
    /// `NotFound`: it is not there. `InUse`: it has a compute instance, or the release of that is not finished. Or the GPU is hung or lost.
    pub fn destroy_gpu_instance(&mut self, place: &Place) -> Result<(), NodeError> {
        self.usable()?;
        let instance = self.instance(place)?;
        if instance.compute.is_some() {
            return Err(NodeError::InUse);
        }
        if instance.releasing > 0 {
            instance.releasing -= 1;
            return Err(NodeError::InUse);
        }
        let start = instance.placement.start();
        self.instances.remove(&start);
        Ok(())
    }

    /// Makes the device nodes of all compute instances, without which no container can use them.
    ///
    /// # Errors
    /// The GPU is hung or lost.
    pub fn make_device_nodes(&mut self) -> Result<(), NodeError> {
        self.reachable()?;
        for compute in self.instances.values_mut().filter_map(|instance| instance.compute.as_mut()) {
            compute.device_nodes = true;
        }
        Ok(())
    }

    /// UUIDs of compute instances without device nodes.
    pub fn without_device_nodes(&self) -> impl Iterator<Item = &str> {
        let computes = self.instances.values().filter_map(|instance| instance.compute.as_ref());
        computes.filter(|compute| !compute.device_nodes).map(|compute| compute.uuid.as_str())
    }

    /// Somebody holds a compute instance from now on.
    ///
    /// # Errors
    /// `NotFound`: there is none with this UUID.
    pub fn hold(&mut self, uuid: &str, holder: Holder) -> Result<(), NodeError> {
        let mut computes = self.instances.values_mut().filter_map(|instance| instance.compute.as_mut());
        let compute = computes.find(|compute| compute.uuid == uuid).ok_or(NodeError::NotFound)?;
        if !compute.holders.contains(&holder) {
            compute.holders.push(holder);
        }
        Ok(())
    }

    /// Everybody for whom `gone` holds lets go of whatever they held here.
    pub fn release(&mut self, gone: impl Fn(&Holder) -> bool) {
        for compute in self.instances.values_mut().filter_map(|instance| instance.compute.as_mut()) {
            compute.holders.retain(|holder| !gone(holder));
        }
        self.stale.retain(|(_, holder)| !gone(holder));
    }

    /// All compute instances with who holds them, in truth.
    pub fn held(&self) -> impl Iterator<Item = (&str, &[Holder])> {
        let computes = self.instances.values().filter_map(|instance| instance.compute.as_ref());
        computes.map(|compute| (compute.uuid.as_str(), compute.holders.as_slice()))
    }

    /// Who was given an instance that is no more and that shared units with this place.
    pub fn stale_holders(&self, place: &Place) -> Vec<Holder> {
        let Some(placement) = self.placement(place) else { return Vec::new() };
        let stale = self.stale.iter().filter(|(old, _)| old.overlaps(placement));
        stale.map(|(_, holder)| holder.clone()).collect()
    }

    /// The machine starts anew: nothing is left but, on boards that keep it or where the node switches it on again, MIG mode.
    pub fn reboot(&mut self, node_restores_mode: bool) {
        let keeps = self.geometry.board().reset_needed_for_mig_mode == Some(true);
        self.mig_mode = self.mig_mode && (keeps || node_restores_mode);
        self.instances.clear();
        self.stale.clear();
        self.health = Health::Well;
        self.profiled = false;
    }

    /// The placement that stands for a place; none if the board has no such place.
    pub fn placement(&self, place: &Place) -> Option<Placement> {
        let profile = self.geometry.find(&place.profile)?;
        self.geometry.place(profile, place.start).ok().filter(|placement| placement.size() == place.size)
    }

    /// Placements of all GPU instances, ordered by start.
    pub fn placements(&self) -> impl Iterator<Item = Placement> {
        self.instances.values().map(|instance| instance.placement)
    }

    fn instance(&mut self, place: &Place) -> Result<&mut GpuInstance, NodeError> {
        let placement = self.placement(place).ok_or(NodeError::InvalidArgument)?;
        let instance = self.instances.get_mut(&placement.start());
        instance.filter(|instance| instance.placement == placement).ok_or(NodeError::NotFound)
    }

    fn reachable(&self) -> Result<(), NodeError> {
        match self.health {
            Health::Well => Ok(()),
            Health::Hung => Err(NodeError::Hung),
            Health::Lost => Err(NodeError::GpuLost),
        }
    }

    fn usable(&self) -> Result<(), NodeError> {
        self.reachable()?;
        if self.mig_mode { Ok(()) } else { Err(NodeError::InvalidArgument) }
    }
}
