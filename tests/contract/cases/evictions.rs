//! Evictions: pinned to a UID, asked about, held up, malformed.

use retile::exec::port::{ClusterError, ClusterRequest, EvictionBody};
use retile::model::PodRef;

use crate::cluster::{Cluster, State, Wish, accepted, evict, pod_on, pods_on, refused};

/// What no pod has.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

pub(crate) async fn an_eviction_reaches_one_pod_and_no_other(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    let pod = cluster.add_pod(&Wish::on(&node, "victim", State::Ready)).await;
    let stranger = PodRef { uid: NOBODY.to_owned(), ..pod.clone() };
    assert_eq!(evict(cluster, &stranger, true).await, Err(ClusterError::Conflict));
    assert_eq!(evict(cluster, &stranger, false).await, Err(ClusterError::Conflict));
    assert!(!pod_on(cluster, &node, &pod).await.expect("it is there").deleting);
    assert_eq!(evict(cluster, &pod, false).await, Ok(()));
    let going = pod_on(cluster, &node, &pod).await.expect("accepted is not gone: its kubelet gives it its grace");
    assert!(going.deleting && !going.finished);
    assert_eq!(evict(cluster, &pod, false).await, Ok(()), "a pod that goes already is not protected");
    assert_eq!(evict(cluster, &stranger, false).await, Err(ClusterError::Conflict));
    cluster.end_pod(&pod).await;
    assert_eq!(pod_on(cluster, &node, &pod).await, None);
    for dry_run in [true, false] {
        assert_eq!(evict(cluster, &pod, dry_run).await, Err(ClusterError::NotFound));
    }
}

pub(crate) async fn a_pod_that_was_replaced_is_not_the_one_that_was_meant(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    let wish = Wish::on(&node, "stateful-0", State::Ready);
    let old = cluster.add_pod(&wish).await;
    assert_eq!(evict(cluster, &old, false).await, Ok(()));
    cluster.end_pod(&old).await;
    let new = cluster.add_pod(&wish).await;
    assert_eq!((&new.name, new.uid == old.uid), (&old.name, false));
    assert_eq!(evict(cluster, &old, true).await, Err(ClusterError::Conflict));
    assert_eq!(evict(cluster, &old, false).await, Err(ClusterError::Conflict));
    let views = pods_on(cluster, &node).await;
    assert_eq!(views.iter().map(|view| (&view.pod, view.deleting)).collect::<Vec<_>>(), [(&new, false)]);
}

pub(crate) async fn without_a_precondition_the_namesake_goes(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    let pod = cluster.add_pod(&Wish::on(&node, "victim", State::Ready)).await;
    let stranger = PodRef { uid: NOBODY.to_owned(), ..pod.clone() };
    let body = EvictionBody { delete_options: None, ..EvictionBody::of(&stranger) };
    let request = ClusterRequest::Evict { pod: stranger, body, dry_run: false };
    assert_eq!(accepted(cluster.ask(&request).await), Ok(()));
    assert!(pod_on(cluster, &node, &pod).await.expect("it is given its grace").deleting);
}

pub(crate) async fn a_dry_run_changes_nothing(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    let mut pods = Vec::new();
    for (name, state) in
        [("ready", State::Ready), ("unready", State::Unready), ("pending", State::Pending), ("done", State::Succeeded)]
    {
        pods.push(cluster.add_pod(&Wish::on(&node, name, state)).await);
    }
    let before = pods_on(cluster, &node).await;
    assert_eq!(before.len(), pods.len());
    for pod in &pods {
        assert_eq!(evict(cluster, pod, true).await, Ok(()), "{pod}");
    }
    assert_eq!(pods_on(cluster, &node).await, before);
}

pub(crate) async fn a_finalizer_holds_a_pod_until_it_is_taken_away(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    let wish = Wish { held: true, ..Wish::on(&node, "held", State::Succeeded) };
    let pod = cluster.add_pod(&wish).await;
    assert_eq!(evict(cluster, &pod, false).await, Ok(()));
    let held = pod_on(cluster, &node, &pod).await.expect("its finalizer holds it");
    assert!(held.deleting && held.finished);
    cluster.release_pod(&pod).await;
    assert_eq!(pod_on(cluster, &node, &pod).await, None);
    assert_eq!(evict(cluster, &pod, false).await, Err(ClusterError::NotFound));
}

pub(crate) async fn what_has_finished_goes_at_once(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    for (name, state) in [("done", State::Succeeded), ("broken", State::Failed)] {
        let pod = cluster.add_pod(&Wish::on(&node, name, state)).await;
        assert!(pod_on(cluster, &node, &pod).await.expect("it is there").finished);
        assert_eq!(evict(cluster, &pod, false).await, Ok(()));
        assert_eq!(pod_on(cluster, &node, &pod).await, None, "{name}: nothing runs that needs its grace");
    }
}

pub(crate) async fn a_malformed_eviction_is_refused(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    cluster.add_node(&node).await;
    let pod = cluster.add_pod(&Wish::on(&node, "victim", State::Ready)).await;
    let spoils: [fn(&mut EvictionBody); 3] = [
        |body| body.api_version = "policy/v9".into(),
        |body| body.kind = "Evict".into(),
        |body| body.metadata.name = "another".into(),
    ];
    for spoil in spoils {
        let mut body = EvictionBody::of(&pod);
        spoil(&mut body);
        let request = ClusterRequest::Evict { pod: pod.clone(), body: body.clone(), dry_run: false };
        let refusal = refused(cluster.ask(&request).await);
        assert!(matches!(refusal, ClusterError::Invalid(_)), "{body:?}: {refusal:?}");
    }
    assert!(!pod_on(cluster, &node, &pod).await.expect("it is there").deleting);
}
