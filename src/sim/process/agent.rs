//! The agent of a node as a process.

use crate::exec::port::{AgentReply, AgentRequest};
use crate::exec::{AgentEnd, AgentMachine, Event, Moment, Next, Timing};

use super::{Action, Program, Reply, Request, Slot, Told};

/// The real agent's machine.
#[derive(Debug)]
pub struct Agent(AgentMachine);

impl Agent {
    /// The agent of a node, just started.
    pub fn new(node: &str, timing: Timing) -> Self {
        Self(AgentMachine::new(node, timing))
    }

    fn tell(&mut self, event: Event<AgentReply>, now: Moment) -> Vec<(Slot, Action)> {
        let action = match self.0.step(event, now) {
            Next::Ask(AgentRequest::Cluster(request)) => Action::Ask(Request::Cluster(request)),
            Next::Ask(AgentRequest::Node(request)) => Action::Ask(Request::Node(request)),
            Next::Rest(rest) => Action::Rest(rest),
            Next::End(AgentEnd::Restart(_)) => Action::Exit,
        };
        vec![(Slot::Agent, action)]
    }
}

impl Program for Agent {
    fn start(&mut self, now: Moment) -> Vec<(Slot, Action)> {
        self.tell(Event::Wake, now)
    }

    fn step(&mut self, _: &Slot, told: Told, now: Moment) -> Vec<(Slot, Action)> {
        let event = match told {
            Told::Wake => Event::Wake,
            Told::Reply(Reply::Cluster(reply)) => Event::Reply(AgentReply::Cluster(reply)),
            Told::Reply(Reply::Node(reply)) => Event::Reply(AgentReply::Node(reply)),
        };
        self.tell(event, now)
    }
}
