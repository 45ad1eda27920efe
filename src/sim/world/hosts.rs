//! A machine of the cluster with what runs on it.

use std::collections::BTreeMap;

use crate::model::{Geometry, PodRef};
use crate::sim::node::{Board, SimNode};

use super::fleet::{FleetError, NodeSpec};

/// How far a pod is on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It was let in; its containers are about to start.
    Starting,
    /// Its containers run.
    Running,
    /// Its containers were told to end.
    Stopping,
}

/// A pod on its node, as the kubelet knows it.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) pod: PodRef,
    pub(super) step: Step,
    /// Whether it is the plugin's.
    pub(super) plugin: bool,
    /// The work that it does.
    pub(super) work: Option<String>,
    /// Tries to start its containers.
    pub(super) tries: u32,
}

/// A machine.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) sim: SimNode,
    /// Whether it runs.
    pub(super) up: bool,
    /// Boots so far; events of an earlier one mean nothing.
    pub(super) boot: u64,
    /// Whether its kubelet writes no status.
    pub(super) mute: bool,
    /// Its pods, by UID.
    pub(super) guests: BTreeMap<String, Guest>,
    /// Pods of the plugin made so far.
    pub(super) plugins: u64,
}

/// Product name of a board.
pub(super) fn model_of(geometry: &Geometry) -> String {
    let board = geometry.board();
    board.product_names.first().unwrap_or(&board.key).clone()
}

impl Host {
    pub(super) fn new(spec: &NodeSpec, uid: &str) -> Result<Self, FleetError> {
        let tables: Vec<_> = spec.boards.iter().map(|board| board.geometry.clone()).collect();
        let mut sim = SimNode::new(&spec.name, uid, &tables, spec.config);
        for (index, board) in spec.boards.iter().enumerate() {
            sim.lay_out(index as u32, &board.layout).map_err(|_| FleetError::Layout {
                node: spec.name.clone(),
                index,
                board: board.geometry.board().key.clone(),
            })?;
        }
        Ok(Self { sim, up: true, boot: 1, mute: false, guests: BTreeMap::new(), plugins: 0 })
    }

    pub(super) fn board(&mut self, index: u32) -> Option<&mut Board> {
        self.sim.boards.iter_mut().find(|board| board.index() == index)
    }
}
