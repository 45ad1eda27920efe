//! Who gets which device, and what the kubelet tells of it.

use std::collections::BTreeMap;

use super::kubelet::{AdmissionError, Choice, Kubelet, Telling};
use super::plugin::Device;
use super::tests::pod;
use crate::exec::port::NodeError;

const SMALL: &str = "nvidia.com/mig-1g.10gb";
const LARGE: &str = "nvidia.com/mig-3g.40gb";

fn device(gpu: u32, start: u8, resource: &str) -> Device {
    Device { gpu, start, uuid: format!("MIG-{gpu}-{start}"), resource: resource.to_owned() }
}

fn kubelet(choice: Choice) -> Kubelet {
    let mut kubelet = Kubelet::new(choice);
    kubelet.register(&[
        device(0, 0, SMALL),
        device(0, 1, SMALL),
        device(0, 2, SMALL),
        device(1, 0, SMALL),
        device(1, 1, SMALL),
        device(1, 4, LARGE),
    ]);
    kubelet
}

fn asks(resource: &str, count: u32) -> BTreeMap<String, u32> {
    BTreeMap::from([(resource.to_owned(), count)])
}

fn uuids(devices: &[Device]) -> Vec<&str> {
    devices.iter().map(|device| device.uuid.as_str()).collect()
}

#[test]
fn packed_fills_the_fuller_gpu_and_distributed_spreads() {
    for (choice, expected) in
        [(Choice::Packed, ["MIG-1-0", "MIG-1-1", "MIG-0-0"]), (Choice::Distributed, ["MIG-0-0", "MIG-1-0", "MIG-0-1"])]
    {
        let mut kubelet = kubelet(choice);
        for (name, expected) in ["a", "b", "c"].into_iter().zip(expected) {
            let given = kubelet.admit(&pod(name), &asks(SMALL, 1), false).unwrap();
            assert_eq!(uuids(&given), [expected], "{choice:?} {name}");
        }
    }
}

#[test]
fn a_pod_with_several_resources_gets_all_or_nothing() {
    let mut kubelet = kubelet(Choice::Packed);
    let both = BTreeMap::from([(SMALL.to_owned(), 2), (LARGE.to_owned(), 1)]);
    assert_eq!(kubelet.admit(&pod("a"), &both, false).unwrap().len(), 3);
    let error = kubelet.admit(&pod("b"), &both, false).unwrap_err();
    assert_eq!(error, AdmissionError::Unavailable { resource: LARGE.into(), requested: 1, available: 0 });
    assert!(kubelet.devices_of("uid-b").is_empty());
    assert_eq!(kubelet.admit(&pod("c"), &asks(SMALL, 3), false).unwrap().len(), 3);
}

#[test]
fn devices_are_free_again_when_the_pod_has_ended() {
    let mut kubelet = kubelet(Choice::Packed);
    kubelet.admit(&pod("a"), &asks(LARGE, 1), false).unwrap();
    assert!(kubelet.admit(&pod("b"), &asks(LARGE, 1), false).is_err());
    kubelet.finish("uid-a");
    assert!(kubelet.admit(&pod("b"), &asks(LARGE, 1), false).is_ok());
}

#[test]
fn a_pod_keeps_its_old_ids_when_the_plugin_offers_others() {
    let mut kubelet = kubelet(Choice::Packed);
    kubelet.admit(&pod("a"), &asks(LARGE, 1), false).unwrap();
    kubelet.register(&[device(1, 0, LARGE)]);
    assert_eq!(kubelet.pod_resources().unwrap()[0].instance, "MIG-1-4");
    assert_eq!(kubelet.readmit("uid-a"), Err(AdmissionError::Unhealthy { resource: LARGE.into() }));
    assert_eq!(uuids(&kubelet.admit(&pod("b"), &asks(LARGE, 1), false).unwrap()), ["MIG-1-0"]);
    assert_eq!(uuids(&kubelet.readmit("uid-b").unwrap()), ["MIG-1-0"]);
}

#[test]
fn what_was_once_advertised_stays_with_none() {
    let mut kubelet = kubelet(Choice::Packed);
    kubelet.admit(&pod("a"), &asks(SMALL, 2), false).unwrap();
    assert_eq!(kubelet.allocatable(), BTreeMap::from([(SMALL.into(), 5), (LARGE.into(), 1)]));
    kubelet.register(&[device(0, 0, LARGE)]);
    assert_eq!(kubelet.allocatable(), BTreeMap::from([(SMALL.into(), 0), (LARGE.into(), 1)]));
    kubelet.disconnect();
    assert_eq!(kubelet.allocatable(), BTreeMap::from([(SMALL.into(), 0), (LARGE.into(), 0)]));
    assert_eq!(kubelet.allocatable_devices(), Ok(Vec::new()));
    assert_eq!(kubelet.pod_resources().unwrap().len(), 2);
}

#[test]
fn after_a_restart_nothing_is_advertised_and_the_checkpoint_decides_what_is_known() {
    for (lost, known) in [(false, 1), (true, 0)] {
        let mut kubelet = kubelet(Choice::Packed);
        kubelet.admit(&pod("a"), &asks(LARGE, 1), false).unwrap();
        kubelet.restart(lost);
        assert!(kubelet.allocatable().values().all(|&count| count == 0));
        assert_eq!(kubelet.pod_resources().unwrap().len(), known);
        kubelet.register(&[device(1, 4, LARGE)]);
        assert_eq!(kubelet.admit(&pod("b"), &asks(LARGE, 1), false).is_ok(), lost, "given away twice: {lost}");
    }
}

#[test]
fn the_list_leaves_out_what_it_is_told_to() {
    let cases = [
        (Telling::default(), ["uid-a"].as_slice()),
        (Telling { hides_plain_init: false, ..Telling::default() }, &["uid-a", "uid-b"]),
        (Telling { lists_finished: true, ..Telling::default() }, &["uid-a", "uid-c"]),
    ];
    for (telling, expected) in cases {
        let mut kubelet = kubelet(Choice::Packed);
        kubelet.telling = telling;
        kubelet.admit(&pod("a"), &asks(SMALL, 1), false).unwrap();
        kubelet.admit(&pod("b"), &asks(SMALL, 1), true).unwrap();
        kubelet.admit(&pod("c"), &asks(SMALL, 1), false).unwrap();
        kubelet.finish("uid-c");
        let listed = kubelet.pod_resources().unwrap();
        let uids: Vec<&str> = listed.iter().map(|occupant| occupant.pod.as_ref().unwrap().uid.as_str()).collect();
        assert_eq!(uids, expected, "{telling:?}");
        assert_eq!(kubelet.given().count(), 2);
    }
}

#[test]
fn a_silent_socket_is_an_error_and_not_an_empty_list() {
    let mut kubelet = kubelet(Choice::Packed);
    kubelet.telling.silent = true;
    assert!(matches!(kubelet.pod_resources(), Err(NodeError::Local(_))));
    assert!(matches!(kubelet.allocatable_devices(), Err(NodeError::Local(_))));
}
