//! Nodes that the controller leaves alone whatever is planned for them, told beside what is planned.
//!
//! Inputs: a listing with what it tells of nodes, and the planning input that was made of it. Output: a reason per node, by the function that the
//! controller itself uses. What only the controller remembers (how long a node rests after a failed operation) is not known here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::output::Streams;
use crate::cli::show::names::clean;
use crate::controller;
use crate::kube::live::Sights;
use crate::model::{PlanningInput, Reason};

/// How long an agent that writes every 15 s may be silent, by clocks of two machines.
pub(super) const SILENCE: Duration = Duration::from_mins(2);
/// Nodes that are named before the rest is counted.
const MOST: usize = 6;

/// Nodes that are left alone, with why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LeftAlone(BTreeMap<String, (Reason, String)>);

impl LeftAlone {
    /// Those of a cluster.
    pub(crate) fn of(sights: &Sights, input: &PlanningInput) -> Self {
        if !sights.anybody() {
            return Self::default();
        }
        Self(controller::left_alone(&sights.observation(input.clone()), sights.silent(), SILENCE))
    }

    /// Why a node is left alone.
    pub(crate) fn why(&self, node: &str) -> Option<String> {
        let (reason, why) = self.0.get(node)?;
        Some(format!("{reason}: {}", clean(why)))
    }

    /// Whether all of these nodes are left alone, and there are any.
    pub(crate) fn all<'a>(&self, mut nodes: impl Iterator<Item = &'a str>) -> bool {
        nodes.next().is_some_and(|first| self.0.contains_key(first)) && nodes.all(|node| self.0.contains_key(node))
    }

    /// Says which of these nodes are left alone, and why.
    pub(crate) fn tell<'a>(&self, nodes: impl Iterator<Item = &'a str>, streams: &mut Streams<'_>) {
        let alone: Vec<(&str, String)> = nodes.filter_map(|node| Some((node, self.why(node)?))).collect();
        for (node, why) in alone.iter().take(MOST) {
            streams.note(&format!(
                "note: the controller leaves node {} alone and carries out nothing there: {why}\n",
                clean(node)
            ));
        }
        if let Some(more) = alone.len().checked_sub(MOST).filter(|more| *more > 0) {
            streams
                .note(&format!("note: and {more} more such nodes; `retile explain gpu NODE/INDEX --live` tells why\n"));
        }
    }
}
