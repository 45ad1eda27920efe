//! The life of the process: one per node, stopped in the middle, its pages, what it says without an API server.

use fake_nvml::Config;
use retile::exec::GpuTarget;
use retile::plan::Place;

use crate::harness::{ENDS, Machine};
use crate::layouts::Layouts;

fn place(profile: &str, start: u8, size: u8) -> Place {
    Place { start, size, profile: profile.into() }
}

/// An operation that fills the only board, which is empty, with seven instances.
fn fill(machine: &mut Machine) -> String {
    let target: Vec<Place> = (0..7).map(|start| place("1g.10gb", start, 1)).collect();
    let uuid = machine.boards()[0].0.clone();
    let change = GpuTarget { uuid, index: 0, base: Vec::new(), target };
    let steps = Layouts::of("A100-80GB").steps(&change);
    machine.claim(vec![change], steps)
}

#[test]
fn a_stop_in_the_middle_ends_well_and_the_next_process_goes_on() {
    let mut machine = Machine::new(Config { latency: 1.0, ..Config::of(&["A100-80GB"]) });
    machine.start();
    let id = fill(&mut machine);
    machine.phase(&id, &["Executing"]);
    assert!(machine.stop().success(), "{}", machine.log());
    let standing = machine.boards().remove(0).2;
    assert!(standing.len() < 7, "it was to be stopped in the middle: {standing:?}");
    assert!(machine.path("state/intent.json").exists());
    machine.start();
    assert_eq!(machine.see_through(&id, &ENDS), "Repartitioned");
    assert_eq!(machine.boards()[0].2.len(), 7);
}

#[test]
fn a_second_agent_is_refused_while_the_first_works() {
    let mut machine = Machine::new(Config::of(&["A100-80GB"]));
    machine.start();
    machine.record(|record| record["status"]["heartbeat"].as_u64() > Some(0));
    let second = machine.agent_command().output().expect("cargo builds it");
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && text.contains("another retile-agent works on this node"), "{text}");
    assert!(machine.stop().success());
}

#[test]
fn its_report_names_holders_with_their_uids() {
    let mut machine = Machine::new(Config::of(&["A100-80GB"]));
    machine.start();
    let id = fill(&mut machine);
    assert_eq!(machine.see_through(&id, &ENDS), "Repartitioned");
    let standing = machine.boards().remove(0).2;
    let (at, uuid) = standing.iter().next().expect("seven instances");
    machine.hold(0, at, uuid.as_ref().expect("whole"), true);
    let record = machine.record(|record| record["status"]["gpus"][0]["instances"][0]["pods"][0]["name"] == "pod-1");
    let instance = &record["status"]["gpus"][0]["instances"][0];
    assert_eq!(instance["occupancy"], "busy");
    assert!(instance["pods"][0]["uid"].as_str().is_some_and(|uid| uid.starts_with("uid-pod-1")), "{instance}");
    assert_eq!(record["status"]["gpus"][0]["instances"][1]["occupancy"], "free");
}

#[test]
fn once_prints_a_mig_node_and_needs_no_api_server() {
    let machine = Machine::new(Config::of(&["H100-80GB-SXM5"]));
    let mut command = machine.agent_command();
    let output = command.args(["--once", "-o", "mignode"]).output().expect("cargo builds it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("kind: MigNode") && text.contains("nodeName: gpu-1"), "{text}");
    assert!(!machine.path("state").exists(), "it writes nothing");
}
