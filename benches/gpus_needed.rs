//! How many GPUs a demand needs, against the geometry list of nos packed as well as it can be.
//!
//! nos knows twelve cuts of a seven-slice board (`known_mig_geometries`); two of them are contained in others, and 4g+3g
//! and 3g+4x1g are missing. Both sides are packed exactly here, so the difference is that of the lists alone. Prints a table;
//! ends with status 1 if retile ever needs more, or saves less than 10 % where pods ask for 3g and 4g only.
#![allow(clippy::disallowed_methods, reason = "a program that measures ends with a status")]

#[path = "../tests/support/mod.rs"]
mod support;

use retile::model::ProfileId;
use retile::planner::fit::Fitter;
use retile_solver::minimum::{Machine, Patterns};
use support::boards;
use support::rng::Rng;

/// Profiles that nos knows, in the order of [`NOS`].
const PROFILES: [&str; 5] = ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"];

/// The cuts of nos as counts of 1g, 2g, 3g, 4g, 7g.
const NOS: [[u64; 5]; 12] = [
    [7, 0, 0, 0, 0],
    [5, 1, 0, 0, 0],
    [3, 2, 0, 0, 0],
    [1, 3, 0, 0, 0],
    [2, 1, 1, 0, 0],
    [0, 2, 1, 0, 0],
    [1, 1, 1, 0, 0],
    [3, 0, 1, 0, 0],
    [0, 0, 2, 0, 0],
    [3, 0, 0, 1, 0],
    [1, 1, 0, 1, 0],
    [0, 0, 0, 0, 1],
];

/// Mixes as weights of the profiles.
const MIXES: [(&str, [usize; 5]); 5] = [
    ("3g and 4g", [0, 0, 1, 1, 0]),
    ("3g, 4g and some 1g", [2, 0, 2, 2, 0]),
    ("all alike", [1, 1, 1, 1, 1]),
    ("mostly small", [50, 25, 12, 8, 5]),
    ("1g and 2g", [1, 1, 0, 0, 0]),
];

/// Demands drawn of each mix.
const DRAWS: u64 = 200;

fn main() {
    let board = &*boards::A100;
    let ids: Vec<ProfileId> = PROFILES.iter().map(|name| board.find(name).expect("a profile of the board")).collect();
    let fitter = Fitter::new(board, &ids).expect("every profile of the board can be placed");
    let nos = Machine::new(Patterns::try_new(5, NOS.map(|cut| cut.to_vec())).expect("the list is well-formed"));
    let mut wrong = 0;
    println!("{:<20} {:>10} {:>10} {:>8} {:>8} {:>8}", "mix", "retile", "nos list", "fewer", "least", "most");
    for (number, (name, weights)) in MIXES.iter().enumerate() {
        let (mut ours, mut theirs) = (0, 0);
        let mut shares: Vec<f64> = Vec::new();
        for draw in 0..DRAWS {
            let mut rng = Rng::new(draw * MIXES.len() as u64 + number as u64);
            let mut demand = [0_u64; 5];
            (0..rng.between(20, 400)).for_each(|_| demand[rng.weighted(weights)] += 1);
            let named: Vec<(ProfileId, u64)> = ids.iter().copied().zip(demand).collect();
            let fit = fitter.fit(&named).expect("the demand fits");
            let other = nos.minimum(&demand).expect("the demand fits");
            assert_eq!((fit.gpus, other.machines), (fit.bound, other.bound), "both sides are packed exactly");
            wrong += u64::from(fit.gpus > other.machines);
            ours += fit.gpus;
            theirs += other.machines;
            shares.push(percent(fit.gpus, other.machines));
        }
        shares.sort_by(f64::total_cmp);
        let fewer = percent(ours, theirs);
        wrong += u64::from(number == 0 && fewer < 10.0);
        println!(
            "{name:<20} {ours:>10} {theirs:>10} {fewer:>7.1}% {:>7.1}% {:>7.1}%",
            shares[0],
            shares[shares.len() - 1]
        );
    }
    if wrong > 0 {
        eprintln!("{wrong} demands or mixes miss what is promised");
        std::process::exit(1);
    }
}

/// By how many percent `ours` is less than `theirs`.
fn percent(ours: u64, theirs: u64) -> f64 {
    100.0 * (theirs as f64 - ours as f64) / theirs as f64
}
