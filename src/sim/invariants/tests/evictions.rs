//! Pods that go because of us.

use super::*;

/// What is different about an eviction.
type Change = fn(&mut Eviction);

/// An eviction of `victim` and everything around it.
struct Eviction {
    body: EvictionBody,
    accepted: bool,
    pod: PodView,
    node: NodeView,
    operation: Operation,
    gains: Option<bool>,
    looks: bool,
}

impl Eviction {
    fn new() -> Self {
        Self {
            body: EvictionBody::of(&pod("victim")),
            accepted: true,
            pod: view_of("victim"),
            node: view(),
            operation: operation(Phase::Draining),
            gains: Some(true),
            looks: true,
        }
    }

    fn play(&self, checker: &mut Checker, at: u64) {
        if self.looks {
            for look in [Look::Record, Look::Node, Look::Pods] {
                checker.on_look("controller/n", look, true);
            }
        }
        let seen = SeenEviction {
            body: &self.body,
            accepted: self.accepted,
            pod: Some(&self.pod),
            work: Some("work"),
            node: Some(&self.node),
            operation: Some(&self.operation),
            gains: self.gains,
        };
        checker.on_evict(at, &seen);
    }
}

fn evicted(change: impl FnOnce(&mut Eviction)) -> Vec<Invariant> {
    let mut eviction = Eviction::new();
    change(&mut eviction);
    let mut checker = checker();
    eviction.play(&mut checker, 1);
    broken(&checker)
}

#[test]
fn evictions_break_the_rules_one_at_a_time() {
    let cases: [(&str, Change, &[Invariant]); 16] = [
        ("as planned", |_| {}, &[]),
        ("not pinned", |eviction| eviction.body.delete_options = None, &[Invariant::S6]),
        (
            "no victim",
            |eviction| {
                eviction.body = EvictionBody::of(&pod("other"));
                eviction.pod = view_of("other");
            },
            &[Invariant::S6],
        ),
        ("not draining", |eviction| eviction.operation.phase = Phase::Claimed, &[Invariant::S6]),
        ("no taint", |eviction| eviction.node = untainted(), &[Invariant::S6]),
        ("no gain", |eviction| eviction.gains = Some(false), &[Invariant::S7]),
        ("the budget is used up", |eviction| eviction.pod.budgets = vec![0], &[Invariant::S9]),
        (
            "the budget does not count a pod that is not ready",
            |eviction| {
                eviction.pod.budgets = vec![0];
                eviction.pod.ready = false;
            },
            &[],
        ),
        (
            "refused",
            |eviction| {
                eviction.pod.budgets = vec![0];
                eviction.accepted = false;
            },
            &[],
        ),
        (
            "a higher level",
            |eviction| {
                eviction.pod.movability = Movability::From(DisruptionLevel::Aggressive);
            },
            &[Invariant::S10],
        ),
        (
            "protected",
            |eviction| {
                eviction.pod.movability = Movability::Never(Reason::PolicyForbids, String::new());
            },
            &[Invariant::S10],
        ),
        ("the device plugin", |eviction| eviction.pod.device_plugin = true, &[Invariant::S10]),
        ("tolerates", |eviction| eviction.pod.tolerates_taint = true, &[Invariant::S10]),
        ("takes too long to end", |eviction| eviction.pod.grace_seconds = 601, &[Invariant::S10]),
        ("no look", |eviction| eviction.looks = false, &[Invariant::S19]),
        (
            "the pod is another one by now",
            |eviction| {
                eviction.pod.pod.uid = "uid-successor".into();
                eviction.accepted = false;
            },
            &[],
        ),
    ];
    for (case, change, expected) in cases {
        assert_eq!(evicted(change), expected, "{case}");
    }
}

#[test]
fn what_changed_a_moment_ago_is_not_held_against_an_eviction() {
    for (at, expected) in [(1_000, 0), (100_000, 1)] {
        let mut checker = checker();
        checker.disturbed(500, "uid-victim");
        let mut eviction = Eviction::new();
        eviction.pod.movability = Movability::Never(Reason::PolicyForbids, String::new());
        eviction.play(&mut checker, at);
        assert_eq!(broken(&checker), vec![Invariant::S10; expected]);
    }
}

#[test]
fn l8_work_is_evicted_too_often() {
    let mut checker = checker();
    Eviction::new().play(&mut checker, 1);
    Eviction::new().play(&mut checker, 6 * 3_600_000 + 1);
    assert_eq!(broken(&checker), []);
    Eviction::new().play(&mut checker, 6 * 3_600_000 + 2);
    assert_eq!(broken(&checker), [Invariant::L8]);
}

#[test]
fn pods_are_deleted() {
    let plugin = PodView { device_plugin: true, ..view_of("plugin") };
    let mut restarting = operation(Phase::Restarting);
    restarting.plugin = Some(pod("plugin"));
    let successor = PodView { pod: PodRef { uid: "uid-successor".into(), ..pod("plugin") }, ..plugin.clone() };
    let cases = [
        ("the plugin", &plugin, Some(&restarting), vec![]),
        ("its successor", &successor, Some(&restarting), vec![Invariant::S6]),
        ("a user's pod", &view_of("plugin"), Some(&restarting), vec![Invariant::S6]),
        ("by nobody", &plugin, None, vec![Invariant::S3]),
        ("too early", &plugin, Some(&operation(Phase::Drained)), vec![Invariant::S3]),
    ];
    for (case, pod_view, operation, expected) in cases {
        let mut checker = checker();
        let asked = pod("plugin");
        checker.on_delete(1, &SeenDeletion { asked: &asked, pod: Some(pod_view), node: "n", operation });
        assert_eq!(broken(&checker), expected, "{case}");
    }
}
