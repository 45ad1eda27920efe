//! The contract of the API server, case by case.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, EvictionBody, Lease};
use crate::exec::{MigNodeSpec, MigNodeStatus, OperationId, TAINT_KEY, Taint, Version};
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

/// Name, pods of which `a` is evicted, budgets, and the answer.
type Case = (&'static str, Vec<Pod>, Vec<Budget>, Result<(), ClusterError>);

#[test]
fn evictions_obey_budgets_phases_and_preconditions() {
    let keep_one = || budget("b", BudgetRule::MinAvailable(Amount::Count(1)));
    let keep_all = || budget("c", BudgetRule::MaxUnavailable(Amount::Count(0)));
    let unready = || Pod { ready: false, ..pod("a", Some("n"), RUNNING) };
    let other = || pod("z", Some("n"), RUNNING);
    let lenient = || Budget { always_allow_unhealthy: true, ..keep_all() };
    let cases: Vec<Case> = vec![
        ("no budget", vec![pod("a", Some("n"), RUNNING)], vec![], Ok(())),
        ("headroom", vec![pod("a", Some("n"), RUNNING), other()], vec![keep_one()], Ok(())),
        ("none left", vec![pod("a", Some("n"), RUNNING)], vec![keep_one()], Err(ClusterError::BlockedByBudget)),
        (
            "two budgets",
            vec![pod("a", Some("n"), RUNNING), other()],
            vec![keep_one(), keep_all()],
            Err(ClusterError::SeveralBudgets),
        ),
        ("pending pods are not protected", vec![pod("a", Some("n"), PodPhase::Pending)], vec![keep_all()], Ok(())),
        ("pending, two budgets", vec![pod("a", None, PodPhase::Pending)], vec![keep_one(), keep_all()], Ok(())),
        ("failed pods are not protected", vec![pod("a", Some("n"), PodPhase::Failed)], vec![keep_all()], Ok(())),
        ("unready, enough healthy", vec![unready(), other()], vec![keep_one()], Ok(())),
        ("unready, disrupted", vec![unready(), other()], vec![keep_all()], Err(ClusterError::BlockedByBudget)),
        ("unready, always allowed", vec![unready(), other()], vec![lenient()], Ok(())),
    ];
    for (name, pods, budgets, expected) in cases {
        for dry_run in [true, false] {
            let mut fixture = Fixture::new(&pods, &budgets);
            let before = format!("{:?}", fixture.api.objects());
            let target = fixture.pod("a");
            assert_eq!(fixture.evict(&target, dry_run), expected, "{name}, dry run {dry_run}");
            if dry_run || expected.is_err() {
                assert_eq!(format!("{:?}", fixture.api.objects()), before, "{name}: nothing may change");
            } else {
                assert_ne!(fixture.is_deleting("a"), Some(false), "{name}");
            }
        }
    }
}

#[test]
fn a_granted_eviction_draws_on_the_budget_until_its_controller_has_seen_the_pod_go() {
    let pods = [pod("a", Some("n"), RUNNING), pod("z", Some("n"), RUNNING)];
    let mut fixture = Fixture::new(&pods, &[budget("b", BudgetRule::MinAvailable(Amount::Count(1)))]);
    assert_eq!(fixture.allowed("b"), 1);
    let (a, z) = (fixture.pod("a"), fixture.pod("z"));
    assert_eq!(fixture.evict(&a, false), Ok(()));
    assert_eq!(fixture.allowed("b"), 0);
    assert_eq!(fixture.evict(&z, false), Err(ClusterError::BlockedByBudget));
    assert_eq!(fixture.evict(&a, false), Ok(()), "a terminating pod is not protected");
}

#[test]
fn the_uid_counts_only_in_the_servers_spelling_and_after_the_budget() {
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

    let mut without = EvictionBody::of(&namesake);
    without.delete_options = None;
    let reply = fixture.ask(&ClusterRequest::Evict { pod: namesake, body: without, dry_run: false });
    assert!(matches!(reply, Ok(ClusterAnswer::Accepted)), "without a precondition the namesake goes");
    assert_eq!(fixture.is_deleting("a"), Some(true));
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
fn malformed_evictions_are_refused() {
    let mut fixture = Fixture::new(&[pod("a", Some("n"), RUNNING)], &[]);
    let target = fixture.pod("a");
    let spoil: [fn(&mut EvictionBody); 3] = [
        |body| body.api_version = "policy/v1beta1".to_owned(),
        |body| body.kind = "Evict".to_owned(),
        |body| body.metadata.name = "b".to_owned(),
    ];
    for spoil in spoil {
        let mut body = EvictionBody::of(&target);
        spoil(&mut body);
        let reply = fixture.ask(&ClusterRequest::Evict { pod: target.clone(), body, dry_run: false });
        assert!(matches!(reply, Err(ClusterError::Invalid(_))), "{reply:?}");
    }
    let gone = PodRef { name: "gone".to_owned(), ..target };
    assert_eq!(fixture.evict(&gone, false), Err(ClusterError::NotFound));
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
fn the_plugins_pod_is_deleted_only_by_its_uid() {
    let mut plugin = pod("p", Some("n"), RUNNING);
    plugin.owner = Owner::DaemonSet;
    let mut fixture = Fixture::new(&[plugin], &[]);
    let right = fixture.pod("p");
    let wrong = PodRef { uid: "another".to_owned(), ..right.clone() };
    let reply = fixture.ask(&ClusterRequest::DeletePluginPod { pod: wrong });
    assert!(matches!(reply, Err(ClusterError::Conflict)));
    assert!(fixture.ask(&ClusterRequest::DeletePluginPod { pod: right }).is_ok());
    assert_eq!(fixture.is_deleting("p"), Some(true));
}

fn record(reply: ClusterReply) -> crate::exec::MigNode {
    match reply {
        Ok(ClusterAnswer::MigNode(record)) => *record,
        other => panic!("a record was expected, not {other:?}"),
    }
}

#[test]
fn records_are_written_by_compare_and_swap_on_the_whole_object() {
    let mut fixture = Fixture::new(&[], &[]);
    let status = |heartbeat| Box::new(MigNodeStatus { heartbeat, ..MigNodeStatus::default() });
    let write =
        |version, heartbeat| ClusterRequest::WriteStatus { node: "n".into(), version, status: status(heartbeat) };
    let get = ClusterRequest::GetMigNode { node: "n".into() };
    assert!(matches!(fixture.ask(&get), Err(ClusterError::NotFound)));
    assert!(matches!(fixture.ask(&write(Version(3), 1)), Err(ClusterError::NotFound)));
    let first = record(fixture.ask(&write(Version(0), 1)));
    assert!(matches!(fixture.ask(&write(Version(0), 2)), Err(ClusterError::Conflict)), "it is there already");
    let same = record(fixture.ask(&write(first.version, 1)));
    assert_eq!(same.version, first.version, "what nothing changes is not written");
    let second = record(fixture.ask(&write(first.version, 2)));
    assert!(second.version > first.version);
    let spec = Box::new(MigNodeSpec::default());
    let stale = ClusterRequest::WriteSpec { node: "n".into(), version: first.version, spec };
    assert!(matches!(fixture.ask(&stale), Err(ClusterError::Conflict)), "a status write moves the spec's version too");
    assert_eq!(record(fixture.ask(&get)), second);
}

#[test]
fn taints_need_the_nodes_version_and_only_ours_goes() {
    let mut fixture = Fixture::new(&[], &[]);
    let foreign = Taint { key: "other".into(), value: String::new(), effect: "NoSchedule".into() };
    let node = fixture.api.modify_node(0, "n", |node| node.taints.push(foreign.clone())).expect("it is there");
    let (old, version) = (Version(node.meta.version - 1), Version(node.meta.version));
    let add =
        |version, id: &str| ClusterRequest::AddTaint { node: "n".into(), version, operation: OperationId(id.into()) };
    let remove = |version, id: &str| ClusterRequest::RemoveTaint {
        node: "n".into(),
        version,
        operation: OperationId(id.into()),
    };
    let now = |fixture: &Fixture| {
        let node = &fixture.api.objects().nodes["n"];
        (Version(node.meta.version), node.taints.clone())
    };
    assert!(matches!(fixture.ask(&add(old, "op-1")), Err(ClusterError::Conflict)));
    assert!(fixture.ask(&add(version, "op-1")).is_ok());
    assert!(fixture.ask(&add(now(&fixture).0, "op-2")).is_ok());
    let ours = |value: &str| Taint { key: TAINT_KEY.into(), value: value.into(), effect: "NoSchedule".into() };
    assert_eq!(now(&fixture).1, [foreign.clone(), ours("op-2")], "ours is replaced, theirs stays");
    assert!(matches!(fixture.ask(&remove(now(&fixture).0, "op-1")), Err(ClusterError::Conflict)));
    assert!(matches!(fixture.ask(&remove(version, "op-2")), Err(ClusterError::Conflict)));
    assert!(fixture.ask(&remove(now(&fixture).0, "op-2")).is_ok());
    assert_eq!(now(&fixture).1, [foreign]);
}

#[test]
fn the_lease_has_one_winner() {
    let mut fixture = Fixture::new(&[], &[]);
    let lease = |holder: &str| Lease { holder: holder.into(), renewals: 0, transitions: 1 };
    let write = |version, holder: &str| ClusterRequest::WriteLease { version, lease: lease(holder) };
    assert!(matches!(fixture.ask(&ClusterRequest::GetLease), Err(ClusterError::NotFound)));
    let Ok(ClusterAnswer::Lease(version, _)) = fixture.ask(&write(None, "a")) else { panic!("the first wins") };
    assert!(matches!(fixture.ask(&write(None, "b")), Err(ClusterError::Conflict)));
    assert!(fixture.ask(&write(Some(version), "a")).is_ok());
    assert!(matches!(fixture.ask(&write(Some(version), "b")), Err(ClusterError::Conflict)));
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
