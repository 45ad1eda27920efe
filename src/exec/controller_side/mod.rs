//! The controller's machine: sees one operation of one node through, from its claim to its release.
//!
//! It goes in rounds: it reads what its phase needs, decides from that alone, does one write, and reads again. What it remembers is only how
//! long it has been waiting, how often it has lost a race, and whether it has evicted somebody itself; a machine that adopts an operation in
//! any phase therefore goes on with it. Phases are in the files: `settle` (Claimed), `drain` (Draining), `handover` (Drained, Cancelling),
//! `restart` (Restarting), `release` (Releasing); what pauses other clients of the GPUs between Draining and Restarting is in `clients`.
//!
//! Inputs: answers of the API server and of the loop. Outputs: [`OperationRequest`]s. Invariants: nobody is evicted before the plan was
//! found to hold on fresh state with the taint in place; a record is written only with the version that the decision was made from; only
//! our own taint with our own id is removed, and only while the node advertises what the board has and no client is paused by us.

mod clients;
mod drain;
mod handover;
mod release;
mod restart;
mod settle;

use std::collections::BTreeSet;
use std::time::Duration;

use super::backoff::Backoff;
use super::port::{ClusterAnswer, ClusterError, ClusterRequest, Judgement, OperationReply, OperationRequest};
use super::record::{MigNode, Operation, OperationId, Outcome, Phase};
use super::seen::Seen;
use super::timing::{Moment, Timing};
use super::view::{NodeView, PodView};
use super::{Event, Next};
use crate::model::Clients;

/// How a machine ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The operation is over, and the record says so.
    Ended(Outcome, String),
    /// The operation is not, or no longer, this machine's to lead; it has touched nothing since.
    Lost(String),
}

type Todo = Next<OperationRequest, Closed>;
/// What was read, or what is to be done first.
type Read<T> = Result<T, Box<Todo>>;

/// Something comes before what was to be read.
fn first<T>(todo: Todo) -> Read<T> {
    Err(Box::new(todo))
}

/// What was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Nothing,
    Record,
    Node,
    Pods,
    Judge,
    Write,
    Taint,
    /// Whether the clients may be paused.
    PauseRehearsal,
    Pause,
    Resume,
    Rehearsal(String),
    Eviction,
    Plugin,
}

/// What was read in this round.
#[derive(Debug, Default)]
struct Look {
    record: Option<MigNode>,
    node: Seen<NodeView>,
    pods: Option<Vec<PodView>>,
    judged: Option<Judgement>,
}

/// Since when, within one phase.
#[derive(Debug, Default)]
struct Waits {
    phase: Option<(Phase, Moment)>,
    /// When our taint was first seen.
    tainted: Option<Moment>,
    /// The agent's heartbeat then.
    heartbeat: u64,
    /// Whether the pause of clients was allowed in a dry run.
    pause_rehearsed: bool,
    /// When clients were first seen to be paused.
    paused: Option<Moment>,
    /// Whether they may not be let go on.
    kept_paused: bool,
    /// When all victims were first seen to be gone.
    emptied: Option<Moment>,
    /// The node's heartbeat at which it first advertised the layout.
    advertised: Option<u64>,
    /// Victims whose eviction was allowed in a dry run.
    rehearsed: BTreeSet<String>,
    /// Why the operation is given up as soon as that can be written.
    given_up: Option<String>,
}

/// The controller's side of one operation.
#[derive(Debug)]
pub struct OperationMachine {
    node: String,
    id: OperationId,
    epoch: u64,
    timing: Timing,
    clients: Clients,
    /// The operation, until it is claimed.
    draft: Option<Box<Operation>>,
    adopted: bool,
    asked: Asked,
    look: Look,
    waits: Waits,
    started: Option<Moment>,
    judged: Option<Moment>,
    evicted: bool,
    readded: bool,
    races: u32,
    errors: Backoff,
    blocked: Backoff,
    now: Moment,
    /// Before this moment nothing is asked, whoever wakes it.
    quiet: Moment,
    waiting_on: String,
}

impl OperationMachine {
    /// A machine that claims a node for an operation: only if it has none, and whoever writes first wins.
    pub fn claim(node: &str, operation: Operation, timing: Timing) -> Self {
        let (id, epoch) = (operation.id.clone(), operation.epoch);
        Self { draft: Some(Box::new(operation)), adopted: false, ..Self::adopt(node, id, epoch, timing) }
    }

    /// A machine that goes on with an operation that it finds, as the leader of a later (or the same) epoch.
    pub fn adopt(node: &str, id: OperationId, epoch: u64, timing: Timing) -> Self {
        Self {
            node: node.to_owned(),
            id,
            epoch,
            timing,
            clients: Clients::default(),
            draft: None,
            adopted: true,
            asked: Asked::Nothing,
            look: Look::default(),
            waits: Waits::default(),
            started: None,
            judged: None,
            evicted: false,
            readded: false,
            races: 0,
            errors: Backoff::default(),
            blocked: Backoff::default(),
            now: Moment::default(),
            quiet: Moment::default(),
            waiting_on: "its first look".to_owned(),
        }
    }

    /// The same, with what is done to other clients of the node's GPUs.
    #[must_use]
    pub fn with_clients(self, clients: Clients) -> Self {
        Self { clients, ..self }
    }

    /// Name of the node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Name of the operation.
    pub fn operation_id(&self) -> &OperationId {
        &self.id
    }

    /// Phase in which the operation was last seen.
    pub fn phase(&self) -> Option<Phase> {
        self.waits.phase.map(|(phase, _)| phase)
    }

    /// What it is waiting for, in words.
    pub fn waiting_on(&self) -> &str {
        &self.waiting_on
    }

    /// Takes in what happened and says what to do next.
    pub fn step(&mut self, event: Event<OperationReply>, now: Moment) -> Todo {
        self.started.get_or_insert(now);
        self.now = now;
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        let halted = match event {
            Event::Wake if now < self.quiet => Some(Next::Rest(self.quiet.since(now))),
            Event::Wake => {
                self.look = Look::default();
                None
            }
            Event::Reply(reply) => self.take_in(&asked, reply, now),
        };
        halted.unwrap_or_else(|| {
            let look = std::mem::take(&mut self.look);
            let todo = self.decide(&look, now).unwrap_or_else(|todo| *todo);
            self.look = look;
            todo
        })
    }

    /// Notes an answer. Some answers say by themselves what comes next.
    fn take_in(&mut self, asked: &Asked, reply: OperationReply, now: Moment) -> Option<Todo> {
        let answer = match reply {
            OperationReply::Judged(judgement) => {
                if judgement == Judgement::Worthwhile {
                    self.judged = Some(now);
                }
                self.look.judged = Some(judgement);
                return None;
            }
            OperationReply::Cluster(Ok(answer)) => answer,
            OperationReply::Cluster(Err(error)) => return self.fail(asked, &error),
        };
        self.errors.reset();
        match (asked, answer) {
            (Asked::Record, ClusterAnswer::MigNode(record)) => self.look.record = Some(*record),
            (Asked::Write, ClusterAnswer::MigNode(record)) => {
                self.races = 0;
                self.draft = None;
                self.look = Look { record: Some(*record), ..Look::default() };
            }
            (Asked::Node, ClusterAnswer::Node(node)) => self.look.node = Seen::There(*node),
            (Asked::Pods, ClusterAnswer::Pods(pods)) => self.look.pods = Some(pods),
            (asked, _) => {
                match asked {
                    Asked::Rehearsal(uid) => _ = self.waits.rehearsed.insert(uid.clone()),
                    Asked::PauseRehearsal => self.waits.pause_rehearsed = true,
                    Asked::Eviction => {
                        self.evicted = true;
                        self.blocked.reset();
                    }
                    Asked::Taint | Asked::Pause | Asked::Resume => self.races = 0,
                    Asked::Nothing
                    | Asked::Record
                    | Asked::Node
                    | Asked::Pods
                    | Asked::Judge
                    | Asked::Write
                    | Asked::Plugin => {}
                }
                self.look = Look::default();
            }
        }
        None
    }

    /// What an error means depends on what was asked. Whatever it was, the next look decides.
    fn fail(&mut self, asked: &Asked, error: &ClusterError) -> Option<Todo> {
        if *asked == Asked::Node && *error == ClusterError::NotFound {
            self.look.node = Seen::Absent;
            return None;
        }
        self.look = Look::default();
        if *asked == Asked::Record && *error == ClusterError::NotFound {
            return Some(Next::End(Closed::Lost(format!("node {} has no record any more", self.node))));
        }
        let denied = matches!(error, ClusterError::Forbidden(_) | ClusterError::Invalid(_));
        self.waits.kept_paused |= denied && *asked == Asked::Resume;
        let evicting = matches!(asked, Asked::Rehearsal(_) | Asked::Eviction);
        match error {
            _ if denied && matches!(asked, Asked::PauseRehearsal | Asked::Pause) => {
                self.pause_refused(error);
                None
            }
            ClusterError::BlockedByBudget => Some(self.blocked_by_budget(error)),
            ClusterError::SeveralBudgets | ClusterError::Forbidden(_) | ClusterError::Invalid(_) if evicting => {
                self.eviction_refused(error)
            }
            ClusterError::Conflict | ClusterError::NotFound => self.lose_race(error),
            ClusterError::Throttled { retry_after: Some(wait) } => {
                let wait = (*wait).clamp(self.timing.poll, self.timing.retry_most);
                Some(self.hush(wait, error))
            }
            ClusterError::Expired | ClusterError::Unknown(_) if self.errors.failures() == 0 => {
                _ = self.back_off();
                None
            }
            ClusterError::Throttled { retry_after: None }
            | ClusterError::SeveralBudgets
            | ClusterError::Forbidden(_)
            | ClusterError::Invalid(_)
            | ClusterError::Expired
            | ClusterError::Unknown(_) => {
                let wait = self.back_off();
                Some(self.hush(wait, error))
            }
        }
    }

    /// Somebody else was faster: it looks again, and after too many of these only after a rest.
    fn lose_race(&mut self, error: &ClusterError) -> Option<Todo> {
        self.races = self.races.saturating_add(1);
        if self.races <= self.timing.conflicts {
            return None;
        }
        let reason = format!("{} writes in a row were lost to others", self.races);
        self.waits.given_up.get_or_insert(reason);
        let wait = self.back_off();
        Some(self.hush(wait, error))
    }

    fn back_off(&mut self) -> Duration {
        self.errors.fail(self.timing.retry_first, self.timing.retry_most)
    }

    /// Rests after an error; nobody wakes it earlier.
    fn hush(&mut self, wait: Duration, why: &dyn std::fmt::Display) -> Todo {
        self.quiet = self.now + wait;
        self.rest(wait, why)
    }

    fn rest(&mut self, wait: Duration, why: &dyn std::fmt::Display) -> Todo {
        self.waiting_on = why.to_string();
        Next::Rest(wait)
    }

    /// Looks again after a while.
    fn poll(&mut self, why: &str) -> Todo {
        self.rest(self.timing.poll, &why)
    }

    fn ask(&mut self, asked: Asked, request: ClusterRequest) -> Todo {
        self.asked = asked;
        Next::Ask(OperationRequest::Cluster(request))
    }

    fn decide(&mut self, look: &Look, now: Moment) -> Read<Todo> {
        let Some(record) = &look.record else {
            return Ok(self.ask(Asked::Record, ClusterRequest::GetMigNode { node: self.node.clone() }));
        };
        let operation = self.find(record)?;
        if self.phase() != Some(operation.phase) {
            self.waits = Waits { phase: Some((operation.phase, now)), ..Waits::default() };
        }
        let round = Round { look, record, operation, now };
        match operation.phase {
            Phase::Claimed => self.settle(&round),
            Phase::Draining => self.drain(&round),
            Phase::Drained => self.drained(&round),
            Phase::Restarting => self.restart(&round),
            Phase::Cancelling => self.cancelling(&round),
            Phase::Releasing => self.release(&round),
            Phase::Degraded => Ok(Next::End(Closed::Ended(Outcome::Degraded, operation.detail.clone()))),
        }
    }

    /// The operation in the record, if it is this machine's; claims it, or raises its epoch, where that comes first.
    fn find<'a>(&mut self, record: &'a MigNode) -> Read<&'a Operation> {
        let present = record.spec.operation.as_ref();
        if let Some(operation) = present.filter(|operation| operation.id == self.id) {
            if operation.epoch > self.epoch {
                let reason = format!("epoch {} leads it, this is epoch {}", operation.epoch, self.epoch);
                return first(Next::End(Closed::Lost(reason)));
            }
            if operation.epoch < self.epoch {
                let epoch = self.epoch;
                return first(self.write(record, |operation| operation.epoch = epoch));
            }
            return Ok(operation);
        }
        if let Some(ended) = record.spec.history.iter().find(|ended| ended.id == self.id) {
            return first(Next::End(Closed::Ended(ended.outcome, ended.detail.clone())));
        }
        let Some(draft) = self.draft.clone() else {
            let reason = format!("the record of node {} does not carry it any more", self.node);
            return first(Next::End(Closed::Lost(reason)));
        };
        let replaced = present.filter(|operation| operation.phase == Phase::Degraded && draft.is_repair());
        if let (Some(other), None) = (present, replaced) {
            let reason = format!("operation {} is under way on node {}", other.id, self.node);
            return first(Next::End(Closed::Lost(reason)));
        }
        if let Some(highest) = record.highest_epoch().filter(|highest| *highest > self.epoch) {
            let reason = format!("epoch {highest} is on record for node {}, this is epoch {}", self.node, self.epoch);
            return first(Next::End(Closed::Lost(reason)));
        }
        first(self.claim_with(record, *draft))
    }

    /// C1: the claim; a repair takes the place of a degraded operation.
    fn claim_with(&mut self, record: &MigNode, draft: Operation) -> Todo {
        let mut spec = record.spec.clone();
        if let Some(replaced) = spec.operation.take() {
            release::remember(&mut spec, &replaced, Outcome::Degraded);
        }
        spec.operation = Some(draft);
        self.write_spec(record, spec)
    }

    /// Writes the operation changed.
    fn write(&mut self, record: &MigNode, change: impl FnOnce(&mut Operation)) -> Todo {
        let mut spec = record.spec.clone();
        if let Some(operation) = &mut spec.operation {
            change(operation);
        }
        self.write_spec(record, spec)
    }

    fn write_spec(&mut self, record: &MigNode, spec: super::MigNodeSpec) -> Todo {
        let request =
            ClusterRequest::WriteSpec { node: self.node.clone(), version: record.version, spec: Box::new(spec) };
        self.ask(Asked::Write, request)
    }

    fn advance(&mut self, record: &MigNode, phase: Phase) -> Todo {
        self.write(record, |operation| operation.phase = phase)
    }

    /// Gives up while nothing has been changed.
    fn abort(&mut self, record: &MigNode, reason: &str) -> Todo {
        self.write(record, |operation| {
            operation.phase = Phase::Releasing;
            operation.outcome = Some(Outcome::Aborted);
            reason.clone_into(&mut operation.detail);
        })
    }

    /// Has the agent restore what it has changed.
    fn cancel(&mut self, record: &MigNode, reason: &str) -> Todo {
        self.write(record, |operation| {
            operation.phase = Phase::Cancelling;
            reason.clone_into(&mut operation.detail);
        })
    }

    /// Leaves the node to people, with its taint.
    fn degrade(&mut self, record: &MigNode, reason: &str) -> Todo {
        self.write(record, |operation| {
            operation.phase = Phase::Degraded;
            operation.outcome = Some(Outcome::Degraded);
            reason.clone_into(&mut operation.detail);
        })
    }

    /// The node, which is still the one that the operation is about; else the operation ends.
    fn node_of<'a>(&mut self, round: &Round<'a>) -> Read<&'a NodeView> {
        match &round.look.node {
            Seen::NotYet => first(self.ask(Asked::Node, ClusterRequest::GetNode { node: self.node.clone() })),
            Seen::There(node) if node.uid == round.operation.node_uid => Ok(node),
            Seen::There(_) | Seen::Absent => {
                first(self.close(round, Outcome::NodeGone, "the node is gone, or another one has its name"))
            }
        }
    }

    fn pods_of<'a>(&mut self, round: &Round<'a>) -> Read<&'a [PodView]> {
        match &round.look.pods {
            Some(pods) => Ok(pods),
            None => first(self.ask(Asked::Pods, ClusterRequest::ListPods { node: self.node.clone() })),
        }
    }

    /// Asks the loop, unless it has just said so.
    fn judge(&mut self, round: &Round<'_>) -> Read<()> {
        let fresh = self.judged.is_some_and(|at| round.now.since(at) < self.timing.poll);
        if fresh || round.operation.is_repair() {
            return Ok(());
        }
        match &round.look.judged {
            Some(Judgement::Worthwhile) => Ok(()),
            Some(Judgement::Pointless(reason)) => first(self.abort(round.record, reason)),
            None => {
                self.asked = Asked::Judge;
                first(Next::Ask(OperationRequest::Judge(Box::new(round.operation.clone()))))
            }
        }
    }

    fn add_taint(&mut self, node: &NodeView) -> Todo {
        let operation = self.id.clone();
        self.ask(Asked::Taint, ClusterRequest::AddTaint { node: self.node.clone(), version: node.version, operation })
    }

    /// Puts our taint back once, where somebody has removed it; the second time the operation is given up.
    fn keep_taint(&mut self, round: &Round<'_>, node: &NodeView) -> Read<()> {
        match node.our_taint() {
            Some(value) if value == self.id.0 => {
                self.waits.tainted.get_or_insert(round.now);
                Ok(())
            }
            taint => {
                let seen = self.waits.tainted.is_some();
                if taint.is_some() || (seen && self.readded) {
                    return first(match round.operation.phase {
                        Phase::Claimed | Phase::Draining => self.abort(round.record, "somebody removes our taint"),
                        Phase::Drained | Phase::Restarting | Phase::Cancelling | Phase::Releasing | Phase::Degraded => {
                            self.cancel(round.record, "somebody removes our taint")
                        }
                    });
                }
                self.readded |= seen;
                self.waits.tainted = None;
                first(self.add_taint(node))
            }
        }
    }

    /// How long the operation has been in its phase, as far as this machine knows.
    fn in_phase(&self, now: Moment) -> Duration {
        self.waits.phase.map_or(Duration::ZERO, |(_, since)| now.since(since))
    }

    /// How long this machine has led it.
    fn under_way(&self, now: Moment) -> Duration {
        self.started.map_or(Duration::ZERO, |since| now.since(since))
    }
}

/// One round: what was read, and when.
#[derive(Clone, Copy)]
struct Round<'a> {
    look: &'a Look,
    record: &'a MigNode,
    operation: &'a Operation,
    now: Moment,
}
