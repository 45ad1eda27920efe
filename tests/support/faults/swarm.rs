//! Random clusters with random faults, each determined by its seed.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use retile::sim::world::{Fleet, Settings};
use retile::sim::{Arrival, Kind as Owner, Workload};

use super::plan::{Fault, FaultPlan, Kind, Side};
use super::scenarios::{Expected, Scenario, loops, pausing, policy, work};
use super::sites::Site;

const PROFILES: [&str; 4] = ["1g.10gb", "2g.20gb", "3g.40gb", "7g.80gb"];

/// The scenario and the faults of a seed.
pub fn of_seed(seed: u64) -> (Scenario, FaultPlan) {
    let mut rng = Pcg64::seed_from_u64(seed ^ 0x5eed);
    let nodes = rng.random_range(1..=6u32);
    let gpus = if rng.random_bool(0.9) { rng.random_range(1..=3u32) } else { rng.random_range(4..=8u32) };
    let fleet = Fleet::uniform(nodes, gpus, "A100-80GB").expect("the board is in the catalogue");
    let pods = rng.random_range(0..=60u32.min(nodes * gpus * 7));
    let arrivals = (0..pods).map(|number| arrival(number, &mut rng)).collect();
    let mut scenario = Scenario {
        name: "swarm",
        fleet,
        workload: Workload { arrivals },
        settings: Settings { policy: Some(policy()), controllers: rng.random_range(1..=2), ..Settings::default() },
        loops: loops(),
        setup: Vec::new(),
        subject: "app-0",
        demand: "app-1",
        expected: Expected { done: 0, evictions: None, waiting: 0 },
        stretch: 300_000,
    };
    let faults = (0..rng.random_range(0..=6)).map(|_| fault(&mut rng)).collect();
    let faults = FaultPlan(faults);
    // Last, so that a seed draws the rest as it did before there was a choice.
    if rng.random_bool(0.25) {
        pausing(&mut scenario);
    }
    (scenario, faults)
}

fn arrival(number: u32, rng: &mut Pcg64) -> Arrival {
    let profile = PROFILES.choose(rng).copied().unwrap_or("1g.10gb");
    let runs = if rng.random_bool(0.5) { 36_000_000 } else { rng.random_range(30_000..400_000) };
    let kind = [Owner::Service, Owner::Service, Owner::Stateful, Owner::Job][rng.random_range(0..4)];
    let priority = if rng.random_bool(0.1) { 100 } else { 0 };
    let at = rng.random_range(0..120_000);
    Arrival { runs, kind, priority, ..work(&format!("app-{number}"), at, profile) }
}

fn fault(rng: &mut Pcg64) -> Fault {
    let site = *Site::ALL.choose(rng).unwrap_or(&Site::C1);
    let kind = *Kind::ALL.choose(rng).unwrap_or(&Kind::Crash);
    let side = if rng.random_bool(0.5) { Side::Before } else { Side::After };
    if site == Site::Clock {
        return Fault { site, nth: rng.random_range(5..250), times: rng.random_range(0..6), side, kind };
    }
    Fault { site, nth: rng.random_range(0..4), times: rng.random_range(1..=3), side, kind }
}
