//! The exports that are shipped with the program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::kube::export::{ReadOptions, Source, read};
use crate::model::{Movability, Occupancy, PlanningInput};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/snapshots").join(name)
}

fn load(name: &str) -> PlanningInput {
    read(Source::File(&path(name)), &ReadOptions::default()).expect("a good export")
}

/// One line per kind of fact, for a person to look at and for the assertions below.
pub(super) fn summary(input: &PlanningInput) -> String {
    let mut text = String::new();
    let instances: Vec<_> = input.gpus().iter().flat_map(|gpu| &gpu.instances).collect();
    let busy = instances.iter().filter(|instance| matches!(instance.occupancy, Occupancy::Busy(_))).count();
    let unknown = instances.iter().filter(|instance| instance.occupancy == Occupancy::Unknown).count();
    let movable = input.running().iter().filter(|pod| matches!(pod.movability, Movability::From(_))).count();
    let frozen = input.gpus().iter().filter(|gpu| gpu.frozen.is_some()).count();
    let _ = writeln!(text, "nodes {}, GPUs {} ({frozen} frozen)", input.nodes().len(), input.gpus().len());
    let _ = writeln!(text, "instances {} ({busy} busy, {unknown} unknown)", instances.len());
    let _ = writeln!(text, "running {} ({movable} movable)", input.running().len());
    let _ = writeln!(text, "pending {}", input.pending().len());
    let _ = writeln!(text, "budgets {}", input.budgets().len());
    for pod in input.unplannable() {
        let _ = writeln!(text, "{} {}: {} / {}", pod.pod, pod.reason, pod.detail, pod.action);
    }
    let _ = writeln!(text, "assumed {}", input.placements_assumed());
    text
}

#[test]
fn the_single_machine_is_read() {
    let input = load("one-dgx-a100.json");
    println!("{}", summary(&input));
    for finding in input.findings() {
        println!("{}: {}", finding.object, finding.message);
    }
}

#[test]
fn the_six_nodes_are_read() {
    let input = load("six-gpu-nodes.json");
    println!("{}", summary(&input));
    for finding in input.findings() {
        println!("{}: {}", finding.object, finding.message);
    }
}
