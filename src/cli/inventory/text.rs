//! The inventory for people.

use std::fmt::Write as _;

use super::super::show::bar::{self, Fate, Tile};
use super::super::show::names::{clean, count, some_of};
use crate::exec::ReportedOccupancy;
use crate::host::inventory::{GpuReport, InstanceReport, Report};
use crate::nvml::{Inventory, MigMode};

/// Differences and names shown before the rest is counted.
const MOST: usize = 12;

/// The whole report.
pub(super) fn text(report: &Report, inventory: &Inventory) -> String {
    let Report { driver, nvml, library, kubelet, gpus, unread } = report;
    let mut out = format!("Driver {}, NVML {} ({})\n", clean(driver), clean(nvml), clean(library));
    let _ = match (kubelet.state, &kubelet.why) {
        (_, Some(why)) => writeln!(
            out,
            "Kubelet not read, so no instance is known to be free: {}\n  help: give its socket with --kubelet, or --no-kubelet on a machine \
             that is no Kubernetes node",
            clean(why)
        ),
        ("read", None) => writeln!(out, "Kubelet read"),
        (_, None) => writeln!(out, "Kubelet left out"),
    };
    let mut by_index: Vec<&GpuReport> = gpus.iter().collect();
    by_index.sort_by_key(|gpu| gpu.index);
    for gpu in by_index {
        let board = inventory.boards.iter().find(|board| board.uuid == gpu.uuid);
        let axis = board.and_then(|board| board.table.as_ref()).map_or(0, |table| table.geometry.axis());
        let complete = board.and_then(|board| board.table.as_ref()).is_none_or(|table| table.complete);
        one(&mut out, gpu, axis, complete);
    }
    for gpu in unread {
        let what = if gpu.what.is_empty() { "unknown" } else { &gpu.what };
        let _ = writeln!(out, "\nGPU {}  {}: not read", gpu.index, clean(what));
        let _ = writeln!(out, "  {}\n  help: {}", clean(&gpu.why), gpu.remedy);
    }
    if gpus.is_empty() && unread.is_empty() {
        out += "\nThe driver shows no GPU.\n";
    }
    out
}

fn one(out: &mut String, gpu: &GpuReport, axis: u8, complete: bool) {
    let mode = match gpu.mig_mode {
        MigMode::Unsupported => "without MIG",
        MigMode::Disabled => "MIG off",
        MigMode::Enabled => "MIG on",
        MigMode::Leaving => "MIG on, off after the next reset",
        MigMode::Entering => "MIG off, on after the next reset",
    };
    let (product, uuid, bus) = (clean(&gpu.product), clean(&gpu.uuid), clean(&gpu.bus_id));
    let _ = writeln!(out, "\nGPU {}  {product}  {mode}\n  {uuid} at {bus}", gpu.index);
    if gpu.mig_mode == MigMode::Unsupported {
        return;
    }
    let _ = writeln!(out, "  {}", agreement(gpu, complete));
    for difference in gpu.differences.iter().take(MOST) {
        let _ = writeln!(out, "    {}", clean(&difference.to_string()));
    }
    if let Some(more) = gpu.differences.len().checked_sub(MOST).filter(|&more| more > 0) {
        let _ = writeln!(out, "    … and {more} more; -o json has all");
    }
    if !matches!(gpu.mig_mode, MigMode::Enabled | MigMode::Leaving) {
        return;
    }
    if axis > 0 {
        let tiles: Vec<Tile> = gpu.instances.iter().map(tile).collect();
        let _ = writeln!(out, "    {}\n    {}", bar::ruler(axis), bar::draw(axis, &tiles));
    }
    for instance in &gpu.instances {
        let InstanceReport { profile, start, size, uuid, .. } = instance;
        let uuid = uuid.as_deref().unwrap_or("no compute instance");
        let _ = writeln!(out, "    {profile}@{start}:{size}  {}  {}", clean(uuid), holders(instance));
    }
    if gpu.instances.is_empty() {
        out.push_str("    no instances\n");
    }
}

/// How the device's table stands to the catalogue's.
fn agreement(gpu: &GpuReport, complete: bool) -> String {
    let unread = if complete { "" } else { "; placements may not be read, those of the catalogue are used" };
    match (&gpu.board, gpu.profiles.is_empty(), gpu.differences.len()) {
        (_, true, _) => "the device does not tell its profiles while MIG is off".into(),
        (Some(board), false, 0) => format!("as the catalogue has the {board}{unread}"),
        (Some(board), false, many) => {
            format!("{} from the catalogue's {board}{unread}:", count(many as u64, "difference"))
        }
        (None, false, _) => format!("not in the catalogue{unread}:"),
    }
}

fn tile(instance: &InstanceReport) -> Tile {
    Tile {
        start: instance.start,
        size: instance.size,
        profile: instance.profile.clone(),
        held: instance.occupancy != ReportedOccupancy::Free,
        fate: Fate::Kept,
        word: "",
    }
}

fn holders(instance: &InstanceReport) -> String {
    let mut parts = Vec::new();
    if !instance.pods.is_empty() {
        let names: Vec<String> = instance.pods.iter().map(ToString::to_string).collect();
        parts.push(some_of(&names, MOST));
    }
    if !instance.processes.is_empty() {
        let pids: Vec<String> = instance.processes.iter().map(u32::to_string).collect();
        let word = if pids.len() == 1 { "process" } else { "processes" };
        parts.push(format!("{word} {}", some_of(&pids, MOST)));
    }
    if instance.compute_instances > 0 && !instance.whole {
        parts.push(format!("cut into {}, left alone", count(instance.compute_instances as u64, "compute instance")));
    }
    let word = match instance.occupancy {
        ReportedOccupancy::Free => "free",
        ReportedOccupancy::Busy => "busy",
        ReportedOccupancy::Unknown => "not known to be free",
    };
    if parts.is_empty() { word.into() } else { format!("{word}: {}", parts.join("; ")) }
}
