//! Explanations of small hand-made clusters, by the real planner.

use std::sync::Arc;

use super::{gpu, pod};
use crate::cli::error::CliError;
use crate::cli::show::Axes;
use crate::model::{
    Capacity, Catalogue, ControllerKind, Demand, DisruptionLevel, Geometry, Gpu, Instance, MigStrategy, Movability,
    Node, NodeId, NodeSet, Occupancy, Offer, PendingPod, PlanningInput, PlanningInputBuilder, PodId, PodRef, Reason,
    RunningPod,
};
use crate::plan::{Plan, fingerprint};
use crate::planner::{self, WorkLimit};

const BOARD: &str = "A100-80GB";

/// A cluster of one-GPU nodes, built up pod by pod.
struct Cluster {
    builder: PlanningInputBuilder,
    geometry: Arc<Geometry>,
    pods: usize,
}

impl Cluster {
    fn new() -> Self {
        let geometry = Catalogue::embedded().find_by_key(BOARD).expect("a board of the catalogue");
        Self { builder: PlanningInputBuilder::new(0), geometry: Arc::clone(geometry), pods: 0 }
    }

    fn demand(&mut self, profile: &str) -> Demand {
        Demand::new([(self.builder.resource(&format!("nvidia.com/mig-{profile}")), 1)])
    }

    fn everywhere(&mut self) -> crate::model::NodeSetId {
        self.builder.node_set((0..2).map(NodeId::new).collect::<NodeSet>())
    }

    fn runs(&mut self, name: &str, node: usize, profile: &str, movability: Movability) -> Occupancy {
        let pod = RunningPod {
            pod: reference(name),
            node: NodeId::new(node),
            priority: 0,
            controller: ControllerKind::Replacing,
            movability,
            cost: 1,
            requests: Capacity::default(),
            demand: self.demand(profile),
            eligible: self.everywhere(),
            budgets: Vec::new(),
            instances: Vec::new(),
        };
        self.builder.running(pod);
        self.pods += 1;
        Occupancy::Busy(vec![PodId::new(self.pods - 1)])
    }

    fn waits(&mut self, name: &str, profile: &str) {
        let pod = PendingPod {
            pod: reference(name),
            priority: 0,
            preempts: true,
            waiting_seconds: 0,
            demand: self.demand(profile),
            requests: Capacity::default(),
            eligible: self.everywhere(),
        };
        self.builder.pending(pod);
    }

    fn node(&mut self, name: &str, instances: &[(&str, u8, Occupancy)], frozen: Option<(Reason, String)>) {
        let geometry = Arc::clone(&self.geometry);
        let offers: Vec<Option<Offer>> = geometry
            .profiles()
            .iter()
            .map(|profile| {
                Some(Offer {
                    resource: self.builder.resource(&format!("nvidia.com/{}", profile.resource_suffix())),
                    replicas: 1,
                })
            })
            .collect();
        let instances = instances
            .iter()
            .map(|(profile, start, occupancy)| {
                let id = geometry.find(profile).expect("a profile of the board");
                Instance {
                    placement: geometry.place(id, *start).expect("a legal start"),
                    uuid: None,
                    occupancy: occupancy.clone(),
                }
            })
            .collect();
        let product = "NVIDIA A100-SXM4-80GB".to_owned();
        let gpu = Gpu {
            node: NodeId::new(0),
            index: 0,
            uuid: String::new(),
            product,
            geometry,
            instances,
            offers: offers.into(),
            frozen,
        };
        let node = Node { name: name.into(), strategy: MigStrategy::Mixed, free: Capacity::default(), gpus: 0..0 };
        self.builder.node(node, vec![gpu]);
    }

    fn build(self) -> PlanningInput {
        self.builder.build().expect("a legal cluster")
    }
}

fn reference(name: &str) -> PodRef {
    PodRef { namespace: "ml".into(), name: name.into(), uid: format!("uid-{name}") }
}

fn planned(input: &PlanningInput) -> Result<Plan, CliError> {
    planner::plan(input, &mut WorkLimit::default())
        .map(planner::Planned::into_plan)
        .map_err(|error| CliError::Internal(error.to_string()))
}

fn explained_pod(input: &PlanningInput, name: &str) -> String {
    let plan = planned(input).expect("a plan");
    let subject = pod::Subject::find(input, name).expect("the pod is there");
    let text = pod::explain(input, &plan, &Axes::new(), subject, &mut planned).expect("an explanation");
    anstream::adapter::strip_str(&text).to_string()
}

fn explained_gpu(input: &PlanningInput, node: &str) -> String {
    let plan = planned(input).expect("a plan");
    let id = gpu::find(input, node, 0).expect("the GPU is there");
    anstream::adapter::strip_str(&gpu::explain(input, &plan, &Axes::new(), id, None)).to_string()
}

fn movable() -> Movability {
    Movability::From(DisruptionLevel::Balanced)
}

fn bare() -> Movability {
    Movability::Never(Reason::BlockedByPod, "nothing makes it again".into())
}

/// One pod that may not be moved holds half of the only GPU; another waits for the whole of it.
fn blocked() -> PlanningInput {
    let mut cluster = Cluster::new();
    let pinned = cluster.runs("pinned", 0, "3g.40gb", bare());
    cluster.waits("whole", "7g.80gb");
    cluster.node("a", &[("3g.40gb", 0, pinned), ("3g.40gb", 4, Occupancy::Free)], None);
    cluster.build()
}

#[test]
fn a_blocked_pod_learns_who_blocks_it_and_what_would_help() {
    let text = explained_pod(&blocked(), "ml/whole");
    assert!(text.starts_with("Pod ml/whole keeps waiting: "), "{text}");
    assert!(text.contains("asks for  1 × nvidia.com/mig-7g.80gb"), "{text}");
    assert!(text.contains("no   if `--disruption aggressive` were allowed"), "{text}");
    assert!(text.contains("yes  alone, if every running pod could be moved or ended"), "{text}");
    assert!(text.contains("in the way: ml/pinned (may not be moved: BlockedByPod: nothing makes it again)"), "{text}");
    assert!(text.contains("yes  with one more NVIDIA A100-SXM4-80GB, empty"), "{text}");
    assert!(text.contains("on the new node"), "{text}");
}

#[test]
fn a_pod_that_loses_to_others_learns_that_it_would_fit_alone() {
    let mut cluster = Cluster::new();
    cluster.waits("one", "7g.80gb");
    cluster.waits("two", "7g.80gb");
    cluster.node("a", &[], None);
    let input = cluster.build();
    let plan = planned(&input).expect("a plan");
    let loser = &plan.unserved.first().expect("one GPU holds one of them").pod;
    let text = explained_pod(&input, loser);
    assert!(text.contains("yes  if it were the only waiting pod: on a"), "{text}");
}

#[test]
fn a_frozen_gpu_is_named_as_the_obstacle() {
    let mut cluster = Cluster::new();
    cluster.waits("whole", "7g.80gb");
    cluster.node("a", &[("3g.40gb", 0, Occupancy::Free)], Some((Reason::CoolingDown, "changed a minute ago".into())));
    let input = cluster.build();
    let text = explained_pod(&input, "ml/whole");
    assert!(text.contains("yes  alone, if the GPUs that may not be changed could be"), "{text}");
    assert!(text.contains("it would change a/0 (CoolingDown: changed a minute ago)"), "{text}");
    let text = explained_gpu(&input, "a");
    assert!(text.contains("it may not be changed: CoolingDown: changed a minute ago"), "{text}");
    assert!(text.contains("leaves it as it is"), "{text}");
}

#[test]
fn a_served_pod_learns_where_and_who_moves_for_it() {
    let mut cluster = Cluster::new();
    let mover = cluster.runs("mover", 0, "3g.40gb", movable());
    let pinned = cluster.runs("pinned", 1, "4g.40gb", bare());
    cluster.waits("whole", "7g.80gb");
    cluster.node("a", &[("3g.40gb", 0, mover)], None);
    cluster.node("b", &[("4g.40gb", 0, pinned), ("3g.40gb", 4, Occupancy::Free)], None);
    let input = cluster.build();
    let text = explained_pod(&input, "ml/whole");
    assert!(text.starts_with("Pod ml/whole is served by the plan on a\n"), "{text}");
    assert!(text.contains("create  + 7g.80gb 0:8"), "{text}");
    assert!(text.contains("evict ml/mover -> lands on b"), "{text}");
    let text = explained_pod(&input, "ml/mover");
    assert!(text.contains("plan   evicts it, and has a place for it on b"), "{text}");
    assert!(text.contains("moves  may be moved from `balanced` on, at cost 1"), "{text}");
    let text = explained_gpu(&input, "a");
    assert!(text.contains("why: what it creates is there for waiting pods: ml/whole"), "{text}");
}

#[test]
fn a_gpu_says_what_it_holds_and_the_largest_profile_it_has_room_for() {
    let input = blocked();
    let text = explained_gpu(&input, "a");
    assert!(text.contains("3g.40gb@0:4        held by ml/pinned, which may not be moved"), "{text}");
    assert!(text.contains("3g.40gb@4:4        free"), "{text}");
    assert!(text.contains("3g.40gb@0:4 is held by ml/pinned: may not be moved"), "{text}");
    let largest = |when: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(when)).expect("the line is there");
        line.split_whitespace().last().expect("the line has words").to_owned()
    };
    assert_eq!(largest("in the slots that are not cut"), "none");
    assert_eq!(largest("when free instances are destroyed"), "3g.40gb@4:4");
    assert_eq!(largest("when every pod is moved that may be"), "3g.40gb@4:4");
}

#[test]
fn an_input_that_nothing_was_changed_in_is_the_same_input() {
    let input = blocked();
    let again = super::whatif::Parts::of(&input).build().expect("it stood before");
    assert_eq!(format!("{input:?}"), format!("{again:?}"));
    assert_eq!(fingerprint(&input), fingerprint(&again));
}
