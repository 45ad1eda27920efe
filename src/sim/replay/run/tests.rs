use std::sync::atomic::AtomicU32;

use super::*;
use crate::sim::replay::baselines::Mechanism;
use crate::sim::replay::fleet::parse_gpus;
use crate::sim::replay::generate::{Mix, Recipe};
use crate::sim::{Arrival, Kind};

fn setup(rules: &[Rule], threads: usize) -> Setup {
    let (gpus, geometry) = parse_gpus("2xA100-80GB").expect("a fleet");
    let fleet = FleetSpec::new(geometry, gpus, 8);
    let recipe = Recipe::new(Mix::SkewSmall, 0.9, 4 * 3_600_000);
    let case = |seed: u64| Case { label: format!("seed {seed}"), workload: recipe.generate(&fleet, seed), seed };
    Setup {
        cases: (1..=3).map(case).collect(),
        rules: rules.to_vec(),
        period: 300_000,
        soonest: None,
        policy: Policy::unlimited(),
        work_limit: 100_000,
        packer: Packer::new(|_, _| None),
        threads,
        fleet,
    }
}

#[test]
fn outcomes_are_in_the_order_of_the_setup_however_many_threads_work() {
    let rules = [Rule::Static, Rule::FirstFit, Rule::Retile];
    let mut done = 0;
    let alone = run(&setup(&rules, 1), &instant, &mut || done += 1).expect("an outcome");
    let together = run(&setup(&rules, 4), &instant, &mut || {}).expect("an outcome");
    assert_eq!((done, &alone), (9, &together));
    let order: Vec<(Rule, usize)> = alone.replays.iter().map(|it| (it.rule, it.case)).collect();
    assert_eq!(order[..4], [(Rule::Static, 0), (Rule::Static, 1), (Rule::Static, 2), (Rule::FirstFit, 0)]);
    assert_eq!(alone.of(Rule::Retile).count(), 3);
}

#[test]
fn the_first_failure_is_told_with_its_rule_and_case() {
    let engine = |scene: &Scene<'_>| {
        if scene.rule.rule() == Rule::FirstFit && scene.seed >= 2 { Err("broken".to_owned()) } else { instant(scene) }
    };
    let error = run(&setup(&[Rule::Static, Rule::FirstFit], 2), &engine, &mut || {}).expect_err("it fails");
    assert_eq!(error.to_string(), "the replay of seed 2 by first-fit stopped: broken");
}

#[test]
fn every_variant_of_retile_works_under_the_policy_less_what_it_leaves_out() {
    let rest = |scene: &Scene<'_>| {
        let seconds = scene.policy.stability.gpu_cool_down_seconds;
        Err(format!("{} {seconds}", scene.rule.rule().name()))
    };
    let told = |rule: Rule| {
        let with = Setup { policy: Policy::installed(), ..setup(&[rule], 1) };
        run(&with, &rest, &mut || {}).expect_err("it tells").reason
    };
    assert_eq!(told(Rule::Retile), "retile 600");
    assert_eq!(told(Rule::Without(Mechanism::Rest)), "retile-no-rest 0");
    assert_eq!(told(Rule::Without(Mechanism::Forecast)), "retile-no-forecast 600");
    assert_eq!(told(Rule::Bare), "retile-bare 0");
    assert_eq!(told(Rule::FirstFit), "first-fit 0", "the others work under no policy");
}

/// Whole-GPU pods that come all at once: with n GPUs, n of them start at once and the rest wait a run of an hour each.
fn whole_gpus(pods: usize) -> Setup {
    let one = |index: usize| Arrival {
        at: 0,
        name: format!("w{index}"),
        instances: [("7g.80gb".to_owned(), 1)].into(),
        runs: 3_600_000,
        priority: 0,
        kind: Kind::Job,
        patience: None,
    };
    let workload = Workload { arrivals: (0..pods).map(one).collect() };
    Setup { cases: vec![Case { label: "all".into(), workload, seed: 0 }], ..setup(&[Rule::Static], 1) }
}

#[test]
fn bisection_finds_the_fewest_gpus_that_meet_the_target() {
    let setup = whole_gpus(12);
    // Twelve pods on n GPUs: in rounds. No wait needs 12 GPUs; half an hour on average needs 6 (half of them wait an hour).
    for (wait, gpus) in [(0.0, Some(12)), (30.0, Some(6)), (60.0, Some(4)), (1e9, Some(1))] {
        let target = Target { wait, burst_share: 0.0, waiting: 0.0, most_gpus: 16 };
        assert_eq!(needed(&setup, Rule::Static, &target, &instant).expect("an answer").gpus, gpus, "{wait} minutes");
    }
    let target = Target { wait: 0.0, burst_share: 0.0, waiting: 0.0, most_gpus: 11 };
    assert_eq!(needed(&setup, Rule::Static, &target, &instant).expect("an answer").gpus, None);
}

#[test]
fn a_rule_needs_as_many_gpus_as_it_has_to_be_as_good_as_itself_and_few_replays_tell() {
    let setup = whole_gpus(12);
    let count = AtomicU32::new(0);
    let engine = |scene: &Scene<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        instant(scene)
    };
    let outcome = run(&setup, &engine, &mut || {}).expect("an outcome");
    let target = Target::like(&outcome, Rule::Static, setup.fleet.gpus);
    assert_eq!(target.most_gpus, 8);
    let needed = needed(&setup, Rule::Static, &target, &engine).expect("an answer");
    assert_eq!(needed.gpus, Some(2));
    assert!(needed.replays <= 5, "{needed:?}");
    assert_eq!(count.load(Ordering::Relaxed), needed.replays + 1);
}

#[test]
fn gpus_on_which_a_pod_waits_for_ever_are_too_few() {
    // The pod needs both GPUs of a node; with one GPU the replay ends at once, and nobody has waited for any time.
    let mut setup = whole_gpus(1);
    setup.cases[0].workload.arrivals[0].instances = [("7g.80gb".to_owned(), 2)].into();
    let outcome = run(&setup, &instant, &mut || {}).expect("an outcome");
    let target = Target::like(&outcome, Rule::Static, setup.fleet.gpus);
    assert_eq!(needed(&setup, Rule::Static, &target, &instant).expect("an answer").gpus, Some(2));
}
