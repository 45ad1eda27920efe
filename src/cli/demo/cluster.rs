//! The two simulated clusters of the demo: the same GPUs, layouts and work, one with retile and one without.

use crate::controller::{self, Retile};
use crate::exec::Timing;
use crate::plan::Place;
use crate::sim::Record;
use crate::sim::process::{Agent, ControllerProcess, ProcessId, Program, Said};
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

/// The processes of a cast.
struct Processes {
    cast: Cast,
    said: Said,
}

impl Programs for Processes {
    fn program(&mut self, process: &ProcessId, life: u64) -> Option<Box<dyn Program>> {
        match (self.cast, process) {
            (Cast::Nobody, _) => None,
            (Cast::Retile, ProcessId::Agent(node)) => Some(Box::new(Agent::new(node, Timing::default()))),
            (Cast::Retile, ProcessId::Controller(number)) => {
                let settings = controller::Settings::of(format!("retile-{number}-{life}"));
                let proposer = Box::new(Retile { work_limit: WORK_LIMIT });
                Some(Box::new(ControllerProcess::new(settings, proposer, Said::clone(&self.said))))
            }
        }
    }

    fn take_records(&mut self) -> Vec<Record> {
        self.said.take()
    }
}

/// Steps of work of one plan: far more than eight GPUs need.
const WORK_LIMIT: u64 = 20_000_000;

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
    World::new(
        fleet()?,
        &story(seed, hours),
        Settings::default(),
        Box::new(Processes { cast, said: Said::default() }),
        seed,
    )
}
