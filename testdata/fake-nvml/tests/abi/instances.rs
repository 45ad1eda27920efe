//! Creating and destroying GPU instances and compute instances, and the MIG devices that they make.

use std::ptr::null_mut;

use fake_nvml::{BoardConfig, Config};
use nvml_wrapper_sys::bindings::{nvmlDeviceAttributes_t, nvmlGpuInstance_t};

use crate::support::{
    Client, INSUFFICIENT_RESOURCES, INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, call, isolated, node, zeroed,
};

fn placed(client: &Client, instance: nvmlGpuInstance_t) -> (u32, u32, u32) {
    let info = client.instance(instance).expect("it lives");
    (info.id, info.placement.start, info.placement.size)
}

#[test]
fn placements_are_kept_and_refused_as_the_driver_does() {
    let name = "instances::placements_are_kept_and_refused_as_the_driver_does";
    isolated(name, Config::of(&["A100-40GB"]), |client| {
        let device = client.gpu(0);
        let three = client.create(device, 9, 4, 4).expect("an empty board");
        assert_eq!(placed(client, three), (2, 4, 4));
        assert_eq!(client.create(device, 9, 4, 4), Err(INSUFFICIENT_RESOURCES), "taken by the same");
        assert_eq!(client.create(device, 19, 5, 1), Err(INSUFFICIENT_RESOURCES), "taken by another");
        assert_eq!(client.create(device, 0, 0, 8), Err(INSUFFICIENT_RESOURCES), "partly taken");
        assert_eq!(client.create(device, 19, 7, 1), Err(INVALID_ARGUMENT), "not in the table");
        assert_eq!(client.create(device, 14, 0, 1), Err(INVALID_ARGUMENT), "wrong size");
        assert_eq!(client.create(device, 14, 1, 2), Err(INVALID_ARGUMENT), "between two starts");
        assert_eq!(client.create(device, 33, 0, 1), Err(NOT_SUPPORTED), "no such profile");
        assert_eq!([9, 5, 14, 15, 19, 0].map(|id| client.capacity(device, id)), [1, 1, 2, 2, 4, 0].map(Ok));
        client.create(device, 20, 0, 1).expect("room for one with media extensions");
        assert_eq!(client.create(device, 20, 1, 1), Err(INSUFFICIENT_RESOURCES), "the media engines are taken");
        assert_eq!(client.capacity(device, 20), Ok(0));
        let mut found = null_mut();
        call!(client, nvmlDeviceGetGpuInstanceById(device, 2, &raw mut found)).expect("the 3g");
        assert_eq!(placed(client, found), (2, 4, 4));
        assert_eq!(call!(client, nvmlDeviceGetGpuInstanceById(device, 14, &raw mut found)), Err(NOT_FOUND));
        client.destroy(three).expect("empty");
        assert_eq!(client.destroy(three), Err(INVALID_ARGUMENT), "the handle names one incarnation");
        assert_eq!(client.instances(device).len(), 1);
    });
}

#[test]
fn the_driver_chooses_in_its_own_order() {
    let name = "instances::the_driver_chooses_in_its_own_order";
    isolated(name, Config::of(&["A100-40GB", "H100-80GB-PCIe"]), |client| {
        let starts = |index: u32, id: u32, times: usize| -> Vec<(u32, u32)> {
            let made: Vec<_> =
                (0..times).map(|_| client.create_anywhere(client.gpu(index), id).expect("room")).collect();
            let seen =
                made.iter().map(|&instance| placed(client, instance)).map(|(id, start, _)| (id, start)).collect();
            for instance in made {
                client.destroy(instance).expect("empty");
            }
            seen
        };
        assert_eq!(starts(0, 19, 7), [(13, 6), (11, 4), (12, 5), (7, 0), (8, 1), (9, 2), (10, 3)]);
        assert_eq!(starts(0, 14, 3), [(5, 4), (3, 0), (4, 2)]);
        assert_eq!(starts(0, 15, 4), [(5, 4), (3, 0), (4, 2), (6, 6)]);
        assert_eq!(starts(0, 9, 2), [(2, 4), (1, 0)]);
        assert_eq!(starts(1, 19, 7), [(9, 6), (7, 4), (8, 5), (11, 0), (12, 1), (13, 2), (14, 3)], "mirrored");
        assert_eq!(starts(1, 9, 1), [(1, 4)], "mirrored");
    });
}

#[test]
fn older_drivers_know_less() {
    let config = Config { driver_version: "470.82.01".to_owned(), ..Config::of(&["A100-40GB"]) };
    isolated("instances::older_drivers_know_less", config, |client| {
        let device = client.gpu(0);
        client.create(device, 5, 0, 4).expect("an empty board");
        assert_eq!(client.create(device, 9, 4, 4), Err(INSUFFICIENT_RESOURCES), "4g with 3g from R510");
        assert_eq!(client.profile(device, 9).err(), Some(NOT_SUPPORTED), "double memory from R525");
    });
}

#[test]
fn a_gpu_instance_alone_is_no_mig_device() {
    let name = "instances::a_gpu_instance_alone_is_no_mig_device";
    isolated(name, Config::of(&["A100-80GB"]), |client| {
        let device = client.gpu(0);
        let gpu = client.create(device, 14, 0, 2).expect("an empty board");
        assert_eq!(client.instances(device), [gpu]);
        assert_eq!(client.mig_device(device, 0), Err(NOT_FOUND));
        let compute = client.create_compute(gpu, 1).expect("an empty GPU instance");
        let info = client.compute(compute).expect("it lives");
        assert_eq!((info.id, info.profileId, info.gpuInstance), (0, 1, gpu));
        let mig = client.mig_device(device, 0).expect("now it is one");
        assert_eq!(mig, info.device);
        let uuid = client.uuid(mig).expect("every MIG device has one");
        assert!(uuid.starts_with("MIG-"), "{uuid}");
        let mut text = [0; 96];
        call!(client, nvmlDeviceGetName(mig, text.as_mut_ptr(), 96)).expect("a name");
        let said: String = text.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8 as char).collect();
        assert_eq!(said, "NVIDIA A100-SXM4-80GB MIG 2g.20gb");
        let mut attributes: nvmlDeviceAttributes_t = zeroed();
        call!(client, nvmlDeviceGetAttributes_v2(mig, &raw mut attributes)).expect("a MIG device has them");
        assert_eq!((attributes.multiprocessorCount, attributes.memorySizeMB), (28, 19968));
        assert_eq!(call!(client, nvmlDeviceGetAttributes_v2(device, &raw mut attributes)), Err(NOT_SUPPORTED));
        let (mut parent, mut is_mig, mut gi, mut ci) = (null_mut(), 9, 99, 99);
        call!(client, nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig, &raw mut parent)).expect("its GPU");
        call!(client, nvmlDeviceIsMigDeviceHandle(mig, &raw mut is_mig)).expect("a device");
        call!(client, nvmlDeviceGetGpuInstanceId(mig, &raw mut gi)).expect("a MIG device");
        call!(client, nvmlDeviceGetComputeInstanceId(mig, &raw mut ci)).expect("a MIG device");
        assert_eq!((parent, is_mig, gi, ci), (device, 1, 3, 0));
        let found = client.nvml.device_by_uuid(uuid.as_str()).expect("by its UUID");
        // SAFETY: the handle is only compared.
        assert_eq!(unsafe { found.handle() }, mig);

        client.destroy_compute(compute).expect("idle");
        assert_eq!(client.uuid(mig), Err(INVALID_ARGUMENT), "the MIG device is gone with its compute instance");
        let again = client.create_compute(gpu, 1).expect("empty again");
        let again = client.compute(again).expect("it lives").device;
        assert_ne!(client.uuid(again).expect("a new one"), uuid);
    });
}

#[test]
fn compute_instances_share_a_gpu_instance() {
    let name = "instances::compute_instances_share_a_gpu_instance";
    isolated(name, Config::of(&["H100-80GB-SXM5"]), |client| {
        let device = client.gpu(0);
        let four = client.create(device, 5, 0, 4).expect("an empty board");
        let two = client.create_compute(four, 1).expect("two of four slices");
        assert_eq!(client.create_compute(four, 3), Err(INSUFFICIENT_RESOURCES));
        assert_eq!(client.create_compute(four, 4), Err(NOT_SUPPORTED), "seven slices");
        assert_eq!(client.create_compute(four, 8), Err(INVALID_ARGUMENT), "past the last profile");
        let mut left = 9;
        call!(client, nvmlGpuInstanceGetComputeInstanceRemainingCapacity(four, 0, &raw mut left)).expect("it lives");
        assert_eq!(left, 2);
        client.create_compute(four, 0).expect("one more slice");
        let mut text = [0; 96];
        let small = client.mig_device(device, 1).expect("the second one");
        call!(client, nvmlDeviceGetName(small, text.as_mut_ptr(), 96)).expect("a name");
        let said: String = text.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8 as char).collect();
        assert!(said.ends_with("MIG 1c.4g.40gb"), "{said}");
        client.destroy_compute(two).expect("idle");

        let doubled = client.create(device, 15, 6, 2).expect("room at the end");
        let processors = |compute| {
            let device = client.compute(compute).expect("it lives").device;
            let mut attributes: nvmlDeviceAttributes_t = zeroed();
            call!(client, nvmlDeviceGetAttributes_v2(device, &raw mut attributes)).expect("a MIG device");
            attributes.multiprocessorCount
        };
        let plain = client.create_compute(doubled, 0).expect("the plain profile");
        assert_eq!(processors(plain), 16);
        client.destroy_compute(plain).expect("idle");
        assert_eq!(client.create_compute(doubled, 7).map(processors), Ok(26), "the revised profile has them all");
    });
}

#[test]
fn handles_by_index_may_be_stale() {
    let config = Config { stale_mig_handles: true, ..Config::of(&["A100-40GB"]) };
    isolated("instances::handles_by_index_may_be_stale", config, |client| {
        let device = client.gpu(0);
        let gpu = client.create(device, 19, 0, 1).expect("an empty board");
        let compute = client.create_compute(gpu, 0).expect("empty");
        let first = client.mig_device(device, 0).expect("one MIG device");
        client.destroy_compute(compute).expect("idle");
        client.create_compute(gpu, 0).expect("empty again");
        assert_eq!(client.mig_device(device, 0), Ok(first), "the old one");
        assert_eq!(client.uuid(first), Err(INVALID_ARGUMENT));
        call!(client, nvmlShutdown()).expect("initialised once");
        call!(client, nvmlInit_v2()).expect("as often as one likes");
        assert!(client.mig_device(device, 0).and_then(|mig| client.uuid(mig)).is_ok(), "a new look");
    });
}

#[test]
fn the_mode_follows_the_architecture() {
    let in_place = BoardConfig { reset_in_place: true, ..BoardConfig::new("A30-24GB") };
    let mut config = Config::of(&["A100-40GB", "H100-80GB-SXM5"]);
    config.boards.push(in_place);
    isolated("instances::the_mode_follows_the_architecture", config, |client| {
        let set = |index: u32, mode: u32| {
            let mut activation = 77;
            call!(client, nvmlDeviceSetMigMode(client.gpu(index), mode, &raw mut activation)).map(|()| activation)
        };
        assert_eq!(set(0, 0), Ok(16), "the call succeeds and says that a reset is required");
        assert_eq!(client.mode(client.gpu(0)), Ok((1, 0)));
        assert_eq!((set(1, 0), client.mode(client.gpu(1))), (Ok(0), Ok((0, 0))));
        assert_eq!((set(2, 0), client.mode(client.gpu(2))), (Ok(0), Ok((0, 0))));
        assert_eq!(set(1, 2), Err(INVALID_ARGUMENT));
        node().change(|node| node.reboot(true)).expect("the node's file");
        assert_eq!(client.mode(client.gpu(2)), Ok((0, 0)), "the first board is now the last and its mode is off");
    });
}
