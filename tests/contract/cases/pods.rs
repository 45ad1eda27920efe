//! Pods: listed by node, and those of the device plugin deleted by UID.

use retile::exec::port::ClusterError;
use retile::exec::{PodView, TAINT_KEY};
use retile::model::{Movability, PodRef};

use crate::cluster::{Cluster, State, Wish, delete_plugin, pod_on, pods_on};

pub(crate) async fn a_pod_of_the_plugin_is_deleted_by_its_uid(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    let wish = Wish::on(&node, "plugin", State::Ready);
    let plugin = cluster.add_pod(&wish).await;
    let stranger = PodRef { uid: "00000000-0000-0000-0000-000000000000".to_owned(), ..plugin.clone() };
    assert_eq!(delete_plugin(cluster, &stranger).await, Err(ClusterError::Conflict));
    assert!(!pod_on(cluster, &node, &plugin).await.expect("it is there").deleting);
    assert_eq!(delete_plugin(cluster, &plugin).await, Ok(()));
    assert!(pod_on(cluster, &node, &plugin).await.expect("accepted is not gone").deleting);
    assert_eq!(delete_plugin(cluster, &plugin).await, Ok(()), "done twice it is done once");
    cluster.end_pod(&plugin).await;
    assert_eq!(delete_plugin(cluster, &plugin).await, Err(ClusterError::NotFound));
    let new = cluster.add_pod(&wish).await;
    assert_eq!(delete_plugin(cluster, &plugin).await, Err(ClusterError::Conflict), "another of its name");
    assert!(!pod_on(cluster, &node, &new).await.expect("it is there").deleting);
}

pub(crate) async fn a_list_has_what_is_bound_to_the_node_and_says_how_it_is(cluster: &mut impl Cluster) {
    let (node, other) = (cluster.unique("node"), cluster.unique("node"));
    cluster.add_node(&node).await;
    cluster.add_node(&other).await;
    let states = [State::Pending, State::Ready, State::Unready, State::Succeeded, State::Failed];
    for state in states {
        let name = format!("{state:?}").to_lowercase();
        cluster.add_pod(&Wish::on(&node, &name, state)).await;
    }
    cluster.add_pod(&Wish { tolerant: true, ..Wish::on(&node, "tolerant", State::Ready) }).await;
    cluster.add_pod(&Wish { grace: 7, ..Wish::on(&node, "hasty", State::Ready) }).await;
    cluster.add_pod(&Wish::on(&other, "elsewhere", State::Ready)).await;
    cluster.add_pod(&Wish { node: None, ..Wish::on(&node, "unbound", State::Pending) }).await;
    let mut views = pods_on(cluster, &node).await;
    views.sort_by(|a, b| a.pod.name.cmp(&b.pod.name));
    let said =
        |view: &PodView| (view.pod.name.clone(), view.ready, view.finished, view.tolerates_taint, view.grace_seconds);
    let expected = [
        ("failed", false, true, false, 30),
        ("hasty", true, false, false, 7),
        ("pending", false, false, false, 30),
        ("ready", true, false, false, 30),
        ("succeeded", false, true, false, 30),
        ("tolerant", true, false, true, 30),
        ("unready", false, false, false, 30),
    ];
    let expected =
        expected.map(|(name, ready, ended, tolerates, grace)| (name.to_owned(), ready, ended, tolerates, grace));
    assert_eq!(
        views.iter().map(said).collect::<Vec<_>>(),
        expected,
        "{TAINT_KEY} counts as tolerated by who tolerates all"
    );
    for view in &views {
        assert_eq!((&view.owner, view.deleting, view.device_plugin), (&None, false, false), "{}", view.pod);
        assert_eq!(
            view.requests.iter().map(|(name, &n)| (name.as_str(), n)).collect::<Vec<_>>(),
            [("nvidia.com/mig-1g.5gb", 1)]
        );
        assert!(matches!(view.movability, Movability::Never(..)), "nobody makes it again: {:?}", view.movability);
        assert_eq!(view.budgets, [0_u32; 0]);
    }
}

pub(crate) async fn a_node_without_pods_has_an_empty_list(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    assert_eq!(pods_on(cluster, &node).await, [], "nor does one that is not there");
    cluster.add_node(&node).await;
    assert_eq!(pods_on(cluster, &node).await, []);
}
