//! Phase `Draining`: evicts the victims one at a time (C4) until a fresh list shows none of them (C5), and then pauses the clients of the GPUs.
//! Where instances are only handed over there is nothing for the agent to do, and the operation goes on to `Releasing` from here.
//!
//! Before the first real eviction all of them are tried dry, and the pause too, so that what is not allowed costs nobody anything.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settle::{strangers, unfit, victims};
use super::{Asked, OperationMachine, Read, Round, Todo};
use crate::exec::mutant::{self, Mutant};
use crate::exec::port::{ClusterError, ClusterRequest, EvictionBody};
use crate::exec::record::{Operation, Outcome, Phase};
use crate::exec::view::{NodeView, PodView};

/// A pod that the plan has not counted; for the defect of deleting what makes a count wrong.
fn surplus(operation: &Operation, pod: &PodView) -> bool {
    strangers(operation, std::slice::from_ref(pod)).is_err() && !pod.deleting
}

impl OperationMachine {
    pub(super) fn drain(&mut self, round: &Round<'_>) -> Read<Todo> {
        let &Round { record, operation, now, .. } = round;
        let node = self.node_of(round)?;
        if let Some(reason) = self.waits.given_up.clone() {
            return Ok(self.abort(record, &reason));
        }
        let late = self.in_phase(now) >= self.timing.drain;
        if node.ready
            && let Some(reason) = unfit(node)
        {
            return Ok(self.abort(record, &reason));
        }
        if !late {
            self.keep_taint(round, node)?;
        }
        let pods = self.pods_of(round)?;
        let by_uid: BTreeMap<&str, &PodView> = pods.iter().map(|pod| (pod.pod.uid.as_str(), pod)).collect();
        let there = operation.victims.iter().filter_map(|victim| by_uid.get(victim.pod.uid.as_str()).copied());
        let overdue = mutant::on(Mutant(20)) && self.in_phase(now) >= Duration::from_mins(1);
        let remaining: Vec<&PodView> = there.filter(|pod| !(pod.finished || pod.deleting && overdue)).collect();
        if late && !remaining.is_empty() && !mutant::on(Mutant(6)) {
            if mutant::on(Mutant(5)) {
                return Ok(self.advance(record, Phase::Drained));
            }
            return Ok(self.abort(record, &format!("pod {} was not gone by the drain deadline", remaining[0].pod)));
        }
        if remaining.is_empty() {
            // With its clients paused the node is as the operation wants it, and not as a judge could read it.
            if !operation.victims.is_empty() && !self.evicted && !node.pause_on_record() {
                self.judge(round)?;
            }
            if operation.only_hands_over() {
                return Ok(self.hand_over(round));
            }
            self.pause_clients(round, node)?;
            return Ok(self.advance(record, Phase::Drained));
        }
        if !node.ready {
            return Ok(self.poll("the node to be ready again"));
        }
        let untouched = remaining.len() == operation.victims.len() && remaining.iter().all(|pod| !pod.deleting);
        if let Some(pod) = pods.iter().find(|pod| mutant::on(Mutant(17)) && surplus(operation, pod)) {
            return Ok(self.post(pod, false));
        }
        let checked = victims(operation, pods, &self.timing);
        let checked = if untouched { checked.and_then(|()| strangers(operation, pods)) } else { checked };
        if let Err(reason) = checked {
            return Ok(self.abort(record, &reason));
        }
        self.evict(round, node, &remaining, untouched)
    }

    /// No instance is changed, so that agent and plugin have nothing to do. The taint stays a little longer, for whoever makes the victims again
    /// to make them while they cannot come back and take what they have left.
    fn hand_over(&mut self, round: &Round<'_>) -> Todo {
        let since = *self.waits.emptied.get_or_insert(round.now);
        let over = round.now.since(since);
        if over < self.timing.settle {
            return self.rest(self.timing.settle.saturating_sub(over), &"those who made way to find their new places");
        }
        self.write(round.record, |operation| {
            operation.phase = Phase::Releasing;
            operation.outcome = Some(Outcome::Done);
        })
    }

    /// The next eviction: first those whose budget allows the fewest.
    fn evict(&mut self, round: &Round<'_>, node: &NodeView, remaining: &[&PodView], untouched: bool) -> Read<Todo> {
        let headroom = |pod: &PodView| pod.budgets.iter().copied().min().unwrap_or(u32::MAX);
        let mut order: Vec<&PodView> = remaining.iter().copied().filter(|pod| !pod.deleting).collect();
        order.sort_by_key(|pod| (headroom(pod), &pod.pod));
        if untouched {
            let unrehearsed = order.iter().find(|pod| !self.waits.rehearsed.contains(&pod.pod.uid));
            if let Some(pod) = unrehearsed {
                return Ok(self.post(pod, true));
            }
            self.rehearse_pause(round, node)?;
            self.judge(round)?;
        }
        match order.first() {
            Some(pod) => Ok(self.post(pod, false)),
            None => Ok(self.poll("evicted pods to end")),
        }
    }

    fn post(&mut self, pod: &PodView, dry_run: bool) -> Todo {
        let mut body = EvictionBody::of(&pod.pod);
        if mutant::on(Mutant(1)) {
            body.delete_options = None;
        }
        let asked = if dry_run { Asked::Rehearsal(pod.pod.uid.clone()) } else { Asked::Eviction };
        self.ask(asked, ClusterRequest::Evict { pod: pod.pod.clone(), body, dry_run })
    }

    /// 429 of a budget: again later, until the drain deadline; what was allowed before may not be then.
    pub(super) fn blocked_by_budget(&mut self, error: &ClusterError) -> Todo {
        self.waits.rehearsed.clear();
        let wait = self.blocked.fail(self.timing.retry_first, self.timing.retry_most);
        let wait = if mutant::on(Mutant(16)) { Duration::MAX } else { wait };
        self.hush(wait, error)
    }

    /// An eviction that will never be allowed: the operation is given up with the next look.
    pub(super) fn eviction_refused(&mut self, error: &ClusterError) -> Option<Todo> {
        if mutant::on(Mutant(15)) {
            return Some(self.hush(Duration::MAX, error));
        }
        self.waits.given_up = Some(format!("an eviction was refused: {error}"));
        None
    }
}
