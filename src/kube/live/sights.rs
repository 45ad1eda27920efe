//! Nodes as the controller judges them, for whoever lists a cluster without being the controller.
//!
//! Inputs: objects of a listing, one by one. Output: what an observation holds beside the planner's input, as far as the judgement of nodes reads it. Pure.
//! An object that cannot be read counts as absent: of a node without a record, or without a view, it is known that the controller leaves it alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::installed::status_written;
use super::views::{is_plugin, node_view, pod_view};
use crate::exec::port::Observation;
use crate::exec::{MigNode, NodeView, PodView};
use crate::kube::budgets::Budgets;
use crate::kube::crd;
use crate::kube::objects::{Meta, Node, Pod, ResourceSlice};
use crate::kube::scope::Scope;
use crate::model::PlanningInput;

/// What a listing tells of nodes beside what planning reads.
#[derive(Debug, Clone, Default)]
pub struct Sights {
    now: i64,
    nodes: Vec<NodeView>,
    records: Vec<MigNode>,
    /// Pods of the device plugin, by node.
    plugins: BTreeMap<String, Vec<PodView>>,
    /// Nodes that NVIDIA's DRA driver serves.
    dra: BTreeSet<String>,
    silent: BTreeMap<String, Duration>,
}

impl Sights {
    /// Nothing yet, at a moment in seconds since the epoch.
    pub(super) fn at(now: i64) -> Self {
        Self { now, ..Self::default() }
    }

    /// Takes in an object of a kind.
    pub(super) fn take(&mut self, kind: &str, object: &Value) {
        match kind {
            "Node" => self.nodes.extend(read::<Node>(object).map(|node| node_view(&node))),
            "Pod" => self.pod(object),
            "ResourceSlice" => {
                let slice = read::<ResourceSlice>(object);
                self.dra.extend(slice.as_ref().and_then(ResourceSlice::served_node).map(str::to_owned));
            }
            "MigNode" => {
                let Some(record) = read::<crd::MigNode>(object).and_then(|record| crd::record(record).ok()) else {
                    return;
                };
                if let Some(written) = status_written(object) {
                    let silent = u64::try_from(self.now - written).unwrap_or(0);
                    self.silent.insert(record.name.clone(), Duration::from_secs(silent));
                }
                self.records.push(record);
            }
            _ => {}
        }
    }

    fn pod(&mut self, object: &Value) {
        // Many, of which few matter.
        if !object.get("metadata").and_then(read::<Meta>).is_some_and(|meta| is_plugin(&meta)) {
            return;
        }
        if let Some(pod) = read::<Pod>(object) {
            let view = pod_view(&pod, &Budgets::default(), &Scope::default(), self.now);
            self.plugins.entry(pod.spec.node_name).or_default().push(view);
        }
    }

    /// Whether any agent has ever reported; else nobody leaves anything alone.
    pub fn anybody(&self) -> bool {
        !self.records.is_empty()
    }

    /// For how long agents have not been heard of, by the API server's clock, as far as their records say.
    pub fn silent(&self) -> &BTreeMap<String, Duration> {
        &self.silent
    }

    /// The observation of what planning reads as `input`. Of pods it holds those of the device plugin only.
    pub fn observation(&self, input: PlanningInput) -> Observation {
        let seen = |node: &NodeView| NodeView { served_by_dra: self.dra.contains(&node.name), ..node.clone() };
        let nodes = self.nodes.iter().map(seen).collect();
        Observation { input, nodes, records: self.records.clone(), pods: self.plugins.clone() }
    }
}

fn read<T: serde::de::DeserializeOwned>(object: &Value) -> Option<T> {
    serde_json::from_value(object.clone()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_listing_tells_what_the_controller_judges_nodes_by() {
        let mut sights = Sights::at(100);
        assert!(!sights.anybody());
        sights.take(
            "Node",
            &json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "5"}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}]}}),
        );
        sights.take(
            "MigNode",
            &json!({
                "metadata": {"name": "a", "uid": "2", "resourceVersion": "6", "managedFields": [
                    {"manager": "agent", "time": "1970-01-01T00:00:40Z", "subresource": "status"}]},
                "spec": {}, "status": {"nodeUid": "1", "protocol": 1, "heartbeat": 7},
            }),
        );
        let pod = |name: &str, labels: Value| {
            json!({"metadata": {"namespace": "gpu", "name": name, "uid": name, "labels": labels, "ownerReferences": [
                {"kind": "DaemonSet", "name": "plugin", "controller": true}]},
                "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running"}})
        };
        sights.take("Pod", &pod("plugin", json!({"app": "nvidia-device-plugin-daemonset"})));
        sights.take("Pod", &pod("other", json!({"app": "web"})));
        sights.take(
            "ResourceSlice",
            &json!({"metadata": {"name": "s"}, "spec": {"driver": "gpu.nvidia.com", "nodeName": "a"}}),
        );
        assert!(sights.anybody());
        assert_eq!(sights.silent()["a"], Duration::from_mins(1));
        let input = crate::model::PlanningInputBuilder::new(0).build().expect("an empty one");
        let seen = sights.observation(input);
        assert!(seen.nodes[0].ready && seen.nodes[0].served_by_dra, "{:?}", seen.nodes);
        assert_eq!(seen.records[0].status.node_uid, "1");
        let plugins: Vec<_> =
            seen.pods["a"].iter().map(|pod| (pod.pod.name.as_str(), pod.device_plugin, pod.tolerates_taint)).collect();
        assert_eq!(plugins, [("plugin", true, false)]);
    }
}
