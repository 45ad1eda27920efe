//! `MigNode` as people see it, and whose an agent may write.

use retile::exec::port::{ClusterError, ClusterRequest};
use retile::exec::{GpuReport, InstanceReport, ReportedOccupancy, Version};
use retile::plan::Place;
use serde_json::json;

use super::cases::records::claimed;
use super::cluster::{record_of, status, write_spec};
use super::control_plane::unique;
use super::scene::{agent, controller, node, plane, report};

#[tokio::test]
async fn the_table_of_records_shows_what_people_ask_for() {
    let Some(plane) = plane().await else { return };
    let name = unique("record");
    let made = node(&plane.administrator().await, &name, json!([])).await;
    let (agent, controller) = (agent(&plane, &name).await, controller(&plane, "default").await);
    let mut one = status(1);
    // A record of a node that is not there is collected.
    one.node_uid = made.metadata.uid.expect("nodes have one");
    let instances = (0..7)
        .map(|start| InstanceReport {
            place: Place { start, size: 1, profile: "1g.10gb".to_owned() },
            uuid: None,
            occupancy: ReportedOccupancy::Free,
            pods: Vec::new(),
        })
        .collect();
    one.gpus =
        vec![GpuReport { index: 0, uuid: "GPU-1".to_owned(), model: "NVIDIA A100-SXM4-80GB".to_owned(), instances }];
    let made = record_of(report(&agent, &name, Version(0), one).await);
    record_of(controller.answer(&write_spec(&name, made.version, &claimed("op", 1))).await);
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
