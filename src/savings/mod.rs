//! GPUs and money deferred, computed from what happened: one place for the simulator's reports, the command line and the metrics.
//!
//! Inputs: who ran and who waited on which GPUs, at each change ([`State`]), and [`Prices`]. Output: a [`Report`]: how many GPUs the demand
//! needed with layouts that follow it, how many it would have needed under each [`Counterfactual`], for how long the difference was not
//! bought, and what that is worth. Every count is the exact minimum of [`crate::planner::fit`]; nothing is estimated by a factor.
//!
//! Invariants: whole GPUs only; every division rounds down; a state counts for the time that it lasted, so a history gives the same report
//! whether it is observed live or read from a file, in however many pieces; claims about MIG itself and about *dynamic* MIG stay apart.
//!
//! Must not depend on the simulator, adapters, clocks or the environment.

mod account;
mod amount;
mod equal_wait;
mod history;
mod kept;
mod need;
mod prices;
mod report;
mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::account::{Account, Now};
pub use self::amount::{Amount, AmountError};
pub use self::equal_wait::{Needed, needed_at_equal_wait};
pub use self::history::{
    FORMAT, FORMAT_VERSION, Happening, History, HistoryError, HistoryProblem, Pods, Point, read_history, write_history,
};
pub use self::kept::Kept;
pub use self::prices::{Currency, HOUR_MS, MONTH_MS, Price, PriceError, Prices, YEAR_MS};
pub use self::report::{
    BurstReport, CounterfactualReport, ModelReport, REPORT_VERSION, Report, Sensitivity, Split, Total, Worth,
};
pub use self::state::{Instances, ModelState, State};
use crate::model::{Catalogue, Geometry, LookupError};
use crate::planner::fit::FitError;

/// What would have been without layouts that follow the demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counterfactual {
    /// The same pods on the layouts that the GPUs had when they were first seen; what these lack stands on further GPUs, cut the best fixed
    /// way.
    CurrentLayout,
    /// The best layouts that are fixed for the whole time, chosen in hindsight: enough of every profile for its own peak.
    BestStatic,
    /// Whole GPUs per pod.
    WholeGpu,
}

/// Number of [`Counterfactual`]s.
pub(crate) const COUNTERFACTUALS: usize = 3;

impl Counterfactual {
    /// All, the one closest to what people have first.
    pub const ALL: [Self; COUNTERFACTUALS] = [Self::CurrentLayout, Self::BestStatic, Self::WholeGpu];

    /// The name in JSON and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CurrentLayout => "current_layout",
            Self::BestStatic => "best_static",
            Self::WholeGpu => "whole_gpu",
        }
    }
}

/// Why something cannot be accounted for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavingsError {
    /// The GPU model is not known.
    #[error("{source}; write the product name as the driver reports it, or a key that `retile fit` knows")]
    UnknownModel {
        /// As it was written.
        model: String,
        /// What the catalogue says.
        source: LookupError,
    },
    /// The model has no such profile.
    #[error("{model} has no profile `{profile}`; its profiles are {known}")]
    UnknownProfile {
        /// GPU model.
        model: String,
        /// As it was written.
        profile: String,
        /// Profiles that it has.
        known: String,
    },
    /// Time runs backwards.
    #[error("{at} ms comes after {before} ms; put the points into the order of their time")]
    Backwards {
        /// The moment that is too early.
        at: u64,
        /// The moment that was already reached.
        before: u64,
    },
    /// More than any fleet holds.
    #[error("{model}: more pods or instances than can be counted; check the numbers")]
    TooMany {
        /// GPU model.
        model: String,
    },
    /// The number of GPUs cannot be told.
    #[error("{model}: {source}")]
    Fit {
        /// GPU model.
        model: String,
        /// What stands in the way.
        source: FitError,
    },
}

/// Purchases put off by the owner of so many GPUs: what would have had to be bought on top of them, less what has to be bought anyway.
///
/// What is owned already and would not have been needed is not counted: it was bought.
pub fn deferred(counterfactual: u64, dynamic: u64, owned: u64) -> u64 {
    counterfactual.saturating_sub(dynamic.max(owned))
}

/// Accumulates what happened; the same live and from a file.
#[derive(Debug, Clone, Default)]
pub struct Savings {
    boards: BTreeMap<String, Arc<Geometry>>,
    accounts: BTreeMap<String, Account>,
    /// First moment observed.
    from: Option<u64>,
    /// Last moment observed.
    at: u64,
}

impl Savings {
    /// Nothing has happened yet; boards come from the embedded catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses a board's own table for a model, as a device reports it, instead of the catalogue's; from its first state on.
    pub fn board(&mut self, model: &str, geometry: Arc<Geometry>) {
        self.boards.insert(model.to_owned(), geometry);
    }

    /// From `at` on (in milliseconds from any fixed moment) this is the state. Until then the one before it has lasted.
    ///
    /// # Errors
    /// The state cannot be counted, or time runs backwards; nothing is changed then.
    pub fn observe(&mut self, at: u64, state: &State) -> Result<(), SavingsError> {
        if self.from.is_some() && at < self.at {
            return Err(SavingsError::Backwards { at, before: self.at });
        }
        let nothing = ModelState::default();
        let mut next: Vec<(String, Now)> = Vec::new();
        for model in state.keys() {
            self.open(model)?;
        }
        let later = self.from.is_some() && at > self.at;
        for (model, account) in &mut self.accounts {
            next.push((model.clone(), account.prepare(state.get(model).unwrap_or(&nothing), later)?));
        }
        self.advance(at)?;
        for (model, now) in next {
            if let Some(account) = self.accounts.get_mut(&model) {
                account.begin(now);
            }
        }
        Ok(())
    }

    /// The last state has lasted until now.
    ///
    /// # Errors
    /// Time runs backwards.
    pub fn advance(&mut self, at: u64) -> Result<(), SavingsError> {
        let from = *self.from.get_or_insert(at);
        let before = self.at.max(from);
        let ms = at.checked_sub(before).ok_or(SavingsError::Backwards { at, before })?;
        for account in self.accounts.values_mut() {
            account.pass(ms)?;
        }
        self.at = at;
        Ok(())
    }

    /// Work that needed these instances, and so much more running time in milliseconds, went elsewhere.
    ///
    /// # Errors
    /// The model or a profile is not known.
    pub fn burst(&mut self, model: &str, instances: &Instances, rest_ms: u64) -> Result<(), SavingsError> {
        self.open(model)?.burst(instances, rest_ms)
    }

    /// What all this comes to, at the last moment observed.
    ///
    /// # Errors
    /// A number of GPUs cannot be told; for what was observed without an error it can.
    pub fn report(&self, prices: Option<&Prices>) -> Result<Report, SavingsError> {
        let from = self.from.unwrap_or(self.at);
        report::report(&self.accounts, from, self.at, prices)
    }

    /// Whether instances of a model can be counted.
    ///
    /// # Errors
    /// The model or a profile is not known, or its placements are known to the device only.
    pub fn check(&mut self, model: &str, instances: &Instances) -> Result<(), SavingsError> {
        self.open(model)?.check(instances)
    }

    fn open(&mut self, model: &str) -> Result<&mut Account, SavingsError> {
        match self.accounts.entry(model.to_owned()) {
            Entry::Occupied(account) => Ok(account.into_mut()),
            Entry::Vacant(place) => {
                let geometry = match self.boards.get(model) {
                    Some(geometry) => Arc::clone(geometry),
                    None => find(model)?,
                };
                Ok(place.insert(Account::new(model, geometry)))
            }
        }
    }
}

/// A board of the catalogue, by product name or key.
fn find(model: &str) -> Result<Arc<Geometry>, SavingsError> {
    let catalogue = Catalogue::embedded();
    match catalogue.find_by_product(model, None) {
        Ok(geometry) => Ok(Arc::clone(geometry)),
        Err(product) => catalogue.find_by_key(model).map(Arc::clone).map_err(|key| {
            // What looks like a product name is answered as one.
            let source = if model.contains(' ') { product } else { key };
            SavingsError::UnknownModel { model: model.to_owned(), source }
        }),
    }
}
