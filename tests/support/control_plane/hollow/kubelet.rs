//! A kubelet without containers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::devices::Devices;
use super::{Pace, objects};

pub(super) struct Kubelet {
    name: String,
    client: Client,
    devices: Arc<Mutex<Devices>>,
    pace: Pace,
    /// Pods that were let in, by UID, and how far each is.
    pods: BTreeMap<String, Guest>,
    /// Pods of a list that has begun.
    listed: Option<BTreeSet<String>>,
    /// What the last report said, and when it was made.
    reported: Option<(BTreeMap<String, u64>, Instant)>,
}

struct Guest {
    pod: Pod,
    plugin: bool,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Its containers run from this moment on.
    Starting(Instant),
    Running,
    /// Its containers have ended by this moment.
    Stopping(Instant),
    /// Nothing of it is left but the object.
    Ended,
}

/// How often it looks whether something is due.
const TICK: std::time::Duration = std::time::Duration::from_millis(25);

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Times of conditions have no fractions.
fn second() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Kubelet {
    pub(super) fn new(name: String, client: Client, devices: Arc<Mutex<Devices>>, pace: Pace) -> Self {
        Self { name, client, devices, pace, pods: BTreeMap::new(), listed: None, reported: None }
    }

    /// Runs until it is aborted. What cannot be done now is tried again.
    pub(super) async fn run(mut self) {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let own = watcher::Config::default().fields(&format!("spec.nodeName={}", self.name));
        let mut events = watcher(pods, own).default_backoff().boxed();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lease = interval(self.pace.lease);
        lease.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = events.next() => if let Ok(event) = event { Box::pin(self.hear(event)).await },
                _ = tick.tick() => self.go_on().await,
                _ = lease.tick() => self.renew().await,
            }
        }
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hear(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.listed = Some(BTreeSet::new()),
            watcher::Event::InitApply(pod) => {
                if let (Some(listed), Some(uid)) = (&mut self.listed, &pod.metadata.uid) {
                    listed.insert(uid.clone());
                }
                self.see(pod).await;
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<String> = self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
                for uid in gone {
                    self.lose(&uid);
                }
            }
            watcher::Event::Apply(pod) => self.see(pod).await,
            watcher::Event::Delete(pod) => self.lose(&pod.metadata.uid.unwrap_or_default()),
        }
    }

    /// A pod that is bound to this node, for the first time or changed.
    async fn see(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let over = matches!(objects::phase(&pod), "Succeeded" | "Failed");
        let Some(guest) = self.pods.get_mut(&uid) else {
            if deleting || over {
                let step = if deleting { Step::Stopping(Instant::now()) } else { Step::Ended };
                self.pods.insert(uid, Guest { plugin: false, pod, step });
            } else {
                self.admit(uid, pod).await;
            }
            return;
        };
        guest.pod = pod;
        if deleting && !matches!(guest.step, Step::Stopping(_)) {
            let wait = if guest.step == Step::Ended { std::time::Duration::ZERO } else { self.pace.stop };
            guest.step = Step::Stopping(Instant::now() + wait);
        }
    }

    async fn admit(&mut self, uid: String, pod: Pod) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let admitted = self.devices().admit(&uid, (&namespace, &name), &objects::requests(&pod));
        let (step, status) = match admitted {
            // A kubelet that was started anew finds pods that ran before.
            Ok(()) if objects::phase(&pod) == "Running" => (Step::Starting(Instant::now()), None),
            Ok(()) => (Step::Starting(Instant::now() + self.pace.start), None),
            Err(reason) => (Step::Ended, Some(objects::rejected(&reason))),
        };
        if let Some(status) = status {
            self.write_status(&pod, &status).await;
        }
        let plugin = objects::is_plugin(&pod);
        self.pods.insert(uid, Guest { pod, plugin, step });
    }

    /// Does what is due.
    async fn go_on(&mut self) {
        let at = Instant::now();
        let due: Vec<String> =
            self.pods.iter().filter(|(_, guest)| guest.is_due(at)).map(|(uid, _)| uid.clone()).collect();
        for uid in due {
            let Some(guest) = self.pods.get(&uid) else { continue };
            let (pod, plugin) = (guest.pod.clone(), guest.plugin);
            let step = match guest.step {
                Step::Starting(_) => {
                    if plugin {
                        self.devices().plugin_starts();
                    }
                    let done = self.write_status(&pod, &objects::running(&pod, &second())).await;
                    if done { Step::Running } else { continue }
                }
                Step::Stopping(_) => {
                    self.let_go(&uid, plugin);
                    if self.confirm_end(&pod).await { Step::Ended } else { continue }
                }
                Step::Running | Step::Ended => continue,
            };
            if let Some(guest) = self.pods.get_mut(&uid) {
                guest.step = step;
            }
        }
        self.report().await;
    }

    /// A pod's object is gone: by our own confirmation, or by force.
    fn lose(&mut self, uid: &str) {
        if let Some(guest) = self.pods.remove(uid) {
            self.let_go(uid, guest.plugin && guest.step != Step::Ended);
        }
    }

    fn let_go(&mut self, uid: &str, plugin: bool) {
        self.devices().release(uid);
        let other =
            self.pods.iter().any(|(other, guest)| other != uid && guest.plugin && matches!(guest.step, Step::Running));
        if plugin && !other {
            self.devices().plugin_ends();
        }
    }

    /// Tells the API server that nothing of the pod is left. Whether that is settled.
    async fn confirm_end(&self, pod: &Pod) -> bool {
        let (Some(name), Some(namespace)) = (&pod.metadata.name, &pod.metadata.namespace) else { return true };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
        let now = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
        match pods.delete(name, &now).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => matches!(status.code, 404 | 409),
            Err(_) => false,
        }
    }

    /// Whether that is settled: done, or the pod is no longer there.
    async fn write_status(&self, pod: &Pod, status: &Value) -> bool {
        let (Some(name), Some(namespace)) = (&pod.metadata.name, &pod.metadata.namespace) else { return true };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut status = status.clone();
        // Only this incarnation.
        status["metadata"] = serde_json::json!({"uid": pod.metadata.uid});
        match pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => matches!(status.code, 404 | 409 | 422),
            Err(_) => false,
        }
    }

    /// Writes the node's status when it has changed, or when the last report is old.
    async fn report(&mut self) {
        let amounts = self.devices().allocatable();
        let fresh = |(said, at): &(BTreeMap<String, u64>, Instant)| *said == amounts && at.elapsed() < self.pace.report;
        if self.reported.as_ref().is_some_and(fresh) {
            return;
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let status = objects::status(&amounts, &second());
        if nodes.patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(status)).await.is_ok() {
            self.reported = Some((amounts, Instant::now()));
        }
    }

    async fn renew(&self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let Ok(Some(node)) = nodes.get_opt(&self.name).await else { return };
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let lease = objects::lease(&self.name, &node.metadata.uid.unwrap_or_default(), &now());
        let spec = serde_json::json!({"spec": lease["spec"]});
        if leases.patch(&self.name, &PatchParams::default(), &Patch::Merge(spec)).await.is_err() {
            let lease: Lease = serde_json::from_value(lease).expect("a lease");
            let _ = leases.create(&kube::api::PostParams::default(), &lease).await;
        }
    }
}

impl Guest {
    fn is_due(&self, at: Instant) -> bool {
        match self.step {
            Step::Starting(when) | Step::Stopping(when) => when <= at,
            Step::Running | Step::Ended => false,
        }
    }
}
