//! Defects that show in what one machine does with what it has just read.

use std::time::Duration;

use retile::exec::port::{AgentRequest, ClusterRequest, Intent, NodeRequest, Occupant};
use retile::exec::{AgentPhase, Backoff, IdleProof, Next, Phase, PodView, TAINT_KEY, Victim};

use crate::desk::{Desk, board, operation, place, pod, pod_ref, taint};
use crate::{keeps, kills};

const GPU: &str = "GPU-a";

#[test]
fn defect_03_the_taint_of_another_operation_is_removed() {
    kills(3, "S11", || {
        let layout = [place("1g.10gb", 0, 1)];
        let operation = operation(GPU, &layout, &layout);
        let mut desk = Desk::new(operation, Phase::Releasing, AgentPhase::Applied, vec![board(0, GPU, &layout)]);
        desk.node.taints = vec![taint(TAINT_KEY, "theirs")];
        let next = desk.controls(&mut desk.controller(), 1_000);
        let removes = matches!(next, Next::Ask(ClusterRequest::RemoveTaint { .. }));
        keeps("S11", !removes, || format!("{next:?}"))
    });
}

#[test]
fn defect_08_applied_is_reported_while_the_plugin_offers_something_else() {
    kills(8, "S12", || {
        let (base, target) = ([place("1g.10gb", 0, 1)], [place("1g.10gb", 1, 1)]);
        let mut desk = Desk::new(
            operation(GPU, &base, &target),
            Phase::Restarting,
            AgentPhase::Repartitioned,
            vec![board(0, GPU, &target)],
        );
        desk.store.applied = Some([(GPU.to_owned(), target.to_vec())].into());
        desk.offered = vec![format!("MIG-{GPU}-0")];
        let does = desk.agent_does();
        let AgentRequest::Cluster(ClusterRequest::WriteStatus { status, .. }) = does else {
            panic!("it does not report: {does:?}");
        };
        let phase = status.operation.map(|report| report.phase);
        keeps("S12", phase != Some(AgentPhase::Applied), || "the plugin offers an instance that is no more".to_owned())
    });
}

#[test]
fn defect_10_the_old_plugin_is_mistaken_for_the_new_one() {
    kills(10, "C7", || {
        let layout = [place("1g.10gb", 0, 1)];
        let mut wanted = operation(GPU, &[], &layout);
        wanted.plugin = Some(pod_ref("plugin"));
        let boards = vec![board(0, GPU, &layout)];
        let mut desk = Desk::new(wanted, Phase::Restarting, AgentPhase::Applied, boards);
        let mut old = pod("plugin");
        (old.device_plugin, old.deleting) = (true, true);
        old.requests.clear();
        desk.pods = vec![old];
        let mut machine = desk.controller();
        let mut next = desk.controls(&mut machine, 1_000);
        for beat in 1..4 {
            desk.node.heartbeat = beat;
            if matches!(next, Next::Rest(_)) {
                next = desk.controls(&mut machine, 1_000 + beat * 10_000);
            }
        }
        keeps("C7", matches!(next, Next::Rest(_)), || "it goes on while the old plugin's pod still ends".to_owned())
    });
}

#[test]
fn defect_20_a_pod_that_ends_slowly_is_forgotten() {
    kills(20, "S3", || {
        let (base, target) = ([place("1g.10gb", 0, 1)], [place("7g.80gb", 0, 8)]);
        let mut wanted = operation(GPU, &base, &target);
        wanted.victims = vec![Victim { pod: pod_ref("slow"), placed_on: None }];
        let mut desk = Desk::new(wanted, Phase::Draining, AgentPhase::Idle, vec![board(0, GPU, &base)]);
        desk.pods = vec![PodView { deleting: true, ..pod("slow") }];
        let mut machine = desk.controller();
        for now in [1_000, 40_000, 62_000, 300_000] {
            let next = desk.controls(&mut machine, now);
            keeps("S3", matches!(next, Next::Rest(_)), || format!("after {now} ms it does not wait any more"))?;
        }
        let proof =
            IdleProof::establish(&desk.boards[0], &base[0], &["nvidia.com/mig-1g.10gb".to_owned()], &[], &desk.pods);
        keeps("S1", proof.is_err(), || "an instance counts as idle while a pod ends on it".to_owned())
    });
}

#[test]
fn defect_31_a_pod_that_only_the_api_server_knows_holds_nothing() {
    kills(31, "S1", || {
        let there = place("1g.10gb", 0, 1);
        let board = board(0, GPU, std::slice::from_ref(&there));
        let proof =
            IdleProof::establish(&board, &there, &["nvidia.com/mig-1g.10gb".to_owned()], &[], &[pod("unlisted")]);
        keeps("S1", proof.is_err(), || "an instance counts as idle that a bound pod may hold".to_owned())?;
        let elsewhere = Occupant { instance: "MIG-other".to_owned(), pod: Some(pod_ref("unlisted")) };
        let proof = IdleProof::establish(
            &board,
            &there,
            &["nvidia.com/mig-1g.10gb".to_owned()],
            &[elsewhere],
            &[pod("unlisted")],
        );
        assert!(proof.is_ok(), "it is known to hold another one");
        Ok(())
    });
}

#[test]
fn defect_33_the_gpu_is_found_by_its_index() {
    kills(33, "S2", || {
        let target = [place("7g.80gb", 0, 8)];
        let wanted = operation(GPU, &[], &target);
        // After a reboot the GPU that was number 0 is number 1.
        let boards = vec![board(1, GPU, &[]), board(0, "GPU-b", &[])];
        let mut desk = Desk::new(wanted.clone(), Phase::Drained, AgentPhase::Executing, boards);
        desk.store.intent = Some(Intent {
            id: wanted.id,
            epoch: wanted.epoch,
            node_uid: wanted.node_uid,
            boot_id: "boot".to_owned(),
            gpus: wanted.gpus,
            neighbours: Vec::new(),
        });
        let does = desk.agent_does();
        let AgentRequest::Node(NodeRequest::CreateGpuInstance { gpu, .. }) = does else {
            panic!("it changes nothing: {does:?}");
        };
        keeps("S2", gpu == GPU, || format!("{gpu} is changed in place of {GPU}"))
    });
}

#[test]
fn defect_34_waiting_times_overflow() {
    kills(34, "L7", || {
        let (first, most) = (Duration::from_secs(5), Duration::from_mins(1));
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..100).map(|_| backoff.fail(first, most)).collect();
        let bounded = waits.iter().all(|wait| (first..=most).contains(wait)) && waits.is_sorted();
        keeps("L7", bounded, || format!("{waits:?}"))
    });
}

/// A check of the desk itself: without a machine's defect the operation goes on.
#[test]
fn the_desk_is_one_on_which_an_operation_goes_on() {
    let there = [place("1g.10gb", 0, 1)];
    let desk =
        Desk::new(operation(GPU, &there, &there), Phase::Releasing, AgentPhase::Applied, vec![board(0, GPU, &there)]);
    let next = desk.controls(&mut desk.controller(), 1_000);
    assert!(matches!(next, Next::Ask(ClusterRequest::RemoveTaint { .. })), "{next:?}");
}
