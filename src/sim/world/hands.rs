//! What people and other systems do to the cluster, at a moment or at a request.

use std::collections::BTreeMap;

use crate::exec::{Taint, marks};
use crate::sim::api::{Amount, Budget, BudgetRule, BudgetStatus, Deletion, Meta, NAMESPACE, Name, Pod};
use crate::sim::engine::RequestKind;
use crate::sim::node::{ByHand, Disk, Health, Holder};
use crate::sim::process::ProcessId;
use crate::sim::workload::Arrival;
use crate::sim::workloads::Stop;

use super::World;

/// What NVIDIA's driver manager writes into the labels of clients that it pauses.
const UPGRADE: &str = "paused-for-driver-upgrade";

/// When something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At this moment, in milliseconds.
    At(u64),
    /// When the n-th request of a kind (from 0) is sent, before it has an effect.
    Before(RequestKind, u64),
    /// Right after the n-th request of a kind (from 0) had its effect, before it is answered.
    After(RequestKind, u64),
}

/// Something that is done to the cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Hand {
    /// A process is killed, and starts anew.
    Crash(ProcessId),
    /// A process stands still for so many milliseconds (SIGSTOP); what it is told waits.
    Pause(ProcessId, u64),
    /// A process ends and is not started again.
    Retire(ProcessId),
    /// A machine starts anew and is away for so many milliseconds.
    Reboot(String, u64),
    /// A node object is deleted; its kubelet and containers go on.
    DeleteNode(String),
    /// A kubelet registers its node anew.
    RegisterNode(String),
    /// A kubelet starts anew; whether its checkpoint is lost.
    RestartKubelet(String, bool),
    /// A kubelet writes no status, or does again.
    Mute(String, bool),
    /// A device plugin ends whenever it starts, or does no longer.
    BreakPlugin(String, bool),
    /// The pods of a node's device plugin are deleted, so that it starts anew.
    RestartPlugin(String),
    /// A taint is put on a node.
    Taint(String, Taint),
    /// All taints with a key are removed from a node.
    Untaint(String, String),
    /// NVIDIA's driver manager pauses the operator's clients on a node, beside whoever has paused them before; or lets them go on, and leaves what it found.
    DriverManager(String, bool),
    /// A label of a node is set, or removed.
    Label(String, String, Option<String>),
    /// A node is cordoned, or uncordoned.
    Cordon(String, bool),
    /// A budget over an application is set.
    SetBudget(String, String, BudgetRule),
    /// A budget is removed.
    RemoveBudget(String),
    /// An annotation is put on the pods of some work.
    Annotate(String, String, String),
    /// The pods of some work are deleted; whether by force, without grace.
    DeletePods(String, bool),
    /// Some work is done before its time.
    Finish(String),
    /// Work arrives.
    Arrive(Arrival),
    /// A pod is bound to a node by name, past the scheduler.
    Pin(Arrival, String),
    /// The API server forgets old versions: all watches expire.
    Compact,
    /// The loop's cache hears nothing for so many milliseconds.
    Deafen(u64),
    /// The record of a node is deleted.
    DeleteRecord(String),
    /// The operation is removed from the record of a node.
    DropOperation(String),
    /// The lease is deleted.
    DeleteLease,
    /// `nvidia-smi mig`, by hand.
    Mig(String, ByHand),
    /// A GPU of a node, by index, hangs, is lost, or is well again.
    Health(String, u32, Health),
    /// A process or monitor takes hold of the first instance of a GPU, by index.
    Hold(String, u32, Holder),
    /// Whoever is no container lets go of all instances of a node.
    LetGo(String),
    /// What the disk of a node does to the agent's writes from now on.
    Disk(String, Disk),
}

impl World {
    /// Has something done at a moment or at a request.
    pub fn inject(&mut self, when: &When, hand: Hand) {
        match *when {
            When::At(at) => self.queue.at(at, super::happening::Happening::Hand(Box::new(hand))),
            When::Before(kind, number) => self.before.entry((kind, number)).or_default().push(hand),
            When::After(kind, number) => self.after.entry((kind, number)).or_default().push(hand),
        }
    }

    /// Does something now.
    pub fn lay_hand(&mut self, hand: &Hand) {
        self.trace(|| format!("hand {hand:?}"));
        self.watch_hand(hand);
        let now = self.queue.now();
        match hand {
            Hand::Crash(process) => self.crash(process),
            Hand::Pause(process, millis) => self.pause(process, now.saturating_add(*millis)),
            Hand::Retire(process) => self.retire(process),
            Hand::Reboot(node, millis) => self.reboot(node, *millis),
            Hand::DeleteNode(node) => self.api.remove_node(now, node),
            Hand::RegisterNode(node) => self.register_node(node),
            Hand::RestartKubelet(node, lost) => self.restart_kubelet(node, *lost),
            Hand::Mute(node, mute) => self.mute(node, *mute),
            Hand::BreakPlugin(node, broken) => self.break_plugin(node, *broken),
            Hand::RestartPlugin(node) => self.restart_plugin(node),
            Hand::Taint(node, taint) => drop(self.api.modify_node(now, node, |node| {
                node.taints.retain(|old| (&old.key, &old.effect) != (&taint.key, &taint.effect));
                node.taints.push(taint.clone());
            })),
            Hand::Untaint(node, key) => {
                self.api.modify_node(now, node, |node| node.taints.retain(|taint| taint.key != *key));
            }
            Hand::Label(node, key, value) => drop(self.api.modify_node(now, node, |node| match value {
                Some(value) => drop(node.meta.labels.insert(key.clone(), value.clone())),
                None => drop(node.meta.labels.remove(key)),
            })),
            Hand::DriverManager(node, begins) => self.driver_manager(node, *begins),
            Hand::Cordon(node, cordoned) => {
                self.api.modify_node(now, node, |node| node.unschedulable = *cordoned);
            }
            Hand::SetBudget(name, application, rule) => self.set_budget(name, application, *rule),
            Hand::RemoveBudget(name) => self.api.remove_budget(now, &Name::of(NAMESPACE, name)),
            Hand::Annotate(work, key, value) => self.annotate(work, key, value),
            Hand::DeletePods(work, force) => self.delete_pods(work, *force),
            Hand::Finish(work) => self.finish(work),
            Hand::Arrive(arrival) => self.add_work(arrival.clone(), None),
            Hand::Pin(arrival, node) => self.add_work(arrival.clone(), Some(node)),
            Hand::Compact => {
                // The cluster's own components list anew when their watches expire, and so miss nothing for long.
                self.pass_on();
                self.api.compact();
            }
            Hand::Deafen(millis) => self.cache.deaf_until = now.saturating_add(*millis),
            Hand::DeleteRecord(node) => self.api.remove_record(now, node),
            Hand::DropOperation(node) => {
                self.api.modify_record(now, node, |record| record.spec.operation = None);
            }
            Hand::DeleteLease => self.api.remove_lease(now),
            Hand::Mig(node, what) => self.mig_by_hand(node, what),
            Hand::Health(node, gpu, health) => {
                let board = self.hosts.get_mut(node).and_then(|host| host.board(*gpu));
                if let Some(board) = board {
                    board.set_health(*health);
                }
            }
            Hand::Hold(node, gpu, holder) => self.hold(node, *gpu, holder),
            Hand::Disk(node, disk) => {
                if let Some(host) = self.hosts.get_mut(node) {
                    host.sim.store.disk = *disk;
                }
            }
            Hand::LetGo(node) => {
                if let Some(host) = self.hosts.get_mut(node) {
                    host.sim.release(|holder| holder.pod().is_none());
                }
            }
        }
    }

    fn driver_manager(&mut self, node: &str, begins: bool) {
        let now = self.queue.now();
        let Some(meta) = self.api.objects().nodes.get(node).map(|node| node.meta.clone()) else { return };
        let found = if begins {
            let labels = meta.labels.into_iter();
            let found: BTreeMap<_, _> = labels.filter(|(key, _)| key.starts_with(marks::DEPLOY)).collect();
            self.upgrades.insert(meta.uid, found.clone());
            found
        } else {
            self.upgrades.remove(&meta.uid).unwrap_or_default()
        };
        let value = |found: String| match found.as_str() {
            marks::DEPLOYED if begins => UPGRADE.to_owned(),
            marks::PAUSED if begins => format!("{found}_{UPGRADE}"),
            _ => found,
        };
        self.api.modify_node(now, node, |node| {
            node.meta.labels.extend(found.into_iter().map(|(key, found)| (key, value(found))));
        });
    }

    fn set_budget(&mut self, name: &str, application: &str, rule: BudgetRule) {
        let now = self.queue.now();
        let name = Name::of(NAMESPACE, name);
        let selector = if application.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([(crate::sim::api::APP.to_owned(), application.to_owned())])
        };
        if self.api.objects().budgets.contains_key(&name) {
            self.api.modify_budget(now, &name, |budget| {
                budget.selector = selector;
                budget.rule = rule;
            });
            return;
        }
        let meta = Meta { name, ..Meta::default() };
        let status = BudgetStatus::default();
        self.api.create_budget(now, Budget { meta, selector, rule, always_allow_unhealthy: false, status });
    }

    fn annotate(&mut self, work: &str, key: &str, value: &str) {
        let now = self.queue.now();
        let mut template = self.works.template(work);
        template.annotations.insert(key.to_owned(), value.to_owned());
        self.works.set_template(work, template);
        for name in self.pods_of(work) {
            self.api.modify_pod(now, &name, |pod| drop(pod.meta.annotations.insert(key.to_owned(), value.to_owned())));
        }
    }

    fn delete_pods(&mut self, work: &str, force: bool) {
        let now = self.queue.now();
        for name in self.pods_of(work) {
            let grace = force.then_some(0);
            // Gone already is as good.
            let _ = self.api.delete_pod(now, &name, &Deletion { grace, ..Deletion::default() });
        }
    }

    fn restart_plugin(&mut self, node: &str) {
        let now = self.queue.now();
        let pods: Vec<Name> = self
            .api
            .objects()
            .bound_to(node)
            .filter(|pod| pod.device_plugin())
            .map(|pod| pod.meta.name.clone())
            .collect();
        for name in pods {
            // Gone already is as good.
            let _ = self.api.delete_pod(now, &name, &Deletion::default());
        }
    }

    fn finish(&mut self, work: &str) {
        for name in self.pods_of(work) {
            let pod = self.api.objects().pods.get(&name).cloned();
            if let Some((pod, node)) = pod.and_then(|pod| pod.node.clone().map(|node| (pod, node))) {
                self.containers_done(&node, &pod.meta.uid);
            }
        }
    }

    pub(super) fn pods_of(&self, work: &str) -> Vec<Name> {
        let of = |pod: &&std::rc::Rc<Pod>| pod.work() == Some(work);
        self.api.objects().pods.values().filter(of).map(|pod| pod.meta.name.clone()).collect()
    }

    fn mig_by_hand(&mut self, node: &str, what: &ByHand) {
        if let Some(host) = self.hosts.get_mut(node) {
            // The operator sees the driver's refusal, and leaves it at that.
            let _ = host.sim.by_hand(what);
            self.note_gpus(node);
        }
    }

    fn hold(&mut self, node: &str, gpu: u32, holder: &Holder) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        let first = host.board(gpu).and_then(|board| board.held().next().map(|(uuid, _)| uuid.to_owned()));
        if let Some(uuid) = first {
            // The instance was there a moment ago.
            let _ = host.sim.hold(&uuid, holder);
        }
    }
}

/// A budget of which so many pods must stay.
pub fn min_available(count: u32) -> BudgetRule {
    BudgetRule::MinAvailable(Amount::Count(count))
}

/// A budget of which so many pods may be away.
pub fn max_unavailable(count: u32) -> BudgetRule {
    BudgetRule::MaxUnavailable(Amount::Count(count))
}

/// Work that was cut off.
pub(super) const CUT_OFF: Stop = Stop::Early(None);
