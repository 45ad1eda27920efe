//! How many GPUs of one board a demand needs, and layouts that realise it.
//!
//! Input: a [`Geometry`] and counts of its profiles. Output: the exact minimum number of empty GPUs and, for each different
//! layout, on how many of them it is cut. The work does not grow with the counts: 10¹² instances are as good as ten.
//!
//! Invariants of a result: every layout is legal, the layouts together hold the demand, their number is `gpus`, and
//! `bound ≤ gpus` is proven. Only the demanded profiles are cut.

use std::collections::BTreeMap;

use retile_solver::minimum::{Machine, MinimumError, Patterns};

pub use retile_solver::minimum::Method as FitMethod;

use crate::model::{Enumeration, Geometry, Layout, Multiset, ProfileId};

mod count;

pub use count::Counter;

/// Why a demand has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Only a device knows where the profile can stand.
    #[error(
        "board {board}: the placements of {profile} are not in the catalogue; read them from a device with nvidia-smi mig -lgipp"
    )]
    NotPlaceable {
        /// Key of the board.
        board: String,
        /// Profile in question.
        profile: String,
    },
    /// The table lets no instance of the profile stand on an empty board.
    #[error("board {board}: its table allows no instance of {profile} at all")]
    NeverFits {
        /// Key of the board.
        board: String,
        /// Profile in question.
        profile: String,
    },
    /// The profile is not one that the question was prepared for, or it belongs to another board.
    #[error("board {board}: profile number {index} is not part of this question")]
    Foreign {
        /// Key of the board.
        board: String,
        /// Position of the profile.
        index: usize,
    },
    /// The counts are out of range.
    #[error("the demand has 2^63 instances or more; ask for less")]
    TooLarge,
    /// The solver gave no answer.
    #[error("no answer for this demand: {0}")]
    Solver(MinimumError),
}

impl From<MinimumError> for FitError {
    fn from(error: MinimumError) -> Self {
        match error {
            MinimumError::TooLarge => Self::TooLarge,
            error @ (MinimumError::Length { .. }
            | MinimumError::Shape(_)
            | MinimumError::NoPattern(_)
            | MinimumError::Program(_)) => Self::Solver(error),
        }
    }
}

/// Fewest GPUs for a demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FitResult {
    /// Number of GPUs, the sum of the counts in `layouts`.
    pub gpus: u64,
    /// Proven lower bound; `gpus` is the exact minimum when they are equal, which they are on every board of the catalogue.
    pub bound: u64,
    /// How many GPUs are cut into which layout, in canonical order; no count is zero.
    pub layouts: Vec<(u64, Layout)>,
    /// Instances beyond the demand that fit on the same GPUs, for the profiles that have any.
    pub spare: Vec<(ProfileId, u64)>,
    /// How the minimum was found.
    pub method: FitMethod,
}

/// A board prepared for questions about some of its profiles.
#[derive(Debug, Clone)]
pub struct Fitter<'g> {
    geometry: &'g Geometry,
    /// Profiles in use; their order is that of the solver's part types.
    profiles: Vec<ProfileId>,
    machine: Machine,
    /// A layout for each pattern of the machine.
    layouts: BTreeMap<Vec<u64>, Layout>,
}

impl<'g> Fitter<'g> {
    /// Enumerates the layouts of some profiles and derives their closed form.
    ///
    /// # Errors
    /// A profile of another board, or one that cannot be placed.
    pub fn new(geometry: &'g Geometry, profiles: &[ProfileId]) -> Result<Self, FitError> {
        let mut profiles = profiles.to_vec();
        profiles.sort_unstable();
        profiles.dedup();
        let board = || geometry.board().key.clone();
        for &id in &profiles {
            if id.index() >= geometry.profiles().len() {
                return Err(FitError::Foreign { board: board(), index: id.index() });
            }
            if !geometry.profile(id).placeable() {
                return Err(FitError::NotPlaceable { board: board(), profile: geometry.profile(id).name.clone() });
            }
        }
        let counts = |multiset: &Multiset| profiles.iter().map(|&id| u64::from(multiset.count(id))).collect::<Vec<_>>();
        let layouts: BTreeMap<Vec<u64>, Layout> = Enumeration::new(geometry, &profiles)
            .pareto()
            .into_iter()
            .map(|(multiset, layout)| (counts(&multiset), layout.clone()))
            .collect();
        let patterns = Patterns::try_new(profiles.len(), layouts.keys().cloned()).map_err(|error| match error {
            MinimumError::NoPattern(kind) => {
                FitError::NeverFits { board: board(), profile: geometry.profile(profiles[kind]).name.clone() }
            }
            error @ (MinimumError::Length { .. }
            | MinimumError::Shape(_)
            | MinimumError::TooLarge
            | MinimumError::Program(_)) => FitError::Solver(error),
        })?;
        Ok(Self { geometry, profiles, machine: Machine::new(patterns), layouts })
    }

    /// The solver's view of the board: patterns and closed form, with the part types in the order of [`Self::profiles`].
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Profiles in use, in the order of the board's table.
    pub fn profiles(&self) -> &[ProfileId] {
        &self.profiles
    }

    /// The proven lower bound alone, by the closed form in some tens of nanoseconds; on every board of the catalogue it is the exact
    /// minimum. `demand` counts the profiles in the order of [`Self::profiles`]; `None` where no closed form is known.
    pub fn bound(&self, demand: &[u64]) -> Option<u64> {
        self.machine.closed_form().and_then(|form| form.machines(demand))
    }

    /// The fewest GPUs and layouts that realise them. A profile that is named twice counts twice.
    ///
    /// # Errors
    /// A profile that this was not prepared for, counts out of range, a failure of the solver.
    pub fn fit(&self, demand: &[(ProfileId, u64)]) -> Result<FitResult, FitError> {
        let mut wanted = vec![0_u64; self.profiles.len()];
        for &(id, count) in demand {
            let kind = self
                .profiles
                .binary_search(&id)
                .map_err(|_| FitError::Foreign { board: self.geometry.board().key.clone(), index: id.index() })?;
            wanted[kind] = wanted[kind].checked_add(count).ok_or(FitError::TooLarge)?;
        }
        let minimum = self.machine.minimum(&wanted)?;
        let patterns = self.machine.patterns().as_slice();
        let used = || patterns.iter().zip(minimum.counts.iter().copied()).filter(|&(_, count)| count > 0);
        let spare = self.profiles.iter().zip(&wanted).enumerate().filter_map(|(kind, (&id, &need))| {
            let offered =
                used().fold(0_u64, |sum, (pattern, count)| sum.saturating_add(pattern[kind].saturating_mul(count)));
            (offered > need).then_some((id, offered - need))
        });
        Ok(FitResult {
            gpus: minimum.machines,
            bound: minimum.bound,
            spare: spare.collect(),
            layouts: used().map(|(pattern, count)| (count, self.layouts[pattern].clone())).collect(),
            method: minimum.method,
        })
    }
}

/// The fewest empty GPUs of a board that hold a demand, with layouts that realise it.
///
/// # Errors
/// A profile of another board or without known placements, counts out of range, a failure of the solver.
pub fn fit(geometry: &Geometry, demand: &[(ProfileId, u64)]) -> Result<FitResult, FitError> {
    let demanded: Vec<(ProfileId, u64)> = demand.iter().copied().filter(|&(_, count)| count > 0).collect();
    let profiles: Vec<ProfileId> = demanded.iter().map(|&(id, _)| id).collect();
    Fitter::new(geometry, &profiles)?.fit(&demanded)
}

#[cfg(test)]
mod tests;
