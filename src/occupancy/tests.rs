//! The union of the sources, source by source.

use super::*;
use crate::exec::IdleProof;
use crate::model::{Movability, Reason};
use crate::nvml::{ComputeInstanceOnBoard, MigMode};
use crate::plan::Place;
use crate::podresources::MigDevice;

const RESOURCE: &str = "nvidia.com/mig-1g.10gb";

/// Two instances with their compute instances, `MIG-a` and `MIG-b`, and a third without.
fn board(processes: [&[u32]; 2]) -> Board {
    let instance = |start: u8, computes| GpuInstanceOnBoard {
        id: u32::from(start) + 7,
        place: Place { start, size: 1, profile: "1g.10gb".into() },
        computes,
    };
    let [first, second] = processes;
    Board {
        index: 0,
        uuid: "GPU-1".into(),
        bus_id: "00000000:3B:00.0".into(),
        pci_device: "20B2".into(),
        product: "NVIDIA A100-SXM4-80GB".into(),
        memory_mib: Some(81920),
        mig: MigMode::Enabled,
        table: None,
        instances: vec![
            instance(0, vec![compute("MIG-a", first)]),
            instance(1, vec![compute("MIG-b", second)]),
            instance(2, Vec::new()),
        ],
    }
}

fn compute(uuid: &str, processes: &[u32]) -> ComputeInstanceOnBoard {
    ComputeInstanceOnBoard { id: 0, uuid: uuid.into(), fills: true, processes: processes.to_vec() }
}

const IDLE: [&[u32]; 2] = [&[], &[]];

fn holds(pod: &str, uuid: &str, replica: Option<u32>) -> Holding {
    Holding { namespace: "team".into(), pod: pod.into(), device: MigDevice { uuid: uuid.into(), replica } }
}

fn pod(name: &str, asks: u32) -> PodView {
    PodView {
        owner: None,
        pod: PodRef { namespace: "team".into(), name: name.into(), uid: format!("uid-of-{name}") },
        requests: BTreeMap::from([(RESOURCE.to_owned(), asks)]),
        deleting: false,
        finished: false,
        ready: true,
        device_plugin: false,
        deployed_as: std::collections::BTreeSet::new(),
        tolerates_taint: false,
        grace_seconds: 30,
        movability: Movability::Never(Reason::PolicyForbids, String::new()),
        budgets: Vec::new(),
    }
}

fn joined(kubelet: &[Holding], board: &Board, pods: &[PodView]) -> Vec<ReportedOccupancy> {
    states(&occupancy(kubelet, board, pods), board)
}

fn occupancy(kubelet: &[Holding], board: &Board, pods: &[PodView]) -> Occupancy {
    let driver = Source::Read(std::slice::from_ref(board));
    Occupancy::of(&Sources { kubelet: Source::Read(kubelet), driver, pods: Source::Read(pods) })
}

fn states(occupancy: &Occupancy, board: &Board) -> Vec<ReportedOccupancy> {
    board.instances.iter().map(|instance| occupancy.of_instance(instance).0).collect()
}

use ReportedOccupancy::{Busy, Free, Unknown};

#[test]
fn each_source_alone_makes_an_instance_busy() {
    assert_eq!(joined(&[], &board(IDLE), &[]), [Free, Free, Free]);
    assert_eq!(joined(&[holds("p", "MIG-a", None)], &board(IDLE), &[]), [Busy, Free, Free]);
    assert_eq!(joined(&[], &board([&[], &[17]]), &[]), [Free, Busy, Free]);
    // The API server does not say which one the pod has, so neither can be free.
    assert_eq!(joined(&[], &board(IDLE), &[pod("p", 1)]), [Unknown, Unknown, Free]);
}

#[test]
fn a_pod_that_is_known_to_hold_what_it_asks_for_leaves_the_rest_free() {
    let (board, pods) = (board([&[17], &[]]), [pod("p", 1)]);
    let occupancy = occupancy(&[holds("p", "MIG-a", None)], &board, &pods);
    assert_eq!(states(&occupancy, &board), [Busy, Free, Free]);
    assert_eq!(occupancy.of_instance(&board.instances[0]).1, [pods[0].pod.clone()], "with the API server's UID");
    let occupants = occupancy.occupants().expect("complete");
    assert_eq!(occupants.len(), 1, "the process is the pod's: {occupants:?}");
    let proof =
        IdleProof::establish(&board.state(), &board.instances[1].place, &[RESOURCE.to_owned()], &occupants, &pods);
    assert!(proof.is_ok(), "{proof:?}");
}

#[test]
fn a_pod_with_fewer_devices_than_it_asks_for_may_get_any() {
    assert_eq!(joined(&[holds("p", "MIG-a", None)], &board(IDLE), &[pod("p", 2)]), [Busy, Unknown, Free]);
}

#[test]
fn replicas_of_one_instance_count_each() {
    let kubelet = [holds("p", "MIG-a", Some(0)), holds("p", "MIG-a", Some(1)), holds("q", "MIG-a", Some(2))];
    let (board, pods) = (board(IDLE), [pod("p", 2), pod("q", 1)]);
    let occupancy = occupancy(&kubelet, &board, &pods);
    assert_eq!(states(&occupancy, &board), [Busy, Free, Free]);
    assert_eq!(occupancy.of_instance(&board.instances[0]).1, pods.map(|pod| pod.pod));
}

#[test]
fn pods_that_have_ended_hold_nothing_but_their_processes_do() {
    let ended = PodView { finished: true, ..pod("p", 1) };
    let kubelet = [holds("p", "MIG-a", None)];
    assert_eq!(joined(&kubelet, &board(IDLE), std::slice::from_ref(&ended)), [Free, Free, Free]);
    assert_eq!(joined(&kubelet, &board([&[17], &[]]), &[ended]), [Busy, Free, Free]);
    // A pod that the API server no longer knows may still run.
    assert_eq!(joined(&kubelet, &board(IDLE), &[]), [Busy, Free, Free]);
}

#[test]
fn nothing_is_free_when_any_source_fails() {
    let kubelet = [holds("p", "MIG-a", None)];
    let (board, pods) = (board(IDLE), [pod("p", 1)]);
    let driver = Source::Read(std::slice::from_ref(&board));
    let whole = Sources { kubelet: Source::Read(&kubelet), driver, pods: Source::Read(&pods) };
    assert_eq!(states(&Occupancy::of(&whole), &board), [Busy, Free, Free]);
    let failures = [
        (Sources { kubelet: Source::Failed, ..whole }, [Unknown, Unknown, Free]),
        (Sources { driver: Source::Failed, ..whole }, [Busy, Unknown, Free]),
        (Sources { pods: Source::Failed, ..whole }, [Busy, Unknown, Free]),
    ];
    for (sources, expected) in failures {
        let occupancy = Occupancy::of(&sources);
        assert_eq!(states(&occupancy, &board), expected, "{sources:?}");
        assert!(occupancy.occupants().is_err(), "{sources:?}");
    }
    let without_api = Sources { pods: Source::LeftOut, ..whole };
    assert_eq!(states(&Occupancy::of(&without_api), &board), [Busy, Free, Free]);
}

#[test]
fn instances_that_retile_does_not_make_are_busy_as_a_whole() {
    let mut partial = board(IDLE);
    partial.instances[0].computes[0].fills = false;
    assert_eq!(joined(&[], &partial, &[]), [Busy, Free, Free]);
    let mut several = board(IDLE);
    several.instances[0].computes.push(compute("MIG-a2", &[]));
    assert_eq!(joined(&[], &several, &[]), [Busy, Free, Free]);
    let (kubelet, pods) = ([holds("p", "MIG-a2", None)], [pod("p", 1)]);
    let occupancy = occupancy(&kubelet, &several, &pods);
    assert_eq!(states(&occupancy, &several), [Busy, Free, Free], "the pod has its instance");
    assert_eq!(occupancy.of_instance(&several.instances[0]).1, [pods[0].pod.clone()]);
}

#[test]
fn a_device_that_is_gone_still_accounts_for_its_pod() {
    assert_eq!(joined(&[holds("p", "MIG-gone", None)], &board(IDLE), &[pod("p", 1)]), [Free, Free, Free]);
}
