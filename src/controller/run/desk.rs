//! The controller's tickets but the lease's: who asks, who rests and until when, and who has to look again.
//!
//! Inputs: answers, wakes, the moment. Outputs: requests to send, and the end. Holds no clock, sends nothing and decides nothing: what a ticket
//! does next is the [`Controller`]'s word. Invariants: a ticket has one request or one rest outstanding; what changes while it asks makes its
//! next rest short, so that nothing is overlooked; once it is stopping, nothing new is sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::{Asked, Controller, Farewell, Ticket};
use crate::exec::port::{ClusterReply, ClusterRequest};
use crate::exec::{Event, Moment, Next};

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Sends a request; its answer belongs to the ticket.
    Send(Ticket, Box<ClusterRequest>),
    /// The process must end at once, as it does not lead any more.
    Vanish,
    /// Nothing is outstanding any more: the lease may be handed back.
    Rest,
}

/// What a ticket does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It waits for an answer.
    Asks,
    /// It rests until then.
    Rests(Moment),
}

/// A controller and its tickets.
pub(super) struct Desk {
    pub(super) controller: Controller,
    tickets: BTreeMap<Ticket, Doing>,
    stirred: BTreeSet<Ticket>,
    stopping: bool,
}

impl Desk {
    pub(super) fn new(controller: Controller) -> Self {
        Self { controller, tickets: BTreeMap::new(), stirred: BTreeSet::new(), stopping: false }
    }

    /// This process leads.
    pub(super) fn lead(&mut self, now: Moment) -> Vec<Order> {
        let asked = self.controller.lead(now);
        self.take(asked.into_iter().collect(), now)
    }

    /// When the next rest ends.
    pub(super) fn next(&self) -> Option<Moment> {
        let rests = self.tickets.values().filter_map(|doing| match doing {
            Doing::Asks => None,
            Doing::Rests(until) => Some(*until),
        });
        rests.min().filter(|_| !self.stopping)
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, ticket: &Ticket, reply: ClusterReply, now: Moment) -> Vec<Order> {
        if self.tickets.remove(ticket) != Some(Doing::Asks) {
            return Vec::new();
        }
        if self.stopping {
            return self.close();
        }
        let asked = self.controller.step(ticket, Event::Reply(reply), now);
        self.take(asked, now)
    }

    /// Wakes the tickets whose rest is over.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<Order> {
        let mut orders = Vec::new();
        while let Some(ticket) = self.due(now) {
            orders.extend(self.wake(&ticket, now));
        }
        orders
    }

    fn due(&self, now: Moment) -> Option<Ticket> {
        let over = |doing: &Doing| matches!(doing, Doing::Rests(until) if *until <= now);
        let due = self.tickets.iter().find(|(_, doing)| over(doing)).map(|(ticket, _)| ticket.clone());
        due.filter(|_| !self.stopping)
    }

    /// Something that a ticket watches has changed.
    pub(super) fn stir(&mut self, ticket: &Ticket, now: Moment) -> Vec<Order> {
        match self.tickets.get(ticket) {
            Some(Doing::Rests(_)) if !self.stopping => self.wake(ticket, now),
            Some(Doing::Asks) => {
                self.stirred.insert(ticket.clone());
                Vec::new()
            }
            Some(Doing::Rests(_)) | None => Vec::new(),
        }
    }

    fn wake(&mut self, ticket: &Ticket, now: Moment) -> Vec<Order> {
        self.tickets.remove(ticket);
        let asked = self.controller.step(ticket, Event::Wake, now);
        self.take(asked, now)
    }

    /// Nothing new is begun. What is under way on nodes goes on with whoever leads next.
    pub(super) fn stop(&mut self) -> Vec<Order> {
        self.stopping = true;
        self.tickets.retain(|_, doing| *doing == Doing::Asks);
        self.close()
    }

    /// Rests when nothing is outstanding any more.
    fn close(&self) -> Vec<Order> {
        if self.stopping && self.tickets.is_empty() { vec![Order::Rest] } else { Vec::new() }
    }

    fn take(&mut self, asked: Vec<Asked>, now: Moment) -> Vec<Order> {
        let mut orders = Vec::new();
        for (ticket, next) in asked {
            match next {
                Next::Ask(_) | Next::Rest(_) if self.stopping => {}
                Next::Ask(request) => {
                    // Whatever has changed before the request is seen by it.
                    self.stirred.remove(&ticket);
                    self.tickets.insert(ticket.clone(), Doing::Asks);
                    orders.push(Order::Send(ticket, Box::new(request)));
                }
                Next::Rest(rest) => {
                    let until = if self.stirred.remove(&ticket) { now } else { now + rest };
                    self.tickets.insert(ticket, Doing::Rests(until));
                }
                Next::End(Farewell::OperationOver) => {
                    self.stirred.remove(&ticket);
                }
                Next::End(Farewell::LostLeadership) => return vec![Order::Vanish],
            }
        }
        orders.extend(self.close());
        orders
    }
}
