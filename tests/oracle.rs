//! The measure itself: hand-made cases for the brute-force oracle, and what the random clusters contain.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use retile::model::{
    Budgets, Catalogue, ControllerKind, DisruptionLevel, GainFactor, Geometry, Limit, MediaEngines, MigStrategy,
    Movability, Policy, Reason, Weight,
};
use support::boards;
use support::oracle::{self, Best, layouts::all_layouts};
use support::per_gpu;
use support::program::Backend;
use support::random::{Shape, cluster};
use support::spec::{GpuSpec, Held, InstanceSpec, NodeSpec, Ordinary, PendingSpec, RunningSpec, Spec};

const ROOM: Ordinary = Ordinary { cpu: 100_000, memory: 100_000, pods: 100 };
const SMALL_POD: Ordinary = Ordinary { cpu: 1000, memory: 1024, pods: 1 };

fn mig(profile: &str) -> String {
    format!("nvidia.com/mig-{profile}")
}

/// A node of boards; instances as (profile, start, pods that hold it).
fn node(name: &str, board: &Arc<Geometry>, gpus: &[&[(&str, u8, &[usize])]]) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        strategy: MigStrategy::Mixed,
        free: ROOM,
        offers: board.profiles().iter().map(|p| (p.name.clone(), (mig(&p.name), 1))).collect(),
        gpus: gpus
            .iter()
            .enumerate()
            .map(|(index, instances)| GpuSpec {
                index: index as u32,
                geometry: Arc::clone(board),
                frozen: false,
                instances: instances
                    .iter()
                    .map(|&(profile, start, pods)| InstanceSpec {
                        profile: profile.to_owned(),
                        start,
                        held: if pods.is_empty() { Held::Free } else { Held::By(pods.to_vec()) },
                    })
                    .collect(),
            })
            .collect(),
    }
}

fn running(name: &str, node: usize, profile: &str) -> RunningSpec {
    RunningSpec {
        name: name.to_owned(),
        node,
        priority: 0,
        controller: ControllerKind::Replacing,
        movability: Movability::From(DisruptionLevel::Balanced),
        cost: 1,
        requests: SMALL_POD,
        demand: vec![(mig(profile), 1)],
        eligible: vec![0],
        budgets: Vec::new(),
    }
}

fn pending(name: &str, profile: &str) -> PendingSpec {
    PendingSpec {
        name: name.to_owned(),
        priority: 0,
        preempts: true,
        waiting_seconds: 60,
        requests: SMALL_POD,
        demand: vec![(mig(profile), 1)],
        eligible: vec![0],
    }
}

fn world(nodes: Vec<NodeSpec>, running: Vec<RunningSpec>, pending: Vec<PendingSpec>) -> Spec {
    Spec { policy: Policy::unlimited(), nodes, running, pending, budgets: Vec::new(), forecast: Vec::new() }
}

fn best(spec: &Spec) -> Best {
    oracle::best(&spec.build())
}

/// Weight of the one resource of the forecast, as the input scales it.
fn weight(spec: &Spec) -> i64 {
    let input = spec.build();
    i64::from(*input.forecast().values().next().expect("the spec has a forecast"))
}

/// Two A100s with a movable 1g pod in the middle of each; a 7g waits.
fn two_scattered() -> Spec {
    let node = node("n", &boards::A100, &[&[("1g.10gb", 3, &[0])], &[("1g.10gb", 3, &[1])]]);
    let pods = vec![running("a", 0, "1g.10gb"), running("b", 0, "1g.10gb")];
    world(vec![node], pods, vec![pending("big", "7g.80gb")])
}

#[test]
fn a_large_pod_outweighs_small_ones_by_slices_and_not_by_pods() {
    let mut spec = world(vec![node("n", &boards::A100, &[&[]])], Vec::new(), vec![pending("big", "7g.80gb")]);
    spec.pending.extend(["a", "b", "c"].map(|name| pending(name, "1g.10gb")));
    for (weight, served) in [(Weight::Slices, 8), (Weight::Pods, 3)] {
        spec.policy.weight = weight;
        assert_eq!(best(&spec).tiers[0].served, served, "{weight:?}");
    }
}

#[test]
fn layouts_are_as_many_as_published() {
    let plain = |board: &Arc<Geometry>| {
        let standard = |p: &retile::model::Placement| board.profile(p.profile()).media == MediaEngines::Standard;
        all_layouts(board).iter().filter(|layout| layout.iter().all(standard)).count()
    };
    assert_eq!(plain(&boards::A100), 723);
    assert_eq!(plain(&boards::A30), 26);
    assert_eq!(plain(&boards::RTX6000), 26);
    let single_size = |layout: &Vec<retile::model::Placement>| {
        layout.iter().all(|p| boards::A100.profile(p.profile()).name != "1g.20gb")
    };
    let standard = |p: &retile::model::Placement| boards::A100.profile(p.profile()).media == MediaEngines::Standard;
    let without = all_layouts(&boards::A100).iter().filter(|l| l.iter().all(standard) && single_size(l)).count();
    assert_eq!(without, 298);
}

#[test]
fn the_catalogue_has_the_same_tables() {
    for board in [&boards::A30, &boards::A100, &boards::H100, &boards::RTX6000] {
        let other = Catalogue::embedded().find_by_key(&board.board().key).expect("the catalogue knows the board");
        let rows = |geometry: &Geometry| -> Vec<_> {
            let mut rows: Vec<_> = geometry
                .profiles()
                .iter()
                .map(|p| {
                    (p.name.clone(), p.nvml_enum, p.compute_slices, p.size, p.max_count, p.media, p.starts.clone())
                })
                .collect();
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            rows
        };
        assert_eq!((board.axis(), rows(board)), (other.axis(), rows(other)), "{}", board.board().key);
    }
}

#[test]
fn nothing_to_do_changes_nothing() {
    let mut spec = two_scattered();
    spec.pending.clear();
    spec.nodes[0].gpus.push(GpuSpec {
        index: 2,
        geometry: Arc::clone(&boards::A100),
        frozen: false,
        instances: Vec::new(),
    });
    // Run 0..3 gives one 2g, run 4..8 two (it cannot start at 6), twice; the empty board three.
    spec.forecast = vec![(mig("2g.20gb"), 5)];
    assert_eq!(best(&spec).levels(), [0, 0, 0, 0, 0, weight(&spec) * 2 * (2 * (1 + 1) + 3), 1, 0]);
}

#[test]
fn a_free_instance_serves_without_a_change() {
    let node = node("n", &boards::A100, &[&[("3g.40gb", 4, &[])]]);
    let spec = world(vec![node], Vec::new(), vec![pending("p", "3g.40gb")]);
    // The GPU is untouched and nobody stays on it: it counts as free.
    assert_eq!(best(&spec).levels(), [4, 0, 0, 0, 0, 0, 1, 1]);
}

#[test]
fn flexibility_chooses_the_place() {
    let node = node("n", &boards::A100, &[&[]]);
    let mut spec = world(vec![node], Vec::new(), vec![pending("p", "3g.40gb")]);
    spec.forecast = vec![(mig("4g.40gb"), 3)];
    let found = best(&spec);
    assert_eq!(found.levels(), [4, 0, 1, 1, 1, weight(&spec) * 4, 0, 0]);
    assert!(found.witness.contains("3g.40gb@4:4"), "{}", found.witness);
}

#[test]
fn a_move_makes_room() {
    // b moves next to a: destroy b's instance, create one on a's GPU and the 7g.
    assert_eq!(best(&two_scattered()).levels(), [8, 1, 1, 2, 3, 0, 0, 0]);
}

#[test]
fn the_cheaper_pod_moves() {
    let mut spec = two_scattered();
    spec.running[1].cost = 5;
    spec.running[0].cost = 2;
    assert_eq!(best(&spec).disruption, 2);
}

#[test]
fn idle_only_moves_nobody() {
    let mut spec = two_scattered();
    spec.policy.disruption = DisruptionLevel::IdleOnly;
    assert_eq!(best(&spec).levels(), [0; 8]);
}

#[test]
fn budgets_hold_moves_back() {
    let mut spec = two_scattered();
    spec.budgets = vec![("ns/b".to_owned(), 0)];
    spec.running[0].budgets = vec![0];
    assert_eq!(best(&spec).disruption, 1);
    spec.running[1].budgets = vec![0];
    assert_eq!(best(&spec).levels(), [0; 8]);
    spec.budgets[0].1 = 1;
    assert_eq!(best(&spec).served, 8);
    for budgets in [
        Budgets { nodes: Some(Limit::Count(0)), ..Budgets::default() },
        Budgets { gpus: Some(Limit::Count(1)), ..Budgets::default() },
        Budgets { evictions: Some(0), ..Budgets::default() },
    ] {
        spec.policy.budgets = budgets;
        assert_eq!(best(&spec).levels(), [0; 8], "{budgets:?}");
    }
}

#[test]
fn protection_frost_and_doubt_hold_moves_back() {
    let protect = |spec: &mut Spec, pod: usize| {
        spec.running[pod].movability = Movability::Never(Reason::BlockedByPod, String::new());
    };
    let mut spec = two_scattered();
    protect(&mut spec, 0);
    assert_eq!(best(&spec).served, 8);
    protect(&mut spec, 1);
    assert_eq!(best(&spec).levels(), [0; 8]);

    let mut spec = two_scattered();
    spec.nodes[0].gpus[0].frozen = true;
    assert_eq!(best(&spec).levels(), [0; 8]);

    let mut spec = two_scattered();
    spec.nodes[0].gpus[0].instances[0].held = Held::Unknown;
    spec.nodes[0].gpus[1].instances[0].held = Held::Unknown;
    assert_eq!(best(&spec).levels(), [0; 8]);
}

#[test]
fn jobs_move_at_aggressive_only() {
    let mut spec = two_scattered();
    for pod in &mut spec.running {
        pod.movability = Movability::From(DisruptionLevel::Aggressive);
    }
    assert_eq!(best(&spec).served, 0);
    spec.policy.disruption = DisruptionLevel::Aggressive;
    assert_eq!(best(&spec).served, 8);
}

#[test]
fn a_lower_priority_is_displaced_at_aggressive_only() {
    let node = node("n", &boards::A100, &[&[("1g.10gb", 3, &[0])]]);
    let mut spec = world(vec![node], vec![running("a", 0, "1g.10gb")], vec![pending("big", "7g.80gb")]);
    spec.pending[0].priority = 10;
    assert_eq!(best(&spec).levels(), [0; 8]);
    spec.policy.disruption = DisruptionLevel::Aggressive;
    let found = best(&spec);
    assert_eq!(found.levels(), [8, 1, 1, 1, 2, 0, 0, 0]);
    assert_eq!(
        found.tiers.iter().map(|t| (t.priority, t.displaced, t.served)).collect::<Vec<_>>(),
        [(10, 0, 8), (0, 1, 0)]
    );
    spec.pending[0].preempts = false;
    assert_eq!(best(&spec).levels(), [0; 8]);
    spec.pending[0].preempts = true;
    spec.pending[0].priority = 0;
    assert_eq!(best(&spec).levels(), [0; 8]);
}

#[test]
fn a_gain_must_pay() {
    let mut spec = two_scattered();
    spec.running[0].cost = 3;
    spec.running[1].cost = 3;
    // 8 slices are won for a cost of 3: worth it up to a factor of 2.666.
    spec.policy.gain_factor = GainFactor::from_thousandths(2666);
    assert_eq!(best(&spec).served, 8);
    spec.policy.gain_factor = GainFactor::from_thousandths(2667);
    assert_eq!(best(&spec).levels(), [0; 8]);
    // What needs no move does not count towards the gain.
    spec.pending.push(pending("small", "3g.40gb"));
    assert_eq!(best(&spec).levels(), [4, 0, 1, 1, 1, 0, 0, 0]);
}

#[test]
fn age_multiplies_the_weight() {
    let node = node("n", &boards::A30, &[&[]]);
    let mut spec = world(vec![node], Vec::new(), vec![pending("a", "4g.24gb"), pending("b", "2g.12gb")]);
    spec.policy.ageing_seconds = 100;
    assert_eq!(best(&spec).served, 4);
    spec.pending[1].waiting_seconds += 199;
    assert_eq!(best(&spec).served, 4);
    spec.pending[1].waiting_seconds += 1;
    assert_eq!(best(&spec).served, 6);
    spec.pending[1].waiting_seconds += 100_000;
    assert_eq!(best(&spec).served, 16);
}

#[test]
fn eligibility_and_ordinary_resources_bind() {
    let mut spec = two_scattered();
    spec.pending[0].eligible = Vec::new();
    assert_eq!(best(&spec).served, 0);
    let mut spec = two_scattered();
    spec.nodes[0].free = Ordinary { cpu: 999, ..ROOM };
    assert_eq!(best(&spec).served, 0);
    spec.nodes[0].free.cpu = 1000;
    assert_eq!(best(&spec).served, 8);
    // The moved pod brings its own share, even where the node is overcommitted on something nobody lands for.
    spec.nodes[0].free.memory = -1;
    assert_eq!(best(&spec).served, 0);
    spec.pending[0].requests.memory = 0;
    spec.running.iter_mut().for_each(|pod| pod.requests.memory = 0);
    assert_eq!(best(&spec).served, 8);
}

#[test]
fn a_pod_with_two_instances_frees_both() {
    let node = node("n", &boards::A100, &[&[("1g.10gb", 3, &[0])], &[("1g.10gb", 0, &[0]), ("3g.40gb", 4, &[])]]);
    let mut spec = world(vec![node], vec![running("a", 0, "1g.10gb")], vec![pending("big", "7g.80gb")]);
    spec.running[0].demand = vec![(mig("1g.10gb"), 2)];
    // It lands on the instance that it keeps and a new one beside it.
    assert_eq!(best(&spec).levels(), [8, 1, 1, 2, 3, 0, 0, 0]);
}

/// Node 0 is full of one 7g instance that a holds, who may also use node 1; b may only use node 0.
fn taken() -> Spec {
    let nodes = vec![node("n", &boards::A100, &[&[("7g.80gb", 0, &[0])]]), node("o", &boards::A100, &[&[]])];
    let mut spec = world(nodes, vec![running("a", 0, "7g.80gb")], vec![pending("b", "7g.80gb")]);
    spec.running[0].eligible = vec![0, 1];
    spec
}

#[test]
fn an_instance_is_handed_over_where_its_pod_has_another_place() {
    let mut spec = taken();
    // One instance is created on node 1; node 0 is touched and drained, and nothing is cut there.
    assert_eq!(best(&spec).levels(), [8, 1, 2, 2, 1, 0, 0, 0]);
    assert!(best(&spec).witness.contains("gpu 0 hands over 7g.80gb@0:8"), "{}", best(&spec).witness);
    spec.policy.budgets.nodes = Some(Limit::Count(1));
    assert_eq!(best(&spec).served, 0, "a node with a hand-over counts as touched");
    spec.policy.budgets.nodes = None;
    spec.nodes[0].gpus[0].frozen = true;
    assert_eq!(best(&spec).served, 0, "a frozen GPU is left alone");
    spec.nodes[0].gpus[0].frozen = false;
    spec.running[0].movability = Movability::Never(Reason::BlockedByPod, String::new());
    assert_eq!(best(&spec).served, 0);
}

#[test]
fn a_shared_instance_is_handed_over_whole_or_not_at_all() {
    let mut node = node("n", &boards::A30, &[&[("4g.24gb", 0, &[0, 1])]]);
    node.offers.insert("4g.24gb".to_owned(), (mig("4g.24gb.shared"), 2));
    let other = NodeSpec { name: "o".to_owned(), ..node.clone() };
    let other = NodeSpec { gpus: vec![GpuSpec { instances: Vec::new(), ..other.gpus[0].clone() }], ..other };
    let mut pods = vec![running("a", 0, "4g.24gb.shared"), running("b", 0, "4g.24gb.shared")];
    for pod in &mut pods {
        pod.eligible = vec![0, 1];
    }
    let waits = vec![pending("x", "4g.24gb.shared"), pending("y", "4g.24gb.shared")];
    let mut spec = world(vec![node, other], pods, waits);
    // All four slices for two replicas: two each. Both pods go to what is created on the other node.
    assert_eq!(best(&spec).levels(), [4, 2, 2, 2, 1, 0, 0, 0]);
    spec.running[1].movability = Movability::Never(Reason::BlockedByPod, String::new());
    // The other node stays wholly free.
    assert_eq!(best(&spec).levels(), [0, 0, 0, 0, 0, 0, 1, 1], "one of its pods stays");
}

#[test]
fn shared_replicas_are_taken_one_by_one() {
    let mut node = node("n", &boards::A30, &[&[("4g.24gb", 0, &[0])]]);
    node.offers.insert("4g.24gb".to_owned(), (mig("4g.24gb.shared"), 3));
    let pods = vec![pending("x", "4g.24gb.shared"), pending("y", "4g.24gb.shared"), pending("z", "4g.24gb.shared")];
    let spec = world(vec![node], vec![running("a", 0, "4g.24gb.shared")], pods);
    // Four slices for three replicas: two each, rounded up; two replicas are left.
    assert_eq!(best(&spec).levels(), [4, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_single_strategy_node_is_cut_into_one_profile() {
    let mut node = node("n", &boards::A30, &[&[("4g.24gb", 0, &[])], &[("4g.24gb", 0, &[])]]);
    node.strategy = MigStrategy::Single;
    let pods = vec![pending("x", "2g.12gb"), pending("y", "4g.24gb")];
    let mut spec = world(vec![node], Vec::new(), pods);
    assert_eq!(best(&spec).levels(), [4, 0, 0, 0, 0, 0, 2, 1]);
    spec.pending[0].demand[0].1 = 4;
    assert_eq!(best(&spec).levels(), [8, 0, 1, 2, 6, 0, 0, 0]);
    spec.nodes[0].gpus[1].frozen = true;
    assert_eq!(best(&spec).levels(), [4, 0, 0, 0, 0, 0, 2, 1]);
}

#[test]
fn random_clusters_contain_every_case() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..400 {
        let spec = cluster(seed, &Shape::SMALL);
        let found = best(&spec);
        let gpus = || spec.nodes.iter().flat_map(|node| &node.gpus);
        let instances = || gpus().flat_map(|gpu| &gpu.instances);
        let boards: std::collections::BTreeSet<&str> = gpus().map(|g| g.geometry.board().key.as_str()).collect();
        let tiers: std::collections::BTreeSet<i32> = spec.pending.iter().map(|pod| pod.priority).collect();
        let replicas = || spec.nodes.iter().flat_map(|node| node.offers.values().map(|offer| offer.1));
        for (case, here) in [
            ("moves", found.disruption > 0),
            ("hands over", found.witness.contains("hands over")),
            ("displaces", found.tiers.iter().any(|tier| tier.displaced > 0)),
            ("changes without moves", found.gpus_touched > 0 && found.disruption == 0),
            ("serves several", found.tiers.iter().filter(|tier| tier.served > 0).count() > 1),
            ("flexibility", found.flexibility > 0),
            ("mixed boards", boards.len() > 1),
            ("frozen", gpus().any(|gpu| gpu.frozen)),
            ("unknown", instances().any(|i| i.held == Held::Unknown)),
            ("several on one instance", instances().any(|i| matches!(&i.held, Held::By(pods) if pods.len() > 1))),
            ("media", instances().any(|i| i.profile.contains("+me"))),
            ("shared", replicas().any(|n| n > 1)),
            ("single", spec.nodes.iter().any(|node| node.strategy == MigStrategy::Single)),
            ("tiers", tiers.len() > 1),
            ("never preempts", spec.pending.iter().any(|pod| !pod.preempts)),
            ("several instances run", spec.running.iter().any(|pod| pod.demand.len() > 1)),
            ("several instances wait", spec.pending.iter().any(|pod| pod.demand.len() > 1)),
            ("jobs", spec.running.iter().any(|pod| pod.controller == ControllerKind::Job)),
            ("tight", spec.nodes.iter().any(|node| node.free.cpu < 10_000)),
            ("overcommitted", spec.nodes.iter().any(|node| node.free.cpu < 0)),
            ("gain", spec.policy.gain_factor.thousandths() > 0 && found.disruption > 0),
            ("limits", spec.policy.budgets != Budgets::default() && found.gpus_touched > 0),
            ("budgets", spec.running.iter().any(|pod| !pod.budgets.is_empty())),
            ("eligibility", spec.pending.iter().any(|pod| pod.eligible.len() < spec.nodes.len())),
            ("idle only", spec.policy.disruption == DisruptionLevel::IdleOnly),
            ("aggressive", spec.policy.disruption == DisruptionLevel::Aggressive),
        ] {
            *seen.entry(case).or_default() += u32::from(here);
        }
    }
    let rare: Vec<_> = seen.iter().filter(|(_, count)| **count < 4).collect();
    assert!(rare.is_empty(), "hardly ever drawn: {rare:?} of {seen:?}");
}

#[test]
fn the_order_of_insertion_changes_nothing() {
    for seed in 0..60 {
        let spec = cluster(seed, &Shape::SMALL);
        let (straight, shuffled) = (best(&spec), oracle::best(&spec.build_shuffled(seed)));
        assert_eq!(straight.levels(), shuffled.levels(), "seed {seed}\n{spec}");
    }
}

#[test]
fn the_per_gpu_program_agrees() {
    for seed in 0..500 {
        let mut spec = cluster(seed, &Shape::SMALL);
        for node in &mut spec.nodes {
            node.free.cpu = node.free.cpu.max(0);
        }
        let found = best(&spec);
        let levels = per_gpu::solve(&spec.build(), Backend::Microlp).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let tiers: Vec<_> = found.tiers.iter().map(|tier| (tier.priority, tier.displaced, tier.served)).collect();
        let expected = per_gpu::Levels {
            tiers,
            disruption: found.disruption,
            nodes_touched: found.nodes_touched,
            gpus_touched: found.gpus_touched,
            instance_changes: found.instance_changes,
        };
        assert_eq!(levels, expected, "seed {seed}\n{spec}\n{}", found.witness);
    }
}
