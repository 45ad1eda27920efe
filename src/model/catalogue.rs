//! The catalogue of boards, for planning where no device can be asked, and the names by which boards are found.
//!
//! Input: the files of `testdata/geometry/`, one board each, compiled into the program. Output: validated [`Geometry`] tables.
//! What was never established is absent from the files and stays unknown here: such a profile has no placements and can
//! be placed only from what a device reports. Where a device reports its table, that table wins over this one.
//! This module reads no file at run time.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::geometry::{Board, Geometry, GeometryError, Profile};
use names::{Product, near_misses, normal, tokens};

mod names;

/// One file of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardFile {
    board: Board,
    /// Units of the placement axis; `null` where only a device can tell.
    axis: Option<u8>,
    profiles: Vec<Profile>,
}

/// Why a board file is refused.
#[derive(Debug, thiserror::Error)]
pub enum BoardFileError {
    /// The text is not of the form of a board file.
    #[error("not a board table: {0}")]
    Form(#[from] serde_json::Error),
    /// The table contradicts itself.
    #[error(transparent)]
    Table(#[from] GeometryError),
}

/// Why a name does not lead to a board.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No board has this key.
    #[error("no board is called {asked:?}{}; the boards are {}", did_you_mean(.near), .keys.join(", "))]
    UnknownKey {
        /// What was asked for.
        asked: String,
        /// Keys that look alike.
        near: Vec<String>,
        /// All keys.
        keys: Vec<String>,
    },
    /// A key or product name stands for boards with different tables.
    #[error("{asked:?} stands for several boards with different tables; write one of {}", .keys.join(", "))]
    Ambiguous {
        /// What was asked for.
        asked: String,
        /// Keys of the boards that it may mean.
        keys: Vec<String>,
    },
    /// No board has this product name.
    #[error("no board of the catalogue has the product name {asked:?}{}", did_you_mean(.near))]
    UnknownProduct {
        /// What was asked for.
        asked: String,
        /// Product names that look alike.
        near: Vec<String>,
    },
    /// No board has this PCI device id.
    #[error("no board of the catalogue has the PCI device id {0:?}")]
    UnknownPciId(String),
}

fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

macro_rules! board_files {
    ($($file:literal),* $(,)?) => {
        [$(($file, include_str!(concat!("../../testdata/geometry/", $file)))),*]
    };
}

/// The files, in the order in which boards are listed and in which alike boards are preferred.
static FILES: [(&str, &str); 19] = board_files![
    "a30-24gb.json",
    "a100-40gb.json",
    "a100-80gb.json",
    "h100-80gb-sxm5.json",
    "h100-80gb-pcie.json",
    "h100-94gb-nvl.json",
    "h100-96gb-gh200-96gb.json",
    "h100-64gb-sxm5.json",
    "gh200-144gb.json",
    "h20-96gb.json",
    "h20-141gb.json",
    "h200-141gb.json",
    "b200-180gb.json",
    "gb200-186gb.json",
    "b300-269gb.json",
    "gb300-278gb.json",
    "rtx-pro-6000-96gb.json",
    "rtx-pro-5000-48gb.json",
    "rtx-pro-4500-32gb.json",
];

/// A list of boards with lookup by key, by product name and by PCI device id.
#[derive(Debug, Clone)]
pub struct Catalogue {
    boards: Vec<Arc<Geometry>>,
}

impl Catalogue {
    /// The catalogue that is compiled into the program; parsed once.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: OnceLock<Catalogue> = OnceLock::new();
        EMBEDDED.get_or_init(|| {
            let read = |(_, text): &(&str, &str)| Arc::new(read_board(text).expect("a test reads every embedded file"));
            Self { boards: FILES.iter().map(read).collect() }
        })
    }

    /// All boards.
    pub fn boards(&self) -> &[Arc<Geometry>] {
        &self.boards
    }

    /// Finds a board by what a person would call it: its key, a part of its key, or a product name, in any case.
    ///
    /// A name that fits several boards is accepted when their tables agree in profiles and placements; the first of
    /// them is returned.
    ///
    /// # Errors
    /// No board has the name, or several with different tables have it.
    pub fn find_by_key(&self, asked: &str) -> Result<&Arc<Geometry>, LookupError> {
        let wanted = normal(asked);
        if let Some(board) = self.boards.iter().find(|geometry| normal(&geometry.board().key) == wanted) {
            return Ok(board);
        }
        let parts = tokens(&wanted);
        let has_parts = |geometry: &&Arc<Geometry>| {
            let key = normal(&geometry.board().key);
            !parts.is_empty() && parts.iter().all(|part| tokens(&key).contains(part))
        };
        let mut found: Vec<&Arc<Geometry>> = self.boards.iter().filter(has_parts).collect();
        if found.is_empty() {
            found = self.boards_named(&Product::parse(asked));
        }
        if found.is_empty() {
            let keys = || self.boards.iter().map(|geometry| geometry.board().key.as_str());
            return Err(LookupError::UnknownKey {
                asked: asked.to_owned(),
                near: near_misses(&wanted, keys()),
                keys: keys().map(str::to_owned).collect(),
            });
        }
        agreed(asked, &found)
    }

    /// Finds a board by its product name: as the driver prints it (`NVIDIA A100-SXM4-80GB`) or as GPU feature discovery
    /// labels a node with it (`NVIDIA-A100-SXM4-80GB`, with `-MIG-1g.10gb`, `-MIG-INVALID` or `-SHARED` behind).
    ///
    /// `memory_mib` is what `nvidia.com/gpu.memory` says; it decides where boards share a product name.
    ///
    /// # Errors
    /// No board has the name, or several with different tables have it and the memory does not tell them apart.
    pub fn find_by_product(&self, name: &str, memory_mib: Option<u64>) -> Result<&Arc<Geometry>, LookupError> {
        let product = Product::parse(name);
        let mut found = self.boards_named(&product);
        if found.is_empty() {
            let names = self.boards.iter().flat_map(|geometry| &geometry.board().product_names).map(String::as_str);
            return Err(LookupError::UnknownProduct {
                asked: name.to_owned(),
                near: near_misses(&product.name, names),
            });
        }
        if found.len() > 1 {
            // With the strategy `single` the memory label is that of an instance, and the profile is in the name.
            let fits = |geometry: &Arc<Geometry>| match (&product.profile, memory_mib) {
                (Some(profile), _) => geometry.profiles().iter().any(|it| it.is_named(profile)),
                (None, Some(memory)) => names::has_memory(&geometry.board().key, memory),
                (None, None) => true,
            };
            let fitting: Vec<&Arc<Geometry>> = found.iter().copied().filter(|geometry| fits(geometry)).collect();
            if !fitting.is_empty() {
                found = fitting;
            }
        }
        agreed(name, &found)
    }

    /// Finds a board by its PCI device id: four hexadecimal digits, alone, after `0x`, or before the vendor `10DE` as NVML
    /// packs them (`0x20B210DE`).
    ///
    /// # Errors
    /// No board of the catalogue has the id.
    pub fn find_by_pci_id(&self, id: &str) -> Result<&Arc<Geometry>, LookupError> {
        let digits = id.trim().to_ascii_uppercase();
        let digits = digits.strip_prefix("0X").unwrap_or(&digits);
        let device = if digits.len() == 8 { digits.strip_suffix("10DE").unwrap_or(digits) } else { digits };
        let has = |geometry: &&Arc<Geometry>| geometry.board().pci_device_ids.iter().any(|own| own == device);
        self.boards.iter().find(has).ok_or_else(|| LookupError::UnknownPciId(id.to_owned()))
    }

    fn boards_named(&self, product: &Product) -> Vec<&Arc<Geometry>> {
        let named = |geometry: &&Arc<Geometry>| {
            geometry.board().product_names.iter().any(|name| Product::parse(name).name == product.name)
        };
        self.boards.iter().filter(named).collect()
    }
}

/// Reads one board table.
///
/// # Errors
/// Text of another form, a table that contradicts itself.
pub fn read_board(text: &str) -> Result<Geometry, BoardFileError> {
    let BoardFile { board, axis, profiles } = serde_json::from_str(text)?;
    Ok(Geometry::try_new(board, axis.unwrap_or(0), profiles)?)
}

/// The first of some boards, if all can be cut into the same.
fn agreed<'c>(asked: &str, found: &[&'c Arc<Geometry>]) -> Result<&'c Arc<Geometry>, LookupError> {
    let alike = |first: &Geometry, other: &Geometry| {
        first.axis() == other.axis()
            && first.profiles().len() == other.profiles().len()
            && first.profiles().iter().zip(other.profiles()).all(|(one, two)| {
                (&one.name, one.size, &one.starts, one.max_count) == (&two.name, two.size, &two.starts, two.max_count)
            })
    };
    match found {
        [first, others @ ..] if others.iter().all(|other| alike(first, other)) => Ok(first),
        _ => Err(LookupError::Ambiguous {
            asked: asked.to_owned(),
            keys: found.iter().map(|geometry| geometry.board().key.clone()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests;
