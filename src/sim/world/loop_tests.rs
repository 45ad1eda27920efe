//! The whole of retile in a whole cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::controller;
use crate::exec::{Outcome, Timing};
use crate::model::{Policy, Stability};
use crate::sim::workload::Kind;

fn retile(settings: Settings, arrivals: Vec<Arrival>, seed: u64) -> World {
    retile_on(Fleet::uniform(2, 2, "A100-80GB").expect("the board is in the catalogue"), settings, arrivals, seed)
}

fn retile_on(fleet: Fleet, settings: Settings, arrivals: Vec<Arrival>, seed: u64) -> World {
    let mut loops = controller::Settings::of("unnamed");
    loops.period = Duration::from_mins(1);
    loops.soonest = Some(Duration::from_secs(10));
    let proposers: Proposers = Box::new(|| Box::new(controller::Retile { work_limit: 1_000_000 }));
    let programs = Deployed::new(loops, Timing::default(), proposers);
    World::new(fleet, &Workload { arrivals }, settings, Box::new(programs), seed).expect("a cluster")
}

fn settings() -> Settings {
    let stability = Stability { min_pending_age_seconds: 5, gpu_cool_down_seconds: 60, pod_move_cap: None };
    let policy = Policy { mode: crate::model::Mode::Act, stability, ..Policy::unlimited() };
    Settings { policy: Some(policy), trace: 300, ..Settings::default() }
}

fn arrivals() -> Vec<Arrival> {
    let profiles = ["1g.10gb", "3g.40gb", "2g.20gb", "1g.10gb", "7g.80gb"];
    let arrival = |number: usize| Arrival {
        at: 10_000 + number as u64 * 20_000,
        name: format!("web-{number}"),
        instances: BTreeMap::from([(profiles[number % profiles.len()].to_owned(), 1)]),
        runs: 300_000,
        priority: 0,
        kind: Kind::Service,
        patience: None,
    };
    (0..15).map(arrival).collect()
}

#[test]
fn empty_boards_are_cut_for_who_waits_until_all_work_is_done() {
    let mut world = retile(settings(), arrivals(), 1);
    world.run_until(3_600_000);
    let trace = || world.trace_lines().collect::<Vec<_>>().join("\n");
    assert_eq!(world.snapshot().finished, 15, "{:?}\n{}", world.snapshot(), trace());
    assert!(world.snapshot().operations.is_empty());
    assert!(world.api().objects().nodes.values().all(|node| node.taints.is_empty()));
    let ended =
        world.history().records.iter().filter_map(|stamped| {
            if let Record::Ended { outcome, .. } = &stamped.record { Some(*outcome) } else { None }
        });
    let ended: Vec<Outcome> = ended.collect();
    // A pod that is bound between a look and the taint makes its operation be given up before anything is touched; the next cycle plans anew.
    let done = ended.iter().filter(|&&outcome| outcome == Outcome::Done).count();
    let given_up = ended.iter().filter(|&&outcome| outcome == Outcome::Aborted).count();
    assert!(done + given_up == ended.len() && done > 4 * given_up, "{ended:?}");
    assert!(world.history().records.iter().any(|stamped| matches!(stamped.record, Record::Planned { .. })));
}

#[test]
fn new_demand_is_planned_for_as_soon_as_it_has_settled() {
    let mut settings = settings();
    let policy = settings.policy.as_mut().expect("there is one");
    policy.stability.min_pending_age_seconds = 30;
    let arrived = 400_000;
    let late = Arrival { at: arrived, ..arrivals().remove(0) };
    let mut world = retile(settings, vec![late], 1);
    world.run_until(3_600_000);
    let claimed = world
        .history()
        .records
        .iter()
        .find_map(|stamped| matches!(stamped.record, Record::Claimed { .. }).then_some(stamped.at));
    let waited = claimed.expect("an operation for it") - arrived;
    assert!((30_000..45_000).contains(&waited), "{waited} ms");
}

/// What eight pods come to that arrive one after another within 1.4 seconds, from this moment on: plans that serve somebody, claims, GPUs that are cut.
fn burst(from: u64, seed: u64) -> (usize, usize, usize) {
    let mut settings = settings();
    let policy = settings.policy.as_mut().expect("there is one");
    policy.stability.min_pending_age_seconds = 30;
    policy.stability.gpu_cool_down_seconds = 600;
    let like =
        Arrival { instances: BTreeMap::from([("1g.20gb".to_owned(), 1)]), runs: 3_600_000, ..arrivals().remove(0) };
    let arrival = |number: u64| Arrival { at: from + number * 200, name: format!("web-{number}"), ..like.clone() };
    let fleet = Fleet::uniform(1, 4, "A100-80GB").expect("the board is in the catalogue");
    let mut world = retile_on(fleet, settings, (0..8).map(arrival).collect(), seed);
    world.run_until(from + 300_000);
    let records: Vec<&Record> = world.history().records.iter().map(|stamped| &stamped.record).collect();
    let count = |is: fn(&Record) -> bool| records.iter().filter(|record| is(record)).count();
    assert_eq!(count(|record| matches!(record, Record::Started { .. })), 8, "all of them run");
    let cut: BTreeSet<u32> = records
        .iter()
        .filter_map(|record| {
            let Record::Gpu { index, instances, .. } = record else { return None };
            (!instances.is_empty()).then_some(*index)
        })
        .collect();
    let plans = count(|record| matches!(record, Record::Planned { served: 1.., .. }));
    (plans, count(|record| matches!(record, Record::Claimed { .. })), cut.len())
}

#[test]
fn a_burst_is_one_plan_one_operation_and_as_few_gpus_as_suffice() {
    // Whenever it arrives: between two looks, or across one.
    for shift in (0..2_000).step_by(250) {
        assert_eq!(burst(400_000 + shift, 1 + shift), (1, 1, 2), "{shift} ms later");
    }
}

#[test]
fn the_same_seed_gives_the_same_history_with_crashes_of_all_processes() {
    let run = |seed| {
        let mut world = retile(Settings { controllers: 2, ..settings() }, arrivals(), seed);
        for minute in 1..10 {
            let agent = ProcessId::Agent(format!("gpu-00{}", minute % 2));
            world.inject(&When::At(minute * 60_000 + 7000), Hand::Crash(agent));
            world.inject(&When::At(minute * 60_000), Hand::Crash(ProcessId::Controller(0)));
        }
        world.run_until(3_600_000);
        assert_eq!(world.snapshot().finished, 15, "{:?}", world.snapshot());
        format!("{:?}", world.history())
    };
    let first = run(3);
    assert_eq!(first, run(3));
    assert_ne!(first, run(4));
}
