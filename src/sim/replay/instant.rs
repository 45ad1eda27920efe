//! A cluster in which nothing takes time: the bound of what a rule could do if changes were free.
//!
//! Inputs: a [`FleetSpec`], a [`Workload`], a [`Proposer`], the period of the loop, a [`Policy`]. Output: a [`History`]. There is no
//! protocol, no kubelet and no failure here; the whole simulator has them. What is left is the planning problem itself: the scheduler binds
//! at once whatever fits, the rule is asked every period while something waits, and its changes are made at once. Evicted work is bound again
//! where the rule has a place for it; jobs start anew. Use it to tell what a rule loses by planning from what it loses by carrying out.
//!
//! Invariants: the same inputs give the same history; an instance is held by one piece of work; a layout that is not legal is an error.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fleet::FleetSpec;
use crate::controller::{Proposal, Proposer};
use crate::exec::Outcome;
use crate::model::{
    Capacity, ControllerKind, Demand, DisruptionLevel, Gpu, Instance, Layout, MigStrategy, Movability, Node, NodeId,
    NodeSet, Occupancy, Offer, PendingPod, Placement, PlanningInput, PlanningInputBuilder, PodRef, Policy, Reason,
    RunningPod,
};
use crate::plan::{NodePlan, PlannedInstance};
use crate::sim::{Arrival, BurstReason, History, Kind, Record, Stamped, Workload};

const NAMESPACE: &str = "replay";

/// Why a replay stops early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstantError {
    /// The rule gave no proposal.
    #[error("at {at} ms the rule gave no proposal: {reason}")]
    Propose {
        /// When.
        at: u64,
        /// Why.
        reason: String,
    },
    /// The rule proposed something that cannot be.
    #[error("at {at} ms the rule proposed something impossible on {node}: {reason}")]
    Illegal {
        /// When.
        at: u64,
        /// Node.
        node: String,
        /// What.
        reason: String,
    },
}

/// Replays a workload.
///
/// # Errors
/// The rule fails, or proposes what cannot be.
pub fn run(
    fleet: &FleetSpec,
    workload: &Workload,
    proposer: &mut dyn Proposer,
    period: u64,
    policy: &Policy,
) -> Result<History, InstantError> {
    let mut cluster = Cluster::new(fleet, workload);
    let mut tick = 0;
    while let Some(now) = cluster.next_event(tick) {
        cluster.now = now;
        cluster.finish();
        cluster.arrive();
        cluster.bind(None);
        if now >= tick {
            tick = now - now % period.max(1) + period.max(1);
            if !cluster.queue.is_empty() {
                let input = cluster.observe(policy);
                let proposal = proposer
                    .propose(&input)
                    .map_err(|error| InstantError::Propose { at: now, reason: error.to_string() })?;
                let stuck = proposal.nodes.is_empty() && cluster.nothing_will_change();
                cluster.apply(&proposal)?;
                if stuck {
                    break;
                }
            }
        }
        cluster.lose_patience();
    }
    cluster.history.end = cluster.now;
    Ok(cluster.history)
}

/// What a fleet looks like to a rule at the moment of the last arrival: what found a place runs, the rest waits.
pub fn observe(fleet: &FleetSpec, workload: &Workload, policy: &Policy) -> PlanningInput {
    let mut cluster = Cluster::new(fleet, workload);
    for arrival in &workload.arrivals {
        cluster.now = arrival.at;
        cluster.finish();
        cluster.arrive();
        cluster.bind(None);
    }
    cluster.observe(policy)
}

/// Where a piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Coming,
    Waiting { since: u64 },
    Running { since: u64 },
    Over,
}

#[derive(Debug)]
struct Work<'w> {
    arrival: &'w Arrival,
    state: State,
    waited: u64,
    /// Running time that is still needed.
    rest: u64,
    node: usize,
}

#[derive(Debug, Clone)]
struct Board {
    node: usize,
    index: u32,
    instances: Vec<(Placement, Option<usize>)>,
}

struct Cluster<'w> {
    fleet: &'w FleetSpec,
    nodes: Vec<String>,
    boards: Vec<Board>,
    works: Vec<Work<'w>>,
    names: BTreeMap<&'w str, usize>,
    /// Position of the next arrival.
    coming: usize,
    /// Ends of what runs, by time.
    ends: BTreeSet<(u64, usize)>,
    /// What waits, in the scheduler's order.
    queue: BTreeSet<(Reverse<i32>, u64, usize)>,
    now: u64,
    history: History,
}

impl<'w> Cluster<'w> {
    fn new(fleet: &'w FleetSpec, workload: &'w Workload) -> Self {
        let nodes = fleet.nodes();
        let mut boards = Vec::new();
        for (node, (_, gpus)) in nodes.iter().enumerate() {
            for index in 0..*gpus {
                let layout = fleet.layout(boards.len());
                let instances = layout.placements().iter().map(|&placement| (placement, None)).collect();
                boards.push(Board { node, index, instances });
            }
        }
        let work =
            |arrival: &'w Arrival| Work { arrival, state: State::Coming, waited: 0, rest: arrival.runs, node: 0 };
        let works: Vec<Work<'w>> = workload.arrivals.iter().map(work).collect();
        let names = works.iter().enumerate().map(|(index, work)| (work.arrival.name.as_str(), index)).collect();
        let mut cluster = Self {
            fleet,
            nodes: nodes.into_iter().map(|(name, _)| name).collect(),
            boards,
            works,
            names,
            coming: 0,
            ends: BTreeSet::new(),
            queue: BTreeSet::new(),
            now: 0,
            history: History::default(),
        };
        (0..cluster.boards.len()).for_each(|board| cluster.note_board(board));
        cluster
    }

    fn note(&mut self, record: Record) {
        self.history.records.push(Stamped { at: self.now, record });
    }

    fn note_board(&mut self, board: usize) {
        let Board { node, index, instances } = &self.boards[board];
        let instances = instances.iter().map(|(placement, holder)| PlannedInstance {
            start: placement.start(),
            size: placement.size(),
            profile: self.fleet.geometry.profile(placement.profile()).name.clone(),
            pods: holder.map(|work| self.works[work].arrival.name.clone()).into_iter().collect(),
            occupancy_unknown: false,
        });
        let (node, index, instances) = (self.nodes[*node].clone(), *index, instances.collect());
        self.note(Record::Gpu { node, index, model: self.fleet.product().to_owned(), instances });
    }

    /// When something happens next; `None` when all is over.
    fn next_event(&self, tick: u64) -> Option<u64> {
        let arrival = self.works.get(self.coming).map(|work| work.arrival.at);
        let end = self.ends.first().map(|(at, _)| *at);
        let patience = self.queue.iter().filter_map(|&(_, _, work)| self.deadline(work)).min();
        let tick = (!self.queue.is_empty()).then_some(tick);
        [arrival, end, patience, tick].into_iter().flatten().min().map(|at| at.max(self.now))
    }

    /// When waiting work goes elsewhere.
    fn deadline(&self, work: usize) -> Option<u64> {
        let Work { arrival, state, waited, rest: _, node: _ } = &self.works[work];
        match state {
            State::Waiting { since } => Some(since.saturating_add(arrival.patience?.saturating_sub(*waited))),
            State::Coming | State::Running { .. } | State::Over => None,
        }
    }

    /// Whether what waits would wait for ever unless a rule changes something.
    fn nothing_will_change(&self) -> bool {
        self.coming == self.works.len()
            && self.ends.is_empty()
            && self.queue.iter().all(|&(_, _, work)| self.deadline(work).is_none())
    }

    fn wait(&mut self, work: usize) {
        self.works[work].state = State::Waiting { since: self.now };
        let arrival = self.works[work].arrival;
        self.queue.insert((Reverse(arrival.priority), arrival.at, work));
    }

    fn arrive(&mut self) {
        while let Some(work) = self.works.get(self.coming).filter(|work| work.arrival.at <= self.now) {
            let Arrival { name, instances, .. } = work.arrival;
            self.note(Record::Arrived { work: name.clone(), instances: instances.clone() });
            self.wait(self.coming);
            self.coming += 1;
        }
    }

    fn finish(&mut self) {
        while let Some(&(at, work)) = self.ends.first() {
            if at > self.now {
                break;
            }
            self.ends.pop_first();
            self.works[work].state = State::Over;
            self.note(Record::Finished { work: self.works[work].arrival.name.clone() });
            self.leave(work);
        }
    }

    /// Frees the instances of a piece of work.
    fn leave(&mut self, work: usize) {
        for board in 0..self.boards.len() {
            let mut changed = false;
            for (_, holder) in &mut self.boards[board].instances {
                if *holder == Some(work) {
                    *holder = None;
                    changed = true;
                }
            }
            if changed {
                self.note_board(board);
            }
        }
    }

    fn lose_patience(&mut self) {
        let over: Vec<(Reverse<i32>, u64, usize)> = self
            .queue
            .iter()
            .filter(|(_, _, work)| self.deadline(*work).is_some_and(|deadline| deadline <= self.now))
            .copied()
            .collect();
        for key in over {
            self.queue.remove(&key);
            let Work { arrival, rest, .. } = &self.works[key.2];
            let (work, rest) = (arrival.name.clone(), *rest);
            self.works[key.2].state = State::Over;
            self.note(Record::Burst { work, reason: BurstReason::OutOfPatience, rest });
        }
    }

    /// The scheduler: binds what fits, in its order; with `only`, that work to that node.
    fn bind(&mut self, only: Option<(usize, usize)>) {
        let waiting: Vec<(Reverse<i32>, u64, usize)> =
            self.queue.iter().filter(|key| only.is_none_or(|(work, _)| work == key.2)).copied().collect();
        for key in waiting {
            let nodes = only.map_or(0..self.nodes.len(), |(_, node)| node..node + 1);
            let found = nodes.into_iter().find_map(|node| Some((node, self.room(key.2, node)?)));
            let Some((node, places)) = found else { continue };
            self.queue.remove(&key);
            let now = self.now;
            let work = &mut self.works[key.2];
            if let State::Waiting { since } = work.state {
                work.waited += now - since;
            }
            work.state = State::Running { since: now };
            work.node = node;
            self.ends.insert((now + work.rest, key.2));
            let name = work.arrival.name.clone();
            let mut boards: Vec<usize> = Vec::new();
            for (board, instance) in places {
                self.boards[board].instances[instance].1 = Some(key.2);
                boards.push(board);
            }
            boards.dedup();
            for board in boards {
                self.note_board(board);
            }
            self.note(Record::Started { work: name, node: self.nodes[node].clone() });
        }
    }

    /// Free instances of a node for a piece of work.
    fn room(&self, work: usize, node: usize) -> Option<Vec<(usize, usize)>> {
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (name, &count) in &self.works[work].arrival.instances {
            let profile = self.fleet.geometry.find(name)?;
            let boards = self.boards.iter().enumerate().filter(|(_, board)| board.node == node);
            let free = boards.flat_map(|(index, board)| {
                let instances = board.instances.iter().enumerate();
                let free = instances.filter(|(_, (place, holder))| holder.is_none() && place.profile() == profile);
                free.map(move |(instance, _)| (index, instance)).collect::<Vec<_>>()
            });
            let before = places.len();
            places.extend(free.take(count as usize));
            if places.len() - before < count as usize {
                return None;
            }
        }
        places.sort_unstable();
        Some(places)
    }

    fn pod(&self, work: usize) -> PodRef {
        let name = &self.works[work].arrival.name;
        PodRef { namespace: NAMESPACE.into(), name: name.clone(), uid: name.clone() }
    }

    /// What a rule sees.
    fn observe(&self, policy: &Policy) -> PlanningInput {
        let mut builder = PlanningInputBuilder::new((self.now / 1000).cast_signed());
        builder.policy(policy.clone());
        let geometry = &self.fleet.geometry;
        let offers: Arc<[Option<Offer>]> = geometry
            .profiles()
            .iter()
            .map(|it| {
                Some(Offer { resource: builder.resource(&format!("nvidia.com/{}", it.resource_suffix())), replicas: 1 })
            })
            .collect();
        let everywhere = builder.node_set((0..self.nodes.len()).map(NodeId::new).collect::<NodeSet>());
        let mut demand = |work: usize| {
            let asked = self.works[work].arrival.instances.iter();
            Demand::new(asked.filter_map(|(name, &count)| {
                let id = geometry.find(name)?;
                Some((builder.resource(&format!("nvidia.com/{}", geometry.profile(id).resource_suffix())), count))
            }))
        };
        let demands: Vec<Demand> = (0..self.works.len())
            .map(|work| if self.works[work].state == State::Coming { Demand::new([]) } else { demand(work) })
            .collect();
        let mut ids = BTreeMap::new();
        for (index, work) in self.works.iter().enumerate() {
            if matches!(work.state, State::Running { .. }) {
                let (controller, movability) = owner(work.arrival.kind);
                let id = builder.running(RunningPod {
                    pod: self.pod(index),
                    node: NodeId::new(work.node),
                    priority: work.arrival.priority,
                    controller,
                    movability,
                    cost: 1,
                    requests: Capacity::default(),
                    demand: demands[index].clone(),
                    eligible: everywhere,
                    budgets: Vec::new(),
                    instances: Vec::new(),
                });
                ids.insert(index, id);
            }
        }
        for &(_, _, index) in &self.queue {
            let Work { arrival, state, waited, .. } = &self.works[index];
            let now = match state {
                State::Waiting { since } => self.now - since,
                State::Coming | State::Running { .. } | State::Over => 0,
            };
            builder.pending(PendingPod {
                pod: self.pod(index),
                priority: arrival.priority,
                preempts: true,
                waiting_seconds: (waited + now) / 1000,
                demand: demands[index].clone(),
                requests: Capacity::default(),
                eligible: everywhere,
            });
        }
        for (node, name) in self.nodes.iter().enumerate() {
            let boards = self.boards.iter().filter(|board| board.node == node);
            let gpus = boards.map(|board| Gpu {
                node: NodeId::new(node),
                index: board.index,
                uuid: format!("GPU-{name}-{}", board.index),
                product: self.fleet.product().to_owned(),
                geometry: Arc::clone(geometry),
                instances: board
                    .instances
                    .iter()
                    .map(|(placement, holder)| Instance {
                        placement: *placement,
                        uuid: None,
                        occupancy: holder.map_or(Occupancy::Free, |work| Occupancy::Busy(vec![ids[&work]])),
                    })
                    .collect(),
                offers: Arc::clone(&offers),
                frozen: None,
            });
            let one = Node { name: name.clone(), strategy: MigStrategy::Mixed, free: Capacity::default(), gpus: 0..0 };
            builder.node(one, gpus.collect());
        }
        builder.build().expect("nodes are ordered, layouts were checked when they were made, and names are unique")
    }

    fn apply(&mut self, proposal: &Proposal) -> Result<(), InstantError> {
        let Proposal { nodes, served, plan: _ } = proposal;
        let mut landings = Vec::new();
        for plan in nodes {
            let operation = format!("{}-{}", plan.name, self.now);
            let victims = plan.evict.iter().filter_map(|it| Some(it.pod.split_once('/')?.1.to_owned())).collect();
            self.note(Record::Claimed { node: plan.name.clone(), operation, victims });
        }
        for eviction in nodes.iter().flat_map(|plan| &plan.evict) {
            let Some(work) = self.named(&eviction.pod) else { continue };
            landings.extend(eviction.placed_on.as_ref().map(|node| (work, node.clone())));
            self.evict(work);
        }
        for plan in nodes {
            self.change(plan)?;
            let operation = format!("{}-{}", plan.name, self.now);
            self.note(Record::Ended { node: plan.name.clone(), operation, outcome: Outcome::Done });
        }
        landings.extend(served.iter().filter_map(|it| Some((self.named(&it.pod)?, it.node.clone()))));
        for (work, node) in landings {
            if let Ok(node) = self.nodes.binary_search(&node) {
                self.bind(Some((work, node)));
            }
        }
        self.bind(None);
        Ok(())
    }

    fn named(&self, pod: &str) -> Option<usize> {
        self.names.get(pod.split_once('/')?.1).copied()
    }

    fn evict(&mut self, work: usize) {
        let State::Running { since } = self.works[work].state else { return };
        let ran = self.now - since;
        let it = &mut self.works[work];
        self.ends.remove(&(since + it.rest, work));
        let lost = match it.arrival.kind {
            Kind::Service | Kind::Stateful => {
                it.rest -= ran;
                0
            }
            // A job starts anew: what it did since its last start is lost, and with it all that it ever did.
            Kind::Job | Kind::Bare => ran,
        };
        let (name, rest, bare) = (it.arrival.name.clone(), it.rest, it.arrival.kind == Kind::Bare);
        self.note(Record::Evicted { work: name.clone(), lost });
        self.leave(work);
        self.wait(work);
        if bare {
            let arrival = self.works[work].arrival;
            self.queue.remove(&(Reverse(arrival.priority), arrival.at, work));
            self.works[work].state = State::Over;
            self.note(Record::Burst { work: name, reason: BurstReason::Lost, rest });
        }
    }

    fn change(&mut self, plan: &NodePlan) -> Result<(), InstantError> {
        let at = self.now;
        let illegal = |reason: String| InstantError::Illegal { at, node: plan.name.clone(), reason };
        let node = self.nodes.binary_search(&plan.name).map_err(|_| illegal("no such node".into()))?;
        for change in &plan.gpus {
            let board = self.boards.iter().position(|it| it.node == node && it.index == change.index);
            let board = board.ok_or_else(|| illegal(format!("no GPU {}", change.index)))?;
            let geometry = &self.fleet.geometry;
            let mut instances = self.boards[board].instances.clone();
            for gone in &change.destroy {
                let found = instances.iter().position(|(place, holder)| {
                    (place.start(), holder.is_none()) == (gone.start, true)
                        && geometry.profile(place.profile()).is_named(&gone.profile)
                });
                let found =
                    found.ok_or_else(|| illegal(format!("{}@{} is held or not there", gone.profile, gone.start)))?;
                instances.remove(found);
            }
            for new in &change.create {
                let id = geometry.find(&new.profile).ok_or_else(|| illegal(format!("no profile {}", new.profile)))?;
                let place = geometry.place(id, new.start).map_err(|error| illegal(error.to_string()))?;
                instances.push((place, None));
            }
            instances.sort_by_key(|(place, _)| place.start());
            Layout::try_new(geometry, instances.iter().map(|(place, _)| *place).collect())
                .map_err(|error| illegal(error.to_string()))?;
            self.boards[board].instances = instances;
            self.note_board(board);
        }
        Ok(())
    }
}

/// What makes work again, and from which disruption level on it may be moved.
fn owner(kind: Kind) -> (ControllerKind, Movability) {
    match kind {
        Kind::Service | Kind::Stateful => (ControllerKind::Replacing, Movability::From(DisruptionLevel::Balanced)),
        Kind::Job => (ControllerKind::Job, Movability::From(DisruptionLevel::Aggressive)),
        Kind::Bare => {
            let why = "nothing would make it again".to_owned();
            (ControllerKind::None, Movability::Never(Reason::PolicyForbids, why))
        }
    }
}

#[cfg(test)]
mod tests;
