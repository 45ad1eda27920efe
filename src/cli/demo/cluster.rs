//! The two simulated clusters of the demo: the same GPUs, layouts and work, one with retile and one without.

use crate::controller::{self, Retile};
use crate::exec::Timing;
use crate::plan::Place;
use crate::sim::story::{BOARD, GPUS, LAYOUTS, NODES, story};
use crate::sim::world::{Deployed, Fleet, FleetError, Settings, World};

/// Who runs retile's processes in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cast {
    /// Nobody changes layouts: they stay as they are.
    Nobody,
    /// The controller and the agents.
    Retile,
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
    let controllers = match cast {
        Cast::Nobody => 0,
        Cast::Retile => 1,
    };
    let programs = Deployed::new(
        controller::Settings::of("retile"),
        Timing::default(),
        Box::new(|| Box::new(Retile { work_limit: WORK_LIMIT })),
    );
    let settings = Settings { controllers, ..Settings::default() };
    World::new(fleet()?, &story(seed, hours), settings, Box::new(programs), seed)
}
