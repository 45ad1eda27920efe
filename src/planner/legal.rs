//! Whether a draft that lost some of its landings still keeps the rules that tie what is gained to what is moved.

use super::scope::Scope;
use super::value::Draft;

/// Whether the moves still gain what the policy's factor asks for, and nobody is displaced for pods that did not land after all.
pub(super) fn pays(scope: &Scope<'_>, draft: &Draft) -> bool {
    if draft.landings.moved.values().any(Option::is_none) {
        return false;
    }
    let Some(baseline) = scope.baseline.filter(|_| !draft.changes.evicted.is_empty()) else { return true };
    let factor = i64::from(scope.input.policy().gain_factor.thousandths());
    let served: i64 = draft.landings.served.keys().map(|&pod| scope.weights[pod]).sum();
    let cost: i64 = draft.changes.evicted.iter().map(|pod| i64::from(scope.input.running()[pod.index()].cost)).sum();
    served.saturating_sub(baseline).saturating_mul(1000) >= factor.saturating_mul(cost)
}
