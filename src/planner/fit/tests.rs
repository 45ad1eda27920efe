//! Answers for every board of the catalogue: legal, sufficient, and as few GPUs as proven.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;

use super::*;
use crate::model::Catalogue;

/// The boards whose placements are known, prepared for all their profiles.
fn fitters() -> &'static [Fitter<'static>] {
    static FITTERS: OnceLock<Vec<Fitter<'static>>> = OnceLock::new();
    FITTERS.get_or_init(|| {
        let known = Catalogue::embedded().boards().iter().filter(|geometry| geometry.axis() > 0);
        let all = |geometry: &'static Arc<Geometry>| Fitter::new(geometry, &geometry.profile_ids().collect::<Vec<_>>());
        known.map(|geometry| all(geometry).expect("a board whose placements are known")).collect()
    })
}

fn board(key: &str) -> &'static Geometry {
    Catalogue::embedded().find_by_key(key).expect("a board of the catalogue")
}

fn demand(geometry: &Geometry, counts: &[(&str, u64)]) -> Vec<(ProfileId, u64)> {
    counts.iter().map(|&(name, count)| (geometry.find(name).expect("a profile of the board"), count)).collect()
}

/// Writes a result as `count x layout`.
fn shown(geometry: &Geometry, result: &FitResult) -> Vec<String> {
    let show = |layout: &Layout| layout.placements().iter().map(|&it| geometry.show(it)).collect::<Vec<_>>().join(" ");
    result.layouts.iter().map(|(count, layout)| format!("{count} x {}", show(layout))).collect()
}

/// Checks a result by counting, without asking the solver.
fn check(geometry: &Geometry, demand: &[(ProfileId, u64)], result: &FitResult) {
    let gpus: u64 = result.layouts.iter().map(|(count, _)| count).sum();
    assert_eq!((gpus, result.bound), (result.gpus, result.gpus));
    assert!(result.layouts.iter().all(|&(count, _)| count > 0));
    let mut offered = vec![0_u128; geometry.profiles().len()];
    for (count, layout) in &result.layouts {
        assert_eq!(Layout::try_new(geometry, layout.placements().to_vec()).as_ref(), Ok(layout));
        for placement in layout.placements() {
            offered[placement.profile().index()] += u128::from(*count);
        }
    }
    for id in geometry.profile_ids() {
        let wanted: u128 = demand.iter().filter(|&&(named, _)| named == id).map(|&(_, count)| u128::from(count)).sum();
        let spare = result.spare.iter().find(|&&(named, _)| named == id).map_or(0, |&(_, count)| u128::from(count));
        assert_eq!(offered[id.index()], wanted + spare, "{}", geometry.profile(id).name);
    }
}

#[test]
fn the_closed_form_is_exact_on_every_board_whose_placements_are_known() {
    let mut proven: Vec<&Patterns> = Vec::new();
    for fitter in fitters() {
        let patterns = fitter.machine().patterns();
        if !proven.contains(&patterns) {
            let form = fitter.machine().closed_form().expect("a closed form");
            assert_eq!(form.gap(patterns), None, "{}", fitter.geometry.board().key);
            proven.push(patterns);
        }
    }
    assert_eq!((fitters().len(), proven.len()), (17, 3), "boards of 4 slices, of 7 slices, and the RTX PRO 6000");
}

#[test]
fn a_small_demand_gets_its_layouts() {
    let a100 = board("a100-80gb");
    let wanted = demand(a100, &[("1g.10gb", 9), ("3g.40gb", 2)]);
    let result = fit(a100, &wanted).expect("an answer");
    check(a100, &wanted, &result);
    assert_eq!((result.gpus, result.method), (3, FitMethod::ClosedForm));
    assert_eq!(
        shown(a100, &result),
        [
            "2 x 1g.10gb@0:1 1g.10gb@1:1 1g.10gb@2:1 1g.10gb@3:1 1g.10gb@4:1 1g.10gb@5:1 1g.10gb@6:1",
            "1 x 3g.40gb@0:4 3g.40gb@4:4",
        ]
    );
    assert_eq!(result.spare, demand(a100, &[("1g.10gb", 5)]));
}

#[test]
fn the_layouts_that_other_lists_lack_are_used() {
    let a100 = board("a100-40gb");
    let wanted = demand(a100, &[("4g.20gb", 5), ("3g.20gb", 5)]);
    let result = fit(a100, &wanted).expect("an answer");
    assert_eq!(shown(a100, &result), ["5 x 4g.20gb@0:4 3g.20gb@4:4"]);
    assert_eq!(result.spare, []);
}

#[test]
fn one_instance_per_gpu_has_the_media_extensions() {
    let h100 = board("h100-80gb");
    let wanted = demand(h100, &[("1g.10gb+me", 5), ("1g.10gb", 30)]);
    let result = fit(h100, &wanted).expect("an answer");
    check(h100, &wanted, &result);
    assert_eq!(result.gpus, 5);
    // The double-memory profile fills the board in fours; the fifth part of a GPU with +me is lost to it.
    let wanted = demand(h100, &[("1g.10gb+me", 3), ("1g.20gb", 12)]);
    let result = fit(h100, &wanted).expect("an answer");
    check(h100, &wanted, &result);
    assert_eq!(result.gpus, 4);
}

#[test]
fn huge_counts_are_answered_with_few_layouts() {
    let a100 = board("a100-80gb");
    let tera = 1_000_000_000_000;
    let wanted = demand(a100, &[("1g.10gb", 7 * tera + 1), ("3g.40gb", 2 * tera), ("7g.80gb", tera)]);
    let result = fit(a100, &wanted).expect("an answer");
    check(a100, &wanted, &result);
    assert_eq!(result.gpus, tera + (13 * tera + 1).div_ceil(7).max((15 * tera + 1).div_ceil(8)));
    assert!(result.layouts.len() <= 6, "{:?}", shown(a100, &result));
}

#[test]
fn no_demand_needs_no_gpu() {
    let a100 = board("a100-80gb");
    for nothing in [vec![], demand(a100, &[("1g.10gb", 0)])] {
        let result = fit(a100, &nothing).expect("an answer");
        assert_eq!((result.gpus, result.bound, result.layouts, result.spare), (0, 0, vec![], vec![]));
    }
}

#[test]
fn a_profile_that_is_named_twice_counts_twice() {
    let a30 = board("a30");
    let result = fit(a30, &demand(a30, &[("2g.12gb", 1), ("2g.12gb", 2)])).expect("an answer");
    assert_eq!((result.gpus, result.spare.len()), (2, 1));
}

#[test]
fn a_profile_of_unknown_placements_is_refused() {
    let rtx = board("rtx-pro-5000");
    let error = fit(rtx, &demand(rtx, &[("2g.48gb", 1)])).expect_err("unknown placements");
    assert_eq!(
        error.to_string(),
        "board RTX-PRO-5000-48GB: the placements of 2g.48gb are not in the catalogue; \
         read them from a device with nvidia-smi mig -lgipp"
    );
}

#[test]
fn profiles_of_other_boards_and_counts_out_of_range_are_refused() {
    let (a30, rtx) = (board("a30"), board("rtx-pro-6000"));
    let foreign = demand(rtx, &[("4g.96gb+gfx", 1)]);
    assert_eq!(fit(a30, &foreign), Err(FitError::Foreign { board: "A30-24GB".into(), index: 10 }));
    let fitter = Fitter::new(a30, &[]).expect("nothing to prepare");
    assert!(matches!(fitter.fit(&demand(a30, &[("1g.6gb", 1)])), Err(FitError::Foreign { index: 0, .. })));
    for counts in [vec![("1g.6gb", u64::MAX)], vec![("1g.6gb", u64::MAX), ("1g.6gb", 1)]] {
        assert_eq!(fit(a30, &demand(a30, &counts)), Err(FitError::TooLarge));
    }
}

#[test]
fn a_table_that_allows_no_instance_is_refused() {
    let a30 = board("a30");
    let mut profiles = a30.profiles().to_vec();
    profiles[4].max_count = 0;
    let broken = Geometry::try_new(a30.board().clone(), a30.axis(), profiles).expect("a table");
    let error = fit(&broken, &demand(&broken, &[("4g.24gb", 1)])).expect_err("no instance");
    assert_eq!(error.to_string(), "board A30-24GB: its table allows no instance of 4g.24gb at all");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn layouts_are_legal_hold_the_demand_and_are_as_few_as_proven(
        index in 0..17_usize,
        counts in prop::collection::vec(
            prop_oneof![3 => Just(0), 4 => 0..12_u64, 2 => 0..5_000_u64, 1 => 0..2_000_000_000_000_u64],
            11,
        ),
    ) {
        let fitter = &fitters()[index];
        let wanted: Vec<(ProfileId, u64)> = fitter.profiles().iter().copied().zip(counts.iter().copied()).collect();
        let result = fitter.fit(&wanted).expect("an answer");
        check(fitter.geometry, &wanted, &result);
        prop_assert_eq!(fitter.bound(&counts[..wanted.len()]), Some(result.gpus));
        prop_assert_eq!(result.method, FitMethod::ClosedForm);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn only_demanded_profiles_are_cut_and_their_number_is_the_same(
        index in 0..17_usize,
        counts in prop::collection::vec(prop_oneof![Just(0), 0..40_u64], 11),
    ) {
        let fitter = &fitters()[index];
        let wanted: Vec<(ProfileId, u64)> = fitter.profiles().iter().copied().zip(counts).collect();
        let result = fit(fitter.geometry, &wanted).expect("an answer");
        check(fitter.geometry, &wanted, &result);
        prop_assert_eq!(result.gpus, fitter.fit(&wanted).expect("an answer").gpus);
        let unused = |&(id, count): &(ProfileId, u64)| count == 0 && result.spare.iter().any(|&(spare, _)| spare == id);
        prop_assert!(!wanted.iter().any(unused));
    }
}
