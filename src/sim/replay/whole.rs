//! The whole simulated cluster as the engine of a replay: the real loop and the real protocol, with scheduler, kubelets, plugins and boards.
//!
//! Input: a [`Scene`]. Output: a [`History`]. The loop keeps to the times of the scene, so that all rules are asked under the same conditions. A replay
//! ends when all work is over, or when what is left can no longer come to an end.

use std::sync::Arc;
use std::time::Duration;

use super::fleet::FleetSpec;
use super::run::Scene;
use crate::controller::Settings as LoopSettings;
use crate::exec::Timing;
use crate::plan::Place;
use crate::sim::world::{BoardSpec, Deployed, Fleet, NodeSpec, Settings, World};
use crate::sim::{History, Record, Workload};

/// How long a replay goes on between two looks whether all is over, in milliseconds.
const STRETCH: u64 = 600_000;
/// Longest time after the last arrival that a replay waits beyond running times and patience, in milliseconds.
const GRACE: u64 = 24 * 3_600_000;

/// Lives through a scene.
///
/// # Errors
/// The fleet or the workload contradicts itself.
pub fn whole(scene: &Scene<'_>) -> Result<History, String> {
    let Scene { fleet, workload, rule, period, soonest, policy, seed } = scene;
    let settings = Settings { policy: Some((*policy).clone()), ..Settings::default() };
    let (period, soonest) = (Duration::from_millis(*period), soonest.map(Duration::from_millis));
    let of_loop = LoopSettings { period, soonest, ..LoopSettings::of("replay") };
    let rule = rule.clone();
    let programs = Deployed::new(of_loop, Timing::default(), Box::new(move || rule.proposer()));
    let mut world =
        World::new(nodes(fleet), workload, settings, Box::new(programs), *seed).map_err(|error| error.to_string())?;
    // Looking for breaches costs more than half as much again, and is for the tests of the protocol.
    world.unwatched();
    let last = last_moment(workload);
    let (mut seen, mut over, mut end) = (0, 0, 0);
    while over < workload.arrivals.len() && world.now() < last {
        world.run_until(world.now() + STRETCH);
        let records = &world.history().records;
        for stamped in &records[seen..] {
            match &stamped.record {
                Record::Finished { .. } | Record::Burst { .. } => {
                    over += 1;
                    end = stamped.at;
                }
                Record::Arrived { .. }
                | Record::Started { .. }
                | Record::Evicted { .. }
                | Record::Interrupted { .. }
                | Record::Gpu { .. }
                | Record::Claimed { .. }
                | Record::Ended { .. }
                | Record::Planned { .. } => {}
            }
        }
        seen = records.len();
    }
    let mut history = world.history().clone();
    if over == workload.arrivals.len() {
        // What happens after the end of all work is nobody's waiting.
        history.records.retain(|stamped| stamped.at <= end);
        history.end = end;
    }
    Ok(history)
}

/// The fleet in the terms of the simulated cluster.
fn nodes(fleet: &FleetSpec) -> Fleet {
    let mut gpu = 0;
    let mut nodes = Vec::new();
    for (name, gpus) in fleet.nodes() {
        let board = |gpu: usize| BoardSpec {
            geometry: Arc::clone(&fleet.geometry),
            layout: fleet
                .layout(gpu)
                .placements()
                .iter()
                .map(|placement| Place {
                    start: placement.start(),
                    size: placement.size(),
                    profile: fleet.geometry.profile(placement.profile()).name.clone(),
                })
                .collect(),
        };
        nodes.push(NodeSpec::new(&name, (gpu..gpu + gpus as usize).map(board).collect()));
        gpu += gpus as usize;
    }
    Fleet { nodes }
}

/// When all work must be over, unless some of it waits for ever: everything arrives, waits as long as it is willing to, and runs twice.
fn last_moment(workload: &Workload) -> u64 {
    let ends = workload.arrivals.iter().map(|arrival| {
        let patience = arrival.patience.unwrap_or(arrival.runs);
        arrival.at.saturating_add(patience).saturating_add(arrival.runs.saturating_mul(2))
    });
    ends.max().unwrap_or(0).saturating_add(GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Policy;
    use crate::sim::replay::baselines::{Packer, Rule};
    use crate::sim::replay::fleet::parse_gpus;
    use crate::sim::replay::generate::{Mix, Recipe};
    use crate::sim::replay::{Case, Outcome, Setup, instant_engine, run};

    fn setup(rules: &[Rule]) -> Setup {
        let (gpus, geometry) = parse_gpus("2xA100-80GB").expect("a fleet");
        let fleet = FleetSpec::new(geometry, gpus, 2);
        let workload = Recipe::new(Mix::Uniform, 0.9, 3 * 3_600_000).generate(&fleet, 4);
        Setup {
            cases: vec![Case { label: "seed 4".into(), workload, seed: 4 }],
            rules: rules.to_vec(),
            period: 300_000,
            soonest: None,
            policy: Policy::unlimited(),
            work_limit: 10_000_000,
            packer: Packer::new(|_, _| None),
            threads: 1,
            fleet,
        }
    }

    fn lived(rules: &[Rule]) -> Outcome {
        run(&setup(rules), &whole, &mut || {}).expect("an outcome")
    }

    #[test]
    fn every_rule_lives_through_a_day_of_the_whole_cluster_and_all_work_comes_to_an_end() {
        for replayed in lived(&Rule::ALL).replays {
            let figures = &replayed.figures;
            assert_eq!(figures.served + figures.burst, figures.arrived, "{:?}: {figures:?}", replayed.rule);
            assert_eq!(figures.failed_operations, 0, "{:?}", replayed.rule);
            let fixed = [Rule::Static, Rule::Hindsight].contains(&replayed.rule);
            assert_eq!(figures.operations == 0, fixed, "{:?}", replayed.rule);
        }
    }

    #[test]
    fn a_seed_decides_the_history() {
        assert_eq!(lived(&[Rule::Retile]), lived(&[Rule::Retile]));
    }

    #[test]
    fn with_fixed_layouts_the_instant_cluster_and_the_whole_one_serve_alike() {
        let [one, other] =
            [lived(&[Rule::Static]), run(&setup(&[Rule::Static]), &instant_engine, &mut || {}).expect("an outcome")]
                .map(|outcome| outcome.replays[0].figures.clone());
        assert_eq!((one.arrived, one.capacity.memory > 0.0), (other.arrived, true));
        // Containers take seconds to start, the rest is the same queue.
        assert!((one.total_wait.mean - other.total_wait.mean).abs() < 2.0, "{one:?} {other:?}");
        assert!(one.served.abs_diff(other.served) <= 2, "{one:?} {other:?}");
    }
}
