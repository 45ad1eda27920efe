//! Whether a draft that lost some of its landings still keeps the rules that tie what is gained to what is moved.

use super::scope::Scope;
use super::value::Draft;

/// Whether the moves of every component still gain what the policy's factor asks for, and every displaced pod makes room for somebody.
pub(super) fn pays(scope: &Scope<'_>, draft: &Draft) -> bool {
    if draft.landings.moved.values().any(Option::is_none) {
        return false;
    }
    let factor = i64::from(scope.input.policy().gain_factor.thousandths());
    let mut surplus: Vec<i64> = scope.baselines.iter().map(|baseline| -baseline.saturating_mul(1000)).collect();
    let mut moves = vec![false; surplus.len()];
    for (&pod, node) in &draft.landings.served {
        if let Some(component) = scope.component(node.index()) {
            surplus[component] += scope.weights[pod].saturating_mul(1000);
        }
    }
    for pod in &draft.changes.evicted {
        let of = &scope.input.running()[pod.index()];
        if let Some(component) = scope.component(of.node.index()) {
            surplus[component] -= factor * i64::from(of.cost);
            moves[component] = true;
        }
    }
    surplus.iter().zip(moves).all(|(surplus, moves)| !moves || *surplus >= 0)
}
