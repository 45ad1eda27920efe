//! What a board answers, call by call.

use std::sync::Arc;

use super::board::{Board, Health};
use super::holder::Holder;
use super::tests::{place, pod};
use crate::exec::port::NodeError;
use crate::model::Catalogue;
use crate::plan::Place;

fn board(key: &str) -> Board {
    let geometry = Catalogue::embedded().find_by_key(key).unwrap();
    Board::new(Arc::clone(geometry), 0, "GPU-a", "a board")
}

fn with(key: &str, places: &[Place]) -> Board {
    let mut board = board(key);
    for place in places {
        board.create_gpu_instance(place).unwrap();
        board.create_compute_instance(place).unwrap();
    }
    board
}

#[test]
fn gpu_instances_are_created_where_the_board_has_room() {
    let standing = [place("3g.40gb", 0, 4), place("1g.10gb+me", 4, 1)];
    let cases = [
        ("room", place("1g.10gb", 6, 1), Ok(())),
        ("already there", place("3g.40gb", 0, 4), Err(NodeError::InsufficientResources)),
        ("blocked by a neighbour", place("2g.20gb", 2, 2), Err(NodeError::InsufficientResources)),
        ("the media extensions are taken", place("1g.10gb+me", 5, 1), Err(NodeError::InsufficientResources)),
        ("no such start", place("2g.20gb", 1, 2), Err(NodeError::InvalidArgument)),
        ("no such size", place("1g.10gb", 6, 2), Err(NodeError::InvalidArgument)),
        ("no such profile", place("1g.5gb", 6, 1), Err(NodeError::InvalidArgument)),
    ];
    for (case, place, expected) in cases {
        assert_eq!(with("A100-80GB", &standing).create_gpu_instance(&place), expected, "{case}");
    }
}

#[test]
fn no_more_instances_of_a_profile_than_the_board_allows() {
    let geometry = Catalogue::embedded().find_by_key("A100-80GB").unwrap();
    let small = geometry.find("1g.10gb").unwrap();
    let mut board = board("A100-80GB");
    let created = geometry
        .profile(small)
        .starts
        .iter()
        .filter(|&&start| board.create_gpu_instance(&place("1g.10gb", start, 1)).is_ok());
    assert_eq!(created.count(), usize::from(geometry.profile(small).max_count));
}

#[test]
fn a_gpu_instance_without_a_compute_instance_is_shown() {
    let mut board = board("A100-80GB");
    board.create_gpu_instance(&place("3g.40gb", 4, 4)).unwrap();
    let state = board.enumerate().unwrap();
    assert_eq!(state.instances.len(), 1);
    assert_eq!((state.instances[0].place.start, state.instances[0].compute.as_deref()), (4, None));
}

#[test]
fn every_compute_instance_has_a_uuid_of_its_own() {
    let spot = place("1g.10gb", 0, 1);
    let mut board = with("A100-80GB", std::slice::from_ref(&spot));
    assert_eq!(board.create_compute_instance(&spot), Err(NodeError::InsufficientResources));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let uuid = board.destroy_compute_instance(&spot, None).unwrap();
        assert!(seen.insert(uuid));
        board.create_compute_instance(&spot).unwrap();
    }
    assert_eq!(board.create_compute_instance(&place("1g.10gb", 1, 1)), Err(NodeError::NotFound));
}

#[test]
fn destruction_goes_from_the_inside_out_and_only_what_was_meant() {
    let spot = place("2g.20gb", 0, 2);
    let mut board = with("A100-80GB", std::slice::from_ref(&spot));
    let uuid = board.state().instances[0].compute.clone().unwrap();
    assert_eq!(board.destroy_gpu_instance(&spot), Err(NodeError::InUse));
    assert_eq!(board.destroy_compute_instance(&spot, Some("MIG-other")), Err(NodeError::NotFound));
    assert_eq!(board.destroy_compute_instance(&place("1g.10gb", 0, 1), None), Err(NodeError::NotFound));
    assert_eq!(board.destroy_compute_instance(&spot, Some(&uuid)), Ok(uuid));
    assert_eq!(board.destroy_compute_instance(&spot, None), Err(NodeError::NotFound));
    assert_eq!(board.destroy_gpu_instance(&spot), Ok(()));
    assert_eq!(board.destroy_gpu_instance(&spot), Err(NodeError::NotFound));
}

#[test]
fn release_takes_as_many_tries_as_configured() {
    let spot = place("2g.20gb", 0, 2);
    let mut board = with("A100-80GB", std::slice::from_ref(&spot));
    board.set_release_tries(2);
    board.destroy_compute_instance(&spot, None).unwrap();
    assert_eq!(board.destroy_gpu_instance(&spot), Err(NodeError::InUse));
    assert_eq!(board.destroy_gpu_instance(&spot), Err(NodeError::InUse));
    assert_eq!(board.destroy_gpu_instance(&spot), Ok(()));
}

#[test]
fn whoever_has_opened_an_instance_keeps_it_and_whoever_merely_may_does_not() {
    let container = |opened| Holder::Container { pod: pod("a"), container: "main".into(), opened };
    let cases = [
        (container(true), true),
        (container(false), false),
        (Holder::Process { name: "python".into() }, true),
        (Holder::Monitor { name: "dcgm".into() }, true),
    ];
    for (holder, blocks) in cases {
        let spot = place("1g.10gb", 0, 1);
        let mut board = with("A100-80GB", std::slice::from_ref(&spot));
        let uuid = board.state().instances[0].compute.clone().unwrap();
        board.hold(&uuid, holder.clone()).unwrap();
        let destroyed = board.destroy_compute_instance(&spot, None);
        assert_eq!(destroyed == Err(NodeError::InUse), blocks, "{holder:?}");
        board.release(|other| *other == holder);
        assert_eq!(board.destroy_compute_instance(&spot, None).is_ok(), blocks, "{holder:?}");
    }
    assert_eq!(board("A30").hold("MIG-none", container(true)), Err(NodeError::NotFound));
}

#[test]
fn a_container_that_did_not_notice_stays_on_the_units() {
    let spot = place("3g.40gb", 4, 4);
    let mut board = with("A100-80GB", std::slice::from_ref(&spot));
    let uuid = board.state().instances[0].compute.clone().unwrap();
    let holder = Holder::Container { pod: pod("a"), container: "main".into(), opened: false };
    board.hold(&uuid, holder.clone()).unwrap();
    board.destroy_compute_instance(&spot, None).unwrap();
    board.destroy_gpu_instance(&spot).unwrap();
    assert_eq!(board.stale_holders(&place("1g.10gb", 6, 1)), vec![holder]);
    assert_eq!(board.stale_holders(&place("1g.10gb", 0, 1)), Vec::new());
    board.release(|holder| holder.pod() == Some(&pod("a")));
    assert_eq!(board.stale_holders(&place("1g.10gb", 6, 1)), Vec::new());
}

#[test]
fn a_profiler_keeps_the_first_instance_from_an_empty_board_only() {
    let mut empty = board("A100-80GB");
    empty.set_profiled(true);
    assert_eq!(empty.create_gpu_instance(&place("1g.10gb", 0, 1)), Err(NodeError::InUse));
    let mut used = with("A100-80GB", &[place("1g.10gb", 1, 1)]);
    used.set_profiled(true);
    assert_eq!(used.create_gpu_instance(&place("1g.10gb", 0, 1)), Ok(()));
}

#[test]
fn a_board_that_is_away_says_so_to_every_call() {
    for (health, error) in [(Health::Hung, NodeError::Hung), (Health::Lost, NodeError::GpuLost)] {
        let spot = place("1g.10gb", 0, 1);
        let mut board = with("A100-80GB", std::slice::from_ref(&spot));
        board.set_health(health);
        assert_eq!(board.enumerate(), Err(error.clone()));
        assert_eq!(board.create_gpu_instance(&place("1g.10gb", 1, 1)), Err(error.clone()));
        assert_eq!(board.create_compute_instance(&spot), Err(error.clone()));
        assert_eq!(board.destroy_compute_instance(&spot, None), Err(error.clone()));
        assert_eq!(board.destroy_gpu_instance(&spot), Err(error));
        assert_eq!(board.state().instances.len(), 1);
    }
}

#[test]
fn mig_mode_survives_a_reboot_where_the_board_or_the_node_keeps_it() {
    for (key, restores, expected) in
        [("A100-80GB", false, true), ("A100-80GB", true, true), ("H100-80GB", false, false), ("H100-80GB", true, true)]
    {
        let mut board = with(key, &[place("1g.10gb", 0, 1)]);
        board.reboot(restores);
        assert_eq!(board.mig_mode(), expected, "{key} {restores}");
        assert!(board.state().instances.is_empty());
    }
    let mut off = board("A100-80GB");
    off.set_mig_mode(false);
    assert_eq!(off.create_gpu_instance(&place("1g.10gb", 0, 1)), Err(NodeError::InvalidArgument));
    off.reboot(true);
    assert!(!off.mig_mode());
}
