//! There is a plan at every work limit: legal, never below what a level that allows less serves, never below the greedy rules, and never worse
//! for more work.

mod support;

use std::path::Path;

use retile::kube::export::{ReadOptions, Source, read};
use retile::model::{Budgets, DisruptionLevel, GainFactor, PlanningInput, Policy};
use retile::plan::{Plan, verify};
use retile::planner::{self, WorkLimit};
use retile::sim::replay::baselines::{Packer, Rule};
use support::random::{Shape, cluster};

const LEVELS: [DisruptionLevel; 3] =
    [DisruptionLevel::IdleOnly, DisruptionLevel::Balanced, DisruptionLevel::Aggressive];

/// Exports on which the search alone once came back with nothing, with an error, or with an illegal plan; and the served weight that each
/// reaches within the default limit, by priority.
const CASES: [(&str, &[i64]); 8] = [
    ("twenty-pools-80-gpus", &[67]),
    ("gain-rule-unproven-baseline", &[]),
    ("better-than-claimed-38", &[2, 0, 1]),
    ("better-than-claimed-5-gpus", &[9]),
    ("gain-factor-60023", &[]),
    ("empty-gpu-two-pods", &[]),
    ("one-gpu-two-pods", &[]),
    ("tiers-60073", &[]),
];

fn export(name: &str) -> PlanningInput {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/planner").join(format!("{name}.json"));
    read(Source::File(&path), &ReadOptions::default()).expect("a shipped export")
}

fn at(input: &PlanningInput, disruption: DisruptionLevel) -> PlanningInput {
    let policy = Policy { disruption, ..input.policy().clone() };
    input.clone().with_policy(policy)
}

/// A plan that passed the verifier.
fn plan(input: &PlanningInput, work: u64) -> Plan {
    let planned = planner::plan(input, &mut WorkLimit::new(work)).expect("there always is a plan");
    verify(planned.into_plan(), input).unwrap_or_else(|rejection| panic!("work {work}: {rejection}")).into_inner()
}

/// Served weight by priority, highest first.
fn served(plan: &Plan) -> Vec<i64> {
    let level = &plan.optimality.levels[0];
    if level.tiers.is_empty() { vec![level.value] } else { level.tiers.iter().map(|tier| tier.value).collect() }
}

/// All levels as numbers of which more is better.
fn values(plan: &Plan) -> Vec<i64> {
    let mut values = served(plan);
    values.extend(plan.optimality.levels[1..5].iter().map(|level| -level.value));
    values.extend(plan.optimality.levels[5..].iter().map(|level| level.value));
    values
}

/// Checks one input at several limits and all levels.
fn check(name: &str, input: &PlanningInput, limits: &[u64]) {
    let mut before: Vec<Option<Vec<i64>>> = vec![None; LEVELS.len()];
    for &work in limits {
        let mut less: Option<Vec<i64>> = None;
        for (position, level) in LEVELS.into_iter().enumerate() {
            let plan = plan(&at(input, level), work);
            let now = served(&plan);
            // Who is displaced counts before who is served below: what two levels serve is compared where nobody is.
            let displaced = plan.nodes.iter().flat_map(|node| &node.evict).any(|pod| pod.placed_on.is_none());
            if !displaced {
                assert!(
                    less.as_ref().is_none_or(|less| *less <= now),
                    "{name}, work {work}: {level:?} serves {now:?} after {less:?}"
                );
                less = Some(now);
                let all = values(&plan);
                let known = before[position].take();
                assert!(
                    known.as_ref().is_none_or(|known| *known <= all),
                    "{name}, {level:?}: work {work} gives {all:?} after {known:?}"
                );
                before[position] = Some(all);
            }
            assert!(
                plan.optimality.levels[1..5].iter().all(|level| 0 <= level.bound && level.bound <= level.value),
                "{name}, work {work}, {level:?}: {:?}",
                plan.optimality.levels
            );
        }
    }
}

#[test]
fn shipped_exports_have_a_plan_at_every_limit() {
    for (name, _) in CASES {
        check(name, &export(name), &[1, 1_000_000]);
    }
}

#[test]
fn shipped_exports_reach_what_was_proven_of_them() {
    for (name, best) in CASES.iter().filter(|(_, best)| !best.is_empty()) {
        let plan = plan(&export(name), 6_000_000_000);
        assert_eq!(served(&plan), *best, "{name}");
    }
}

#[test]
fn random_clusters_have_a_plan_at_every_limit() {
    for seed in 0..150 {
        let spec = cluster(seed, &Shape::SMALL);
        check(&format!("seed {seed}"), &spec.build(), &[1, 20_000, 1_000_000, 50_000_000]);
    }
}

#[test]
fn a_plan_without_search_serves_what_the_greedy_rules_serve() {
    let mut compared = 0;
    for seed in 0..150 {
        let mut spec = cluster(seed, &Shape { single: 0, ..Shape::MEDIUM });
        spec.policy.budgets = Budgets::default();
        spec.policy.gain_factor = GainFactor::default();
        spec.policy.disruption = DisruptionLevel::IdleOnly;
        let input = spec.build();
        let plan = plan(&input, 1);
        let rules = [Rule::FirstFit, Rule::BestFit, Rule::Fragmentation, Rule::Decreasing];
        for rule in rules {
            let mut proposer = rule.proposer(1, &Packer::new(|_, _| None));
            let proposal = proposer.propose(&input).expect("a rule always proposes");
            let by_rule = served_by(&input, &proposal.served.iter().map(|pod| pod.uid.as_str()).collect::<Vec<_>>());
            assert!(
                served(&plan) >= by_rule,
                "seed {seed}: {:?} after {} served {by_rule:?}",
                served(&plan),
                rule.name()
            );
            compared += usize::from(by_rule.iter().any(|weight| *weight > 0));
        }
    }
    assert!(compared > 300, "only {compared} of the rules' answers served anybody");
}

/// Served weight of some pods by priority, highest first.
fn served_by(input: &PlanningInput, uids: &[&str]) -> Vec<i64> {
    let mut tiers = std::collections::BTreeMap::<std::cmp::Reverse<i32>, i64>::new();
    let least = |priority: i32| {
        let same = input.pending().iter().filter(|pod| pod.priority == priority);
        same.map(|pod| pod.waiting_seconds).min().unwrap_or(0)
    };
    for pod in input.pending() {
        let older = pod.waiting_seconds - least(pod.priority);
        let ageing = 1 + older.checked_div(input.policy().ageing_seconds).unwrap_or(0).min(Policy::MAX_AGEING - 1);
        let slices: u64 =
            pod.demand.iter().map(|(resource, count)| u64::from(input.slices_of(resource)) * u64::from(count)).sum();
        let tier = tiers.entry(std::cmp::Reverse(pod.priority)).or_default();
        if uids.contains(&pod.pod.uid.as_str()) {
            *tier += (input.policy().weight.of(slices) * ageing) as i64;
        }
    }
    tiers.into_values().collect()
}
