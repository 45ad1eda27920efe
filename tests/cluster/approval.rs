//! Plans that wait for a person's word.

use kube::api::ListParams;
use serde_json::{Value, json};

use super::control_plane::{Pace, eventually};
use super::installation::{ALL, Installation, at_once};
use super::work::{deployment, ready, template};

const NODE: &str = "gpu-a";
const CONTROLLER: &str = "system:serviceaccount:retile-system:retile-controller";

/// A plan as it is published: its name, and its status.
async fn plans(cluster: &Installation) -> Vec<(String, Value)> {
    let plans = cluster.custom("MigPlan").list(&ListParams::default()).await.map(|list| list.items);
    let named = |plan: kube::api::DynamicObject| (plan.metadata.name.unwrap_or_default(), plan.data["status"].clone());
    plans.unwrap_or_default().into_iter().map(named).collect()
}

async fn in_phase(cluster: &Installation, phase: &str) -> Option<(String, Value)> {
    plans(cluster).await.into_iter().find(|(_, status)| status["phase"] == phase)
}

async fn status_of(cluster: &Installation, plan: &str) -> Value {
    plans(cluster).await.into_iter().find(|(name, _)| name == plan).map(|(_, status)| status).unwrap_or_default()
}

fn approve(cluster: &Installation, plan: &str) {
    let word = json!({"spec": {"approval": {"approved": true, "by": "a person"}}}).to_string();
    let (done, said) = cluster.plane.kubectl(&["patch", "migplan", plan, "--type=merge", "--patch", &word], "");
    assert!(done, "{said}");
}

/// What the controller has written beside leases, events and its plans.
fn written(cluster: &Installation) -> Vec<(String, String)> {
    let asked = cluster.plane.audited_of(CONTROLLER).into_iter().filter(super::control_plane::Audited::writes);
    let others = asked.filter(|asked| {
        !matches!(asked.resource.as_str(), "leases" | "events" | "migplans" | "migplans/status" | "migpolicies/status")
    });
    others.map(|asked| (asked.verb, asked.resource)).collect()
}

#[tokio::test]
async fn a_plan_is_carried_out_once_a_person_says_so_and_only_while_it_holds() {
    let policy = at_once("Recommend");
    let Some(mut cluster) = Installation::make("act", &policy).await else { return };
    cluster.add_node(NODE, &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    // The first plan is overtaken: whoever it was for is gone when the word comes.
    cluster.plane.apply(&deployment(&cluster.team, "gone", 1, &template("gone", ALL, Some("2g.10gb"))));
    let (overtaken, _) = eventually("a plan is proposed", async || {
        cluster.controllers[0].must_run();
        in_phase(&cluster, "Proposed").await
    })
    .await;
    assert_eq!(written(&cluster), [], "nothing is changed without a person's word");
    policies_say_how_they_are_received(&cluster).await;
    let (done, said) = cluster.plane.kubectl(&["-n", &cluster.team, "delete", "deployment", "gone", "--wait"], "");
    assert!(done, "{said}");
    eventually("the pod is gone", async || {
        super::work::pods_of(&cluster.pods(), "gone").await.is_empty().then_some(())
    })
    .await;
    approve(&cluster, &overtaken);
    eventually("the plan is refused, with the reason", async || {
        let status = status_of(&cluster, &overtaken).await;
        (status["phase"] == "Superseded" && status["detail"].as_str()?.contains("the world has moved")).then_some(())
    })
    .await;
    assert_eq!(written(&cluster), []);
    cluster.plane.apply(&deployment(&cluster.team, "small", 1, &template("small", ALL, Some("1g.5gb"))));
    let (plan, _) = eventually("another plan is proposed", async || in_phase(&cluster, "Proposed").await).await;
    assert_eq!(written(&cluster), []);
    approve(&cluster, &plan);
    ready(&cluster.pods(), "small", 1).await;
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await, ["Done"]);
    eventually("the plan is finished", async || {
        (status_of(&cluster, &plan).await["phase"] == "Finished").then_some(())
    })
    .await;
}

/// Of two policies one counts, and both say so.
async fn policies_say_how_they_are_received(cluster: &Installation) {
    let other = json!({
        "apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "other"}, "spec": {"mode": "Act"}
    });
    cluster.plane.apply(&other.to_string());
    for (name, expected) in [("default", ["True", "InForce"]), ("other", ["False", "AnotherCounts"])] {
        eventually(&format!("the policy {name} says how it is received"), async || {
            let status = cluster.custom("MigPolicy").get(name).await.ok()?.data["status"].clone();
            let accepted = &status["conditions"][0];
            (accepted["type"] == "Accepted" && [&accepted["status"], &accepted["reason"]] == expected).then_some(())
        })
        .await;
    }
    let status = cluster.custom("MigPolicy").get("default").await.expect("it is there").data["status"].clone();
    // Which plan is told depends on the moment: one in a minute.
    assert!(status["mode"] == "Recommend" && status["lastPlan"]["time"].is_string(), "{status:#}");
    let (done, said) = cluster.plane.kubectl(&["delete", "migpolicy", "other"], "");
    assert!(done, "{said}");
}
