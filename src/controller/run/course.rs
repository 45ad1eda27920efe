//! What becomes of published plans: which operations carry each out, and what its status says of them.
//!
//! Inputs: reports of the loop, and plans that an earlier leader has left. Outputs: words for the statuses of plans. Pure. Invariants: a plan is over when
//! each of its operations is, and none of it waits for budgets; what is not carried out is told with its node and the reason; a plan of which
//! nothing is carried out is only told as overtaken where that is the reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::{Approval, CycleReport, LeftOut};
use crate::exec::{OperationId, Outcome};
use crate::kube::crd::PlanPhase;

/// Nodes that a status names before it only counts them.
const NAMED: usize = 4;
/// Operations that a status lists.
const LISTED: usize = 256;

/// What the status of a plan is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Name of the plan.
    pub(super) plan: String,
    pub(super) phase: PlanPhase,
    pub(super) detail: String,
    pub(super) operations: Vec<String>,
}

/// A plan that is being carried out.
#[derive(Debug, Default)]
struct Course {
    operations: Vec<OperationId>,
    /// Those that are not over.
    left: BTreeSet<OperationId>,
    outcomes: BTreeMap<&'static str, usize>,
    /// Operations that may not begin, by name, and why.
    forbidden: BTreeMap<OperationId, String>,
    /// Nodes that are not carried out.
    left_out: BTreeMap<String, LeftOut>,
    /// Whether the rest is looked at again.
    goes_on: bool,
}

/// The plans that are being carried out, by name.
#[derive(Debug, Default)]
pub(super) struct Courses(BTreeMap<String, Course>);

impl Courses {
    /// A plan was found that an earlier leader has begun; `under_way` are operations that nodes' records carry.
    pub(super) fn found(&mut self, plan: &str, operations: &[String], under_way: &BTreeSet<OperationId>) {
        let operations: Vec<OperationId> = operations.iter().cloned().map(OperationId).collect();
        let left = operations.iter().filter(|operation| under_way.contains(operation)).cloned().collect();
        self.0.insert(plan.to_owned(), Course { operations, left, ..Course::default() });
    }

    /// Whether a plan is being carried out.
    pub(super) fn hold(&self, plan: &str) -> bool {
        self.0.contains_key(plan)
    }

    /// What became of the word of a person.
    pub(super) fn approved(&mut self, approval: &Approval) -> Word {
        let Approval { name, operations, goes_on, left_out } = approval;
        let known = self.0.contains_key(name);
        if operations.is_empty() && !goes_on && !known {
            let detail = put_aside(left_out);
            return Word { plan: name.clone(), phase: PlanPhase::Superseded, detail, operations: Vec::new() };
        }
        let course = self.0.entry(name.clone()).or_default();
        course.goes_on = *goes_on;
        course.left_out.clone_from(left_out);
        self.begun(name, operations)
    }

    /// Operations carry out what was published under this name.
    pub(super) fn begun(&mut self, plan: &str, operations: &[OperationId]) -> Word {
        let course = self.0.entry(plan.to_owned()).or_default();
        course.operations.extend_from_slice(operations);
        course.left.extend(operations.iter().cloned());
        course.word(plan)
    }

    /// What a report says of them; `waits` is whether an approval that waits for budgets can still be carried out. Plans that are over are forgotten.
    pub(super) fn heard(&mut self, report: &CycleReport, waits: bool) -> Vec<Word> {
        let mut words = Vec::new();
        for (plan, course) in &mut self.0 {
            let changed = course.hear(report);
            course.goes_on &= waits;
            if changed || course.over() {
                words.push(course.word(plan));
            }
        }
        self.0.retain(|_, course| !course.over());
        words
    }
}

impl Course {
    fn over(&self) -> bool {
        self.left.is_empty() && !self.goes_on
    }

    /// Takes in what a report says; whether the status is to say something else.
    fn hear(&mut self, report: &CycleReport) -> bool {
        let mut changed = false;
        for (node, operation, why) in &report.forbidden {
            if self.left.contains(operation) {
                self.forbidden.insert(operation.clone(), format!("{operation} cannot begin on {node}: {why}"));
                changed = true;
            }
        }
        for started in &report.started {
            changed |= self.forbidden.remove(&started.operation).is_some();
        }
        for (_, operation, outcome, _) in &report.ended {
            if self.left.remove(operation) {
                self.forbidden.remove(operation);
                *self.outcomes.entry(ending(*outcome)).or_default() += 1;
            }
        }
        changed
    }

    fn word(&self, plan: &str) -> Word {
        let mut parts = Vec::new();
        let phase = if self.over() {
            let ended: Vec<String> = self.outcomes.iter().map(|(how, count)| format!("{count} {how}")).collect();
            parts.push(match ended.as_slice() {
                [] => "all its operations are over".to_owned(),
                ended => format!("all its operations are over: {}", ended.join(", ")),
            });
            PlanPhase::Finished
        } else {
            let listed: Vec<&str> = self.operations.iter().map(|operation| operation.0.as_str()).collect();
            match listed.as_slice() {
                [] => {}
                listed => parts.push(format!("operations: {}", listed.join(", "))),
            }
            parts.extend(self.forbidden.values().cloned());
            PlanPhase::Executing
        };
        parts.extend(told(&self.left_out));
        let operations = self.operations.iter().take(LISTED).map(ToString::to_string).collect();
        Word { plan: plan.to_owned(), phase, detail: parts.join("; "), operations }
    }
}

fn ending(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Done) => "done",
        Some(Outcome::RolledBack) => "rolled back",
        Some(Outcome::Aborted) => "given up before anything was changed",
        Some(Outcome::NodeGone) => "ended because the node is gone",
        Some(Outcome::Degraded) => "left the node degraded",
        None => "led by somebody else",
    }
}

/// Why nothing of a plan is carried out.
fn put_aside(left_out: &BTreeMap<String, LeftOut>) -> String {
    let moved = left_out.values().all(|why| matches!(why, LeftOut::Moved(_)));
    let why =
        if moved { "the world has moved, and nothing of it was carried out" } else { "nothing of it was carried out" };
    let told = told(left_out).map_or_else(String::new, |told| format!(": {told}"));
    format!("{why}{told}")
}

/// Nodes that are not carried out, with why.
fn told(left_out: &BTreeMap<String, LeftOut>) -> Option<String> {
    // Those that could be mended before those that are overtaken.
    let mut nodes: Vec<(&String, &LeftOut)> = left_out.iter().collect();
    nodes.sort_by_key(|(_, why)| matches!(why, LeftOut::Moved(_)));
    let more = nodes.len().saturating_sub(NAMED);
    let mut parts: Vec<String> = nodes.iter().take(NAMED).map(|(node, why)| format!("node {node}: {why}")).collect();
    parts.extend((more > 0).then(|| format!("and {more} more nodes")));
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::{Cause, Started};
    use crate::model::Reason;

    fn id(name: &str) -> OperationId {
        OperationId(name.to_owned())
    }

    fn approval(operations: &[&str], goes_on: bool, left_out: &[(&str, LeftOut)]) -> Approval {
        Approval {
            name: "plan-1".to_owned(),
            operations: operations.iter().map(|name| id(name)).collect(),
            goes_on,
            left_out: left_out.iter().map(|(node, why)| ((*node).to_owned(), why.clone())).collect(),
        }
    }

    fn ended(operation: &str, outcome: Outcome) -> CycleReport {
        let ended = vec![("n".to_owned(), id(operation), Some(outcome), String::new())];
        CycleReport { ended, ..CycleReport::default() }
    }

    fn alone() -> LeftOut {
        LeftOut::Alone(Reason::PolicyForbids, "the plugin stays away".to_owned())
    }

    #[test]
    fn a_plan_of_nodes_that_are_left_alone_says_so_and_not_that_the_world_has_moved() {
        let word = Courses::default().approved(&approval(&[], false, &[("a", alone())]));
        assert_eq!(word.phase, PlanPhase::Superseded);
        assert_eq!(
            word.detail,
            "nothing of it was carried out: node a: left alone: PolicyForbids: the plugin stays away"
        );
        let moved = LeftOut::Moved("another change of it would be proposed now");
        let word = Courses::default().approved(&approval(&[], false, &[("a", moved.clone())]));
        assert!(word.detail.starts_with("the world has moved"), "{}", word.detail);
        let nodes = ["a", "b", "c", "d", "e", "f"];
        let many: Vec<(&str, LeftOut)> =
            nodes.map(|node| (node, moved.clone())).into_iter().chain([("z", alone())]).collect();
        let word = Courses::default().approved(&approval(&[], false, &many));
        assert!(
            word.detail.contains("carried out: node z: left alone") && word.detail.ends_with("and 3 more nodes"),
            "{}",
            word.detail
        );
    }

    #[test]
    fn a_plan_is_over_with_its_last_operation_and_says_how_they_ended() {
        let mut courses = Courses::default();
        let word = courses.approved(&approval(&["op-1", "op-2"], false, &[("b", alone())]));
        assert_eq!((word.phase, word.operations.len()), (PlanPhase::Executing, 2));
        assert!(word.detail.starts_with("operations: op-1, op-2; node b: left alone"), "{}", word.detail);
        assert_eq!(courses.heard(&ended("op-1", Outcome::Done), true), []);
        let words = courses.heard(&ended("op-2", Outcome::RolledBack), true);
        assert_eq!(words.len(), 1);
        assert_eq!(words[0].phase, PlanPhase::Finished);
        assert!(words[0].detail.starts_with("all its operations are over: 1 done, 1 rolled back; node b"), "{words:?}");
        assert_eq!(courses.heard(&CycleReport::default(), true), [], "it is told once");
    }

    #[test]
    fn what_waits_for_budgets_is_not_over_until_nobody_looks_at_it_any_more() {
        let room = LeftOut::NoRoom("the budgets leave room for 0 nodes now".to_owned());
        let mut courses = Courses::default();
        let word = courses.approved(&approval(&["op-1"], true, &[("b", room)]));
        assert!(
            word.detail.ends_with("node b: waits: BudgetExhausted: the budgets leave room for 0 nodes now"),
            "{word:?}"
        );
        assert_eq!(courses.heard(&ended("op-1", Outcome::Done), true), []);
        let word = courses.approved(&approval(&["op-2"], false, &[]));
        assert_eq!((word.phase, word.operations), (PlanPhase::Executing, vec!["op-1".to_owned(), "op-2".to_owned()]));
        assert_eq!(courses.heard(&ended("op-2", Outcome::Done), true)[0].detail, "all its operations are over: 2 done");
        courses.approved(&approval(&[], true, &[]));
        assert_eq!(courses.heard(&CycleReport::default(), false)[0].phase, PlanPhase::Finished, "the mode is another");
    }

    #[test]
    fn an_operation_that_may_not_begin_is_told_until_it_may() {
        let mut courses = Courses::default();
        courses.begun("plan-1", &[id("op-1")]);
        let forbidden = vec![("n".to_owned(), id("op-1"), "no rights".to_owned())];
        let words = courses.heard(&CycleReport { forbidden, ..CycleReport::default() }, true);
        assert_eq!(words[0].detail, "operations: op-1; op-1 cannot begin on n: no rights");
        let started = Started {
            node: "n".to_owned(),
            operation: id("op-1"),
            cause: Cause::Planned,
            gpus: Vec::new(),
            victims: Vec::new(),
            beneficiaries: Vec::new(),
        };
        let words = courses.heard(&CycleReport { started: vec![started], ..CycleReport::default() }, true);
        assert_eq!(words[0].detail, "operations: op-1");
    }

    #[test]
    fn a_plan_that_an_earlier_leader_has_begun_is_finished_with_what_is_left_of_it() {
        let mut courses = Courses::default();
        let operations = ["op-1".to_owned(), "op-2".to_owned()];
        courses.found("plan-1", &operations, &[id("op-2"), id("op-9")].into());
        courses.found("plan-0", &operations, &BTreeSet::new());
        let words = courses.heard(&CycleReport::default(), true);
        assert_eq!(words.iter().map(|word| word.plan.as_str()).collect::<Vec<_>>(), ["plan-0"]);
        let words = courses.heard(&ended("op-2", Outcome::Done), true);
        assert_eq!((words[0].plan.as_str(), words[0].phase), ("plan-1", PlanPhase::Finished));
    }
}
