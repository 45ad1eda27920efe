//! Checks of the nodes: MIG, device plugin, reports, who else owns their GPUs, autoscalers, disruption budgets.
//!
//! Who owns a node's GPUs is read off the planning input, so that this cannot say otherwise than planning does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::standing::SILENCE;
use super::Check;
use crate::cli::show::names::{count, some_of};
use crate::exec::TAINT_KEY;
use crate::exec::marks::PAUSED_CLIENTS;
use crate::kube::export::{self, PolicyFile, ReadError, ReadOptions, Source};
use crate::kube::live::installed::status_written;
use crate::kube::live::preflight::Facts;
use crate::kube::live::{PLUGIN, stays_under_our_taint};
use crate::kube::strip::Stripped;
use crate::model::{PlanningInput, Reason, STRATEGY_LABEL};

const NODES: &str = "Nodes";
const OWNERS: &str = "Other owners of GPUs";
const PODS: &str = "Pods";
/// Seconds after which an agent that writes every 15 s is silent.
const SILENT: i64 = SILENCE.as_secs().cast_signed();
/// Names that are listed before the rest is counted, and findings.
const MOST: usize = 6;
/// A policy that says nothing, so that nodes are judged as under any policy.
const ANY_POLICY: &str = "{apiVersion: retile.dev/v1alpha1, kind: MigPolicy, metadata: {name: any}, spec: {}}";

/// All of them.
pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let listing = match &facts.listing {
        Ok(listing) => listing,
        Err(why) => {
            let remedy = "ask for a ClusterRole that may list what planning reads; docs/how-to/live.md has one";
            return vec![Check::fail(NODES, format!("what planning reads cannot be read: {why}"), remedy)];
        }
    };
    let objects: Vec<Value> = listing.objects.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    let of_kind = |kind: &str| objects.iter().filter(|it| it["kind"] == kind).collect::<Vec<_>>();
    let (nodes, pods) = (of_kind("Node"), of_kind("Pod"));
    let capable: Vec<&Value> =
        nodes.iter().copied().filter(|node| label(node, "nvidia.com/mig.capable") == Some("true")).collect();
    let mut checks = vec![capable_check(nodes.len(), &capable)];
    checks.extend(strategies(&capable));
    if !capable.is_empty() {
        checks.push(plugins(&capable, &pods));
        checks.extend(stay_away(&pods));
    }
    if let Ok(installed) = &facts.installed
        && installed.nodes.is_some()
    {
        checks.extend(reports(&capable, installed.nodes.as_deref().unwrap_or_default(), installed.now));
        checks.extend(left_paused(&nodes, installed.nodes.as_deref().unwrap_or_default()));
        checks.push(opted_in(&capable));
    }
    checks.extend(owners(listing));
    checks.extend(autoscalers(&nodes, &pods));
    checks
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn names(objects: &[&Value]) -> String {
    let names: Vec<&str> = objects.iter().map(|object| name(object)).collect();
    some_of(&names, MOST)
}

fn capable_check(all: usize, capable: &[&Value]) -> Check {
    if capable.is_empty() {
        return Check::warn(
            NODES,
            format!(
                "none of {} is labelled as having MIG-capable GPUs (`nvidia.com/mig.capable=true`)",
                count(all as u64, "node")
            ),
            "install NVIDIA's device plugin with GPU feature discovery, or the GPU Operator; MIG exists from the A30 and A100 on",
        );
    }
    Check::ok(NODES, format!("{} of {} with MIG-capable GPUs", capable.len(), count(all as u64, "node")))
}

fn strategies(capable: &[&Value]) -> Vec<Check> {
    let with = |strategy: Option<&str>| -> Vec<&Value> {
        capable.iter().copied().filter(|node| label(node, STRATEGY_LABEL) == strategy).collect()
    };
    let (mixed, single) = (with(Some("mixed")), with(Some("single")));
    let mut none = with(Some("none"));
    none.extend(with(None));
    let mut checks = Vec::new();
    if !mixed.is_empty() {
        checks.push(Check::ok(NODES, format!("{} with the MIG strategy `mixed`", count(mixed.len() as u64, "node"))));
    }
    if !single.is_empty() {
        checks.push(Check::warn(
            NODES,
            format!("MIG strategy `single`: {}: all GPUs of such a node have the same single profile", names(&single)),
            "set the device plugin's `migStrategy` to `mixed`, which gives far more",
        ));
    }
    if !none.is_empty() {
        checks.push(Check::warn(
            NODES,
            format!("no MIG strategy: {}: MIG instances are not offered there", names(&none)),
            "set the device plugin's `migStrategy` to `mixed`, and switch MIG mode on: `nvidia-smi -mig 1`",
        ));
    }
    checks
}

fn is_plugin(pod: &Value) -> bool {
    PLUGIN.iter().any(|(key, value)| label(pod, key) == Some(value))
}

/// Plugins that would not come back to a node under operation: the controller leaves such nodes alone.
fn stay_away(pods: &[&Value]) -> Option<Check> {
    let stays = |pod: &&&Value| is_plugin(pod) && !stays_under_our_taint(pod);
    let nodes: BTreeSet<&str> = pods.iter().filter(stays).filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    let nodes: Vec<&str> = nodes.into_iter().collect();
    (!nodes.is_empty()).then(|| {
        Check::warn(
            NODES,
            format!(
                "left alone: {}: the device plugin there does not tolerate the taint {TAINT_KEY}, and would not come back in an operation",
                some_of(&nodes, MOST)
            ),
            "add a toleration of that key to the plugin's DaemonSet; docs/how-to/install.md",
        )
    })
}

fn plugins(capable: &[&Value], pods: &[&Value]) -> Check {
    let with: BTreeSet<&str> =
        pods.iter().filter(|pod| is_plugin(pod)).filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    let without: Vec<&Value> = capable.iter().copied().filter(|node| !with.contains(name(node))).collect();
    if without.is_empty() {
        let signs = PLUGIN.map(|(key, value)| format!("`{key}={value}`")).join(" or ");
        return Check::ok(NODES, format!("the device plugin runs on each of them (pods with {signs})"));
    }
    Check::warn(
        NODES,
        format!("no pod of NVIDIA's device plugin is found on {}", names(&without)),
        "its pods are known by `app=nvidia-device-plugin-daemonset` or `app.kubernetes.io/name=nvidia-device-plugin`; an operation \
         replaces that pod, and cannot end without it",
    )
}

fn reports(capable: &[&Value], records: &[Value], now: i64) -> Vec<Check> {
    let known: BTreeMap<&str, &Value> = records.iter().map(|record| (name(record), record)).collect();
    let without: Vec<&Value> = capable.iter().copied().filter(|node| !known.contains_key(name(node))).collect();
    let mut checks = Vec::new();
    if !without.is_empty() {
        checks.push(Check::warn(
            NODES,
            format!(
                "no agent has reported from {}: placements are inferred there, and nothing is changed",
                names(&without)
            ),
            "see whether the agent's pod runs there; docs/how-to/run-the-agent.md",
        ));
    }
    let silent: Vec<&Value> =
        records.iter().filter(|record| status_written(record).is_none_or(|written| now - written > SILENT)).collect();
    if !silent.is_empty() {
        checks.push(Check::warn(
            NODES,
            format!("no report for more than {SILENT} s from {}", names(&silent)),
            "docs/runbooks/RetileAgentSilent.md",
        ));
    } else if !records.is_empty() {
        checks.push(Check::ok(NODES, format!("{} reported within {SILENT} s", count(records.len() as u64, "agent"))));
    }
    let degraded: Vec<&Value> = records.iter().filter(|record| record["status"]["phase"] == "Degraded").collect();
    if !degraded.is_empty() {
        let found = format!("degraded, waiting for people: {}", names(&degraded));
        checks.push(Check::fail(NODES, found, "docs/runbooks/RetileNodeDegraded.md"));
    }
    checks
}

/// Nodes whose clients are paused without an operation that would let them go on.
fn left_paused(nodes: &[&Value], records: &[Value]) -> Option<Check> {
    let busy = |node: &Value| records.iter().any(|it| name(it) == name(node) && !it["spec"]["operation"].is_null());
    let paused = |node: &Value| !node["metadata"]["annotations"][PAUSED_CLIENTS].is_null();
    let left: Vec<&Value> = nodes.iter().copied().filter(|node| paused(node) && !busy(node)).collect();
    (!left.is_empty()).then(|| {
        Check::warn(
            NODES,
            format!("retile has paused the GPU Operator's clients and no operation is under way on {}", names(&left)),
            "a controller that may act lets them go on while the node's agent reports, and once nobody else has paused them too; by hand: docs/troubleshooting.md",
        )
    })
}

fn opted_in(capable: &[&Value]) -> Check {
    let managed = capable.iter().filter(|node| label(node, "retile.dev/managed") == Some("true")).count();
    let found = format!("{managed} of {} opted in", count(capable.len() as u64, "capable node"));
    if managed == 0 && !capable.is_empty() {
        return Check::warn(
            NODES,
            found,
            "label those that retile may change: `kubectl label node NODE retile.dev/managed=true`",
        );
    }
    Check::ok(NODES, found)
}

/// What planning would leave alone, and why.
fn owners(listing: &Stripped) -> Vec<Check> {
    let kept = listing.objects.iter().filter(|text| !text.contains("\"kind\":\"MigPolicy\"")).cloned().collect();
    let text = Stripped { objects: kept, ..listing.clone() }.list();
    let read = |policy: Option<&str>| {
        let policy = policy.map(|text| PolicyFile { name: "any policy".to_owned(), text: text.to_owned() });
        let options = ReadOptions { policy, ..ReadOptions::default() };
        export::read(Source::Reader("the cluster", &mut text.as_bytes()), &options)
    };
    let (free, under_policy) = match (read(None), read(Some(ANY_POLICY))) {
        (Ok(free), Ok(under_policy)) => (free, under_policy),
        // There is nothing to own, which is said already.
        (Err(ReadError::NoNodes { .. }), _) => return Vec::new(),
        (Err(error), _) | (_, Err(error)) => {
            return vec![Check::warn(OWNERS, format!("not known: {error}"), "correct what is named")];
        }
    };
    let mut left: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut resting: BTreeSet<String> = BTreeSet::new();
    for (node, reason, why) in frozen(&free).into_iter().chain(frozen(&under_policy)) {
        // What retile has changed itself, and leaves alone for a while, nobody else owns.
        if reason == Reason::CoolingDown {
            resting.insert(node);
        } else if !why.starts_with("the node is not opted in") {
            left.entry(why).or_default().insert(node);
        }
    }
    let mut checks: Vec<Check> = Vec::new();
    for (why, nodes) in &left {
        let nodes: Vec<&String> = nodes.iter().collect();
        checks.push(Check::warn(
            OWNERS,
            format!("{} left alone: {why}", some_of(&nodes, MOST)),
            "docs/coexistence.md says what each of them means, and how a node is handed over",
        ));
    }
    if checks.is_empty() && !free.nodes().is_empty() {
        checks.push(Check::ok(OWNERS, "none found: nothing but retile would change these GPUs"));
    }
    if !resting.is_empty() {
        let resting: Vec<&String> = resting.iter().collect();
        let found = format!("GPUs that were changed recently rest on {}", some_of(&resting, MOST));
        checks.insert(0, Check::ok(NODES, found));
    }
    let doubts = free.findings().iter().filter(|finding| !finding.object.starts_with("Export"));
    let doubts: Vec<String> = doubts.map(|finding| format!("{}: {}", finding.object, finding.message)).collect();
    checks.extend(doubts.iter().take(MOST).map(|doubt| Check::warn(PODS, doubt.clone(), "")));
    if let Some(more) = doubts.len().checked_sub(MOST).filter(|more| *more > 0) {
        checks.push(Check::warn(PODS, format!("and {more} more findings"), "`retile plan --live` lists all"));
    }
    checks.push(budgets(&free));
    checks
}

/// Nodes that planning leaves alone, each with why.
fn frozen(input: &PlanningInput) -> Vec<(String, Reason, String)> {
    let named = input.gpus().iter().filter_map(|gpu| {
        let (reason, why) = gpu.frozen.clone()?;
        Some((input.nodes()[gpu.node.index()].name.clone(), reason, why))
    });
    named.collect()
}

/// Budgets that allow no eviction of a pod that holds instances.
fn budgets(input: &PlanningInput) -> Check {
    let held: BTreeSet<&str> = input
        .running()
        .iter()
        .flat_map(|pod| &pod.budgets)
        .map(|budget| &input.budgets()[budget.index()])
        .filter(|budget| budget.allowed == 0)
        .map(|budget| budget.name.as_str())
        .collect();
    if held.is_empty() {
        return Check::ok(PODS, "no disruption budget forbids moving a pod that holds MIG instances");
    }
    let held: Vec<&str> = held.into_iter().collect();
    Check::warn(
        PODS,
        format!("disruption budgets that allow no eviction now: {}", some_of(&held, MOST)),
        "their pods are never moved; give them another replica or `maxUnavailable: 1` where moving them is fine",
    )
}

fn autoscalers(nodes: &[&Value], pods: &[&Value]) -> Vec<Check> {
    let mut checks = Vec::new();
    let karpenter = |node: &&&Value| {
        let labels = node["metadata"]["labels"].as_object();
        labels.is_some_and(|labels| labels.keys().any(|key| key.starts_with("karpenter.sh/")))
    };
    if nodes.iter().any(|node| karpenter(&node)) {
        checks.push(Check::warn(
            OWNERS,
            "Karpenter makes nodes here; it may buy before retile has looked, and take a node under operation for idle",
            "annotate GPU nodes with `karpenter.sh/do-not-disrupt: \"true\"` where that happens; docs/coexistence.md",
        ));
    }
    let scaler = |pod: &&&Value| {
        ["app", "app.kubernetes.io/name", "k8s-app"]
            .iter()
            .any(|key| label(pod, key).is_some_and(|value| value.ends_with("cluster-autoscaler")))
    };
    if pods.iter().any(|pod| scaler(&pod)) {
        checks.push(Check::warn(
            OWNERS,
            "the Cluster Autoscaler runs here; it may buy before retile has looked",
            "give pending MIG pods a delay: the chart's `scaleUpDelay.enabled`; docs/coexistence.md",
        ));
    }
    checks
}
