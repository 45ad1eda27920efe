//! A crash at every effect, before and after it, of whichever machine it belongs to: the end is the same.

use super::drive::Crash;
use super::*;
use crate::exec::port::NodeError;
use crate::exec::{Closed, Outcome};
use crate::model::Clients;

type Scenario = (&'static str, fn() -> Drive);

/// What is run, and how it may end.
const SCENARIOS: [Scenario; 8] = [
    ("free", || drive(World::new(), &[])),
    ("victim", || drive(World::with_victim(), &["victim"])),
    ("hand over", || hand_over(World::with_victim().under_operator()).with_clients(Clients::OperatorPause)),
    ("cut beside hand over", || cut_beside_hand_over(World::with_victim(), &["victim"])),
    ("blocked", || {
        let mut world = World::with_victim();
        world.pod("victim").budgets = vec![0];
        drive(world, &["victim"])
    }),
    ("in use", || {
        let mut world = World::new();
        world.refuse.insert("create gi", (5, world::Refusal::Node(NodeError::InsufficientResources)));
        drive(world, &[])
    }),
    ("paused", || drive(World::with_victim().under_operator(), &["victim"]).with_clients(Clients::OperatorPause)),
    ("paused for nothing", || {
        let mut world = World::new().under_operator();
        world.lingers = true;
        drive(world, &[]).with_clients(Clients::OperatorPause)
    }),
];

fn ends(name: &str, mut drive: Drive, crashes: &[Crash]) {
    drive.crashes = crashes.to_vec();
    let end = drive.run();
    let context = format!("{name} {crashes:?}: {end:?}\n{:#?}", drive.world.log);
    let outcome = match end {
        Closed::Ended(outcome, _) => outcome,
        Closed::Lost(_) => panic!("{context}"),
    };
    assert!(outcome != Outcome::Degraded, "{context}");
    drive.run_for(std::time::Duration::from_secs(5));
    settled(&drive, outcome);
}

#[test]
fn from_every_crash_point_the_operation_ends() {
    for (name, scenario) in SCENARIOS {
        let mut plain = scenario();
        plain.run();
        for effect in 0..plain.effects.min(120) {
            for after in [false, true] {
                ends(name, scenario(), &[Crash { effect, after }]);
            }
        }
    }
}

#[test]
fn from_a_second_crash_as_well() {
    for (name, scenario) in SCENARIOS {
        let mut plain = scenario();
        plain.run();
        let points = plain.effects.min(60);
        for first in (0..points).step_by(3) {
            for second in (first + 1..points + 20).step_by(7) {
                let crash = |effect| Crash { effect, after: (first + second) % 2 == 0 };
                ends(name, scenario(), &[crash(first), crash(second)]);
            }
        }
    }
}
