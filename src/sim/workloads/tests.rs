//! What owners do, and what becomes of work, by kind.

use std::collections::BTreeMap;

use super::*;

fn works(kind: Kind, patience: Option<u64>) -> (Works, ApiServer) {
    let arrival = Arrival {
        at: 0,
        name: "w-1".to_owned(),
        instances: BTreeMap::from([("1g.10gb".to_owned(), 1)]),
        runs: 100,
        priority: 0,
        kind,
        patience,
    };
    let mut works = Works::default();
    works.add(arrival, BTreeMap::from([("nvidia.com/mig-1g.10gb".to_owned(), 1)]));
    let mut api = ApiServer::new(100);
    works.arrive("w-1", &mut api, 10);
    (works, api)
}

fn only_pod(api: &ApiServer) -> Pod {
    let pods: Vec<_> = api.objects().pods.values().filter(|pod| !pod.deleting()).collect();
    assert_eq!(pods.len(), 1, "{pods:?}");
    Pod::clone(pods[0])
}

/// Binds the pod, runs it from 20 to 50, and evicts it then.
fn evict_at_50(works: &mut Works, api: &mut ApiServer) -> Vec<Record> {
    let pod = only_pod(api);
    api.modify_pod(20, &pod.meta.name, |pod| {
        pod.node = Some("n".to_owned());
        pod.phase = super::super::api::PodPhase::Running;
        pod.disruption = Some(Disruption::Evicted);
    });
    let pod = only_pod(api);
    assert_eq!(works.started(&pod, "n", 20).map(|(rest, _)| rest), Some(100));
    api.delete_pod(50, &pod.meta.name, &Deletion::default()).expect("it is there");
    works.stopped(&pod, Stop::Early(pod.disruption), api, 50)
}

#[test]
fn an_evicted_service_goes_on_and_a_job_starts_anew() {
    let cases = [(Kind::Service, 0, 70), (Kind::Stateful, 0, 70), (Kind::Job, 30, 100)];
    for (kind, lost, rest) in cases {
        let (mut works, mut api) = works(kind, None);
        let before = only_pod(&api);
        let records = evict_at_50(&mut works, &mut api);
        assert_eq!(records, [Record::Evicted { work: "w-1".into(), lost }], "{kind:?}");
        let (_, again) = works.reconcile("w-1", &mut api, 51);
        assert_eq!(again, Again::Never);
        let waits_for_its_name = kind == Kind::Stateful;
        let made = api.objects().pods.values().any(|pod| !pod.deleting());
        assert_eq!(made, !waits_for_its_name, "{kind:?}");
        api.delete_pod(52, &before.meta.name, &Deletion { grace: Some(0), ..Deletion::default() })
            .expect("it terminates");
        works.reconcile("w-1", &mut api, 53);
        let after = only_pod(&api);
        assert_ne!(after.meta.uid, before.meta.uid);
        assert_eq!(after.meta.name == before.meta.name, waits_for_its_name);
        assert_eq!(works.started(&after, "n", 60).map(|(rest, _)| rest), Some(rest), "{kind:?}");
    }
}

#[test]
fn an_evicted_bare_pod_is_lost() {
    let (mut works, mut api) = works(Kind::Bare, None);
    let records = evict_at_50(&mut works, &mut api);
    let burst = Record::Burst { work: "w-1".into(), reason: BurstReason::Lost, rest: 100 };
    assert_eq!(records, [Record::Evicted { work: "w-1".into(), lost: 30 }, burst]);
    assert_eq!(works.get("w-1").map(|work| work.state.clone()), Some(State::Burst));
}

#[test]
fn a_bare_pod_that_somebody_deletes_while_it_waits_is_lost() {
    let (mut works, mut api) = works(Kind::Bare, None);
    let pod = only_pod(&api);
    api.delete_pod(20, &pod.meta.name, &Deletion::default()).expect("it is there");
    let (records, _) = works.reconcile("w-1", &mut api, 21);
    assert_eq!(records, [Record::Burst { work: "w-1".into(), reason: BurstReason::Lost, rest: 100 }]);
}

#[test]
fn patience_counts_all_waits_and_an_old_timer_means_nothing() {
    let (mut works, mut api) = works(Kind::Service, Some(40));
    assert_eq!(works.patience_ends("w-1"), Some(50));
    let first = works.get("w-1").map(|work| work.waits).expect("it waits");
    evict_at_50(&mut works, &mut api);
    assert_eq!(works.patience_ends("w-1"), Some(80), "ten of forty were used up before it ran");
    let (records, again) = works.lose_patience("w-1", first, &mut api, 80);
    assert_eq!((records, again), (Vec::new(), Again::Never));
    let second = works.get("w-1").map(|work| work.waits).expect("it waits");
    let (records, _) = works.lose_patience("w-1", second, &mut api, 79);
    assert!(records.is_empty());
    let (records, _) = works.lose_patience("w-1", second, &mut api, 80);
    assert_eq!(records, [Record::Burst { work: "w-1".into(), reason: BurstReason::OutOfPatience, rest: 70 }]);
}

#[test]
fn patience_spares_a_pod_that_is_about_to_run() {
    let (mut works, mut api) = works(Kind::Service, Some(40));
    let pod = only_pod(&api);
    api.modify_pod(45, &pod.meta.name, |pod| pod.node = Some("n".to_owned()));
    let waits = works.get("w-1").map(|work| work.waits).expect("it waits");
    assert_eq!(works.lose_patience("w-1", waits, &mut api, 50), (Vec::new(), Again::After(1000)));
}

#[test]
fn a_rejected_pod_is_made_again_but_a_job_waits_before() {
    for (kind, again) in [(Kind::Service, Again::Never), (Kind::Job, Again::After(JOB_BACK_OFF))] {
        let (mut works, mut api) = works(kind, None);
        let pod = only_pod(&api);
        api.modify_pod(20, &pod.meta.name, |pod| {
            pod.node = Some("n".to_owned());
            pod.phase = super::super::api::PodPhase::Failed;
        });
        assert!(works.stopped(&pod, Stop::Early(None), &mut api, 20).is_empty(), "it never ran");
        assert_eq!(works.reconcile("w-1", &mut api, 30), (Vec::new(), again));
        assert_eq!(api.objects().pods.len(), usize::from(kind == Kind::Service));
        works.reconcile("w-1", &mut api, 30 + JOB_BACK_OFF);
        assert_ne!(only_pod(&api).meta.uid, pod.meta.uid);
    }
}
