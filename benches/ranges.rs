//! Compares what the benches have measured with `benches/ranges.json`.
//!
//! Input: the estimates that criterion leaves under `target/criterion`. Output: one line per range; status 1 when a measured
//! value is out of range. What was not measured is said to be missing and is no failure, unless nothing was measured.
#![allow(clippy::disallowed_methods, reason = "cargo leaves a test no arguments: what to run comes by environment")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ranges {
    #[serde(rename = "about")]
    _about: String,
    at_most_nanoseconds: BTreeMap<String, f64>,
    times_slower_at_least: Vec<Ratio>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    slow: String,
    fast: String,
    times: f64,
}

#[derive(Deserialize)]
struct Estimates {
    mean: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

fn main() {
    // `cargo test --all-targets` runs this too, where nothing has been measured.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("benches/ranges.json")).expect("the range file is checked in");
    let ranges: Ranges = serde_json::from_str(&text).expect("the range file has its own shape");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let measured = |id: &str| -> Option<f64> {
        let text = std::fs::read_to_string(target.join("criterion").join(id).join("new/estimates.json")).ok()?;
        let estimates: Estimates = serde_json::from_str(&text).expect("criterion writes this shape");
        Some(estimates.mean.point_estimate)
    };
    let (mut seen, mut out) = (0, 0);
    let mut judge = |name: String, found: Option<(f64, bool)>, unit: &str, wanted: String| {
        let Some((value, good)) = found else {
            println!("missing  {name}");
            return;
        };
        seen += 1;
        out += u32::from(!good);
        println!("{}  {name}: {value:.3} {unit}, wanted {wanted}", if good { "ok     " } else { "OUT    " });
    };
    for (id, &most) in &ranges.at_most_nanoseconds {
        let found = measured(id).map(|nanoseconds| (nanoseconds / 1e6, nanoseconds <= most));
        judge(id.clone(), found, "ms", format!("at most {} ms", most / 1e6));
    }
    for Ratio { slow, fast, times } in &ranges.times_slower_at_least {
        let ratio = measured(slow).zip(measured(fast)).map(|(slow, fast)| slow / fast);
        let found = ratio.map(|ratio| (ratio, ratio >= *times));
        judge(format!("{slow} / {fast}"), found, "times", format!("at least {times}"));
    }
    if seen == 0 || out > 0 {
        eprintln!("{out} of {seen} measured values are out of range; run `cargo bench --bench planner` first");
        std::process::exit(1);
    }
}
