//! `MigNode`: compare-and-swap of both sides on one version, what the definition refuses, and whose it is.

use retile::exec::port::ClusterError;
use retile::exec::{
    Ended, GpuTarget, MigNode, MigNodeSpec, MigNodeStatus, Operation, OperationId, Outcome, PROTOCOL, Phase, Version,
    Victim,
};
use retile::model::PodRef;

use crate::cluster::{
    Cluster, add_gpu_node, eventually, free, get_node, get_record, gpu, node_of, place, record_of, refused, report,
    status, write_spec, write_status,
};

/// A record claimed for an operation that moves one instance.
pub(crate) fn claimed(id: &str, epoch: u64) -> MigNodeSpec {
    let target = GpuTarget { uuid: "GPU-1".to_owned(), index: 0, base: vec![place(0)], target: vec![place(1)] };
    let operation = Operation {
        id: OperationId(id.to_owned()),
        epoch,
        protocol: PROTOCOL,
        node_uid: "uid".to_owned(),
        gpus: vec![target],
        steps: Vec::new(),
        victims: Vec::new(),
        beneficiaries: Vec::new(),
        residents: Vec::new(),
        phase: Phase::Claimed,
        plugin: None,
        outcome: None,
        detail: String::new(),
    };
    MigNodeSpec { operation: Some(operation), history: Vec::new() }
}

/// A node without a record, and what its agent reports: that it has beaten once, and no GPUs.
async fn node(cluster: &mut impl Cluster) -> (String, MigNodeStatus) {
    let name = cluster.unique("node");
    cluster.add_node(&name).await;
    let node_uid = node_of(cluster.ask(&get_node(&name)).await).uid;
    (name, MigNodeStatus { node_uid, ..status(1) })
}

/// The same with a record of that report.
async fn record(cluster: &mut impl Cluster) -> (String, MigNode) {
    let (name, first) = node(cluster).await;
    let record = record_of(cluster.ask(&write_status(&name, Version(0), &first)).await);
    (name, record)
}

fn beat(status: &MigNodeStatus, heartbeat: u64) -> MigNodeStatus {
    MigNodeStatus { heartbeat, ..status.clone() }
}

pub(crate) async fn both_sides_swap_on_one_version(cluster: &mut impl Cluster) {
    let (name, first) = node(cluster).await;
    let second = beat(&first, 2);
    for request in
        [get_record(&name), write_spec(&name, Version(1), &claimed("op", 1)), write_status(&name, Version(1), &first)]
    {
        assert_eq!(refused(cluster.ask(&request).await), ClusterError::NotFound, "{request:?}");
    }
    let made = record_of(cluster.ask(&write_status(&name, Version(0), &first)).await);
    assert_eq!((&made.status, &made.spec), (&first, &MigNodeSpec::default()));
    let twice = cluster.ask(&write_status(&name, Version(0), &first)).await;
    assert_eq!(refused(twice), ClusterError::Conflict, "it is there already");

    let claim = record_of(cluster.ask(&write_spec(&name, made.version, &claimed("op", 1))).await);
    assert_eq!((&claim.spec, &claim.status), (&claimed("op", 1), &first));
    assert!(claim.version > made.version);
    let late = cluster.ask(&write_status(&name, made.version, &second)).await;
    assert_eq!(refused(late), ClusterError::Conflict, "the agent has not seen the claim");
    let reported = record_of(cluster.ask(&write_status(&name, claim.version, &second)).await);
    assert_eq!((&reported.spec, &reported.status), (&claimed("op", 1), &second), "each writes its own part only");
    let late = cluster.ask(&write_spec(&name, claim.version, &MigNodeSpec::default())).await;
    assert_eq!(refused(late), ClusterError::Conflict, "the controller has not seen the report");
    let closed = record_of(cluster.ask(&write_spec(&name, reported.version, &MigNodeSpec::default())).await);
    assert_eq!(closed.spec, MigNodeSpec::default(), "what is gone from the spec is gone");
    assert_eq!(record_of(cluster.ask(&get_record(&name)).await), closed);
}

pub(crate) async fn of_many_that_claim_the_same_version_one_succeeds(cluster: &mut impl Cluster) {
    let (name, made) = record(cluster).await;
    let mut tries: Vec<_> =
        (0..6).map(|number| write_spec(&name, made.version, &claimed(&format!("op-{number}"), number))).collect();
    tries.push(write_status(&name, made.version, &beat(&made.status, 2)));
    let answers = cluster.ask_together(&tries).await;
    let won: Vec<_> = answers.iter().flatten().collect();
    let lost = answers.iter().filter(|answer| matches!(answer, Err(ClusterError::Conflict))).count();
    assert_eq!((won.len(), lost), (1, tries.len() - 1), "{answers:?}");
}

pub(crate) async fn what_an_operation_changes_is_fixed_and_its_epoch_never_goes_back(cluster: &mut impl Cluster) {
    let (name, made) = record(cluster).await;
    let first = record_of(cluster.ask(&write_spec(&name, made.version, &claimed("op", 5))).await);
    let spoils: [fn(&mut Operation); 5] = [
        |operation| operation.gpus[0].target = vec![place(2)],
        |operation| operation.node_uid = "another".into(),
        |operation| operation.protocol += 1,
        |operation| {
            let pod = PodRef { namespace: "a".to_owned(), name: "b".to_owned(), uid: "c".to_owned() };
            operation.victims.push(Victim { pod, placed_on: None });
        },
        |operation| operation.epoch = 4,
    ];
    for spoil in spoils {
        let mut spec = claimed("op", 5);
        spoil(spec.operation.as_mut().expect("there is one"));
        let refusal = refused(cluster.ask(&write_spec(&name, first.version, &spec)).await);
        assert!(matches!(refusal, ClusterError::Invalid(_)), "{spec:?}: {refusal:?}");
    }
    let stale = cluster.ask(&write_spec(&name, made.version, &claimed("op", 4))).await;
    assert_eq!(refused(stale), ClusterError::Conflict, "the version counts before the content");
    let mut adopted = claimed("op", 6);
    adopted.operation.as_mut().expect("there is one").phase = Phase::Draining;
    let adopted = record_of(cluster.ask(&write_spec(&name, first.version, &adopted)).await);
    let other = record_of(cluster.ask(&write_spec(&name, adopted.version, &claimed("another", 1))).await);
    assert_eq!(other.spec, claimed("another", 1), "another operation counts from where it likes");
}

pub(crate) async fn a_status_of_the_largest_node_is_stored_and_one_beyond_is_refused(cluster: &mut impl Cluster) {
    let (name, first) = node(cluster).await;
    let board = |index| gpu(index, (0..7).map(free).collect());
    let large = MigNodeStatus { gpus: (0..32).map(board).collect(), ..first };
    let made = record_of(cluster.ask(&write_status(&name, Version(0), &large)).await);
    assert_eq!(made.status, large);
    for gpus in [(0..33).map(board).collect(), vec![gpu(0, (0..17).map(free).collect())]] {
        let beyond = MigNodeStatus { gpus, ..beat(&large, 2) };
        let refusal = refused(cluster.ask(&write_status(&name, made.version, &beyond)).await);
        assert!(matches!(refusal, ClusterError::Invalid(_)), "{refusal:?}");
    }
    assert_eq!(record_of(cluster.ask(&get_record(&name)).await), made);
}

pub(crate) async fn the_largest_operation_is_stored_and_one_beyond_is_refused(cluster: &mut impl Cluster) {
    let (name, made) = record(cluster).await;
    let pod =
        |number: usize| PodRef { namespace: "a".to_owned(), name: format!("b-{number}"), uid: format!("c-{number}") };
    let target = |number: usize| GpuTarget {
        uuid: format!("GPU-{number}"),
        index: number as u32,
        base: vec![place(0)],
        target: vec![place(1)],
    };
    let sized = |gpus: usize, pods: [usize; 3]| {
        let mut spec = claimed("op", 1);
        let operation = spec.operation.as_mut().expect("there is one");
        operation.gpus = (0..gpus).map(target).collect();
        operation.victims = (0..pods[0]).map(|number| Victim { pod: pod(number), placed_on: None }).collect();
        operation.beneficiaries = (0..pods[1]).map(pod).collect();
        operation.residents = (0..pods[2]).map(|number| format!("uid-{number}")).collect();
        spec
    };
    let most = 512;
    let beyond =
        [sized(33, [0, 0, 0]), sized(1, [most + 1, 0, 0]), sized(1, [0, most + 1, 0]), sized(1, [0, 0, most + 1])];
    for spec in beyond {
        let refusal = refused(cluster.ask(&write_spec(&name, made.version, &spec)).await);
        assert!(matches!(refusal, ClusterError::Invalid(_)), "{refusal:?}");
    }
    let largest = sized(32, [most, most, most]);
    assert_eq!(record_of(cluster.ask(&write_spec(&name, made.version, &largest)).await).spec, largest);
}

/// What is only told to people is cut to what the definition takes, so that it can never be in the way of a write.
pub(crate) async fn what_is_for_people_is_cut_to_its_bounds(cluster: &mut impl Cluster) {
    let (name, made) = record(cluster).await;
    let ended = |number: u64| Ended {
        id: OperationId(format!("op-{number}")),
        epoch: number,
        gpus: vec!["GPU-1".to_owned()],
        outcome: Outcome::Done,
        detail: "ä".repeat(2000),
    };
    let long = MigNodeSpec { operation: None, history: (0..20).map(ended).collect() };
    let written = record_of(cluster.ask(&write_spec(&name, made.version, &long)).await);
    let kept: Vec<u64> = written.spec.history.iter().map(|ended| ended.epoch).collect();
    assert_eq!(kept, (0..16).collect::<Vec<_>>(), "the newest stand first");
    let detail = &written.spec.history[0].detail;
    assert_eq!((detail.chars().count(), detail.ends_with("ä…")), (1024, true));
    let sharer = |number: u64| PodRef { namespace: "a".to_owned(), name: format!("b-{number}"), uid: "c".to_owned() };
    let mut shared = free(0);
    shared.pods = (0..70).map(sharer).collect();
    let status = MigNodeStatus { gpus: vec![gpu(0, vec![shared])], ..beat(&made.status, 2) };
    let reported = record_of(cluster.ask(&write_status(&name, written.version, &status)).await);
    assert_eq!(reported.status.gpus[0].instances[0].pods, (0..64).map(sharer).collect::<Vec<_>>());
}

pub(crate) async fn what_nothing_changes_is_not_written(cluster: &mut impl Cluster) {
    let (name, made) = record(cluster).await;
    let claim = record_of(cluster.ask(&write_spec(&name, made.version, &claimed("op", 1))).await);
    let same = record_of(cluster.ask(&write_spec(&name, claim.version, &claimed("op", 1))).await);
    assert_eq!(same.version, claim.version);
    // A status says beside the report which spec its writer has seen, so that it may be new until the writer has seen this one.
    let mut last = claim;
    for _ in 0..2 {
        last = record_of(cluster.ask(&write_status(&name, last.version, &made.status)).await);
    }
    let same = record_of(cluster.ask(&write_status(&name, last.version, &made.status)).await);
    assert_eq!(same, last);
}

pub(crate) async fn a_record_goes_with_its_node(cluster: &mut impl Cluster) {
    let name = cluster.unique("node");
    let old = add_gpu_node(cluster, &name, 2).await;
    let claim = record_of(cluster.ask(&write_spec(&name, old.version, &claimed("op", 1))).await);
    cluster.remove_node(&name).await;
    eventually(cluster, "the record is collected", async |cluster| {
        matches!(cluster.ask(&get_record(&name)).await, Err(ClusterError::NotFound)).then_some(())
    })
    .await;
    cluster.add_node(&name).await;
    let late = cluster.ask(&write_spec(&name, claim.version, &MigNodeSpec::default())).await;
    assert_eq!(refused(late), ClusterError::NotFound, "nothing comes back by itself");
    let new = report(cluster, &name, 1).await;
    assert_ne!(new.status.node_uid, old.status.node_uid);
    assert_eq!(new.spec, MigNodeSpec::default(), "an operation on the node before is not taken over");
}

pub(crate) async fn a_record_of_a_node_that_is_not_there_is_collected(cluster: &mut impl Cluster) {
    let (name, first) = node(cluster).await;
    let other = MigNodeStatus { node_uid: "00000000-0000-0000-0000-000000000000".to_owned(), ..first.clone() };
    // The collector may be so fast that the report finds the record gone that was made for it a moment ago.
    let made = cluster.ask(&write_status(&name, Version(0), &other)).await;
    assert!(matches!(made, Ok(_) | Err(ClusterError::NotFound)), "{made:?}");
    eventually(cluster, "the record is collected", async |cluster| {
        matches!(cluster.ask(&get_record(&name)).await, Err(ClusterError::NotFound)).then_some(())
    })
    .await;
    let made = record_of(cluster.ask(&write_status(&name, Version(0), &first)).await);
    cluster.pass(std::time::Duration::from_secs(3)).await;
    assert_eq!(record_of(cluster.ask(&get_record(&name)).await), made, "one of a node that is there stays");
}
