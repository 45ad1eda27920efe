//! One machine at a desk: everything that it can read lies there and never changes, and it says what it would do next.

use retile::exec::port::{
    AgentReply, AgentRequest, BoardState, ClusterAnswer, ClusterReply, ClusterRequest, InstanceState, Judgement,
    NodeAnswer, NodeRequest, Occupant, OperationReply, OperationRequest, Store,
};
use retile::exec::{
    AgentMachine, AgentPhase, Closed, Event, GpuReport, GpuTarget, InstanceReport, MigNode, MigNodeStatus, Moment,
    Next, NodeView, Operation, OperationId, OperationMachine, OperationReport, Origin, PROTOCOL, Phase, PodView,
    ReportedOccupancy, TAINT_KEY, Taint, Timing, Version, repair,
};
use retile::model::{DisruptionLevel, Movability, PodRef, mig_resource};
use retile::plan::{Place, Step, StepAction};

pub(crate) const NODE: &str = "n";

pub(crate) fn place(profile: &str, start: u8, size: u8) -> Place {
    Place { start, size, profile: profile.to_owned() }
}

pub(crate) fn pod_ref(name: &str) -> PodRef {
    PodRef { namespace: "ml".to_owned(), name: name.to_owned(), uid: format!("uid-{name}") }
}

/// A pod that asks for one `1g.10gb`.
pub(crate) fn pod(name: &str) -> PodView {
    PodView {
        pod: pod_ref(name),
        owner: Some("ReplicaSet/rs".to_owned()),
        requests: [(mig_resource("1g.10gb"), 1)].into(),
        deleting: false,
        finished: false,
        ready: true,
        device_plugin: false,
        deployed_as: std::collections::BTreeSet::new(),
        tolerates_taint: false,
        grace_seconds: 30,
        movability: Movability::From(DisruptionLevel::Balanced),
        budgets: Vec::new(),
    }
}

pub(crate) fn taint(key: &str, value: &str) -> Taint {
    Taint { key: key.to_owned(), value: value.to_owned(), effect: "NoSchedule".to_owned() }
}

/// A board with these instances, each with its compute instance.
pub(crate) fn board(index: u32, uuid: &str, places: &[Place]) -> BoardState {
    let instance =
        |place: &Place| InstanceState { place: place.clone(), compute: Some(format!("MIG-{uuid}-{}", place.start)) };
    BoardState {
        index,
        uuid: uuid.to_owned(),
        model: "NVIDIA A100-SXM4-80GB".to_owned(),
        mig_mode: true,
        instances: places.iter().map(instance).collect(),
    }
}

fn report(board: &BoardState) -> GpuReport {
    let instance = |there: &InstanceState| InstanceReport {
        place: there.place.clone(),
        uuid: there.compute.clone(),
        occupancy: ReportedOccupancy::Free,
        pods: Vec::new(),
    };
    GpuReport {
        index: board.index,
        uuid: board.uuid.clone(),
        model: board.model.clone(),
        instances: board.instances.iter().map(instance).collect(),
    }
}

/// An operation on one GPU.
pub(crate) fn operation(gpu: &str, base: &[Place], target: &[Place]) -> Operation {
    let gone = base.iter().filter(|place| !target.contains(place)).map(|place| (StepAction::Destroy, place));
    let come = target.iter().filter(|place| !base.contains(place)).map(|place| (StepAction::Create, place));
    let mut layout = base.to_vec();
    let mut steps = Vec::new();
    for (action, instance) in gone.chain(come) {
        let (uuid, precondition) = (gpu.to_owned(), layout.clone());
        steps.push(Step { action, gpu: 0, uuid, instance: instance.clone(), precondition });
        match action {
            StepAction::Destroy => layout.retain(|place| place != instance),
            StepAction::Create => layout.push(instance.clone()),
        }
    }
    let (id, node_uid) = (OperationId("op".to_owned()), "uid-n".to_owned());
    Operation {
        gpus: vec![GpuTarget { uuid: gpu.to_owned(), index: 0, base: base.to_vec(), target: target.to_vec() }],
        steps,
        ..repair(Origin { id, epoch: 1, node_uid, residents: Vec::new() })
    }
}

/// What lies on the desk.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) record: MigNode,
    pub(crate) node: NodeView,
    pub(crate) pods: Vec<PodView>,
    pub(crate) boards: Vec<BoardState>,
    pub(crate) occupants: Vec<Occupant>,
    pub(crate) store: Store,
    /// UUIDs that the device plugin offers.
    pub(crate) offered: Vec<String>,
}

impl Desk {
    /// An operation in some phase, with its taint, on boards as the agent has reported them.
    pub(crate) fn new(operation: Operation, phase: Phase, agent: AgentPhase, boards: Vec<BoardState>) -> Self {
        let mut record = MigNode { name: NODE.to_owned(), version: Version(7), ..MigNode::default() };
        record.status = MigNodeStatus {
            node_uid: "uid-n".to_owned(),
            boot_id: "boot".to_owned(),
            protocol: PROTOCOL,
            heartbeat: 1,
            gpus: boards.iter().map(report).collect(),
            operation: Some(OperationReport {
                id: operation.id.clone(),
                epoch: operation.epoch,
                boot_id: "boot".to_owned(),
                phase: agent,
                detail: String::new(),
            }),
        };
        let mut node = NodeView {
            name: NODE.to_owned(),
            uid: "uid-n".to_owned(),
            version: Version(3),
            ready: true,
            taints: vec![taint(TAINT_KEY, &operation.id.0)],
            ..NodeView::default()
        };
        let instances = || boards.iter().flat_map(|board| &board.instances);
        for there in instances() {
            *node.allocatable.entry(mig_resource(&there.place.profile)).or_default() += 1;
        }
        let mut offered: Vec<String> = instances().filter_map(|there| there.compute.clone()).collect();
        offered.sort_unstable();
        record.spec.operation = Some(Operation { phase, ..operation });
        let store = Store { boot_id: "boot".to_owned(), ..Store::default() };
        Self { record, node, pods: Vec::new(), boards, occupants: Vec::new(), store, offered }
    }

    fn read(&self, request: &ClusterRequest) -> Option<ClusterReply> {
        if matches!(request, ClusterRequest::GetMigNode { .. }) {
            return Some(Ok(ClusterAnswer::MigNode(Box::new(self.record.clone()))));
        }
        if matches!(request, ClusterRequest::GetNode { .. }) {
            return Some(Ok(ClusterAnswer::Node(Box::new(self.node.clone()))));
        }
        matches!(request, ClusterRequest::ListPods { .. }).then(|| Ok(ClusterAnswer::Pods(self.pods.clone())))
    }

    /// The machine that goes on with the operation on the desk.
    pub(crate) fn controller(&self) -> OperationMachine {
        let operation = self.record.spec.operation.as_ref().expect("an operation lies on the desk");
        OperationMachine::adopt(NODE, operation.id.clone(), operation.epoch, Timing::default())
    }

    /// What the controller's machine does at a moment: the first write, or the rest.
    pub(crate) fn controls(&self, machine: &mut OperationMachine, now: u64) -> Next<ClusterRequest, Closed> {
        let mut event = Event::Wake;
        loop {
            let request = match machine.step(event, Moment(now)) {
                Next::Ask(OperationRequest::Cluster(request)) => request,
                Next::Ask(OperationRequest::Judge(_)) => {
                    event = Event::Reply(OperationReply::Judged(Judgement::Worthwhile));
                    continue;
                }
                Next::Rest(rest) => return Next::Rest(rest),
                Next::End(end) => return Next::End(end),
            };
            match self.read(&request) {
                Some(reply) => event = Event::Reply(OperationReply::Cluster(reply)),
                None => return Next::Ask(request),
            }
        }
    }

    /// What an agent that has just started does first, reads left out.
    pub(crate) fn agent_does(&self) -> AgentRequest {
        let mut machine = AgentMachine::new(NODE, Timing::default());
        let mut event = Event::Wake;
        loop {
            let request = match machine.step(event, Moment(1_000)) {
                Next::Ask(request) => request,
                other @ (Next::Rest(_) | Next::End(_)) => panic!("the agent neither asks nor does anything: {other:?}"),
            };
            let reply = match &request {
                AgentRequest::Cluster(asked) => self.read(asked).map(AgentReply::Cluster),
                AgentRequest::Node(asked) => self.look(asked).map(|answer| AgentReply::Node(Ok(answer))),
            };
            match reply {
                Some(reply) => event = Event::Reply(reply),
                None => return request,
            }
        }
    }

    fn look(&self, request: &NodeRequest) -> Option<NodeAnswer> {
        let answers = [
            (NodeRequest::ReadStore, NodeAnswer::Store(self.store.clone())),
            (NodeRequest::Enumerate, NodeAnswer::Boards(self.boards.clone())),
            (NodeRequest::Occupants, NodeAnswer::Occupants(self.occupants.clone())),
            (NodeRequest::Allocatable, NodeAnswer::Allocatable(self.offered.clone())),
            (NodeRequest::RefreshDevices, NodeAnswer::Done),
        ];
        answers.into_iter().find_map(|(asked, answer)| (asked == *request).then_some(answer))
    }
}
