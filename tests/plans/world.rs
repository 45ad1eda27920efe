//! The small cluster that the committed plans are for.
//!
//! | GPU | instances before |
//! |---|---|
//! | gpu-a 0 | 1g.10gb@0 (ml/web-0), 1g.10gb@1 (ml/web-2), 1g.10gb@2, 1g.10gb@3 |
//! | gpu-a 1 | 3g.40gb@0 (ml/train, never moved), 1g.10gb@4 (unknown), 1g.10gb@5 and @6 (ml/duo) |
//! | gpu-b 0 | 4g.40gb@0 (ml/batch, `aggressive` only), 3g.40gb@4 |
//! | gpu-b 1, frozen | 2g.20gb@0, 1g.10gb@2, 1g.10gb@3, 1g.10gb@4 |
//! | gpu-b 2, A30 | none |
//! | gpu-b 3, room for twelve | none |
//! | gpu-c 0 and 1, strategy `single` | seven 1g.10gb each |
//! | gpu-d 0, strategy `single` | seven 1g.10gb, the first held by ml/notebook |
//! | gpu-e 0 and 1, strategy `single`, 1 frozen | seven 1g.10gb each |

use std::sync::Arc;

use retile::model::{
    Capacity, CapacityKind, ControllerKind, Demand, DisruptionLevel, EvictionBudget, Geometry, Gpu, Instance,
    MediaEngines, MigStrategy, Movability, Node, NodeId, NodeSet, NodeSetId, Occupancy, Offer, PendingPod,
    PlanningInput, PlanningInputBuilder, PodId, PodRef, Policy, Profile, Reason, RunningPod, Unplannable,
};

use crate::boards;

/// What a case may set.
#[derive(Debug, Clone)]
pub struct World {
    pub policy: Policy,
    /// Evictions that the budget of the `web` pods allows.
    pub web_budget: u32,
    /// Free CPU of gpu-b in millicores.
    pub cpu: i64,
}

impl Default for World {
    fn default() -> Self {
        Self { policy: Policy::unlimited(), web_budget: 2, cpu: 10_000 }
    }
}

impl World {
    pub fn at(level: DisruptionLevel) -> Self {
        let mut world = Self::default();
        world.policy.disruption = level;
        world
    }

    pub fn build(&self) -> PlanningInput {
        let mut builder = PlanningInputBuilder::new(1_700_000_000);
        builder.policy(self.policy.clone());
        let pods = add_running(&mut builder, self.web_budget);
        add_nodes(&mut builder, self.cpu, &pods);
        add_pending(&mut builder);
        for (resource, weight) in [("nvidia.com/mig-1g.10gb", 5), ("nvidia.com/mig-3g.40gb", 10)] {
            let resource = builder.resource(resource);
            builder.forecast(resource, weight);
        }
        builder.build().expect("the cluster is well-formed")
    }
}

/// The pods that run.
struct Pods {
    web_0: PodId,
    web_2: PodId,
    train: PodId,
    duo: PodId,
    batch: PodId,
    notebook: PodId,
}

fn cpu(millicores: i64) -> Capacity {
    let mut capacity = Capacity::default();
    capacity.set(CapacityKind::CpuMilli, millicores);
    capacity.set(CapacityKind::Pods, 1);
    capacity
}

fn pod(name: &str) -> PodRef {
    PodRef { namespace: "ml".to_owned(), name: name.to_owned(), uid: format!("uid-{name}") }
}

/// gpu-a and gpu-b, or the nodes of strategy `single`.
fn nodes(builder: &mut PlanningInputBuilder, single: bool) -> NodeSetId {
    let range = if single { 2..5 } else { 0..2 };
    builder.node_set(range.map(NodeId::new).collect::<NodeSet>())
}

fn add_running(builder: &mut PlanningInputBuilder, web_budget: u32) -> Pods {
    let web = builder.budget(EvictionBudget { name: "ml/web".to_owned(), allowed: web_budget });
    let one = builder.resource("nvidia.com/mig-1g.10gb");
    let three = builder.resource("nvidia.com/mig-3g.40gb");
    let four = builder.resource("nvidia.com/mig-4g.40gb");
    let whole = builder.resource("nvidia.com/gpu");
    let mixed = nodes(builder, false);
    let single = nodes(builder, true);
    let mut add = |name: &str, node: usize, priority: i32, from: Option<DisruptionLevel>, demand, eligible| {
        builder.running(RunningPod {
            pod: pod(name),
            node: NodeId::new(node),
            priority,
            controller: if name == "batch" { ControllerKind::Job } else { ControllerKind::Replacing },
            movability: from.map_or_else(
                || Movability::Never(Reason::BlockedByPod, "retile.dev/do-not-move".to_owned()),
                Movability::From,
            ),
            cost: 1,
            requests: cpu(1000),
            demand: Demand::new([demand]),
            eligible,
            budgets: if name.starts_with("web") { vec![web] } else { Vec::new() },
            instances: Vec::new(),
        })
    };
    let balanced = Some(DisruptionLevel::Balanced);
    Pods {
        web_0: add("web-0", 0, 0, balanced, (one, 1), mixed),
        web_2: add("web-2", 0, 0, balanced, (one, 1), mixed),
        train: add("train", 0, 0, None, (three, 1), mixed),
        duo: add("duo", 0, 100, balanced, (one, 2), mixed),
        batch: add("batch", 1, -10, Some(DisruptionLevel::Aggressive), (four, 1), mixed),
        notebook: add("notebook", 3, 0, balanced, (whole, 1), single),
    }
}

fn add_pending(builder: &mut PlanningInputBuilder) {
    let mixed = nodes(builder, false);
    let only_b = builder.node_set([NodeId::new(1)].into_iter().collect::<NodeSet>());
    for (name, priority, waiting_seconds, profile, count, eligible) in [
        ("big", 0, 60, "3g.40gb", 1, mixed),
        ("pair", 0, 60 + 3600, "1g.10gb", 2, only_b),
        ("four", 10, 7200, "4g.40gb", 1, mixed),
        ("seven", 10, 7200, "7g.80gb", 1, mixed),
    ] {
        let resource = builder.resource(&format!("nvidia.com/mig-{profile}"));
        builder.pending(PendingPod {
            pod: pod(name),
            priority,
            preempts: true,
            waiting_seconds,
            demand: Demand::new([(resource, count)]),
            requests: cpu(1000),
            eligible,
        });
    }
    builder.unplannable(Unplannable {
        pod: pod("gang"),
        reason: Reason::NotModelled,
        detail: "it is scheduled as part of a gang".to_owned(),
        action: "none".to_owned(),
    });
}

type Held = (&'static str, u8, Occupancy);

fn add_nodes(builder: &mut PlanningInputBuilder, cpu_of_b: i64, pods: &Pods) {
    let free = |profile, start| (profile, start, Occupancy::Free);
    let held = |profile, start, pod| (profile, start, Occupancy::Busy(vec![pod]));
    let ones = |held_by: Option<PodId>| -> Vec<Held> {
        let busy = |start| held_by.filter(|_| start == 0).map_or(Occupancy::Free, |pod| Occupancy::Busy(vec![pod]));
        (0..7).map(|start| ("1g.10gb", start, busy(start))).collect()
    };
    let a100 = |instances: Vec<Held>| (Arc::clone(&boards::A100), instances);
    let gpu_a = vec![
        a100(vec![
            held("1g.10gb", 0, pods.web_0),
            held("1g.10gb", 1, pods.web_2),
            free("1g.10gb", 2),
            free("1g.10gb", 3),
        ]),
        a100(vec![
            held("3g.40gb", 0, pods.train),
            ("1g.10gb", 4, Occupancy::Unknown),
            held("1g.10gb", 5, pods.duo),
            held("1g.10gb", 6, pods.duo),
        ]),
    ];
    let gpu_b = vec![
        a100(vec![held("4g.40gb", 0, pods.batch), free("3g.40gb", 4)]),
        a100(vec![free("2g.20gb", 0), free("1g.10gb", 2), free("1g.10gb", 3), free("1g.10gb", 4)]),
        (Arc::clone(&boards::A30), Vec::new()),
        (twelve(), Vec::new()),
    ];
    let (mixed, single) = (MigStrategy::Mixed, MigStrategy::Single);
    let two_free = vec![a100(ones(None)), a100(ones(None))];
    for (name, cpu, strategy, gpus) in [
        ("gpu-a", 10_000, mixed, gpu_a),
        ("gpu-b", cpu_of_b, mixed, gpu_b),
        ("gpu-c", 10_000, single, two_free.clone()),
        ("gpu-d", 10_000, single, vec![a100(ones(Some(pods.notebook)))]),
        ("gpu-e", 10_000, single, two_free),
    ] {
        let gpus =
            gpus.into_iter().enumerate().map(|(index, gpu)| make_gpu(builder, name, index, strategy, gpu)).collect();
        builder.node(Node { name: name.to_owned(), strategy, free: free_of(cpu), gpus: 0..0 }, gpus);
    }
}

fn free_of(cpu: i64) -> Capacity {
    let mut free = Capacity::default();
    free.set(CapacityKind::CpuMilli, cpu);
    free.set(CapacityKind::Pods, 100);
    free
}

fn make_gpu(
    builder: &mut PlanningInputBuilder,
    node: &str,
    index: usize,
    strategy: MigStrategy,
    (geometry, instances): (Arc<Geometry>, Vec<Held>),
) -> Gpu {
    let offers: Vec<Option<Offer>> = geometry
        .profiles()
        .iter()
        .map(|profile| {
            let resource = match strategy {
                MigStrategy::Mixed => builder.resource(&format!("nvidia.com/{}", profile.resource_suffix())),
                MigStrategy::Single => builder.resource("nvidia.com/gpu"),
            };
            Some(Offer { resource, replicas: 1 })
        })
        .collect();
    let instances = instances
        .into_iter()
        .map(|(profile, start, occupancy)| {
            let profile = geometry.find(profile).expect("a profile of the board");
            Instance { placement: geometry.place(profile, start).expect("a place of the board"), uuid: None, occupancy }
        })
        .collect();
    let frozen = matches!((node, index), ("gpu-b" | "gpu-e", 1));
    Gpu {
        node: NodeId::new(0),
        index: index as u32,
        uuid: format!("GPU-{node}-{index}"),
        product: geometry.board().product_names[0].clone(),
        geometry,
        instances,
        offers: offers.into(),
        frozen: frozen.then(|| (Reason::CoolingDown, "changed two minutes ago".to_owned())),
    }
}

/// An imagined board: no real one has room for more instances than a GPU takes.
fn twelve() -> Arc<Geometry> {
    let mut board = boards::A30.board().clone();
    "TWELVE".clone_into(&mut board.key);
    board.product_names = vec!["Twelve".to_owned()];
    let profile = |name: &str, max_count| Profile {
        name: name.to_owned(),
        size: Some(1),
        max_count,
        media: MediaEngines::Standard,
        starts: (0..12).collect(),
        ..boards::A30.profiles()[0].clone()
    };
    Arc::new(
        Geometry::try_new(board, 12, vec![profile("1g.1gb", 12), profile("1g.2gb", 2)])
            .expect("the table is well-formed"),
    )
}
