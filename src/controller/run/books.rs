//! The savings, fed live: the same function as for a replay.
//!
//! Inputs: observations, prices, and what an earlier leader has kept. Outputs: figures in metrics, and what to keep. A state counts for the time
//! until the next observation; time in which nobody leads is not counted. Needs and deferrals go on from what was kept; counters of metrics count
//! what this process adds, so that whoever sums them up over processes counts nothing twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::kept::Counted;
use super::policy::Wishes;
use crate::exec::Moment;
use crate::model::PlanningInput;
use crate::savings::{Counterfactual, Kept, Prices, Report, Savings, SavingsError, State};
use crate::telemetry::ControllerMetrics;
use crate::telemetry::controller::{ByModel, Money, Otherwise};

/// How often the time that passes is counted while nothing is observed.
const COUNT: Duration = Duration::from_secs(15);

/// The books of this process.
#[derive(Default)]
pub(super) struct Books {
    savings: Savings,
    /// As the savings were taken over.
    before: Savings,
    /// What an earlier leader has kept, until the first observation.
    kept: Vec<Kept>,
    /// Since when is counted, where an earlier leader has begun.
    since: Option<String>,
    /// What was taken over comes to, at these prices.
    earlier: Option<(Option<Prices>, Report)>,
    prices: Option<Prices>,
    known: BTreeSet<String>,
    /// Until when the time is counted.
    counted: Option<Moment>,
}

impl Books {
    /// Uses these prices from now on, for all that was counted.
    pub(super) fn prices(&mut self, wishes: &Wishes) {
        self.prices.clone_from(&wishes.prices);
    }

    /// Goes on with what an earlier leader has kept; to be called before anything is observed.
    pub(super) fn resume(&mut self, kept: Counted) {
        self.since = kept.since;
        self.kept = kept.models;
    }

    /// What to keep.
    pub(super) fn keep(&self) -> Counted {
        Counted { since: self.since.clone(), models: self.savings.kept() }
    }

    fn take_over(&mut self) {
        for kept in std::mem::take(&mut self.kept) {
            // Both or none: it is the same function.
            if let Err(error) = self.savings.resume(&kept).and_then(|()| self.before.resume(&kept)) {
                tracing::warn!(%error, model = kept.model, "savings that an earlier leader has kept cannot be gone on with; they count anew");
            }
        }
    }

    /// From now on this is the state.
    ///
    /// # Errors
    /// It cannot be counted; nothing is changed then.
    pub(super) fn observe(
        &mut self,
        input: &PlanningInput,
        now: Moment,
        state: &State,
        metrics: &ControllerMetrics,
    ) -> Result<(), SavingsError> {
        for gpu in input.gpus() {
            if self.known.insert(gpu.product.clone()) {
                self.savings.board(&gpu.product, Arc::clone(&gpu.geometry));
                self.before.board(&gpu.product, Arc::clone(&gpu.geometry));
            }
        }
        self.take_over();
        self.savings.observe(now.0, state)?;
        if self.counted.is_none() {
            // No time has passed in this state, so there is nothing to tell yet.
            self.counted = Some(now);
            return Ok(());
        }
        self.show(now, metrics)
    }

    /// Time passes.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub(super) fn pass(&mut self, now: Moment, metrics: &ControllerMetrics) -> Result<(), SavingsError> {
        if self.counted.is_none_or(|counted| now.since(counted) < COUNT) {
            return Ok(());
        }
        self.savings.advance(now.0)?;
        self.show(now, metrics)
    }

    fn show(&mut self, now: Moment, metrics: &ControllerMetrics) -> Result<(), SavingsError> {
        self.counted = Some(now);
        if self.earlier.as_ref().is_none_or(|(prices, _)| *prices != self.prices) {
            self.earlier = Some((self.prices.clone(), self.before.report(self.prices.as_ref())?));
        }
        let report = self.savings.report(self.prices.as_ref())?;
        show(&report, self.earlier.as_ref().map(|(_, report)| report), metrics);
        Ok(())
    }
}

fn show(report: &Report, earlier: Option<&Report>, metrics: &ControllerMetrics) {
    let before = |model: &str, counterfactual: Counterfactual| {
        let model = earlier?.models.iter().find(|before| before.model == model)?;
        let row = model.counterfactuals.iter().find(|row| row.counterfactual == counterfactual)?;
        Some(row.deferred_gpu_seconds)
    };
    let mut needed = Vec::new();
    let mut deferred = Vec::new();
    for model in &report.models {
        needed.push((ByModel { model: model.model.clone() }, model.needed as f64));
        for one in &model.counterfactuals {
            let labels = Otherwise { model: model.model.clone(), counterfactual: one.counterfactual.name() };
            let before = before(&model.model, one.counterfactual).unwrap_or(0);
            let added = one.deferred_gpu_seconds.saturating_sub(before);
            metrics.deferred_gpu_seconds.raise_to(labels.clone(), added as f64);
            deferred.push((labels, one.deferred as f64));
        }
    }
    metrics.gpus_needed.replace(needed);
    metrics.deferred_gpus.replace(deferred);
    let Some(currency) = &report.currency else { return };
    for total in &report.totals {
        let Some(worth) = total.worth else { continue };
        let mut earlier = earlier.into_iter().flat_map(|earlier| &earlier.totals);
        let before = earlier.find(|before| before.counterfactual == total.counterfactual);
        let before = before.and_then(|before| before.worth).map_or(0, |worth| worth.amortised.as_micros());
        let labels = Money { currency: currency.clone(), counterfactual: total.counterfactual.name() };
        metrics.deferred_cost.raise_to(labels, worth.amortised.as_micros().saturating_sub(before) as f64 / 1e6);
    }
}
