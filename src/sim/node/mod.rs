//! One node below the API server: boards, kubelet, device plugin, and the agent's files, behind the port that the agent uses.
//!
//! Pure and synchronous: nothing here knows the time. [`SimNode::answer`] does one [`NodeRequest`](crate::exec::port::NodeRequest) at
//! once and tells how long it took; the engine delivers the answer then. Inputs: requests, pods that come and go, faults and the hands of an operator. Outputs: answers, what the
//! node advertises, and each change of a board as an [`Effect`] with what was true at that moment.
//!
//! Must not depend on the API server, the engine, clocks or chance.

mod answer;
mod board;
#[cfg(test)]
mod board_tests;
mod holder;
mod kubelet;
#[cfg(test)]
mod kubelet_tests;
mod latency;
mod plugin;
mod store;
#[cfg(test)]
mod tests;

pub use answer::{Action, Answered, Effect, Fault};
pub use board::{Board, Health};
pub use holder::Holder;
pub use kubelet::{AdmissionError, Choice, Kubelet, Telling};
pub use plugin::{Device, Plugin, PluginError, PluginState, Strategy};
pub use store::{Disk, NodeStore};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::exec::port::{BoardState, NodeError};
use crate::model::{Geometry, PodRef};
use crate::plan::Place;

/// How a node is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeConfig {
    /// How the plugin names instances.
    pub strategy: Strategy,
    /// Which of several free instances a pod gets.
    pub choice: Choice,
    /// From the plugin's start until it registers.
    pub registers_after: Duration,
    /// How long the agent waits for a call that does not return.
    pub watchdog: Duration,
    /// Tries to destroy a GPU instance that fail after its compute instance was destroyed.
    pub release_tries: u32,
    /// Whether the node switches MIG mode on again at boot where the board forgets it.
    pub restores_mode: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::Mixed,
            choice: Choice::Distributed,
            registers_after: Duration::from_secs(3),
            watchdog: Duration::from_secs(30),
            release_tries: 0,
            restores_mode: true,
        }
    }
}

/// Why the containers of an admitted pod do not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to create containerd task: unknown device {0}")]
pub struct DeadDevice(pub String);

/// What an operator does by hand with `nvidia-smi mig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByHand {
    /// Creates a GPU instance, with its compute instance or without.
    Create {
        /// UUID of the GPU.
        gpu: String,
        /// Profile and place.
        place: Place,
        /// Whether with a compute instance (`-C`).
        compute: bool,
    },
    /// Destroys the compute instance, and the GPU instance too or not.
    Destroy {
        /// UUID of the GPU.
        gpu: String,
        /// Profile and place.
        place: Place,
        /// Whether the GPU instance goes too.
        whole: bool,
    },
    /// Switches MIG mode of a GPU.
    MigMode {
        /// UUID of the GPU.
        gpu: String,
        /// Whether on.
        on: bool,
    },
}

/// A simulated node without its API objects.
#[derive(Debug, Clone)]
pub struct SimNode {
    /// How it is set up.
    pub config: NodeConfig,
    /// GPUs, ordered by UUID.
    pub boards: Vec<Board>,
    /// The kubelet.
    pub kubelet: Kubelet,
    /// The device plugin.
    pub plugin: Plugin,
    /// The agent's files.
    pub store: NodeStore,
    name: String,
    uid: String,
    boots: u64,
}

impl SimNode {
    /// A node with empty GPUs in MIG mode, its plugin not running yet. `uid` is that of its API object: a node made again under the same
    /// name has another, and another disk. `gpus` are the tables of its GPUs, by index.
    pub fn new(name: &str, uid: &str, gpus: &[Arc<Geometry>], config: NodeConfig) -> Self {
        let boards = gpus.iter().zip(0..).map(|(geometry, index)| {
            let known = geometry.board();
            let model = known.product_names.first().unwrap_or(&known.key);
            let mut board = Board::new(Arc::clone(geometry), index, format!("GPU-{name}-{index:02}"), model.as_str());
            board.set_release_tries(config.release_tries);
            board
        });
        Self {
            config,
            boards: boards.collect(),
            kubelet: Kubelet::new(config.choice),
            plugin: Plugin::new(config.strategy, config.registers_after),
            store: NodeStore::new(format!("boot-{uid}-1")),
            name: name.to_owned(),
            uid: uid.to_owned(),
            boots: 1,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// UID of its API object.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Creates instances with their compute instances, as the node was handed over.
    ///
    /// # Errors
    /// No such GPU, or the places are no layout.
    pub fn lay_out(&mut self, gpu: u32, places: &[Place]) -> Result<(), NodeError> {
        let board = self.boards.iter_mut().find(|board| board.index() == gpu).ok_or(NodeError::NotFound)?;
        for place in places {
            board.create_gpu_instance(place)?;
            board.create_compute_instance(place)?;
        }
        board.make_device_nodes()
    }

    /// All boards in truth, ordered by UUID, whether or not the driver can tell.
    pub fn states(&self) -> Vec<BoardState> {
        self.boards.iter().map(Board::state).collect()
    }

    /// The plugin's pod has started: it looks at the boards and registers after the time that is answered, when the engine calls
    /// [`Self::plugin_registers`].
    ///
    /// # Errors
    /// The plugin ends instead.
    pub fn plugin_starts(&mut self) -> Result<Duration, PluginError> {
        self.kubelet.disconnect();
        self.plugin.start(&self.boards)
    }

    /// The plugin registers with the kubelet; false if it does not run any more.
    pub fn plugin_registers(&mut self) -> bool {
        let serves = self.plugin.register();
        if serves {
            self.kubelet.register(self.plugin.devices());
        }
        serves
    }

    /// The plugin's pod has ended: the node advertises nothing, at once.
    pub fn plugin_stops(&mut self) {
        self.plugin.stop();
        self.kubelet.disconnect();
    }

    /// The kubelet starts anew: nothing is advertised until the plugin, which notices, has looked again and registers, after the time that
    /// is answered; `None` if the plugin does not run or ends.
    pub fn kubelet_restarts(&mut self, checkpoint_lost: bool) -> Option<Duration> {
        self.kubelet.restart(checkpoint_lost);
        if self.plugin.state() == PluginState::Stopped {
            return None;
        }
        self.plugin.start(&self.boards).ok()
    }

    /// What the node's status advertises.
    pub fn allocatable(&self) -> BTreeMap<String, u64> {
        self.kubelet.allocatable()
    }

    /// The kubelet admits a pod and gives it devices, counted per resource. `plain_init`: only plain init containers of the pod ask.
    ///
    /// # Errors
    /// The pod is rejected.
    pub fn admit(
        &mut self,
        pod: &PodRef,
        requests: &BTreeMap<String, u32>,
        plain_init: bool,
    ) -> Result<Vec<Device>, AdmissionError> {
        self.kubelet.admit(pod, requests, plain_init)
    }

    /// A container of an admitted pod starts and holds all devices of the pod. `opened`: it opens the GPU at once.
    ///
    /// # Errors
    /// A device of the pod is an instance that is no more; nothing is held then.
    pub fn start_container(&mut self, pod: &PodRef, container: &str, opened: bool) -> Result<(), DeadDevice> {
        let devices: Vec<String> = self.kubelet.devices_of(&pod.uid).iter().map(|device| device.uuid.clone()).collect();
        let live: BTreeSet<&str> = self.boards.iter().flat_map(Board::held).map(|(uuid, _)| uuid).collect();
        if let Some(dead) = devices.iter().find(|uuid| !live.contains(uuid.as_str())) {
            return Err(DeadDevice(dead.clone()));
        }
        for uuid in &devices {
            let holder = Holder::Container { pod: pod.clone(), container: container.to_owned(), opened };
            // Each device is on exactly one board; the others answer `NotFound`.
            self.boards.iter_mut().any(|board| board.hold(uuid, holder.clone()).is_ok());
        }
        Ok(())
    }

    /// All containers of a pod have ended: its devices are free.
    pub fn pod_ends(&mut self, uid: &str) {
        self.release(|holder| holder.pod().is_some_and(|pod| pod.uid == uid));
        self.kubelet.finish(uid);
    }

    /// The pod's object is gone. Where that was forced, its containers may still run: they hold what they have until
    /// [`Self::pod_ends`].
    pub fn pod_deleted(&mut self, uid: &str) {
        self.kubelet.forget(uid);
    }

    /// A process or a monitor of the node's own takes hold of an instance.
    ///
    /// # Errors
    /// `NotFound`: no such instance.
    pub fn hold(&mut self, uuid: &str, holder: &Holder) -> Result<(), NodeError> {
        let mut boards = self.boards.iter_mut();
        let held = boards.any(|board| board.hold(uuid, holder.clone()).is_ok());
        if held { Ok(()) } else { Err(NodeError::NotFound) }
    }

    /// Everybody for whom `gone` holds lets go of whatever they held on this node.
    pub fn release(&mut self, gone: impl Fn(&Holder) -> bool) {
        for board in &mut self.boards {
            board.release(&gone);
        }
    }

    /// Who was given an instance, in truth: containers that run and pods that were admitted, whatever the sources tell.
    pub fn holders(&self, uuid: &str) -> Vec<Holder> {
        let held = self.boards.iter().flat_map(Board::held).find(|(held, _)| *held == uuid);
        let mut holders = held.map_or_else(Vec::new, |(_, holders)| holders.to_vec());
        for (pod, devices) in self.kubelet.given() {
            if devices.iter().any(|device| device.uuid == uuid) && !holders.iter().any(|known| known.pod() == Some(pod))
            {
                holders.push(Holder::Container { pod: pod.clone(), container: String::new(), opened: false });
            }
        }
        holders
    }

    /// An operator does something by hand.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn by_hand(&mut self, what: &ByHand) -> Result<(), NodeError> {
        match what {
            ByHand::Create { gpu, place, compute } => {
                let board = self.board(gpu)?;
                board.create_gpu_instance(place)?;
                if *compute {
                    board.create_compute_instance(place)?;
                    // `nvidia-smi` makes them on the side.
                    board.make_device_nodes()?;
                }
            }
            ByHand::Destroy { gpu, place, whole } => {
                let board = self.board(gpu)?;
                board.destroy_compute_instance(place, None)?;
                if *whole {
                    board.destroy_gpu_instance(place)?;
                }
            }
            ByHand::MigMode { gpu, on } => self.board(gpu)?.set_mig_mode(*on),
        }
        Ok(())
    }

    /// The machine starts anew: instances, processes and the plugin's list are gone; disk and checkpoint stay, and so do the pods' objects,
    /// which the kubelet admits again ([`Kubelet::readmit`]) or rejects.
    pub fn reboot(&mut self) {
        self.boots += 1;
        self.store.reboot(format!("boot-{}-{}", self.uid, self.boots));
        self.plugin.stop();
        self.kubelet.restart(false);
        for board in &mut self.boards {
            board.reboot(self.config.restores_mode);
        }
    }

    fn board(&mut self, uuid: &str) -> Result<&mut Board, NodeError> {
        self.boards.iter_mut().find(|board| board.uuid() == uuid).ok_or(NodeError::NotFound)
    }
}
