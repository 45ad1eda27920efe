//! The controller as one machine: lease, loop, and an operation per node, each with its own ticket.
//!
//! Inputs: what happened on a ticket. Outputs: what to do next, on this ticket and on new ones. Invariants: a ticket has at most one request or rest
//! outstanding; nothing but the lease's own requests goes out unless the lease is fresh at that very moment; once leadership is lost nothing goes
//! out any more, and the process must exit.

mod operations;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::exec::mutant::{self, Mutant};
use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Observation};
use crate::exec::{
    Backoff, Event, MigNode, Moment, Next, Operation, OperationId, OperationMachine, Origin, Phase, repair,
};
use crate::model::Mode;
use crate::plan::Plan;

use super::burst;
use super::cycle::{Cycle, Memory, Outline, least_age, residents};
use super::flight::Flight;
use super::leadership::Leadership;
use super::propose::Proposer;
use super::report::{Approval, Cause, CycleReport, LISTED, LeftOut, Observed};
use super::settings::Settings;

/// By how much the fencing number that an agent reports may exceed all that controllers have written. More is not believed: a token of one node must
/// not drive the number to its end, which would end all leadership.
const LEAP: u64 = 1000;

/// Reports that are kept for whoever asks.
const REPORTS: usize = 32;

/// What a request or rest belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ticket {
    /// The lease.
    Lease,
    /// The loop: it observes, plans, and starts operations.
    Loop,
    /// The operation of a node, by the node's name.
    Operation(String),
}

/// How a ticket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The lease has run out or belongs to somebody else. The process must exit at once, whatever else is outstanding.
    LostLeadership,
    /// The operation is over, or somebody else leads it.
    OperationOver,
}

/// What to do next for a ticket.
pub type Asked = (Ticket, Next<ClusterRequest, Farewell>);

/// The controller.
pub struct Controller {
    settings: Settings,
    proposer: Box<dyn Proposer>,
    ids: Box<dyn FnMut() -> String>,
    lease: Leadership,
    /// Whether the loop has started, which it does when leadership is gained.
    leading: bool,
    /// Whether leadership was lost.
    over: bool,
    /// Tickets with a request outstanding: they take nothing but its answer.
    asking: BTreeSet<Ticket>,
    memory: Memory,
    flight: Flight,
    /// Whether something has changed while the loop waited for an answer.
    woken: bool,
    looked: Option<Moment>,
    last_plan: Option<Moment>,
    errors: Backoff,
    pending_report: CycleReport,
    reports: VecDeque<CycleReport>,
    /// The last plan that was made, until somebody takes it.
    plan: Option<Plan>,
    /// The plan that a person approved, by name, until it is carried out or fits no more.
    approved: Option<(String, Plan)>,
}

impl Controller {
    /// A controller that has not started. `ids` makes names of operations and never the same twice, whoever leads.
    pub fn new(settings: Settings, proposer: Box<dyn Proposer>, ids: Box<dyn FnMut() -> String>) -> Self {
        Self {
            lease: Leadership::new(settings.identity.clone(), settings.lease),
            memory: Memory::new(&settings),
            settings,
            proposer,
            ids,
            leading: false,
            over: false,
            asking: BTreeSet::new(),
            flight: Flight::default(),
            woken: false,
            looked: None,
            last_plan: None,
            errors: Backoff::default(),
            pending_report: CycleReport::default(),
            reports: VecDeque::new(),
            plan: None,
            approved: None,
        }
    }

    /// Starts it: it asks for the lease.
    pub fn start(&mut self, now: Moment) -> Vec<Asked> {
        self.step(&Ticket::Lease, Event::Wake, now)
    }

    /// The lease, for whoever renews it while this one is busy; the lease's ticket is then theirs alone, and [`Self::lead`] begins the loop.
    pub fn leadership(&self) -> Leadership {
        self.lease.clone()
    }

    /// Begins the loop when this process has come to lead; once.
    pub fn lead(&mut self, now: Moment) -> Option<Asked> {
        if self.leading || !self.lease.leads(now) {
            return None;
        }
        self.leading = true;
        self.asking.insert(Ticket::Loop);
        Some((Ticket::Loop, Next::Ask(ClusterRequest::Observe { fresh: true })))
    }

    /// Whether this process leads and its lease is fresh. Whoever sends requests asks once more immediately before a write, because deciding takes
    /// time.
    pub fn may_write(&self, now: Moment) -> bool {
        !self.over && self.lease.leads(now)
    }

    /// Until when a write that was decided now may be sent; none when nothing may be.
    pub fn fresh_until(&self) -> Option<Moment> {
        if self.over { None } else { self.lease.fresh_until() }
    }

    /// Leadership is given up for good: nothing is asked any more but what this returns, which hands the lease back. To be called when no
    /// request is outstanding; without a request to hand it back the lease runs out by itself.
    pub fn resign(&mut self, now: Moment) -> Option<ClusterRequest> {
        self.over = true;
        self.lease.resign(now)
    }

    /// Goes on under other settings; identity and lease stay as they are. What is under way is seen through. A mode in which more is carried
    /// out than before takes effect with a plan at the next look.
    pub fn reconfigure(&mut self, settings: &Settings) {
        if settings.mode > self.settings.mode {
            self.last_plan = None;
        }
        self.settings =
            Settings { identity: self.settings.identity.clone(), lease: self.settings.lease, ..settings.clone() };
    }

    /// A person approves a plan. At the next look everything is planned anew, and of the approved plan those nodes are carried out for which the
    /// same is still proposed; all of it goes the way of any other plan. In `Observe` nothing is. It takes the place of one approved before.
    pub fn approve(&mut self, name: String, plan: Plan) {
        self.approved = Some((name, plan));
        self.last_plan = None;
    }

    /// The last plan that was made, if nobody has taken it yet. The verifier has accepted it.
    pub fn take_plan(&mut self) -> Option<Plan> {
        self.plan.take()
    }

    /// The fencing number, while this process holds the lease.
    pub fn epoch(&self) -> Option<u64> {
        self.lease.epoch()
    }

    /// Reports of the cycles since the last call, oldest first; those beyond a small number are dropped, oldest first.
    pub fn take_reports(&mut self) -> Vec<CycleReport> {
        self.reports.drain(..).collect()
    }

    /// Operations under way: node, operation, phase in which it was last seen, and what it waits for.
    pub fn operations(&self) -> impl Iterator<Item = (&str, &OperationId, Option<Phase>, &str)> {
        self.flight.running.iter().map(|(node, running)| {
            (node.as_str(), &running.operation.id, running.machine.phase(), running.machine.waiting_on())
        })
    }

    /// Takes in what happened on a ticket and says what to do next, there and on tickets that start now.
    pub fn step(&mut self, ticket: &Ticket, event: Event<ClusterReply>, now: Moment) -> Vec<Asked> {
        if self.over {
            return Vec::new();
        }
        if self.lease.expired(now) {
            return self.quit();
        }
        // The machine of an operation looks again after each answer anyway; the loop remembers. An answer to nothing is none.
        let answered = self.asking.remove(ticket);
        match (&event, answered) {
            (Event::Wake, true) => {
                self.asking.insert(ticket.clone());
                self.woken |= *ticket == Ticket::Loop;
                return Vec::new();
            }
            (Event::Reply(_), false) => return Vec::new(),
            (Event::Wake, false) | (Event::Reply(_), true) => {}
        }
        let asked = match ticket {
            Ticket::Lease => self.on_lease(event, now),
            Ticket::Loop => self.on_loop(event, now),
            Ticket::Operation(node) => self.on_operation(node, event, now),
        };
        for (ticket, next) in &asked {
            if matches!(next, Next::Ask(_)) {
                self.asking.insert(ticket.clone());
            }
        }
        asked
    }

    fn quit(&mut self) -> Vec<Asked> {
        self.over = true;
        vec![(Ticket::Lease, Next::End(Farewell::LostLeadership))]
    }

    fn on_lease(&mut self, event: Event<ClusterReply>, now: Moment) -> Vec<Asked> {
        let next = self.lease.step(event, now);
        if matches!(next, Next::End(_)) {
            return self.quit();
        }
        let mut asked = vec![(Ticket::Lease, next)];
        asked.extend(self.lead(now));
        asked
    }

    fn on_loop(&mut self, event: Event<ClusterReply>, now: Moment) -> Vec<Asked> {
        let rest = |wait| vec![(Ticket::Loop, Next::Rest(wait))];
        match event {
            Event::Wake => {
                let since = self.looked.map_or(Duration::MAX, |looked| now.since(looked));
                let poll = self.settings.timing.poll;
                let left = poll.saturating_sub(since);
                if !left.is_zero() {
                    return rest(left);
                }
                let fresh = self.looked.is_none();
                vec![(Ticket::Loop, Next::Ask(ClusterRequest::Observe { fresh }))]
            }
            Event::Reply(Ok(ClusterAnswer::Observed(observation))) => {
                self.errors.reset();
                self.cycle(&observation, now)
            }
            Event::Reply(Err(ClusterError::Throttled { retry_after: Some(wait) })) => rest(wait),
            Event::Reply(Ok(_) | Err(_)) => {
                let timing = self.settings.timing;
                rest(self.errors.fail(timing.retry_first, timing.retry_most))
            }
        }
    }

    /// One look at everything: what was left behind is adopted, what is wrong is repaired, and when it is time a plan is made.
    fn cycle(&mut self, observation: &Observation, now: Moment) -> Vec<Asked> {
        let Some(epoch) = self.lease.epoch() else { return Vec::new() };
        // A lease that was lost counts from the start again, and what its last holder wrote may arrive after the first look. Only then
        // can an epoch of ours be on record that this process has not written. Or else somebody leads in our place: nothing is begun until the
        // lease itself says the higher number.
        let first = self.looked.is_none();
        let outdone = |highest: u64| highest > epoch || (first && highest == epoch);
        let written = observation.records.iter().filter_map(MigNode::written_epoch).max();
        let believed = epoch.max(written.unwrap_or(0)).saturating_add(LEAP);
        let known = observation.records.iter().filter_map(MigNode::highest_epoch);
        let highest = known.filter(|&highest| highest <= believed).max();
        if let Some(highest) = highest.filter(|&highest| outdone(highest)) {
            self.lease.exceed(highest);
            self.looked = self.looked.map(|_| now);
            return vec![(Ticket::Loop, Next::Rest(self.settings.timing.poll))];
        }
        self.looked = Some(now);
        self.memory.note(observation, &self.settings, now);
        let mut asked = self.adopt(observation, epoch, now);
        self.note_hindrances(observation, now);
        if self.settings.mode != Mode::Observe {
            asked.extend(self.cure(observation, epoch, now));
        }
        if self.next_plan(observation).is_none_or(|at| at <= now) {
            asked.extend(self.plan(observation, epoch, now));
        }
        self.report(observation, now);
        let rest =
            if std::mem::take(&mut self.woken) { self.settings.timing.poll } else { self.rest(observation, now) };
        asked.push((Ticket::Loop, Next::Rest(rest)));
        asked
    }

    /// When the next plan is made; none when there has been no plan yet. Unless it keeps to the period it waits for the rest of a burst.
    fn next_plan(&self, observation: &Observation) -> Option<Moment> {
        let last = self.last_plan?;
        let periodic = last + self.settings.period;
        let Some(soonest) = self.settings.soonest else { return Some(periodic) };
        let least = least_age(&observation.input);
        let counts = || self.memory.demand.counts(least);
        let news = self.memory.hindrances.mended().into_iter().chain(counts()).min();
        let due = news.map_or(periodic, |news| news.max(last + soonest).min(periodic));
        Some(burst::end(due, counts(), least))
    }

    /// Notes whether what kept the last plan from more is mended.
    fn note_hindrances(&mut self, observation: &Observation, now: Moment) {
        let Self { settings, memory: Memory { nodes, hindrances, .. }, flight, .. } = self;
        let withdrawn = || nodes.withdrawals(observation, &flight.busy(observation), settings, now);
        hindrances.note(&observation.input, withdrawn, now);
    }

    fn rest(&self, observation: &Observation, now: Moment) -> Duration {
        let plan = self.next_plan(observation).unwrap_or(now);
        let next = self.memory.nodes.next(&self.settings, now).map_or(plan, |cure| cure.min(plan));
        next.since(now).max(self.settings.timing.poll)
    }

    /// Goes on with operations that an earlier leader has left.
    fn adopt(&mut self, observation: &Observation, epoch: u64, now: Moment) -> Vec<Asked> {
        let mut asked = Vec::new();
        for record in &observation.records {
            let Some(operation) = &record.spec.operation else { continue };
            if operation.phase == Phase::Degraded || self.flight.holds(&record.name) || mutant::on(Mutant(27)) {
                continue;
            }
            if mutant::on(Mutant(26)) && observation.nodes.iter().any(|node| node.name == record.name && !node.ready) {
                continue;
            }
            let machine = OperationMachine::adopt(&record.name, operation.id.clone(), epoch, self.settings.timing);
            asked.extend(self.begin(&record.name, machine, operation.clone(), Cause::Adopted, now));
        }
        asked
    }

    /// Starts repairs.
    fn cure(&mut self, observation: &Observation, epoch: u64, now: Moment) -> Vec<Asked> {
        let cures = self.memory.nodes.cures(observation, &self.flight.busy(observation), &self.settings, now);
        let mut asked = Vec::new();
        for (node, why) in cures {
            let rests = self.memory.stability.backs_off(&node, now).is_some();
            if rests || self.flight.len() >= self.settings.concurrency as usize {
                continue;
            }
            let Some(view) = observation.nodes.iter().find(|view| view.name == node) else { continue };
            let operation = repair(Origin {
                id: OperationId((self.ids)()),
                epoch,
                node_uid: view.uid.clone(),
                residents: residents(observation, &node),
            });
            let machine = OperationMachine::claim(&node, operation.clone(), self.settings.timing);
            asked.extend(self.begin(&node, machine, operation, Cause::Repair(why), now));
        }
        asked
    }

    fn plan(&mut self, observation: &Observation, epoch: u64, now: Moment) -> Vec<Asked> {
        self.last_plan = Some(now);
        let Self { settings, memory, flight, proposer, ids, approved, .. } = self;
        let approved = approved.as_ref().filter(|_| settings.mode == Mode::Recommend).map(|(_, plan)| plan);
        let cycle = Cycle { observation, settings, memory, flight, epoch, now, approved };
        let mut seconds = || format!("plan-{}", now.0 / 1000);
        let ids: &mut dyn FnMut() -> String = if mutant::on(Mutant(7)) { &mut seconds } else { ids };
        let outline = match cycle.plan(proposer.as_mut(), ids) {
            Ok(outline) => outline,
            Err(error) => {
                self.pending_report.error = Some(error.to_string());
                return Vec::new();
            }
        };
        self.memory.demand.planned(least_age(&observation.input), now);
        self.memory.hindrances.planned(&observation.input, &outline.withdrawn);
        let Outline { operations, mut planned, withdrawn, cooling, plan, left_out } = outline;
        self.plan = plan;
        let put_off = !planned.put_off.is_empty();
        let starts = self.may_start(&operations, put_off, left_out);
        if starts {
            planned.operations = operations.values().map(|operation| operation.id.clone()).collect();
        }
        let report = &mut self.pending_report;
        report.planned = Some(planned);
        report.withdrawn_count = withdrawn.len();
        report.withdrawn = withdrawn.into_iter().take(LISTED).collect();
        report.cooling = cooling;
        if !starts {
            return Vec::new();
        }
        let evictions: usize = operations.values().map(|operation| operation.victims.len()).sum();
        self.memory.stability.plan_evictions(evictions as u32, now);
        let ready = self.flight.enqueue(operations);
        self.claim_all(ready, now)
    }

    /// Whether the operations of a plan may be carried out: all in `Act`, those that a person approved in `Recommend`, and none in `Observe`,
    /// where an approval is forgotten, so that it never takes effect at another time.
    fn may_start(
        &mut self,
        operations: &BTreeMap<String, Operation>,
        put_off: bool,
        left_out: BTreeMap<String, LeftOut>,
    ) -> bool {
        let approved = self.approved.take();
        match (self.settings.mode, approved) {
            (Mode::Act, _) => true,
            (Mode::Observe, _) | (Mode::Recommend, None) => false,
            (Mode::Recommend, Some((name, plan))) => {
                let operations = operations.values().map(|operation| operation.id.clone()).collect();
                let goes_on = put_off || left_out.values().any(|why| matches!(why, LeftOut::NoRoom(_)));
                self.pending_report.approval = Some(Approval { name: name.clone(), operations, goes_on, left_out });
                self.approved = goes_on.then_some((name, plan));
                true
            }
        }
    }

    /// Closes the report, if there is anything to say.
    fn report(&mut self, observation: &Observation, now: Moment) {
        let CycleReport { planned, error, started, forbidden, ended, .. } = &self.pending_report;
        let operations = !(started.is_empty() && forbidden.is_empty() && ended.is_empty());
        if planned.is_none() && error.is_none() && !operations {
            return;
        }
        let input = &observation.input;
        let mut report = std::mem::take(&mut self.pending_report);
        report.at = now;
        report.observed = Observed {
            nodes: input.nodes().len(),
            gpus: input.gpus().len(),
            running: input.running().len(),
            pending: input.pending().len(),
            unplannable: input.unplannable().len(),
        };
        report.stolen = self.memory.demand.take_stolen();
        report.waiting = self.flight.waiting().take(LISTED).cloned().collect();
        if self.reports.len() == REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back(report);
    }
}
