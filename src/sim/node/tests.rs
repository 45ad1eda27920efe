//! A node as a whole, through the agent's port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::exec::IdleProof;
use crate::exec::port::{NodeAnswer, NodeRequest};
use crate::model::Catalogue;

const SMALL: &str = "nvidia.com/mig-1g.10gb";
const LARGE: &str = "nvidia.com/mig-3g.40gb";
const GPU: &str = "GPU-n-00";

pub(super) fn place(profile: &str, start: u8, size: u8) -> Place {
    Place { start, size, profile: profile.into() }
}

pub(super) fn pod(name: &str) -> PodRef {
    PodRef { namespace: "default".into(), name: name.into(), uid: format!("uid-{name}") }
}

/// Two A100s: `3g.40gb` and `1g.10gb` on the first, nothing on the second.
fn node(config: NodeConfig) -> SimNode {
    let geometry = Catalogue::embedded().find_by_key("A100-80GB").expect("as set up");
    let mut node = SimNode::new("n", "uid-n", &[Arc::clone(geometry), Arc::clone(geometry)], config);
    node.lay_out(0, &[place("3g.40gb", 0, 4), place("1g.10gb", 4, 1)]).expect("as set up");
    node
}

fn serving() -> SimNode {
    let mut node = node(NodeConfig::default());
    node.plugin_starts().expect("as set up");
    assert!(node.plugin_registers());
    node
}

fn proof(node: &SimNode, place: &Place) -> IdleProof {
    IdleProof::establish(&node.states()[0], place, &[], &[], &[]).expect("as set up")
}

fn ask(node: &mut SimNode, request: &NodeRequest) -> Result<NodeAnswer, NodeError> {
    node.answer(request, None).reply
}

fn asks(resource: &str) -> BTreeMap<String, u32> {
    BTreeMap::from([(resource.to_owned(), 1)])
}

#[test]
fn a_change_of_layout_is_advertised_only_when_the_plugin_has_started_anew() {
    let mut node = serving();
    let old = place("1g.10gb", 4, 1);
    let proof = proof(&node, &old);
    assert_eq!(ask(&mut node, &NodeRequest::DestroyComputeInstance(proof.clone())), Ok(NodeAnswer::Done));
    assert_eq!(ask(&mut node, &NodeRequest::DestroyGpuInstance(proof)), Ok(NodeAnswer::Done));
    let new = place("3g.40gb", 4, 4);
    assert_eq!(
        ask(&mut node, &NodeRequest::CreateGpuInstance { gpu: GPU.into(), place: new.clone() }),
        Ok(NodeAnswer::Done)
    );
    assert_eq!(
        ask(&mut node, &NodeRequest::CreateComputeInstance { gpu: GPU.into(), place: new }),
        Ok(NodeAnswer::Done)
    );
    assert_eq!(node.allocatable(), BTreeMap::from([(SMALL.into(), 1), (LARGE.into(), 1)]));

    let given = node.admit(&pod("late"), &asks(SMALL), false).expect("as set up");
    assert_eq!(node.start_container(&pod("late"), "main", true), Err(DeadDevice(given[0].uuid.clone())));
    node.pod_ends("uid-late");

    node.plugin_stops();
    assert_eq!(node.allocatable(), BTreeMap::from([(SMALL.into(), 0), (LARGE.into(), 0)]));
    assert_eq!(node.plugin_starts(), Ok(Duration::from_secs(3)));
    assert_eq!(node.allocatable()[LARGE], 0);
    assert!(node.plugin_registers());
    assert_eq!(node.allocatable(), BTreeMap::from([(SMALL.into(), 0), (LARGE.into(), 2)]));
    let NodeAnswer::Allocatable(uuids) = ask(&mut node, &NodeRequest::Allocatable).expect("as set up") else {
        panic!()
    };
    assert_eq!(uuids, ["MIG-n-00-1", "MIG-n-00-3"]);
}

#[test]
fn the_plugin_looks_when_it_starts_and_not_when_it_registers() {
    let mut node = node(NodeConfig::default());
    node.plugin_starts().expect("as set up");
    node.lay_out(1, &[place("7g.80gb", 0, 8)]).expect("as set up");
    assert!(node.plugin_registers());
    assert_eq!(node.allocatable(), BTreeMap::from([(SMALL.into(), 1), (LARGE.into(), 1)]));
}

#[test]
fn the_strategy_single_fails_for_boards_that_are_empty_or_not_alike() {
    let single = NodeConfig { strategy: Strategy::Single, ..NodeConfig::default() };
    let mut mixed = node(single);
    mixed.lay_out(1, &[place("3g.40gb", 0, 4)]).expect("as set up");
    assert_eq!(mixed.plugin_starts(), Err(PluginError::NotUniform));
    assert!(!mixed.plugin_registers());

    let geometry = Catalogue::embedded().find_by_key("A100-80GB").expect("as set up");
    let mut node = SimNode::new("n", "uid-n", &[Arc::clone(geometry), Arc::clone(geometry)], single);
    node.lay_out(0, &[place("3g.40gb", 0, 4), place("3g.40gb", 4, 4)]).expect("as set up");
    assert_eq!(node.plugin_starts(), Err(PluginError::NotUniform), "the second board is empty");
    node.lay_out(1, &[place("3g.40gb", 0, 4)]).expect("as set up");
    node.plugin_starts().expect("as set up");
    assert!(node.plugin_registers());
    assert_eq!(node.allocatable(), BTreeMap::from([("nvidia.com/gpu".into(), 3)]));
}

#[test]
fn a_plugin_that_crashes_or_finds_a_board_away_offers_nothing() {
    let mut node = serving();
    node.plugin.crashes = true;
    assert_eq!(node.plugin_starts(), Err(PluginError::Crashes));
    assert!(!node.plugin_registers());
    assert!(node.allocatable().values().all(|&count| count == 0));
    node.plugin.crashes = false;
    node.boards[1].set_health(Health::Lost);
    assert_eq!(node.plugin_starts(), Err(PluginError::Unreachable));
    node.boards[1].set_health(Health::Well);
    assert!(node.plugin_starts().is_ok());
}

#[test]
fn every_holder_counts_in_truth_and_the_sources_tell_their_part() {
    let mut node = serving();
    let large = node.admit(&pod("a"), &asks(LARGE), false).expect("as set up")[0].uuid.clone();
    let small = node.admit(&pod("init"), &asks(SMALL), true).expect("as set up")[0].uuid.clone();
    assert_eq!(node.holders(&large).len(), 1, "admitted, not yet started");
    node.start_container(&pod("a"), "main", true).expect("as set up");
    node.start_container(&pod("init"), "setup", false).expect("as set up");
    assert_eq!((node.holders(&large).len(), node.holders(&small).len()), (1, 1));

    let NodeAnswer::Occupants(told) = ask(&mut node, &NodeRequest::Occupants).expect("as set up") else { panic!() };
    let told: Vec<_> = told.iter().map(|occupant| (occupant.instance.as_str(), occupant.pod.is_some())).collect();
    assert_eq!(told, [(large.as_str(), false), (large.as_str(), true)], "no plain init container");

    node.pod_deleted("uid-a");
    assert_eq!(node.holders(&large).len(), 1, "deleted by force: its container runs on");
    node.pod_ends("uid-a");
    assert!(node.holders(&large).is_empty());
}

#[test]
fn a_leaked_handle_is_seen_by_nobody_and_blocks() {
    let mut node = serving();
    let monitor = Holder::Monitor { name: "dcgm".into() };
    node.hold("MIG-n-00-2", &monitor).expect("as set up");
    assert_eq!(node.hold("MIG-none", &monitor), Err(NodeError::NotFound));
    assert_eq!(ask(&mut node, &NodeRequest::Occupants), Ok(NodeAnswer::Occupants(Vec::new())));
    let proof = proof(&node, &place("1g.10gb", 4, 1));
    assert_eq!(ask(&mut node, &NodeRequest::DestroyComputeInstance(proof.clone())), Err(NodeError::InUse));
    node.release(|holder| *holder == monitor);
    assert_eq!(ask(&mut node, &NodeRequest::DestroyComputeInstance(proof)), Ok(NodeAnswer::Done));
}

#[test]
fn an_effect_tells_who_was_hurt() {
    let mut node = serving();
    let spot = place("1g.10gb", 4, 1);
    let given = node.admit(&pod("a"), &asks(SMALL), false).expect("as set up")[0].uuid.clone();
    node.start_container(&pod("a"), "main", false).expect("as set up");
    let proof = proof(&node, &spot);
    let answered = node.answer(&NodeRequest::DestroyComputeInstance(proof.clone()), None);
    let Some(Effect { action: Action::DestroyComputeInstance { uuid, holders }, .. }) = answered.effect else {
        panic!()
    };
    assert_eq!((uuid, holders.len()), (given, 1));
    node.answer(&NodeRequest::DestroyGpuInstance(proof), None);
    let create = NodeRequest::CreateGpuInstance { gpu: GPU.into(), place: spot };
    let Some(Effect { action: Action::CreateGpuInstance { stale }, .. }) = node.answer(&create, None).effect else {
        panic!()
    };
    assert_eq!(stale.len(), 1);
}

#[test]
fn an_old_proof_does_not_destroy_a_new_instance() {
    let mut node = serving();
    let spot = place("1g.10gb", 4, 1);
    let old = proof(&node, &spot);
    node.by_hand(&ByHand::Destroy { gpu: GPU.into(), place: spot.clone(), whole: true }).expect("as set up");
    let without = {
        node.by_hand(&ByHand::Create { gpu: GPU.into(), place: spot.clone(), compute: false }).expect("as set up");
        proof(&node, &spot)
    };
    node.by_hand(&ByHand::Destroy { gpu: GPU.into(), place: spot.clone(), whole: true }).expect_err("as set up");
    ask(&mut node, &NodeRequest::CreateComputeInstance { gpu: GPU.into(), place: spot.clone() }).expect("as set up");
    for stale in [old, without] {
        assert_eq!(ask(&mut node, &NodeRequest::DestroyComputeInstance(stale)), Err(NodeError::NotFound));
    }
}

#[test]
fn faults_do_what_they_say() {
    let create = NodeRequest::CreateGpuInstance { gpu: GPU.into(), place: place("1g.10gb", 5, 1) };
    let cases = [
        (Fault::Refused(NodeError::NoPermission), NodeError::NoPermission, false, Health::Well),
        (Fault::Applied(NodeError::Unknown), NodeError::Unknown, true, Health::Well),
        (Fault::Hangs { applied: true }, NodeError::Hung, true, Health::Hung),
        (Fault::Hangs { applied: false }, NodeError::Hung, false, Health::Hung),
    ];
    for (fault, error, applied, health) in cases {
        let mut node = serving();
        let answered = node.answer(&create, Some(&fault));
        assert_eq!(answered.reply, Err(error), "{fault:?}");
        assert_eq!(answered.effect.is_some(), applied, "{fault:?}");
        assert_eq!(node.states()[0].instances.len(), if applied { 3 } else { 2 }, "{fault:?}");
        assert_eq!(node.boards[0].health(), health, "{fault:?}");
        if health == Health::Hung {
            let enumerated = node.answer(&NodeRequest::Enumerate, None);
            assert_eq!((enumerated.reply, enumerated.latency), (Err(NodeError::Hung), Duration::from_secs(30)));
        }
    }
}

#[test]
fn calls_take_as_long_as_measured() {
    let mut node = serving();
    let mut sum = Duration::ZERO;
    let spot = place("3g.40gb", 4, 4);
    node.by_hand(&ByHand::Destroy { gpu: GPU.into(), place: place("1g.10gb", 4, 1), whole: true }).expect("as set up");
    sum += node.answer(&NodeRequest::CreateGpuInstance { gpu: GPU.into(), place: spot.clone() }, None).latency;
    sum += node.answer(&NodeRequest::CreateComputeInstance { gpu: GPU.into(), place: spot.clone() }, None).latency;
    assert_eq!(sum, Duration::from_millis(200));
    let proof = proof(&node, &spot);
    let mut sum = node.answer(&NodeRequest::DestroyComputeInstance(proof.clone()), None).latency;
    sum += node.answer(&NodeRequest::DestroyGpuInstance(proof), None).latency;
    assert_eq!(sum, Duration::from_millis(210));
}

#[test]
fn a_reboot_takes_the_instances_and_leaves_the_disk() {
    let mut node = serving();
    node.admit(&pod("a"), &asks(LARGE), false).expect("as set up");
    node.start_container(&pod("a"), "main", true).expect("as set up");
    let applied = BTreeMap::from([(GPU.to_owned(), vec![place("3g.40gb", 0, 4)])]);
    ask(&mut node, &NodeRequest::ClearIntent { applied: Some(applied.clone()) }).expect("as set up");
    let before = node.store.read();
    node.reboot();
    let after = node.store.read();
    assert_ne!(before.boot_id, after.boot_id);
    assert_eq!(after.applied, Some(applied));
    assert!(node.states().iter().all(|board| board.instances.is_empty() && board.mig_mode));
    assert!(node.allocatable().values().all(|&count| count == 0));
    node.plugin_starts().expect("as set up");
    node.plugin_registers();
    assert!(matches!(node.kubelet.readmit("uid-a"), Err(AdmissionError::Unhealthy { .. })));
}

#[test]
fn a_kubelet_that_restarts_makes_the_plugin_look_again() {
    let mut node = serving();
    node.by_hand(&ByHand::Create { gpu: GPU.into(), place: place("1g.10gb", 5, 1), compute: true }).expect("as set up");
    assert_eq!(node.allocatable()[SMALL], 1);
    assert!(node.kubelet_restarts(false).is_some());
    assert_eq!(node.allocatable()[SMALL], 0);
    assert!(node.plugin_registers());
    assert_eq!(node.allocatable()[SMALL], 2);
    node.plugin_stops();
    assert_eq!(node.kubelet_restarts(false), None);
}

#[test]
fn an_operator_switches_mig_mode() {
    let mut node = serving();
    node.by_hand(&ByHand::MigMode { gpu: GPU.into(), on: false }).expect("as set up");
    assert!(!node.states()[0].mig_mode);
    assert_eq!(node.by_hand(&ByHand::MigMode { gpu: "GPU-none".into(), on: false }), Err(NodeError::NotFound));
}
