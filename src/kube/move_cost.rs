//! What moving a running pod costs: what its annotation says, and what the policy adds for the hours that it has run.
//!
//! An annotation that cannot be read counts as none, and is a finding: unlike one that protects, it must not decide more than its author wrote.

use super::findings::Findings;
use super::objects::Pod;
use crate::model::{ControllerKind, MoveCost, PodRef};

/// Annotation of a pod: a whole number from 1 to [`MoveCost::MOST_OWN`].
const MOVE_COST: &str = "retile.dev/move-cost";

/// The cost of moving a pod at the moment `now`.
pub(crate) fn move_cost(
    pod: &Pod,
    id: &PodRef,
    controller: ControllerKind,
    now: i64,
    rates: MoveCost,
    findings: &mut Findings,
) -> u32 {
    let own = pod.metadata.annotations.get(MOVE_COST).map_or(1, |value| {
        own(value).unwrap_or_else(|| {
            let value: String = value.chars().take(20).collect();
            findings.pod(
                id,
                format!(
                    "its annotation {MOVE_COST} ({value}) is no whole number from 1 to {} and counts as 1; \
                     mend the annotation or remove it",
                    MoveCost::MOST_OWN
                ),
            );
            1
        })
    });
    let started = pod.status.start_time.0.or(pod.metadata.creation_timestamp.0);
    let ran = started.map_or(0, |started| u64::try_from(now.saturating_sub(started)).unwrap_or(0));
    rates.of(own, controller, ran)
}

fn own(value: &str) -> Option<u32> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let own: u32 = value.parse().ok().filter(|_| digits)?;
    (1..=MoveCost::MOST_OWN).contains(&own).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: MoveCost = MoveCost { per_running_hour: 2, per_job_hour: 5 };

    fn cost(meta: &str, status: &str, controller: ControllerKind) -> (u32, Vec<(String, String)>) {
        let pod: Pod = serde_json::from_str(&format!(r#"{{"metadata":{meta},"status":{status}}}"#)).expect("a pod");
        let id = PodRef { namespace: "ml".into(), name: "p".into(), uid: "u".into() };
        let mut findings = Findings::default();
        let cost = move_cost(&pod, &id, controller, 10 * 3600, RATES, &mut findings);
        (cost, findings.into_iter().collect())
    }

    #[test]
    fn an_annotation_says_what_a_move_costs_and_one_that_cannot_be_read_is_told() {
        for (value, own) in [("1", 1), ("250", 250), ("1000", 1000), ("007", 7)] {
            let meta = format!(r#"{{"annotations":{{"{MOVE_COST}":"{value}"}}}}"#);
            assert_eq!(cost(&meta, "{}", ControllerKind::Replacing), (own, Vec::new()), "{value}");
        }
        let junk = "9".repeat(100_000);
        for value in ["0", "1001", "-1", "+5", " 5", "5.0", "1e2", "", "dear", junk.as_str()] {
            let meta = format!(r#"{{"annotations":{{"{MOVE_COST}":"{value}"}}}}"#);
            let (cost, findings) = cost(&meta, "{}", ControllerKind::Replacing);
            let [(object, message)] = &findings[..] else { panic!("{value:.20}: {findings:?}") };
            assert_eq!((cost, object.as_str()), (1, "Pod ml/p"), "{value:.20}");
            assert!(message.contains(MOVE_COST) && message.contains("remove it") && message.len() < 200, "{message}");
        }
    }

    #[test]
    fn hours_count_from_the_start_of_the_pod() {
        let started = r#"{"startTime":"1970-01-01T08:00:01Z"}"#;
        let made = r#"{"creationTimestamp":"1970-01-01T04:00:00Z"}"#;
        let ahead = r#"{"creationTimestamp":"1970-01-02T00:00:00Z"}"#;
        let replacing = |meta: &str, status: &str| cost(meta, status, ControllerKind::Replacing).0;
        assert_eq!(replacing(made, started), 3, "one full hour");
        assert_eq!(replacing(made, "{}"), 13, "six since it was made");
        assert_eq!(replacing(ahead, "{}"), 1, "clocks differ");
        assert_eq!(replacing("{}", "{}"), 1, "nobody knows");
        assert_eq!(cost(made, started, ControllerKind::Job).0, 8);
    }
}
