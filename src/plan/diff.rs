//! What differs between two plans: which GPUs one changes and the other does not, or otherwise.
//!
//! Inputs: two [`Plan`]s, of the same input or of two. Output: a [`PlanDiff`]. Invariant: it is empty exactly when the two
//! do the same to every GPU and evict the same pods; numbers, notes and served pods are not compared.

use std::collections::BTreeMap;

use super::document::{Eviction, GpuChange, NodePlan, Plan, PlannedInstance};

/// A GPU by node and index.
pub type GpuKey = (String, u32);

/// Differences between two plans.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanDiff {
    /// GPUs that only the new plan changes.
    pub added: BTreeMap<GpuKey, GpuChange>,
    /// GPUs that only the old plan changes.
    pub removed: BTreeMap<GpuKey, GpuChange>,
    /// GPUs that both change, differently: the old change and the new one.
    pub changed: BTreeMap<GpuKey, (GpuChange, GpuChange)>,
    /// Pods that only the new plan evicts.
    pub evictions_added: Vec<String>,
    /// Pods that only the old plan evicts.
    pub evictions_removed: Vec<String>,
}

impl PlanDiff {
    /// Whether the two plans do the same.
    pub fn is_empty(&self) -> bool {
        let Self { added, removed, changed, evictions_added, evictions_removed } = self;
        added.is_empty()
            && removed.is_empty()
            && changed.is_empty()
            && evictions_added.is_empty()
            && evictions_removed.is_empty()
    }
}

/// Compares two plans.
pub fn diff(old: &Plan, new: &Plan) -> PlanDiff {
    let (mut before, after) = (gpus(old), gpus(new));
    let mut diff = PlanDiff::default();
    for (key, change) in after {
        match before.remove(&key) {
            None => {
                diff.added.insert(key, change.clone());
            }
            Some(other) if deeds(other) != deeds(change) => {
                diff.changed.insert(key, (other.clone(), change.clone()));
            }
            Some(_) => {}
        }
    }
    diff.removed = before.into_iter().map(|(key, change)| (key, change.clone())).collect();
    let (old, new) = (evictions(old), evictions(new));
    let only = |one: &BTreeMap<(&str, &str), &Eviction>, other: &BTreeMap<(&str, &str), &Eviction>| {
        one.iter().filter(|(pod, _)| !other.contains_key(*pod)).map(|(_, eviction)| eviction.pod.clone()).collect()
    };
    diff.evictions_added = only(&new, &old);
    diff.evictions_removed = only(&old, &new);
    diff
}

fn gpus(plan: &Plan) -> BTreeMap<GpuKey, &GpuChange> {
    let of_node = |node| {
        let NodePlan { name, gpus, evict: _, steps: _ }: &NodePlan = node;
        gpus.iter().map(move |change| ((name.clone(), change.index), change))
    };
    plan.nodes.iter().flat_map(of_node).collect()
}

/// Evictions by pod and UID.
fn evictions(plan: &Plan) -> BTreeMap<(&str, &str), &Eviction> {
    let evictions = plan.nodes.iter().flat_map(|node| &node.evict);
    evictions.map(|eviction| ((eviction.pod.as_str(), eviction.uid.as_str()), eviction)).collect()
}

/// What a change does and to which GPU, whoever holds what: UUID, and instances that are destroyed, created and handed over.
fn deeds(change: &GpuChange) -> (&str, [Vec<Spot<'_>>; 3]) {
    let GpuChange { index: _, uuid, model: _, before: _, after: _, destroy, create, hand_over } = change;
    (uuid, [spots(destroy), spots(create), spots(hand_over)])
}

/// Start, size and profile.
type Spot<'a> = (u8, u8, &'a str);

fn spots(instances: &[PlannedInstance]) -> Vec<Spot<'_>> {
    let mut spots: Vec<Spot<'_>> = instances.iter().map(|i| (i.start, i.size, i.profile.as_str())).collect();
    spots.sort_unstable();
    spots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_json;

    const MOVES: &str = include_str!("../../testdata/plans/valid/moves.json");
    const DISPLACES: &str = include_str!("../../testdata/plans/valid/displaces.json");

    fn plan(text: &str) -> Plan {
        from_json(text, "a committed plan").expect("a plan")
    }

    #[test]
    fn a_plan_does_not_differ_from_itself_with_other_words() {
        let mut other = plan(MOVES);
        other.notes.push("a note".to_owned());
        other.optimality.levels[0].bound += 1;
        other.nodes[0].evict[0].placed_on = Some("gpu-z".to_owned());
        assert!(diff(&plan(MOVES), &other).is_empty());
    }

    #[test]
    fn gpus_and_evictions_of_one_side_only_are_told_apart() {
        let (old, new) = (plan(MOVES), plan(DISPLACES));
        let forth = diff(&old, &new);
        assert_eq!(forth.removed.keys().collect::<Vec<_>>(), [&("gpu-a".to_owned(), 0)]);
        assert_eq!(forth.added.keys().collect::<Vec<_>>(), [&("gpu-b".to_owned(), 0)]);
        assert_eq!(forth.evictions_removed, ["ml/web-0", "ml/web-2"]);
        assert_eq!(forth.evictions_added, ["ml/batch"]);
        assert!(forth.changed.is_empty());
        let back = diff(&new, &old);
        assert_eq!((back.added, back.removed), (forth.removed, forth.added));
        assert_eq!(diff(&old, &Plan { nodes: Vec::new(), ..plan(MOVES) }).removed.len(), 1);
    }

    #[test]
    fn another_change_of_the_same_gpu_shows_both() {
        let (old, mut new) = (plan(MOVES), plan(MOVES));
        new.nodes[0].gpus[0].create.pop();
        let diff = diff(&old, &new);
        let (before, after) = &diff.changed[&("gpu-a".to_owned(), 0)];
        assert_eq!((before.create.len(), after.create.len()), (2, 1));
        assert!(diff.added.is_empty() && diff.removed.is_empty() && !diff.is_empty());
        let mut replaced = plan(MOVES);
        replaced.nodes[0].gpus[0].uuid = "GPU-new".to_owned();
        assert_eq!(super::diff(&old, &replaced).changed.len(), 1, "another board in the same slot");
    }
}
