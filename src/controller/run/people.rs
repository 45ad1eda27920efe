//! What people are told of a cycle, object by object.
//!
//! Input: a [`Cycle`]. Output: notices for events. Pure. Invariants: a pod is told once per change, not once per cycle; a pod that only waits for
//! its time to come is told nothing; at most [`MOST`] pods are told in one cycle.

use std::collections::BTreeMap;

use super::reports::Cycle;
use crate::controller::Cause;
use crate::exec::Outcome;
use crate::kube::live::{Happened, Notice, RefusedPolicy, Regarding};
use crate::model::{Mode, PodRef, Reason, count};
use crate::plan::ServedBy;

/// Pods that are told something in one cycle.
const MOST: usize = 64;

/// What pods were told last.
#[derive(Debug, Default)]
pub(super) struct People {
    told: BTreeMap<PodRef, String>,
    /// Why policies are refused, as it was told.
    refused: BTreeMap<String, String>,
}

impl People {
    /// What is to be told.
    pub(super) fn notices(&mut self, cycle: &Cycle) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (pod, happened, note) in self.pods(cycle) {
            notices.push(Notice { regarding: Regarding::Pod(pod), happened, note });
        }
        for started in &cycle.report.started {
            let cause = match started.cause {
                Cause::Planned => {
                    format!("makes room for {}", count(started.beneficiaries.len() as u64, "waiting pod"))
                }
                Cause::Adopted => "was left by an earlier leader and is seen through".to_owned(),
                Cause::Repair(why) => format!("repairs the node: {why}"),
            };
            let operation = &started.operation;
            let note = format!("operation {operation} {cause}; pods to evict: {}", started.victims.len());
            notices.extend(of_node(&started.node, Happened::OperationStarted, &note));
            for pod in &started.victims {
                let note = format!(
                    "operation {operation} on {} evicts it, so that others can run; the plan has a place for it where one is needed",
                    started.node
                );
                notices.push(Notice { regarding: Regarding::Pod(pod.clone()), happened: Happened::Evicted, note });
            }
        }
        for (node, operation, outcome, detail) in &cycle.report.ended {
            let Some((happened, what)) = ending(*outcome) else { continue };
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            notices.extend(of_node(node, happened, &format!("operation {operation} {what}{detail}")));
        }
        notices
    }

    /// What is to be told of policies that are refused now: once per change.
    pub(super) fn policies(&mut self, refused: Vec<RefusedPolicy>) -> Vec<Notice> {
        let before = std::mem::take(&mut self.refused);
        let mut notices = Vec::new();
        for RefusedPolicy { name, uid, why } in refused {
            if before.get(&name) != Some(&why) {
                let regarding = Regarding::MigPolicy(name.clone(), uid);
                notices.push(Notice { regarding, happened: Happened::PolicyInvalid, note: why.clone() });
            }
            self.refused.insert(name, why);
        }
        notices
    }

    /// Pods about which something else is true than what they were told last.
    fn pods(&mut self, cycle: &Cycle) -> Vec<(PodRef, Happened, String)> {
        let Some(plan) = &cycle.plan else { return Vec::new() };
        let mut now: BTreeMap<PodRef, (Happened, String)> = BTreeMap::new();
        let then = match cycle.mode {
            Mode::Observe => "nothing is changed, because the mode is Observe",
            Mode::Recommend => "it is carried out once a person approves the plan",
            Mode::Act => "it is carried out as far as the budgets allow",
        };
        for served in plan.served.iter().filter(|served| served.by == ServedBy::Change) {
            if let Some((namespace, name)) = served.pod.split_once('/') {
                let pod = PodRef { namespace: namespace.into(), name: name.into(), uid: served.uid.clone() };
                let note = format!("the plan makes room for it on node {}; {then}", served.node);
                now.insert(pod, (Happened::Planned, note));
            }
        }
        for unserved in cycle.report.planned.iter().flat_map(|planned| &planned.why) {
            // Its time comes by itself, or the operation for it has been told.
            let passes = matches!(unserved.reason, Reason::CoolingDown | Reason::WaitingForExecution);
            if let Some(pod) = cycle.waiting.get(&unserved.pod).filter(|_| !passes) {
                let note = format!("{}: {}; {}", unserved.reason, unserved.detail, unserved.action);
                now.insert(pod.clone(), (Happened::NotPlanned, note));
            }
        }
        let mut changed = Vec::new();
        for (pod, (happened, note)) in &now {
            if self.told.get(pod) != Some(note) && changed.len() < MOST {
                self.told.insert(pod.clone(), note.clone());
                changed.push((pod.clone(), *happened, note.clone()));
            }
        }
        self.told.retain(|pod, _| now.contains_key(pod));
        changed
    }
}

/// The same for the node and for its record.
fn of_node(node: &str, happened: Happened, note: &str) -> [Notice; 2] {
    [Regarding::Node(node.to_owned()), Regarding::MigNode(node.to_owned())].map(|regarding| Notice {
        regarding,
        happened,
        note: note.to_owned(),
    })
}

/// How an operation ended, for people; nothing where somebody else leads it.
fn ending(outcome: Option<Outcome>) -> Option<(Happened, &'static str)> {
    match outcome? {
        Outcome::Done => Some((Happened::OperationDone, "is done: the node advertises the new layout")),
        Outcome::RolledBack => Some((Happened::OperationGivenUp, "was rolled back: the boards are as before")),
        Outcome::Aborted => Some((Happened::OperationGivenUp, "was given up before anything was changed")),
        Outcome::NodeGone => Some((Happened::OperationGivenUp, "ended because the node is gone")),
        Outcome::Degraded => Some((
            Happened::Degraded,
            "reached neither the new layout nor the old one; the node keeps its taint and needs people",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::run::Counted;
    use crate::controller::{CycleReport, Planned, Started};
    use crate::exec::OperationId;
    use crate::plan::UnservedPod;

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "ml".into(), name: name.into(), uid: format!("uid-{name}") }
    }

    fn unserved(name: &str, reason: Reason) -> UnservedPod {
        UnservedPod { pod: format!("ml/{name}"), reason, detail: "why".into(), action: "do".into() }
    }

    /// An operation that evicts somebody for these.
    fn started(beneficiaries: Vec<PodRef>) -> Started {
        Started {
            node: "n".into(),
            operation: OperationId("op-1".into()),
            cause: Cause::Planned,
            gpus: Vec::new(),
            victims: vec![pod("v")],
            beneficiaries,
        }
    }

    fn cycle(why: Vec<UnservedPod>) -> Cycle {
        let waiting = why.iter().map(|it| (it.pod.clone(), pod(&it.pod[3..]))).collect();
        let report = CycleReport { planned: Some(Planned { why, ..Planned::default() }), ..CycleReport::default() };
        let plan = crate::plan::from_json(
            include_str!("../../../testdata/plans/valid/nothing-changes.json"),
            "nothing-changes.json",
        );
        Cycle {
            report: Box::new(report),
            plan: plan.ok().map(Into::into),
            mode: Mode::Act,
            waiting,
            savings: Counted::default(),
        }
    }

    #[test]
    fn a_pod_is_told_once_per_change() {
        let mut people = People::default();
        let blocked = cycle(vec![unserved("a", Reason::BlockedByPod), unserved("b", Reason::CoolingDown)]);
        let told = people.notices(&blocked);
        assert_eq!(told.len(), 1, "who only waits for its time is told nothing: {told:?}");
        assert_eq!((&told[0].regarding, told[0].happened), (&Regarding::Pod(pod("a")), Happened::NotPlanned));
        assert_eq!(told[0].note, "BlockedByPod: why; do");
        assert!(people.notices(&blocked).is_empty());
        assert_eq!(people.notices(&cycle(vec![unserved("a", Reason::BudgetExhausted)])).len(), 1);
        assert!(people.notices(&cycle(Vec::new())).is_empty());
        assert_eq!(people.notices(&blocked).len(), 1, "it had gone, and is back");
    }

    #[test]
    fn a_policy_that_is_refused_is_told_once_per_change() {
        let mut people = People::default();
        let refused = |why: &str| vec![RefusedPolicy { name: "default".into(), uid: "1".into(), why: why.into() }];
        let told = people.policies(refused("no such zone"));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].regarding, Regarding::MigPolicy("default".into(), "1".into()));
        assert_eq!((told[0].happened, told[0].note.as_str()), (Happened::PolicyInvalid, "no such zone"));
        assert!(people.policies(refused("no such zone")).is_empty());
        assert_eq!(people.policies(refused("no such price")).len(), 1);
        assert!(people.policies(Vec::new()).is_empty());
        assert_eq!(people.policies(refused("no such price")).len(), 1, "it was mended, and is broken again");
    }

    #[test]
    fn nodes_and_victims_hear_of_operations() {
        let mut people = People::default();
        let mut cycle = cycle(Vec::new());
        cycle.report.started.push(started(vec![pod("p")]));
        let ended = |outcome| ("n".to_owned(), OperationId("op-1".into()), outcome, String::new());
        cycle.report.ended = vec![ended(Some(Outcome::Done)), ended(Some(Outcome::Degraded)), ended(None)];
        let told = people.notices(&cycle);
        let happened: Vec<_> = told.iter().map(|notice| notice.happened).collect();
        let expected = [
            Happened::OperationStarted,
            Happened::OperationStarted,
            Happened::Evicted,
            Happened::OperationDone,
            Happened::OperationDone,
            Happened::Degraded,
            Happened::Degraded,
        ];
        assert_eq!(happened, expected);
    }

    #[test]
    fn every_reason_that_events_have_is_sent() {
        let mut people = People::default();
        let mut cycle = cycle(vec![unserved("a", Reason::BlockedByPod)]);
        let moves = crate::plan::from_json(include_str!("../../../testdata/plans/valid/moves.json"), "moves.json");
        cycle.plan = moves.ok().map(Into::into);
        cycle.report.started.push(started(Vec::new()));
        let outcomes = [Outcome::Done, Outcome::RolledBack, Outcome::Degraded];
        let ended = outcomes.map(|outcome| ("n".into(), OperationId("op-1".into()), Some(outcome), String::new()));
        cycle.report.ended.extend(ended);
        let refused = RefusedPolicy { name: "default".into(), uid: String::new(), why: "no such zone".into() };
        let told = people.notices(&cycle).into_iter().chain(people.policies(vec![refused]));
        let sent: std::collections::BTreeSet<Happened> = told.map(|notice| notice.happened).collect();
        assert_eq!(sent, Happened::ALL.map(|(happened, _)| happened).into());
    }
}
