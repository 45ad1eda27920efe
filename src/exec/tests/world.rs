//! One node in memory: an API server, a kubelet, a device plugin and a driver that answer the machines' requests, and a clock.
//!
//! Small on purpose: it knows just enough rules to notice a machine that hurts somebody.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::port::{
    BoardState, ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, InstanceState, NodeAnswer, NodeError,
    NodeReply, NodeRequest, Occupant, Store,
};
use crate::exec::proof::IdleProof;
use crate::exec::*;
use crate::model::{DisruptionLevel, Movability, PodRef, mig_resource};
use crate::plan::{Place, Step, StepAction};

pub(super) const NODE: &str = "gpu-a";
pub(super) const OP: &str = "op-1";

pub(super) fn place(text: &str) -> Place {
    let (profile, start) = text.split_once('@').expect("profile@start");
    let size = match profile.as_bytes()[0] {
        b'1' => 1,
        b'2' => 2,
        b'3' | b'4' => 4,
        _ => 8,
    };
    Place { start: start.parse().expect("a start"), size, profile: profile.to_owned() }
}

pub(super) fn places(texts: &[&str]) -> Vec<Place> {
    texts.iter().map(|text| place(text)).collect()
}

pub(super) fn pod_ref(name: &str) -> PodRef {
    PodRef { namespace: "ml".to_owned(), name: name.to_owned(), uid: format!("uid-{name}") }
}

fn taint(value: &str) -> Taint {
    Taint { key: TAINT_KEY.to_owned(), value: value.to_owned(), effect: "NoSchedule".to_owned() }
}

/// Everything outside the machines.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: u64,
    versions: u64,
    serial: u64,
    pub(super) record: Option<MigNode>,
    pub(super) node: Option<NodeView>,
    pub(super) pods: Vec<PodView>,
    /// When a pod that is being deleted is gone.
    pub(super) ends: BTreeMap<String, u64>,
    /// Compute instances by holder's UID.
    pub(super) holds: BTreeMap<String, Vec<String>>,
    /// Compute instances that a process without a pod holds.
    pub(super) processes: BTreeSet<String>,
    pub(super) boards: Vec<BoardState>,
    pub(super) store: Store,
    /// UUIDs that the device plugin found when it started.
    pub(super) offered: Vec<String>,
    /// Whether the kubelet names pods with their UIDs.
    pub(super) tells_uids: bool,
    /// Whether pods of clients stay although their label is paused.
    pub(super) lingers: bool,
    /// Whether the device plugin comes back when its pod is deleted.
    pub(super) plugin_returns: bool,
    /// Answers that a request gets in place of its effect, by what the request is.
    pub(super) refuse: BTreeMap<&'static str, (u32, Refusal)>,
    /// Everything that was done, in words.
    pub(super) log: Vec<String>,
}

/// What a request gets in place of its effect.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    Cluster(ClusterError),
    Node(NodeError),
    /// Done, but the answer is lost.
    DoneUnknown,
}

/// Layouts of the two GPUs before and after; pods and what they hold.
pub(super) const BASE: [&str; 3] = ["1g.10gb@0", "1g.10gb@2", "1g.10gb@3"];
pub(super) const TARGET: [&str; 2] = ["1g.10gb@0", "2g.20gb@2"];

impl World {
    /// Two GPUs, a neighbour on the one that changes and one on the other, and the device plugin.
    pub(super) fn new() -> Self {
        let boards = vec![board(0, &BASE), board(1, &["7g.80gb@0"])];
        let node = NodeView {
            name: NODE.to_owned(),
            uid: "node-1".to_owned(),
            version: Version(1),
            ready: true,
            ..NodeView::default()
        };
        let mut world = Self {
            now: 0,
            versions: 1,
            serial: 0,
            record: None,
            node: Some(node),
            pods: Vec::new(),
            ends: BTreeMap::new(),
            holds: BTreeMap::new(),
            processes: BTreeSet::new(),
            boards,
            store: Store { boot_id: "boot-1".to_owned(), ..Store::default() },
            offered: Vec::new(),
            tells_uids: true,
            lingers: false,
            plugin_returns: true,
            refuse: BTreeMap::new(),
            log: Vec::new(),
        };
        world.start_plugin();
        world.beat();
        world.bind("neighbour", "1g.10gb", "GPU-0/0");
        world.bind("other", "7g.80gb", "GPU-1/0");
        world
    }

    /// The same with a pod on an instance that must go.
    pub(super) fn with_victim() -> Self {
        let mut world = Self::new();
        world.bind("victim", "1g.10gb", "GPU-0/2");
        world
    }

    pub(super) fn bind(&mut self, name: &str, profile: &str, instance: &str) {
        let pod = pod_ref(name);
        self.holds.insert(pod.uid.clone(), vec![instance.to_owned()]);
        self.pods.push(PodView {
            owner: None,
            pod,
            requests: [(mig_resource(profile), 1)].into(),
            deleting: false,
            finished: false,
            ready: true,
            device_plugin: false,
            deployed_as: BTreeSet::new(),
            tolerates_taint: false,
            grace_seconds: 30,
            movability: Movability::From(DisruptionLevel::Balanced),
            budgets: Vec::new(),
        });
    }

    pub(super) fn pod(&mut self, name: &str) -> &mut PodView {
        self.pods.iter_mut().find(|pod| pod.pod.name == name).expect("the pod is there")
    }

    pub(super) fn node(&mut self) -> &mut NodeView {
        self.node.as_mut().expect("the node is there")
    }

    pub(super) fn operation(&self) -> Option<&Operation> {
        self.record.as_ref().and_then(|record| record.spec.operation.as_ref())
    }

    pub(super) fn agent(&self) -> Option<(AgentPhase, String)> {
        let report = self.record.as_ref()?.status.operation.clone()?;
        Some((report.phase, report.detail))
    }

    pub(super) fn layout(&self, gpu: usize) -> Vec<Place> {
        self.boards[gpu].instances.iter().map(|there| there.place.clone()).collect()
    }

    pub(super) fn tainted(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.our_taint().is_some())
    }

    /// Lets time pass: pods end, the plugin starts, the kubelet reports.
    pub(super) fn pass(&mut self, until: u64) {
        let beat = self.now / 10_000 != until / 10_000;
        self.now = until;
        self.place_clients();
        let gone: Vec<String> = self.ends.iter().filter(|&(_, &at)| at <= until).map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            self.ends.remove(&uid);
            self.holds.remove(&uid);
            let plugin = self.pods.iter().any(|pod| pod.pod.uid == uid && pod.device_plugin);
            self.pods.retain(|pod| pod.pod.uid != uid);
            if plugin && self.plugin_returns && self.placed("device-plugin") {
                self.start_plugin();
            }
        }
        if beat {
            self.beat();
        }
    }

    /// Labels the node as the GPU Operator does, which has placed the device plugin and DCGM there.
    pub(super) fn under_operator(mut self) -> Self {
        for client in ["device-plugin", "dcgm"] {
            self.node().labels.insert(format!("{}{client}", marks::DEPLOY), marks::DEPLOYED.to_owned());
        }
        self.pods.retain(|pod| !pod.device_plugin);
        self.start_plugin();
        self.start_dcgm();
        self
    }

    /// What the operator's label for a client says on the node, if it has that.
    fn label(&self, client: &str) -> Option<&String> {
        self.node.as_ref()?.labels.get(&format!("{}{client}", marks::DEPLOY))
    }

    /// Whether a client may run on the node: everywhere without the operator, and with it where its label says so.
    fn placed(&self, client: &str) -> bool {
        self.label(client).is_none_or(|value| value == marks::DEPLOYED)
    }

    /// The operator's `DaemonSet`s follow the labels.
    fn place_clients(&mut self) {
        for client in ["device-plugin", "dcgm"] {
            let there = |pod: &PodView| pod.deployed_as.contains(client);
            if !self.placed(client) && !self.lingers {
                let leaving = self.pods.iter_mut().filter(|pod| there(pod) && !pod.deleting);
                for pod in leaving {
                    pod.deleting = true;
                    self.ends.insert(pod.pod.uid.clone(), self.now + 2000);
                }
            } else if self.label(client).is_some() && self.placed(client) && !self.pods.iter().any(there) {
                match client {
                    "dcgm" => self.start_dcgm(),
                    _ if self.plugin_returns => self.start_plugin(),
                    _ => {}
                }
            }
        }
    }

    /// DCGM, which has every instance open while it runs.
    fn start_dcgm(&mut self) {
        self.serial += 1;
        let name = format!("dcgm-{}", self.serial);
        self.bind(&name, "none", "none");
        let pod = self.pod(&name);
        pod.requests.clear();
        pod.deployed_as = ["dcgm".to_owned()].into();
        self.holds.remove(&pod_ref(&name).uid);
    }

    fn start_plugin(&mut self) {
        self.serial += 1;
        let (name, operated) = (format!("plugin-{}", self.serial), self.label("device-plugin").is_some());
        self.offered = self.computes();
        self.bind(&name, "none", "none");
        let pod = self.pod(&name);
        pod.requests.clear();
        pod.device_plugin = true;
        if operated {
            pod.deployed_as = ["device-plugin".to_owned()].into();
        }
        self.holds.remove(&pod_ref(&name).uid);
    }

    fn beat(&mut self) {
        let mut allocatable: BTreeMap<String, u64> = BTreeMap::new();
        let plugin = self.pods.iter().any(|pod| pod.device_plugin);
        for instance in self.boards.iter().flat_map(|board| &board.instances) {
            if plugin && instance.compute.as_ref().is_some_and(|uuid| self.offered.contains(uuid)) {
                *allocatable.entry(mig_resource(&instance.place.profile)).or_default() += 1;
            }
        }
        allocatable.entry(mig_resource("3g.40gb")).or_default();
        if let Some(node) = &mut self.node {
            node.heartbeat += 1;
            node.allocatable = allocatable;
        }
    }

    pub(super) fn computes(&self) -> Vec<String> {
        let instances = self.boards.iter().flat_map(|board| &board.instances);
        let mut uuids: Vec<String> = instances.filter_map(|there| there.compute.clone()).collect();
        uuids.sort();
        uuids
    }

    /// The node starts anew: every instance and every process is gone, the pods of the node with them.
    pub(super) fn reboot(&mut self, boot_id: &str) {
        boot_id.clone_into(&mut self.store.boot_id);
        self.boards.iter_mut().for_each(|board| board.instances.clear());
        self.pods.retain(|pod| pod.device_plugin);
        self.holds.clear();
        self.offered.clear();
    }

    fn refusal(&mut self, what: &'static str) -> Option<Refusal> {
        let (left, refusal) = self.refuse.get_mut(what)?;
        *left = left.checked_sub(1)?;
        Some(refusal.clone())
    }

    pub(super) fn cluster(&mut self, request: ClusterRequest) -> ClusterReply {
        let what = match &request {
            ClusterRequest::Evict { dry_run: true, .. } => "rehearsal",
            ClusterRequest::Evict { .. } => "evict",
            ClusterRequest::WriteSpec { .. } => "spec",
            ClusterRequest::WriteStatus { .. } => "status",
            ClusterRequest::AddTaint { .. } => "taint",
            ClusterRequest::RemoveTaint { .. } => "untaint",
            ClusterRequest::PauseClients { dry_run: true, .. } => "pause rehearsal",
            ClusterRequest::PauseClients { .. } => "pause",
            ClusterRequest::ResumeClients { .. } => "resume",
            ClusterRequest::DeletePluginPod { .. } => "plugin",
            ClusterRequest::GetMigNode { .. } => "record",
            ClusterRequest::GetNode { .. } => "node",
            ClusterRequest::ListPods { .. } => "pods",
            ClusterRequest::Observe { .. } | ClusterRequest::GetLease | ClusterRequest::WriteLease { .. } => "loop",
        };
        match self.refusal(what) {
            Some(Refusal::Cluster(error)) => Err(error),
            Some(Refusal::DoneUnknown) => {
                _ = self.cluster_does(request);
                Err(ClusterError::Unknown("the answer was lost".to_owned()))
            }
            Some(Refusal::Node(_)) | None => self.cluster_does(request),
        }
    }

    fn cluster_does(&mut self, request: ClusterRequest) -> ClusterReply {
        match request {
            ClusterRequest::GetMigNode { .. } => self.get_record(),
            ClusterRequest::GetNode { .. } => self.get_node(),
            ClusterRequest::ListPods { .. } => Ok(ClusterAnswer::Pods(self.pods.clone())),
            ClusterRequest::WriteSpec { version, spec, .. } => {
                let record = self.record.as_mut().ok_or(ClusterError::NotFound)?;
                if record.version != version {
                    return Err(ClusterError::Conflict);
                }
                self.versions += 1;
                let phase = spec.operation.as_ref().map(|operation| operation.phase);
                self.log.push(format!("spec {phase:?}"));
                (record.version, record.spec) = (Version(self.versions), *spec);
                self.get_record()
            }
            ClusterRequest::WriteStatus { version, status, .. } => {
                let record = self.record.get_or_insert_with(|| MigNode { name: NODE.to_owned(), ..MigNode::default() });
                if record.version != version {
                    return Err(ClusterError::Conflict);
                }
                self.versions += 1;
                if record.status.operation.as_ref().map(|it| it.phase) != status.operation.as_ref().map(|it| it.phase) {
                    self.log.push(format!("status {:?}", status.operation.as_ref().map(|it| it.phase)));
                }
                assert!(status.heartbeat > record.status.heartbeat, "a heartbeat grows");
                (record.version, record.status) = (Version(self.versions), *status);
                self.get_record()
            }
            ClusterRequest::AddTaint { version, operation, .. } => {
                let node = self.node.as_mut().ok_or(ClusterError::NotFound)?;
                if node.version != version {
                    return Err(ClusterError::Conflict);
                }
                self.versions += 1;
                node.version = Version(self.versions);
                node.taints.retain(|taint| taint.key != TAINT_KEY);
                node.taints.push(taint(&operation.0));
                self.log.push("taint".to_owned());
                self.get_node()
            }
            ClusterRequest::RemoveTaint { version, operation, .. } => {
                let node = self.node.as_mut().ok_or(ClusterError::NotFound)?;
                if node.version != version {
                    return Err(ClusterError::Conflict);
                }
                self.versions += 1;
                node.version = Version(self.versions);
                node.taints.retain(|taint| taint.key != TAINT_KEY || taint.value != operation.0);
                self.log.push("untaint".to_owned());
                self.get_node()
            }
            ClusterRequest::PauseClients { version, operation, dry_run, .. } => {
                assert_eq!(self.node().our_taint(), Some(operation.0.as_str()), "paused without a taint");
                if dry_run {
                    self.log.push("pause rehearsed".to_owned());
                    return if self.node().version == version { self.get_node() } else { Err(ClusterError::Conflict) };
                }
                self.mark(version, marks::pause)
            }
            ClusterRequest::ResumeClients { version, .. } => self.mark(version, marks::resume),
            ClusterRequest::Evict { pod, body, dry_run } => self.evict(&pod, body.delete_options.is_some(), dry_run),
            ClusterRequest::DeletePluginPod { pod } => {
                let there = self.pods.iter_mut().find(|other| other.pod.name == pod.name);
                let there = there.ok_or(ClusterError::NotFound)?;
                assert!(there.device_plugin, "only the plugin's pod is ever deleted");
                there.deleting = true;
                self.ends.insert(pod.uid, self.now + 1000);
                self.log.push("plugin deleted".to_owned());
                Ok(ClusterAnswer::Accepted)
            }
            ClusterRequest::Observe { .. } | ClusterRequest::GetLease | ClusterRequest::WriteLease { .. } => {
                panic!("a machine of one operation does not ask {request:?}")
            }
        }
    }

    fn mark(&mut self, version: Version, marks: marks::Marking) -> ClusterReply {
        let node = self.node.as_mut().ok_or(ClusterError::NotFound)?;
        if node.version != version {
            return Err(ClusterError::Conflict);
        }
        self.versions += 1;
        node.version = Version(self.versions);
        marks(&node.labels, &node.annotations).apply(&mut node.labels, &mut node.annotations);
        self.log.push(if node.pause_on_record() { "paused" } else { "resumed" }.to_owned());
        self.get_node()
    }

    fn get_record(&self) -> ClusterReply {
        self.record.clone().map(|record| ClusterAnswer::MigNode(Box::new(record))).ok_or(ClusterError::NotFound)
    }

    fn get_node(&self) -> ClusterReply {
        self.node.clone().map(|node| ClusterAnswer::Node(Box::new(node))).ok_or(ClusterError::NotFound)
    }

    fn evict(&mut self, pod: &PodRef, pinned: bool, dry_run: bool) -> ClusterReply {
        let there = self.pods.iter_mut().find(|other| other.pod.name == pod.name).ok_or(ClusterError::NotFound)?;
        if pinned && there.pod.uid != pod.uid {
            return Err(ClusterError::Conflict);
        }
        match there.budgets.as_slice() {
            [0] => return Err(ClusterError::BlockedByBudget),
            [] | [_] => {}
            [_, _, ..] => return Err(ClusterError::SeveralBudgets),
        }
        if !dry_run {
            assert!(!there.deleting, "{} is evicted twice", pod.name);
            there.deleting = true;
            self.ends.insert(there.pod.uid.clone(), self.now + 3000);
            self.log.push(format!("evicted {}", there.pod.uid));
        }
        Ok(ClusterAnswer::Accepted)
    }

    pub(super) fn local(&mut self, request: NodeRequest) -> NodeReply {
        let what = match &request {
            NodeRequest::ReadStore => "store",
            NodeRequest::WriteIntent(_) => "intent",
            NodeRequest::ClearIntent { .. } => "clear",
            NodeRequest::Enumerate => "enumerate",
            NodeRequest::Occupants => "occupants",
            NodeRequest::Allocatable => "allocatable",
            NodeRequest::RefreshDevices => "devices",
            NodeRequest::DestroyComputeInstance(_) => "destroy ci",
            NodeRequest::DestroyGpuInstance(_) => "destroy gi",
            NodeRequest::CreateGpuInstance { .. } => "create gi",
            NodeRequest::CreateComputeInstance { .. } => "create ci",
        };
        match self.refusal(what) {
            Some(Refusal::Node(error)) => Err(error),
            Some(Refusal::DoneUnknown) => {
                _ = self.node_does(request);
                Err(NodeError::Unknown)
            }
            Some(Refusal::Cluster(_)) | None => self.node_does(request),
        }
    }

    fn node_does(&mut self, request: NodeRequest) -> NodeReply {
        match request {
            NodeRequest::ReadStore => return Ok(NodeAnswer::Store(self.store.clone())),
            NodeRequest::WriteIntent(intent) => self.store.intent = Some(intent),
            NodeRequest::ClearIntent { applied } => {
                self.store.intent = None;
                self.store.applied = applied.or(self.store.applied.take());
            }
            NodeRequest::Enumerate => return Ok(NodeAnswer::Boards(self.boards.clone())),
            NodeRequest::Occupants => return Ok(NodeAnswer::Occupants(self.occupants())),
            NodeRequest::Allocatable => {
                let plugin = self.pods.iter().any(|pod| pod.device_plugin);
                return Ok(NodeAnswer::Allocatable(if plugin { self.offered.clone() } else { Vec::new() }));
            }
            NodeRequest::RefreshDevices => self.log.push("made device nodes".to_owned()),
            NodeRequest::DestroyComputeInstance(proof) => self.destroy_compute(&proof)?,
            NodeRequest::DestroyGpuInstance(proof) => self.destroy_gpu(&proof)?,
            NodeRequest::CreateGpuInstance { gpu, place } => self.create_gpu(&gpu, &place)?,
            NodeRequest::CreateComputeInstance { gpu, place } => self.create_compute(&gpu, &place)?,
        }
        Ok(NodeAnswer::Done)
    }

    fn occupants(&self) -> Vec<Occupant> {
        let of_pods = self.holds.iter().flat_map(|(uid, instances)| {
            let pod = self.pods.iter().find(|pod| pod.pod.uid == *uid).map(|pod| {
                let uid = if self.tells_uids { pod.pod.uid.clone() } else { String::new() };
                PodRef { uid, ..pod.pod.clone() }
            });
            instances.iter().map(move |instance| Occupant { instance: instance.clone(), pod: pod.clone() })
        });
        let of_processes = self.processes.iter().map(|instance| Occupant { instance: instance.clone(), pod: None });
        of_pods.chain(of_processes).collect()
    }

    fn find(&mut self, gpu: &str, place: &Place) -> Result<&mut InstanceState, NodeError> {
        let board = self.boards.iter_mut().find(|board| board.uuid == gpu).ok_or(NodeError::InvalidArgument)?;
        board.instances.iter_mut().find(|there| there.place == *place).ok_or(NodeError::NotFound)
    }

    fn destroy_compute(&mut self, proof: &IdleProof) -> Result<(), NodeError> {
        assert!(self.tainted(), "destroyed without a taint");
        let uuid = self.find(proof.gpu(), proof.place())?.compute.clone().ok_or(NodeError::NotFound)?;
        let monitored = self.pods.iter().any(|pod| pod.deployed_as.contains("dcgm"));
        if monitored {
            return Err(NodeError::InUse);
        }
        assert!(!self.holds.values().flatten().any(|held| *held == uuid), "{uuid} is destroyed while it is held");
        if self.processes.contains(&uuid) {
            return Err(NodeError::InUse);
        }
        self.find(proof.gpu(), proof.place())?.compute = None;
        self.log.push(format!("destroyed ci {uuid}"));
        Ok(())
    }

    fn destroy_gpu(&mut self, proof: &IdleProof) -> Result<(), NodeError> {
        assert!(self.tainted(), "destroyed without a taint");
        if self.find(proof.gpu(), proof.place())?.compute.is_some() {
            return Err(NodeError::InUse);
        }
        let board = self.boards.iter_mut().find(|board| board.uuid == proof.gpu()).expect("found before");
        board.instances.retain(|there| there.place != *proof.place());
        self.log.push(format!("destroyed gi {}@{}", proof.place().profile, proof.place().start));
        Ok(())
    }

    fn create_gpu(&mut self, gpu: &str, place: &Place) -> Result<(), NodeError> {
        let board = self.boards.iter_mut().find(|board| board.uuid == gpu).ok_or(NodeError::InvalidArgument)?;
        let end = place.start + place.size;
        let apart =
            |there: &InstanceState| there.place.start >= end || there.place.start + there.place.size <= place.start;
        if !board.instances.iter().all(apart) {
            return Err(NodeError::InsufficientResources);
        }
        board.instances.push(InstanceState { place: place.clone(), compute: None });
        board.instances.sort_by(|a, b| a.place.cmp(&b.place));
        self.log.push(format!("created gi {}@{}", place.profile, place.start));
        Ok(())
    }

    fn create_compute(&mut self, gpu: &str, place: &Place) -> Result<(), NodeError> {
        self.serial += 1;
        let uuid = format!("{gpu}/{}#{}", place.start, self.serial);
        let there = self.find(gpu, place)?;
        if there.compute.is_some() {
            return Err(NodeError::InsufficientResources);
        }
        there.compute = Some(uuid);
        self.log.push(format!("created ci {}@{}", place.profile, place.start));
        Ok(())
    }
}

pub(super) fn board(index: u32, layout: &[&str]) -> BoardState {
    let uuid = format!("GPU-{index}");
    let instances = places(layout).into_iter();
    BoardState {
        index,
        model: "NVIDIA A100-SXM4-80GB".to_owned(),
        mig_mode: true,
        instances: instances
            .map(|place| InstanceState { compute: Some(format!("{uuid}/{}", place.start)), place })
            .collect(),
        uuid,
    }
}

/// The operation that turns [`BASE`] into [`TARGET`], with these victims.
pub(super) fn operation(victims: &[&str]) -> Operation {
    let (base, target) = (places(&BASE), places(&TARGET));
    let mut layout = base.clone();
    let mut steps = Vec::new();
    let gone = base.iter().filter(|place| !target.contains(place)).map(|place| (StepAction::Destroy, place));
    let come = target.iter().filter(|place| !base.contains(place)).map(|place| (StepAction::Create, place));
    for (action, instance) in gone.chain(come) {
        let precondition = layout.clone();
        steps.push(Step { action, gpu: 0, uuid: "GPU-0".to_owned(), instance: instance.clone(), precondition });
        match action {
            StepAction::Destroy => layout.retain(|place| place != instance),
            StepAction::Create => layout.push(instance.clone()),
        }
    }
    let origin = Origin {
        id: OperationId(OP.to_owned()),
        epoch: 1,
        node_uid: "node-1".to_owned(),
        residents: ["neighbour", "other", "victim"].map(|name| pod_ref(name).uid).to_vec(),
    };
    let victims = victims.iter().map(|name| Victim { pod: pod_ref(name), placed_on: Some("gpu-b".to_owned()) });
    Operation {
        gpus: vec![GpuTarget { uuid: "GPU-0".to_owned(), index: 0, base, target }],
        steps,
        victims: victims.collect(),
        ..repair(origin)
    }
}
