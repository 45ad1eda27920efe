//! Which pods without a node are demand.
//!
//! Demand is what the scheduler has looked at and could not place: the condition `PodScheduled` with status `False` and
//! reason `Unschedulable`, all three. Before that a pod is only waiting for its turn.

use super::objects::Pod;

/// What a pod without a node is waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It is being deleted or has another phase than `Pending`; nobody waits.
    Gone,
    /// Scheduling gates.
    Gated,
    /// Not demand yet: why, and what to do.
    Young(String, &'static str),
    /// Demand.
    Unschedulable,
}

/// Judges a pod at the moment `now`.
pub(crate) fn judge(pod: &Pod, now: i64, min_age_seconds: u64) -> Waiting {
    if pod.metadata.deleting() || !matches!(pod.status.phase.as_str(), "" | "Pending") {
        return Waiting::Gone;
    }
    if !pod.spec.scheduling_gates.is_empty() {
        return Waiting::Gated;
    }
    let mut scheduled = pod.status.conditions.iter().filter(|condition| condition.kind == "PodScheduled").peekable();
    if scheduled.peek().is_none() {
        return Waiting::Young("the scheduler has not looked at it yet".to_owned(), "wait for the scheduler");
    }
    let unschedulable = scheduled.all(|condition| condition.status.0 == "False" && condition.reason == "Unschedulable");
    if !unschedulable {
        let detail = "its condition PodScheduled is not that of an unschedulable pod".to_owned();
        return Waiting::Young(detail, "wait for the scheduler to look at it again");
    }
    if !pod.status.nominated_node_name.is_empty() {
        let detail = format!("it is nominated to node {}, where room is kept for it", pod.status.nominated_node_name);
        return Waiting::Young(detail, "wait until it is bound there, or the nomination is withdrawn");
    }
    let waited = waited(pod, now);
    if waited < min_age_seconds {
        let detail = format!("it has waited {waited} s; demand counts after {min_age_seconds} s");
        return Waiting::Young(detail, "wait, or lower stability.minPendingAge in the policy");
    }
    Waiting::Unschedulable
}

/// Seconds that a pod has waited since it was created; 0 when that is unknown or lies ahead.
pub(crate) fn waited(pod: &Pod, now: i64) -> u64 {
    let since = pod.metadata.creation_timestamp.0.unwrap_or(now);
    u64::try_from(now.saturating_sub(since)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(meta: &str, spec: &str, status: &str) -> Pod {
        let json = format!(r#"{{"metadata":{meta},"spec":{spec},"status":{status}}}"#);
        serde_json::from_str(&json).expect("a pod")
    }

    fn status(conditions: &str) -> String {
        format!(r#"{{"phase":"Pending","conditions":[{conditions}]}}"#)
    }

    const UNSCHEDULABLE: &str = r#"{"type":"PodScheduled","status":"False","reason":"Unschedulable"}"#;
    const BORN_AT_100: &str = r#"{"creationTimestamp":"1970-01-01T00:01:40Z"}"#;

    #[test]
    fn only_type_status_and_reason_together_make_demand() {
        let judged = |conditions: &str| judge(&pod("{}", "{}", &status(conditions)), 0, 0);
        assert_eq!(judged(UNSCHEDULABLE), Waiting::Unschedulable);
        for conditions in [
            String::new(),
            r#"{"type":"PodScheduled","status":"True","reason":"Unschedulable"}"#.to_owned(),
            r#"{"type":"PodScheduled","status":"False","reason":"SchedulerError"}"#.to_owned(),
            r#"{"type":"Ready","status":"False","reason":"Unschedulable"}"#.to_owned(),
            format!(r#"{UNSCHEDULABLE},{{"type":"PodScheduled","status":"True"}}"#),
        ] {
            assert!(matches!(judged(&conditions), Waiting::Young(..)), "{conditions}");
        }
        assert_eq!(judged(&format!("{UNSCHEDULABLE},{UNSCHEDULABLE}")), Waiting::Unschedulable);
    }

    #[test]
    fn a_pod_for_which_room_is_kept_is_no_demand() {
        let nominated = format!(r#"{{"phase":"Pending","nominatedNodeName":"n","conditions":[{UNSCHEDULABLE}]}}"#);
        assert!(
            matches!(judge(&pod("{}", "{}", &nominated), 0, 0), Waiting::Young(detail, _) if detail.contains("node n"))
        );
    }

    #[test]
    fn gated_and_dying_pods_are_no_demand() {
        let status = status(UNSCHEDULABLE);
        assert_eq!(judge(&pod("{}", r#"{"schedulingGates":[{"name":"g"}]}"#, &status), 0, 0), Waiting::Gated);
        let dying = pod(r#"{"deletionTimestamp":"1970-01-01T00:00:00Z"}"#, "{}", &status);
        assert_eq!(judge(&dying, 0, 0), Waiting::Gone);
        assert_eq!(judge(&pod("{}", "{}", r#"{"phase":"Running"}"#), 0, 0), Waiting::Gone);
    }

    #[test]
    fn young_pods_wait_and_a_birth_ahead_is_age_zero() {
        let pod = pod(BORN_AT_100, "{}", &status(UNSCHEDULABLE));
        assert_eq!(waited(&pod, 160), 60);
        assert_eq!(waited(&pod, 40), 0);
        assert!(matches!(judge(&pod, 129, 30), Waiting::Young(..)));
        assert_eq!(judge(&pod, 130, 30), Waiting::Unschedulable);
        assert!(matches!(judge(&pod, 0, 30), Waiting::Young(..)));
    }
}
