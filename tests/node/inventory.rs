//! `retile inventory`, as a process of its own.

use std::fs;

use assert_cmd::Command;
use fake_nvml::node::Client;
use fake_nvml::{BoardConfig, Config};

use crate::harness::{Machine, create, library, only, place};

fn inventory(arguments: &[&str]) -> (String, String, bool) {
    let library = library();
    let mut command = Command::cargo_bin("retile").expect("cargo builds it");
    let output = command.args(["inventory", "--library"]).arg(library).args(arguments).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.success())
}

#[test]
fn shows_boards_instances_and_who_holds_them() {
    let boards = vec![BoardConfig::new("A100-80GB"), BoardConfig { mig: false, ..BoardConfig::new("H100-80GB-SXM5") }];
    let config = Config { boards, ..Config::default() };
    Machine::run("inventory::shows_boards_instances_and_who_holds_them", config, |machine| {
        let driver = machine.driver();
        let gpu = machine.node().boards[0].uuid.clone();
        let uuids = create(&driver, &gpu, &[place("1g.10gb", 0, 1), place("3g.40gb", 4, 4)]);
        driver.create_gpu_instance(&gpu, &place("1g.10gb", 2, 1)).expect("there is room");
        let id = machine.node().boards[0].instances.iter().find(|it| it.span.start == 4).expect("made").id;
        machine.change(|node| node.attach(0, Client::process(4711, id, 0, 1)).expect("it is there"));
        let (text, notes, success) = inventory(&["--no-kubelet"]);
        assert!(success, "{notes}");
        for line in [
            "GPU 0  NVIDIA A100-SXM4-80GB  MIG on".to_owned(),
            "  as the catalogue has the A100-80GB".to_owned(),
            format!("    1g.10gb@0:1  {}  free", uuids[0]),
            "    1g.10gb@2:1  no compute instance  free".to_owned(),
            format!("    3g.40gb@4:4  {}  busy: process 4711", uuids[1]),
            "GPU 1  NVIDIA H100 80GB HBM3  MIG off".to_owned(),
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\nis not in\n{text}");
        }
        let (json, ..) = inventory(&["--no-kubelet", "-o", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["kubelet"]["state"], "leftOut");
        let gpus = json["gpus"].as_array().expect("a list");
        let cut = gpus.iter().find(|own| own["uuid"] == gpu).expect("there");
        assert_eq!(cut["instances"][2]["processes"][0], 4711);
        assert_eq!(cut["instances"][2]["occupancy"], "busy");
        assert_eq!(cut["profiles"].as_array().expect("a list").len(), 7);
        assert_eq!(machine.calls("nvmlDeviceSetMigMode"), 0);
    });
}

#[test]
fn without_the_kubelet_nothing_is_known_to_be_free() {
    let name = "inventory::without_the_kubelet_nothing_is_known_to_be_free";
    Machine::run(name, Config::of(&["A100-80GB"]), |machine| {
        let driver = machine.driver();
        create(&driver, &only(&driver).uuid, &[place("1g.10gb", 0, 1)]);
        let (text, notes, success) = inventory(&["--kubelet", "/no/such/kubelet.sock"]);
        assert!(success, "{notes}");
        assert!(text.contains("/no/such/kubelet.sock") && text.contains("--no-kubelet"), "{text}");
        assert!(text.contains("not known to be free"), "{text}");
    });
}

#[test]
fn a_machine_without_driver_is_told_what_was_looked_for() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut command = Command::cargo_bin("retile").expect("cargo builds it");
    let output = command.args(["inventory", "--driver-root"]).arg(folder.path()).output().expect("it starts");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && output.stdout.is_empty());
    let looked_for = folder.path().join("usr/lib64/libnvidia-ml.so.1");
    assert!(text.contains(&*looked_for.to_string_lossy()) && text.contains("help: install"), "{text}");
}

/// The report of a machine feeds the planner, which then knows every place.
fn feeds_the_planner(name: &str, board: &str, product: &str, profiles: [(&str, u8, u8); 2]) {
    Machine::run(name, Config::of(&[board]), |machine| {
        let driver = machine.driver();
        let places = profiles.map(|(profile, start, size)| place(profile, start, size));
        create(&driver, &only(&driver).uuid, &places);
        let (report, notes, success) = inventory(&["--no-kubelet", "-o", "mignode", "--node", "gpu-1"]);
        assert!(success, "{notes}");
        let counts: Vec<String> =
            profiles.iter().map(|(profile, ..)| format!("\"nvidia.com/mig-{profile}\": \"1\"")).collect();
        let amounts = format!("{{cpu: \"64\", memory: 512Gi, pods: \"110\", {}}}", counts.join(", "));
        let export = format!(
            "apiVersion: v1\nkind: Node\nmetadata:\n  name: gpu-1\n  labels: {{nvidia.com/mig.capable: \"true\", nvidia.com/mig.strategy: mixed, \
             nvidia.com/gpu.product: {product}, nvidia.com/gpu.count: \"1\"}}\nstatus:\n  capacity: {amounts}\n  allocatable: {amounts}\n  \
             conditions: [{{type: Ready, status: \"True\"}}]\n---\n{report}"
        );
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let file = folder.path().join("export.yaml");
        fs::write(&file, &export).expect("a folder for temporary files");
        let explain = |gpu: &str| {
            let mut command = Command::cargo_bin("retile").expect("cargo builds it");
            let output = command.args(["explain", "gpu", gpu, "-f"]).arg(&file).output().expect("it starts");
            String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr)
        };
        let text = explain("gpu-1/0");
        assert!(!text.contains("assumed"), "{text}\n{export}");
        for place in &places {
            assert!(text.contains(&format!("{}@{}", place.profile, place.start)), "{text}\n{export}");
        }
        let mut command = Command::cargo_bin("retile").expect("cargo builds it");
        let plan = command.args(["plan", "-f"]).arg(&file).output().expect("it starts");
        let text = String::from_utf8_lossy(&plan.stdout).into_owned() + &String::from_utf8_lossy(&plan.stderr);
        assert!(plan.status.success() && !text.contains("placements assumed"), "{text}\n{export}");
    });
}

#[test]
fn the_report_of_an_a100_feeds_the_planner() {
    feeds_the_planner(
        "inventory::the_report_of_an_a100_feeds_the_planner",
        "A100-80GB",
        "NVIDIA-A100-SXM4-80GB",
        [("1g.10gb", 3, 1), ("2g.20gb", 4, 2)],
    );
}

#[test]
fn the_report_of_an_h100_feeds_the_planner() {
    feeds_the_planner(
        "inventory::the_report_of_an_h100_feeds_the_planner",
        "H100-80GB-SXM5",
        "NVIDIA-H100-80GB-HBM3",
        [("1g.20gb", 2, 2), ("3g.40gb", 4, 4)],
    );
}
