//! Writes of records and nodes: S2 to S6, S11 to S14, S21, and the rest that GPUs get (L8).

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Invariant};
use crate::exec::marks;
use crate::exec::port::BoardState;
use crate::exec::{
    AgentPhase, GpuTarget, HISTORY, MigNode, NodeView, Operation, OperationId, Outcome, Phase, PodView, TAINT_KEY,
    Taint, Version,
};
use crate::plan::Place;
use crate::sim::node::{Board, Health, SimNode};

/// How many nodes there are, and how many are not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetCount {
    /// Nodes that are managed.
    pub managed: usize,
    /// Other nodes with an operation, or not Ready, or degraded; each once.
    pub occupied: u64,
}

/// A write of a record's spec that the API server accepted.
#[derive(Debug, Clone, Copy)]
pub struct SeenSpecWrite<'a> {
    /// Which of our controllers wrote it; none if somebody else did.
    pub writer: Option<&'a str>,
    /// The version that the writer had read.
    pub based_on: Version,
    /// The record before.
    pub before: &'a MigNode,
    /// The record afterwards.
    pub after: &'a MigNode,
    /// Pods of the node, in truth.
    pub pods: &'a [PodView],
    /// The fleet, without this node.
    pub fleet: FleetCount,
}

/// A write of a record's status that the API server accepted.
#[derive(Debug, Clone, Copy)]
pub struct SeenStatusWrite<'a> {
    /// Node on which the writing agent runs; none if somebody else wrote it.
    pub agent_of: Option<&'a str>,
    /// The version that the writer had read.
    pub based_on: Version,
    /// The record before.
    pub before: &'a MigNode,
    /// The record afterwards.
    pub after: &'a MigNode,
}

/// A write of a node by us.
#[derive(Debug, Clone, Copy)]
pub struct SeenNodeWrite<'a> {
    /// The operation in whose name it was written.
    pub operation: &'a OperationId,
    /// The node before.
    pub before: &'a NodeView,
    /// The node afterwards.
    pub after: &'a NodeView,
    /// Its record; none if it was deleted.
    pub record: Option<&'a MigNode>,
    /// The machine itself; none if it is gone.
    pub machine: Option<&'a SimNode>,
}

impl Checker {
    /// The API server has accepted a lease from one of our controllers.
    pub fn on_lease_write(&mut self, writer: &str, epoch: u64) {
        let highest = self.granted.entry(writer.to_owned()).or_default();
        *highest = epoch.max(*highest);
    }

    /// The API server has accepted the spec of a record.
    pub fn on_spec_write(&mut self, at: u64, seen: &SeenSpecWrite<'_>) {
        let node = seen.after.name.as_str();
        self.check_version(at, node, seen.based_on, seen.before);
        self.check_size(at, seen.after);
        let Some(writer) = seen.writer else {
            self.disturbed(at, node);
            return;
        };
        let (before, after) = (seen.before.spec.operation.as_ref(), seen.after.spec.operation.as_ref());
        if let Some(after) = after {
            self.check_epoch(at, node, after);
            self.check_granted(at, node, writer, after.epoch);
        }
        match (before, after) {
            (None, Some(after)) => {
                self.check_name(at, node, after, seen.before);
                self.check_claim(at, node, after, seen.fleet);
            }
            // A repair takes over what was left degraded.
            (Some(before), Some(after))
                if before.id != after.id && before.phase == Phase::Degraded && after.is_repair() => {}
            (Some(before), Some(after)) if before.id != after.id => {
                self.violated(at, Invariant::S4, node, format!("{} replaces {}", after.id, before.id));
            }
            (Some(before), Some(after)) => self.check_same(at, node, before, after, seen.pods),
            (Some(before), None) => self.check_close(at, seen, before),
            (None, None) => {}
        }
    }

    /// The API server has accepted the status of a record.
    pub fn on_status_write(&mut self, at: u64, seen: &SeenStatusWrite<'_>) {
        let node = seen.after.name.as_str();
        self.check_version(at, node, seen.based_on, seen.before);
        self.check_size(at, seen.after);
        let Some(agent_of) = seen.agent_of else {
            self.disturbed(at, node);
            return;
        };
        if agent_of != node {
            self.violated(at, Invariant::S3, node, format!("its status was written by the agent of {agent_of}"));
        }
        match seen.after.status.operation.as_ref().map(|report| (report.phase, &report.id)) {
            Some((AgentPhase::Refused, id)) => _ = self.refused.insert(id.clone()),
            // What an agent says when it has changed its mind; degraded it may be for reasons of its own.
            Some((AgentPhase::Accepted | AgentPhase::Executing, id)) => _ = self.refused.remove(id),
            _ => {}
        }
        let epoch = |record: &MigNode| record.status.operation.as_ref().map_or(0, |report| report.epoch);
        // A node that was made again under its name inherits nothing.
        let same = seen.after.status.node_uid == seen.before.status.node_uid;
        if same && epoch(seen.after) < epoch(seen.before) {
            let what = format!("the agent goes back from epoch {} to {}", epoch(seen.before), epoch(seen.after));
            self.violated(at, Invariant::S14, node, what);
        }
    }

    /// A write with the same content as before, on the record as it was: nothing may change.
    pub fn on_replay(&mut self, at: u64, before: &MigNode, after: &MigNode) {
        if before.spec != after.spec || before.status != after.status {
            self.violated(at, Invariant::S13, &after.name, "the same write had another effect");
        }
    }

    /// We have written a node.
    pub fn on_node_write(&mut self, at: u64, seen: &SeenNodeWrite<'_>) {
        let node = seen.after.name.as_str();
        let others = |view: &NodeView| view.taints.iter().filter(|taint| taint.key != TAINT_KEY).cloned().collect();
        let ours = |view: &NodeView| -> Vec<Taint> {
            view.taints.iter().filter(|taint| taint.key == TAINT_KEY).cloned().collect()
        };
        let same: [(&str, bool); 7] = [
            ("uid", seen.before.uid == seen.after.uid),
            ("cordon", seen.before.cordoned == seen.after.cordoned),
            ("labels", only_deploy_labels(seen.before, seen.after)),
            ("annotations", only_our_annotations(seen.before, seen.after)),
            ("taints of others", sorted(others(seen.before)) == sorted(others(seen.after))),
            ("allocatable", seen.before.allocatable == seen.after.allocatable),
            ("readiness", seen.before.ready == seen.after.ready && seen.before.deleting == seen.after.deleting),
        ];
        for (what, _) in same.iter().filter(|(_, same)| !same) {
            self.violated(at, Invariant::S11, node, format!("{} changed the node's {what}", seen.operation));
        }
        if seen.after.pause_on_record() && !seen.before.pause_on_record() {
            self.pausing.insert(seen.operation.clone());
        }
        if ours(seen.after) != ours(seen.before) {
            self.tainted.insert(node.to_owned(), at);
        }
        for taint in ours(seen.after) {
            let named = taint.value == seen.operation.0 || ours(seen.before).contains(&taint);
            if !named || taint.effect != "NoSchedule" {
                let what = format!("{} set the taint {}:{}", seen.operation, taint.value, taint.effect);
                self.violated(at, Invariant::S11, node, what);
            }
        }
        if ours(seen.after).is_empty() && !ours(seen.before).is_empty() {
            if seen.before.our_taint() != Some(seen.operation.0.as_str()) {
                let was = seen.before.our_taint().unwrap_or_default();
                self.violated(at, Invariant::S11, node, format!("{} removed the taint of {was}", seen.operation));
            }
            if !marks::paused(&seen.after.labels, &seen.after.annotations).is_empty() {
                let what = format!("{} removed the taint while clients are paused", seen.operation);
                self.violated(at, Invariant::S12, node, what);
            }
            self.check_stranger(at, seen);
            self.check_untaint(at, seen);
        }
    }

    /// The value that a request names is not proof enough: it may have been taken from the node. What no operation is called is not ours.
    fn check_stranger(&mut self, at: u64, seen: &SeenNodeWrite<'_>) {
        let Some(operation) = seen.record.and_then(|record| record.spec.operation.as_ref()) else { return };
        if operation.id != *seen.operation && !self.names.contains_key(seen.operation) {
            let what = format!("{} removed the taint of {}, which is no operation", operation.id, seen.operation);
            self.violated(at, Invariant::S11, &seen.after.name, what);
        }
    }

    /// The agent says something new about its operation, and this is the machine in truth.
    pub fn on_report(&mut self, at: u64, record: &MigNode, machine: &SimNode) {
        let Some(report) = &record.status.operation else { return };
        if self.disturbed_within(at, machine.name(), self.limits.status_lag) {
            return;
        }
        if report.phase == AgentPhase::Applied {
            let instances = machine.boards.iter().flat_map(|board| board.state().instances);
            let mut there: Vec<String> = instances.filter_map(|instance| instance.compute).collect();
            there.sort_unstable();
            if machine.kubelet.offered() != there {
                let what = "its agent calls the layout applied, and the device plugin offers other instances";
                self.violated(at, Invariant::S12, machine.name(), what);
            }
        }
        let operation = record.spec.operation.as_ref().filter(|operation| operation.id == report.id);
        if let Some(operation) = operation.filter(|_| report.phase == AgentPhase::RolledBack) {
            let restored = |gpu: &&GpuTarget| {
                machine.boards.iter().any(|board| board.uuid() == gpu.uuid && has(&board.state(), &gpu.base))
            };
            if let Some(gpu) = operation.gpus.iter().find(|gpu| !restored(gpu)) {
                let what = format!("its agent calls {} rolled back, and {} is not as it was", operation.id, gpu.uuid);
                self.violated(at, Invariant::S8, machine.name(), what);
            }
        }
    }

    /// S12: where the operation may have changed anything, node, plugin and board must agree before the taint goes.
    fn check_untaint(&mut self, at: u64, seen: &SeenNodeWrite<'_>) {
        let node = seen.after.name.as_str();
        let (Some(record), Some(machine)) = (seen.record, seen.machine) else { return };
        // A plugin that was paused is away while the board may still be as it was.
        let restarted = record.spec.operation.as_ref().is_some_and(|operation| operation.plugin.is_some())
            || self.pausing.contains(seen.operation);
        let touched = record.status.operation.as_ref().is_some_and(|report| {
            report.id == *seen.operation
                && !self.refused.contains(&report.id)
                && !matches!(report.phase, AgentPhase::Refused | AgentPhase::Idle)
        });
        let gpus = record.spec.operation.as_ref().map_or(&[][..], |operation| operation.gpus.as_slice());
        let ours = |board: &&Board| gpus.iter().any(|gpu| gpu.uuid == board.uuid());
        let silent = machine.boards.iter().filter(ours).any(|board| board.health() != Health::Well);
        let lag = if silent { self.limits.driver_lag } else { self.limits.status_lag };
        if !(restarted || touched) || self.disturbed_within(at, node, lag) {
            return;
        }
        // What an earlier life of the node has left half made, nobody offers; an operation touches it on its own GPUs only.
        if let Err(what) = agree(machine, &seen.after.allocatable, gpus) {
            self.violated(at, Invariant::S12, node, what);
        }
    }

    fn check_version(&mut self, at: u64, node: &str, based_on: Version, before: &MigNode) {
        if based_on != before.version {
            let what = format!("a write on version {} was accepted at version {}", based_on.0, before.version.0);
            self.violated(at, Invariant::S14, node, what);
        }
    }

    fn check_epoch(&mut self, at: u64, node: &str, operation: &Operation) {
        let epoch = operation.epoch;
        let highest = self.epochs.entry((node.to_owned(), operation.node_uid.clone())).or_default();
        if epoch < *highest {
            let what = format!("a write of epoch {epoch} was accepted after one of epoch {highest}");
            self.violated(at, Invariant::S14, node, what);
        } else {
            *highest = epoch;
        }
    }

    /// Who is outdated could outbid everybody if a number counted that the lease never said in its name. Without any lease nobody is fenced.
    fn check_granted(&mut self, at: u64, node: &str, writer: &str, epoch: u64) {
        let granted = self.granted.get(writer).copied().unwrap_or(0);
        if !self.granted.is_empty() && epoch > granted {
            let what = format!("{writer} wrote epoch {epoch}, and the lease gave it {granted}");
            self.violated(at, Invariant::S14, node, what);
        }
    }

    fn check_size(&mut self, at: u64, record: &MigNode) {
        let MigNode { name, version: _, spec, status } = record;
        let size = |json: Result<Vec<u8>, serde_json::Error>| json.map_or(usize::MAX, |json| json.len());
        let bytes = size(serde_json::to_vec(spec)).saturating_add(size(serde_json::to_vec(status)));
        if bytes > self.limits.record_bytes || spec.history.len() > HISTORY {
            let what = format!("{bytes} bytes, {} ended operations", spec.history.len());
            self.violated(at, Invariant::S21, name, what);
        }
    }

    /// A name tells one operation from all others, on whatever node and whenever they were: taints, intents and reports say no more.
    fn check_name(&mut self, at: u64, node: &str, operation: &Operation, before: &MigNode) {
        let first = self.names.entry(operation.id.clone()).or_insert_with(|| node.to_owned()).clone();
        let over = before.spec.history.iter().any(|ended| ended.id == operation.id);
        if first != node || over {
            let what = format!("{} was the name of another operation, on {first}", operation.id);
            self.violated(at, Invariant::S4, node, what);
        }
    }

    fn check_claim(&mut self, at: u64, node: &str, operation: &Operation, fleet: FleetCount) {
        if operation.gpus.is_empty() {
            return; // A repair changes no GPU, and must be possible when everything else stands still.
        }
        let limit = self.limits.policy.budgets.nodes.map(|limit| limit.of(fleet.managed));
        if limit.is_some_and(|limit| fleet.occupied >= limit) {
            let what = format!("{} was claimed with {} nodes not available", operation.id, fleet.occupied);
            self.violated(at, Invariant::S5, node, what);
        }
        let rest = self.limits.policy.stability.gpu_cool_down_seconds.saturating_mul(1000);
        for gpu in &operation.gpus {
            let early = self.rested.get(&gpu.uuid).is_some_and(|&since| at.saturating_sub(since) < rest);
            if early {
                self.violated(at, Invariant::L8, &gpu.uuid, format!("{} does not let it rest", operation.id));
            }
        }
    }

    fn check_same(&mut self, at: u64, node: &str, before: &Operation, after: &Operation, pods: &[PodView]) {
        if before.gpus != after.gpus || before.steps != after.steps || before.node_uid != after.node_uid {
            self.violated(at, Invariant::S2, node, format!("{} changes its changes", after.id));
        }
        if before.victims != after.victims {
            self.violated(at, Invariant::S6, node, format!("{} changes its victims", after.id));
        }
        let settles = self.tainted.get(node).map(|since| since.saturating_add(self.limits.settle));
        if before.phase == Phase::Claimed
            && after.phase == Phase::Draining
            && settles.is_some_and(|settles| at < settles)
        {
            self.violated(at, Invariant::S3, node, format!("{} drains before its taint has settled", after.id));
        }
        // Where instances are only handed over, the drain leads straight to the end.
        let skips =
            before.phase < Phase::Drained && after.phase == Phase::Releasing && after.outcome == Some(Outcome::Done);
        if skips && !after.only_hands_over() {
            self.violated(
                at,
                Invariant::S3,
                node,
                format!("{} counts as done, and nobody has changed anything", after.id),
            );
        }
        if before.phase != Phase::Drained && after.phase == Phase::Drained || skips {
            let mut victims = after.victims.iter();
            let left = victims.find(|victim| pods.iter().any(|pod| pod.pod.uid == victim.pod.uid && !pod.finished));
            if let Some(left) = left {
                let what = format!("{} counts as drained, and {} is there", after.id, left.pod);
                self.violated(at, Invariant::S3, node, what);
            }
        }
    }

    fn check_close(&mut self, at: u64, seen: &SeenSpecWrite<'_>, operation: &Operation) {
        let node = seen.after.name.as_str();
        let report = seen.after.status.operation.as_ref().filter(|report| report.id == operation.id);
        let working = report.is_some_and(|report| {
            matches!(report.phase, AgentPhase::Accepted | AgentPhase::Executing | AgentPhase::RollingBack)
        });
        let gone = seen.after.spec.history.first().is_some_and(|ended| ended.outcome == Outcome::NodeGone);
        if working && !gone && operation.node_uid == seen.after.status.node_uid {
            self.violated(at, Invariant::S4, node, format!("{} is closed while its agent works", operation.id));
        }
        let outcome = seen.after.spec.history.first().filter(|ended| ended.id == operation.id);
        if outcome.is_some_and(|ended| matches!(ended.outcome, Outcome::Done | Outcome::RolledBack)) {
            self.rested.extend(operation.gpus.iter().map(|gpu| (gpu.uuid.clone(), at)));
        }
    }
}

/// Whether the machine's boards, its plugin's list and what the node advertises are one; the GPUs that were changed must be whole.
fn agree(machine: &SimNode, advertised: &BTreeMap<String, u64>, changed: &[GpuTarget]) -> Result<(), String> {
    if let Some(away) = machine.boards.iter().find(|board| board.health() != Health::Well) {
        return Err(format!("{} does not answer", away.uuid()));
    }
    if let Some(unreachable) = machine.boards.iter().find_map(|board| board.without_device_nodes().next()) {
        return Err(format!("{unreachable} has no device nodes"));
    }
    let mut layout = BTreeMap::<String, u64>::new();
    let mut uuids = Vec::new();
    for board in &machine.boards {
        for instance in board.state().instances {
            let profile = board.geometry().find(&instance.place.profile).map(|id| board.geometry().profile(id));
            let (Some(uuid), Some(profile)) = (instance.compute, profile) else {
                if changed.iter().all(|gpu| gpu.uuid != board.uuid()) {
                    continue;
                }
                return Err(format!("{} has a GPU instance without a compute instance", board.uuid()));
            };
            *layout.entry(format!("nvidia.com/{}", profile.resource_suffix())).or_default() += 1;
            uuids.push(uuid);
        }
    }
    uuids.sort_unstable();
    let nonzero = |counts: &BTreeMap<String, u64>| -> BTreeMap<String, u64> {
        counts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| (name.clone(), *count)).collect()
    };
    if nonzero(advertised) != layout {
        return Err(format!("the node advertises {:?} and has {layout:?}", nonzero(advertised)));
    }
    if machine.kubelet.offered() != uuids {
        return Err("the device plugin offers other instances than there are".to_owned());
    }
    Ok(())
}

/// Whether a board has exactly these instances, each with its compute instance.
fn has(board: &BoardState, places: &[Place]) -> bool {
    board.instances.len() == places.len()
        && board.instances.iter().all(|there| there.compute.is_some() && places.contains(&there.place))
}

fn sorted(mut taints: Vec<Taint>) -> Vec<Taint> {
    taints.sort_unstable();
    taints
}

/// Whether no label has changed but those of the GPU Operator's clients, from `true` to paused and back, and each of them on record.
fn only_deploy_labels(before: &NodeView, after: &NodeView) -> bool {
    let allowed = |key: &String| {
        let client = key.strip_prefix("nvidia.com/gpu.deploy.");
        let client = client.filter(|client| marks::CLIENTS.contains(client));
        let step = (before.labels.get(key).map(String::as_str), after.labels.get(key).map(String::as_str));
        client.is_some_and(|client| match step {
            (Some("true"), Some("paused-for-mig-change")) => recorded(after, marks::PAUSED_CLIENTS, client),
            (Some("paused-for-mig-change"), Some("true")) => recorded(before, marks::PAUSED_CLIENTS, client),
            _ => false,
        })
    };
    changed(&before.labels, &after.labels).into_iter().all(allowed)
}

/// Whether no annotation has changed but those of our own domain, and the autoscalers' that are on record as ours.
fn only_our_annotations(before: &NodeView, after: &NodeView) -> bool {
    let allowed = |key: &String| match (before.annotations.get(key), after.annotations.get(key)) {
        _ if key.starts_with("retile.dev/") => key != "retile.dev/paused",
        (None, Some(value)) => value == "true" && recorded(after, marks::PROTECTION, key),
        (Some(value), None) => value == "true" && recorded(before, marks::PROTECTION, key),
        _ => false,
    };
    changed(&before.annotations, &after.annotations).into_iter().all(allowed)
}

/// Whether a node's record of this kind names something.
fn recorded(node: &NodeView, record: &str, what: &str) -> bool {
    node.annotations.get(record).is_some_and(|record| record.split(',').any(|part| part == what))
}

/// Keys whose values differ.
fn changed<'a>(before: &'a BTreeMap<String, String>, after: &'a BTreeMap<String, String>) -> BTreeSet<&'a String> {
    before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).collect()
}
