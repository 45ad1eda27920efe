//! One plan: what is observed, adjusted, proposed, and put into order.
//!
//! Inputs: an observation and what the loop remembers. Outputs: operations to start, and the figures of the report. Invariants: what must be left
//! alone is taken out of the input, never filtered from the plan; a proposal that does not keep the budgets is cut down, never carried out
//! whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::exec::port::Observation;
use crate::exec::{Moment, Operation, OperationId, Origin, draft};
use crate::model::{GpuId, PlanningInput, PodId, Reason};
use crate::plan::{NodePlan, Plan, ServedBy, UnservedPod};

use super::admit::Room;
use super::demand::DemandBook;
use super::fate::Fates;
use super::flight::{Flight, beneficiaries};
use super::forecast::Forecast;
use super::hindrance::Hindrances;
use super::nodes::NodeWatch;
use super::propose::{Proposal, ProposeError, Proposer};
use super::report::{LISTED, LeftOut, Planned};
use super::settings::Settings;
use super::stability::Stability;
use super::standing::Withdrawal;

/// Proposals that are tried until no owner's pods are moved more often than it tolerates.
const ROUNDS: usize = 6;

/// What the loop remembers.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) demand: DemandBook,
    pub(super) stability: Stability,
    pub(super) nodes: NodeWatch,
    pub(super) hindrances: Hindrances,
    pub(super) forecast: Option<Forecast>,
}

/// What a plan comes to.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) operations: BTreeMap<String, Operation>,
    pub(super) planned: Planned,
    pub(super) withdrawn: BTreeMap<String, Withdrawal>,
    pub(super) cooling: usize,
    /// The whole plan, where there is one.
    pub(super) plan: Option<Plan>,
    /// Nodes of an approved plan that have no operation, and why.
    pub(super) left_out: BTreeMap<String, LeftOut>,
}

impl Memory {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            demand: DemandBook::default(),
            stability: Stability::default(),
            nodes: NodeWatch::default(),
            hindrances: Hindrances::default(),
            forecast: settings.forecast.map(Forecast::new),
        }
    }

    /// Notes what is observed.
    pub(super) fn note(&mut self, observation: &Observation, settings: &Settings, now: Moment) {
        let bound: BTreeSet<&str> = observation.pods.values().flatten().map(|pod| pod.pod.uid.as_str()).collect();
        let running = observation.input.running().iter().map(|pod| pod.pod.uid.as_str());
        let bound = bound.into_iter().chain(running).collect();
        self.nodes.note(observation, now);
        self.stability.note(observation, settings, now);
        self.demand.note(&observation.input, &bound, settings, now);
        if let Some(forecast) = &mut self.forecast {
            forecast.note(&observation.input);
        }
    }

    /// Freezes the GPUs that rest, for a plan and for the look at whether it still pays alike; returns how many.
    pub(super) fn rest_gpus(&self, input: &mut PlanningInput, now: Moment) -> usize {
        let mut cooling = 0;
        for position in 0..input.gpus().len() {
            let gpu = &input.gpus()[position];
            let node = &input.nodes()[gpu.node.index()].name;
            let left = |until: Moment| until.since(now).as_secs().max(1);
            let why = if let Some(until) = self.stability.rests(&gpu.uuid, now) {
                format!("it was changed a moment ago and rests for {} s", left(until))
            } else if let Some((failures, until)) = self.stability.backs_off(node, now) {
                format!("{failures} operations in a row have failed on the node, which rests for {} s", left(until))
            } else {
                continue;
            };
            cooling += 1;
            input.freeze_gpu(GpuId::new(position), Reason::CoolingDown, why);
        }
        cooling
    }
}

/// The moment and the circumstances of a plan.
pub(super) struct Cycle<'a> {
    pub(super) observation: &'a Observation,
    pub(super) settings: &'a Settings,
    pub(super) memory: &'a Memory,
    pub(super) flight: &'a Flight,
    pub(super) epoch: u64,
    pub(super) now: Moment,
    /// What alone may be carried out, where a person has to approve it: nodes for which the same is still proposed.
    pub(super) approved: Option<&'a Plan>,
}

impl Cycle<'_> {
    /// Plans.
    ///
    /// # Errors
    /// There is no proposal.
    pub(super) fn plan(
        &self,
        proposer: &mut dyn Proposer,
        ids: &mut dyn FnMut() -> String,
    ) -> Result<Outline, ProposeError> {
        let Self { observation, settings, memory, flight, now, .. } = *self;
        let evictions = memory.stability.evictions(settings.period, now);
        let room = Room::of(&observation.input, &flight.taken(observation, evictions), settings.concurrency);
        let withdrawn = memory.nodes.withdrawals(observation, &flight.busy(observation), settings, now);
        let mut input = observation.input.clone();
        let cooling = self.adjust(&mut input, &withdrawn);
        let input = {
            let policy = room.narrow(&input);
            input.with_policy(policy)
        };
        let (input, proposal) = self.propose(input, proposer)?;
        let (operations, mut put_off) = room.admit(self.drafts(&proposal, ids));
        let fates = Fates { withdrawn: &withdrawn, input: &input, proposal: &proposal, room: room.after(&operations) };
        let left_out = self.approved.map(|plan| fates.left_out(plan, &operations, &put_off)).unwrap_or_default();
        put_off.truncate(LISTED);
        let planned = Planned { put_off, ..figures(&proposal, &input) };
        Ok(Outline { operations, planned, withdrawn, cooling, plan: proposal.plan, left_out })
    }

    /// Takes out of the input what must be left alone; returns how many GPUs rest.
    fn adjust(&self, input: &mut PlanningInput, withdrawn: &BTreeMap<String, Withdrawal>) -> usize {
        let Self { observation, memory, flight, now, .. } = *self;
        for (name, (reason, detail)) in withdrawn {
            if let Some(node) = input.node_named(name) {
                input.withdraw_node(node, *reason, detail);
            }
        }
        let cooling = memory.rest_gpus(input, now);
        let hopeful = flight.hopeful(observation);
        let served = beneficiaries(hopeful.values());
        let least = least_age(input);
        input.set_aside(|pod| {
            if let Some(operation) = served.get(&pod.pod) {
                let detail = format!("operation {} is making room for it", operation.id);
                return Some((Reason::WaitingForExecution, detail, "wait for the operation".to_owned()));
            }
            memory.demand.hold_back(&pod.pod, least, now)
        });
        if let Some(forecast) = memory.forecast.as_ref().filter(|forecast| !forecast.mix().is_empty()) {
            input.replace_forecast(forecast.mix());
        }
        cooling
    }

    /// Proposes until no owner's pods are moved more often than the policy says that it tolerates.
    fn propose(
        &self,
        mut input: PlanningInput,
        proposer: &mut dyn Proposer,
    ) -> Result<(PlanningInput, Proposal), ProposeError> {
        let Some(cap) = input.policy().stability.pod_move_cap else {
            let proposal = proposer.propose(&input)?;
            return Ok((input, proposal));
        };
        let stability = &self.memory.stability;
        let left = |owner: &str| cap.saturating_sub(stability.moves(owner)) as usize;
        let mut owners = BTreeMap::<String, Vec<(PodId, String)>>::new();
        for (position, pod) in input.running().iter().enumerate() {
            let owner = stability.owner(&pod.pod.uid).map_or_else(|| pod.pod.to_string(), str::to_owned);
            owners.entry(owner).or_default().push((PodId::new(position), pod.pod.uid.clone()));
        }
        for (owner, pods) in &owners {
            if left(owner) == 0 {
                protect(&mut input, pods, &BTreeSet::new());
            }
        }
        for _ in 0..ROUNDS {
            let proposal = proposer.propose(&input)?;
            let victims: BTreeSet<&str> =
                proposal.nodes.iter().flat_map(|node| &node.evict).map(|eviction| eviction.uid.as_str()).collect();
            let mut kept = true;
            for (owner, pods) in &owners {
                let moved: Vec<&String> =
                    pods.iter().map(|(_, uid)| uid).filter(|uid| victims.contains(uid.as_str())).collect();
                if moved.len() > left(owner) {
                    protect(&mut input, pods, &moved.into_iter().take(left(owner)).cloned().collect());
                    kept = false;
                }
            }
            if kept {
                return Ok((input, proposal));
            }
        }
        for (owner, pods) in &owners {
            protect(&mut input, pods, &pods.iter().take(left(owner)).map(|(_, uid)| uid.clone()).collect());
        }
        let proposal = proposer.propose(&input)?;
        Ok((input, proposal))
    }

    /// The operations of a proposal. A node that cannot be carried out is left out, and with it those whose victims were to land there.
    fn drafts(&self, proposal: &Proposal, ids: &mut dyn FnMut() -> String) -> BTreeMap<String, Operation> {
        let views: BTreeMap<&str, &str> =
            self.observation.nodes.iter().map(|node| (node.name.as_str(), node.uid.as_str())).collect();
        let mut operations = BTreeMap::new();
        let mut impossible = BTreeSet::<&str>::new();
        for node in proposal.nodes.iter().filter(|node| !node.gpus.is_empty()) {
            if self.approved.is_some_and(|plan| !plan.nodes.contains(node)) {
                impossible.insert(&node.name);
                continue;
            }
            let origin = views.get(node.name.as_str()).map(|&uid| Origin {
                id: OperationId(ids()),
                epoch: self.epoch,
                node_uid: uid.to_owned(),
                residents: residents(self.observation, &node.name),
            });
            match origin.and_then(|origin| draft(node, &proposal.served, origin).ok()) {
                Some(operation) => _ = operations.insert(node.name.clone(), operation),
                None => _ = impossible.insert(&node.name),
            }
        }
        let lands_on = |node: &NodePlan, places: &BTreeSet<&str>| {
            node.evict.iter().filter_map(|eviction| eviction.placed_on.as_deref()).any(|place| places.contains(place))
        };
        while let Some(node) =
            proposal.nodes.iter().find(|node| operations.contains_key(&node.name) && lands_on(node, &impossible))
        {
            operations.remove(&node.name);
            impossible.insert(&node.name);
        }
        operations
    }
}

/// UIDs of the pods that hold instances of a node.
pub(super) fn residents(observation: &Observation, node: &str) -> Vec<String> {
    let pods = observation.pods.get(node).into_iter().flatten().filter(|pod| pod.holds_instances());
    pods.map(|pod| pod.pod.uid.clone()).collect()
}

/// How long a pod must have waited before it counts.
pub(super) fn least_age(input: &PlanningInput) -> Duration {
    Duration::from_secs(input.policy().stability.min_pending_age_seconds)
}

fn protect(input: &mut PlanningInput, pods: &[(PodId, String)], except: &BTreeSet<String>) {
    for (pod, _) in pods.iter().filter(|(_, uid)| !except.contains(uid)) {
        input.protect(
            *pod,
            Reason::CoolingDown,
            "its owner's pods have been moved as often as the policy's podMoveCap allows",
        );
    }
}

fn figures(proposal: &Proposal, input: &PlanningInput) -> Planned {
    let mut planned = Planned {
        served: proposal.served.len(),
        existing: proposal.served.iter().filter(|served| served.by == ServedBy::Existing).count(),
        nodes: proposal.nodes.len(),
        gpus: proposal.nodes.iter().map(|node| node.gpus.len()).sum(),
        evictions: proposal.nodes.iter().map(|node| node.evict.len()).sum(),
        ..Planned::default()
    };
    let unserved = proposal.plan.as_ref().map_or_else(|| left_over(proposal, input), |plan| plan.unserved.clone());
    for pod in &unserved {
        *planned.unserved.entry(pod.reason).or_default() += 1;
    }
    planned.why = unserved.into_iter().take(LISTED).collect();
    planned
}

/// Who is not served by a proposal that does not say so itself.
fn left_over(proposal: &Proposal, input: &PlanningInput) -> Vec<UnservedPod> {
    let served: BTreeSet<&str> = proposal.served.iter().map(|served| served.uid.as_str()).collect();
    let pending = input.pending().iter().filter(|pod| !served.contains(pod.pod.uid.as_str())).map(|pod| UnservedPod {
        pod: pod.pod.to_string(),
        reason: Reason::WaitingForCapacity,
        detail: "the rule in use finds no place for it".to_owned(),
        action: "wait".to_owned(),
    });
    let aside = input.unplannable().iter().map(|pod| UnservedPod {
        pod: pod.pod.to_string(),
        reason: pod.reason,
        detail: pod.detail.clone(),
        action: pod.action.clone(),
    });
    let mut all: Vec<UnservedPod> = pending.chain(aside).collect();
    all.sort_by(|a, b| a.pod.cmp(&b.pod));
    all
}
