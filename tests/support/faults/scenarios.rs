//! The base scenarios: a fleet, work, people's set-up, and what must have happened in the end if nothing goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use retile::controller;
use retile::exec::marks::DEPLOY;
use retile::model::{Catalogue, Clients, DisruptionLevel, Limit, Mode, Policy, Stability};
use retile::plan::Place;
use retile::sim::engine::RequestKind;
use retile::sim::node::Strategy;
use retile::sim::world::{BoardSpec, Fleet, Hand, NodeSpec, Settings, When, max_unavailable, min_available};
use retile::sim::{Arrival, Kind as Owner, Workload};

const HOUR: u64 = 3_600_000;

/// What must have happened in the end when nothing goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Operations that end `Done`, at least.
    pub done: usize,
    /// Evictions, exactly, where that is certain.
    pub evictions: Option<usize>,
    /// Pieces of work that still wait.
    pub waiting: usize,
}

/// A cluster and what arrives at it.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: &'static str,
    pub fleet: Fleet,
    pub workload: Workload,
    pub settings: Settings,
    pub loops: controller::Settings,
    /// What people do, and when.
    pub setup: Vec<(When, Hand)>,
    /// Work that runs, and that other people's deeds are about.
    pub subject: &'static str,
    /// Work that waits.
    pub demand: &'static str,
    pub expected: Expected,
    /// How long faults may strike, in milliseconds.
    pub stretch: u64,
}

fn place(profile: &str, start: u8) -> Place {
    let size = match profile {
        "1g.10gb" => 1,
        "2g.20gb" => 2,
        "3g.40gb" | "4g.40gb" => 4,
        _ => 8,
    };
    Place { start, size, profile: profile.to_owned() }
}

fn node(name: &str, boards: &[&[(&str, u8)]]) -> NodeSpec {
    let geometry = Catalogue::embedded().find_by_key("A100-80GB").expect("the board is in the catalogue");
    let board = |layout: &&[(&str, u8)]| BoardSpec {
        geometry: Arc::clone(geometry),
        layout: layout.iter().map(|(profile, start)| place(profile, *start)).collect(),
    };
    NodeSpec::new(name, boards.iter().map(board).collect())
}

pub fn work(name: &str, at: u64, profile: &str) -> Arrival {
    Arrival {
        at,
        name: name.to_owned(),
        instances: BTreeMap::from([(profile.to_owned(), 1)]),
        runs: 10 * HOUR,
        priority: 0,
        kind: Owner::Service,
        patience: None,
    }
}

/// Work that nobody would make again, so that it stays where it is.
fn rooted(name: &str, profile: &str) -> Arrival {
    Arrival { kind: Owner::Bare, ..work(name, 0, profile) }
}

/// Work that is bound to the first node from the beginning.
fn pinned(arrival: Arrival) -> (When, Hand) {
    (When::At(0), Hand::Pin(arrival, "gpu-000".to_owned()))
}

/// How the loop is set up: quick, so that a run is short.
pub fn loops() -> controller::Settings {
    let mut loops = controller::Settings::of("unnamed");
    loops.period = Duration::from_mins(1);
    loops.soonest = Some(Duration::from_secs(10));
    loops.back_off_first = Duration::from_secs(30);
    loops.back_off_most = Duration::from_mins(4);
    loops
}

pub fn policy() -> Policy {
    let stability = Stability { min_pending_age_seconds: 5, gpu_cool_down_seconds: 60, pod_move_cap: None };
    Policy { mode: Mode::Act, stability, ..Policy::unlimited() }
}

fn scenario(name: &'static str, nodes: Vec<NodeSpec>, arrivals: Vec<Arrival>, expected: Expected) -> Scenario {
    Scenario {
        name,
        fleet: Fleet { nodes },
        workload: Workload { arrivals },
        settings: Settings { policy: Some(policy()), ..Settings::default() },
        loops: loops(),
        setup: Vec::new(),
        subject: "none-0",
        demand: "wants-0",
        expected,
        stretch: 240_000,
    }
}

fn expected(done: usize, evictions: usize, waiting: usize) -> Expected {
    Expected { done, evictions: Some(evictions), waiting }
}

const WANTS: u64 = 20_000;

/// A pod on a board that is wanted whole, and a free instance for it elsewhere.
fn one_victim(name: &'static str, owner: Owner) -> Scenario {
    let nodes = vec![node("gpu-000", &[&[("1g.10gb", 0)]]), node("gpu-001", &[&[("3g.40gb", 0), ("1g.10gb", 4)]])];
    let arrivals = vec![rooted("big-0", "3g.40gb"), work("wants-0", WANTS, "7g.80gb")];
    let victim = Arrival { kind: owner, ..work("victim-0", 0, "1g.10gb") };
    Scenario { setup: vec![pinned(victim)], subject: "victim-0", ..scenario(name, nodes, arrivals, expected(1, 1, 0)) }
}

/// Three pods on a board that is wanted whole, and three free instances elsewhere.
fn three_victims(name: &'static str) -> Scenario {
    let ones: &[(&str, u8)] = &[("1g.10gb", 0), ("1g.10gb", 1), ("1g.10gb", 2)];
    let nodes = vec![
        node("gpu-000", &[ones]),
        node("gpu-001", &[&[("1g.10gb", 0), ("1g.10gb", 1), ("1g.10gb", 2), ("3g.40gb", 4)]]),
    ];
    let arrivals = vec![rooted("big-0", "3g.40gb"), work("wants-0", WANTS, "7g.80gb")];
    let victims = (0..3).map(|number| work(&format!("victim-{number}"), 0, "1g.10gb"));
    let mut setup: Vec<(When, Hand)> = victims.map(pinned).collect();
    // Planned while all three may go, drained when only one at a time may.
    let budget = |allowed| Hand::SetBudget("base".to_owned(), "victim".to_owned(), max_unavailable(allowed));
    setup.push((When::At(0), budget(3)));
    setup.push((When::After(RequestKind::WriteSpec, 1), budget(1)));
    Scenario { setup, subject: "victim-1", ..scenario(name, nodes, arrivals, expected(1, 3, 0)) }
}

fn s8() -> Scenario {
    let nodes = vec![node("gpu-000", &[&[]]), node("gpu-001", &[&[]])];
    let arrivals = vec![work("wants-0", WANTS, "7g.80gb"), work("wants-1", WANTS, "7g.80gb")];
    let mut scenario = scenario("s8", nodes, arrivals, expected(2, 0, 0));
    if let Some(policy) = &mut scenario.settings.policy {
        policy.budgets.nodes = Some(Limit::Count(1));
    }
    scenario
}

fn s9() -> Scenario {
    let mut single = node("gpu-001", &[&[("1g.10gb", 0), ("1g.10gb", 1)]]);
    single.config.strategy = Strategy::Single;
    single.labels.insert("nvidia.com/mig.strategy".to_owned(), "single".to_owned());
    let mut labelled = node("gpu-000", &[&[]]);
    labelled.labels.insert("nvidia.com/mig.strategy".to_owned(), "mixed".to_owned());
    let nodes = vec![labelled, single, node("gpu-002", &[&[]])];
    let arrivals = vec![work("wants-0", WANTS, "3g.40gb")];
    scenario("s9", nodes, arrivals, expected(1, 0, 0))
}

fn s11() -> Scenario {
    let mut scenario = three_victims("s11");
    let victims = (0..3).map(|number| Arrival {
        kind: Owner::Job,
        runs: 40_000 + number * 8_000,
        ..work(&format!("victim-{number}"), 0, "1g.10gb")
    });
    scenario.setup = victims.map(pinned).collect();
    if let Some(policy) = &mut scenario.settings.policy {
        policy.disruption = DisruptionLevel::Aggressive;
    }
    Scenario { expected: Expected { done: 1, evictions: None, waiting: 0 }, ..scenario }
}

/// The GPU Operator has placed the plugin, and it is paused while instances change; autoscalers are kept off.
fn s13() -> Scenario {
    let mut scenario = one_victim("s13", Owner::Service);
    pausing(&mut scenario);
    scenario
}

/// Has operations pause the GPU Operator's clients and keep autoscalers off.
pub fn pausing(scenario: &mut Scenario) {
    scenario.loops.clients = Clients::OperatorPause;
    scenario.settings.protect_nodes = true;
    for node in &mut scenario.fleet.nodes {
        let label = |client: &str| (format!("{DEPLOY}{client}"), "true".to_owned());
        node.labels.extend(["device-plugin", "dcgm"].map(label));
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let ones: &[(&str, u8)] = &[
        ("1g.10gb", 0),
        ("1g.10gb", 1),
        ("1g.10gb", 2),
        ("1g.10gb", 3),
        ("1g.10gb", 4),
        ("1g.10gb", 5),
        ("1g.10gb", 6),
    ];
    let beside: &[(&str, u8)] = &[("3g.40gb", 0), ("1g.10gb", 4), ("1g.10gb", 5)];
    let whole: &[(&str, u8)] = &[("7g.80gb", 0)];
    let mut s6 = one_victim("s6", Owner::Service);
    s6.setup.push((When::At(0), Hand::SetBudget("base".to_owned(), "victim".to_owned(), min_available(1))));
    s6.expected = expected(0, 0, 1);
    let mut s7 = vec![whole; 7];
    s7.push(&[]);
    let fulls = (0..7).map(|number| work(&format!("full-{number}"), 0, "7g.80gb"));
    let mut s12 = one_victim("s12", Owner::Service);
    s12.workload.arrivals.push(Arrival { priority: 1000, ..work("vip-0", 38_000, "3g.40gb") });
    s12.expected = Expected { done: 1, evictions: None, waiting: 1 };
    vec![
        scenario("s1", vec![node("gpu-000", &[&[]])], vec![work("wants-0", WANTS, "3g.40gb")], expected(1, 0, 0)),
        scenario("s2", vec![node("gpu-000", &[ones])], vec![work("wants-0", WANTS, "7g.80gb")], expected(1, 0, 0)),
        Scenario {
            subject: "web-0",
            ..scenario(
                "s3",
                vec![node("gpu-000", &[beside])],
                vec![work("web-0", 0, "3g.40gb"), work("wants-0", WANTS, "3g.40gb")],
                expected(1, 0, 0),
            )
        },
        one_victim("s4", Owner::Service),
        three_victims("s5"),
        s6,
        Scenario {
            subject: "full-3",
            ..scenario(
                "s7",
                vec![node("gpu-000", &s7)],
                fulls.chain([work("wants-0", WANTS, "3g.40gb")]).collect(),
                expected(1, 0, 0),
            )
        },
        s8(),
        s9(),
        one_victim("s10", Owner::Stateful),
        s11(),
        s12,
        s13(),
    ]
}

/// One of them.
pub fn named(name: &str) -> Scenario {
    let found = all().into_iter().find(|scenario| scenario.name == name);
    found.unwrap_or_else(|| panic!("there is no scenario {name}"))
}
