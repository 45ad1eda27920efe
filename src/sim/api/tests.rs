//! What the API server does beyond what tests/contract holds it to: moments of a clock that stands still, roundings, lags.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, EvictionBody};
use crate::model::PodRef;

fn pod(name: &str, node: Option<&str>, phase: PodPhase) -> Pod {
    Pod {
        meta: Meta {
            name: Name::of(NAMESPACE, name),
            labels: BTreeMap::from([(APP.to_owned(), "web".to_owned()), (WORK.to_owned(), name.to_owned())]),
            ..Meta::default()
        },
        owner: Owner::ReplicaSet,
        node: node.map(str::to_owned),
        phase,
        ready: phase == PodPhase::Running,
        grace_seconds: 30,
        ..Pod::default()
    }
}

fn budget(name: &str, rule: BudgetRule) -> Budget {
    Budget {
        meta: Meta { name: Name::of(NAMESPACE, name), ..Meta::default() },
        selector: BTreeMap::from([(APP.to_owned(), "web".to_owned())]),
        rule,
        always_allow_unhealthy: false,
        status: BudgetStatus::default(),
    }
}

struct Fixture {
    api: ApiServer,
    observer: Observer,
    cache: Objects,
}

impl Fixture {
    fn new(pods: &[Pod], budgets: &[Budget]) -> Self {
        let mut api = ApiServer::new(100);
        let node = Node { meta: Meta { name: Name::cluster("n"), ..Meta::default() }, ready: true, ..Node::default() };
        api.create_node(0, node).expect("a new node");
        for pod in pods {
            api.create_pod(0, pod.clone()).expect("a new pod");
        }
        for budget in budgets {
            api.create_budget(0, budget.clone()).expect("a new budget");
        }
        api.control_budgets(0);
        Self { api, observer: Observer { policy: None, boards: BTreeMap::new() }, cache: Objects::default() }
    }

    fn ask(&mut self, request: &ClusterRequest) -> ClusterReply {
        self.api.answer(1000, request, &View { observer: &self.observer, cache: &self.cache })
    }

    fn pod(&self, name: &str) -> PodRef {
        self.api.objects().pods[&Name::of(NAMESPACE, name)].pod_ref()
    }

    fn evict(&mut self, pod: &PodRef, dry_run: bool) -> Result<(), ClusterError> {
        self.ask(&ClusterRequest::Evict { pod: pod.clone(), body: EvictionBody::of(pod), dry_run }).map(drop)
    }

    fn is_deleting(&self, name: &str) -> Option<bool> {
        self.api.objects().pods.get(&Name::of(NAMESPACE, name)).map(|pod| pod.deleting())
    }

    fn allowed(&self, budget: &str) -> i64 {
        self.api.objects().budgets[&Name::of(NAMESPACE, budget)].status.allowed
    }
}

const RUNNING: PodPhase = PodPhase::Running;

#[test]
fn headroom_that_a_namesake_took_is_given_back_after_two_minutes() {
    let pods = [pod("a", Some("n"), RUNNING), pod("z", Some("n"), RUNNING)];
    let mut fixture = Fixture::new(&pods, &[budget("b", BudgetRule::MinAvailable(Amount::Count(1)))]);
    let mut namesake = fixture.pod("a");
    namesake.uid = "another".to_owned();
    assert_eq!(fixture.evict(&namesake, true), Err(ClusterError::Conflict));
    assert_eq!(fixture.evict(&namesake, false), Err(ClusterError::Conflict));
    assert_eq!(fixture.is_deleting("a"), Some(false));
    assert_eq!(fixture.allowed("b"), 0, "the headroom is taken though nothing was deleted");
    let again = fixture.api.control_budgets(1000 + DELETION_TIMEOUT - 1);
    assert_eq!((fixture.allowed("b"), again), (0, Some(1000 + DELETION_TIMEOUT)));
    fixture.api.control_budgets(1000 + DELETION_TIMEOUT);
    assert_eq!(fixture.allowed("b"), 1, "after two minutes it is given back");
}

#[test]
fn a_budget_whose_controller_is_behind_grants_nothing() {
    let pods = [pod("a", Some("n"), RUNNING), pod("z", Some("n"), RUNNING)];
    let mut fixture = Fixture::new(&pods, &[budget("b", BudgetRule::MinAvailable(Amount::Count(1)))]);
    let name = Name::of(NAMESPACE, "b");
    fixture.api.modify_budget(0, &name, |budget| budget.rule = BudgetRule::MinAvailable(Amount::Count(0)));
    let target = fixture.pod("a");
    assert_eq!(fixture.evict(&target, true), Err(ClusterError::BlockedByBudget));
    fixture.api.control_budgets(0);
    assert_eq!(fixture.evict(&target, true), Ok(()));
}

#[test]
fn budgets_round_shares_up_and_count_healthy_pods() {
    let pods: Vec<Pod> = (0..7).map(|n| pod(&format!("a-{n}"), Some("n"), RUNNING)).collect();
    let cases = [
        (BudgetRule::MinAvailable(Amount::Percent(50)), 4, 3),
        (BudgetRule::MaxUnavailable(Amount::Percent(30)), 4, 3),
        (BudgetRule::MaxUnavailable(Amount::Count(1)), 6, 1),
        (BudgetRule::MinAvailable(Amount::Count(7)), 7, 0),
        (BudgetRule::MinAvailable(Amount::Count(9)), 9, 0),
        (BudgetRule::MinAvailable(Amount::Percent(100)), 7, 0),
    ];
    for (rule, desired, allowed) in cases {
        let fixture = Fixture::new(&pods, &[budget("b", rule)]);
        let status = &fixture.api.objects().budgets[&Name::of(NAMESPACE, "b")].status;
        assert_eq!((status.desired, status.allowed), (desired, allowed), "{rule:?}");
    }
    let empty = Budget { selector: BTreeMap::new(), ..budget("b", BudgetRule::MinAvailable(Amount::Count(6))) };
    assert_eq!(Fixture::new(&pods, &[empty]).allowed("b"), 1, "an empty selector covers the whole namespace");
}

#[test]
fn deletion_gives_grace_to_bound_pods_and_waits_for_finalizers() {
    let finalized = |mut pod: Pod| {
        pod.meta.finalizers = BTreeSet::from(["example.com/hold".to_owned()]);
        pod
    };
    let pods = [
        pod("unbound", None, PodPhase::Pending),
        pod("bound", Some("n"), RUNNING),
        pod("finished", Some("n"), PodPhase::Succeeded),
        finalized(pod("held", Some("n"), PodPhase::Failed)),
    ];
    let mut fixture = Fixture::new(&pods, &[]);
    let delete = |fixture: &mut Fixture, name: &str, grace| {
        let options = Deletion { grace, ..Deletion::default() };
        fixture.api.delete_pod(5000, &Name::of(NAMESPACE, name), &options)
    };
    for name in ["unbound", "bound", "finished", "held"] {
        assert_eq!(delete(&mut fixture, name, None), Ok(()));
    }
    assert_eq!(fixture.is_deleting("unbound"), None);
    assert_eq!(fixture.is_deleting("finished"), None);
    assert_eq!(fixture.is_deleting("bound"), Some(true));
    let bound = &fixture.api.objects().pods[&Name::of(NAMESPACE, "bound")];
    assert_eq!(bound.meta.deletion, Some(35_000));
    assert_eq!(delete(&mut fixture, "bound", Some(60)), Ok(()), "a longer grace changes nothing");
    assert_eq!(fixture.api.objects().pods[&Name::of(NAMESPACE, "bound")].meta.deletion, Some(35_000));
    assert_eq!(delete(&mut fixture, "bound", Some(0)), Ok(()));
    assert_eq!(fixture.is_deleting("bound"), None);
    assert_eq!(fixture.is_deleting("held"), Some(true));
    fixture.api.modify_pod(6000, &Name::of(NAMESPACE, "held"), |pod| pod.meta.finalizers.clear());
    assert_eq!(fixture.is_deleting("held"), None);
    assert_eq!(delete(&mut fixture, "held", None), Err(DeleteError::NotFound));
}

#[test]
fn watches_lag_miss_nothing_and_expire() {
    let mut fixture = Fixture::new(&[pod("a", None, PodPhase::Pending)], &[]);
    let mut informer = Informer::new(&fixture.api, 50);
    fixture.api.modify_pod(100, &Name::of(NAMESPACE, "a"), |pod| pod.unschedulable = true);
    let heard = |heard: Heard| match heard {
        Heard::Changes(changes) => Some(changes.len()),
        Heard::Relisted => None,
    };
    assert_eq!(heard(informer.follow(&fixture.api, 149)), Some(0), "it is 50 ms behind");
    assert_eq!(heard(informer.follow(&fixture.api, 150)), Some(1));
    assert!(informer.objects.pods[&Name::of(NAMESPACE, "a")].unschedulable);
    informer.deaf_until = 1000;
    fixture.api.delete_pod(200, &Name::of(NAMESPACE, "a"), &Deletion::default()).expect("it is there");
    assert_eq!(heard(informer.follow(&fixture.api, 999)), Some(0));
    fixture.api.compact();
    assert_eq!(heard(informer.follow(&fixture.api, 1000)), None, "410: it lists anew");
    assert!(informer.objects.pods.is_empty(), "and the deletion that it missed is in the list");
}

#[test]
fn a_lagging_replica_answers_from_the_past_until_that_is_forgotten() {
    let mut fixture = Fixture::new(&[pod("a", Some("n"), RUNNING)], &[]);
    let version = fixture.api.version();
    fixture
        .api
        .delete_pod(10, &Name::of(NAMESPACE, "a"), &Deletion { grace: Some(0), ..Deletion::default() })
        .expect("there");
    let list = ClusterRequest::ListPods { node: "n".into() };
    let view = View { observer: &fixture.observer, cache: &fixture.cache };
    let count = |reply: ClusterReply| match reply {
        Ok(ClusterAnswer::Pods(pods)) => pods.len(),
        other => panic!("pods were expected, not {other:?}"),
    };
    assert_eq!(count(fixture.api.answer_stale(20, &list, version, &view)), 1);
    assert_eq!(count(fixture.api.answer_stale(20, &list, fixture.api.version(), &view)), 0);
    fixture.api.compact();
    assert!(matches!(fixture.api.answer_stale(20, &list, version, &view), Err(ClusterError::Expired)));
}
