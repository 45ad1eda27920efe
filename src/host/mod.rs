//! A node's side of the agent's port in production: files, driver, kubelet, device nodes.
//!
//! Inputs: [`NodeRequest`]s. Outputs: for each one effect at most and one answer, as the simulator's node gives them. Invariants:
//!
//! * One agent per node: [`Host::start`] takes a lock on the state folder that ends with the process, however that ends.
//! * The intent is on disk before [`NodeRequest::WriteIntent`] is answered; a torn write leaves the old one or none.
//! * Calls of the driver run on its own thread under a watchdog; no file or child process is waited for without limit.
//! * Codes are passed on, never interpreted: what is true is what the next `Enumerate` shows.
//!
//! Must not decide anything, and must not depend on Kubernetes' API server, the planner or the command line.

mod devices;
mod files;
pub mod inventory;
mod lock;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::exec::port::{NodeAnswer, NodeError, NodeReply, NodeRequest, Occupant};
use crate::nvml::{Board, Driver, DriverError};
use crate::occupancy::{Occupancy, Source, Sources};
use crate::podresources::PodResources;

pub use devices::{DeviceSettings, DevicesError, Plan, Switch};
pub use files::FilesError;
pub use lock::LockError;

use files::Files;
use lock::Lock;

/// Where the kernel tells which boot this is.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What a host is made of.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// The driver's library, an absolute path.
    pub library: PathBuf,
    /// How long a call of the driver may take.
    pub watchdog: Duration,
    /// The kubelet's pod-resources socket.
    pub kubelet: PathBuf,
    /// Folder of the agent's files; made if it is not there.
    pub state: PathBuf,
    /// File with the kernel's boot id.
    pub boot_id: PathBuf,
    /// What makes device nodes.
    pub devices: DeviceSettings,
}

/// Why a node cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Another agent works here, or the lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state folder cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The driver cannot be used.
    #[error("{error}; {}", .error.remedy())]
    Driver {
        /// Why not.
        #[from]
        error: DriverError,
    },
    /// A program that makes device nodes is missing.
    #[error(transparent)]
    Devices(#[from] DevicesError),
}

/// The node that the agent runs on.
#[derive(Debug)]
pub struct Host {
    /// Calls block, so they are made on a thread for that.
    local: Arc<Local>,
    kubelet: PodResources,
    devices: devices::Steps,
    /// What was last told about the kubelet's failure, so that it is told once.
    told: Mutex<Option<String>>,
    /// What the driver last showed, for people and figures.
    shown: Mutex<Vec<Board>>,
    _lock: Lock,
}

/// What blocks.
#[derive(Debug)]
struct Local {
    files: Files,
    driver: Driver,
}

impl Host {
    /// Takes the node's lock, opens its files and starts its driver.
    ///
    /// # Errors
    /// Another agent runs here, or any of it cannot be used.
    pub fn start(settings: HostSettings) -> Result<Self, HostError> {
        let HostSettings { library, watchdog, kubelet, state, boot_id, devices } = settings;
        let files = Files::open(&state, &boot_id)?;
        let lock = Lock::take(&state)?;
        let devices = devices::Steps::plan(devices)?;
        let driver = Driver::start(&library, watchdog)?;
        let local = Arc::new(Local { files, driver });
        Ok(Self {
            local,
            kubelet: PodResources::new(&kubelet),
            devices,
            told: Mutex::new(None),
            shown: Mutex::default(),
            _lock: lock,
        })
    }

    /// The driver's library.
    pub fn library(&self) -> &Path {
        self.local.driver.library()
    }

    /// What is run to make device nodes, and what is left out and why.
    pub fn device_plan(&self) -> &[Plan] {
        self.devices.plans()
    }

    /// The call of the driver that hung, if one did.
    pub fn hung(&self) -> Option<&'static str> {
        self.local.driver.hung()
    }

    /// What the driver showed when it was last asked.
    pub fn boards(&self) -> Vec<Board> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does what the agent asks.
    ///
    /// # Errors
    /// It was not done, or it is not known whether it was.
    pub async fn answer(&self, request: NodeRequest) -> NodeReply {
        match request {
            NodeRequest::Occupants => self.occupants().await.map(NodeAnswer::Occupants),
            NodeRequest::Allocatable => {
                let offered = self.kubelet.allocatable().await;
                offered.map(NodeAnswer::Allocatable).map_err(|error| NodeError::Local(error.to_string()))
            }
            NodeRequest::RefreshDevices => {
                let refreshed = self.devices.run().await;
                refreshed.map(|()| NodeAnswer::Done).map_err(|error| NodeError::Local(error.to_string()))
            }
            NodeRequest::ReadStore => self.blocking(|local| local.files.read().map(NodeAnswer::Store)).await,
            NodeRequest::WriteIntent(intent) => {
                done(self.blocking(move |local| local.files.write_intent(&intent)).await)
            }
            NodeRequest::ClearIntent { applied } => {
                done(self.blocking(move |local| local.files.clear_intent(applied.as_ref())).await)
            }
            NodeRequest::Enumerate => self.driver(Driver::boards).await.map(|boards| {
                let states = boards.iter().map(Board::state).collect();
                *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = boards;
                NodeAnswer::Boards(states)
            }),
            NodeRequest::DestroyComputeInstance(proof) => {
                done(self.driver(|driver| driver.destroy_compute_instance(proof)).await)
            }
            NodeRequest::DestroyGpuInstance(proof) => {
                done(self.driver(|driver| driver.destroy_gpu_instance(proof)).await)
            }
            NodeRequest::CreateGpuInstance { gpu, place } => {
                done(self.driver(move |driver| driver.create_gpu_instance(&gpu, &place)).await)
            }
            NodeRequest::CreateComputeInstance { gpu, place } => {
                done(self.driver(move |driver| driver.create_compute_instance(&gpu, &place)).await.map(|_| ()))
            }
        }
    }

    /// Who holds what, as the kubelet and the driver say. What the API server says is added by whoever asks.
    async fn occupants(&self) -> Result<Vec<Occupant>, NodeError> {
        let boards: Vec<Board> = self.driver(Driver::boards).await?;
        let holdings = match self.kubelet.holdings().await {
            Ok(holdings) => {
                *self.told() = None;
                holdings
            }
            Err(error) => {
                let why = error.to_string();
                let mut told = self.told();
                if told.as_ref() != Some(&why) {
                    tracing::warn!(error = %why, "who holds instances is not known: the kubelet cannot be read");
                    *told = Some(why.clone());
                }
                return Err(NodeError::Local(why));
            }
        };
        let sources =
            Sources { kubelet: Source::Read(&holdings), driver: Source::Read(&boards), pods: Source::LeftOut };
        Occupancy::of(&sources).occupants()
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // Written in one assignment: a panic elsewhere leaves it whole.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn driver<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Driver) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, NodeError> {
        self.blocking(|local| {
            job(&local.driver).map_err(|error| {
                tracing::debug!(%error, "the driver did not do it");
                NodeError::from(&error)
            })
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Local) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let local = Arc::clone(&self.local);
        let answer = tokio::task::spawn_blocking(move || job(&local)).await;
        answer.unwrap_or_else(|error| {
            Err(NodeError::Local(format!("a request to the node was not carried out: {error}")))
        })
    }
}

fn done(result: Result<(), NodeError>) -> NodeReply {
    result.map(|()| NodeAnswer::Done)
}
