//! Nodes: our taint by compare-and-swap, and who they are.

use retile::exec::port::ClusterError;
use retile::exec::{NodeView, TAINT_KEY, Taint, Version};

use crate::cluster::{Cluster, change_node, eventually, get_node, node_of, refused, taint, untaint};

fn ours(node: &NodeView) -> Vec<(&str, &str)> {
    let ours = node.taints.iter().filter(|taint| taint.key == TAINT_KEY);
    ours.map(|taint| (taint.value.as_str(), taint.effect.as_str())).collect()
}

pub(crate) async fn our_taint_comes_and_goes_and_those_of_others_stay(cluster: &mut impl Cluster) {
    let name = cluster.unique("node");
    cluster.add_node(&name).await;
    let keep = Taint { key: "example.org/keep".into(), value: "1".into(), effect: "NoSchedule".into() };
    cluster.add_foreign_taint(&name, &keep).await;
    let tainted = change_node(cluster, &name, |version| taint(&name, version, "op-1")).await;
    assert_eq!(ours(&tainted), [("op-1", "NoSchedule")]);
    assert!(tainted.taints.contains(&keep));
    let replaced = change_node(cluster, &name, |version| taint(&name, version, "op-2")).await;
    assert_eq!(ours(&replaced), [("op-2", "NoSchedule")], "ours is replaced, not added");
    assert!(replaced.version > tainted.version);

    for past in [taint(&name, tainted.version, "op-3"), untaint(&name, tainted.version, "op-2")] {
        assert_eq!(refused(cluster.ask(&past).await), ClusterError::Conflict);
    }
    let other = untaint(&name, replaced.version, "op-1");
    assert_eq!(refused(cluster.ask(&other).await), ClusterError::Conflict, "not our operation");
    let clean = change_node(cluster, &name, |version| untaint(&name, version, "op-2")).await;
    assert_eq!(ours(&clean), []);
    assert!(clean.taints.contains(&keep));
    let again = untaint(&name, clean.version, "op-2");
    assert_eq!(refused(cluster.ask(&again).await), ClusterError::Conflict, "there is none to remove");
}

pub(crate) async fn of_many_that_taint_the_same_version_one_succeeds(cluster: &mut impl Cluster) {
    let name = cluster.unique("node");
    cluster.add_node(&name).await;
    eventually(cluster, "one of all succeeds", async |cluster| {
        let version = node_of(cluster.ask(&get_node(&name)).await).version;
        let tries: Vec<_> = (0..8).map(|number| taint(&name, version, &format!("op-{number}"))).collect();
        let answers = cluster.ask_together(&tries).await;
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        let lost = answers.iter().filter(|answer| matches!(answer, Err(ClusterError::Conflict))).count();
        assert!(won <= 1 && won + lost == answers.len(), "{answers:?}");
        (won == 1).then_some(())
    })
    .await;
}

pub(crate) async fn what_is_not_there_is_not_found(cluster: &mut impl Cluster) {
    let name = cluster.unique("node");
    for request in [get_node(&name), taint(&name, Version(1), "op"), untaint(&name, Version(1), "op")] {
        assert_eq!(refused(cluster.ask(&request).await), ClusterError::NotFound, "{request:?}");
    }
}

pub(crate) async fn a_node_that_is_made_again_is_another(cluster: &mut impl Cluster) {
    let name = cluster.unique("node");
    cluster.add_node(&name).await;
    let old = change_node(cluster, &name, |version| taint(&name, version, "op-1")).await;
    assert!(!old.uid.is_empty() && !old.deleting);
    cluster.remove_node(&name).await;
    assert_eq!(refused(cluster.ask(&get_node(&name)).await), ClusterError::NotFound);
    cluster.add_node(&name).await;
    let new = node_of(cluster.ask(&get_node(&name)).await);
    assert_ne!(new.uid, old.uid);
    assert!(new.version > old.version, "versions never come again");
    assert_eq!(ours(&new), [], "it inherits nothing");
    for request in [taint(&name, old.version, "op-1"), untaint(&name, old.version, "op-1")] {
        assert_eq!(refused(cluster.ask(&request).await), ClusterError::Conflict);
    }
}
