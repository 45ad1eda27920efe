//! Turns what was read into the facts of the decision table.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use super::startup::{BoardIs, Held, Recorded, Row};
use crate::exec::layout::holds;
use crate::exec::port::{BoardState, Occupant};
use crate::exec::record::{AgentPhase, GpuTarget, Operation, OperationId, OperationReport};
use crate::plan::Place;

/// What the agent has in hand, and how the world stands to it.
#[derive(Debug, Clone)]
pub(super) struct Situation {
    /// Facts for the table.
    pub(super) row: Row,
    /// The operation in hand: that of the intent, or else that of the last report.
    pub(super) hand: Option<OperationId>,
    /// GPUs that it changes; or those of the record's operation, if that is another one.
    pub(super) gpus: Vec<GpuTarget>,
    /// The operation of the record, if it is the one in hand.
    pub(super) operation: Option<Operation>,
    /// Highest epoch that is on record anywhere.
    pub(super) epoch: u64,
}

impl Situation {
    pub(super) fn read(facts: &Facts<'_>, node_uid: &str) -> Self {
        let intent = facts.store.intent.as_ref().filter(|intent| intent.node_uid == node_uid);
        let status = facts.record.map(|record| &record.status).filter(|status| status.node_uid == node_uid);
        let reported = status.and_then(|status| status.operation.as_ref());
        let wanted = facts.record.and_then(|record| record.spec.operation.as_ref());
        let hand = intent.map(|intent| &intent.id).or(reported.map(|reported| &reported.id));
        let recorded = match wanted {
            None => Recorded::None,
            Some(operation) if Some(&operation.id) == hand => Recorded::Same,
            Some(_) => Recorded::Other,
        };
        let reported = reported.filter(|reported| Some(&reported.id) == hand);
        let phase =
            reported.map_or(if intent.is_some() { AgentPhase::Executing } else { AgentPhase::Idle }, |it| it.phase);
        let gpus = match (intent, wanted) {
            (Some(intent), _) => intent.gpus.clone(),
            (None, Some(operation)) => operation.gpus.clone(),
            (None, None) => Vec::new(),
        };
        let busy = recorded == Recorded::Same || intent.is_some();
        let boot = &facts.store.boot_id;
        // What was reported degraded since the machine started is past the reboot already.
        let settled = reported.is_some_and(|it| it.phase == AgentPhase::Degraded && it.boot_id == *boot);
        let other_boot = status.is_some_and(|status| !status.boot_id.is_empty() && status.boot_id != *boot)
            || intent.is_some_and(|intent| intent.boot_id != *boot);
        let rebooted = (!settled && other_boot)
            || (recorded == Recorded::Same && reported.is_some_and(|reported| stale_boot(reported, boot)));
        let neighbours = intent.map(|intent| intent.neighbours.as_slice()).unwrap_or_default();
        let board = if busy || recorded == Recorded::Other {
            compare(facts.boards, &gpus, neighbours, phase, rebooted)
        } else {
            against(facts.boards, facts.store.applied.as_ref())
        };
        let row = Row {
            intent: intent.is_some(),
            recorded,
            phase,
            board,
            held: held(facts, &gpus),
            rebooted,
            mig_mode: gpus.iter().all(|gpu| find(facts.boards, gpu).is_none_or(|board| board.mig_mode)),
        };
        let seen = [intent.map(|intent| intent.epoch), reported_epoch(status.and_then(|s| s.operation.as_ref()))];
        let operation = wanted.filter(|_| recorded == Recorded::Same).cloned();
        let epoch = seen.into_iter().flatten().chain(operation.as_ref().map(|it| it.epoch)).max().unwrap_or(0);
        Self { row, hand: hand.cloned(), gpus, operation, epoch }
    }
}

fn reported_epoch(report: Option<&OperationReport>) -> Option<u64> {
    report.map(|report| report.epoch)
}

fn stale_boot(report: &OperationReport, boot: &str) -> bool {
    let under_way = matches!(
        report.phase,
        AgentPhase::Accepted | AgentPhase::Executing | AgentPhase::Repartitioned | AgentPhase::RollingBack
    );
    under_way && report.boot_id != boot
}

/// The board of a GPU, found by UUID.
pub(super) fn find<'a>(boards: &'a [BoardState], gpu: &GpuTarget) -> Option<&'a BoardState> {
    use crate::exec::mutant::{self, Mutant};
    if mutant::on(Mutant(33)) {
        return boards.iter().find(|board| board.index == gpu.index);
    }
    boards.iter().find(|board| board.uuid == gpu.uuid)
}

fn compare(
    boards: &[BoardState],
    gpus: &[GpuTarget],
    neighbours: &[String],
    phase: AgentPhase,
    rebooted: bool,
) -> BoardIs {
    let computes: BTreeSet<&String> =
        boards.iter().flat_map(|board| &board.instances).filter_map(|instance| instance.compute.as_ref()).collect();
    if !rebooted && neighbours.iter().any(|uuid| !computes.contains(uuid)) {
        return BoardIs::Other;
    }
    // A GPU of which nothing is cut is base and target in one, and says nothing of how far the operation is.
    let tells = |gpu: &GpuTarget, is: BoardIs| gpu.is_cut() || is != BoardIs::Base;
    let each: BTreeSet<BoardIs> = gpus
        .iter()
        .map(|gpu| (gpu, find(boards, gpu).map_or(BoardIs::Other, |board| one(board, gpu, phase, rebooted))))
        .filter_map(|(gpu, is)| tells(gpu, is).then_some(is))
        .collect();
    if each.contains(&BoardIs::Other) {
        return BoardIs::Other;
    }
    match each.iter().collect::<Vec<_>>().as_slice() {
        [only] => **only,
        // Where no GPU is cut, as in a repair, the target is reached once the agent says so.
        [] if matches!(phase, AgentPhase::Repartitioned | AgentPhase::Applied) => BoardIs::Target,
        [] => BoardIs::Base,
        _ => BoardIs::Between,
    }
}

fn one(board: &BoardState, gpu: &GpuTarget, phase: AgentPhase, rebooted: bool) -> BoardIs {
    // An operation that was rolled back before a reboot has left nothing of its target: what stands there is somebody else's.
    let undone = rebooted && phase == AgentPhase::RolledBack;
    let known = |place: &Place| gpu.base.contains(place) || !undone && gpu.target.contains(place);
    if board.instances.iter().any(|instance| !known(&instance.place)) {
        return BoardIs::Other;
    }
    if holds(board, &gpu.base) {
        return BoardIs::Base;
    }
    if holds(board, &gpu.target) {
        return BoardIs::Target;
    }
    let kept = gpu.base.iter().filter(|place| gpu.target.contains(place));
    let whole =
        |place: &Place| board.instances.iter().any(|instance| instance.place == *place && instance.compute.is_some());
    let complete = kept.into_iter().all(whole);
    if complete || rebooted { BoardIs::Between } else { BoardIs::Other }
}

/// Without an operation: against what was last applied, if that is known.
fn against(boards: &[BoardState], applied: Option<&BTreeMap<String, Vec<Place>>>) -> BoardIs {
    let Some(applied) = applied else { return BoardIs::Base };
    let mut worst = BoardIs::Base;
    for board in boards {
        let Some(places) = applied.get(&board.uuid) else { continue };
        if holds(board, places) {
            continue;
        }
        let part = board.instances.iter().all(|instance| places.contains(&instance.place));
        worst = worst.max(if part { BoardIs::Between } else { BoardIs::Other });
    }
    worst
}

fn held(facts: &Facts<'_>, gpus: &[GpuTarget]) -> Held {
    let mut held = Held::Nothing;
    for board in facts.boards {
        let target = gpus.iter().find(|gpu| gpu.uuid == board.uuid);
        for instance in &board.instances {
            let Some(uuid) = &instance.compute else { continue };
            let unknown_or = |occupants: &[Occupant]| occupants.iter().any(|occupant| occupant.instance == *uuid);
            if facts.occupants.is_none_or(unknown_or) {
                let inside = target.is_some_and(|target| target.touches(&instance.place));
                held = held.max(if inside { Held::Inside } else { Held::Outside });
            }
        }
    }
    held
}
