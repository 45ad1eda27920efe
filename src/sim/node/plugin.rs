//! NVIDIA's device plugin: it looks at the boards once, when it starts, and believes that for as long as it lives.
//!
//! Inputs: the boards at its start. Outputs: the devices that it offers. Invariant: between two starts its devices do not change, whatever
//! happens to the instances. Whole GPUs without MIG mode are left out: nothing here asks for them.

use std::time::Duration;

use super::board::{Board, Health};

/// How the plugin names instances (`MIG_STRATEGY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// A resource for every profile.
    #[default]
    Mixed,
    /// All instances of the node are of one profile, and are called GPUs.
    Single,
}

/// An instance on offer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Index of the GPU when the plugin started.
    pub gpu: u32,
    /// First unit of the instance.
    pub start: u8,
    /// MIG UUID, which is the device's id.
    pub uuid: String,
    /// Resource that it is offered as, e.g. `nvidia.com/mig-1g.10gb`.
    pub resource: String,
}

/// Why the plugin does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// It crashes, whatever the boards are.
    #[error("CrashLoopBackOff")]
    Crashes,
    /// The strategy `single` with boards that are empty or not alike.
    #[error("more than one MIG device type present on node, or a MIG-enabled GPU without MIG devices")]
    NotUniform,
    /// A GPU does not answer.
    #[error("a GPU does not answer")]
    Unreachable,
}

/// How far the plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginState {
    /// It does not run.
    Stopped,
    /// It has enumerated and is about to register.
    Starting,
    /// The kubelet has its list.
    Serving,
}

/// The device plugin of one node.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// How it names instances.
    pub strategy: Strategy,
    /// Whether every start fails.
    pub crashes: bool,
    /// From its start until it registers.
    pub registers_after: Duration,
    state: PluginState,
    devices: Vec<Device>,
}

impl Plugin {
    /// A plugin that does not run yet.
    pub fn new(strategy: Strategy, registers_after: Duration) -> Self {
        Self { strategy, crashes: false, registers_after, state: PluginState::Stopped, devices: Vec::new() }
    }

    /// How far it is.
    pub fn state(&self) -> PluginState {
        self.state
    }

    /// What it offers, or is about to, ordered by GPU and start.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// It starts, looks at the boards, and registers after the time that is answered.
    ///
    /// # Errors
    /// It ends instead.
    pub fn start(&mut self, boards: &[Board]) -> Result<Duration, PluginError> {
        self.stop();
        if self.crashes {
            return Err(PluginError::Crashes);
        }
        self.devices = enumerate(boards, self.strategy)?;
        self.state = PluginState::Starting;
        Ok(self.registers_after)
    }

    /// It has registered; false if it does not run any more.
    pub fn register(&mut self) -> bool {
        if self.state == PluginState::Starting {
            self.state = PluginState::Serving;
        }
        self.state == PluginState::Serving
    }

    /// It ends.
    pub fn stop(&mut self) {
        self.state = PluginState::Stopped;
        self.devices.clear();
    }
}

fn enumerate(boards: &[Board], strategy: Strategy) -> Result<Vec<Device>, PluginError> {
    let mut devices = Vec::new();
    let mut profiles = std::collections::BTreeSet::new();
    for board in boards.iter().filter(|board| board.mig_mode()) {
        if board.health() != Health::Well {
            return Err(PluginError::Unreachable);
        }
        let before = devices.len();
        for instance in board.state().instances {
            let (Some(uuid), Some(id)) = (instance.compute, board.geometry().find(&instance.place.profile)) else {
                continue;
            };
            let profile = board.geometry().profile(id);
            let resource = match strategy {
                Strategy::Mixed => format!("nvidia.com/{}", profile.resource_suffix()),
                Strategy::Single => "nvidia.com/gpu".to_owned(),
            };
            profiles.insert(profile.name.clone());
            devices.push(Device { gpu: board.index(), start: instance.place.start, uuid, resource });
        }
        if strategy == Strategy::Single && devices.len() == before {
            return Err(PluginError::NotUniform);
        }
    }
    if strategy == Strategy::Single && profiles.len() > 1 {
        return Err(PluginError::NotUniform);
    }
    devices.sort_unstable();
    Ok(devices)
}
