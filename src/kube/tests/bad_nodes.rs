//! The nodes part of the bad-input catalogue: a bad node makes only itself unmanaged.

use serde_json::{Value, json};

use super::*;

/// Reads one changed node beside a good one, which must stay as it is.
fn judged(change: impl FnOnce(&mut Value)) -> PlanningInput {
    with_report(change, None)
}

fn with_report(change: impl FnOnce(&mut Value), report: Option<Value>) -> PlanningInput {
    let mut odd = node("odd", 1);
    change(&mut odd);
    let input = input([node("good", 1), odd, waiting("pod")].into_iter().chain(report));
    let good = input.nodes().iter().position(|node| node.name == "good").expect("the good node stays");
    assert!(input.gpus()[input.nodes()[good].gpus.clone()].iter().all(|gpu| gpu.frozen.is_none()));
    assert!(is_pending(&input, "pod"));
    input
}

fn left_out(input: &PlanningInput) -> bool {
    !input.nodes().iter().any(|node| node.name == "odd")
}

fn frozen(input: &PlanningInput) -> Option<Reason> {
    let node = input.nodes().iter().find(|node| node.name == "odd").expect("the node is there");
    input.gpus()[node.gpus.start].frozen.as_ref().map(|(reason, _)| *reason)
}

fn report(gpus: Value) -> Value {
    json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigNode", "metadata": {"name": "odd"}, "status": {"gpus": gpus}})
}

fn sevenfold() -> Value {
    let instances: Vec<Value> =
        (0..7).map(|start| json!({"profile": "1g.10gb", "start": start, "size": 1, "occupancy": "free"})).collect();
    json!({"index": 0, "uuid": "GPU-1", "model": "NVIDIA A100-SXM4-80GB", "migMode": "enabled", "instances": instances})
}

#[test]
fn without_labels_only_a_report_makes_a_node_ours() {
    let bare = |node: &mut Value| node["metadata"]["labels"] = json!({});
    let unlabelled = judged(bare);
    assert!(left_out(&unlabelled));
    assert!(finding(&unlabelled, "Node odd").contains("nvidia.com/gpu.product"));
    let reported = with_report(bare, Some(report(json!([sevenfold()]))));
    assert!(!left_out(&reported) && frozen(&reported).is_none());
}

#[test]
fn contradictions_between_label_and_report_freeze_the_node() {
    let mut h100 = sevenfold();
    h100["model"] = json!("NVIDIA H100 80GB HBM3");
    let product = with_report(|_| {}, Some(report(json!([h100]))));
    assert_eq!(frozen(&product), Some(Reason::PolicyForbids));
    assert!(finding(&product, "Node odd").contains("gpu.product"));
    let mut six = sevenfold();
    six["instances"].as_array_mut().expect("instances").pop();
    let counts = with_report(|_| {}, Some(report(json!([six]))));
    assert_eq!(frozen(&counts), Some(Reason::PolicyForbids));
    assert_eq!(occupancy(&counts), (7, 0, 6), "what a refused node offers is not free");
}

#[test]
fn strategies_other_than_mixed_do_not_make_mixed_layouts() {
    let none = judged(|node| node["metadata"]["labels"]["nvidia.com/mig.strategy"] = json!("none"));
    assert_eq!(frozen(&none), Some(Reason::PolicyForbids));
    let invalid = judged(|node| {
        node["metadata"]["labels"]["nvidia.com/mig.strategy"] = json!("single");
        node["metadata"]["labels"]["nvidia.com/gpu.product"] = json!("NVIDIA-A100-SXM4-80GB-MIG-INVALID");
        node["metadata"]["labels"]["nvidia.com/gpu.count"] = json!("0");
    });
    assert!(left_out(&invalid));
    assert!(finding(&invalid, "Node odd").contains("MIG-INVALID"));
}

#[test]
fn gpus_without_mig_are_left_out_beside_those_with_it() {
    let input = judged(|node| {
        node["metadata"]["labels"]["nvidia.com/gpu.count"] = json!("3");
        for amounts in ["capacity", "allocatable"] {
            node["status"][amounts]["nvidia.com/gpu"] = json!("2");
        }
    });
    assert_eq!(input.gpus().len(), 2, "one of each node");
    let mut disabled = sevenfold();
    disabled["index"] = json!(1);
    disabled["uuid"] = json!("GPU-2");
    disabled["migMode"] = json!("disabled");
    disabled["instances"] = json!([]);
    assert_eq!(with_report(|_| {}, Some(report(json!([sevenfold(), disabled])))).gpus().len(), 2);
}

#[test]
fn models_are_read_per_gpu() {
    let a30 = json!({"index": 1, "uuid": "GPU-2", "model": "NVIDIA A30", "migMode": "enabled",
                     "instances": [{"profile": "2g.12gb", "start": 2, "size": 2, "occupancy": "free"}]});
    let input = with_report(|_| {}, Some(report(json!([sevenfold(), a30]))));
    let axes: Vec<u8> = input.gpus().iter().map(|gpu| gpu.geometry.axis()).collect();
    assert_eq!(axes, [8, 8, 4]);
}

#[test]
fn a_uuid_that_two_gpus_report_freezes_both() {
    let other = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigNode", "metadata": {"name": "twin"},
                       "status": {"gpus": [sevenfold()]}});
    let input = input([node("odd", 1), node("twin", 1), report(json!([sevenfold()])), other]);
    assert!(input.gpus().iter().all(|gpu| gpu.frozen.is_some()));
    assert!(finding(&input, "MigNode twin").contains("GPU-1"));
}

#[test]
fn stale_and_edited_amounts_are_refused_and_zero_says_nothing() {
    let edited = judged(|node| node["status"]["capacity"][MIG_1G] = json!("9"));
    assert!(left_out(&edited) && finding(&edited, "Node odd").contains("contradicts"));
    let above = judged(|node| node["status"]["allocatable"][MIG_1G] = json!("8"));
    assert!(left_out(&above));
    let zero = judged(|node| node["status"]["capacity"]["nvidia.com/mig-3g.40gb"] = json!("0"));
    assert!(!left_out(&zero));
    let sick = judged(|node| node["status"]["allocatable"][MIG_1G] = json!("5"));
    assert_eq!(occupancy(&sick), (12, 0, 2));
    let absurd = judged(|node| {
        node["status"]["capacity"][MIG_1G] = json!("1e30");
        node["metadata"]["labels"]["nvidia.com/mig-1g.10gb.count"] = json!("99999999999999999999");
    });
    assert!(left_out(&absurd));
    let many = judged(|node| node["metadata"]["labels"]["nvidia.com/gpu.count"] = json!("4000000000"));
    assert!(left_out(&many));
}

#[test]
fn counts_that_no_layout_has_are_refused_with_the_remedy() {
    let input = judged(|node| {
        node["metadata"]["labels"]["nvidia.com/mig-1g.10gb.count"] = json!("8");
        for amounts in ["capacity", "allocatable"] {
            node["status"][amounts][MIG_1G] = json!("8");
        }
    });
    assert!(left_out(&input));
    assert!(finding(&input, "Node odd").contains("install the agent"));
    let foreign = judged(|node| node["status"]["capacity"]["nvidia.com/mig-1g.5gb"] = json!("7"));
    assert!(left_out(&foreign) && finding(&foreign, "Node odd").contains("no profile 1g.5gb"));
}

#[test]
fn taints_of_strangers_do_not_matter_and_claims_do() {
    let many: Vec<Value> =
        (0..1000).map(|number| json!({"key": format!("k{number}"), "effect": "PreferNoSchedule"})).collect();
    let unharmed = judged(|node| node["spec"] = json!({"taints": many}));
    assert_eq!(frozen(&unharmed), None);
    let without_effect = judged(|node| node["spec"] = json!({"taints": [{"key": "x"}]}));
    assert_eq!(frozen(&without_effect), None);
    let claimed = judged(|node| {
        node["spec"] = json!({"taints": [{"key": "retile.dev/repartitioning", "value": "?", "effect": "NoSchedule"}]});
    });
    assert_eq!(frozen(&claimed), Some(Reason::PolicyForbids));
}

#[test]
fn reports_that_make_no_sense_are_not_believed() {
    let stray = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigNode", "metadata": {"name": "ghost"}});
    let input_stray = with_report(|_| {}, Some(stray));
    assert!(finding(&input_stray, "MigNode ghost").contains("not in the export"));
    let mut renamed = report(json!([sevenfold()]));
    renamed["status"]["nodeName"] = json!("other");
    assert!(left_out(&with_report(|_| {}, Some(renamed))));
    assert!(left_out(&with_report(|_| {}, Some(report(json!([sevenfold(), sevenfold()]))))));
    let unreadable = with_report(|_| {}, Some(report(json!([{"index": -1}]))));
    assert!(left_out(&unreadable), "a report that cannot be read does not fall back to labels");
    assert!(finding(&unreadable, "MigNode odd").contains("status.gpus[0].index"));
}

#[test]
fn impossible_layouts_are_left_out() {
    for instances in [
        json!([{"profile": "2g.20gb", "start": 0}, {"profile": "1g.10gb", "start": 1}]),
        json!([{"profile": "1g.10gb", "start": 7}]),
        json!([{"profile": "1g.10gb", "start": 13}]),
        json!([{"profile": "3g.40gb", "start": 0, "size": 3}]),
        json!([{"profile": "9g.1gb", "start": 0}]),
        json!([{"profile": "1g.10gb+me", "start": 0}, {"profile": "1g.10gb+me", "start": 1}]),
    ] {
        let mut gpu = sevenfold();
        gpu["instances"] = instances.clone();
        let input = with_report(|_| {}, Some(report(json!([gpu]))));
        assert!(left_out(&input), "{instances}");
        assert!(finding(&input, "MigNode odd").contains("GPU 0 is left out"), "{:?}", input.findings());
    }
}

#[test]
fn a_pending_change_of_the_mode_freezes_the_gpu() {
    let mut gpu = sevenfold();
    gpu["pendingMigMode"] = json!("disabled");
    assert_eq!(frozen(&with_report(|_| {}, Some(report(json!([gpu]))))), Some(Reason::PolicyForbids));
}

#[test]
fn the_cool_down_counts_from_the_last_change() {
    let mut gpu = sevenfold();
    gpu["lastChanged"] = json!("2026-01-01T00:05:00Z");
    let mut managed = node("odd", 1);
    managed["metadata"]["labels"]["retile.dev/managed"] = json!("true");
    let items = [managed, report(json!([gpu])), waiting("pod")];
    assert_eq!(frozen(&under_policy(items.clone(), "{}")), Some(Reason::CoolingDown));
    assert_eq!(frozen(&under_policy(items.clone(), "{stability: {gpuCoolDown: 0s}}")), None);
    assert_eq!(frozen(&input(items)), None);
}

#[test]
fn unopted_nodes_are_frozen_under_a_policy_only() {
    assert_eq!(frozen(&under_policy([node("odd", 1), waiting("p")], "{}")), Some(Reason::PolicyForbids));
    assert_eq!(frozen(&input([node("odd", 1), waiting("p")])), None);
}

#[test]
fn a_node_that_cannot_be_read_is_named() {
    let broken = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "broken"}, "status": {"capacity": 3}});
    let input = input([node("good", 1), broken, waiting("p")]);
    assert!(finding(&input, "Node broken").contains("status.capacity"));
    assert!(is_pending(&input, "p"));
}

#[test]
fn dra_on_a_node_freezes_it() {
    let slice = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"},
                       "spec": {"driver": "gpu.nvidia.com", "nodeName": "odd"}});
    assert_eq!(frozen(&with_report(|_| {}, Some(slice))), Some(Reason::PolicyForbids));
}
