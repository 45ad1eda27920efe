//! The two simulated clusters of the demo: the same GPUs, layouts and work, one with retile and one without.

use crate::exec::Timing;
use crate::plan::Place;
use crate::sim::Record;
use crate::sim::process::{Agent, ProcessId, Program};
use crate::sim::story::{BOARD, GPUS, LAYOUTS, NODES, story};
use crate::sim::world::{Fleet, FleetError, Programs, Settings, World};

/// Who runs retile's processes in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cast {
    /// Nobody: layouts stay as they are.
    Nobody,
    /// The controller and the agents.
    Retile,
}

impl Programs for Cast {
    fn program(&mut self, process: &ProcessId, _: u64) -> Option<Box<dyn Program>> {
        match (self, process) {
            (Self::Nobody, _) => None,
            (Self::Retile, ProcessId::Agent(node)) => Some(Box::new(Agent::new(node, Timing::default()))),
            (Self::Retile, ProcessId::Controller(_)) => None,
        }
    }

    fn take_records(&mut self) -> Vec<Record> {
        Vec::new()
    }
}

/// Eight GPUs on two nodes, cut as somebody thought best.
fn fleet() -> Result<Fleet, FleetError> {
    let mut fleet = Fleet::uniform(NODES, GPUS, BOARD)?;
    for node in &mut fleet.nodes {
        for (board, layout) in node.boards.iter_mut().zip(LAYOUTS) {
            let place = |&(profile, start): &(&str, u8)| {
                let size = board.geometry.find(profile).and_then(|id| board.geometry.profile(id).size);
                Place { start, size: size.unwrap_or(0), profile: profile.to_owned() }
            };
            board.layout = layout.iter().map(place).collect();
        }
    }
    Ok(fleet)
}

/// A cluster at the beginning of the story.
pub(super) fn cluster(cast: Cast, seed: u64, hours: u64) -> Result<World, FleetError> {
    World::new(fleet()?, &story(seed, hours), Settings::default(), Box::new(cast), seed)
}
