//! How long planning takes, beside what the straightforward integer program takes in the same run.
//!
//! `cargo bench --bench planner -- --quick`, with `--features highs` for the baseline on HiGHS. `RETILE_GPUS=100,1000`
//! leaves out the other sizes. `cargo bench --bench ranges` afterwards compares the estimates with `benches/ranges.json`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use retile::plan::Status;
use retile::planner::{self, WorkLimit};
use support::fleet::{self, Fleet};
use support::per_gpu;
use support::program::Backend;

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

criterion_group!(benches, plan_idle, plan_evict, plan_mixed, input_build, baseline_per_gpu_ilp);
criterion_main!(benches);
