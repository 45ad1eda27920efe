//! Who is put where, and when.

use std::collections::BTreeMap;

use super::*;
use crate::exec::Taint;
use crate::sim::api::{Deletion, Meta, NAMESPACE, PodPhase, Toleration};

const SMALL: &str = "nvidia.com/mig-1g.10gb";

fn node(name: &str, instances: u64) -> Node {
    Node {
        meta: Meta { name: Name::cluster(name), ..Meta::default() },
        ready: true,
        allocatable: BTreeMap::from([(SMALL.to_owned(), instances)]),
        cpu_milli: 8000,
        max_pods: 110,
        ..Node::default()
    }
}

fn pod(name: &str, priority: i32) -> Pod {
    Pod {
        meta: Meta { name: Name::of(NAMESPACE, name), ..Meta::default() },
        requests: BTreeMap::from([(SMALL.to_owned(), 1)]),
        cpu_milli: 100,
        priority,
        preempts: true,
        grace_seconds: 30,
        ..Pod::default()
    }
}

struct Fixture {
    api: ApiServer,
    scheduler: Scheduler,
    now: u64,
}

impl Fixture {
    fn new(nodes: Vec<Node>, scoring: Scoring, preemption: bool) -> Self {
        let mut api = ApiServer::new(1000);
        for node in nodes {
            api.create_node(0, node).expect("a new node");
        }
        let scheduler = Scheduler::new(&api, 10, scoring, preemption);
        Self { api, scheduler, now: 0 }
    }

    fn create(&mut self, pod: Pod) {
        self.now += 1;
        self.api.create_pod(self.now, pod).expect("a new pod");
    }

    /// Lets everything reach the scheduler, and lets it try all.
    fn run(&mut self) {
        self.now += 10;
        self.scheduler.follow(&self.api, self.now);
        while self.scheduler.busy() {
            self.scheduler.cycle(&mut self.api, self.now);
        }
    }

    fn pod(&self, name: &str) -> &Pod {
        &self.api.objects().pods[&Name::of(NAMESPACE, name)]
    }

    fn node_of(&self, name: &str) -> Option<&str> {
        self.pod(name).node.as_deref()
    }
}

#[test]
fn pods_go_by_priority_then_by_age_and_the_rest_is_unschedulable() {
    let mut fixture = Fixture::new(vec![node("a", 2)], Scoring::LeastAllocated, false);
    for (name, priority) in [("old", 0), ("young", 0), ("urgent", 5)] {
        fixture.create(pod(name, priority));
    }
    fixture.run();
    assert_eq!(fixture.node_of("urgent"), Some("a"));
    assert_eq!(fixture.node_of("old"), Some("a"));
    assert_eq!(fixture.node_of("young"), None);
    assert!(fixture.pod("young").unschedulable);
}

#[test]
fn what_was_bound_a_moment_ago_counts_before_the_cache_has_seen_it() {
    let mut fixture = Fixture::new(vec![node("a", 1)], Scoring::LeastAllocated, false);
    fixture.create(pod("one", 0));
    fixture.create(pod("two", 0));
    fixture.now += 10;
    fixture.scheduler.follow(&fixture.api, fixture.now);
    fixture.scheduler.cycle(&mut fixture.api, fixture.now);
    fixture.scheduler.cycle(&mut fixture.api, fixture.now);
    assert_eq!((fixture.node_of("one"), fixture.node_of("two")), (Some("a"), None));
}

#[test]
fn a_lagging_cache_still_binds_to_a_node_that_was_just_tainted() {
    let mut fixture = Fixture::new(vec![node("a", 1)], Scoring::LeastAllocated, false);
    fixture.create(pod("one", 0));
    let taint = Taint { key: "retile.dev/repartitioning".into(), value: "op".into(), effect: "NoSchedule".into() };
    let at = fixture.now + 5;
    fixture.api.modify_node(at, "a", |node| node.taints.push(taint));
    fixture.run();
    assert_eq!(fixture.node_of("one"), Some("a"), "which is why an operation settles after it has tainted");
    fixture.create(pod("two", 0));
    fixture.run();
    assert_eq!(fixture.node_of("two"), None);
}

#[test]
fn taints_keep_away_all_but_those_who_tolerate_them() {
    let taint = |effect: &str| Taint { key: "k".into(), value: "v".into(), effect: effect.into() };
    let toleration = |key: &str, value: &str, exists| Toleration {
        key: key.into(),
        value: value.into(),
        exists,
        effect: String::new(),
    };
    let cases = [
        ("NoSchedule", None, false),
        ("NoExecute", None, false),
        ("PreferNoSchedule", None, true),
        ("NoSchedule", Some(toleration("k", "v", false)), true),
        ("NoSchedule", Some(toleration("k", "other", false)), false),
        ("NoSchedule", Some(toleration("k", "", true)), true),
        ("NoSchedule", Some(toleration("", "", true)), true),
        ("NoSchedule", Some(toleration("", "", false)), false),
        ("NoSchedule", Some(Toleration { effect: "NoExecute".into(), ..toleration("k", "v", false) }), false),
    ];
    for (effect, tolerated, fits) in cases {
        let tainted = Node { taints: vec![taint(effect)], ..node("a", 1) };
        let mut fixture = Fixture::new(vec![tainted], Scoring::LeastAllocated, false);
        fixture.create(Pod { tolerations: tolerated.iter().cloned().collect(), ..pod("one", 0) });
        fixture.run();
        assert_eq!(fixture.node_of("one").is_some(), fits, "{effect} {tolerated:?}");
    }
}

#[test]
fn nodes_that_are_cordoned_not_ready_or_full_take_nobody() {
    let nodes = [
        Node { unschedulable: true, ..node("a", 1) },
        Node { ready: false, ..node("a", 1) },
        Node { cpu_milli: 50, ..node("a", 1) },
        Node { max_pods: 0, ..node("a", 1) },
        node("a", 0),
    ];
    for node in nodes {
        let mut fixture = Fixture::new(vec![node.clone()], Scoring::LeastAllocated, false);
        fixture.create(pod("one", 0));
        fixture.run();
        assert_eq!(fixture.node_of("one"), None, "{node:?}");
    }
}

#[test]
fn scoring_spreads_or_packs() {
    for (scoring, expected) in [(Scoring::LeastAllocated, "b"), (Scoring::MostAllocated, "a")] {
        let mut fixture = Fixture::new(vec![node("a", 4), node("b", 4)], scoring, false);
        fixture.create(pod("one", 0));
        fixture.run();
        let first = fixture.node_of("one").expect("it fits").to_owned();
        fixture.create(pod("two", 0));
        fixture.run();
        let same = fixture.node_of("two") == Some(first.as_str());
        assert_eq!(same, expected == "a", "{scoring:?}");
    }
}

#[test]
fn a_pod_that_did_not_fit_is_tried_again_when_something_has_changed_or_after_a_while() {
    let mut fixture = Fixture::new(vec![node("a", 1)], Scoring::LeastAllocated, false);
    fixture.create(pod("one", 0));
    fixture.create(pod("two", 0));
    fixture.run();
    assert_eq!(fixture.node_of("two"), None);
    let one = Name::of(NAMESPACE, "one");
    fixture.api.modify_pod(fixture.now, &one, |pod| pod.phase = PodPhase::Running);
    fixture.api.delete_pod(fixture.now, &one, &Deletion::default()).expect("it is there");
    fixture.run();
    assert_eq!(fixture.node_of("two"), None, "a terminating pod still takes its room");
    fixture
        .api
        .delete_pod(fixture.now, &one, &Deletion { grace: Some(0), ..Deletion::default() })
        .expect("still there");
    fixture.run();
    assert_eq!(fixture.node_of("two"), Some("a"));

    fixture.create(pod("three", 0));
    fixture.run();
    let flush = fixture.scheduler.next_flush().expect("it is parked");
    assert_eq!(flush, fixture.now + 300_000);
    fixture.scheduler.follow(&fixture.api, flush);
    assert!(fixture.scheduler.busy());
}

#[test]
fn preemption_takes_the_fewest_of_the_lowest_priority_and_keeps_the_room() {
    let mut fixture = Fixture::new(vec![node("a", 2)], Scoring::LeastAllocated, true);
    fixture.create(pod("low", 0));
    fixture.create(pod("middle", 3));
    fixture.run();
    fixture.create(pod("high", 5));
    fixture.run();
    assert!(fixture.pod("low").deleting() && !fixture.pod("middle").deleting());
    assert_eq!(fixture.pod("high").nominated.as_deref(), Some("a"));
    fixture.create(pod("rival", 4));
    let low = Name::of(NAMESPACE, "low");
    fixture.api.delete_pod(fixture.now, &low, &Deletion { grace: Some(0), ..Deletion::default() }).expect("there");
    fixture.run();
    assert_eq!(fixture.node_of("high"), Some("a"));
    assert_eq!(fixture.node_of("rival"), None);
    assert!(fixture.pod("middle").deleting(), "the rival makes room of its own");

    let mut meek = Fixture::new(vec![node("a", 1)], Scoring::LeastAllocated, true);
    meek.create(pod("low", 0));
    meek.run();
    meek.create(Pod { preempts: false, ..pod("high", 5) });
    meek.run();
    assert!(!meek.pod("low").deleting());
}
