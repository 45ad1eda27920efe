//! Who leads: the lease, its number, and what is found of an earlier leader.

use super::*;

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
