//! Scripted faults, lost boards, events.

use std::ptr::null_mut;

use fake_nvml::{Code, Config, Fault};
use nvml_wrapper_sys::bindings::nvmlEventData_t;

use crate::support::{IN_USE, NOT_FOUND, UNKNOWN, call, isolated, node, zeroed};

#[test]
fn faults_strike_their_call_and_are_spent() {
    let mut config = Config::of(&["A100-40GB"]);
    config.faults = vec![
        Fault::answer("nvmlGpuInstanceGetInfo", Code::Unknown),
        Fault { times: 2, ..Fault::answer("nvmlGpuInstanceDestroy", Code::InUse) },
        Fault { applied: true, ..Fault::answer("nvmlDeviceCreateGpuInstanceWithPlacement", Code::Unknown) },
    ];
    isolated("faults::faults_strike_their_call_and_are_spent", config, |client| {
        let device = client.gpu(0);
        assert_eq!(client.create(device, 19, 3, 1), Err(UNKNOWN));
        let [gpu] = client.instances(device)[..] else { panic!("the call has done its work all the same") };
        assert_eq!(client.instance(gpu).err(), Some(UNKNOWN));
        assert_eq!(client.instance(gpu).map(|info| info.placement.start), Ok(3));
        assert_eq!([(); 3].map(|()| client.destroy(gpu)), [Err(IN_USE), Err(IN_USE), Ok(())]);
    });
}

#[test]
fn a_lost_board_answers_nothing_else() {
    isolated("faults::a_lost_board_answers_nothing_else", Config::of(&["A100-40GB", "A100-40GB"]), |client| {
        let (device, other) = (client.gpu(0), client.gpu(1));
        node().change(|node| node.boards[0].lost = true).expect("the file");
        assert_eq!(client.uuid(device), Err(15));
        assert_eq!(client.create(device, 19, 0, 1), Err(15));
        assert!(client.uuid(other).is_ok());
    });
}

#[test]
fn changes_are_announced() {
    isolated("faults::changes_are_announced", Config::of(&["A100-40GB", "A100-40GB"]), |client| {
        let (heard, silent) = (client.gpu(0), client.gpu(1));
        let mut set = null_mut();
        call!(client, nvmlEventSetCreate(&raw mut set)).expect("initialised");
        call!(client, nvmlDeviceRegisterEvents(heard, 0x100, set)).expect("supported");
        let next = || {
            let mut data: nvmlEventData_t = zeroed();
            call!(client, nvmlEventSetWait_v2(set, &raw mut data, 30)).map(|()| (data.device, data.gpuInstanceId))
        };
        assert_eq!(next(), Err(10), "nothing has happened");
        client.create(silent, 19, 0, 1).expect("an empty board");
        client.create(heard, 19, 0, 1).expect("an empty board");
        assert_eq!(next(), Ok((heard, 7)));
        assert_eq!(next(), Err(10), "nothing more of this board");
        call!(client, nvmlEventSetFree(set)).expect("made before");
    });
}

#[test]
fn a_reboot_takes_everything_from_under_a_client() {
    isolated("faults::a_reboot_takes_everything_from_under_a_client", Config::of(&["A100-40GB"]), |client| {
        let device = client.gpu(0);
        let gpu = client.create(device, 19, 0, 1).expect("an empty board");
        client.create_compute(gpu, 0).expect("empty");
        node().change(|node| node.reboot(false)).expect("the file");
        assert_eq!(client.mode(device), Ok((1, 1)), "Ampere keeps the mode");
        assert!(client.instances(device).is_empty());
        assert_eq!(client.mig_device(device, 0), Err(NOT_FOUND));
    });
}
