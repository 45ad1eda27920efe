//! Something goes wrong: the operation is given up, and the node is as it was, or people are told.

use std::time::Duration;

use super::world::{Refusal, board, pod_ref};
use super::*;
use crate::exec::port::{ClusterError, Judgement, NodeError};
use crate::exec::{AgentPhase, Closed, Ended, OperationId, Phase, TAINT_KEY, Taint, marks};
use crate::model::{Clients, Movability, Reason};

fn ended(drive: &mut Drive) -> (Outcome, String) {
    match drive.run() {
        Closed::Ended(outcome, detail) => (outcome, detail),
        Closed::Lost(detail) => panic!("lost: {detail}"),
    }
}

fn evicted(drive: &Drive) -> bool {
    drive.world.log.iter().any(|line| line.starts_with("evicted"))
}

fn changed(drive: &Drive) -> bool {
    drive.world.log.iter().any(|line| line.starts_with("destroyed") || line.starts_with("created"))
}

#[test]
fn a_budget_that_never_allows_costs_nobody_anything() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.world.pod("victim").budgets = vec![0];
    let (outcome, detail) = ended(&mut drive);
    assert_eq!(outcome, Outcome::Aborted);
    assert!(detail.contains("drain deadline"), "{detail}");
    assert!(!evicted(&drive) && !changed(&drive));
    settled(&drive, Outcome::Aborted);
    assert!((600_000..660_000).contains(&drive.world.now), "{}", drive.world.now);
}

#[test]
fn an_eviction_that_is_forbidden_ends_the_operation() {
    for error in [ClusterError::SeveralBudgets, ClusterError::Forbidden("no".into()), ClusterError::Invalid("x".into())]
    {
        let mut drive = drive(World::with_victim(), &["victim"]);
        drive.world.refuse.insert("rehearsal", (9, Refusal::Cluster(error)));
        assert_eq!(ended(&mut drive).0, Outcome::Aborted);
        assert!(!evicted(&drive));
        settled(&drive, Outcome::Aborted);
    }
}

#[test]
fn nothing_is_claimed_where_a_higher_epoch_is_on_record() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.run_until(|drive| drive.world.record.is_some());
    let ended = Ended {
        id: OperationId("of-the-next-leader".into()),
        epoch: 2,
        gpus: Vec::new(),
        outcome: Outcome::Done,
        detail: String::new(),
    };
    drive.world.record.as_mut().expect("it was reported").spec.history.push(ended);
    let Closed::Lost(why) = drive.run() else { panic!("it goes on: {:#?}", drive.world.log) };
    assert!(why.contains("epoch 2"), "{why}");
    assert!(!evicted(&drive) && !drive.world.tainted());
}

#[test]
fn a_plan_that_no_longer_holds_is_not_begun() {
    type Spoil = (&'static str, fn(&mut World));
    let spoil: [Spoil; 8] = [
        ("has come", |world| world.bind("stranger", "1g.10gb", "GPU-0/3")),
        ("must not be evicted", |world| {
            world.pod("victim").movability = Movability::Never(Reason::PolicyForbids, "asked for".to_owned());
        }),
        ("tolerates", |world| world.pod("victim").tolerates_taint = true),
        ("to end", |world| world.pod("victim").grace_seconds = 21_600),
        ("PodDisruptionBudget", |world| world.pod("victim").budgets = vec![1, 1]),
        ("not ready", |world| world.node().ready = false),
        ("autoscaler", |world| {
            let taint =
                Taint { key: "karpenter.sh/disrupted".into(), value: String::new(), effect: "NoSchedule".into() };
            world.node().taints.push(taint);
        }),
        ("not laid out", |world| world.boards[0] = board(0, &["1g.10gb@0", "1g.10gb@2"])),
    ];
    for (word, spoil) in spoil {
        let mut drive = drive(World::with_victim(), &["victim"]);
        drive.run_until(|drive| drive.world.tainted());
        spoil(&mut drive.world);
        drive.run_until(|drive| drive.world.operation().is_none_or(|op| op.phase == Phase::Releasing));
        let detail = drive.world.operation().map(|op| op.detail.clone()).unwrap_or_default();
        assert!(detail.contains(word), "{word}: {detail}");
        assert!(!evicted(&drive) && !changed(&drive), "{word}");
    }
}

#[test]
fn a_pointless_plan_is_not_begun() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.judgement = Judgement::Pointless("the pods are gone".to_owned());
    assert_eq!(ended(&mut drive), (Outcome::Aborted, "the pods are gone".to_owned()));
    settled(&drive, Outcome::Aborted);
    assert!(!evicted(&drive));
}

#[test]
fn a_foreign_taint_value_is_respected() {
    let mut drive = drive(World::new(), &[]);
    let taint = Taint { key: TAINT_KEY.into(), value: "theirs".into(), effect: "NoSchedule".into() };
    drive.world.node().taints.push(taint);
    assert_eq!(ended(&mut drive).0, Outcome::Aborted);
    assert!(drive.world.tainted(), "it is not ours to remove");
    assert!(!changed(&drive));
}

#[test]
fn only_one_operation_is_claimed() {
    let mut one = drive(World::new(), &[]);
    one.run_until(|drive| drive.world.operation().is_some());
    let mut second = operation(&[]);
    second.id.0 = "op-2".to_owned();
    let first = one.world.operation().cloned();
    one.claim(second);
    assert!(matches!(one.run(), Closed::Lost(_)));
    assert_eq!(one.world.operation().map(|op| &op.id), first.as_ref().map(|op| &op.id));
}

#[test]
fn an_old_leader_lets_go() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.operation().is_some_and(|op| op.phase == Phase::Drained));
    let record = drive.world.record.as_mut().expect("a record");
    record.spec.operation.as_mut().expect("an operation").epoch = 7;
    record.version.0 += 1000;
    let log = drive.world.log.len();
    assert!(matches!(drive.run(), Closed::Lost(_)));
    assert!(drive.world.log[log..].iter().all(|line| !line.starts_with("spec")));
}

#[test]
fn a_stale_epoch_is_refused_by_the_agent() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.operation().is_some_and(|op| op.phase == Phase::Draining));
    let record = drive.world.record.as_mut().expect("a record");
    record.status.operation = Some(crate::exec::OperationReport {
        id: crate::exec::OperationId("earlier".into()),
        epoch: 9,
        boot_id: "boot-1".into(),
        phase: AgentPhase::Idle,
        detail: String::new(),
    });
    let (outcome, detail) = ended(&mut drive);
    assert_eq!(outcome, Outcome::Aborted);
    assert!(detail.contains("stale"), "{detail}");
    assert!(!changed(&drive));
    settled(&drive, Outcome::Aborted);
}

#[test]
fn a_board_that_drifts_is_not_touched() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.operation().is_some_and(|op| op.phase == Phase::Draining));
    drive.world.boards[0] = board(0, &["1g.10gb@0", "1g.10gb@2", "1g.10gb@3", "1g.10gb@5"]);
    drive.run_until(|drive| drive.world.operation().is_some_and(|op| op.phase == Phase::Releasing));
    assert!(drive.world.operation().is_some_and(|op| op.detail.contains("drift")), "{:?}", drive.world.operation());
    assert!(!changed(&drive));
}

#[test]
fn an_instance_that_stays_in_use_leads_back_to_the_base() {
    for what in ["destroy ci", "destroy gi", "create gi", "create ci"] {
        for error in [NodeError::InUse, NodeError::InsufficientResources, NodeError::Unknown, NodeError::NoPermission] {
            let mut drive = drive(World::new(), &[]);
            drive.world.refuse.insert(what, (4, Refusal::Node(error)));
            let (outcome, _) = ended(&mut drive);
            assert_eq!(outcome, Outcome::RolledBack, "{what} {:#?}", drive.world.log);
            settled(&drive, Outcome::RolledBack);
        }
    }
}

#[test]
fn a_short_hindrance_and_lost_answers_are_got_over() {
    for what in ["destroy ci", "destroy gi", "create gi", "create ci"] {
        for refusal in [Refusal::Node(NodeError::InUse), Refusal::DoneUnknown] {
            let mut drive = drive(World::new(), &[]);
            drive.world.refuse.insert(what, (2, refusal));
            assert_eq!(ended(&mut drive).0, Outcome::Done, "{what}");
            settled(&drive, Outcome::Done);
        }
    }
    let calls = ["spec", "status", "taint", "untaint", "plugin", "evict", "rehearsal", "record", "node", "pods"];
    for what in calls {
        for refusal in [
            Refusal::DoneUnknown,
            Refusal::Cluster(ClusterError::Unknown("timeout".into())),
            Refusal::Cluster(ClusterError::Conflict),
            Refusal::Cluster(ClusterError::Throttled { retry_after: None }),
            Refusal::Cluster(ClusterError::Expired),
        ] {
            let mut drive = drive(World::with_victim(), &["victim"]);
            drive.run_until(|drive| drive.world.record.is_some());
            drive.world.refuse.insert(what, (2, refusal.clone()));
            assert_eq!(ended(&mut drive).0, Outcome::Done, "{what} {refusal:?} {:#?}", drive.world.log);
            settled(&drive, Outcome::Done);
        }
    }
}

#[test]
fn a_process_on_an_instance_leads_back() {
    let mut drive = drive(World::new(), &[]);
    drive.world.processes.insert("GPU-0/3".to_owned());
    let (outcome, _) = ended(&mut drive);
    assert_eq!(outcome, Outcome::RolledBack, "{:#?}", drive.world.log);
    settled(&drive, Outcome::RolledBack);
}

#[test]
fn an_operation_that_is_cancelled_in_any_phase_of_the_agent_ends() {
    for phase in [AgentPhase::Accepted, AgentPhase::Executing, AgentPhase::Repartitioned, AgentPhase::Applied] {
        let mut drive = drive(World::new(), &[]);
        drive.run_until(|drive| drive.world.agent().is_some_and(|(reported, _)| reported == phase));
        let record = drive.world.record.as_mut().expect("a record");
        record.spec.operation.as_mut().expect("an operation").phase = Phase::Cancelling;
        record.version.0 += 1000;
        assert_eq!(ended(&mut drive).0, Outcome::RolledBack, "{phase:?}");
        settled(&drive, Outcome::RolledBack);
    }
}

#[test]
fn an_operation_that_no_agent_takes_up_is_given_up() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.operation().is_some_and(|op| op.phase == Phase::Draining));
    drive.agent_down = true;
    assert_eq!(ended(&mut drive).0, Outcome::Aborted);
    drive.agent_down = false;
    settled(&drive, Outcome::Aborted);
}

#[test]
fn an_agent_that_dies_in_the_middle_leaves_the_node_degraded() {
    let mut drive = drive(World::new(), &[]);
    drive.run_until(|drive| drive.world.layout(0).len() == 2);
    drive.agent_down = true;
    assert_eq!(ended(&mut drive).0, Outcome::Degraded);
    assert!(drive.world.tainted());
    assert!(drive.world.now < 21 * 60_000, "in time, {}", drive.world.now);
}

#[test]
fn a_node_that_is_gone_ends_the_operation() {
    for replaced in [false, true] {
        let mut drive = drive(World::new(), &[]);
        drive.run_until(|drive| drive.world.operation().is_some_and(|op| op.phase == Phase::Drained));
        if replaced {
            drive.world.node().uid = "node-2".to_owned();
        } else {
            drive.world.node = None;
        }
        assert_eq!(ended(&mut drive).0, Outcome::NodeGone);
        assert_eq!(drive.world.operation(), None);
    }
}

#[test]
fn a_record_that_is_deleted_loses_the_operation_and_the_agent_restores() {
    for phase in [AgentPhase::Accepted, AgentPhase::Executing, AgentPhase::Repartitioned] {
        let mut drive = drive(World::new(), &[]);
        drive.run_until(|drive| drive.world.agent().is_some_and(|(reported, _)| reported == phase));
        drive.run_until(|drive| phase != AgentPhase::Executing || drive.world.layout(0).len() < 3);
        drive.world.record = None;
        assert!(matches!(drive.run(), Closed::Lost(_)));
        drive.run_for(std::time::Duration::from_mins(2));
        let layout = drive.world.layout(0);
        assert!(layout == places(&BASE) || layout == places(&TARGET), "{phase:?} {layout:?}");
        assert_eq!(drive.world.store.intent, None);
        assert!(drive.world.tainted(), "a repair takes it from here");
    }
}

#[test]
fn our_taint_is_put_back_once() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.world.pod("victim").budgets = vec![0];
    for time in 0..2 {
        drive.run_until(|drive| {
            drive.world.operation().is_some_and(|op| op.phase == Phase::Draining) && drive.world.tainted()
        });
        drive.run_for(std::time::Duration::from_mins(1));
        assert!(drive.world.tainted(), "{time}");
        drive.world.node().taints.clear();
        drive.world.node().version.0 += 1000;
    }
    let (outcome, detail) = ended(&mut drive);
    assert_eq!(outcome, Outcome::Aborted);
    assert!(detail.contains("taint"), "{detail}");
}

#[test]
fn victims_of_other_names_stay() {
    let mut drive = drive(World::with_victim(), &["victim"]);
    drive.run();
    let others: Vec<String> = drive.world.pods.iter().map(|pod| pod.pod.uid.clone()).collect();
    assert!(["neighbour", "other"].iter().all(|name| others.contains(&pod_ref(name).uid)));
    assert_eq!(drive.world.record.as_ref().map(|record| record.spec.history[0].id.0.clone()).as_deref(), Some(OP));
}

#[test]
fn without_device_nodes_nothing_is_handed_over() {
    for (times, outcome) in [(1, Outcome::Done), (4, Outcome::RolledBack)] {
        let mut drive = drive(World::new(), &[]);
        let why = NodeError::Local("nvidia-smi: no devices".into());
        drive.world.refuse.insert("devices", (times, Refusal::Node(why)));
        let (ended, detail) = ended(&mut drive);
        assert_eq!(ended, outcome, "{times}: {detail}\n{:#?}", drive.world.log);
        settled(&drive, outcome);
        let at = |what: &str| drive.world.log.iter().position(|line| line.starts_with(what));
        assert!(at("made device nodes").expect("in the end") < at("plugin deleted").expect("it goes on then"));
    }
}

#[test]
fn a_node_whose_device_nodes_cannot_be_made_keeps_its_taint() {
    let mut drive = drive(World::new(), &[]);
    let why = NodeError::Local("nvidia-smi: no devices".into());
    drive.world.refuse.insert("devices", (u32::MAX, Refusal::Node(why)));
    drive.run_for(std::time::Duration::from_mins(30));
    let report = drive.world.record.as_ref().and_then(|record| record.status.operation.clone()).expect("a report");
    assert!(drive.world.tainted(), "{:#?}", drive.world.log);
    assert_ne!(report.phase, AgentPhase::Applied);
    assert!(!drive.world.log.iter().any(|line| line == "made device nodes"));
}

fn tainting() -> Taint {
    Taint { key: String::new(), value: String::new(), effect: "NoSchedule".into() }
}

fn pausing(victims: &[&str]) -> Drive {
    drive(World::with_victim().under_operator(), victims).with_clients(Clients::OperatorPause)
}

/// Whether the operator's clients are as they were.
fn goes_on(drive: &mut Drive) -> bool {
    let node = drive.world.node();
    node.annotations.is_empty() && node.labels.values().all(|value| value == "true")
}

#[test]
fn clients_that_do_not_go_end_the_operation_and_are_let_go_on() {
    let mut drive = pausing(&["victim"]);
    drive.world.lingers = true;
    let (outcome, detail) = ended(&mut drive);
    assert_eq!(outcome, Outcome::Aborted);
    assert!(detail.contains("still there although its deploy label is paused"), "{detail}");
    assert!(!changed(&drive) && goes_on(&mut drive));
    settled(&drive, Outcome::Aborted);
}

#[test]
fn a_pause_that_is_forbidden_ends_the_operation_before_anything_is_changed() {
    for error in [ClusterError::Forbidden("no".into()), ClusterError::Invalid("no label".into())] {
        // As a dry run asks, and where only what was allowed then is not any more.
        for (what, costs) in [("pause rehearsal", false), ("pause", true)] {
            let mut drive = pausing(&["victim"]);
            drive.world.refuse.insert(what, (9, Refusal::Cluster(error.clone())));
            let (outcome, detail) = ended(&mut drive);
            assert_eq!(outcome, Outcome::Aborted);
            assert!(detail.contains("clients may not be paused"), "{detail}");
            assert_eq!(evicted(&drive), costs, "{what}");
            assert!(!changed(&drive) && goes_on(&mut drive));
            settled(&drive, Outcome::Aborted);
        }
    }
}

#[test]
fn clients_are_not_paused_on_a_node_that_is_not_ready() {
    for back in [true, false] {
        let mut drive = drive(World::new().under_operator(), &[]).with_clients(Clients::OperatorPause);
        drive.run_until(|drive| drive.world.log.iter().any(|line| line == "spec Some(Draining)"));
        drive.world.node().ready = false;
        drive.run_for(Duration::from_mins(1));
        assert!(!drive.world.log.iter().any(|line| line == "paused"), "{:#?}", drive.world.log);
        drive.world.node().ready = back;
        let (outcome, detail) = ended(&mut drive);
        assert_eq!(outcome, if back { Outcome::Done } else { Outcome::Aborted }, "{detail}");
        assert!(back || detail.contains("the node is not ready"), "{detail}");
        assert!(goes_on(&mut drive));
    }
}

#[test]
fn a_node_with_a_pause_that_was_left_is_not_begun_with() {
    let mut drive = pausing(&["victim"]);
    let node = drive.world.node();
    marks::pause(&node.labels, &node.annotations).apply(&mut node.labels, &mut node.annotations);
    let (outcome, detail) = ended(&mut drive);
    assert_eq!(outcome, Outcome::Aborted);
    assert!(detail.contains("since an earlier operation") && !evicted(&drive), "{detail}");
    assert!(!changed(&drive) && goes_on(&mut drive), "it lets them go on all the same");
}

/// NVIDIA's driver manager pauses what we have paused, and in the end leaves what it has found.
#[test]
fn a_pause_that_the_driver_manager_has_joined_is_on_record_until_it_has_left() {
    const JOINED: &str = "paused-for-mig-change_paused-for-driver-upgrade";
    let all = |drive: &mut Drive, value: &str| {
        drive.world.node().labels.values_mut().for_each(|label| value.clone_into(label));
    };
    let mut drive = pausing(&["victim"]);
    drive.run_until(|drive| drive.world.log.iter().any(|line| line == "paused"));
    all(&mut drive, JOINED);
    assert_eq!(ended(&mut drive).0, Outcome::Aborted);
    let node = drive.world.node();
    assert!(node.labels.values().all(|label| label == JOINED) && node.pause_on_record() && !node.can_resume());
    assert!(
        !changed(&drive) && !drive.world.tainted(),
        "nothing was changed, and the node is theirs: {:#?}",
        drive.world.log
    );
    all(&mut drive, marks::PAUSED);
    assert!(drive.world.node().can_resume(), "a repair lets them go on");
}

#[test]
fn whoever_turns_the_operation_back_while_clients_are_paused_gets_them_back() {
    type Spoil = fn(&mut Drive);
    let spoil: [Spoil; 3] = [
        |drive| drive.world.node().taints.push(Taint { key: "karpenter.sh/disrupted".into(), ..tainting() }),
        |drive| drive.fail_over(),
        |drive| _ = drive.world.refuse.insert("create gi", (5, Refusal::Node(NodeError::InsufficientResources))),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut drive = pausing(&["victim"]);
        drive.run_until(|drive| drive.world.log.iter().any(|line| line == "paused"));
        spoil(&mut drive);
        let (outcome, detail) = ended(&mut drive);
        assert!(outcome != Outcome::Degraded, "{number}: {detail}");
        assert!(goes_on(&mut drive), "{number}");
        settled(&drive, outcome);
    }
}

#[test]
fn a_node_that_is_left_to_people_has_its_clients_back() {
    let mut drive = pausing(&["victim"]);
    drive.run_until(|drive| drive.world.log.iter().any(|line| line.starts_with("destroyed gi")));
    assert!(!goes_on(&mut drive));
    drive.agent_down = true;
    assert_eq!(ended(&mut drive).0, Outcome::Degraded);
    assert!(drive.world.tainted() && goes_on(&mut drive), "{:#?}", drive.world.log);
}

#[test]
fn a_plugin_that_does_not_come_back_is_paused_once_more_while_the_agent_goes_back() {
    let mut drive = pausing(&["victim"]);
    drive.run_until(|drive| drive.world.log.iter().any(|line| line == "paused"));
    drive.world.plugin_returns = false;
    assert_eq!(ended(&mut drive).0, Outcome::Degraded);
    assert_eq!(drive.world.layout(0), places(&BASE), "DCGM held nothing: {:#?}", drive.world.log);
    assert_eq!(drive.world.log.iter().filter(|line| *line == "paused").count(), 2);
    assert!(goes_on(&mut drive));
}

#[test]
fn clients_that_may_not_go_on_any_more_are_left_to_people_and_not_tried_for_ever() {
    let mut drive = pausing(&["victim"]);
    let forbidden = Refusal::Cluster(ClusterError::Invalid("no label".into()));
    drive.world.refuse.insert("resume", (u32::MAX, forbidden));
    assert_eq!(ended(&mut drive).0, Outcome::Degraded);
    assert!(drive.world.tainted() && !goes_on(&mut drive));
}
