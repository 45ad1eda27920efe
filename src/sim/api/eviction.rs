//! The eviction subresource.

use serde_json::Value;

use super::ApiServer;
use super::budgets::ClaimError;
use super::deletion::{DeleteError, Deletion};
use super::objects::{Disruption, Name, Pod, PodPhase};
use crate::exec::port::{ClusterError, EvictionBody};

/// What the server reads in the body. Fields that it does not know it ignores, as it does without strict validation.
struct Wish {
    uid: Option<String>,
}

fn read(body: &EvictionBody, name: &Name) -> Result<Wish, ClusterError> {
    let json = body.to_json().map_err(|error| ClusterError::Invalid(error.to_string()))?;
    let text = |path: &str| json.pointer(path).and_then(Value::as_str);
    if text("/apiVersion") != Some("policy/v1") || text("/kind") != Some("Eviction") {
        return Err(ClusterError::Invalid("the body is not a policy/v1 Eviction".to_owned()));
    }
    if text("/metadata/name") != Some(&name.name) {
        return Err(ClusterError::Invalid("name in URL does not match name in Eviction object".to_owned()));
    }
    if text("/metadata/namespace").is_some_and(|namespace| namespace != name.namespace) {
        return Err(ClusterError::Invalid("the namespace of the object does not match the request's".to_owned()));
    }
    Ok(Wish { uid: text("/deleteOptions/preconditions/uid").map(str::to_owned) })
}

/// Pods that no budget protects: they are deleted without asking one.
fn ignores_budgets(pod: &Pod) -> bool {
    match pod.phase {
        PodPhase::Pending | PodPhase::Succeeded | PodPhase::Failed => true,
        PodPhase::Running => pod.deleting(),
    }
}

impl ApiServer {
    /// Answers a posted eviction. The UID counts only at the deletion itself, after a budget was drawn on: an eviction of a pod's
    /// namesake holds headroom until the budget's controller gives it back.
    pub(super) fn evict(
        &mut self,
        now: u64,
        name: &Name,
        body: &EvictionBody,
        dry_run: bool,
    ) -> Result<(), ClusterError> {
        let wish = read(body, name)?;
        let Some(pod) = self.objects().pods.get(name).cloned() else { return Err(ClusterError::NotFound) };
        let mut options = Deletion { uid: wish.uid, version: None, grace: None, dry_run };
        if ignores_budgets(&pod) {
            return self.finish_eviction(now, name, &options, false);
        }
        let budgets: Vec<_> = self.objects().budgets_of(&pod).cloned().collect();
        match budgets.as_slice() {
            [] => {}
            [budget] if !pod.ready && budget.lets_unhealthy_go() => options.version = Some(pod.meta.version),
            [budget] => self.claim(now, &budget.meta.name, &name.name, dry_run).map_err(|error| match error {
                ClaimError::Outdated | ClaimError::Exhausted => ClusterError::BlockedByBudget,
                ClaimError::Forbidden(why) => ClusterError::Forbidden(why.to_owned()),
            })?,
            [_, _, ..] => return Err(ClusterError::SeveralBudgets),
        }
        self.finish_eviction(now, name, &options, true)
    }

    fn finish_eviction(
        &mut self,
        now: u64,
        name: &Name,
        options: &Deletion,
        condition: bool,
    ) -> Result<(), ClusterError> {
        let mut options = options.clone();
        let Some(pod) = self.objects().pods.get(name).cloned() else { return Err(ClusterError::NotFound) };
        if options.uid.as_ref().is_some_and(|uid| *uid != pod.meta.uid) {
            return Err(ClusterError::Conflict);
        }
        let running_on = pod.node.is_some() && !pod.finished();
        if (condition || running_on) && !options.dry_run && !pod.deleting() {
            self.modify_pod(now, name, |pod| pod.disruption = Some(Disruption::Evicted));
            options.version = None;
        }
        self.delete_pod(now, name, &options).map_err(|error| match error {
            DeleteError::NotFound => ClusterError::NotFound,
            DeleteError::Conflict => ClusterError::Conflict,
        })
    }
}
