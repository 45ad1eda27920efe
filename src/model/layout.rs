//! A layout: a legal set of placements on one GPU.

use super::geometry::{Geometry, MAX_INSTANCES, MediaUse, Placement};

/// Why a set of placements is not a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Two placements share units of the axis.
    #[error("{first} and {second} overlap")]
    Overlap {
        /// One placement, as `profile@start:size`.
        first: String,
        /// The other placement.
        second: String,
    },
    /// More instances of a profile than the board allows.
    #[error("{count} instances of {profile}, the board allows {max}")]
    TooMany {
        /// Profile in question.
        profile: String,
        /// Instances asked for.
        count: usize,
        /// Instances allowed.
        max: u8,
    },
    /// More instances than a GPU can hold at all.
    #[error("{0} GPU instances, a GPU holds at most 8")]
    TooManyInstances(usize),
    /// The media engines do not suffice.
    #[error("{0} needs media engines that another instance holds")]
    MediaTaken(String),
}

/// Canonical (ordered by start) set of placements that do not overlap and respect the board's limits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Layout(Vec<Placement>);

impl Layout {
    /// Checks a set of placements against the rules of the board.
    ///
    /// # Errors
    /// Overlap, too many instances (of a profile, or at all), media engines used twice.
    pub fn try_new(geometry: &Geometry, mut placements: Vec<Placement>) -> Result<Self, LayoutError> {
        placements.sort_unstable();
        if let Some(pair) = placements.windows(2).find(|pair| pair[0].overlaps(pair[1])) {
            return Err(LayoutError::Overlap { first: geometry.show(pair[0]), second: geometry.show(pair[1]) });
        }
        if placements.len() > MAX_INSTANCES {
            return Err(LayoutError::TooManyInstances(placements.len()));
        }
        for id in geometry.profile_ids() {
            let count = placements.iter().filter(|placement| placement.profile() == id).count();
            let profile = geometry.profile(id);
            if count > usize::from(profile.max_count) {
                return Err(LayoutError::TooMany { profile: profile.name.clone(), count, max: profile.max_count });
            }
        }
        let mut media = MediaUse::default();
        for placement in &placements {
            let profile = geometry.profile(placement.profile());
            media = media.with(profile.media).ok_or_else(|| LayoutError::MediaTaken(geometry.show(*placement)))?;
        }
        Ok(Self(placements))
    }

    /// Placements ordered by start.
    pub fn placements(&self) -> &[Placement] {
        &self.0
    }
}
