//! Watches that are told that what they ask for is no longer kept.

use super::control_plane::{ControlPlane, Manner, Pace, eventually};
use super::installation::{ALL, Installation, at_once};
use super::work::{deployment, ready, template};

/// The API server answers watches from etcd, which has forgotten: every watch that goes on after its time ends with 410, and lists anew.
#[tokio::test]
async fn watches_that_have_expired_list_anew_and_the_loop_goes_on() {
    let policy = at_once("Act");
    let manner = Manner { watch_cache: false, ..Manner::default() };
    let Some(plane) = ControlPlane::start_as(manner).await else { return };
    let mut cluster = Installation::make_on(plane, "act", &policy).await;
    cluster.add_node("a", &[("A100-40GB", &[("3g.20gb", 0), ("3g.20gb", 4)])], Pace::default()).await;
    let controller = cluster.controller("controller-1").await;
    cluster.controllers.push(controller);
    let leads = |holder: String| holder.starts_with("controller-1").then_some(());
    eventually("it leads", async || cluster.leader().await.and_then(leads)).await;
    let expired = |cluster: &Installation| {
        let controller = "system:serviceaccount:retile-system:retile-controller";
        let asked = cluster.plane.audited_of(controller).into_iter();
        asked.filter(|asked| asked.verb == "watch" && asked.code == 410).count()
    };
    eventually("a watch has expired", async || {
        cluster.controllers[0].must_run();
        cluster.plane.compact();
        let told = cluster.controllers[0].log().contains("too old") || expired(&cluster) > 0;
        told.then_some(())
    })
    .await;
    cluster.plane.apply(&deployment(&cluster.team, "small", 1, &template("small", ALL, Some("1g.5gb"))));
    ready(&cluster.pods(), "small", 1).await;
    cluster.released("a").await;
    assert_eq!(cluster.outcomes("a").await, ["Done"]);
    cluster.controllers[0].must_run();
    cluster.agents[0].must_run();
}
