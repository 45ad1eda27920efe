//! The definitions are those in `deploy/crds`, and records survive the way through an object.

use std::path::Path;

use super::*;
use crate::model::PodRef;
use crate::{exec, plan};

#[test]
fn the_definitions_in_the_tree_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crds");
    for Definition { file, yaml } in definitions().expect("definitions") {
        let path = folder.join(&file);
        #[allow(clippy::disallowed_methods, reason = "how a person asks for the files to be written anew")]
        if std::env::var_os("RETILE_BLESS").is_some() {
            std::fs::create_dir_all(&folder).expect("the folder can be made");
            std::fs::write(&path, &yaml).expect("the file can be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(kept, yaml, "{file} differs; write it anew with RETILE_BLESS=1 and review the difference");
    }
}

fn place(start: u8, size: u8, profile: &str) -> plan::Place {
    plan::Place { start, size, profile: profile.to_owned() }
}

fn pod(name: &str) -> PodRef {
    PodRef { namespace: "ml".to_owned(), name: name.to_owned(), uid: format!("uid-{name}") }
}

/// A record with every field in use.
fn full() -> exec::MigNode {
    let (base, target) = (vec![place(0, 8, "7g.80gb")], vec![place(0, 4, "3g.40gb"), place(4, 4, "3g.40gb")]);
    let step = plan::Step {
        action: plan::StepAction::Destroy,
        gpu: 3,
        uuid: "GPU-1".to_owned(),
        instance: place(0, 8, "7g.80gb"),
        precondition: base.clone(),
    };
    let operation = exec::Operation {
        id: exec::OperationId("op-1".to_owned()),
        epoch: 7,
        protocol: exec::PROTOCOL,
        node_uid: "node-uid".to_owned(),
        gpus: vec![exec::GpuTarget { uuid: "GPU-1".to_owned(), index: 3, base, target }],
        steps: vec![step],
        victims: vec![
            exec::Victim { pod: pod("v"), placed_on: Some("n2".to_owned()) },
            exec::Victim { pod: pod("w"), placed_on: None },
        ],
        beneficiaries: vec![pod("b")],
        residents: vec!["uid-r".to_owned()],
        phase: exec::Phase::Restarting,
        plugin: Some(pod("plugin")),
        outcome: Some(exec::Outcome::RolledBack),
        detail: "why".to_owned(),
    };
    let ended = exec::Ended {
        id: exec::OperationId("op-0".to_owned()),
        epoch: 6,
        gpus: vec!["GPU-1".to_owned()],
        outcome: exec::Outcome::Aborted,
        detail: "because".to_owned(),
    };
    let instance = exec::InstanceReport {
        place: place(0, 4, "3g.40gb"),
        uuid: Some("MIG-1".to_owned()),
        occupancy: exec::ReportedOccupancy::Busy,
        pods: vec![pod("a")],
    };
    let bare = exec::InstanceReport {
        place: place(4, 4, "3g.40gb"),
        uuid: None,
        occupancy: exec::ReportedOccupancy::Unknown,
        pods: Vec::new(),
    };
    let status = exec::MigNodeStatus {
        node_uid: "node-uid".to_owned(),
        boot_id: "boot".to_owned(),
        protocol: exec::PROTOCOL,
        heartbeat: 41,
        gpus: vec![exec::GpuReport {
            index: 3,
            uuid: "GPU-1".to_owned(),
            model: "NVIDIA A100-SXM4-80GB".to_owned(),
            instances: vec![instance, bare],
        }],
        operation: Some(exec::OperationReport {
            id: exec::OperationId("op-1".to_owned()),
            epoch: 7,
            boot_id: "boot".to_owned(),
            phase: exec::AgentPhase::Repartitioned,
            detail: "done".to_owned(),
        }),
    };
    let spec = exec::MigNodeSpec { operation: Some(operation), history: vec![ended] };
    exec::MigNode { name: "n1".to_owned(), version: exec::Version(12), spec, status }
}

fn circumstances<'a>(before: Option<&'a MigNodeStatus>, moment: &'a str) -> Circumstances<'a> {
    Circumstances { node: "n1", before, generation: 2, carried: Some("op-1"), paused: Some(false), moment }
}

/// The object of a record, as the API server would store it.
fn object(record: &exec::MigNode) -> serde_json::Value {
    let status = MigNodeStatus::of(&record.status, &circumstances(None, "2026-11-28T12:00:00Z"));
    serde_json::json!({
        "apiVersion": "retile.dev/v1alpha1",
        "kind": "MigNode",
        "metadata": {"name": record.name, "resourceVersion": record.version.0.to_string()},
        "spec": MigNodeSpec::from(&record.spec),
        "status": status,
    })
}

#[test]
fn a_record_survives_the_way_through_its_object() {
    let full = full();
    let read: MigNode = serde_json::from_value(object(&full)).expect("an object");
    assert_eq!(record(read), Ok(full));
    let empty = exec::MigNode { name: "n2".to_owned(), version: exec::Version(1), ..exec::MigNode::default() };
    let bare = serde_json::json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigNode",
        "metadata": {"name": "n2", "resourceVersion": "1"}, "spec": {}});
    assert_eq!(record(serde_json::from_value(bare).expect("an object")), Ok(empty));
}

#[test]
fn a_report_of_an_operation_that_was_released_is_kept_and_nothing_goes_on_any_more() {
    let mut report = full().status;
    let shown = |report: &exec::MigNodeStatus, carried| {
        let status =
            MigNodeStatus::of(report, &Circumstances { carried, ..circumstances(None, "2026-11-28T12:00:00Z") });
        let progressing = status.conditions.iter().find(|condition| condition.kind == "Progressing").cloned();
        let kept = status.operation.map(|operation| (operation.id, operation.phase));
        (status.phase, status.waiting_on, progressing.map(|condition| condition.reason), kept)
    };
    let phases = [
        (exec::AgentPhase::Applied, AgentPhase::Applied),
        (exec::AgentPhase::RolledBack, AgentPhase::RolledBack),
        (exec::AgentPhase::Refused, AgentPhase::Refused),
    ];
    for (phase, written) in phases {
        report.operation.as_mut().expect("there is one").phase = phase;
        let (during, waits, ..) = shown(&report, Some("op-1"));
        assert_eq!((during, waits.as_str()), (Some(written), "the controller: release (done)"));
        let kept = Some(("op-1".to_owned(), written));
        for carried in [None, Some("op-2")] {
            let after = shown(&report, carried);
            let idle = Some("Idle".to_owned());
            assert_eq!(after, (Some(AgentPhase::Idle), String::new(), idle, kept.clone()), "whoever was away reads it");
        }
    }
    report.operation.as_mut().expect("there is one").phase = exec::AgentPhase::Degraded;
    assert_eq!(shown(&report, None).0, Some(AgentPhase::Degraded), "that is no end");
}

#[test]
fn the_export_reader_reads_what_the_agent_writes() {
    let reported: crate::kube::objects::MigNode = serde_json::from_value(object(&full())).expect("an object");
    let gpu = &reported.status.gpus[0];
    assert_eq!((gpu.uuid.as_str(), gpu.mig_mode.0.as_str(), gpu.instances.len()), ("GPU-1", "Enabled", 2));
    assert_eq!(gpu.instances[0].pods[0].uid, "uid-a");
    assert_eq!(reported.status.node_name, "n1");
}

#[test]
fn a_report_about_another_node_is_none() {
    let mut object = object(&full());
    object["status"]["nodeName"] = "n9".into();
    let error = record(serde_json::from_value(object).expect("an object")).expect_err("refused");
    assert!(error.to_string().contains("n9"), "{error}");
}

#[test]
fn moments_stay_while_nothing_changes_and_move_with_it() {
    let mut report = full().status;
    let first = MigNodeStatus::of(&report, &circumstances(None, "t1"));
    assert_eq!(first.gpus[0].last_changed, None, "a board seen for the first time has not changed");
    report.heartbeat += 1;
    report.gpus[0].instances[0].occupancy = exec::ReportedOccupancy::Free;
    let second = MigNodeStatus::of(&report, &circumstances(Some(&first), "t2"));
    assert_eq!(second.gpus[0].last_changed, None, "who holds an instance is no change of the layout");
    assert!(second.conditions.iter().all(|condition| condition.last_transition_time == "t1"));
    report.gpus[0].instances.pop();
    report.operation.as_mut().expect("there is one").phase = exec::AgentPhase::Degraded;
    let third = MigNodeStatus::of(&report, &circumstances(Some(&second), "t3"));
    assert_eq!(third.gpus[0].last_changed.as_deref(), Some("t3"));
    let told: Vec<(&str, ConditionStatus, &str)> = third
        .conditions
        .iter()
        .map(|condition| (condition.kind.as_str(), condition.status, condition.last_transition_time.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("Ready", ConditionStatus::False, "t3"),
            ("Progressing", ConditionStatus::False, "t3"),
            ("Degraded", ConditionStatus::True, "t3"),
            ("Paused", ConditionStatus::False, "t1"),
        ]
    );
    assert_eq!((third.layout.as_str(), third.gpu_count), ("3g.40gb", 1));
    assert!(third.waiting_on.starts_with("people"));
}

#[test]
fn what_is_too_long_is_cut_and_stays_within_the_schema() {
    let mut record = full();
    record.status.operation.as_mut().expect("there is one").detail = "x".repeat(5000);
    let status = MigNodeStatus::of(&record.status, &circumstances(None, "t1"));
    let detail = &status.operation.as_ref().expect("there is one").detail;
    assert_eq!(detail.chars().count(), 1024);
    assert!(status.waiting_on.chars().count() <= 253);
}

/// Each list and text of the schemas has a bound, or the API server could not bound the cost of rules, and a hostile writer could fill etcd.
#[test]
fn everything_is_bounded() {
    fn walk(schema: &serde_json::Value, path: &str, unbounded: &mut Vec<String>) {
        let bounded = |key: &str| schema.get(key).is_some();
        match schema.get("type").and_then(serde_json::Value::as_str) {
            Some("string") if !bounded("maxLength") && !bounded("enum") => unbounded.push(path.to_owned()),
            Some("array") if !bounded("maxItems") => unbounded.push(path.to_owned()),
            Some("object") if bounded("additionalProperties") && !bounded("maxProperties") => {
                unbounded.push(path.to_owned());
            }
            _ => {}
        }
        for (key, inner) in schema.get("properties").and_then(serde_json::Value::as_object).into_iter().flatten() {
            walk(inner, &format!("{path}.{key}"), unbounded);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key) {
                walk(inner, &format!("{path}[]"), unbounded);
            }
        }
    }
    for Definition { file, yaml } in definitions().expect("definitions") {
        let definition: serde_json::Value = serde_saphyr::from_str(&yaml).expect("YAML");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut unbounded = Vec::new();
        for part in ["spec", "status"] {
            walk(&schema["properties"][part], part, &mut unbounded);
        }
        assert!(unbounded.is_empty(), "{file}: {unbounded:?}");
    }
}
