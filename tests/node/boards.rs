//! Reading: tables, instances, processes, and what makes a board unusable.

use fake_nvml::node::Client;
use fake_nvml::{BoardConfig, Code, Config, Fault};
use retile::exec::port::NodeError;
use retile::model::{Catalogue, Geometry, Profile};
use retile::nvml::{Driver, DriverError, Fact, MigMode};

use crate::harness::{Machine, create, library, only, place, shown};

const BOARDS: [&str; 9] = [
    "A30-24GB",
    "A100-40GB",
    "A100-80GB",
    "H100-80GB-SXM5",
    "H100-80GB-PCIe",
    "H100-94GB-NVL",
    "H200-141GB",
    "B200-180GB",
    "RTX-PRO-6000-96GB",
];

/// Profiles in the order in which a driver tells them.
fn by_number(geometry: &Geometry) -> Vec<Profile> {
    let mut profiles = geometry.profiles().to_vec();
    profiles.sort_by_key(|profile| profile.nvml_enum);
    profiles
}

#[test]
fn every_board_is_read_as_the_catalogue_has_it() {
    Machine::run("boards::every_board_is_read_as_the_catalogue_has_it", Config::of(&BOARDS), |machine| {
        let boards = machine.driver().boards().expect("all can be read");
        assert_eq!(boards.len(), BOARDS.len());
        for board in &boards {
            let table = board.table.as_ref().expect("MIG is on");
            let key = table.catalogue.as_deref().expect("in the catalogue");
            let known = Catalogue::embedded().find_by_key(key).expect("in the catalogue");
            assert!(BOARDS.contains(&key), "{key}");
            assert_eq!(board.mig, MigMode::Enabled);
            assert_eq!(table.geometry.axis(), known.axis(), "{key}");
            // What the catalogue does not know, the device tells; nothing else may differ.
            let told: Vec<String> =
                table.differences.iter().filter(|it| !it.catalogue.is_empty()).map(ToString::to_string).collect();
            assert_eq!(told, Vec::<String>::new(), "{key}");
            let read = by_number(&table.geometry);
            for (read, known) in read.iter().zip(by_number(known)) {
                let places = |profile: &Profile| (profile.size, profile.starts.clone());
                assert_eq!((&read.name, places(read)), (&known.name, places(&known)), "{key}");
                assert_eq!(read.max_count, known.max_count, "{key} {}", read.name);
                assert_eq!(read.media, known.media, "{key} {}", read.name);
            }
            assert_eq!(read.len(), known.profiles().len(), "{key}");
        }
        assert_eq!(machine.calls("nvmlDeviceGetMigDeviceHandleByIndex"), 0, "instances are not found by index");
    });
}

#[test]
fn instances_stand_where_they_were_put_whatever_their_ids() {
    let name = "boards::instances_stand_where_they_were_put_whatever_their_ids";
    Machine::run(name, Config::of(&["H100-80GB-PCIe"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        // In this order the driver's own choice would leave no room for the last.
        let places = [place("1g.10gb", 0, 1), place("1g.10gb", 1, 1), place("2g.20gb", 2, 2), place("3g.40gb", 4, 4)];
        let uuids = create(&driver, &gpu, &places);
        let board = only(&driver);
        let expected: Vec<String> = ["1g.10gb@0:1", "1g.10gb@1:1", "2g.20gb@2:2", "3g.40gb@4:4"]
            .iter()
            .zip(&uuids)
            .map(|(at, uuid)| format!("{at} {uuid}"))
            .collect();
        assert_eq!(shown(&board), expected);
        assert!(board.instances.iter().all(retile::nvml::GpuInstanceOnBoard::ordinary));
        let three = machine.node().boards[0].instances.iter().find(|it| it.span.start == 4).expect("made").id;
        assert_eq!(three, 1, "this board's ids are mirrored: a half at 4 has the id of the first half");
    });
}

#[test]
fn gpu_instances_without_compute_instance_are_seen() {
    let name = "boards::gpu_instances_without_compute_instance_are_seen";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        driver.create_gpu_instance(&gpu, &place("2g.20gb", 2, 2)).expect("there is room");
        let board = only(&driver);
        assert_eq!(shown(&board), ["2g.20gb@2:2 -"]);
        assert_eq!(board.state().instances[0].compute, None);
    });
}

#[test]
fn processes_are_told_per_instance() {
    Machine::run("boards::processes_are_told_per_instance", Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        create(&driver, &gpu, &[place("1g.10gb", 0, 1), place("1g.10gb", 1, 1)]);
        let id = machine.node().boards[0].instances.iter().find(|it| it.span.start == 1).expect("made").id;
        machine.change(|node| {
            for pid in [40, 17, 23, 99, 11, 12, 13, 14] {
                node.attach(0, Client::process(pid, id, 0, 100)).expect("it is there");
            }
        });
        let board = only(&driver);
        assert_eq!(board.instances[0].computes[0].processes, [0_u32; 0]);
        assert_eq!(board.instances[1].computes[0].processes, [11, 12, 13, 14, 17, 23, 40, 99]);
    });
}

#[test]
fn a_name_of_another_driver_is_the_same_profile() {
    let mut board = BoardConfig::new("A100-80GB");
    board.names.insert("3g.40gb".into(), "3g.39gb".into());
    let config = Config { boards: vec![board], profile_name_prefix: String::new(), ..Config::default() };
    Machine::run("boards::a_name_of_another_driver_is_the_same_profile", config, |machine| {
        let driver = machine.driver();
        let board = only(&driver);
        let table = board.table.as_ref().expect("MIG is on");
        let told: Vec<(Fact, &str)> =
            table.differences.iter().map(|difference| (difference.fact, difference.device.as_str())).collect();
        assert_eq!(told, [(Fact::Name, "3g.39gb")]);
        create(&driver, &board.uuid, &[place("3g.39gb", 4, 4)]);
        assert!(shown(&only(&driver))[0].starts_with("3g.40gb@4:4 "), "in the catalogue's spelling");
    });
}

#[test]
fn old_drivers_that_tell_no_names_get_them_computed() {
    // Without the newer form of the question, the plain one answers.
    let mut config = Config::of(&["A100-40GB"]);
    let refused = Fault::answer("nvmlDeviceGetGpuInstanceProfileInfoV", Code::ArgumentVersionMismatch);
    config.faults = vec![Fault { times: 1000, ..refused }];
    Machine::run("boards::old_drivers_that_tell_no_names_get_them_computed", config, |machine| {
        let board = only(&machine.driver());
        let table = board.table.as_ref().expect("MIG is on");
        assert_eq!(table.differences, []);
        let known = Catalogue::embedded().find_by_key("A100-40GB").expect("in the catalogue");
        assert_eq!(by_number(&table.geometry), by_number(known));
    });
}

#[test]
fn mig_mode_is_read_and_a_board_without_it_is_left_alone() {
    let name = "boards::mig_mode_is_read_and_a_board_without_it_is_left_alone";
    let off = |key: &str| BoardConfig { mig: false, ..BoardConfig::new(key) };
    let guest = BoardConfig { vgpu_guest: true, ..BoardConfig::new("A100-40GB") };
    let boards = vec![off("A100-80GB"), off("H100-80GB-SXM5"), guest, BoardConfig::new("A100-80GB")];
    Machine::run(name, Config { boards, ..Config::default() }, |machine| {
        machine.change(|node| {
            node.boards[0].mig_pending = true;
            node.boards[3].mig_pending = false;
        });
        let driver = machine.driver();
        let mut boards = driver.boards().expect("all can be read");
        boards.sort_by_key(|board| board.index);
        let modes: Vec<MigMode> = boards.iter().map(|board| board.mig).collect();
        assert_eq!(modes, [MigMode::Entering, MigMode::Disabled, MigMode::Unsupported, MigMode::Leaving]);
        assert!(boards.iter().all(|board| !board.state().mig_mode), "none is ours to change");
        assert!(boards[1].table.is_some(), "the table is told with MIG off too");
        for board in boards {
            let refused = driver.create_gpu_instance(&board.uuid, &place("1g.10gb", 0, 1));
            assert!(matches!(refused, Err(DriverError::NotInMigMode(_))), "{refused:?}");
        }
        assert_eq!(machine.calls("nvmlDeviceSetMigMode"), 0);
        assert_eq!(machine.calls("nvmlDeviceCreateGpuInstanceWithPlacement"), 0);
    });
}

#[test]
fn two_devices_of_one_uuid_are_refused() {
    let twin = || BoardConfig { uuid: Some("GPU-twin".into()), ..BoardConfig::new("A100-80GB") };
    let config = Config { boards: vec![twin(), twin()], ..Config::default() };
    Machine::run("boards::two_devices_of_one_uuid_are_refused", config, |machine| {
        let driver = machine.driver();
        let error = driver.boards().expect_err("they cannot be told apart");
        assert!(matches!(&error, DriverError::DuplicateUuid { uuid, .. } if uuid == "GPU-twin"), "{error}");
        let error = driver.create_gpu_instance("GPU-twin", &place("1g.10gb", 0, 1)).expect_err("nor changed");
        assert!(matches!(&error, DriverError::DuplicateUuid { .. }), "{error}");
    });
}

#[test]
fn gpus_are_found_by_uuid_when_their_indices_have_moved() {
    let config = Config::of(&["A100-80GB", "A30-24GB", "A100-80GB"]);
    Machine::run("boards::gpus_are_found_by_uuid_when_their_indices_have_moved", config, |machine| {
        let driver = machine.driver();
        let before = driver.boards().expect("all can be read");
        let gpu = machine.node().boards[1].uuid.clone();
        machine.change(|node| node.reboot(true));
        create(&driver, &gpu, &[place("2g.12gb", 2, 2)]);
        let after = driver.boards().expect("all can be read");
        let index = |boards: &[retile::nvml::Board]| boards.iter().find(|it| it.uuid == gpu).expect("there").index;
        assert_ne!(index(&before), index(&after), "the indices have moved");
        assert_eq!(machine.node().boards[1].instances.len(), 1);
        assert_eq!(machine.calls("nvmlDeviceGetHandleByUUID"), 0, "looking up by UUID can take seconds");
    });
}

#[test]
fn a_lost_gpu_is_told_beside_the_others() {
    let name = "boards::a_lost_gpu_is_told_beside_the_others";
    Machine::run(name, Config::of(&["A100-80GB", "A100-80GB"]), |machine| {
        machine.change(|node| node.boards[1].lost = true);
        let driver = machine.driver();
        let inventory = driver.inventory().expect("the others can be read");
        assert_eq!((inventory.boards.len(), inventory.unread.len()), (1, 1));
        assert!(!inventory.unread[0].remedy.is_empty());
        assert_eq!(driver.states(), Err(NodeError::GpuLost), "the protocol does not work on half a node");
    });
}

#[test]
fn without_privilege_the_reason_is_told() {
    let name = "boards::without_privilege_the_reason_is_told";
    let config = Config::of(&["A100-80GB"]);
    Machine::run_with(name, config, &[("FAKE_NVML_UNPRIVILEGED", "1")], |machine| {
        let driver = machine.driver();
        assert_eq!(driver.states(), Err(NodeError::NoPermission));
        let inventory = driver.inventory().expect("what may be read is");
        assert!(inventory.unread[0].remedy.contains("root"), "{inventory:?}");
    });
}

#[test]
fn a_library_that_is_none_is_named() {
    let text = crate::harness::in_tree("Cargo.toml");
    let error = Driver::start(&text, std::time::Duration::from_secs(5)).expect_err("no library");
    assert!(matches!(&error, DriverError::Library { .. }), "{error}");
    assert!(error.to_string().contains("Cargo.toml"), "{error}");
    let relative = Driver::start(std::path::Path::new("libnvidia-ml.so.1"), std::time::Duration::from_secs(5));
    assert!(matches!(relative, Err(DriverError::Library { .. })), "no search path decides what is loaded");
    assert!(library().is_absolute());
}
