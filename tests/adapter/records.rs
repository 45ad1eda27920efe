//! `MigNode`: compare-and-swap of both sides on one version, and what the schema refuses.

use retile::exec::port::{ClusterError, ClusterRequest};
use retile::exec::{GpuReport, GpuTarget, InstanceReport, MigNodeSpec, Operation, PROTOCOL, Phase, ReportedOccupancy, Version};
use retile::plan::Place;

use super::control_plane::unique;
use super::scene::{agent, controller, operation, plane, record, report, status};

fn place(start: u8) -> Place {
    Place { start, size: 1, profile: "1g.10gb".to_owned() }
}

fn claimed(id: &str, epoch: u64) -> MigNodeSpec {
    let target = GpuTarget { uuid: "GPU-1".to_owned(), index: 0, base: vec![place(0)], target: vec![place(1)] };
    let operation = Operation {
        id: operation(id),
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

fn write(node: &str, version: Version, spec: MigNodeSpec) -> ClusterRequest {
    ClusterRequest::WriteSpec { node: node.to_owned(), version, spec: Box::new(spec) }
}

#[tokio::test]
async fn both_sides_swap_on_one_version() {
    let Some(plane) = plane().await else { return };
    let name = unique("record");
    let (agent, controller) = (agent(&plane, &name).await, controller(&plane, "default").await);
    let get = ClusterRequest::GetMigNode { node: name.clone() };
    assert_eq!(agent.answer(&get).await.map(drop), Err(ClusterError::NotFound));
    let missing = controller.answer(&write(&name, Version(1), claimed("op", 1))).await;
    assert_eq!(missing.map(drop), Err(ClusterError::NotFound));

    let made = record(report(&agent, &name, Version(0), status(1)).await);
    assert_eq!((&made.status, &made.spec), (&status(1), &MigNodeSpec::default()));
    let twice = report(&agent, &name, Version(0), status(1)).await;
    assert_eq!(twice.map(drop), Err(ClusterError::Conflict), "it is there already");

    let claimed_now = record(controller.answer(&write(&name, made.version, claimed("op", 1))).await);
    assert_eq!((&claimed_now.spec, &claimed_now.status), (&claimed("op", 1), &status(1)));
    assert!(claimed_now.version > made.version);
    let late = report(&agent, &name, made.version, status(2)).await;
    assert_eq!(late.map(drop), Err(ClusterError::Conflict), "the agent has not seen the claim");
    let reported = record(report(&agent, &name, claimed_now.version, status(2)).await);
    assert_eq!((&reported.spec, &reported.status), (&claimed("op", 1), &status(2)), "each writes its own part only");
    let late = controller.answer(&write(&name, claimed_now.version, MigNodeSpec::default())).await;
    assert_eq!(late.map(drop), Err(ClusterError::Conflict), "the controller has not seen the report");
    let closed = record(controller.answer(&write(&name, reported.version, MigNodeSpec::default())).await);
    assert_eq!(closed.spec, MigNodeSpec::default(), "what is gone from the spec is gone");
    assert_eq!(record(agent.answer(&get).await), closed);
}

#[tokio::test]
async fn what_an_operation_changes_is_fixed_and_its_epoch_never_goes_back() {
    let Some(plane) = plane().await else { return };
    let name = unique("record");
    let (agent, controller) = (agent(&plane, &name).await, controller(&plane, "default").await);
    let made = record(report(&agent, &name, Version(0), status(1)).await);
    let first = record(controller.answer(&write(&name, made.version, claimed("op", 5))).await);
    let mut other = claimed("op", 5);
    other.operation.as_mut().expect("there is one").gpus[0].target = vec![place(2)];
    for refused in [other, claimed("op", 4)] {
        let answer = controller.answer(&write(&name, first.version, refused)).await.map(drop);
        assert!(matches!(answer, Err(ClusterError::Invalid(_))), "{answer:?}");
    }
    let adopted = record(controller.answer(&write(&name, first.version, claimed("op", 6))).await);
    record(controller.answer(&write(&name, adopted.version, claimed("another", 1))).await);
}

#[tokio::test]
async fn a_status_of_the_largest_node_is_stored_and_one_beyond_is_refused() {
    let Some(plane) = plane().await else { return };
    let name = unique("record");
    let agent = agent(&plane, &name).await;
    let gpu = |index: u32| {
        let instance = |start| InstanceReport {
            place: place(start),
            uuid: Some(format!("MIG-{index}-{start}")),
            occupancy: ReportedOccupancy::Free,
            pods: Vec::new(),
        };
        let instances = (0..7).map(instance).collect();
        GpuReport { index, uuid: format!("GPU-{index:02}"), model: "NVIDIA A100-SXM4-80GB".to_owned(), instances }
    };
    let mut large = status(1);
    large.gpus = (0..32).map(gpu).collect();
    let made = record(report(&agent, &name, Version(0), large.clone()).await);
    assert_eq!(made.status, large);
    large.gpus.push(gpu(32));
    let answer = report(&agent, &name, made.version, large).await.map(drop);
    assert!(matches!(answer, Err(ClusterError::Invalid(_))), "{answer:?}");
}

#[tokio::test]
async fn the_table_of_records_shows_what_people_ask_for() {
    let Some(plane) = plane().await else { return };
    let name = unique("record");
    let (agent, controller) = (agent(&plane, &name).await, controller(&plane, "default").await);
    let mut one = status(1);
    let instances = (0..7)
        .map(|start| InstanceReport {
            place: place(start),
            uuid: None,
            occupancy: ReportedOccupancy::Free,
            pods: Vec::new(),
        })
        .collect();
    one.gpus = vec![GpuReport { index: 0, uuid: "GPU-1".to_owned(), model: "NVIDIA A100-SXM4-80GB".to_owned(), instances }];
    let made = record(report(&agent, &name, Version(0), one).await);
    record(controller.answer(&write(&name, made.version, claimed("op", 1))).await);
    let (well, table) = plane.kubectl(&["get", "mignodes", &name], "");
    assert!(well, "{table}");
    for word in ["GPUS", "LAYOUT", "PHASE", "WAITING-ON", "AGE", "7×1g.10gb", "Claimed", "Idle"] {
        assert!(table.contains(word), "{word} is missing:\n{table}");
    }
}

#[tokio::test]
async fn an_agent_asks_for_nothing_but_its_own() {
    let Some(plane) = plane().await else { return };
    let agent = agent(&plane, "mine").await;
    for request in [ClusterRequest::GetLease, ClusterRequest::Observe { fresh: true }] {
        assert!(matches!(agent.answer(&request).await, Err(ClusterError::Forbidden(_))));
    }
    let other = report(&agent, "other", Version(0), status(1)).await;
    assert!(matches!(other, Err(ClusterError::Forbidden(_))));
}
