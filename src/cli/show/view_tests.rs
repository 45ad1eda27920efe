//! Hand-made plans, and what is shown of them.

use super::*;
use crate::cli::show::text;
use crate::model::Reason;
use crate::model::Weight;
use crate::plan::{FORMAT_VERSION, LEVEL_NAMES, Optimality as PlanOptimality, ServedPod, Summary, UnservedPod};

fn instance(profile: &str, start: u8, size: u8, pods: &[&str]) -> PlannedInstance {
    PlannedInstance {
        start,
        size,
        profile: profile.into(),
        pods: pods.iter().map(ToString::to_string).collect(),
        occupancy_unknown: false,
    }
}

fn gpu(index: u32, before: Vec<PlannedInstance>, create: Vec<PlannedInstance>, destroy: usize) -> GpuChange {
    let mut after: Vec<_> = before[destroy..].iter().cloned().chain(create.clone()).collect();
    after.sort();
    GpuChange {
        index,
        uuid: format!("GPU-{index}"),
        model: "NVIDIA A100-SXM4-80GB".into(),
        destroy: before[..destroy].to_vec(),
        before,
        after,
        create,
        hand_over: Vec::new(),
    }
}

fn plan(nodes: Vec<NodePlan>, served: Vec<ServedPod>, unserved: Vec<UnservedPod>) -> Plan {
    let gpus = nodes.iter().flat_map(|node| &node.gpus);
    let summary = Summary {
        pending_pods: (served.len() + unserved.len()) as u64,
        served_pods: served.len() as u64,
        served_slices: 3 * served.len() as u64,
        evicted_pods: nodes.iter().map(|node| node.evict.len() as u64).sum(),
        nodes_changed: nodes.len() as u64,
        gpus_changed: gpus.clone().count() as u64,
        instances_destroyed: gpus.clone().map(|gpu| gpu.destroy.len() as u64).sum(),
        instances_created: gpus.map(|gpu| gpu.create.len() as u64).sum(),
        placements_assumed: false,
    };
    let levels =
        LEVEL_NAMES.iter().map(|name| Level { name: (*name).into(), value: 1, bound: 1, tiers: Vec::new() }).collect();
    Plan {
        format_version: FORMAT_VERSION,
        producer: "test".into(),
        input_fingerprint: "0123456789abcdef".into(),
        parent: None,
        disruption: "balanced".into(),
        weight: Weight::Slices,
        optimality: PlanOptimality { status: Status::Optimal, levels },
        summary,
        nodes,
        served,
        unserved,
        notes: Vec::new(),
    }
}

/// A plan that only hands an instance over.
fn plan_with_a_hand_over() -> Plan {
    let before = vec![instance("3g.40gb", 0, 4, &["ml/train-7"]), instance("3g.40gb", 4, 4, &["ml/stay"])];
    let hand_over = before[..1].to_vec();
    let after = vec![instance("3g.40gb", 0, 4, &[]), before[1].clone()];
    let gpu = GpuChange { after, hand_over, ..gpu(2, before, Vec::new(), 0) };
    let evict = vec![Eviction { pod: "ml/train-7".into(), uid: "u".into(), placed_on: Some("gpu-a-05".into()) }];
    let node = NodePlan { name: "gpu-a-03".into(), gpus: vec![gpu], evict, steps: Vec::new() };
    plan(vec![node], vec![served_pod("ml/a", "gpu-a-03", ServedBy::Change)], Vec::new())
}

fn served_pod(name: &str, node: &str, by: ServedBy) -> ServedPod {
    ServedPod { pod: name.into(), uid: String::new(), node: node.into(), by }
}

fn waiting(name: &str) -> UnservedPod {
    UnservedPod {
        pod: name.into(),
        reason: Reason::WaitingForCapacity,
        detail: "no room for 7g.80gb".into(),
        action: "add a GPU".into(),
    }
}

fn one_move(index: u32) -> GpuChange {
    let before = vec![instance("3g.40gb", 0, 4, &["ml/train-7"]), instance("3g.40gb", 4, 4, &["ml/stay"])];
    let create = vec![instance("1g.10gb", 0, 1, &[]), instance("2g.20gb", 2, 2, &[])];
    gpu(index, before, create, 1)
}

pub(crate) fn plan_with_one_move() -> Plan {
    let evict = vec![Eviction { pod: "ml/train-7".into(), uid: "u".into(), placed_on: Some("gpu-a-05".into()) }];
    let node = NodePlan { name: "gpu-a-03".into(), gpus: vec![one_move(2)], evict, steps: Vec::new() };
    plan(
        vec![node],
        vec![served_pod("ml/a", "gpu-a-03", ServedBy::Change)],
        vec![waiting("ml/big-0"), waiting("ml/big-1")],
    )
}

/// Nodes with a different mixture of changes each.
pub(crate) fn plan_with_many_nodes(count: u32) -> Plan {
    let nodes = (0..count)
        .map(|number| {
            let gpus = (0..8).filter(|gpu| (number >> gpu) & 1 == 1 || *gpu == 0).map(one_move).collect();
            let evict = vec![Eviction { pod: format!("ml/p-{number}"), uid: String::new(), placed_on: None }];
            NodePlan { name: format!("gpu-{number:05}"), gpus, evict, steps: Vec::new() }
        })
        .collect();
    let served =
        (0..count).map(|n| served_pod(&format!("ml/s-{n}"), &format!("gpu-{n:05}"), ServedBy::Change)).collect();
    plan(nodes, served, (0..count).map(|n| waiting(&format!("ml/w-{n}"))).collect())
}

fn shown(plan: &Plan) -> String {
    anstream::adapter::strip_str(&text::render(&View::of(plan, &Axes::new()))).to_string()
}

#[test]
fn an_instance_that_is_handed_over_stays_in_its_place_and_says_so() {
    let text = shown(&plan_with_a_hand_over());
    let expected = "\
      slots   0      1      2      3      4      5      6      7
      before  [3g.40gb busy #############][3g.40gb busy #############]
      after   [3g.40gb handed over       ][3g.40gb busy #############]
      hand over > 3g.40gb 0:4 (ml/train-7)
  ! evict ml/train-7 -> lands on gpu-a-05
";
    assert!(text.contains(expected), "{text}");
    let footer =
        "Plan: 1 GPU on 1 node to change (0 instances to destroy, 0 to create, 1 to hand over), 1 pod to evict;";
    assert!(text.contains(footer), "{text}");
    let picture = crate::cli::show::svg::render(&View::of(&plan_with_a_hand_over(), &Axes::new()));
    for text in ["hand over  &gt; 3g.40gb 0:4 (ml/train-7)", "3g.40gb handed over"] {
        assert!(picture.contains(text), "{text} is missing in\n{picture}");
    }
}

#[test]
fn a_small_plan_shows_each_gpu_with_bars_and_moves() {
    let text = shown(&plan_with_one_move());
    let expected = "\
Plan for input 0123456789ab · balanced · proven optimal

node gpu-a-03
  ~ GPU 2  GPU-2  NVIDIA A100-SXM4-80GB
      slots   0      1      2      3      4      5      6      7
      before  [3g.40gb busy #############][3g.40gb busy #############]
      after   [1g ++]   .   [2g.20gb new ][3g.40gb busy #############]
      destroy - 3g.40gb 0:4 (ml/train-7)
      create  + 1g.10gb 0:1  + 2g.20gb 2:2
  ! evict ml/train-7 -> lands on gpu-a-05

In bars: ### held by a pod, +++ created by the plan, empty box free, dots uncut.

Served: 1 of 3 waiting pods (3 memory slices)
  1 pod on gpu-a-03 gets what the change makes: ml/a

Still waiting: 2 pods
  WaitingForCapacity: ml/big-{0, 1}
      no room for 7g.80gb
      to do: add a GPU

Optimality: proven on every level (value = bound)
";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with(
        "Plan: 1 GPU on 1 node to change (1 instance to destroy, 2 to create), 1 pod to evict; 1 of 3 pods (3 slices) served.\n"
    ));
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
}

#[test]
fn nodes_that_change_alike_share_one_block() {
    let nodes = (0..40)
        .map(|n| NodePlan {
            name: format!("gpu-{n:02}"),
            gpus: vec![one_move(1), one_move(2), one_move(5)],
            evict: vec![],
            steps: vec![],
        })
        .collect();
    let text = shown(&plan(nodes, Vec::new(), Vec::new()));
    assert!(
        text.contains("40 nodes alike: gpu-00, gpu-01, gpu-02, gpu-03 … and 36 more\n  ~ GPUs 1, 2, 5  NVIDIA"),
        "{text}"
    );
    assert_eq!(text.matches("before").count(), 1);
}

#[test]
fn thousands_of_unlike_nodes_are_shown_by_kind_of_change() {
    let text = shown(&plan_with_many_nodes(3000));
    assert!(text.lines().count() < 100, "{} lines", text.lines().count());
    assert!(text.contains("on 3,000 nodes, NVIDIA A100-SXM4-80GB"), "{text}");
    assert!(text.contains("3,000 pods to evict"), "{text}");
    assert!(text.contains("… and 2,985 more evictions (`-o json` lists all)"), "{text}");
    assert!(text.contains("evict ml/p-0 from gpu-00000 -> waits again (displaced by higher priority)"), "{text}");
}

#[test]
fn a_gap_is_stated_where_the_bound_is_not_reached() {
    let mut plan = plan_with_one_move();
    plan.optimality.status = Status::Feasible;
    plan.optimality.levels[1].bound = -4;
    let text = shown(&plan);
    assert!(text.contains("Optimality: not proven on disruption"), "{text}");
    assert!(text.contains("gap 5; cost of the moved pods"), "{text}");
}

#[test]
fn a_plan_without_changes_says_so() {
    let text = shown(&plan(Vec::new(), Vec::new(), Vec::new()));
    assert!(text.ends_with("Plan: nothing to change; 0 of 0 pods (0 slices) served.\n"), "{text}");
    assert!(!text.contains("In bars"), "{text}");
}

#[test]
fn the_axis_comes_from_the_board_and_else_from_what_stands_on_it() {
    let mut small = one_move(0);
    small.before = vec![instance("1g.6gb", 0, 1, &[])];
    small.after = vec![];
    assert_eq!(shape(&small, &Axes::new()).axis, 1);
    assert_eq!(shape(&small, &Axes::from([(small.model.clone(), 4)])).axis, 4);
}

#[test]
fn hostile_names_reach_no_terminal() {
    let mut plan = plan_with_one_move();
    plan.nodes[0].name = "a\u{1b}[31m".into();
    assert!(text::render(&View::of(&plan, &Axes::new())).contains("node a\\u{1b}[31m"));
}

#[test]
fn notes_that_say_the_same_of_several_objects_are_one() {
    let all =
        ["Node gpu-a-00: counts only", "assumed: x", "Node gpu-a-01: counts only", "Pod ml/a: bad", "Node b: other"];
    let told = notes(&all.map(String::from));
    assert_eq!(told, ["Node gpu-a-{00, 01}: counts only", "assumed: x", "Pod ml/a: bad", "Node b: other"]);
}
