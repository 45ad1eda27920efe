//! All that a board can be cut into: placed states, maximal layouts, multisets of profiles.
//!
//! Input: a [`Geometry`] and the profiles to use. Output: [`Layout`]s in canonical order. Legality is asked of
//! [`Layout::try_new`] alone, whose rules pass to every part of a layout: a set is extended placement by placement, and what is
//! refused once has no legal extension. Boards have some hundreds to some thousands of states, so nothing is cleverer than that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::geometry::{Geometry, Placement, ProfileId};
use super::layout::Layout;

/// Instances per profile, in the order of [`Geometry::profiles`]; profiles that are not used count 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Multiset(Vec<u8>);

impl Multiset {
    /// Counts the instances of a layout.
    pub fn of(geometry: &Geometry, layout: &Layout) -> Self {
        let mut counts = vec![0; geometry.profiles().len()];
        for placement in layout.placements() {
            counts[placement.profile().index()] += 1;
        }
        Self(counts)
    }

    /// Instances per profile, in the order of [`Geometry::profiles`].
    pub fn counts(&self) -> &[u8] {
        &self.0
    }

    /// Instances of one profile.
    pub fn count(&self, profile: ProfileId) -> u8 {
        self.0[profile.index()]
    }

    /// Whether this has at least as many instances of every profile.
    pub fn contains(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| mine >= theirs)
    }
}

/// Every legal set of placements of some profiles on one board.
///
/// Invariants: the states are ordered and distinct; the first is the empty one.
#[derive(Debug, Clone)]
pub struct Enumeration<'g> {
    geometry: &'g Geometry,
    placements: Vec<Placement>,
    states: Vec<Layout>,
}

impl<'g> Enumeration<'g> {
    /// Enumerates the states that use the given profiles only; a profile whose placements are unknown takes no part.
    pub fn new(geometry: &'g Geometry, profiles: &[ProfileId]) -> Self {
        let mut placements: Vec<Placement> =
            geometry.placements().filter(|placement| profiles.contains(&placement.profile())).collect();
        placements.sort_unstable();
        let mut states = Vec::new();
        extend(geometry, &placements, &mut Vec::new(), &mut states);
        states.sort_unstable();
        Self { geometry, placements, states }
    }

    /// Enumerates the states of all profiles whose placements are known.
    pub fn of_all(geometry: &'g Geometry) -> Self {
        let profiles: Vec<ProfileId> = geometry.profile_ids().collect();
        Self::new(geometry, &profiles)
    }

    /// All legal sets of placements, the empty one included.
    pub fn states(&self) -> &[Layout] {
        &self.states
    }

    /// The layouts to which no placement can be added.
    pub fn maximal(&self) -> Vec<&Layout> {
        let extended: BTreeSet<Vec<Placement>> = self.states.iter().flat_map(one_less).collect();
        self.states.iter().filter(|state| !extended.contains(state.placements())).collect()
    }

    /// The distinct multisets of the states, each with one layout: the one whose larger instances stand first.
    pub fn multisets(&self) -> BTreeMap<Multiset, &Layout> {
        let sizes = |layout: &Layout| Reverse(layout.placements().iter().map(|it| it.size()).collect::<Vec<_>>());
        let mut found: BTreeMap<Multiset, &Layout> = BTreeMap::new();
        for state in &self.states {
            let shown = found.entry(Multiset::of(self.geometry, state)).or_insert(state);
            if sizes(state) < sizes(shown) {
                *shown = state;
            }
        }
        found
    }

    /// The multisets that no other contains, each with one layout.
    pub fn pareto(&self) -> BTreeMap<Multiset, &Layout> {
        let mut all = self.multisets();
        let extended: BTreeSet<Vec<u8>> = all.keys().flat_map(one_fewer).collect();
        all.retain(|multiset, _| !extended.contains(&multiset.0));
        all
    }

    /// All placements of the profiles in use, by start.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }
}

/// Adds every legal extension of `chosen` by later placements.
fn extend(geometry: &Geometry, later: &[Placement], chosen: &mut Vec<Placement>, states: &mut Vec<Layout>) {
    let Ok(state) = Layout::try_new(geometry, chosen.clone()) else { return };
    states.push(state);
    for (index, &placement) in later.iter().enumerate() {
        if chosen.last().is_none_or(|last| last.end() <= placement.start()) {
            chosen.push(placement);
            extend(geometry, &later[index + 1..], chosen, states);
            chosen.pop();
        }
    }
}

/// The sets with one placement less; they too are states.
fn one_less(state: &Layout) -> impl Iterator<Item = Vec<Placement>> + '_ {
    let all = state.placements();
    (0..all.len()).map(move |left_out| [&all[..left_out], &all[left_out + 1..]].concat())
}

/// The multisets with one instance fewer.
fn one_fewer(multiset: &Multiset) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..multiset.0.len()).filter(|&profile| multiset.0[profile] > 0).map(|profile| {
        let mut fewer = multiset.0.clone();
        fewer[profile] -= 1;
        fewer
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Catalogue;

    const LAYOUTS_7_SLICE: &str = include_str!("../../testdata/layouts/seven-slices.txt");
    const LAYOUTS_7_SLICE_DOUBLE: &str = include_str!("../../testdata/layouts/seven-slices-double-memory.txt");

    fn geometry(key: &str) -> &'static Geometry {
        Catalogue::embedded().find_by_key(key).expect("a board of the catalogue")
    }

    fn ids(geometry: &Geometry, names: &[&str]) -> Vec<ProfileId> {
        names.iter().map(|name| geometry.find(name).expect("a profile of the board")).collect()
    }

    /// The plain profiles, and on request the one-slice profile with double memory (NVML enum 9).
    fn plain(geometry: &Geometry, double: bool) -> Vec<ProfileId> {
        let wanted =
            |id: &ProfileId| geometry.profile(*id).nvml_enum <= 4 || (double && geometry.profile(*id).nvml_enum == 9);
        geometry.profile_ids().filter(wanted).collect()
    }

    /// States, maximal layouts, multisets, multisets among the maximal, Pareto-maximal multisets.
    fn numbers(geometry: &Geometry, profiles: &[ProfileId]) -> [usize; 5] {
        let all = Enumeration::new(geometry, profiles);
        let maximal: BTreeSet<Multiset> = all.maximal().iter().map(|layout| Multiset::of(geometry, layout)).collect();
        [all.states().len(), all.maximal().len(), all.multisets().len(), maximal.len(), all.pareto().len()]
    }

    /// Writes the maximal layouts with the profiles' compute slices for names (`1g`; `1g.2x` has double memory).
    fn written(geometry: &Geometry, profiles: &[ProfileId]) -> BTreeSet<String> {
        let show = |placement: &Placement| {
            let profile = geometry.profile(placement.profile());
            let double = if profile.nvml_enum == 9 { ".2x" } else { "" };
            format!("{}g{double}@{}:{}", profile.compute_slices, placement.start(), placement.size())
        };
        let all = Enumeration::new(geometry, profiles);
        all.maximal().iter().map(|it| it.placements().iter().map(show).collect::<Vec<_>>().join(" + ")).collect()
    }

    #[test]
    fn every_seven_slice_board_has_the_published_numbers() {
        let mut boards = 0;
        for geometry in Catalogue::embedded().boards().iter().filter(|geometry| geometry.axis() == 8) {
            boards += 1;
            assert_eq!(numbers(geometry, &plain(geometry, false)), [298, 19, 38, 14, 12], "{}", geometry.board().key);
            assert_eq!(numbers(geometry, &plain(geometry, true)), [723, 78, 78, 38, 28], "{}", geometry.board().key);
        }
        assert_eq!(boards, 15);
    }

    #[test]
    fn four_slice_boards_have_the_published_numbers() {
        for key in ["a30-24gb", "rtx-pro-6000-96gb"] {
            let geometry = geometry(key);
            assert_eq!(numbers(geometry, &plain(geometry, false)), [26, 5, 10, 4, 4], "{key}");
        }
    }

    #[test]
    fn the_maximal_layouts_are_the_published_ones() {
        let a100 = geometry("a100-80gb");
        for (golden, double) in [(LAYOUTS_7_SLICE, false), (LAYOUTS_7_SLICE_DOUBLE, true)] {
            let golden: BTreeSet<String> = golden.lines().map(str::to_owned).collect();
            assert_eq!(written(a100, &plain(a100, double)), golden);
        }
    }

    #[test]
    fn no_state_of_a_seven_slice_board_exceeds_seven_compute_slices() {
        let a100 = geometry("a100-80gb");
        let slices = |state: &Layout| -> u8 {
            state.placements().iter().map(|it| a100.profile(it.profile()).compute_slices).sum()
        };
        assert_eq!(Enumeration::of_all(a100).states().iter().map(slices).max(), Some(7));
    }

    #[test]
    fn states_are_exactly_the_legal_sets_of_placements() {
        let a30 = geometry("a30-24gb");
        let all = Enumeration::of_all(a30);
        let placements = all.placements();
        let subset =
            |bits: u32| (0..placements.len()).filter(move |bit| bits >> bit & 1 == 1).map(|bit| placements[bit]);
        let legal = (0..1_u32 << placements.len()).filter_map(|bits| Layout::try_new(a30, subset(bits).collect()).ok());
        assert_eq!(all.states().iter().cloned().collect::<BTreeSet<_>>(), legal.collect());
        assert_eq!(all.states().first(), Some(&Layout::default()));
        for state in all.states() {
            let extendable = placements
                .iter()
                .any(|&more| Layout::try_new(a30, state.placements().iter().copied().chain([more]).collect()).is_ok());
            assert_eq!(all.maximal().contains(&state), !extendable, "{state:?}");
        }
    }

    #[test]
    fn at_most_one_instance_has_the_media_extensions() {
        for geometry in Catalogue::embedded().boards() {
            let extended: Vec<ProfileId> =
                geometry.profile_ids().filter(|&id| geometry.profile(id).name.ends_with("+me")).collect();
            let all = Enumeration::new(geometry, &extended);
            assert!(all.states().iter().all(|state| state.placements().len() <= 1), "{}", geometry.board().key);
            assert_eq!(all.states().len() > 1, geometry.axis() > 0, "{}", geometry.board().key);
        }
    }

    #[test]
    fn all_media_engines_stand_beside_profiles_without_any_only() {
        let rtx = geometry("rtx-pro-6000");
        let [all, none] = [rtx.find("1g.24gb+me.all"), rtx.find("1g.24gb-me")].map(|id| id.expect("a profile"));
        let with_all: Vec<Multiset> =
            Enumeration::of_all(rtx).multisets().into_keys().filter(|multiset| multiset.count(all) > 0).collect();
        let without: Vec<ProfileId> = rtx.profile_ids().filter(|&id| rtx.profile(id).name.ends_with("-me")).collect();
        for multiset in &with_all {
            let others = rtx.profile_ids().filter(|id| *id != all && !without.contains(id));
            assert_eq!(others.map(|id| multiset.count(id)).sum::<u8>(), 0);
            assert_eq!(multiset.count(all), 1);
        }
        assert!(with_all.iter().any(|multiset| multiset.count(none) == 3));
    }

    #[test]
    fn graphics_profiles_have_their_own_limits_and_share_the_slices() {
        let rtx = geometry("rtx-pro-6000");
        let profiles = ids(rtx, &["1g.24gb", "1g.24gb+gfx", "2g.48gb+gfx", "4g.96gb+gfx"]);
        let most = |id: ProfileId| {
            Enumeration::new(rtx, &profiles).multisets().keys().map(|multiset| multiset.count(id)).max()
        };
        assert_eq!(profiles.iter().map(|&id| most(id)).collect::<Vec<_>>(), [Some(4), Some(4), Some(2), Some(1)]);
        let pair = Enumeration::new(rtx, &profiles[..2]);
        assert_eq!(pair.pareto().len(), 5, "each of four slices holds the one or the other");
    }

    #[test]
    fn a_board_with_unknown_placements_has_the_empty_state_only() {
        let unknown = geometry("rtx-pro-5000");
        assert_eq!(Enumeration::of_all(unknown).states(), [Layout::default()]);
    }
}
