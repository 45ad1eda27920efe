//! The thread that takes the lease, renews it and hands it back, whatever else this process is busy with.
//!
//! Inputs: answers to the lease's requests, the moment, the word to let go. Outputs: these requests, word to the controller's thread that this
//! process leads, and how the lease ended. Decides nothing: what is asked next is the word of [`Leadership`]. Invariants: it never waits for the
//! controller's thread, which may plan for longer than a lease lasts; a lease that runs out is noticed at that moment, also while a request
//! hangs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use tokio::runtime::Handle;

use super::driver::{Clock, End, Happening, TICK};
use super::port::ClusterPort;
use crate::controller::{Leadership, Ticket};
use crate::exec::port::{ClusterReply, ClusterRequest};
use crate::exec::{Event, Moment, Next};

/// What happens to the thread.
enum Word {
    /// A request was answered.
    Answered(Box<ClusterReply>),
    /// Nothing needs the lease any more.
    LetGo,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It waits for an answer.
    Asks,
    /// It rests until then.
    Rests(Moment),
    /// It has handed the lease back and waits for the answer.
    Resigns,
}

/// Tells the thread to hand the lease back.
pub(super) struct LetGo(Sender<Word>);

impl LetGo {
    /// Nothing needs the lease any more. The thread may have ended by itself.
    pub(super) fn tell(&self) {
        drop(self.0.send(Word::LetGo));
    }
}

/// The thread.
pub(super) struct Keeper<C> {
    leadership: Leadership,
    cluster: Arc<C>,
    runtime: Handle,
    clock: Clock,
    inbox: Receiver<Word>,
    outbox: Sender<Word>,
    /// The controller's thread.
    controller: Sender<Happening>,
    leads: bool,
    lets_go: bool,
}

impl<C: ClusterPort> Keeper<C> {
    pub(super) fn new(
        leadership: Leadership,
        cluster: Arc<C>,
        runtime: Handle,
        clock: Clock,
        controller: Sender<Happening>,
    ) -> (Self, LetGo) {
        let (outbox, inbox) = channel();
        let let_go = LetGo(outbox.clone());
        let own = Self { leadership, cluster, runtime, clock, inbox, outbox, controller, leads: false, lets_go: false };
        (own, let_go)
    }

    /// Keeps the lease until it is lost, or handed back.
    pub(super) fn run(mut self) -> End {
        let mut doing = self.step(Event::Wake);
        loop {
            let doing_now = match doing {
                Ok(doing) => doing,
                Err(end) => return end,
            };
            let now = self.clock.now();
            if self.leadership.expired(now) {
                return End::LostLeadership;
            }
            let rest = match doing_now {
                Doing::Rests(until) => Some(until),
                Doing::Asks | Doing::Resigns => None,
            };
            let next = [rest, self.leadership.fresh_until()].into_iter().flatten().min();
            let wait = next.map_or(TICK, |next| next.since(now).min(TICK));
            doing = match self.inbox.recv_timeout(wait) {
                Ok(word) => self.hear(word, doing_now),
                Err(RecvTimeoutError::Timeout) => match rest {
                    Some(until) if until <= self.clock.now() => self.step(Event::Wake),
                    Some(_) | None => Ok(doing_now),
                },
                // The thread holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => Err(End::Stopped),
            };
        }
    }

    fn hear(&mut self, word: Word, doing: Doing) -> Result<Doing, End> {
        match (word, doing) {
            (Word::LetGo, Doing::Asks | Doing::Resigns) => {
                self.lets_go = true;
                Ok(doing)
            }
            (Word::LetGo, Doing::Rests(_)) => self.resign(),
            (Word::Answered(_), Doing::Resigns) => Err(End::Stopped),
            // The answer says whether the lease is held, which must be known for it to be handed back.
            (Word::Answered(reply), Doing::Asks | Doing::Rests(_)) => self.step(Event::Reply(*reply)),
        }
    }

    fn step(&mut self, event: Event<ClusterReply>) -> Result<Doing, End> {
        let now = self.clock.now();
        let next = self.leadership.step(event, now);
        if !self.leads && self.leadership.leads(now) {
            self.leads = true;
            // It may have ended by itself.
            drop(self.controller.send(Happening::Leads));
        }
        match next {
            Next::End(_) => Err(End::LostLeadership),
            Next::Ask(_) | Next::Rest(_) if self.lets_go => self.resign(),
            Next::Ask(request) => {
                self.send(request);
                Ok(Doing::Asks)
            }
            Next::Rest(wait) => Ok(Doing::Rests(now + wait)),
        }
    }

    fn resign(&mut self) -> Result<Doing, End> {
        self.lets_go = true;
        let request = self.leadership.resign(self.clock.now()).ok_or(End::Stopped)?;
        self.send(request);
        Ok(Doing::Resigns)
    }

    fn send(&self, request: ClusterRequest) {
        let (cluster, clock) = (Arc::clone(&self.cluster), self.clock);
        let (outbox, controller) = (self.outbox.clone(), self.controller.clone());
        self.runtime.spawn(async move {
            let asked = clock.now();
            let reply = cluster.answer(&request).await;
            let seconds = clock.now().since(asked).as_secs_f64();
            // Nobody hears it any more when the threads have ended.
            drop(outbox.send(Word::Answered(Box::new(reply.clone()))));
            let (ticket, request, reply) = (Ticket::Lease, Box::new(request), Box::new(reply));
            drop(controller.send(Happening::Answered { ticket, request, reply, seconds }));
        });
    }
}
