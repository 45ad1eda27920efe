//! Exports for which the best plan hands an instance over: somebody makes way who may use another node, for somebody who may not.

use std::path::Path;

use retile::kube::export::{ReadOptions, Source, read};
use retile::model::PlanningInput;
use retile::plan::{Plan, Status, verify};
use retile::planner::{self, WorkLimit};

/// Name, values of the levels in their order, instances that are handed over.
const CASES: [(&str, [i64; 8], usize); 3] = [
    ("hand-over-50151", [51, 1, 3, 7, 17, 182, 1, 0], 1),
    ("hand-over-50241", [47, 7, 5, 12, 28, 0, 1, 0], 1),
    ("hand-over-50378", [42, 1, 3, 6, 10, 124, 3, 0], 1),
];

fn input(name: &str) -> PlanningInput {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/planner").join(format!("{name}.json"));
    read(Source::File(&path), &ReadOptions::default()).expect("a shipped export")
}

fn plan(input: &PlanningInput) -> Plan {
    planner::plan(input, &mut WorkLimit::default()).expect("a plan").into_plan()
}

#[test]
fn who_has_another_place_makes_way_for_who_has_none() {
    for (name, levels, handed_over) in CASES {
        let input = input(name);
        let plan = verify(plan(&input), &input).unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
        assert_eq!(plan.optimality.status, Status::Optimal, "{name}");
        let values: Vec<i64> = plan.optimality.levels.iter().map(|level| level.value).collect();
        assert_eq!(values, levels, "{name}");
        let gpus = || plan.nodes.iter().flat_map(|node| &node.gpus);
        assert_eq!(gpus().map(|gpu| gpu.hand_over.len()).sum::<usize>(), handed_over, "{name}");
        for instance in gpus().flat_map(|gpu| &gpu.hand_over) {
            let evicted = |pod: &String| plan.nodes.iter().flat_map(|node| &node.evict).any(|it| it.pod == *pod);
            assert!(!instance.pods.is_empty() && instance.pods.iter().all(evicted), "{name}: {instance:?}");
        }
    }
}
