//! The verbs of the command line that talk to a cluster, on a real control plane, as a person runs them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::control_plane::{ControlPlane, Pace, eventually};
use super::installation::{ALL, Installation, at_once};
use super::work::{deployment, ready, template};

const NODE: &str = "gpu-a";
/// A moment after everything here was made, so that a plan from an export and one from the cluster are about the same one.
const NOW: &str = "--now=2099-01-01T00:00:00Z";
/// What an export is made of, written as people do.
const KINDS: &str = "nodes,pods,pdb,priorityclasses,resourceslices,deviceclasses,mignodes,migpolicies";

/// Runs the program with a kubeconfig.
fn retile(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retile"));
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig);
    command.output().expect("the program starts")
}

/// What standard output says after a success.
fn answer(kubeconfig: &Path, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = retile(kubeconfig, arguments);
    assert!(
        status.success(),
        "{arguments:?}: {}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).expect("UTF-8")
}

/// What standard error says after a failure.
fn refusal(kubeconfig: &Path, arguments: &[&str]) -> String {
    let Output { status, stdout: _, stderr } = retile(kubeconfig, arguments);
    let said = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(status.code(), Some(1), "{arguments:?}: {said}");
    said
}

/// An installation with a node whose two halves are free, and a pod that waits for a smaller instance.
async fn one_waits(mode: &str) -> Option<Installation> {
    let mut cluster = Installation::make("act", &at_once(mode)).await?;
    cluster.add_node(NODE, &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    let mut pods = template("small", ALL, Some("1g.5gb"));
    pods["spec"]["containers"][0]["env"] = json!([{"name": "TOKEN", "value": "a-secret-value"}]);
    cluster.plane.apply(&deployment(&cluster.team, "small", 1, &pods));
    let kubeconfig = cluster.plane.administrator_kubeconfig();
    eventually("the pod waits, and the agent has reported", async || {
        let status: Value = serde_json::from_str(&answer(&kubeconfig, &["status", "-o", "json"])).expect("JSON");
        let reported = status["nodes"][0]["gpus"][0]["instances"].as_array().is_some_and(|all| all.len() == 2);
        (reported && status["waiting"].as_array().is_some_and(|all| all.len() == 1) && !status["leader"].is_null())
            .then_some(())
    })
    .await;
    Some(cluster)
}

// The program is waited for on the test's own thread, beside which the nodes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_plans_as_its_export_and_a_snapshot_tells_no_secrets() {
    let Some(cluster) = one_waits("Observe").await else { return };
    let (plane, kubeconfig) = (&cluster.plane, cluster.plane.administrator_kubeconfig());
    let (done, export) = plane.kubectl(&["get", KINDS, "-A", "-o", "json"], "");
    assert!(done && export.contains("a-secret-value"), "{export}");
    let file = |name: &str| plane.folder().join(name).display().to_string();
    std::fs::write(file("export.json"), &export).expect("the folder can be written");
    let live = answer(&kubeconfig, &["plan", "--live", "-o", "json", NOW]);
    let plan: Value = serde_json::from_str(&live).expect("JSON");
    assert_eq!(plan["summary"]["served_pods"], 1, "{live}");
    assert_eq!(plan["summary"]["placements_assumed"], false, "{live}");
    let offline = |export: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_retile")).args(["plan", "-o", "json", NOW, "-f", export]).output();
        String::from_utf8(output.expect("the program starts").stdout).expect("UTF-8")
    };
    assert_eq!(offline(&file("export.json")), live, "the cluster itself plans as its export");
    answer(&kubeconfig, &["snapshot", "-o", &file("snapshot.json")]);
    let snapshot = std::fs::read_to_string(file("snapshot.json")).expect("it was written");
    assert_eq!(offline(&file("snapshot.json")), live, "and so does a snapshot");
    for secret in ["a-secret-value", "TOKEN", "\"image\"", "serviceAccount", "kube-api-access"] {
        assert!(export.contains(secret), "{secret} is no test");
        assert!(!snapshot.contains(secret), "{secret}");
    }
    let pod = plan["served"][0]["pod"].as_str().expect("a name").to_owned();
    assert!(answer(&kubeconfig, &["explain", "pod", &pod, "--live"]).contains(&pod));
    assert!(answer(&kubeconfig, &["explain", "gpu", "gpu-a/0", "--live"]).contains("3g.20gb"));

    let status = answer(&kubeconfig, &["status"]);
    for part in ["Policy default: Observe", "Leader controller-1", "1 node, 1 GPU in MIG mode", "[3g.20gb free"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    assert_eq!(answer(&kubeconfig, &["top", "--once"]).lines().next(), status.lines().next());
    let doctor = answer(&kubeconfig, &["doctor"]);
    for part in [
        "mignodes.retile.dev v1alpha1",
        "1 agent reported",
        "1 of 1 capable node opted in",
        "retile-agent-own-node",
        "0 failures",
    ] {
        assert!(doctor.contains(part), "{part}: {doctor}");
    }
}

// The program is waited for on the test's own thread, beside which the nodes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_handed_in_and_carried_out_and_refused_once_the_world_has_moved() {
    let Some(cluster) = one_waits("Recommend").await else { return };
    let (plane, kubeconfig) = (&cluster.plane, cluster.plane.administrator_kubeconfig());
    let file = plane.folder().join("plan.json").display().to_string();
    answer(&kubeconfig, &["plan", "--live", "--save", &file]);
    let approved = || {
        let (_, listed) = plane.kubectl(&["get", "migplans", "-o", "json"], "");
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        let plans = listed["items"].as_array().expect("a list").clone();
        plans.into_iter().filter(|plan| plan["spec"]["approval"]["approved"] == true).collect::<Vec<_>>()
    };

    let asked = refusal(&kubeconfig, &["apply", &file]);
    assert!(asked.contains("nobody can be asked"), "{asked}");
    let tried = answer(&kubeconfig, &["apply", &file, "--dry-run=server"]);
    assert!(tried.contains("server dry run"), "{tried}");
    let nobody = plane.kubeconfig("nobody", &plane.token(&cluster.team, "default").await);
    let forbidden = refusal(&nobody, &["apply", &file, "--yes"]);
    assert!(
        forbidden.contains("not allowed to list mignodes.retile.dev") && forbidden.contains("retile-viewer"),
        "{forbidden}"
    );
    let patch = |spec: Value| {
        let document = json!({"spec": spec}).to_string();
        let (done, said) = plane.kubectl(&["patch", "migpolicy", "default", "--type=merge", "-p", &document], "");
        assert!(done, "{said}");
    };
    for (spec, words) in
        [(json!({"mode": "Observe"}), "the mode Observe"), (json!({"mode": "Recommend", "paused": true}), "paused")]
    {
        patch(spec);
        let refused = refusal(&kubeconfig, &["apply", &file, "--yes"]);
        assert!(refused.contains(words), "{words}: {refused}");
    }
    patch(json!({"mode": "Recommend", "paused": false}));
    assert!(approved().is_empty(), "nothing was written");

    let told = answer(&kubeconfig, &["apply", &file, "--yes", "--wait", "--timeout", "240"]);
    for part in ["created, approved", "Executing: operations: ", "node/gpu-a", " Done\n", "Finished"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    ready(&cluster.pods(), "small", 1).await;
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await, ["Done"]);
    let plans = approved();
    assert_eq!(plans.len(), 1, "{plans:#?}");
    assert_eq!(plans[0]["spec"]["approval"]["by"], "administrator", "{plans:#?}");

    let moved = refusal(&kubeconfig, &["apply", &file, "--yes"]);
    assert!(moved.contains("the world has moved") && moved.contains("node gpu-a, GPU 0"), "{moved}");
    assert_eq!(approved().len(), 1, "nothing was written");
}

// The program is waited for on the test's own thread, beside which the nodes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_without_retile_the_verbs_say_what_there_is() {
    let Some(plane) = ControlPlane::start().await else { return };
    let kubeconfig = plane.administrator_kubeconfig();
    let doctor = answer(&kubeconfig, &["doctor"]);
    assert!(doctor.contains("not installed: no custom resources of retile.dev"), "{doctor}");
    assert!(doctor.contains("none of 0 nodes is labelled"), "{doctor}");
    let status = answer(&kubeconfig, &["status"]);
    assert!(status.starts_with("retile is not installed here"), "{status}");
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "plain"}});
    plane.apply(&node.to_string());
    let plan = answer(&kubeconfig, &["plan", "--live"]);
    assert!(plan.contains("nothing"), "{plan}");
    let nobody = plane.kubeconfig("nobody", &plane.token("default", "default").await);
    let forbidden = refusal(&nobody, &["plan", "--live"]);
    assert!(forbidden.contains("not allowed to list nodes") && forbidden.contains("`list` on `nodes`"), "{forbidden}");
    let stranger = plane.kubeconfig("stranger", "no-such-token");
    let unknown = refusal(&stranger, &["snapshot"]);
    assert!(unknown.contains("does not know who asks"), "{unknown}");
    plane.kill_api_server();
    let gone = refusal(&kubeconfig, &["status"]);
    assert!(gone.contains("no usable answer") && gone.contains("/readyz"), "{gone}");
}
