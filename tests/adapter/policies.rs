//! Schema and parser agree about what a policy is; plans never change once they are published.

use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use retile::exec::port::ClusterError;
use retile::kube::crd::{MigPlan, PlanPhase};
use retile::kube::live::{KEPT, Writes, plans, publish, put_aside, set_phase};
use retile::kube::policy::parse_policy_document;
use retile::plan::Plan;
use serde_json::json;

use super::scene::{plane, server};

/// Specs of policies, and whether they are good.
const SPECS: &[(&str, bool)] = &[
    ("{}", true),
    ("{mode: Act}", true),
    ("{mode: act}", false),
    ("{mood: Act}", false),
    ("{paused: true}", true),
    ("{interval: 5m}", true),
    ("{interval: 1h30m}", true),
    ("{interval: 1.5h}", true),
    ("{interval: \"5\"}", false),
    ("{interval: 1d}", false),
    ("{interval: -5m}", false),
    ("{disruption: {level: Aggressive, gainFactor: \"1.5\"}}", true),
    ("{disruption: {gainFactor: \"0\"}}", true),
    ("{disruption: {gainFactor: \"-1\"}}", false),
    ("{disruption: {gainFactor: \"1.2345\"}}", false),
    ("{disruption: {gainFactor: \"1001\"}}", false),
    ("{disruption: {moveCost: {perRunningHour: 1, perJobHour: 1000}}}", true),
    ("{disruption: {moveCost: {}}}", true),
    ("{disruption: {moveCost: {perRunningHour: 1001}}}", false),
    ("{disruption: {moveCost: {perJobHour: -1}}}", false),
    ("{disruption: {moveCost: {perDay: 1}}}", false),
    ("{disruption: {level: Wild}}", false),
    ("{objective: {weight: Slices}}", true),
    ("{objective: {weight: Pods}}", true),
    ("{objective: {}}", true),
    ("{objective: {weight: pods}}", false),
    ("{objective: {weight: 2}}", false),
    ("{objective: {size: Pods}}", false),
    ("{clients: restart}", true),
    ("{clients: operator-pause}", true),
    ("{clients: OperatorPause}", false),
    ("{clients: pause}", false),
    ("{budgets: {nodes: 10%, gpus: 3, evictionsPerCycle: 5}}", true),
    ("{budgets: {nodes: 100%}}", true),
    ("{budgets: {nodes: 150%}}", false),
    ("{budgets: {nodes: -1}}", false),
    ("{budgets: {gpus: ten}}", false),
    ("{budgets: {evictionsPerCycle: -7}}", false),
    ("{stability: {minPendingAge: 0s, gpuCoolDown: 10m, podMoveCap: 1}}", true),
    ("{stability: {gpuCoolDown: soon}}", false),
    ("{windows: [{days: [Sat, Sun], start: \"22:00\", duration: 6h, zone: Europe/Berlin}]}", true),
    ("{windows: [{start: \"00:00\", duration: 30m}]}", true),
    ("{windows: [{start: \"24:00\", duration: 30m}]}", false),
    ("{windows: [{days: [Monday], start: \"22:00\", duration: 30m}]}", false),
    ("{windows: [{start: \"22:00\"}]}", false),
    ("{nodeSelector: {matchLabels: {pool: a}}, podSelector: {matchLabels: {b: c}}}", true),
    ("{nodeSelector: {matchExpressions: []}}", false),
    ("{protectedNamespaces: [databases]}", true),
    ("{prices: {currency: USD, models: {A100-80GB: {purchase: 15000, amortisationMonths: 36}}}}", true),
];

#[tokio::test]
async fn the_api_server_takes_what_the_parser_reads_and_nothing_else() {
    let Some(plane) = plane().await else { return };
    for (spec, good) in SPECS {
        let text =
            format!("apiVersion: retile.dev/v1alpha1\nkind: MigPolicy\nmetadata: {{name: default}}\nspec: {spec}\n");
        let parsed = parse_policy_document(&text);
        assert_eq!(parsed.is_ok(), *good, "the parser: {spec}: {parsed:?}");
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let (taken, told) = plane.kubectl(&arguments, &text);
        assert_eq!(taken, *good, "the API server: {spec}: {told}");
    }
}

fn plan(number: u64) -> Plan {
    let text = json!({
        "format_version": 1, "producer": "test", "input_fingerprint": format!("{number:064}"), "disruption": "balanced",
        "optimality": {"status": "optimal", "levels": []},
        "summary": {"pending_pods": 1, "served_pods": 1, "evicted_pods": 0, "nodes_changed": 1, "gpus_changed": 1,
            "instances_destroyed": 1, "instances_created": 1, "placements_assumed": false},
        "nodes": [], "served": [], "unserved": [],
    });
    retile::plan::from_json(&text.to_string(), "the test").expect("a plan")
}

#[tokio::test]
async fn plans_are_published_once_kept_in_number_and_never_changed() {
    let Some(plane) = plane().await else { return };
    let server = server(&plane, Writes::Allowed).await;
    let first = publish(&server, &plan(0), "serves one pod").await.expect("published");
    let again = publish(&server, &plan(0), "serves one pod").await.expect("published before");
    assert_eq!((&again.name, again.approved), (&first.name, false));
    assert_eq!(retile::plan::from_json(&first.document, "the object").expect("a plan"), plan(0));

    let api: Api<MigPlan> = Api::all(plane.administrator().await);
    let patch = |json: serde_json::Value| {
        let (api, name) = (api.clone(), first.name.clone());
        async move { api.patch(&name, &PatchParams::default(), &Patch::Merge(&json)).await }
    };
    patch(json!({"spec": {"document": "another"}})).await.expect_err("a plan never changes");
    patch(json!({"spec": {"approval": {"approved": true, "by": "me"}}})).await.expect("people approve");
    let operations = ["op-1".to_owned()];
    set_phase(&server, &first.name, PlanPhase::Executing, "", Some(&operations)).await.expect("written");

    for number in 1..=KEPT as u64 + 3 {
        publish(&server, &plan(number), "").await.expect("published");
    }
    let kept = plans(&server).await.expect("listed");
    assert_eq!(kept.len(), KEPT);
    let executing = kept.iter().find(|plan| plan.name == first.name).expect("what is under way stays");
    assert!(executing.approved && executing.phase == Some(PlanPhase::Executing));
    assert_eq!(api.list(&ListParams::default()).await.expect("listed").items.len(), KEPT);

    // Once it is over, the word that a person gave to it counts for no other, though that says the same.
    set_phase(&server, &first.name, PlanPhase::Finished, "over", None).await.expect("written");
    let next = publish(&server, &plan(0), "serves one pod").await.expect("published");
    assert!(next.name != first.name && !next.approved, "{next:?}");
    assert_eq!(publish(&server, &plan(0), "serves one pod").await.expect("published before").name, next.name);
    let over = plans(&server).await.expect("listed").into_iter().find(|plan| plan.name == first.name);
    assert!(over.is_none_or(|over| over.operations == operations), "they stay in its status");
    // Whoever approves a proposal comes before whoever puts it aside as it was read earlier.
    let patch = |json: serde_json::Value| {
        let (api, name) = (api.clone(), next.name.clone());
        async move { api.patch(&name, &PatchParams::default(), &Patch::Merge(&json)).await }
    };
    let find = async |name: &str| plans(&server).await.expect("listed").into_iter().find(|plan| plan.name == name);
    let read = find(&next.name).await.expect("it is there");
    patch(json!({"spec": {"approval": {"approved": true, "by": "me"}}})).await.expect("people approve");
    assert_eq!(put_aside(&server, &read, "nothing is to be changed").await, Err(ClusterError::Conflict));
    let approved = find(&next.name).await.expect("it is there");
    put_aside(&server, &approved, "nothing is to be changed").await.expect("nothing to do");
    assert!(find(&next.name).await.is_some_and(|plan| plan.is_proposed() && plan.approved), "the word counts");
    let proposal = plan(1);
    let proposal = publish(&server, &proposal, "").await.expect("published");
    put_aside(&server, &find(&proposal.name).await.expect("it is there"), "late").await.expect("written");
    assert_eq!(find(&proposal.name).await.and_then(|plan| plan.phase), Some(PlanPhase::Superseded));

    set_phase(&server, "gone", PlanPhase::Finished, "", None).await.expect("a plan that is gone needs no word");
}
