//! The fingerprint of an input changes with everything that a rule or a level of the objective reads, and with nothing
//! else.
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use retile::model::{
    ControllerKind, DisruptionLevel, GainFactor, Limit, MigStrategy, Mode, Movability, Policy, Reason, Weight,
};
use retile::plan::fingerprint;
use support::boards;
use support::random::{Shape, cluster};
use support::spec::{GpuSpec, Held, InstanceSpec, NodeSpec, Ordinary, PendingSpec, RunningSpec, Spec};

/// What is changed, in words and in deed.
type Edit = (&'static str, fn(&mut Spec));

fn of(spec: &Spec) -> String {
    fingerprint(&spec.build())
}

fn small() -> Spec {
    let ordinary = Ordinary { cpu: 1000, memory: 1024, pods: 1 };
    let resource = "nvidia.com/mig-1g.10gb".to_owned();
    let instance = |start, held| InstanceSpec { profile: "1g.10gb".to_owned(), start, held };
    let offers =
        boards::A100.profiles().iter().map(|p| (p.name.clone(), (format!("nvidia.com/{}", p.resource_suffix()), 1)));
    let offers: std::collections::BTreeMap<_, _> = offers.collect();
    let node = |name: &str, held| NodeSpec {
        name: name.to_owned(),
        strategy: MigStrategy::Mixed,
        free: Ordinary { cpu: 9000, memory: 9000, pods: 9 },
        offers: offers.clone(),
        gpus: vec![GpuSpec {
            index: 0,
            geometry: Arc::clone(&boards::A100),
            frozen: false,
            instances: vec![instance(0, held), instance(1, Held::Free)],
        }],
    };
    Spec {
        policy: Policy::unlimited(),
        nodes: vec![node("a", Held::By(vec![0])), node("b", Held::Free)],
        running: vec![RunningSpec {
            name: "web".to_owned(),
            node: 0,
            priority: 0,
            controller: ControllerKind::Replacing,
            movability: Movability::From(DisruptionLevel::Balanced),
            cost: 1,
            requests: ordinary,
            demand: vec![(resource.clone(), 1)],
            eligible: vec![0, 1],
            budgets: vec![0],
        }],
        pending: vec![pending("one", ordinary, &resource, 0), pending("two", ordinary, &resource, 4000)],
        budgets: vec![("ns/web".to_owned(), 1), ("ns/other".to_owned(), 1)],
        forecast: vec![(resource, 3), ("nvidia.com/mig-2g.20gb".to_owned(), 2)],
    }
}

fn pending(name: &str, requests: Ordinary, resource: &str, waiting_seconds: u64) -> PendingSpec {
    PendingSpec {
        name: name.to_owned(),
        priority: 0,
        preempts: true,
        waiting_seconds,
        requests,
        demand: vec![(resource.to_owned(), 1)],
        eligible: vec![0, 1],
    }
}

#[test]
fn the_order_of_insertion_leaves_no_trace() {
    for seed in 0..100 {
        let spec = cluster(seed, &Shape::MEDIUM);
        assert_eq!(of(&spec), fingerprint(&spec.build_shuffled(seed + 1)), "seed {seed}");
    }
}

#[test]
fn what_no_rule_reads_leaves_no_trace() {
    let edits: [Edit; 4] = [
        ("the mode", |spec| spec.policy.mode = Mode::Act),
        ("rest times", |spec| spec.policy.stability.gpu_cool_down_seconds = 600),
        ("waiting within one step of ageing", |spec| spec.pending[1].waiting_seconds += 7),
        ("time that passes for all", |spec| spec.pending.iter_mut().for_each(|pod| pod.waiting_seconds += 5000)),
    ];
    for (what, edit) in edits {
        let mut spec = small();
        edit(&mut spec);
        assert_eq!(of(&spec), of(&small()), "{what}");
    }
}

#[test]
fn everything_that_decides_about_plans_shows() {
    let edits: Vec<Edit> = vec![
        ("disruption level", |spec| spec.policy.disruption = DisruptionLevel::Aggressive),
        ("weight", |spec| spec.policy.weight = Weight::Pods),
        ("gain factor", |spec| spec.policy.gain_factor = GainFactor::from_thousandths(1)),
        ("node budget", |spec| spec.policy.budgets.nodes = Some(Limit::Count(1))),
        ("node budget as a share", |spec| spec.policy.budgets.nodes = Some(Limit::Percent(1))),
        ("GPU budget", |spec| spec.policy.budgets.gpus = Some(Limit::Count(1))),
        ("eviction budget", |spec| spec.policy.budgets.evictions = Some(1)),
        ("ageing", |spec| spec.policy.ageing_seconds = 0),
        ("name of a node", |spec| spec.nodes[1].name = "c".to_owned()),
        ("strategy", |spec| spec.nodes[1].strategy = MigStrategy::Single),
        ("free CPU", |spec| spec.nodes[1].free.cpu -= 1),
        ("replicas", |spec| spec.nodes[1].offers.values_mut().for_each(|(_, replicas)| *replicas = 2)),
        ("what a profile is offered as", |spec| drop(spec.nodes[1].offers.remove("1g.10gb"))),
        ("index of a GPU", |spec| spec.nodes[1].gpus[0].index = 1),
        ("board", |spec| spec.nodes[1].gpus[0].geometry = Arc::clone(&boards::H100)),
        ("frozen", |spec| spec.nodes[1].gpus[0].frozen = true),
        ("start of an instance", |spec| spec.nodes[1].gpus[0].instances[1].start = 2),
        ("profile of an instance", |spec| spec.nodes[1].gpus[0].instances[1].profile = "1g.10gb+me".to_owned()),
        ("an instance more", |spec| {
            let more = InstanceSpec { profile: "1g.10gb".to_owned(), start: 5, held: Held::Free };
            spec.nodes[1].gpus[0].instances.push(more);
        }),
        ("holder", |spec| {
            spec.nodes[0].gpus[0].instances[0].held = Held::Free;
            spec.nodes[0].gpus[0].instances[1].held = Held::By(vec![0]);
        }),
        ("unknown holder", |spec| spec.nodes[1].gpus[0].instances[0].held = Held::Unknown),
        ("name of a running pod", |spec| spec.running[0].name = "web-2".to_owned()),
        ("priority of a running pod", |spec| spec.running[0].priority = -1),
        ("movability", |spec| spec.running[0].movability = Movability::From(DisruptionLevel::Aggressive)),
        ("protection", |spec| {
            spec.running[0].movability = Movability::Never(Reason::PolicyForbids, "because".to_owned());
        }),
        ("cost", |spec| spec.running[0].cost = 2),
        ("requests of a running pod", |spec| spec.running[0].requests.cpu = 1),
        ("demand of a running pod", |spec| spec.running[0].demand[0].1 = 2),
        ("where a running pod may land", |spec| spec.running[0].eligible = vec![0]),
        ("no budget", |spec| spec.running[0].budgets.clear()),
        ("another budget", |spec| spec.running[0].budgets = vec![1]),
        ("what a budget allows", |spec| spec.budgets[0].1 = 0),
        ("name of a waiting pod", |spec| spec.pending[0].name = "three".to_owned()),
        ("priority of a waiting pod", |spec| spec.pending[0].priority = 5),
        ("preemption", |spec| spec.pending[0].preempts = false),
        ("a step of ageing", |spec| spec.pending[1].waiting_seconds = 7200),
        ("requests of a waiting pod", |spec| spec.pending[0].requests.memory += 1),
        ("demand of a waiting pod", |spec| spec.pending[0].demand[0].1 = 2),
        ("where a waiting pod may land", |spec| spec.pending[0].eligible = vec![1]),
        ("a waiting pod less", |spec| drop(spec.pending.pop())),
        ("forecast", |spec| spec.forecast[1].1 = 3),
    ];
    let mut seen = BTreeSet::from([of(&small())]);
    for (what, edit) in edits {
        let mut spec = small();
        edit(&mut spec);
        assert!(seen.insert(of(&spec)), "{what} leaves no trace of its own");
    }
    assert!(seen.iter().all(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())));
}
