//! Demands of one GPU model as numbers, and the GPUs that they need.
//!
//! Invariants: a demand counts the profiles in the order of the board's table; the answer is the exact minimum of [`crate::planner::fit`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Instances, SavingsError};
use crate::model::{Geometry, ProfileId};
use crate::planner::fit::Counter;

/// Instances per profile, in the order of the board's table.
pub(super) type Demand = Vec<u64>;

/// A board, prepared for the profiles that were asked for so far.
#[derive(Debug, Clone)]
pub(super) struct Need {
    model: String,
    geometry: Arc<Geometry>,
    counter: Option<Counter>,
}

impl Need {
    /// Prepares nothing yet.
    pub(super) fn new(model: &str, geometry: Arc<Geometry>) -> Self {
        Self { model: model.to_owned(), geometry, counter: None }
    }

    /// Demand for nothing.
    pub(super) fn nothing(&self) -> Demand {
        vec![0; self.geometry.profiles().len()]
    }

    /// Adds the instances of so many pods (or GPUs).
    pub(super) fn add(&self, demand: &mut Demand, instances: &Instances, times: u64) -> Result<(), SavingsError> {
        for (name, &count) in instances {
            let id = self.geometry.find(name).ok_or_else(|| self.unknown(name))?;
            let more = u64::from(count).checked_mul(times);
            let sum = more.and_then(|more| demand[id.index()].checked_add(more));
            demand[id.index()] = sum.filter(|&sum| sum <= MOST).ok_or_else(|| self.too_many())?;
        }
        Ok(())
    }

    /// A demand by the names of profiles, those without any left out.
    pub(super) fn named(&self, demand: &Demand) -> BTreeMap<String, u64> {
        let profiles = self.geometry.profiles().iter().zip(demand).filter(|&(_, &count)| count > 0);
        profiles.map(|(profile, &count)| (profile.name.clone(), count)).collect()
    }

    /// The demand of these names.
    pub(super) fn demand(&self, named: &BTreeMap<String, u64>) -> Result<Demand, SavingsError> {
        let mut demand = self.nothing();
        for (name, &count) in named {
            let id = self.geometry.find(name).ok_or_else(|| self.unknown(name))?;
            demand[id.index()] = Some(count).filter(|&count| count <= MOST).ok_or_else(|| self.too_many())?;
        }
        Ok(demand)
    }

    pub(super) fn too_many(&self) -> SavingsError {
        SavingsError::TooMany { model: self.model.clone() }
    }

    fn unknown(&self, profile: &str) -> SavingsError {
        let known = self.geometry.profiles().iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>();
        SavingsError::UnknownProfile { model: self.model.clone(), profile: profile.to_owned(), known: known.join(", ") }
    }

    /// The fewest GPUs for a demand.
    pub(super) fn gpus(&mut self, demand: &Demand) -> Result<u64, SavingsError> {
        let fails = |source| SavingsError::Fit { model: self.model.clone(), source };
        let asked = |id: &ProfileId| demand[id.index()] > 0;
        let prepared = self.counter.as_ref().map_or(&[][..], Counter::profiles);
        if self.geometry.profile_ids().filter(asked).any(|id| prepared.binary_search(&id).is_err()) {
            let profiles: Vec<ProfileId> =
                self.geometry.profile_ids().filter(|id| asked(id) || prepared.binary_search(id).is_ok()).collect();
            self.counter = Some(Counter::new(&self.geometry, &profiles).map_err(fails)?);
        }
        let Some(counter) = &self.counter else { return Ok(0) };
        let counts: Vec<u64> = counter.profiles().iter().map(|id| demand[id.index()]).collect();
        counter.gpus(&counts).map_err(fails)
    }

    /// Milliseconds of whole GPUs that some time of these instances stands for: their share of the placement axis, rounded down.
    pub(super) fn share(&self, instances: &Instances, ms: u64) -> Result<u128, SavingsError> {
        let mut units = 0_u128;
        for (name, &count) in instances {
            let id = self.geometry.find(name).ok_or_else(|| self.unknown(name))?;
            units += u128::from(count) * u128::from(self.geometry.profile(id).size.unwrap_or(0));
        }
        Ok((units * u128::from(ms)).checked_div(u128::from(self.geometry.axis())).unwrap_or(0))
    }
}

/// More instances of one profile than any fleet holds; sums stay far from the range of the arithmetic.
pub(super) const MOST: u64 = 1_000_000_000;
