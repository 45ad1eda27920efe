//! The controller as a whole, against an API server without any life of its own.

mod cures;
mod leadership;

use std::time::Duration;

use super::testing::{Cluster, Stage, pod, settings};
use super::{Approval, Cause, CycleReport, Farewell, LeftOut, Settings, Ticket};
use crate::exec::marks::{DEPLOY, PAUSED, PAUSED_CLIENTS, PROTECTION};
use crate::exec::port::{ClusterRequest, Lease};
use crate::exec::{
    AgentPhase, Ended, Operation, OperationId, OperationReport, Origin, Outcome, Phase, Version, repair,
};
use crate::model::{Limit, Mode, Reason};

const SECOND: Duration = Duration::from_secs(1);

fn empty(nodes: &[&str]) -> Cluster {
    nodes.iter().fold(Cluster::new(), |cluster, name| cluster.node(name, &[&[]]))
}

/// The 7g can only have node a, whose pod can only go to an instance that node b must create.
fn chain() -> Cluster {
    Cluster::new()
        .node("a", &[&[("1g.5gb", 0, Some("v"))]])
        .node("b", &[&[("3g.20gb", 4, Some("w"))]])
        .waiting("p", "7g.40gb")
}

fn evictions(stage: &Stage) -> Vec<&str> {
    let evicted = stage.log.iter().filter_map(|(_, request)| {
        let ClusterRequest::Evict { pod, dry_run: false, .. } = request else { return None };
        Some(pod.name.as_str())
    });
    evicted.collect()
}

fn reports(stage: &mut Stage) -> Vec<CycleReport> {
    stage.controller.take_reports()
}

#[test]
fn a_plan_becomes_an_operation_under_the_leaders_epoch() {
    let mut stage = Stage::new(empty(&["a"]).waiting("p", "3g.20gb"), settings("me"));
    assert_eq!(stage.claimed(), ["a"]);
    let operation = stage.cluster.records["a"].spec.operation.clone().expect("claimed");
    assert_eq!((operation.epoch, operation.id.0.as_str()), (1, "me-1"));
    assert_eq!(operation.beneficiaries, [pod("p")]);
    let report = reports(&mut stage).remove(0);
    assert_eq!((report.observed.nodes, report.observed.pending), (1, 1));
    let planned = report.planned.expect("a plan");
    assert_eq!((planned.served, planned.nodes, planned.evictions), (1, 1, 0));
    assert_eq!(planned.operations, [OperationId("me-1".into())]);
    assert!(report.started.is_empty(), "its claim was not yet written when the report was made");
    stage.wake(&Ticket::Loop);
    stage.pass(SECOND * 5);
    let started: Vec<_> = reports(&mut stage).into_iter().flat_map(|report| report.started).collect();
    assert_eq!((started.len(), started[0].cause, started[0].operation.0.as_str()), (1, Cause::Planned, "me-1"));
    stage.live(SECOND * 400);
    assert_eq!(
        stage.cluster.records["a"].spec.operation.as_ref().map(|operation| operation.id.clone()),
        Some(operation.id)
    );
    let why = reports(&mut stage).into_iter().filter_map(|report| report.planned).next_back().expect("a plan").why;
    assert_eq!(why[0].reason, Reason::WaitingForExecution, "it is not planned for twice");
}

#[test]
fn only_a_mode_that_acts_writes() {
    let quiet = Settings { mode: Mode::Observe, ..settings("me") };
    let mut stage = Stage::new(empty(&["a"]).waiting("p", "3g.20gb"), quiet);
    stage.live(SECOND * 700);
    assert_eq!(stage.writes(), 0);
    assert_eq!(reports(&mut stage)[0].planned.as_ref().map(|planned| planned.served), Some(1));
}

/// Two waiting pods, and the plan that gives each of them a node.
fn recommended() -> (Stage, crate::plan::Plan) {
    let asks = Settings { mode: Mode::Recommend, ..settings("me") };
    let cluster = empty(&["a", "b"]).waiting("p", "7g.40gb").waiting("q", "7g.40gb");
    let mut stage = Stage::new(cluster, asks);
    stage.live(SECOND * 400);
    assert_eq!(stage.writes(), 0, "nobody has approved anything");
    let plan = stage.controller.take_plan().expect("it was published");
    assert_eq!(plan.nodes.len(), 2);
    (stage, plan)
}

#[test]
fn what_a_person_approved_is_carried_out_and_nothing_else() {
    let (mut stage, mut plan) = recommended();
    plan.nodes.retain(|node| node.name == "a");
    reports(&mut stage);
    stage.controller.approve("first".to_owned(), plan);
    stage.wake(&Ticket::Loop);
    stage.live(SECOND * 10);
    assert_eq!(stage.claimed(), ["a"]);
    let approval = reports(&mut stage).into_iter().find_map(|report| report.approval).expect("it is told");
    assert_eq!((approval.name.as_str(), approval.operations.len(), approval.goes_on), ("first", 1, false));
    assert_eq!(approval.left_out, [].into());
    stage.live(SECOND * 400);
    assert_eq!(stage.claimed(), ["a"], "an approval counts once");
}

#[test]
fn an_approved_plan_that_would_not_be_proposed_any_more_is_not_carried_out() {
    let (mut stage, mut plan) = recommended();
    plan.nodes[0].gpus[0].create[0].start += 1;
    plan.nodes[1].steps.clear();
    reports(&mut stage);
    stage.controller.approve("first".to_owned(), plan);
    stage.live(SECOND * 400);
    assert_eq!(stage.writes(), 0);
    let approval = reports(&mut stage).into_iter().find_map(|report| report.approval).expect("it is told");
    assert!(approval.operations.is_empty() && !approval.goes_on, "{approval:?}");
    let moved = LeftOut::Moved("another change of it would be proposed now");
    assert_eq!(approval.left_out, [("a".to_owned(), moved.clone()), ("b".to_owned(), moved)].into());
}

/// Approves a plan of two nodes after something has happened to the cluster; what became of it.
fn approved_after(change: impl FnOnce(&mut Cluster)) -> Approval {
    let (mut stage, plan) = recommended();
    change(&mut stage.cluster);
    stage.wake(&Ticket::Loop);
    stage.pass(SECOND * 5);
    reports(&mut stage);
    stage.controller.approve("first".to_owned(), plan);
    stage.wake(&Ticket::Loop);
    stage.pass(SECOND * 5);
    reports(&mut stage).into_iter().find_map(|report| report.approval).expect("it is told")
}

#[test]
fn a_node_of_an_approved_plan_that_is_left_alone_is_told_with_its_own_reason() {
    let alone = |approval: &Approval, node: &str| match approval.left_out.get(node) {
        Some(LeftOut::Alone(reason, why)) => (*reason, why.clone()),
        other => panic!("{other:?} of {approval:?}"),
    };
    let plugin = approved_after(|cluster| cluster.plugins.extend([("a".to_owned(), false), ("b".to_owned(), true)]));
    let (reason, why) = alone(&plugin, "a");
    assert!(reason == Reason::PolicyForbids && why.contains("add a toleration"), "{why}");
    assert_eq!((plugin.operations.len(), plugin.left_out.len(), plugin.goes_on), (1, 1, false), "{plugin:?}");

    let resting = approved_after(|cluster| {
        cluster.policy.stability.gpu_cool_down_seconds = 600;
        let gpus = vec!["GPU-a-0".to_owned()];
        let (id, detail) = (OperationId("old".into()), String::new());
        let ended = Ended { id, epoch: 1, gpus, outcome: Outcome::Done, detail };
        cluster.records.get_mut("a").expect("there").spec.history = vec![ended];
    });
    let (reason, why) = alone(&resting, "a");
    assert!(reason == Reason::CoolingDown && why.starts_with("GPU 0: it was changed a moment ago"), "{why}");

    let owned = approved_after(|cluster| {
        let node = cluster.nodes.get_mut("b").expect("there");
        node.labels.insert("nvidia.com/mig.config".into(), "all".into());
    });
    assert_eq!(alone(&owned, "b").0, Reason::PolicyForbids);
}

#[test]
fn a_node_of_an_approved_plan_for_which_the_budgets_have_no_room_waits_for_it() {
    let narrow = |cluster: &mut Cluster| cluster.policy.budgets.nodes = Some(Limit::Count(1));
    let approval = approved_after(narrow);
    assert_eq!((approval.operations.len(), approval.goes_on), (1, true), "{approval:?}");
    let why: Vec<String> = approval.left_out.values().map(ToString::to_string).collect();
    assert_eq!(why, ["waits: BudgetExhausted: the budgets leave room for 0 nodes now"]);
}

#[test]
fn an_operation_whose_claim_is_forbidden_has_not_begun() {
    let mut cluster = empty(&["a"]).waiting("p", "3g.20gb");
    cluster.forbidden.insert("write_spec");
    let mut stage = Stage::new(cluster, settings("me"));
    stage.live(SECOND * 700);
    let told = reports(&mut stage);
    assert!(told.iter().all(|report| report.started.is_empty()), "{told:?}");
    let forbidden: Vec<_> = told.into_iter().flat_map(|report| report.forbidden).collect();
    let expected = ("a".to_owned(), OperationId("me-1".into()), "write_spec is not allowed".to_owned());
    assert_eq!(forbidden, [expected], "once, however often it is tried");
    stage.cluster.forbidden.clear();
    stage.live(SECOND * 400);
    let mut started = reports(&mut stage).into_iter().flat_map(|report| report.started);
    assert!(started.any(|started| started.operation.0 == "me-1"), "it begins once that is allowed");
}

/// A node that is kept out, for which a pod waits; how long the loop takes to plan for it once that is mended.
fn mended(keep_out: impl FnOnce(&mut Cluster), mend: impl FnOnce(&mut Cluster)) -> u64 {
    let mut cluster = empty(&["a"]).waiting("p", "3g.20gb");
    keep_out(&mut cluster);
    let mut stage = Stage::new(cluster, settings("me"));
    stage.live(SECOND * 40);
    assert!(stage.claimed().is_empty(), "it is kept out");
    mend(&mut stage.cluster);
    let mut waited = 0;
    while stage.claimed().is_empty() {
        assert!(waited < 400, "the period is over");
        stage.wake(&Ticket::Loop);
        stage.pass(SECOND);
        stage.cluster.report();
        waited += 1;
    }
    waited
}

#[test]
fn what_people_mend_does_not_wait_for_the_period() {
    let plugin = |tolerates: bool| move |cluster: &mut Cluster| _ = cluster.plugins.insert("a".to_owned(), tolerates);
    assert!(mended(plugin(false), plugin(true)) < 10);
    let owner = |cluster: &mut Cluster| {
        _ = cluster.nodes.get_mut("a").expect("there").labels.insert("nvidia.com/mig.config".into(), "all".into());
    };
    let left = |cluster: &mut Cluster| cluster.nodes.get_mut("a").expect("there").labels.clear();
    assert!(mended(owner, left) < 10);
    let budget = |nodes: u32| move |cluster: &mut Cluster| cluster.policy.budgets.nodes = Some(Limit::Count(nodes));
    assert!(mended(budget(0), budget(1)) < 10);
}

#[test]
fn mending_again_and_again_makes_no_more_plans_than_new_demand_may() {
    let mut cluster = empty(&["a"]).waiting("p", "7g.40gb").waiting("q", "7g.40gb");
    cluster.policy.mode = Mode::Observe;
    let quiet = Settings { mode: Mode::Observe, ..settings("me") };
    let mut stage = Stage::new(cluster, quiet);
    let mut plans = 0;
    for second in 0..120 {
        stage.cluster.policy.budgets.nodes = Some(Limit::Count(second + 1));
        stage.wake(&Ticket::Loop);
        stage.pass(SECOND);
        stage.cluster.report();
        plans += reports(&mut stage).iter().filter(|report| report.planned.is_some()).count();
    }
    assert!((2..=5).contains(&plans), "{plans} plans in two minutes; one in 30 s is allowed");
}

#[test]
fn an_approval_is_worth_nothing_where_only_observing_is_allowed() {
    let (mut stage, plan) = recommended();
    let observes = Settings { mode: Mode::Observe, ..settings("me") };
    stage.controller.reconfigure(&observes);
    stage.controller.approve("first".to_owned(), plan);
    stage.live(SECOND * 400);
    stage.controller.reconfigure(&Settings { mode: Mode::Recommend, ..observes });
    stage.live(SECOND * 400);
    assert_eq!(stage.writes(), 0, "nor does it wait for better times");
}

#[test]
fn a_mode_that_allows_more_takes_effect_at_the_next_look() {
    let (mut stage, _) = recommended();
    stage.controller.reconfigure(&Settings { identity: "not me".to_owned(), ..settings("me") });
    stage.wake(&Ticket::Loop);
    stage.live(SECOND * 10);
    assert_eq!(stage.claimed(), ["a", "b"]);
    stage.live(SECOND * 60);
    assert!(stage.farewells.is_empty(), "it leads on under its own name");
}

#[test]
fn each_bad_node_is_left_alone_for_its_own_reason_and_stops_no_other() {
    let names = ["deleted", "foreign", "good", "silent", "tainted", "unready", "unreported"];
    let mut cluster = empty(&names);
    cluster.policy.stability.min_pending_age_seconds = 90;
    for index in 0..names.len() {
        cluster = cluster.waiting(&format!("p{index}"), "7g.40gb");
    }
    let node = |cluster: &mut Cluster, name: &str, change: &dyn Fn(&mut crate::exec::NodeView)| {
        change(cluster.nodes.get_mut(name).expect("there"));
    };
    node(&mut cluster, "deleted", &|node| node.deleting = true);
    node(&mut cluster, "foreign", &|node| _ = node.labels.insert("nvidia.com/mig.config".into(), "all".into()));
    node(&mut cluster, "unready", &|node| node.ready = false);
    cluster.records.get_mut("unreported").expect("there").status.node_uid = "uid-of-a-predecessor".into();
    cluster.records.get_mut("silent").expect("there").status.heartbeat = 1;
    let mut stage = Stage::new(cluster, settings("me"));
    for _ in 0..20 {
        stage.pass(SECOND * 5);
        stage.cluster.report();
        stage.cluster.records.get_mut("silent").expect("there").status.heartbeat = 1;
        stage.cluster.taint("tainted", Some("somebody-elses"));
    }
    assert!(stage.cluster.records["good"].spec.operation.is_some());
    let withdrawn = reports(&mut stage).into_iter().rfind(|report| report.planned.is_some()).expect("a plan").withdrawn;
    let reasons: Vec<(&str, Reason)> = withdrawn.iter().map(|(name, (reason, _))| (name.as_str(), *reason)).collect();
    let expected = [
        ("deleted", Reason::PolicyForbids),
        ("foreign", Reason::PolicyForbids),
        ("silent", Reason::WaitingForCapacity),
        ("tainted", Reason::WaitingForExecution),
        ("unready", Reason::WaitingForCapacity),
        ("unreported", Reason::WaitingForCapacity),
    ];
    assert_eq!(reasons, expected);
    assert!(withdrawn["silent"].1.contains("silent"), "{}", withdrawn["silent"].1);
}

#[test]
fn demand_counts_once_it_has_settled_and_then_does_not_wait_for_the_period() {
    let mut cluster = empty(&["a"]).waiting("p", "3g.20gb");
    cluster.policy.stability.min_pending_age_seconds = 40;
    let mut stage = Stage::new(cluster, settings("me"));
    stage.pass(SECOND * 39);
    assert!(stage.claimed().is_empty());
    stage.pass(SECOND * 2);
    assert_eq!(stage.claimed(), ["a"]);
}

/// A node of three empty GPUs under a loop that has made a plan for nobody; pods count after 30 s.
fn before_the_burst(settings: Settings) -> Stage {
    let mut cluster = Cluster::new().node("a", &[&[], &[], &[]]);
    cluster.policy.stability.min_pending_age_seconds = 30;
    let mut stage = Stage::new(cluster, settings);
    stage.live(SECOND * 60);
    assert_eq!(plans(&mut stage), 1);
    stage
}

/// Pods arrive, and the loop is told.
fn arrive(stage: &mut Stage, names: &[&str]) {
    for name in names {
        stage.cluster.pending.insert((*name).to_owned(), ("2g.10gb", 0));
    }
    stage.wake(&Ticket::Loop);
}

fn plans(stage: &mut Stage) -> usize {
    reports(stage).iter().filter(|report| report.planned.is_some()).count()
}

#[test]
fn pods_that_arrive_within_seconds_are_planned_for_together() {
    let mut stage = before_the_burst(settings("me"));
    for names in [&["p1", "p2"][..], &["p3"], &["p4", "p5", "p6"]] {
        arrive(&mut stage, names);
        stage.pass(SECOND * 2);
    }
    stage.live(SECOND * 40);
    let operation = stage.cluster.records["a"].spec.operation.clone().expect("claimed");
    assert_eq!((operation.beneficiaries.len(), operation.gpus.len()), (6, 2), "{operation:?}");
    assert_eq!(plans(&mut stage), 1);
}

#[test]
fn a_plan_of_the_period_does_not_cut_a_burst_in_two() {
    let long = Settings { soonest: Some(SECOND * 300), ..settings("me") };
    let mut stage = before_the_burst(long);
    // The first plan was made at the start, 60 s ago; the next is due when only the first pod counts.
    stage.live(SECOND * 209);
    arrive(&mut stage, &["p1"]);
    stage.pass(SECOND * 2);
    arrive(&mut stage, &["p2", "p3"]);
    stage.live(SECOND * 40);
    let operation = stage.cluster.records["a"].spec.operation.clone().expect("claimed");
    assert_eq!(operation.beneficiaries.len(), 3, "{operation:?}");
}

#[test]
fn pods_that_keep_arriving_do_not_put_a_plan_off_for_ever() {
    let mut stage = before_the_burst(settings("me"));
    let mut waited = 0;
    while plans(&mut stage) == 0 {
        arrive(&mut stage, &[&format!("p{waited}")]);
        stage.pass(SECOND);
        waited += 1;
        assert!(waited < 60, "a minute is over");
    }
    assert!(waited >= 40, "after {waited} s: pods of 40 s are there, and more come");
}

#[test]
fn with_a_fixed_period_new_demand_waits_for_it() {
    let mut cluster = empty(&["a"]).waiting("p", "3g.20gb");
    cluster.policy.stability.min_pending_age_seconds = 40;
    let mut stage = Stage::new(cluster, Settings { soonest: None, ..settings("me") });
    stage.live(SECOND * 299);
    assert!(stage.claimed().is_empty());
    stage.live(SECOND * 2);
    assert_eq!(stage.claimed(), ["a"]);
}

#[test]
fn victims_are_evicted_only_when_their_new_places_are_there() {
    let mut stage = Stage::new(chain(), settings("me"));
    assert_eq!(stage.claimed(), ["b"], "it makes the room");
    stage.live(SECOND * 30);
    assert_eq!(stage.cluster.records["b"].spec.operation.as_ref().map(|o| o.phase), Some(Phase::Drained));
    assert!(evictions(&stage).is_empty());
    stage.cluster.cuts.get_mut("b").expect("there")[0].insert(0, ("1g.5gb", 0, None));
    stage.cluster.report();
    stage.cluster.end("b", Outcome::Done);
    stage.wake(&Ticket::Operation("b".into()));
    assert_eq!(stage.claimed(), ["a"]);
    stage.live(SECOND * 30);
    assert_eq!(evictions(&stage), ["v"]);
}

#[test]
fn what_waits_for_an_operation_that_fails_is_dropped() {
    let mut stage = Stage::new(chain(), settings("me"));
    stage.live(SECOND * 30);
    stage.cluster.end("b", Outcome::Aborted);
    stage.wake(&Ticket::Operation("b".into()));
    stage.live(SECOND * 60);
    assert!(stage.claimed().is_empty());
    assert!(evictions(&stage).is_empty());
    stage.wake(&Ticket::Loop);
    stage.pass(SECOND * 5);
    let reports = reports(&mut stage);
    assert!(reports.last().is_some_and(|report| report.waiting.is_empty()));
    let dropped = reports.iter().flat_map(|report| &report.ended).find(|(node, ..)| node == "a").expect("it is told");
    assert_eq!(
        (dropped.2, dropped.3.as_str()),
        (Some(Outcome::Aborted), "it needs a change of node b, which has failed")
    );
}

#[test]
fn a_gpu_rests_after_an_operation() {
    let mut cluster = empty(&["a"]).waiting("p", "3g.20gb");
    cluster.policy.stability.gpu_cool_down_seconds = 120;
    cluster.records.get_mut("a").expect("there").spec.history = vec![Ended {
        id: OperationId("old".into()),
        epoch: 1,
        gpus: vec!["GPU-a-0".into()],
        outcome: Outcome::Done,
        detail: String::new(),
    }];
    let mut stage = Stage::new(cluster, settings("me"));
    stage.pass(SECOND * 3);
    assert!(stage.claimed().is_empty());
    let first = reports(&mut stage).remove(0);
    assert_eq!(first.cooling, 1);
    assert_eq!(first.planned.expect("a plan").unserved, [(Reason::CoolingDown, 1)].into());
    stage.live(SECOND * 310);
    assert_eq!(stage.claimed(), ["a"]);
}

#[test]
fn a_gpu_that_rests_is_no_better_way_for_a_move_that_was_planned_without_it() {
    let mut cluster = Cluster::new()
        .node("a", &[&[("1g.5gb", 0, Some("v"))]])
        .node("b", &[&[("1g.5gb", 0, None), ("3g.20gb", 4, Some("w"))]])
        .node("rests", &[&[]])
        .waiting("p", "7g.40gb");
    cluster.policy.stability.gpu_cool_down_seconds = 600;
    let gpus = vec!["GPU-rests-0".to_owned()];
    let (id, detail) = (OperationId("old".into()), String::new());
    cluster.records.get_mut("rests").expect("there").spec.history =
        vec![Ended { id, epoch: 1, gpus, outcome: Outcome::Done, detail }];
    let mut stage = Stage::new(cluster, settings("me"));
    stage.live(SECOND * 10);
    assert_eq!(stage.claimed(), ["a"], "the free GPU rests");
    stage.live(SECOND * 40);
    let told = reports(&mut stage);
    assert_eq!(evictions(&stage), ["v"], "{told:?}");
}

#[test]
fn no_owner_is_moved_more_often_than_it_tolerates() {
    for (cap, acts) in [(Some(1), false), (Some(2), true), (None, true)] {
        let mut cluster = Cluster::new()
            .node("a", &[&[("1g.5gb", 0, Some("v1")), ("1g.5gb", 1, Some("v2"))]])
            .node(
                "b",
                &[&[
                    ("1g.5gb", 0, None),
                    ("1g.5gb", 1, None),
                    ("1g.5gb", 2, Some("w1")),
                    ("1g.5gb", 3, Some("w2")),
                    ("3g.20gb", 4, Some("w3")),
                ]],
            )
            .waiting("p", "7g.40gb");
        cluster.owners = [("v1", "ReplicaSet/web"), ("v2", "ReplicaSet/web")].into();
        cluster.policy.stability.pod_move_cap = cap;
        let mut stage = Stage::new(cluster, settings("me"));
        stage.live(SECOND * 40);
        assert_eq!(evictions(&stage).len(), if acts { 2 } else { 0 }, "{cap:?}: {:?}", reports(&mut stage));
    }
}

#[test]
fn budgets_hold_over_all_that_is_in_flight() {
    let mut cluster = empty(&["a", "b"]).waiting("p", "7g.40gb").waiting("q", "7g.40gb");
    cluster.policy.budgets.nodes = Some(Limit::Count(1));
    let mut stage = Stage::new(cluster, settings("me"));
    assert_eq!(stage.claimed().len(), 1);
    stage.live(SECOND * 320);
    assert_eq!(stage.claimed().len(), 1, "the first is still under way");
}

#[test]
fn a_failed_look_changes_nothing() {
    let mut stage = Stage::new(empty(&["a"]), settings("me"));
    stage.cluster = stage.cluster.clone().waiting("p", "3g.20gb");
    stage.deaf.insert(Ticket::Loop);
    stage.pass(SECOND * 310);
    assert!(stage.claimed().is_empty());
    let unknown = crate::exec::port::ClusterError::Unknown("timeout".into());
    let asked = stage.controller.step(&Ticket::Loop, crate::exec::Event::Reply(Err(unknown)), stage.now);
    assert!(matches!(asked[..], [(Ticket::Loop, crate::exec::Next::Rest(wait))] if wait == SECOND * 5), "{asked:?}");
}
