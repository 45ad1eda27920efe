//! What boards offer: identity, profiles, versions of structs, placements.

use std::ptr::null_mut;

use fake_nvml::boards::Board;
use fake_nvml::{BoardConfig, Config};
use nvml_wrapper_sys::bindings::{
    nvmlComputeInstanceProfileInfo_v3_t, nvmlFieldValue_t, nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_v2_t,
    nvmlGpuInstanceProfileInfo_v3_t,
};

use crate::support::{
    INSUFFICIENT_SIZE, INVALID_ARGUMENT, NO_PERMISSION, NOT_SUPPORTED, VERSION_MISMATCH, call, isolated, isolated_with,
    zeroed,
};

#[test]
fn nvml_wrapper_reads_the_boards() {
    let config = Config::of(&["A100-80GB", "H100-80GB-PCIe"]);
    isolated("profiles::nvml_wrapper_reads_the_boards", config, |client| {
        let nvml = &client.nvml;
        assert_eq!(nvml.device_count().ok(), Some(2));
        assert_eq!(nvml.sys_driver_version().ok().as_deref(), Some("580.95.05"));
        assert_eq!(nvml.sys_nvml_version().ok().as_deref(), Some("13.580.95.05"));
        let board = nvml.device_by_index(0).expect("the first board");
        assert_eq!(board.name().ok().as_deref(), Some("NVIDIA A100-SXM4-80GB"));
        assert_eq!(board.memory_info().map(|memory| memory.total).ok(), Some(81920 << 20));
        assert_eq!(board.pci_info().map(|pci| pci.pci_device_id).ok(), Some(0x20b2_10de));
        let mode = board.mig_mode().expect("a MIG board");
        assert_eq!((mode.current, mode.pending), (1, 1));
        assert_eq!(board.mig_device_count().ok(), Some(7));
        let uuid = board.uuid().expect("every board has one");
        assert!(uuid.starts_with("GPU-") && uuid.len() == 40, "{uuid}");
        assert_eq!(nvml.device_by_uuid(uuid.as_str()).and_then(|found| found.index()).ok(), Some(0));
        assert_eq!(nvml.device_by_pci_bus_id("00000000:0F:00.0").and_then(|found| found.index()).ok(), Some(1));
        assert!(nvml.device_by_index(2).is_err());
    });
}

#[test]
fn enumeration_gives_the_boards_table() {
    let keys: Vec<&str> = Board::keys().collect();
    isolated("profiles::enumeration_gives_the_boards_table", Config::of(&keys), |client| {
        for (index, key) in (0..).zip(Board::keys()) {
            let table = Board::find(key).expect("its own key");
            let device = client.gpu(index);
            let mut expected: Vec<_> = table.profiles.iter().map(|profile| profile.nvml_enum).collect();
            expected.sort_unstable();
            let answers: Vec<_> = (0..17).map(|value| client.profile(device, value)).collect();
            let known = (0..).zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(value, _)| value);
            assert_eq!(known.collect::<Vec<u32>>(), expected, "{key}");
            assert!(answers.iter().flatten().all(|info| info.instanceCount > 0), "{key}");
            assert!(
                answers.iter().all(|answer| answer.as_ref().map_or_else(|code| *code == NOT_SUPPORTED, |_| true)),
                "{key}"
            );
            assert_eq!(client.profile(device, 17).err(), Some(INVALID_ARGUMENT), "{key}");
            for profile in &table.profiles {
                let info = client.profile(device, profile.nvml_enum).expect("just seen");
                assert_eq!((info.id, info.sliceCount), (profile.id, profile.slices), "{key} {}", profile.name);
                assert_eq!(info.multiprocessorCount, profile.multiprocessors, "{key} {}", profile.name);
                assert_eq!(info.memorySizeMB, profile.memory_mib, "{key} {}", profile.name);
                let spans: Vec<_> = profile.starts.iter().map(|&start| (start, profile.size)).collect();
                assert_eq!(client.placements(device, profile.id), Ok(spans), "{key} {}", profile.name);
            }
        }
    });
}

#[test]
fn version_words_decide_and_are_checked() {
    let name = "profiles::version_words_decide_and_are_checked";
    isolated(name, Config::of(&["RTX-PRO-6000-96GB"]), |client| {
        let device = client.gpu(0);
        let mut two: nvmlGpuInstanceProfileInfo_v2_t = zeroed();
        for wrong in [0, 1, 0x0200_0097, 0x0400_0098] {
            two.version = wrong;
            let answer = call!(client, nvmlDeviceGetGpuInstanceProfileInfoV(device, 10, &raw mut two));
            assert_eq!(answer, Err(VERSION_MISMATCH));
        }
        two.version = 0x0200_0098;
        call!(client, nvmlDeviceGetGpuInstanceProfileInfoV(device, 10, &raw mut two)).expect("1g with graphics");
        assert_eq!((two.id, two.isP2pSupported, two.sliceCount, two.memorySizeMB), (47, 0, 1, 24192));
        let mut three: nvmlGpuInstanceProfileInfo_v3_t = zeroed();
        three.version = 0x0300_0098;
        let cast = (&raw mut three).cast();
        call!(client, nvmlDeviceGetGpuInstanceProfileInfoByIdV(device, 47, cast)).expect("the same by its id");
        assert_eq!((three.id, three.sliceCount, three.memorySizeMB, three.capabilities), (47, 1, 24192, 2));
        let text: String = three.name.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8 as char).collect();
        assert_eq!(text, "MIG 1g.24gb+gfx");

        let instance = client.create(device, 47, 3, 3).expect("an empty board");
        let mut three: nvmlComputeInstanceProfileInfo_v3_t = zeroed();
        let cast = (&raw mut three).cast();
        let ask = || call!(client, nvmlGpuInstanceGetComputeInstanceProfileInfoV(instance, 0, 0, cast));
        assert_eq!(ask(), Err(VERSION_MISMATCH));
        three.version = 0x0300_008c;
        call!(client, nvmlGpuInstanceGetComputeInstanceProfileInfoV(instance, 0, 0, cast)).expect("one slice");
        assert_eq!((three.sliceCount, three.multiprocessorCount, three.capabilities), (1, 46, 0));
    });
}

#[test]
fn short_buffers_are_refused_with_the_length_needed() {
    let name = "profiles::short_buffers_are_refused_with_the_length_needed";
    isolated(name, Config::of(&["A30-24GB"]), |client| {
        let device = client.gpu(0);
        let mut text = [0; 8];
        let answer = call!(client, nvmlDeviceGetUUID(device, text.as_mut_ptr(), 8));
        assert_eq!(answer, Err(INSUFFICIENT_SIZE));
        let mut count = 1;
        let mut list = [nvmlGpuInstancePlacement_t { start: 77, size: 77 }; 4];
        let ask = |count: &mut u32, list: *mut _| {
            call!(client, nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, 14, list, count))
        };
        assert_eq!(ask(&mut count, list.as_mut_ptr()), Err(INSUFFICIENT_SIZE));
        assert_eq!((count, list[0].start), (4, 77));
        assert_eq!(ask(&mut count, list.as_mut_ptr()), Ok(()));
        assert_eq!(list.map(|placement| placement.start), [0, 1, 2, 3]);
        let nowhere = call!(client, nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, 14, null_mut(), null_mut()));
        assert_eq!(nowhere, Err(INVALID_ARGUMENT));
    });
}

#[test]
fn fields_tell_how_boards_handle_mig() {
    let config = Config { query_with_mig_off: false, ..Config::of(&["A100-40GB", "H200-141GB"]) };
    isolated("profiles::fields_tell_how_boards_handle_mig", config, |client| {
        let fields = |index| {
            let mut values: [nvmlFieldValue_t; 3] = zeroed();
            for (value, id) in values.iter_mut().zip([184, 199, 1]) {
                value.fieldId = id;
            }
            call!(client, nvmlDeviceGetFieldValues(client.gpu(index), 3, values.as_mut_ptr())).expect("a GPU");
            // SAFETY: the values are unsigned numbers, and any bits are one.
            values.map(|value| (value.nvmlReturn, unsafe { value.value.uiVal }))
        };
        assert_eq!(fields(0), [(0, 0), (0, 0), (NOT_SUPPORTED, 0)]);
        assert_eq!(fields(1), [(0, 1), (0, 0), (NOT_SUPPORTED, 0)]);
    });
}

#[test]
fn without_mig_and_in_a_guest_calls_are_not_supported() {
    let config = Config {
        boards: vec![
            BoardConfig { mig: false, ..BoardConfig::new("A100-40GB") },
            BoardConfig { vgpu_guest: true, ..BoardConfig::new("A100-40GB") },
        ],
        ..Config::default()
    };
    isolated("profiles::without_mig_and_in_a_guest_calls_are_not_supported", config, |client| {
        let (off, guest) = (client.gpu(0), client.gpu(1));
        assert_eq!(client.mode(off), Ok((0, 0)));
        assert_eq!(client.mode(guest), Err(NOT_SUPPORTED));
        assert!(client.placements(off, 19).is_ok(), "placements answer whatever the mode");
        assert_eq!(client.create_anywhere(off, 19), Err(NOT_SUPPORTED));
        assert_eq!(client.capacity(off, 19), Err(NOT_SUPPORTED));
        let mut none = null_mut();
        assert_eq!(call!(client, nvmlDeviceGetGpuInstanceById(off, 1, &raw mut none)), Err(NOT_SUPPORTED));
    });
}

#[test]
fn a_process_without_privilege_only_looks() {
    let (name, config) = ("profiles::a_process_without_privilege_only_looks", Config::of(&["A100-40GB"]));
    isolated_with(name, config, &[("FAKE_NVML_UNPRIVILEGED", "1")], |client| {
        let device = client.gpu(0);
        assert_eq!(client.profiles(device).len(), 7);
        assert_eq!(client.placements(device, 19), Err(NO_PERMISSION));
        assert_eq!(client.capacity(device, 19), Err(NO_PERMISSION));
        assert_eq!(client.create(device, 19, 0, 1), Err(NO_PERMISSION));
    });
}
