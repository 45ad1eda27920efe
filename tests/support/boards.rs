//! Board tables of the tests, written down a second time so that a slip in the catalogue is noticed, not inherited.
//!
//! Source: NVIDIA's MIG user guide and `nvidia-smi mig -lgip` / `-lgipp` as published for the boards.

use std::sync::{Arc, LazyLock};

use retile::model::{Board, Geometry, MediaEngines, Profile};

use MediaEngines::{All, Extended, Graphics, None as NoMedia, Standard};

/// Name, NVML enum, compute slices, size, most instances, media engines, starts.
type Row = (&'static str, u32, u8, u8, u8, MediaEngines, &'static [u8]);

const SEVEN: &[u8] = &[0, 1, 2, 3, 4, 5, 6];
const FOUR: &[u8] = &[0, 1, 2, 3];
const QUARTERS: &[u8] = &[0, 3, 6, 9];

/// A30: four slices.
pub static A30: LazyLock<Arc<Geometry>> = LazyLock::new(|| {
    table(
        "A30-24GB",
        "NVIDIA A30",
        4,
        &[
            ("1g.6gb", 0, 1, 1, 4, Standard, FOUR),
            ("1g.6gb+me", 7, 1, 1, 1, Extended, FOUR),
            ("2g.12gb", 1, 2, 2, 2, Standard, &[0, 2]),
            ("2g.12gb+me", 8, 2, 2, 1, Extended, &[0, 2]),
            ("4g.24gb", 3, 4, 4, 1, Standard, &[0]),
        ],
    )
});

/// A100 with 80 GB: seven compute slices on eight memory slices.
pub static A100: LazyLock<Arc<Geometry>> = LazyLock::new(|| table("A100-80GB", "NVIDIA A100-SXM4-80GB", 8, &EIGHT));

/// H100 with 80 GB: the table of the A100.
pub static H100: LazyLock<Arc<Geometry>> =
    LazyLock::new(|| table("H100-80GB-SXM5", "NVIDIA H100 80GB HBM3", 8, &EIGHT));

const EIGHT: [Row; 7] = [
    ("1g.10gb", 0, 1, 1, 7, Standard, SEVEN),
    ("1g.10gb+me", 7, 1, 1, 1, Extended, SEVEN),
    ("1g.20gb", 9, 1, 2, 4, Standard, &[0, 2, 4, 6]),
    ("2g.20gb", 1, 2, 2, 3, Standard, &[0, 2, 4]),
    ("3g.40gb", 2, 3, 4, 2, Standard, &[0, 4]),
    ("4g.40gb", 3, 4, 4, 1, Standard, &[0]),
    ("7g.80gb", 4, 7, 8, 1, Standard, &[0]),
];

/// RTX PRO 6000 Blackwell: an axis of twelve units and every media variant.
pub static RTX6000: LazyLock<Arc<Geometry>> = LazyLock::new(|| {
    table(
        "RTX-PRO-6000-96GB",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        12,
        &[
            ("1g.24gb", 0, 1, 3, 4, Standard, QUARTERS),
            ("1g.24gb+me", 7, 1, 3, 1, Extended, QUARTERS),
            ("1g.24gb+gfx", 10, 1, 3, 4, Graphics, QUARTERS),
            ("1g.24gb+me.all", 15, 1, 3, 1, All, QUARTERS),
            ("1g.24gb-me", 13, 1, 3, 4, NoMedia, QUARTERS),
            ("2g.48gb", 1, 2, 6, 2, Standard, &[0, 6]),
            ("2g.48gb+gfx", 11, 2, 6, 2, Graphics, &[0, 6]),
            ("2g.48gb+me.all", 16, 2, 6, 1, All, &[0, 6]),
            ("2g.48gb-me", 14, 2, 6, 2, NoMedia, &[0, 6]),
            ("4g.96gb", 3, 4, 12, 1, Standard, &[0]),
            ("4g.96gb+gfx", 12, 4, 12, 1, Graphics, &[0]),
        ],
    )
});

/// Builds a table from rows.
fn table(key: &str, product: &str, axis: u8, rows: &[Row]) -> Arc<Geometry> {
    let board = Board {
        key: key.to_owned(),
        product_names: vec![product.to_owned()],
        pci_device_ids: Vec::new(),
        reset_needed_for_mig_mode: None,
        min_driver: None,
        confidence: std::collections::BTreeMap::new(),
        sources: Vec::new(),
        notes: None,
    };
    let profiles = rows
        .iter()
        .map(|&(name, nvml_enum, compute_slices, size, max_count, media, starts)| Profile {
            name: name.to_owned(),
            aliases: Vec::new(),
            nvml_enum,
            profile_id: None,
            compute_slices,
            size: Some(size),
            multiprocessors: None,
            memory_mib: None,
            max_count,
            media,
            starts: starts.to_vec(),
        })
        .collect();
    Arc::new(Geometry::try_new(board, axis, profiles).expect("the tables above are well-formed"))
}
