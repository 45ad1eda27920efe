//! One operation of the protocol in a whole cluster, without loop and planner; undisturbed, and with a crash at every request.

use std::collections::BTreeMap;

use super::tests::place;
use super::*;
use crate::exec::{GpuReport, MigNode, Operation, OperationId, Origin, Outcome, Timing, draft};
use crate::model::PodRef;
use crate::plan::{self, Eviction, GpuChange, NodePlan, Place, PlannedInstance};
use crate::sim::engine::{Call, Verdict};
use crate::sim::process::{Agent, Operator, Program};
use crate::sim::workload::Kind;

const NODE: &str = "gpu-000";

fn instance(place: &Place) -> PlannedInstance {
    let Place { start, size, profile } = place.clone();
    PlannedInstance { start, size, profile, pods: Vec::new(), occupancy_unknown: false }
}

/// Turns the second half of the board from one instance into two, and evicts whoever holds it.
fn change(record: &MigNode) -> Option<Operation> {
    let report = record.status.gpus.first()?;
    let victim = report.instances.iter().find(|instance| instance.place.start == 4)?.pods.first()?.clone();
    if !record.spec.history.is_empty() {
        return None;
    }
    let before: Vec<PlannedInstance> = report.instances.iter().map(|it| instance(&it.place)).collect();
    let create = vec![instance(&place("2g.20gb", 4, 2)), instance(&place("1g.10gb", 6, 1))];
    let destroy: Vec<PlannedInstance> = before.iter().filter(|it| it.start == 4).cloned().collect();
    let after = before.iter().filter(|it| it.start != 4).chain(&create).cloned().collect();
    let (uuid, model) = (report.uuid.clone(), report.model.clone());
    let change = GpuChange { index: report.index, uuid, model, before, after, destroy, create, hand_over: Vec::new() };
    Some(operation(record, vec![change], vec![victim]))
}

/// The operation of these changes and evictions.
fn operation(record: &MigNode, gpus: Vec<GpuChange>, victims: Vec<PodRef>) -> Operation {
    let geometry = crate::model::Catalogue::embedded().find_by_key("A100-80GB").expect("a board");
    let steps = gpus.iter().flat_map(|change| plan::steps(change, geometry).expect("the change has an order"));
    let steps = steps.collect();
    let evict = victims
        .into_iter()
        .map(|victim| Eviction { pod: victim.to_string(), uid: victim.uid, placed_on: None })
        .collect();
    let node = NodePlan { name: NODE.to_owned(), gpus, evict, steps };
    let reports = &record.status.gpus;
    let instances = reports.iter().flat_map(|report| &report.instances);
    let residents = instances.flat_map(|it| &it.pods).map(|pod| pod.uid.clone()).collect();
    let node_uid = record.status.node_uid.clone();
    let origin = Origin { id: OperationId("op-1".to_owned()), epoch: 1, node_uid, residents };
    draft(&node, &[], origin).expect("the plan leaves nothing open")
}

/// Hands over the second half of the last board, as soon as somebody holds it.
fn hand_over(record: &MigNode) -> Option<Operation> {
    if !record.spec.history.is_empty() {
        return None;
    }
    let (change, victim) = handed_over(record.status.gpus.last()?)?;
    Some(operation(record, vec![change], vec![victim]))
}

fn handed_over(report: &GpuReport) -> Option<(GpuChange, PodRef)> {
    let victim = report.instances.iter().find(|instance| instance.place.start == 4)?.pods.first()?.clone();
    let before: Vec<PlannedInstance> = report.instances.iter().map(|it| instance(&it.place)).collect();
    let hand_over: Vec<PlannedInstance> = before.iter().filter(|it| it.start == 4).cloned().collect();
    let (uuid, model, after) = (report.uuid.clone(), report.model.clone(), before.clone());
    let (destroy, create) = (Vec::new(), Vec::new());
    let change = GpuChange { index: report.index, uuid, model, before, after, destroy, create, hand_over };
    Some((change, victim))
}

/// Both: cuts the first board anew and hands over half of the second.
fn change_and_hand_over(record: &MigNode) -> Option<Operation> {
    let [_, second] = record.status.gpus.as_slice() else { return None };
    let (handed, makes_way) = handed_over(second)?;
    let cut = change(record)?;
    let handed = operation(record, vec![handed], vec![makes_way]);
    Some(Operation {
        gpus: cut.gpus.into_iter().chain(handed.gpus).collect(),
        victims: cut.victims.into_iter().chain(handed.victims).collect(),
        ..cut
    })
}

struct OneOperation(fn(&MigNode) -> Option<Operation>);

impl Programs for OneOperation {
    fn program(&mut self, process: &ProcessId, life: u64) -> Option<Box<dyn Program>> {
        Some(match process {
            ProcessId::Agent(node) => Box::new(Agent::new(node, Timing::default())),
            ProcessId::Controller(_) => Box::new(Operator::new(NODE, Timing::default(), life, Box::new(self.0))),
        })
    }

    fn take_records(&mut self) -> Vec<Record> {
        Vec::new()
    }
}

fn work(name: &str, profile: &str, at: u64) -> Arrival {
    Arrival {
        at,
        name: name.to_owned(),
        instances: BTreeMap::from([(profile.to_owned(), 1)]),
        runs: 3_600_000,
        priority: 0,
        kind: Kind::Service,
        patience: None,
    }
}

/// Boards of two halves each.
fn halves(boards: u32, arrivals: Vec<Arrival>, draft: fn(&MigNode) -> Option<Operation>, seed: u64) -> World {
    let mut fleet = Fleet::uniform(1, boards, "A100-80GB").expect("the board is in the catalogue");
    for board in &mut fleet.nodes[0].boards {
        board.layout = vec![place("3g.40gb", 0, 4), place("3g.40gb", 4, 4)];
    }
    let settings = Settings { trace: 400, ..Settings::default() };
    World::new(fleet, &Workload { arrivals }, settings, Box::new(OneOperation(draft)), seed).expect("a cluster")
}

/// A full board, and work that waits for the smaller instances.
fn world(seed: u64) -> World {
    let arrivals = vec![
        work("big-1", "3g.40gb", 0),
        work("big-2", "3g.40gb", 0),
        work("medium", "2g.20gb", 10_000),
        work("small", "1g.10gb", 10_000),
    ];
    halves(1, arrivals, change, seed)
}

/// A full board, and work that waits for what others hold.
fn full(seed: u64) -> World {
    let arrivals = vec![work("big-1", "3g.40gb", 0), work("big-2", "3g.40gb", 0), work("rival", "3g.40gb", 1_000)];
    halves(1, arrivals, hand_over, seed)
}

/// How often something was asked for.
fn asked(world: &World, kind: RequestKind) -> u64 {
    world.requests().get(&kind).copied().unwrap_or(0)
}

/// The operation has ended well without any change of a board, and who waited runs in the place of one of the others.
fn assert_handed_over(world: &mut World, what: &str) {
    let trace = || world.trace_lines().collect::<Vec<_>>().join("\n");
    let record = &world.api().objects().records[NODE];
    assert_eq!(record.spec.operation, None, "{what}: the operation is over\n{}", trace());
    let ended: Vec<Outcome> = record.spec.history.iter().map(|ended| ended.outcome).collect();
    assert_eq!(ended, [Outcome::Done], "{what}\n{}", trace());
    let taints = &world.api().objects().nodes[NODE].taints;
    assert!(taints.is_empty(), "{what}: {taints:?}");
    let held: Vec<String> =
        world.snapshot().gpus[0].instances.iter().flat_map(|it| it.pods.iter().map(ToString::to_string)).collect();
    assert_eq!(held.len(), 2, "{what}: {held:?}\n{}", trace());
    assert!(held.iter().any(|pod| pod.contains("rival")), "{what}: {held:?}\n{}", trace());
    assert!(world.take_effects().is_empty(), "{what}: no board is changed");
    assert_eq!(asked(world, RequestKind::DeletePluginPod), 0, "{what}: the plugin stays");
}

#[test]
fn an_instance_is_handed_over_without_a_change_of_the_board() {
    let mut world = full(1);
    world.run_until(300_000);
    assert_handed_over(&mut world, "undisturbed");
    let evicted = world.history().records.iter().filter(|stamped| is_eviction(&stamped.record)).count();
    assert_eq!(evicted, 1);
}

#[test]
fn a_crash_at_any_write_of_a_hand_over_changes_nothing_in_the_end() {
    let mut undisturbed = full(2);
    undisturbed.run_until(300_000);
    let mut points = 0;
    for kind in [RequestKind::WriteSpec, RequestKind::AddTaint, RequestKind::Evict, RequestKind::RemoveTaint] {
        for number in 0..asked(&undisturbed, kind) {
            for verdict in [Verdict::CrashBefore, Verdict::CrashAfter] {
                let mut world = full(2);
                let crash = verdict.clone();
                world.set_faults(Box::new(move |call: &Call<'_>| {
                    let here = call.kind == kind && call.number_of_kind == number;
                    if here { crash.clone() } else { Verdict::Pass }
                }));
                world.run_until(600_000);
                let what = format!("{verdict:?} at {kind:?} {number}");
                if claimed_only(kind, number) && world.history().records.iter().all(|it| !is_eviction(&it.record)) {
                    assert_untouched(&mut world, &what);
                } else {
                    assert_handed_over(&mut world, &what);
                }
                points += 1;
            }
        }
    }
    assert!(points >= 2 * 7, "{points}");
}

#[test]
fn one_board_is_cut_while_an_instance_of_another_is_handed_over() {
    let arrivals = vec![
        work("big-1", "3g.40gb", 0),
        work("big-2", "3g.40gb", 0),
        work("big-3", "3g.40gb", 0),
        work("big-4", "3g.40gb", 0),
        work("rival", "3g.40gb", 1_000),
        work("medium", "2g.20gb", 10_000),
        work("small", "1g.10gb", 10_000),
    ];
    let mut world = halves(2, arrivals, change_and_hand_over, 3);
    world.run_until(300_000);
    let trace = || world.trace_lines().collect::<Vec<_>>().join("\n");
    let record = &world.api().objects().records[NODE];
    let cut = record.status.gpus[0].uuid.clone();
    let ended: Vec<Outcome> = record.spec.history.iter().map(|ended| ended.outcome).collect();
    assert_eq!((&record.spec.operation, ended), (&None, vec![Outcome::Done]), "{}", trace());
    let held: Vec<Vec<(String, usize)>> = world
        .snapshot()
        .gpus
        .iter()
        .map(|gpu| gpu.instances.iter().map(|it| (it.profile.clone(), it.pods.len())).collect())
        .collect();
    let of = |held: &[(&str, usize)]| -> Vec<(String, usize)> {
        held.iter().map(|&(profile, pods)| (profile.to_owned(), pods)).collect()
    };
    let expected = [of(&[("3g.40gb", 1), ("2g.20gb", 1), ("1g.10gb", 1)]), of(&[("3g.40gb", 1), ("3g.40gb", 1)])];
    assert_eq!(held, expected, "{}", trace());
    let effects = world.take_effects();
    assert_eq!((effects.len(), effects.iter().all(|noted| noted.effect.gpu == cut)), (6, true));
}

fn assert_done(world: &mut World, what: &str) {
    let trace = || world.trace_lines().collect::<Vec<_>>().join("\n");
    let record = &world.api().objects().records[NODE];
    assert_eq!(record.spec.operation, None, "{what}: the operation is over\n{}", trace());
    let ended: Vec<Outcome> = record.spec.history.iter().map(|ended| ended.outcome).collect();
    assert_eq!(ended, [Outcome::Done], "{what}\n{}", trace());
    let node = &world.api().objects().nodes[NODE];
    assert!(node.taints.is_empty(), "{what}: {:?}", node.taints);
    let held: Vec<(String, usize)> =
        world.snapshot().gpus[0].instances.iter().map(|it| (it.profile.clone(), it.pods.len())).collect();
    let expected = [("3g.40gb", 1), ("2g.20gb", 1), ("1g.10gb", 1)].map(|(profile, n)| (profile.to_owned(), n));
    assert_eq!(held, expected, "{what}\n{}", trace());
}

#[test]
fn an_operation_evicts_changes_the_board_restarts_the_plugin_and_serves_who_waits() {
    let mut world = world(1);
    world.run_until(300_000);
    assert_done(&mut world, "undisturbed");
    let evicted: Vec<String> = world
        .history()
        .records
        .iter()
        .filter_map(
            |stamped| if let Record::Evicted { work, lost: 0 } = &stamped.record { Some(work.clone()) } else { None },
        )
        .collect();
    assert_eq!(evicted.len(), 1);
    let claimed = world.history().records.iter().find_map(|stamped| {
        if let Record::Claimed { victims, .. } = &stamped.record { Some(victims.clone()) } else { None }
    });
    assert_eq!(claimed, Some(evicted), "victims are named by their work");
    assert_eq!(world.take_effects().len(), 6, "two parts destroyed, four created, each once");
}

#[test]
fn a_crash_at_any_write_before_or_after_its_effect_changes_nothing_in_the_end() {
    let mut undisturbed = world(2);
    undisturbed.run_until(300_000);
    let writes: Vec<(RequestKind, u64)> =
        undisturbed.requests().iter().filter(|(kind, _)| kind.writes()).map(|(kind, count)| (*kind, *count)).collect();
    let mut points = 0;
    for (kind, count) in writes {
        // Status reports go on for ever; the first dozen are those of the operation.
        for number in 0..count.min(12) {
            for verdict in [Verdict::CrashBefore, Verdict::CrashAfter] {
                let mut world = world(2);
                let crash = verdict.clone();
                world.set_faults(Box::new(move |call: &Call<'_>| {
                    let here = call.kind == kind && call.number_of_kind == number;
                    if here { crash.clone() } else { Verdict::Pass }
                }));
                world.run_until(600_000);
                let what = format!("{verdict:?} at {kind:?} {number}");
                if claimed_only(kind, number) && world.history().records.iter().all(|it| !is_eviction(&it.record)) {
                    assert_untouched(&mut world, &what);
                } else {
                    assert_done(&mut world, &what);
                }
                points += 1;
            }
        }
    }
    assert!(points >= 2 * 15, "{points}");
}

/// Whether the request comes before the taint: an operation that is found claimed but not tainted is given up.
fn claimed_only(kind: RequestKind, number: u64) -> bool {
    matches!(kind, RequestKind::WriteSpec | RequestKind::AddTaint) && number == 0
}

fn is_eviction(record: &Record) -> bool {
    matches!(record, Record::Evicted { .. })
}

fn assert_untouched(world: &mut World, what: &str) {
    let record = &world.api().objects().records[NODE];
    let ended: Vec<Outcome> = record.spec.history.iter().map(|ended| ended.outcome).collect();
    assert_eq!((&record.spec.operation, ended), (&None, vec![Outcome::Aborted]), "{what}");
    assert!(world.api().objects().nodes[NODE].taints.is_empty(), "{what}");
    assert!(world.take_effects().is_empty(), "{what}");
    assert_eq!(world.snapshot().running, 2, "{what}");
}
