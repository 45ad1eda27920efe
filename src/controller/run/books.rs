//! The savings, fed live: the same function as for a replay.
//!
//! Inputs: observations and prices. Output: figures in metrics. A state counts for the time until the next observation; time in which this
//! process does not lead is not counted. The layouts that the counterfactual `current_layout` starts from are those of this process's first
//! observation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::policy::Wishes;
use crate::exec::Moment;
use crate::model::PlanningInput;
use crate::savings::{Prices, Report, Savings, SavingsError, State};
use crate::telemetry::ControllerMetrics;
use crate::telemetry::controller::{ByModel, Money, Otherwise};

/// How often the time that passes is counted while nothing is observed.
const COUNT: Duration = Duration::from_secs(15);

/// The books of this process.
#[derive(Default)]
pub(super) struct Books {
    savings: Savings,
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
            }
        }
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
        show(&self.savings.report(self.prices.as_ref())?, metrics);
        Ok(())
    }
}

fn show(report: &Report, metrics: &ControllerMetrics) {
    let mut needed = Vec::new();
    let mut deferred = Vec::new();
    for model in &report.models {
        needed.push((ByModel { model: model.model.clone() }, model.needed as f64));
        for one in &model.counterfactuals {
            let labels = Otherwise { model: model.model.clone(), counterfactual: one.counterfactual.name() };
            metrics.deferred_gpu_seconds.raise_to(labels.clone(), one.deferred_gpu_seconds as f64);
            deferred.push((labels, one.deferred as f64));
        }
    }
    metrics.gpus_needed.replace(needed);
    metrics.deferred_gpus.replace(deferred);
    let Some(currency) = &report.currency else { return };
    for total in &report.totals {
        let Some(worth) = total.worth else { continue };
        let labels = Money { currency: currency.clone(), counterfactual: total.counterfactual.name() };
        metrics.deferred_cost.raise_to(labels, worth.amortised.as_micros() as f64 / 1e6);
    }
}
