//! The order of destructions and creations, between random pairs of legal layouts of every kind of board.
mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use proptest::sample::Index;
use retile::model::{Board, Geometry, Layout, MediaEngines, Placement, Profile};
use retile::plan::{GpuChange, PlannedInstance, Step, StepAction, StepError, steps};
use support::boards;

/// A board with room for more instances than a GPU takes, and with a profile that it takes only twice.
static WIDE: LazyLock<Arc<Geometry>> = LazyLock::new(|| {
    let mut board: Board = boards::A30.board().clone();
    "WIDE".clone_into(&mut board.key);
    let profile = |name: &str, size: u8, max_count: u8, media| Profile {
        name: name.to_owned(),
        max_count,
        media,
        size: Some(size),
        starts: (0..=12 - size).collect(),
        ..boards::A30.profiles()[0].clone()
    };
    let profiles = vec![
        profile("1g.1gb", 1, 12, MediaEngines::Standard),
        profile("1g.1gb+me", 1, 1, MediaEngines::Extended),
        profile("2g.2gb", 2, 2, MediaEngines::Standard),
        profile("1g.1gb-me", 1, 8, MediaEngines::None),
    ];
    Arc::new(Geometry::try_new(board, 12, profiles).expect("the table is well-formed"))
});

fn geometry() -> impl Strategy<Value = Arc<Geometry>> {
    prop::sample::select(vec![&boards::A30, &boards::A100, &boards::RTX6000, &WIDE]).prop_map(|board| Arc::clone(board))
}

/// Puts placements onto a board, one after the other, as far as they fit.
fn layout(geometry: &Geometry, choices: &[Index]) -> Vec<Placement> {
    let all: Vec<Placement> = geometry.placements().collect();
    let mut layout = Vec::new();
    for choice in choices {
        let mut tried = layout.clone();
        tried.push(*choice.get(&all));
        if Layout::try_new(geometry, tried.clone()).is_ok() {
            layout = tried;
        }
    }
    layout.sort_unstable();
    layout
}

fn change(geometry: &Geometry, before: &[Placement], after: &[Placement]) -> GpuChange {
    let show = |placements: &mut dyn Iterator<Item = &Placement>| -> Vec<PlannedInstance> {
        placements
            .map(|placement| PlannedInstance {
                start: placement.start(),
                size: placement.size(),
                profile: geometry.profile(placement.profile()).name.clone(),
                pods: Vec::new(),
                occupancy_unknown: false,
            })
            .collect()
    };
    GpuChange {
        index: 3,
        uuid: "GPU-3".to_owned(),
        model: "test".to_owned(),
        before: show(&mut before.iter()),
        after: show(&mut after.iter()),
        destroy: show(&mut before.iter().filter(|placement| !after.contains(placement))),
        create: show(&mut after.iter().filter(|placement| !before.contains(placement))),
        hand_over: Vec::new(),
    }
}

fn placement(geometry: &Geometry, step: &Step) -> Placement {
    let profile = geometry.find(&step.instance.profile).expect("a profile of the board");
    geometry.place(profile, step.instance.start).expect("a place of the board")
}

fn legal(geometry: &Geometry, placements: &BTreeSet<Placement>) -> bool {
    Layout::try_new(geometry, placements.iter().copied().collect()).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_layout_on_the_way_is_legal_and_nothing_is_destroyed_too_early(
        geometry in geometry(),
        first in prop::collection::vec(any::<Index>(), 0..24),
        second in prop::collection::vec(any::<Index>(), 0..24),
    ) {
        let (before, after) = (layout(&geometry, &first), layout(&geometry, &second));
        let change = change(&geometry, &before, &after);
        let steps = steps(&change, &geometry).expect("both layouts are legal");
        prop_assert_eq!(steps.len(), change.destroy.len() + change.create.len());

        let mut state: BTreeSet<Placement> = before.iter().copied().collect();
        for (position, step) in steps.iter().enumerate() {
            let found: Vec<(u8, &str)> =
                step.precondition.iter().map(|place| (place.start, place.profile.as_str())).collect();
            let expected: Vec<(u8, &str)> =
                state.iter().map(|p| (p.start(), geometry.profile(p.profile()).name.as_str())).collect();
            prop_assert_eq!(found, expected, "the precondition is the layout before the step");
            prop_assert_eq!((step.gpu, step.uuid.as_str()), (3, "GPU-3"));
            let instance = placement(&geometry, step);
            match step.action {
                StepAction::Create => prop_assert!(state.insert(instance)),
                StepAction::Destroy => {
                    for later in steps[position..].iter().filter(|later| later.action == StepAction::Create) {
                        let mut early = state.clone();
                        early.insert(placement(&geometry, later));
                        prop_assert!(!legal(&geometry, &early), "{:?} could come before {:?}", later, step);
                    }
                    prop_assert!(state.remove(&instance));
                }
            }
            prop_assert!(legal(&geometry, &state), "illegal after {:?}", step);
        }
        prop_assert_eq!(state, after.iter().copied().collect::<BTreeSet<_>>());
    }
}

fn on(geometry: &Geometry, spots: &[(&str, u8)]) -> Vec<Placement> {
    let place = |&(name, start)| geometry.place(geometry.find(name).expect("a profile"), start).expect("a place");
    spots.iter().map(place).collect()
}

fn spelled(steps: &[Step]) -> Vec<String> {
    let spell = |step: &Step| {
        let sign = if step.action == StepAction::Create { '+' } else { '-' };
        format!("{sign}{}@{}", step.instance.profile, step.instance.start)
    };
    steps.iter().map(spell).collect()
}

#[test]
fn what_stands_in_nobodys_way_goes_last() {
    let before = on(&boards::A100, &[("1g.10gb", 0), ("1g.10gb", 1), ("1g.10gb", 4), ("1g.10gb", 6)]);
    let after = on(&boards::A100, &[("1g.10gb", 2), ("1g.10gb", 3), ("2g.20gb", 4)]);
    let steps = steps(&change(&boards::A100, &before, &after), &boards::A100).expect("legal");
    let expected = ["+1g.10gb@2", "+1g.10gb@3", "-1g.10gb@4", "+2g.20gb@4", "-1g.10gb@0", "-1g.10gb@1", "-1g.10gb@6"];
    assert_eq!(spelled(&steps), expected);
}

#[test]
fn media_engines_are_given_back_before_they_are_taken_elsewhere() {
    let before = on(&boards::A100, &[("1g.10gb+me", 6), ("1g.10gb", 0)]);
    let after = on(&boards::A100, &[("1g.10gb+me", 1), ("1g.10gb", 2)]);
    let steps = steps(&change(&boards::A100, &before, &after), &boards::A100).expect("legal");
    assert_eq!(spelled(&steps), ["+1g.10gb@2", "-1g.10gb+me@6", "+1g.10gb+me@1", "-1g.10gb@0"]);
}

#[test]
fn no_gpu_ever_holds_more_than_eight_instances() {
    let ones = |range: std::ops::Range<u8>| range.map(|start| ("1g.1gb", start)).collect::<Vec<_>>();
    let before = on(&WIDE, &ones(0..8));
    let after = on(&WIDE, &ones(4..12));
    let steps = steps(&change(&WIDE, &before, &after), &WIDE).expect("legal");
    assert_eq!(spelled(&steps)[..4], ["-1g.1gb@0", "+1g.1gb@8", "-1g.1gb@1", "+1g.1gb@9"]);
}

#[test]
fn an_illegal_end_has_no_steps() {
    let before = on(&boards::A100, &[("3g.40gb", 0)]);
    let after = on(&boards::A100, &[("3g.40gb", 0), ("1g.10gb", 3)]);
    let error = steps(&change(&boards::A100, &before, &after), &boards::A100).expect_err("they overlap");
    assert!(matches!(error, StepError::Layout { which: "after", .. }), "{error}");
}
