//! A node with an agent: the fake's boards, a kubelet, an API server, and the process.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use fake_nvml::node::Client;
use fake_nvml::{Config, Store};
use retile::exec::{GpuTarget, MigNodeSpec, Operation, OperationId, PROTOCOL, Phase, TAINT_KEY};
use retile::kube::crd;
use retile::model::mig_resource;
use retile::plan::{Place, Step};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::kubelet::Kubelet;
use crate::layouts::{Standing, standing};

const NODE: &str = "gpu-1";
const RECORDS: &str = "/apis/retile.dev/v1alpha1/mignodes";
const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";

/// How the agent's part of an operation ends.
pub(crate) const ENDS: [&str; 5] = ["Repartitioned", "RolledBack", "Refused", "Degraded", "Applied"];

/// A node and everything around it.
pub(crate) struct Machine {
    pub(crate) store: Store,
    pub(crate) server: ApiServer,
    pub(crate) kubelet: Kubelet,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    agent: Option<Child>,
    operations: u64,
    pods: u64,
}

/// Who holds an instance.
pub(crate) struct Holder {
    pod: String,
    uuid: String,
    process: Option<u32>,
}

impl Machine {
    /// A node of this configuration; no agent runs yet.
    pub(crate) fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let state = folder.path().join("node.json");
        Store::create(&state, config).expect("a possible node");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (server, kubelet) =
            runtime.block_on(async { (ApiServer::start().await, Kubelet::start(&folder.path().join("kubelet.sock"))) });
        fs::write(folder.path().join("kubeconfig"), server.kubeconfig()).expect("room");
        let smi = folder.path().join("nvidia-smi");
        fs::write(&smi, format!("#!/bin/sh\necho x >> {}\n", folder.path().join("refreshed").display())).expect("room");
        fs::set_permissions(&smi, fs::Permissions::from_mode(0o755)).expect("ours");
        server.edit(NODES, NODE, |node| {
            node["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        });
        let store = Store::File(state);
        Self { store, server, kubelet, folder, runtime, agent: None, operations: 0, pods: 0 }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that would start an agent here.
    pub(crate) fn agent_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retile-agent"));
        let library = fake_nvml::library_path().expect("cargo builds the library with the tests");
        command
            .env("FAKE_NVML_STATE", self.path("node.json"))
            .env("FAKE_NVML_LOG", self.path("calls"))
            .args(["--node", NODE, "--metrics-address", "127.0.0.1:0", "--health-address", "127.0.0.1:0"])
            .args(["--control-nodes", "off", "--cdi", "off", "--capability-nodes", "on", "--log", "info"])
            .arg("--library")
            .arg(library)
            .arg("--nvidia-smi")
            .arg(self.path("nvidia-smi"))
            .arg("--kubeconfig")
            .arg(self.path("kubeconfig"))
            .arg("--kubelet")
            .arg(self.path("kubelet.sock"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) {
        assert!(self.agent.is_none(), "one agent at a time");
        let log = File::options().create(true).append(true).open(self.path("agent.log")).expect("room");
        let out = log.try_clone().expect("a file");
        let agent = self.agent_command().stdout(out).stderr(log).spawn().expect("cargo builds it");
        self.agent = Some(agent);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        let early = agent.try_wait().expect("ours");
        assert!(early.is_none(), "the agent has ended by itself: {early:?}\n{}", self.log());
        agent.kill().expect("ours");
        agent.wait().expect("ours");
    }

    /// `SIGTERM`, and what the agent says to it.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().expect("it runs");
        let sent = Command::new("kill").args(["-TERM", &agent.id().to_string()]).status().expect("there is a kill");
        assert!(sent.success());
        agent.wait().expect("ours")
    }

    /// The agent's last words.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.path("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Names of the functions that were called since `from` bytes of the log.
    pub(crate) fn calls(&self, from: usize) -> Vec<String> {
        let text = fs::read(self.path("calls")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[from..]).into_owned();
        text.lines().filter_map(|line| line.split_once(' ')).map(|(_, call)| call.to_owned()).collect()
    }

    /// Length of the log of calls.
    pub(crate) fn called(&self) -> usize {
        fs::metadata(self.path("calls")).map_or(0, |about| about.len() as usize)
    }

    /// How often device nodes were made.
    pub(crate) fn refreshed(&self) -> usize {
        fs::read_to_string(self.path("refreshed")).unwrap_or_default().lines().count()
    }

    /// UUID, kind and instances of each board.
    pub(crate) fn boards(&self) -> Vec<(String, String, Standing)> {
        let node = self.store.read().expect("the node is in its file");
        let one =
            |board: &fake_nvml::node::BoardState| (board.uuid.clone(), board.config.board.clone(), standing(board));
        node.boards.iter().map(one).collect()
    }

    /// The device plugin has started anew.
    pub(crate) fn plugin_restarts(&self) {
        let boards = self.boards();
        let devices = boards.iter().flat_map(|(.., standing)| standing);
        let devices = devices.filter_map(|(place, uuid)| Some((mig_resource(&place.profile), uuid.clone()?)));
        self.kubelet.offer(&devices.collect::<Vec<_>>());
    }

    /// A pod takes an instance; its process shows in the driver, or, as long as it has not opened the device, does not.
    pub(crate) fn hold(&mut self, board: usize, place: &Place, uuid: &str, opened: bool) -> Holder {
        self.pods += 1;
        let pod = format!("pod-{}", self.pods);
        let resource = mig_resource(&place.profile);
        self.server.edit(PODS, &format!("ml/{pod}"), |object| {
            let limits = json!({"limits": {&resource: "1"}, "requests": {&resource: "1"}});
            object["spec"] = json!({"nodeName": NODE, "containers": [{"name": "main", "resources": limits}]});
            object["status"] = json!({"phase": "Running"});
        });
        self.kubelet.give("ml", &pod, &resource, uuid);
        let process = opened.then(|| {
            let pid = 10_000 + self.pods as u32;
            self.change(|node| {
                let instances = &node.boards[board].instances;
                let id = instances.iter().find(|it| it.span.start == u32::from(place.start)).expect("held").id;
                node.attach(board, Client::process(pid, id, 0, 64)).expect("it is there");
            });
            pid
        });
        Holder { pod, uuid: uuid.to_owned(), process }
    }

    /// A pod ends.
    pub(crate) fn release(&self, holder: &Holder) {
        if let Some(pid) = holder.process {
            self.change(|node| node.detach(pid));
        }
        self.kubelet.release(&holder.uuid);
        self.server.remove(PODS, &format!("ml/{}", holder.pod));
    }

    fn change(&self, change: impl FnOnce(&mut fake_nvml::Node)) {
        self.store.change(change).expect("the node is in its file");
    }

    /// The controller's part up to the point where the agent may begin: taint, and the operation with its victims gone.
    pub(crate) fn claim(&mut self, gpus: Vec<GpuTarget>, steps: Vec<Step>) -> String {
        self.operations += 1;
        let id = format!("op-{}", self.operations);
        let uid = self.server.get(NODES, NODE).expect("made")["metadata"]["uid"].as_str().expect("a UID").to_owned();
        let operation = Operation {
            id: OperationId(id.clone()),
            epoch: 1,
            protocol: PROTOCOL,
            node_uid: uid,
            gpus,
            steps,
            victims: Vec::new(),
            beneficiaries: Vec::new(),
            residents: Vec::new(),
            phase: Phase::Drained,
            plugin: None,
            outcome: None,
            detail: String::new(),
        };
        self.server.edit(NODES, NODE, |node| {
            node["spec"]["taints"] = json!([{"key": TAINT_KEY, "value": id, "effect": "NoSchedule"}]);
        });
        let spec = crd::MigNodeSpec::from(&MigNodeSpec { operation: Some(operation), history: Vec::new() });
        let spec = serde_json::to_value(spec).expect("JSON");
        self.server.edit(RECORDS, NODE, |record| record["spec"] = spec);
        id
    }

    /// The controller goes on to a phase.
    pub(crate) fn proceed(&self, phase: &str) {
        self.server.edit(RECORDS, NODE, |record| record["spec"]["operation"]["phase"] = json!(phase));
    }

    /// The controller closes the operation.
    pub(crate) fn close(&self) {
        self.server.edit(NODES, NODE, |node| node["spec"]["taints"] = json!([]));
        self.server.edit(RECORDS, NODE, |record| record["spec"] = json!({}));
    }

    /// The first of these phases that the agent reports for an operation.
    pub(crate) fn phase(&self, id: &str, among: &[&str]) -> String {
        let reported = |record: &Value| {
            let operation = &record["status"]["operation"];
            operation["id"] == id && among.iter().any(|phase| operation["phase"] == *phase)
        };
        let record = self.runtime.block_on(self.server.until(RECORDS, NODE, reported));
        let now = || self.server.get(RECORDS, NODE);
        let record = record.unwrap_or_else(|| panic!("no {among:?} of {id}: {:?}\n{}", now(), self.log()));
        record["status"]["operation"]["phase"].as_str().expect("it is one of these").to_owned()
    }

    /// Waits until the agent reports something.
    pub(crate) fn record(&self, is: impl Fn(&Value) -> bool) -> Value {
        let record = self.runtime.block_on(self.server.until(RECORDS, NODE, is));
        record.unwrap_or_else(|| panic!("{:?}\n{}", self.server.get(RECORDS, NODE), self.log()))
    }

    /// Whether the agent has taken an operation up.
    pub(crate) fn accepted(&self, id: &str) -> bool {
        self.server.get(RECORDS, NODE).is_some_and(|record| record["status"]["operation"]["id"] == id)
    }

    /// Carries an operation to its end, as the controller does after the agent has changed the board. Answers how it went, `among` these.
    pub(crate) fn see_through(&self, id: &str, among: &[&str]) -> String {
        let reached = self.phase(id, among);
        if matches!(reached.as_str(), "Refused" | "Degraded") {
            return reached;
        }
        self.plugin_restarts();
        self.proceed("Restarting");
        self.phase(id, &["Applied"]);
        self.close();
        reached
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}
