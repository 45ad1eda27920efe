//! Creating and destroying, and what keeps either from going wrong.

use fake_nvml::Config;
use fake_nvml::node::{Client, ComputeInstance, Span};
use retile::exec::port::NodeError;
use retile::nvml::DriverError;

use crate::harness::{Machine, create, destroy, idle, only, place, shown};

#[test]
fn neighbours_keep_their_devices_while_an_instance_is_replaced() {
    let name = "changes::neighbours_keep_their_devices_while_an_instance_is_replaced";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        let (left, right) = (place("3g.40gb", 0, 4), place("3g.40gb", 4, 4));
        let uuids = create(&driver, &gpu, &[left.clone(), right.clone()]);
        let id = machine.node().boards[0].instances.iter().find(|it| it.span.start == 4).expect("made").id;
        machine.change(|node| node.attach(0, Client::process(1, id, 0, 1)).expect("it is there"));
        destroy(&driver, &left).expect("nobody holds it");
        let new = create(&driver, &gpu, &[place("1g.10gb", 3, 1), place("2g.20gb", 0, 2)]);
        let expected =
            [format!("2g.20gb@0:2 {}", new[1]), format!("1g.10gb@3:1 {}", new[0]), format!("3g.40gb@4:4 {}", uuids[1])];
        assert_eq!(shown(&only(&driver)), expected);
        assert_eq!(machine.calls("nvmlDeviceCreateGpuInstance"), 0, "the driver never chooses the place");
    });
}

#[test]
fn the_compute_instance_gets_all_multiprocessors() {
    let name = "changes::the_compute_instance_gets_all_multiprocessors";
    Machine::run(name, Config::of(&["H100-80GB-SXM5"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        // With the compute instance profile of one slice the double-memory 1g would have 16 multiprocessors instead of 26.
        create(&driver, &gpu, &[place("1g.20gb", 0, 2), place("1g.10gb", 2, 1), place("3g.40gb", 4, 4)]);
        let profiles: Vec<u32> = only(&driver)
            .instances
            .iter()
            .map(|instance| {
                let node = machine.node();
                let gpu = node.boards[0].instances.iter().find(|it| it.id == instance.id).expect("the same");
                gpu.compute[0].profile
            })
            .collect();
        assert_eq!(profiles, [7, 0, 2]);
        assert!(only(&driver).instances.iter().all(retile::nvml::GpuInstanceOnBoard::ordinary));
    });
}

#[test]
fn a_proof_of_an_earlier_incarnation_destroys_nothing() {
    let name = "changes::a_proof_of_an_earlier_incarnation_destroys_nothing";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        let at = place("3g.40gb", 4, 4);
        create(&driver, &gpu, std::slice::from_ref(&at));
        let old = idle(&only(&driver), &at);
        destroy(&driver, &at).expect("nobody holds it");
        let empty = driver.destroy_compute_instance(old.clone()).expect_err("it is gone");
        assert!(matches!(&empty, DriverError::NoSuchInstance { .. }), "{empty}");
        let new = create(&driver, &gpu, std::slice::from_ref(&at));
        let error = driver.destroy_compute_instance(old.clone()).expect_err("another instance stands there");
        assert!(matches!(&error, DriverError::NotTheProven { found, .. } if *found == new[0]), "{error}");
        assert_eq!(NodeError::from(&error), NodeError::NotFound);
        let error = driver.destroy_gpu_instance(old).expect_err("its compute instance was never destroyed");
        assert!(matches!(&error, DriverError::NotTheProven { .. }), "{error}");
        assert_eq!(shown(&only(&driver)), [format!("3g.40gb@4:4 {}", new[0])]);
        assert_eq!(machine.calls("nvmlComputeInstanceDestroy"), 1);
        assert_eq!(machine.calls("nvmlGpuInstanceDestroy"), 1);
    });
}

#[test]
fn a_gpu_instance_that_got_a_compute_instance_meanwhile_stays() {
    let name = "changes::a_gpu_instance_that_got_a_compute_instance_meanwhile_stays";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        let at = place("1g.10gb", 6, 1);
        driver.create_gpu_instance(&gpu, &at).expect("there is room");
        let proof = idle(&only(&driver), &at);
        driver.create_compute_instance(&gpu, &at).expect("none yet");
        let error = driver.destroy_gpu_instance(proof).expect_err("somebody may use it by now");
        assert!(matches!(&error, DriverError::NotTheProven { .. }), "{error}");
        assert_eq!(machine.calls("nvmlGpuInstanceDestroy"), 0);
    });
}

#[test]
fn what_is_held_stays() {
    Machine::run("changes::what_is_held_stays", Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        let at = place("1g.10gb", 0, 1);
        create(&driver, &gpu, std::slice::from_ref(&at));
        let id = machine.node().boards[0].instances[0].id;
        machine.change(|node| node.attach(0, Client::process(9, id, 0, 1)).expect("it is there"));
        let error = driver.destroy_compute_instance(idle(&only(&driver), &at)).expect_err("a process holds it");
        assert_eq!(NodeError::from(&error), NodeError::InUse, "{error}");
        machine.change(|node| node.detach(9));
        machine.change(|node| node.attach(0, Client::monitor(10, id)).expect("it is there"));
        assert_eq!(only(&driver).instances[0].computes[0].processes, [0_u32; 0], "no process shows");
        let error = destroy(&driver, &at).expect_err("a monitor holds it");
        assert_eq!(NodeError::from(&error), NodeError::InUse, "{error}");
        machine.change(|node| node.detach(10));
        destroy(&driver, &at).expect("nobody holds it");
        assert_eq!(shown(&only(&driver)), Vec::<String>::new());
    });
}

#[test]
fn no_room_and_no_such_place_are_told_apart() {
    let name = "changes::no_room_and_no_such_place_are_told_apart";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        create(&driver, &gpu, &[place("3g.40gb", 4, 4)]);
        let refused = |profile, start, size| {
            let error = driver.create_gpu_instance(&gpu, &place(profile, start, size)).expect_err("not possible");
            NodeError::from(&error)
        };
        assert_eq!(refused("3g.40gb", 4, 4), NodeError::InsufficientResources, "already there");
        assert_eq!(refused("1g.10gb", 5, 1), NodeError::InsufficientResources, "blocked");
        let made = machine.calls("nvmlDeviceCreateGpuInstanceWithPlacement");
        assert_eq!(refused("3g.40gb", 2, 4), NodeError::InvalidArgument, "no start of this profile");
        assert_eq!(refused("3g.40gb", 0, 3), NodeError::InvalidArgument, "another size");
        assert_eq!(refused("9g.90gb", 0, 1), NodeError::InvalidArgument, "no profile of this board");
        assert_eq!(machine.calls("nvmlDeviceCreateGpuInstanceWithPlacement"), made, "the driver is not asked");
        let error = driver.create_gpu_instance("GPU-none", &place("1g.10gb", 0, 1)).expect_err("no such GPU");
        assert!(matches!(error, DriverError::NoSuchGpu(_)), "{error}");
        let error = driver.create_compute_instance(&gpu, &place("1g.10gb", 0, 1)).expect_err("nothing there");
        assert_eq!(NodeError::from(&error), NodeError::NotFound);
        let error = driver.create_compute_instance(&gpu, &place("3g.40gb", 4, 4)).expect_err("it has one");
        assert_eq!(NodeError::from(&error), NodeError::InsufficientResources, "{error}");
    });
}

#[test]
fn gpu_instances_that_others_have_cut_up_are_left_alone() {
    let name = "changes::gpu_instances_that_others_have_cut_up_are_left_alone";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        let at = place("2g.20gb", 0, 2);
        driver.create_gpu_instance(&gpu, &at).expect("there is room");
        machine.change(|node| {
            let slice = |id: u32| ComputeInstance {
                id,
                serial: 100 + u64::from(id),
                profile: 0,
                span: Span { start: id, size: 1 },
                uuid: format!("MIG-slice-{id}"),
            };
            node.boards[0].instances[0].compute = vec![slice(0), slice(1)];
        });
        let board = only(&driver);
        assert_eq!(shown(&board), ["2g.20gb@0:2 MIG-slice-0"]);
        let instance = &board.instances[0];
        assert!(!instance.ordinary() && instance.computes.iter().all(|compute| !compute.fills), "{instance:?}");
        let error = driver.destroy_compute_instance(idle(&board, &at)).expect_err("it is not as retile makes them");
        assert!(matches!(&error, DriverError::NotTheProven { .. }), "{error}");
        machine.change(|node| node.boards[0].instances[0].compute.truncate(1));
        let error = driver.destroy_compute_instance(idle(&only(&driver), &at)).expect_err("it fills only a part");
        assert!(matches!(&error, DriverError::NotTheProven { .. }), "{error}");
        assert_eq!(machine.calls("nvmlComputeInstanceDestroy"), 0);
    });
}
