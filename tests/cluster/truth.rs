//! The controller says what it does and what it does not, and the command line says the same.

use std::process::{Command, Output};

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::control_plane::{FLEET, Pace, eventually};
use super::installation::{ALL, Installation, PLUGINS, TAINT, at_once};
use super::work::{deployment, template};

const NODE: &str = "gpu-a";

/// Runs the program as the administrator: whether it ended well, and all that it said.
fn retile(cluster: &Installation, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retile"));
    command.args(arguments).arg("--kubeconfig").arg(cluster.plane.administrator_kubeconfig());
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    (status.success(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

async fn plans(cluster: &Installation) -> Vec<Value> {
    let listed = cluster.custom("MigPlan").list(&ListParams::default()).await.map(|list| list.items);
    let whole = |plan: kube::api::DynamicObject| json!({"name": plan.metadata.name, "spec": plan.data["spec"], "status": plan.data["status"]});
    listed.unwrap_or_default().into_iter().map(whole).collect()
}

async fn plan_with(cluster: &Installation, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || plans(cluster).await.into_iter().find(|plan| wanted(plan))).await
}

/// An installation of a profile with a node whose two halves are free, and a pod that waits for a smaller instance.
async fn one_waits(overlay: &str, policy: &Value, plugin_tolerates: &[&str]) -> Option<Installation> {
    let mut cluster = Installation::make(overlay, policy).await?;
    cluster.plane.install_plugin_in(PLUGINS, &[(FLEET, ALL)], plugin_tolerates);
    cluster.add_node(NODE, &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    cluster.plane.apply(&deployment(&cluster.team, "small", 1, &template("small", ALL, Some("1g.5gb"))));
    Some(cluster)
}

// The program is waited for on the test's own thread, beside which the nodes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_left_alone_is_known_to_who_asks_and_mending_it_does_not_wait_for_the_period() {
    let mut policy = at_once("Recommend");
    policy["interval"] = json!("1h");
    let Some(cluster) = one_waits("act", &policy, &[]).await else { return };
    let file = cluster.plane.folder().join("plan.json").display().to_string();
    let planned = eventually("the pod waits, and the agent has reported", async || {
        let (done, said) = retile(&cluster, &["plan", "--live", "--save", &file]);
        (done && said.contains("1 GPU")).then_some(said)
    })
    .await;
    let why = "does not tolerate the taint retile.dev/repartitioning";
    let alone = |said: &str| said.contains("the controller leaves node gpu-a alone") && said.contains(why);
    assert!(alone(&planned), "{planned}");
    let (_, verified) = retile(&cluster, &["verify", &file, "--live"]);
    assert!(alone(&verified), "{verified}");
    let (_, explained) = retile(&cluster, &["explain", "gpu", "gpu-a/0", "--live"]);
    assert!(explained.contains("leaves its node alone") && explained.contains(why), "{explained}");
    let (done, refused) = retile(&cluster, &["apply", &file, "--yes"]);
    assert!(!done && refused.contains("leaves alone all that the plan changes") && refused.contains(why), "{refused}");
    assert!(plans(&cluster).await.is_empty(), "nothing was written");

    // Somebody hands it in all the same.
    let document = std::fs::read_to_string(&file).expect("it was saved");
    let plan = json!({
        "apiVersion": "retile.dev/v1alpha1", "kind": "MigPlan", "metadata": {"name": "by-hand"},
        "spec": {"fingerprint": "", "served": 1, "evicted": 0, "nodes": 1, "document": document,
            "approval": {"approved": true, "by": "a person"}}
    });
    cluster.plane.apply(&plan.to_string());
    let aside = plan_with(&cluster, "it is put aside", |plan| plan["status"]["phase"] == "Superseded").await;
    let detail = aside["status"]["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("nothing of it was carried out: node gpu-a: left alone: PolicyForbids"), "{detail}");
    assert!(detail.contains(why), "{detail}");

    cluster.plane.install_plugin_in(PLUGINS, &[(FLEET, ALL)], &[TAINT]);
    plan_with(&cluster, "the node is planned for once the plugin is mended", |plan| {
        plan["status"]["phase"] == "Proposed"
    })
    .await;
    refused_policies_are_told(&cluster).await;
}

/// A policy that the API server takes and retile cannot use is told on the policy itself.
async fn refused_policies_are_told(cluster: &Installation) {
    let windows = json!({"spec": {"windows": [{"start": "22:00", "duration": "6h", "zone": "Europe/Nowhere"}]}});
    let arguments = ["patch", "migpolicy", "default", "--type=merge", "--patch", &windows.to_string()];
    let (done, said) = cluster.plane.kubectl(&arguments, "");
    assert!(done, "{said}");
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let told = eventually("the policy is told that it is refused", async || {
        let events = events.list(&ListParams::default()).await.ok()?.items;
        events.into_iter().find(|event| event.reason.as_deref() == Some("RetilePolicyInvalid"))
    })
    .await;
    let regarding = told.regarding.expect("it is about something");
    assert_eq!((regarding.kind.as_deref(), regarding.name.as_deref()), (Some("MigPolicy"), Some("default")));
    let uid = cluster.custom("MigPolicy").get("default").await.expect("it is there").metadata.uid;
    assert_eq!((regarding.uid, told.type_.as_deref()), (uid, Some("Warning")));
    assert!(told.note.as_deref().is_some_and(|note| note.contains("Europe/Nowhere")), "{:?}", told.note);
}

#[tokio::test]
async fn what_the_profile_forbids_is_told_once_in_the_log_and_in_the_plan_and_is_no_start() {
    let Some(cluster) = one_waits("observe", &at_once("Recommend"), &[TAINT]).await else { return };
    let proposed = plan_with(&cluster, "a plan is proposed", |plan| plan["status"]["phase"] == "Proposed").await;
    let name = proposed["name"].as_str().expect("a name").to_owned();
    let word = json!({"spec": {"approval": {"approved": true, "by": "a person"}}}).to_string();
    let (done, said) = cluster.plane.kubectl(&["patch", "migplan", &name, "--type=merge", "--patch", &word], "");
    assert!(done, "{said}");
    let told = plan_with(&cluster, "the plan says what hinders it", |plan| {
        plan["status"]["detail"].as_str().is_some_and(|detail| detail.contains("cannot begin on gpu-a"))
    })
    .await;
    let detail = told["status"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("mignodes.retile.dev") && detail.contains("cannot patch"), "{detail}");
    let log = cluster.controllers[0].log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("WARN") && line.contains("write_spec")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in ["MigNode gpu-a", "cannot patch", "profile `reshape`"] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    assert!(!log.contains("operation starts"), "its claim was never written");
}
