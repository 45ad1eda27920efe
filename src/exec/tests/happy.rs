//! Nothing goes wrong.

use super::*;
use crate::exec::{AgentPhase, Closed, Phase};
use crate::model::Clients;

fn position(drive: &Drive, what: &str) -> usize {
    let found = drive.world.log.iter().position(|line| line.starts_with(what));
    found.unwrap_or_else(|| panic!("no `{what}` in {:#?}", drive.world.log))
}

#[test]
fn free_instances_are_changed() {
    let mut drive = drive(World::new(), &[]);
    assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
    settled(&drive, Outcome::Done);
    assert_eq!(drive.judged, 1);
    let order = [
        "spec Some(Claimed)",
        "taint",
        "spec Some(Draining)",
        "spec Some(Drained)",
        "status Some(Accepted)",
        "status Some(Executing)",
        "destroyed ci GPU-0/2",
        "destroyed gi 1g.10gb@2",
        "created gi 2g.20gb@2",
        "created ci 2g.20gb@2",
        "made device nodes",
        "status Some(Repartitioned)",
        "spec Some(Restarting)",
        "plugin deleted",
        "status Some(Applied)",
        "spec Some(Releasing)",
        "untaint",
        "spec None",
    ];
    assert!(order.map(|what| position(&drive, what)).is_sorted(), "{:#?}", drive.world.log);
}

#[test]
fn a_victim_is_evicted_before_its_instance_goes() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
    settled(&drive, Outcome::Done);
    assert!(position(&drive, "evicted uid-victim") < position(&drive, "spec Some(Drained)"));
    assert!(position(&drive, "taint") < position(&drive, "evicted"));
    assert!(drive.world.pods.iter().any(|pod| pod.pod.name == "neighbour"));
}

#[test]
fn a_victim_that_leaves_by_itself_is_not_evicted() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.world.pod("victim").finished = true;
    drive.world.holds.remove("uid-victim");
    assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
    assert!(!drive.world.log.iter().any(|line| line.starts_with("evicted")));
}

#[test]
fn a_replaced_pod_of_the_same_name_is_left_alone() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.run_until(|drive| drive.controller.phase() == Some(Phase::Claimed));
    let pod = drive.world.pod("victim");
    pod.pod.uid = "uid-successor".to_owned();
    pod.requests.clear();
    drive.world.holds.remove("uid-victim");
    assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
    assert!(!drive.world.pod("victim").deleting);
}

#[test]
fn the_agent_reports_and_rests_when_there_is_nothing_to_do() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.agent_down = false;
    drive.run_until(|drive| drive.world.now >= 20_000);
    let status = &drive.world.record.as_ref().expect("a record").status;
    assert_eq!((status.node_uid.as_str(), status.boot_id.as_str()), ("node-1", "boot-1"));
    assert_eq!(status.gpus.len(), 2);
    assert!((2..=4).contains(&status.heartbeat), "a report every fifteen seconds, {}", status.heartbeat);
    assert!(!drive.agent.waiting_on().is_empty());
    drive.run();
    assert_eq!(drive.world.agent().map(|(phase, _)| phase), Some(AgentPhase::Applied));
}

#[test]
fn a_kubelet_that_tells_no_uids_is_understood() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.world.tells_uids = false;
    assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
    settled(&drive, Outcome::Done);
    drive.run_for(std::time::Duration::from_mins(1));
    let gpus = &drive.world.record.as_ref().expect("a record").status.gpus;
    let pods: Vec<_> = gpus.iter().flat_map(|gpu| &gpu.instances).flat_map(|instance| &instance.pods).collect();
    assert!(!pods.is_empty() && pods.iter().all(|pod| pod.uid == format!("uid-{}", pod.name)), "{pods:?}");
}

#[test]
fn clients_that_hold_the_gpus_are_paused_before_the_agent_begins_and_let_go_on_before_the_plugin_is_awaited() {
    let mut drive = drive(World::with_victim().under_operator(), &["victim"]).with_clients(Clients::OperatorPause);
    let labels = drive.world.node().labels.clone();
    assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
    settled(&drive, Outcome::Done);
    let order = [
        "spec Some(Draining)",
        "evicted uid-victim",
        "paused",
        "spec Some(Drained)",
        "destroyed ci GPU-0/2",
        "status Some(Repartitioned)",
        "spec Some(Restarting)",
        "resumed",
        "status Some(Applied)",
        "spec Some(Releasing)",
        "untaint",
    ];
    assert!(order.map(|what| position(&drive, what)).is_sorted(), "{:#?}", drive.world.log);
    assert!(!drive.world.log.iter().any(|line| line == "plugin deleted"), "the operator has replaced it");
    assert_eq!(drive.world.node().labels, labels);
    assert!(drive.world.node().annotations.is_empty());
}

#[test]
fn clients_are_left_alone_where_the_policy_does_not_say_otherwise_or_the_operator_is_not_there() {
    for drive in
        [drive(World::new().under_operator(), &[]), drive(World::new(), &[]).with_clients(Clients::OperatorPause)]
    {
        let mut drive = drive;
        // What holds the instances all the time lets go of them by itself here.
        drive.world.pods.retain(|pod| !pod.deployed_as.contains("dcgm"));
        drive.world.node().labels.remove("nvidia.com/gpu.deploy.dcgm");
        assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
        assert!(!drive.world.log.iter().any(|line| line == "paused"), "{:#?}", drive.world.log);
        position(&drive, "plugin deleted");
    }
}

#[test]
fn a_hand_over_evicts_and_leaves_board_agent_plugin_and_clients_alone() {
    let mut drive = hand_over(World::with_victim().under_operator()).with_clients(Clients::OperatorPause);
    assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
    settled(&drive, Outcome::Done);
    assert!(drive.judged > 0);
    let order = [
        "spec Some(Claimed)",
        "taint",
        "spec Some(Draining)",
        "evicted uid-victim",
        "spec Some(Releasing)",
        "untaint",
        "spec None",
    ];
    assert!(order.map(|what| position(&drive, what)).is_sorted(), "{:#?}", drive.world.log);
    let changes = ["destroyed", "created", "plugin deleted", "paused", "status Some(Accepted)", "spec Some(Drained)"];
    for line in &drive.world.log {
        assert!(!changes.iter().any(|change| line.starts_with(change)), "{line}");
    }
}

#[test]
fn the_taint_outlasts_the_victims_of_a_hand_over_by_a_settling() {
    let mut drive = hand_over(World::with_victim());
    drive.run_until(|drive| drive.world.log.iter().any(|line| line.starts_with("evicted")));
    drive.run_until(|drive| drive.world.pods.iter().all(|pod| pod.pod.name != "victim"));
    let gone = drive.world.now;
    drive.run_until(|drive| !drive.world.tainted());
    assert!(drive.world.now - gone >= drive.timing.settle.as_millis() as u64, "{:#?}", drive.world.log);
}

#[test]
fn a_gpu_of_which_nothing_is_cut_does_not_keep_the_others_from_their_target() {
    let mut drive = cut_beside_hand_over(World::with_victim(), &["victim"]);
    assert_eq!(drive.run(), Closed::Ended(Outcome::Done, String::new()));
    settled(&drive, Outcome::Done);
}

#[test]
fn an_agent_that_is_given_a_mere_hand_over_finds_it_done() {
    let mut drive = hand_over(World::new());
    drive.draft.phase = Phase::Drained;
    let mut operation = drive.draft.clone();
    operation.victims.clear();
    drive.run_until(|drive| drive.world.record.is_some());
    drive.claim(operation);
    drive.run_until(|drive| matches!(drive.world.agent(), Some((AgentPhase::Repartitioned, _))));
    assert_eq!(drive.world.layout(0), places(&BASE));
}

#[test]
fn an_older_operation_is_accepted_and_a_newer_one_is_not() {
    for (protocol, outcome) in [(1, Outcome::Done), (crate::exec::PROTOCOL + 1, Outcome::Aborted)] {
        let mut drive = drive(World::new(), &[]);
        drive.draft.protocol = protocol;
        drive.claim(drive.draft.clone());
        let end = drive.run();
        assert!(matches!(end, Closed::Ended(found, _) if found == outcome), "{protocol}: {end:?}");
    }
}
