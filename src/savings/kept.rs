//! What is kept of the books so that another process can go on with them: a few numbers per GPU model, whatever the size of the fleet.
//!
//! Invariants: who goes on with what was kept gets the same needs and the same deferred time as who never stopped, apart from the time in between,
//! which nobody saw. What is kept of first layouts is their sum: it counts for the next process only while as many GPUs are there as then; else the
//! first layouts are those that it sees itself. How long each demand lasted is not kept: [`Report`](super::Report)s of quantiles start anew.

use std::collections::BTreeMap;

use super::account::Account;
use super::need::Demand;
use super::{COUNTERFACTUALS, Savings, SavingsError};

/// The books of one GPU model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// GPU model.
    pub model: String,
    /// For how long was counted, in milliseconds.
    pub elapsed_ms: u64,
    /// GPUs that are there.
    pub gpus: u64,
    /// Instances of their first layouts, by profile.
    pub first_layouts: BTreeMap<String, u64>,
    /// Most instances asked for at once, by profile.
    pub peaks: BTreeMap<String, u64>,
    /// Most GPUs needed at once.
    pub most_needed: u64,
    /// Most GPUs needed at once with whole GPUs per pod.
    pub most_whole: u64,
    /// Most GPUs that were there at once.
    pub most_owned: u64,
    /// Milliseconds of GPUs not bought, in the order of [`Counterfactual::ALL`](super::Counterfactual::ALL).
    pub deferred_ms: [u64; COUNTERFACTUALS],
}

impl Savings {
    /// What to keep of the books as they are, ordered by model.
    pub fn kept(&self) -> Vec<Kept> {
        let of = |(model, account): (&String, &Account)| Kept { model: model.clone(), ..account.kept() };
        self.accounts.iter().map(of).collect()
    }

    /// Goes on with what was kept of a model. To be called before a state of it is observed.
    ///
    /// # Errors
    /// The model or a profile is not known; nothing is changed then.
    pub fn resume(&mut self, kept: &Kept) -> Result<(), SavingsError> {
        let known = self.accounts.contains_key(&kept.model);
        let resumed = self.open(&kept.model)?.resume(kept);
        if resumed.is_err() && !known {
            self.accounts.remove(&kept.model);
        }
        resumed
    }
}

impl Account {
    /// What to keep, without the name of the model.
    fn kept(&self) -> Kept {
        let narrow = |ms: u128| u64::try_from(ms).unwrap_or(u64::MAX);
        Kept {
            model: String::new(),
            elapsed_ms: narrow(self.elapsed),
            gpus: self.now.base.layouts.len() as u64,
            first_layouts: self.need.named(&self.now.base.offered),
            peaks: self.need.named(&self.peaks),
            most_needed: self.most_dynamic,
            most_whole: self.most_whole,
            most_owned: self.owned,
            deferred_ms: self.deferred_ms.map(narrow),
        }
    }

    fn resume(&mut self, kept: &Kept) -> Result<(), SavingsError> {
        let Kept { model: _, elapsed_ms, gpus, first_layouts, peaks, most_needed, most_whole, most_owned, deferred_ms } =
            kept;
        let offered = self.need.demand(first_layouts)?;
        self.peaks = self.need.demand(peaks)?;
        self.first = Some((*gpus, offered));
        self.most_dynamic = *most_needed;
        self.most_whole = *most_whole;
        self.owned = *most_owned;
        self.elapsed = u128::from(*elapsed_ms);
        self.deferred_ms = deferred_ms.map(u128::from);
        self.known = None;
        Ok(())
    }

    /// What first layouts that were kept have beyond the layouts that the same GPUs have in the first state that is seen.
    pub(super) fn beyond(&self, gpus: u64, offered: &Demand) -> Option<Vec<i64>> {
        let (_, first) = self.first.as_ref().filter(|(then, _)| *then == gpus)?;
        Some(first.iter().zip(offered).map(|(first, now)| first.cast_signed() - now.cast_signed()).collect())
    }
}
