//! How long the calls of a node take.
//!
//! Creation and destruction of an instance as measured by the authors of the `RL_MIG_scheduler` on A100, H100 and A30 (without and with the
//! compute instance is not told apart there; a quarter is put down to the compute instance). Boards that nobody measured count as H100.

use std::time::Duration;

use crate::model::Geometry;

/// Milliseconds to create and to destroy an instance of at least so many compute slices, per family of boards.
type Row = (u8, u64, u64);

const A100: &[Row] = &[(7, 240, 220), (4, 210, 210), (3, 200, 210), (2, 170, 200), (0, 160, 200)];
const H100: &[Row] = &[(7, 420, 260), (4, 380, 260), (3, 330, 250), (2, 210, 230), (0, 160, 210)];
const A30: &[Row] = &[(4, 130, 100), (2, 120, 100), (0, 110, 100)];

/// Part of an instance that a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The GPU instance.
    GpuInstance,
    /// The compute instance in it.
    ComputeInstance,
}

/// Whether a part is created or destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Created.
    Create,
    /// Destroyed.
    Destroy,
}

/// How long it takes to create or destroy a part of an instance of this profile; a profile that the board does not have is refused at once.
pub(super) fn of_change(geometry: &Geometry, profile: &str, change: Change, part: Part) -> Duration {
    let Some(id) = geometry.find(profile) else { return OF_REFUSAL };
    let slices = geometry.profile(id).compute_slices;
    let rows = match geometry.board().key.as_str() {
        key if key.starts_with("A100") => A100,
        key if key.starts_with("A30") => A30,
        _ => H100,
    };
    let row = rows.iter().find(|row| slices >= row.0);
    let whole = row.map_or(0, |&(_, create, destroy)| match change {
        Change::Create => create,
        Change::Destroy => destroy,
    });
    let compute = whole / 4;
    Duration::from_millis(match part {
        Part::GpuInstance => whole - compute,
        Part::ComputeInstance => compute,
    })
}

/// To refuse a call.
pub(super) const OF_REFUSAL: Duration = Duration::from_millis(2);
/// To walk the instances of one GPU.
pub(super) const OF_ENUMERATION: Duration = Duration::from_millis(15);
/// To ask the kubelet.
pub(super) const OF_KUBELET: Duration = Duration::from_millis(20);
/// To run the programs that make device nodes.
pub(super) const OF_DEVICE_NODES: Duration = Duration::from_millis(1500);
/// To read a file.
pub(super) const OF_READ: Duration = Duration::from_millis(1);
/// To write a file and to have it on disk.
pub(super) const OF_SYNC: Duration = Duration::from_millis(10);
