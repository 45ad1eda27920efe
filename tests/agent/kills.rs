//! `kill -9` of the agent at random moments of operations, with the times that a driver takes.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use fake_nvml::Config;
use retile::exec::GpuTarget;
use retile::plan::Place;

use crate::harness::{ENDS, Machine};
use crate::layouts::{Layouts, Standing};
use crate::rng::Rng;

const KINDS: [&str; 2] = ["A100-80GB", "H100-80GB-SXM5"];
/// Of the measured times; with them in full a kill would take seconds to wait for.
const LATENCY: f64 = 0.2;

#[test]
fn a_kill_at_any_moment_loses_nothing_and_hurts_nobody() {
    let kills = std::env::var("RETILE_KILLS").map_or(40, |text| text.parse().expect("a number of kills"));
    let seed = std::env::var("RETILE_SEED").map_or(1, |text| text.parse().expect("a seed"));
    let mut rng = Rng::new(seed);
    let layouts: Vec<Layouts> = KINDS.iter().map(|key| Layouts::of(key)).collect();
    let mut machine = Machine::new(Config { latency: LATENCY, ..Config::of(&KINDS) });
    machine.start();
    let (mut killed, mut forward, mut back, mut halfway) = (0, 0, 0, 0);
    while killed < kills {
        let board = rng.below(KINDS.len());
        let before = machine.boards();
        let standing = &before[board].2;
        let busy: Vec<(&Place, &String)> = standing
            .iter()
            .filter_map(|(place, uuid)| Some((place, uuid.as_ref()?)))
            .filter(|_| rng.chance(30))
            .collect();
        let target = layouts[board].any(&mut rng, &busy.iter().map(|(place, _)| (*place).clone()).collect());
        let base: Vec<Place> = standing.keys().cloned().collect();
        if target == base {
            continue;
        }
        let holders: Vec<_> =
            busy.iter().map(|(place, uuid)| machine.hold(board, place, uuid, rng.chance(50))).collect();
        let change = GpuTarget {
            uuid: before[board].0.clone(),
            index: board as u32,
            base: base.clone(),
            target: target.clone(),
        };
        let steps = layouts[board].steps(&change);
        let work = 2 * steps.len();
        let called = machine.called();
        let mut begun = 0;
        let id = machine.claim(vec![change], steps);
        // Sometimes the controller gives up meanwhile, so that the agent is killed on its way back, too.
        let gives_up = rng.chance(40);
        let mut given_up = false;
        for round in 0..rng.between(1, 3) {
            // Before the agent has accepted, the controller just lets go, and there is nothing to see.
            if round > 0 && gives_up && !given_up && machine.accepted(&id) {
                machine.proceed("Cancelling");
                given_up = true;
            }
            // A moment in, before or after some call that changes the board; the driver takes about 40 ms for each.
            let more = rng.below(work + 1);
            machine.until_changes(called, begun + more, &id);
            thread::sleep(Duration::from_millis(rng.below(60) as u64));
            machine.kill();
            begun = machine.changes(called);
            killed += 1;
            let now = machine.boards();
            halfway += usize::from(between(&now[board].2, &base, &target));
            possible(&before, &now, board, &base, &target);
            machine.start();
        }
        let among: &[&str] = if given_up { &["RolledBack", "Degraded"] } else { &ENDS };
        let reached = machine.see_through(&id, among);
        let now = machine.boards();
        let places: Vec<Place> = now[board].2.keys().cloned().collect();
        match reached.as_str() {
            "RolledBack" => {
                back += 1;
                assert_eq!(places, base, "{id}\n{}", machine.log());
            }
            "Repartitioned" | "Applied" => {
                forward += 1;
                assert_eq!(places, target, "{id}\n{}", machine.log());
            }
            other => panic!("{id} ended {other}\n{}", machine.log()),
        }
        assert!(now[board].2.values().all(Option::is_some), "{id}: every instance is whole");
        for (place, uuid) in &busy {
            assert_eq!(now[board].2.get(place).and_then(Option::as_ref), Some(*uuid), "{id}: a busy neighbour");
        }
        assert!(!machine.path("state/intent.json").exists(), "{id}: the intent is left");
        for holder in &holders {
            machine.release(holder);
        }
    }
    println!(
        "{killed} kills, {halfway} of them between the layouts: {forward} operations ended at their target, {back} at their base"
    );
    assert!(machine.stop().success());
}

/// Whether a board is neither of both.
fn between(now: &Standing, base: &[Place], target: &[Place]) -> bool {
    let whole = now.values().all(Option::is_some);
    let places: Vec<&Place> = now.keys().collect();
    !(whole && (places.iter().copied().eq(base) || places.iter().copied().eq(target)))
}

/// At no moment is there anything that neither layout has, nor is anything gone or made anew that both have.
fn possible(
    before: &[(String, String, Standing)],
    now: &[(String, String, Standing)],
    changed: usize,
    base: &[Place],
    target: &[Place],
) {
    let known: BTreeSet<&Place> = base.iter().chain(target).collect();
    for (board, ((.., was), (.., is))) in before.iter().zip(now).enumerate() {
        if board != changed {
            assert_eq!(was, is, "another board was touched");
            continue;
        }
        assert!(is.keys().all(|place| known.contains(place)), "{is:?}");
        for place in base.iter().filter(|place| target.contains(place)) {
            assert_eq!(is.get(place), was.get(place), "{place:?} was to stay");
        }
    }
}
