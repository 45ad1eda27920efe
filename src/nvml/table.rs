//! A board's geometry as the device tells it, and where that differs from the catalogue.
//!
//! Inputs: a device of an initialised library; the catalogue, for confirmation and for other names of a profile. Output: a [`Table`], whose
//! [`Geometry`] is the device's own. Profiles are walked upward by number until the library says that there are no more, so that a newer
//! driver's are found too. Must not decide anything by a profile's id, which means different things on different boards.

use std::fmt;
use std::sync::Arc;

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

use crate::model::{Board, Catalogue, Geometry, MediaEngines, Profile};

use super::error::DriverError;
use super::raw::{self, GpuProfile, Span};
use super::session::Session;

/// Numbers asked for at most; the library ends the walk long before.
const NUMBERS: u32 = 256;
const ARGUMENT_VERSION_MISMATCH: u32 = 25;

/// What is known of a board before its profiles are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    /// Product name.
    pub(super) product: &'a str,
    /// PCI device id, four hexadecimal digits.
    pub(super) pci_device: &'a str,
    /// Memory in bytes; 0 when it cannot be read.
    pub(super) memory: u64,
}

/// A board's geometry, and what the driver calls its profiles.
#[derive(Debug, Clone)]
pub struct Table {
    /// The geometry that the device reports. A profile that the catalogue knows under the device's name has the catalogue's spelling of it,
    /// and the device's among its aliases.
    pub geometry: Arc<Geometry>,
    /// Key of the board in the catalogue, if it is there.
    pub catalogue: Option<String>,
    /// Where device and catalogue differ, or one of them tells what the other does not.
    pub differences: Vec<Difference>,
    /// Whether everything was read from the device; otherwise placements are the catalogue's.
    pub complete: bool,
    /// Per profile of the geometry: the id that the driver takes, and the most instances that it claims.
    pub(super) driver: Vec<DriverProfile>,
}

/// What calls need to know of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DriverProfile {
    pub(super) id: u32,
    pub(super) count: u32,
    pub(super) slices: u32,
}

/// A fact on which the device and the catalogue do not agree.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The profile, or none for the whole board.
    pub profile: Option<String>,
    /// Which fact.
    pub fact: Fact,
    /// What the device says; empty when it does not tell.
    pub device: String,
    /// What the catalogue says; empty when it does not know.
    pub catalogue: String,
}

/// A fact of a board table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact {
    /// The board itself.
    Board,
    /// Whether the profile exists.
    Profile,
    /// Its name.
    Name,
    /// The driver's id of it.
    Id,
    /// Compute slices.
    Slices,
    /// Streaming multiprocessors.
    Multiprocessors,
    /// Memory in MiB.
    Memory,
    /// Starts and size of its instances.
    Placements,
    /// Most instances.
    Count,
    /// Length of the placement axis.
    Axis,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Board => "board",
            Self::Profile => "profile",
            Self::Name => "name",
            Self::Id => "profile id",
            Self::Slices => "compute slices",
            Self::Multiprocessors => "multiprocessors",
            Self::Memory => "memory in MiB",
            Self::Placements => "placements",
            Self::Count => "most instances",
            Self::Axis => "length of the axis",
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { profile, fact, device, catalogue } = self;
        if let Some(profile) = profile {
            write!(f, "{profile}: ")?;
        }
        let said = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
        write!(f, "{fact}: the device says {}, the catalogue {}", said(device), said(catalogue))
    }
}

/// A profile as read, before names are settled.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    number: u32,
    profile: GpuProfile,
    /// None when the driver does not tell.
    spans: Option<Vec<Span>>,
}

/// Reads a board's table; none when the device has no profiles, or does not tell them in its present mode.
pub(super) fn read(session: &Session, device: &Device<'_>, who: Identity<'_>) -> Result<Option<Table>, DriverError> {
    let mut found = Vec::new();
    for number in 0..NUMBERS {
        match profile(session, device, number)? {
            Walk::End => break,
            Walk::Absent => {}
            Walk::Found(profile) => {
                let spans = spans(session, device, profile.id)?;
                found.push(Read { number, profile, spans });
            }
        }
    }
    if found.is_empty() { Ok(None) } else { settle(&found, who).map(Some) }
}

/// What the library says to one number.
enum Walk {
    End,
    Absent,
    Found(GpuProfile),
}

fn profile(session: &Session, device: &Device<'_>, number: u32) -> Result<Walk, DriverError> {
    let named = session.ask("nvmlDeviceGetGpuInstanceProfileInfoV", || raw::named_gpu_profile(device, number));
    match named {
        Ok(profile) => return Ok(Walk::Found(profile)),
        Err(DriverError::Call { source: NvmlError::NotSupported, .. }) => return Ok(Walk::Absent),
        // The end, or a library that does not know this form of the question: the plain form tells which.
        Err(DriverError::Call {
            source:
                NvmlError::InvalidArg
                | NvmlError::FunctionNotFound
                | NvmlError::FailedToLoadSymbol(_)
                | NvmlError::UnexpectedVariant(ARGUMENT_VERSION_MISMATCH),
            ..
        }) => {}
        Err(error) => return Err(error),
    }
    match session.ask("nvmlDeviceGetGpuInstanceProfileInfo", || raw::plain_gpu_profile(device, number)) {
        Ok(profile) => Ok(Walk::Found(profile)),
        Err(DriverError::Call { source: NvmlError::NotSupported, .. }) => Ok(Walk::Absent),
        Err(DriverError::Call { source: NvmlError::InvalidArg, .. }) => Ok(Walk::End),
        Err(error) => Err(error),
    }
}

/// Placements, ordered; none when we may not ask, or the driver is too old to tell.
fn spans(session: &Session, device: &Device<'_>, id: u32) -> Result<Option<Vec<Span>>, DriverError> {
    match session.ask("nvmlDeviceGetGpuInstancePossiblePlacements_v2", || raw::placements(device, id)) {
        Ok(mut spans) => {
            spans.sort_unstable();
            Ok(Some(spans))
        }
        Err(DriverError::Call {
            source:
                NvmlError::NoPermission
                | NvmlError::NotSupported
                | NvmlError::FunctionNotFound
                | NvmlError::FailedToLoadSymbol(_),
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a table of what was read.
fn settle(found: &[Read], who: Identity<'_>) -> Result<Table, DriverError> {
    let catalogue = Catalogue::embedded();
    let known = catalogue
        .find_by_pci_id(who.pci_device)
        .or_else(|_| catalogue.find_by_product(who.product, Some(who.memory >> 20).filter(|&mib| mib > 0)))
        .ok();
    let mut differences = Vec::new();
    let mut profiles = Vec::with_capacity(found.len());
    for read in found {
        let twin = known.and_then(|board| board.profiles().iter().find(|profile| profile.nvml_enum == read.number));
        let profile = model_profile(read, twin, who.memory)?;
        compare(read, &profile, twin, known.is_some(), &mut differences);
        profiles.push(profile);
    }
    let axis = profiles
        .iter()
        .filter_map(|profile| Some(profile.starts.iter().max()?.saturating_add(profile.size?)))
        .max()
        .unwrap_or(0);
    let complete = found.iter().all(|read| read.spans.is_some());
    compare_boards(known.map(Arc::as_ref), who, axis, &profiles, &mut differences);
    let board = Board {
        key: known.map_or_else(|| who.product.to_owned(), |board| board.board().key.clone()),
        product_names: vec![who.product.to_owned()],
        pci_device_ids: vec![who.pci_device.to_owned()],
        reset_needed_for_mig_mode: known.and_then(|board| board.board().reset_needed_for_mig_mode),
        min_driver: known.and_then(|board| board.board().min_driver.clone()),
        confidence: std::collections::BTreeMap::new(),
        sources: vec!["the device".to_owned()],
        notes: None,
    };
    let geometry =
        Geometry::try_new(board, axis, profiles).map_err(|error| DriverError::Nonsense(error.to_string()))?;
    let driver = found.iter().map(|read| {
        let GpuProfile { id, slices, count, .. } = read.profile;
        DriverProfile { id, count, slices }
    });
    Ok(Table {
        geometry: Arc::new(geometry),
        catalogue: known.map(|board| board.board().key.clone()),
        differences,
        complete,
        driver: driver.collect(),
    })
}

fn model_profile(read: &Read, twin: Option<&Profile>, memory: u64) -> Result<Profile, DriverError> {
    let Read { number, profile, spans } = read;
    let told = profile.name.as_deref().map(|name| name.strip_prefix("MIG ").unwrap_or(name).to_owned());
    let told = told.unwrap_or_else(|| computed_name(*number, profile, memory));
    let twin = twin.filter(|twin| twin.is_named(&told));
    let (name, aliases) = match twin {
        Some(twin) => (twin.name.clone(), twin.aliases.clone()),
        None => (told, Vec::new()),
    };
    let nonsense = |what: &str| DriverError::Nonsense(format!("{what} of the profile {name} ({number})"));
    let (size, starts) = match spans {
        Some(spans) => {
            let size = spans.first().map(|span| span.size);
            if spans.iter().any(|span| Some(span.size) != size) {
                return Err(nonsense("different sizes"));
            }
            let starts: Result<Vec<u8>, _> = spans.iter().map(|span| u8::try_from(span.start)).collect();
            let size = size.map(u8::try_from).transpose().map_err(|_| nonsense("size"))?;
            (size, starts.map_err(|_| nonsense("start"))?)
        }
        None => twin.map_or((None, Vec::new()), |twin| (twin.size, twin.starts.clone())),
    };
    let media = media_of(&name);
    let claimed = u8::try_from(profile.count).map_err(|_| nonsense("number of instances"))?;
    Ok(Profile {
        aliases,
        nvml_enum: *number,
        profile_id: Some(profile.id),
        compute_slices: u8::try_from(profile.slices).map_err(|_| nonsense("compute slices"))?,
        size,
        multiprocessors: Some(profile.multiprocessors),
        memory_mib: Some(u32::try_from(profile.memory_mib).map_err(|_| nonsense("memory"))?),
        max_count: most(claimed, media, size, &starts),
        media,
        starts,
        name,
    })
}

/// Most instances. The driver's number is known to be wrong on A30 boards; where no media engines limit it, it is what fits side by side.
fn most(claimed: u8, media: MediaEngines, size: Option<u8>, starts: &[u8]) -> u8 {
    let Some(size) = size.filter(|_| !starts.is_empty()) else { return claimed };
    let mut fitting = 0;
    let mut free = 0;
    for &start in starts {
        if start >= free {
            fitting += 1;
            free = start.saturating_add(size);
        }
    }
    match media {
        MediaEngines::Standard | MediaEngines::Graphics | MediaEngines::None => fitting,
        MediaEngines::Extended | MediaEngines::All => claimed.clamp(1, fitting),
    }
}

/// Media engines by the name's suffix, which is where the driver tells them.
fn media_of(name: &str) -> MediaEngines {
    let suffix = name.find("gb").map_or("", |at| &name[at + 2..]);
    if suffix.contains("+me.all") {
        MediaEngines::All
    } else if suffix.contains("+me") {
        MediaEngines::Extended
    } else if suffix.contains("-me") {
        MediaEngines::None
    } else if suffix.contains("+gfx") {
        MediaEngines::Graphics
    } else {
        MediaEngines::Standard
    }
}

/// The name that NVIDIA's tools compute where the driver tells none (`go-nvlib`, `MigProfile`): memory in eighths of the board's.
fn computed_name(number: u32, profile: &GpuProfile, memory: u64) -> String {
    const GIB: u64 = 1 << 30;
    let whole = memory.div_ceil(GIB);
    let eighths = ((profile.memory_mib << 20) * 8).div_ceil(memory.max(1));
    let gb = if memory == 0 { profile.memory_mib.div_ceil(1024) } else { (eighths * whole + 4) / 8 };
    let suffix = match number {
        7 | 8 => "+me",
        10 | 11 | 12 | 17 => "+gfx",
        13 | 14 => "-me",
        15 | 16 => "+me.all",
        _ => "",
    };
    format!("{}g.{gb}gb{suffix}", profile.slices)
}

/// Where a profile differs from its twin in the catalogue.
fn compare(read: &Read, profile: &Profile, twin: Option<&Profile>, known: bool, differences: &mut Vec<Difference>) {
    let Some(twin) = twin else {
        if known {
            let device = format!("number {}", read.number);
            differences.push(Difference {
                profile: Some(profile.name.clone()),
                fact: Fact::Profile,
                device,
                catalogue: String::new(),
            });
        }
        return;
    };
    let mut differs = |fact, device: Option<String>, catalogue: Option<String>| {
        if device != catalogue {
            differences.push(Difference {
                profile: Some(profile.name.clone()),
                fact,
                device: device.unwrap_or_default(),
                catalogue: catalogue.unwrap_or_default(),
            });
        }
    };
    let text = |number: Option<u32>| number.map(|number| number.to_string());
    let told = read.profile.name.as_deref().map_or(&*profile.name, |name| name.strip_prefix("MIG ").unwrap_or(name));
    differs(Fact::Name, Some(told.to_owned()), Some(twin.name.clone()));
    differs(Fact::Id, text(profile.profile_id), text(twin.profile_id));
    differs(Fact::Slices, Some(profile.compute_slices.to_string()), Some(twin.compute_slices.to_string()));
    differs(Fact::Multiprocessors, text(profile.multiprocessors), text(twin.multiprocessors));
    differs(Fact::Memory, text(profile.memory_mib), text(twin.memory_mib));
    differs(Fact::Count, Some(read.profile.count.to_string()), Some(twin.max_count.to_string()));
    let device = read.spans.is_some().then(|| placements(profile)).flatten();
    differs(Fact::Placements, device, placements(twin));
}

/// `{0,4}:4`; none when not known.
fn placements(profile: &Profile) -> Option<String> {
    let starts: Vec<String> = profile.starts.iter().map(u8::to_string).collect();
    profile.size.filter(|_| !starts.is_empty()).map(|size| format!("{{{}}}:{size}", starts.join(",")))
}

fn compare_boards(
    known: Option<&Geometry>,
    who: Identity<'_>,
    axis: u8,
    profiles: &[Profile],
    differences: &mut Vec<Difference>,
) {
    let Some(known) = known else {
        let device = format!("{} ({})", who.product, who.pci_device);
        differences.push(Difference { profile: None, fact: Fact::Board, device, catalogue: String::new() });
        return;
    };
    if known.axis() != axis {
        differences.push(Difference {
            profile: None,
            fact: Fact::Axis,
            device: axis.to_string(),
            catalogue: if known.axis() == 0 { String::new() } else { known.axis().to_string() },
        });
    }
    let absent = known.profiles().iter().filter(|own| profiles.iter().all(|it| it.nvml_enum != own.nvml_enum));
    for profile in absent {
        differences.push(Difference {
            profile: Some(profile.name.clone()),
            fact: Fact::Profile,
            device: String::new(),
            catalogue: format!("number {}", profile.nvml_enum),
        });
    }
}

#[cfg(test)]
mod tests;
