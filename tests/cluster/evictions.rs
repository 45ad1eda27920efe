//! Pods that are moved, and pods that are not.

use serde_json::{Value, json};

use super::control_plane::{Pace, eventually};
use super::installation::{ALL, Installation, at_once};
use super::work::{allows, budget, deployment, name, pods_of, ready, template, uid};

const CONTROLLER: &str = "system:serviceaccount:retile-system:retile-controller";

fn balanced() -> Value {
    let mut policy = at_once("Act");
    policy["disruption"] = json!({"level": "Balanced", "gainFactor": "0"});
    policy
}

fn run(cluster: &Installation, app: &str, profile: &str, movable: bool) {
    let mut pods = template(app, ALL, Some(profile));
    if !movable {
        pods["metadata"]["annotations"] = json!({"retile.dev/do-not-move": "true"});
    }
    cluster.plane.apply(&deployment(&cluster.team, app, 1, &pods));
}

/// Evictions that the controller has asked for, dry runs left out, with the code of the answer.
fn evictions(cluster: &Installation) -> Vec<(String, u16)> {
    let asked = cluster.plane.audited_of(CONTROLLER).into_iter();
    let evictions = asked.filter(|asked| asked.resource == "pods/eviction" && asked.writes());
    evictions.map(|asked| (asked.name, asked.code)).collect()
}

/// A whole board is wanted. Node `a` has a small pod, for which node `b` has a free instance; the other pod of `b` must stay.
#[tokio::test]
async fn a_pod_is_moved_once_its_budget_allows_it_and_not_before() {
    let Some(mut cluster) = Installation::make("act", &balanced()).await else { return };
    cluster.add_node("a", &[("A100-40GB", &[("1g.5gb", 0)])], Pace::default()).await;
    run(&cluster, "small", "1g.5gb", true);
    let small = ready(&cluster.pods(), "small", 1).await.remove(0);
    cluster.add_node("b", &[("A100-40GB", &[("1g.5gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    run(&cluster, "half", "3g.20gb", false);
    let half = ready(&cluster.pods(), "half", 1).await.remove(0);
    cluster.plane.apply(&budget(&cluster.team, "small", "small", 0));
    allows(&cluster.plane, &cluster.team, "small", 0).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    run(&cluster, "whole", "7g.40gb", true);
    eventually("the controller has told why the pod waits", async || {
        cluster.controllers[0].must_run();
        let told = cluster.plane.audited_of(CONTROLLER);
        told.iter().any(|asked| asked.resource == "events" && asked.verb != "get").then_some(())
    })
    .await;
    assert_eq!(evictions(&cluster), []);
    assert_eq!(uid(&ready(&cluster.pods(), "small", 1).await[0]), uid(&small), "it runs where it ran");
    cluster.plane.apply(&budget(&cluster.team, "small", "small", 1));
    ready(&cluster.pods(), "whole", 1).await;
    cluster.released("a").await;
    assert_eq!(evictions(&cluster), [(name(&small).to_owned(), 201)]);
    let moved = ready(&cluster.pods(), "small", 1).await.remove(0);
    assert_eq!(moved.spec.and_then(|spec| spec.node_name).as_deref(), Some("b"));
    assert_eq!(uid(&pods_of(&cluster.pods(), "half").await[0]), uid(&half), "nobody else was touched");
    assert_eq!((cluster.outcomes("a").await, cluster.outcomes("b").await), (vec!["Done".to_owned()], Vec::new()));
    assert_eq!(cluster.nodes[0].layout(0), ["7g.40gb@0"]);
}

/// The pod that the plan wants to move is deleted by its owner while the node settles, and comes back under the same name elsewhere: it is another
/// pod, and nobody has planned to evict it.
#[tokio::test]
async fn a_pod_that_has_come_in_the_place_of_a_victim_is_left_alone() {
    let Some(mut cluster) = Installation::make("act", &balanced()).await else { return };
    cluster.add_node("a", &[("A100-40GB", &[("1g.5gb", 0)])], Pace::default()).await;
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "small", "namespace": cluster.team},
        "spec": {
            "serviceName": "small", "replicas": 1, "selector": {"matchLabels": {"app": "small"}},
            "template": template("small", ALL, Some("1g.5gb"))
        }
    });
    cluster.plane.apply(&set.to_string());
    let victim = ready(&cluster.pods(), "small", 1).await.remove(0);
    cluster.add_node("b", &[("A100-40GB", &[("1g.5gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    run(&cluster, "half", "3g.20gb", false);
    ready(&cluster.pods(), "half", 1).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    run(&cluster, "whole", "7g.40gb", true);
    eventually("the pod is to be moved", async || {
        cluster.controllers[0].must_run();
        let record = cluster.record("a").await?;
        (record["spec"]["operation"]["victims"][0]["pod"]["uid"] == uid(&victim)).then_some(())
    })
    .await;
    cluster.pods().delete(name(&victim), &kube::api::DeleteParams::default()).await.expect("it is there");
    ready(&cluster.pods(), "whole", 1).await;
    cluster.released("a").await;
    let namesake = ready(&cluster.pods(), "small", 1).await.remove(0);
    assert_eq!(name(&namesake), name(&victim));
    assert_ne!(uid(&namesake), uid(&victim));
    assert_eq!(evictions(&cluster), [], "the one is gone by itself, the other was never to go");
}
