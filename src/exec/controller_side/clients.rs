//! The GPU Operator's clients of the node's GPUs: paused before the agent begins, where the policy says so, and let go on before anything waits for
//! the device plugin.
//!
//! Whatever way an operation ends, it ends through `Restarting` or `Releasing`, or is left to people; each lets paused clients go on first. What is
//! paused stands on the node, so whoever goes on with an operation knows.

use super::{Asked, OperationMachine, Read, Round, Todo, first};
use crate::exec::ownership::foreign_owner;
use crate::exec::port::{ClusterError, ClusterRequest};
use crate::exec::record::GpuTarget;
use crate::exec::view::NodeView;
use crate::model::Clients;

impl OperationMachine {
    /// Asks whether they may be paused, before anybody is evicted for an operation that would then be given up.
    pub(super) fn rehearse_pause(&mut self, round: &Round<'_>, node: &NodeView) -> Read<()> {
        if self.waits.pause_rehearsed || !self.may_pause(round, node) {
            return Ok(());
        }
        first(self.ask_to_pause(node, true))
    }

    /// Pauses the clients and waits until their pods are gone. Gives the operation up where they do not go; nothing has been changed yet.
    pub(super) fn pause_clients(&mut self, round: &Round<'_>, node: &NodeView) -> Read<()> {
        if self.may_pause(round, node) && !node.ready {
            let late = self.in_phase(round.now) >= self.timing.drain;
            return first(if late {
                self.abort(round.record, "the node is not ready, so that its clients would not end")
            } else {
                self.poll("the node to be ready again")
            });
        }
        self.pause(round, node)?;
        if !node.pause_on_record() {
            return Ok(());
        }
        let since = *self.waits.paused.get_or_insert(round.now);
        let pods = self.pods_of(round)?;
        let Some(pod) = pods.iter().find(|pod| node.has_paused(pod)) else { return Ok(()) };
        if round.now.since(since) > self.timing.plugin {
            let reason = format!("pod {} is still there although its deploy label is paused", pod.pod);
            return first(self.abort(round.record, &reason));
        }
        first(self.poll("pods of paused clients to end"))
    }

    /// Pauses them once more, where they have been let go on and the agent must go back after all. Nothing waits for it: what they hold, the agent
    /// tries again.
    pub(super) fn pause_again(&mut self, round: &Round<'_>, node: &NodeView) -> Read<()> {
        let ours = node.our_taint() == Some(self.id.0.as_str());
        let alone = foreign_owner(node).is_none();
        if ours && alone && self.waits.given_up.is_none() { self.pause(round, node) } else { Ok(()) }
    }

    fn pause(&mut self, round: &Round<'_>, node: &NodeView) -> Read<()> {
        if self.may_pause(round, node) { first(self.ask_to_pause(node, false)) } else { Ok(()) }
    }

    /// Whether there is somebody to pause. Where no instance is changed nobody is paused.
    fn may_pause(&self, round: &Round<'_>, node: &NodeView) -> bool {
        let cuts = round.operation.gpus.iter().any(GpuTarget::is_cut);
        self.clients == Clients::OperatorPause && cuts && node.can_pause()
    }

    fn ask_to_pause(&mut self, node: &NodeView, dry_run: bool) -> Todo {
        let (name, operation) = (self.node.clone(), self.id.clone());
        let asked = if dry_run { Asked::PauseRehearsal } else { Asked::Pause };
        self.ask(asked, ClusterRequest::PauseClients { node: name, version: node.version, operation, dry_run })
    }

    /// Lets the clients go on. Where that is refused for longer than an operation may take, it stands in nobody's way any more: people are told.
    pub(super) fn resume_clients(&mut self, node: &NodeView) -> Read<()> {
        let over = self.under_way(self.now) > self.timing.operation + self.timing.plugin;
        if (over && self.waits.kept_paused) || !node.can_resume() {
            return Ok(());
        }
        let (name, operation) = (self.node.clone(), self.id.clone());
        first(self.ask(Asked::Resume, ClusterRequest::ResumeClients { node: name, version: node.version, operation }))
    }

    /// A pause that will never be allowed: the operation is given up with the next look.
    pub(super) fn pause_refused(&mut self, error: &ClusterError) {
        self.waits.given_up = Some(format!(
            "the GPU Operator's clients may not be paused; set the chart's `controller.pauseClients: true`, or the MigPolicy's `spec.clients: \
             restart`: {error}"
        ));
    }
}
