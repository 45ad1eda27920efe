//! Disruption budgets: none, one, two over a pod, and what each lets through.

use retile::exec::port::ClusterError;
use retile::model::PodRef;

use crate::cluster::{Budget, Cluster, Rule, State, Wish, eventually, evict, pod_on, pods_on};

/// Waits until the budgets over a pod allow so many evictions each. What no controller has judged yet allows none, so that a zero to wait for
/// must come after something else.
async fn allow<C: Cluster>(cluster: &mut C, node: &str, pod: &PodRef, allowed: &[u32]) {
    eventually(cluster, &format!("the budgets allow {allowed:?}"), async |cluster| {
        (pod_on(cluster, node, pod).await?.budgets == allowed).then_some(())
    })
    .await;
}

async fn pods<C: Cluster>(cluster: &mut C, node: &str, states: &[State]) -> Vec<PodRef> {
    let mut pods = Vec::new();
    for (number, &state) in states.iter().enumerate() {
        pods.push(cluster.add_pod(&Wish::on(node, &format!("web-{number}"), state).of("web")).await);
    }
    pods
}

async fn node(cluster: &mut impl Cluster) -> String {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    node
}

pub(crate) async fn a_budget_allows_one_and_then_none(cluster: &mut impl Cluster) {
    let node = node(cluster).await;
    let pods = pods(cluster, &node, &[State::Ready, State::Ready]).await;
    cluster.add_budget(&Budget::over("web", "keep-one", Rule::MinAvailable(1))).await;
    allow(cluster, &node, &pods[0], &[1]).await;
    assert_eq!(evict(cluster, &pods[0], true).await, Ok(()));
    assert_eq!(pod_on(cluster, &node, &pods[0]).await.expect("only asked").budgets, [1], "a question draws nothing");
    assert_eq!(evict(cluster, &pods[0], false).await, Ok(()));
    for dry_run in [true, false] {
        assert_eq!(evict(cluster, &pods[1], dry_run).await, Err(ClusterError::BlockedByBudget));
    }
    assert_eq!(pod_on(cluster, &node, &pods[1]).await.expect("blocked").budgets, [0]);
    assert_eq!(evict(cluster, &pods[0], false).await, Ok(()), "what goes already draws on nothing");
    cluster.end_pod(&pods[0]).await;
    cluster.add_pod(&Wish::on(&node, "web-2", State::Ready).of("web")).await;
    allow(cluster, &node, &pods[1], &[1]).await;
    assert_eq!(evict(cluster, &pods[1], false).await, Ok(()), "the budget has recovered");
}

pub(crate) async fn a_budget_that_allows_none_blocks_and_nothing_changes(cluster: &mut impl Cluster) {
    let node = node(cluster).await;
    let pods = pods(cluster, &node, &[State::Ready, State::Ready]).await;
    cluster.add_budget(&Budget::over("web", "keep-all", Rule::MinAvailable(2))).await;
    // A second one for a pod of its own says when the controller has come round.
    let other = cluster.add_pod(&Wish::on(&node, "other", State::Ready)).await;
    cluster.add_budget(&Budget::over("other", "later", Rule::MinAvailable(0))).await;
    allow(cluster, &node, &other, &[1]).await;
    let before = pods_on(cluster, &node).await;
    for dry_run in [true, false] {
        assert_eq!(evict(cluster, &pods[0], dry_run).await, Err(ClusterError::BlockedByBudget));
    }
    assert_eq!(pods_on(cluster, &node).await, before);
}

pub(crate) async fn two_budgets_are_one_too_many(cluster: &mut impl Cluster) {
    let node = node(cluster).await;
    let pods = pods(cluster, &node, &[State::Ready, State::Ready]).await;
    for name in ["first", "second"] {
        cluster.add_budget(&Budget::over("web", name, Rule::MinAvailable(0))).await;
    }
    allow(cluster, &node, &pods[0], &[2, 2]).await;
    for dry_run in [true, false] {
        assert_eq!(evict(cluster, &pods[0], dry_run).await, Err(ClusterError::SeveralBudgets));
    }
    assert!(!pod_on(cluster, &node, &pods[0]).await.expect("it is there").deleting);
}

pub(crate) async fn pods_that_do_not_run_are_not_protected(cluster: &mut impl Cluster) {
    let node = node(cluster).await;
    let states = [State::Pending, State::Succeeded, State::Failed, State::Ready];
    let pods = pods(cluster, &node, &states).await;
    cluster.add_budget(&Budget::over("web", "first", Rule::MinAvailable(4))).await;
    eventually(cluster, "the budget counts", async |cluster| {
        (evict(cluster, &pods[3], true).await == Err(ClusterError::BlockedByBudget)).then_some(())
    })
    .await;
    assert_eq!(evict(cluster, &pods[1], false).await, Ok(()));
    cluster.add_budget(&Budget::over("web", "second", Rule::MinAvailable(4))).await;
    eventually(cluster, "two budgets count", async |cluster| {
        (evict(cluster, &pods[3], true).await == Err(ClusterError::SeveralBudgets)).then_some(())
    })
    .await;
    for pod in [&pods[0], &pods[2]] {
        assert_eq!(evict(cluster, pod, false).await, Ok(()), "{pod}: nobody asks a budget");
    }
}

pub(crate) async fn an_unready_pod_may_go_while_enough_are_healthy(cluster: &mut impl Cluster) {
    let node = node(cluster).await;
    let pods = pods(cluster, &node, &[State::Unready, State::Unready, State::Ready]).await;
    cluster.add_budget(&Budget::over("web", "keep-one", Rule::MinAvailable(1))).await;
    eventually(cluster, "the healthy pod is protected and the unready one is not", async |cluster| {
        let healthy = evict(cluster, &pods[2], true).await;
        assert_eq!(healthy, Err(ClusterError::BlockedByBudget));
        evict(cluster, &pods[0], false).await.ok()
    })
    .await;
    cluster.end_pod(&pods[2]).await;
    eventually(cluster, "none is healthy, so none may go", async |cluster| {
        (evict(cluster, &pods[1], true).await == Err(ClusterError::BlockedByBudget)).then_some(())
    })
    .await;
    let lone = cluster.add_pod(&Wish::on(&node, "lone", State::Unready)).await;
    let lenient = Budget { lenient: true, ..Budget::over("lone", "lenient", Rule::MinAvailable(1)) };
    cluster.add_budget(&lenient).await;
    assert_eq!(evict(cluster, &lone, false).await, Ok(()), "unready pods may always go");
}

/// The UID counts at the deletion, after the budget was drawn on.
pub(crate) async fn an_eviction_of_a_namesake_draws_on_the_budget(cluster: &mut impl Cluster) {
    let node = node(cluster).await;
    let pods = pods(cluster, &node, &[State::Ready, State::Ready]).await;
    cluster.add_budget(&Budget::over("web", "keep-one", Rule::MinAvailable(1))).await;
    allow(cluster, &node, &pods[0], &[1]).await;
    let stranger = PodRef { uid: "00000000-0000-0000-0000-000000000000".to_owned(), ..pods[0].clone() };
    assert_eq!(evict(cluster, &stranger, true).await, Err(ClusterError::Conflict));
    assert_eq!(pod_on(cluster, &node, &pods[0]).await.expect("it is there").budgets, [1]);
    assert_eq!(evict(cluster, &stranger, false).await, Err(ClusterError::Conflict));
    let there = pod_on(cluster, &node, &pods[0]).await.expect("it is there");
    assert_eq!((there.deleting, there.budgets), (false, vec![0]), "the headroom is taken though nothing was deleted");
    assert_eq!(evict(cluster, &pods[1], false).await, Err(ClusterError::BlockedByBudget));
}

pub(crate) async fn shares_are_counted_over_owners_and_a_pod_without_one_is_none(cluster: &mut impl Cluster) {
    let node = node(cluster).await;
    let pods = pods(cluster, &node, &[State::Ready, State::Ready, State::Ready]).await;
    // A count of those that stay needs no owners, and says when the controller has come round to all.
    let rules =
        [Rule::MaxUnavailable(2), Rule::MaxUnavailablePercent(50), Rule::MinAvailablePercent(0), Rule::MinAvailable(1)];
    for (number, &rule) in rules.iter().enumerate() {
        cluster.add_budget(&Budget::over("web", &format!("rule-{number}"), rule)).await;
    }
    allow(cluster, &node, &pods[0], &[0, 0, 0, 2]).await;
    cluster.pass(std::time::Duration::from_secs(2)).await;
    allow(cluster, &node, &pods[0], &[0, 0, 0, 2]).await;
}

pub(crate) async fn a_budget_without_labels_covers_the_whole_namespace(cluster: &mut impl Cluster) {
    let node = node(cluster).await;
    let mut pods = pods(cluster, &node, &[State::Ready]).await;
    pods.push(cluster.add_pod(&Wish::on(&node, "other", State::Ready)).await);
    let budget = Budget { app: None, ..Budget::over("", "all", Rule::MinAvailable(1)) };
    cluster.add_budget(&budget).await;
    allow(cluster, &node, &pods[0], &[1]).await;
    assert_eq!(evict(cluster, &pods[0], false).await, Ok(()));
    assert_eq!(evict(cluster, &pods[1], false).await, Err(ClusterError::BlockedByBudget));
}
