//! The cluster at one moment, for people who watch.

use std::collections::BTreeMap;

use crate::exec::{AgentPhase, Phase};
use crate::plan::PlannedInstance;
use crate::sim::workloads::State;

use super::World;

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Milliseconds from the start.
    pub at: u64,
    /// GPUs, ordered by node and index.
    pub gpus: Vec<OnGpu>,
    /// Work that waits, longest first.
    pub waiting: Vec<Waiting>,
    /// Pieces of work that run.
    pub running: u64,
    /// Pieces of work that are done.
    pub finished: u64,
    /// Pieces of work that went elsewhere.
    pub burst: u64,
    /// Operations under way, ordered by node.
    pub operations: Vec<UnderWay>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnGpu {
    /// Node.
    pub node: String,
    /// Index on the node.
    pub index: u32,
    /// Product name.
    pub model: String,
    /// Units of its slot axis.
    pub axis: u8,
    /// Its instances; `pods` names the work that holds them.
    pub instances: Vec<PlannedInstance>,
}

/// Work that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub work: String,
    /// Instances that it needs, by profile.
    pub instances: BTreeMap<String, u32>,
    /// Since when, in milliseconds.
    pub since: u64,
}

/// An operation under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// Node.
    pub node: String,
    /// Its name.
    pub operation: String,
    /// How far the controller is.
    pub phase: Phase,
    /// How far the agent is, once it has accepted.
    pub agent: Option<AgentPhase>,
    /// Pods to be evicted, in all.
    pub victims: u64,
}

impl World {
    /// The cluster now.
    pub fn snapshot(&self) -> Snapshot {
        let mut gpus = Vec::new();
        for (node, host) in &self.hosts {
            gpus.extend(host.sim.boards.iter().map(|board| OnGpu {
                node: node.clone(),
                index: board.index(),
                model: board.state().model,
                axis: board.geometry().axis(),
                instances: host.instances(&board.state()),
            }));
        }
        gpus.sort_by(|a, b| (&a.node, a.index).cmp(&(&b.node, b.index)));
        let mut snapshot = Snapshot {
            at: self.queue.now(),
            gpus,
            waiting: Vec::new(),
            running: 0,
            finished: 0,
            burst: 0,
            operations: self.operations(),
        };
        for (name, work) in self.works.all() {
            match work.state {
                State::Ahead => {}
                State::Waiting { since } => {
                    let instances = work.arrival.instances.clone();
                    snapshot.waiting.push(Waiting { work: name.clone(), instances, since });
                }
                State::Running { .. } => snapshot.running += 1,
                State::Finished => snapshot.finished += 1,
                State::Burst => snapshot.burst += 1,
            }
        }
        snapshot.waiting.sort_by(|a, b| (a.since, &a.work).cmp(&(b.since, &b.work)));
        snapshot
    }

    fn operations(&self) -> Vec<UnderWay> {
        let records = self.api.objects().records.iter();
        let operation = |(node, record): (&String, &std::rc::Rc<crate::sim::api::Record>)| {
            let operation = record.spec.operation.as_ref()?;
            let report = record.status.operation.as_ref().filter(|report| report.id == operation.id);
            Some(UnderWay {
                node: node.clone(),
                operation: operation.id.0.clone(),
                phase: operation.phase,
                agent: report.map(|report| report.phase),
                victims: operation.victims.len() as u64,
            })
        };
        records.filter_map(operation).collect()
    }
}
