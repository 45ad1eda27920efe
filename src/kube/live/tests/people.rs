//! What the command line asks: listings, plans that are handed in, reviews of rights.

use serde_json::{Value, json};

use super::Script;
use crate::exec::port::ClusterError;
use crate::kube::live::client::Writes;
use crate::kube::live::listing::{MIG_NODES, PODS, listing, objects};
use crate::kube::live::{Submitted, submit, who_asks};
use crate::plan::{Plan, from_json, to_json};

fn plan() -> Plan {
    let text = include_str!("../../../../testdata/plans/valid/nothing-changes.json");
    from_json(text, "nothing-changes.json").expect("a plan")
}

/// How the API server refuses a path that it does not know: no status object.
fn not_served() -> (u16, Value) {
    (404, json!("404 page not found"))
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_what_is_not_served_is_none() {
    let first = json!({"metadata": {"continue": "a/b"}, "items": [named("a")]});
    let script = Script::new([(200, first), (200, json!({"items": [named("b")]}))]);
    let pods = objects(&script.server(Writes::Refused), &PODS).await.expect("listed").expect("served");
    assert_eq!(pods, [named("a"), named("b")]);
    let paths: Vec<String> = script.arrived().into_iter().map(|arrived| arrived.path).collect();
    assert_eq!(paths, ["/api/v1/pods?limit=1000", "/api/v1/pods?limit=1000&continue=a%2Fb"]);
    let absent = Script::new([not_served()]);
    assert_eq!(objects(&absent.server(Writes::Refused), &MIG_NODES).await, Ok(None));
}

#[tokio::test]
async fn a_listing_says_what_each_object_is_and_a_forbidden_kind_is_an_error() {
    let empty = || (200, json!({"items": []}));
    let nodes = (200, json!({"items": [named("n")]}));
    let kinds = [nodes, empty(), empty(), empty(), not_served(), not_served(), not_served(), not_served()];
    let listed = listing(&Script::new(kinds).server(Writes::Refused)).await.expect("listed");
    assert_eq!(listed.objects, [r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}"#]);
    assert!(listed.moment.is_some(), "it carries when it was made");
    let forbidden = (403, json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "Forbidden"}));
    let refused = listing(&Script::new([empty(), forbidden]).server(Writes::Refused)).await.expect_err("forbidden");
    assert_eq!((refused.verb, refused.resource.as_str()), ("list", "pods"));
    assert_eq!(refused.error, ClusterError::Forbidden("no".into()));
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again_by_who_has_patience() {
    let busy = || {
        (
            429,
            json!({"kind": "Status", "status": "Failure", "message": "storage is (re)initializing",
        "reason": "TooManyRequests", "details": {"retryAfterSeconds": 2}}),
        )
    };
    let script = Script::new([busy(), busy(), (200, json!({"items": [named("a")]}))]);
    let begun = tokio::time::Instant::now();
    let patient = script.server(Writes::Refused).with_patience(std::time::Duration::from_secs(5));
    assert_eq!(objects(&patient, &PODS).await.expect("listed"), Some(vec![named("a")]));
    assert_eq!(begun.elapsed().as_secs(), 4, "at the moments that it names");
    let script = Script::new(std::iter::repeat_with(busy).take(9));
    let patient = script.server(Writes::Refused).with_patience(std::time::Duration::from_secs(5));
    let refused = objects(&patient, &PODS).await.expect_err("it stays busy");
    assert!(matches!(refused.error, ClusterError::Throttled { .. }));
    assert_eq!(script.arrived().len(), 4, "and no longer than that");
    let script = Script::new([busy()]);
    let refused = objects(&script.server(Writes::Refused), &PODS).await.expect_err("it is busy");
    assert!(matches!(refused.error, ClusterError::Throttled { .. }));
    assert_eq!(script.arrived().len(), 1, "whoever has a loop tries again there");
}

fn conflict() -> (u16, Value) {
    (409, json!({"kind": "Status", "status": "Failure", "message": "there is one", "reason": "AlreadyExists"}))
}

fn there(phase: Option<&str>, approved: bool, document: &str) -> (u16, Value) {
    let spec = json!({"fingerprint": "f", "served": 0, "evicted": 0, "nodes": 0, "document": document,
        "approval": {"approved": approved}});
    let status = phase.map_or_else(|| json!({}), |phase| json!({"phase": phase}));
    (
        200,
        json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPlan", "metadata": {"name": "p"}, "spec": spec, "status": status}),
    )
}

#[tokio::test]
async fn a_plan_is_handed_in_approved_once_and_again_only_after_its_end() {
    let document = to_json(&plan()).expect("JSON");
    let hand_in = async |answers: Vec<(u16, Value)>, dry_run| {
        let script = Script::new(answers);
        let submitted = submit(&script.server(Writes::Allowed), &plan(), "s", "ada", dry_run).await.expect("accepted");
        (submitted, script.arrived())
    };
    let (made, arrived) = hand_in(vec![(201, json!({}))], false).await;
    let name = made.name().to_owned();
    assert!(matches!(made, Submitted::Made(_)));
    assert_eq!(arrived[0].body["spec"]["approval"], json!({"approved": true, "by": "ada"}));
    assert_eq!(arrived[0].body["spec"]["document"], json!(document));

    let (approved, arrived) =
        hand_in(vec![conflict(), there(Some("Proposed"), false, &document), (200, json!({}))], true).await;
    assert_eq!(approved, Submitted::Approved(name.clone()));
    assert!(arrived.iter().filter(|it| it.method != "GET").all(|it| it.path.contains("?dryRun=All&")), "{arrived:#?}");
    assert_eq!(arrived[2].body, json!({"spec": {"approval": {"approved": true, "by": "ada"}}}));

    let (waits, _) = hand_in(vec![conflict(), there(None, true, &document)], false).await;
    assert_eq!(waits, Submitted::Waits(name.clone()));
    let (runs, _) = hand_in(vec![conflict(), there(Some("Executing"), true, &document)], false).await;
    assert_eq!(runs, Submitted::UnderWay(name.clone()));
    for phase in ["Finished", "Superseded"] {
        let again = vec![conflict(), there(Some(phase), true, &document), (201, json!({}))];
        assert_eq!(hand_in(again, false).await.0, Submitted::Made(format!("{name}-2")));
    }
}

#[tokio::test]
async fn who_writes_nothing_may_still_ask_about_rights() {
    let review = json!({"status": {"userInfo": {"username": "ada"}}});
    let script = Script::new([(201, review)]);
    assert_eq!(who_asks(&script.server(Writes::Refused)).await, "ada");
    let refused = submit(&Script::new([]).server(Writes::Refused), &plan(), "s", "ada", false).await;
    assert!(matches!(refused, Err(ClusterError::Forbidden(_))), "{refused:?}");
}
