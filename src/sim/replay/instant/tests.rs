use super::*;
use crate::sim::replay::baselines::{Fit, Greedy, Order, Static};
use crate::sim::replay::figures::Figures;
use crate::sim::replay::fleet::parse_gpus;
use crate::sim::replay::generate::{Mix, Recipe};

const MINUTE: u64 = 60_000;

fn fleet(gpus: &str, layouts: &[&[(&str, u8)]]) -> FleetSpec {
    let (gpus, geometry) = parse_gpus(gpus).expect("a fleet");
    let place = |&(profile, start): &(&str, u8)| {
        geometry.place(geometry.find(profile).expect("a profile"), start).expect("a legal start")
    };
    let layouts = layouts.iter().map(|all| Layout::try_new(&geometry, all.iter().map(place).collect()).expect("legal"));
    let layouts = layouts.collect();
    FleetSpec::new(geometry, gpus, 8).cut(layouts)
}

fn work(at: u64, name: &str, profile: &str, runs: u64, patience: Option<u64>) -> Arrival {
    let (at, runs, patience) = (at * MINUTE, runs * MINUTE, patience.map(|patience| patience * MINUTE));
    let instances = BTreeMap::from([(profile.to_owned(), 1)]);
    Arrival { at, name: name.into(), instances, runs, priority: 0, kind: Kind::Job, patience }
}

fn lived(fleet: &FleetSpec, arrivals: Vec<Arrival>, proposer: &mut dyn Proposer) -> Vec<(u64, String)> {
    let history = run(fleet, &Workload { arrivals }, proposer, 5 * MINUTE, &Policy::unlimited()).expect("a history");
    let name = |record: &Record| match record {
        Record::Arrived { work, .. } => Some(format!("{work} arrives")),
        Record::Started { work, .. } => Some(format!("{work} starts")),
        Record::Finished { work } => Some(format!("{work} ends")),
        Record::Burst { work, .. } => Some(format!("{work} leaves")),
        Record::Evicted { work, .. } => Some(format!("{work} evicted")),
        Record::Interrupted { work, .. } => Some(format!("{work} interrupted")),
        Record::Gpu { .. } | Record::Claimed { .. } | Record::Ended { .. } | Record::Planned { .. } => None,
    };
    let told = history.records.iter().filter_map(|it| Some((it.at / MINUTE, name(&it.record)?)));
    told.collect()
}

fn told(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
    lines.iter().map(|&(at, line)| (at, line.to_owned())).collect()
}

#[test]
fn work_waits_for_its_own_profile_and_leaves_when_out_of_patience() {
    let fleet = fleet("1xA100-80GB", &[&[("3g.40gb", 0)]]);
    let arrivals = vec![
        work(0, "a", "3g.40gb", 10, Some(60)),
        work(1, "b", "3g.40gb", 10, Some(60)),
        work(2, "c", "1g.10gb", 10, Some(7)),
    ];
    let expected = [
        (0, "a arrives"),
        (0, "a starts"),
        (1, "b arrives"),
        (2, "c arrives"),
        (9, "c leaves"),
        (10, "a ends"),
        (10, "b starts"),
        (20, "b ends"),
    ];
    assert_eq!(lived(&fleet, arrivals, &mut Static), told(&expected));
}

#[test]
fn a_rule_is_asked_every_period_and_its_changes_are_made_at_once() {
    let fleet = fleet("1xA100-80GB", &[&[("7g.80gb", 0)]]);
    let arrivals = vec![work(7, "a", "1g.10gb", 10, Some(60)), work(8, "b", "7g.80gb", 5, None)];
    let mut rule = Greedy { order: Order::Arrival, fit: Fit::First };
    // The period is five minutes: the rule is asked when the first pod begins to wait, and then at 10, 15, ...
    let expected =
        [(7, "a arrives"), (7, "a starts"), (8, "b arrives"), (17, "a ends"), (20, "b starts"), (25, "b ends")];
    assert_eq!(lived(&fleet, arrivals, &mut rule), told(&expected));
}

#[test]
fn what_can_never_run_and_never_leaves_ends_the_replay() {
    let fleet = fleet("1xA100-80GB", &[&[]]);
    assert_eq!(lived(&fleet, vec![work(3, "a", "1g.10gb", 1, None)], &mut Static), told(&[(3, "a arrives")]));
}

/// Asks for something that cannot be.
struct Wrong;

impl Proposer for Wrong {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, crate::controller::ProposeError> {
        let mut proposal = Greedy { order: Order::Arrival, fit: Fit::First }.propose(input)?;
        proposal.nodes[0].gpus[0].create[0].start = 5;
        Ok(proposal)
    }
}

#[test]
fn an_impossible_proposal_is_an_error() {
    let fleet = fleet("1xA100-80GB", &[&[]]);
    let workload = Workload { arrivals: vec![work(0, "a", "3g.40gb", 1, None)] };
    let error = run(&fleet, &workload, &mut Wrong, 1, &Policy::unlimited()).expect_err("3g cannot start at 5");
    assert!(matches!(error, InstantError::Illegal { .. }), "{error}");
}

#[test]
fn no_slice_is_held_twice_and_all_work_comes_to_an_end() {
    let fleet = fleet("4xA100-80GB", &[]);
    let workload = Recipe::new(Mix::Uniform, 0.8, 24 * 60 * MINUTE).generate(&fleet, 2);
    let mut rule = Greedy { order: Order::Arrival, fit: Fit::Best };
    let history = run(&fleet, &workload, &mut rule, 5 * MINUTE, &Policy::unlimited()).expect("a history");
    let figures = Figures::of(&history, &fleet.geometry);
    assert_eq!(figures.arrived, workload.arrivals.len() as u64);
    assert_eq!(figures.served + figures.burst, figures.arrived);
    assert!(figures.allocated.memory <= figures.capacity.memory && figures.served > figures.burst);
    let asked: u64 = workload.arrivals.iter().map(|it| it.runs).sum();
    assert!(
        asked > 0 && (figures.requested.memory - figures.burst_hours.memory - figures.allocated.memory).abs() < 1e-6
    );
}
