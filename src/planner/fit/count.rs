//! The number alone, for those who ask it often: prepared once, owned, without layouts.

use retile_solver::minimum::Machine;

use super::{FitError, Fitter};
use crate::model::{Geometry, ProfileId};

/// A board prepared for the question how many of it a demand needs.
#[derive(Debug, Clone)]
pub struct Counter {
    profiles: Vec<ProfileId>,
    machine: Machine,
}

impl Counter {
    /// Prepares a board for demands of some profiles.
    ///
    /// # Errors
    /// A profile of another board, or one that cannot be placed.
    pub fn new(geometry: &Geometry, profiles: &[ProfileId]) -> Result<Self, FitError> {
        let Fitter { geometry: _, profiles, machine, layouts: _ } = Fitter::new(geometry, profiles)?;
        Ok(Self { profiles, machine })
    }

    /// Profiles in use, in the order of the board's table.
    pub fn profiles(&self) -> &[ProfileId] {
        &self.profiles
    }

    /// The fewest GPUs for a demand, which counts the profiles in the order of [`Self::profiles`].
    ///
    /// # Errors
    /// Counts out of range, a failure of the solver.
    pub fn gpus(&self, demand: &[u64]) -> Result<u64, FitError> {
        self.machine.minimum(demand).map(|minimum| minimum.machines).map_err(FitError::from)
    }
}
