//! What operations leave behind, and what is left in the end.

use super::*;

#[test]
fn s8_an_operation_loses_pods_or_capacity() {
    let census = |running: &[(i32, u64)], small: u64| Census {
        running: running.iter().copied().collect(),
        capacity: BTreeMap::from([("1g.10gb".to_owned(), small)]),
    };
    let before = census(&[(0, 3), (10, 1)], 2);
    let cases = [
        (Outcome::Done, census(&[(0, 3), (10, 1)], 0), Some(0), 0),
        (Outcome::Done, census(&[(0, 2), (10, 2)], 0), Some(0), 0),
        (Outcome::Done, census(&[(0, 2), (10, 1)], 2), Some(0), 1),
        (Outcome::Done, census(&[(0, 2), (10, 1)], 2), Some(10), 0),
        (Outcome::Done, census(&[(0, 9)], 2), Some(10), 1),
        (Outcome::Done, census(&[(0, 2), (10, 1)], 2), None, 1),
        (Outcome::RolledBack, census(&[(10, 1)], 2), Some(0), 0),
        (Outcome::RolledBack, census(&[(0, 3), (10, 1)], 1), Some(0), 1),
        (Outcome::Aborted, Census::default(), Some(0), 1),
        (Outcome::Degraded, Census::default(), Some(0), 0),
    ];
    for (outcome, after, lowest, expected) in cases {
        let mut checker = checker();
        let operation = id("op");
        let seen = SeenEnd { node: "n", operation: &operation, outcome, lowest, before: &before, after: &after };
        checker.on_end(1, &seen);
        assert_eq!(broken(&checker), vec![Invariant::S8; expected], "{outcome:?} {lowest:?} {after:?}");
    }
}

/// What it is, the nodes, where a change would pay, what is wrong.
type Case<'a> = (&'a str, Vec<QuietNode<'a>>, &'a [String], &'a [Invariant]);

fn quiet(nodes: &[QuietNode<'_>], proposed: &[String]) -> Vec<Invariant> {
    let mut checker = checker();
    checker.quiesced(1, &Quiet { nodes, proposed });
    broken(&checker)
}

#[test]
fn in_the_end_nothing_is_left() {
    let (clean, tainted) = (untainted(), view());
    let (idle, stuck) = (without_operation(), record(Phase::Draining, AgentPhase::Idle));
    let degraded = record(Phase::Degraded, AgentPhase::Degraded);
    let node = QuietNode { view: &clean, record: Some(&idle), sound: true, rest: 0, failures: 0, succeeded: true };
    let bad = QuietNode { view: &tainted, record: Some(&degraded), sound: false, ..node };
    let name = ["n".to_owned()];
    let other = NodeView { name: "m".into(), ..clean.clone() };
    let sound = QuietNode { view: &other, ..node };
    let cases: [Case<'_>; 10] = [
        ("clean", vec![node, sound], &[], &[]),
        ("it would pay", vec![node], &name, &[Invariant::L1]),
        ("a taint", vec![QuietNode { view: &tainted, ..node }], &[], &[Invariant::L2]),
        ("an operation", vec![QuietNode { record: Some(&stuck), ..node }], &[], &[Invariant::L3]),
        ("degraded", vec![bad, sound], &[], &[]),
        ("it would pay on the bad node only", vec![bad], &name, &[]),
        ("it would pay on a sound node beside a bad one", vec![bad, sound], &["m".to_owned()], &[Invariant::L4]),
        ("rests for ever", vec![QuietNode { rest: u64::MAX, ..node }], &[], &[Invariant::L7]),
        ("counts failures after a success", vec![QuietNode { failures: 1, ..node }], &[], &[Invariant::L7]),
        ("repaired", vec![QuietNode { sound: true, ..bad }], &[], &[Invariant::L10]),
    ];
    for (case, nodes, proposed, expected) in cases {
        assert_eq!(quiet(&nodes, proposed), expected, "{case}");
    }
}

#[test]
fn a_violation_names_the_rule_in_words() {
    let mut checker = checker();
    checker.on_mig_mode(42, GPU, true);
    let text = checker.violations()[0].to_string();
    assert!(text.starts_with("S16 (MIG mode is never changed) at 42 ms, GPU-n-00"), "{text}");
    for _ in 0..200 {
        checker.on_mig_mode(42, GPU, true);
    }
    assert_eq!(checker.violations().len(), 100);
    assert!(Invariant::ALL.iter().all(|invariant| !invariant.text().is_empty()));
}
