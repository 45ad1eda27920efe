//! What the API server forbids the controller, for the log: with the request, the object, the API server's words and what to do.
//!
//! Inputs: requests and their answers. Output: a refusal, once per kind of request until one of that kind is allowed again. Pure.

use std::collections::BTreeSet;

use crate::exec::port::{ClusterError, ClusterReply, ClusterRequest};

/// A refusal that is worth a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) request: &'static str,
    pub(super) object: String,
    pub(super) why: String,
    pub(super) remedy: &'static str,
}

/// Kinds of requests whose refusal was told.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeSet<&'static str>);

impl Refusals {
    /// Notes an answer; a refusal that was not told yet.
    pub(super) fn note(&mut self, request: &ClusterRequest, reply: &ClusterReply) -> Option<Refusal> {
        let kind = request.kind();
        let why = match reply {
            Ok(_) => {
                self.0.remove(kind);
                return None;
            }
            Err(ClusterError::Forbidden(why)) => why,
            // What an admission policy denies is invalid to the API server.
            Err(ClusterError::Invalid(why)) if marks(request) => why,
            Err(_) => return None,
        };
        self.0.insert(kind).then(|| Refusal {
            request: kind,
            object: object(request),
            why: why.clone(),
            remedy: remedy(request),
        })
    }
}

/// Whether a request writes what a switch of the installation must allow.
fn marks(request: &ClusterRequest) -> bool {
    matches!(request, ClusterRequest::PauseClients { .. } | ClusterRequest::ResumeClients { .. })
}

/// What a request is about.
fn object(request: &ClusterRequest) -> String {
    match request {
        ClusterRequest::Observe { .. } => "all that planning reads".to_owned(),
        ClusterRequest::GetMigNode { node }
        | ClusterRequest::WriteSpec { node, .. }
        | ClusterRequest::WriteStatus { node, .. } => format!("MigNode {node}"),
        ClusterRequest::GetNode { node }
        | ClusterRequest::AddTaint { node, .. }
        | ClusterRequest::RemoveTaint { node, .. }
        | ClusterRequest::PauseClients { node, .. }
        | ClusterRequest::ResumeClients { node, .. } => format!("Node {node}"),
        ClusterRequest::ListPods { node } => format!("pods of Node {node}"),
        ClusterRequest::Evict { pod, .. } | ClusterRequest::DeletePluginPod { pod } => format!("Pod {pod}"),
        ClusterRequest::GetLease | ClusterRequest::WriteLease { .. } => "the leader's lease".to_owned(),
    }
}

fn remedy(request: &ClusterRequest) -> &'static str {
    match request {
        ClusterRequest::WriteSpec { .. }
        | ClusterRequest::AddTaint { .. }
        | ClusterRequest::RemoveTaint { .. }
        | ClusterRequest::DeletePluginPod { .. } => {
            "install the rights of the profile `reshape` or `full` (docs/how-to/install.md), or set the MigPolicy's `spec.mode: Observe`"
        }
        ClusterRequest::ResumeClients { .. } => {
            "install the rights and the admission policies of this version, profile `reshape` or `full` (docs/how-to/install.md); by hand: docs/coexistence.md, \
             `A pause that is left over`"
        }
        ClusterRequest::PauseClients { .. } => {
            "set the chart's `controller.pauseClients: true` with the rights of the profile `reshape` or `full` (docs/coexistence.md), or the MigPolicy's \
             `spec.clients: restart`"
        }
        ClusterRequest::Evict { .. } => {
            "install the rights of the profile `full` (docs/how-to/install.md), or set the MigPolicy's `spec.disruption.level: IdleOnly`"
        }
        ClusterRequest::Observe { .. }
        | ClusterRequest::GetMigNode { .. }
        | ClusterRequest::GetNode { .. }
        | ClusterRequest::ListPods { .. }
        | ClusterRequest::GetLease
        | ClusterRequest::WriteLease { .. }
        | ClusterRequest::WriteStatus { .. } => {
            "install the controller's roles, and bind them to its service account (docs/how-to/install.md); `retile doctor` lists what is missing"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::port::ClusterAnswer;
    use crate::exec::{OperationId, Version};

    #[test]
    fn a_refusal_is_told_once_with_object_words_and_remedy_until_it_is_allowed() {
        let taint = |node: &str| ClusterRequest::AddTaint {
            node: node.into(),
            version: Version(1),
            operation: OperationId("op-1".into()),
        };
        let no = Err(ClusterError::Forbidden("nodes \"a\" is forbidden: cannot patch".into()));
        let mut refusals = Refusals::default();
        assert_eq!(refusals.note(&taint("a"), &Err(ClusterError::Conflict)), None);
        let told = refusals.note(&taint("a"), &no).expect("the first time");
        assert_eq!((told.request, told.object.as_str()), ("add_taint", "Node a"));
        assert!(told.why.contains("cannot patch") && told.remedy.contains("`reshape` or `full`"), "{told:?}");
        assert_eq!(refusals.note(&taint("b"), &no), None, "told once, however many nodes");
        assert!(refusals.note(&ClusterRequest::GetLease, &no).is_some_and(|told| told.remedy.contains("roles")));
        refusals.note(&taint("a"), &Ok(ClusterAnswer::Accepted));
        assert!(refusals.note(&taint("a"), &no).is_some(), "it was allowed in between");
    }

    #[test]
    fn what_the_admission_policy_denies_is_told_with_its_switch() {
        let version = Version(1);
        let operation = OperationId("op-1".into());
        let pause = ClusterRequest::PauseClients { node: "a".into(), version, operation, dry_run: true };
        let denied = Err(ClusterError::Invalid("denied request: no label".into()));
        let mut refusals = Refusals::default();
        let told = refusals.note(&pause, &denied).expect("the first time");
        assert!(told.why.contains("no label") && told.remedy.contains("controller.pauseClients"), "{told:?}");
        assert_eq!(refusals.note(&pause, &denied), None, "told once");
        let taint = ClusterRequest::AddTaint { node: "a".into(), version, operation: OperationId("op-1".into()) };
        assert_eq!(refusals.note(&taint, &denied), None, "any other request was wrong by itself");
    }
}
