//! Why the GPUs of a node are not ours to change.
//!
//! Input: a node's labels, annotations, taints and conditions, and what the rest of the export says of dynamic
//! resource allocation. Output: a reason in words, or none. GPUs of such a node are frozen: what runs there stays, and
//! free instances still serve. Without a policy a node counts whether it is opted in or not.

use super::objects::Node;
use super::taints;
use crate::exec::marks::DEPLOY_PLUGIN;
use crate::exec::partitioner_of;
use crate::model::{PRODUCT_LABEL, Reason, STRATEGY_LABEL};

/// Label by which a node is opted in.
pub(crate) const MANAGED: &str = "retile.dev/managed";
const PAUSED: &str = "retile.dev/paused";
const MIG_CONFIG: &str = "nvidia.com/mig.config";
const MIG_CONFIG_STATE: &str = "nvidia.com/mig.config.state";
const DEPLOY_MIG_MANAGER: &str = "nvidia.com/gpu.deploy.mig-manager";

/// What decides about ownership besides the node itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    /// Whether a policy is in force; without one every MIG-capable node counts.
    pub(crate) policy_given: bool,
    /// Whether a driver of dynamic resource allocation offers the node's GPUs.
    pub(crate) served_by_dra: bool,
    /// Whether a pod that is not bound yet is nominated to the node: by preemption, or by whoever expects it there.
    pub(crate) nominated: bool,
}

/// Why nothing on the node may be changed.
pub(crate) fn freeze(node: &Node, circumstances: Circumstances) -> Option<(Reason, String)> {
    let forbids = |detail: String| Some((Reason::PolicyForbids, detail));
    if let Some(detail) = opted_out(node, circumstances.policy_given) {
        return forbids(detail);
    }
    if let Some(detail) = going_away(node) {
        return forbids(detail);
    }
    if let Some(detail) = foreign_owner(node, circumstances.served_by_dra) {
        return forbids(detail);
    }
    if let Some(detail) = mig_manager(node, circumstances.policy_given) {
        return forbids(detail);
    }
    unusable(node).and_then(forbids).or_else(|| passing(node, circumstances.nominated))
}

fn opted_out(node: &Node, policy_given: bool) -> Option<String> {
    let managed = node.label(MANAGED);
    if policy_given && managed != Some("true") {
        return Some(format!("the node is not opted in; label it `{MANAGED}=true`"));
    }
    let paused = node.metadata.annotations.get(PAUSED).filter(|value| *value != "false");
    paused.map(|_| format!("the node is paused by its annotation `{PAUSED}`"))
}

fn going_away(node: &Node) -> Option<String> {
    if node.metadata.deleting() {
        return Some("the node is being deleted".to_owned());
    }
    if let Some(taint) = taints::removal(&node.spec.taints) {
        return Some(format!("the node is being removed (taint `{}`)", taint.key));
    }
    node.spec.unschedulable.then(|| "the node is cordoned".to_owned())
}

fn foreign_owner(node: &Node, served_by_dra: bool) -> Option<String> {
    let owner = |who: &str, sign: &str| Some(format!("{who} manages the node's GPUs ({sign}); one owner per GPU"));
    if served_by_dra || node.label("nvidia.com/gpu.deploy.dra-driver") == Some("true") {
        return owner("NVIDIA's DRA driver", "a ResourceSlice or the label nvidia.com/gpu.deploy.dra-driver");
    }
    if node.metadata.annotations.any_with_prefix("hami.io/") {
        return owner("HAMi", "annotation hami.io/…");
    }
    if node.label("nos.nebuly.com/gpu-partitioning").is_some() {
        return owner("nos", "label nos.nebuly.com/gpu-partitioning");
    }
    if node.label("cloud.google.com/gke-gpu-partition-size").is_some() {
        return owner("GKE", "label cloud.google.com/gke-gpu-partition-size");
    }
    let offered = node.status.capacity.keys().find_map(|name| Some((partitioner_of(name)?, name)));
    if let Some((who, resource)) = offered {
        return owner(who, &format!("resource {resource}"));
    }
    taints::operation(&node.spec.taints)
        .map(|taint| format!("an operation is under way on the node (taint `{}={}`)", taint.key, taint.value.0))
}

fn mig_manager(node: &Node, policy_given: bool) -> Option<String> {
    let deployed = node.label(DEPLOY_MIG_MANAGER) != Some("false");
    let config = node.label(MIG_CONFIG)?;
    let state = node.label(MIG_CONFIG_STATE).unwrap_or_default();
    if matches!(state, "pending" | "rebooting") {
        return Some(format!("NVIDIA's mig-manager is changing the node (`{MIG_CONFIG_STATE}={state}`)"));
    }
    (deployed && (policy_given || state == "failed")).then(|| {
        format!(
            "NVIDIA's mig-manager owns the node's layout (`{MIG_CONFIG}={config}`); hand it over with \
             `{DEPLOY_MIG_MANAGER}=false`"
        )
    })
}

/// Whether mig-manager would have to hand the node over before a plan for it is carried out.
pub(crate) fn hand_over_needed(node: &Node) -> bool {
    node.label(MIG_CONFIG).is_some() && node.label(DEPLOY_MIG_MANAGER) != Some("false")
}

fn unusable(node: &Node) -> Option<String> {
    if node.label("nvidia.com/vgpu.present").is_some_and(|value| value != "false") {
        return Some("the node is a vGPU guest, where MIG cannot be changed".to_owned());
    }
    if let Some(config) = node.label("nvidia.com/gpu.workload.config").filter(|config| *config != "container") {
        return Some(format!("the node serves virtual machines (`nvidia.com/gpu.workload.config={config}`)"));
    }
    if node.label("nvidia.com/gpu.deploy.operands") == Some("false") {
        return Some("an administrator keeps the GPU operator off the node".to_owned());
    }
    // mig-manager and driver upgrades pause it there, and a forgotten pause stays.
    if let Some(paused) = node.label(DEPLOY_PLUGIN).filter(|value| value.starts_with("paused-for-")) {
        return Some(format!(
            "the device plugin is paused on the node (`{DEPLOY_PLUGIN}={paused}`); whoever paused it sets the label back, \
             and where that was forgotten set it to `true`"
        ));
    }
    let upgrade = node.label("nvidia.com/gpu-driver-upgrade-state").unwrap_or_default();
    if !matches!(upgrade, "" | "upgrade-done") {
        return Some(format!("the node's driver is being upgraded ({upgrade})"));
    }
    match node.label(STRATEGY_LABEL) {
        Some("none") => Some("the device plugin does not offer MIG here (`nvidia.com/mig.strategy=none`)".to_owned()),
        _ => node
            .label(PRODUCT_LABEL)
            .filter(|product| product.ends_with("-MIG-INVALID"))
            .map(|_| "the device plugin finds the node's MIG layout invalid (MIG-INVALID)".to_owned()),
    }
}

fn passing(node: &Node, nominated: bool) -> Option<(Reason, String)> {
    let why = if !node.ready() {
        "the node is not ready"
    } else if nominated {
        "a pod is nominated to the node and will be bound there"
    } else {
        return None;
    };
    Some((Reason::CoolingDown, why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> Node {
        serde_json::from_str(json).expect("a node")
    }

    fn frozen(json: &str, policy_given: bool) -> Option<Reason> {
        freeze(&node(json), Circumstances { policy_given, served_by_dra: false, nominated: false })
            .map(|(reason, _)| reason)
    }

    #[test]
    fn every_owner_is_respected() {
        let labels = |key: &str, value: &str| format!(r#"{{"metadata":{{"labels":{{"{key}":"{value}"}}}}}}"#);
        for json in [
            labels("nos.nebuly.com/gpu-partitioning", "mig"),
            labels("cloud.google.com/gke-gpu-partition-size", "1g.5gb"),
            labels("nvidia.com/gpu.deploy.dra-driver", "true"),
            labels("nvidia.com/vgpu.present", "true"),
            labels("nvidia.com/gpu.workload.config", "vm-vgpu"),
            labels("nvidia.com/gpu.deploy.operands", "false"),
            labels("nvidia.com/gpu.deploy.device-plugin", "paused-for-mig-change"),
            labels("nvidia.com/gpu-driver-upgrade-state", "drain-required"),
            labels("nvidia.com/mig.strategy", "none"),
            labels("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB-MIG-INVALID"),
            r#"{"metadata":{"annotations":{"hami.io/node-nvidia-register":"x"}}}"#.to_owned(),
            r#"{"metadata":{"annotations":{"retile.dev/paused":"true"}}}"#.to_owned(),
            r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}"#.to_owned(),
            r#"{"spec":{"unschedulable":true}}"#.to_owned(),
            r#"{"spec":{"taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]}}"#.to_owned(),
            r#"{"spec":{"taints":[{"key":"retile.dev/repartitioning","value":"other","effect":"NoSchedule"}]}}"#
                .to_owned(),
            r#"{"status":{"capacity":{"mig.das.com/mig-1g.5gb":"7"}}}"#.to_owned(),
            r#"{"metadata":{"labels":{"nvidia.com/mig.config":"x","nvidia.com/mig.config.state":"pending"}}}"#
                .to_owned(),
        ] {
            assert_eq!(frozen(&json, false), Some(Reason::PolicyForbids), "{json}");
        }
        let not_ready = r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}"#;
        assert_eq!(frozen(not_ready, false), Some(Reason::CoolingDown));
        let drawn = freeze(&node("{}"), Circumstances { policy_given: false, served_by_dra: true, nominated: false });
        assert!(drawn.is_some());
    }

    #[test]
    fn a_node_that_a_pod_is_nominated_to_is_left_alone() {
        let freeze = |nominated| {
            freeze(&node("{}"), Circumstances { policy_given: false, served_by_dra: false, nominated })
                .map(|(reason, _)| reason)
        };
        assert_eq!((freeze(true), freeze(false)), (Some(Reason::CoolingDown), None));
    }

    #[test]
    fn opting_in_matters_only_under_a_policy() {
        assert_eq!(frozen("{}", false), None);
        assert_eq!(frozen("{}", true), Some(Reason::PolicyForbids));
        assert_eq!(frozen(r#"{"metadata":{"labels":{"retile.dev/managed":"true"}}}"#, true), None);
        assert_eq!(
            frozen(r#"{"metadata":{"labels":{"retile.dev/managed":"True"}}}"#, true),
            Some(Reason::PolicyForbids)
        );
    }

    #[test]
    fn mig_manager_must_hand_over_before_a_policy_acts() {
        let owned = r#"{"metadata":{"labels":{"retile.dev/managed":"true","nvidia.com/mig.config":"all-balanced",
            "nvidia.com/mig.config.state":"success"}}}"#;
        assert_eq!(frozen(owned, false), None);
        assert_eq!(frozen(owned, true), Some(Reason::PolicyForbids));
        let handed_over = owned.replace(
            "\"nvidia.com/mig.config\"",
            "\"nvidia.com/gpu.deploy.mig-manager\":\"false\",\"nvidia.com/mig.config\"",
        );
        assert_eq!(frozen(&handed_over, true), None);
    }
}
