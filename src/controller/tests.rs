//! The controller as a whole, against an API server without any life of its own.

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
fn leadership_that_is_given_up_is_handed_back_and_never_used_again() {
    let mut stage = Stage::new(empty(&["a"]), settings("me"));
    let request = stage.controller.resign(stage.now).expect("the lease is held");
    let ClusterRequest::WriteLease { lease, .. } = &request else { panic!("{request:?}") };
    assert_eq!((lease.holder.as_str(), lease.transitions), ("", 1));
    assert!(!stage.controller.may_write(stage.now) && stage.controller.fresh_until().is_none());
    let before = stage.log.len();
    stage.live(SECOND * 400);
    assert_eq!(stage.log.len(), before, "it asks for nothing any more");
}

#[test]
fn an_operation_that_is_found_is_adopted_under_a_higher_epoch() {
    let mut cluster = empty(&["a", "b"]).waiting("p", "3g.20gb");
    let origin = Origin { id: OperationId("old-1".into()), epoch: 3, node_uid: "uid-a".into(), residents: Vec::new() };
    let mut operation = repair(origin);
    operation.phase = Phase::Drained;
    cluster.records.get_mut("a").expect("there").spec.operation = Some(operation);
    cluster.taint("a", Some("old-1"));
    let mut stage = Stage::new(cluster, settings("me"));
    let writes =
        |stage: &Stage| stage.log.iter().filter(|(_, it)| matches!(it, ClusterRequest::WriteSpec { .. })).count();
    assert_eq!(writes(&stage), 0, "the lease says the number first");
    stage.pass(SECOND * 3);
    assert_eq!(stage.cluster.lease.as_ref().map(|(_, lease)| lease.transitions), Some(4));
    let adopted = stage.cluster.records["a"].spec.operation.clone().expect("still there");
    assert_eq!((adopted.id.0.as_str(), adopted.epoch, adopted.phase), ("old-1", 4, Phase::Drained));
    assert_eq!(stage.cluster.records["b"].spec.operation.as_ref().map(|operation| operation.epoch), Some(4));
    stage.wake(&Ticket::Loop);
    stage.pass(SECOND * 5);
    let mut started = reports(&mut stage).into_iter().flat_map(|report| report.started);
    assert!(started.any(|started| started.cause == Cause::Adopted && started.operation.0 == "old-1"));
}

/// With a number at the end of what a lease can say nobody could lead any more.
#[test]
fn a_number_that_only_an_agent_says_is_not_believed_beyond_measure() {
    for (said, expected) in [(900, 901), (u64::from(u32::MAX), 1)] {
        let mut stage = Stage::new(empty(&["a", "b"]).waiting("p", "7g.40gb"), settings("me"));
        let lie = OperationReport {
            id: OperationId("lie".into()),
            epoch: said,
            boot_id: String::new(),
            phase: AgentPhase::Idle,
            detail: String::new(),
        };
        stage.cluster.records.get_mut("a").expect("there").status.operation = Some(lie);
        stage.live(SECOND * 320);
        assert!(stage.controller.may_write(stage.now), "it leads");
        assert_eq!(stage.controller.epoch(), Some(expected));
    }
}

#[test]
fn a_leader_that_was_replaced_does_not_outbid_who_leads_now() {
    let mut stage = Stage::new(empty(&["a"]), settings("me"));
    stage.pass(SECOND * 3);
    // The lease was deleted by hand, somebody else has taken it, and this process does not know yet.
    stage.cluster.lease = Some((Version(99), Lease { holder: "other".into(), renewals: 1, transitions: 2 }));
    let origin = Origin { id: OperationId("new-1".into()), epoch: 2, node_uid: "uid-a".into(), residents: Vec::new() };
    stage.cluster.records.get_mut("a").expect("there").spec.operation = Some(repair(origin));
    stage.deaf.insert(Ticket::Lease);
    let looks = |stage: &Stage| stage.log.iter().filter(|(ticket, _)| *ticket == Ticket::Loop).count();
    let before = looks(&stage);
    stage.wake(&Ticket::Loop);
    stage.pass(SECOND * 6);
    assert!(looks(&stage) > before, "it has seen the record");
    assert!(stage.controller.may_write(stage.now));
    let operation = stage.cluster.records["a"].spec.operation.as_ref();
    assert_eq!(operation.map(|operation| operation.epoch), Some(2), "it is left to its leader");
}

#[test]
fn an_epoch_that_appears_late_is_exceeded_as_well() {
    let mut stage = Stage::new(empty(&["a"]), settings("me"));
    assert_eq!(stage.controller.epoch(), Some(1));
    // The last holder of a lease that was deleted: its claim arrives after our first look.
    let origin = Origin { id: OperationId("late-1".into()), epoch: 2, node_uid: "uid-a".into(), residents: Vec::new() };
    stage.cluster.records.get_mut("a").expect("there").spec.operation = Some(repair(origin));
    stage.live(SECOND * 310);
    assert_eq!(stage.controller.epoch(), Some(3));
    let operation = stage.cluster.records["a"].spec.operation.as_ref();
    assert!(operation.is_none_or(|operation| operation.epoch == 3), "it is led: {operation:?}");
}

#[test]
fn who_does_not_lead_does_nothing_until_the_leader_stands_still() {
    let mut cluster = empty(&["a"]).waiting("p", "3g.20gb");
    let lease = |renewals| Lease { holder: "other".into(), renewals, transitions: 5 };
    cluster.lease = Some((Version(1), lease(1)));
    let mut stage = Stage::new(cluster, settings("me"));
    for renewals in 2..20 {
        stage.pass(SECOND * 5);
        stage.cluster.lease = Some((Version(renewals), lease(renewals)));
    }
    assert!(stage.log.iter().all(|(_, request)| *request == ClusterRequest::GetLease), "{:?}", stage.log);
    stage.pass(SECOND * 20);
    assert_eq!(stage.claimed(), ["a"]);
    assert_eq!(stage.controller.epoch(), Some(6));
}

#[test]
fn nothing_goes_out_once_the_lease_has_run_out() {
    let mut stage = Stage::new(empty(&["a"]).waiting("p", "3g.20gb"), settings("me"));
    stage.pass(SECOND);
    assert!(stage.controller.may_write(stage.now));
    stage.deaf.insert(Ticket::Lease);
    // The taint is there, and the node has settled only after the lease has run out.
    stage.pass(SECOND * 3);
    let led_until = stage.now + SECOND * 10;
    stage.now = led_until;
    let before = stage.log.len();
    stage.wake(&Ticket::Operation("a".into()));
    assert_eq!(stage.farewells, [(Ticket::Lease, Farewell::LostLeadership)]);
    stage.pass(SECOND * 100);
    stage.wake(&Ticket::Loop);
    assert_eq!(stage.log.len(), before, "{:?}", &stage.log[before..]);
    assert!(!stage.controller.may_write(stage.now));
}

#[test]
fn a_leader_that_is_replaced_stops_at_once() {
    let mut stage = Stage::new(empty(&["a"]), settings("me"));
    let usurper = Lease { holder: "other".into(), renewals: 9, transitions: 2 };
    stage.cluster.lease = Some((Version(99), usurper));
    stage.pass(SECOND * 3);
    assert_eq!(stage.farewells, [(Ticket::Lease, Farewell::LostLeadership)]);
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
fn an_orphaned_taint_is_cured_when_it_has_stood() {
    for mode in [Mode::Act, Mode::Recommend, Mode::Observe] {
        let mut cluster = empty(&["a"]);
        cluster.taint("a", Some("lost"));
        let mut stage = Stage::new(cluster, Settings { mode, ..settings("me") });
        assert!(stage.claimed().is_empty(), "a cache may lag");
        stage.live(SECOND * 10);
        let operation = stage.cluster.records["a"].spec.operation.as_ref();
        assert_eq!(operation.is_some_and(Operation::is_repair), mode != Mode::Observe, "{mode:?}");
        let taint = operation.map_or("lost", |operation| operation.id.0.as_str());
        assert_eq!(stage.cluster.nodes["a"].our_taint(), Some(taint), "a repair takes the taint over");
    }
}

/// Somebody took our taint off by hand, and with it nobody takes off the rest.
#[test]
fn an_orphaned_protection_from_autoscalers_is_cured_like_a_taint() {
    let mut cluster = empty(&["a"]);
    let node = cluster.nodes.get_mut("a").expect("there");
    node.annotations.insert(PROTECTION.to_owned(), "karpenter.sh/do-not-disrupt".to_owned());
    let mut stage = Stage::new(cluster, settings("me"));
    assert!(stage.claimed().is_empty(), "a cache may lag");
    stage.live(SECOND * 10);
    assert!(stage.cluster.records["a"].spec.operation.as_ref().expect("a repair").is_repair());
    assert!(stage.cluster.nodes["a"].our_taint().is_some(), "the protection goes with the taint");
}

#[test]
fn clients_that_were_left_paused_are_cured_like_a_taint_once_nobody_else_has_joined_the_pause() {
    let plugin = format!("{DEPLOY}device-plugin");
    let mut cluster = empty(&["a"]).waiting("p", "7g.40gb");
    let node = cluster.nodes.get_mut("a").expect("there");
    node.annotations.insert(PAUSED_CLIENTS.to_owned(), "device-plugin".to_owned());
    node.labels.insert(plugin.clone(), format!("{PAUSED}_paused-for-driver-upgrade"));
    let mut stage = Stage::new(cluster, settings("me"));
    stage.live(SECOND * 400);
    assert!(stage.claimed().is_empty(), "neither a repair nor a plan: the node is left to the driver manager");
    stage.cluster.nodes.get_mut("a").expect("there").labels.insert(plugin, PAUSED.to_owned());
    stage.live(SECOND * 320);
    assert!(stage.cluster.records["a"].spec.operation.as_ref().expect("a repair").is_repair());
}

#[test]
fn a_node_that_advertises_what_it_does_not_have_is_repaired() {
    let mut stage = Stage::new(Cluster::new().node("a", &[&[("1g.5gb", 0, None)]]), settings("me"));
    stage.live(SECOND * 310);
    for _ in 0..16 {
        stage.cluster.nodes.get_mut("a").expect("there").allocatable.clear();
        stage.wake(&Ticket::Loop);
        assert!(stage.claimed().is_empty());
        stage.pass(SECOND * 7);
        stage.cluster.report();
    }
    for _ in 0..3 {
        stage.cluster.nodes.get_mut("a").expect("there").allocatable.clear();
        stage.wake(&Ticket::Loop);
        stage.pass(SECOND * 7);
        stage.cluster.report();
    }
    assert_eq!(stage.claimed(), ["a"]);
    let causes: Vec<Cause> = reports(&mut stage).into_iter().flat_map(|r| r.started).map(|s| s.cause).collect();
    assert!(matches!(causes[..], [Cause::Repair(_)]), "{causes:?}");
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
