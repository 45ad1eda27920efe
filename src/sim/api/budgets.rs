//! Disruption budgets: how an eviction draws on one, and what their controller makes of the pods.

use std::collections::BTreeSet;

use super::ApiServer;
use super::objects::{Amount, Budget, BudgetRule, BudgetStatus, Name, Owner, Pod};
use super::store::Objects;

/// How long a granted eviction that no deletion follows holds the budget, in milliseconds.
pub const DELETION_TIMEOUT: u64 = 120_000;
/// Granted evictions that a budget can remember.
const MOST_DISRUPTED: usize = 2000;

/// Why a budget grants nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimError {
    /// Its controller has not yet seen what it demands now.
    Outdated,
    /// Nothing is left.
    Exhausted,
    /// It cannot be drawn on at all.
    Forbidden(&'static str),
}

impl Budget {
    /// Whether an unready pod may be evicted without drawing on the budget.
    pub(super) fn lets_unhealthy_go(&self) -> bool {
        self.always_allow_unhealthy || (self.status.healthy >= self.status.desired && self.status.desired > 0)
    }

    /// Evictions that it allows now; none where its status is older than what it demands.
    pub(super) fn allows(&self) -> u32 {
        if self.status.observed < self.meta.generation { 0 } else { u32::try_from(self.status.allowed).unwrap_or(0) }
    }

    /// The status that the controller writes for the pods as it sees them.
    pub fn judge(&self, objects: &Objects, now: u64) -> BudgetStatus {
        let pods: Vec<&Pod> =
            objects.pods.values().map(AsRef::as_ref).filter(|pod| self.covers(pod) && !pod.finished()).collect();
        let disrupted = self.status.disrupted.iter().filter(|(name, since)| {
            let waits = now.saturating_sub(**since) < DELETION_TIMEOUT;
            waits && pods.iter().any(|pod| pod.meta.name.name == **name && !pod.deleting())
        });
        let disrupted: std::collections::BTreeMap<String, u64> =
            disrupted.map(|(name, since)| (name.clone(), *since)).collect();
        let healthy = |pod: &&&Pod| pod.ready && !pod.deleting() && !disrupted.contains_key(&pod.meta.name.name);
        let healthy = pods.iter().filter(healthy).count() as u32;
        let (expected, desired) = self.expectation(&pods);
        let allowed = if expected == 0 { 0 } else { i64::from(healthy.saturating_sub(desired)) };
        BudgetStatus { observed: self.meta.generation, allowed, healthy, desired, expected, disrupted }
    }

    /// How many pods there should be, and how many of them healthy.
    fn expectation(&self, pods: &[&Pod]) -> (u32, u32) {
        // The scale of the owners: each piece of work is one replica of an owner of its own. A pod that nobody makes again belongs to none.
        let owned = || pods.iter().filter(|pod| pod.owner != Owner::None);
        let scale = || owned().map(|pod| pod.work().unwrap_or(&pod.meta.name.name)).collect::<BTreeSet<_>>().len();
        match self.rule {
            BudgetRule::MinAvailable(Amount::Count(least)) => (pods.len() as u32, least),
            BudgetRule::MinAvailable(share @ Amount::Percent(_)) => (scale() as u32, share.of(scale() as u32)),
            BudgetRule::MaxUnavailable(most) => {
                let scale = scale() as u32;
                (scale, scale.saturating_sub(most.of(scale)))
            }
        }
    }
}

impl ApiServer {
    /// Draws one eviction from a budget and notes the pod, unless only asked.
    pub(super) fn claim(&mut self, now: u64, budget: &Name, pod: &str, dry_run: bool) -> Result<(), ClaimError> {
        let Some(found) = self.objects().budgets.get(budget).cloned() else { return Ok(()) };
        if found.status.observed < found.meta.generation {
            return Err(ClaimError::Outdated);
        }
        if found.status.allowed < 0 {
            return Err(ClaimError::Forbidden("pdb disruptions allowed is negative"));
        }
        if found.status.disrupted.len() > MOST_DISRUPTED {
            return Err(ClaimError::Forbidden("DisruptedPods map too big - too many evictions not confirmed"));
        }
        if found.status.allowed == 0 {
            return Err(ClaimError::Exhausted);
        }
        if !dry_run {
            self.modify_budget(now, budget, |budget| {
                budget.status.allowed -= 1;
                budget.status.disrupted.insert(pod.to_owned(), now);
            });
        }
        Ok(())
    }

    /// The disruption controller's work: writes the status of every budget. Returns when it must look again for a grant to expire.
    pub fn control_budgets(&mut self, now: u64) -> Option<u64> {
        let judged: Vec<(Name, BudgetStatus)> = self
            .objects()
            .budgets
            .values()
            .map(|budget| (budget.meta.name.clone(), budget.judge(self.objects(), now)))
            .collect();
        let mut again = None;
        for (name, status) in judged {
            let expires = status.disrupted.values().min().map(|since| since.saturating_add(DELETION_TIMEOUT));
            again = again.into_iter().chain(expires).min();
            self.modify_budget(now, &name, |budget| budget.status = status);
        }
        again
    }
}
