//! Changes of boards.

use super::*;
use crate::exec::port::{ClusterRequest, NodeRequest};

/// What is different in a scene.
type Change = fn(&mut Scene);

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
        let operation = record.spec.operation.clone().expect("as set up");
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
        self.record.as_mut().expect("as set up").spec.operation.as_mut().expect("as set up")
    }

    fn report(&mut self) -> &mut OperationReport {
        self.record.as_mut().expect("as set up").status.operation.as_mut().expect("as set up")
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
    let cases: [(&str, Change); 8] = [
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
    let orphan = |scene: &mut Scene| scene.record.as_mut().expect("as set up").spec.operation = None;
    assert_eq!(changed(Scene::destroy(), orphan), []);
    assert_eq!(changed(Scene::destroy(), |scene| scene.record = None), []);
    let cases: [(&str, Change, Invariant); 4] = [
        ("neighbour", |scene| scene.effect.place = place("3g.40gb", 0, 4), Invariant::S2),
        ("taint", |scene| scene.view = untainted(), Invariant::S3),
        ("boot", |scene| scene.store.boot_id = "boot-uid-n-2".into(), Invariant::S3),
        ("node", |scene| scene.store.intent.as_mut().expect("as set up").node_uid = "uid-other".into(), Invariant::S3),
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
            scene.record.as_mut().expect("as set up").spec.operation = None;
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
    let geometry = Catalogue::embedded().find_by_key("A100-80GB").expect("as set up");
    let board = &machine().boards[0];
    let mut placements: Vec<_> = board.placements().collect();
    let small = geometry.find("1g.10gb").expect("as set up");
    let mut checker = checker();
    checker.check_layout(1, board, placements.clone());
    assert_eq!(broken(&checker), []);
    placements.push(geometry.place(small, 0).expect("as set up"));
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
    checker.on_start("agent/");
    checker.on_look("agent/n", Look::Boards, true);
    checker.on_start("agent/n");
    scene.play(&mut checker);
    assert_eq!(broken(&checker), [Invariant::S19, Invariant::S19], "a new agent has seen nothing");
}

#[test]
fn requests_show_what_their_answers_carry() {
    let node = || "n".to_owned();
    assert_eq!(Look::of_cluster(&ClusterRequest::ListPods { node: node() }), Some(Look::Pods));
    assert_eq!(Look::of_cluster(&ClusterRequest::GetMigNode { node: node() }), Some(Look::Record));
    assert_eq!(Look::of_cluster(&ClusterRequest::Observe { fresh: true }), None);
    assert_eq!(Look::of_node(&NodeRequest::Occupants), Some(Look::Occupants));
    assert_eq!(Look::of_node(&NodeRequest::ReadStore), None);
}
