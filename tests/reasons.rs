//! What waiting pods are told: a budget is blamed only where it binds, and nothing is called impossible that was not proven so.

mod support;

use std::sync::Arc;

use retile::model::{
    Budgets, ControllerKind, DisruptionLevel, GainFactor, Geometry, Limit, MigStrategy, Movability, Policy, Reason,
};
use retile::plan::{Plan, UnservedPod, verify};
use retile::planner::{self, WorkLimit};
use support::boards;
use support::spec::{GpuSpec, Held, InstanceSpec, NodeSpec, Ordinary, PendingSpec, RunningSpec, Spec};

const ROOM: Ordinary = Ordinary { cpu: 100_000, memory: 100_000, pods: 100 };
const SMALL_POD: Ordinary = Ordinary { cpu: 1000, memory: 1024, pods: 1 };

fn mig(profile: &str) -> String {
    format!("nvidia.com/mig-{profile}")
}

/// Profile and start of an instance, and the pod that holds it.
type Placed<'a> = (&'a str, u8, Option<usize>);

/// A node with one A100.
fn node(name: &str, instances: &[Placed<'_>]) -> NodeSpec {
    let board: &Arc<Geometry> = &boards::A100;
    let instances = instances.iter().map(|&(profile, start, pod)| InstanceSpec {
        profile: profile.to_owned(),
        start,
        held: pod.map_or(Held::Free, |pod| Held::By(vec![pod])),
    });
    NodeSpec {
        name: name.to_owned(),
        strategy: MigStrategy::Mixed,
        free: ROOM,
        offers: board.profiles().iter().map(|p| (p.name.clone(), (mig(&p.name), 1))).collect(),
        gpus: vec![GpuSpec { index: 0, geometry: Arc::clone(board), frozen: false, instances: instances.collect() }],
    }
}

/// A cluster of one-GPU nodes; every pod may use every node, all running ones are under the one disruption budget.
fn cluster(nodes: Vec<NodeSpec>, running: &[(usize, &str)], pending: &[&str]) -> Spec {
    let everywhere: Vec<usize> = (0..nodes.len()).collect();
    let running = running.iter().enumerate().map(|(number, &(node, profile))| RunningSpec {
        name: format!("runs-{number}"),
        node,
        priority: 0,
        controller: ControllerKind::Replacing,
        movability: Movability::From(DisruptionLevel::Balanced),
        cost: 1,
        requests: SMALL_POD,
        demand: vec![(mig(profile), 1)],
        eligible: everywhere.clone(),
        budgets: vec![0],
    });
    let pending = pending.iter().enumerate().map(|(number, profile)| PendingSpec {
        name: format!("waits-{number}"),
        priority: 0,
        preempts: true,
        waiting_seconds: 60,
        requests: SMALL_POD,
        demand: vec![(mig(profile), 1)],
        eligible: everywhere.clone(),
    });
    Spec {
        policy: Policy::unlimited(),
        running: running.collect(),
        pending: pending.collect(),
        nodes,
        budgets: vec![("ns/guard".to_owned(), 100)],
        forecast: Vec::new(),
    }
}

fn planned(spec: &Spec, work: WorkLimit) -> Plan {
    let input = spec.build();
    let plan = planner::plan(&input, &mut { work }).expect("a plan").into_plan();
    verify(plan, &input).unwrap_or_else(|rejection| panic!("{rejection}\n{spec}")).into_inner()
}

/// The only pod that keeps waiting.
fn left(spec: &Spec) -> UnservedPod {
    let plan = planned(spec, WorkLimit::default());
    let [pod] = plan.unserved.as_slice() else { panic!("{:?}", plan.unserved) };
    pod.clone()
}

/// Two empty A100s and two pods that want one each.
fn two_wholes() -> Spec {
    cluster(vec![node("a", &[]), node("b", &[])], &[], &["7g.80gb", "7g.80gb"])
}

/// Two A100s, one held by one small pod and one by two, that could make room on a third one; two pods want the whole of one.
fn three_in_the_way() -> Spec {
    let free: Vec<Placed<'_>> = (0..3).map(|start| ("1g.10gb", start, None)).collect();
    let pinned = node("c", &[free, vec![("4g.40gb", 4, None)]].concat()[..3]);
    let nodes = vec![
        node("a", &[("1g.10gb", 3, Some(0))]),
        node("b", &[("1g.10gb", 0, Some(1)), ("1g.10gb", 3, Some(2))]),
        pinned,
    ];
    let mut spec = cluster(nodes, &[(0, "1g.10gb"), (1, "1g.10gb"), (1, "1g.10gb")], &["7g.80gb", "7g.80gb"]);
    spec.nodes[2].gpus[0].frozen = true;
    spec
}

#[test]
fn a_budget_that_binds_is_named_with_its_use() {
    let one = Some(Limit::Count(1));
    let cases = [
        (
            two_wholes(),
            Budgets { gpus: one, ..Budgets::default() },
            100,
            "1 changed GPU more",
            "1 of 1",
            "budgets.gpus",
        ),
        (
            two_wholes(),
            Budgets { nodes: one, ..Budgets::default() },
            100,
            "1 changed node more",
            "1 of 1",
            "budgets.nodes",
        ),
        (
            three_in_the_way(),
            Budgets { evictions: Some(1), ..Budgets::default() },
            100,
            "2 evictions more",
            "1 of 1",
            "budgets.evictionsPerCycle",
        ),
        // What is left is something, and less than one more change needs.
        (
            three_in_the_way(),
            Budgets { evictions: Some(2), ..Budgets::default() },
            100,
            "2 evictions more",
            "1 of 2",
            "budgets.evictionsPerCycle",
        ),
        (
            three_in_the_way(),
            Budgets::default(),
            2,
            "2 evictions more under the PodDisruptionBudget ns/guard",
            "1 of 2",
            "relax ns/guard",
        ),
    ];
    for (mut spec, budgets, allowed, need, used, remedy) in cases {
        spec.policy.budgets = budgets;
        spec.budgets[0].1 = allowed;
        let UnservedPod { reason, detail, action, .. } = left(&spec);
        assert_eq!(reason, Reason::BudgetExhausted, "{detail}");
        assert!(detail.contains(need) && detail.contains(used) && action.contains(remedy), "{detail}: {action}");
    }
}

#[test]
fn a_budget_that_is_set_and_does_not_bind_is_not_to_blame() {
    let generous = Budgets { nodes: Some(Limit::Percent(100)), gpus: Some(Limit::Count(1)), evictions: Some(0) };
    let mut spec = cluster(vec![node("a", &[])], &[], &["7g.80gb", "7g.80gb"]);
    for budgets in [Budgets::default(), generous] {
        for gain in [0, 1500] {
            for level in [DisruptionLevel::IdleOnly, DisruptionLevel::Balanced, DisruptionLevel::Aggressive] {
                spec.policy.disruption = level;
                spec.policy.budgets = budgets;
                spec.policy.gain_factor = GainFactor::from_thousandths(gain);
                let UnservedPod { reason, detail, .. } = left(&spec);
                assert_eq!(reason, Reason::WaitingForCapacity, "{detail}");
                assert!(detail.starts_with("no plan has room for it"), "proven: {detail}");
            }
        }
    }
}

#[test]
fn where_nobody_is_moved_no_budget_of_evictions_binds() {
    let mut spec = three_in_the_way();
    spec.policy.disruption = DisruptionLevel::IdleOnly;
    spec.policy.budgets = Budgets { evictions: Some(0), ..Budgets::default() };
    spec.budgets[0].1 = 0;
    // A GPU on which nothing is held, and which one of both gets.
    spec.nodes.push(node("d", &[]));
    for pod in &mut spec.pending {
        pod.eligible.push(3);
    }
    let UnservedPod { reason, detail, .. } = left(&spec);
    assert_eq!(reason, Reason::WaitingForCapacity, "{detail}");
}

#[test]
fn moves_that_do_not_pay_are_told_from_room_that_is_not_there() {
    let mut spec = three_in_the_way();
    spec.pending.pop();
    spec.policy.gain_factor = GainFactor::from_thousandths(1_000_000);
    let UnservedPod { reason, detail, .. } = left(&spec);
    assert_eq!(reason, Reason::NotWorthDisruption, "{detail}");
}

#[test]
fn what_a_cut_off_search_did_not_find_is_not_called_impossible() {
    let fleet: Vec<NodeSpec> =
        (0..6).map(|number| node(&format!("n{number}"), &[("1g.10gb", 3, Some(number))])).collect();
    let held: Vec<(usize, &str)> = (0..6).map(|number| (number, "1g.10gb")).collect();
    let mut spec = cluster(
        fleet,
        &held,
        &["7g.80gb", "4g.40gb", "4g.40gb", "3g.40gb", "3g.40gb", "7g.80gb", "7g.80gb", "2g.20gb"],
    );
    for pod in &mut spec.running {
        pod.eligible = vec![pod.node, (pod.node + 1) % 6];
    }
    let plan = planned(&spec, WorkLimit::new(1));
    let served = &plan.optimality.levels[0];
    assert!(served.value < served.bound && !plan.unserved.is_empty(), "{served:?}");
    for UnservedPod { reason, detail, action, .. } in &plan.unserved {
        assert_eq!(*reason, Reason::WaitingForCapacity);
        assert!(detail.contains("within the work limit") && !detail.contains("no plan"), "{detail}");
        assert!(action.contains("--work-limit"), "{action}");
    }
    for UnservedPod { detail, .. } in &planned(&spec, WorkLimit::default()).unserved {
        assert!(!detail.contains("work limit"), "{detail}");
    }
}
