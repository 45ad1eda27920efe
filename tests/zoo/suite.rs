//! Defects that show in a whole cluster: a base scenario, a plan of faults, a seed, and the invariant that is broken.

use std::ops::RangeInclusive;

use retile::controller::Retile;
use retile::exec::Timing;
use retile::sim::engine::RequestKind;
use retile::sim::invariants::Violation;
use retile::sim::process::ProcessId;
use retile::sim::world::{Deployed, Hand, When, World, min_available};

use crate::desk::place;
use crate::faults::plan::FaultPlan;
use crate::faults::run::run;
use crate::faults::scenarios::{Scenario, named, work};
use crate::{Broken, Checked, keeps, kills};

const SEED: u64 = 1;
const NODE: &str = "gpu-000";

/// The rule that was broken, `wanted` before all others.
fn verdict(violations: &[Violation], wanted: &str) -> Checked {
    let broken = violations.iter().find(|violation| violation.invariant.to_string() == wanted).or(violations.first());
    broken.map_or(Ok(()), |broken| Err(Broken { rule: broken.invariant.to_string(), how: broken.to_string() }))
}

/// A scenario under a plan of faults, which stop after a while, so that everything can come to rest.
fn struck(number: u8, rule: &str, scenario: &Scenario, faults: &str) {
    struck_in(number, rule, scenario, faults, SEED..=SEED);
}

/// The same under several seeds, for what shows only when things happen to fall together.
fn struck_in(number: u8, rule: &str, scenario: &Scenario, faults: &str, seeds: RangeInclusive<u64>) {
    let plan: FaultPlan = faults.parse().expect("a plan of faults");
    kills(number, rule, || {
        for seed in seeds.clone() {
            let run = run(scenario, &plan, seed);
            verdict(&run.violations, rule)?;
            let ends = run.done >= scenario.expected.done && run.waiting == scenario.expected.waiting;
            keeps("served", ends || !plan.0.is_empty(), || format!("nothing went wrong, and {} wait", run.waiting))?;
        }
        Ok(())
    });
}

/// A scenario in which people do something that nothing mends, as it stands at a moment.
fn handled(number: u8, rule: &str, scenario: &Scenario, hands: &[(When, Hand)], until: u64) {
    kills(number, rule, || {
        let proposers = Box::new(|| Box::new(Retile { work_limit: 300_000 }) as _);
        let programs = Deployed::new(scenario.loops.clone(), Timing::default(), proposers);
        let (fleet, settings) = (scenario.fleet.clone(), scenario.settings.clone());
        let mut world = World::new(fleet, &scenario.workload, settings, Box::new(programs), SEED)
            .expect("a scenario is consistent");
        for (when, hand) in scenario.setup.iter().chain(hands).cloned() {
            world.inject(&when, hand);
        }
        world.run_until(until);
        let mut violations = world.violations().to_vec();
        violations.extend(world.unrest(&mut Retile { work_limit: 300_000 }));
        verdict(&violations, rule)
    });
}

/// Nobody may evict the victim any more, from the moment at which the operation drains.
fn blocked() -> (When, Hand) {
    let budget = Hand::SetBudget("base".to_owned(), "victim".to_owned(), min_available(1));
    (When::After(RequestKind::WriteSpec, 1), budget)
}

/// Two empty nodes, and no budget of nodes.
fn two_at_once() -> Scenario {
    let mut scenario = named("s8");
    if let Some(policy) = &mut scenario.settings.policy {
        policy.budgets.nodes = None;
    }
    scenario
}

#[test]
fn defect_01_evictions_are_not_pinned() {
    struck(1, "S6", &named("s4"), "none");
}

#[test]
fn defect_02_the_field_that_pins_an_eviction_is_misspelt() {
    struck(2, "S6", &named("s10"), "none");
}

#[test]
fn defect_03_the_taint_of_somebody_else_is_removed() {
    struck(3, "S11", &named("s3"), "C7#0x1>SecondInstall");
}

#[test]
fn defect_04_the_node_is_uncordoned() {
    struck(4, "S11", &named("s3"), "C2#0x1>Cordoned");
}

#[test]
fn defect_05_a_drain_that_failed_counts_as_done() {
    handled(5, "S3", &named("s4"), &[blocked()], 900_000);
}

#[test]
fn defect_06_a_blocked_eviction_is_tried_for_ever() {
    handled(6, "L3", &named("s4"), &[blocked()], 900_000);
}

#[test]
fn defect_07_operations_are_named_by_the_second() {
    struck(7, "S4", &two_at_once(), "none");
}

#[test]
fn defect_08_applied_is_reported_too_early() {
    struck(8, "S12", &named("s3"), "none");
}

#[test]
fn defect_09_nothing_is_planned_until_all_nodes_report() {
    let mut scenario = two_at_once();
    scenario.workload.arrivals = vec![work("wants-0", 150_000, "7g.80gb")];
    let gone = Hand::Retire(ProcessId::Agent("gpu-001".to_owned()));
    handled(9, "L4", &scenario, &[(When::At(30_000), gone)], 600_000);
}

#[test]
fn defect_11_gpu_instances_without_compute_instance_are_not_seen() {
    struck(11, "S8", &named("s3"), "none");
}

#[test]
fn defect_12_one_ambiguous_refusal_of_the_driver_is_believed() {
    struck(12, "L10", &named("s3"), "A5#0x1<NoRoom");
}

#[test]
fn defect_13_the_whole_gpu_is_cleared() {
    let mut scenario = named("s3");
    scenario.fleet.nodes[0].boards[0].layout =
        vec![place("1g.10gb", 0, 1), place("1g.10gb", 2, 1), place("1g.10gb", 3, 1), place("3g.40gb", 4, 4)];
    scenario.workload.arrivals = vec![work("web-0", 0, "3g.40gb"), work("wants-0", 20_000, "2g.20gb")];
    struck(13, "S2", &scenario, "none");
}

#[test]
fn defect_14_nothing_is_rolled_back() {
    struck(14, "S8", &named("s3"), "A6#0x60<NoRoom");
}

#[test]
fn defect_15_an_error_leaves_the_operation_pending() {
    struck(15, "L3", &named("s4"), "DryRun#0x1<Forbidden");
}

#[test]
fn defect_16_nothing_is_tried_again_by_itself() {
    struck(16, "L3", &named("s4"), "DryRun#0x2<Blocked");
}

#[test]
fn defect_17_a_count_that_does_not_agree_is_made_to() {
    let mut scenario = named("s4");
    scenario.fleet.nodes[0].boards[0].layout.push(place("1g.10gb", 1, 1));
    let stray = Hand::Pin(work("stray-0", 0, "1g.10gb"), NODE.to_owned());
    let hands = [blocked(), (When::After(RequestKind::DryRun, 2), stray)];
    handled(17, "S6", &scenario, &hands, 900_000);
}

#[test]
fn defect_18_what_cannot_be_read_is_free() {
    struck(18, "S19", &named("s3"), "Occupants#0x400<Unknown");
}

#[test]
fn defect_21_decisions_rest_on_a_cache() {
    struck(21, "S10", &named("s4"), "C1#0x1>Deaf;C2#0x1>Annotated");
}

#[test]
fn defect_22_the_taint_comes_after_the_validation() {
    struck(22, "S3", &named("s4"), "none");
}

#[test]
fn defect_23_the_taint_of_somebody_else_is_lost() {
    struck(23, "S11", &named("s3"), "C2#0x1<Autoscaler");
}

#[test]
fn defect_26_only_ready_nodes_are_swept() {
    let silent = (When::After(RequestKind::WriteSpec, 1), Hand::Mute(NODE.to_owned(), true));
    let crash = (When::At(120_000), Hand::Crash(ProcessId::Controller(0)));
    handled(26, "L3", &named("s4"), &[blocked(), silent, crash], 1_500_000);
}

#[test]
fn defect_27_operations_are_forgotten_at_a_restart() {
    struck(27, "L3", &named("s4"), "C4#0x1>Crash");
}

#[test]
fn defect_28_an_empty_gpu_is_taken_out_of_mig_mode() {
    struck(28, "S16", &named("s2"), "none");
}

#[test]
fn defect_32_the_taint_goes_before_the_node_advertises_the_layout() {
    struck_in(32, "S12", &named("s3"), "none", 1..=16);
}

#[test]
fn defect_37_paused_clients_are_forgotten_where_an_operation_is_given_up() {
    struck(37, "S12", &named("s13"), "C5#0x1>MigManager;C6#0x1>PluginBroken");
}

#[test]
fn defect_35_one_place_has_two_names() {
    struck(35, "served", &named("s3"), "none");
}
