//! What the planner makes of random clusters passes verification, with and without steps.
mod support;

use retile::plan::{NodePlan, Plan, fill_in_steps, verify};
use retile::planner::{self, WorkLimit};
use support::random::{Shape, cluster};

fn plan_and_verify(seed: u64, shape: &Shape) -> Result<(), String> {
    let spec = cluster(seed, shape);
    let input = spec.build();
    let plan = planner::plan(&input, &mut WorkLimit::default()).map_err(|error| format!("seed {seed}: {error}"))?;
    let plan = plan.into_plan();
    let shown = serde_json::to_string_pretty(&plan).expect("plans are plain data");
    let without_steps = Plan {
        nodes: plan.nodes.iter().map(|node| NodePlan { steps: Vec::new(), ..node.clone() }).collect(),
        ..plan.clone()
    };
    let mut with_steps = without_steps.clone();
    fill_in_steps(&mut with_steps, &input).map_err(|error| format!("seed {seed}: {error}\n\n{spec}\n{shown}"))?;
    match verify(without_steps, &input).and_then(|_| verify(with_steps, &input)) {
        Ok(_) => Ok(()),
        Err(rejection) => Err(format!("seed {seed}: {rejection}\n\n{spec}\n{shown}")),
    }
}

#[test]
fn plans_of_random_clusters_pass_with_and_without_steps() {
    let failures: Vec<String> = (0..200).filter_map(|seed| plan_and_verify(seed, &Shape::SMALL).err()).collect();
    assert!(failures.is_empty(), "{} of 200 fail, the first:\n{}", failures.len(), failures[0]);
}
