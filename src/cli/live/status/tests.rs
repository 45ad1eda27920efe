//! A status from fixed objects, as text; and what is said where something is missing.

use serde_json::{Value, json};

use super::{Status, render};
use crate::kube::live::installed::{Installed, WaitingPod};

/// Ten minutes after the objects were made.
const NOW: i64 = 1_767_226_200;
const MADE: &str = "2026-01-01T00:00:00Z";

fn node(name: &str, spec: &Value, instances: &Value) -> Value {
    json!({
        "apiVersion": "retile.dev/v1alpha1", "kind": "MigNode",
        "metadata": {"name": name, "creationTimestamp": MADE, "managedFields": [
            {"manager": "retile-agent", "subresource": "status", "time": "2026-01-01T00:09:55Z"}]},
        "spec": spec,
        "status": {
            "nodeName": name, "gpuCount": 1, "layout": "…", "phase": "Accepted", "waitingOn": "the controller: drain",
            "gpus": [{"index": 0, "uuid": "GPU-0", "model": "NVIDIA A100-SXM4-40GB", "migMode": "Enabled", "instances": instances}],
        },
    })
}

fn installed() -> Installed {
    let operation = json!({
        "id": "op-1", "epoch": 1, "protocol": 1, "nodeUid": "u", "steps": [], "residents": [], "phase": "Draining",
        "gpus": [{"uuid": "GPU-0", "index": 0, "base": [], "target": []}],
        "victims": [{"pod": {"namespace": "ml", "name": "v"}}], "beneficiaries": [{"namespace": "ml", "name": "p"}],
    });
    let history =
        json!([{"id": "op-0", "epoch": 1, "gpus": ["GPU-0"], "outcome": "RolledBack", "detail": "the driver refused"}]);
    let instances = json!([
        {"profile": "3g.20gb", "start": 0, "size": 4, "occupancy": "busy"},
        {"profile": "1g.5gb", "start": 4, "size": 1, "occupancy": "free"},
    ]);
    let policy = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "default"},
        "spec": {"mode": "Act", "paused": true, "disruption": {"level": "Balanced"}}});
    let document = include_str!("../../../../testdata/plans/valid/nothing-changes.json");
    let plan = json!({
        "apiVersion": "retile.dev/v1alpha1", "kind": "MigPlan",
        "metadata": {"name": "plan-1", "creationTimestamp": "2026-01-01T00:08:00Z"},
        "spec": {"fingerprint": "f", "served": 0, "evicted": 0, "nodes": 0, "summary": "serves nobody", "document": document},
        "status": {"phase": "Proposed"},
    });
    Installed {
        now: NOW,
        nodes: Some(vec![
            node("gpu-a", &json!({"operation": operation, "history": history}), &instances),
            node("gpu-b", &json!({}), &json!([])),
        ]),
        policies: Some(vec![policy]),
        plans: Some(vec![plan]),
        lease: Ok(Some(
            json!({"spec": {"holderIdentity": "controller-1", "renewTime": "2026-01-01T00:09:58.000000Z"}}),
        )),
        waiting: Ok(vec![WaitingPod { created: Some(NOW - 90), name: "ml/p".into(), wants: "7g.40gb".into() }]),
    }
}

fn plain(status: &Status) -> String {
    anstream::adapter::strip_str(&render(status)).to_string()
}

#[test]
fn everything_stands_where_people_look() {
    let expected = "\
Policy default: Act, balanced, paused: nothing new starts
Leader controller-1, lease renewed 2s ago
2 nodes, 2 GPUs in MIG mode, 1 operation under way, 1 pod waiting

NODE   GPUS  OPERATION  AGENT     WAITING ON             REPORT  AGE  LAST
gpu-a  1     Draining   Accepted  the controller: drain  5s      10m  RolledBack: the driver refused
gpu-b  1     -          Accepted  -                      5s      10m  -

gpu-a  op-1 Draining: GPU 0, evicts 1 pod, for 1 waiting pod, waits for the controller: drain
   0 [3g.20gb busy #############][1g   ]   .      .      .

gpu-b
   0    .      .      .      .      .      .      .      .

Waiting, by what plan-1 says: 1 NotPlannedYet
WAITING POD  WANTS    FOR  PLAN SAYS
ml/p         7g.40gb  90s  NotPlannedYet
`retile explain pod NAMESPACE/NAME --live` says why one waits of which no plan says it

PLAN    PHASE     APPROVED  AGE  WHAT
plan-1  Proposed  no        2m   serves nobody
";
    assert_eq!(plain(&Status::of(&installed())), expected);
}

#[test]
fn without_retile_it_says_what_works_and_what_is_missing() {
    let nothing = Installed { nodes: None, policies: None, plans: None, lease: Ok(None), ..installed() };
    let text = plain(&Status::of(&nothing));
    assert!(text.starts_with("retile is not installed here"), "{text}");
    assert!(text.contains("plan --live") && text.contains("doctor"), "{text}");
}

#[test]
fn without_a_controller_or_agents_it_says_so() {
    let idle = Installed { nodes: Some(Vec::new()), policies: Some(Vec::new()), lease: Ok(None), ..installed() };
    let text = plain(&Status::of(&idle));
    for part in ["Policy: none, as Observe", "Leader: none;", "No node has reported"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let mut broken = installed();
    broken.nodes = Some(vec![json!({"metadata": {"name": "gpu-x"}, "spec": 1})]);
    broken.waiting = Err("list pods: forbidden".into());
    let text = plain(&Status::of(&broken));
    assert!(text.contains("cannot be read: MigNode gpu-x"), "{text}");
    assert!(text.contains("Waiting pods are not known: list pods: forbidden"), "{text}");
}

#[test]
fn who_leads_is_not_known_where_it_may_not_be_read() {
    let text = plain(&Status::of(&Installed { lease: Err("forbidden: get leases".into()), ..installed() }));
    assert!(text.contains("Leader: not known: forbidden: get leases"), "{text}");
}

#[test]
fn what_is_superseded_or_over_says_nothing_of_who_waits() {
    for (phase, in_force) in [("Proposed", true), ("Executing", true), ("Finished", false), ("Superseded", false)] {
        let mut all = installed();
        let plan = &mut all.plans.as_mut().expect("there are plans")[0];
        plan["status"]["phase"] = json!(phase);
        let mut document: Value = serde_json::from_str(plan["spec"]["document"].as_str().expect("text")).expect("JSON");
        document["unserved"] = json!([{"pod": "ml/p", "reason": "BlockedByPod", "detail": "why", "action": "do"}]);
        plan["spec"]["document"] = json!(document.to_string());
        let status = Status::of(&all);
        assert_eq!(status.plan_in_force.is_some(), in_force, "{phase}");
        let expected = if in_force { "BlockedByPod" } else { "NotPlannedYet" };
        assert_eq!(status.waiting[0].reason, expected, "{phase}");
        let text = plain(&status);
        assert_eq!(text.contains("Waiting, no plan being in force: 1 NotPlannedYet"), !in_force, "{text}");
        assert_eq!(text.contains("retile explain pod"), !in_force, "{text}");
    }
}
