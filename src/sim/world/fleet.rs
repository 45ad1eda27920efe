//! What a simulated cluster consists of.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Catalogue, Geometry, LookupError};
use crate::plan::Place;
use crate::sim::node::NodeConfig;

/// The nodes of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// Nodes, each with a name of its own.
    pub nodes: Vec<NodeSpec>,
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its GPUs, by index.
    pub boards: Vec<BoardSpec>,
    /// How kubelet, plugin and driver are set up.
    pub config: NodeConfig,
    /// Allocatable CPU in millicores.
    pub cpu_milli: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One GPU.
#[derive(Debug, Clone)]
pub struct BoardSpec {
    /// Its table.
    pub geometry: Arc<Geometry>,
    /// Instances at the start.
    pub layout: Vec<Place>,
}

/// Why a fleet cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// No such board.
    #[error(transparent)]
    Board(#[from] LookupError),
    /// An instance that the board does not have there.
    #[error(
        "node {node}, GPU {index}: the board {board} cannot be laid out as asked; take places that `retile boards {board}` lists"
    )]
    Layout {
        /// Node.
        node: String,
        /// Index of the GPU.
        index: usize,
        /// Board.
        board: String,
    },
    /// Two nodes of one name.
    #[error("the node {0} stands twice in the fleet; give each node a name of its own")]
    Duplicate(String),
    /// Work that asks for a profile that no board has.
    #[error("the work {work} asks for {profile}, which no board of the fleet has; correct the workload or the fleet")]
    Profile {
        /// Work.
        work: String,
        /// Profile.
        profile: String,
    },
    /// Two pieces of work of one name.
    #[error("the work {0} stands twice in the workload; give each piece of work a name of its own")]
    DuplicateWork(String),
}

impl Fleet {
    /// So many like nodes of so many like GPUs each, all empty.
    ///
    /// # Errors
    /// No board of the catalogue is called so.
    pub fn uniform(nodes: u32, gpus: u32, board: &str) -> Result<Self, FleetError> {
        let geometry = Catalogue::embedded().find_by_key(board)?;
        let board = BoardSpec { geometry: Arc::clone(geometry), layout: Vec::new() };
        let boards = vec![board; gpus as usize];
        let nodes = (0..nodes).map(|number| NodeSpec::new(&format!("gpu-{number:03}"), boards.clone()));
        Ok(Self { nodes: nodes.collect() })
    }

    /// The resource that a profile is offered as on the first board that has it.
    pub fn resource(&self, profile: &str) -> Option<String> {
        let mut boards = self.nodes.iter().flat_map(|node| &node.boards);
        boards.find_map(|board| {
            let id = board.geometry.find(profile)?;
            Some(format!("nvidia.com/{}", board.geometry.profile(id).resource_suffix()))
        })
    }
}

impl NodeSpec {
    /// A node with plenty of CPU and the usual set-up.
    pub fn new(name: &str, boards: Vec<BoardSpec>) -> Self {
        Self {
            name: name.to_owned(),
            boards,
            config: NodeConfig::default(),
            cpu_milli: 256_000,
            labels: BTreeMap::new(),
        }
    }
}
