//! Planning the planned state proposes nothing, and the order in which a cluster is read changes no byte of its plan.
mod support;

use retile::model::Budgets;
use retile::plan::Plan;
use retile::planner::{self, WorkLimit};
use support::apply::{Landed, apply};
use support::random::{Shape, cluster};
use support::spec::Spec;

fn plan(spec: &Spec) -> Plan {
    let planned = planner::plan(&spec.build(), &mut WorkLimit::default());
    planned.unwrap_or_else(|error| panic!("no plan: {error}\n{spec}")).plan().clone()
}

fn check_fixed_point(seed: u64, shape: &Shape, landed: Landed) {
    let mut spec = cluster(seed, shape);
    // A limit per cycle lets the next cycle go on; without one, a plan leaves nothing to do.
    spec.policy.budgets = Budgets::default();
    let first = plan(&spec);
    let after = apply(&spec, &first, landed);
    let second = plan(&after);
    assert!(
        second.nodes.is_empty(),
        "seed {seed}: the planned state is changed again\n{spec}\nfirst {first:#?}\nplanned state\n{after}\n{second:#?}"
    );
    assert_eq!(
        second.optimality.levels[0].value, 0,
        "seed {seed}: a pod that could be served was not\n{spec}\n{after}"
    );
}

#[test]
fn the_planned_state_is_left_alone() {
    for seed in 0..300 {
        check_fixed_point(seed, &Shape::SMALL, Landed::Fixed);
    }
}

#[test]
fn the_planned_state_is_left_alone_where_everything_may_move_again() {
    // Where every pod may use every node and needs one instance, whoever moved twice could have moved once, so that a
    // second plan that gains anything would have been part of the first.
    let free = Shape { obstacles: false, several: false, ..Shape::SMALL };
    for seed in 0..300 {
        check_fixed_point(seed, &free, Landed::Movable);
    }
}

#[test]
fn the_order_of_the_input_changes_no_byte() {
    for seed in 0..300 {
        let spec = cluster(seed, &Shape::SMALL);
        let bytes = |input| {
            let planned = planner::plan(&input, &mut WorkLimit::default()).expect("every small cluster has a plan");
            serde_json::to_string(planned.plan()).expect("plans are plain data")
        };
        let straight = bytes(spec.build());
        for order in 1..4 {
            assert_eq!(straight, bytes(spec.build_shuffled(order)), "seed {seed}, order {order}\n{spec}");
        }
    }
}
