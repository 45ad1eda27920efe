//! Whole clusters: what runs, what waits, what is written down, and that it is always the same.

use std::collections::BTreeMap;

use super::*;
use crate::exec::Timing;
use crate::plan::Place;
use crate::sim::history::{BurstReason, Stamped};
use crate::sim::process::{Agent, Program};
use crate::sim::workload::Kind;

/// Agents only: nobody changes a layout.
struct AgentsOnly;

impl Programs for AgentsOnly {
    fn program(&mut self, process: &ProcessId, _: u64) -> Option<Box<dyn Program>> {
        match process {
            ProcessId::Agent(node) => Some(Box::new(Agent::new(node, Timing::default()))),
            ProcessId::Controller(_) => None,
        }
    }

    fn take_records(&mut self) -> Vec<Record> {
        Vec::new()
    }
}

pub(super) fn place(profile: &str, start: u8, size: u8) -> Place {
    Place { start, size, profile: profile.to_owned() }
}

/// One node with one A100 that holds two instances of three slices.
fn small() -> Fleet {
    let mut fleet = Fleet::uniform(1, 1, "A100-80GB").expect("the board is in the catalogue");
    fleet.nodes[0].boards[0].layout = vec![place("3g.40gb", 0, 4), place("3g.40gb", 4, 4)];
    fleet
}

fn work(name: &str, at: u64, runs: u64, kind: Kind) -> Arrival {
    Arrival {
        at,
        name: name.to_owned(),
        instances: BTreeMap::from([("3g.40gb".to_owned(), 1)]),
        runs,
        priority: 0,
        kind,
        patience: None,
    }
}

fn world(arrivals: Vec<Arrival>, seed: u64) -> World {
    let settings = Settings { trace: 2000, ..Settings::default() };
    World::new(small(), &Workload { arrivals }, settings, Box::new(AgentsOnly), seed).expect("a cluster")
}

fn records(world: &mut World) -> Vec<Stamped> {
    world.history().records.clone()
}

fn moments(world: &mut World, what: impl Fn(&Record) -> bool) -> Vec<u64> {
    records(world).iter().filter(|stamped| what(&stamped.record)).map(|stamped| stamped.at).collect()
}

#[test]
fn work_waits_for_an_instance_runs_its_time_and_is_done() {
    let arrivals = (0..3).map(|number| work(&format!("job-{number}"), 1000, 60_000, Kind::Job)).collect();
    let mut world = world(arrivals, 1);
    world.run_until(300_000);
    let started = moments(&mut world, |record| matches!(record, Record::Started { .. }));
    let finished = moments(&mut world, |record| matches!(record, Record::Finished { .. }));
    assert_eq!((started.len(), finished.len()), (3, 3), "{:?}", world.trace_lines().collect::<Vec<_>>());
    assert!(started[1] < 10_000, "two find an instance at once");
    assert!(started[2] >= finished[0], "the third waits for one to be free");
    for (start, end) in started.iter().zip(&finished) {
        assert_eq!(end - start, 60_000);
    }
    assert!(world.api().objects().unbound().next().is_none(), "finished pods are cleared away");
}

#[test]
fn agents_report_boards_and_who_holds_them() {
    let mut world = world(vec![work("web-1", 1000, 600_000, Kind::Service)], 2);
    world.run_until(30_000);
    let record = world.api().objects().records["gpu-000"].clone();
    let busy: Vec<_> = record.status.gpus[0].instances.iter().map(|instance| instance.pods.len()).collect();
    assert_eq!(record.status.gpus.len(), 1);
    assert_eq!(busy.iter().sum::<usize>(), 1, "{record:?}");
}

#[test]
fn the_patience_of_work_ends_after_all_its_waiting() {
    let mut arrivals: Vec<Arrival> = (0..2).map(|n| work(&format!("web-{n}"), 0, 1_000_000, Kind::Service)).collect();
    arrivals.push(Arrival { patience: Some(50_000), ..work("late", 10_000, 60_000, Kind::Service) });
    let mut world = world(arrivals, 3);
    world.run_until(200_000);
    let burst = records(&mut world).into_iter().find(|stamped| matches!(stamped.record, Record::Burst { .. }));
    let burst = burst.expect("the third finds no instance");
    assert_eq!(burst.at, 60_000);
    let expected = Record::Burst { work: "late".into(), reason: BurstReason::OutOfPatience, rest: 60_000 };
    assert_eq!(burst.record, expected);
    assert!(world.pods_of("late").is_empty());
}

#[test]
fn a_reboot_interrupts_work_and_empties_the_boards() {
    let mut world = world(vec![work("web-1", 0, 100_000, Kind::Service), work("job-1", 0, 100_000, Kind::Job)], 4);
    world.inject(&When::At(50_000), Hand::Reboot("gpu-000".into(), 30_000));
    world.run_until(60_000);
    let interrupted: Vec<u64> = records(&mut world)
        .iter()
        .filter_map(|stamped| if let Record::Interrupted { lost, .. } = &stamped.record { Some(*lost) } else { None })
        .collect();
    assert_eq!(interrupted.len(), 2);
    assert_eq!(interrupted.iter().filter(|&&lost| lost == 0).count(), 1, "a service loses nothing, a job all");
    assert!(world.snapshot().gpus[0].instances.is_empty());
    assert_eq!(world.snapshot().waiting.len(), 2);
    for start in [0, 4] {
        let (gpu, place) = ("GPU-gpu-000-00".to_owned(), place("3g.40gb", start, 4));
        let by_hand = crate::sim::node::ByHand::Create { gpu, place, compute: true };
        world.inject(&When::At(90_000), Hand::Mig("gpu-000".into(), by_hand));
    }
    world.inject(&When::At(100_000), Hand::RestartPlugin("gpu-000".into()));
    world.run_until(400_000);
    let started = moments(&mut world, |record| matches!(record, Record::Started { .. }));
    assert_eq!(started.len(), 4, "with its instances back the work goes on");
    let finished = moments(&mut world, |record| matches!(record, Record::Finished { .. }));
    assert_eq!(finished.len(), 2);
    assert!(finished[0] < started[2] + 60_000, "the service goes on with the rest");
    assert!(finished[1] >= started[2] + 100_000, "the job starts anew");
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_one_another() {
    let arrivals = || (0..20).map(|n| work(&format!("job-{n}"), n * 5000, 30_000 + n * 1000, Kind::Job)).collect();
    let run = |seed| {
        let mut world = world(arrivals(), seed);
        world.inject(&When::At(70_000), Hand::Reboot("gpu-000".into(), 10_000));
        world.run_until(900_000);
        format!("{:?}", world.history())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
