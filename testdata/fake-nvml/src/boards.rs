//! Board tables: the catalogue's, completed with what NVML reports besides and no planner needs.
//!
//! Inputs: retile's embedded catalogue and `boards.json` (engines, memory of the whole board, architecture). Numbers
//! that were never read from the board and that NVML cannot leave out stand in that file under `assumed`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use retile::model::{Catalogue, Geometry, MediaEngines, Profile};
use serde::Deserialize;

/// Seconds to create and to destroy an instance, by the slices of its profile: 1, 2, 3, 4 and 7.
const SLICES: [u32; 5] = [1, 2, 3, 4, 7];
const A30: [[f64; 5]; 2] = [[0.12; 5], [0.10; 5]];
const A100: [[f64; 5]; 2] = [[0.16, 0.17, 0.20, 0.21, 0.24], [0.20, 0.20, 0.21, 0.21, 0.22]];
const H100: [[f64; 5]; 2] = [[0.16, 0.21, 0.33, 0.38, 0.42], [0.21, 0.23, 0.25, 0.26, 0.26]];

/// GPU architecture, as far as MIG boards have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// GA100: the MIG mode needs a reset and outlives a reboot.
    Ampere,
    /// GH100: no reset; the mode ends with the kernel module.
    Hopper,
    /// `GB100`, `GB20x`: as Hopper.
    Blackwell,
}

impl Architecture {
    /// Value of `NVML_DEVICE_ARCH_*`.
    pub fn number(self) -> u32 {
        match self {
            Self::Ampere => 7,
            Self::Hopper => 9,
            Self::Blackwell => 10,
        }
    }

    /// Whether the MIG mode changes without a reset.
    pub fn resetless(self) -> bool {
        self > Self::Ampere
    }
}

/// Copy, decoder, encoder, JPEG and OFA engines of one instance.
pub type Engines = [u32; 5];

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Assumed {
    multiprocessors: u32,
    memory_mib: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    memory_mib: u64,
    architecture: Architecture,
    compute_capability: [u32; 2],
    mirrored_ids: bool,
    #[serde(default)]
    assumed: BTreeMap<String, Assumed>,
    engines: BTreeMap<String, Engines>,
}

/// A GPU instance profile with every number that NVML reports.
#[derive(Debug, Clone)]
pub struct GpuProfile {
    /// Name as `nvidia-smi` prints it.
    pub name: String,
    /// Value of `NVML_GPU_INSTANCE_PROFILE_*`.
    pub nvml_enum: u32,
    /// Profile id of this board.
    pub id: u32,
    /// Compute slices.
    pub slices: u32,
    /// Units of the axis.
    pub size: u32,
    /// Legal starts, ascending.
    pub starts: Vec<u32>,
    /// The starts in the order in which the driver tries them.
    pub preferred: Vec<u32>,
    /// Most instances on an empty board.
    pub max_count: u32,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Media engines taken.
    pub media: MediaEngines,
    /// Engine counts.
    pub engines: Engines,
}

impl GpuProfile {
    /// Whether this is the 1g with twice the memory.
    pub fn double_memory(&self) -> bool {
        self.nvml_enum == 9
    }
}

/// A board that the fake can be.
#[derive(Debug)]
pub struct Board {
    /// The catalogue's table.
    pub geometry: Arc<Geometry>,
    /// Units of the placement axis.
    pub axis: u32,
    /// GPU instance profiles in the catalogue's order.
    pub profiles: Vec<GpuProfile>,
    /// Memory of the whole board in MiB.
    pub memory_mib: u64,
    /// Architecture.
    pub architecture: Architecture,
    /// CUDA compute capability, major and minor.
    pub compute_capability: [u32; 2],
    /// Whether boards of this kind swap the halves of the id tree.
    pub mirrored_ids: bool,
}

impl Board {
    /// Finds a board by its key in the catalogue.
    pub fn find(key: &str) -> Option<&'static Arc<Self>> {
        all().get(key)
    }

    /// Keys of all boards that the fake can be.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        all().keys().map(String::as_str)
    }

    /// Product name as the driver reports it.
    pub fn product(&self) -> &str {
        self.geometry.board().product_names.first().map_or("NVIDIA GPU", String::as_str)
    }

    /// PCI device id with the vendor in the lower half, as NVML packs them.
    pub fn pci_id(&self) -> u32 {
        let ids = &self.geometry.board().pci_device_ids;
        let device = ids.first().and_then(|id| u32::from_str_radix(id, 16).ok()).unwrap_or(0);
        device << 16 | 0x10de
    }

    /// Seconds to create and to destroy an instance of a profile, after published measurements on A30, A100 and H100; boards that nobody
    /// measured take the H100's.
    pub fn seconds(&self, profile: u32) -> [f64; 2] {
        let measured = match (self.architecture, self.axis) {
            (Architecture::Ampere, 4) => A30,
            (Architecture::Ampere, _) => A100,
            (Architecture::Hopper | Architecture::Blackwell, _) => H100,
        };
        let slices = self.profile(profile).map_or(1, |profile| profile.slices);
        let column = SLICES.iter().position(|&own| own >= slices).unwrap_or(SLICES.len() - 1);
        measured.map(|row| row[column])
    }

    /// The profile with a profile id.
    pub fn profile(&self, id: u32) -> Option<&GpuProfile> {
        self.profiles.iter().find(|profile| profile.id == id)
    }

    /// The unsuffixed profile with so many slices, without the double-memory one.
    pub fn plain(&self, slices: u32) -> Option<&GpuProfile> {
        self.profiles.iter().find(|profile| {
            profile.slices == slices && profile.media == MediaEngines::Standard && !profile.double_memory()
        })
    }

    /// Most MIG devices that the board can hold.
    pub fn max_mig_devices(&self) -> u32 {
        self.profiles.iter().map(|profile| profile.max_count.max(profile.slices)).max().unwrap_or(0)
    }
}

fn all() -> &'static BTreeMap<String, Arc<Board>> {
    static BOARDS: OnceLock<BTreeMap<String, Arc<Board>>> = OnceLock::new();
    BOARDS.get_or_init(|| {
        let entries: BTreeMap<String, Entry> =
            serde_json::from_str(include_str!("../boards.json")).expect("a test reads the embedded file");
        entries.into_iter().map(|(key, entry)| (key.clone(), Arc::new(complete(&key, &entry)))).collect()
    })
}

fn complete(key: &str, entry: &Entry) -> Board {
    let catalogue = Catalogue::embedded();
    let geometry = catalogue.find_by_key(key).expect("a test reads the embedded file");
    let axis = u32::from(geometry.axis());
    let profiles = geometry.profiles().iter().map(|profile| merge(profile, entry, axis)).collect();
    Board {
        geometry: Arc::clone(geometry),
        axis,
        profiles,
        memory_mib: entry.memory_mib,
        architecture: entry.architecture,
        compute_capability: entry.compute_capability,
        mirrored_ids: entry.mirrored_ids,
    }
}

fn merge(profile: &Profile, entry: &Entry, axis: u32) -> GpuProfile {
    let assumed = entry.assumed.get(&profile.name);
    let known = "a test reads the embedded file";
    let starts: Vec<u32> = profile.starts.iter().copied().map(u32::from).collect();
    GpuProfile {
        name: profile.name.clone(),
        nvml_enum: profile.nvml_enum,
        id: profile.profile_id.expect(known),
        slices: u32::from(profile.compute_slices),
        size: u32::from(profile.size.expect(known)),
        preferred: preferred(axis, u32::from(profile.compute_slices), &starts),
        starts,
        max_count: u32::from(profile.max_count),
        multiprocessors: profile.multiprocessors.or(assumed.map(|it| it.multiprocessors)).expect(known),
        memory_mib: u64::from(profile.memory_mib.or(assumed.map(|it| it.memory_mib)).expect(known)),
        media: profile.media,
        engines: *entry.engines.get(&profile.name).expect(known),
    }
}

/// The starts in the order in which the driver was seen to choose them.
///
/// Observed on boards with an axis of 8 (1g: 6, 4, 5, 0, 1, 2, 3; 2g: 4, 0, 2; double-memory 1g: 4, 0, 2, 6; 3g: 4 first)
/// and on the RTX PRO 6000 (ascending); taken to be ascending on the A30, where no order was recorded.
fn preferred(axis: u32, slices: u32, starts: &[u32]) -> Vec<u32> {
    let seen: &[u32] = match (axis, slices, starts.len()) {
        (8, 1, 7) => &[6, 4, 5, 0, 1, 2, 3],
        (8, 1, 4) => &[4, 0, 2, 6],
        (8, 2, 3) => &[4, 0, 2],
        (8, 3, 2) => &[4, 0],
        _ => starts,
    };
    debug_assert!(seen.iter().all(|start| starts.contains(start)));
    seen.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_of_the_file_is_complete() {
        let boards = all();
        assert_eq!(boards.len(), 9);
        for (key, board) in boards {
            for profile in &board.profiles {
                let mut tried = profile.preferred.clone();
                tried.sort_unstable();
                assert_eq!(tried, profile.starts, "{key} {}: every start is tried", profile.name);
                assert!(profile.memory_mib < board.memory_mib, "{key} {}", profile.name);
            }
            assert!(board.pci_id() >> 16 > 0, "{key}");
        }
    }

    /// NVIDIA's Go library makes the name out of the memory of the instance and of the board; the two have to agree.
    #[test]
    fn memory_gives_the_names_that_nvidias_tools_compute() {
        for (key, board) in all() {
            let total = board.memory_mib as f64;
            for profile in &board.profiles {
                let eighths = (profile.memory_mib as f64 / total * 8.0).ceil() / 8.0;
                let gib = (eighths * (total / 1024.0).ceil()).round();
                let name = format!("{}g.{gib}gb", profile.slices);
                assert!(profile.name.starts_with(&name), "{key}: {} is computed as {name}", profile.name);
            }
        }
    }
}
