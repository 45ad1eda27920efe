//! What follows from a change of an object: who is woken, and which controllers have something to do.

use std::rc::Rc;

use crate::sim::api::{Change, Node, Object, Pod, Record as MigRecord};
use crate::sim::history::Record;
use crate::sim::process::{ProcessId, Slot};

use super::World;
use super::happening::Happening;

impl World {
    /// Passes on all changes that were made since the last time.
    pub(super) fn pass_on(&mut self) {
        while self.seen < self.api.version() {
            // When the log was cut off, whoever misses something finds it at its next look.
            let changes: Vec<Rc<Change>> =
                self.api.since(self.seen).map(|changes| changes.cloned().collect()).unwrap_or_default();
            self.seen = self.api.version();
            for change in &changes {
                self.trace(|| describe(change));
                self.pass_on_one(change);
            }
        }
        let planned = self.programs.take_records();
        self.note(planned);
    }

    fn pass_on_one(&mut self, change: &Change) {
        if let Some((before, after)) = change.pod() {
            return self.pod_changed(before, after);
        }
        match (&change.before, &change.after) {
            (before, Some(Object::Node(after))) => {
                let before = match before {
                    Some(Object::Node(before)) => Some(before),
                    Some(Object::Pod(_) | Object::Budget(_) | Object::Record(_) | Object::Lease(_)) | None => None,
                };
                self.node_changed(before, after);
            }
            (Some(Object::Node(node)), None) => {
                self.wake_operation(&node.meta.name.name);
                self.collect_from(&node.meta.name.name);
            }
            (before, Some(Object::Record(after))) => {
                let before = match before {
                    Some(Object::Record(before)) => Some(before.as_ref()),
                    Some(Object::Pod(_) | Object::Budget(_) | Object::Node(_) | Object::Lease(_)) | None => None,
                };
                self.record_changed(before, after);
            }
            (Some(Object::Record(record)), None) => {
                let node = record.meta.name.name.clone();
                self.wake_operation(&node);
                self.wake_agent(&node);
            }
            (_, Some(Object::Budget(_))) => self.budgets_soon(),
            (_, Some(Object::Lease(_) | Object::Pod(_)) | None) => {}
        }
    }

    fn pod_changed(&mut self, before: Option<&Rc<Pod>>, after: Option<&Rc<Pod>>) {
        let Some(pod) = after.or(before) else { return };
        let node = after.and_then(|pod| pod.node.as_ref()).or_else(|| before.and_then(|pod| pod.node.as_ref()));
        let fact = |pod: &Rc<Pod>| (pod.node.is_some(), pod.deleting(), pod.finished());
        let essential =
            before.map(fact) != after.map(fact) || before.map(|pod| &pod.meta.uid) != after.map(|pod| &pod.meta.uid);
        let readiness = before.map(|pod| pod.ready) != after.map(|pod| pod.ready);
        if essential || readiness {
            self.budgets_soon();
        }
        if let Some(node) = node.cloned()
            && (essential || readiness)
        {
            self.wake_operation(&node);
            if essential {
                self.kubelet_soon(&node);
            }
            if pod.device_plugin() && essential {
                self.daemon_set_soon(&node);
            }
            if after.is_none()
                && let Some(host) = self.hosts.get_mut(&node)
                && !host.guests.contains_key(&pod.meta.uid)
            {
                host.sim.pod_deleted(&pod.meta.uid);
            }
        }
        if after.is_some_and(|pod| pod.unschedulable) && !before.is_some_and(|pod| pod.unschedulable) {
            self.wake_loop();
        }
        if essential {
            self.schedule_soon();
            if let Some(work) = pod.work().map(str::to_owned) {
                self.owner_soon(work);
            }
        }
    }

    fn node_changed(&mut self, before: Option<&Rc<Node>>, after: &Rc<Node>) {
        let name = &after.meta.name.name;
        let fact = |node: &Rc<Node>| {
            (node.ready, node.unschedulable, node.taints.clone(), node.allocatable.clone(), node.meta.deletion)
        };
        if before.map(fact) != Some(fact(after)) {
            self.schedule_soon();
            self.wake_operation(name);
            self.wake_loop();
        }
        if before.is_none() {
            self.daemon_set_soon(name);
            self.kubelet_soon(name);
        } else {
            let tainted = !self.settings.plugin_tolerates && before.map(|node| &node.taints) != Some(&after.taints);
            if tainted || before.map(|node| &node.meta.labels) != Some(&after.meta.labels) {
                self.daemon_set_soon(name);
            }
        }
    }

    fn record_changed(&mut self, before: Option<&MigRecord>, after: &MigRecord) {
        let node = after.meta.name.name.clone();
        if before.is_none() {
            self.record_made(&node);
        }
        let was = before.and_then(|record| record.spec.operation.as_ref());
        let is = after.spec.operation.as_ref();
        if before.is_none_or(|before| before.spec != after.spec) {
            self.wake_agent(&node);
        }
        if before.is_none_or(|before| before.status.operation != after.status.operation) {
            self.wake_operation(&node);
            self.wake_loop();
        }
        let now = self.queue.now();
        if let Some(operation) = is.filter(|is| was.is_none_or(|was| was.id != is.id)) {
            let victims = operation.victims.iter().map(|victim| self.work_of_victim(&victim.pod)).collect();
            let operation = operation.id.0.clone();
            self.notes.push(now, Record::Claimed { node: node.clone(), operation, victims });
        }
        if let Some(operation) = was.filter(|was| is.is_none_or(|is| was.id != is.id)) {
            let ended = after.spec.history.iter().find(|ended| ended.id == operation.id);
            if let Some(ended) = ended {
                let record = Record::Ended { node, operation: operation.id.0.clone(), outcome: ended.outcome };
                self.notes.push(now, record);
            }
        }
    }

    fn work_of_victim(&self, pod: &crate::model::PodRef) -> String {
        let found = self.api.objects().pods.get(&pod.into());
        found.and_then(|pod| pod.work()).map_or_else(|| pod.name.clone(), str::to_owned)
    }

    fn wake_agent(&mut self, node: &str) {
        self.wake_later(ProcessId::Agent(node.to_owned()), Slot::Agent);
    }

    fn wake_operation(&mut self, node: &str) {
        let slots = self.slots(|_, slot| matches!(slot, Slot::Operation(of) if of == node));
        for (process, slot) in slots {
            self.wake_later(process, slot);
        }
    }

    fn wake_loop(&mut self) {
        let slots = self.slots(|_, slot| *slot == Slot::Loop);
        for (process, slot) in slots {
            self.wake_later(process, slot);
        }
    }

    fn wake_later(&mut self, process: ProcessId, slot: Slot) {
        let delay = self.draw(self.settings.watch);
        self.queue.after(delay, Happening::Wake(process, slot));
    }

    fn schedule_soon(&mut self) {
        if !self.due.schedule {
            self.due.schedule = true;
            self.queue.after(self.settings.scheduler_lag, Happening::Schedule);
        }
    }

    fn budgets_soon(&mut self) {
        if !self.due.budgets && !self.api.objects().budgets.is_empty() {
            self.due.budgets = true;
            let delay = self.draw(self.settings.controllers_delay);
            self.queue.after(delay, Happening::Budgets);
        }
    }

    fn owner_soon(&mut self, work: String) {
        if self.due.owners.insert(work.clone()) {
            let delay = self.draw(self.settings.controllers_delay);
            self.queue.after(delay, Happening::Owner(work));
        }
    }

    fn daemon_set_soon(&mut self, node: &str) {
        if self.due.daemon_sets.insert(node.to_owned()) {
            let delay = self.draw(self.settings.controllers_delay);
            self.queue.after(delay, Happening::DaemonSet(node.to_owned()));
        }
    }
}

fn describe(change: &Change) -> String {
    let meta = change.object().meta();
    let what = match (&change.before, &change.after) {
        (None, _) => "created",
        (Some(_), Some(_)) => "changed",
        (Some(_), None) => "removed",
    };
    format!("{what} {}/{} at version {}", meta.name.namespace, meta.name.name, change.version)
}
