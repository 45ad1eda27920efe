//! What the API server means when it does not agree.
//!
//! Input: status code, `Retry-After`, body and what was asked. Output: the error of the protocol. Where the same code means several things
//! (409, 422, 429, 500), reason, causes or what was asked decide; what cannot be told apart is unknown. Pure.

use std::time::Duration;

use kube::core::Status;

use crate::exec::port::ClusterError;

/// Kinds of requests, as far as they change what an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Any other.
    Plain,
    /// A JSON patch with tests: a test that fails is a lost race.
    TestedPatch,
    /// An eviction.
    Eviction,
}

/// How an error begins that means that a kind is not served at all.
const NOT_SERVED: &str = "the API server does not know the resource";

/// Whether an error means that the kind is not served at all.
pub(super) fn is_not_served(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Unknown(text) if text.starts_with(NOT_SERVED))
}

/// A refusal as it comes over the wire.
pub(super) struct Refusal<'a> {
    pub(super) code: u16,
    pub(super) retry_after: Option<u64>,
    pub(super) body: &'a [u8],
    pub(super) question: Question,
}

impl Refusal<'_> {
    /// What it means to the protocol.
    pub(super) fn error(&self) -> ClusterError {
        let status: Option<Status> = serde_json::from_slice(self.body).ok();
        let message = match &status {
            Some(status) => status.message.clone(),
            None => String::from_utf8_lossy(self.body).trim().chars().take(300).collect(),
        };
        match self.code {
            409 => ClusterError::Conflict,
            // Without a status object it is the path that is not known: the definition is not installed.
            404 if status.is_none() => ClusterError::Unknown(format!(
                "{NOT_SERVED} ({message}); install the definitions that `retile crds` prints"
            )),
            404 => ClusterError::NotFound,
            410 => ClusterError::Expired,
            401 => ClusterError::Forbidden(format!("not authenticated: {message}")),
            403 => ClusterError::Forbidden(message),
            429 if self.question == Question::Eviction && caused_by_budget(status.as_ref()) => {
                ClusterError::BlockedByBudget
            }
            429 => ClusterError::Throttled { retry_after: self.wait(status.as_ref()).map(Duration::from_secs) },
            422 if self.question == Question::TestedPatch && untold(status.as_ref()) => ClusterError::Conflict,
            400 | 405 | 406 | 413 | 415 | 422 => ClusterError::Invalid(message),
            500 if self.question == Question::Eviction && message.contains("more than one PodDisruptionBudget") => {
                ClusterError::SeveralBudgets
            }
            code => ClusterError::Unknown(format!("status {code}: {message}")),
        }
    }

    /// Seconds that the server asks to wait, by its header or its body.
    fn wait(&self, status: Option<&Status>) -> Option<u64> {
        let told = status.and_then(|status| status.details.as_ref()).map(|details| details.retry_after_seconds);
        self.retry_after.or(told.filter(|&seconds| seconds > 0).map(u64::from))
    }
}

fn caused_by_budget(status: Option<&Status>) -> bool {
    let details = status.and_then(|status| status.details.as_ref());
    details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "DisruptionBudget"))
}

/// Whether a patch was refused without a word about why: then a test of it has failed, or the path that it tests is gone. Schemas blame a field, and
/// admission policies give their message as a cause.
fn untold(status: Option<&Status>) -> bool {
    let causes = status.and_then(|status| status.details.as_ref()).map(|details| &details.causes);
    causes.is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, body: &str, question: Question) -> ClusterError {
        Refusal { code, retry_after: None, body: body.as_bytes(), question }.error()
    }

    fn status(message: &str, details: &str) -> String {
        format!(r#"{{"kind":"Status","status":"Failure","message":"{message}","reason":"x","details":{details}}}"#)
    }

    #[test]
    fn codes_of_one_meaning() {
        let plain = |code| error(code, &status("no", "{}"), Question::Plain);
        assert_eq!(plain(409), ClusterError::Conflict);
        assert_eq!(plain(404), ClusterError::NotFound);
        assert_eq!(plain(410), ClusterError::Expired);
        assert_eq!(plain(403), ClusterError::Forbidden("no".into()));
        assert!(matches!(plain(401), ClusterError::Forbidden(_)));
        for code in [400, 405, 413, 422] {
            assert_eq!(plain(code), ClusterError::Invalid("no".into()), "{code}");
        }
        for code in [408, 500, 502, 503, 504] {
            assert!(matches!(plain(code), ClusterError::Unknown(_)), "{code}");
        }
    }

    #[test]
    fn too_many_requests_has_two_meanings() {
        let budget = status("no", r#"{"causes":[{"reason":"DisruptionBudget","message":"needs 1 healthy pods"}]}"#);
        assert_eq!(error(429, &budget, Question::Eviction), ClusterError::BlockedByBudget);
        let busy = |body: &str, header| {
            Refusal { code: 429, retry_after: header, body: body.as_bytes(), question: Question::Eviction }.error()
        };
        let throttled =
            |seconds: Option<u64>| ClusterError::Throttled { retry_after: seconds.map(Duration::from_secs) };
        assert_eq!(busy("Too many requests, please try again later.", Some(3)), throttled(Some(3)));
        assert_eq!(busy(&status("no", r#"{"retryAfterSeconds":10}"#), None), throttled(Some(10)));
        assert_eq!(busy("", None), throttled(None));
    }

    #[test]
    fn several_budgets_are_told_by_their_message_and_only_of_evictions() {
        let text = status(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            "null",
        );
        assert_eq!(error(500, &text, Question::Eviction), ClusterError::SeveralBudgets);
        assert!(matches!(error(500, &text, Question::Plain), ClusterError::Unknown(_)));
        assert!(matches!(error(500, &status("etcd is gone", "{}"), Question::Eviction), ClusterError::Unknown(_)));
    }

    #[test]
    fn a_failed_test_of_a_patch_is_a_lost_race_and_a_bad_field_is_not() {
        let test = status("the server rejected our request due to an error in our request", "{}");
        assert_eq!(error(422, &test, Question::TestedPatch), ClusterError::Conflict);
        assert!(matches!(error(422, &test, Question::Plain), ClusterError::Invalid(_)));
        let field =
            status("bad", r#"{"causes":[{"reason":"FieldValueInvalid","field":"spec.taints","message":"bad"}]}"#);
        assert!(matches!(error(422, &field, Question::TestedPatch), ClusterError::Invalid(_)));
        let policy = status(
            "nodes a is forbidden: ValidatingAdmissionPolicy p denied request: no label",
            r#"{"name":"a","kind":"nodes","causes":[{"message":"ValidatingAdmissionPolicy p denied request: no label"}]}"#,
        );
        let ClusterError::Invalid(told) = error(422, &policy, Question::TestedPatch) else { panic!("told as a race") };
        assert!(told.ends_with("no label"), "{told}");
    }

    #[test]
    fn an_unknown_resource_is_no_missing_object() {
        let ClusterError::Unknown(text) = error(404, "404 page not found\n", Question::Plain) else {
            panic!("the record would seem to be missing")
        };
        assert!(text.contains("retile crds"), "{text}");
    }
}
