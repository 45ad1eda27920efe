//! Nodes: our taint by compare-and-swap, and who they are.

use retile::exec::marks::{DEPLOY, PAUSED, PAUSED_CLIENTS};
use retile::exec::port::ClusterError;
use retile::exec::{NodeView, TAINT_KEY, Taint, Version};

use crate::cluster::{
    Cluster, change_node, eventually, get_node, node_of, pause, refused, rehearse_pause, resume, taint, untaint,
};

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

/// What the labels of clients say, without what they have in common.
fn clients(node: &NodeView) -> Vec<(&str, &str)> {
    let labels = node.labels.iter().filter_map(|(key, value)| Some((key.strip_prefix(DEPLOY)?, value.as_str())));
    labels.collect()
}

pub(crate) async fn clients_are_paused_and_go_on_as_the_record_says(cluster: &mut impl Cluster) {
    let name = cluster.unique("node");
    cluster.add_node(&name).await;
    for (client, value) in [("dcgm", "true"), ("device-plugin", "true"), ("mig-manager", "true"), ("nvsm", "false")] {
        cluster.label_node(&name, &format!("{DEPLOY}{client}"), value).await;
    }
    let before = node_of(cluster.ask(&get_node(&name)).await);
    assert_eq!(refused(cluster.ask(&pause(&name, before.version, "op-1")).await), ClusterError::Conflict, "no taint");
    let tainted = change_node(cluster, &name, |version| taint(&name, version, "op-1")).await;
    assert_eq!(refused(cluster.ask(&pause(&name, tainted.version, "op-2")).await), ClusterError::Conflict);
    let wrong = rehearse_pause(&name, tainted.version, "op-2");
    assert_eq!(refused(cluster.ask(&wrong).await), ClusterError::Conflict, "not its taint");
    change_node(cluster, &name, |version| rehearse_pause(&name, version, "op-1")).await;
    let asked = node_of(cluster.ask(&get_node(&name)).await);
    assert_eq!((clients(&asked), asked.annotations.get(PAUSED_CLIENTS)), (clients(&before), None), "only asked");
    let paused = change_node(cluster, &name, |version| pause(&name, version, "op-1")).await;
    let expected = [("dcgm", PAUSED), ("device-plugin", PAUSED), ("mig-manager", "true"), ("nvsm", "false")];
    assert_eq!(clients(&paused), expected);
    assert_eq!(paused.annotations.get(PAUSED_CLIENTS).map(String::as_str), Some("device-plugin,dcgm"));
    assert_eq!(ours(&paused), [("op-1", "NoSchedule")]);
    assert_eq!(refused(cluster.ask(&resume(&name, tainted.version)).await), ClusterError::Conflict, "it has changed");
    let joined = format!("{PAUSED}_paused-for-driver-upgrade");
    cluster.label_node(&name, &format!("{DEPLOY}device-plugin"), &joined).await;
    cluster.label_node(&name, &format!("{DEPLOY}dcgm"), "false").await;
    let upgraded = change_node(cluster, &name, |version| resume(&name, version)).await;
    let expected = [("dcgm", "false"), ("device-plugin", &*joined), ("mig-manager", "true"), ("nvsm", "false")];
    assert_eq!(clients(&upgraded), expected, "what somebody has set since is theirs");
    assert_eq!(upgraded.annotations.get(PAUSED_CLIENTS).map(String::as_str), Some("device-plugin"), "not ended yet");
    cluster.label_node(&name, &format!("{DEPLOY}device-plugin"), PAUSED).await;
    let resumed = change_node(cluster, &name, |version| resume(&name, version)).await;
    let expected = [("dcgm", "false"), ("device-plugin", "true"), ("mig-manager", "true"), ("nvsm", "false")];
    assert_eq!(clients(&resumed), expected);
    assert_eq!(resumed.annotations.get(PAUSED_CLIENTS), None);
    let again = change_node(cluster, &name, |version| resume(&name, version)).await;
    assert_eq!(clients(&again), expected, "there is nothing more to let go on");
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
    let marks = [pause(&name, Version(1), "op"), resume(&name, Version(1))];
    let taints = [get_node(&name), taint(&name, Version(1), "op"), untaint(&name, Version(1), "op")];
    for request in taints.into_iter().chain(marks) {
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
