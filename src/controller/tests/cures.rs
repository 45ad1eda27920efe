//! What is wrong with a node and is mended without a plan.

use super::*;

#[test]
fn an_orphaned_taint_is_cured_when_it_has_stood() {
    for mode in [Mode::Act, Mode::Recommend, Mode::Observe] {
        let mut cluster = empty(&["a"]);
        cluster.taint("a", Some("lost"));
        let mut stage = Stage::new(cluster, Settings { mode, ..settings("me") });
        assert!(stage.claimed().is_empty(), "a cache may lag");
        stage.live(SECOND * 10);
        let operation = stage.cluster.records["a"].spec.operation.as_ref();
        assert_eq!(operation.is_some_and(Operation::is_repair), mode != Mode::Observe, "{mode:?}");
        let taint = operation.map_or("lost", |operation| operation.id.0.as_str());
        assert_eq!(stage.cluster.nodes["a"].our_taint(), Some(taint), "a repair takes the taint over");
    }
}

/// Somebody took our taint off by hand, and with it nobody takes off the rest.
#[test]
fn an_orphaned_protection_from_autoscalers_is_cured_like_a_taint() {
    let mut cluster = empty(&["a"]);
    let node = cluster.nodes.get_mut("a").expect("there");
    node.annotations.insert(PROTECTION.to_owned(), "karpenter.sh/do-not-disrupt".to_owned());
    let mut stage = Stage::new(cluster, settings("me"));
    assert!(stage.claimed().is_empty(), "a cache may lag");
    stage.live(SECOND * 10);
    assert!(stage.cluster.records["a"].spec.operation.as_ref().expect("a repair").is_repair());
    assert!(stage.cluster.nodes["a"].our_taint().is_some(), "the protection goes with the taint");
}

#[test]
fn clients_that_were_left_paused_are_cured_like_a_taint_once_nobody_else_has_joined_the_pause() {
    let plugin = format!("{DEPLOY}device-plugin");
    let mut cluster = empty(&["a"]).waiting("p", "7g.40gb");
    let node = cluster.nodes.get_mut("a").expect("there");
    node.annotations.insert(PAUSED_CLIENTS.to_owned(), "device-plugin".to_owned());
    node.labels.insert(plugin.clone(), format!("{PAUSED}_paused-for-driver-upgrade"));
    let mut stage = Stage::new(cluster, settings("me"));
    stage.live(SECOND * 400);
    assert!(stage.claimed().is_empty(), "neither a repair nor a plan: the node is left to the driver manager");
    stage.cluster.nodes.get_mut("a").expect("there").labels.insert(plugin, PAUSED.to_owned());
    stage.live(SECOND * 320);
    assert!(stage.cluster.records["a"].spec.operation.as_ref().expect("a repair").is_repair());
}

#[test]
fn a_node_that_advertises_what_it_does_not_have_is_repaired() {
    let mut stage = Stage::new(Cluster::new().node("a", &[&[("1g.5gb", 0, None)]]), settings("me"));
    stage.live(SECOND * 310);
    for _ in 0..16 {
        stage.cluster.nodes.get_mut("a").expect("there").allocatable.clear();
        stage.wake(&Ticket::Loop);
        assert!(stage.claimed().is_empty());
        stage.pass(SECOND * 7);
        stage.cluster.report();
    }
    for _ in 0..3 {
        stage.cluster.nodes.get_mut("a").expect("there").allocatable.clear();
        stage.wake(&Ticket::Loop);
        stage.pass(SECOND * 7);
        stage.cluster.report();
    }
    assert_eq!(stage.claimed(), ["a"]);
    let causes: Vec<Cause> = reports(&mut stage).into_iter().flat_map(|r| r.started).map(|s| s.cause).collect();
    assert!(matches!(causes[..], [Cause::Repair(_)]), "{causes:?}");
}
