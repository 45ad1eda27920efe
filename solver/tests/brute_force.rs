//! The solver against complete enumeration on random small problems.

use proptest::prelude::*;
use retile_solver::check::check;
use retile_solver::{Arc, Problem, Status, WorkLimit, brute, solve, solve_by_blocks};

/// From, to, and what it contributes.
type RawArc = (u16, u16, Vec<(usize, i64)>);

/// Numbers from which a problem is built; indices are taken modulo what exists.
#[derive(Debug, Clone)]
struct Recipe {
    /// Bounds, and what the row is: one of a block, a link between blocks, or shared by everything.
    rows: Vec<(i64, i64, u8)>,
    arcs: Vec<RawArc>,
    own: Vec<RawArc>,
    effects: Vec<Vec<(usize, i64)>>,
    groups: Vec<(u32, u32)>,
    vars: Vec<(i64, Vec<(usize, i64)>)>,
}

const LEVELS: usize = 3;
const NODES: u16 = 4;

fn terms(dims: usize) -> impl Strategy<Value = Vec<(usize, i64)>> {
    prop::collection::vec((0..dims, -3i64..=3), 0..3)
}

fn arcs(dims: usize, count: usize) -> impl Strategy<Value = Vec<RawArc>> {
    prop::collection::vec((0..NODES - 1, 1..NODES, terms(dims)), 0..count)
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let dims = LEVELS + 2;
    (
        prop::collection::vec((-4i64..=0, 0i64..=4, 0u8..3), 2..=2),
        arcs(dims, 4),
        arcs(dims, 2),
        prop::collection::vec(terms(dims), 4..=4),
        prop::collection::vec((1u32..=2, 1u32..=2), 1..=2),
        prop::collection::vec((0i64..=3, terms(dims)), 0..=2),
    )
        .prop_map(|(rows, arcs, own, effects, groups, vars)| Recipe { rows, arcs, own, effects, groups, vars })
}

fn build(recipe: &Recipe) -> Problem {
    let mut problem = Problem::new(LEVELS);
    let row = |&(lower, upper, reach): &(i64, i64, u8)| match reach {
        0 => problem.row(Some(lower), Some(upper)),
        1 => problem.link_row(Some(lower), Some(upper)),
        _ => problem.shared_row(Some(lower), Some(upper)),
    };
    let rows: Vec<_> = recipe.rows.iter().map(row).collect();
    let effect = |problem: &mut Problem, terms: &[(usize, i64)]| {
        let terms: Vec<_> = terms
            .iter()
            .map(|&(dim, amount)| (if dim < LEVELS { problem.level(dim) } else { rows[dim - LEVELS] }, amount))
            .collect();
        problem.effect(terms)
    };
    let made = |problem: &mut Problem, arcs: &[RawArc]| -> Vec<Arc> {
        arcs.iter()
            .filter(|(from, to, _)| from < to)
            .map(|(from, to, terms)| Arc { from: *from, to: *to, effect: effect(problem, terms) })
            .collect()
    };
    let mut template = made(&mut problem, &recipe.arcs);
    for node in 0..NODES - 1 {
        template.push(Arc { from: node, to: node + 1, effect: problem.nothing() });
    }
    let own = made(&mut problem, &recipe.own);
    let template = problem.template(NODES, template);
    // Charges never help: an active group or machine costs on the levels, an idle one contributes nothing to them.
    let charge = problem.effect([(problem.level(1), -1)]);
    let idle = effect(&mut problem, &recipe.effects[0]);
    let nothing = problem.nothing();
    let first = problem.class(template, own, nothing, idle);
    let second = problem.class(template, Vec::new(), charge, nothing);
    for &(count, machines) in &recipe.groups {
        problem.group(count, vec![(first, machines), (second, 1)], charge, nothing);
    }
    for (upper, terms) in &recipe.vars {
        let effect = effect(&mut problem, terms);
        problem.var(*upper, effect);
    }
    problem
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn levels_equal_brute_force(recipe in recipe()) {
        let machines: u32 = recipe.groups.iter().map(|&(count, machines)| count * (machines + 1)).sum();
        prop_assume!(machines <= 4);
        let problem = build(&recipe);
        let best = brute::best(&problem);
        let Ok(outcome) = solve(&problem, &mut Vec::new, &mut WorkLimit::default()) else {
            prop_assert_eq!(None, best);
            return Ok(());
        };
        prop_assert!(check(&problem, &outcome.solution).is_ok());
        let values: Vec<i64> = outcome.levels.iter().map(|level| level.value).collect();
        prop_assert_eq!(Some(values), best);
        prop_assert_eq!(outcome.status, Status::Optimal);
    }

    /// Blocks with prices on what links them: what they call proven is, and no bound is below what can be reached, at any work limit.
    #[test]
    fn blocks_promise_no_more_than_brute_force_finds(recipe in recipe(), work in prop::sample::select(vec![1_000u64, 100_000, 1_000_000_000])) {
        let machines: u32 = recipe.groups.iter().map(|&(count, machines)| count * (machines + 1)).sum();
        prop_assume!(machines <= 4);
        let problem = build(&recipe);
        let Some(outcome) = solve_by_blocks(&problem, &[], &mut WorkLimit::new(work)) else { return Ok(()) };
        let best = brute::best(&problem).expect("idling is legal where there is an outcome");
        prop_assert!(check(&problem, &outcome.solution).is_ok());
        for (level, &best) in outcome.levels.iter().zip(&best) {
            prop_assert!(level.value <= best && best <= level.bound, "{:?}", outcome.levels);
            if level.value < best {
                break;
            }
        }
        let proven = outcome.levels.iter().all(|level| level.value == level.bound);
        prop_assert_eq!(outcome.status == Status::Optimal, proven);
    }

    /// A search that is cut off tells the values of the answer that it gives, however it came upon it.
    #[test]
    fn levels_are_those_of_the_answer_when_work_runs_out(recipe in recipe(), work in 0u64..200) {
        let problem = build(&recipe);
        let Ok(outcome) = solve(&problem, &mut Vec::new, &mut WorkLimit::new(work)) else { return Ok(()) };
        prop_assert!(check(&problem, &outcome.solution).is_ok());
        let values: Vec<i64> = outcome.levels.iter().map(|level| level.value).collect();
        prop_assert_eq!(&values[..], &outcome.totals[..LEVELS]);
        prop_assert!(outcome.levels.iter().all(|level| level.value <= level.bound));
    }
}
