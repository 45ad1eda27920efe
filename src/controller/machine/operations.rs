//! The operations of the controller's machine: they begin, go on with each answer, are judged before they destroy, and end.
//!
//! Inputs: operations of a plan, of an earlier leader or of a repair, and what happened on their tickets. Outputs: what to do next on these tickets, and
//! lines of the report. Invariants: an operation is told as begun once its record was seen to carry it, and as ended once; what needed one that failed is
//! dropped with it.

use std::collections::BTreeMap;

use super::{Asked, Controller, Farewell, Ticket};
use crate::controller::flight::{Consequences, Running, beneficiaries};
use crate::controller::judge::judge;
use crate::controller::report::{Cause, LISTED, Started};
use crate::controller::sequence;
use crate::exec::port::{
    ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Judgement, Observation, OperationReply, OperationRequest,
};
use crate::exec::{Closed, Event, Moment, Next, Operation, OperationMachine, Outcome};
use crate::model::Reason;

impl Controller {
    pub(super) fn claim_all(&mut self, operations: BTreeMap<String, Operation>, now: Moment) -> Vec<Asked> {
        let mut asked = Vec::new();
        for (node, operation) in operations {
            let machine = OperationMachine::claim(&node, operation.clone(), self.settings.timing);
            asked.extend(self.begin(&node, machine, operation, Cause::Planned, now));
        }
        asked
    }

    /// Sets a machine to work.
    pub(super) fn begin(
        &mut self,
        node: &str,
        machine: OperationMachine,
        operation: Operation,
        cause: Cause,
        now: Moment,
    ) -> Vec<Asked> {
        let machine = machine.with_clients(self.settings.clients);
        let running =
            Running { machine, operation, cause, begun: false, forbidden: false, judging: false, evicting: None };
        self.flight.running.insert(node.to_owned(), running);
        self.advance(node, Event::Wake, now)
    }

    /// Tells once that an operation has begun: from the moment at which the record of the node was seen to carry it.
    fn tell_begun(&mut self, node: &str) {
        let Some(running) = self.flight.running.get_mut(node) else { return };
        if running.begun || running.machine.phase().is_none() {
            return;
        }
        running.begun = true;
        let Running { operation, cause, .. } = running;
        let started = Started {
            node: node.to_owned(),
            operation: operation.id.clone(),
            cause: *cause,
            gpus: operation.gpus.iter().map(|gpu| gpu.uuid.clone()).collect(),
            victims: operation.victims.iter().map(|victim| victim.pod.clone()).collect(),
            beneficiaries: operation.beneficiaries.clone(),
        };
        list(&mut self.pending_report.started, started);
    }

    /// Tells once that an operation may not begin.
    fn tell_forbidden(&mut self, node: &str, why: &str) {
        let Some(running) = self.flight.running.get_mut(node) else { return };
        if running.begun || running.forbidden {
            return;
        }
        running.forbidden = true;
        let forbidden = (node.to_owned(), running.operation.id.clone(), why.to_owned());
        list(&mut self.pending_report.forbidden, forbidden);
    }

    pub(super) fn on_operation(&mut self, node: &str, event: Event<ClusterReply>, now: Moment) -> Vec<Asked> {
        let Some(running) = self.flight.running.get_mut(node) else { return Vec::new() };
        let judging = std::mem::take(&mut running.judging);
        let evicting = running.evicting.take();
        let reply = match event {
            Event::Wake => return self.advance(node, Event::Wake, now),
            Event::Reply(reply) => reply,
        };
        if let Some(uid) = evicting
            && matches!(reply, Ok(ClusterAnswer::Accepted) | Err(ClusterError::Unknown(_)))
        {
            self.memory.stability.moved(&uid, now);
        }
        let reply = match reply {
            Ok(ClusterAnswer::Observed(observation)) if judging => {
                OperationReply::Judged(self.judged(node, &observation, now))
            }
            reply => OperationReply::Cluster(reply),
        };
        if let OperationReply::Cluster(Err(ClusterError::Forbidden(why))) = &reply {
            self.tell_forbidden(node, why);
        }
        self.advance(node, Event::Reply(reply), now)
    }

    fn advance(&mut self, node: &str, event: Event<OperationReply>, now: Moment) -> Vec<Asked> {
        let Some(running) = self.flight.running.get_mut(node) else { return Vec::new() };
        let next = running.machine.step(event, now);
        self.tell_begun(node);
        let Some(running) = self.flight.running.get_mut(node) else { return Vec::new() };
        let next = match next {
            Next::Ask(OperationRequest::Cluster(request)) => {
                if let ClusterRequest::Evict { pod, dry_run: false, .. } = &request {
                    running.evicting = Some(pod.uid.clone());
                }
                Next::Ask(request)
            }
            Next::Ask(OperationRequest::Judge(operation)) => {
                running.operation = *operation;
                running.judging = true;
                Next::Ask(ClusterRequest::Observe { fresh: true })
            }
            Next::Rest(wait) => Next::Rest(wait),
            Next::End(closed) => return self.close(node, closed, now),
        };
        vec![(Ticket::Operation(node.to_owned()), next)]
    }

    /// Whether the operation of a node is still worth its cost, together with those that it hangs together with.
    fn judged(&self, node: &str, observation: &Observation, now: Moment) -> Judgement {
        let all = self.flight.hopeful(observation);
        let component = sequence::components(&sequence::landings(&all))
            .into_iter()
            .find(|component| component.contains(node))
            .unwrap_or_default();
        let (ours, others): (BTreeMap<String, &Operation>, BTreeMap<String, &Operation>) =
            all.into_iter().partition(|(name, _)| component.contains(name));
        if !ours.contains_key(node) {
            return Judgement::Pointless("it was given up".to_owned());
        }
        let mut input = observation.input.clone();
        let busy = self.flight.busy(observation);
        for (name, (reason, detail)) in self.memory.nodes.withdrawals(observation, &busy, &self.settings, now) {
            if let Some(id) = input.node_named(&name).filter(|_| !component.contains(&name)) {
                input.withdraw_node(id, reason, &detail);
            }
        }
        self.memory.rest_gpus(&mut input, now);
        let served = beneficiaries(others.values());
        input.set_aside(|pod| {
            let operation = served.get(&pod.pod)?;
            Some((Reason::WaitingForExecution, format!("operation {} is for it", operation.id), String::new()))
        });
        judge(&input, &ours, self.settings.judge_work)
    }

    /// Notes the end of an operation; starts those that have waited for it.
    fn close(&mut self, node: &str, closed: Closed, now: Moment) -> Vec<Asked> {
        let mut asked = vec![(Ticket::Operation(node.to_owned()), Next::End(Farewell::OperationOver))];
        let Some(running) = self.flight.running.remove(node) else { return asked };
        let (outcome, detail) = match closed {
            Closed::Ended(outcome, detail) => (Some(outcome), detail),
            Closed::Lost(detail) => (None, detail),
        };
        let done = outcome == Some(Outcome::Done);
        self.memory.stability.ended(node, done, &self.settings, now);
        if let Some(outcome) = outcome {
            self.memory.stability.changed(&running.operation, outcome, now);
        }
        if outcome.is_some_and(|outcome| outcome != Outcome::Aborted) {
            self.memory.demand.expect(&running.operation.beneficiaries, self.settings.landing, now);
        }
        list(&mut self.pending_report.ended, (node.to_owned(), running.operation.id, outcome, detail));
        let Consequences { ready, dropped } = self.flight.ended(node, done);
        for (dropped, operation) in dropped {
            let detail = format!("it needs a change of node {node}, which has failed");
            list(&mut self.pending_report.ended, (dropped, operation, Some(Outcome::Aborted), detail));
        }
        asked.extend(self.claim_all(ready, now));
        asked
    }
}

/// Adds to a list of the report, as long as it has room.
fn list<T>(of: &mut Vec<T>, item: T) {
    if of.len() < LISTED {
        of.push(item);
    }
}
