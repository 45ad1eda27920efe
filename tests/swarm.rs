//! All directed families and any number of random runs, in parallel, with counts.
//!
//! `cargo test --release --test swarm -- --family all`, `-- --seeds 20000 --from 0`, `-- --seed N`, `-- --run SCENARIO FAULTS SEED`.

#[path = "support/faults/mod.rs"]
mod faults;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use faults::families::{Case, NAMES, cases};
use faults::plan::{FaultPlan, Kind};
use faults::run::{Verdict, run, run_with};
use faults::scenarios::{self, Scenario};
use faults::sites::Site;
use faults::{shrink, swarm};

/// What a batch of runs has seen.
#[derive(Default)]
struct Tally {
    runs: usize,
    events: u64,
    hits: BTreeSet<(Site, Kind)>,
    failures: Vec<String>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
    let mut failed = 0;
    if let Some(at) = args.iter().position(|arg| arg == "--run") {
        failed += one_case(&args[at + 1..]);
    } else if args.iter().any(|arg| arg == "--cost") {
        cost();
    } else if let Some(seed) = number("--seed") {
        failed += one_seed(seed);
    } else if let Some(family) = value("--family") {
        let every = number("--every").unwrap_or(1) as usize;
        for name in NAMES.iter().filter(|name| family == "all" || **name == family) {
            failed += directed(name, every);
        }
    } else {
        let from = number("--from").unwrap_or(0);
        // Part of every `cargo test`: a few, so that the command itself is known to work.
        let seeds = number("--seeds").unwrap_or(20);
        failed += random(from, seeds);
    }
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn directed(family: &str, every: usize) -> usize {
    let cases: Vec<Case> = cases(family).into_iter().step_by(every).collect();
    let wanted: BTreeSet<(Site, Kind)> =
        cases.iter().filter_map(|case| case.plan.0.last()).map(|fault| (fault.site, fault.kind)).collect();
    let tally = batch(cases.len(), |index| {
        let case = &cases[index];
        let mut scenario = scenarios::named(case.scenario);
        scenario.settings.controllers = case.controllers;
        let verdict = run(&scenario, &case.plan, 1);
        (scenario, verdict)
    });
    let hit = wanted.intersection(&tally.hits).count();
    println!("{family}: {} runs, {hit} of {} cells", tally.runs, wanted.len());
    let missed: Vec<String> = wanted.difference(&tally.hits).map(|(site, kind)| format!("{site}/{kind}")).collect();
    if !missed.is_empty() {
        println!("{family}: not struck: {}", missed.join(" "));
    }
    tally.failures.len()
}

fn random(from: u64, seeds: u64) -> usize {
    let tally = batch(seeds as usize, |index| {
        let seed = from + index as u64;
        let (scenario, plan) = swarm::of_seed(seed);
        let verdict = run(&scenario, &plan, seed);
        (scenario, verdict)
    });
    println!("swarm: {} runs, {} cells", tally.runs, tally.hits.len());
    tally.failures.len()
}

/// What it costs to look for breaches.
fn cost() {
    for watched in [false, true, false, true] {
        #[allow(clippy::disallowed_methods, reason = "events per second are told, and nothing depends on them")]
        let begun = Instant::now();
        let events: u64 =
            scenarios::all().iter().map(|scenario| faults::run::undisturbed(scenario, 3_600_000, watched)).sum();
        let each = begun.elapsed().as_secs_f64() * 1e6 / events as f64;
        println!("{}: {events} events, {each:.2} µs each", if watched { "watched" } else { "unwatched" });
    }
}

fn one_seed(seed: u64) -> usize {
    let (scenario, plan) = swarm::of_seed(seed);
    let verdict = run(&scenario, &plan, seed);
    tell(&scenario, &verdict);
    usize::from(verdict.failed())
}

fn one_case(args: &[String]) -> usize {
    let usage = "--run SCENARIO FAULTS SEED";
    let mut scenario = scenarios::named(args.first().expect(usage));
    let plan: FaultPlan = args.get(1).expect(usage).parse().expect(usage);
    let seed = args.get(2).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    if let Some(controllers) = args.get(3).and_then(|count| count.parse().ok()) {
        scenario.settings.controllers = controllers;
    }
    let proposers = Box::new(|| {
        Box::new(retile::controller::Retile { work_limit: 300_000 }) as Box<dyn retile::controller::Proposer>
    });
    let verdict = run_with(&scenario, &plan, seed, proposers, 4000);
    verdict.trace.iter().for_each(|line| println!("{line}"));
    println!(
        "{verdict}\n{} done, {} evictions, {} waiting, hits {:?}",
        verdict.done, verdict.evictions, verdict.waiting, verdict.hits
    );
    verdict.violations.iter().for_each(|violation| println!("  {violation}"));
    usize::from(verdict.failed())
}

/// One line, then the trace of the smallest run that fails the same way.
fn tell(scenario: &Scenario, verdict: &Verdict) {
    println!("{verdict}");
    if verdict.failed() {
        let (_, smallest) = shrink::shrink(scenario, verdict);
        smallest.trace.iter().for_each(|line| println!("    {line}"));
        println!("smallest: {smallest}");
    }
}

fn batch(count: usize, one: impl Fn(usize) -> (Scenario, Verdict) + Sync) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    #[allow(clippy::disallowed_methods, reason = "events per second are told, and nothing depends on them")]
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let (_, verdict) = one(index);
                    let mut tally = tally.lock().expect("no run panics");
                    tally.runs += 1;
                    tally.events += verdict.events;
                    tally.hits.extend(&verdict.hits);
                    if verdict.failed() {
                        println!("{verdict}");
                        tally.failures.push(verdict.to_string());
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().expect("no run panics");
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    let (runs, events, failures) = (tally.runs, tally.events, tally.failures.len());
    println!(
        "{runs} runs in {seconds:.0} s, {events} events, {:.0} per second, {failures} failed",
        events as f64 / seconds
    );
    tally
}
