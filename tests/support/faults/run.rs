//! Runs a scenario with a plan of faults, lets the cluster come to rest, and judges.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use retile::controller::{Proposer, Retile};
use retile::exec::{Outcome, Timing};
use retile::sim::Record;
use retile::sim::engine::{Call, Deeds, Faults, Verdict as Fate};
use retile::sim::invariants::Violation;
use retile::sim::node::{Disk, Health};
use retile::sim::process::ProcessId;
use retile::sim::world::{Deployed, Hand, Proposers, When, World};

use super::deeds::{OTHER, deed_of, verdict};
use super::plan::{Fault, FaultPlan, Kind, Side};
use super::scenarios::Scenario;
use super::sites::{Site, Sites};

/// How long the cluster has to come to rest once faults have stopped, in milliseconds.
const REST: u64 = 3 * 3_600_000;
/// Between two looks whether it has.
const LOOK: u64 = 20_000;
/// Work that one plan may take.
const WORK: u64 = 300_000;

/// How a run went.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub scenario: &'static str,
    pub plan: FaultPlan,
    pub seed: u64,
    /// Breaches while it ran, then those of the state in the end.
    pub violations: Vec<Violation>,
    /// Which kinds struck where.
    pub hits: BTreeSet<(Site, Kind)>,
    pub events: u64,
    pub done: usize,
    pub evictions: usize,
    pub waiting: usize,
    pub trace: Vec<String>,
}

impl Verdict {
    pub fn failed(&self) -> bool {
        !self.violations.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, plan, seed, violations, .. } = self;
        write!(f, "{scenario} seed={seed} faults={plan} ")?;
        match violations.first() {
            Some(first) => write!(f, "breach: {first}"),
            None => f.write_str("no breach"),
        }
    }
}

/// What injects faults, and what it has seen.
struct State {
    faults: Vec<Fault>,
    sites: Sites,
    seen: BTreeMap<Site, u32>,
    hits: BTreeSet<(Site, Kind)>,
    on: bool,
    deeds: Deeds,
    later: Vec<(u64, Hand)>,
    leader: ProcessId,
    scenario: Scenario,
    first_node: String,
    /// The node's name of whoever asked last.
    throttle: u32,
}

struct Injector(Rc<RefCell<State>>);

impl Faults for Injector {
    fn judge(&mut self, call: &Call<'_>) -> Fate {
        self.0.borrow_mut().judge(call)
    }

    fn deeds(&mut self, _: &Call<'_>) -> Deeds {
        std::mem::take(&mut self.0.borrow_mut().deeds)
    }
}

impl State {
    fn judge(&mut self, call: &Call<'_>) -> Fate {
        let site = self.sites.of(call);
        if let ProcessId::Controller(_) = call.process
            && !matches!(site, Site::GetLease | Site::WriteLease)
        {
            self.leader = call.process.clone();
        }
        let seen = self.seen.entry(site).or_default();
        let number = *seen;
        *seen += 1;
        if !self.on {
            return Fate::Pass;
        }
        if site == Site::WriteLease && self.throttle > 0 {
            self.throttle -= 1;
            return verdict(Kind::Throttled, Side::Before, false, true).unwrap_or_default();
        }
        let mut fate = Fate::Pass;
        for fault in self.faults.clone() {
            let there = fault.site == site && (fault.nth..fault.nth.saturating_add(fault.times)).contains(&number);
            if there && let Some(found) = self.strike(fault, call) {
                fate = found;
            }
        }
        fate
    }

    /// What a fault makes of a request.
    fn strike(&mut self, fault: Fault, call: &Call<'_>) -> Option<Fate> {
        let node = match (call.process, call.slot) {
            (ProcessId::Agent(node), _) | (_, retile::sim::process::Slot::Operation(node)) => node.clone(),
            _ => self.first_node.clone(),
        };
        if fault.kind == Kind::LeaseThrottled {
            self.throttle = 10;
            self.hits.insert((fault.site, fault.kind));
            return None;
        }
        let deed = deed_of(fault.kind, &node, &self.leader, &self.scenario, self.hits.len());
        let to_node = matches!(call.request, retile::sim::process::Request::Node(_));
        let fate = verdict(fault.kind, fault.side, to_node, call.kind.writes());
        if deed.is_none() && fate.is_none() {
            return None;
        }
        self.hits.insert((fault.site, fault.kind));
        if let Some(deed) = deed {
            self.later.extend(deed.later.into_iter().map(|(after, hand)| (call.at + after, hand)));
            match fault.side {
                Side::Before => self.deeds.before.extend(deed.now),
                Side::After => self.deeds.after.extend(deed.now),
            }
        }
        fate
    }
}

/// Runs a scenario with faults, with retile's own planner.
pub fn run(scenario: &Scenario, plan: &FaultPlan, seed: u64) -> Verdict {
    run_with(scenario, plan, seed, Box::new(|| Box::new(Retile { work_limit: WORK })), 0)
}

/// Runs a scenario with faults and a proposer of choice; keeps so many lines of the trace.
pub fn run_with(scenario: &Scenario, plan: &FaultPlan, seed: u64, proposers: Proposers, trace: usize) -> Verdict {
    let programs = Deployed::new(scenario.loops.clone(), Timing::default(), proposers);
    let settings = retile::sim::world::Settings { trace, ..scenario.settings.clone() };
    let mut world = World::new(scenario.fleet.clone(), &scenario.workload, settings, Box::new(programs), seed)
        .unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
    let state = Rc::new(RefCell::new(State {
        faults: plan.0.clone(),
        sites: Sites::default(),
        seen: BTreeMap::new(),
        hits: BTreeSet::new(),
        on: true,
        deeds: Deeds::default(),
        later: Vec::new(),
        leader: ProcessId::Controller(0),
        scenario: scenario.clone(),
        first_node: scenario.fleet.nodes[0].name.clone(),
        throttle: 0,
    }));
    world.set_faults(Box::new(Injector(Rc::clone(&state))));
    for (when, hand) in scenario.setup.clone() {
        world.inject(&when, hand);
    }
    by_the_clock(&mut world, plan, scenario, &state);
    let limit = scenario.stretch;
    advance(&mut world, &state, limit);
    state.borrow_mut().on = false;
    let mend = mend(&mut world, &state);
    advance(&mut world, &state, mend);
    let mut proposer = Retile { work_limit: WORK };
    let unrest = come_to_rest(&mut world, &state, &mut proposer);
    judge(world, scenario, plan, seed, &state, unrest)
}

/// Events of a scenario without faults until a moment, with or without anybody who looks for breaches.
pub fn undisturbed(scenario: &Scenario, until: u64, watched: bool) -> u64 {
    let proposers: Proposers = Box::new(|| Box::new(Retile { work_limit: WORK }));
    let programs = Deployed::new(scenario.loops.clone(), Timing::default(), proposers);
    let settings = scenario.settings.clone();
    let mut world = World::new(scenario.fleet.clone(), &scenario.workload, settings, Box::new(programs), 1)
        .unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
    if !watched {
        world.unwatched();
    }
    world.run_until(until);
    world.events()
}

/// Faults that come at a moment.
fn by_the_clock(world: &mut World, plan: &FaultPlan, scenario: &Scenario, state: &Rc<RefCell<State>>) {
    for (number, fault) in plan.0.iter().enumerate().filter(|(_, fault)| fault.site == Site::Clock) {
        let nodes = &scenario.fleet.nodes;
        let node = &nodes[fault.times as usize % nodes.len()].name;
        let at = u64::from(fault.nth) * 1000;
        let leader = ProcessId::Controller(0);
        let Some(deed) = deed_of(fault.kind, node, &leader, scenario, 1000 + number) else { continue };
        deed.now.into_iter().for_each(|hand| world.inject(&When::At(at), hand));
        let mut state = state.borrow_mut();
        state.hits.insert((fault.site, fault.kind));
        state.later.extend(deed.later.into_iter().map(|(after, hand)| (at + after, hand)));
    }
}

/// Lets time pass; what mends itself is mended on the way.
fn advance(world: &mut World, state: &Rc<RefCell<State>>, until: u64) {
    while world.now() < until {
        world.run_until((world.now() + 500).min(until));
        for (at, hand) in std::mem::take(&mut state.borrow_mut().later) {
            world.inject(&When::At(at), hand);
        }
        if world.next_at().is_none() {
            return;
        }
    }
}

/// Faults stop: people mend what is still broken. Returns when the last deed is mended.
fn mend(world: &mut World, state: &Rc<RefCell<State>>) -> u64 {
    let scenario = state.borrow().scenario.clone();
    let soon = world.now() + 125_000;
    for node in &scenario.fleet.nodes {
        let name = &node.name;
        for hand in [
            Hand::Mute(name.clone(), false),
            Hand::BreakPlugin(name.clone(), false),
            Hand::Disk(name.clone(), Disk::Good),
            Hand::LetGo(name.clone()),
        ] {
            world.inject(&When::At(soon), hand);
        }
        for gpu in 0..node.boards.len() as u32 {
            world.inject(&When::At(soon), Hand::Health(name.clone(), gpu, Health::Well));
        }
    }
    soon + 1000
}

/// What is left to complain about when nothing changes any more, or when the time for that is over.
fn come_to_rest(world: &mut World, state: &Rc<RefCell<State>>, proposer: &mut dyn Proposer) -> Vec<Violation> {
    let end = world.now() + REST;
    let mut step = LOOK;
    loop {
        remove_foreign(world, state);
        let unrest = world.unrest(proposer);
        if unrest.is_empty() || world.now() >= end {
            return unrest;
        }
        let until = world.now() + step;
        advance(world, state, until);
        // What takes long is looked at less often.
        step = (step + step / 4).min(600_000);
    }
}

/// The administrator removes the taint of an installation that is no more.
fn remove_foreign(world: &mut World, state: &Rc<RefCell<State>>) {
    let nodes: Vec<String> = state.borrow().scenario.fleet.nodes.iter().map(|node| node.name.clone()).collect();
    for name in nodes {
        let taints = world.api().objects().nodes.get(&name).map(|node| node.taints.clone()).unwrap_or_default();
        if let Some(taint) = taints.iter().find(|taint| taint.value == OTHER) {
            world.lay_hand(&Hand::Untaint(name, taint.key.clone()));
        }
    }
}

fn judge(
    mut world: World,
    scenario: &Scenario,
    plan: &FaultPlan,
    seed: u64,
    state: &Rc<RefCell<State>>,
    unrest: Vec<Violation>,
) -> Verdict {
    let mut violations = world.violations().to_vec();
    violations.extend(unrest);
    let records = &world.history().records;
    let done = records.iter().filter(|it| matches!(it.record, Record::Ended { outcome: Outcome::Done, .. })).count();
    let evictions = records.iter().filter(|it| matches!(it.record, Record::Evicted { .. })).count();
    let trace = if violations.is_empty() { Vec::new() } else { world.trace_lines().map(str::to_owned).collect() };
    Verdict {
        scenario: scenario.name,
        plan: plan.clone(),
        seed,
        violations,
        hits: state.borrow().hits.clone(),
        events: world.events(),
        done,
        evictions,
        waiting: world.snapshot().waiting.len(),
        trace,
    }
}
