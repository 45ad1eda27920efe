//! The node's side of the agent's port: one request, one answer, its duration, and what it changed.

use std::time::Duration;

use crate::exec::IdleProof;
use crate::exec::mutant::{self, Mutant};
use crate::exec::port::{NodeAnswer, NodeError, NodeReply, NodeRequest, Occupant};
use crate::plan::Place;

use super::board::Board;
use super::holder::Holder;
use super::latency::{self, Change, Part};
use super::{Health, SimNode};

/// What is wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and this is said.
    Refused(NodeError),
    /// It is done, and this is said.
    Applied(NodeError),
    /// It does not return, and neither does any later call to the GPU; done or not.
    Hangs {
        /// Whether it was done.
        applied: bool,
    },
}

/// An answer, and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What the agent is told.
    pub reply: NodeReply,
    /// When, counted from the request.
    pub latency: Duration,
    /// What has changed on a board; present only if it was done, whatever was said.
    pub effect: Option<Effect>,
}

/// A change of a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// UUID of the GPU.
    pub gpu: String,
    /// Profile and place of the GPU instance.
    pub place: Place,
    /// What was done.
    pub action: Action,
}

/// What was done to an instance, and what was true just before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Its compute instance was destroyed.
    DestroyComputeInstance {
        /// UUID that is gone.
        uuid: String,
        /// Who had been given it, in truth.
        holders: Vec<Holder>,
    },
    /// It was destroyed.
    DestroyGpuInstance,
    /// It was created.
    CreateGpuInstance {
        /// Who had been given an instance on the same units and still runs.
        stale: Vec<Holder>,
    },
    /// Its compute instance was created.
    CreateComputeInstance {
        /// The new UUID.
        uuid: String,
    },
}

impl SimNode {
    /// Does what the agent asks, at once, and tells what to answer after which time.
    pub fn answer(&mut self, request: &NodeRequest, fault: Option<&Fault>) -> Answered {
        let usual = self.latency(request);
        match fault {
            None => {
                let (reply, effect) = self.perform(request);
                let latency = if reply == Err(NodeError::Hung) { self.config.watchdog } else { usual };
                Answered { reply, latency, effect }
            }
            Some(Fault::Refused(error)) => Answered { reply: Err(error.clone()), latency: usual, effect: None },
            Some(Fault::Applied(error)) => {
                let (_, effect) = self.perform(request);
                Answered { reply: Err(error.clone()), latency: usual, effect }
            }
            Some(Fault::Hangs { applied }) => {
                let effect = if *applied { self.perform(request).1 } else { None };
                self.hang(request);
                Answered { reply: Err(NodeError::Hung), latency: self.config.watchdog, effect }
            }
        }
    }

    fn perform(&mut self, request: &NodeRequest) -> (NodeReply, Option<Effect>) {
        let done = |result: Result<(), NodeError>| (result.map(|()| NodeAnswer::Done), None);
        match request {
            NodeRequest::ReadStore => (Ok(NodeAnswer::Store(self.store.read())), None),
            NodeRequest::WriteIntent(intent) => done(self.store.write_intent(intent)),
            NodeRequest::ClearIntent { applied } => done(self.store.clear_intent(applied.as_ref())),
            NodeRequest::Enumerate => {
                let boards = self.boards.iter().map(Board::enumerate).collect::<Result<Vec<_>, _>>();
                (boards.map(NodeAnswer::Boards), None)
            }
            NodeRequest::Occupants => (self.occupants().map(NodeAnswer::Occupants), None),
            NodeRequest::Allocatable => (self.kubelet.allocatable_devices().map(NodeAnswer::Allocatable), None),
            NodeRequest::RefreshDevices => done(self.boards.iter_mut().try_for_each(Board::make_device_nodes)),
            NodeRequest::DestroyComputeInstance(proof) => changed(self.destroy_compute(proof)),
            NodeRequest::DestroyGpuInstance(proof) => changed(self.destroy_gpu(proof)),
            NodeRequest::CreateGpuInstance { gpu, place } => changed(self.create_gpu(gpu, place)),
            NodeRequest::CreateComputeInstance { gpu, place } => changed(self.create_compute(gpu, place)),
        }
    }

    /// The kubelet's list and the driver's processes together. A process that belongs to a pod is not told apart from any other.
    fn occupants(&self) -> Result<Vec<Occupant>, NodeError> {
        let mut occupants = self.kubelet.pod_resources()?;
        for board in &self.boards {
            board.enumerate()?;
            for (uuid, holders) in board.held() {
                if holders.iter().any(Holder::is_listed) {
                    occupants.push(Occupant { instance: uuid.to_owned(), pod: None });
                }
            }
        }
        occupants.sort_unstable();
        Ok(occupants)
    }

    fn destroy_compute(&mut self, proof: &IdleProof) -> Result<Effect, NodeError> {
        let expected = proof.compute().ok_or(NodeError::NotFound)?;
        let holders = self.holders(expected);
        let uuid = self.board(proof.gpu())?.destroy_compute_instance(proof.place(), Some(expected))?;
        let action = Action::DestroyComputeInstance { uuid, holders };
        Ok(Effect { gpu: proof.gpu().to_owned(), place: proof.place().clone(), action })
    }

    fn destroy_gpu(&mut self, proof: &IdleProof) -> Result<Effect, NodeError> {
        let board = self.board(proof.gpu())?;
        board.destroy_gpu_instance(proof.place())?;
        if mutant::on(Mutant(28)) && board.placements().next().is_none() {
            board.set_mig_mode(false);
        }
        let (gpu, place) = (proof.gpu().to_owned(), proof.place().clone());
        Ok(Effect { gpu, place, action: Action::DestroyGpuInstance })
    }

    fn create_gpu(&mut self, gpu: &str, place: &Place) -> Result<Effect, NodeError> {
        let board = self.board(gpu)?;
        board.create_gpu_instance(place)?;
        let action = Action::CreateGpuInstance { stale: board.stale_holders(place) };
        Ok(Effect { gpu: gpu.to_owned(), place: place.clone(), action })
    }

    fn create_compute(&mut self, gpu: &str, place: &Place) -> Result<Effect, NodeError> {
        let uuid = self.board(gpu)?.create_compute_instance(place)?;
        Ok(Effect { gpu: gpu.to_owned(), place: place.clone(), action: Action::CreateComputeInstance { uuid } })
    }

    /// The GPU of a call stops to answer; for a call to no GPU in particular, the first.
    fn hang(&mut self, request: &NodeRequest) {
        let of_call = about(request).map(|(gpu, ..)| gpu.to_owned());
        let mut boards = self.boards.iter_mut();
        let board = match &of_call {
            Some(gpu) => boards.find(|board| board.uuid() == gpu.as_str()),
            None => boards.next(),
        };
        let Some(board) = board else { return };
        match request {
            // These do not touch the driver: only this one answer is lost.
            NodeRequest::ReadStore
            | NodeRequest::WriteIntent(_)
            | NodeRequest::ClearIntent { .. }
            | NodeRequest::Allocatable => {}
            NodeRequest::Enumerate
            | NodeRequest::Occupants
            | NodeRequest::RefreshDevices
            | NodeRequest::DestroyComputeInstance(_)
            | NodeRequest::DestroyGpuInstance(_)
            | NodeRequest::CreateGpuInstance { .. }
            | NodeRequest::CreateComputeInstance { .. } => board.set_health(Health::Hung),
        }
    }

    fn latency(&self, request: &NodeRequest) -> Duration {
        let boards = u32::try_from(self.boards.len()).unwrap_or(u32::MAX);
        if let Some((gpu, place, change, part)) = about(request) {
            let board = self.boards.iter().find(|board| board.uuid() == gpu);
            return board.map_or(latency::OF_REFUSAL, |board| {
                latency::of_change(board.geometry(), &place.profile, change, part)
            });
        }
        match request {
            NodeRequest::ReadStore => latency::OF_READ,
            NodeRequest::WriteIntent(_) | NodeRequest::ClearIntent { .. } => latency::OF_SYNC,
            NodeRequest::Occupants => latency::OF_KUBELET + latency::OF_ENUMERATION * boards,
            NodeRequest::Allocatable => latency::OF_KUBELET,
            NodeRequest::RefreshDevices => latency::OF_DEVICE_NODES,
            NodeRequest::Enumerate
            | NodeRequest::DestroyComputeInstance(_)
            | NodeRequest::DestroyGpuInstance(_)
            | NodeRequest::CreateGpuInstance { .. }
            | NodeRequest::CreateComputeInstance { .. } => latency::OF_ENUMERATION * boards,
        }
    }
}

fn changed(result: Result<Effect, NodeError>) -> (NodeReply, Option<Effect>) {
    match result {
        Ok(effect) => (Ok(NodeAnswer::Done), Some(effect)),
        Err(error) => (Err(error), None),
    }
}

/// The GPU and the instance that a call changes, and how.
fn about(request: &NodeRequest) -> Option<(&str, &Place, Change, Part)> {
    match request {
        NodeRequest::DestroyComputeInstance(proof) => {
            Some((proof.gpu(), proof.place(), Change::Destroy, Part::ComputeInstance))
        }
        NodeRequest::DestroyGpuInstance(proof) => {
            Some((proof.gpu(), proof.place(), Change::Destroy, Part::GpuInstance))
        }
        NodeRequest::CreateGpuInstance { gpu, place } => Some((gpu, place, Change::Create, Part::GpuInstance)),
        NodeRequest::CreateComputeInstance { gpu, place } => Some((gpu, place, Change::Create, Part::ComputeInstance)),
        NodeRequest::ReadStore
        | NodeRequest::WriteIntent(_)
        | NodeRequest::ClearIntent { .. }
        | NodeRequest::Enumerate
        | NodeRequest::Occupants
        | NodeRequest::Allocatable
        | NodeRequest::RefreshDevices => None,
    }
}
