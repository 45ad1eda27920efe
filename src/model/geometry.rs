//! Board tables: which profiles a GPU offers and at which start slices each may be placed.
//!
//! A [`Geometry`] is validated once, when it is built from the catalogue or from what a device reports; every
//! [`Placement`] in the program was made by one, so a placement is always legal on its own board.

use serde::{Deserialize, Serialize};

/// Most GPU instances that one GPU can hold (the resource manager's limit, NV2080).
pub(super) const MAX_INSTANCES: usize = 8;

/// Position of a profile in [`Geometry::profiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId(u8);

impl ProfileId {
    /// Returns the position in [`Geometry::profiles`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One legal place of one profile: `profile@start:size`, in units of the board's placement axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placement {
    start: u8,
    size: u8,
    profile: ProfileId,
}

impl Placement {
    /// Profile that is placed.
    pub fn profile(self) -> ProfileId {
        self.profile
    }

    /// First unit of the axis that the instance takes.
    pub fn start(self) -> u8 {
        self.start
    }

    /// Number of units taken.
    pub fn size(self) -> u8 {
        self.size
    }

    /// First unit after the instance.
    pub fn end(self) -> u8 {
        self.start + self.size
    }

    /// Whether two placements share a unit of the axis.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// Which of the board's media engines (JPEG, OFA, NVDEC …) an instance of a profile takes, from the profile's suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaEngines {
    /// No suffix: the share that the slices bring.
    Standard,
    /// `+gfx`: as standard, with graphics.
    Graphics,
    /// `+me`: the media extensions, of which a board has one set.
    Extended,
    /// `+me.all`: every media engine of the board.
    All,
    /// `-me`: none.
    None,
}

/// What the instances of one GPU use of the media engines together; the states of a small automaton.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MediaUse {
    /// Only `-me` instances, or none.
    #[default]
    Untouched,
    /// At least one standard or graphics instance.
    Shared,
    /// One `+me` instance, beside any number of standard ones.
    Extended,
    /// One `+me.all` instance; only `-me` instances may stand beside it.
    All,
}

impl MediaUse {
    /// Adds one instance; `None` when the engines that it needs are taken.
    ///
    /// Source: the media rules in the NVML header: one `+me` per GPU, `+me.all` excludes all but `-me`.
    pub fn with(self, engines: MediaEngines) -> Option<Self> {
        match (self, engines) {
            (state, MediaEngines::None) => Some(state),
            (Self::All, _)
            | (Self::Extended, MediaEngines::Extended | MediaEngines::All)
            | (Self::Shared, MediaEngines::All) => None,
            (Self::Untouched, MediaEngines::All) => Some(Self::All),
            (Self::Untouched | Self::Shared, MediaEngines::Extended) | (Self::Extended, _) => Some(Self::Extended),
            (Self::Untouched | Self::Shared, MediaEngines::Standard | MediaEngines::Graphics) => Some(Self::Shared),
        }
    }
}

/// A GPU instance profile of one board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name as `nvidia-smi mig` prints it, e.g. `1g.10gb+me`.
    pub name: String,
    /// Other names that drivers give the same profile on this board, e.g. `3g.39gb`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Value of `NVML_GPU_INSTANCE_PROFILE_*`.
    pub nvml_enum: u32,
    /// The `ID` column of `nvidia-smi`; unknown on boards that were never read.
    pub profile_id: Option<u32>,
    /// Compute slices (the number before `g`).
    pub compute_slices: u8,
    /// Units of the placement axis that an instance takes; unknown when only a device can tell.
    pub size: Option<u8>,
    /// Streaming multiprocessors; not additive per slice.
    pub multiprocessors: Option<u32>,
    /// Memory of an instance in MiB.
    pub memory_mib: Option<u32>,
    /// Most instances of this profile on an empty board.
    pub max_count: u8,
    /// Media engines taken.
    pub media: MediaEngines,
    /// Legal starts; empty means that the placements can be read from the device only.
    pub starts: Vec<u8>,
}

impl Profile {
    /// Whether the table knows where instances of this profile can stand.
    pub fn placeable(&self) -> bool {
        self.size.is_some() && !self.starts.is_empty()
    }

    /// Whether `name` (with `+`, as `nvidia-smi` spells it) is this profile, by its name or an alias.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// The Kubernetes resource name that NVIDIA's device plugin gives the profile in the mixed strategy, without the
    /// `nvidia.com/` prefix: `mig-` and the name with every `+` turned into a dot.
    pub fn resource_suffix(&self) -> String {
        format!("mig-{}", self.name.replace('+', "."))
    }
}

/// What the catalogue knows of a board besides its profiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Key of the catalogue, e.g. `A100-80GB`.
    pub key: String,
    /// Product names as the driver reports them, e.g. `NVIDIA A100-SXM4-80GB`.
    pub product_names: Vec<String>,
    /// PCI device ids, four upper-case hexadecimal digits.
    pub pci_device_ids: Vec<String>,
    /// Whether changing the MIG mode needs a GPU reset; unknown for some boards.
    pub reset_needed_for_mig_mode: Option<bool>,
    /// Oldest driver that supports MIG on the board.
    pub min_driver: Option<String>,
    /// How sure each group of numbers is, and where it comes from.
    #[serde(default)]
    pub confidence: std::collections::BTreeMap<String, String>,
    /// Where the numbers come from.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Anything a reader should know.
    #[serde(default)]
    pub notes: Option<String>,
}

/// Why a board table is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// A name stands for two profiles.
    #[error("board {board}: the profile name {name} stands for two profiles; give each profile its own names")]
    DuplicateName {
        /// Board of the table.
        board: String,
        /// Name that stands twice.
        name: String,
    },
    /// A placement reaches beyond the axis.
    #[error("board {board}: {profile} at {start} with size {size} reaches beyond the axis of {axis} units")]
    BeyondAxis {
        /// Board of the table.
        board: String,
        /// Profile of the placement.
        profile: String,
        /// Start of the placement.
        start: u8,
        /// Size of the placement.
        size: u8,
        /// Length of the axis.
        axis: u8,
    },
    /// A start is not in the profile's table.
    #[error("board {board}: {profile} cannot start at {start}; it can start at {starts:?}")]
    IllegalStart {
        /// Board of the table.
        board: String,
        /// Profile of the placement.
        profile: String,
        /// Start that was asked for.
        start: u8,
        /// Starts of the table.
        starts: Vec<u8>,
    },
    /// Nothing is known about a profile's placements.
    #[error("board {board}: the placements of {profile} are known to the device only")]
    NotPlaceable {
        /// Board of the table.
        board: String,
        /// Profile of the placement.
        profile: String,
    },
    /// The board has too many profiles or an axis of no or more than 64 units.
    #[error("board {board}: {detail}")]
    Shape {
        /// Board of the table.
        board: String,
        /// What is out of range.
        detail: String,
    },
}

/// Validated board table: profiles and their legal placements on an axis of `axis` units.
///
/// Invariants: names and aliases are unique; sizes are positive; every placement lies within the axis; at most 64
/// profiles and an axis of 1 to 64 units (0 when nothing about placements is known).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    board: Board,
    axis: u8,
    profiles: Vec<Profile>,
}

impl Geometry {
    /// Validates a table.
    ///
    /// # Errors
    /// A name that stands twice, a placement beyond the axis, an axis or a profile list out of range.
    pub fn try_new(board: Board, axis: u8, profiles: Vec<Profile>) -> Result<Self, GeometryError> {
        let key = || board.key.clone();
        if axis > 64 || profiles.len() > 64 {
            return Err(GeometryError::Shape {
                board: key(),
                detail: format!("{} profiles on an axis of {axis} units; at most 64 of each", profiles.len()),
            });
        }
        let mut names = std::collections::BTreeSet::new();
        for profile in &profiles {
            for name in std::iter::once(&profile.name).chain(&profile.aliases) {
                if !names.insert(name) {
                    return Err(GeometryError::DuplicateName { board: key(), name: name.clone() });
                }
            }
            let size = profile.size.unwrap_or(0);
            if profile.size == Some(0) {
                return Err(GeometryError::Shape { board: key(), detail: format!("{} has size 0", profile.name) });
            }
            if let Some(&start) =
                profile.starts.iter().find(|&&start| u16::from(start) + u16::from(size) > u16::from(axis))
            {
                return Err(GeometryError::BeyondAxis {
                    board: key(),
                    profile: profile.name.clone(),
                    start,
                    size,
                    axis,
                });
            }
        }
        Ok(Self { board, axis, profiles })
    }

    /// What the catalogue knows of the board.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Units of the placement axis.
    pub fn axis(&self) -> u8 {
        self.axis
    }

    /// Profiles in the order of the table.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// The profile at a position of [`Self::profiles`].
    pub fn profile(&self, id: ProfileId) -> &Profile {
        &self.profiles[id.index()]
    }

    /// Positions of all profiles.
    pub fn profile_ids(&self) -> impl Iterator<Item = ProfileId> + use<> {
        (0..self.profiles.len() as u8).map(ProfileId)
    }

    /// Finds a profile by its name or an alias, as `nvidia-smi` spells it (`1g.10gb+me`).
    pub fn find(&self, name: &str) -> Option<ProfileId> {
        self.profile_ids().find(|&id| self.profile(id).is_named(name))
    }

    /// Makes the placement of a profile at a start.
    ///
    /// # Errors
    /// The start is not in the profile's table, or the table does not know the profile's placements.
    pub fn place(&self, id: ProfileId, start: u8) -> Result<Placement, GeometryError> {
        let profile = self.profile(id);
        let Some(size) = profile.size.filter(|_| profile.placeable()) else {
            return Err(GeometryError::NotPlaceable { board: self.board.key.clone(), profile: profile.name.clone() });
        };
        if !profile.starts.contains(&start) {
            return Err(GeometryError::IllegalStart {
                board: self.board.key.clone(),
                profile: profile.name.clone(),
                start,
                starts: profile.starts.clone(),
            });
        }
        Ok(Placement { start, size, profile: id })
    }

    /// All legal placements, profile by profile in the order of the table.
    pub fn placements(&self) -> impl Iterator<Item = Placement> + '_ {
        self.profile_ids().flat_map(move |id| {
            let profile = self.profile(id);
            let size = profile.size.unwrap_or(0);
            profile.starts.iter().filter(move |_| size > 0).map(move |&start| Placement { start, size, profile: id })
        })
    }

    /// Writes a placement as `nvidia-smi mig -lgipp` does: `3g.40gb@4:4`.
    pub fn show(&self, placement: Placement) -> String {
        format!("{}@{}:{}", self.profile(placement.profile).name, placement.start, placement.size)
    }
}
