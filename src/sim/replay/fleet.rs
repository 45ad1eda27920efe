//! The GPUs that a replay runs on.

use std::sync::Arc;

use crate::model::{Geometry, Layout, MediaEngines, Profile, ProfileId};

/// GPUs of one board on nodes of one size, with the layouts that they start in.
#[derive(Debug, Clone)]
pub struct FleetSpec {
    /// Board of every GPU.
    pub geometry: Arc<Geometry>,
    /// Number of GPUs, at least one.
    pub gpus: u32,
    /// GPUs of one node, at least one; the last node may have fewer.
    pub per_node: u32,
    /// What each GPU is cut into at the start, in order; GPUs beyond the list start empty.
    pub layouts: Vec<Layout>,
}

impl FleetSpec {
    /// A fleet of empty GPUs.
    pub fn new(geometry: Arc<Geometry>, gpus: u32, per_node: u32) -> Self {
        Self { geometry, gpus: gpus.max(1), per_node: per_node.max(1), layouts: Vec::new() }
    }

    /// The same fleet with other layouts.
    #[must_use]
    pub fn cut(&self, layouts: Vec<Layout>) -> Self {
        Self { layouts, ..self.clone() }
    }

    /// Nodes, each with the number of its GPUs; names sort in the order of the list.
    pub fn nodes(&self) -> Vec<(String, u32)> {
        let nodes = self.gpus.div_ceil(self.per_node);
        (0..nodes).map(|node| (format!("gpu-{node:05}"), self.per_node.min(self.gpus - node * self.per_node))).collect()
    }

    /// What a GPU is cut into at the start; `gpu` counts over all nodes.
    pub fn layout(&self, gpu: usize) -> Layout {
        self.layouts.get(gpu).cloned().unwrap_or_default()
    }

    /// Product name of the board, or its key where the catalogue has none.
    pub fn product(&self) -> &str {
        let board = self.geometry.board();
        board.product_names.first().unwrap_or(&board.key)
    }

    /// Memory slices of one GPU: units of its placement axis.
    pub fn memory_slices(&self) -> u32 {
        u32::from(self.geometry.axis())
    }

    /// Compute slices of one GPU.
    pub fn compute_slices(&self) -> u32 {
        compute_slices(&self.geometry)
    }
}

/// Compute slices of a board: those of its largest profile.
pub fn compute_slices(geometry: &Geometry) -> u32 {
    plain(geometry).into_iter().map(|id| u32::from(geometry.profile(id).compute_slices)).max().unwrap_or(0)
}

/// Profiles without a suffix whose places are known, in the order of the board's table.
pub fn plain(geometry: &Geometry) -> Vec<ProfileId> {
    let wanted = |profile: &Profile| profile.media == MediaEngines::Standard && profile.placeable();
    geometry.profile_ids().filter(|&id| wanted(geometry.profile(id))).collect()
}

/// The profiles of NVIDIA's menu proper: of each number of compute slices the plain profile with the least memory.
pub fn menu(geometry: &Geometry) -> Vec<ProfileId> {
    let mut menu: Vec<ProfileId> = Vec::new();
    for id in plain(geometry) {
        let profile = geometry.profile(id);
        let same = menu.iter().position(|&other| geometry.profile(other).compute_slices == profile.compute_slices);
        match same {
            Some(position) if geometry.profile(menu[position]).size > profile.size => menu[position] = id,
            Some(_) => {}
            None => menu.push(id),
        }
    }
    menu
}

/// The share of a GPU that an instance takes: of compute or of memory slices, whichever is larger.
pub fn share(geometry: &Geometry, id: ProfileId) -> f64 {
    let profile = geometry.profile(id);
    let compute = f64::from(profile.compute_slices) / f64::from(compute_slices(geometry).max(1));
    let memory = f64::from(profile.size.unwrap_or(0)) / f64::from(geometry.axis().max(1));
    compute.max(memory)
}

/// Why a fleet cannot be made of what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// Not of the form `8xA100-80GB`.
    #[error("`{0}` does not say how many GPUs, 1 to 100000, of which model")]
    Form(String),
    /// No such board, or several.
    #[error("{0}")]
    Board(#[from] crate::model::LookupError),
    /// Nobody can plan for it.
    #[error("the placements of {0} are known to the device only, so it cannot be replayed")]
    NotPlaceable(String),
}

/// Reads a number of GPUs and a board, such as `8xA100-80GB`.
///
/// # Errors
/// Another form, no GPU or more than 100 000, a board that the catalogue does not know or cannot place anything on.
pub fn parse_gpus(text: &str) -> Result<(u32, Arc<Geometry>), FleetError> {
    let form = || FleetError::Form(text.to_owned());
    let (count, board) = text.split_once(['x', 'X', '×']).ok_or_else(form)?;
    let count: u32 = count.trim().parse().ok().filter(|count| (1..=100_000).contains(count)).ok_or_else(form)?;
    let geometry = crate::model::Catalogue::embedded().find_by_key(board.trim())?;
    if plain(geometry).is_empty() {
        return Err(FleetError::NotPlaceable(geometry.board().key.clone()));
    }
    Ok((count, Arc::clone(geometry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_spread_over_nodes_in_order() {
        let (gpus, geometry) = parse_gpus("10xA100-80GB").expect("a fleet");
        let fleet = FleetSpec::new(geometry, gpus, 4);
        let sizes: Vec<u32> = fleet.nodes().iter().map(|(_, gpus)| *gpus).collect();
        assert_eq!(sizes, [4, 4, 2]);
        assert!(fleet.nodes().is_sorted());
        assert_eq!((fleet.memory_slices(), fleet.compute_slices()), (8, 7));
    }

    #[test]
    fn the_menu_has_one_profile_per_number_of_slices() {
        let (_, a100) = parse_gpus("1xa100-80gb").expect("a fleet");
        let names: Vec<&str> = menu(&a100).into_iter().map(|id| a100.profile(id).name.as_str()).collect();
        assert_eq!(names, ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"]);
        assert_eq!(plain(&a100).len(), 6);
        let four = a100.find("4g.40gb").expect("a profile");
        assert!((share(&a100, four) - 4.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_fleet_is_refused() {
        for wrong in ["A100-80GB", "0xA100-80GB", "-1xA100-80GB", "8x", "8xV100", "8xrtx-pro-5000"] {
            assert!(parse_gpus(wrong).is_err(), "{wrong}");
        }
    }
}
