//! The public openb trace of pods (Alibaba, GPU cluster of 2023), read as a workload of MIG instances.
//!
//! Input: the CSV with the header [`COLUMNS`]. Output: a [`Workload`] per [`Mapping`], and what was left out. The trace asks for fractions of
//! GPUs that could do no MIG, and says nothing of their memory, so every mapping to profiles is a model: show all of them side by side,
//! never one alone. Invariants: nothing is rounded down; what was never scheduled ran nowhere and is left out and counted; pods of several
//! GPUs ask for as many of the largest instance that the mapping gives one GPU.

use std::collections::BTreeMap;

use super::fleet::{compute_slices, menu};
use super::trace::TraceError;
use crate::model::{Geometry, Profile, ProfileId};
use crate::sim::{Arrival, Kind, Workload};

/// Columns of the trace, in order.
pub const COLUMNS: [&str; 11] = [
    "name",
    "cpu_milli",
    "memory_mib",
    "num_gpu",
    "gpu_milli",
    "gpu_spec",
    "qos",
    "pod_phase",
    "creation_time",
    "deletion_time",
    "scheduled_time",
];
/// Priority of latency-sensitive pods; all others have 0.
pub const LATENCY_SENSITIVE: i32 = 1000;
/// Longest time in a trace, in seconds.
const MOST_SECONDS: u64 = 1 << 35;

/// How a fraction of a GPU becomes a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mapping {
    /// M1: the smallest profile with at least the fraction of the compute slices.
    Compute,
    /// M2: the smallest profile with at least the fraction of compute and of memory slices.
    Both,
    /// M3: the fraction of a GPU with 16 GiB, in the smallest profile with as much memory.
    Donor16,
    /// M4: the same with 32 GiB.
    Donor32,
}

impl Mapping {
    /// All mappings.
    pub const ALL: [Self; 4] = [Self::Compute, Self::Both, Self::Donor16, Self::Donor32];

    /// `m1` to `m4`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "m1",
            Self::Both => "m2",
            Self::Donor16 => "m3",
            Self::Donor32 => "m4",
        }
    }

    /// What it does, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Compute => "share of compute slices",
            Self::Both => "share of compute and of memory slices",
            Self::Donor16 => "memory of a 16 GiB donor",
            Self::Donor32 => "memory of a 32 GiB donor",
        }
    }

    /// The profile for `milli` thousandths of a GPU; `None` when the board has none that is large enough.
    pub fn profile(self, geometry: &Geometry, milli: u32) -> Option<ProfileId> {
        let milli = u64::from(milli);
        let (compute, axis) = (u64::from(compute_slices(geometry)), u64::from(geometry.axis()));
        let enough_compute = |profile: &Profile| u64::from(profile.compute_slices) * 1000 >= milli * compute;
        let size = |profile: &Profile| u64::from(profile.size.unwrap_or(0));
        let enough_slices = |profile: &Profile| size(profile) * 1000 >= milli * axis;
        let enough_bytes =
            |profile: &Profile, donor: u64| u64::from(profile.memory_mib.unwrap_or(0)) * 1000 >= milli * donor * 1024;
        let fits = |profile: &Profile| match self {
            Self::Compute => enough_compute(profile),
            Self::Both => enough_compute(profile) && enough_slices(profile),
            Self::Donor16 => enough_bytes(profile, 16),
            Self::Donor32 => enough_bytes(profile, 32),
        };
        let rank = |id: &ProfileId| (geometry.profile(*id).size, geometry.profile(*id).compute_slices);
        menu(geometry).into_iter().filter(|&id| fits(geometry.profile(id))).min_by_key(rank)
    }
}

/// From when to when a pod is said to have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Residence {
    /// From its scheduling to its deletion: the time that it ran.
    FromScheduling,
    /// From its creation to its deletion: with the waiting of the cluster that it came from.
    FromCreation,
}

/// A pod of the trace that ran on GPUs. Times are in seconds from the start of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenbPod {
    /// Name.
    pub name: String,
    /// GPUs.
    pub gpus: u32,
    /// Thousandths of each GPU, 1 to 1000.
    pub milli: u32,
    /// Quality of service, as the trace spells it.
    pub qos: String,
    /// When it was created.
    pub created: u64,
    /// When it was scheduled.
    pub scheduled: u64,
    /// When it was deleted.
    pub deleted: u64,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Openb {
    /// Pods that ran on GPUs, in the order of the file.
    pub pods: Vec<OpenbPod>,
    /// Pods without a GPU; left out.
    pub without_gpu: usize,
    /// Pods with GPUs that were never scheduled; left out.
    pub never_scheduled: usize,
}

/// A workload made of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The work.
    pub workload: Workload,
    /// Pods for which the board has no profile that is large enough; left out.
    pub too_large: usize,
    /// Pods outside the window; left out.
    pub outside: usize,
}

/// What part of the trace is replayed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Milliseconds from the start of the trace to the start of the replay.
    pub skip: u64,
    /// Milliseconds of the trace to replay; `None` for all.
    pub length: Option<u64>,
    /// From when to when a pod ran.
    pub residence: Residence,
    /// How long each pod waits before it goes elsewhere, in milliseconds.
    pub patience: Option<u64>,
}

/// Whether a text is meant to be this trace: a table with commas rather than JSON, whatever its columns are.
pub fn recognises(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default().trim_start_matches('\u{feff}').trim_start();
    first.contains(',') && !first.starts_with(['{', '['])
}

/// Reads the CSV.
///
/// # Errors
/// Another header, a row of another length, a number that is none, with line and column.
pub fn read(text: &str) -> Result<Openb, TraceError> {
    let refusal = |line: usize, field: Option<&str>, message: String, help: &str| TraceError {
        line,
        field: field.map(str::to_owned),
        message,
        help: help.to_owned(),
    };
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let header = reader.headers().map_err(|error| refusal(1, None, error.to_string(), "give a CSV file"))?;
    if !header.iter().eq(COLUMNS) {
        let missing: Vec<&str> = COLUMNS.into_iter().filter(|column| !header.iter().any(|it| it == *column)).collect();
        let message = if missing.is_empty() {
            format!(
                "the columns are not those of the openb trace of pods: {}",
                header.iter().collect::<Vec<_>>().join(",")
            )
        } else {
            format!("the openb trace of pods has columns that are missing here: {}", missing.join(", "))
        };
        return Err(refusal(1, None, message, &format!("give a file with the header {}", COLUMNS.join(","))));
    }
    let mut openb = Openb::default();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(row + 2, |position| position.line() as usize);
            refusal(line, None, format!("the row cannot be read: {error}"), "a row has one value for each column")
        })?;
        let line = record.position().map_or(row + 2, |position| position.line() as usize);
        Row { line, record: &record }.add_to(&mut openb)?;
    }
    Ok(openb)
}

/// One row while it is read.
struct Row<'a> {
    line: usize,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    fn wrong(&self, column: usize, message: String, help: &str) -> TraceError {
        TraceError { line: self.line, field: Some(COLUMNS[column].to_owned()), message, help: help.to_owned() }
    }

    fn number(&self, column: usize, most: u64, help: &str) -> Result<u64, TraceError> {
        // Some copies of the trace write whole seconds as `427061.0`.
        let text = self.text(column);
        let number = text.strip_suffix(".0").unwrap_or(text).parse().ok().filter(|&number| number <= most);
        number.ok_or_else(|| self.wrong(column, format!("`{text}` is no such number"), help))
    }

    fn add_to(&self, openb: &mut Openb) -> Result<(), TraceError> {
        let gpus = self.number(3, 1024, "write a whole number of GPUs")? as u32;
        if gpus == 0 {
            openb.without_gpu += 1;
            return Ok(());
        }
        let milli = self.number(4, 1000, "write thousandths of one GPU, 1 to 1000")? as u32;
        if milli == 0 {
            return Err(self.wrong(4, "a pod with a GPU asks for none of it".into(), "write 1 to 1000"));
        }
        if self.text(10).is_empty() {
            openb.never_scheduled += 1;
            return Ok(());
        }
        let seconds = "write whole seconds from the start of the trace";
        let [created, deleted, scheduled] = [8, 9, 10].map(|column| self.number(column, MOST_SECONDS, seconds));
        let (created, deleted, scheduled) = (created?, deleted?, scheduled?);
        if scheduled < created || deleted < scheduled {
            let message = format!("created at {created}, scheduled at {scheduled}, deleted at {deleted}");
            return Err(self.wrong(9, message, "a pod is created, then scheduled, then deleted"));
        }
        openb.pods.push(OpenbPod {
            name: self.text(0).to_owned(),
            gpus,
            milli,
            qos: self.text(6).to_owned(),
            created,
            scheduled,
            deleted,
        });
        Ok(())
    }
}

impl Openb {
    /// The work of a part of the trace under a mapping. A pod arrives when it was created.
    ///
    /// Latency-sensitive pods (`LS`) become services of priority [`LATENCY_SENSITIVE`], all others jobs of priority 0. A pod that was deleted
    /// in the second in which it began is taken to have run for one second.
    pub fn map(&self, geometry: &Geometry, mapping: Mapping, window: &Window) -> Mapped {
        let mut mapped = Mapped { workload: Workload::default(), too_large: 0, outside: 0 };
        let end = window.length.map(|length| window.skip.saturating_add(length));
        for pod in &self.pods {
            let OpenbPod { name, gpus, milli, qos, created, scheduled, deleted } = pod;
            let at = created * 1000;
            if at < window.skip || end.is_some_and(|end| at >= end) {
                mapped.outside += 1;
                continue;
            }
            let Some(profile) = mapping.profile(geometry, *milli) else {
                mapped.too_large += 1;
                continue;
            };
            let begun = match window.residence {
                Residence::FromScheduling => scheduled,
                Residence::FromCreation => created,
            };
            let sensitive = qos == "LS";
            mapped.workload.arrivals.push(Arrival {
                at: at - window.skip,
                name: name.clone(),
                instances: BTreeMap::from([(geometry.profile(profile).name.clone(), *gpus)]),
                runs: (deleted - begun).max(1) * 1000,
                priority: if sensitive { LATENCY_SENSITIVE } else { 0 },
                kind: if sensitive { Kind::Service } else { Kind::Job },
                patience: window.patience,
            });
        }
        mapped.workload.arrivals.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
        mapped
    }
}

#[cfg(test)]
mod tests;
