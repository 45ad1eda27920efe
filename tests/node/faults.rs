//! A driver that answers with errors, slowly, or not at all.

use std::time::Duration;

use fake_nvml::{Code, Config, Fault};
use retile::exec::port::NodeError;
use retile::nvml::{Driver, DriverError};

use crate::harness::{Machine, create, destroy, idle, library, only, place, shown};

#[test]
fn every_code_reaches_the_protocol_under_its_name() {
    let name = "faults::every_code_reaches_the_protocol_under_its_name";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        let call = "nvmlDeviceCreateGpuInstanceWithPlacement";
        let expected = [
            (Code::InUse, NodeError::InUse),
            (Code::InsufficientResources, NodeError::InsufficientResources),
            (Code::NotFound, NodeError::NotFound),
            (Code::NoPermission, NodeError::NoPermission),
            (Code::InvalidArgument, NodeError::InvalidArgument),
            (Code::ArgumentVersionMismatch, NodeError::InvalidArgument),
            (Code::GpuIsLost, NodeError::GpuLost),
            (Code::ResetRequired, NodeError::GpuLost),
            (Code::LibRmVersionMismatch, NodeError::LibraryMismatch),
            (Code::Timeout, NodeError::Unknown),
            (Code::Unknown, NodeError::Unknown),
        ];
        for (code, told) in expected {
            machine.change(|node| node.faults.push(Fault::answer(call, code)));
            let error = driver.create_gpu_instance(&gpu, &place("1g.10gb", 0, 1)).expect_err("the fault strikes");
            assert_eq!(NodeError::from(&error), told, "{error}");
            assert!(error.to_string().starts_with(call), "{error}");
            assert!(!error.remedy().is_empty());
        }
        assert_eq!(shown(&only(&driver)), Vec::<String>::new());
        // Answered with an error and done all the same: the next look shows what is true.
        machine.change(|node| node.faults.push(Fault { applied: true, ..Fault::answer(call, Code::Unknown) }));
        let error = driver.create_gpu_instance(&gpu, &place("1g.10gb", 0, 1)).expect_err("the fault strikes");
        assert_eq!(NodeError::from(&error), NodeError::Unknown);
        assert_eq!(shown(&only(&driver)), ["1g.10gb@0:1 -"]);
    });
}

#[test]
fn after_a_call_that_hangs_none_is_made() {
    Machine::run("faults::after_a_call_that_hangs_none_is_made", Config::of(&["A100-80GB"]), |machine| {
        let patient = machine.driver();
        let gpu = only(&patient).uuid;
        let at = place("1g.10gb", 0, 1);
        create(&patient, &gpu, std::slice::from_ref(&at));
        let proof = idle(&only(&patient), &at);
        let hang = Fault { hang: true, ..Fault::answer("nvmlComputeInstanceDestroy", Code::Unknown) };
        machine.change(|node| node.faults.push(hang));
        let driver = Machine::driver_within(Duration::from_secs(3));
        let error = driver.destroy_compute_instance(proof.clone()).expect_err("it does not return");
        assert!(matches!(&error, DriverError::Hung { call: "nvmlComputeInstanceDestroy" }), "{error}");
        assert_eq!(NodeError::from(&error), NodeError::Hung);
        assert_eq!(driver.hung(), Some("nvmlComputeInstanceDestroy"));
        let calls = machine.calls("");
        assert_eq!(driver.states(), Err(NodeError::Hung));
        assert!(matches!(driver.destroy_compute_instance(proof), Err(DriverError::Hung { .. })));
        assert!(matches!(driver.inventory(), Err(DriverError::Hung { .. })));
        drop(driver);
        assert_eq!(machine.calls(""), calls, "nothing was called, not even at the end");
    });
}

#[test]
fn a_late_answer_does_not_go_on_to_destroy() {
    Machine::run("faults::a_late_answer_does_not_go_on_to_destroy", Config::of(&["A100-80GB"]), |machine| {
        let patient = machine.driver();
        let gpu = only(&patient).uuid;
        let at = place("1g.10gb", 0, 1);
        let uuids = create(&patient, &gpu, std::slice::from_ref(&at));
        let proof = idle(&only(&patient), &at);
        let driver = Machine::driver_within(Duration::from_secs(2));
        // The look before the destruction comes back, but only after the watchdog's verdict.
        let late = Fault { call: "nvmlComputeInstanceGetInfo_v2".into(), delay_ms: 7000, ..Fault::default() };
        machine.change(|node| node.faults.push(late));
        let error = driver.destroy_compute_instance(proof).expect_err("it comes too late");
        assert!(matches!(&error, DriverError::Hung { call: "nvmlComputeInstanceGetInfo_v2" }), "{error}");
        std::thread::sleep(Duration::from_secs(7));
        assert_eq!(machine.calls("nvmlComputeInstanceDestroy"), 0);
        assert_eq!(shown(&only(&patient)), [format!("1g.10gb@0:1 {}", uuids[0])]);
    });
}

#[test]
fn slow_calls_that_come_back_are_waited_for() {
    let mut config = Config::of(&["A100-80GB"]);
    config.faults =
        vec![Fault { call: "nvmlDeviceGetGpuInstances".into(), delay_ms: 700, times: 7, ..Fault::default() }];
    Machine::run("faults::slow_calls_that_come_back_are_waited_for", config, |_| {
        // Seven calls take longer together than one may take.
        let driver = Machine::driver_within(Duration::from_secs(3));
        assert_eq!(shown(&only(&driver)), Vec::<String>::new());
        assert_eq!(driver.hung(), None);
    });
}

#[test]
fn a_driver_that_hangs_at_the_start_is_an_error() {
    let mut config = Config::of(&["A100-80GB"]);
    config.faults = vec![Fault { call: "nvmlInit_v2".into(), hang: true, ..Fault::default() }];
    Machine::run("faults::a_driver_that_hangs_at_the_start_is_an_error", config, |_| {
        let error = Driver::start(&library(), Duration::from_millis(500)).expect_err("it does not return");
        assert!(matches!(&error, DriverError::Hung { call: "nvmlInit_v2" }), "{error}");
    });
}

#[test]
fn a_release_that_takes_its_time_is_in_use_until_it_is_done() {
    let config = Config { busy_after_ci_destroy: 2, ..Config::of(&["A100-80GB"]) };
    Machine::run("faults::a_release_that_takes_its_time_is_in_use_until_it_is_done", config, |machine| {
        let driver = machine.driver();
        let gpu = only(&driver).uuid;
        let at = place("2g.20gb", 0, 2);
        create(&driver, &gpu, std::slice::from_ref(&at));
        let error = destroy(&driver, &at).expect_err("the release is not finished");
        assert_eq!(NodeError::from(&error), NodeError::InUse);
        assert_eq!(shown(&only(&driver)), ["2g.20gb@0:2 -"]);
        driver.destroy_gpu_instance(idle(&only(&driver), &at)).expect_err("still not");
        driver.destroy_gpu_instance(idle(&only(&driver), &at)).expect("now it is");
        assert_eq!(shown(&only(&driver)), Vec::<String>::new());
    });
}

#[test]
fn a_library_that_no_longer_fits_the_driver_is_told_and_forgotten_afterwards() {
    let name = "faults::a_library_that_no_longer_fits_the_driver_is_told_and_forgotten_afterwards";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        assert!(driver.states().is_ok());
        machine.change(|node| node.faults.push(Fault::answer("nvmlDeviceGetCount_v2", Code::LibRmVersionMismatch)));
        assert_eq!(driver.states(), Err(NodeError::LibraryMismatch));
        assert!(driver.states().is_ok(), "a new session, and what it says is believed");
    });
}
