//! Who holds what, with and without the agent's report, and what that leaves free.

use serde_json::{Value, json};

use super::*;
use crate::model::{CapacityKind, Movability};

fn report(instances: Value) -> Value {
    json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigNode", "metadata": {"name": "n"}, "status": {"gpus": [
        {"index": 0, "uuid": "GPU-1", "model": "NVIDIA A100-SXM4-80GB", "migMode": "enabled", "instances": instances}]}})
}

/// A node without counts, so that only the report tells what is there.
fn quiet() -> Value {
    let mut node = node("n", 1);
    node["metadata"]["labels"].as_object_mut().expect("labels").remove("nvidia.com/mig-1g.10gb.count");
    for amounts in ["capacity", "allocatable"] {
        node["status"][amounts].as_object_mut().expect("amounts").remove(MIG_1G);
    }
    node
}

fn instance(start: u8, occupancy: &str, pods: Value) -> Value {
    json!({"profile": "1g.10gb", "start": start, "size": 1, "uuid": format!("MIG-{start}"),
           "occupancy": occupancy, "pods": pods})
}

fn on(name: &str) -> Value {
    json!([{"namespace": "ml", "name": name, "uid": format!("uid-{name}")}])
}

#[test]
fn reported_places_are_exact() {
    let instances = json!([instance(3, "busy", on("a")), instance(1, "free", json!([]))]);
    let input = input([quiet(), report(instances), running("a", "n")]);
    assert!(!input.placements_assumed());
    let gpu = &input.gpus()[0];
    let starts: Vec<u8> = gpu.instances.iter().map(|instance| instance.placement.start()).collect();
    assert_eq!((starts.as_slice(), gpu.uuid.as_str()), (&[1, 3][..], "GPU-1"));
    assert_eq!(gpu.instances[1].uuid.as_deref(), Some("MIG-3"));
    assert_eq!(input.running()[0].instances, [(crate::model::GpuId::new(0), 1)]);
}

#[test]
fn what_the_report_leaves_open_is_unknown() {
    for (occupancy_word, pods) in [
        ("busy", json!([])),
        ("unknown", json!([])),
        ("", json!([])),
        ("sleeping", json!([])),
        ("free", on("a")),
        ("busy", on("stranger")),
        ("busy", json!([{"namespace": "ml", "name": "a", "uid": "another"}])),
        ("busy", json!([{"namespace": "ml", "name": "a"}, {"namespace": "ml", "name": "stranger"}])),
    ] {
        let items = [quiet(), report(json!([instance(0, occupancy_word, pods.clone())])), running("a", "n")];
        assert_eq!(occupancy(&input(items)), (0, 0, 1), "{occupancy_word} {pods}");
    }
}

#[test]
fn a_pod_that_the_agent_has_not_seen_may_hold_any_free_instance_of_its_profile() {
    let instances = json!([instance(0, "free", json!([])), instance(1, "free", json!([])),
                           {"profile": "3g.40gb", "start": 4, "size": 4, "occupancy": "free"}]);
    let input = input([quiet(), report(instances), running("a", "n")]);
    assert_eq!(occupancy(&input), (1, 0, 2));
    assert!(finding(&input, "Pod ml/a").contains("does not name it"));
}

#[test]
fn more_pods_than_instances_freeze_a_node_that_only_counts() {
    let pods = (0..8).map(|number| running(&format!("r{number}"), "n"));
    let input = input(pods.chain([node("n", 1)]));
    assert!(input.gpus()[0].frozen.is_some());
    assert!(finding(&input, "Node n").contains("more pods than instances"));
}

#[test]
fn bound_pods_take_ordinary_resources_whether_they_use_gpus_or_not() {
    let mut plain = running("plain", "n");
    plain["spec"]["containers"] = json!([{"resources": {"requests": {"cpu": "60", "memory": "1Gi"}}}]);
    let mut ended = plain.clone();
    ended["metadata"]["name"] = json!("ended");
    ended["status"] = json!({"phase": "Succeeded"});
    let input = input([node("n", 1), plain, ended, running("holder", "n")]);
    let free = &input.nodes()[0].free;
    assert_eq!(free.get(&CapacityKind::CpuMilli), 4_000);
    assert_eq!(free.get(&CapacityKind::MemoryBytes), 511 << 30);
    assert_eq!(free.get(&CapacityKind::Pods), 108);
    assert_eq!(free.get(&CapacityKind::Named(MIG_1G.to_owned())), 0, "devices are not ordinary");
}

#[test]
fn malformed_requests_of_a_bound_pod_leave_nothing_certain() {
    let mut pod = running("odd", "n");
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "lots"}});
    let input = input([node("n", 1), pod, waiting("p")]);
    assert_eq!(occupancy(&input), (0, 0, 7));
    assert_eq!(input.nodes()[0].free.get(&CapacityKind::Pods), 0);
}

#[test]
fn budgets_cover_running_pods() {
    let budget = |name: &str, allowed: Value| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": "ml"},
               "spec": {"selector": {}}, "status": allowed})
    };
    let one = input([node("n", 1), running("a", "n"), budget("x", json!({"disruptionsAllowed": 2}))]);
    assert_eq!(one.running()[0].budgets.len(), 1);
    assert_eq!((one.budgets()[0].name.as_str(), one.budgets()[0].allowed), ("ml/x", 2));
    let unset = input([node("n", 1), running("a", "n"), budget("x", json!({}))]);
    assert_eq!(unset.budgets()[0].allowed, 0);
    let two = [budget("x", json!({})), budget("y", json!({}))];
    let two = input([node("n", 1), running("a", "n")].into_iter().chain(two));
    assert!(matches!(two.running()[0].movability, Movability::Never(..)));
    let broken = input([node("n", 1), running("a", "n"), budget("x", json!(7))]);
    assert!(matches!(broken.running()[0].movability, Movability::Never(..)), "what cannot be read protects");
}

#[test]
fn running_pods_that_land_nowhere_for_certain_stay() {
    let mut pod = running("a", "n");
    pod["spec"]["volumes"] = json!([{"persistentVolumeClaim": {"claimName": "c"}}]);
    let input = input([node("n", 1), pod]);
    assert!(matches!(input.running()[0].movability, Movability::Never(Reason::NotModelled, _)));
}

#[test]
fn the_forecast_counts_what_runs_and_what_waits() {
    let mut larger = waiting("larger");
    larger["spec"]["containers"][0]["resources"]["limits"] = json!({"nvidia.com/mig-2g.20gb": 1});
    let input = input([node("n", 1), running("a", "n"), waiting("p"), larger]);
    let weights: Vec<(&str, u32)> = input
        .forecast()
        .iter()
        .map(|(resource, weight)| (input.resources()[resource.index()].as_str(), *weight))
        .collect();
    let [(MIG_1G, small), ("nvidia.com/mig-2g.20gb", large)] = weights.as_slice() else { panic!("{weights:?}") };
    assert_eq!(*small, large * 2, "two pods against one, however the weights are scaled");
}
