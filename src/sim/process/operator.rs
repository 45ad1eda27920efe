//! A controller that does nothing but carry out one operation, without lease and planner: the protocol alone.
//!
//! After a crash it goes on with what it finds in the record, as a new leader would. Every judgement is that the operation is worthwhile.

use std::time::Duration;

use crate::exec::port::{ClusterAnswer, ClusterReply, ClusterRequest, Judgement, OperationReply, OperationRequest};
use crate::exec::{Event, MigNode, Moment, Next, Operation, OperationMachine, Timing};

use super::{Action, Program, Reply, Request, Slot, Told};

/// Makes the operation out of the node's record, once that shows what is needed.
pub type Draft = Box<dyn FnMut(&MigNode) -> Option<Operation>>;

/// The controller of one operation.
pub struct Operator {
    node: String,
    timing: Timing,
    epoch: u64,
    draft: Draft,
    machine: Option<OperationMachine>,
}

impl Operator {
    /// The operator of a node, just started; `epoch` is what a lease would give it.
    pub fn new(node: &str, timing: Timing, epoch: u64, draft: Draft) -> Self {
        Self { node: node.to_owned(), timing, epoch, draft, machine: None }
    }

    fn look(&self) -> Action {
        Action::Ask(Request::Cluster(ClusterRequest::GetMigNode { node: self.node.clone() }))
    }

    /// Goes on with the operation in the record, or claims a new one.
    fn begin(&mut self, reply: &Reply, now: Moment) -> Action {
        let Reply::Cluster(Ok(ClusterAnswer::MigNode(record))) = reply else { return again() };
        let machine = match &record.spec.operation {
            Some(found) => OperationMachine::adopt(&self.node, found.id.clone(), self.epoch, self.timing),
            None => match (self.draft)(record) {
                Some(draft) => {
                    OperationMachine::claim(&self.node, Operation { epoch: self.epoch, ..draft }, self.timing)
                }
                None => return again(),
            },
        };
        self.machine = Some(machine);
        self.tell(Event::Wake, now)
    }

    fn tell(&mut self, mut event: Event<OperationReply>, now: Moment) -> Action {
        loop {
            let Some(machine) = &mut self.machine else { return self.look() };
            match machine.step(event, now) {
                Next::Ask(OperationRequest::Cluster(request)) => return Action::Ask(Request::Cluster(request)),
                Next::Ask(OperationRequest::Judge(_)) => {
                    event = Event::Reply(OperationReply::Judged(Judgement::Worthwhile));
                }
                Next::Rest(rest) => return Action::Rest(rest),
                Next::End(_) => {
                    self.machine = None;
                    return again();
                }
            }
        }
    }
}

/// Looks again after a while.
fn again() -> Action {
    Action::Rest(Duration::from_secs(2))
}

impl Program for Operator {
    fn start(&mut self, _: Moment) -> Vec<(Slot, Action)> {
        vec![(Slot::Operation(self.node.clone()), self.look())]
    }

    fn step(&mut self, slot: &Slot, told: Told, now: Moment) -> Vec<(Slot, Action)> {
        let action = match told {
            Told::Wake if self.machine.is_none() => self.look(),
            Told::Wake => self.tell(Event::Wake, now),
            Told::Reply(reply) if self.machine.is_none() => self.begin(&reply, now),
            Told::Reply(Reply::Cluster(reply)) => self.tell(Event::Reply(cluster(reply)), now),
            Told::Reply(Reply::Node(_)) => self.look(),
        };
        vec![(slot.clone(), action)]
    }
}

fn cluster(reply: ClusterReply) -> OperationReply {
    OperationReply::Cluster(reply)
}
