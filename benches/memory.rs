//! Peak memory of planning for 10,000 GPUs and 50,000 pods, beside the input itself.
//!
//! Prints both; ends with status 1 when the planner needs more than promised. `RETILE_GPUS=1000` takes a smaller fleet.
#![allow(clippy::disallowed_methods, reason = "cargo leaves a test no arguments: what to run comes by environment")]

#[path = "../tests/support/mod.rs"]
mod support;

use peak_alloc::PeakAlloc;
use retile::planner::{self, WorkLimit};
use support::fleet::{self, Fleet};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes that planning may take on top of the input.
const PROMISED: usize = 100 * 1000 * 1000;

/// Pods of the large fleet, running and waiting.
const PODS: usize = 50_000;

fn main() {
    // `cargo test --all-targets` runs this too, unoptimised: a small fleet will do.
    let usual = if std::env::args().any(|argument| argument == "--bench") { 10_000 } else { 200 };
    let gpus = std::env::var("RETILE_GPUS").map_or(usual, |text| text.parse().expect("RETILE_GPUS is a number"));
    let mut wrong = false;
    for (name, fleet) in [("idle", Fleet::idle(gpus)), ("evict", Fleet::evict(gpus))] {
        let before = ALLOCATOR.current_usage();
        // Waiting pods are drawn until the fleet has as many pods as promised.
        let drawn = fleet::draw(fleet.with_pods(PODS * gpus / 10_000));
        let pods = drawn.running() + drawn.waiting();
        let input = drawn.input();
        drop(drawn);
        let input_bytes = ALLOCATOR.current_usage() - before;
        let base = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let planned = planner::plan(&input, &mut WorkLimit::default()).expect("fleets have plans");
        let peak = ALLOCATOR.peak_usage() - base;
        let status = planned.plan().optimality.status;
        println!(
            "{name}: {gpus} GPUs, {pods} pods: input {:.1} MB, planner {:.1} MB at most, {status:?}",
            input_bytes as f64 / 1e6,
            peak as f64 / 1e6
        );
        wrong |= peak > PROMISED;
    }
    if wrong {
        eprintln!("the planner takes more than {} MB", PROMISED / 1_000_000);
        std::process::exit(1);
    }
}
