//! Drives both machines against the world, and crashes them where it is told to.

use std::time::Duration;

use super::world::{NODE, World};
use crate::exec::port::{
    AgentReply, AgentRequest, ClusterRequest, Judgement, NodeRequest, OperationReply, OperationRequest,
};
use crate::exec::*;
use crate::model::Clients;

/// A request that has no effect is no crash point of its own.
fn effect(request: &Ask) -> bool {
    match request {
        Ask::Operation(OperationRequest::Judge(_)) => false,
        Ask::Operation(OperationRequest::Cluster(request)) | Ask::Agent(AgentRequest::Cluster(request)) => !matches!(
            request,
            ClusterRequest::GetMigNode { .. } | ClusterRequest::GetNode { .. } | ClusterRequest::ListPods { .. }
        ),
        Ask::Agent(AgentRequest::Node(request)) => !matches!(
            request,
            NodeRequest::ReadStore | NodeRequest::Enumerate | NodeRequest::Occupants | NodeRequest::Allocatable
        ),
    }
}

#[derive(Debug, Clone)]
enum Ask {
    Operation(OperationRequest),
    Agent(AgentRequest),
}

/// Where a machine is.
#[derive(Debug)]
enum At<Request> {
    Due(u64),
    Asks(Request),
}

/// When a crash happens: before or after the effect with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crash {
    pub(super) effect: usize,
    pub(super) after: bool,
}

pub(super) struct Drive {
    pub(super) world: World,
    pub(super) timing: Timing,
    pub(super) controller: OperationMachine,
    clients: Clients,
    pub(super) agent: AgentMachine,
    pub(super) judgement: Judgement,
    pub(super) judged: usize,
    pub(super) effects: usize,
    pub(super) crashes: Vec<Crash>,
    pub(super) agent_down: bool,
    pub(super) ended: Option<Closed>,
    pub(super) draft: Operation,
    epoch: u64,
    controller_at: At<OperationRequest>,
    agent_at: At<AgentRequest>,
}

impl Drive {
    pub(super) fn new(world: World, operation: Operation) -> Self {
        let timing = Timing::default();
        Self {
            world,
            timing,
            controller: OperationMachine::claim(NODE, operation.clone(), timing),
            clients: Clients::Restart,
            agent: AgentMachine::new(NODE, timing),
            judgement: Judgement::Worthwhile,
            judged: 0,
            effects: 0,
            crashes: Vec::new(),
            agent_down: false,
            ended: None,
            draft: operation,
            epoch: 1,
            // The agent has reported once before anything is claimed.
            controller_at: At::Due(1000),
            agent_at: At::Due(0),
        }
    }

    /// The same with what is done to other clients of the GPUs.
    pub(super) fn with_clients(self, clients: Clients) -> Self {
        Self { controller: self.controller.with_clients(clients), clients, ..self }
    }

    /// Runs until the operation has ended, or for an hour.
    pub(super) fn run(&mut self) -> Closed {
        self.run_until(|drive| drive.ended.is_some());
        self.ended
            .clone()
            .unwrap_or_else(|| panic!("it hangs: {}\n{:#?}", self.controller.waiting_on(), self.world.log))
    }

    /// Runs until this holds, or for two hours.
    pub(super) fn run_until(&mut self, mut enough: impl FnMut(&Self) -> bool) {
        let limit = self.world.now + 7_200_000;
        while self.world.now < limit && !enough(self) {
            self.turn();
        }
    }

    /// Runs for a while.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.world.now + time.as_millis() as u64;
        while self.world.now < end {
            self.turn();
        }
    }

    /// A new leader goes on with what is in the record.
    pub(super) fn fail_over(&mut self) {
        self.epoch += 1;
        self.ended = None;
        let present = self.world.operation().is_some();
        self.controller = if present || self.world.record.as_ref().is_some_and(|r| !r.spec.history.is_empty()) {
            OperationMachine::adopt(NODE, self.draft.id.clone(), self.epoch, self.timing).with_clients(self.clients)
        } else {
            self.draft.epoch = self.epoch;
            OperationMachine::claim(NODE, self.draft.clone(), self.timing).with_clients(self.clients)
        };
        self.controller_at = At::Due(self.world.now);
    }

    /// Another operation is claimed.
    pub(super) fn claim(&mut self, operation: Operation) {
        self.ended = None;
        self.draft = operation.clone();
        self.controller = OperationMachine::claim(NODE, operation, self.timing).with_clients(self.clients);
        self.controller_at = At::Due(self.world.now);
    }

    /// The agent's process starts anew.
    pub(super) fn restart_agent(&mut self) {
        self.agent = AgentMachine::new(NODE, self.timing);
        self.agent_at = At::Due(self.world.now);
    }

    fn turn(&mut self) {
        let now = self.world.now;
        match &self.agent_at {
            At::Asks(request) if !self.agent_down => return self.answer_agent(request.clone()),
            At::Due(at) if *at <= now && !self.agent_down => return self.step_agent(Event::Wake),
            At::Asks(_) | At::Due(_) => {}
        }
        if self.ended.is_none() {
            match &self.controller_at {
                At::Asks(request) => return self.answer_controller(request.clone()),
                At::Due(at) if *at <= now => return self.step_controller(Event::Wake),
                At::Due(_) => {}
            }
        }
        self.world.pass(now + 500);
    }

    fn step_agent(&mut self, event: Event<AgentReply>) {
        let now = Moment(self.world.now);
        self.agent_at = match self.agent.step(event, now) {
            Next::Ask(request) => At::Asks(request),
            Next::Rest(wait) => At::Due((now + wait).0),
            Next::End(AgentEnd::Restart(_)) => {
                self.restart_agent();
                At::Due(self.world.now + 500)
            }
        };
    }

    fn step_controller(&mut self, event: Event<OperationReply>) {
        let now = Moment(self.world.now);
        self.controller_at = match self.controller.step(event, now) {
            Next::Ask(request) => At::Asks(request),
            Next::Rest(wait) => At::Due((now + wait).0),
            Next::End(end) => {
                self.ended = Some(end);
                At::Due(u64::MAX)
            }
        };
    }

    /// Whether the process dies at this request, and if so, whether before its effect.
    fn dies(&mut self, ask: &Ask) -> Option<bool> {
        // Reports of a resting agent are not counted: there is no end to them.
        if !effect(ask) {
            return None;
        }
        let number = self.effects;
        self.effects += 1;
        let crash = self.crashes.iter().find(|crash| crash.effect == number)?;
        Some(!crash.after)
    }

    fn answer_agent(&mut self, request: AgentRequest) {
        let dies = self.dies(&Ask::Agent(request.clone()));
        if dies == Some(true) {
            return self.restart_agent();
        }
        let reply = match request {
            AgentRequest::Cluster(request) => AgentReply::Cluster(self.world.cluster(request)),
            AgentRequest::Node(request) => AgentReply::Node(self.world.local(request)),
        };
        if dies.is_some() {
            return self.restart_agent();
        }
        self.step_agent(Event::Reply(reply));
    }

    fn answer_controller(&mut self, request: OperationRequest) {
        let dies = self.dies(&Ask::Operation(request.clone()));
        if dies == Some(true) {
            return self.fail_over();
        }
        let reply = match request {
            OperationRequest::Cluster(request) => OperationReply::Cluster(self.world.cluster(request)),
            OperationRequest::Judge(_) => {
                self.judged += 1;
                OperationReply::Judged(self.judgement.clone())
            }
        };
        if dies.is_some() {
            return self.fail_over();
        }
        self.step_controller(Event::Reply(reply));
    }
}
