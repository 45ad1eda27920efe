//! Kubelets: pods that are let in, start, end; the device plugin's pod; the status of the node; reboots.

use crate::exec::Taint;
use crate::exec::marks::{DEPLOY_PLUGIN, DEPLOYED};
use crate::sim::api::{Deletion, Meta, Name, Owner, PLUGIN_NAMESPACE, Pod, PodPhase, Toleration};
use crate::sim::process::ProcessId;
use crate::sim::workloads::Stop;

use super::World;
use super::hands::CUT_OFF;
use super::happening::Happening;
use super::hosts::{Guest, Host, Step};
use super::settings::Span;

/// Taint of a node whose kubelet is silent.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// First back-off of containers that do not start, and the longest, in milliseconds.
const BACK_OFF: (u64, u64) = (10_000, 300_000);

impl World {
    /// The machine, if it is up and still in this boot.
    pub(super) fn host_at(&mut self, node: &str, boot: u64) -> Option<&mut Host> {
        self.hosts.get_mut(node).filter(|host| host.up && host.boot == boot)
    }

    pub(super) fn begin_heartbeats(&mut self, node: &str) {
        let Some(boot) = self.hosts.get(node).map(|host| host.boot) else { return };
        let first = self.draw(Span::between(0, self.settings.heartbeat));
        self.queue.after(first, Happening::Heartbeat { node: node.to_owned(), boot });
        self.kubelet_soon(node);
    }

    pub(super) fn kubelet_soon(&mut self, node: &str) {
        let Some(boot) = self.hosts.get(node).map(|host| host.boot) else { return };
        if self.due.kubelets.insert(node.to_owned()) {
            let delay = self.draw(self.settings.kubelet_delay);
            self.queue.after(delay, Happening::Kubelet { node: node.to_owned(), boot });
        }
    }

    /// Writes the node's status.
    pub(super) fn heartbeat(&mut self, node: &str, boot: u64) {
        let now = self.queue.now();
        let Some(host) = self.host_at(node, boot) else { return };
        if !host.mute {
            let allocatable = host.sim.allocatable();
            self.api.modify_node(now, node, |node| {
                node.heartbeat += 1;
                node.allocatable = allocatable;
                node.ready = true;
                node.taints.retain(|taint| taint.key != UNREACHABLE);
            });
        }
        self.queue.after(self.settings.heartbeat, Happening::Heartbeat { node: node.to_owned(), boot });
    }

    /// A kubelet falls silent, or speaks again.
    pub(super) fn mute(&mut self, node: &str, mute: bool) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        host.mute = mute;
        let boot = host.boot;
        if mute {
            self.queue.after(self.settings.node_grace, Happening::Silent { node: node.to_owned(), boot });
        }
    }

    /// The node controller finds a node silent for too long.
    pub(super) fn silent(&mut self, node: &str, boot: u64) {
        let still = self.hosts.get(node).is_some_and(|host| host.boot == boot && (host.mute || !host.up));
        if still {
            self.api.modify_node(self.queue.now(), node, |node| {
                node.ready = false;
                let known = node.taints.iter().any(|taint| taint.key == UNREACHABLE);
                if !known {
                    let effect = "NoSchedule".to_owned();
                    node.taints.push(Taint { key: UNREACHABLE.to_owned(), value: String::new(), effect });
                }
            });
        }
    }

    /// The kubelet compares its pods with those that are bound to its node.
    pub(super) fn sync_pods(&mut self, node: &str, boot: u64) {
        self.due.kubelets.remove(node);
        let Some(host) = self.host_at(node, boot) else { return };
        let known: Vec<(String, Name)> =
            host.guests.iter().map(|(uid, guest)| (uid.clone(), Name::from(&guest.pod))).collect();
        let bound: Vec<std::rc::Rc<Pod>> = self.api.objects().bound_to(node).cloned().collect();
        for pod in &bound {
            let here = known.iter().any(|(uid, _)| *uid == pod.meta.uid);
            match (here, pod.deleting()) {
                (false, false) if !pod.finished() => self.admit(node, pod),
                (false, true) if !pod.finished() => self.never_started(node, pod),
                (true, true) => self.stop_containers(node, &pod.meta.uid),
                (true | false, true | false) => {}
            }
        }
        for (uid, _) in known.iter().filter(|(uid, _)| !bound.iter().any(|pod| pod.meta.uid == *uid)) {
            self.stop_containers(node, uid);
        }
    }

    fn admit(&mut self, node: &str, pod: &Pod) {
        let now = self.queue.now();
        let Some(host) = self.hosts.get_mut(node) else { return };
        let boot = host.boot;
        if let Err(error) = host.sim.admit(&pod.pod_ref(), &pod.requests, false) {
            self.trace(|| format!("{node} rejects {}: {error}", pod.pod_ref()));
            self.api.modify_pod(now, &pod.meta.name, |pod| {
                pod.phase = PodPhase::Failed;
                "UnexpectedAdmissionError".clone_into(&mut pod.reason);
            });
            let records = self.works.stopped(pod, CUT_OFF, &mut self.api, now);
            self.note(records);
            return;
        }
        let plugin = pod.device_plugin();
        let guest =
            Guest { pod: pod.pod_ref(), step: Step::Starting, plugin, work: pod.work().map(str::to_owned), tries: 0 };
        host.guests.insert(pod.meta.uid.clone(), guest);
        let span = if plugin { self.settings.plugin_start } else { self.settings.container_start };
        let delay = self.draw(span);
        self.queue.after(delay, Happening::Start { node: node.to_owned(), boot, uid: pod.meta.uid.clone() });
        self.note_gpus(node);
    }

    /// A pod that is deleted before the kubelet has seen it.
    fn never_started(&mut self, node: &str, pod: &Pod) {
        let now = self.queue.now();
        let records = self.works.stopped(pod, Stop::Early(pod.disruption), &mut self.api, now);
        self.note(records);
        self.confirm(node, &pod.meta.name, &pod.meta.uid);
    }

    /// The containers of a pod have ended: the kubelet says so and lets the object go.
    fn confirm(&mut self, node: &str, name: &Name, uid: &str) {
        let now = self.queue.now();
        let same = self.api.objects().pods.get(name).is_some_and(|pod| pod.meta.uid == uid);
        if same {
            self.api.modify_pod(now, name, |pod| {
                pod.ready = false;
                pod.phase = if pod.phase == PodPhase::Succeeded { PodPhase::Succeeded } else { PodPhase::Failed };
            });
            let options = Deletion { uid: Some(uid.to_owned()), grace: Some(0), ..Deletion::default() };
            // Gone already is as good.
            let _ = self.api.delete_pod(now, name, &options);
        }
        if let Some(host) = self.hosts.get_mut(node) {
            host.sim.pod_deleted(uid);
        }
    }

    pub(super) fn start_containers(&mut self, node: &str, boot: u64, uid: &str) {
        let opens = self.draw(Span::between(1, 100)) <= u64::from(self.settings.opens_gpu_percent);
        let Some(host) = self.host_at(node, boot) else { return };
        let Some(guest) = host.guests.get_mut(uid).filter(|guest| guest.step == Step::Starting) else { return };
        guest.tries += 1;
        let (pod, tries, plugin) = (guest.pod.clone(), guest.tries, guest.plugin);
        let started = if plugin {
            host.sim.plugin_starts().map(Some).map_err(|error| error.to_string())
        } else {
            host.sim.start_container(&pod, "main", opens).map(|()| None).map_err(|error| error.to_string())
        };
        let event = |uid: &str| (node.to_owned(), boot, uid.to_owned());
        match started {
            Err(error) => {
                self.trace(|| format!("{node} cannot start {pod}: {error}"));
                let delay = BACK_OFF.0.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(BACK_OFF.1);
                let (node, boot, uid) = event(uid);
                self.queue.after(delay, Happening::Start { node, boot, uid });
            }
            Ok(registers) => {
                guest_runs(host, uid);
                if let Some(delay) = registers {
                    let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                    let (node, boot, uid) = event(uid);
                    self.queue.after(delay, Happening::Registers { node, boot, uid });
                }
                self.containers_run(node, boot, uid, &Name::from(&pod));
            }
        }
    }

    fn containers_run(&mut self, node: &str, boot: u64, uid: &str, name: &Name) {
        let now = self.queue.now();
        let Some(pod) = self.api.objects().pods.get(name).filter(|pod| pod.meta.uid == uid).cloned() else { return };
        self.api.modify_pod(now, name, |pod| {
            pod.phase = PodPhase::Running;
            pod.ready = true;
        });
        if let Some((rest, records)) = self.works.started(&pod, node, now) {
            self.note(records);
            self.queue.after(rest, Happening::Done { node: node.to_owned(), boot, uid: uid.to_owned() });
        }
        self.note_gpus(node);
    }

    /// The work of a pod is done.
    pub(super) fn containers_done(&mut self, node: &str, uid: &str) {
        let now = self.queue.now();
        let Some(host) = self.hosts.get_mut(node) else { return };
        if host.guests.get(uid).is_none_or(|guest| guest.step != Step::Running) {
            return;
        }
        let Some(guest) = host.guests.remove(uid) else { return };
        host.sim.pod_ends(uid);
        let name = Name::from(&guest.pod);
        let pod = self.api.modify_pod(now, &name, |pod| {
            pod.phase = PodPhase::Succeeded;
            pod.ready = false;
        });
        if let Some(pod) = pod {
            let records = self.works.stopped(&pod, Stop::Done, &mut self.api, now);
            self.note(records);
        }
        self.note_gpus(node);
    }

    /// Containers are told to end; the work stops with that.
    fn stop_containers(&mut self, node: &str, uid: &str) {
        let now = self.queue.now();
        let delay = self.draw(self.settings.container_stop);
        let Some(host) = self.hosts.get_mut(node) else { return };
        let boot = host.boot;
        let Some(guest) = host.guests.get_mut(uid).filter(|guest| guest.step != Step::Stopping) else { return };
        guest.step = Step::Stopping;
        let name = Name::from(&guest.pod);
        let pod = self.api.objects().pods.get(&name).filter(|pod| pod.meta.uid == uid).cloned();
        // A forced deletion gives no grace, but the runtime takes its time.
        let grace = pod.as_ref().map_or(u64::MAX, |pod| pod.grace_seconds.saturating_mul(1000));
        if let Some(pod) = &pod {
            self.api.modify_pod(now, &name, |pod| pod.ready = false);
            let records = self.works.stopped(pod, Stop::Early(pod.disruption), &mut self.api, now);
            self.note(records);
        } else if let Some(work) = guest.work.clone() {
            let records = self.works.cut_off(&work, uid, &mut self.api, now);
            self.note(records);
        }
        self.queue.after(delay.min(grace), Happening::Stopped { node: node.to_owned(), boot, uid: uid.to_owned() });
    }

    pub(super) fn containers_stopped(&mut self, node: &str, boot: u64, uid: &str) {
        let Some(host) = self.host_at(node, boot) else { return };
        let Some(guest) = host.guests.remove(uid) else { return };
        if guest.plugin {
            host.sim.plugin_stops();
        }
        host.sim.pod_ends(uid);
        self.confirm(node, &Name::from(&guest.pod), uid);
        self.note_gpus(node);
    }

    pub(super) fn plugin_registers(&mut self, node: &str, boot: u64, uid: &str) {
        let Some(host) = self.host_at(node, boot) else { return };
        if host.guests.get(uid).is_some_and(|guest| guest.step == Step::Running) {
            host.sim.plugin_registers();
        }
    }

    /// The DaemonSet's controller makes a node's plugin pod, when there is none and it may run there.
    pub(super) fn control_plugin(&mut self, node: &str) {
        self.due.daemon_sets.remove(node);
        let now = self.queue.now();
        let mine = |pod: &&std::rc::Rc<Pod>| pod.device_plugin();
        let pods: Vec<std::rc::Rc<Pod>> = self.api.objects().bound_to(node).filter(mine).cloned().collect();
        for pod in pods.iter().filter(|pod| pod.finished()) {
            // Gone already is as good.
            let _ = self.api.delete_pod(now, &pod.meta.name, &Deletion::default());
        }
        let Some(found) = self.api.objects().nodes.get(node) else { return };
        let placed = found.meta.labels.get(DEPLOY_PLUGIN).is_none_or(|value| value == DEPLOYED);
        if !placed {
            for pod in pods.iter().filter(|pod| !pod.finished() && !pod.deleting()) {
                let _ = self.api.delete_pod(now, &pod.meta.name, &Deletion::default());
            }
            return;
        }
        let welcome =
            self.settings.plugin_tolerates || found.taints.iter().all(|taint| taint.effect == "PreferNoSchedule");
        if !pods.iter().any(|pod| !pod.finished()) && welcome {
            self.make_plugin(node);
        }
    }

    fn make_plugin(&mut self, node: &str) -> Option<std::rc::Rc<Pod>> {
        let host = self.hosts.get_mut(node)?;
        host.plugins += 1;
        let name = Name::of(PLUGIN_NAMESPACE, &format!("nvidia-device-plugin-{node}-{}", host.plugins));
        let everything = Toleration { exists: true, ..Toleration::default() };
        let pod = Pod {
            meta: Meta { name, ..Meta::default() },
            owner: Owner::DaemonSet,
            node: Some(node.to_owned()),
            priority: 2_000_001_000,
            tolerations: self.settings.plugin_tolerates.then_some(everything).into_iter().collect(),
            grace_seconds: 30,
            ..Pod::default()
        };
        self.api.create_pod(self.queue.now(), pod)
    }

    /// The plugin serves from the beginning.
    pub(super) fn begin_plugin(&mut self, node: &str) {
        let Some(pod) = self.make_plugin(node) else { return };
        let Some(host) = self.hosts.get_mut(node) else { return };
        let guest = Guest { pod: pod.pod_ref(), step: Step::Running, plugin: true, work: None, tries: 1 };
        host.guests.insert(pod.meta.uid.clone(), guest);
        if host.sim.plugin_starts().is_ok() {
            host.sim.plugin_registers();
        }
        let allocatable = host.sim.allocatable();
        let now = self.queue.now();
        self.api.modify_node(now, node, |node| node.allocatable = allocatable);
        self.api.modify_pod(now, &pod.meta.name, |pod| {
            pod.phase = PodPhase::Running;
            pod.ready = true;
        });
    }

    /// A kubelet starts anew; containers go on.
    pub(super) fn restart_kubelet(&mut self, node: &str, checkpoint_lost: bool) {
        let Some(host) = self.hosts.get_mut(node).filter(|host| host.up) else { return };
        let boot = host.boot;
        let serving = host.guests.iter().find(|(_, guest)| guest.plugin && guest.step == Step::Running);
        let uid = serving.map(|(uid, _)| uid.clone());
        if let (Some(delay), Some(uid)) = (host.sim.kubelet_restarts(checkpoint_lost), uid) {
            let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            self.queue.after(delay, Happening::Registers { node: node.to_owned(), boot, uid });
        }
        self.kubelet_soon(node);
    }

    /// The plugin ends, now and whenever it starts; or no longer.
    pub(super) fn break_plugin(&mut self, node: &str, broken: bool) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        host.sim.plugin.crashes = broken;
    }

    /// A machine goes down, and comes up again later.
    pub(super) fn reboot(&mut self, node: &str, away: u64) {
        let now = self.queue.now();
        let Some(host) = self.hosts.get_mut(node).filter(|host| host.up) else { return };
        host.up = false;
        host.boot += 1;
        let boot = host.boot;
        let guests = std::mem::take(&mut host.guests);
        for uid in guests.keys() {
            host.sim.pod_ends(uid);
        }
        host.sim.reboot();
        for (uid, guest) in guests {
            if let Some(work) = guest.work {
                let records = self.works.cut_off(&work, &uid, &mut self.api, now);
                self.note(records);
            }
        }
        self.stop(&ProcessId::Agent(node.to_owned()));
        self.note_gpus(node);
        self.queue.after(self.settings.node_grace, Happening::Silent { node: node.to_owned(), boot });
        self.queue.after(away, Happening::Boot { node: node.to_owned(), boot });
    }

    /// A machine comes up: pods that had instances are rejected, because what they were given is no more.
    pub(super) fn boot(&mut self, node: &str, boot: u64) {
        let now = self.queue.now();
        let Some(host) = self.hosts.get_mut(node).filter(|host| host.boot == boot) else { return };
        host.up = true;
        self.due.kubelets.remove(node);
        let bound: Vec<std::rc::Rc<Pod>> = self.api.objects().bound_to(node).cloned().collect();
        for pod in bound.iter().filter(|pod| !pod.finished() && !pod.deleting()) {
            let Some(host) = self.hosts.get_mut(node) else { return };
            if host.sim.kubelet.readmit(&pod.meta.uid).is_err() {
                host.sim.pod_deleted(&pod.meta.uid);
                self.api.modify_pod(now, &pod.meta.name, |pod| {
                    pod.phase = PodPhase::Failed;
                    pod.ready = false;
                    "UnexpectedAdmissionError".clone_into(&mut pod.reason);
                });
                let records = self.works.stopped(pod, CUT_OFF, &mut self.api, now);
                self.note(records);
            } else {
                self.api.modify_pod(now, &pod.meta.name, |pod| pod.ready = false);
            }
        }
        self.begin_heartbeats(node);
        self.launch_soon(ProcessId::Agent(node.to_owned()));
    }
}

fn guest_runs(host: &mut Host, uid: &str) {
    if let Some(guest) = host.guests.get_mut(uid) {
        guest.step = Step::Running;
    }
}
