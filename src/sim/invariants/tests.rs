//! Every rule is broken once, and the checker says which. The same scene, unbroken, is accepted.

mod effects;
mod ends;
mod evictions;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::exec::port::{EvictionBody, Intent, Store};
use crate::exec::{
    AgentPhase, Ended, GpuTarget, MigNode, NodeView, Operation, OperationReport, Outcome, PROTOCOL, Phase, PodView,
    TAINT_KEY, Taint, Version, Victim,
};
use crate::model::{Catalogue, DisruptionLevel, Limit, Movability, PodRef, Reason};
use crate::plan::Place;
use crate::sim::node::{Action, ByHand, Effect, Holder, NodeConfig, SimNode};

const GPU: &str = "GPU-n-00";

fn place(profile: &str, start: u8, size: u8) -> Place {
    Place { start, size, profile: profile.into() }
}

fn pod(name: &str) -> PodRef {
    PodRef { namespace: "default".into(), name: name.into(), uid: format!("uid-{name}") }
}

fn id(name: &str) -> OperationId {
    OperationId(name.into())
}

fn checker() -> Checker {
    let mut policy = Policy::unlimited();
    policy.disruption = DisruptionLevel::Balanced;
    policy.budgets.nodes = Some(Limit::Count(2));
    policy.stability.gpu_cool_down_seconds = 600;
    policy.stability.pod_move_cap = Some(1);
    Checker::new(Limits::new(policy, &Timing::default()))
}

/// A node with `3g.40gb@0` and `1g.10gb@4`, its plugin serving.
fn machine() -> SimNode {
    let geometry = Catalogue::embedded().find_by_key("A100-80GB").expect("as set up");
    let mut machine = SimNode::new("n", "uid-n", &[Arc::clone(geometry)], NodeConfig::default());
    machine.lay_out(0, &[place("3g.40gb", 0, 4), place("1g.10gb", 4, 1)]).expect("as set up");
    machine.plugin_starts().expect("as set up");
    machine.plugin_registers();
    machine
}

fn operation(phase: Phase) -> Operation {
    let keeps = place("3g.40gb", 0, 4);
    Operation {
        id: id("op"),
        epoch: 5,
        protocol: PROTOCOL,
        node_uid: "uid-n".into(),
        gpus: vec![GpuTarget {
            uuid: GPU.into(),
            index: 0,
            base: vec![keeps.clone(), place("1g.10gb", 4, 1)],
            target: vec![keeps, place("3g.40gb", 4, 4)],
        }],
        steps: Vec::new(),
        victims: vec![Victim { pod: pod("victim"), placed_on: None }],
        beneficiaries: Vec::new(),
        residents: Vec::new(),
        phase,
        plugin: None,
        outcome: None,
        detail: String::new(),
    }
}

fn record(phase: Phase, agent: AgentPhase) -> MigNode {
    let mut record = MigNode { name: "n".into(), version: Version(7), ..MigNode::default() };
    record.spec.operation = Some(operation(phase));
    record.status.node_uid = "uid-n".into();
    record.status.boot_id = "boot-uid-n-1".into();
    record.status.operation = Some(OperationReport {
        id: id("op"),
        epoch: 5,
        boot_id: "boot-uid-n-1".into(),
        phase: agent,
        detail: String::new(),
    });
    record
}

fn view() -> NodeView {
    let taint = Taint { key: TAINT_KEY.into(), value: "op".into(), effect: "NoSchedule".into() };
    NodeView { name: "n".into(), uid: "uid-n".into(), ready: true, taints: vec![taint], ..NodeView::default() }
}

fn untainted() -> NodeView {
    NodeView { taints: Vec::new(), ..view() }
}

fn broken(checker: &Checker) -> Vec<Invariant> {
    checker.violations().iter().map(|violation| violation.invariant).collect()
}

fn view_of(name: &str) -> PodView {
    PodView {
        owner: None,
        pod: pod(name),
        requests: BTreeMap::from([("nvidia.com/mig-1g.10gb".into(), 1)]),
        deleting: false,
        finished: false,
        ready: true,
        device_plugin: false,
        deployed_as: std::collections::BTreeSet::new(),
        tolerates_taint: false,
        grace_seconds: 30,
        movability: Movability::From(DisruptionLevel::Balanced),
        budgets: vec![1],
    }
}

fn with_operation(change: impl FnOnce(&mut Operation)) -> MigNode {
    let mut record = record(Phase::Claimed, AgentPhase::Idle);
    change(record.spec.operation.as_mut().expect("as set up"));
    record
}

fn without_operation() -> MigNode {
    let mut record = record(Phase::Claimed, AgentPhase::Idle);
    record.spec.operation = None;
    record
}
