//! The contract held against a real API server and its controllers, asked through the adapter that production uses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fake_nvml::Config;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use retile::exec::marks::DEPLOY_PLUGIN;
use retile::exec::port::{ClusterReply, ClusterRequest};
use retile::exec::{TAINT_KEY, Taint};
use retile::kube::live::{AgentCluster, ControllerCluster};
use retile::model::PodRef;
use serde_json::{Value, json};

use super::cluster::{Budget, Cluster, Plugin, Rule, State, Wish};
use super::control_plane::{ControlPlane, FLEET, HollowNode, Manner, eventually, unique};
use super::scene;

const FINALIZER: &str = "example.org/held";

/// A namespace of a real cluster, and who asks: a controller whose lease is there, and an agent for each node.
struct Live<'plane> {
    plane: &'plane ControlPlane,
    client: Client,
    namespace: String,
    controller: ControllerCluster,
    agents: BTreeMap<String, AgentCluster>,
    machine: Option<HollowNode>,
}

impl<'plane> Live<'plane> {
    /// Starts to watch, and waits until the first lists are complete.
    async fn on(plane: &'plane ControlPlane) -> Self {
        let namespace = plane.namespace("contract").await;
        let controller = scene::controller(plane, &namespace).await;
        eventually("the index is whole", async || {
            controller.answer(&ClusterRequest::Observe { fresh: false }).await.ok().map(drop)
        })
        .await;
        let client = plane.administrator().await;
        Self { plane, client, namespace, controller, agents: BTreeMap::new(), machine: None }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// The status of a pod, as its kubelet would write it.
fn status(state: State) -> Value {
    let (phase, ready) = match state {
        State::Pending => ("Pending", "False"),
        State::Ready => ("Running", "True"),
        State::Unready => ("Running", "False"),
        State::Succeeded => ("Succeeded", "False"),
        State::Failed => ("Failed", "False"),
    };
    let condition = |kind: &str| json!({"type": kind, "status": ready});
    let conditions = ["Ready", "ContainersReady"].map(condition);
    json!({"status": {"phase": phase, "conditions": conditions}})
}

fn limits(resource: &str) -> Value {
    json!({"limits": {resource: "1"}})
}

impl Cluster for Live<'_> {
    fn unique(&self, prefix: &str) -> String {
        unique(prefix)
    }

    fn namespace(&self) -> String {
        self.namespace.clone()
    }

    async fn add_node(&mut self, name: &str) {
        scene::node(&self.client, name, json!([])).await;
    }

    async fn remove_node(&mut self, name: &str) {
        scene::delete_node(&self.client, name).await;
    }

    async fn add_foreign_taint(&mut self, node: &str, taint: &Taint) {
        let value = format!("{}={}:{}", taint.key, taint.value, taint.effect);
        let (added, said) = self.plane.kubectl(&["taint", "node", node, &value], "");
        assert!(added, "{said}");
    }

    async fn label_node(&mut self, node: &str, key: &str, value: &str) {
        let label = format!("{key}={value}");
        let (labelled, said) = self.plane.kubectl(&["label", "node", node, &label, "--overwrite"], "");
        assert!(labelled, "{said}");
    }

    async fn add_pod(&mut self, wish: &Wish<'_>) -> PodRef {
        let everything = json!([{"operator": "Exists"}]);
        let pod = json!({
            "metadata": {
                "name": wish.name,
                "labels": {"app": wish.app},
                "finalizers": wish.held.then_some([FINALIZER]),
            },
            "spec": {
                "nodeName": wish.node,
                // One that nobody has bound is bound nowhere, least of all to a machine of another case.
                "nodeSelector": wish.node.is_none().then(|| json!({FLEET: "nowhere"})),
                "terminationGracePeriodSeconds": wish.grace,
                "tolerations": wish.tolerant.then_some(everything),
                "containers": [{"name": "main", "image": "registry.example/work", "resources": limits("nvidia.com/mig-1g.5gb")}],
            },
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let made = self.pods().create(&kube::api::PostParams::default(), &pod).await.expect("a new name");
        if wish.state != State::Pending {
            let patch = Patch::Merge(status(wish.state));
            self.pods().patch_status(wish.name, &PatchParams::default(), &patch).await.expect("a status");
        }
        scene::pod_ref(&made)
    }

    async fn end_pod(&mut self, pod: &PodRef) {
        let uid = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let options = DeleteParams { preconditions: Some(uid), ..DeleteParams::default().grace_period(0) };
        self.pods().delete(&pod.name, &options).await.expect("it is there");
    }

    async fn release_pod(&mut self, pod: &PodRef) {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        self.pods().patch(&pod.name, &PatchParams::default(), &patch).await.expect("it is there");
    }

    async fn add_budget(&mut self, budget: &Budget<'_>) {
        let (field, amount) = match budget.rule {
            Rule::MinAvailable(count) => ("minAvailable", json!(count)),
            Rule::MinAvailablePercent(share) => ("minAvailable", json!(format!("{share}%"))),
            Rule::MaxUnavailable(count) => ("maxUnavailable", json!(count)),
            Rule::MaxUnavailablePercent(share) => ("maxUnavailable", json!(format!("{share}%"))),
        };
        let labels = budget.app.map_or_else(|| json!({}), |app| json!({"matchLabels": {"app": app}}));
        let object = json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": budget.name, "namespace": self.namespace},
            "spec": {
                "selector": labels,
                field: amount,
                "unhealthyPodEvictionPolicy": budget.lenient.then_some("AlwaysAllow"),
            },
        });
        self.plane.apply(&object.to_string());
    }

    async fn remove_lease(&mut self) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        leases.delete("retile-leader", &DeleteParams::default()).await.expect("it is there");
    }

    /// Watches last a minute. Whoever goes on after that is told 410, within the stream, if etcd has forgotten since, and lists anew.
    async fn forget_the_past(&mut self) {
        let lists = || {
            let lists =
                self.plane.audited().into_iter().filter(|asked| asked.verb == "list" && asked.resource == "pods");
            lists.filter(|list| list.user == "administrator" && !list.path.contains("fieldSelector")).count()
        };
        let before = lists();
        eventually("the watch of pods has expired", async || {
            self.plane.compact();
            (lists() > before).then_some(())
        })
        .await;
    }

    async fn add_machine(&mut self, layout: &[(&str, u8)], plugin: Plugin) -> String {
        let name = unique("machine");
        let mut labels = vec![(FLEET, self.namespace.as_str())];
        labels.extend((plugin == Plugin::Labelled).then_some((DEPLOY_PLUGIN, "true")));
        let machine = HollowNode::register(self.plane, &name, Config::of(&["A100-40GB"]), &labels).await;
        let places: Vec<(&str, u32)> = layout.iter().map(|&(profile, start)| (profile, u32::from(start))).collect();
        machine.store().change(|boards| boards.partition(0, &places)).expect("written").expect("room");
        let tolerates: &[&str] = if plugin == Plugin::Intolerant { &[] } else { &[TAINT_KEY] };
        let namespace = self.plane.namespace("gpu").await;
        self.plane.install_plugin_in(&namespace, &labels, tolerates);
        self.machine = Some(machine);
        name
    }

    async fn partition(&mut self, machine: &str, profile: &str, start: u8) {
        let own = self.machine.as_ref().expect("there is a machine");
        assert_eq!(own.name(), machine);
        let place = (profile, u32::from(start));
        own.store().change(|boards| boards.partition(0, &[place])).expect("written").expect("room");
    }

    async fn add_work(&mut self, app: &str, pods: u32, profile: &str) {
        let labels = json!({"app": app});
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": app, "namespace": self.namespace},
            "spec": {"replicas": pods, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {FLEET: self.namespace},
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "main", "image": "registry.example/work",
                        "resources": limits(&format!("nvidia.com/mig-{profile}")),
                    }],
                },
            }},
        });
        self.plane.apply(&deployment.to_string());
    }

    async fn ask(&mut self, request: &ClusterRequest) -> ClusterReply {
        self.ask_together(std::slice::from_ref(request)).await.remove(0)
    }

    async fn ask_together(&mut self, requests: &[ClusterRequest]) -> Vec<ClusterReply> {
        for request in requests {
            if let ClusterRequest::WriteStatus { node, .. } = request
                && !self.agents.contains_key(node)
            {
                self.agents.insert(node.clone(), scene::agent(self.plane, node).await);
            }
        }
        // A status is the agent's to write, and all else the controller's to ask.
        let answers = requests.iter().map(async |request| {
            if let ClusterRequest::WriteStatus { node, .. } = request {
                self.agents[node].answer(request).await
            } else {
                self.controller.answer(request).await
            }
        });
        futures::future::join_all(answers).await
    }

    #[allow(clippy::disallowed_methods, reason = "a real server takes real time")]
    async fn pass(&mut self, time: Duration) -> Duration {
        // The looks between count too, as they take more time than this where the machine is busy.
        let start = Instant::now();
        tokio::time::sleep(time).await;
        start.elapsed()
    }
}

macro_rules! on_the_api_server {
    ($($part:ident: [$($case:ident),* $(,)?])*) => {$(
        mod $part {
            $(#[tokio::test]
            async fn $case() {
                let Some(plane) = crate::scene::plane().await else { return };
                crate::cases::$part::$case(&mut super::Live::on(&plane).await).await;
            })*
        }
    )*};
}

every_case!(on_the_api_server);

/// A control plane of its own: the API server answers watches from etcd, which is made to forget.
#[tokio::test]
async fn the_cache_misses_nothing_when_its_watches_expire() {
    let manner = Manner { watch_cache: false, ..Manner::default() };
    let Some(plane) = ControlPlane::start_as(manner).await else { return };
    scene::install(&plane).await;
    super::cases::observation::the_cache_misses_nothing_when_its_watches_expire(&mut Live::on(&plane).await).await;
}
