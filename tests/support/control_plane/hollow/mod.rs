//! Hollow GPU nodes: everything of a node but the machine. The boards are those of a `fake-nvml` file, so that a real agent can change them.
//!
//! A kubelet registers the node, renews its lease, lets pods in, gives them devices, ends them when they are deleted, and answers on its
//! pod-resources socket. Devices are what the device plugin has enumerated when its pod started, as with NVIDIA's: a board that changes
//! afterwards is not noticed until that pod, which a real DaemonSet makes, is replaced. Profiles that are gone stay in the node's status with 0.
//!
//! Invariant: it speaks to the API server as `system:node:<name>`, with a kubelet's rights and no more. Must not depend on retile.

mod devices;
mod kubelet;
mod objects;
#[path = "../../pod_resources.rs"]
mod pod_resources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fake_nvml::{Config, Store};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use tokio::task::JoinHandle;

use super::{ControlPlane, eventually};
use devices::Devices;

/// How long things take on a hollow node.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From a pod that is bound to one that runs.
    pub start: Duration,
    /// From a pod that is to be deleted to one that has ended.
    pub stop: Duration,
    /// From one renewal of the lease to the next; kubelets take 10 s.
    pub lease: Duration,
    /// From one report of an unchanged status to the next; kubelets take 5 minutes.
    pub report: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            start: Duration::from_millis(50),
            stop: Duration::from_millis(100),
            lease: Duration::from_secs(2),
            report: Duration::from_mins(5),
        }
    }
}

/// A node that has no machine.
pub struct HollowNode {
    name: String,
    folder: PathBuf,
    devices: Arc<Mutex<Devices>>,
    pace: Pace,
    labels: BTreeMap<String, String>,
    kubelet: Client,
    administrator: Client,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for HollowNode {
    fn drop(&mut self) {
        self.switch_off();
    }
}

impl HollowNode {
    /// Registers a node with these boards and waits until the control plane finds it ready. Its devices are advertised once the device plugin
    /// runs on it: see [`ControlPlane::install_plugin`].
    pub async fn register(plane: &ControlPlane, name: &str, config: Config, labels: &[(&str, &str)]) -> Self {
        Self::register_at(plane, name, config, labels, Pace::default()).await
    }

    /// The same at another pace.
    pub async fn register_at(
        plane: &ControlPlane,
        name: &str,
        mut config: Config,
        labels: &[(&str, &str)],
        pace: Pace,
    ) -> Self {
        for (index, board) in config.boards.iter_mut().enumerate() {
            board.uuid.get_or_insert_with(|| devices::uuid(name, index));
        }
        let folder = plane.folder().join("nodes").join(name);
        std::fs::create_dir_all(&folder).expect("the folder can be written");
        let keys: Vec<&str> = config.boards.iter().map(|board| board.board.as_str()).collect();
        let mut all = objects::labels(name, &keys);
        let store = Store::create(folder.join("boards.json"), config).expect("a possible node");
        all.extend(labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        let single = all["nvidia.com/mig.strategy"] == "single";
        let mut own = Self {
            name: name.to_owned(),
            folder,
            devices: Arc::new(Mutex::new(Devices::new(store, single))),
            pace,
            labels: all,
            kubelet: plane.kubelet(name).await,
            administrator: plane.administrator().await,
            tasks: Vec::new(),
        };
        own.switch_on().await;
        own
    }

    /// Makes the node object if there is none, starts the kubelet, and waits until the node is ready.
    pub async fn switch_on(&mut self) {
        let nodes: Api<Node> = Api::all(self.administrator.clone());
        if nodes.get_opt(&self.name).await.expect("the API server answers").is_none() {
            let node = objects::node(&self.name, &self.labels);
            nodes.create(&PostParams::default(), &node).await.expect("there is none of this name");
        }
        self.tasks.push(pod_resources::serve(&self.socket(), self.devices.clone()));
        let kubelet = kubelet::Kubelet::new(self.name.clone(), self.kubelet.clone(), self.devices.clone(), self.pace);
        self.tasks.push(tokio::spawn(kubelet.run()));
        eventually("the node is ready", async || {
            let node = nodes.get_opt(&self.name).await.ok().flatten()?;
            objects::is_ready(&node).then_some(())
        })
        .await;
    }

    /// Stops the kubelet and its socket at once. The board stays as it is, and so does the node object.
    pub fn switch_off(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Deletes the node object, as a cloud controller does for a machine that it has taken away.
    pub async fn delete(&self) {
        let nodes: Api<Node> = Api::all(self.administrator.clone());
        nodes.delete(&self.name, &DeleteParams::default()).await.expect("there is one");
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file of its boards, for `FAKE_NVML_STATE`.
    pub fn boards(&self) -> PathBuf {
        self.folder.join("boards.json")
    }

    /// The kubelet's pod-resources socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("kubelet.sock")
    }

    /// A folder for what an agent keeps on this node.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The boards from outside.
    pub fn store(&self) -> Store {
        Store::File(self.boards())
    }

    /// `profile@start` of all instances of a board, in the order of their places.
    pub fn layout(&self, board: usize) -> Vec<String> {
        devices::layout(&self.store().read().expect("the node is in its file"), board)
    }

    /// MIG UUIDs that a pod holds.
    pub fn held_by(&self, uid: &str) -> Vec<String> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).held_by(uid)
    }

    /// The node as the API server has it.
    pub async fn object(&self) -> Node {
        Api::all(self.administrator.clone()).get(&self.name).await.expect("the node is there")
    }

    /// What the node advertises of MIG, as the API server has it.
    pub async fn allocatable(&self) -> BTreeMap<String, u64> {
        objects::mig_allocatable(&self.object().await)
    }
}
