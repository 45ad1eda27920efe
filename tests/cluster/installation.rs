//! retile as a user installs it: custom resources from `retile crds`, everything else from `deploy/kustomize`, the two programs as processes
//! with the tokens that their pods would have.

use std::process::Command;

use fake_nvml::Config;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::control_plane::{ControlPlane, Daemon, FLEET, HollowNode, Pace, eventually};
use super::work::{is_ready, name};

/// Where retile is installed.
pub(crate) const NAMESPACE: &str = "retile-system";
/// Where the device plugin is.
pub(crate) const PLUGINS: &str = "gpu-operator";
/// Key of retile's taint.
pub(crate) const TAINT: &str = "retile.dev/repartitioning";
/// Where retile records which annotations it has set.
const RECORD: &str = "retile.dev/autoscaler-protection";
/// All nodes of an installation.
pub(crate) const ALL: &str = "all";

/// A control plane with retile on it.
pub(crate) struct Installation {
    // Programs end before what they talk to.
    pub(crate) controllers: Vec<Daemon>,
    pub(crate) agents: Vec<Daemon>,
    pub(crate) nodes: Vec<HollowNode>,
    pub(crate) client: Client,
    pub(crate) team: String,
    pub(crate) plane: ControlPlane,
}

/// A policy under which the loop works at once, on all nodes, and takes free instances only.
pub(crate) fn at_once(mode: &str) -> Value {
    json!({
        "mode": mode, "interval": "10s", "disruption": {"level": "IdleOnly"},
        "budgets": {"nodes": "100%", "gpus": "100%"}, "stability": {"minPendingAge": "0s", "gpuCoolDown": "0s"}
    })
}

impl Installation {
    /// Installs retile with an overlay and a policy; none on a machine without a control plane.
    pub(crate) async fn make(overlay: &str, policy: &Value) -> Option<Self> {
        Some(Self::make_on(ControlPlane::start().await?, overlay, policy).await)
    }

    /// The same on a control plane that is there.
    pub(crate) async fn make_on(plane: ControlPlane, overlay: &str, policy: &Value) -> Self {
        plane.namespace_named(PLUGINS).await;
        // Part of the GPU Operator; without it the API server refuses the agent's pods.
        plane.apply(r#"{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}"#);
        let crds = Command::new(env!("CARGO_BIN_EXE_retile")).arg("crds").output().expect("retile starts");
        assert!(crds.status.success(), "{}", String::from_utf8_lossy(&crds.stderr));
        plane.apply(&String::from_utf8_lossy(&crds.stdout));
        let served = ["wait", "--for=condition=Established", "--timeout=120s", "crd", "--all"];
        assert!(plane.kubectl(&served, "").0, "the custom resources are served");
        let overlay = format!("{}/deploy/kustomize/overlays/{overlay}", env!("CARGO_MANIFEST_DIR"));
        // The namespace comes with the objects in it, and the API server may not know it yet for the first of them.
        eventually("the overlay is applied", async || {
            let (done, said) = plane.kubectl(&["apply", "--server-side", "-k", &overlay], "");
            if !done {
                eprintln!("{said}");
            }
            done.then_some(())
        })
        .await;
        plane.apply(&policy_object(policy));
        plane.install_plugin_in(PLUGINS, &[(FLEET, ALL)], &[TAINT]);
        let team = plane.namespace("team").await;
        let client = plane.administrator().await;
        Self { controllers: Vec::new(), agents: Vec::new(), nodes: Vec::new(), client, team, plane }
    }

    /// Adds a node with boards that are partitioned so, and its agent.
    pub(crate) async fn add_node(&mut self, name: &str, boards: &[(&str, &[(&str, u32)])], pace: Pace) {
        self.add_labelled_node(name, boards, &[], pace).await;
    }

    /// The same, with labels beside those that every node has.
    pub(crate) async fn add_labelled_node(
        &mut self,
        name: &str,
        boards: &[(&str, &[(&str, u32)])],
        labels: &[(&str, &str)],
        pace: Pace,
    ) {
        let models: Vec<&str> = boards.iter().map(|&(model, _)| model).collect();
        let labels = [&[(FLEET, ALL), ("retile.dev/managed", "true")], labels].concat();
        let node = HollowNode::register_at(&self.plane, name, Config::of(&models), &labels, pace).await;
        let partition = |node: &mut fake_nvml::Node| {
            (0..).zip(boards).try_for_each(|(place, &(_, instances))| node.partition(place, instances))
        };
        node.store().change(partition).expect("the node is in its file").expect("there is room");
        self.nodes.push(node);
        self.restart_plugin(name).await;
        let agent = self.agent(name).await;
        self.agents.push(agent);
        self.settled().await;
    }

    /// Waits until the pods of retile's own objects run: until then they take room that a plan counts, and whoever looks finds them missing.
    async fn settled(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        eventually("retile's own pods run", async || {
            let pods = pods.list(&ListParams::default()).await.ok()?.items;
            let controllers = pods.iter().filter(|pod| name(pod).starts_with("retile-controller")).count();
            (controllers == 2 && pods.iter().all(is_ready)).then_some(())
        })
        .await;
    }

    /// Replaces the device plugin's pod on a node, which may have seen the board before it was partitioned.
    async fn restart_plugin(&self, node: &str) {
        let plugins: Api<Pod> = Api::namespaced(self.client.clone(), PLUGINS);
        let old = self.pod_on(PLUGINS, node, "app.kubernetes.io/name=nvidia-device-plugin").await;
        let name = old.metadata.name.expect("pods have one");
        plugins.delete(&name, &kube::api::DeleteParams::default()).await.expect("it is there");
        eventually("the old plugin is gone", async || plugins.get_opt(&name).await.ok()?.is_none().then_some(())).await;
        self.pod_on(PLUGINS, node, "app.kubernetes.io/name=nvidia-device-plugin").await;
    }

    /// The ready pod with a label on a node.
    async fn pod_on(&self, namespace: &str, node: &str, label: &str) -> Pod {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let here = ListParams::default().fields(&format!("spec.nodeName={node}")).labels(label);
        eventually(&format!("a pod {label} runs on {node}"), async || {
            let pods = pods.list(&here).await.ok()?.items;
            pods.into_iter().find(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none())
        })
        .await
    }

    /// Starts the agent of a node.
    pub(crate) async fn agent(&self, node: &str) -> Daemon {
        let pod = self.pod_on(NAMESPACE, node, "app.kubernetes.io/component=agent").await;
        let token = self.plane.token_of_pod(&pod).await;
        let kubeconfig = self.plane.kubeconfig(&format!("agent-{node}"), &token);
        let hollow = self.nodes.iter().find(|own| own.name() == node).expect("a node of this installation");
        let mut command = Command::new(env!("CARGO_BIN_EXE_retile-agent"));
        command
            .args(["--node", node, "--metrics-address=127.0.0.1:0", "--health-address=127.0.0.1:0"])
            .args(["--capability-nodes=off", "--control-nodes=off", "--cdi=off"])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--library")
            .arg(fake_nvml::library_path().expect("cargo builds the library with the tests"))
            .arg("--kubelet")
            .arg(hollow.socket())
            .arg("--state-dir")
            .arg(hollow.folder().join("agent"))
            .env("FAKE_NVML_STATE", hollow.boards());
        self.plane.daemon(&format!("agent-{node}"), command)
    }

    /// Starts a controller.
    pub(crate) async fn controller(&self, identity: &str) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retile-controller"));
        self.configure(&mut command, identity, "127.0.0.1:0").await;
        self.plane.daemon(identity, command)
    }

    /// What a controller of this installation is started with.
    pub(crate) async fn configure(&self, command: &mut Command, identity: &str, metrics: &str) {
        let token = self.plane.token(NAMESPACE, "retile-controller").await;
        let kubeconfig = self.plane.kubeconfig(identity, &token);
        command
            .args(["--identity", identity, "--namespace", NAMESPACE, "--health-address=127.0.0.1:0"])
            .args(["--protect-nodes", "--metrics-address", metrics])
            .env("RETILE_LOG", "info,retile=debug")
            .arg("--kubeconfig")
            .arg(kubeconfig);
    }

    /// Pods of the team.
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.team)
    }

    /// The record of a node, as the API server has it.
    pub(crate) async fn record(&self, node: &str) -> Option<Value> {
        self.custom("MigNode").get_opt(node).await.ok().flatten().map(|record| record.data)
    }

    /// Custom resources of a kind.
    pub(crate) fn custom(&self, kind: &str) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("retile.dev", "v1alpha1", kind));
        Api::all_with(self.client.clone(), &kind)
    }

    /// Who holds the leader's lease.
    pub(crate) async fn leader(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        leases.get("retile-leader").await.ok()?.spec?.holder_identity
    }

    /// Outcomes of the operations that have ended on a node, newest first.
    pub(crate) async fn outcomes(&self, node: &str) -> Vec<String> {
        let record = self.record(node).await.unwrap_or_default();
        let ended = record["spec"]["history"].as_array().cloned().unwrap_or_default();
        ended.iter().filter_map(|ended| ended["outcome"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until nothing is under way on a node and our taint is off it, and with it what keeps autoscalers off.
    pub(crate) async fn released(&self, node: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        eventually(&format!("{node} is released"), async || {
            let tainted =
                nodes.get(node).await.ok()?.spec?.taints.unwrap_or_default().iter().any(|own| own.key == TAINT);
            let record = self.record(node).await?;
            (!tainted && record["spec"]["operation"].is_null()).then_some(())
        })
        .await;
        assert_eq!(self.protection(node).await, [None, None, None], "{node}");
    }

    /// What keeps autoscalers off a node, for each of them, and the record of what was set for that.
    pub(crate) async fn protection(&self, node: &str) -> [Option<String>; 3] {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes.get(node).await.expect("it is there");
        let annotations = node.metadata.annotations.unwrap_or_default();
        ["cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt", RECORD]
            .map(|key| annotations.get(key).cloned())
    }
}

/// A `MigPolicy` as an operator writes it.
pub(crate) fn policy_object(spec: &Value) -> String {
    let policy = json!({
        "apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "default"}, "spec": spec
    });
    policy.to_string()
}
