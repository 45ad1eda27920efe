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
    assert_eq!(
        summary(&input),
        "nodes 1, GPUs 8 (0 frozen)\n\
         instances 32 (27 busy, 0 unknown)\n\
         running 27 (27 movable)\n\
         pending 21\n\
         budgets 1\n\
         assumed true\n"
    );
    let layouts: Vec<Vec<String>> = input
        .gpus()
        .iter()
        .map(|gpu| gpu.instances.iter().map(|instance| gpu.geometry.show(instance.placement)).collect())
        .collect();
    let alike = ["2g.20gb@0:2", "1g.10gb@2:1", "1g.10gb@3:1", "3g.40gb@4:4"];
    assert!(layouts.iter().all(|layout| layout == &alike), "{layouts:?}");
}

#[test]
fn the_six_nodes_are_read() {
    let input = load("six-gpu-nodes.json");
    let known = "1g.10gb, 1g.10gb+me, 1g.20gb, 2g.20gb, 3g.39gb, 3g.40gb, 4g.39gb, 4g.40gb, 7g.80gb";
    assert_eq!(
        summary(&input),
        format!(
            "nodes 6, GPUs 48 (0 frozen)\n\
             instances 164 (122 busy, 0 unknown)\n\
             running 120 (120 movable)\n\
             pending 10\n\
             budgets 3\n\
             notebooks/lonely-556c59c8c5-zs447 Unsatisfiable: no node is eligible: 6 do not match its node selector or \
             affinity / change what it asks for or its node rules, or add a node that fits\n\
             team-b/odd-67765dc467-jlxmm Unsatisfiable: no GPU of the cluster has the profile that it asks for as \
             nvidia.com/mig-9g.999gb / ask for a profile that the cluster's boards have: {known}\n\
             assumed true\n"
        )
    );
    assert!(input.findings().iter().all(|finding| finding.message.contains("assumed")), "{:?}", input.findings());
}
