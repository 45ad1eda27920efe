//! The simulator's kube-scheduler: puts waiting pods onto nodes that have what they ask for.
//!
//! Inputs: the API server, through a cache of its own that lags behind. Outputs: bindings, the condition `Unschedulable`, preemptions.
//! Invariants: pods are tried by priority, then by age; what was bound and is not yet seen in the cache counts as bound; a pod that does
//! not fit is tried again when a node or a pod that held something has changed, or after five minutes.

mod preempt;
mod room;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::api::{ApiServer, Change, Heard, Informer, Name, Node, Object, Pod};
use room::Room;

/// How the scheduler chooses among nodes that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scoring {
    /// The emptiest: spreads.
    #[default]
    LeastAllocated,
    /// The fullest: packs.
    MostAllocated,
}

/// After how long a pod that does not fit is tried again without a reason, in milliseconds.
const FLUSH: u64 = 300_000;

type Turn = (Reverse<i32>, u64, Name);

/// The scheduler.
#[derive(Debug, Clone)]
pub struct Scheduler {
    cache: Informer,
    scoring: Scoring,
    preemption: bool,
    /// What is taken on each node, by pods in the cache and by assumed ones.
    rooms: BTreeMap<String, Room>,
    /// Pods that were bound and are not yet seen bound, by UID.
    assumed: BTreeMap<String, (String, Rc<Pod>)>,
    /// Pods for which room was made, with the node.
    nominated: BTreeMap<Name, (String, Rc<Pod>)>,
    active: BTreeSet<Turn>,
    /// Pods that did not fit, with the moment.
    parked: BTreeMap<Name, (Turn, u64)>,
}

impl Scheduler {
    /// Starts with the objects as they are, and follows them `lag` milliseconds behind.
    pub fn new(api: &ApiServer, lag: u64, scoring: Scoring, preemption: bool) -> Self {
        let mut scheduler = Self {
            cache: Informer::new(api, lag),
            scoring,
            preemption,
            rooms: BTreeMap::new(),
            assumed: BTreeMap::new(),
            nominated: BTreeMap::new(),
            active: BTreeSet::new(),
            parked: BTreeMap::new(),
        };
        scheduler.start_over();
        scheduler
    }

    /// Whether some pod is waiting for its turn.
    pub fn busy(&self) -> bool {
        !self.active.is_empty()
    }

    /// Moment of the next flush of pods that did not fit, in milliseconds.
    pub fn next_flush(&self) -> Option<u64> {
        self.parked.values().map(|(_, since)| since.saturating_add(FLUSH)).min()
    }

    /// Takes in what has reached its cache.
    pub fn follow(&mut self, api: &ApiServer, now: u64) {
        match self.cache.follow(api, now) {
            Heard::Relisted => self.start_over(),
            Heard::Changes(changes) => {
                let mut freed = false;
                for change in &changes {
                    freed |= self.hear(change);
                }
                if freed {
                    let parked = std::mem::take(&mut self.parked);
                    self.active.extend(parked.into_values().map(|(turn, _)| turn));
                }
            }
        }
        let due: Vec<Name> =
            self.parked.iter().filter(|(_, (_, since))| now >= since + FLUSH).map(|it| it.0.clone()).collect();
        for name in due {
            if let Some((turn, _)) = self.parked.remove(&name) {
                self.active.insert(turn);
            }
        }
    }

    /// Tries pods until one is bound, room is being made for one, or none is left.
    pub fn cycle(&mut self, api: &mut ApiServer, now: u64) {
        let mut hopeless: Vec<Rc<Pod>> = Vec::new();
        while let Some(turn) = self.active.pop_first() {
            let Some(pod) = self.cache.objects.pods.get(&turn.2).cloned() else { continue };
            if pod.node.is_some() || pod.deleting() || self.assumed.contains_key(&pod.meta.uid) {
                continue;
            }
            let known = hopeless.iter().any(|other| alike(other, &pod));
            let found = if known { None } else { self.choose(&pod) };
            if let Some(node) = found {
                self.bind(api, now, &pod, node);
                return;
            }
            self.park(api, now, turn, &pod);
            if self.preemption && !known && self.preempt(api, now, &pod) {
                return;
            }
            hopeless.push(pod);
        }
    }

    fn bind(&mut self, api: &mut ApiServer, now: u64, pod: &Rc<Pod>, node: String) {
        self.nominated.remove(&pod.meta.name);
        let current = api.objects().pods.get(&pod.meta.name);
        let lost =
            |current: &&Rc<Pod>| current.meta.uid != pod.meta.uid || current.node.is_some() || current.deleting();
        if current.is_none_or(|current| lost(&current)) {
            return;
        }
        api.modify_pod(now, &pod.meta.name, |pod| {
            pod.node = Some(node.clone());
            pod.unschedulable = false;
            pod.nominated = None;
        });
        self.rooms.entry(node.clone()).or_default().take(pod);
        self.assumed.insert(pod.meta.uid.clone(), (node, Rc::clone(pod)));
    }

    fn park(&mut self, api: &mut ApiServer, now: u64, turn: Turn, pod: &Pod) {
        if api.objects().pods.get(&pod.meta.name).is_some_and(|current| current.meta.uid == pod.meta.uid) {
            api.modify_pod(now, &pod.meta.name, |pod| pod.unschedulable = pod.node.is_none());
        }
        self.parked.insert(turn.2.clone(), (turn, now));
    }

    /// The node for a pod, if one fits.
    fn choose(&self, pod: &Pod) -> Option<String> {
        let fitting = self.cache.objects.nodes.values().filter(|node| self.fits(node, pod, &Room::default()));
        let scored = fitting.map(|node| {
            let fraction = self.rooms.get(&node.meta.name.name).map_or(0, |room| room.fraction(node, pod));
            let score = match self.scoring {
                Scoring::LeastAllocated => fraction,
                Scoring::MostAllocated => u64::MAX - fraction,
            };
            (score, &node.meta.name.name)
        });
        scored.min().map(|(_, name)| name.clone())
    }

    /// Whether a node takes a pod, if what is in `given_up` were not there.
    fn fits(&self, node: &Node, pod: &Pod, given_up: &Room) -> bool {
        let admits = node.ready && !node.unschedulable && node.meta.deletion.is_none() && pod.tolerates(&node.taints);
        if !admits || (self.nominated.is_empty() && given_up.is_empty()) {
            let taken = self.rooms.get(&node.meta.name.name);
            return admits && taken.unwrap_or(&Room::default()).leaves_room(node, pod);
        }
        self.room_for(node, pod).without(given_up).leaves_room(node, pod)
    }

    /// What is taken on a node, as a pod sees it: room that was made for others of no lower priority is theirs.
    fn room_for(&self, node: &Node, pod: &Pod) -> Room {
        let name = &node.meta.name.name;
        let mut room = self.rooms.get(name).cloned().unwrap_or_default();
        let others = self
            .nominated
            .values()
            .filter(|(there, other)| there == name && other.priority >= pod.priority && other.meta.uid != pod.meta.uid);
        others.for_each(|(_, other)| room.take(other));
        room
    }

    /// Takes in a change; true if something may fit now that did not.
    fn hear(&mut self, change: &Change) -> bool {
        if let Some((before, after)) = change.pod() {
            let freed = self.hear_pod(before, after);
            return freed;
        }
        match (&change.before, &change.after) {
            (Some(Object::Node(before)), Some(Object::Node(after))) => {
                before.allocatable != after.allocatable
                    || before.taints != after.taints
                    || before.ready != after.ready
                    || before.unschedulable != after.unschedulable
                    || before.cpu_milli != after.cpu_milli
            }
            (None, Some(Object::Node(_))) => true,
            _ => false,
        }
    }

    fn hear_pod(&mut self, before: Option<&Rc<Pod>>, after: Option<&Rc<Pod>>) -> bool {
        let held = before.and_then(|pod| holder(pod));
        let holds = after.and_then(|pod| holder(pod));
        if held != holds {
            if let (Some(node), Some(pod)) = (held, before) {
                self.rooms.entry(node.to_owned()).or_default().give(pod);
            }
            if let (Some(node), Some(pod)) = (holds, after) {
                self.forget_assumed(&pod.meta.uid);
                self.rooms.entry(node.to_owned()).or_default().take(pod);
            }
        }
        let gone = before.filter(|old| after.is_none_or(|new| new.meta.uid != old.meta.uid || new.node.is_some()));
        if let Some(old) = gone {
            let turn = turn(old);
            self.active.remove(&turn);
            self.parked.remove(&turn.2);
            self.nominated.remove(&turn.2);
            if after.is_none() {
                self.forget_assumed(&old.meta.uid);
            }
        }
        if let Some(new) = after.filter(|new| before.is_none() && waits(new)) {
            self.active.insert(turn(new));
        }
        held.is_some() && holds.is_none()
    }

    fn forget_assumed(&mut self, uid: &str) {
        if let Some((node, pod)) = self.assumed.remove(uid) {
            self.rooms.entry(node).or_default().give(&pod);
        }
    }

    /// Derives everything from the cache.
    fn start_over(&mut self) {
        self.rooms.clear();
        self.assumed.clear();
        self.nominated.clear();
        self.active.clear();
        self.parked.clear();
        let pods: Vec<Rc<Pod>> = self.cache.objects.pods.values().cloned().collect();
        for pod in &pods {
            self.hear_pod(None, Some(pod));
        }
    }
}

fn turn(pod: &Pod) -> Turn {
    (Reverse(pod.priority), pod.meta.created, pod.meta.name.clone())
}

fn waits(pod: &Pod) -> bool {
    pod.node.is_none() && !pod.deleting() && !pod.finished()
}

/// The node on which a pod takes room.
fn holder(pod: &Rc<Pod>) -> Option<&str> {
    pod.node.as_deref().filter(|_| !pod.finished())
}

/// Whether what holds for one pod holds for the other.
fn alike(one: &Pod, other: &Pod) -> bool {
    one.priority == other.priority
        && one.requests == other.requests
        && one.cpu_milli <= other.cpu_milli
        && one.tolerations == other.tolerations
        && one.nominated == other.nominated
        && one.preempts == other.preempts
}
