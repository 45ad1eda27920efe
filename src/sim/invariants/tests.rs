//! Every rule is broken once, and the checker says which. The same scene, unbroken, is accepted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::exec::port::{EvictionBody, Intent, Store};
use crate::exec::{
    AgentPhase, Ended, GpuTarget, MigNode, NodeView, Operation, OperationReport, Outcome, PROTOCOL, Phase, PodView,
    TAINT_KEY, Taint, Version, Victim,
};
use crate::model::{Catalogue, DisruptionLevel, Limit, Movability, PodRef, Reason};
use crate::plan::Place;
use crate::sim::node::{Action, ByHand, Effect, Holder, NodeConfig, SimNode};

const GPU: &str = "GPU-n-00";

fn place(profile: &str, start: u8, size: u8) -> Place {
    Place { start, size, profile: profile.into() }
}

fn pod(name: &str) -> PodRef {
    PodRef { namespace: "default".into(), name: name.into(), uid: format!("uid-{name}") }
}

fn id(name: &str) -> OperationId {
    OperationId(name.into())
}

fn checker() -> Checker {
    let mut policy = Policy::unlimited();
    policy.disruption = DisruptionLevel::Balanced;
    policy.budgets.nodes = Some(Limit::Count(2));
    policy.stability.gpu_cool_down_seconds = 600;
    policy.stability.pod_move_cap = Some(1);
    Checker::new(Limits::new(policy, &Timing::default()))
}

/// A node with `3g.40gb@0` and `1g.10gb@4`, its plugin serving.
fn machine() -> SimNode {
    let geometry = Catalogue::embedded().find_by_key("A100-80GB").unwrap();
    let mut machine = SimNode::new("n", "uid-n", &[Arc::clone(geometry)], NodeConfig::default());
    machine.lay_out(0, &[place("3g.40gb", 0, 4), place("1g.10gb", 4, 1)]).unwrap();
    machine.plugin_starts().unwrap();
    machine.plugin_registers();
    machine
}

fn operation(phase: Phase) -> Operation {
    let keeps = place("3g.40gb", 0, 4);
    Operation {
        id: id("op"),
        epoch: 5,
        protocol: PROTOCOL,
        node_uid: "uid-n".into(),
        gpus: vec![GpuTarget {
            uuid: GPU.into(),
            index: 0,
            base: vec![keeps.clone(), place("1g.10gb", 4, 1)],
            target: vec![keeps, place("3g.40gb", 4, 4)],
        }],
        steps: Vec::new(),
        victims: vec![Victim { pod: pod("victim"), placed_on: None }],
        beneficiaries: Vec::new(),
        residents: Vec::new(),
        phase,
        plugin: None,
        outcome: None,
        detail: String::new(),
    }
}

fn record(phase: Phase, agent: AgentPhase) -> MigNode {
    let mut record = MigNode { name: "n".into(), version: Version(7), ..MigNode::default() };
    record.spec.operation = Some(operation(phase));
    record.status.node_uid = "uid-n".into();
    record.status.boot_id = "boot-uid-n-1".into();
    record.status.operation = Some(OperationReport {
        id: id("op"),
        epoch: 5,
        boot_id: "boot-uid-n-1".into(),
        phase: agent,
        detail: String::new(),
    });
    record
}

fn view() -> NodeView {
    let taint = Taint { key: TAINT_KEY.into(), value: "op".into(), effect: "NoSchedule".into() };
    NodeView { name: "n".into(), uid: "uid-n".into(), ready: true, taints: vec![taint], ..NodeView::default() }
}

fn untainted() -> NodeView {
    NodeView { taints: Vec::new(), ..view() }
}

fn broken(checker: &Checker) -> Vec<Invariant> {
    checker.violations().iter().map(|violation| violation.invariant).collect()
}

/// An agent's effect and everything around it.
struct Scene {
    effect: Effect,
    board: SimNode,
    record: Option<MigNode>,
    view: NodeView,
    store: Store,
    process: u64,
    unseen: Option<Look>,
    failed: Option<Look>,
}

impl Scene {
    fn of(action: Action, place: Place) -> Self {
        let record = record(Phase::Drained, AgentPhase::Executing);
        let operation = record.spec.operation.clone().unwrap();
        let intent = Intent {
            id: operation.id,
            epoch: 5,
            node_uid: "uid-n".into(),
            boot_id: "boot-uid-n-1".into(),
            gpus: operation.gpus,
            neighbours: Vec::new(),
        };
        Self {
            effect: Effect { gpu: GPU.into(), place, action },
            board: machine(),
            record: Some(record),
            view: view(),
            store: Store { boot_id: "boot-uid-n-1".into(), intent: Some(intent), ..Store::default() },
            process: 1,
            unseen: None,
            failed: None,
        }
    }

    fn destroy() -> Self {
        let action = Action::DestroyComputeInstance { uuid: "MIG-n-00-2".into(), holders: Vec::new() };
        Self::of(action, place("1g.10gb", 4, 1))
    }

    fn create() -> Self {
        Self::of(Action::CreateGpuInstance { stale: Vec::new() }, place("3g.40gb", 4, 4))
    }

    fn operation(&mut self) -> &mut Operation {
        self.record.as_mut().unwrap().spec.operation.as_mut().unwrap()
    }

    fn report(&mut self) -> &mut OperationReport {
        self.record.as_mut().unwrap().status.operation.as_mut().unwrap()
    }

    fn play(&self, checker: &mut Checker) {
        for look in [Look::Record, Look::Node, Look::Pods, Look::Boards, Look::Occupants] {
            if self.unseen != Some(look) {
                checker.on_look("agent/n", look, self.failed != Some(look));
            }
        }
        let seen = SeenEffect {
            node: "n",
            node_uid: "uid-n",
            process: self.process,
            effect: &self.effect,
            board: &self.board.boards[0],
            record: self.record.as_ref(),
            view: Some(&self.view),
            store: &self.store,
        };
        checker.on_effect(1_000, &seen);
    }

    fn broken(&self) -> Vec<Invariant> {
        let mut checker = checker();
        self.play(&mut checker);
        broken(&checker)
    }
}

fn changed(mut scene: Scene, change: impl FnOnce(&mut Scene)) -> Vec<Invariant> {
    change(&mut scene);
    scene.broken()
}

fn container() -> Holder {
    Holder::Container { pod: pod("a"), container: "main".into(), opened: false }
}

#[test]
fn an_effect_of_the_operation_is_accepted() {
    assert_eq!(Scene::destroy().broken(), []);
    assert_eq!(Scene::create().broken(), []);
    assert_eq!(changed(Scene::destroy(), |scene| scene.operation().phase = Phase::Cancelling), []);
    assert_eq!(changed(Scene::destroy(), |scene| scene.effect.place = place("3g.40gb", 4, 4)), [], "rolls back");
}

#[test]
fn s1_a_held_instance_is_destroyed() {
    let held = Action::DestroyComputeInstance { uuid: "MIG-n-00-2".into(), holders: vec![container()] };
    assert_eq!(changed(Scene::destroy(), |scene| scene.effect.action = held), [Invariant::S1]);
}

#[test]
fn s2_a_neighbour_or_a_stranger_is_touched() {
    let neighbour = place("3g.40gb", 0, 4);
    assert_eq!(changed(Scene::destroy(), |scene| scene.effect.place = neighbour), [Invariant::S2]);
    assert_eq!(changed(Scene::destroy(), |scene| scene.effect.gpu = "GPU-n-01".into()), [Invariant::S2]);
    assert_eq!(changed(Scene::create(), |scene| scene.effect.place = place("1g.10gb", 6, 1)), [Invariant::S2]);
}

#[test]
fn s3_the_agent_acts_without_authority() {
    let cases: [(&str, fn(&mut Scene)); 8] = [
        ("phase", |scene| {
            scene.operation().phase = Phase::Draining;
        }),
        ("node", |scene| scene.operation().node_uid = "uid-other".into()),
        ("not accepted", |scene| scene.report().id = id("before")),
        ("epoch", |scene| scene.operation().epoch = 4),
        ("intent", |scene| scene.store.intent = None),
        ("boot", |scene| scene.store.boot_id = "boot-uid-n-2".into()),
        ("no taint", |scene| scene.view = untainted()),
        ("another's taint", |scene| scene.view.taints[0].value = "other".into()),
    ];
    for (case, change) in cases {
        assert_eq!(changed(Scene::destroy(), change), [Invariant::S3], "{case}");
    }
}

#[test]
fn s3_the_taint_may_go_while_the_agent_destroys_but_not_long_before() {
    for (gone_at, expected) in [(900, Vec::new()), (0, vec![Invariant::S3])] {
        let mut checker = checker();
        checker.limits.race = 500;
        checker.disturbed(gone_at, "n");
        let mut scene = Scene::destroy();
        scene.view = untainted();
        scene.play(&mut checker);
        assert_eq!(broken(&checker), expected);
    }
}

#[test]
fn an_intent_whose_operation_is_gone_is_brought_to_an_end_and_nothing_else() {
    let orphan = |scene: &mut Scene| scene.record.as_mut().unwrap().spec.operation = None;
    assert_eq!(changed(Scene::destroy(), orphan), []);
    assert_eq!(changed(Scene::destroy(), |scene| scene.record = None), []);
    let cases: [(&str, fn(&mut Scene), Invariant); 4] = [
        ("neighbour", |scene| scene.effect.place = place("3g.40gb", 0, 4), Invariant::S2),
        ("taint", |scene| scene.view = untainted(), Invariant::S3),
        ("boot", |scene| scene.store.boot_id = "boot-uid-n-2".into(), Invariant::S3),
        ("node", |scene| scene.store.intent.as_mut().unwrap().node_uid = "uid-other".into(), Invariant::S3),
    ];
    for (case, change, invariant) in cases {
        let broken = changed(Scene::destroy(), |scene| {
            orphan(scene);
            change(scene);
        });
        assert_eq!(broken, [invariant], "{case}");
    }
}

#[test]
fn lost_instances_are_made_again_without_an_operation_and_no_others() {
    let restored = |place: Place, spot: Place| {
        changed(Scene::of(Action::CreateGpuInstance { stale: Vec::new() }, spot), |scene| {
            scene.record.as_mut().unwrap().spec.operation = None;
            scene.store.intent = None;
            scene.store.applied = Some(BTreeMap::from([(GPU.to_owned(), vec![place])]));
        })
    };
    let small = place("1g.10gb", 6, 1);
    assert_eq!(restored(small.clone(), small.clone()), []);
    assert_eq!(restored(small, place("1g.10gb", 5, 1)), [Invariant::S3]);
}

#[test]
fn s4_a_former_agent_acts() {
    let mut checker = checker();
    for process in [1, 2, 1] {
        let mut scene = Scene::destroy();
        scene.process = process;
        scene.play(&mut checker);
    }
    assert_eq!(broken(&checker), [Invariant::S4]);
}

#[test]
fn s17_a_former_holder_is_left() {
    let action = Action::CreateGpuInstance { stale: vec![container()] };
    assert_eq!(changed(Scene::create(), |scene| scene.effect.action = action), [Invariant::S17]);
}

#[test]
fn s16_mig_mode_is_changed() {
    let mut checker = checker();
    checker.on_mig_mode(1, GPU, false);
    assert_eq!(broken(&checker), []);
    checker.on_mig_mode(1, GPU, true);
    assert_eq!(broken(&checker), [Invariant::S16]);
}

#[test]
fn s18_a_layout_that_the_board_does_not_allow() {
    let geometry = Catalogue::embedded().find_by_key("A100-80GB").unwrap();
    let board = &machine().boards[0];
    let mut placements: Vec<_> = board.placements().collect();
    let small = geometry.find("1g.10gb").unwrap();
    let mut checker = checker();
    checker.check_layout(1, board, placements.clone());
    assert_eq!(broken(&checker), []);
    placements.push(geometry.place(small, 0).unwrap());
    checker.check_layout(1, board, placements);
    assert_eq!(broken(&checker), [Invariant::S18]);
}

#[test]
fn s19_a_source_is_not_read_or_fails() {
    for look in [Look::Record, Look::Node, Look::Pods, Look::Boards, Look::Occupants] {
        assert_eq!(changed(Scene::destroy(), |scene| scene.unseen = Some(look)), [Invariant::S19], "{look:?}");
        assert_eq!(changed(Scene::destroy(), |scene| scene.failed = Some(look)), [Invariant::S19], "{look:?}");
    }
    let mut checker = checker();
    let mut scene = Scene::destroy();
    scene.play(&mut checker);
    scene.effect.action = Action::DestroyGpuInstance;
    scene.unseen = Some(Look::Boards);
    scene.play(&mut checker);
    assert_eq!(broken(&checker), [Invariant::S19], "what was seen before an effect is old after it");
    checker.on_look("agent/n", Look::Boards, true);
    checker.on_agent_start("n");
    scene.play(&mut checker);
    assert_eq!(broken(&checker), [Invariant::S19, Invariant::S19], "a new agent has seen nothing");
}

/// A write of the spec by us: from one record to the other, with this many other nodes not available.
fn spec_write(checker: &mut Checker, at: u64, before: &MigNode, after: &MigNode, pods: &[PodView], occupied: u64) {
    let fleet = FleetCount { managed: 10, occupied };
    checker.on_spec_write(at, &SeenSpecWrite { ours: true, based_on: before.version, before, after, pods, fleet });
}

fn written(before: &MigNode, after: &MigNode, pods: &[PodView]) -> Vec<Invariant> {
    let mut checker = checker();
    spec_write(&mut checker, 1, before, after, pods, 0);
    broken(&checker)
}

fn with_operation(change: impl FnOnce(&mut Operation)) -> MigNode {
    let mut record = record(Phase::Claimed, AgentPhase::Idle);
    change(record.spec.operation.as_mut().unwrap());
    record
}

fn without_operation() -> MigNode {
    let mut record = record(Phase::Claimed, AgentPhase::Idle);
    record.spec.operation = None;
    record
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
    let stale = SeenSpecWrite { ours: true, based_on: Version(6), before: &before, after: &after, pods: &[], fleet };
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
    back.status.operation.as_mut().unwrap().epoch = 4;
    let write = SeenStatusWrite { agent_of: Some("n"), based_on: Version(7), before: &seen, after: &back };
    checker.on_status_write(3, &write);
    assert_eq!(broken(&checker).len(), 3);
    checker.on_status_write(3, &SeenStatusWrite { based_on: Version(1), after: &seen, ..write });
    assert_eq!(broken(&checker).len(), 4);
    checker.on_status_write(3, &SeenStatusWrite { after: &seen, ..write });
    assert_eq!(broken(&checker).len(), 4);
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
            machine.by_hand(&create).unwrap();
        }),
        ("a GPU instance without a compute instance", |machine, _, _| {
            let create = ByHand::Create { gpu: GPU.into(), place: place("1g.10gb", 5, 1), compute: false };
            machine.by_hand(&create).unwrap();
        }),
        ("stale UUIDs in the same numbers", |machine, _, _| {
            let spot = place("1g.10gb", 4, 1);
            machine.by_hand(&ByHand::Destroy { gpu: GPU.into(), place: spot.clone(), whole: true }).unwrap();
            machine.by_hand(&ByHand::Create { gpu: GPU.into(), place: spot, compute: true }).unwrap();
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
                record.status.operation.as_mut().unwrap().phase = AgentPhase::Refused;
            },
            false,
        );
        assert_eq!(untouched, [], "the operation has changed nothing: {case}");
    }
}

fn view_of(name: &str) -> PodView {
    PodView {
        pod: pod(name),
        requests: BTreeMap::from([("nvidia.com/mig-1g.10gb".into(), 1)]),
        deleting: false,
        finished: false,
        ready: true,
        device_plugin: false,
        tolerates_taint: false,
        grace_seconds: 30,
        movability: Movability::From(DisruptionLevel::Balanced),
        budgets: vec![1],
    }
}

/// An eviction of `victim` and everything around it.
struct Eviction {
    body: EvictionBody,
    accepted: bool,
    pod: PodView,
    node: NodeView,
    operation: Operation,
    gains: Option<bool>,
    looks: bool,
}

impl Eviction {
    fn new() -> Self {
        Self {
            body: EvictionBody::of(&pod("victim")),
            accepted: true,
            pod: view_of("victim"),
            node: view(),
            operation: operation(Phase::Draining),
            gains: Some(true),
            looks: true,
        }
    }

    fn play(&self, checker: &mut Checker, at: u64) {
        if self.looks {
            for look in [Look::Record, Look::Node, Look::Pods] {
                checker.on_look("controller/n", look, true);
            }
        }
        let seen = SeenEviction {
            body: &self.body,
            accepted: self.accepted,
            pod: Some(&self.pod),
            work: Some("work"),
            node: Some(&self.node),
            operation: Some(&self.operation),
            gains: self.gains,
        };
        checker.on_evict(at, &seen);
    }
}

fn evicted(change: impl FnOnce(&mut Eviction)) -> Vec<Invariant> {
    let mut eviction = Eviction::new();
    change(&mut eviction);
    let mut checker = checker();
    eviction.play(&mut checker, 1);
    broken(&checker)
}

#[test]
fn evictions_break_the_rules_one_at_a_time() {
    let cases: [(&str, fn(&mut Eviction), &[Invariant]); 16] = [
        ("as planned", |_| {}, &[]),
        ("not pinned", |eviction| eviction.body.delete_options = None, &[Invariant::S6]),
        (
            "no victim",
            |eviction| {
                eviction.body = EvictionBody::of(&pod("other"));
                eviction.pod = view_of("other");
            },
            &[Invariant::S6],
        ),
        ("not draining", |eviction| eviction.operation.phase = Phase::Claimed, &[Invariant::S6]),
        ("no taint", |eviction| eviction.node = untainted(), &[Invariant::S6]),
        ("no gain", |eviction| eviction.gains = Some(false), &[Invariant::S7]),
        ("the budget is used up", |eviction| eviction.pod.budgets = vec![0], &[Invariant::S9]),
        (
            "the budget does not count a pod that is not ready",
            |eviction| {
                eviction.pod.budgets = vec![0];
                eviction.pod.ready = false;
            },
            &[],
        ),
        (
            "refused",
            |eviction| {
                eviction.pod.budgets = vec![0];
                eviction.accepted = false;
            },
            &[],
        ),
        (
            "a higher level",
            |eviction| {
                eviction.pod.movability = Movability::From(DisruptionLevel::Aggressive);
            },
            &[Invariant::S10],
        ),
        (
            "protected",
            |eviction| {
                eviction.pod.movability = Movability::Never(Reason::Unsatisfiable, String::new());
            },
            &[Invariant::S10],
        ),
        ("the device plugin", |eviction| eviction.pod.device_plugin = true, &[Invariant::S10]),
        ("tolerates", |eviction| eviction.pod.tolerates_taint = true, &[Invariant::S10]),
        ("takes too long to end", |eviction| eviction.pod.grace_seconds = 601, &[Invariant::S10]),
        ("no look", |eviction| eviction.looks = false, &[Invariant::S19]),
        (
            "the pod is another one by now",
            |eviction| {
                eviction.pod.pod.uid = "uid-successor".into();
                eviction.accepted = false;
            },
            &[],
        ),
    ];
    for (case, change, expected) in cases {
        assert_eq!(evicted(change), expected, "{case}");
    }
}

#[test]
fn what_changed_a_moment_ago_is_not_held_against_an_eviction() {
    for (at, expected) in [(1_000, 0), (100_000, 1)] {
        let mut checker = checker();
        checker.disturbed(500, "uid-victim");
        let mut eviction = Eviction::new();
        eviction.pod.movability = Movability::Never(Reason::Unsatisfiable, String::new());
        eviction.play(&mut checker, at);
        assert_eq!(broken(&checker), vec![Invariant::S10; expected]);
    }
}

#[test]
fn l8_work_is_evicted_too_often() {
    let mut checker = checker();
    Eviction::new().play(&mut checker, 1);
    Eviction::new().play(&mut checker, 6 * 3_600_000 + 1);
    assert_eq!(broken(&checker), []);
    Eviction::new().play(&mut checker, 6 * 3_600_000 + 2);
    assert_eq!(broken(&checker), [Invariant::L8]);
}

#[test]
fn pods_are_deleted() {
    let plugin = PodView { device_plugin: true, ..view_of("plugin") };
    let mut restarting = operation(Phase::Restarting);
    restarting.plugin = Some(pod("plugin"));
    let successor = PodView { pod: PodRef { uid: "uid-successor".into(), ..pod("plugin") }, ..plugin.clone() };
    let cases = [
        ("the plugin", &plugin, Some(&restarting), vec![]),
        ("its successor", &successor, Some(&restarting), vec![Invariant::S6]),
        ("a user's pod", &view_of("plugin"), Some(&restarting), vec![Invariant::S6]),
        ("by nobody", &plugin, None, vec![Invariant::S3]),
        ("too early", &plugin, Some(&operation(Phase::Drained)), vec![Invariant::S3]),
    ];
    for (case, pod_view, operation, expected) in cases {
        let mut checker = checker();
        let asked = pod("plugin");
        checker.on_delete(1, &SeenDeletion { asked: &asked, pod: Some(pod_view), node: "n", operation });
        assert_eq!(broken(&checker), expected, "{case}");
    }
}

#[test]
fn s8_an_operation_loses_pods_or_capacity() {
    let census = |running: &[(i32, u64)], small: u64| Census {
        running: running.iter().copied().collect(),
        capacity: BTreeMap::from([("1g.10gb".to_owned(), small)]),
    };
    let before = census(&[(0, 3), (10, 1)], 2);
    let cases = [
        (Outcome::Done, census(&[(0, 3), (10, 1)], 0), Some(0), 0),
        (Outcome::Done, census(&[(0, 2), (10, 2)], 0), Some(0), 0),
        (Outcome::Done, census(&[(0, 2), (10, 1)], 2), Some(0), 1),
        (Outcome::Done, census(&[(0, 2), (10, 1)], 2), Some(10), 0),
        (Outcome::Done, census(&[(0, 9)], 2), Some(10), 1),
        (Outcome::Done, census(&[(0, 2), (10, 1)], 2), None, 1),
        (Outcome::RolledBack, census(&[(10, 1)], 2), Some(0), 0),
        (Outcome::RolledBack, census(&[(0, 3), (10, 1)], 1), Some(0), 1),
        (Outcome::Aborted, Census::default(), Some(0), 1),
        (Outcome::Degraded, Census::default(), Some(0), 0),
    ];
    for (outcome, after, lowest, expected) in cases {
        let mut checker = checker();
        let operation = id("op");
        let seen = SeenEnd { node: "n", operation: &operation, outcome, lowest, before: &before, after: &after };
        checker.on_end(1, &seen);
        assert_eq!(broken(&checker), vec![Invariant::S8; expected], "{outcome:?} {lowest:?} {after:?}");
    }
}

fn quiet(nodes: &[QuietNode<'_>], proposed: &[String]) -> Vec<Invariant> {
    let mut checker = checker();
    checker.quiesced(1, &Quiet { nodes, proposed });
    broken(&checker)
}

#[test]
fn in_the_end_nothing_is_left() {
    let (clean, tainted) = (untainted(), view());
    let (idle, stuck) = (without_operation(), record(Phase::Draining, AgentPhase::Idle));
    let degraded = record(Phase::Degraded, AgentPhase::Degraded);
    let node = QuietNode { view: &clean, record: Some(&idle), sound: true, rest: 0, failures: 0, succeeded: true };
    let bad = QuietNode { view: &tainted, record: Some(&degraded), sound: false, ..node };
    let name = ["n".to_owned()];
    let other = NodeView { name: "m".into(), ..clean.clone() };
    let sound = QuietNode { view: &other, ..node };
    let cases: [(&str, Vec<QuietNode<'_>>, &[String], &[Invariant]); 10] = [
        ("clean", vec![node, sound], &[], &[]),
        ("it would pay", vec![node], &name, &[Invariant::L1]),
        ("a taint", vec![QuietNode { view: &tainted, ..node }], &[], &[Invariant::L2]),
        ("an operation", vec![QuietNode { record: Some(&stuck), ..node }], &[], &[Invariant::L3]),
        ("degraded", vec![bad, sound], &[], &[]),
        ("it would pay on the bad node only", vec![bad], &name, &[]),
        ("it would pay on a sound node beside a bad one", vec![bad, sound], &["m".to_owned()], &[Invariant::L4]),
        ("rests for ever", vec![QuietNode { rest: u64::MAX, ..node }], &[], &[Invariant::L7]),
        ("counts failures after a success", vec![QuietNode { failures: 1, ..node }], &[], &[Invariant::L7]),
        ("repaired", vec![QuietNode { sound: true, ..bad }], &[], &[Invariant::L10]),
    ];
    for (case, nodes, proposed, expected) in cases {
        assert_eq!(quiet(&nodes, proposed), expected, "{case}");
    }
}

#[test]
fn a_violation_names_the_rule_in_words() {
    let mut checker = checker();
    checker.on_mig_mode(42, GPU, true);
    let text = checker.violations()[0].to_string();
    assert!(text.starts_with("S16 (MIG mode is never changed) at 42 ms, GPU-n-00"), "{text}");
    for _ in 0..200 {
        checker.on_mig_mode(42, GPU, true);
    }
    assert_eq!(checker.violations().len(), 100);
    assert!(Invariant::ALL.iter().all(|invariant| !invariant.text().is_empty()));
}
