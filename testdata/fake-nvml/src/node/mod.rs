//! The node: boards, their instances and who holds them. Rules without I/O.
//!
//! Everything here is a pure change of a value that [`crate::store`] keeps in a file; the ABI calls it under that file's
//! lock. Invariants: the GPU instances of a board satisfy the board's rules (`gpu`), the compute instances of a GPU
//! instance satisfy its own (`compute`), serial numbers are never used twice.

mod clients;
mod compute;
mod gpu;
mod mode;
mod partition;
mod uuid;

pub use clients::Client;
pub use compute::ComputeProfile;
pub(crate) use compute::device_name;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::boards::Board;
use crate::config::{BoardConfig, Config};
use crate::fault::Fault;
use crate::{Code, boards};

/// Why a node cannot be made from a configuration.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The fake has no numbers for the board.
    #[error("no board {0:?}; the fake can be {known}", known = boards::Board::keys().collect::<Vec<_>>().join(", "))]
    UnknownBoard(String),
    /// More boards than handles can name.
    #[error("{0} boards; a node has 1 to 16")]
    Boards(usize),
}

/// A placement on an axis: units of the board for GPU instances, compute slices for compute instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// First unit.
    pub start: u32,
    /// Units.
    pub size: u32,
}

impl Span {
    /// Whether two placements share a unit.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.start + other.size && other.start < self.start + self.size
    }
}

/// A compute instance, and with it a MIG device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeInstance {
    /// Id within the GPU instance.
    pub id: u32,
    /// Number of this incarnation, unique on the node.
    pub serial: u64,
    /// Compute instance profile; enum and id are the same number.
    pub profile: u32,
    /// Compute slices taken.
    pub span: Span,
    /// UUID of the MIG device, new at every creation.
    pub uuid: String,
}

/// A GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInstance {
    /// Id: a place in the board's tree.
    pub id: u32,
    /// Number of this incarnation, unique on the node.
    pub serial: u64,
    /// Profile id.
    pub profile: u32,
    /// Units taken.
    pub span: Span,
    /// Compute instances by id.
    pub compute: Vec<ComputeInstance>,
    /// How often a destruction still answers `IN_USE`.
    #[serde(default)]
    pub settling: u32,
}

/// One board and what is on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoardState {
    /// Configuration.
    pub config: BoardConfig,
    /// UUID of the whole GPU.
    pub uuid: String,
    /// Minor number of the device node, `/dev/nvidia<minor>`.
    pub minor: u32,
    /// PCI bus number.
    pub bus: u32,
    /// MIG mode now.
    pub mig: bool,
    /// MIG mode after the next reset.
    pub mig_pending: bool,
    /// Whether the board fell off the bus.
    #[serde(default)]
    pub lost: bool,
    /// GPU instances by id.
    pub instances: Vec<GpuInstance>,
    /// Who holds the board or something on it.
    pub clients: Vec<Client>,
}

impl BoardState {
    /// The tables of the board.
    pub fn table(&self) -> &'static Arc<Board> {
        Board::find(&self.config.board).expect("checked when the node was made and when it was read")
    }

    /// The name that this node's driver gives a profile of the catalogue.
    pub fn profile_name<'n>(&'n self, name: &'n str) -> &'n str {
        self.config.names.get(name).map_or(name, String::as_str)
    }

    /// MIG devices in the order of their indices: by GPU instance, then by compute instance.
    pub fn mig_devices(&self) -> impl Iterator<Item = (&GpuInstance, &ComputeInstance)> {
        self.instances.iter().flat_map(|gpu| gpu.compute.iter().map(move |compute| (gpu, compute)))
    }
}

/// Something that clients can wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event.
    pub number: u64,
    /// Place of the board.
    pub board: usize,
    /// Value of `nvmlEventType*`.
    pub kind: u64,
    /// GPU instance that it is about.
    pub gpu_instance: Option<u32>,
    /// Compute instance that it is about.
    pub compute_instance: Option<u32>,
}

/// `nvmlEventMigConfigChange`.
pub const MIG_CONFIG_CHANGE: u64 = 0x100;

/// The whole node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// What the node was made from.
    pub config: Config,
    /// Counts boots, the first is 1.
    pub boot: u64,
    /// The boards, in the order of the configuration.
    pub boards: Vec<BoardState>,
    /// Index as NVML gives it, to place in `boards`.
    pub order: Vec<usize>,
    /// Faults yet to play.
    pub faults: Vec<Fault>,
    /// The latest events.
    pub events: Vec<Event>,
    /// Number of the next event.
    pub next_event: u64,
    /// Serial of the next instance.
    pub next_serial: u64,
}

impl Node {
    /// Makes a freshly booted node without instances.
    ///
    /// # Errors
    /// A board that the fake has no numbers for, no board, too many.
    pub fn new(config: Config) -> Result<Self, NodeError> {
        if config.boards.is_empty() || config.boards.len() > 16 {
            return Err(NodeError::Boards(config.boards.len()));
        }
        if let Some(unknown) = config.boards.iter().find(|board| Board::find(&board.board).is_none()) {
            return Err(NodeError::UnknownBoard(unknown.board.clone()));
        }
        let boards = (0u32..).zip(&config.boards).map(|(place, board)| BoardState {
            uuid: board.uuid.clone().unwrap_or_else(|| uuid::gpu(place, &board.board)),
            minor: place,
            bus: 7 + 8 * place,
            mig: board.mig && !board.vgpu_guest,
            mig_pending: board.mig && !board.vgpu_guest,
            lost: false,
            instances: Vec::new(),
            clients: Vec::new(),
            config: board.clone(),
        });
        Ok(Self {
            boot: 1,
            boards: boards.collect(),
            order: (0..config.boards.len()).collect(),
            faults: config.faults.clone(),
            events: Vec::new(),
            next_event: 0,
            next_serial: 1,
            config,
        })
    }

    /// The board at a place of the configuration, unless it fell off the bus.
    pub(crate) fn board(&self, place: usize) -> Result<&BoardState, Code> {
        let board = self.boards.get(place).ok_or(Code::InvalidArgument)?;
        if board.lost { Err(Code::GpuIsLost) } else { Ok(board) }
    }

    pub(crate) fn board_mut(&mut self, place: usize) -> Result<&mut BoardState, Code> {
        let board = self.boards.get_mut(place).ok_or(Code::InvalidArgument)?;
        if board.lost { Err(Code::GpuIsLost) } else { Ok(board) }
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial - 1
    }

    fn announce(&mut self, board: usize, gpu_instance: Option<u32>, compute_instance: Option<u32>) {
        let number = self.next_event;
        self.next_event += 1;
        self.events.push(Event { number, board, kind: MIG_CONFIG_CHANGE, gpu_instance, compute_instance });
        let surplus = self.events.len().saturating_sub(64);
        self.events.drain(..surplus);
    }
}
