//! Random changes of layouts with random busy neighbours, end to end.

use std::collections::BTreeSet;

use fake_nvml::Config;
use retile::exec::GpuTarget;
use retile::plan::Place;

use crate::harness::{ENDS, Holder, Machine};
use crate::layouts::{Layouts, Standing};
use crate::ledger::{HEAD, Ledger};
use crate::rng::Rng;

/// Kinds of boards: 4, 8 and 12 units, with and without media engines of their own.
const KINDS: [&str; 6] = ["A30-24GB", "A100-40GB", "A100-80GB", "H100-80GB-SXM5", "H200-141GB", "B200-180GB"];

fn asked(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A busy neighbour: board, place, and the UUID that must not change.
struct Busy {
    board: usize,
    place: Place,
    uuid: String,
    holder: Holder,
}

#[test]
fn random_changes_end_as_planned_and_leave_every_neighbour_alone() {
    let changes = asked("RETILE_CHANGES", 60);
    let mut rng = Rng::new(asked("RETILE_SEED", 1) as u64);
    println!("{HEAD}");
    for (position, key) in KINDS.iter().enumerate() {
        let layouts = Layouts::of(key);
        let mut ledger = Ledger::default();
        let mut machine = Machine::new(Config::of(&[key, key]));
        machine.start();
        let mut busy: Vec<Busy> = Vec::new();
        while ledger.changes() < (changes + position) / KINDS.len() {
            change(&mut machine, &mut rng, &layouts, &mut busy, &mut ledger);
        }
        assert!(machine.refreshed() >= ledger.changes(), "device nodes are made after each change");
        assert!(machine.stop().success(), "{}", machine.log());
        // Not a check: the figures that the documentation quotes.
        println!("{key:<16} {ledger}");
    }
}

/// One change of one of two boards.
fn change(machine: &mut Machine, rng: &mut Rng, layouts: &Layouts, busy: &mut Vec<Busy>, ledger: &mut Ledger) {
    let before = machine.boards();
    let board = rng.below(before.len());
    redistribute(machine, rng, busy, &before);
    let (uuid, key, standing) = &before[board];
    let held: BTreeSet<Place> = busy.iter().filter(|it| it.board == board).map(|it| it.place.clone()).collect();
    let base: Vec<Place> = standing.keys().cloned().collect();
    let target = layouts.any(rng, &held);
    if target == base {
        return;
    }
    let change = GpuTarget { uuid: uuid.clone(), index: board as u32, base: base.clone(), target: target.clone() };
    let steps = layouts.steps(&change);
    let called = machine.called();
    let id = machine.claim(vec![change], steps);
    let reached = machine.see_through(&id, &ENDS);
    let what = format!("change {} of {key}", ledger.changes());
    assert_eq!(reached, "Repartitioned", "{what}: {base:?} to {target:?}\n{}", machine.log());
    let calls = machine.calls(called);
    verify(&what, &before, &machine.boards(), board, &target, busy);
    count(&what, &calls, standing, &target);
    ledger.note(key, &base, &target, held.len(), calls.len());
}

/// Some pods end, others begin.
fn redistribute(machine: &mut Machine, rng: &mut Rng, busy: &mut Vec<Busy>, boards: &[(String, String, Standing)]) {
    let (stay, go): (Vec<Busy>, Vec<Busy>) = busy.drain(..).partition(|_| rng.chance(60));
    *busy = stay;
    for it in &go {
        machine.release(&it.holder);
    }
    for (board, (.., standing)) in boards.iter().enumerate() {
        for (place, uuid) in standing {
            let uuid = uuid.as_ref().expect("every change leaves whole instances");
            if busy.iter().all(|it| it.uuid != *uuid) && rng.chance(25) {
                let holder = machine.hold(board, place, uuid, rng.chance(50));
                busy.push(Busy { board, place: place.clone(), uuid: uuid.clone(), holder });
            }
        }
    }
}

fn verify(
    what: &str,
    before: &[(String, String, Standing)],
    after: &[(String, String, Standing)],
    changed: usize,
    target: &[Place],
    busy: &[Busy],
) {
    for (board, ((_, key, was), (.., is))) in before.iter().zip(after).enumerate() {
        if board != changed {
            assert_eq!(was, is, "{what} touched another board, a {key}");
            continue;
        }
        let places: Vec<&Place> = is.keys().collect();
        assert_eq!(places, target.iter().collect::<Vec<_>>(), "{what}");
        for (place, uuid) in is {
            assert!(uuid.is_some(), "{what}: {place:?} is not whole");
            if let Some(old) = was.get(place) {
                assert_eq!(old, uuid, "{what}: {place:?} was to stay");
            }
        }
    }
    for neighbour in busy {
        let now = after[neighbour.board].2.get(&neighbour.place).and_then(Option::as_ref);
        assert_eq!(now, Some(&neighbour.uuid), "{what}: a busy neighbour at {:?}", neighbour.place);
    }
}

/// The driver was asked for exactly what differs.
fn count(what: &str, calls: &[String], base: &Standing, target: &[Place]) {
    let made = |call: &str| calls.iter().filter(|own| *own == call).count();
    let gone = base.keys().filter(|place| !target.contains(place)).count();
    let new = target.iter().filter(|place| !base.contains_key(place)).count();
    let counts = [
        ("nvmlComputeInstanceDestroy", gone),
        ("nvmlGpuInstanceDestroy", gone),
        ("nvmlDeviceCreateGpuInstanceWithPlacement", new),
        ("nvmlGpuInstanceCreateComputeInstance", new),
        ("nvmlDeviceCreateGpuInstance", 0),
        ("nvmlDeviceSetMigMode", 0),
    ];
    for (call, expected) in counts {
        assert_eq!(made(call), expected, "{what}: {call}");
    }
}
