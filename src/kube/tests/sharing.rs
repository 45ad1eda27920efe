//! Shared replicas, nodes of the single strategy, names that differ by driver, and the other ways to ask.

use serde_json::{Value, json};

use super::*;
use crate::model::{MigStrategy, Movability};

fn single(name: &str) -> Value {
    let mut node = node(name, 1);
    node["metadata"]["labels"] = json!({
        "nvidia.com/mig.capable": "true", "nvidia.com/mig.strategy": "single",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "nvidia.com/gpu.count": "14",
        "nvidia.com/gpu.memory": "9728",
    });
    let amounts = json!({"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "14"});
    node["status"]["capacity"] = amounts.clone();
    node["status"]["allocatable"] = amounts;
    node
}

fn gpu_pod(mut pod: Value, selector: Value) -> Value {
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": "1"}});
    pod["spec"]["nodeSelector"] = selector;
    pod
}

fn nodes_of<'a>(input: &'a PlanningInput, pod: &str) -> Vec<&'a str> {
    let pod = input.pending().iter().find(|it| it.pod.name == pod).expect("plannable");
    let may = |id: usize| input.may_use(pod.eligible, crate::model::NodeId::new(id));
    (0..input.nodes().len()).filter(|&id| may(id)).map(|id| input.nodes()[id].name.as_str()).collect()
}

#[test]
fn a_single_node_offers_instances_to_those_who_select_its_profile() {
    let product = json!({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-2g.20gb"});
    let partition = json!({"nvidia.com/gpu.mig-partition-3g.40gb": "true"});
    let input = input([
        single("s"),
        node("m", 1),
        gpu_pod(running("holder", "s"), json!({})),
        gpu_pod(waiting("by-product"), product),
        gpu_pod(waiting("by-partition"), partition),
        gpu_pod(waiting("whole"), json!({})),
        waiting("by-resource"),
    ]);
    let node = input.nodes().iter().find(|node| node.name == "s").expect("managed");
    assert_eq!((node.strategy, node.gpus.len()), (MigStrategy::Single, 2));
    assert_eq!(nodes_of(&input, "by-product"), ["s"]);
    assert_eq!(nodes_of(&input, "by-partition"), ["m", "s"]);
    assert_eq!(nodes_of(&input, "by-resource"), ["m"]);
    assert!(!is_pending(&input, "whole") && reason(&input, "whole").is_none(), "whole GPUs are left alone");
    assert_eq!(input.running().len(), 1);
    assert!(matches!(input.running()[0].movability, Movability::Never(Reason::NotModelled, _)));
    assert_eq!(occupancy(&input).1, 1);
}

#[test]
fn a_single_node_whose_instances_do_not_fill_its_gpus_is_refused() {
    let mut odd = single("s");
    odd["metadata"]["labels"]["nvidia.com/gpu.count"] = json!("13");
    odd["status"]["capacity"]["nvidia.com/gpu"] = json!("13");
    odd["status"]["allocatable"]["nvidia.com/gpu"] = json!("13");
    let input = input([odd, waiting("p")]);
    assert!(input.nodes().is_empty() && finding(&input, "Node s").contains("do not fill"));
}

fn shared(renamed: bool) -> Value {
    let mut node = node("n", 1);
    let name = if renamed { "nvidia.com/mig-1g.10gb.shared" } else { MIG_1G };
    node["metadata"]["labels"]["nvidia.com/mig-1g.10gb.replicas"] = json!("4");
    node["metadata"]["labels"]["nvidia.com/mig-1g.10gb.sharing-strategy"] = json!("time-slicing");
    let amounts = json!({"cpu": "64", "memory": "512Gi", "pods": "110", name: "28"});
    node["status"]["capacity"] = amounts.clone();
    node["status"]["allocatable"] = amounts;
    node
}

#[test]
fn shared_instances_offer_replicas_under_either_name() {
    for renamed in [true, false] {
        let name = if renamed { "nvidia.com/mig-1g.10gb.shared" } else { MIG_1G };
        let with = |mut pod: Value, count: u32| {
            pod["spec"]["containers"][0]["resources"]["limits"] = json!({name: count});
            pod
        };
        let pods = (0..5).map(|number| with(running(&format!("r{number}"), "n"), 1));
        let input = input(pods.chain([shared(renamed), with(waiting("p"), 2), waiting("plain")]));
        let gpu = &input.gpus()[0];
        let profile = gpu.instances[0].placement.profile();
        let offer = gpu.offer(profile).expect("offered");
        assert_eq!((input.resources()[offer.resource.index()].as_str(), offer.replicas), (name, 4));
        let free: u32 = gpu.instances.iter().map(|instance| gpu.free_replicas(instance)).sum();
        assert_eq!(free, 23);
        assert_eq!(occupancy(&input), (5, 2, 0), "four replicas on the first instance, one on the second");
        assert!(is_pending(&input, "p"));
        assert_eq!(is_pending(&input, "plain"), !renamed);
    }
}

#[test]
fn nobody_gets_replicas_that_no_node_shares() {
    let mut pod = waiting("p");
    pod["spec"]["containers"][0]["resources"]["limits"] = json!({"nvidia.com/mig-1g.10gb.shared": 1});
    let input = input([node("n", 1), pod]);
    assert!(refusal(&input, "p").detail.contains("shares"));
}

fn named(name: &str, profile: &str) -> Value {
    let mut node = node(name, 1);
    let resource = format!("nvidia.com/mig-{profile}");
    node["metadata"]["labels"].as_object_mut().expect("labels").remove("nvidia.com/mig-1g.10gb.count");
    node["metadata"]["labels"][format!("{resource}.count")] = json!("2");
    for amounts in ["capacity", "allocatable"] {
        node["status"][amounts].as_object_mut().expect("amounts").remove(MIG_1G);
        node["status"][amounts][resource.as_str()] = json!("2");
    }
    node
}

fn asking(name: &str, profile: &str) -> Value {
    let mut pod = waiting(name);
    pod["spec"]["containers"][0]["resources"]["limits"] = json!({format!("nvidia.com/mig-{profile}"): 1});
    pod
}

#[test]
fn names_that_differ_by_driver_meet_where_the_node_uses_them() {
    let input = input([named("old", "3g.39gb"), asking("old-name", "3g.39gb"), asking("new-name", "3g.40gb")]);
    assert!(is_pending(&input, "old-name"));
    let refusal = refusal(&input, "new-name");
    assert_eq!(refusal.reason, Reason::Unsatisfiable);
    assert!(refusal.action.contains("nvidia.com/mig-3g.39gb"), "{}", refusal.action);
}

#[test]
fn names_that_no_node_uses_yet_are_both_accepted() {
    let input = input([node("n", 1), asking("old-name", "3g.39gb"), asking("new-name", "3g.40gb")]);
    let demands: Vec<_> = input.pending().iter().map(|pod| pod.demand.single()).collect();
    assert_eq!(demands.len(), 2);
    assert_eq!(demands[0], demands[1], "they mean the same instance");
}

#[test]
fn an_empty_node_takes_the_names_of_its_kin() {
    let mut empty = node("empty", 1);
    empty["metadata"]["labels"].as_object_mut().expect("labels").remove("nvidia.com/mig-1g.10gb.count");
    for amounts in ["capacity", "allocatable"] {
        empty["status"][amounts][MIG_1G] = json!("0");
    }
    let input = input([empty, named("old", "3g.39gb"), asking("p", "3g.39gb")]);
    assert_eq!(nodes_of(&input, "p"), ["empty", "old"]);
}
