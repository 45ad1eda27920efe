//! What is left behind is cured: half-made instances, reboots, plugins that do not return, degraded nodes, orphaned taints.

use std::time::Duration;

use super::world::Refusal;
use super::*;
use crate::exec::marks;
use crate::exec::port::{ClusterError, NodeError};
use crate::exec::{AgentPhase, Closed, Operation, OperationId, Origin, Phase, TAINT_KEY, Taint, repair};
use crate::model::Clients;

fn mend(id: &str) -> Operation {
    let origin = Origin { id: OperationId(id.into()), epoch: 9, node_uid: "node-1".into(), residents: Vec::new() };
    repair(origin)
}

fn outcome(drive: &mut Drive) -> Outcome {
    match drive.run() {
        Closed::Ended(outcome, _) => outcome,
        Closed::Lost(detail) => panic!("lost: {detail}"),
    }
}

#[test]
fn an_agent_that_starts_beside_a_bare_gpu_instance_goes_on() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.log.iter().any(|line| line.starts_with("created gi")));
    assert!(drive.world.boards[0].instances.iter().any(|there| there.compute.is_none()));
    drive.restart_agent();
    assert_eq!(outcome(&mut drive), Outcome::Done);
    settled(&drive, Outcome::Done);
}

#[test]
fn a_plugin_that_never_returns_leads_back_once_and_then_to_people() {
    let mut drive = drive(World::new(), &[]);
    drive.world.plugin_returns = false;
    assert_eq!(outcome(&mut drive), Outcome::Degraded);
    assert_eq!(drive.world.layout(0), places(&BASE), "the old layout is tried once");
    assert!(drive.world.tainted());
    assert_eq!(drive.world.operation().map(|op| op.phase), Some(Phase::Degraded));
}

#[test]
fn a_degraded_node_is_taken_back_by_a_repair() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.layout(0).len() == 2);
    drive.agent_down = true;
    assert_eq!(outcome(&mut drive), Outcome::Degraded);
    drive.agent_down = false;
    drive.restart_agent();
    drive.run_for(Duration::from_mins(1));
    assert_eq!(drive.world.layout(0), places(&BASE), "{:#?}", drive.world.log);
    drive.claim(mend("repair-1"));
    assert_eq!(outcome(&mut drive), Outcome::Done, "{:#?}", drive.world.log);
    assert!(!drive.world.tainted());
    assert_eq!(drive.world.store.intent, None);
    let history = &drive.world.record.as_ref().expect("a record").spec.history;
    assert_eq!(history.iter().map(|it| it.outcome).collect::<Vec<_>>(), [Outcome::Done, Outcome::Degraded]);
}

#[test]
fn an_orphaned_taint_is_taken_over() {
    let mut drive = Drive::new(World::new(), mend("repair-1"));
    let taint = Taint { key: TAINT_KEY.into(), value: "long-gone".into(), effect: "NoSchedule".into() };
    drive.world.node().taints.push(taint);
    assert_eq!(outcome(&mut drive), Outcome::Done);
    assert!(!drive.world.tainted());
    assert!(drive.world.log.iter().any(|line| line == "plugin deleted"));
    assert_eq!(drive.world.layout(0), places(&BASE));
}

#[test]
fn what_the_replaced_plugin_offers_does_not_count() {
    let mut drive = Drive::new(World::new(), mend("repair-1"));
    let plugin = |drive: &Drive| drive.world.pods.iter().find(|pod| pod.device_plugin).map(|pod| pod.pod.uid.clone());
    let old = plugin(&drive);
    assert!(old.is_some());
    // It offers all along what the board has, and its deletion takes some time.
    drive.world.refuse.insert("plugin", (3, Refusal::Cluster(ClusterError::Throttled { retry_after: None })));
    let applied = |drive: &Drive| drive.world.agent().is_some_and(|(phase, _)| phase == AgentPhase::Applied);
    drive.run_until(applied);
    assert!(applied(&drive) && plugin(&drive) != old, "{:#?}", drive.world.log);
    assert_eq!(outcome(&mut drive), Outcome::Done);
}

#[test]
fn a_driver_that_hangs_is_left_alone_and_people_are_told() {
    for error in [NodeError::Hung, NodeError::GpuLost] {
        let mut drive = drive(World::new(), &[]);
        drive.world.refuse.insert("destroy gi", (1, world::Refusal::Node(error)));
        assert_eq!(outcome(&mut drive), Outcome::Degraded);
        let (phase, detail) = drive.world.agent().expect("a report");
        assert_eq!(phase, AgentPhase::Degraded);
        assert!(detail.contains("attention"), "{detail}");
        assert!(drive.world.tainted());
        drive.restart_agent();
        drive.run_for(Duration::from_mins(1));
        drive.claim(mend("repair-1"));
        assert_eq!(outcome(&mut drive), Outcome::Done, "{:#?}", drive.world.log);
    }
}

#[test]
fn a_degraded_report_ends_with_the_trouble_where_its_operation_has_ended_already() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.operation().is_some_and(|op| op.phase == Phase::Drained));
    drive.world.refuse.insert("enumerate", (1, world::Refusal::Node(NodeError::Hung)));
    assert_eq!(outcome(&mut drive), Outcome::Aborted, "{:#?}", drive.world.log);
    // What the agent has refused it reports as degraded while it waits for its release.
    let mut record = drive.world.record.clone().expect("a record");
    record.status.operation.as_mut().expect("a report").phase = AgentPhase::Degraded;
    drive.world.record = Some(record);
    drive.run_for(Duration::from_mins(1));
    assert_eq!(drive.world.agent().map(|(phase, _)| phase), Some(AgentPhase::Degraded), "the driver still hangs");
    drive.restart_agent();
    drive.run_for(Duration::from_mins(1));
    assert_eq!(drive.world.agent().map(|(phase, _)| phase), Some(AgentPhase::Idle), "{:#?}", drive.world.log);
}

#[test]
fn a_library_that_does_not_match_costs_a_restart_only() {
    let mut drive = drive(World::new(), &[]);
    drive.world.refuse.insert("create gi", (1, world::Refusal::Node(NodeError::LibraryMismatch)));
    assert_eq!(outcome(&mut drive), Outcome::Done);
    settled(&drive, Outcome::Done);
}

#[test]
fn after_a_reboot_the_applied_layout_is_restored() {
    let mut drive = drive(World::new(), &[]);
    assert_eq!(outcome(&mut drive), Outcome::Done);
    drive.run_for(Duration::from_secs(5));
    drive.world.reboot("boot-2");
    drive.restart_agent();
    drive.run_for(Duration::from_secs(30));
    assert_eq!((drive.world.layout(0), drive.world.layout(1)), (places(&TARGET), places(&["7g.80gb@0"])));
    assert!(drive.world.boards.iter().flat_map(|board| &board.instances).all(|there| there.compute.is_some()));
    let status = &drive.world.record.as_ref().expect("a record").status;
    assert_eq!(status.boot_id, "boot-2");
}

#[test]
fn a_reboot_in_the_middle_never_carries_an_operation_on() {
    for phase in [AgentPhase::Accepted, AgentPhase::Executing, AgentPhase::Repartitioned] {
        let mut drive = drive(World::new(), &[]);
        drive.run_until(|drive| drive.world.agent().is_some_and(|(reported, _)| reported == phase));
        drive.world.reboot("boot-2");
        drive.world.bind("filler", "none", "none");
        drive.world.pods.retain(|pod| pod.pod.name != "filler");
        let log = drive.world.log.len();
        drive.restart_agent();
        assert_eq!(outcome(&mut drive), Outcome::RolledBack, "{phase:?} {:#?}", drive.world.log);
        assert!(!drive.world.log[log..].iter().any(|line| line.contains("2g.20gb")), "{phase:?}");
        assert_eq!(drive.world.layout(0), places(&BASE));
        assert!(!drive.world.tainted());
    }
}

#[test]
fn mig_mode_that_goes_off_in_the_middle_is_for_people() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.agent().is_some_and(|(phase, _)| phase == AgentPhase::Executing));
    drive.world.boards[0].mig_mode = false;
    assert_eq!(outcome(&mut drive), Outcome::Degraded);
    assert!(drive.world.tainted());
}

#[test]
fn a_clean_up_that_fails_is_tried_now_and_then() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.layout(0).len() == 2);
    drive.world.record = None;
    drive.world.refuse.insert("create gi", (20, world::Refusal::Node(NodeError::InsufficientResources)));
    drive.run_for(Duration::from_mins(2));
    assert!(drive.world.log.len() < 60, "it does not run in circles: {}", drive.world.log.len());
    drive.run_for(Duration::from_mins(30));
    assert_eq!(drive.world.layout(0), places(&BASE), "{:#?}", drive.world.log);
    assert_eq!(drive.world.store.intent, None);
}

#[test]
fn clients_that_were_left_paused_are_let_go_on_by_a_repair() {
    let mut drive = drive(World::new().under_operator(), &[]);
    drive.run_for(Duration::from_secs(5));
    let node = drive.world.node();
    marks::pause(&node.labels, &node.annotations).apply(&mut node.labels, &mut node.annotations);
    drive.world.record.as_mut().expect("a record").spec.operation = None;
    drive.claim(mend("repair-1"));
    assert_eq!(outcome(&mut drive), Outcome::Done, "{:#?}", drive.world.log);
    let node = drive.world.node();
    assert!(node.annotations.is_empty() && node.labels.values().all(|value| value == "true"), "{node:?}");
    assert!(!drive.world.tainted());
}

#[test]
fn a_repair_pauses_nobody_also_when_the_plugin_does_not_come_back() {
    let mut drive = drive(World::new().under_operator(), &[]).with_clients(Clients::OperatorPause);
    drive.run_for(Duration::from_secs(5));
    drive.world.record.as_mut().expect("a record").spec.operation = None;
    drive.world.plugin_returns = false;
    drive.claim(mend("repair-1"));
    assert_eq!(outcome(&mut drive), Outcome::Degraded, "{:#?}", drive.world.log);
    assert!(!drive.world.log.iter().any(|line| line == "paused"), "{:#?}", drive.world.log);
}
