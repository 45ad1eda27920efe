//! Both machines, driven against one node in memory.

mod crashes;
mod cures;
mod drive;
mod gives_up;
mod happy;
mod world;

use crate::exec::{GpuTarget, Outcome};
use drive::Drive;
use world::{BASE, OP, TARGET, World, operation, places};

/// What must be so at every end but a degraded one.
fn settled(drive: &Drive, outcome: Outcome) {
    let world = &drive.world;
    assert!(!world.tainted(), "the taint is gone: {:#?}", world.log);
    let record = world.record.as_ref().expect("a record");
    assert_eq!(record.spec.operation, None);
    assert_eq!(record.spec.history[0].outcome, outcome, "{:#?}", world.log);
    let cut = outcome == Outcome::Done && !drive.draft.only_hands_over();
    let layout = if cut { places(&TARGET) } else { places(&BASE) };
    assert_eq!(world.layout(0), layout, "{:#?}", world.log);
    assert_eq!(world.store.intent, None);
    let computes = world.computes();
    assert_eq!(world.offered, computes, "the plugin serves what the board has");
    for neighbour in ["GPU-0/0", "GPU-1/0"] {
        assert!(computes.iter().any(|uuid| uuid == neighbour), "{neighbour} was not touched");
    }
}

fn drive(world: World, victims: &[&str]) -> Drive {
    Drive::new(world, operation(victims))
}

/// The victim's instance is handed over; nothing is cut.
fn hand_over(world: World) -> Drive {
    let mut operation = operation(&["victim"]);
    operation.steps.clear();
    for gpu in &mut operation.gpus {
        gpu.target.clone_from(&gpu.base);
    }
    Drive::new(world, operation)
}

/// GPU 0 is cut, and what a pod holds on GPU 1 is handed over.
fn cut_beside_hand_over(world: World, victims: &[&str]) -> Drive {
    let mut operation = operation(victims);
    let places = places(&["7g.80gb@0"]);
    operation.gpus.push(GpuTarget { uuid: "GPU-1".to_owned(), index: 1, base: places.clone(), target: places });
    Drive::new(world, operation)
}
