//! How long planning takes, beside what the straightforward integer program takes in the same run.
//!
//! `cargo bench --bench planner -- --quick`, with `--features highs` for the baseline on `HiGHS`. `RETILE_GPUS=100,1000`
//! leaves out the other sizes. `cargo bench --bench ranges` afterwards compares the estimates with `benches/ranges.json`.
#![allow(clippy::disallowed_methods, reason = "cargo leaves a test no arguments: what to run comes by environment")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use retile::model::ProfileId;
use retile::plan::Status;
use retile::planner::fit::Fitter;
use retile::planner::{self, WorkLimit};
use support::fleet::{self, Fleet};
use support::program::{Backend, Program, Terms};
use support::{boards, per_gpu};

/// Sizes of fleets to time, in GPUs.
fn sizes(all: &[usize]) -> Vec<usize> {
    let wanted = std::env::var("RETILE_GPUS").ok();
    let wanted: Option<Vec<usize>> =
        wanted.map(|text| text.split(',').map(|n| n.trim().parse().expect("RETILE_GPUS holds numbers")).collect());
    all.iter().copied().filter(|size| wanted.as_ref().is_none_or(|wanted| wanted.contains(size))).collect()
}

/// Plans once outside the clock, so that a time is never that of a wrong answer, and prints what was reached.
fn describe(name: &str, fleet: Fleet) -> retile::model::PlanningInput {
    let drawn = fleet::draw(fleet);
    drawn.check();
    let input = drawn.input();
    let planned = planner::plan(&input, &mut WorkLimit::default()).expect("fleets have plans");
    let optimality = &planned.plan().optimality;
    let levels: Vec<String> =
        optimality.levels.iter().map(|level| format!("{} {}/{}", level.name, level.value, level.bound)).collect();
    println!(
        "{name}: {} GPUs, {} running and {} waiting pods: {:?}: {}",
        input.gpus().len(),
        drawn.running(),
        drawn.waiting(),
        optimality.status,
        levels.join(", ")
    );
    if optimality.status != Status::Optimal {
        println!("{name}: NOT PROVEN, the time below is that of a search that gave up");
    }
    input
}

fn plan(c: &mut Criterion, name: &str, kind: fn(usize) -> Fleet) {
    let mut group = c.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(3));
    for gpus in sizes(&[100, 1_000, 10_000]) {
        let input = describe(name, kind(gpus));
        group.bench_function(BenchmarkId::from_parameter(gpus), |b| {
            b.iter(|| planner::plan(black_box(&input), &mut WorkLimit::default()).expect("it was planned before"));
        });
    }
    group.finish();
}

fn plan_idle(c: &mut Criterion) {
    plan(c, "plan_idle", Fleet::idle);
}

fn plan_evict(c: &mut Criterion) {
    plan(c, "plan_evict", Fleet::evict);
}

fn plan_mixed(c: &mut Criterion) {
    plan(c, "plan_mixed", Fleet::mixed);
}

fn input_build(c: &mut Criterion) {
    let mut group = c.benchmark_group("input_build");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(3));
    for gpus in sizes(&[100, 1_000, 10_000]) {
        let drawn = fleet::draw(Fleet::idle(gpus));
        group.bench_function(BenchmarkId::from_parameter(gpus), |b| b.iter(|| black_box(&drawn).input()));
    }
    group.finish();
}

/// The first level of the per-GPU integer program, on the fleets of `plan_evict`.
fn baseline_per_gpu_ilp(c: &mut Criterion) {
    let mut group = c.benchmark_group("baseline_per_gpu_ilp");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(3));
    let run = |group: &mut criterion::BenchmarkGroup<'_, _>, name: &str, backend: Backend, gpus: usize| {
        let input = fleet::draw(Fleet::evict(gpus)).input();
        group.bench_function(BenchmarkId::new(name, gpus), |b| {
            b.iter(|| per_gpu::solve_served(black_box(&input), backend).expect("the program has a solution"));
        });
    };
    for gpus in [8, 16, 32] {
        run(&mut group, "microlp", Backend::Microlp, gpus);
    }
    #[cfg(feature = "highs")]
    for gpus in sizes(&[8, 32, 100, 1_000]) {
        run(&mut group, "highs", Backend::Highs, gpus);
    }
    group.finish();
}

/// The fewest GPUs for a demand: the closed form, the answer with layouts, and the integer program over patterns.
fn fit(c: &mut Criterion) {
    let board = &*boards::A100;
    let profiles: Vec<ProfileId> =
        fleet::PROFILES.iter().map(|name| board.find(name).expect("a profile of the board")).collect();
    let fitter = Fitter::new(board, &profiles).expect("every profile of the board can be placed");
    let demand = fleet::draw(Fleet::idle(1_000)).demand();
    let named: Vec<(ProfileId, u64)> = profiles.iter().copied().zip(demand).collect();
    let by_kind: Vec<u64> =
        fitter.profiles().iter().map(|id| named.iter().find(|(other, _)| other == id).map_or(0, |n| n.1)).collect();
    let patterns: Vec<Vec<u64>> = fitter.machine().patterns().as_slice().to_vec();
    let expected = fitter.bound(&by_kind).expect("the board has a closed form");
    assert_eq!(expected, fitter.fit(&named).expect("the demand fits").gpus);
    let mut group = c.benchmark_group("fit");
    group.bench_function("closed_form", |b| b.iter(|| fitter.bound(black_box(&by_kind))));
    group.bench_function("with_layouts", |b| b.iter(|| fitter.fit(black_box(&named)).expect("the demand fits")));
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    let baseline = pattern_program(&patterns, &by_kind, expected);
    group.bench_function("baseline_pattern_ilp", |b| {
        b.iter(|| baseline.0.maximise(black_box(&baseline.1), Backend::Microlp).expect("the program has a solution"));
    });
    group.finish();
}

/// How often each pattern is used, fewest in all. The row with the minimum is there because the solver in Rust takes for
/// ever without it.
fn pattern_program(patterns: &[Vec<u64>], demand: &[u64], minimum: u64) -> (Program, Terms) {
    let mut program = Program::default();
    let most = demand.iter().sum::<u64>() as i64;
    let counts: Vec<usize> = patterns.iter().map(|_| program.variable(most)).collect();
    for (kind, &wanted) in demand.iter().enumerate() {
        let row = counts.iter().zip(patterns).map(|(&count, pattern)| (count, pattern[kind] as i64)).collect();
        program.at_least(row, wanted as i64);
    }
    program.at_least(counts.iter().map(|&count| (count, 1)).collect(), minimum as i64);
    let objective = counts.iter().map(|&count| (count, -1)).collect();
    (program, objective)
}

criterion_group!(benches, fit, plan_idle, plan_evict, plan_mixed, input_build, baseline_per_gpu_ilp);
criterion_main!(benches);
