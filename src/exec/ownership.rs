//! Who else claims a node, so that an operation on it must not begin or go on.
//!
//! Input: a [`NodeView`]. Output: the owner and the sign by which it is known. Pure.

use super::marks::{self, DEPLOY_PLUGIN};
use super::view::NodeView;

const MIG_CONFIG: &str = "nvidia.com/mig.config";
const MIG_CONFIG_STATE: &str = "nvidia.com/mig.config.state";
const DEPLOY_MIG_MANAGER: &str = "nvidia.com/gpu.deploy.mig-manager";
const UPGRADE_STATE: &str = "nvidia.com/gpu-driver-upgrade-state";
const WORKLOAD: &str = "nvidia.com/gpu.workload.config";
const OPERANDS: &str = "nvidia.com/gpu.deploy.operands";
const VGPU: &str = "nvidia.com/vgpu.present";
/// How values of deploy labels begin that take an operand off the node for a while; each pauser ends them in its own way.
const PAUSED_FOR: &str = "paused-for-";
/// Taints by which autoscalers announce that they remove a node.
const REMOVAL: [&str; 3] = ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"];

/// How the extended resources of other partitioners begin, and whose they are.
const PARTITIONERS: [(&str, &str); 2] = [("mig.das.com/", "InstaSlice"), ("volcano.sh/vgpu-", "Volcano")];

/// The partitioner that offers an extended resource of this name, if it is one's.
pub fn partitioner_of(resource: &str) -> Option<&'static str> {
    PARTITIONERS.into_iter().find(|(prefix, _)| resource.starts_with(prefix)).map(|(_, who)| who)
}

/// Somebody else who changes, or is about to take away, the GPUs of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} owns the node now ({sign}); the operation waits for nobody and is given up")]
pub struct Foreign {
    /// Who.
    pub who: &'static str,
    /// The label, annotation or taint that says so.
    pub sign: String,
}

/// Who else owns the node, if anybody does.
pub fn foreign_owner(node: &NodeView) -> Option<Foreign> {
    removal(node)
        .or_else(|| mig_manager(node))
        .or_else(|| driver_upgrade(node))
        .or_else(|| operator(node))
        .or_else(|| partitioner(node))
}

fn label<'a>(node: &'a NodeView, key: &str) -> Option<&'a str> {
    node.labels.get(key).map(String::as_str)
}

fn removal(node: &NodeView) -> Option<Foreign> {
    if node.deleting {
        return Some(Foreign { who: "whoever deletes it", sign: "it has a deletion timestamp".to_owned() });
    }
    let taint = node.taints.iter().find(|taint| REMOVAL.contains(&taint.key.as_str()))?;
    Some(Foreign { who: "an autoscaler that removes it", sign: format!("taint {}", taint.key) })
}

/// mig-manager owns the layout wherever it is deployed and a configuration is asked for. Where it was told to keep off, it may still be
/// finishing.
fn mig_manager(node: &NodeView) -> Option<Foreign> {
    let who = "NVIDIA's mig-manager";
    let state = label(node, MIG_CONFIG_STATE).unwrap_or_default();
    if matches!(state, "pending" | "rebooting") {
        return Some(Foreign { who, sign: format!("label {MIG_CONFIG_STATE}={state}") });
    }
    let config = label(node, MIG_CONFIG)?;
    let handed_over = label(node, DEPLOY_MIG_MANAGER) == Some("false");
    (!handed_over).then(|| Foreign { who, sign: format!("label {MIG_CONFIG}={config}") })
}

fn driver_upgrade(node: &NodeView) -> Option<Foreign> {
    let state = label(node, UPGRADE_STATE).unwrap_or_default();
    let at_rest = matches!(state, "" | "upgrade-done");
    (!at_rest).then(|| Foreign { who: "a driver upgrade", sign: format!("label {UPGRADE_STATE}={state}") })
}

/// The GPU Operator, where it serves something else than containers here, or was told to serve nothing, or has paused the device plugin.
fn operator(node: &NodeView) -> Option<Foreign> {
    let owner = |who, key: &str, value: &str| Some(Foreign { who, sign: format!("label {key}={value}") });
    if let Some(config) = label(node, WORKLOAD).filter(|config| *config != "container") {
        return owner("a hypervisor", WORKLOAD, config);
    }
    if let Some(present) = label(node, VGPU).filter(|present| *present != "false") {
        return owner("a hypervisor", VGPU, present);
    }
    if label(node, OPERANDS) == Some("false") {
        return owner("an administrator", OPERANDS, "false");
    }
    let ours = marks::paused(&node.labels, &node.annotations).contains(&"device-plugin");
    let paused = label(node, DEPLOY_PLUGIN).filter(|value| value.starts_with(PAUSED_FOR) && !ours)?;
    owner("whoever has paused the device plugin", DEPLOY_PLUGIN, paused)
}

fn partitioner(node: &NodeView) -> Option<Foreign> {
    let by_label = |key: &str| label(node, key).map(|value| format!("label {key}={value}"));
    if label(node, "nvidia.com/gpu.deploy.dra-driver") == Some("true") {
        let sign = by_label("nvidia.com/gpu.deploy.dra-driver").unwrap_or_default();
        return Some(Foreign { who: "NVIDIA's DRA driver", sign });
    }
    if node.served_by_dra {
        return Some(Foreign { who: "NVIDIA's DRA driver", sign: "a ResourceSlice of gpu.nvidia.com".to_owned() });
    }
    if let Some(sign) = by_label("nos.nebuly.com/gpu-partitioning") {
        return Some(Foreign { who: "nos", sign });
    }
    if let Some(sign) = by_label("cloud.google.com/gke-gpu-partition-size") {
        return Some(Foreign { who: "GKE", sign });
    }
    if let Some(hami) = node.annotations.keys().find(|key| key.starts_with("hami.io/")) {
        return Some(Foreign { who: "HAMi", sign: format!("annotation {hami}") });
    }
    node.foreign_resources
        .iter()
        .find_map(|resource| Some(Foreign { who: partitioner_of(resource)?, sign: format!("resource {resource}") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{TAINT_KEY, Taint};

    fn labelled(labels: &[(&str, &str)]) -> NodeView {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        NodeView { labels, ready: true, ..NodeView::default() }
    }

    fn tainted(key: &str) -> NodeView {
        let taint = Taint { key: key.to_owned(), value: String::new(), effect: "NoSchedule".to_owned() };
        NodeView { taints: vec![taint], ..NodeView::default() }
    }

    #[test]
    fn every_owner_is_seen() {
        let annotated =
            |key: &str| NodeView { annotations: [(key.to_owned(), "x".to_owned())].into(), ..NodeView::default() };
        let offering =
            |resource: &str| NodeView { foreign_resources: [resource.to_owned()].into(), ..NodeView::default() };
        for (node, who) in [
            (offering("mig.das.com/mig-1g.5gb"), "InstaSlice"),
            (offering("volcano.sh/vgpu-memory"), "Volcano"),
            (NodeView { served_by_dra: true, ..NodeView::default() }, "DRA"),
            (labelled(&[(MIG_CONFIG, "all-balanced")]), "mig-manager"),
            (labelled(&[(MIG_CONFIG, "all-disabled"), (DEPLOY_MIG_MANAGER, "true")]), "mig-manager"),
            (labelled(&[(MIG_CONFIG_STATE, "pending"), (DEPLOY_MIG_MANAGER, "false")]), "mig-manager"),
            (labelled(&[(MIG_CONFIG_STATE, "rebooting")]), "mig-manager"),
            (labelled(&[(UPGRADE_STATE, "drain-required")]), "upgrade"),
            (labelled(&[(UPGRADE_STATE, "upgrade-failed")]), "upgrade"),
            (labelled(&[(WORKLOAD, "vm-passthrough")]), "hypervisor"),
            (labelled(&[(VGPU, "true")]), "hypervisor"),
            (labelled(&[(OPERANDS, "false")]), "administrator"),
            (labelled(&[(DEPLOY_PLUGIN, "paused-for-mig-change")]), "paused the device plugin"),
            (labelled(&[(DEPLOY_PLUGIN, "paused-for-driver-upgrade")]), "paused the device plugin"),
            (labelled(&[("nvidia.com/gpu.deploy.dra-driver", "true")]), "DRA"),
            (labelled(&[("nos.nebuly.com/gpu-partitioning", "mig")]), "nos"),
            (labelled(&[("cloud.google.com/gke-gpu-partition-size", "1g.5gb")]), "GKE"),
            (annotated("hami.io/node-nvidia-register"), "HAMi"),
            (tainted("ToBeDeletedByClusterAutoscaler"), "autoscaler"),
            (tainted("karpenter.sh/disrupted"), "autoscaler"),
            (NodeView { deleting: true, ..NodeView::default() }, "deletes"),
        ] {
            let owner = foreign_owner(&node);
            assert!(owner.as_ref().is_some_and(|owner| owner.who.contains(who)), "{who}: {owner:?}");
        }
    }

    #[test]
    fn a_node_that_was_handed_over_is_ours() {
        for node in [
            NodeView::default(),
            labelled(&[(MIG_CONFIG, "all-disabled"), (DEPLOY_MIG_MANAGER, "false"), (MIG_CONFIG_STATE, "success")]),
            labelled(&[(MIG_CONFIG_STATE, "failed")]),
            labelled(&[(UPGRADE_STATE, "upgrade-done")]),
            labelled(&[(UPGRADE_STATE, "")]),
            labelled(&[(WORKLOAD, "container"), (VGPU, "false"), (OPERANDS, "true"), (DEPLOY_PLUGIN, "true")]),
            // An administrator who runs the plugin on its own.
            labelled(&[(DEPLOY_PLUGIN, "false")]),
            labelled(&[("nvidia.com/gpu.deploy.dra-driver", "false")]),
            tainted(TAINT_KEY),
            tainted("node.kubernetes.io/unschedulable"),
            // Paused by us, while an operation goes on.
            NodeView {
                annotations: [(marks::PAUSED_CLIENTS.to_owned(), "device-plugin,dcgm".to_owned())].into(),
                ..labelled(&[(DEPLOY_PLUGIN, marks::PAUSED)])
            },
        ] {
            assert_eq!(foreign_owner(&node), None, "{node:?}");
        }
    }
}
