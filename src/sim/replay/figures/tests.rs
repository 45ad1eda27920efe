use super::*;
use crate::model::Catalogue;
use crate::sim::{BurstReason, Stamped};

const H: u64 = 3_600_000;

fn a100() -> &'static Geometry {
    Catalogue::embedded().find_by_key("a100-80gb").expect("a board of the catalogue")
}

fn arrived(work: &str, profile: &str) -> Record {
    Record::Arrived { work: work.into(), instances: BTreeMap::from([(profile.to_owned(), 1)]) }
}

fn started(work: &str) -> Record {
    Record::Started { work: work.into(), node: "n".into() }
}

fn gpu(instances: &[(&str, u8, u8, &str)]) -> Record {
    let instances = instances.iter().map(|&(profile, start, size, work)| PlannedInstance {
        start,
        size,
        profile: profile.into(),
        pods: if work.is_empty() { Vec::new() } else { vec![work.into()] },
        occupancy_unknown: false,
    });
    Record::Gpu { node: "n".into(), index: 0, model: "NVIDIA A100-SXM4-80GB".into(), instances: instances.collect() }
}

fn history(records: Vec<(u64, Record)>, end: u64) -> History {
    History { records: records.into_iter().map(|(at, record)| Stamped { at, record }).collect(), end }
}

fn same(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

fn slices(it: Slices, memory: f64, compute: f64) {
    same(it.memory, memory);
    same(it.compute, compute);
}

/// One GPU for four hours: a 3g that runs two hours, is evicted in between and loses half an hour; a 7g that waits and gives up; a 1g that
/// runs to the end.
fn day() -> History {
    history(
        vec![
            (0, gpu(&[("3g.40gb", 4, 4, "")])),
            (0, arrived("a", "3g.40gb")),
            (0, started("a")),
            (0, gpu(&[("3g.40gb", 4, 4, "a")])),
            (H, arrived("whole", "7g.80gb")),
            (H, arrived("b", "1g.10gb")),
            (H, Record::Claimed { node: "n".into(), operation: "o".into(), victims: vec!["a".into()] }),
            (H, Record::Evicted { work: "a".into(), lost: H / 2 }),
            (H, gpu(&[])),
            (2 * H, gpu(&[("3g.40gb", 0, 4, "a"), ("1g.10gb", 4, 1, "b")])),
            (2 * H, Record::Ended { node: "n".into(), operation: "o".into(), outcome: Outcome::Done }),
            (2 * H, started("a")),
            (2 * H, started("b")),
            (3 * H, Record::Burst { work: "whole".into(), reason: BurstReason::OutOfPatience, rest: H }),
            (4 * H, Record::Finished { work: "a".into() }),
        ],
        4 * H,
    )
}

#[test]
fn every_figure_of_a_small_history_is_as_computed_by_hand() {
    let figures = Figures::of(&day(), a100());
    assert_eq!((figures.arrived, figures.served, figures.burst, figures.waiting), (3, 2, 1, 0));
    same(figures.hours, 4.0);
    // First starts: a after 0, b after 60 minutes. All waiting: a 60, b 60, whole 120.
    assert_eq!(figures.first_wait, Waits { count: 2, mean: 30.0, p50: 0.0, p95: 60.0 });
    assert_eq!(figures.total_wait, Waits { count: 3, mean: 80.0, p50: 60.0, p95: 120.0 });
    // a ran 1 + 2 hours, of which half an hour for nothing; b 2 hours; whole needs an hour elsewhere.
    slices(figures.requested, 2.5 * 4.0 + 2.0 + 8.0, 2.5 * 3.0 + 2.0 + 7.0);
    slices(figures.burst_hours, 8.0, 7.0);
    same(figures.burst_share, 8.0 / 20.0);
    slices(figures.capacity, 32.0, 28.0);
    // 0-1: 3g; 1-2: nothing; 2-4: 3g and 1g.
    slices(figures.allocated, 4.0 + 2.0 * 5.0, 3.0 + 2.0 * 4.0);
    // 1-2: the whole GPU is under operation.
    slices(figures.reconfiguring, 8.0, 7.0);
    // 2-3: only the 7g waits, and nothing of the 3 free slots is of use to it.
    slices(figures.stranded, 3.0, 3.0);
    slices(figures.miscut, 3.0, 3.0);
    assert_eq!((figures.operations, figures.failed_operations), (1, 0));
    assert_eq!((figures.created, figures.destroyed, figures.evictions), (2, 1, 1));
    same(figures.moves_per_100, 100.0 / 3.0);
    slices(figures.evicted_work, 2.0, 1.5);
}

#[test]
fn what_another_cut_would_serve_is_miscut_and_not_stranded() {
    let records = vec![(0, gpu(&[("1g.10gb", 6, 1, "x"), ("2g.20gb", 0, 2, "")])), (0, arrived("b", "3g.40gb"))];
    let figures = Figures::of(&history(records, H), a100());
    // Beside the 1g at 6 a 3g can stand at 0 only: 4 of 7 free slots are of use; as it is cut, none.
    slices(figures.stranded, 3.0, 3.0);
    slices(figures.miscut, 7.0, 6.0);
    assert_eq!((figures.waiting, figures.first_wait.count, figures.total_wait.count), (1, 0, 1));
    let records = vec![(0, gpu(&[("2g.20gb", 0, 2, "")])), (0, arrived("b", "2g.20gb"))];
    let figures = Figures::of(&history(records, H), a100());
    // Three 2g fit on an empty board and leave two slots and a compute slice; one 2g stands there now.
    slices(figures.stranded, 2.0, 1.0);
    slices(figures.miscut, 6.0, 5.0);
}

#[test]
fn nothing_is_stranded_while_nothing_waits() {
    let figures = Figures::of(&history(vec![(0, gpu(&[("1g.10gb", 6, 1, "x")]))], 2 * H), a100());
    slices(figures.stranded, 0.0, 0.0);
    slices(figures.capacity, 16.0, 14.0);
    slices(figures.allocated, 2.0, 2.0);
    assert_eq!(Figures::of(&History::default(), a100()), Figures::default());
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let minutes = |times: &[u64]| Waits::of(times.iter().map(|minute| minute * 60_000).collect());
    assert_eq!(minutes(&[]), Waits::default());
    assert_eq!(minutes(&[7]), Waits { count: 1, mean: 7.0, p50: 7.0, p95: 7.0 });
    let twenty: Vec<u64> = (1..=20).rev().collect();
    assert_eq!(minutes(&twenty), Waits { count: 20, mean: 10.5, p50: 10.0, p95: 19.0 });
}

#[test]
fn a_spread_has_mean_extremes_and_deviation() {
    let spread = Spread::of(&[2.0, 4.0, 9.0]);
    same(spread.mean, 5.0);
    assert_eq!((spread.min, spread.max), (2.0, 9.0));
    same(spread.deviation, 13.0_f64.sqrt());
    assert_eq!(Spread::of(&[3.0]), Spread { mean: 3.0, min: 3.0, max: 3.0, deviation: 0.0 });
    assert_eq!(Spread::of(&[]), Spread::default());
    let runs = [Figures { served: 2, ..Figures::default() }, Figures { served: 4, ..Figures::default() }];
    let served = spreads(&runs).into_iter().find(|(name, _)| *name == "served").expect("a figure of that name");
    same(served.1.mean, 3.0);
}
