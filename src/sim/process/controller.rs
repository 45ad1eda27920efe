//! The controller as a process: lease, loop and operations.

use std::cell::RefCell;
use std::rc::Rc;

use crate::controller::{Controller, Farewell, Planned, Proposer, Settings, Ticket};
use crate::exec::port::{ClusterReply, ClusterRequest};
use crate::exec::{Event, Moment, Next};
use crate::sim::history::Record;

use super::{Action, Program, Reply, Request, Slot, Told};

/// What controllers have to say for the history; shared, because processes come and go.
pub type Said = Rc<RefCell<Vec<Record>>>;

/// The real controller.
pub struct ControllerProcess {
    controller: Controller,
    said: Said,
}

impl ControllerProcess {
    /// A controller that has just started. `settings.identity` must be one that no process has had before.
    pub fn new(settings: Settings, proposer: Box<dyn Proposer>, said: Said) -> Self {
        let identity = settings.identity.clone();
        let mut count = 0_u64;
        let ids = move || {
            count += 1;
            format!("{identity}-{count}")
        };
        Self { controller: Controller::new(settings, proposer, Box::new(ids)), said }
    }

    fn actions(&mut self, asked: Vec<(Ticket, Next<ClusterRequest, Farewell>)>) -> Vec<(Slot, Action)> {
        for report in self.controller.take_reports() {
            if let Some(Planned { served, unserved, .. }) = report.planned {
                let unserved = unserved.values().map(|&count| count as u64).sum();
                self.said.borrow_mut().push(Record::Planned { served: served as u64, unserved });
            }
        }
        let action = |next| match next {
            Next::Ask(request) => Action::Ask(Request::Cluster(request)),
            Next::Rest(rest) => Action::Rest(rest),
            Next::End(Farewell::LostLeadership) => Action::Exit,
            Next::End(Farewell::OperationOver) => Action::End,
        };
        asked.into_iter().map(|(ticket, next)| (slot(ticket), action(next))).collect()
    }
}

impl Program for ControllerProcess {
    fn start(&mut self, now: Moment) -> Vec<(Slot, Action)> {
        let asked = self.controller.start(now);
        self.actions(asked)
    }

    fn step(&mut self, slot: &Slot, told: Told, now: Moment) -> Vec<(Slot, Action)> {
        let event: Event<ClusterReply> = match told {
            Told::Wake => Event::Wake,
            Told::Reply(Reply::Cluster(reply)) => Event::Reply(reply),
            // A controller asks nothing of a node, so no such answer comes.
            Told::Reply(Reply::Node(_)) => return Vec::new(),
        };
        let ticket = match slot {
            Slot::Lease => Ticket::Lease,
            Slot::Loop => Ticket::Loop,
            Slot::Operation(node) => Ticket::Operation(node.clone()),
            // Slots of other processes.
            Slot::Agent => return Vec::new(),
        };
        let asked = self.controller.step(&ticket, event, now);
        self.actions(asked)
    }
}

fn slot(ticket: Ticket) -> Slot {
    match ticket {
        Ticket::Lease => Slot::Lease,
        Ticket::Loop => Slot::Loop,
        Ticket::Operation(node) => Slot::Operation(node),
    }
}
