//! How long it takes to read the export of a large cluster, beside what the parser alone takes to make a tree of values of the same text.
//!
//! `cargo bench --bench reading -- --quick`; `RETILE_GPUS=1000` leaves out the other size. The fleet has 5 running pods per GPU and 4 waiting
//! ones per 5 GPUs, A100 and H100, four pools, and 40 % of the pods select a pool.
#![allow(clippy::disallowed_methods, reason = "cargo leaves a bench no arguments: what to run comes by environment")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use retile::kube::export::{ReadOptions, Source, read};
use retile::model::PlanningInput;
use retile::plan::fingerprint;
use serde_json::{Value, json};

const GPUS_PER_NODE: usize = 8;
const BOARDS: [(&str, &str, &str); 2] = [
    ("NVIDIA A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB", "81920"),
    ("NVIDIA H100 80GB HBM3", "NVIDIA-H100-80GB-HBM3", "81559"),
];
/// Layouts as (profile, start, size), six instances on average.
const LAYOUTS: [&[(&str, u8, u8)]; 4] = [
    &[
        ("1g.10gb", 0, 1),
        ("1g.10gb", 1, 1),
        ("1g.10gb", 2, 1),
        ("1g.10gb", 3, 1),
        ("1g.10gb", 4, 1),
        ("1g.10gb", 5, 1),
        ("1g.10gb", 6, 1),
    ],
    &[("1g.10gb", 0, 1), ("1g.10gb", 1, 1), ("2g.20gb", 2, 2), ("1g.10gb", 4, 1), ("1g.10gb", 5, 1), ("1g.10gb", 6, 1)],
    &[("1g.10gb", 0, 1), ("1g.10gb", 1, 1), ("1g.10gb", 2, 1), ("1g.10gb", 3, 1), ("3g.40gb", 4, 4)],
    &[("2g.20gb", 0, 2), ("1g.10gb", 2, 1), ("1g.10gb", 3, 1), ("1g.10gb", 4, 1), ("1g.10gb", 5, 1), ("1g.10gb", 6, 1)],
];
const WAITING: [&str; 6] = ["1g.10gb", "1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "7g.80gb"];
const MOMENT: &str = "2026-01-01T00:00:00Z";

fn pod(number: usize, profile: &str, node: Option<(&str, usize)>) -> Value {
    let (name, namespace) = (format!("pod-{number}"), format!("team-{}", number % 3));
    let uid = format!("uid-{namespace}-{name}");
    let mut resources = json!({"cpu": "1", "memory": "1Gi"});
    resources[format!("nvidia.com/mig-{profile}")] = "1".into();
    let mut spec = json!({
        "containers": [{"name": "c", "image": "registry.example/inference:1.2",
            "resources": {"requests": resources, "limits": resources}}],
        "terminationGracePeriodSeconds": 30, "priority": number % 2 * 100, "restartPolicy": "Always",
    });
    if number % 5 < 2 {
        spec["nodeSelector"] = json!({"pool": format!("p{}", node.map_or(number / 5, |(_, node)| node) % 4)});
    }
    let scheduled = match node {
        Some((name, _)) => {
            spec["nodeName"] = name.into();
            json!({"phase": "Running", "startTime": MOMENT, "conditions": [{"type": "Ready", "status": "True"}]})
        }
        None => json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "no node has it", "lastTransitionTime": MOMENT}]}),
    };
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("owner-{number}"),
        "uid": format!("owner-{uid}"), "controller": true}]);
    json!({"apiVersion": "v1", "kind": "Pod", "spec": spec, "status": scheduled, "metadata": {"name": name,
        "namespace": namespace, "uid": uid, "creationTimestamp": MOMENT, "labels": {"app": format!("app-{}", number % 50)},
        "ownerReferences": owner}})
}

/// The text of an export.
fn export(gpus: usize) -> String {
    let mut items: Vec<String> = Vec::new();
    let mut pods = 0;
    for number in 0..gpus.div_ceil(GPUS_PER_NODE) {
        let name = format!("n{number:05}");
        let (model, product, memory) = BOARDS[number % BOARDS.len()];
        let mut counts = json!({"cpu": "256", "memory": "2048Gi", "pods": "500", "nvidia.com/gpu": "0"});
        let mut reported = Vec::new();
        for index in 0..GPUS_PER_NODE {
            let mut instances = Vec::new();
            for &(profile, start, size) in LAYOUTS[(number + index) % LAYOUTS.len()] {
                let count = &mut counts[format!("nvidia.com/mig-{profile}")];
                *count =
                    (count.as_str().map_or(0, |text| text.parse::<u32>().expect("a count")) + 1).to_string().into();
                let mut instance = json!({"profile": profile, "start": start, "size": size, "occupancy": "free",
                    "uuid": format!("MIG-{number}-{index}-{start}")});
                if (number + index + usize::from(start)) % 6 != 0 {
                    let pod = pod(pods, profile, Some((&name, number)));
                    pods += 1;
                    let meta = &pod["metadata"];
                    instance["occupancy"] = "busy".into();
                    instance["pods"] =
                        json!([{"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}]);
                    items.push(pod.to_string());
                }
                instances.push(instance);
            }
            reported.push(json!({"index": index, "uuid": format!("GPU-{number}-{index}"), "model": model,
                "migMode": "enabled", "instances": instances}));
        }
        let labels = json!({"pool": format!("p{}", number % 4), "retile.dev/managed": "true",
            "nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": memory, "nvidia.com/mig.strategy": "mixed",
            "nvidia.com/mig.capable": "true", "nvidia.com/gpu.count": GPUS_PER_NODE.to_string()});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {},
            "status": {"capacity": counts, "allocatable": counts, "conditions": [{"type": "Ready", "status": "True"}]}});
        let report = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigNode", "metadata": {"name": name},
            "status": {"gpus": reported}});
        items.extend([node.to_string(), report.to_string()]);
    }
    items.extend((0..gpus * 4 / 5).map(|number| pod(pods + number, WAITING[number % WAITING.len()], None).to_string()));
    format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{}]}}", items.join(","))
}

fn input(text: &str) -> PlanningInput {
    read(Source::Reader("export", &mut text.as_bytes()), &ReadOptions::default()).expect("the export is well formed")
}

fn reading(c: &mut Criterion) {
    let wanted = std::env::var("RETILE_GPUS").ok();
    let wanted = wanted.map(|text| text.parse::<usize>().expect("RETILE_GPUS is a number"));
    // `cargo test --all-targets` runs this too, unoptimised: a small fleet will do.
    let usual: &[usize] = if std::env::args().any(|argument| argument == "--bench") { &[1_000, 10_000] } else { &[80] };
    for gpus in usual.iter().copied().filter(|gpus| wanted.is_none_or(|wanted| wanted == *gpus)) {
        let text = export(gpus);
        let read = input(&text);
        println!(
            "{gpus} GPUs: {} running and {} waiting pods in {:.1} MB, {} findings",
            read.running().len(),
            read.pending().len(),
            text.len() as f64 / 1e6,
            read.findings().len()
        );
        let mut group = c.benchmark_group("read_export");
        group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(3));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(gpus), |b| b.iter(|| input(black_box(&text))));
        group.bench_function(BenchmarkId::new("baseline_tree_of_values", gpus), |b| {
            b.iter(|| serde_json::from_str::<Value>(black_box(&text)).expect("the export is well formed"));
        });
        group.finish();
        let mut group = c.benchmark_group("fingerprint");
        group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(3));
        group.bench_function(BenchmarkId::from_parameter(gpus), |b| b.iter(|| fingerprint(black_box(&read))));
        group.finish();
    }
}

criterion_group!(benches, reading);
criterion_main!(benches);
