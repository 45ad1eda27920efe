//! The committed plans: what each does, what is wrong with it, and what must be said of it.

use retile::model::{DisruptionLevel, GainFactor, Limit, PlanningInput, Reason, Weight};
use retile::plan::{Plan, PlannedInstance, ServedBy, Status, Violation, fill_in_steps};

use crate::document::{Change, Deeds, count, left_out, served, write};
use crate::world::World;

/// A plan that passes.
pub struct Valid {
    pub name: &'static str,
    pub input: PlanningInput,
    pub plan: Plan,
}

/// A plan that does not.
pub struct Invalid {
    pub name: &'static str,
    pub input: PlanningInput,
    pub plan: Plan,
    /// Whether a violation is the one that the case is about.
    pub reason: fn(&Violation) -> bool,
    /// What the message must name.
    pub says: &'static str,
}

/// Recuts gpu-a 0 for ml/four; both pods on it land elsewhere.
const RECUT: Change<'static> = ("gpu-a", 0, &[0, 1, 2, 3], &[("4g.40gb", 0, 4), ("1g.10gb", 4, 1)]);
const MOVES: Deeds<'static> = Deeds {
    changes: &[RECUT],
    hand_over: &[],
    evict: &[("gpu-a", "ml/web-0", Some("gpu-b")), ("gpu-a", "ml/web-2", Some("gpu-a"))],
    served: &[("ml/big", "gpu-b"), ("ml/four", "gpu-a"), ("ml/pair", "gpu-b")],
};
const NOTHING: Deeds<'static> = Deeds { changes: &[], hand_over: &[], evict: &[], served: &[] };
const IDLE: Deeds<'static> = Deeds { served: &[("ml/big", "gpu-b"), ("ml/pair", "gpu-b")], ..NOTHING };
/// Hands over what ml/web-0 holds; it takes a free instance of the node instead.
const HANDS_OVER: Deeds<'static> = Deeds {
    changes: &[("gpu-a", 0, &[], &[])],
    hand_over: &[("gpu-a", 0, &[0])],
    evict: &[("gpu-a", "ml/web-0", Some("gpu-a"))],
    ..IDLE
};
const SEVEN: &[u8] = &[0, 1, 2, 3, 4, 5, 6];
const THREE_TWOS: &[(&str, u8, u8)] = &[("2g.20gb", 0, 2), ("2g.20gb", 2, 2), ("2g.20gb", 4, 2)];

pub fn valid() -> Vec<Valid> {
    let case = |name, world: &World, deeds: &Deeds<'_>, edit: fn(&mut Plan)| {
        let input = world.build();
        let mut plan = write(&input, deeds);
        fill_in_steps(&mut plan, &input).expect("the layouts are legal");
        edit(&mut plan);
        Valid { name, input, plan }
    };
    let (balanced, aggressive) = (World::default(), World::at(DisruptionLevel::Aggressive));
    let mut of_pods = World::default();
    of_pods.policy.weight = Weight::Pods;
    let displaced = Deeds {
        changes: &[("gpu-b", 0, &[0, 4], &[("7g.80gb", 0, 8)])],
        evict: &[("gpu-b", "ml/batch", None)],
        served: &[("ml/pair", "gpu-b"), ("ml/seven", "gpu-b")],
        ..NOTHING
    };
    let handed_over = Deeds {
        changes: &[("gpu-b", 0, &[], &[])],
        hand_over: &[("gpu-b", 0, &[0])],
        evict: &[("gpu-b", "ml/batch", None)],
        served: &[("ml/big", "gpu-b"), ("ml/four", "gpu-b"), ("ml/pair", "gpu-b")],
    };
    let single = Deeds { changes: &[("gpu-c", 0, SEVEN, THREE_TWOS), ("gpu-c", 1, SEVEN, THREE_TWOS)], ..IDLE };
    let two_instances = Deeds {
        changes: &[("gpu-a", 1, &[5], &[])],
        evict: &[("gpu-a", "ml/duo", Some("gpu-a"))],
        served: &[("ml/big", "gpu-b"), ("ml/pair", "gpu-b")],
        ..NOTHING
    };
    vec![
        case("moves", &balanced, &MOVES, |_| {}),
        case("nothing-changes", &World::at(DisruptionLevel::IdleOnly), &IDLE, |_| {}),
        case("displaces", &aggressive, &displaced, |_| {}),
        case("hands-over", &aggressive, &handed_over, |_| {}),
        case("hands-over-on-the-same-node", &balanced, &HANDS_OVER, |_| {}),
        case("single-strategy", &balanced, &single, |_| {}),
        case("pod-with-two-instances", &balanced, &two_instances, |_| {}),
        case("weighs-pods", &of_pods, &MOVES, |_| {}),
        case("feasible", &balanced, &MOVES, |plan| {
            plan.optimality.status = Status::Feasible;
            plan.optimality.levels[1].bound -= 1;
            plan.optimality.levels[5].bound += 7;
        }),
    ]
}

pub fn invalid() -> Vec<Invalid> {
    [
        head(),
        lists(),
        changes(),
        hand_overs(),
        layouts(),
        single(),
        pods(),
        landing(),
        budgets(),
        waiting(),
        numbers(),
        steps(),
        told(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A case that is wrong in what it does.
fn does(
    name: &'static str,
    world: &World,
    deeds: &Deeds<'_>,
    reason: fn(&Violation) -> bool,
    says: &'static str,
) -> Invalid {
    let input = world.build();
    let plan = write(&input, deeds);
    Invalid { name, input, plan, reason, says }
}

/// A case that is wrong in what it says: a valid plan, edited. The numbers are counted again after the edit.
fn edited(
    name: &'static str,
    deeds: &Deeds<'_>,
    edit: fn(&mut Plan),
    reason: fn(&Violation) -> bool,
    says: &'static str,
) -> Invalid {
    let mut case = does(name, &World::default(), deeds, reason, says);
    edit(&mut case.plan);
    count(&mut case.plan, &case.input);
    case
}

/// A case with a wrong number: as [`edited`], but nothing is counted again.
fn miscounted(name: &'static str, edit: fn(&mut Plan), reason: fn(&Violation) -> bool, says: &'static str) -> Invalid {
    let mut case = does(name, &World::default(), &MOVES, reason, says);
    edit(&mut case.plan);
    case
}

macro_rules! is {
    ($variant:ident) => {
        |violation| matches!(violation, Violation::$variant { .. })
    };
}

fn head() -> Vec<Invalid> {
    vec![
        miscounted("format-version", |plan| plan.format_version = 2, is!(FormatVersion), "format_version is 2"),
        miscounted("fingerprint", |plan| plan.input_fingerprint = "0".repeat(64), is!(Fingerprint), "another state"),
        miscounted("weight", |plan| plan.weight = Weight::Pods, is!(Weight), "weight is Pods"),
        miscounted("disruption-level", |plan| plan.disruption = "aggressive".into(), is!(Disruption), "`balanced`"),
    ]
}

fn lists() -> Vec<Invalid> {
    let both = Deeds { changes: &[RECUT, ("gpu-b", 2, &[], &[("1g.6gb", 0, 1)])], ..MOVES };
    vec![
        edited("order-of-nodes", &both, |plan| plan.nodes.swap(0, 1), is!(Order), "nodes: `gpu-a`"),
        edited("order-of-evictions", &MOVES, |p| p.nodes[0].evict.swap(0, 1), is!(Order), "nodes[gpu-a].evict"),
        edited("order-of-instances", &MOVES, |p| p.nodes[0].gpus[0].after.swap(0, 1), is!(Order), ".gpus[0].after"),
        edited("served-twice", &MOVES, |p| p.served.insert(0, p.served[0].clone()), is!(Order), "served: `ml/big`"),
        edited(
            "gpu-twice",
            &MOVES,
            |plan| {
                let again = plan.nodes[0].gpus[0].clone();
                plan.nodes[0].gpus.push(again);
            },
            is!(Order),
            "nodes[gpu-a].gpus: `GPU 0`",
        ),
    ]
}

fn changes() -> Vec<Invalid> {
    let two_instances = Deeds {
        changes: &[("gpu-a", 1, &[5], &[])],
        evict: &[("gpu-a", "ml/duo", Some("gpu-a"))],
        served: &[("ml/big", "gpu-b")],
        hand_over: &[],
    };
    let untouched = Deeds { changes: &[("gpu-b", 0, &[], &[])], ..IDLE };
    let recreated = Deeds { changes: &[("gpu-a", 0, &[2], &[("1g.10gb", 2, 1)])], ..IDLE };
    let unknown_profile = Deeds { changes: &[("gpu-a", 0, &[], &[("1g.99gb", 4, 1)])], ..IDLE };
    vec![
        edited(
            "unknown-node",
            &MOVES,
            |plan| {
                let mut node = plan.nodes[0].clone();
                "gpu-x".clone_into(&mut node.name);
                node.evict.clear();
                plan.nodes.push(node);
            },
            is!(UnknownNode),
            "nodes names the node gpu-x",
        ),
        edited(
            "unknown-gpu",
            &MOVES,
            |plan| {
                let mut gpu = plan.nodes[0].gpus[0].clone();
                gpu.index = 7;
                plan.nodes[0].gpus.push(gpu);
            },
            is!(UnknownGpu),
            "GPU 7",
        ),
        edited("gpu-uuid", &MOVES, |p| p.nodes[0].gpus[0].uuid = "GPU-other".into(), is!(Identity), "GPU-gpu-a-0"),
        edited("gpu-model", &MOVES, |p| p.nodes[0].gpus[0].model = "NVIDIA A30".into(), is!(Identity), "model is"),
        does("gpu-without-change", &World::default(), &untouched, is!(NoChange), "nodes[gpu-b].gpus[0]"),
        edited(
            "node-without-change",
            &MOVES,
            |plan| {
                let mut node = plan.nodes[0].clone();
                (node.name, node.gpus, node.evict) = ("gpu-b".to_owned(), Vec::new(), Vec::new());
                plan.nodes.push(node);
            },
            is!(NoChange),
            "nodes[gpu-b]",
        ),
        edited(
            "before-other-holder",
            &MOVES,
            |p| p.nodes[0].gpus[0].before[2].pods = vec!["ml/other".into()],
            is!(Before),
            "1g.10gb@2:1 (ml/other)",
        ),
        edited("before-incomplete", &MOVES, |p| drop(p.nodes[0].gpus[0].before.pop()), is!(Before), "1g.10gb@3:1"),
        edited("after-incomplete", &MOVES, |p| drop(p.nodes[0].gpus[0].after.pop()), is!(After), "1g.10gb@4:1"),
        edited(
            "after-evicted-pod-stays",
            &two_instances,
            |p| p.nodes[0].gpus[0].after[2].pods = vec!["ml/duo".into()],
            is!(Staying),
            "[ml/duo] stay on 1g.10gb@6:1",
        ),
        edited(
            "destroys-absent",
            &MOVES,
            |plan| plan.nodes[0].gpus[0].destroy.push(free("1g.10gb", 6, 1)),
            is!(DestroysAbsent),
            "1g.10gb@6:1",
        ),
        does("recreates", &World::default(), &recreated, is!(Recreates), "1g.10gb@2:1"),
        edited(
            "destroys-unmentioned-holder",
            &MOVES,
            |plan| plan.nodes[0].gpus[0].destroy[1].pods.clear(),
            is!(Holders),
            "ml/web-2",
        ),
        edited(
            "creates-held",
            &MOVES,
            |plan| plan.nodes[0].gpus[0].create[0].pods.push("ml/four".into()),
            is!(Holders),
            "create says that [ml/four]",
        ),
        does("unknown-profile", &World::default(), &unknown_profile, is!(UnknownProfile), "no profile 1g.99gb"),
    ]
}

fn hand_overs() -> Vec<Invalid> {
    let case = |name, handed: (&'static str, u32, &'static [u8]), evict, reason, says| {
        let (node, index, _) = handed;
        let (changes, hand_over) = ([(node, index, &[][..], &[][..])], [handed]);
        does(name, &World::default(), &Deeds { changes: &changes, hand_over: &hand_over, evict, ..IDLE }, reason, says)
    };
    let taken_again = Deeds {
        changes: &[("gpu-b", 0, &[], &[])],
        hand_over: &[("gpu-b", 0, &[0])],
        evict: &[("gpu-b", "ml/batch", Some("gpu-b"))],
        served: &[("ml/big", "gpu-b"), ("ml/four", "gpu-b"), ("ml/pair", "gpu-b")],
    };
    vec![
        edited(
            "hands-over-absent",
            &HANDS_OVER,
            |plan| plan.nodes[0].gpus[0].hand_over.push(free("1g.10gb", 6, 1)),
            is!(HandsOverAbsent),
            "1g.10gb@6:1",
        ),
        edited(
            "hands-over-what-it-destroys",
            &MOVES,
            |plan| {
                let gpu = &mut plan.nodes[0].gpus[0];
                gpu.hand_over.push(gpu.destroy[0].clone());
            },
            is!(HandsOverDestroyed),
            "1g.10gb@0:1",
        ),
        case("hands-over-free", ("gpu-a", 0, &[2]), &[], is!(HandsOverUnheld), "1g.10gb@2:1"),
        case("hands-over-unknown", ("gpu-a", 1, &[4]), &[], is!(HandsOverUnheld), "1g.10gb@4:1"),
        case("hands-over-without-eviction", ("gpu-a", 0, &[0]), &[], is!(NotEvicted), "ml/web-0 holds 1g.10gb@0:1"),
        case(
            "hands-over-on-single",
            ("gpu-d", 0, &[0]),
            &[("gpu-d", "ml/notebook", Some("gpu-c"))],
            is!(SingleStrategy),
            "is held by a pod",
        ),
        edited(
            "hands-over-unmentioned-holder",
            &HANDS_OVER,
            |plan| plan.nodes[0].gpus[0].hand_over[0].pods.clear(),
            is!(Holders),
            "hand_over says that []",
        ),
        edited(
            "handed-over-pod-stays",
            &HANDS_OVER,
            |plan| plan.nodes[0].gpus[0].after[0].pods = vec!["ml/web-0".into()],
            is!(Staying),
            "[ml/web-0] stay on 1g.10gb@0:1",
        ),
        edited(
            "evicts-without-hand-over",
            &HANDS_OVER,
            |plan| {
                let recut = ("gpu-a", 0, &[3][..], &[][..]);
                let without = Deeds { changes: &[recut], hand_over: &[], ..HANDS_OVER };
                plan.nodes = write(&World::default().build(), &without).nodes;
            },
            is!(NeedlessEviction),
            "ml/web-0",
        ),
        does(
            "handed-over-is-taken-again",
            &World::at(DisruptionLevel::Aggressive),
            &taken_again,
            is!(Supply),
            "2 of nvidia.com/mig-4g.40gb",
        ),
    ]
}

fn free(profile: &str, start: u8, size: u8) -> PlannedInstance {
    PlannedInstance { start, size, profile: profile.to_owned(), pods: Vec::new(), occupancy_unknown: false }
}

fn layouts() -> Vec<Invalid> {
    let nine: Vec<(&str, u8, u8)> = (0..9).map(|start| ("1g.1gb", start, 1)).collect();
    let three = [("1g.2gb", 0, 1), ("1g.2gb", 1, 1), ("1g.2gb", 2, 1)];
    let case = |name, change: Change<'_>, reason, says| {
        does(name, &World::default(), &Deeds { changes: &[change], ..IDLE }, reason, says)
    };
    vec![
        case("illegal-start", ("gpu-a", 0, &[], &[("1g.20gb", 5, 2)]), is!(Place), "[0, 2, 4, 6]"),
        case("illegal-size", ("gpu-a", 0, &[], &[("1g.20gb", 6, 1)]), is!(Place), "1g.20gb has 2 slots"),
        case("overlap", ("gpu-a", 1, &[], &[("1g.20gb", 6, 2)]), is!(Overlap), "1g.10gb@6:1 and 1g.20gb@6:2"),
        case("too-many-of-a-profile", ("gpu-b", 3, &[], &three), is!(TooManyOfProfile), "3 instances of 1g.2gb"),
        case("too-many-instances", ("gpu-b", 3, &[], &nine), is!(TooManyInstances), "9 instances, a GPU takes 8"),
        case(
            "media-engines",
            ("gpu-b", 2, &[], &[("1g.6gb+me", 0, 1), ("2g.12gb+me", 2, 2)]),
            is!(Media),
            "2g.12gb+me@2:2",
        ),
        case("frozen", ("gpu-b", 1, &[4], &[]), is!(Frozen), "CoolingDown"),
        case("destroys-unknown", ("gpu-a", 1, &[4], &[]), is!(DestroysUnknown), "1g.10gb@4:1"),
    ]
}

fn single() -> Vec<Invalid> {
    const TWO_TWOS: &[(&str, u8, u8)] = &[("2g.20gb", 0, 2), ("2g.20gb", 2, 2)];
    const MIXED: &[(&str, u8, u8)] = &[("4g.40gb", 0, 4), ("2g.20gb", 4, 2)];
    let case = |name, changes: &[Change<'_>], says| {
        does(name, &World::default(), &Deeds { changes, ..IDLE }, is!(SingleStrategy), says)
    };
    let held = Deeds {
        changes: &[("gpu-d", 0, SEVEN, THREE_TWOS)],
        evict: &[("gpu-d", "ml/notebook", Some("gpu-c"))],
        ..IDLE
    };
    vec![
        case("single-not-alike", &[("gpu-c", 0, SEVEN, THREE_TWOS)], "into 1g.10gb, another one into 2g.20gb"),
        case("single-mixed", &[("gpu-c", 0, SEVEN, MIXED), ("gpu-c", 1, SEVEN, MIXED)], "4g.40gb and 2g.20gb@4:2"),
        case(
            "single-not-full",
            &[("gpu-c", 0, SEVEN, TWO_TWOS), ("gpu-c", 1, SEVEN, TWO_TWOS)],
            "2 instances of 2g.20gb, 3 fit",
        ),
        case("single-beside-frozen", &[("gpu-e", 0, &[6], &[])], "GPU 1 must not be changed"),
        does("single-held", &World::default(), &held, is!(SingleStrategy), "is held by a pod"),
    ]
}

fn pods() -> Vec<Invalid> {
    let protected = Deeds {
        changes: &[("gpu-a", 1, &[0], &[])],
        evict: &[("gpu-a", "ml/train", Some("gpu-b"))],
        served: &[("ml/pair", "gpu-b")],
        ..NOTHING
    };
    let nowhere = Deeds { evict: &[("gpu-a", "ml/web-0", None), ("gpu-a", "ml/web-2", Some("gpu-a"))], ..MOVES };
    let high = Deeds { changes: &[("gpu-a", 1, &[5, 6], &[])], evict: &[("gpu-a", "ml/duo", None)], ..IDLE };
    let elsewhere = Deeds {
        changes: &[RECUT, ("gpu-b", 2, &[], &[("1g.6gb", 0, 1)])],
        evict: &[("gpu-a", "ml/web-2", Some("gpu-a")), ("gpu-b", "ml/web-0", Some("gpu-b"))],
        ..MOVES
    };
    let twice = Deeds {
        evict: &[
            ("gpu-a", "ml/web-0", Some("gpu-b")),
            ("gpu-a", "ml/web-2", Some("gpu-a")),
            ("gpu-b", "ml/web-0", Some("gpu-b")),
        ],
        ..elsewhere.clone()
    };
    let needless = Deeds {
        evict: &[
            ("gpu-a", "ml/duo", Some("gpu-a")),
            ("gpu-a", "ml/web-0", Some("gpu-b")),
            ("gpu-a", "ml/web-2", Some("gpu-a")),
        ],
        ..MOVES
    };
    let ghost = Deeds {
        evict: &[
            ("gpu-a", "ml/ghost", None),
            ("gpu-a", "ml/web-0", Some("gpu-b")),
            ("gpu-a", "ml/web-2", Some("gpu-a")),
        ],
        ..MOVES
    };
    let world = World::default();
    vec![
        does("moves-protected-pod", &world, &protected, is!(NotMovable), "ml/train"),
        edited("holder-not-evicted", &MOVES, |p| drop(p.nodes[0].evict.pop()), is!(NotEvicted), "ml/web-2 holds"),
        does("needless-eviction", &world, &needless, is!(NeedlessEviction), "ml/duo"),
        does("evicts-unknown-pod", &world, &ghost, is!(EvictsUnknown), "ml/ghost"),
        does("evicted-from-another-node", &world, &elsewhere, is!(EvictedElsewhere), "runs on gpu-a"),
        does("evicted-twice", &world, &twice, is!(EvictedTwice), "nodes[gpu-b].evict names ml/web-0"),
        edited("evicts-successor", &MOVES, |p| p.nodes[0].evict[0].uid = "uid-new".into(), is!(Uid), "uid-web-0"),
        does("displaces-at-balanced", &world, &nowhere, is!(Displaced), "only `aggressive`"),
        does(
            "displaces-higher-priority",
            &World::at(DisruptionLevel::Aggressive),
            &high,
            is!(Displaced),
            "no waiting pod of higher priority",
        ),
    ]
}

fn landing() -> Vec<Invalid> {
    let case = |name, served, reason, says| does(name, &World::default(), &Deeds { served, ..NOTHING }, reason, says);
    let no_room =
        Deeds { evict: &[("gpu-a", "ml/web-0", Some("gpu-a")), ("gpu-a", "ml/web-2", Some("gpu-a"))], ..MOVES };
    vec![
        case("lands-where-it-cannot", &[("ml/pair", "gpu-a")], is!(NotEligible), "ml/pair on gpu-a"),
        case("lands-without-supply", &[("ml/big", "gpu-a")], is!(Supply), "1 of nvidia.com/mig-3g.40gb"),
        does("evicted-pods-share-an-instance", &World::default(), &no_room, is!(Supply), "2 of nvidia.com/mig-1g.10gb"),
        case("lands-on-unknown-node", &[("ml/big", "gpu-x")], is!(UnknownNode), "served[ml/big] names the node gpu-x"),
        does("lands-without-cpu", &World { cpu: 2999, ..World::default() }, &MOVES, is!(Capacity), "3000 of CPU"),
    ]
}

fn budgets() -> Vec<Invalid> {
    let case = |name, set: fn(&mut World), reason, says| {
        let mut world = World::default();
        set(&mut world);
        does(name, &world, &MOVES, reason, says)
    };
    vec![
        case("pod-disruption-budget", |w| w.web_budget = 1, is!(DisruptionBudget), "ml/web: 2 pods"),
        case("node-budget", |w| w.policy.budgets.nodes = Some(Limit::Count(0)), is!(NodeBudget), "1 nodes"),
        case("gpu-budget", |w| w.policy.budgets.gpus = Some(Limit::Percent(0)), is!(GpuBudget), "1 GPUs"),
        case("eviction-budget", |w| w.policy.budgets.evictions = Some(1), is!(EvictionBudget), "2 pods"),
        case(
            "gain-factor",
            |w| w.policy.gain_factor = GainFactor::from_thousandths(6001),
            is!(Gain),
            "weighs 12, the moves cost 2",
        ),
    ]
}

fn waiting() -> Vec<Invalid> {
    let input = World::default().build();
    let gang = served(&input, "ml/gang", "gpu-b");
    let zombie = served(&input, "ml/zombie", "gpu-b");
    let mut cases = vec![
        edited("serves-successor", &MOVES, |p| p.served[0].uid = "uid-new".into(), is!(Uid), "served[ml/big]"),
        edited(
            "unserved-unknown-pod",
            &MOVES,
            |plan| plan.unserved.push(left_out("ml/zombie")),
            is!(UnservedUnknown),
            "ml/zombie",
        ),
        edited(
            "served-and-unserved",
            &MOVES,
            |plan| plan.unserved.insert(0, left_out("ml/big")),
            is!(ServedAndUnserved),
            "ml/big",
        ),
        edited("forgotten", &MOVES, |plan| drop(plan.unserved.pop()), is!(Forgotten), "ml/seven waits"),
        edited("forgotten-unplannable", &MOVES, |plan| drop(plan.unserved.remove(0)), is!(Forgotten), "ml/gang waits"),
    ];
    let mut unplannable = does("serves-unplannable", &World::default(), &MOVES, is!(ServesUnplannable), "NotModelled");
    unplannable.plan.served.insert(2, gang);
    unplannable.plan.unserved.remove(0);
    let mut unknown = does("serves-unknown-pod", &World::default(), &MOVES, is!(ServesUnknown), "ml/zombie");
    unknown.plan.served.push(zombie);
    for mut case in [unplannable, unknown] {
        count(&mut case.plan, &case.input);
        cases.push(case);
    }
    cases
}

fn numbers() -> Vec<Invalid> {
    fn both(plan: &mut Plan, level: usize, by: i64) {
        let level = &mut plan.optimality.levels[level];
        level.value += by;
        level.bound += by;
    }
    vec![
        miscounted("summary-pending", |p| p.summary.pending_pods = 4, is!(Summary), "summary.pending_pods is 4"),
        miscounted("summary-served", |p| p.summary.served_pods += 1, is!(Summary), "served_pods"),
        miscounted("summary-slices", |p| p.summary.served_slices += 1, is!(Summary), "served_slices"),
        miscounted("summary-evicted", |p| p.summary.evicted_pods = 0, is!(Summary), "evicted_pods is 0"),
        miscounted("summary-nodes", |p| p.summary.nodes_changed = 2, is!(Summary), "nodes_changed"),
        miscounted("summary-gpus", |p| p.summary.gpus_changed = 2, is!(Summary), "gpus_changed"),
        miscounted("summary-destroyed", |p| p.summary.instances_destroyed = 2, is!(Summary), "instances_destroyed"),
        miscounted("summary-created", |p| p.summary.instances_created = 9, is!(Summary), "instances_created"),
        miscounted("summary-assumed", |p| p.summary.placements_assumed = true, is!(Summary), "placements_assumed"),
        miscounted("levels", |p| p.optimality.levels.swap(2, 3), is!(Levels), "gpus_touched, nodes_touched"),
        miscounted("value-served", |p| both(p, 0, 1), is!(Value), "levels[served].value is 13"),
        miscounted("value-disruption", |p| both(p, 1, -1), is!(Value), "levels[disruption].value is 1"),
        miscounted("value-nodes-touched", |p| both(p, 2, -1), is!(Value), "levels[nodes_touched].value is 0"),
        miscounted("value-gpus-touched", |p| both(p, 3, 1), is!(Value), "levels[gpus_touched].value is 2"),
        miscounted("value-instance-changes", |p| both(p, 4, 1), is!(Value), "computed from the plan it is 6"),
        miscounted("value-flexibility", |p| both(p, 5, 1), is!(Value), "levels[flexibility]"),
        miscounted("value-free-gpus", |p| both(p, 6, 1), is!(Value), "levels[free_gpus]"),
        miscounted("value-free-nodes", |p| both(p, 7, 1), is!(Value), "levels[free_nodes]"),
        miscounted("tiers", |p| p.optimality.levels[0].tiers.truncate(1), is!(Tiers), "[10, 0]"),
        miscounted(
            "tier-value",
            |p| {
                let tier = &mut p.optimality.levels[0].tiers[1];
                (tier.value, tier.bound) = (4, 4);
            },
            is!(TierValue),
            "tiers[0].value is 4, computed from the plan it is 8",
        ),
        miscounted("bound-served", |p| p.optimality.levels[0].bound -= 1, is!(BeyondBound), "levels[served]"),
        miscounted("bound-disruption", |p| p.optimality.levels[1].bound += 1, is!(BeyondBound), "levels[disruption]"),
        miscounted("bound-tier", |p| p.optimality.levels[0].tiers[0].bound = 3, is!(BeyondBound), "tiers[10]"),
        miscounted("status-optimal", |p| p.optimality.levels[6].bound += 1, is!(Status), "`optimal`"),
        miscounted("status-feasible", |p| p.optimality.status = Status::Feasible, is!(Status), "`feasible`"),
    ]
}

fn steps() -> Vec<Invalid> {
    let case = |name, edit: fn(&mut Plan), says| {
        let mut case = does(name, &World::default(), &MOVES, is!(Steps), says);
        fill_in_steps(&mut case.plan, &case.input).expect("the layouts are legal");
        edit(&mut case.plan);
        case
    };
    vec![
        case("steps-missing", |plan| plan.nodes[0].steps.clear(), "nodes[gpu-a].steps: are missing"),
        case("steps-overlap", |p| p.nodes[0].steps.swap(4, 5), "the precondition differs"),
        case("steps-incomplete", |p| drop(p.nodes[0].steps.pop()), "leave GPU 0 as"),
        case("steps-of-another-gpu", |p| p.nodes[0].steps[0].gpu = 1, "steps[0]: changes GPU 1"),
        case("steps-uuid", |p| p.nodes[0].steps[2].uuid = "GPU-other".into(), "steps[2]: names the UUID"),
        case("steps-precondition", |p| drop(p.nodes[0].steps[1].precondition.pop()), "steps[1]: the precondition"),
        case(
            "steps-illegal-on-the-way",
            |plan| {
                let steps = &mut plan.nodes[0].steps;
                let last = steps.pop().expect("steps");
                let mut early = steps.remove(0);
                early.instance = last.instance.clone();
                early.action = last.action;
                *steps = vec![early];
            },
            "no legal layout",
        ),
        case(
            "steps-in-vain",
            |plan| {
                let steps = &mut plan.nodes[0].steps;
                let (first, last) = (steps[0].clone(), steps[steps.len() - 1].clone());
                let mut after = last.precondition.clone();
                after.push(last.instance);
                after.sort();
                let (mut again, mut undone) = (first.clone(), first);
                again.instance.start = 5;
                undone.instance.start = 5;
                again.precondition.clone_from(&after);
                after.push(again.instance.clone());
                after.sort();
                (undone.action, undone.precondition) = (retile::plan::StepAction::Destroy, after);
                steps.extend([again, undone]);
            },
            "the changes need 6",
        ),
    ]
}

/// What the document tells of a plan that stands.
fn told() -> Vec<Invalid> {
    let case = |name, world: &World, edit: fn(&mut Plan), reason, says| {
        let mut case = does(name, world, &MOVES, reason, says);
        fill_in_steps(&mut case.plan, &case.input).expect("the layouts are legal");
        edit(&mut case.plan);
        case
    };
    let balanced = World::default();
    let wrong = |name, edit, says| case(name, &balanced, edit, is!(Reason), says);
    vec![
        case(
            "served-by-existing",
            &balanced,
            |plan| plan.served.iter_mut().for_each(|served| served.by = ServedBy::Existing),
            is!(ServedBy),
            "served[ml/four].by is `existing`",
        ),
        case("served-by-change", &balanced, |p| p.served[0].by = ServedBy::Change, is!(ServedBy), "`existing`"),
        wrong("reason-of-unplannable", |p| p.unserved[0].reason = Reason::WaitingForCapacity, "the reason NotModelled"),
        wrong("reason-unsatisfiable", |p| p.unserved[1].reason = Reason::Unsatisfiable, "could hold it"),
        case(
            "reason-budget",
            &World { web_budget: 4, ..World::default() },
            |p| p.unserved[1].reason = Reason::BudgetExhausted,
            is!(Reason),
            "every budget leaves enough",
        ),
        case(
            "reason-policy",
            &World::at(DisruptionLevel::Aggressive),
            |p| p.unserved[1].reason = Reason::PolicyForbids,
            is!(Reason),
            "keeps no pod",
        ),
        wrong("reason-gain", |p| p.unserved[1].reason = Reason::NotWorthDisruption, "asks for no gain"),
        wrong("reason-execution", |p| p.unserved[1].reason = Reason::WaitingForExecution, "reason of no GPU"),
        wrong("reason-not-modelled", |p| p.unserved[1].reason = Reason::NotModelled, "reason of no GPU"),
    ]
}
