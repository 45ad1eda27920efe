//! What the controller costs in a cluster of 1,000 GPU nodes and 20,000 pods. Left out by default, because it measures and takes minutes:
//!
//!     cargo build --release --no-default-features --features controller --bin retile-controller
//!     RETILE_CONTROLLER=target/release/retile-controller cargo test --test cluster scale -- --ignored --nocapture
//!
//! Two nodes are hollow ones with real agents, where operations happen. The others are objects: nodes, records whose heartbeat goes on as if an
//! agent reported every fifteen seconds, and pods that hold their instances. `docs/design/scale.md` states targets and what was measured.

#![allow(clippy::disallowed_methods, reason = "it measures, and is told by the environment which program")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::control_plane::{ControlPlane, Daemon, Manner, Pace, eventually, eventually_within, free_port};
use super::installation::{ALL, Installation, at_once};
use super::work::{deployment, ready, template};

const CONTROLLER: &str = "system:serviceaccount:retile-system:retile-controller";
const NODES: usize = 1_000;
const GPUS: usize = 8;
/// Pods on each node: twelve hold instances, the others none.
const PODS: usize = 20;
/// Requests of a controller that one operation without evictions may cost, beside the pages of its fresh list of everything.
const REQUESTS: usize = 100;
/// Those pages, of a thousand objects: pods, nodes, records.
const PAGES: usize = NODES * PODS / 1_000 + 2 * (NODES / 1_000 + 1) + 1;
/// Resident memory in MiB that it may have.
const RESIDENT: u64 = 512;
/// Requests on their way at a time while the cluster is made.
const AT_ONCE: usize = 48;

/// Instances of a GPU: profile, start, size. Those at even places are whole.
fn instances(gpu: usize) -> &'static [(&'static str, u8, u8)] {
    if gpu.is_multiple_of(2) { &[("7g.80gb", 0, 8)] } else { &[("3g.40gb", 0, 4), ("3g.40gb", 4, 4)] }
}

fn node_object(name: &str) -> Node {
    let amounts = json!({
        "cpu": "128", "memory": "2000Gi", "pods": "110", "ephemeral-storage": "1Ti",
        "nvidia.com/mig-7g.80gb": "4", "nvidia.com/mig-3g.40gb": "8"
    });
    let condition = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": "Kubelet", "message": "as a kubelet says it",
            "lastHeartbeatTime": "2026-11-28T12:00:00Z", "lastTransitionTime": "2026-11-28T12:00:00Z"})
    };
    let images: Vec<Value> = (0..30)
        .map(|n| json!({"names": [format!("registry.example/image-{n}:latest")], "sizeBytes": 123_456_789}))
        .collect();
    let node = json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "retile.dev/managed": "true", "nvidia.com/mig.capable": "true", "nvidia.com/mig.strategy": "mixed",
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.count": GPUS.to_string(),
        }},
        "status": {
            "capacity": amounts, "allocatable": amounts, "images": images,
            "conditions": [condition("Ready", "True"), condition("MemoryPressure", "False"),
                condition("DiskPressure", "False"), condition("PIDPressure", "False")],
        }
    });
    serde_json::from_value(node).expect("a node")
}

/// A pod that runs on a node, and holds an instance of a profile if one is given.
fn pod_object(name: &str, node: &str, profile: Option<&str>) -> Pod {
    let mut limits = json!({"cpu": "1", "memory": "8Gi"});
    if let Some(profile) = profile {
        limits[format!("nvidia.com/mig-{profile}")] = json!("1");
    }
    let environment: Vec<Value> = (0..12)
        .map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("value-{n}-of-some-length")}))
        .collect();
    let pod = json!({
        "metadata": {
            "name": name, "labels": {"app": "load", "team": "research", "tier": "batch"},
            "annotations": {"example.org/large": "x".repeat(600)}
        },
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "registry.example/team/work:2026.11.28", "env": environment,
                "resources": {"limits": limits}}],
        },
    });
    serde_json::from_value(pod).expect("a pod")
}

/// The pods of a node: name and profile.
fn pods_of_node(number: usize) -> Vec<(String, Option<&'static str>)> {
    let held = (0..GPUS).flat_map(instances).map(|&(profile, ..)| Some(profile));
    let all = held.chain(std::iter::repeat(None)).take(PODS).enumerate();
    all.map(|(place, profile)| (format!("load-{number:04}-{place:02}"), profile)).collect()
}

/// What an agent reports of a node whose instances these pods hold, in their order.
fn status_object(name: &str, number: usize, node: &Node, pods: &[Pod]) -> Value {
    let mut holders = pods.iter();
    let gpus: Vec<Value> = (0..GPUS)
        .map(|gpu| {
            let instances: Vec<Value> = instances(gpu)
                .iter()
                .map(|&(profile, start, size)| {
                    let pod = &holders.next().expect("a pod for each instance").metadata;
                    json!({
                        "profile": profile, "start": start, "size": size, "uuid": format!("MIG-{number:04}-{gpu}-{start}"),
                        "occupancy": "busy", "pods": [{"namespace": pod.namespace, "name": pod.name, "uid": pod.uid}],
                    })
                })
                .collect();
            json!({"index": gpu, "uuid": format!("GPU-{number:04}-{gpu}"), "model": "NVIDIA A100-SXM4-80GB",
                "migMode": "Enabled", "instances": instances})
        })
        .collect();
    json!({"status": {
        "nodeName": name, "nodeUid": node.metadata.uid, "bootId": "boot", "protocol": retile::exec::PROTOCOL, "heartbeat": 1, "gpuCount": GPUS,
        "layout": "as made", "phase": "Idle", "gpus": gpus,
    }})
}

/// Makes one node with its pods and its record.
async fn make(number: usize, client: Client, namespace: &str, records: &Api<DynamicObject>) {
    let name = format!("made-{number:04}");
    let made = Api::<Node>::all(client.clone()).create(&PostParams::default(), &node_object(&name)).await;
    let node = made.expect("a new name");
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let mut made = Vec::new();
    for (pod, profile) in pods_of_node(number) {
        let pod = pods.create(&PostParams::default(), &pod_object(&pod, &name, profile)).await;
        made.push(pod.expect("a new name"));
    }
    let record = json!({
        "apiVersion": "retile.dev/v1alpha1", "kind": "MigNode", "metadata": {"name": name}, "spec": {}
    });
    let record: DynamicObject = serde_json::from_value(record).expect("a record");
    records.create(&PostParams::default(), &record).await.expect("a new name");
    let status = Patch::Merge(status_object(&name, number, &node, &made));
    records.patch_status(&name, &PatchParams::default(), &status).await.expect("as the definition wants it");
}

/// Lets the heartbeat of every made record go on, each once in fifteen seconds.
async fn beat(records: Api<DynamicObject>) {
    for beat in 2_u64.. {
        let round = tokio::time::sleep(Duration::from_secs(15));
        stream::iter(0..NODES)
            .for_each_concurrent(8, |number| {
                let records = records.clone();
                async move {
                    let patch = Patch::Merge(json!({"status": {"heartbeat": beat}}));
                    // One that is missed is one that an agent misses.
                    let _ = records.patch_status(&format!("made-{number:04}"), &PatchParams::default(), &patch).await;
                }
            })
            .await;
        round.await;
    }
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
struct Used {
    at: Instant,
    processor: Duration,
    /// MiB now, and at most so far.
    resident: (u64, u64),
}

fn used(daemon: &Daemon) -> Used {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", daemon.pid())).expect("it runs");
    let stat = read("stat");
    // The name, which may hold anything, ends with the last bracket; user and system time stand 12th and 13th behind it, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    let status = read("status");
    let mebibytes = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).expect("the kernel tells");
        line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number") / 1024
    };
    Used {
        at: Instant::now(),
        processor: Duration::from_millis(ticks * 10),
        resident: (mebibytes("VmRSS:"), mebibytes("VmHWM:")),
    }
}

/// Requests of the controller since so many of them, by verb and resource; watches and the lease apart.
fn requests(plane: &ControlPlane, since: usize) -> (usize, BTreeMap<String, usize>) {
    let all = plane.audited_of(CONTROLLER);
    let mut counts = BTreeMap::new();
    for asked in &all[since.min(all.len())..] {
        *counts.entry(format!("{} {}", asked.verb, asked.resource)).or_default() += 1;
    }
    (all.len(), counts)
}

/// Whether a request belongs to an operation rather than to what goes on all the time.
fn counts(kind: &str) -> bool {
    !kind.starts_with("watch ") && !kind.ends_with(" leases") || kind == "get leases"
}

async fn page(client: &Client) -> Option<String> {
    client.request_text(http::Request::get("/metrics").body(Vec::new()).expect("a path")).await.ok()
}

fn figure(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and takes minutes"]
async fn scale_of_a_thousand_nodes_and_twenty_thousand_pods() {
    let mut policy = at_once("Act");
    policy["interval"] = json!("30s");
    let manner = Manner { node_patience: 7200, ..Manner::default() };
    let Some(plane) = ControlPlane::start_as(manner).await else { return };
    let mut cluster = Installation::make_on(plane, "act", &policy).await;
    // Agents run on the hollow nodes only.
    let selector = json!({"spec": {"template": {"spec": {"nodeSelector": {super::control_plane::FLEET: ALL}}}}});
    let patch = ["-n", "retile-system", "patch", "daemonset", "retile-agent", "--type=merge", "--patch"];
    let (done, said) = cluster.plane.kubectl(&[&patch[..], &[&selector.to_string()]].concat(), "");
    assert!(done, "{said}");
    for name in ["hollow-a", "hollow-b"] {
        cluster.add_node(name, &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    }
    let load = cluster.plane.namespace("load").await;
    let begun = Instant::now();
    let records = cluster.custom("MigNode");
    stream::iter(0..NODES)
        .for_each_concurrent(AT_ONCE, |number| make(number, cluster.client.clone(), &load, &records))
        .await;
    let mut table = format!("{NODES} nodes, {} pods: made in {} s\n", NODES * PODS, begun.elapsed().as_secs());
    let heart = tokio::spawn(beat(records));

    let port = free_port();
    let program = std::env::var_os("RETILE_CONTROLLER").map(PathBuf::from);
    let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_retile-controller").into()));
    cluster.configure(&mut command, "controller-1", &format!("127.0.0.1:{port}")).await;
    let started = Instant::now();
    let mut controller = cluster.plane.daemon("controller-1", command);
    let url = format!("http://127.0.0.1:{port}").parse().expect("an address");
    let scraper = Client::try_from(kube::Config::new(url)).expect("a client");
    let limit = Duration::from_mins(15);
    let first = eventually_within(limit, "the first plan is made", async || {
        controller.must_run();
        page(&scraper).await.filter(|page| figure(page, "retile_plan_seconds_count") >= 1.0)
    })
    .await;
    let _ = writeln!(table, "from its start to its first plan: {:.1} s", started.elapsed().as_secs_f64());
    let _ = writeln!(table, "nodes that it plans with: {}", figure(&first, "retile_nodes"));

    let (asked, before) = (requests(&cluster.plane, 0).0, used(&controller));
    tokio::time::sleep(Duration::from_mins(2)).await;
    let (after, (_, idle)) = (used(&controller), requests(&cluster.plane, asked));
    let share = after.processor.saturating_sub(before.processor).as_secs_f64() / (after.at - before.at).as_secs_f64();
    let _ = writeln!(
        table,
        "nothing to do, a plan each 30 s: {:.1} % of a core; requests in 2 min: {idle:?}",
        share * 100.0
    );

    let (asked, before) = (requests(&cluster.plane, 0).0, used(&controller));
    cluster.plane.apply(&deployment(&cluster.team, "small", 1, &template("small", ALL, Some("1g.5gb"))));
    ready(&cluster.pods(), "small", 1).await;
    let place = eventually("one node was operated on, and is released", async || {
        for node in ["hollow-a", "hollow-b"] {
            if cluster.outcomes(node).await == ["Done"] {
                return Some(node);
            }
        }
        None
    })
    .await;
    cluster.released(place).await;
    let (after, (_, of_one)) = (used(&controller), requests(&cluster.plane, asked));
    let of_operation: usize = of_one.iter().filter(|(kind, _)| counts(kind)).map(|(_, count)| count).sum();
    let _ = writeln!(
        table,
        "one operation: {of_operation} requests, {:.2} s of a core in {:.1} s",
        after.processor.saturating_sub(before.processor).as_secs_f64(),
        (after.at - before.at).as_secs_f64()
    );
    for (kind, count) in &of_one {
        let _ = writeln!(table, "  {count:4} {kind}");
    }
    let page = page(&scraper).await.expect("it runs");
    let (sum, count) = (figure(&page, "retile_plan_seconds_sum"), figure(&page, "retile_plan_seconds_count"));
    let _ = writeln!(table, "{count} plans of {:.3} s in the mean", sum / count);
    let (now, most) = after.resident;
    let _ = writeln!(table, "resident: {now} MiB, {most} MiB at most");
    heart.abort();
    println!("{table}");
    assert!(of_operation <= REQUESTS + PAGES, "one operation took {of_operation} requests");
    assert!(most <= RESIDENT, "{most} MiB");
    drop(controller);
}
