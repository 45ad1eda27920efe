//! What the planner makes of random clusters passes verification, and without its steps only where there are none to make.
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
    let cuts = with_steps.nodes.iter().any(|node| !node.steps.is_empty());
    match (verify(with_steps, &input), verify(without_steps, &input).is_ok()) {
        (Ok(_), accepted) if accepted != cuts => Ok(()),
        (Ok(_), accepted) => Err(format!("seed {seed}: accepted without steps: {accepted}\n\n{spec}\n{shown}")),
        (Err(rejection), _) => Err(format!("seed {seed}: {rejection}\n\n{spec}\n{shown}")),
    }
}

#[test]
fn plans_of_random_clusters_pass_with_their_steps_alone() {
    let failures: Vec<String> = (0..200).filter_map(|seed| plan_and_verify(seed, &Shape::SMALL).err()).collect();
    assert!(failures.is_empty(), "{} of 200 fail, the first:\n{}", failures.len(), failures[0]);
}
