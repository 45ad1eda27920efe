//! What planning reads: the cache follows, misses nothing, and a fresh look waits for no cache.

use retile::exec::port::Observation;
use retile::model::{Occupancy, PodRef};

use crate::cluster::{
    Cluster, State, Wish, add_gpu_node, eventually, get_node, node_of, observe, report, write_status,
};

fn free_on(observation: &Observation, node: &str) -> Option<usize> {
    let number = observation.input.nodes().iter().position(|planned| planned.name == node)?;
    let gpus = observation.input.gpus().iter().filter(|gpu| gpu.node.index() == number);
    Some(gpus.flat_map(|gpu| &gpu.instances).filter(|instance| instance.occupancy == Occupancy::Free).count())
}

fn pods_of<'a>(observation: &'a Observation, node: &str) -> Vec<&'a PodRef> {
    observation.pods.get(node).into_iter().flatten().map(|view| &view.pod).collect()
}

/// Waits until the cache has these pods on a node, and no other.
async fn has<C: Cluster>(cluster: &mut C, node: &str, pods: &[&PodRef]) {
    eventually(cluster, &format!("the cache has {pods:?} on {node}"), async |cluster| {
        (pods_of(&observe(cluster, false).await, node) == pods).then_some(())
    })
    .await;
}

pub(crate) async fn the_cache_sees_a_pod_that_is_deleted_and_made_again(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    add_gpu_node(cluster, &node, 2).await;
    deleted_and_made_again(cluster, &node).await;
}

/// The same while its watches expire.
pub(crate) async fn the_cache_misses_nothing_when_its_watches_expire(cluster: &mut impl Cluster) {
    let node = cluster.unique("node");
    add_gpu_node(cluster, &node, 2).await;
    deleted_and_made_again(cluster, &node).await;
    cluster.forget_the_past().await;
    deleted_and_made_again(cluster, &node).await;
}

async fn deleted_and_made_again<C: Cluster>(cluster: &mut C, node: &str) {
    let wish = Wish::on(node, "stateful-0", State::Ready);
    let old = cluster.add_pod(&wish).await;
    has(cluster, node, &[&old]).await;
    assert_eq!(free_on(&observe(cluster, false).await, node).unwrap_or(0), 0, "who is not seen may hold any of them");
    cluster.end_pod(&old).await;
    let new = cluster.add_pod(&wish).await;
    assert_ne!(new.uid, old.uid);
    has(cluster, node, &[&new]).await;
    cluster.end_pod(&new).await;
    has(cluster, node, &[]).await;
}

pub(crate) async fn the_cache_sees_a_node_that_is_deleted_and_made_again(cluster: &mut impl Cluster) {
    let name = cluster.unique("node");
    let old = add_gpu_node(cluster, &name, 2).await;
    let uid = |observation: &Observation| {
        observation.nodes.iter().find(|node| node.name == name).map(|node| node.uid.clone())
    };
    eventually(cluster, "the cache has the node", async |cluster| {
        (uid(&observe(cluster, false).await)? == old.status.node_uid).then_some(())
    })
    .await;
    cluster.remove_node(&name).await;
    eventually(cluster, "the cache has neither node nor record", async |cluster| {
        let observation = observe(cluster, false).await;
        let record = observation.records.iter().any(|record| record.name == name);
        (uid(&observation).is_none() && !record).then_some(())
    })
    .await;
    cluster.add_node(&name).await;
    let new = report(cluster, &name, 1).await;
    assert_ne!(new.status.node_uid, old.status.node_uid);
    eventually(cluster, "the cache has the new node", async |cluster| {
        let observation = observe(cluster, false).await;
        let record = observation.records.iter().find(|record| record.name == name)?;
        (uid(&observation)? == new.status.node_uid && *record == new).then_some(())
    })
    .await;
}

pub(crate) async fn what_was_just_written_is_seen_freshly(cluster: &mut impl Cluster) {
    let name = cluster.unique("node");
    let made = add_gpu_node(cluster, &name, 2).await;
    let seen = |observation: &Observation| observation.records.iter().find(|record| record.name == name).cloned();
    assert_eq!(seen(&observe(cluster, true).await), Some(made.clone()));
    let mut status = made.status.clone();
    status.heartbeat += 1;
    status.gpus[0].instances.truncate(1);
    let written = crate::cluster::record_of(cluster.ask(&write_status(&name, made.version, &status)).await);
    assert_eq!(seen(&observe(cluster, true).await), Some(written));
    let pod = cluster.add_pod(&Wish::on(&name, "new", State::Pending)).await;
    let fresh = observe(cluster, true).await;
    assert_eq!(pods_of(&fresh, &name), [&pod]);
    let node = node_of(cluster.ask(&get_node(&name)).await);
    let uid = fresh.nodes.iter().find(|view| view.name == name).map(|view| view.uid.clone());
    assert_eq!(uid, Some(node.uid));
    cluster.end_pod(&pod).await;
    assert_eq!(pods_of(&observe(cluster, true).await, &name), [] as [&PodRef; 0]);
}
