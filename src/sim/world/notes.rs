//! What is written down: the history, effects on boards, and a short trace for people.

use std::collections::{BTreeMap, VecDeque};

use crate::exec::port::BoardState;
use crate::plan::PlannedInstance;
use crate::sim::history::{History, Record, Stamped};
use crate::sim::node::Effect;

use super::World;

/// A change of a board by an agent, with its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Milliseconds from the start.
    pub at: u64,
    /// Node.
    pub node: String,
    /// What was changed, and what was true just before.
    pub effect: Effect,
}

/// Everything that is written down.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    pub(super) history: History,
    /// The last record of each GPU, by node and UUID.
    gpus: BTreeMap<(String, String), Vec<PlannedInstance>>,
    /// Effects that nobody has taken yet.
    pub(super) effects: Vec<Noted>,
    trace: VecDeque<String>,
    kept: usize,
}

impl Notes {
    pub(super) fn new(kept: usize) -> Self {
        Self { kept, ..Self::default() }
    }

    pub(super) fn push(&mut self, at: u64, record: Record) {
        self.history.records.push(Stamped { at, record });
    }

    pub(super) fn trace(&mut self, at: u64, line: impl FnOnce() -> String) {
        if self.kept == 0 {
            return;
        }
        self.trace.push_back(format!("{at:>9} {}", line()));
        while self.trace.len() > self.kept {
            self.trace.pop_front();
        }
    }
}

impl World {
    /// The last lines of the trace.
    pub fn trace_lines(&self) -> impl Iterator<Item = &str> {
        self.notes.trace.iter().map(String::as_str)
    }

    /// Changes of boards by agents since the last time.
    pub fn take_effects(&mut self) -> Vec<Noted> {
        std::mem::take(&mut self.notes.effects)
    }

    pub(super) fn note_effect(&mut self, node: &str, effect: Effect) {
        self.trace(|| format!("{node} {effect:?}"));
        let at = self.queue.now();
        self.notes.effects.push(Noted { at, node: node.to_owned(), effect });
        self.note_gpus(node);
    }

    /// Writes down the GPUs of a node that have changed.
    pub(super) fn note_gpus(&mut self, node: &str) {
        let now = self.queue.now();
        let Some(host) = self.hosts.get(node) else { return };
        for board in host.sim.states() {
            let instances = host.instances(&board);
            let key = (node.to_owned(), board.uuid.clone());
            if self.notes.gpus.get(&key) != Some(&instances) {
                self.notes.gpus.insert(key, instances.clone());
                let record = Record::Gpu { node: node.to_owned(), index: board.index, model: board.model, instances };
                self.notes.push(now, record);
            }
        }
    }
}

impl super::hosts::Host {
    /// The instances of a board, with the work that holds them.
    pub(super) fn instances(&self, board: &BoardState) -> Vec<PlannedInstance> {
        let mut holders: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (pod, devices) in self.sim.kubelet.given() {
            let work = self.guests.get(&pod.uid).and_then(|guest| guest.work.clone());
            for device in devices {
                holders.entry(&device.uuid).or_default().push(work.clone().unwrap_or_else(|| pod.to_string()));
            }
        }
        let instance = |instance: &crate::exec::port::InstanceState| PlannedInstance {
            start: instance.place.start,
            size: instance.place.size,
            profile: instance.place.profile.clone(),
            pods: instance.compute.as_deref().and_then(|uuid| holders.get(uuid)).cloned().unwrap_or_default(),
            occupancy_unknown: false,
        };
        board.instances.iter().map(instance).collect()
    }
}
