//! What the agent writes into the record's status.

use std::time::Duration;

use super::backward::settled;
use super::serve::healthy;
use super::{AgentMachine, Asked, Facts, Todo};
use crate::exec::port::{BoardState, ClusterRequest, InstanceState, Occupant, Store};
use crate::exec::record::{
    AgentPhase, DETAIL, GpuReport, InstanceReport, MigNode, MigNodeStatus, OperationId, OperationReport, PROTOCOL,
    ReportedOccupancy, SHARERS, Version,
};

impl AgentMachine {
    /// Reports how far it is with an operation, and goes on.
    pub(super) fn declare(&mut self, facts: &Facts<'_>, id: &OperationId, phase: AgentPhase, detail: &str) -> Todo {
        let report = OperationReport {
            id: id.clone(),
            epoch: self.epoch,
            boot_id: facts.store.boot_id.clone(),
            phase,
            detail: detail.chars().take(DETAIL).collect(),
        };
        self.write_report(facts, Some(report), None)
    }

    /// Reports what is there as it is now, and looks again after a while.
    pub(super) fn wait(&mut self, facts: &Facts<'_>, wait: Duration, why: &str) -> Todo {
        why.clone_into(&mut self.waiting_on);
        let report = self.current(facts.record).map(|report| self.excused(facts, report));
        self.write_report(facts, report, Some(wait))
    }

    /// A degraded board whose operation has vanished is waited for by nobody: once it is whole, it is like any other.
    fn excused(&self, facts: &Facts<'_>, report: OperationReport) -> OperationReport {
        let over = report.phase == AgentPhase::Degraded && self.vanished(facts.record) && healthy(facts);
        if over { OperationReport { phase: AgentPhase::Idle, detail: String::new(), ..report } } else { report }
    }

    /// Whether the record carries no operation, and no intent of one is left.
    fn vanished(&self, record: Option<&MigNode>) -> bool {
        record.is_some_and(|record| record.spec.operation.is_none())
            && self.store.as_ref().is_some_and(|store| store.intent.is_none())
    }

    /// While a layout that a reboot has cost is not restored, the report keeps the old boot id, so that the next process knows of it.
    fn write_report(&mut self, facts: &Facts<'_>, report: Option<OperationReport>, rest: Option<Duration>) -> Todo {
        let before = facts.record.map(|record| record.status.boot_id.clone());
        let kept = before.filter(|boot| self.rebooted && !boot.is_empty());
        let boot_id = kept.unwrap_or_else(|| facts.store.boot_id.clone());
        self.write(facts.record, boot_id, boards(facts.boards, facts.occupants), report, rest)
    }

    /// The last report of an operation, with the highest epoch seen. Where the operation has vanished and nothing of it is left, it is over.
    fn current(&self, record: Option<&MigNode>) -> Option<OperationReport> {
        let uid = self.uid.clone().unwrap_or_default();
        let status = record.map(|record| &record.status).filter(|status| status.node_uid == uid);
        let report = status.and_then(|status| status.operation.clone());
        let vanished = self.vanished(record);
        report.map(|report| OperationReport {
            epoch: self.epoch.max(report.epoch),
            phase: if vanished && !settled(report.phase) { AgentPhase::Idle } else { report.phase },
            ..report
        })
    }

    /// The driver hangs or a GPU is lost: it is left alone, and whatever was under way is for people.
    pub(super) fn leave_alone(&mut self, store: &Store, record: Option<&MigNode>) -> Todo {
        let detail = self.halted.clone().unwrap_or_default();
        detail.clone_into(&mut self.waiting_on);
        let mut gpus = record.map(|record| record.status.gpus.clone()).unwrap_or_default();
        for instance in gpus.iter_mut().flat_map(|gpu| &mut gpu.instances) {
            instance.occupancy = ReportedOccupancy::Unknown;
        }
        let wanted = record.and_then(|record| record.spec.operation.as_ref());
        let mut report = self.current(record);
        let theirs = report.as_ref().map(|report| &report.id) == wanted.map(|operation| &operation.id);
        if let Some(report) = report.as_mut().filter(|_| theirs && wanted.is_some()) {
            report.phase = AgentPhase::Degraded;
            report.detail = detail;
        } else if let Some(operation) = wanted.filter(|operation| operation.phase == crate::exec::Phase::Drained) {
            report = Some(OperationReport {
                id: operation.id.clone(),
                epoch: self.epoch.max(operation.epoch),
                boot_id: store.boot_id.clone(),
                phase: AgentPhase::Refused,
                detail,
            });
        }
        let boot = record.map(|record| record.status.boot_id.clone()).unwrap_or_default();
        self.write(record, boot, gpus, report, Some(self.timing.poll))
    }

    fn write(
        &mut self,
        record: Option<&MigNode>,
        boot_id: String,
        gpus: Vec<GpuReport>,
        operation: Option<OperationReport>,
        rest: Option<Duration>,
    ) -> Todo {
        let heartbeat = record.map_or(0, |record| record.status.heartbeat).saturating_add(1);
        let node_uid = self.uid.clone().unwrap_or_default();
        let status = MigNodeStatus { node_uid, boot_id, protocol: PROTOCOL, heartbeat, gpus, operation };
        let version = record.map_or_else(Version::default, |record| record.version);
        let request = ClusterRequest::WriteStatus { node: self.node.clone(), version, status: Box::new(status) };
        self.cluster(Asked::Status(rest), request)
    }
}

/// GPUs in MIG mode as they are, ordered by UUID.
fn boards(boards: &[BoardState], occupants: Option<&[Occupant]>) -> Vec<GpuReport> {
    let enabled = boards.iter().filter(|board| board.mig_mode);
    let mut gpus: Vec<GpuReport> = enabled
        .map(|board| GpuReport {
            index: board.index,
            uuid: board.uuid.clone(),
            model: board.model.clone(),
            instances: board.instances.iter().map(|there| instance(there, occupants)).collect(),
        })
        .collect();
    gpus.sort_by(|a, b| a.uuid.cmp(&b.uuid));
    gpus
}

fn instance(there: &InstanceState, occupants: Option<&[Occupant]>) -> InstanceReport {
    let InstanceState { place, compute } = there;
    let (occupancy, pods) = match (compute, occupants) {
        (None, _) => (ReportedOccupancy::Free, Vec::new()),
        (Some(_), None) => (ReportedOccupancy::Unknown, Vec::new()),
        (Some(uuid), Some(occupants)) => {
            let holders: Vec<&Occupant> = occupants.iter().filter(|occupant| occupant.instance == *uuid).collect();
            let pods = holders.iter().filter_map(|holder| holder.pod.clone()).take(SHARERS).collect();
            (if holders.is_empty() { ReportedOccupancy::Free } else { ReportedOccupancy::Busy }, pods)
        }
    };
    InstanceReport { place: place.clone(), uuid: compute.clone(), occupancy, pods }
}
