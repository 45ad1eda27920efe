//! Savings by hand, live against whole histories, and what must hold for every history.

use proptest::prelude::*;

use super::*;

const A100: &str = "NVIDIA A100-SXM4-80GB";
const HOUR: u64 = 3_600_000;

fn instances(counts: &[(&str, u32)]) -> Instances {
    counts.iter().map(|&(profile, count)| (profile.to_owned(), count)).collect()
}

/// Pods of one instance each.
fn pods(counts: &[(&str, u64)]) -> BTreeMap<Instances, u64> {
    counts.iter().filter(|(_, pods)| *pods > 0).map(|&(profile, pods)| (instances(&[(profile, 1)]), pods)).collect()
}

/// GPUs all cut alike.
fn gpus(count: usize, cut: &[(&str, u32)]) -> BTreeMap<String, Instances> {
    (0..count).map(|index| (format!("gpu-a/{index}"), instances(cut))).collect()
}

fn state(gpus: BTreeMap<String, Instances>, running: &[(&str, u64)], pending: &[(&str, u64)]) -> State {
    State::from([(A100.to_owned(), ModelState { gpus, running: pods(running), pending: pods(pending) })])
}

fn prices() -> Prices {
    let prices: Prices = serde_json::from_str(
        r#"{"currency": "USD", "models": {"A100-80GB":
            {"purchase": 15000, "amortisationMonths": 36, "interestPercent": 6, "onDemandPerHour": 4}}}"#,
    )
    .expect("prices");
    prices.check().expect("prices");
    prices
}

/// One hour of four 3g, one of fourteen 1g, one of both; on two GPUs that start as four 3g.
fn three_hours() -> Savings {
    let mut savings = Savings::new();
    let twos = || gpus(2, &[("3g.40gb", 2)]);
    savings.observe(0, &state(twos(), &[("3g.40gb", 4)], &[])).expect("a state");
    savings.observe(HOUR, &state(gpus(2, &[("1g.10gb", 7)]), &[("1g.10gb", 10)], &[("1g.10gb", 4)])).expect("a state");
    savings.observe(2 * HOUR, &state(twos(), &[("1g.10gb", 7), ("3g.40gb", 2)], &[])).expect("a state");
    savings.advance(3 * HOUR).expect("time passes");
    savings
}

#[test]
fn needs_deferrals_and_times_are_those_counted_by_hand() {
    let report = three_hours().report(None).expect("a report");
    let [model] = report.models.as_slice() else { panic!("{report:?}") };
    // Each hour fits on two GPUs: 4 × 3g; 14 × 1g; 7 × 1g beside 2 × 3g.
    assert_eq!((model.gpus, model.owned, model.needed), (2, 2, 2));
    // Fixed: fourteen 1g and four 3g at once, 14 + 4 × 3 of 7 compute slices each and 14 + 4 × 4 of 8 memory slices each: four GPUs. On the
    // layout of the start, two more GPUs for the fourteen 1g. Whole GPUs: fourteen pods at once.
    let needed: Vec<u64> = model.counterfactuals.iter().map(|row| row.needed).collect();
    assert_eq!(needed, [4, 4, 14]);
    let deferred: Vec<u64> = model.counterfactuals.iter().map(|row| row.deferred).collect();
    assert_eq!(deferred, [2, 2, 12]);
    // In the first hour fixed layouts suffice, and four pods have four whole GPUs, two of which are not there.
    let hours: Vec<u64> = model.counterfactuals.iter().map(|row| row.deferred_gpu_seconds / 3600).collect();
    assert_eq!(hours, [4, 4, 2 + 12 + 12]);
    assert_eq!(model.split, Split { mig: 10, dynamic: 2 });
    assert_eq!(model.waited_pod_seconds, 4 * 3600);
    assert_eq!(model.counterfactuals[0].worth, None);
}

#[test]
fn money_is_the_written_off_share_and_the_price_tag_stands_beside() {
    let mut savings = three_hours();
    savings.burst(A100, &instances(&[("3g.40gb", 1)]), 5 * HOUR).expect("known");
    let report = savings.report(Some(&prices())).expect("a report");
    let worth = report.models[0].counterfactuals[1].worth.expect("a price");
    // Four GPU-hours of 36 months of 730.5 hours; interest of 6 % a year of 8766 hours.
    assert_eq!(worth.amortised, Amount::whole(15_000).times(4, 36 * 7305 / 10));
    assert_eq!(worth.capital_cost, Some(Amount::whole(900).times(4, 8766)));
    assert_eq!(worth.sticker_price, Amount::whole(30_000));
    // A 3g takes half of the memory slices: five hours of it are two and a half of a GPU.
    let burst = BurstReport { pods: 1, gpu_seconds: 9000, cost: Some(Amount::whole(10)) };
    assert_eq!(report.models[0].burst, burst);
    assert_eq!((report.currency.as_deref(), report.totals[1].worth), (Some("USD"), Some(worth)));
}

#[test]
fn what_is_owned_and_idle_is_not_counted_as_saved() {
    let mut savings = Savings::new();
    savings.observe(0, &state(gpus(8, &[]), &[("3g.40gb", 4)], &[])).expect("a state");
    savings.observe(HOUR, &state(gpus(8, &[]), &[("1g.10gb", 14)], &[])).expect("a state");
    savings.advance(2 * HOUR).expect("time passes");
    let report = savings.report(None).expect("a report");
    let best = &report.models[0].counterfactuals[1];
    assert_eq!((best.needed, report.models[0].needed), (4, 2));
    assert_eq!((best.deferred, best.deferred_gpu_seconds), (0, 0), "eight GPUs are there already");
    assert_eq!(report.models[0].split.dynamic, 2, "the difference in need is told all the same");
    assert_eq!((deferred(12, 10, 8), deferred(12, 7, 8), deferred(7, 7, 8), deferred(3, 5, 0)), (2, 4, 0, 0));
}

#[test]
fn a_purchase_ends_its_deferral() {
    let mut savings = three_hours();
    savings.observe(3 * HOUR, &state(gpus(4, &[("1g.10gb", 7)]), &[("3g.40gb", 4)], &[])).expect("a state");
    savings.advance(4 * HOUR).expect("time passes");
    let report = savings.report(None).expect("a report");
    let rows: Vec<(u64, u64)> =
        report.models[0].counterfactuals.iter().map(|row| (row.deferred, row.deferred_gpu_seconds / 3600)).collect();
    assert_eq!(rows, [(0, 4), (0, 4), (10, 36)]);
}

#[test]
fn what_comes_and_goes_in_one_moment_leaves_no_trace() {
    let mut savings = Savings::new();
    savings.observe(0, &state(gpus(1, &[]), &[], &[("1g.10gb", 700)])).expect("a state");
    savings.observe(0, &state(gpus(1, &[]), &[("1g.10gb", 1)], &[])).expect("a state");
    savings.advance(HOUR).expect("time passes");
    savings.observe(HOUR, &state(gpus(1, &[]), &[], &[("1g.10gb", 700)])).expect("a state");
    assert_eq!(savings.report(None).expect("a report").models[0].needed, 1);
}

#[test]
fn peaks_that_last_a_little_are_told_apart() {
    let mut savings = Savings::new();
    savings.observe(0, &state(gpus(1, &[]), &[("7g.80gb", 1)], &[])).expect("a state");
    savings.observe(97 * HOUR, &state(gpus(1, &[]), &[("7g.80gb", 3)], &[])).expect("a state");
    savings.advance(100 * HOUR).expect("time passes");
    let model = &savings.report(None).expect("a report").models[0];
    let at: Vec<(u16, u64)> = model.sensitivity.iter().map(|it| (it.time_permille, it.needed)).collect();
    assert_eq!((model.needed, at), (3, vec![(990, 3), (950, 1)]));
    assert_eq!(model.sensitivity[1].otherwise, [2, 1, 1], "one uncut GPU and one for the 7g, which nothing cut");
}

#[test]
fn a_pod_of_several_instances_takes_the_whole_gpus_that_it_needs() {
    let mut savings = Savings::new();
    let pod = ModelState {
        running: BTreeMap::from([(instances(&[("4g.40gb", 2)]), 3), (instances(&[("1g.10gb", 2)]), 2)]),
        ..ModelState::default()
    };
    savings.observe(0, &State::from([(A100.to_owned(), pod)])).expect("a state");
    savings.advance(1).expect("time passes");
    let report = savings.report(None).expect("a report");
    assert_eq!(report.models[0].counterfactuals[2].needed, 3 * 2 + 2);
}

#[test]
fn what_cannot_be_counted_is_refused_and_changes_nothing() {
    let mut savings = three_hours();
    let before = savings.report(Some(&prices())).expect("a report");
    let of = |profile: &str| state(gpus(2, &[]), &[(profile, 1)], &[]);
    for (at, state, part) in [
        (4 * HOUR, of("1g.5gb"), "NVIDIA A100-SXM4-80GB has no profile `1g.5gb`; its profiles are 1g.10gb"),
        (HOUR, of("1g.10gb"), "put the points into the order of their time"),
        (4 * HOUR, state(gpus(1, &[]), &[("1g.10gb", u64::MAX)], &[]), "more pods or instances than can be counted"),
        (4 * HOUR, State::from([("NVIDIA Toaster".to_owned(), ModelState::default())]), "no board of the catalogue"),
    ] {
        let error = savings.observe(at, &state).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(savings.report(Some(&prices())).expect("a report"), before);
}

#[test]
fn histories_are_written_as_they_are_read() {
    let text = include_str!("../../testdata/savings/three-hours.jsonl");
    let history = read_history(text).expect("a history");
    assert_eq!(write_history(&history).expect("JSON lines"), text);
    let report = history.savings().expect("savings").report(Some(&prices())).expect("a report");
    let mut savings = three_hours();
    savings.burst(A100, &instances(&[("3g.40gb", 1)]), 5 * HOUR).expect("known");
    assert_eq!(report, savings.report(Some(&prices())).expect("a report"));
}

#[test]
fn histories_that_make_no_sense_are_refused_with_their_line() {
    let header = r#"{"format": "retile-savings-history", "format_version": 1}"#;
    let gpu = r#"{"at_ms": 5, "gpu": {"model": "A30-24GB", "name": "a/0", "instances": {}}}"#;
    let cases = [
        (String::new(), 1, "the history is empty"),
        (r#"{"format": "other", "format_version": 1}"#.into(), 1, r#"not a savings history but "other""#),
        (header.replace(": 1", ": 2"), 1, "format_version is 2, this program reads 1"),
        (header.replace('}', ", \"x\": 1}"), 1, "unknown field `x`"),
        (format!("{header}\n{gpu}\nnonsense"), 3, "expected ident"),
        (format!("{header}\n{gpu}\n{{\"at_ms\": 6}}"), 3, "holds 0 of them"),
        (format!("{header}\n{gpu}\n{{\"at_ms\": 4, \"end\": {{}}}}"), 3, "4 ms comes after 5 ms"),
        (format!("{header}\n{{\"at_ms\": 4, \"end\": {{}}}}\n{gpu}"), 3, "goes on after its end"),
        (
            format!(
                "{header}\n{gpu}\n{}",
                gpu.replace("gpu", "gone").replace(", \"instances\": {}", "").replace("a/0", "b/0")
            ),
            3,
            "the GPU b/0 leaves but was not there",
        ),
        (format!("{header}\n{}", gpu.replace("{}", r#"{"1g.5gb": 1}"#)), 2, "A30-24GB has no profile `1g.5gb`"),
    ];
    for (text, line, part) in cases {
        let error = read_history(&text).and_then(|history| history.savings().map(|_| ())).expect_err(&text);
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn what_was_kept_is_of_the_same_gpus_or_else_the_layouts_count_that_are_seen() {
    let mut first = Savings::new();
    first.observe(0, &state(gpus(2, &[("7g.80gb", 1)]), &[("7g.80gb", 2)], &[])).expect("a state");
    first.observe(HOUR, &state(gpus(2, &[("1g.10gb", 7)]), &[("1g.10gb", 14)], &[])).expect("a state");
    first.advance(2 * HOUR).expect("time passes");
    let kept = first.kept().remove(0);
    assert_eq!((kept.gpus, kept.first_layouts.clone()), (2, [("7g.80gb".to_owned(), 2)].into()));
    let current = |gpus_now: usize| {
        let mut next = Savings::new();
        next.resume(&kept).expect("a model of the catalogue");
        next.observe(0, &state(gpus(gpus_now, &[("1g.10gb", 7)]), &[], &[])).expect("a state");
        next.advance(HOUR).expect("time passes");
        next.report(None).expect("a report").models[0].counterfactuals[0].needed
    };
    // Fourteen small instances beside two whole boards, on layouts that were two whole boards, or twenty-one small instances.
    assert_eq!((current(2), current(3)), (4, 5));
    let unknown = Kept { model: "another".to_owned(), ..kept.clone() };
    assert!(Savings::new().resume(&unknown).is_err());
    let profile = Kept { peaks: [("9g".to_owned(), 1)].into(), ..kept };
    let mut next = Savings::new();
    assert!(next.resume(&profile).is_err() && next.kept().is_empty(), "nothing is half taken over");
}

/// A GPU model whose demand is a few numbers.
fn demand() -> impl Strategy<Value = Vec<(&'static str, u64)>> {
    let profile = prop::sample::select(vec!["1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"]);
    prop::collection::vec((profile, 0_u64..9), 0..4)
}

/// A state and how long it lasts, in milliseconds; some last no time at all.
fn stretch() -> impl Strategy<Value = (State, u64)> {
    let cut = prop::sample::select(vec![vec![("1g.10gb", 7)], vec![("3g.40gb", 2)], vec![], vec![("7g.80gb", 1)]]);
    (cut, 0..5_usize, demand(), demand(), 0..4_u64)
        .prop_map(|(cut, count, running, pending, ms)| (state(gpus(count, &cut), &running, &pending), ms * 1000))
}

/// The points that lead from one state to the next.
fn points(at_ms: u64, before: &State, after: &State) -> Vec<Point> {
    let nothing = ModelState::default();
    let (before, after) = (before.get(A100).unwrap_or(&nothing), after.get(A100).unwrap_or(&nothing));
    let model = || A100.to_owned();
    let listed = |pods: &BTreeMap<Instances, u64>| {
        pods.iter().map(|(instances, &pods)| Pods { pods, instances: instances.clone() }).collect()
    };
    let gone = before.gpus.keys().filter(|name| !after.gpus.contains_key(*name));
    let gone = gone.map(|name| Happening::Gone { model: model(), name: name.clone() });
    let cut = after.gpus.iter().map(|(name, instances)| Happening::Gpu {
        model: model(),
        name: name.clone(),
        instances: instances.clone(),
    });
    let demand = Happening::Demand { model: model(), running: listed(&after.running), pending: listed(&after.pending) };
    gone.chain(cut).chain([demand]).map(|happening| Point { at_ms, happening }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn live_and_whole_histories_agree(stretches in prop::collection::vec((stretch(), 0_u64..4), 1..12)) {
        let mut live = Savings::new();
        let mut history = History { source: "test".into(), points: Vec::new() };
        let (mut at, mut before) = (0, State::new());
        for ((state, ms), looks) in &stretches {
            live.observe(at, state).expect("a state");
            // Looking again and again changes nothing.
            for look in 1..=*looks {
                live.observe(at + ms * look / (looks + 1), state).expect("a state");
                prop_assert!(live.report(None).is_ok());
            }
            history.points.extend(points(at, &before, state));
            at += ms;
            before = state.clone();
        }
        live.advance(at).expect("time passes");
        history.points.push(Point { at_ms: at, happening: Happening::End });
        let read = read_history(&write_history(&history).expect("JSON lines")).expect("a history");
        prop_assert_eq!(&read, &history);
        let whole = read.savings().expect("savings").report(Some(&prices())).expect("a report");
        prop_assert_eq!(live.report(Some(&prices())).expect("a report"), whole);
    }

    #[test]
    fn who_takes_the_books_over_goes_on_as_if_nobody_had_stopped(
        stretches in prop::collection::vec(stretch(), 2..12), at in any::<prop::sample::Index>(),
    ) {
        // While nobody counts no GPU comes or goes.
        let fleet = |state: &State, first: &State| state.values().zip(first.values()).all(|(a, b)| a.gpus.len() == b.gpus.len());
        let stretches: Vec<_> = stretches.iter().filter(|(state, ms)| *ms > 0 && fleet(state, &stretches[0].0)).collect();
        let split = at.index(stretches.len() + 1);
        let (mut whole, mut part, mut at) = (Savings::new(), Savings::new(), 0);
        for (index, (state, ms)) in stretches.into_iter().enumerate() {
            if index == split {
                let mut next = Savings::new();
                for kept in part.kept() {
                    next.resume(&kept).expect("what was kept can be taken over");
                }
                part = next;
            }
            whole.observe(at, state).expect("a state");
            part.observe(at, state).expect("a state");
            at += ms;
            whole.advance(at).expect("time passes");
            part.advance(at).expect("time passes");
        }
        prop_assert_eq!(part.kept(), whole.kept());
        let rows = |savings: &Savings| {
            let report = savings.report(Some(&prices())).expect("a report");
            (report.models.into_iter().map(|model| (model.needed, model.owned, model.counterfactuals)).collect::<Vec<_>>(), report.totals)
        };
        prop_assert_eq!(rows(&part), rows(&whole));
    }

    #[test]
    fn needs_are_ordered_and_times_grow(stretches in prop::collection::vec(stretch(), 1..12)) {
        let mut savings = Savings::new();
        let mut at = 0;
        let mut before = [0; 3];
        for (state, ms) in &stretches {
            savings.observe(at, state).expect("a state");
            at += ms;
            savings.advance(at).expect("time passes");
            let report = savings.report(None).expect("a report");
            let model = &report.models[0];
            for (index, row) in model.counterfactuals.iter().enumerate() {
                prop_assert!(row.needed >= model.needed, "{row:?} needs fewer than {}", model.needed);
                prop_assert_eq!(row.deferred, deferred(row.needed, model.needed, model.owned));
                prop_assert!(row.deferred_gpu_seconds >= before[index]);
                before[index] = row.deferred_gpu_seconds;
            }
            let best = &model.counterfactuals[1];
            prop_assert!(model.split.dynamic >= 0);
            prop_assert_eq!(model.split.dynamic, best.needed as i64 - model.needed as i64);
        }
    }

    #[test]
    fn higher_prices_and_shorter_writing_off_are_worth_more(
        stretches in prop::collection::vec(stretch(), 1..8), purchase in 0_u64..100_000, more in 0_u64..1000, months in 1_u32..100,
    ) {
        let mut savings = Savings::new();
        let mut at = 0;
        for (state, ms) in &stretches {
            savings.observe(at, state).expect("a state");
            at += ms * 1000;
        }
        savings.advance(at).expect("time passes");
        let worth = |purchase: u64, months: u32| {
            let mut prices = prices();
            let price = prices.models.get_mut("A100-80GB").expect("a price");
            (price.purchase, price.amortisation_months) = (Amount::whole(purchase), months);
            savings.report(Some(&prices)).expect("a report").totals
        };
        for (low, high) in [(worth(purchase, months), worth(purchase + more, months)), (worth(purchase, months + 1), worth(purchase, months))] {
            for (low, high) in low.iter().zip(&high) {
                let (low, high) = (low.worth.expect("a price"), high.worth.expect("a price"));
                prop_assert!(low.amortised <= high.amortised && low.capital_cost <= high.capital_cost);
                prop_assert!(low.sticker_price <= high.sticker_price);
            }
        }
    }
}
