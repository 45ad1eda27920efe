//! Changes of boards: S1 to S4 and S16 to S19.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Invariant};
use crate::exec::port::{ClusterRequest, Intent, NodeRequest, Store};
use crate::exec::{AgentPhase, GpuTarget, MigNode, NodeView, Operation, Phase};
use crate::model::{Layout, Placement};
use crate::plan::Place;
use crate::sim::node::{Action, Board, Effect, Holder};

/// Something that is read before something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// The node's record.
    Record,
    /// The node.
    Node,
    /// Its pods.
    Pods,
    /// Its boards.
    Boards,
    /// Who holds instances.
    Occupants,
}

impl Look {
    /// What the answer to a request to the API server shows, of one node.
    pub fn of_cluster(request: &ClusterRequest) -> Option<Self> {
        match request {
            ClusterRequest::GetMigNode { .. }
            | ClusterRequest::WriteSpec { .. }
            | ClusterRequest::WriteStatus { .. } => Some(Self::Record),
            ClusterRequest::GetNode { .. }
            | ClusterRequest::AddTaint { .. }
            | ClusterRequest::RemoveTaint { .. }
            | ClusterRequest::PauseClients { .. }
            | ClusterRequest::ResumeClients { .. } => Some(Self::Node),
            ClusterRequest::ListPods { .. } => Some(Self::Pods),
            ClusterRequest::Observe { .. }
            | ClusterRequest::Evict { .. }
            | ClusterRequest::DeletePluginPod { .. }
            | ClusterRequest::GetLease
            | ClusterRequest::WriteLease { .. } => None,
        }
    }

    /// What the answer to a request to the agent's own node shows.
    pub fn of_node(request: &NodeRequest) -> Option<Self> {
        match request {
            NodeRequest::Enumerate => Some(Self::Boards),
            NodeRequest::Occupants => Some(Self::Occupants),
            NodeRequest::ReadStore
            | NodeRequest::WriteIntent(_)
            | NodeRequest::ClearIntent { .. }
            | NodeRequest::Allocatable
            | NodeRequest::RefreshDevices
            | NodeRequest::DestroyComputeInstance(_)
            | NodeRequest::DestroyGpuInstance(_)
            | NodeRequest::CreateGpuInstance { .. }
            | NodeRequest::CreateComputeInstance { .. } => None,
        }
    }
}

/// A change of a board by an agent, with the truth.
#[derive(Debug, Clone, Copy)]
pub struct SeenEffect<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// UID of the node.
    pub node_uid: &'a str,
    /// Which run of the agent; grows with every start of an agent on the node.
    pub process: u64,
    /// What has changed.
    pub effect: &'a Effect,
    /// The board afterwards.
    pub board: &'a Board,
    /// The record; none if it was deleted.
    pub record: Option<&'a MigNode>,
    /// The node; none if it was deleted.
    pub view: Option<&'a NodeView>,
    /// What is on the node's disk.
    pub store: &'a Store,
}

/// What allows an agent to change boards.
enum Authority<'a> {
    /// The operation of the record, drained or being given up.
    Operation(&'a Operation),
    /// An intent whose operation is no more: it is brought to an end.
    Intent(&'a Intent),
    /// Nothing: lost instances may be made again, no more.
    None,
}

impl<'a> Authority<'a> {
    fn of(seen: &SeenEffect<'a>) -> Self {
        let operation = seen.record.and_then(|record| record.spec.operation.as_ref());
        let intent = seen.store.intent.as_ref();
        match (operation, intent) {
            (Some(operation), _) if matches!(operation.phase, Phase::Drained | Phase::Cancelling) => {
                Self::Operation(operation)
            }
            (Some(operation), Some(intent)) if operation.id != intent.id => Self::Intent(intent),
            (None, Some(intent)) => Self::Intent(intent),
            (Some(_) | None, _) => Self::None,
        }
    }

    fn gpus(&self) -> &'a [GpuTarget] {
        match self {
            Self::Operation(operation) => &operation.gpus,
            Self::Intent(intent) => &intent.gpus,
            Self::None => &[],
        }
    }

    /// Whether the agent has taken it on.
    fn accepted(&self, seen: &SeenEffect<'_>) -> bool {
        let id = match self {
            Self::Operation(operation) => &operation.id,
            Self::Intent(_) => return true,
            Self::None => return false,
        };
        let report = seen.record.and_then(|record| record.status.operation.as_ref());
        report.is_some_and(|report| report.id == *id)
    }

    /// Whether a place is among those that change.
    fn covers(&self, gpu: &str, place: &Place) -> bool {
        let target = self.gpus().iter().find(|target| target.uuid == gpu);
        target.is_some_and(|target| target.base.contains(place) != target.target.contains(place))
    }
}

impl Checker {
    /// An actor (`agent/NODE`, `controller/NODE`) has looked, and seen something or not.
    pub fn on_look(&mut self, actor: &str, look: Look, ok: bool) {
        self.looks.entry(actor.to_owned()).or_default().insert(look, ok);
    }

    /// What an actor has not seen since its last effect, or failed to see when it last tried.
    pub(super) fn unseen(&self, actor: &str, needed: &[Look]) -> Vec<Look> {
        let nothing = BTreeMap::new();
        let seen = self.looks.get(actor).unwrap_or(&nothing);
        needed.iter().copied().filter(|look| seen.get(look) != Some(&true)).collect()
    }

    /// An actor has done something: what it saw before is old.
    pub(super) fn forget_looks(&mut self, actor: &str) {
        self.looks.remove(actor);
    }

    /// An agent (`agent/NODE`) or a controller (`controller/`, for all nodes) starts: it knows nothing.
    pub fn on_start(&mut self, who: &str) {
        self.looks.retain(|actor, _| actor != who && !(who.ends_with('/') && actor.starts_with(who)));
    }

    /// MIG mode of a GPU has changed; `ours` if not by people, nor by a reboot.
    pub fn on_mig_mode(&mut self, at: u64, gpu: &str, ours: bool) {
        if ours {
            self.violated(at, Invariant::S16, gpu, "MIG mode was changed");
        }
    }

    /// An agent has changed a board.
    pub fn on_effect(&mut self, at: u64, seen: &SeenEffect<'_>) {
        self.check_holders(at, seen);
        self.check_authority(at, seen);
        self.check_process(at, seen);
        self.check_looks(at, seen);
        self.check_layout(at, seen.board, seen.board.placements().collect());
    }

    pub(super) fn check_layout(&mut self, at: u64, board: &Board, placements: Vec<Placement>) {
        if let Err(error) = Layout::try_new(board.geometry(), placements) {
            self.violated(at, Invariant::S18, board.uuid(), error.to_string());
        }
    }

    fn check_holders(&mut self, at: u64, seen: &SeenEffect<'_>) {
        let (invariant, holders) = match &seen.effect.action {
            Action::DestroyComputeInstance { holders, .. } => (Invariant::S1, holders),
            Action::CreateGpuInstance { stale } => (Invariant::S17, stale),
            Action::DestroyGpuInstance | Action::CreateComputeInstance { .. } => return,
        };
        if let Some(holder) = holders.first() {
            self.violated(at, invariant, seen.board.uuid(), format!("{}, held by {}", shown(seen), named(holder)));
        }
    }

    fn check_authority(&mut self, at: u64, seen: &SeenEffect<'_>) {
        let Effect { gpu, place, .. } = seen.effect;
        let authority = Authority::of(seen);
        // What was there before and got lost may be made again, without any operation, and before one is accepted.
        let known = seen.store.applied.as_ref().and_then(|applied| applied.get(gpu));
        let recorded = seen.record.and_then(|record| record.spec.operation.as_ref());
        let recorded = recorded.into_iter().flat_map(|operation| &operation.gpus);
        let intended = seen.store.intent.iter().flat_map(|intent| &intent.gpus).chain(recorded);
        let base =
            authority.gpus().iter().chain(intended).find(|target| target.uuid == *gpu).map(|target| &target.base);
        let restores = !destroys(seen) && known.into_iter().chain(base).any(|places| places.contains(place));
        if restores && !authority.accepted(seen) {
            return;
        }
        if !authority.covers(gpu, place) {
            if !restores {
                let invariant = if matches!(authority, Authority::None) { Invariant::S3 } else { Invariant::S2 };
                self.violated(at, invariant, seen.node, format!("{} is not part of the operation", shown(seen)));
            }
            return;
        }
        match authority {
            Authority::Operation(operation) => self.check_operation(at, seen, operation),
            Authority::Intent(intent) => self.check_intent(at, seen, intent),
            Authority::None => {}
        }
    }

    fn check_operation(&mut self, at: u64, seen: &SeenEffect<'_>, operation: &Operation) {
        let status = seen.record.map(|record| &record.status);
        let report = status.and_then(|status| status.operation.as_ref());
        let accepted = report.filter(|report| report.id == operation.id);
        let taint = seen.view.and_then(NodeView::our_taint);
        let mut wrong = Vec::new();
        if operation.node_uid != seen.node_uid && !self.racing(at, seen.node) {
            wrong.push("another node is meant");
        }
        if accepted.is_none() {
            wrong.push("the agent has not accepted it");
        }
        if report.is_some_and(|report| report.epoch > operation.epoch) {
            wrong.push("the agent has seen a higher epoch");
        }
        if seen.store.intent.as_ref().is_none_or(|intent| intent.id != operation.id) {
            wrong.push("its intent is not on disk");
        }
        if destroys(seen) && accepted.is_some_and(|report| report.boot_id != seen.store.boot_id) {
            wrong.push("it was accepted in another boot");
        }
        // On the way back any taint of ours keeps pods away, also that of another installation.
        let going_back = accepted.is_some_and(|report| report.phase == AgentPhase::RollingBack);
        let kept = taint.is_some_and(|taint| going_back || taint == operation.id.0);
        if destroys(seen) && !kept && !self.racing(at, seen.node) {
            wrong.push("its taint is not on the node");
        }
        for wrong in wrong {
            self.violated(at, Invariant::S3, seen.node, format!("{} for {}: {wrong}", shown(seen), operation.id));
        }
    }

    fn check_intent(&mut self, at: u64, seen: &SeenEffect<'_>, intent: &Intent) {
        let tainted = seen.view.is_some_and(|view| view.our_taint().is_some());
        let mut wrong = Vec::new();
        if intent.node_uid != seen.node_uid && !self.racing(at, seen.node) {
            wrong.push("the intent is of another node");
        }
        if destroys(seen) && intent.boot_id != seen.store.boot_id {
            wrong.push("the intent is of another boot");
        }
        if destroys(seen) && !tainted && !self.racing(at, seen.node) {
            wrong.push("no taint of ours is on the node");
        }
        for wrong in wrong {
            self.violated(at, Invariant::S3, seen.node, format!("{} after {}: {wrong}", shown(seen), intent.id));
        }
    }

    fn check_process(&mut self, at: u64, seen: &SeenEffect<'_>) {
        let latest = self.agents.entry(seen.node.to_owned()).or_default();
        if seen.process < *latest {
            let what = format!("{} by a former run of the agent", shown(seen));
            self.violated(at, Invariant::S4, seen.node, what);
        } else {
            *latest = seen.process;
        }
    }

    /// Everything that says whether an instance is idle was read, without an error, since the last change.
    fn check_looks(&mut self, at: u64, seen: &SeenEffect<'_>) {
        let needed: &[Look] = match &seen.effect.action {
            Action::DestroyComputeInstance { .. } => {
                &[Look::Record, Look::Node, Look::Pods, Look::Boards, Look::Occupants]
            }
            Action::DestroyGpuInstance => &[Look::Boards],
            Action::CreateGpuInstance { .. } | Action::CreateComputeInstance { .. } => &[],
        };
        let actor = format!("agent/{}", seen.node);
        let unseen: BTreeSet<Look> = self.unseen(&actor, needed).into_iter().collect();
        if !unseen.is_empty() {
            self.violated(at, Invariant::S19, seen.node, format!("{} without a look at {unseen:?}", shown(seen)));
        }
        self.forget_looks(&actor);
    }
}

fn destroys(seen: &SeenEffect<'_>) -> bool {
    match seen.effect.action {
        Action::DestroyComputeInstance { .. } | Action::DestroyGpuInstance => true,
        Action::CreateGpuInstance { .. } | Action::CreateComputeInstance { .. } => false,
    }
}

fn shown(seen: &SeenEffect<'_>) -> String {
    let Effect { gpu, place, action } = seen.effect;
    let verb = match action {
        Action::DestroyComputeInstance { .. } => "compute instance destroyed",
        Action::DestroyGpuInstance => "GPU instance destroyed",
        Action::CreateGpuInstance { .. } => "GPU instance created",
        Action::CreateComputeInstance { .. } => "compute instance created",
    };
    format!("{verb}, {gpu} {}@{}", place.profile, place.start)
}

fn named(holder: &Holder) -> String {
    match holder {
        Holder::Container { pod, container, .. } => format!("pod {pod} ({container})"),
        Holder::Process { name } => format!("process {name}"),
        Holder::Monitor { name } => format!("monitor {name}"),
    }
}
