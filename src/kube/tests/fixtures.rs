//! Larger samples in files: an export with the agent's reports, one with bad objects, and files that are no exports.

use std::path::{Path, PathBuf};

use super::shipped::summary;
use super::*;
use crate::model::{Capacity, CapacityKind, Movability};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/snapshots").join(name)
}

fn load(name: &str) -> PlanningInput {
    read(Source::File(&path(name)), &ReadOptions::default()).expect("a readable export")
}

#[test]
fn reported_nodes_are_read_from_a_stream_of_documents() {
    let input = load("three-nodes-reported.yaml");
    assert_eq!(
        summary(&input),
        "nodes 3, GPUs 6 (0 frozen)\n\
         instances 14 (9 busy, 1 unknown)\n\
         running 9 (7 movable)\n\
         pending 5\n\
         budgets 1\n\
         batch/spread-a NotModelled: it has a hard topology spread constraint / set whenUnsatisfiable to ScheduleAnyway\n\
         assumed false\n"
    );
    assert_eq!(input.findings(), []);
    assert_eq!(input.now(), crate::kube::time::parse_moment("2026-03-02T12:00:00Z").expect("a moment"));
    let of = |name: &str| input.running().iter().find(|pod| pod.pod.name == name).expect("it runs");
    for (name, level) in [("chat-a", "balanced"), ("train-x1", "aggressive"), ("cache-a", "aggressive")] {
        let Movability::From(from) = &of(name).movability else { panic!("{name} may not move") };
        assert_eq!(from.as_flag(), level, "{name}");
    }
    for name in ["notebook-a", "scratch-0"] {
        assert!(matches!(of(name).movability, Movability::Never(Reason::PolicyForbids, _)), "{name}");
    }
    assert_eq!((of("chat-a").budgets.len(), of("embed-a").budgets.len()), (1, 0));
    let prepared = input.pending().iter().find(|pod| pod.pod.name == "prepared-a").expect("it waits");
    assert_eq!(prepared.demand.iter().map(|(_, count)| count).collect::<Vec<_>>(), [2]);
    let mut requests = Capacity::default();
    requests.set(CapacityKind::CpuMilli, 4100);
    requests.set(CapacityKind::MemoryBytes, 16 << 30);
    requests.set(CapacityKind::Pods, 1);
    assert_eq!(prepared.requests, requests);
}

#[test]
fn bad_objects_cost_only_themselves() {
    let input = load("bad/objects.yaml");
    assert_eq!(input.nodes().iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(input.pending().iter().map(|pod| pod.pod.name.as_str()).collect::<Vec<_>>(), ["good"]);
    let refused: Vec<(&str, Reason)> =
        input.unplannable().iter().map(|pod| (pod.pod.name.as_str(), pod.reason)).collect();
    let unsatisfiable = ["half", "too-many", "unknown-profile"].map(|name| (name, Reason::Unsatisfiable));
    assert_eq!(refused, unsatisfiable);
    for (object, word) in [
        ("Node contradicting", "contradicts itself"),
        ("Node impossible", "no layouts"),
        ("Node stranger", "NVIDIA-Z900"),
        ("Node shapeless", "status.capacity"),
        ("Pod ml/shapeless", "spec"),
        ("Pod without a name", "metadata.name"),
        ("Pod ml/half", "whole number"),
        ("MigNode ghost", "not in the export"),
        ("PodDisruptionBudget other/shapeless", "spec.selector"),
        ("PriorityClass shapeless", "value"),
        ("An object without a readable kind", "left out"),
    ] {
        let message = finding(&input, object);
        assert!(message.contains(word), "{object}: {message:?} in {:?}", input.findings());
    }
}

#[test]
fn files_that_are_no_exports_are_one_clear_error_each() {
    let words = [
        ("binary.dat", "binary"),
        ("bomb.yaml", "repeats itself"),
        ("compressed.json.gz", "gunzip"),
        ("deep.json", "cut off"),
        ("duplicate-keys.yaml", "line 3, column 1: duplicate mapping key: kind"),
        ("empty.json", "empty"),
        ("kubeconfig.yaml", "1 Config"),
        ("not-kubernetes.json", "kind"),
        ("pods-only.yaml", "1 Pod"),
        ("prose.txt", "Kubernetes object"),
        ("tabs.yaml", "line 3"),
        ("truncated.json", "cut off"),
        ("utf-16.json", "UTF-16"),
    ];
    let folder = path("bad/files");
    let mut found: Vec<String> = std::fs::read_dir(&folder)
        .expect("shipped")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, words.map(|(name, _)| name.to_owned()));
    for (name, word) in words {
        let message = read(Source::File(&folder.join(name)), &ReadOptions::default()).expect_err(name).to_string();
        assert!(message.contains(name) && message.contains(word), "{message}");
    }
}
