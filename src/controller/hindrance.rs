//! What has kept the last plan from more, as far as people can mend it, and whether they have.
//!
//! Inputs: the input of each plan, and each look since. Output: whether the next plan may do more than the last one could. Invariant: what passes by
//! itself (rest after a change, operations under way) never counts as mended, so that the loop does not plan after each of its own operations.

use std::collections::{BTreeMap, BTreeSet};

use crate::exec::Moment;
use crate::model::{PlanningInput, Policy, Reason};

use super::standing::Withdrawal;

/// What the last plan could not use.
#[derive(Debug, Default)]
pub(super) struct Hindrances {
    /// Policy of the last plan; none before the first.
    policy: Option<Policy>,
    /// GPUs that it could use, or that come back by themselves, by node.
    usable: BTreeMap<String, BTreeSet<u32>>,
    /// Since when something is.
    mended: Option<Moment>,
}

/// Whether it ends by itself.
fn passes(reason: Reason) -> bool {
    matches!(reason, Reason::CoolingDown | Reason::WaitingForExecution)
}

impl Hindrances {
    /// Notes what a plan is made with: its input, before anything is taken out of it, and the nodes that are.
    pub(super) fn planned(&mut self, input: &PlanningInput, withdrawn: &BTreeMap<String, Withdrawal>) {
        self.mended = None;
        self.policy = Some(input.policy().clone());
        self.usable = gpus(input, withdrawn, passes);
    }

    /// Notes a look: what can be used now. The nodes that cannot are only asked for where that decides something.
    pub(super) fn note(
        &mut self,
        input: &PlanningInput,
        withdrawn: impl FnOnce() -> BTreeMap<String, Withdrawal>,
        now: Moment,
    ) {
        let Some(policy) = &self.policy else { return };
        // Nobody would be helped by a plan for nobody.
        if self.mended.is_some() || (input.pending().is_empty() && input.unplannable().is_empty()) {
            return;
        }
        let known = |node: &String, index: &u32| self.usable.get(node).is_some_and(|known| known.contains(index));
        let new = |(node, indices): (&String, &BTreeSet<u32>)| indices.iter().any(|index| !known(node, index));
        let mended = policy != input.policy() || gpus(input, &withdrawn(), |_| false).iter().any(new);
        self.mended = mended.then_some(now);
    }

    /// When something was first seen mended since the last plan, while somebody waits.
    pub(super) fn mended(&self) -> Option<Moment> {
        self.mended
    }
}

/// GPUs that nothing keeps out, or only something that does not count.
fn gpus(
    input: &PlanningInput,
    withdrawn: &BTreeMap<String, Withdrawal>,
    passes: impl Fn(Reason) -> bool,
) -> BTreeMap<String, BTreeSet<u32>> {
    let free = |why: Option<&(Reason, String)>| why.is_none_or(|(reason, _)| passes(*reason));
    let nodes = input.nodes().iter().filter(|node| free(withdrawn.get(&node.name)));
    let of = |node: &crate::model::Node| {
        let gpus = input.gpus()[node.gpus.clone()].iter().filter(|gpu| free(gpu.frozen.as_ref()));
        gpus.map(|gpu| gpu.index).collect()
    };
    nodes.map(|node| (node.name.clone(), of(node))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::Cluster;
    use crate::model::{Budgets, GpuId, Limit};

    fn input() -> PlanningInput {
        Cluster::new().node("a", &[&[]]).node("b", &[&[]]).waiting("p", "3g.20gb").observe().input
    }

    fn kept(reason: Reason) -> BTreeMap<String, Withdrawal> {
        [("a".to_owned(), (reason, "why".to_owned()))].into()
    }

    /// Whether it is mended when at first this was kept out, and now that is.
    fn mended(then: &BTreeMap<String, Withdrawal>, input: &PlanningInput, now: &BTreeMap<String, Withdrawal>) -> bool {
        let mut hindrances = Hindrances::default();
        hindrances.note(input, || now.clone(), Moment(0));
        assert!(hindrances.mended().is_none(), "there was no plan yet");
        hindrances.planned(&self::input(), then);
        hindrances.note(input, || now.clone(), Moment(0));
        hindrances.mended().is_some()
    }

    #[test]
    fn what_people_mend_counts_and_what_passes_does_not() {
        let none = BTreeMap::new();
        assert!(!mended(&none, &input(), &none));
        assert!(mended(&kept(Reason::PolicyForbids), &input(), &none), "the plugin tolerates the taint now");
        assert!(mended(&kept(Reason::WaitingForCapacity), &input(), &none), "the agent reports now");
        assert!(!mended(&kept(Reason::WaitingForExecution), &input(), &none), "an operation has ended");
        assert!(!mended(&none, &input(), &kept(Reason::PolicyForbids)), "it has become worse");
        assert!(!mended(&kept(Reason::PolicyForbids), &input(), &kept(Reason::WaitingForExecution)), "not yet");
        let policy = Policy {
            budgets: Budgets { nodes: Some(Limit::Count(2)), ..Budgets::default() },
            ..input().policy().clone()
        };
        assert!(mended(&none, &input().with_policy(policy.clone()), &none), "another budget");
        let nobody = Cluster::new().node("a", &[&[]]).node("b", &[&[]]).observe().input.with_policy(policy);
        assert!(!mended(&none, &nobody, &none), "nobody waits");
        let more = Cluster::new().node("a", &[&[]]).node("b", &[&[], &[]]).waiting("p", "3g.20gb").observe().input;
        assert!(mended(&none, &more, &none), "there is another GPU");
    }

    #[test]
    fn a_gpu_that_may_be_changed_again_counts() {
        let mut hindrances = Hindrances::default();
        for (reason, counts) in [(Reason::PolicyForbids, true), (Reason::CoolingDown, false)] {
            let mut then = input();
            then.freeze_gpu(GpuId::new(1), reason, "why");
            hindrances.planned(&then, &BTreeMap::new());
            hindrances.note(&then, BTreeMap::new, Moment(1));
            assert_eq!(hindrances.mended(), None);
            hindrances.note(&input(), BTreeMap::new, Moment(2));
            hindrances.note(&input(), BTreeMap::new, Moment(3));
            assert_eq!(hindrances.mended(), counts.then_some(Moment(2)), "{reason}");
        }
    }
}
