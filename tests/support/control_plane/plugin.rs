//! NVIDIA's device plugin as its chart installs it: a `DaemonSet`, whose pods the hollow kubelets recognise by their label.

use serde_json::{Map, json};

use super::ControlPlane;

/// Label of the nodes of one test, so that tests on one control plane keep their device plugins apart.
pub const FLEET: &str = "hollow.test/fleet";

impl ControlPlane {
    /// Installs the device plugin on the nodes of a fleet, in a namespace of its own, whose name is returned. Its pods tolerate the taints of
    /// NVIDIA's chart and these besides.
    pub async fn install_plugin(&self, fleet: &str, tolerates: &[&str]) -> String {
        let namespace = self.namespace("gpu").await;
        self.install_plugin_in(&namespace, &[(FLEET, fleet)], tolerates);
        namespace
    }

    /// The same in a namespace that there is, on nodes with these labels.
    pub fn install_plugin_in(&self, namespace: &str, nodes: &[(&str, &str)], tolerates: &[&str]) {
        let selector: Map<_, _> = nodes.iter().map(|&(key, value)| (key.to_owned(), json!(value))).collect();
        let toleration = |key: &&str| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
        let tolerations: Vec<_> =
            ["CriticalAddonsOnly", "nvidia.com/gpu"].iter().chain(tolerates).map(toleration).collect();
        let labels = json!({"app.kubernetes.io/name": "nvidia-device-plugin"});
        let plugin = json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "nvidia-device-plugin", "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "nodeSelector": selector,
                        "tolerations": tolerations,
                        "priorityClassName": "system-node-critical",
                        "containers": [{"name": "nvidia-device-plugin-ctr", "image": "nvcr.io/nvidia/k8s-device-plugin:v0.20.0"}]
                    }
                }
            }
        });
        self.apply(&plugin.to_string());
    }
}
