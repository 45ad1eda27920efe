//! Preemption: deletes pods of lower priority where that makes room for a pod that fits nowhere.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Scheduler;
use super::room::Room;
use crate::sim::api::{ApiServer, Deletion, Disruption, Node, Pod};

/// Pods to delete on a node.
struct Choice {
    node: String,
    victims: Vec<Rc<Pod>>,
    /// Victims whose budget allows no disruption; fewest first, but no obstacle.
    violations: usize,
}

impl Scheduler {
    /// Makes room for a pod; true if pods were deleted.
    pub(super) fn preempt(&mut self, api: &mut ApiServer, now: u64, pod: &Rc<Pod>) -> bool {
        if !pod.preempts || self.waits_for_victims(pod) {
            return false;
        }
        let nodes = self.cache.objects.nodes.values();
        let choices = nodes.filter_map(|node| self.victims(node, pod));
        let rank = |choice: &Choice| {
            let highest = choice.victims.iter().map(|victim| victim.priority).max();
            (choice.violations, highest, choice.victims.len(), choice.node.clone())
        };
        let Some(choice) = choices.min_by_key(rank) else { return false };
        for victim in &choice.victims {
            let uid = Some(victim.meta.uid.clone());
            let same = api.objects().pods.get(&victim.meta.name).is_some_and(|found| found.meta.uid == victim.meta.uid);
            if same {
                api.modify_pod(now, &victim.meta.name, |pod| pod.disruption = Some(Disruption::Preempted));
                // Gone in the meantime is as good.
                let _ = api.delete_pod(now, &victim.meta.name, &Deletion { uid, ..Deletion::default() });
            }
        }
        api.modify_pod(now, &pod.meta.name, |pod| pod.nominated = Some(choice.node.clone()));
        self.nominated.insert(pod.meta.name.clone(), (choice.node, Rc::clone(pod)));
        true
    }

    /// Whether room was already made and the victims are still on their way out.
    fn waits_for_victims(&self, pod: &Pod) -> bool {
        let Some((node, _)) = self.nominated.get(&pod.meta.name) else { return false };
        let lower = |other: &&Rc<Pod>| other.priority < pod.priority && other.deleting() && !other.finished();
        self.cache.objects.bound_to(node).any(|other| lower(&other))
    }

    /// The fewest pods of lower priority without which a node has room.
    fn victims(&self, node: &Node, pod: &Pod) -> Option<Choice> {
        let asks = |other: &Pod| other.requests.keys().any(|resource| pod.requests.contains_key(resource));
        let mut lower: Vec<Rc<Pod>> = self
            .cache
            .objects
            .bound_to(&node.meta.name.name)
            .filter(|other| other.priority < pod.priority && !other.finished() && !other.deleting() && asks(other))
            .cloned()
            .collect();
        lower.sort_by(|a, b| {
            (b.priority, a.meta.created, &a.meta.name).cmp(&(a.priority, b.meta.created, &b.meta.name))
        });
        let mut given_up = Room::default();
        for other in &lower {
            given_up.take(other);
        }
        if lower.is_empty() || !self.fits(node, pod, &given_up) {
            return None;
        }
        let mut spared = BTreeSet::new();
        for other in &lower {
            given_up.give(other);
            if self.fits(node, pod, &given_up) {
                spared.insert(other.meta.uid.clone());
            } else {
                given_up.take(other);
            }
        }
        lower.retain(|other| !spared.contains(&other.meta.uid));
        let protected =
            |other: &&Rc<Pod>| self.cache.objects.budgets_of(other).any(|budget| budget.status.allowed <= 0);
        let violations = lower.iter().filter(protected).count();
        Some(Choice { node: node.meta.name.name.clone(), victims: lower, violations })
    }
}
