//! The processes of retile: their requests on the way, their rests, crashes, pauses.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exec::Moment;
use crate::exec::port::{ClusterError, ClusterReply, ClusterRequest, NodeError};
use crate::sim::api::View;
use crate::sim::engine::{Call, Deeds, Refusal, RequestKind, Verdict};
use crate::sim::history::Record;
use crate::sim::invariants::Look;
use crate::sim::process::{Action, ProcessId, Program, Reply, Request, Slot, Told};

use super::World;
use super::happening::{Address, Happening, Sent, Then};
use super::settings::Span;
use super::watching;

/// Makes the code of processes anew whenever they start.
pub trait Programs {
    /// The code of a process; none if it is not part of this simulation. `life` counts its starts.
    fn program(&mut self, process: &ProcessId, life: u64) -> Option<Box<dyn Program>>;

    /// What processes have to say for the history since the last time.
    fn take_records(&mut self) -> Vec<Record>;
}

/// What a slot is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Doing {
    token: u64,
    resting: bool,
    /// Whether something that it watches has changed since it last looked.
    stirred: bool,
    /// What the answer will show, and of whom.
    look: Option<(String, Look)>,
}

/// A process.
pub(super) struct Process {
    /// Its code, while it runs.
    program: Option<Box<dyn Program>>,
    /// Starts so far.
    life: u64,
    /// What its monotonic clock showed at the simulation's moment zero.
    clock: u64,
    slots: BTreeMap<Slot, Doing>,
    tokens: u64,
    /// Until when it stands still.
    paused_until: u64,
    retired: bool,
}

impl World {
    pub(super) fn launch_soon(&mut self, process: ProcessId) {
        let delay = self.draw(self.settings.restart);
        self.queue.after(delay, Happening::Launch(process));
    }

    pub(super) fn launch(&mut self, id: &ProcessId) {
        let clock = self.draw(Span::between(0, 1 << 32));
        let up = match id {
            ProcessId::Agent(node) => self.hosts.get(node).is_some_and(|host| host.up),
            ProcessId::Controller(_) => true,
        };
        let new = || Process {
            program: None,
            life: 0,
            clock: 0,
            slots: BTreeMap::new(),
            tokens: 0,
            paused_until: 0,
            retired: false,
        };
        let process = self.processes.entry(id.clone()).or_insert_with(new);
        if !up || process.retired || process.program.is_some() {
            return;
        }
        process.life += 1;
        process.clock = clock;
        process.slots.clear();
        let Some(mut program) = self.programs.program(id, process.life) else { return };
        let now = moment(self.queue.now(), clock);
        let actions = program.start(now);
        process.program = Some(program);
        self.trace(|| format!("{id} starts"));
        self.watch_start(id);
        self.perform(id, actions);
    }

    /// Ends a process without starting it again.
    pub(super) fn stop(&mut self, id: &ProcessId) {
        if let Some(process) = self.processes.get_mut(id) {
            process.program = None;
            process.life += 1;
            process.slots.clear();
        }
    }

    /// A process is killed, and starts anew after a while.
    pub(super) fn crash(&mut self, id: &ProcessId) {
        if self.processes.get(id).is_some_and(|process| process.program.is_some()) {
            self.trace(|| format!("{id} crashes"));
            self.stop(id);
            self.launch_soon(id.clone());
        }
    }

    pub(super) fn pause(&mut self, id: &ProcessId, until: u64) {
        if let Some(process) = self.processes.get_mut(id) {
            process.paused_until = process.paused_until.max(until);
        }
    }

    pub(super) fn retire(&mut self, id: &ProcessId) {
        self.stop(id);
        if let Some(process) = self.processes.get_mut(id) {
            process.retired = true;
        }
    }

    fn perform(&mut self, id: &ProcessId, actions: Vec<(Slot, Action)>) {
        for (slot, action) in actions {
            let Some(process) = self.processes.get_mut(id).filter(|process| process.program.is_some()) else { return };
            process.tokens += 1;
            let (token, life) = (process.tokens, process.life);
            let stirred = process.slots.get(&slot).is_some_and(|doing| doing.stirred);
            let address = Address { process: id.clone(), life, slot: slot.clone(), token };
            match action {
                Action::Ask(request) => {
                    // Whatever has changed before the request is seen by it, or by what follows it.
                    let look = watching::look(id, &slot, &request);
                    process.slots.insert(slot, Doing { token, resting: false, stirred: false, look });
                    self.send(address, request);
                }
                Action::Rest(rest) => {
                    process.slots.insert(slot, Doing { token, resting: true, stirred: false, look: None });
                    let rest = if stirred { 0 } else { millis(rest) };
                    self.queue.after(rest.max(1), Happening::Rested(address));
                }
                Action::End => drop(process.slots.remove(&slot)),
                Action::Exit => return self.crash(id),
            }
        }
    }

    fn send(&mut self, from: Address, request: Request) {
        let now = self.queue.now();
        let kind = RequestKind::of(&request);
        let number: u64 = self.requests.values().sum();
        let count = self.requests.entry(kind).or_default();
        let number_of_kind = *count;
        *count += 1;
        self.trace(|| format!("{} asks {request:?}", from.process));
        for hand in self.before.remove(&(kind, number_of_kind)).unwrap_or_default() {
            self.lay_hand(&hand);
        }
        let alive = self.processes.get(&from.process).is_some_and(|process| process.life == from.life);
        if !alive {
            return;
        }
        let mut hands = self.after.remove(&(kind, number_of_kind)).unwrap_or_default();
        let call =
            Call { at: now, process: &from.process, slot: &from.slot, request: &request, kind, number, number_of_kind };
        let verdict = self.faults.judge(&call);
        let Deeds { before, after } = self.faults.deeds(&call);
        for hand in &before {
            self.lay_hand(hand);
        }
        hands.extend(after);
        let alive = self.processes.get(&from.process).is_some_and(|process| process.life == from.life);
        if !alive {
            return;
        }
        self.watch_verdict(&from, &verdict);
        if verdict != Verdict::Pass {
            self.trace(|| format!("fault {verdict:?}"));
        }
        let mut way = self.way(&request);
        let mut sent = Sent { from, request, then: Then::Answer, stale: 0, delay: 0, hands };
        match verdict {
            Verdict::Pass => {}
            Verdict::Refuse(refusal) => {
                let reply = told(&sent.request, refusal);
                return self.queue.after(way * 2, Happening::Deliver(sent.from, Box::new(reply)));
            }
            Verdict::Lose(refusal) => sent.then = Then::Say(refusal),
            Verdict::Delay(millis) => sent.delay = millis,
            Verdict::Late(millis, refusal) => {
                let reply = told(&sent.request, refusal);
                self.queue.after(way * 2, Happening::Deliver(sent.from.clone(), Box::new(reply)));
                sent.then = Then::Nothing;
                way += millis;
            }
            Verdict::Hang(true) => sent.then = Then::Nothing,
            Verdict::Hang(false) => return,
            Verdict::Stale(versions) => sent.stale = versions,
            Verdict::CrashBefore => return self.crash(&sent.from.process.clone()),
            Verdict::CrashAfter => sent.then = Then::Crash,
        }
        self.queue.after(way, Happening::Effect(Box::new(sent)));
    }

    /// Faults after which nobody can know what is true: an old state is shown, or a write comes late.
    fn watch_verdict(&mut self, from: &Address, verdict: &Verdict) {
        let uncertain = matches!(verdict, Verdict::Stale(_) | Verdict::Late(..));
        let node = match (&from.process, &from.slot) {
            (ProcessId::Agent(node), _) | (ProcessId::Controller(_), Slot::Operation(node)) => node.clone(),
            (ProcessId::Controller(_), Slot::Agent | Slot::Lease | Slot::Loop) => return,
        };
        if uncertain {
            self.watch_disturbance(&node);
        }
    }

    /// How long a request takes to arrive.
    fn way(&mut self, request: &Request) -> u64 {
        match request {
            Request::Cluster(_) => self.draw(self.settings.api),
            Request::Node(_) => 0,
        }
    }

    /// A request has its effect, whether or not the process that sent it still runs.
    pub(super) fn effect(&mut self, sent: Sent) {
        let Sent { from, request, then, stale, delay, hands } = sent;
        let Some((reply, back)) = self.answer(&from, &request, stale) else { return };
        for hand in &hands {
            // What was done is passed on first, as hands may rely on it.
            self.lay_hand(hand);
        }
        let reply = match then {
            Then::Answer => reply,
            Then::Say(refusal) => told(&request, refusal),
            Then::Crash => {
                let alive = self.processes.get(&from.process).is_some_and(|process| process.life == from.life);
                if alive {
                    self.crash(&from.process);
                }
                return;
            }
            Then::Nothing => return,
        };
        self.queue.after(back.saturating_add(delay), Happening::Deliver(from, Box::new(reply)));
    }

    /// The API server's answer to a request at this moment, whoever asks: none of the processes needs to run, and nobody is judged by it.
    ///
    /// # Errors
    /// As the API server would.
    pub fn ask(&mut self, request: &ClusterRequest) -> ClusterReply {
        let now = self.queue.now();
        self.cache.follow(&self.api, now);
        let view = View { observer: &self.observer, cache: &self.cache.objects };
        self.api.answer(now, request, &view)
    }

    fn answer(&mut self, from: &Address, request: &Request, stale: u64) -> Option<(Reply, u64)> {
        let now = self.queue.now();
        let process = &from.process;
        match request {
            Request::Cluster(request) => {
                let before = self.watch_before(request);
                let kind = RequestKind::of(&Request::Cluster(request.clone()));
                let reply = if stale > 0 && !kind.writes() && kind != RequestKind::DryRun {
                    self.cache.follow(&self.api, now);
                    let view = View { observer: &self.observer, cache: &self.cache.objects };
                    self.api.answer_stale(now, request, self.api.version().saturating_sub(stale), &view)
                } else {
                    self.ask(request)
                };
                self.watch_after(process, request, before, &reply);
                Some((Reply::Cluster(reply), self.draw(self.settings.api)))
            }
            Request::Node(request) => {
                let ProcessId::Agent(node) = process else {
                    let error = NodeError::Local("the controller runs on no node of its own".to_owned());
                    return Some((Reply::Node(Err(error)), 0));
                };
                let host = self.hosts.get_mut(node).filter(|host| host.up)?;
                let answered = host.sim.answer(request, None);
                if let Some(effect) = answered.effect {
                    self.watch_effect(node, from.life, &effect);
                    self.note_effect(node, effect);
                }
                Some((Reply::Node(answered.reply), millis(answered.latency)))
            }
        }
    }

    pub(super) fn deliver(&mut self, address: &Address, reply: Reply) {
        if self.waits(address, false)
            && !self.put_off(&address.process, || Happening::Deliver(address.clone(), Box::new(reply.clone())))
        {
            self.trace(|| format!("{} is told {reply:?}", address.process));
            let doing = self.processes.get_mut(&address.process).and_then(|it| it.slots.get_mut(&address.slot));
            if let Some((actor, look)) = doing.and_then(|doing| doing.look.take()) {
                self.watch_look(&address.process, &actor, look, shows(look, &reply));
            }
            self.tell(&address.process, &address.slot, Told::Reply(reply));
        }
    }

    pub(super) fn rested(&mut self, address: &Address) {
        if self.waits(address, true) && !self.put_off(&address.process, || Happening::Rested(address.clone())) {
            self.tell(&address.process, &address.slot, Told::Wake);
        }
    }

    pub(super) fn wake(&mut self, id: &ProcessId, slot: &Slot) {
        let Some(doing) = self.processes.get_mut(id).and_then(|process| process.slots.get_mut(slot)) else { return };
        if !doing.resting {
            doing.stirred = true;
        } else if !self.put_off(id, || Happening::Wake(id.clone(), slot.clone())) {
            self.tell(id, slot, Told::Wake);
        }
    }

    /// Whether a slot still waits for just this.
    fn waits(&self, address: &Address, resting: bool) -> bool {
        self.processes.get(&address.process).is_some_and(|process| {
            let doing = process.slots.get(&address.slot);
            process.life == address.life
                && doing.is_some_and(|doing| doing.token == address.token && doing.resting == resting)
        })
    }

    /// Puts an event off for a process that stands still.
    fn put_off(&mut self, id: &ProcessId, event: impl FnOnce() -> Happening) -> bool {
        let until = self.processes.get(id).map_or(0, |process| process.paused_until);
        let still = until > self.queue.now();
        if still {
            self.queue.at(until, event());
        }
        still
    }

    fn tell(&mut self, id: &ProcessId, slot: &Slot, told: Told) {
        let now = self.queue.now();
        let Some(process) = self.processes.get_mut(id) else { return };
        let now = moment(now, process.clock);
        let Some(program) = &mut process.program else { return };
        let actions = program.step(slot, told, now);
        self.perform(id, actions);
    }

    /// Whether a process runs.
    pub(super) fn runs(&self, id: &ProcessId) -> bool {
        self.processes.get(id).is_some_and(|process| process.program.is_some())
    }

    /// Slots of all running processes that are of a kind.
    pub(super) fn slots(&self, is: impl Fn(&ProcessId, &Slot) -> bool) -> Vec<(ProcessId, Slot)> {
        let mut found = Vec::new();
        for (id, process) in &self.processes {
            found.extend(process.slots.keys().filter(|slot| is(id, slot)).map(|slot| (id.clone(), slot.clone())));
        }
        found
    }
}

/// Whether an answer shows what was asked for; that there is no record is such an answer.
fn shows(look: Look, reply: &Reply) -> bool {
    match reply {
        Reply::Cluster(Err(ClusterError::NotFound)) => look == Look::Record,
        Reply::Cluster(reply) => reply.is_ok(),
        Reply::Node(reply) => reply.is_ok(),
    }
}

fn moment(now: u64, clock: u64) -> Moment {
    Moment(now.saturating_add(clock))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A fault's error as an answer of the kind that was asked for.
fn told(request: &Request, refusal: Refusal) -> Reply {
    match (request, refusal) {
        (Request::Cluster(_), Refusal::Cluster(error)) => Reply::Cluster(Err(error)),
        (Request::Cluster(_), Refusal::Node(error)) => Reply::Cluster(Err(ClusterError::Unknown(error.to_string()))),
        (Request::Node(_), Refusal::Node(error)) => Reply::Node(Err(error)),
        (Request::Node(_), Refusal::Cluster(_)) => Reply::Node(Err(NodeError::Unknown)),
    }
}
