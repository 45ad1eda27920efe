//! Why nodes of a plan that a person approved are not carried out.
//!
//! Inputs: the approved plan, and what planning anew came to. Output: a reason per node without an operation. Pure. Invariant: what is left alone,
//! or finds no room in the budgets, is never told as a world that has moved.

use std::collections::BTreeMap;

use crate::exec::Operation;
use crate::model::{PlanningInput, Reason};
use crate::plan::{NodePlan, Plan};

use super::admit::Room;
use super::propose::Proposal;
use super::report::LeftOut;
use super::standing::Withdrawal;

/// What planning anew came to.
pub(super) struct Fates<'a> {
    /// Nodes that were left alone.
    pub(super) withdrawn: &'a BTreeMap<String, Withdrawal>,
    /// What was planned with.
    pub(super) input: &'a PlanningInput,
    pub(super) proposal: &'a Proposal,
    /// What is left of the budgets beside the operations that begin.
    pub(super) room: Room,
}

impl Fates<'_> {
    /// Nodes of the approved plan that have no operation.
    pub(super) fn left_out(
        &self,
        plan: &Plan,
        operations: &BTreeMap<String, Operation>,
        put_off: &[String],
    ) -> BTreeMap<String, LeftOut> {
        let changes = plan.nodes.iter().filter(|node| !node.gpus.is_empty() && !operations.contains_key(&node.name));
        changes.map(|node| (node.name.clone(), self.why(node, put_off))).collect()
    }

    fn why(&self, node: &NodePlan, put_off: &[String]) -> LeftOut {
        if let Some((reason, why)) = self.alone(node) {
            return LeftOut::Alone(reason, why);
        }
        let lacks = self.room.lacks(node.gpus.len(), node.evict.len());
        if let Some(lacks) = lacks.or_else(|| put_off.contains(&node.name).then(|| "together with others".to_owned())) {
            return LeftOut::NoRoom(lacks);
        }
        LeftOut::Moved(match self.proposal.nodes.iter().find(|proposed| proposed.name == node.name) {
            _ if self.input.node_named(&node.name).is_none() => "it has no GPUs in MIG mode any more",
            None => "no change of it would be proposed any more",
            Some(proposed) if proposed != node => "another change of it would be proposed now",
            Some(_) => "what it hangs together with on other nodes would not be proposed any more",
        })
    }

    /// Why the node, or a GPU of it that is to change, is left alone.
    fn alone(&self, node: &NodePlan) -> Option<(Reason, String)> {
        if let Some(withdrawn) = self.withdrawn.get(&node.name) {
            return Some(withdrawn.clone());
        }
        let id = self.input.node_named(&node.name)?;
        let gpus = &self.input.gpus()[self.input.nodes()[id.index()].gpus.clone()];
        let changes = |index: u32| node.gpus.iter().any(|change| change.index == index);
        let frozen =
            gpus.iter().filter(|gpu| changes(gpu.index)).find_map(|gpu| Some((gpu.index, gpu.frozen.as_ref()?)));
        let (index, (reason, why)) = frozen?;
        Some((*reason, format!("GPU {index}: {why}")))
    }
}
