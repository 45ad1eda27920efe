//! The order of an export leaves no trace.

use serde_json::{Value, json};

use super::*;

/// Everything of an input, in words.
fn dump(input: &PlanningInput) -> String {
    let forecast: Vec<_> = input.forecast().iter().collect();
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{forecast:?}\n{:?}",
        input.now(),
        input.nodes(),
        input.gpus(),
        input.running(),
        input.pending(),
        input.unplannable(),
        input.budgets(),
        input.node_sets(),
        input.resources(),
        input.findings(),
    )
}

fn shuffle(items: &mut [Value], seed: u64) {
    let mut state = seed | 1;
    for position in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(position, (state >> 33) as usize % (position + 1));
    }
}

fn same_under_every_order(mut items: Vec<Value>, orders: u64) {
    let expected = dump(&input(items.clone()));
    for seed in 0..orders {
        shuffle(&mut items, seed);
        assert_eq!(dump(&input(items.clone())), expected, "seed {seed}");
    }
}

#[test]
fn the_order_of_the_shipped_exports_leaves_no_trace() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/snapshots/six-gpu-nodes.json");
    let export: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("shipped")).expect("JSON");
    same_under_every_order(export["items"].as_array().expect("items").clone(), 2);
}

#[test]
fn the_order_of_bad_and_double_objects_leaves_no_trace() {
    let mut newer = waiting("twice");
    newer["metadata"]["resourceVersion"] = json!("7");
    newer["spec"]["priority"] = json!(7);
    let mut older = newer.clone();
    older["metadata"]["resourceVersion"] = json!("6");
    older["spec"]["priority"] = json!(6);
    let budget = |name: &str| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": "ml"},
               "spec": {"selector": {}}, "status": {"disruptionsAllowed": 1}})
    };
    let items = vec![
        node("b", 1),
        node("a", 2),
        newer,
        older,
        running("r2", "a"),
        running("r1", "b"),
        budget("two"),
        budget("one"),
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "bad"}, "spec": 7}),
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "worse"}, "spec": {"nodeName": "a", "volumes": 7}}),
        json!(12),
    ];
    let read = input(items.clone());
    let twice = read.pending().iter().find(|pod| pod.pod.name == "twice").expect("plannable");
    assert_eq!(twice.priority, 7, "the newest copy counts");
    same_under_every_order(items, 16);
}
