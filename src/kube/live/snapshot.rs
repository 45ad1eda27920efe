//! All objects that planning reads, from the index or freshly listed, and the observation that is made of them.
//!
//! The way from here on is that of an export: the same canonical order, the same assembly. What is added is what the protocol needs beside the
//! planner's input: nodes, records and pods as they are. Pods on nodes without any sign of NVIDIA's are left out before, because there are
//! many; those whose anti-affinity may keep others away are kept wherever they run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::record::Record;
use super::views::{node_view, pod_view};
use crate::exec::marks::{self, PAUSED_CLIENTS};
use crate::exec::port::{ClusterError, Observation};
use crate::exec::{MigNode, NodeView, PodView, TAINT_KEY};
use crate::kube::assemble::{Given, assemble};
use crate::kube::budgets::Budgets;
use crate::kube::canonical::canonicalise;
use crate::kube::findings::Findings;
use crate::kube::objects::{Node, Pod, ResourceSlice, Text};
use crate::kube::policy::PolicyDocument;
use crate::kube::stream::Objects;
use crate::model::Catalogue;

/// Objects of one moment.
#[derive(Default)]
pub(super) struct Snapshot {
    /// As the export reader has them.
    pub(super) objects: Objects,
    /// Records of the protocol.
    pub(super) records: Vec<MigNode>,
}

/// Nodes on which pods matter.
pub(super) fn relevant(nodes: &[Arc<Node>], records: &[MigNode]) -> BTreeSet<String> {
    let nvidia = |node: &Node| {
        let sign = |key: &String| key.starts_with("nvidia.com/");
        node.metadata.labels.keys().any(sign) || node.status.capacity.keys().any(sign)
    };
    let nodes = nodes.iter().filter(|node| nvidia(node)).map(|node| node.metadata.name.clone());
    nodes.chain(records.iter().map(|record| record.name.clone())).collect()
}

/// Whether a pod matters, where pods on these nodes do.
pub(super) fn matters(pod: &Pod, nodes: &BTreeSet<String>) -> bool {
    !pod.bound() || nodes.contains(&pod.spec.node_name) || !pod.spec.affinity.anti.required.is_empty()
}

/// Nodes as they are once no operation is under way.
fn without_our_marks(nodes: &mut [Arc<Node>]) {
    let marked = |node: &Node| {
        let paused = node.metadata.annotations.get(PAUSED_CLIENTS).is_some();
        paused || node.spec.taints.iter().any(|taint| taint.key == TAINT_KEY)
    };
    for node in nodes.iter_mut().filter(|node| marked(node)) {
        let node = Arc::make_mut(node);
        node.spec.taints.retain(|taint| taint.key != TAINT_KEY);
        let meta = &mut node.metadata;
        for (key, value) in marks::resume(&meta.plain_labels(), meta.annotations.all()).labels {
            meta.labels.insert(key, Text(value.to_owned()));
        }
    }
}

impl Snapshot {
    /// Adds records as both sides read them.
    pub(super) fn add_records<'a>(&mut self, records: impl Iterator<Item = &'a Arc<Record>>) {
        for record in records {
            self.objects.mig_nodes.push(Arc::clone(&record.report));
            self.records.push(record.record.clone());
        }
    }

    /// The observation at the moment `now`, in seconds since the epoch.
    pub(super) fn observe(mut self, document: &PolicyDocument, now: i64) -> Result<Observation, ClusterError> {
        let mut findings = Findings::default();
        let unreadable = canonicalise(&mut self.objects, &mut findings);
        let policy = document.in_force(now);
        let scope = &document.scope;
        let given = Given { now, policy: &policy, by_policy: true, scope, complete: true, by_age: false };
        // As they are, for the protocol; the planner sees them without our own marks, which go again: the loop knows by itself which
        // nodes are under operation, and whoever judges an operation must be able to count on its node.
        let marked = self.objects.nodes.clone();
        without_our_marks(&mut self.objects.nodes);
        let input = assemble(&self.objects, &unreadable, given, Catalogue::embedded(), findings);
        let input =
            input.map_err(|error| ClusterError::Invalid(format!("the cluster's objects contradict: {error}")))?;
        self.records.sort_by(|a, b| a.name.cmp(&b.name));
        let mut names: BTreeSet<&str> = input.nodes().iter().map(|node| node.name.as_str()).collect();
        names.extend(self.records.iter().map(|record| record.name.as_str()));
        let dra: BTreeSet<&str> = self.objects.slices.iter().filter_map(ResourceSlice::served_node).collect();
        let nodes: Vec<NodeView> = marked
            .iter()
            .filter(|node| names.contains(node.metadata.name.as_str()))
            .map(|node| NodeView { served_by_dra: dra.contains(node.metadata.name.as_str()), ..node_view(node) })
            .collect();
        let names = nodes.iter().map(|node| node.name.clone());
        let mut pods: BTreeMap<String, Vec<PodView>> = names.map(|name| (name, Vec::new())).collect();
        let bad = unreadable.budgets.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
        let budgets = Budgets::new(&self.objects.budgets, bad);
        for pod in &self.objects.pods {
            if let Some(views) = pods.get_mut(&pod.spec.node_name) {
                views.push(pod_view(pod, &budgets, &document.scope, now));
            }
        }
        Ok(Observation { input, nodes, records: self.records, pods })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planner_sees_nodes_as_they_are_once_no_operation_is_under_way() {
        let node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "a", "uid": "1", "annotations": {PAUSED_CLIENTS: "device-plugin"},
                "labels": {"nvidia.com/gpu.deploy.device-plugin": marks::PAUSED, "nvidia.com/gpu.deploy.dcgm": marks::PAUSED},
            },
            "spec": {"taints": [
                {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
                {"key": TAINT_KEY, "value": "op-1", "effect": "NoSchedule"},
            ]},
        }))
        .expect("a node");
        let original = Arc::new(node);
        let mut nodes = [Arc::clone(&original)];
        without_our_marks(&mut nodes);
        let left: Vec<&str> = nodes[0].spec.taints.iter().map(|taint| taint.key.as_str()).collect();
        assert_eq!(left, ["nvidia.com/gpu"], "others' taints stay");
        let label = |client: &str| nodes[0].metadata.label(&format!("nvidia.com/gpu.deploy.{client}"));
        assert_eq!((label("device-plugin"), label("dcgm")), (Some("true"), Some(marks::PAUSED)), "others' pauses stay");
        assert_eq!(original.spec.taints.len(), 2, "the index keeps the node as it is");
    }

    #[test]
    fn the_loop_sees_what_a_move_costs() {
        let pod = serde_json::json!({
            "metadata": {"namespace": "ml", "name": "p", "uid": "1", "annotations": {"retile.dev/move-cost": "20"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "controller": true}]},
            "spec": {"nodeName": "a",
                "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/mig-2g.20gb": "1"}}}]},
            "status": {"phase": "Running", "startTime": "1970-01-01T01:00:00Z"},
        });
        let mut pod: Pod = serde_json::from_value(pod).expect("a pod");
        super::super::thin::thin(&mut pod);
        let objects =
            Objects { nodes: vec![Arc::new(managed_node())], pods: vec![Arc::new(pod)], ..Objects::default() };
        let mut document = PolicyDocument::default();
        document.policy.move_cost.per_running_hour = 3;
        let seen = Snapshot { objects, ..Snapshot::default() }.observe(&document, 3 * 3600).expect("an observation");
        assert_eq!(seen.input.running().iter().map(|pod| pod.cost).collect::<Vec<_>>(), [26]);
    }

    /// A node whose one GPU is cut into three `2g.20gb`.
    fn managed_node() -> Node {
        let labels = serde_json::json!({
            "nvidia.com/mig.capable": "true", "nvidia.com/mig.strategy": "mixed", "nvidia.com/gpu.count": "1",
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/mig-2g.20gb.count": "3", "retile.dev/managed": "true",
        });
        let node = serde_json::json!({"metadata": {"name": "a", "uid": "2", "labels": labels}, "status": {
            "capacity": {"nvidia.com/mig-2g.20gb": "3", "pods": "9"}, "allocatable": {"nvidia.com/mig-2g.20gb": "3", "pods": "9"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        serde_json::from_value(node).expect("a node")
    }

    #[test]
    fn the_loop_knows_of_a_pod_from_its_first_moment() {
        let json = serde_json::json!({
            "metadata": {"namespace": "ml", "name": "new", "uid": "1", "creationTimestamp": "1970-01-01T00:16:40Z"},
            "spec": {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}}]},
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
        });
        let pod: Pod = serde_json::from_value(json).expect("a pod");
        let objects =
            Objects { nodes: vec![Arc::new(managed_node())], pods: vec![Arc::new(pod)], ..Objects::default() };
        let document = PolicyDocument::default();
        assert!(document.policy.stability.min_pending_age_seconds > 0);
        let seen = Snapshot { objects, ..Snapshot::default() }.observe(&document, 1001).expect("an observation");
        let waiting: Vec<u64> = seen.input.pending().iter().map(|pod| pod.waiting_seconds).collect();
        assert_eq!(waiting, [1], "{:?}", seen.input.unplannable());
    }
}
