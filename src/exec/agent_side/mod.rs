//! The agent's machine: reports a node's instances, and changes them when an operation says so.
//!
//! It goes in rounds: it reads the record, the board and who holds what, decides by one pure function ([`startup::decide`]) as if it had
//! just started, has one effect, and reads again. What it remembers is what is on disk, how often it has tried the same thing, and whether
//! the driver hangs. Actions are in the files: `accept` (A1), `forward` (A2-A7), `backward` (R1-R4, restoring after a reboot, cleaning up
//! after an operation that vanished), `serve` (A8 and leaving `Degraded`), `report` (the status).
//!
//! Inputs: answers of the API server and of the node. Outputs: [`AgentRequest`]s. Invariants: nothing is destroyed but what the operation
//! names, with an `IdleProof` from this round and our taint on the node; what is true is what `Enumerate` shows, never a return code;
//! whatever cannot be read stops the round.

mod accept;
mod backward;
mod forward;
mod identity;
mod report;
mod serve;
mod situation;
pub mod startup;

use std::time::Duration;

use super::backoff::Backoff;
use super::mutant::{self, Mutant};
use super::port::{
    AgentReply, AgentRequest, BoardState, ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Intent,
    NodeAnswer, NodeError, NodeReply, NodeRequest, Occupant, Store,
};
use super::record::MigNode;
use super::seen::Seen;
use super::timing::{Moment, Timing};
use super::view::{NodeView, PodView};
use super::{Event, Next};
use situation::Situation;
use startup::Action;

/// How the machine ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEnd {
    /// The process must be created anew, for this reason; everything it needs is in the record and on disk.
    Restart(String),
}

type Todo = Next<AgentRequest, AgentEnd>;
/// What was read, or what is to be done first.
type Read<T> = Result<T, Box<Todo>>;

/// Something comes before what was to be read.
fn first<T>(todo: Todo) -> Read<T> {
    Err(Box::new(todo))
}

/// What was asked last.
#[derive(Debug, Clone, PartialEq)]
enum Asked {
    Nothing,
    Store,
    Record,
    Node,
    Pods,
    Boards,
    Occupants,
    Allocatable,
    Intent(Box<Intent>),
    Cleared(Option<std::collections::BTreeMap<String, Vec<crate::plan::Place>>>),
    Status(Option<Duration>),
    Instance,
    /// Device nodes, for exactly these compute instances.
    Devices(Vec<String>),
}

/// What was read in this round.
#[derive(Debug, Default)]
struct Look {
    record: Seen<MigNode>,
    node: Option<NodeView>,
    pods: Option<Vec<PodView>>,
    boards: Option<Vec<BoardState>>,
    /// Who holds what; absent when that could not be read.
    occupants: Seen<Vec<Occupant>>,
    allocatable: Option<Vec<String>>,
}

/// The agent of one node.
#[derive(Debug)]
pub struct AgentMachine {
    node: String,
    timing: Timing,
    store: Option<Store>,
    uid: Option<String>,
    /// Highest epoch seen by this process.
    epoch: u64,
    asked: Asked,
    look: Look,
    /// What is being tried, and how often that has failed in a row.
    trying: String,
    tries: Backoff,
    /// Before this moment it is not tried again; none while a try is out.
    next_try: Option<Moment>,
    now: Moment,
    /// Before this moment nothing is asked, whoever wakes it.
    quiet: Moment,
    /// Whether the layout that a reboot has cost is still to be restored.
    rebooted: bool,
    /// Compute instances whose device nodes this process has made.
    devices: Option<Vec<String>>,
    /// What the node said to the last try that failed.
    refusal: Option<String>,
    /// Why the driver is left alone.
    halted: Option<String>,
    races: u32,
    errors: Backoff,
    waiting_on: String,
}

impl AgentMachine {
    /// The machine of an agent that has just started.
    pub fn new(node: &str, timing: Timing) -> Self {
        Self {
            node: node.to_owned(),
            timing,
            store: None,
            uid: None,
            epoch: 0,
            asked: Asked::Nothing,
            look: Look::default(),
            trying: String::new(),
            tries: Backoff::default(),
            next_try: None,
            now: Moment::default(),
            quiet: Moment::default(),
            rebooted: false,
            devices: None,
            refusal: None,
            halted: None,
            races: 0,
            errors: Backoff::default(),
            waiting_on: "its first look".to_owned(),
        }
    }

    /// Name of the node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What it is waiting for, in words.
    pub fn waiting_on(&self) -> &str {
        &self.waiting_on
    }

    /// Takes in what happened and says what to do next.
    pub fn step(&mut self, event: Event<AgentReply>, now: Moment) -> Todo {
        self.now = now;
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        let halted = match event {
            Event::Wake if now < self.quiet => Some(Next::Rest(self.quiet.since(now))),
            Event::Wake => {
                self.look = Look::default();
                None
            }
            Event::Reply(AgentReply::Cluster(reply)) => self.hear_cluster(&asked, reply),
            Event::Reply(AgentReply::Node(reply)) => self.hear_node(asked, reply),
        };
        halted.unwrap_or_else(|| {
            let look = std::mem::take(&mut self.look);
            let todo = self.decide(&look).unwrap_or_else(|todo| *todo);
            self.look = look;
            todo
        })
    }

    fn hear_cluster(&mut self, asked: &Asked, reply: ClusterReply) -> Option<Todo> {
        let answer = match reply {
            Ok(answer) => answer,
            Err(error) => return self.cluster_failed(asked, &error),
        };
        self.errors.reset();
        match (asked, answer) {
            (Asked::Record, ClusterAnswer::MigNode(record)) => self.look.record = Seen::There(*record),
            (Asked::Node, ClusterAnswer::Node(node)) => {
                self.uid = Some(node.uid.clone());
                self.look.node = Some(*node);
            }
            (Asked::Pods, ClusterAnswer::Pods(pods)) => self.look.pods = Some(pods),
            (Asked::Status(rest), _) => {
                self.races = 0;
                self.look = Look::default();
                return rest.map(Next::Rest);
            }
            (_, _) => self.look = Look::default(),
        }
        None
    }

    fn cluster_failed(&mut self, asked: &Asked, error: &ClusterError) -> Option<Todo> {
        if *asked == Asked::Record && *error == ClusterError::NotFound {
            self.look.record = Seen::Absent;
            return None;
        }
        self.look = Look::default();
        if *error == ClusterError::Conflict {
            self.races = self.races.saturating_add(1);
            if self.races <= self.timing.conflicts {
                return None;
            }
        }
        let wait = self.errors.fail(self.timing.poll, self.timing.retry_most);
        let wait = match error {
            ClusterError::Throttled { retry_after } => {
                retry_after.map_or(wait, |asked| asked.clamp(self.timing.poll, self.timing.retry_most))
            }
            ClusterError::Conflict
            | ClusterError::NotFound
            | ClusterError::BlockedByBudget
            | ClusterError::SeveralBudgets
            | ClusterError::Forbidden(_)
            | ClusterError::Invalid(_)
            | ClusterError::Expired
            | ClusterError::Unknown(_) => wait,
        };
        Some(self.hush(wait, error))
    }

    fn hear_node(&mut self, asked: Asked, reply: NodeReply) -> Option<Todo> {
        let answer = match reply {
            Ok(answer) => answer,
            Err(error) => return self.node_failed(&asked, &error),
        };
        match (asked, answer) {
            (Asked::Store, NodeAnswer::Store(store)) => self.store = Some(store),
            (Asked::Boards, NodeAnswer::Boards(mut boards)) => {
                if mutant::on(Mutant(11)) {
                    for board in &mut boards {
                        board.instances.retain(|there| there.compute.is_some());
                    }
                }
                self.look.boards = Some(boards);
            }
            (Asked::Occupants, NodeAnswer::Occupants(occupants)) => self.look.occupants = Seen::There(occupants),
            (Asked::Allocatable, NodeAnswer::Allocatable(uuids)) => self.look.allocatable = Some(uuids),
            (Asked::Intent(intent), _) => {
                self.keep(|store| store.intent = Some(*intent));
                self.look = Look::default();
            }
            (Asked::Cleared(applied), _) => {
                self.keep(|store| {
                    store.intent = None;
                    store.intent_unreadable = false;
                    store.applied = applied.or(store.applied.take());
                });
                self.look = Look::default();
            }
            (Asked::Devices(instances), _) => {
                self.devices = Some(instances);
                self.look = Look::default();
            }
            (_, _) => self.look = Look::default(),
        }
        None
    }

    /// What stands on disk, as this process has just written it.
    fn keep(&mut self, change: impl FnOnce(&mut Store)) {
        if let Some(store) = &mut self.store {
            change(store);
        }
    }

    fn node_failed(&mut self, asked: &Asked, error: &NodeError) -> Option<Todo> {
        match error {
            NodeError::LibraryMismatch => {
                return Some(Next::End(AgentEnd::Restart("the driver was reloaded under its library".to_owned())));
            }
            NodeError::Hung | NodeError::GpuLost => {
                self.halted = Some(format!("{error}; the GPU needs attention, and the agent a restart afterwards"));
                self.look = Look::default();
                return None;
            }
            NodeError::InUse
            | NodeError::InsufficientResources
            | NodeError::NotFound
            | NodeError::NoPermission
            | NodeError::InvalidArgument
            | NodeError::Unknown
            | NodeError::Local(_) => {}
        }
        if *asked == Asked::Occupants {
            self.look.occupants = Seen::Absent;
            return None;
        }
        self.look = Look::default();
        if matches!(asked, Asked::Instance | Asked::Devices(_)) {
            self.refusal = Some(error.to_string());
            if mutant::on(Mutant(12)) && *error == NodeError::InsufficientResources {
                self.halted = Some(error.to_string());
            }
            // The next look shows what is true; the same try again waits.
            return None;
        }
        if matches!(asked, Asked::Intent(_) | Asked::Cleared(_)) {
            // It may have been written or not.
            self.store = None;
        }
        let wait = self.errors.fail(self.timing.poll, self.timing.retry_most);
        Some(self.hush(wait, error))
    }

    /// Rests after an error; nobody wakes it earlier.
    fn hush(&mut self, wait: Duration, why: &dyn std::fmt::Display) -> Todo {
        self.quiet = self.now + wait;
        self.waiting_on = why.to_string();
        Next::Rest(wait)
    }

    fn cluster(&mut self, asked: Asked, request: ClusterRequest) -> Todo {
        self.asked = asked;
        Next::Ask(AgentRequest::Cluster(request))
    }

    fn local(&mut self, asked: Asked, request: NodeRequest) -> Todo {
        self.asked = asked;
        Next::Ask(AgentRequest::Node(request))
    }

    fn decide(&mut self, look: &Look) -> Read<Todo> {
        let Some(store) = self.store.clone() else {
            return Ok(self.local(Asked::Store, NodeRequest::ReadStore));
        };
        let record = match &look.record {
            Seen::There(record) => Some(record),
            Seen::Absent => None,
            Seen::NotYet => {
                return Ok(self.cluster(Asked::Record, ClusterRequest::GetMigNode { node: self.node.clone() }));
            }
        };
        if self.uid.is_none() {
            self.node_of(look)?;
        }
        if self.halted.is_some() {
            return Ok(self.leave_alone(&store, record));
        }
        let Some(boards) = &look.boards else {
            return Ok(self.local(Asked::Boards, NodeRequest::Enumerate));
        };
        let occupants = match &look.occupants {
            Seen::There(occupants) if identity::unidentified(occupants) => {
                Some(identity::identified(occupants, self.pods_of(look)?))
            }
            Seen::There(occupants) => Some(occupants.clone()),
            Seen::Absent => mutant::on(Mutant(18)).then(Vec::new),
            Seen::NotYet => return Ok(self.local(Asked::Occupants, NodeRequest::Occupants)),
        };
        let uid = self.uid.clone().unwrap_or_default();
        let facts = Facts { look, store: &store, record, boards, occupants: occupants.as_deref() };
        let situation = Situation::read(&facts, &uid);
        self.epoch = self.epoch.max(situation.epoch);
        self.rebooted = situation.row.rebooted;
        if let Some(todo) = self.cancelled(&facts, &situation) {
            return Ok(todo);
        }
        match startup::decide(situation.row) {
            Action::Serve => Ok(self.serve(&facts)),
            Action::Report => Ok(self.only_report(&facts, &situation)),
            Action::Drift => Ok(self.drifted(&facts, &situation)),
            Action::Consider => self.consider(&facts, &situation),
            Action::Finish => Ok(self.finish(&facts, &situation)),
            Action::Forward => self.forward(&facts, &situation),
            Action::Backward | Action::Restore => self.backward(&facts, &situation),
            Action::Verify => self.verify(&facts, &situation),
            Action::Forget => Ok(self.clear(&facts)),
        }
    }

    fn node_of<'a>(&mut self, look: &'a Look) -> Read<&'a NodeView> {
        match &look.node {
            Some(node) => Ok(node),
            None => first(self.cluster(Asked::Node, ClusterRequest::GetNode { node: self.node.clone() })),
        }
    }

    fn pods_of<'a>(&mut self, look: &'a Look) -> Read<&'a [PodView]> {
        match &look.pods {
            Some(pods) => Ok(pods),
            None => first(self.cluster(Asked::Pods, ClusterRequest::ListPods { node: self.node.clone() })),
        }
    }

    /// Whether it is time to try something (again). What is `blocked` is not tried, but counts.
    fn attempt(&mut self, what: &str, blocked: bool) -> Attempt {
        if self.trying != what {
            what.clone_into(&mut self.trying);
            self.refusal = None;
            self.tries.reset();
            self.next_try = Some(self.now);
        }
        match self.next_try {
            Some(at) if self.now < at => return Attempt::Rest(at.since(self.now)),
            Some(_) if !blocked => {
                self.next_try = None;
                return Attempt::Go;
            }
            Some(_) | None => {}
        }
        if self.tries.failures() >= self.timing.in_use {
            return Attempt::Enough;
        }
        let wait = self.tries.fail(self.timing.retry_first, self.timing.retry_most);
        self.next_try = Some(self.now + wait);
        Attempt::Rest(wait)
    }
}

/// Whether to try something.
enum Attempt {
    /// Now.
    Go,
    /// Later.
    Rest(Duration),
    /// Not any more.
    Enough,
}

/// What a decision is made from.
#[derive(Clone, Copy)]
struct Facts<'a> {
    look: &'a Look,
    store: &'a Store,
    record: Option<&'a MigNode>,
    boards: &'a [BoardState],
    occupants: Option<&'a [Occupant]>,
}
