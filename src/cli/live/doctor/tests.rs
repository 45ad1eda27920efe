//! Checks of fixed facts, as text: an empty cluster, an installed one, and what can be wrong.

use serde_json::{Value, json};

use super::{Level, checks, render};
use crate::kube::live::installed::Installed;
use crate::kube::live::preflight::{Bound, Facts};
use crate::kube::strip::Stripped;

fn listing(objects: &[Value]) -> Stripped {
    let mut all = Stripped { moment: Some(1_767_226_200), ..Stripped::default() };
    for object in objects {
        all.add(object.clone(), "", "");
    }
    all
}

fn node(name: &str, labels: &Value) -> Value {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "nvidia.com/mig.capable": "true", "nvidia.com/mig.strategy": "mixed",
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.count": "1", "nvidia.com/mig-1g.10gb.count": "7",
        }},
        "status": {
            "capacity": {"cpu": "64", "pods": "110", "nvidia.com/mig-1g.10gb": "7"},
            "allocatable": {"cpu": "64", "pods": "110", "nvidia.com/mig-1g.10gb": "7"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    for (key, value) in labels.as_object().into_iter().flatten() {
        node["metadata"]["labels"][key] = value.clone();
    }
    node
}

fn plugin(node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("plugin-{node}"), "namespace": "gpu-operator",
           "labels": {"app": "nvidia-device-plugin-daemonset"}}, "spec": {"nodeName": node, "tolerations": [{"operator": "Exists"}]}, "status": {"phase": "Running"}})
}

fn empty() -> Facts {
    let definitions = ["mignodes", "migplans", "migpolicies"].map(|it| (format!("{it}.retile.dev"), Ok(None)));
    Facts {
        version: "v1.34.1".into(),
        definitions: definitions.into(),
        controllers: Ok(Vec::new()),
        agents: Ok(Vec::new()),
        admission: Ok(Vec::new()),
        installed: Ok(Installed {
            now: 1_767_226_200,
            nodes: None,
            policies: None,
            plans: None,
            lease: Ok(None),
            waiting: Ok(Vec::new()),
        }),
        listing: Ok(listing(&[node("gpu-a", &json!({})), plugin("gpu-a")])),
        who: "ada".into(),
        rights: vec![("list", "pods".into(), Ok(true))],
        controller_rights: Vec::new(),
    }
}

fn installed() -> Facts {
    let definition = json!({
        "spec": {"versions": [{"name": "v1alpha1", "served": true}]},
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    });
    let definitions =
        ["mignodes", "migplans", "migpolicies"].map(|it| (format!("{it}.retile.dev"), Ok(Some(definition.clone()))));
    let workload = |name: &str, spec: &Value, status: &Value| json!({"metadata": {"namespace": "retile-system", "name": name}, "spec": spec, "status": status});
    let record = json!({"metadata": {"name": "gpu-a", "managedFields": [
        {"subresource": "status", "time": "2026-01-01T00:09:50Z"}]}, "status": {"phase": "Idle"}});
    Facts {
        definitions: definitions.into(),
        controllers: Ok(vec![workload("retile-controller", &json!({"replicas": 2}), &json!({"readyReplicas": 2}))]),
        agents: Ok(vec![workload("retile-agent", &json!({}), &json!({"desiredNumberScheduled": 1, "numberReady": 1}))]),
        admission: Ok(vec![Bound { policy: "retile-agent-own-node".into(), pauses: false }]),
        installed: Ok(Installed {
            nodes: Some(vec![record]),
            policies: Some(Vec::new()),
            plans: Some(Vec::new()),
            lease: Ok(Some(json!({"spec": {"holderIdentity": "controller-1", "renewTime": "2026-01-01T00:09:58Z"}}))),
            ..empty().installed.expect("known")
        }),
        listing: Ok(listing(&[node("gpu-a", &json!({"retile.dev/managed": "true"})), plugin("gpu-a")])),
        controller_rights: vec![("list", "pods".into(), Ok(true)), ("patch", "nodes".into(), Ok(true))],
        ..empty()
    }
}

fn plain(facts: &Facts) -> String {
    anstream::adapter::strip_str(&render(&checks(facts))).to_string()
}

fn worst(facts: &Facts) -> Level {
    checks(facts).iter().map(|check| check.level).max().expect("there are checks")
}

#[test]
fn before_anything_is_installed_it_says_what_an_installation_meets() {
    let expected = "\
API server
  ok   Kubernetes v1.34.1

retile
  warn not installed: no custom resources of retile.dev
       to install it: `retile crds | kubectl apply --server-side -f -`, then docs/how-to/install.md; `retile plan --live` works without

Rights
  ok   ada may do all that this program asks for

Nodes
  ok   1 of 1 node with MIG-capable GPUs
  ok   1 node with the MIG strategy `mixed`
  ok   the device plugin runs on each of them (pods with `app=nvidia-device-plugin-daemonset` or `app.kubernetes.io/name=nvidia-device-plugin`)

Other owners of GPUs
  ok   none found: nothing but retile would change these GPUs

Pods
  warn Node gpu-a: tells counts only; the places of the instances on its 1 GPU, and who holds which, are assumed
  ok   no disruption budget forbids moving a pod that holds MIG instances

7 checks ok, 2 warnings, 0 failures
";
    assert_eq!(plain(&empty()), expected);
}

#[test]
fn an_installation_that_works_is_all_ok_but_for_what_only_an_agent_would_know() {
    let text = plain(&installed());
    assert_eq!(worst(&installed()), Level::Warn, "{text}");
    for part in [
        "ok   mignodes.retile.dev v1alpha1",
        "ok   no MigPolicy: it only observes",
        "ok   controller retile-system/retile-controller: 2 of 2 pods ready",
        "ok   controller-1 leads, lease renewed 2 s ago",
        "ok   agents retile-system/retile-agent: 1 of 1 pod ready",
        "ok   admission policies: retile-agent-own-node",
        "ok   1 agent reported within 120 s",
        "ok   1 of 1 capable node opted in",
        "ok   the controller may observe, reshape and evict",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_does_not_work_fails_with_a_remedy() {
    let broken = |change: fn(&mut Facts)| {
        let mut facts = installed();
        change(&mut facts);
        assert_eq!(worst(&facts), Level::Fail, "{}", plain(&facts));
        assert!(checks(&facts).iter().filter(|it| it.level == Level::Fail).all(|it| !it.remedy.is_empty()));
        plain(&facts)
    };
    assert!(broken(|facts| facts.version = "v1.29.4".into()).contains("upgrade to 1.30"));
    assert!(broken(|facts| facts.definitions[0].1 = Ok(None)).contains("mignodes.retile.dev is missing"));
    assert!(broken(|facts| facts.definitions[1].1 = Ok(Some(json!({})))).contains("does not serve v1alpha1"));
    assert!(broken(|facts| facts.installed.as_mut().expect("known").lease = Ok(None)).contains("no controller leads"));
    assert!(broken(|facts| facts.installed.as_mut().expect("known").now += 600).contains("has not renewed its lease"));
    assert!(broken(|facts| facts.listing = Err("list pods: forbidden".into())).contains("list pods: forbidden"));
    assert!(broken(|facts| facts.controller_rights[0].2 = Ok(false)).contains("the controller may not: list pods"));
    let more_than_allowed = broken(|facts| {
        facts.controller_rights[1].2 = Ok(false);
        let recommend = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "default"}, "spec": {"mode": "Recommend"}});
        facts.installed.as_mut().expect("known").policies = Some(vec![recommend]);
    });
    assert!(
        more_than_allowed.contains("the policy's mode is Recommend, and the controller may not: patch nodes"),
        "{more_than_allowed}"
    );
}

#[test]
fn a_policy_that_pauses_clients_fails_where_that_is_forbidden() {
    let mut facts = installed();
    let pausing = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "default"},
        "spec": {"mode": "Act", "clients": "operator-pause"}});
    facts.installed.as_mut().expect("known").policies = Some(vec![pausing]);
    let forbidden = "the admission policies forbid it";
    assert!(!plain(&facts).contains(forbidden), "none is about nodes: {}", plain(&facts));
    let of_nodes = |pauses| Bound { policy: "retile-controller-node".into(), pauses };
    facts.admission = Ok(vec![of_nodes(false)]);
    assert!(plain(&facts).contains(forbidden) && worst(&facts) == Level::Fail, "{}", plain(&facts));
    facts.admission = Ok(vec![of_nodes(true)]);
    assert!(!plain(&facts).contains(forbidden), "{}", plain(&facts));
}

#[test]
fn clients_that_were_left_paused_are_told_with_what_lets_them_go_on() {
    let mut facts = installed();
    let mut left = node("gpu-a", &json!({"retile.dev/managed": "true"}));
    left["metadata"]["annotations"] = json!({"retile.dev/paused-clients": "dcgm"});
    facts.listing = Ok(listing(&[left, plugin("gpu-a")]));
    let text = plain(&facts);
    assert!(text.contains("no operation is under way on gpu-a") && text.contains("docs/troubleshooting.md"), "{text}");
    let record = &mut facts.installed.as_mut().expect("known").nodes.as_mut().expect("there")[0];
    record["spec"] = json!({"operation": {"id": "op-1"}});
    assert!(!plain(&facts).contains("no operation is under way"), "it is an operation's: {}", plain(&facts));
}

#[test]
fn a_plugin_that_would_not_come_back_is_told_before_anything_is_installed() {
    let mut intolerant = plugin("gpu-a");
    intolerant["spec"]["tolerations"] =
        json!([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]);
    let facts = Facts { listing: Ok(listing(&[node("gpu-a", &json!({})), intolerant])), ..empty() };
    let text = plain(&facts);
    assert!(text.contains("left alone: gpu-a: the device plugin there does not tolerate"), "{text}");
    assert!(!plain(&empty()).contains("does not tolerate"));
}

#[test]
fn other_owners_are_told_as_planning_tells_them() {
    for (labels, words) in [
        (json!({"nos.nebuly.com/gpu-partitioning": "mig"}), "nos manages the node's GPUs"),
        (json!({"cloud.google.com/gke-gpu-partition-size": "1g.5gb"}), "GKE manages the node's GPUs"),
        (json!({"nvidia.com/gpu.deploy.dra-driver": "true"}), "NVIDIA's DRA driver manages"),
        (json!({"nvidia.com/gpu-driver-upgrade-state": "drain-required"}), "driver is being upgraded"),
        (
            json!({"nvidia.com/mig.config": "all-balanced", "retile.dev/managed": "true"}),
            "mig-manager owns the node's layout",
        ),
        (json!({"karpenter.sh/nodepool": "gpu"}), "Karpenter makes nodes here"),
    ] {
        let facts = Facts { listing: Ok(listing(&[node("gpu-a", &labels), plugin("gpu-a")])), ..empty() };
        assert!(plain(&facts).contains(words), "{labels}: {}", plain(&facts));
    }
}

#[test]
fn nodes_that_cannot_be_used_are_named() {
    let facts = |nodes: &[Value]| Facts { listing: Ok(listing(nodes)), ..empty() };
    let text = plain(&facts(&[node("gpu-s", &json!({"nvidia.com/mig.strategy": "single"}))]));
    assert!(
        text.contains("MIG strategy `single`: gpu-s") && text.contains("device plugin is found on gpu-s"),
        "{text}"
    );
    let text = plain(&facts(&[json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "cpu"}})]));
    assert!(text.contains("none of 1 node is labelled"), "{text}");
}

#[test]
fn definitions_that_may_not_be_read_are_said_once_and_the_objects_count() {
    let mut facts = installed();
    for (_, found) in &mut facts.definitions {
        *found = Err("forbidden".into());
    }
    let text = plain(&facts);
    let said =
        "the definitions mignodes.retile.dev, migplans.retile.dev, migpolicies.retile.dev are not known: forbidden";
    assert!(text.contains(said), "{text}");
    assert_eq!(text.matches("not known").count(), 1, "{text}");
    assert!(text.contains("controller-1 leads"), "{text}");
    facts.installed.as_mut().expect("known").lease = Err("forbidden too".into());
    assert!(plain(&facts).contains("who leads is not known: forbidden too"));
}

#[test]
fn what_retile_has_just_changed_has_no_other_owner() {
    let mut facts = installed();
    let changed = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigNode", "metadata": {"name": "gpu-a"}, "spec": {}, "status": {
        "nodeName": "gpu-a", "gpuCount": 1, "gpus": [{
            "index": 0, "uuid": "GPU-0", "model": "NVIDIA A100-SXM4-80GB", "migMode": "Enabled", "lastChanged": "2026-01-01T00:09:00Z",
            "instances": (0..7).map(|start| json!({"profile": "1g.10gb", "start": start, "size": 1, "uuid": format!("MIG-{start}"),
                "occupancy": "free"})).collect::<Vec<_>>(),
        }],
    }});
    facts.listing = Ok(listing(&[node("gpu-a", &json!({"retile.dev/managed": "true"})), plugin("gpu-a"), changed]));
    let text = plain(&facts);
    assert!(text.contains("ok   GPUs that were changed recently rest on gpu-a"), "{text}");
    assert!(text.contains("none found: nothing but retile"), "{text}");
}
