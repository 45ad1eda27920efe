//! The real controller and the real agent on a real control plane, from a pod that waits to a pod that runs.

use std::io::Write as _;

use kube::api::ListParams;
use serde_json::{Value, json};

use super::control_plane::{Pace, eventually};
use super::course::Course;
use super::installation::{ALL, Installation, at_once};
use super::work::{deployment, name, pods_of, ready, template};

const NODE: &str = "gpu-a";

/// A node whose two halves are free and of the wrong size.
async fn two_free_halves(policy: &Value) -> Option<Installation> {
    let mut cluster = Installation::make("act", policy).await?;
    cluster.add_node(NODE, &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    Some(cluster)
}

fn small(cluster: &Installation, replicas: u32) {
    let pods = template("small", ALL, Some("1g.5gb"));
    cluster.plane.apply(&deployment(&cluster.team, "small", replicas, &pods));
}

#[tokio::test]
async fn free_instances_are_reshaped_for_a_pod_that_waits() {
    let Some(mut cluster) = two_free_halves(&at_once("Act")).await else { return };
    let mut course = Course::begin();
    small(&cluster, 1);
    let pod = eventually("the pod is made", async || pods_of(&cluster.pods(), "small").await.pop()).await;
    eventually("the pod runs and the node is released", async || {
        cluster.controllers[0].must_run();
        cluster.agents[0].must_run();
        course.look(&cluster, NODE, name(&pod)).await;
        (course.has("pod: ready") && course.has("controller: released")).then_some(())
    })
    .await;
    let _ = writeln!(std::io::stderr(), "from pending to bound, free instances:\n{}", course.table());
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await, ["Done"]);
    let layout = cluster.nodes[0].layout(0);
    assert!(layout.iter().any(|place| place.starts_with("1g.5gb@")), "{layout:?}");
    assert!(layout.iter().any(|place| place.starts_with("3g.20gb@")), "one half is enough: {layout:?}");
    eventually("the record says that nothing goes on any more", async || {
        let record = cluster.record(NODE).await?;
        let status = &record["status"];
        (status["phase"] == "Idle" && status["waitingOn"] == "").then_some(())
    })
    .await;
    let (plan, operations) = eventually("the plan that was carried out is finished", async || {
        cluster.controllers[0].must_run();
        let plans = cluster.custom("MigPlan").list(&ListParams::default()).await.ok()?.items;
        let status = plans.into_iter().find(|plan| plan.data["status"]["phase"] == "Finished")?.data["status"].clone();
        Some((status["detail"].clone(), status["operations"].clone()))
    })
    .await;
    assert_eq!(plan, "all its operations are over: 1 done");
    let record = cluster.record(NODE).await.expect("the agent reports");
    assert_eq!(operations, json!([record["spec"]["history"][0]["id"]]));
}

#[tokio::test]
async fn pods_of_one_apply_are_served_by_one_operation_on_as_few_gpus_as_suffice() {
    let mut policy = at_once("Act");
    policy["interval"] = json!("1m");
    policy["stability"] = json!({"minPendingAge": "10s", "gpuCoolDown": "10m"});
    let Some(mut cluster) = Installation::make("act", &policy).await else { return };
    let board: (&str, &[(&str, u32)]) = ("A100-40GB", &[]);
    cluster.add_node(NODE, &[board; 4], Pace::default()).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    eventually("the loop has planned, for nobody yet", async || {
        cluster.controllers[0].must_run();
        let policy = cluster.custom("MigPolicy").get("default").await.ok()?;
        policy.data["status"]["lastPlan"].is_object().then_some(())
    })
    .await;
    // Four of them fill a GPU.
    let pods = template("burst", ALL, Some("1g.10gb"));
    cluster.plane.apply(&deployment(&cluster.team, "burst", 8, &pods));
    ready(&cluster.pods(), "burst", 8).await;
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await, ["Done"]);
    let layouts: Vec<Vec<String>> = (0..4).map(|board| cluster.nodes[0].layout(board)).collect();
    assert_eq!(layouts.iter().filter(|layout| !layout.is_empty()).count(), 2, "{layouts:?}");
}

#[tokio::test]
async fn killed_in_the_middle_both_programs_finish_what_they_find() {
    let Some(mut cluster) = two_free_halves(&at_once("Act")).await else { return };
    small(&cluster, 1);
    // Each phase is a place to be killed at; what comes back must find its way from there.
    for phase in ["Drained", "Restarting"] {
        eventually(&format!("the operation is {phase} or further"), async || {
            let record = cluster.record(NODE).await?;
            let now = record["spec"]["operation"]["phase"].as_str().unwrap_or_default().to_owned();
            (now == phase || record["spec"]["history"].is_array()).then_some(())
        })
        .await;
        let [autoscaler, karpenter, record] = cluster.protection(NODE).await;
        // It may be over already on a machine that is slow to look.
        if record.is_some() {
            assert_eq!((autoscaler.as_deref(), karpenter.as_deref()), (Some("true"), Some("true")), "{record:?}");
        }
        cluster.agents[0].kill();
        cluster.controllers[0].kill();
        cluster.agents[0] = cluster.agent(NODE).await;
        cluster.controllers[0] = cluster.controller(&format!("controller-after-{}", phase.to_lowercase())).await;
    }
    ready(&cluster.pods(), "small", 1).await;
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await, ["Done"]);
}

#[tokio::test]
async fn an_api_server_that_goes_away_in_the_middle_is_waited_for() {
    let Some(mut cluster) = two_free_halves(&at_once("Act")).await else { return };
    small(&cluster, 1);
    eventually("an operation is under way", async || {
        let record = cluster.record(NODE).await?;
        record["spec"]["operation"].is_object().then_some(())
    })
    .await;
    cluster.plane.kill_api_server();
    cluster.plane.start_api_server().await;
    // A leader that could not renew its lease ends, and whoever runs it starts it again.
    if cluster.controllers[0].ended().is_some() {
        cluster.controllers[0] = cluster.controller("controller-2").await;
    }
    ready(&cluster.pods(), "small", 1).await;
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await.first().map(String::as_str), Some("Done"));
    cluster.agents[0].must_run();
}

/// Since when savings are counted, and for how many milliseconds, as the policy keeps them.
async fn savings(cluster: &Installation) -> Option<(String, u64)> {
    let policy = cluster.custom("MigPolicy").get("default").await.ok()?;
    let savings = &policy.data["status"]["savings"];
    Some((savings["since"].as_str()?.to_owned(), savings["models"][0]["elapsedMs"].as_u64()?))
}

/// Two that want to lead: one does, and the other takes over when that one is killed.
#[tokio::test]
async fn of_two_controllers_one_leads_and_the_other_takes_over() {
    let Some(mut cluster) = two_free_halves(&at_once("Act")).await else { return };
    let second = cluster.controller("controller-2").await;
    cluster.controllers.push(second);
    small(&cluster, 1);
    ready(&cluster.pods(), "small", 1).await;
    cluster.released(NODE).await;
    assert_eq!(cluster.outcomes(NODE).await, ["Done"], "two leaders would have operated twice");
    let (since, _) = eventually("the leader keeps what it has counted", async || savings(&cluster).await).await;
    let holder = cluster.leader().await.expect("somebody leads");
    let leader = usize::from(holder.starts_with("controller-2"));
    cluster.controllers[leader].kill();
    let (_, before) = savings(&cluster).await.expect("what was kept stays");
    small(&cluster, 6);
    ready(&cluster.pods(), "small", 6).await;
    cluster.released(NODE).await;
    assert!(cluster.outcomes(NODE).await.iter().all(|outcome| outcome == "Done"));
    let (still_since, after) = eventually("the next leader goes on with it", async || {
        savings(&cluster).await.filter(|(_, elapsed)| *elapsed > before)
    })
    .await;
    assert_eq!(still_since, since, "{before} ms, then {after} ms");
}

/// The API server's own account of what the two programs asked for.
#[tokio::test]
async fn observing_changes_neither_node_nor_pod_nor_board() {
    let mut policy = at_once("Act");
    policy["mode"] = json!("Observe");
    let Some(cluster) = two_free_halves(&policy).await else { return };
    small(&cluster, 1);
    let controller = "system:serviceaccount:retile-system:retile-controller";
    eventually("it has planned for the pod", async || {
        let told = cluster.plane.audited_of(controller);
        told.iter().any(|asked| asked.resource == "events" && asked.verb != "get").then_some(())
    })
    .await;
    let may = |asked: &super::control_plane::Audited| {
        matches!(asked.resource.as_str(), "leases" | "events" | "migplans" | "migplans/status" | "migpolicies/status")
    };
    let other: Vec<_> =
        cluster.plane.audited_of(controller).into_iter().filter(|asked| asked.writes() && !may(asked)).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert_eq!(cluster.nodes[0].layout(0), ["3g.20gb@0", "3g.20gb@4"]);
    let record = cluster.record(NODE).await.expect("the agent reports in any mode");
    assert!(record["spec"]["operation"].is_null() && record["spec"]["history"].is_null(), "{record:#}");
}
