//! From counts to places: which instances may stand where on the GPUs of a node that only tells how many it has.
//!
//! Input: a board, a number of equal GPUs, and the count of instances per profile on all of them together. Output: one
//! legal layout per GPU that together have exactly these counts, or none when no such layouts exist. The search is
//! exact and deterministic; among the answers it prefers GPUs that are cut alike, because that is how nodes are
//! usually set up. A limit on work, counted in steps, bounds what a hostile node can cost.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Geometry, Layout, Placement, ProfileId};

/// Counts of instances by profile.
pub(crate) type Counts = BTreeMap<ProfileId, u32>;

/// Why no layouts were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InferenceError {
    /// There are none.
    Impossible,
    /// The search gave up.
    WorkLimit,
}

/// Cuts looked at before the search gives up; ordinary nodes take fewer than a hundred thousand.
const WORK_LIMIT: u32 = 5_000_000;

/// One way to cut a GPU: instances per profile (in the order of the counts asked for), and where they stand.
struct Cut {
    counts: Vec<u32>,
    placements: Vec<Placement>,
}

/// Finds one layout per GPU.
pub(crate) fn infer(geometry: &Geometry, gpus: usize, counts: &Counts) -> Result<Vec<Vec<Placement>>, InferenceError> {
    let wanted: Vec<(ProfileId, u32)> =
        counts.iter().map(|(&id, &count)| (id, count)).filter(|&(_, n)| n > 0).collect();
    let mut rest: Vec<u32> = wanted.iter().map(|&(_, count)| count).collect();
    if rest.is_empty() {
        return Ok(vec![Vec::new(); gpus]);
    }
    let most = |id: ProfileId| u64::from(geometry.profile(id).max_count) * gpus as u64;
    if wanted.iter().any(|&(id, count)| u64::from(count) > most(id)) {
        return Err(InferenceError::Impossible);
    }
    let mut work = WORK_LIMIT;
    let cuts = all_cuts(geometry, &wanted, &mut work)?;
    let mut search = Search::new(geometry, &wanted, &cuts, work);
    let mut chosen = Vec::with_capacity(gpus);
    if search.fill(gpus, &mut rest, &mut chosen)? {
        Ok(chosen.into_iter().map(|cut| cuts[cut].placements.clone()).collect())
    } else {
        Err(InferenceError::Impossible)
    }
}

/// All ways to cut one GPU, by ascending counts.
fn all_cuts(geometry: &Geometry, wanted: &[(ProfileId, u32)], work: &mut u32) -> Result<Vec<Cut>, InferenceError> {
    let mut cuts = vec![Cut { counts: vec![0; wanted.len()], placements: Vec::new() }];
    // Grow each cut by one profile at a time; what cannot be placed cannot be placed with more beside it either.
    for position in 0..wanted.len() {
        let (_, limit) = wanted[position];
        let mut grown: Vec<Cut> = Vec::new();
        for cut in cuts {
            let mut counts = cut.counts.clone();
            grown.push(cut);
            while counts[position] < limit {
                *work = work.checked_sub(1).ok_or(InferenceError::WorkLimit)?;
                counts[position] += 1;
                match place(geometry, wanted, &counts) {
                    Some(placements) => grown.push(Cut { counts: counts.clone(), placements }),
                    None => break,
                }
            }
        }
        cuts = grown;
    }
    cuts.sort_by(|a, b| a.counts.cmp(&b.counts));
    Ok(cuts)
}

/// Places instances on an empty board, large ones first; `None` when they do not fit.
fn place(geometry: &Geometry, wanted: &[(ProfileId, u32)], counts: &[u32]) -> Option<Vec<Placement>> {
    let mut order: Vec<ProfileId> = Vec::new();
    for (&(profile, _), &count) in wanted.iter().zip(counts) {
        order.extend(std::iter::repeat_n(profile, count as usize));
    }
    order.sort_by_key(|&id| {
        let profile = geometry.profile(id);
        (std::cmp::Reverse(profile.size), profile.starts.len(), id)
    });
    let units: u32 = order.iter().map(|&id| u32::from(geometry.profile(id).size.unwrap_or(u8::MAX))).sum();
    if units > u32::from(geometry.axis()) {
        return None;
    }
    let mut placed = Vec::with_capacity(order.len());
    place_rest(geometry, &order, 0, &mut placed).then_some(placed)
}

fn place_rest(geometry: &Geometry, order: &[ProfileId], taken: u64, placed: &mut Vec<Placement>) -> bool {
    let Some((&profile, rest)) = order.split_first() else {
        return Layout::try_new(geometry, placed.clone()).is_ok();
    };
    // Equal profiles are placed in ascending order, so that each set of places is tried once.
    let after = placed.last().filter(|last| last.profile() == profile).map(|last| last.start());
    for &start in &geometry.profile(profile).starts {
        if after.is_some_and(|after| start <= after) {
            continue;
        }
        let Ok(placement) = geometry.place(profile, start) else { return false };
        let mask = mask(placement);
        if taken & mask == 0 {
            placed.push(placement);
            if place_rest(geometry, rest, taken | mask, placed) {
                return true;
            }
            placed.pop();
        }
    }
    false
}

fn mask(placement: Placement) -> u64 {
    (placement.start()..placement.end()).fold(0, |mask, unit| mask | 1_u64.checked_shl(u32::from(unit)).unwrap_or(0))
}

struct Search<'a> {
    cuts: &'a [Cut],
    /// Per profile: units of the axis and compute slices of one instance.
    sizes: Vec<(u64, u64)>,
    /// Units and compute slices of one GPU.
    room: (u64, u64),
    /// Profiles from the largest to the smallest.
    by_size: Vec<usize>,
    /// States (GPUs left, counts left) that have no answer.
    failed: BTreeSet<(usize, Vec<u32>)>,
    work: u32,
}

impl<'a> Search<'a> {
    fn new(geometry: &Geometry, wanted: &[(ProfileId, u32)], cuts: &'a [Cut], work: u32) -> Self {
        let sizes: Vec<(u64, u64)> = wanted
            .iter()
            .map(|&(id, _)| geometry.profile(id))
            .map(|profile| (u64::from(profile.size.unwrap_or(0)), u64::from(profile.compute_slices)))
            .collect();
        let most = geometry.profiles().iter().map(|profile| u64::from(profile.compute_slices)).max().unwrap_or(0);
        let mut by_size: Vec<usize> = (0..wanted.len()).collect();
        by_size.sort_by_key(|&position| (std::cmp::Reverse(sizes[position]), position));
        Self { cuts, sizes, room: (u64::from(geometry.axis()), most), by_size, failed: BTreeSet::new(), work }
    }

    fn fill(&mut self, gpus: usize, rest: &mut [u32], chosen: &mut Vec<usize>) -> Result<bool, InferenceError> {
        let Some(&largest) = self.by_size.iter().find(|&&position| rest[position] > 0) else {
            // Nothing is left to place: the remaining GPUs stay empty, which is the first cut.
            chosen.extend(std::iter::repeat_n(0, gpus));
            return Ok(true);
        };
        let state = (gpus, rest.to_vec());
        if gpus == 0 || self.too_much(gpus, rest) || self.failed.contains(&state) {
            return Ok(false);
        }
        for cut in self.by_likeness(gpus, rest, largest)? {
            let counts = &self.cuts[cut].counts;
            rest.iter_mut().zip(counts).for_each(|(rest, count)| *rest -= count);
            chosen.push(cut);
            if self.fill(gpus - 1, rest, chosen)? {
                return Ok(true);
            }
            chosen.pop();
            let counts = &self.cuts[cut].counts;
            rest.iter_mut().zip(counts).for_each(|(rest, count)| *rest += count);
        }
        self.failed.insert(state);
        Ok(false)
    }

    /// Whether the rest has more units or compute slices than the GPUs together.
    fn too_much(&self, gpus: usize, rest: &[u32]) -> bool {
        let (units, compute) =
            rest.iter().zip(&self.sizes).fold((0, 0), |sum: (u64, u64), (&count, &(units, compute))| {
                (sum.0 + u64::from(count) * units, sum.1 + u64::from(count) * compute)
            });
        units > gpus as u64 * self.room.0 || compute > gpus as u64 * self.room.1
    }

    /// Cuts that leave no negative rest, those nearest to an even share of the rest first.
    ///
    /// Some GPU must hold the largest instance that is left, and GPUs are alike: so the next one does.
    fn by_likeness(&mut self, gpus: usize, rest: &[u32], largest: usize) -> Result<Vec<usize>, InferenceError> {
        self.work = self.work.checked_sub(self.cuts.len() as u32).ok_or(InferenceError::WorkLimit)?;
        let mut fitting: Vec<(u64, usize)> = self
            .cuts
            .iter()
            .enumerate()
            .filter(|(_, cut)| cut.counts[largest] > 0)
            .filter(|(_, cut)| cut.counts.iter().zip(rest).all(|(count, rest)| count <= rest))
            .map(|(position, cut)| {
                let distance = cut
                    .counts
                    .iter()
                    .zip(rest)
                    .map(|(&count, &rest)| (u64::from(count) * gpus as u64).abs_diff(u64::from(rest)));
                (distance.sum(), position)
            })
            .collect();
        // At equal distance the fuller cut first: it leaves less for the GPUs after it.
        fitting.sort_by_key(|&(distance, position)| (distance, std::cmp::Reverse(position)));
        Ok(fitting.into_iter().map(|(_, position)| position).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::testing::board;

    fn counts(geometry: &Geometry, wanted: &[(&str, u32)]) -> Counts {
        wanted.iter().map(|&(name, count)| (geometry.find(name).expect(name), count)).collect()
    }

    fn check(geometry: &Geometry, gpus: usize, wanted: &[(&str, u32)]) -> Vec<Vec<Placement>> {
        let counts = counts(geometry, wanted);
        let layouts = infer(geometry, gpus, &counts).expect("the counts can be placed");
        assert_eq!(layouts.len(), gpus);
        let mut found = Counts::new();
        for layout in &layouts {
            Layout::try_new(geometry, layout.clone()).expect("legal");
            for placement in layout {
                *found.entry(placement.profile()).or_default() += 1;
            }
        }
        assert_eq!(found, counts);
        layouts
    }

    #[test]
    fn gpus_that_can_be_cut_alike_are() {
        let board = board("NVIDIA A100-SXM4-80GB");
        let layouts = check(&board, 8, &[("1g.10gb", 16), ("2g.20gb", 8), ("3g.40gb", 8)]);
        assert!(layouts.iter().all(|layout| layout == &layouts[0]), "{layouts:?}");
    }

    #[test]
    fn mixed_counts_are_realised_exactly() {
        let board = board("NVIDIA A100-SXM4-80GB");
        check(&board, 8, &[("1g.10gb", 14), ("2g.20gb", 6), ("3g.40gb", 6), ("4g.40gb", 1), ("7g.80gb", 1)]);
        check(&board, 1, &[("4g.40gb", 1), ("3g.40gb", 1)]);
        check(&board, 2, &[("7g.80gb", 2)]);
        check(&board, 3, &[("7g.80gb", 1), ("1g.10gb", 14)]);
        check(&board, 4, &[]);
        check(&board, 3, &[("1g.10gb", 1)]);
    }

    #[test]
    fn tight_counts_are_found() {
        let h100 = board("NVIDIA H100 80GB HBM3");
        let counts = [("1g.10gb", 11), ("1g.20gb", 4), ("2g.20gb", 4), ("3g.40gb", 4), ("4g.40gb", 1), ("7g.80gb", 2)];
        check(&h100, 8, &counts);
        let a100 = board("NVIDIA A100-SXM4-80GB");
        check(&a100, 16, &[("1g.10gb", 30), ("2g.20gb", 14), ("3g.40gb", 14), ("4g.40gb", 1), ("7g.80gb", 1)]);
    }

    #[test]
    fn counts_that_no_layouts_have_are_refused() {
        let board = board("NVIDIA A100-SXM4-80GB");
        for (gpus, wanted) in [
            (1, vec![("2g.20gb", 5)]),
            (1, vec![("7g.80gb", 1), ("1g.10gb", 1)]),
            (1, vec![("4g.40gb", 2)]),
            (2, vec![("3g.40gb", 2), ("7g.80gb", 1), ("1g.10gb", 1)]),
            (1, vec![("1g.10gb+me", 2)]),
            (0, vec![("1g.10gb", 1)]),
            (8, vec![("1g.10gb", u32::MAX)]),
        ] {
            let counts = counts(&board, &wanted);
            assert_eq!(infer(&board, gpus, &counts), Err(InferenceError::Impossible), "{wanted:?}");
        }
    }
}
