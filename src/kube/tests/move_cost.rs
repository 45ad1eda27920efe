//! What moves cost: annotations and the policy, through the entrance and into the fingerprint.

use serde_json::{Value, json};

use super::*;
use crate::plan::fingerprint;

fn annotated(name: &str, cost: &str) -> Value {
    let mut pod = running(name, "n");
    pod["metadata"]["annotations"] = json!({"retile.dev/move-cost": cost});
    pod
}

/// A pod of a Job that has run for 2 hours and 59 minutes when `clock` was last heard of.
fn job(name: &str) -> Value {
    let mut pod = running(name, "n");
    pod["metadata"]["ownerReferences"] = json!([{"kind": "Job", "name": "job", "controller": true}]);
    pod["status"]["startTime"] = json!("2026-01-01T00:01:00Z");
    pod
}

/// A waiting pod by which the export is of three o'clock.
fn clock() -> Value {
    let mut pod = waiting("clock");
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T03:00:00Z");
    pod
}

fn costs(input: &PlanningInput) -> Vec<(&str, u32)> {
    input.running().iter().map(|pod| (pod.pod.name.as_str(), pod.cost)).collect()
}

fn export() -> Vec<Value> {
    vec![
        node("n", 1),
        annotated("dear", "250"),
        annotated("odd", "dear"),
        running("plain", "n"),
        job("training"),
        clock(),
    ]
}

#[test]
fn a_pod_says_what_its_move_costs_and_nonsense_is_told() {
    let input = input(export());
    assert_eq!(costs(&input), [("dear", 250), ("odd", 1), ("plain", 1), ("training", 1)]);
    let found = finding(&input, "Pod ml/odd");
    assert!(found.contains("retile.dev/move-cost (dear)") && found.contains("from 1 to 1000"), "{found}");
    assert_eq!(finding(&input, "Pod ml/dear"), "");
}

#[test]
fn a_policy_adds_to_it_by_the_hour() {
    let under = |cost: &str| under_policy(export(), &format!("{{disruption: {{moveCost: {cost}}}}}"));
    let input = under("{perRunningHour: 2, perJobHour: 10}");
    assert_eq!(costs(&input), [("dear", 256), ("odd", 7), ("plain", 7), ("training", 25)]);
    assert_eq!(costs(&under("{}")), [("dear", 250), ("odd", 1), ("plain", 1), ("training", 1)]);
}

#[test]
fn another_cost_is_another_fingerprint_and_the_same_cost_is_not() {
    let print = |cost: &str| fingerprint(&input([node("n", 1), annotated("p", cost)]));
    assert_eq!(print("1"), fingerprint(&input([node("n", 1), running("p", "n")])));
    assert_eq!(print("7"), print("007"));
    assert_ne!(print("1"), print("2"));
    let under = |cost: &str| fingerprint(&under_policy(export(), &format!("{{disruption: {{moveCost: {cost}}}}}")));
    assert_eq!(under("{perRunningHour: 0}"), under("{}"));
    assert_ne!(under("{perRunningHour: 1}"), under("{}"));
    assert_ne!(under("{perJobHour: 1}"), under("{}"));
}
