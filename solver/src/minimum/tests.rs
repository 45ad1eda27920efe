//! The closed forms against what is published, against a dynamic programme, and against the complete proof.

use proptest::prelude::*;

use super::*;

/// A part type of a test machine: where it may start, how long it is, how many fit, and what it takes of a shared engine.
#[derive(Clone, Copy)]
struct Part {
    starts: &'static [u8],
    size: u8,
    most: u64,
    engine: Engine,
}

#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Unused,
    Shared,
    One,
    All,
}

const fn part(starts: &'static [u8], size: u8, most: u64, engine: Engine) -> Part {
    Part { starts, size, most, engine }
}

const SEVEN: &[u8] = &[0, 1, 2, 3, 4, 5, 6];

/// The seven-slice machine: 1, 1 with the engine, 1 with double memory, 2, 3, 4, 7.
const SEVEN_SLICES: &[Part] = &[
    part(SEVEN, 1, 7, Engine::Shared),
    part(SEVEN, 1, 1, Engine::One),
    part(&[0, 2, 4, 6], 2, 4, Engine::Shared),
    part(&[0, 2, 4], 2, 3, Engine::Shared),
    part(&[0, 4], 4, 2, Engine::Shared),
    part(&[0], 4, 1, Engine::Shared),
    part(&[0], 8, 1, Engine::Shared),
];

/// The four-slice machine: 1, 1 with the engine, 2, 2 with the engine, 4.
const FOUR_SLICES: &[Part] = &[
    part(&[0, 1, 2, 3], 1, 4, Engine::Shared),
    part(&[0, 1, 2, 3], 1, 1, Engine::One),
    part(&[0, 2], 2, 2, Engine::Shared),
    part(&[0, 2], 2, 1, Engine::One),
    part(&[0], 4, 1, Engine::Shared),
];

/// The four-slice machine with every variant of its parts: 1, +me, +gfx, +me.all, -me, 2, +gfx, +me.all, -me, 4, +gfx.
const VARIANTS: &[Part] = &[
    part(&[0, 3, 6, 9], 3, 4, Engine::Shared),
    part(&[0, 3, 6, 9], 3, 1, Engine::One),
    part(&[0, 3, 6, 9], 3, 4, Engine::Shared),
    part(&[0, 3, 6, 9], 3, 1, Engine::All),
    part(&[0, 3, 6, 9], 3, 4, Engine::Unused),
    part(&[0, 6], 6, 2, Engine::Shared),
    part(&[0, 6], 6, 2, Engine::Shared),
    part(&[0, 6], 6, 1, Engine::All),
    part(&[0, 6], 6, 2, Engine::Unused),
    part(&[0], 12, 1, Engine::Shared),
    part(&[0], 12, 1, Engine::Shared),
];

/// The patterns of a machine, by trying all placements.
fn patterns(parts: &[Part]) -> Patterns {
    fn walk(parts: &[Part], used: u64, from: (usize, usize), counts: &mut Vec<u64>, found: &mut Vec<Vec<u64>>) {
        found.push(counts.clone());
        let engine = |wanted: Engine| {
            parts
                .iter()
                .zip(counts.iter())
                .filter(|(part, _)| part.engine == wanted)
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        let (shared, one, all) = (engine(Engine::Shared), engine(Engine::One), engine(Engine::All));
        for kind in from.0..parts.len() {
            let part = &parts[kind];
            let free = match part.engine {
                Engine::Unused => true,
                Engine::Shared => all == 0,
                Engine::One => one + all == 0,
                Engine::All => shared + one + all == 0,
            };
            let first = if kind == from.0 { from.1 } else { 0 };
            for (index, &start) in part.starts.iter().enumerate().skip(first) {
                let mask = ((1_u64 << part.size) - 1) << start;
                if free && used & mask == 0 && counts[kind] < part.most {
                    counts[kind] += 1;
                    walk(parts, used | mask, (kind, index + 1), counts, found);
                    counts[kind] -= 1;
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(parts, 0, (0, 0), &mut vec![0; parts.len()], &mut found);
    Patterns::try_new(parts.len(), found).expect("test machines are well formed")
}

fn facet(weights: &[u32], divisor: u32) -> Facet {
    Facet { weights: weights.to_vec(), divisor }
}

/// Whether the counts offer the demand, and how many machines they are.
fn realised(patterns: &Patterns, counts: &[u64], demand: &[u64]) -> Option<u64> {
    let offered =
        |kind: usize| patterns.as_slice().iter().zip(counts).map(|(pattern, count)| pattern[kind] * count).sum::<u64>();
    demand.iter().enumerate().all(|(kind, &need)| offered(kind) >= need).then(|| counts.iter().sum())
}

#[test]
fn only_multisets_that_no_other_contains_are_kept() {
    let patterns =
        Patterns::try_new(2, [vec![0, 1], vec![2, 0], vec![1, 0], vec![2, 0], vec![0, 0]]).expect("patterns");
    assert_eq!(patterns.as_slice(), [vec![2, 0], vec![0, 1]]);
}

#[test]
fn patterns_and_demands_of_the_wrong_shape_are_refused() {
    assert_eq!(Patterns::try_new(2, [vec![1]]), Err(MinimumError::Length { expected: 2, found: 1 }));
    assert_eq!(Patterns::try_new(2, [vec![1, 0]]), Err(MinimumError::NoPattern(1)));
    assert!(matches!(Patterns::try_new(1, [vec![1 << 16]]), Err(MinimumError::Shape(_))));
    let machine = Machine::new(Patterns::try_new(1, [vec![1]]).expect("patterns"));
    assert_eq!(machine.minimum(&[1, 1]), Err(MinimumError::Length { expected: 1, found: 2 }));
    assert_eq!(machine.minimum(&[1 << 63]), Err(MinimumError::TooLarge));
}

#[test]
fn the_facets_of_the_seven_slice_machine_are_the_published_ones_and_those_of_the_engine() {
    let plain = patterns(&[&SEVEN_SLICES[..1], &SEVEN_SLICES[2..]].concat());
    let form = ClosedForm::derive(&plain).expect("a closed form");
    let published = [
        facet(&[0, 0, 0, 0, 1, 1], 1),
        facet(&[0, 0, 1, 1, 2, 3], 3),
        facet(&[1, 1, 2, 3, 4, 7], 7),
        facet(&[1, 2, 2, 4, 4, 8], 8),
    ];
    assert_eq!(form.facets(), published);
    let form = ClosedForm::derive(&patterns(SEVEN_SLICES)).expect("a closed form");
    let with_engine = [
        facet(&[0, 0, 0, 0, 0, 1, 1], 1),
        facet(&[0, 0, 0, 1, 1, 2, 3], 3),
        facet(&[0, 1, 0, 0, 0, 0, 1], 1),
        facet(&[0, 1, 0, 0, 1, 1, 2], 2),
        facet(&[0, 1, 1, 1, 2, 2, 4], 4),
        facet(&[1, 1, 1, 2, 3, 4, 7], 7),
        facet(&[1, 1, 2, 2, 4, 4, 8], 8),
    ];
    assert_eq!(form.facets(), with_engine);
}

#[test]
fn the_facets_of_the_four_slice_machine_are_the_published_one_and_those_of_the_engine() {
    let plain = [0, 2, 4].map(|kind| &FOUR_SLICES[kind..=kind]).concat();
    assert_eq!(ClosedForm::derive(&patterns(&plain)).expect("a closed form").facets(), [facet(&[1, 2, 4], 4)]);
    let form = ClosedForm::derive(&patterns(FOUR_SLICES)).expect("a closed form");
    let with_engine = [facet(&[0, 1, 0, 1, 1], 1), facet(&[0, 1, 1, 1, 2], 2), facet(&[1, 1, 2, 2, 4], 4)];
    assert_eq!(form.facets(), with_engine);
}

#[test]
fn the_closed_forms_are_exact_for_every_demand() {
    for parts in [SEVEN_SLICES, FOUR_SLICES, VARIANTS] {
        let patterns = patterns(parts);
        assert_eq!(ClosedForm::derive(&patterns).expect("a closed form").gap(&patterns), None);
    }
}

/// Fewest machines for every demand of a box, by dynamic programming over the patterns.
fn box_minimum(patterns: &Patterns, sides: &[u64], mut look: impl FnMut(&[u64], u64)) {
    let cells: u64 = sides.iter().product();
    let mut fewest = vec![0_u8; cells as usize];
    let mut demand = vec![0; sides.len()];
    for cell in 0..cells as usize {
        if cell > 0 {
            let index = |pattern: &Vec<u64>| {
                let left = demand.iter().zip(pattern).map(|(need, count): (&u64, &u64)| need.saturating_sub(*count));
                left.zip(sides).fold(0, |index, (count, side)| index * side + count) as usize
            };
            let useful = patterns.as_slice().iter().map(index).filter(|&left| left < cell);
            fewest[cell] = 1 + useful.map(|left| fewest[left]).min().expect("every part fits some machine");
        }
        look(&demand, u64::from(fewest[cell]));
        for (kind, side) in sides.iter().enumerate().rev() {
            demand[kind] = (demand[kind] + 1) % side;
            if demand[kind] > 0 {
                break;
            }
        }
    }
}

#[test]
fn the_seven_slice_formula_agrees_with_dynamic_programming_on_the_whole_reduction_box() {
    let patterns = patterns(&[&SEVEN_SLICES[..1], &SEVEN_SLICES[2..6]].concat());
    let form = ClosedForm::derive(&patterns).expect("a closed form");
    let mut seen = 0;
    box_minimum(&patterns, &[36, 21, 16, 11, 6], |demand, fewest| {
        seen += 1;
        let &[n1, m1, n2, n3, n4] = demand else { unreachable!("five part types") };
        let published = [
            n4,
            (n2 + n3 + 2 * n4).div_ceil(3),
            (n1 + m1 + 2 * n2 + 3 * n3 + 4 * n4).div_ceil(7),
            (n1 + 2 * m1 + 2 * n2 + 4 * n3 + 4 * n4).div_ceil(8),
        ];
        assert_eq!((Some(fewest), Some(fewest)), (published.into_iter().max(), form.machines(demand)), "{demand:?}");
    });
    assert_eq!(seen, 798_336);
}

#[test]
fn the_formulas_with_the_engine_agree_with_dynamic_programming() {
    for (parts, sides) in [
        (SEVEN_SLICES, &[15, 5, 7, 7, 5, 4, 2][..]),
        (FOUR_SLICES, &[17, 6, 9, 6, 3]),
        (VARIANTS, &[6, 4, 3, 4, 6, 4, 3, 4, 4, 2, 2]),
    ] {
        let patterns = patterns(parts);
        let form = ClosedForm::derive(&patterns).expect("a closed form");
        box_minimum(&patterns, sides, |demand, fewest| {
            assert_eq!(form.machines(demand), Some(fewest), "{demand:?}");
        });
    }
}

/// Two part types that never share a machine: two of the first, or three of the second.
fn apart() -> Patterns {
    Patterns::try_new(2, [vec![2, 0], vec![0, 3]]).expect("patterns")
}

#[test]
fn a_formula_that_is_not_exact_is_found_out_and_the_program_decides() {
    let machine = Machine::new(apart());
    let form = machine.closed_form().expect("a closed form");
    assert_eq!(form.facets(), [facet(&[3, 2], 6)]);
    let gap = form.gap(&apart()).expect("one of each needs two machines, the formula says one");
    assert_eq!((gap.as_slice(), form.machines(&gap)), (&[1, 1][..], Some(1)));
    let minimum = machine.minimum(&gap).expect("an answer");
    assert_eq!((minimum.machines, minimum.bound, minimum.method), (2, 2, Method::Program));
}

#[test]
fn the_bound_stays_below_the_answer_where_a_huge_demand_meets_a_gap() {
    let machine = Machine::new(apart());
    let minimum = machine.minimum(&[2_000_000_000_001, 3_000_000_000_001]).expect("an answer");
    assert_eq!((minimum.machines, minimum.bound), (2_000_000_000_002, 2_000_000_000_001));
}

#[test]
fn the_program_proves_a_gap_of_a_demand_that_it_need_not_bring_down() {
    let machine = Machine::new(apart());
    let minimum = machine.minimum(&[2 * 9_000 + 1, 3 * 6_000 + 1]).expect("an answer");
    assert_eq!((minimum.machines, minimum.bound, minimum.method), (15_002, 15_002, Method::Program));
    assert_eq!(minimum.counts, [9_001, 6_001]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn patterns_that_reach_the_formula_are_exhibited(
        demand in prop::collection::vec(prop_oneof![0..30_u64, 0..2_000_000_000_000_u64], 7),
    ) {
        let machine = Machine::new(patterns(SEVEN_SLICES));
        let minimum = machine.minimum(&demand).expect("an answer");
        prop_assert_eq!(minimum.method, Method::ClosedForm);
        prop_assert_eq!(Some(minimum.machines), machine.closed_form().and_then(|form| form.machines(&demand)));
        prop_assert_eq!(realised(machine.patterns(), &minimum.counts, &demand), Some(minimum.machines));
        prop_assert_eq!(minimum.bound, minimum.machines);
    }

    #[test]
    fn the_program_agrees_with_the_formula(demand in prop::collection::vec(0..40_u64, 5)) {
        let machine = Machine::new(patterns(FOUR_SLICES));
        let without = Machine { closed_form: None, ..machine.clone() };
        let minimum = without.minimum(&demand).expect("an answer");
        let formula = machine.closed_form().and_then(|form| form.machines(&demand)).expect("in range");
        prop_assert_eq!(program::dual_bound(machine.patterns(), &demand), Ok(formula));
        prop_assert_eq!(minimum.machines, formula);
        prop_assert_eq!(realised(machine.patterns(), &minimum.counts, &demand), Some(formula));
    }

    #[test]
    fn the_program_reaches_the_formula_on_huge_demands(
        demand in prop::collection::vec(prop_oneof![0..100_u64, 0..2_000_000_000_000_u64], 6),
    ) {
        let machine = Machine::new(patterns(&[&SEVEN_SLICES[..1], &SEVEN_SLICES[2..]].concat()));
        let formula = machine.closed_form().and_then(|form| form.machines(&demand)).expect("in range");
        // Prices whose worth differs by less than the precision of floating point are not told apart.
        let dual = program::dual_bound(machine.patterns(), &demand).expect("a bound");
        prop_assert!(dual <= formula && formula - dual <= formula / 1_000_000, "{dual} against {formula}");
        let minimum = program::solve(machine.patterns(), &demand, formula).expect("an answer");
        prop_assert_eq!(minimum.machines, formula);
        prop_assert_eq!(realised(machine.patterns(), &minimum.counts, &demand), Some(formula));
    }

    /// Any small machine: the bound is a bound, and the answer is the optimum that dynamic programming finds.
    #[test]
    fn any_machine_gets_its_minimum(
        held in prop::collection::vec(prop::collection::vec(0..4_u64, 3), 1..6),
        demand in prop::collection::vec(0..7_u64, 3),
    ) {
        let Ok(patterns) = Patterns::try_new(3, held) else { return Ok(()) };
        let machine = Machine::new(patterns.clone());
        let mut fewest = 0;
        let sides: Vec<u64> = demand.iter().map(|count| count + 1).collect();
        box_minimum(&patterns, &sides, |_, last| fewest = last);
        let minimum = machine.minimum(&demand).expect("an answer");
        prop_assert_eq!(minimum.machines, fewest);
        prop_assert_eq!(minimum.bound, fewest);
        prop_assert!(machine.closed_form().and_then(|form| form.machines(&demand)).expect("in range") <= fewest);
        prop_assert_eq!(realised(&patterns, &minimum.counts, &demand), Some(fewest));
        if machine.closed_form().is_some_and(|form| form.gap(&patterns).is_none()) {
            prop_assert_eq!(minimum.method, Method::ClosedForm);
        }
    }
}
