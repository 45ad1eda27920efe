//! How the `MigPolicy` objects are received, as it stands in their statuses.
//!
//! Inputs: the policies as the index has them, which of them is in force, and what the loop does under it. Output: statuses, written where they
//! differ from what is there. Invariants: only statuses are written, and of those only what has changed; figures of the last plan alone are no
//! reason to write unless the caller says so, so that a busy loop does not fill the API server with its own history.

use http::Method;
use serde_json::json;

use super::client::{Call, Content, Server, name};
use super::clock;
use super::controller::ControllerCluster;
use super::in_force::PolicyInForce;
use super::refusal::Question;
use super::slim::{Kind, PolicyText};
use crate::exec::port::ClusterError;
use crate::kube::crd::{self, LastPlan, MigPolicyStatus, Received, SavingsStatus};
use crate::model::Mode;

/// What the loop does under the policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing {
    /// Mode in which it works; `Observe` while the policy is paused.
    pub mode: Mode,
    /// Why a part of the policy cannot be used, although the rest is in force.
    pub refused: Option<String>,
    /// What the last plan came to.
    pub last_plan: Option<LastPlan>,
    /// What was saved so far.
    pub savings: Option<SavingsStatus>,
}

/// A policy that cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPolicy {
    /// Its name.
    pub name: String,
    /// Its UID, where that can be read.
    pub uid: String,
    /// Why, and what is in force instead.
    pub why: String,
}

impl ControllerCluster {
    /// Savings that stand in the status of the policy in force.
    pub fn kept_savings(&self) -> Option<SavingsStatus> {
        let in_force = self.policy();
        let index = self.index();
        let policy = index.policies.readable().find(|policy| is_in_force(policy, &in_force))?;
        status_of(policy)?.savings
    }

    /// Policies that are refused, in whole or in part.
    pub fn refused_policies(&self, doing: &Doing) -> Vec<RefusedPolicy> {
        let in_force = self.policy();
        let index = self.index();
        let readable = index.policies.readable().filter_map(|policy| {
            let Received::Refused(why) = received(policy, &in_force, doing) else { return None };
            Some(RefusedPolicy { name: policy.meta().name.clone(), uid: policy.meta().uid.clone(), why })
        });
        // One that cannot be read at all has no status to say it.
        let unreadable = index.policies.bad().map(|bad| RefusedPolicy {
            name: bad.name.clone(),
            uid: String::new(),
            why: bad.message.clone(),
        });
        readable.chain(unreadable).collect()
    }

    /// Writes how the policies are received, where that has changed. With `figures` the last plan is written as well where only that differs.
    ///
    /// # Errors
    /// As the API server refuses.
    pub async fn receive_policies(&self, doing: &Doing, figures: bool) -> Result<(), ClusterError> {
        let moment = clock::text(clock::now());
        let in_force = self.policy();
        let statuses: Vec<(String, MigPolicyStatus)> = {
            let index = self.index();
            let due = index.policies.readable().filter_map(|policy| {
                let before = status_of(policy);
                let status = status(policy, before.as_ref(), &in_force, doing, &moment);
                needs_writing(before.as_ref(), &status, figures).then(|| (policy.meta().name.clone(), status))
            });
            due.collect()
        };
        for (policy, status) in statuses {
            write(self.server(), &policy, &status).await?;
        }
        Ok(())
    }
}

/// The status that a policy has.
fn status_of(policy: &PolicyText) -> Option<MigPolicyStatus> {
    #[derive(serde::Deserialize)]
    struct WithStatus {
        #[serde(default)]
        status: Option<MigPolicyStatus>,
    }
    let WithStatus { status } = serde_json::from_str(&policy.text).ok()?;
    status
}

/// The status that a policy is to have.
fn status(
    policy: &PolicyText,
    before: Option<&MigPolicyStatus>,
    in_force: &PolicyInForce,
    doing: &Doing,
    moment: &str,
) -> MigPolicyStatus {
    let received = received(policy, in_force, doing);
    // One that is refused can still be the name under which an older version of it is in force.
    let doing = is_in_force(policy, in_force).then_some((doing.mode, doing.last_plan.as_ref(), doing.savings.as_ref()));
    MigPolicyStatus::of(&received, doing, policy.meta().generation, moment, before)
}

fn is_in_force(policy: &PolicyText, in_force: &PolicyInForce) -> bool {
    in_force.name.as_deref() == Some(policy.meta().name.as_str())
}

fn received(policy: &PolicyText, in_force: &PolicyInForce, doing: &Doing) -> Received {
    let own = is_in_force(policy, in_force);
    match (&in_force.fault, &doing.refused, &in_force.name) {
        (Some(fault), _, Some(_)) => Received::Refused(format!("{fault}; the last good policy stays in force")),
        (Some(fault), _, None) => Received::Refused(format!("{fault}; until it is mended retile only observes")),
        (None, Some(refused), _) if own => Received::Refused(refused.clone()),
        (None, _, Some(name)) if !own => Received::AnotherCounts(name.clone()),
        (None, _, _) => Received::InForce,
    }
}

fn needs_writing(before: Option<&MigPolicyStatus>, status: &MigPolicyStatus, figures: bool) -> bool {
    let Some(before) = before else { return true };
    let (last_plan, savings) = (before.last_plan.clone(), before.savings.clone());
    let same = MigPolicyStatus { last_plan, savings, ..status.clone() } == *before;
    !same || (figures && status != before)
}

async fn write(server: &Server, policy: &str, status: &MigPolicyStatus) -> Result<(), ClusterError> {
    let body =
        json!({"status": serde_json::to_value(status).map_err(|error| ClusterError::Invalid(error.to_string()))?});
    let call = Call {
        method: Method::PATCH,
        path: format!("/apis/{}/{}/migpolicies/{}/status", crd::GROUP, crd::VERSION, name(policy)?),
        content: Content::Merge(&body),
        question: Question::Plain,
    };
    match server.send(&call).await {
        // It is gone: there is nobody to tell.
        Err(ClusterError::NotFound) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn policy(name: &str, status: &serde_json::Value) -> PolicyText {
        let object = json!({"metadata": {"name": name, "generation": 3}, "spec": {}, "status": status});
        serde_json::from_value(object).expect("a policy")
    }

    fn in_force(name: Option<&str>, fault: Option<&str>) -> PolicyInForce {
        PolicyInForce { document: Arc::default(), name: name.map(str::to_owned), fault: fault.map(str::to_owned) }
    }

    fn doing(served: u32) -> Doing {
        let last_plan = LastPlan { time: "2026-11-28T12:00:00Z".to_owned(), served, ..LastPlan::default() };
        Doing { mode: Mode::Act, refused: None, last_plan: Some(last_plan), savings: None }
    }

    const MOMENT: &str = "2026-11-28T13:00:00Z";

    fn received(name: &str, in_force: &PolicyInForce, doing: &Doing) -> (String, String, String) {
        let policy = policy(name, &json!({}));
        let status = status(&policy, None, in_force, doing, MOMENT);
        assert_eq!((status.observed_generation, status.conditions.len()), (3, 1));
        let accepted = &status.conditions[0];
        assert_eq!(accepted.kind, "Accepted");
        (format!("{:?}", accepted.status), accepted.reason.clone(), accepted.message.clone())
    }

    #[test]
    fn each_policy_is_told_whether_it_counts() {
        let of = |name, in_force: &PolicyInForce| received(name, in_force, &doing(1));
        let text = |parts: (&str, &str, &str)| (parts.0.to_owned(), parts.1.to_owned(), parts.2.to_owned());
        let well = in_force(Some("default"), None);
        assert_eq!(of("default", &well), text(("True", "InForce", "")));
        let another = "the MigPolicy named `default` counts, and one counts at a time";
        assert_eq!(of("other", &well), text(("False", "AnotherCounts", another)));
        let bad = in_force(Some("default"), Some("MigPolicy default: spec.mode: no such mode"));
        let (status, reason, message) = of("default", &bad);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Refused"));
        assert!(message.ends_with("no such mode; the last good policy stays in force"), "{message}");
        let prices = Doing { refused: Some("spec.prices: none".to_owned()), ..doing(1) };
        assert_eq!(received("default", &well, &prices), text(("False", "Refused", "spec.prices: none")));
    }

    #[test]
    fn what_has_not_changed_is_not_written_again() {
        let well = in_force(Some("default"), None);
        let first = status(&policy("default", &json!({})), None, &well, &doing(1), MOMENT);
        assert!(needs_writing(None, &first, false));
        let kept = policy("default", &serde_json::to_value(&first).expect("JSON"));
        let before = status_of(&kept);
        assert_eq!(before.as_ref(), Some(&first));
        let later = |doing: &Doing| status(&kept, before.as_ref(), &well, doing, "2026-11-28T14:00:00Z");
        assert!(!needs_writing(before.as_ref(), &later(&doing(1)), true));
        assert!(!needs_writing(before.as_ref(), &later(&doing(2)), false), "figures wait");
        assert!(needs_writing(before.as_ref(), &later(&doing(2)), true));
        let observes = Doing { mode: Mode::Observe, ..doing(1) };
        assert!(needs_writing(before.as_ref(), &later(&observes), false));
    }
}
