//! A replica of the controller as a process.

use crate::controller::{Asked, Controller, Farewell, Ticket};
use crate::exec::port::ClusterError;
use crate::exec::{Event, Moment, Next};

use super::{Action, Program, Reply, Request, Slot, Told};

/// The real controller: lease, loop and operations.
pub struct Leader(Controller);

impl Leader {
    /// A replica that has just started.
    pub fn new(controller: Controller) -> Self {
        Self(controller)
    }
}

impl Program for Leader {
    fn start(&mut self, now: Moment) -> Vec<(Slot, Action)> {
        self.0.start(now).into_iter().map(action).collect()
    }

    fn step(&mut self, slot: &Slot, told: Told, now: Moment) -> Vec<(Slot, Action)> {
        let ticket = match slot {
            Slot::Lease => Ticket::Lease,
            Slot::Loop => Ticket::Loop,
            Slot::Operation(node) => Ticket::Operation(node.clone()),
            Slot::Agent => return Vec::new(),
        };
        let event = match told {
            Told::Wake => Event::Wake,
            Told::Reply(Reply::Cluster(reply)) => Event::Reply(reply),
            Told::Reply(Reply::Node(_)) => Event::Reply(Err(ClusterError::Unknown("an answer of a node".to_owned()))),
        };
        self.0.step(&ticket, event, now).into_iter().map(action).collect()
    }
}

fn action((ticket, next): Asked) -> (Slot, Action) {
    let slot = match ticket {
        Ticket::Lease => Slot::Lease,
        Ticket::Loop => Slot::Loop,
        Ticket::Operation(node) => Slot::Operation(node),
    };
    let action = match next {
        Next::Ask(request) => Action::Ask(Request::Cluster(request)),
        Next::Rest(rest) => Action::Rest(rest),
        Next::End(Farewell::OperationOver) => Action::End,
        Next::End(Farewell::LostLeadership) => Action::Exit,
    };
    (slot, action)
}
