//! What kind of node the fake is: read once, when the node is created.
//!
//! Input: the JSON file that `FAKE_NVML_CONFIG` names, or the short form in `FAKE_NVML_BOARDS`. README.md describes both
//! to users; the fields here are that file's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// A node. Every field may be left out of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The boards, in the order of their first indices.
    pub boards: Vec<BoardConfig>,
    /// Driver version, e.g. `580.95.05`. Decides features: 4g with 3g from 510, double-memory 1g from 525.
    pub driver_version: String,
    /// How many GPU instance profile enums the driver knows: 17 up to NVML 13.2, 18 from 13.3.
    pub profile_enum_count: u32,
    /// What stands before a profile's name where the driver gives it.
    pub profile_name_prefix: String,
    /// Whether profile and placement queries answer while MIG is off (field 199).
    pub query_with_mig_off: bool,
    /// Factor on the measured times of creating and destroying; 0 answers at once.
    pub latency: f64,
    /// Milliseconds that finding a device by UUID takes.
    pub uuid_lookup_ms: u64,
    /// How many times the destruction of a GPU instance answers `IN_USE` after one of its compute instances was destroyed.
    pub busy_after_ci_destroy: u32,
    /// Whether MIG devices found by index stay what they were until the process initialises NVML again.
    pub stale_mig_handles: bool,
    /// Faults to play, in order.
    pub faults: Vec<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            boards: vec![BoardConfig::new("A100-40GB")],
            driver_version: "580.95.05".to_owned(),
            profile_enum_count: 17,
            profile_name_prefix: "MIG ".to_owned(),
            query_with_mig_off: true,
            latency: 0.0,
            uuid_lookup_ms: 0,
            busy_after_ci_destroy: 0,
            stale_mig_handles: false,
            faults: Vec::new(),
        }
    }
}

impl Config {
    /// A node with these boards, MIG mode on, everything else as by default.
    pub fn of(boards: &[&str]) -> Self {
        Self { boards: boards.iter().map(|key| BoardConfig::new(key)).collect(), ..Self::default() }
    }

    /// Reads the short form: keys of the catalogue with an optional count, `8xA100-40GB,H100-80GB-PCIe`.
    pub fn parse_boards(text: &str) -> Vec<BoardConfig> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let counted = parts.map(|part| match part.split_once('x') {
            Some((count, key)) => count.parse().map_or((1, part), |count: usize| (count, key)),
            None => (1, part),
        });
        counted.flat_map(|(count, key)| vec![BoardConfig::new(key); count]).collect()
    }

    /// The number before the first dot of the driver version; 0 where there is none.
    pub fn driver_branch(&self) -> u32 {
        self.driver_version.split('.').next().and_then(|branch| branch.parse().ok()).unwrap_or(0)
    }
}

/// One board of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardConfig {
    /// Key of the catalogue, e.g. `A100-80GB`.
    pub board: String,
    /// Whether MIG mode is on at first.
    #[serde(default = "on")]
    pub mig: bool,
    /// UUID; made up when absent. Two boards may be given the same.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Whether the halves of the id tree are swapped; by default as the board is known for.
    #[serde(default)]
    pub mirrored_ids: Option<bool>,
    /// A vGPU guest: knows no MIG mode.
    #[serde(default)]
    pub vgpu_guest: bool,
    /// Ampere: whether setting the mode resets an idle board by itself instead of leaving the change pending.
    #[serde(default)]
    pub reset_in_place: bool,
    /// Profile names that the driver gives instead of the catalogue's, e.g. `3g.40gb` to `3g.39gb`.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
}

fn on() -> bool {
    true
}

impl BoardConfig {
    /// A board with MIG mode on.
    pub fn new(key: &str) -> Self {
        Self {
            board: key.to_owned(),
            mig: true,
            uuid: None,
            mirrored_ids: None,
            vgpu_guest: false,
            reset_in_place: false,
            names: BTreeMap::new(),
        }
    }
}
