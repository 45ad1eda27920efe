//! What the cluster's own parts do around an operation: scheduler, DaemonSet, kubelet, device plugin, collectors.

use std::time::Duration;

use retile::exec::marks::DEPLOY_PLUGIN;
use retile::exec::port::ClusterError;
use retile::exec::{PodView, Version};
use retile::model::PodRef;

use crate::cluster::{
    Budget, Cluster, Plugin, Rule, State, Wish, change_node, delete_plugin, eventually, evict, get_node, node_of,
    observe, pause, pods_on, report, resume, taint, untaint,
};

/// The device plugin's pod that serves a node.
async fn plugin<C: Cluster>(cluster: &mut C, node: &str) -> PodRef {
    eventually(cluster, "the plugin runs", async |cluster| {
        let serves = |view: &PodView| view.device_plugin && view.ready && !view.deleting;
        Some(pods_on(cluster, node).await.into_iter().find(serves)?.pod)
    })
    .await
}

/// Waits until so many pods that are made again run on a node; by name.
async fn work<C: Cluster>(cluster: &mut C, node: &str, count: usize) -> Vec<PodView> {
    eventually(cluster, &format!("{count} pods run"), async |cluster| {
        let all = pods_on(cluster, node).await.into_iter();
        let there: Vec<PodView> = all.filter(|view| !view.device_plugin && !view.deleting).collect();
        (there.len() == count && there.iter().all(|view| view.ready)).then_some(there)
    })
    .await
}

async fn advertises<C: Cluster>(cluster: &mut C, node: &str, resource: &str, count: u64) {
    eventually(cluster, &format!("{count} of {resource} are advertised"), async |cluster| {
        let view = node_of(cluster.ask(&get_node(node)).await);
        (view.allocatable.get(resource).copied().unwrap_or(0) == count).then_some(())
    })
    .await;
}

pub(crate) async fn a_plugin_comes_back_under_our_taint_if_it_tolerates_it(cluster: &mut impl Cluster) {
    let node = cluster.add_machine(&[("3g.20gb", 0)], Plugin::Tolerant).await;
    let first = plugin(cluster, &node).await;
    change_node(cluster, &node, |version| taint(&node, version, "op-1")).await;
    assert_eq!(delete_plugin(cluster, &first).await, Ok(()));
    let second = eventually(cluster, "another plugin runs", async |cluster| {
        Some(plugin(cluster, &node).await).filter(|pod| pod.uid != first.uid)
    })
    .await;
    let views = pods_on(cluster, &node).await;
    let view = views.iter().find(|view| view.pod == second).expect("it runs");
    assert!(
        view.tolerates_taint && view.owner.as_ref().is_some_and(|owner| owner.starts_with("DaemonSet/")),
        "{view:?}"
    );
    assert!(!views.iter().any(|view| view.pod == first), "the old one is gone before the new one is made");
}

pub(crate) async fn a_plugin_that_does_not_tolerate_our_taint_stays_away(cluster: &mut impl Cluster) {
    let node = cluster.add_machine(&[("3g.20gb", 0)], Plugin::Intolerant).await;
    let first = plugin(cluster, &node).await;
    let tainted = change_node(cluster, &node, |version| taint(&node, version, "op-1")).await;
    let views = pods_on(cluster, &node).await;
    let running =
        views.iter().find(|view| view.pod == first).expect("what runs goes on: the taint keeps newcomers off");
    assert!(!running.tolerates_taint && !running.deleting);
    assert_eq!(delete_plugin(cluster, &first).await, Ok(()));
    eventually(cluster, "the plugin is gone", async |cluster| {
        pods_on(cluster, &node).await.iter().all(|view| !view.device_plugin).then_some(())
    })
    .await;
    cluster.pass(Duration::from_secs(5)).await;
    assert_eq!(pods_on(cluster, &node).await, [], "nobody makes it again");
    assert!(tainted.version > Version::default());
    change_node(cluster, &node, |version| untaint(&node, version, "op-1")).await;
    assert_ne!(plugin(cluster, &node).await.uid, first.uid);
}

pub(crate) async fn a_plugin_that_is_placed_by_its_label_is_away_while_that_is_paused(cluster: &mut impl Cluster) {
    let node = cluster.add_machine(&[("3g.20gb", 0)], Plugin::Labelled).await;
    let first = plugin(cluster, &node).await;
    let views = pods_on(cluster, &node).await;
    let placed: Vec<&str> = views[0].deployed_as.iter().map(String::as_str).collect();
    assert_eq!(placed, ["device-plugin"]);
    advertises(cluster, &node, "nvidia.com/mig-3g.20gb", 1).await;
    change_node(cluster, &node, |version| taint(&node, version, "op-1")).await;
    change_node(cluster, &node, |version| pause(&node, version, "op-1")).await;
    eventually(cluster, "the plugin is gone", async |cluster| {
        pods_on(cluster, &node).await.iter().all(|view| !view.device_plugin).then_some(())
    })
    .await;
    advertises(cluster, &node, "nvidia.com/mig-3g.20gb", 0).await;
    cluster.pass(Duration::from_secs(5)).await;
    assert_eq!(pods_on(cluster, &node).await, [], "nobody makes it again");
    let resumed = change_node(cluster, &node, |version| resume(&node, version)).await;
    assert_eq!(resumed.labels.get(DEPLOY_PLUGIN).map(String::as_str), Some("true"));
    assert_ne!(plugin(cluster, &node).await.uid, first.uid);
    advertises(cluster, &node, "nvidia.com/mig-3g.20gb", 1).await;
}

pub(crate) async fn nobody_is_scheduled_under_our_taint(cluster: &mut impl Cluster) {
    let node = cluster.add_machine(&[("3g.20gb", 0), ("3g.20gb", 4)], Plugin::Tolerant).await;
    advertises(cluster, &node, "nvidia.com/mig-3g.20gb", 2).await;
    report(cluster, &node, 0).await;
    cluster.add_work("early", 1, "3g.20gb").await;
    let early = work(cluster, &node, 1).await.remove(0);
    change_node(cluster, &node, |version| taint(&node, version, "op-1")).await;
    cluster.add_work("late", 1, "3g.20gb").await;
    let namespace = cluster.namespace();
    let late = eventually(cluster, "the scheduler finds no place", async |cluster| {
        let input = observe(cluster, true).await.input;
        let late = |pod: &&PodRef| pod.namespace == namespace && pod.name.starts_with("late");
        let mut waiting = input.pending().iter().map(|pending| &pending.pod);
        waiting.find(late).cloned()
    })
    .await;
    let views = pods_on(cluster, &node).await;
    assert!(views.iter().any(|view| view.pod == early.pod && view.ready), "who runs goes on");
    assert!(!views.iter().any(|view| view.pod == late));
    change_node(cluster, &node, |version| untaint(&node, version, "op-1")).await;
    let both = work(cluster, &node, 2).await;
    assert!(both.iter().any(|view| view.pod == late), "the same pod is placed once it may: {both:?}");
}

/// The whole chain that retile relies on: a pod that waits for a profile, a board that gets it, a plugin that is replaced.
pub(crate) async fn a_pod_waits_until_the_plugin_was_replaced_after_the_board_had_changed(cluster: &mut impl Cluster) {
    let node = cluster.add_machine(&[("3g.20gb", 0)], Plugin::Tolerant).await;
    let (large, small) = ("nvidia.com/mig-3g.20gb", "nvidia.com/mig-1g.5gb");
    advertises(cluster, &node, large, 1).await;
    cluster.add_work("waits", 1, "1g.5gb").await;
    cluster.partition(&node, "1g.5gb", 4).await;
    cluster.pass(Duration::from_secs(3)).await;
    let view = node_of(cluster.ask(&get_node(&node)).await);
    assert_eq!(view.allocatable.get(small), None, "the plugin has not looked again");
    let first = plugin(cluster, &node).await;
    assert_eq!(delete_plugin(cluster, &first).await, Ok(()));
    let there = work(cluster, &node, 1).await.remove(0);
    assert_eq!(there.requests.get(small), Some(&1));
    advertises(cluster, &node, small, 1).await;
    advertises(cluster, &node, large, 1).await;
}

pub(crate) async fn a_service_gives_way_one_pod_at_a_time(cluster: &mut impl Cluster) {
    let node = cluster.add_machine(&[("1g.5gb", 0), ("1g.5gb", 1), ("1g.5gb", 2)], Plugin::Tolerant).await;
    advertises(cluster, &node, "nvidia.com/mig-1g.5gb", 3).await;
    cluster.add_work("web", 3, "1g.5gb").await;
    let pods = work(cluster, &node, 3).await;
    assert!(pods.iter().all(|view| view.owner.as_ref().is_some_and(|owner| owner.starts_with("ReplicaSet/"))));
    cluster.add_budget(&Budget::over("web", "count", Rule::MaxUnavailable(1))).await;
    allow(cluster, &node, &[1]).await;
    assert_eq!(evict(cluster, &pods[0].pod, false).await, Ok(()));
    assert_eq!(evict(cluster, &pods[1].pod, false).await, Err(ClusterError::BlockedByBudget));
    // The first is made again: then the budget has recovered.
    eventually(cluster, "the first is made again", async |cluster| {
        let there = work(cluster, &node, 3).await;
        there.iter().all(|view| view.pod != pods[0].pod).then_some(())
    })
    .await;
    allow(cluster, &node, &[1]).await;
    // A share of three is rounded up: one and a half are two.
    for (name, rule) in [("away", Rule::MaxUnavailablePercent(50)), ("stay", Rule::MinAvailablePercent(50))] {
        cluster.add_budget(&Budget::over("web", name, rule)).await;
    }
    // Ordered by name: away, count, stay.
    allow(cluster, &node, &[2, 1, 1]).await;
    assert_eq!(evict(cluster, &pods[1].pod, false).await, Err(ClusterError::SeveralBudgets));
}

/// Waits until the budgets over the pods that are made again allow so many evictions each.
async fn allow<C: Cluster>(cluster: &mut C, node: &str, allowed: &[u32]) {
    eventually(cluster, &format!("the budgets allow {allowed:?}"), async |cluster| {
        let views = pods_on(cluster, node).await;
        let mut work = views.iter().filter(|view| !view.device_plugin && !view.deleting);
        work.all(|view| view.budgets == allowed).then_some(())
    })
    .await;
}

pub(crate) async fn pods_of_a_node_that_is_gone_are_collected(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    let wish = Wish::on(&node, "left", State::Ready);
    let left = cluster.add_pod(&wish).await;
    cluster.remove_node(&node).await;
    assert!(pods_on(cluster, &node).await.iter().any(|view| view.pod == left), "not at once");
    eventually(cluster, "the pod is collected", async |cluster| pods_on(cluster, &node).await.is_empty().then_some(()))
        .await;
}
