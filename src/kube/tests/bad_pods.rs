//! The pods part of the bad-input catalogue: a bad pod makes only itself ineligible.

use serde_json::{Value, json};

use super::*;
use crate::model::{ControllerKind, DisruptionLevel, Movability};

/// Reads one changed pod beside a good one, which must stay plannable, and says what became of the changed one.
fn judged(change: impl FnOnce(&mut Value)) -> PlanningInput {
    let mut pod = waiting("odd");
    change(&mut pod);
    let input = input([node("n", 2), waiting("good"), pod]);
    assert!(is_pending(&input, "good"), "the good pod suffers: {:?}", input.findings());
    input
}

fn limits(limits: Value) -> PlanningInput {
    judged(|pod| pod["spec"]["containers"][0]["resources"] = json!({"limits": limits}))
}

fn asks(input: &PlanningInput) -> Vec<(String, u32)> {
    let pod = input.pending().iter().find(|pod| pod.pod.name == "odd").expect("plannable");
    pod.demand.iter().map(|(resource, count)| (input.resources()[resource.index()].clone(), count)).collect()
}

#[test]
fn unknown_and_malformed_names_are_unsatisfiable() {
    for name in [
        "nvidia.com/mig-9g.999gb",
        "nvidia.com/mig-1c.2g.20gb",
        "nvidia.com/mig-",
        "nvidia.com/mig-1g",
        "nvidia.com/MIG-1g.10gb",
        "Nvidia.com/mig-1g.10gb",
        "nvidia.com/mig-1g.24gb.gfx",
        "nvidia.com/mig-1g.10gb-me",
        &format!("nvidia.com/mig-{}", "x".repeat(300)),
    ] {
        assert_eq!(reason(&limits(json!({name: "1"})), "odd"), Some(Reason::Unsatisfiable), "{name}");
    }
}

#[test]
fn suffixes_are_matched_to_the_board() {
    let input = limits(json!({"nvidia.com/mig-1g.10gb.me": "1"}));
    assert_eq!(asks(&input), [("nvidia.com/mig-1g.10gb.me".to_owned(), 1)]);
}

#[test]
fn quantities_are_counted_or_refused() {
    for quantity in [json!("-1"), json!("500m"), json!("x"), json!(""), json!("1e")] {
        assert_eq!(reason(&limits(json!({MIG_1G: quantity})), "odd"), Some(Reason::Unsatisfiable), "{quantity}");
    }
    for quantity in ["1k", "1e3", "1Ki", "1000000m", "1E", "9223372036854775807", "1e30"] {
        let input = limits(json!({MIG_1G: quantity}));
        let refusal = refusal(&input, "odd");
        assert_eq!(refusal.reason, Reason::Unsatisfiable, "{quantity}");
        assert!(refusal.detail.contains("cannot hold the instances"), "{quantity}: {}", refusal.detail);
    }
    assert_eq!(asks(&limits(json!({MIG_1G: 8}))), [(MIG_1G.to_owned(), 8)]);
    let zero = limits(json!({MIG_1G: "0"}));
    assert!(!is_pending(&zero, "odd") && reason(&zero, "odd").is_none());
}

#[test]
fn requests_must_equal_limits_and_default_from_them() {
    for resources in [
        json!({"requests": {MIG_1G: "1"}}),
        json!({"requests": {MIG_1G: "1"}, "limits": {MIG_1G: "2"}}),
        json!({"requests": {"cpu": "4 cores"}, "limits": {MIG_1G: "1"}}),
    ] {
        let input = judged(|pod| pod["spec"]["containers"][0]["resources"] = resources.clone());
        assert_eq!(reason(&input, "odd"), Some(Reason::Unsatisfiable), "{resources}");
    }
    let both = judged(|pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {MIG_1G: "2"}, "limits": {MIG_1G: "2"}});
    });
    assert_eq!(asks(&both), [(MIG_1G.to_owned(), 2)]);
}

#[test]
fn several_profiles_and_containers_make_a_vector() {
    let input = judged(|pod| {
        pod["spec"]["containers"] = json!([
            {"resources": {"limits": {MIG_1G: 1, "nvidia.com/mig-2g.20gb": 1}}},
            {"resources": {"limits": {MIG_1G: 2}}}]);
        pod["spec"]["initContainers"] = json!([{"restartPolicy": "Always", "resources": {"limits": {MIG_1G: 1}}}]);
        pod["spec"]["overhead"] = json!({MIG_1G: 1});
        pod["spec"]["resources"] = json!({"requests": {"cpu": "3", MIG_1G: "40"}});
    });
    assert_eq!(asks(&input), [(MIG_1G.to_owned(), 5), ("nvidia.com/mig-2g.20gb".to_owned(), 1)]);
    let init = judged(|pod| {
        pod["spec"]["initContainers"] = pod["spec"]["containers"].clone();
        pod["spec"]["containers"] = json!([{}]);
    });
    assert_eq!(asks(&init), [(MIG_1G.to_owned(), 1)]);
}

#[test]
fn mig_and_whole_gpus_at_once_are_unsatisfiable() {
    let input = limits(json!({MIG_1G: 1, "nvidia.com/gpu": 1}));
    assert_eq!(reason(&input, "odd"), Some(Reason::Unsatisfiable));
    let whole = limits(json!({"nvidia.com/gpu": 1}));
    assert!(!is_pending(&whole, "odd") && reason(&whole, "odd").is_none());
}

#[test]
fn what_is_not_modelled_is_not_planned() {
    for (key, value) in [
        ("resourceClaims", json!([{"name": "gpu"}])),
        ("schedulingGates", json!([{"name": "kueue"}])),
        ("schedulerName", json!("volcano")),
        ("schedulingGroup", json!({"podGroupName": "g"})),
        ("topologySpreadConstraints", json!([{"whenUnsatisfiable": "DoNotSchedule", "topologyKey": "zone"}])),
        ("volumes", json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])),
        (
            "affinity",
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z"}]}}),
        ),
        ("nodeSelector", json!({"nvidia.com/mig-1g.10gb.count": "14"})),
    ] {
        let input = judged(|pod| pod["spec"][key] = value.clone());
        let refusal = refusal(&input, "odd");
        assert_eq!(refusal.reason, Reason::NotModelled, "{key}");
        assert!(!refusal.detail.is_empty() && !refusal.action.is_empty());
    }
    let claimed = judged(|pod| pod["status"]["extendedResourceClaimStatus"] = json!({"resourceClaimName": "c"}));
    assert_eq!(reason(&claimed, "odd"), Some(Reason::NotModelled));
}

#[test]
fn a_device_class_that_serves_a_name_takes_it_out_of_planning() {
    let class = json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "mig"},
                       "spec": {"extendedResourceName": MIG_1G}});
    let input = input([node("n", 1), class, waiting("odd")]);
    assert_eq!(reason(&input, "odd"), Some(Reason::NotModelled));
}

#[test]
fn nodes_that_do_not_fit_are_counted_by_predicate() {
    let cases: [(&str, Value, &str); 5] = [
        ("nodeSelector", json!({"zone": "mars"}), "2 do not match its node selector"),
        (
            "affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["x"]}]}]}}}),
            "2 do not match its node selector",
        ),
        ("containers", json!([{"resources": {"limits": {MIG_1G: 1}, "requests": {"cpu": "65"}}}]), "2 are too small"),
        ("containers", json!([{"resources": {"limits": {MIG_1G: 1, "example.com/fpga": 1}}}]), "2 are too small"),
        ("containers", json!([{"resources": {"limits": {MIG_1G: 15}}}]), "1 cannot hold"),
    ];
    for (key, value, words) in cases {
        let mut pod = waiting("odd");
        pod["spec"][key] = value;
        let input = input([node("a", 2), node("b", 3), pod]);
        if words.starts_with('1') {
            assert!(is_pending(&input, "odd"), "the larger node can hold 15");
            continue;
        }
        let refusal = refusal(&input, "odd");
        assert_eq!(refusal.reason, Reason::Unsatisfiable);
        assert!(refusal.detail.contains(words), "{}", refusal.detail);
    }
    let mut tainted = node("a", 1);
    tainted["spec"] = json!({"taints": [{"key": "team", "value": "x", "effect": "NoSchedule"}]});
    let input_tainted = input([tainted.clone(), waiting("odd")]);
    assert!(refusal(&input_tainted, "odd").detail.contains("1 have a taint"));
    let mut tolerant = waiting("odd");
    tolerant["spec"]["tolerations"] = json!([{"key": "team", "operator": "Exists"}]);
    assert!(is_pending(&input([tainted, tolerant]), "odd"));
}

#[test]
fn nodes_that_are_only_away_leave_a_pod_waiting() {
    let mut cordoned = node("a", 1);
    cordoned["spec"] = json!({"unschedulable": true});
    let input = input([cordoned, waiting("odd")]);
    assert_eq!(reason(&input, "odd"), Some(Reason::WaitingForCapacity));
}

#[test]
fn bound_pods_are_occupancy_and_never_demand() {
    let input = judged(|pod| pod["spec"]["nodeName"] = json!("n"));
    assert!(!is_pending(&input, "odd"));
    assert_eq!(input.running().len(), 1);
    assert_eq!(occupancy(&input), (13, 1, 0));
}

#[test]
fn priorities_have_a_ceiling_and_preemption_can_be_declined() {
    let input = judged(|pod| {
        pod["spec"]["priority"] = json!(2_147_483_647);
        pod["spec"]["preemptionPolicy"] = json!("Never");
    });
    let pod = input.pending().iter().find(|pod| pod.pod.name == "odd").expect("plannable");
    assert_eq!((pod.priority, pod.preempts), (1_000_000_000, false));
    assert!(finding(&input, "Pod ml/odd").contains("priority"));
}

#[test]
fn annotations_and_owners_that_mean_nothing_protect() {
    let junk = "\u{1F4A5}".repeat(64 * 1024);
    for annotation in ["yse", "", "-5m", &junk, "true"] {
        let mut pod = running("odd", "n");
        pod["metadata"]["annotations"] = json!({"retile.dev/do-not-move": annotation});
        let input = input([node("n", 1), pod]);
        assert!(matches!(input.running()[0].movability, Movability::Never(Reason::PolicyForbids, _)));
    }
    let mut pod = running("odd", "n");
    pod["metadata"]["ownerReferences"] =
        json!([{"kind": "Job", "controller": true}, {"kind": "Job", "controller": true}]);
    let twice = input([node("n", 1), pod]);
    assert!(matches!(twice.running()[0].movability, Movability::Never(..)));
    let plain = input([node("n", 1), running("odd", "n")]);
    assert_eq!(plain.running()[0].movability, Movability::From(DisruptionLevel::Balanced));
    assert_eq!(plain.running()[0].controller, ControllerKind::Replacing);
}

#[test]
fn an_unreadable_running_pod_withholds_the_free_instances_of_its_node() {
    let text = list([node("a", 1), node("b", 1), running("odd", "a"), waiting("good")]).to_string();
    // A lone surrogate is legal for a JSON scanner and for nothing else.
    let text = text.replace(r#""name":"odd""#, r#""annotations":{"retile.dev/do-not-move":"\ud800"},"name":"odd""#);
    let input = read_bytes(text.as_bytes(), &ReadOptions::default()).expect("a readable export");
    assert!(is_pending(&input, "good"));
    assert_eq!(occupancy(&input), (7, 0, 7));
    assert!(input.findings().iter().any(|it| it.object.contains("Pod") && it.message.contains("cannot be read")));
}

#[test]
fn wrong_shapes_cost_only_the_pod() {
    for (pointer, value) in [("spec", json!("none")), ("metadata", json!([1, 2])), ("status", json!(7))] {
        let input = judged(|pod| pod[pointer] = value.clone());
        assert!(!is_pending(&input, "odd"), "{pointer}");
        assert!(input.findings().iter().any(|it| it.message.contains(pointer)), "{pointer}: {:?}", input.findings());
    }
    let deep = judged(|pod| pod["spec"]["containers"] = json!([{"resources": {"limits": ["x"]}}]));
    assert!(finding(&deep, "Pod ml/odd").contains("spec.containers[0].resources.limits"), "{:?}", deep.findings());
}

#[test]
fn skewed_clocks_do_no_harm() {
    let input = judged(|pod| pod["metadata"]["creationTimestamp"] = json!("2126-01-01T00:00:00Z"));
    let pod = input.pending().iter().find(|pod| pod.pod.name == "odd").expect("plannable");
    assert_eq!(pod.waiting_seconds, 0);
    let mut dying = running("odd", "n");
    dying["metadata"]["deletionTimestamp"] = json!("1999-01-01T00:00:00Z");
    let input = super::input([node("n", 1), dying]);
    assert_eq!(occupancy(&input).1, 1);
    assert!(matches!(input.running()[0].movability, Movability::Never(Reason::CoolingDown, _)));
}

#[test]
fn contradictory_conditions_are_no_demand() {
    let input = judged(|pod| pod["status"]["conditions"][0]["status"] = json!("True"));
    assert_eq!(reason(&input, "odd"), Some(Reason::CoolingDown));
    let unseen = judged(|pod| pod["status"]["conditions"] = json!([]));
    assert_eq!(reason(&unseen, "odd"), Some(Reason::CoolingDown));
}

#[test]
fn ended_pods_hold_nothing_but_only_when_their_containers_have_ended() {
    for (status, busy) in [
        (json!({"phase": "Failed", "reason": "UnexpectedAdmissionError"}), 0),
        (json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {}}}]}), 0),
        (json!({"phase": "Failed", "containerStatuses": [{"state": {"running": {}}}]}), 1),
    ] {
        let mut pod = running("odd", "n");
        pod["status"] = status.clone();
        assert_eq!(occupancy(&input([node("n", 1), pod])).1, busy, "{status}");
    }
}

#[test]
fn the_minimum_age_of_the_policy_is_waited_for() {
    let mut young = waiting("young");
    young["metadata"]["creationTimestamp"] = json!("2026-01-01T00:01:00Z");
    let items = || {
        let mut managed = node("n", 1);
        managed["metadata"]["labels"]["retile.dev/managed"] = json!("true");
        [managed, young.clone(), waiting("old")]
    };
    let input = under_policy(items(), "{}");
    assert!(is_pending(&input, "old"));
    assert_eq!(reason(&input, "young"), Some(Reason::CoolingDown));
    assert!(is_pending(&super::input(items()), "young"), "without a policy nothing is waited for");
}

#[test]
fn soft_rules_do_not_keep_a_pod_out() {
    let input = judged(|pod| {
        pod["spec"]["topologySpreadConstraints"] = json!([{"whenUnsatisfiable": "ScheduleAnyway"}]);
        pod["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}]}});
    });
    assert!(is_pending(&input, "odd"));
}
