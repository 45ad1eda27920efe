//! Writes of records and nodes.

use super::*;

/// A write of the spec by us: from one record to the other, with this many other nodes not available.
fn spec_write(checker: &mut Checker, at: u64, before: &MigNode, after: &MigNode, pods: &[PodView], occupied: u64) {
    let fleet = FleetCount { managed: 10, occupied };
    let (writer, based_on) = (Some("controller-0"), before.version);
    checker.on_spec_write(at, &SeenSpecWrite { writer, based_on, before, after, pods, fleet });
}

fn written(before: &MigNode, after: &MigNode, pods: &[PodView]) -> Vec<Invariant> {
    let mut checker = checker();
    spec_write(&mut checker, 1, before, after, pods, 0);
    broken(&checker)
}

#[test]
fn writes_of_the_protocol_are_accepted() {
    let claimed = with_operation(|_| {});
    assert_eq!(written(&without_operation(), &claimed, &[]), []);
    assert_eq!(
        written(&claimed, &with_operation(|operation| operation.phase = Phase::Draining), &[view_of("victim")]),
        []
    );
    assert_eq!(written(&claimed, &with_operation(|operation| operation.phase = Phase::Drained), &[]), []);
    assert_eq!(written(&claimed, &with_operation(|operation| operation.epoch = 6), &[]), []);
    assert_eq!(written(&claimed, &without_operation(), &[]), []);
}

#[test]
fn s4_an_operation_is_replaced_or_closed_under_its_agent() {
    let claimed = with_operation(|_| {});
    assert_eq!(written(&claimed, &with_operation(|operation| operation.id = id("other")), &[]), [Invariant::S4]);
    for phase in [AgentPhase::Accepted, AgentPhase::Executing, AgentPhase::RollingBack] {
        let before = record(Phase::Releasing, phase);
        let mut after = before.clone();
        after.spec.operation = None;
        assert_eq!(written(&before, &after, &[]), [Invariant::S4], "{phase:?}");
        after.status.node_uid = "uid-made-again".into();
        assert_eq!(written(&before, &after, &[]), [], "the node is gone");
    }
}

#[test]
fn s5_a_claim_beyond_the_budget() {
    for (occupied, repair, expected) in [(1, false, 0), (2, false, 1), (2, true, 0)] {
        let mut checker = checker();
        let claimed = with_operation(|operation| {
            if repair {
                operation.gpus.clear();
            }
        });
        spec_write(&mut checker, 1, &without_operation(), &claimed, &[], occupied);
        assert_eq!(broken(&checker), vec![Invariant::S5; expected], "{occupied} {repair}");
    }
}

#[test]
fn s2_s3_s6_an_operation_is_widened_or_drained_too_early() {
    let claimed = with_operation(|_| {});
    let widened = with_operation(|operation| operation.gpus[0].target.clear());
    assert_eq!(written(&claimed, &widened, &[]), [Invariant::S2]);
    let more = with_operation(|operation| operation.victims.clear());
    assert_eq!(written(&claimed, &more, &[]), [Invariant::S6]);
    let drained = with_operation(|operation| operation.phase = Phase::Drained);
    assert_eq!(written(&claimed, &drained, &[view_of("victim")]), [Invariant::S3]);
    let finished = PodView { finished: true, ..view_of("victim") };
    assert_eq!(written(&claimed, &drained, &[finished]), []);
}

#[test]
fn s14_old_versions_and_epochs_are_not_accepted() {
    let (before, after) = (without_operation(), with_operation(|_| {}));
    let mut checker = checker();
    let fleet = FleetCount { managed: 10, occupied: 0 };
    let (writer, based_on) = (Some("controller-0"), Version(6));
    let stale = SeenSpecWrite { writer, based_on, before: &before, after: &after, pods: &[], fleet };
    checker.on_spec_write(1, &stale);
    assert_eq!(broken(&checker), [Invariant::S14]);

    let older = with_operation(|operation| {
        operation.epoch = 4;
        operation.phase = Phase::Draining;
    });
    spec_write(&mut checker, 2, &after, &older, &[], 0);
    assert_eq!(broken(&checker), [Invariant::S14, Invariant::S14]);

    let seen = record(Phase::Drained, AgentPhase::Executing);
    let mut back = seen.clone();
    back.status.operation.as_mut().expect("as set up").epoch = 4;
    let write = SeenStatusWrite { agent_of: Some("n"), based_on: Version(7), before: &seen, after: &back };
    checker.on_status_write(3, &write);
    assert_eq!(broken(&checker).len(), 3);
    checker.on_status_write(3, &SeenStatusWrite { based_on: Version(1), after: &seen, ..write });
    assert_eq!(broken(&checker).len(), 4);
    checker.on_status_write(3, &SeenStatusWrite { after: &seen, ..write });
    assert_eq!(broken(&checker).len(), 4);
}

#[test]
fn s14_an_epoch_is_that_of_the_lease_and_of_one_life_of_a_node() {
    let claimed = |epoch| {
        with_operation(|operation| {
            operation.epoch = epoch;
            operation.phase = Phase::Draining;
        })
    };
    let mut checker = checker();
    checker.on_lease_write("controller-0", 6);
    spec_write(&mut checker, 1, &claimed(5), &claimed(6), &[view_of("victim")], 0);
    assert_eq!(broken(&checker), []);
    checker.on_lease_write("controller-1", 7);
    spec_write(&mut checker, 2, &claimed(6), &claimed(7), &[view_of("victim")], 0);
    assert_eq!(broken(&checker), [Invariant::S14], "the lease gave this number to another");
    let mut made_again = claimed(5);
    made_again.spec.operation.as_mut().expect("as set up").node_uid = "uid-made-again".into();
    spec_write(&mut checker, 3, &without_operation(), &made_again, &[], 0);
    assert_eq!(broken(&checker).len(), 1, "the record of the node before is gone");
    spec_write(&mut checker, 4, &claimed(7), &claimed(6), &[view_of("victim")], 0);
    assert_eq!(broken(&checker).len(), 2);
}

#[test]
fn s3_an_agent_writes_the_status_of_another_node() {
    let seen = record(Phase::Drained, AgentPhase::Executing);
    let mut checker = checker();
    let write = SeenStatusWrite { agent_of: Some("m"), based_on: Version(7), before: &seen, after: &seen };
    checker.on_status_write(1, &write);
    assert_eq!(broken(&checker), [Invariant::S3]);
}

#[test]
fn s13_a_replay_has_another_effect() {
    let before = with_operation(|_| {});
    let mut checker = checker();
    checker.on_replay(1, &before, &MigNode { version: Version(8), ..before.clone() });
    assert_eq!(broken(&checker), []);
    checker.on_replay(1, &before, &with_operation(|operation| operation.phase = Phase::Draining));
    assert_eq!(broken(&checker), [Invariant::S13]);
}

#[test]
fn s21_a_record_grows_too_large() {
    let claimed = with_operation(|_| {});
    let verbose = with_operation(|operation| operation.detail = "x".repeat(200 * 1024));
    assert_eq!(written(&claimed, &verbose, &[]), [Invariant::S21]);
    let mut long = claimed.clone();
    let ended = Ended { id: id("old"), epoch: 1, gpus: Vec::new(), outcome: Outcome::Done, detail: String::new() };
    long.spec.history = vec![ended; 9];
    assert_eq!(written(&claimed, &long, &[]), [Invariant::S21]);
}

#[test]
fn l8_a_gpu_gets_no_rest() {
    for (outcome, later, expected) in [
        (Outcome::Done, 599_999, 1),
        (Outcome::RolledBack, 0, 1),
        (Outcome::Done, 600_000, 0),
        (Outcome::Aborted, 0, 0),
    ] {
        let mut checker = checker();
        let before = record(Phase::Releasing, AgentPhase::Applied);
        let mut after = before.clone();
        after.spec.operation = None;
        after.spec.history =
            vec![Ended { id: id("op"), epoch: 5, gpus: vec![GPU.into()], outcome, detail: String::new() }];
        spec_write(&mut checker, 1_000, &before, &after, &[], 0);
        let next = with_operation(|operation| operation.id = id("next"));
        spec_write(&mut checker, 1_000 + later, &after, &next, &[], 0);
        assert_eq!(broken(&checker), vec![Invariant::L8; expected], "{outcome:?} {later}");
    }
}

fn node_write(before: &NodeView, after: &NodeView) -> Vec<Invariant> {
    let mut checker = checker();
    let operation = id("op");
    checker.on_node_write(1, &SeenNodeWrite { operation: &operation, before, after, record: None, machine: None });
    broken(&checker)
}

#[test]
fn s11_more_than_our_taint_is_written() {
    assert_eq!(node_write(&untainted(), &view()), []);
    assert_eq!(node_write(&view(), &untainted()), []);
    let foreign = Taint { key: "node.kubernetes.io/unschedulable".into(), ..view().taints[0].clone() };
    let cases: [(&str, NodeView); 7] = [
        ("label", NodeView { labels: BTreeMap::from([("a".into(), "b".into())]), ..view() }),
        ("annotation", NodeView { annotations: BTreeMap::from([("a".into(), "b".into())]), ..view() }),
        ("status", NodeView { allocatable: BTreeMap::from([("a".into(), 1)]), ..view() }),
        ("cordon", NodeView { taints: vec![view().taints[0].clone(), foreign], ..view() }),
        ("readiness", NodeView { ready: false, ..view() }),
        ("uid", NodeView { uid: "uid-other".into(), ..view() }),
        (
            "effect",
            NodeView { taints: vec![Taint { effect: "NoExecute".into(), ..view().taints[0].clone() }], ..view() },
        ),
    ];
    for (case, after) in cases {
        assert_eq!(node_write(&untainted(), &after), [Invariant::S11], "{case}");
    }
    let annotated = NodeView { annotations: BTreeMap::from([("retile.dev/a".into(), "b".into())]), ..view() };
    assert_eq!(node_write(&untainted(), &annotated), []);
}

#[test]
fn s11_the_taint_of_another_operation_is_set_or_removed() {
    let other = NodeView { taints: vec![Taint { value: "other".into(), ..view().taints[0].clone() }], ..view() };
    assert_eq!(node_write(&untainted(), &other), [Invariant::S11]);
    assert_eq!(node_write(&other, &untainted()), [Invariant::S11]);
    assert_eq!(node_write(&other, &view()), [], "a repair takes over");
}

fn untaint(change: impl FnOnce(&mut SimNode, &mut NodeView, &mut MigNode), disturbed: bool) -> Vec<Invariant> {
    let mut machine = machine();
    let mut after = NodeView { allocatable: machine.allocatable(), ..untainted() };
    after.allocatable.insert("nvidia.com/mig-7g.80gb".into(), 0);
    let mut record = record(Phase::Releasing, AgentPhase::Applied);
    change(&mut machine, &mut after, &mut record);
    let before = NodeView { taints: view().taints, ..after.clone() };
    let mut checker = checker();
    if disturbed {
        checker.disturbed(0, "n");
    }
    let operation = id("op");
    let seen = SeenNodeWrite {
        operation: &operation,
        before: &before,
        after: &after,
        record: Some(&record),
        machine: Some(&machine),
    };
    checker.on_node_write(1_000, &seen);
    broken(&checker)
}

#[test]
fn s12_the_taint_goes_before_everything_agrees() {
    type Change = fn(&mut SimNode, &mut NodeView, &mut MigNode);
    assert_eq!(untaint(|_, _, _| {}, false), []);
    let cases: [(&str, Change); 5] = [
        ("an instance more", |machine, _, _| {
            let create = ByHand::Create { gpu: GPU.into(), place: place("1g.10gb", 5, 1), compute: true };
            machine.by_hand(&create).expect("as set up");
        }),
        ("a GPU instance without a compute instance", |machine, _, _| {
            let create = ByHand::Create { gpu: GPU.into(), place: place("1g.10gb", 5, 1), compute: false };
            machine.by_hand(&create).expect("as set up");
        }),
        ("stale UUIDs in the same numbers", |machine, _, _| {
            let spot = place("1g.10gb", 4, 1);
            machine.by_hand(&ByHand::Destroy { gpu: GPU.into(), place: spot.clone(), whole: true }).expect("as set up");
            machine.by_hand(&ByHand::Create { gpu: GPU.into(), place: spot, compute: true }).expect("as set up");
        }),
        ("a status that lags", |_, view, _| {
            view.allocatable.insert("nvidia.com/mig-7g.80gb".into(), 1);
        }),
        ("a plugin that is away", |machine, view, _| {
            machine.plugin_stops();
            view.allocatable = machine.allocatable();
        }),
    ];
    for (case, change) in cases {
        assert_eq!(untaint(change, false), [Invariant::S12], "{case}");
        assert_eq!(untaint(change, true), [], "somebody else has done that just now: {case}");
        let untouched = untaint(
            |machine, view, record| {
                change(machine, view, record);
                record.status.operation.as_mut().expect("as set up").phase = AgentPhase::Refused;
            },
            false,
        );
        assert_eq!(untouched, [], "the operation has changed nothing: {case}");
    }
}

#[test]
fn s12_asks_for_whole_boards_where_the_operation_was_at_work() {
    let half = |of: &'static str, compute: bool| {
        move |machine: &mut SimNode, _: &mut NodeView, record: &mut MigNode| {
            let create = ByHand::Create { gpu: GPU.into(), place: place("1g.10gb", 5, 1), compute };
            machine.by_hand(&create).expect("as set up");
            record.spec.operation.as_mut().expect("as set up").gpus[0].uuid = of.into();
        }
    };
    assert_eq!(untaint(half(GPU, false), false), [Invariant::S12]);
    assert_eq!(
        untaint(half("GPU-other", false), false),
        [],
        "an earlier life of the node has left it, and nobody offers it"
    );
    assert_eq!(untaint(half("GPU-other", true), false), [Invariant::S12], "the plugin should offer a whole one");
}

#[test]
fn s4_a_name_is_used_twice() {
    let claimed = with_operation(|_| {});
    let mut checker = checker();
    spec_write(&mut checker, 1, &without_operation(), &claimed, &[], 0);
    spec_write(&mut checker, 2, &without_operation(), &claimed, &[], 0);
    assert_eq!(broken(&checker), [], "the same claim again");
    let on = |record: &MigNode, name: &str| MigNode { name: name.into(), ..record.clone() };
    spec_write(&mut checker, 3, &on(&without_operation(), "m"), &on(&claimed, "m"), &[], 0);
    assert_eq!(broken(&checker), [Invariant::S4]);
    let mut after_it_ended = without_operation();
    let ended = Ended { id: id("op"), epoch: 5, gpus: Vec::new(), outcome: Outcome::Done, detail: String::new() };
    after_it_ended.spec.history.push(ended);
    assert_eq!(written(&after_it_ended, &claimed, &[]), [Invariant::S4]);
}

#[test]
fn s3_an_operation_drains_before_its_taint_has_settled() {
    for (at, expected) in [(5_999, vec![Invariant::S3]), (6_000, vec![])] {
        let mut checker = checker();
        let (before, after) = (untainted(), view());
        let operation = &id("op");
        let seen = SeenNodeWrite { operation, before: &before, after: &after, record: None, machine: None };
        checker.on_node_write(1_000, &seen);
        let draining = with_operation(|operation| operation.phase = Phase::Draining);
        spec_write(&mut checker, at, &with_operation(|_| {}), &draining, &[view_of("victim")], 0);
        assert_eq!(broken(&checker), expected, "{at}");
    }
}

#[test]
fn s11_a_cordon_that_is_not_ours_is_lifted() {
    let mut checker = checker();
    let (before, after, operation) = (NodeView { cordoned: true, ..view() }, view(), &id("op"));
    let seen = SeenNodeWrite { operation, before: &before, after: &after, record: None, machine: None };
    checker.on_node_write(1, &seen);
    assert_eq!(broken(&checker), [Invariant::S11]);
}

#[test]
fn s11_the_taint_of_a_stranger_is_removed_by_its_own_name() {
    let strange = NodeView { taints: vec![Taint { value: "theirs".into(), ..view().taints[0].clone() }], ..view() };
    let (record, after) = (record(Phase::Releasing, AgentPhase::Refused), untainted());
    let mut checker = checker();
    for (name, before, expected) in [("op", view(), vec![]), ("theirs", strange, vec![Invariant::S11])] {
        let operation = &id(name);
        let seen = SeenNodeWrite { operation, before: &before, after: &after, record: Some(&record), machine: None };
        checker.on_node_write(1, &seen);
        assert_eq!(broken(&checker), expected, "{name}");
    }
}

#[test]
fn s8_s12_an_agent_reports_what_is_not_so() {
    let report = |phase: AgentPhase, machine: &SimNode, disturbed: bool| {
        let mut checker = checker();
        if disturbed {
            checker.disturbed(1, "n");
        }
        checker.on_report(2, &record(Phase::Restarting, phase), machine);
        broken(&checker)
    };
    let mut machine = machine();
    assert_eq!(report(AgentPhase::Applied, &machine, false), []);
    assert_eq!(report(AgentPhase::RolledBack, &machine, false), []);
    machine.plugin_stops();
    assert_eq!(report(AgentPhase::Applied, &machine, false), [Invariant::S12]);
    assert_eq!(report(AgentPhase::Applied, &machine, true), []);
    let gone = ByHand::Destroy { gpu: GPU.into(), place: place("1g.10gb", 4, 1), whole: false };
    machine.by_hand(&gone).expect("it is there");
    assert_eq!(report(AgentPhase::RolledBack, &machine, false), [Invariant::S8]);
    assert_eq!(report(AgentPhase::RolledBack, &machine, true), []);
}
