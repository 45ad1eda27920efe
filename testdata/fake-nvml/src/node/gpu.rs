//! GPU instances: where they may stand, where the driver puts them, creation and destruction.

use retile::model::MediaEngines;

use super::{BoardState, GpuInstance, Node, Span};
use crate::Code;
use crate::boards::GpuProfile;

/// Most GPU instances that a board holds at all.
const MAX_INSTANCES: usize = 8;
/// First driver branch that lets 4g and 3g stand side by side.
const BRANCH_FOUR_AND_THREE: u32 = 510;
/// First driver branch that knows the double-memory 1g.
const BRANCH_DOUBLE_MEMORY: u32 = 525;

impl Node {
    /// A profile by its id, if the board and the driver know it.
    pub(crate) fn gpu_profile(&self, place: usize, id: u32) -> Result<&'static GpuProfile, Code> {
        let profile = self.board(place)?.table().profile(id).ok_or(Code::NotSupported)?;
        if self.offers(profile) { Ok(profile) } else { Err(Code::NotSupported) }
    }

    /// A profile by its enum: past the last enum that the driver knows is an invalid argument, any other gap is not supported.
    pub(crate) fn gpu_profile_by_enum(&self, place: usize, value: u32) -> Result<&'static GpuProfile, Code> {
        let table = self.board(place)?.table();
        if value >= self.config.profile_enum_count {
            return Err(Code::InvalidArgument);
        }
        let profile = table.profiles.iter().find(|profile| profile.nvml_enum == value);
        profile.filter(|profile| self.offers(profile)).ok_or(Code::NotSupported)
    }

    fn offers(&self, profile: &GpuProfile) -> bool {
        !profile.double_memory() || self.config.driver_branch() >= BRANCH_DOUBLE_MEMORY
    }

    /// Whether profile and placement queries answer in the board's mode.
    pub(crate) fn check_queries(&self, place: usize) -> Result<(), Code> {
        let board = self.board(place)?;
        let answers = !board.config.vgpu_guest && (board.mig || self.config.query_with_mig_off);
        if answers { Ok(()) } else { Err(Code::NotSupported) }
    }

    /// Whether calls about instances answer: MIG mode is on.
    pub(crate) fn check_mig(&self, place: usize) -> Result<&BoardState, Code> {
        let board = self.board(place)?;
        if board.mig { Ok(board) } else { Err(Code::NotSupported) }
    }

    /// Whether an instance can be created at a placement now.
    fn room(&self, place: usize, profile: &GpuProfile, span: Span) -> Result<(), Code> {
        let board = self.board(place)?;
        if span.size != profile.size || !profile.starts.contains(&span.start) {
            return Err(Code::InvalidArgument);
        }
        let present: Vec<&GpuProfile> =
            board.instances.iter().filter_map(|instance| board.table().profile(instance.profile)).collect();
        let same = present.iter().filter(|other| other.id == profile.id).count() as u32;
        let has = |slices| present.iter().any(|other| other.slices == slices);
        let too_early = board.table().axis == 8
            && self.config.driver_branch() < BRANCH_FOUR_AND_THREE
            && (profile.slices == 3 && has(4) || profile.slices == 4 && has(3));
        let blocked = board.instances.iter().any(|instance| instance.span.overlaps(span))
            || board.instances.len() >= MAX_INSTANCES
            || same >= profile.max_count
            || too_early
            || !media_suffices(present.iter().map(|other| other.media), profile.media);
        if blocked { Err(Code::InsufficientResources) } else { Ok(()) }
    }

    /// How many more instances of a profile could be created if nothing else were.
    pub(crate) fn gpu_capacity(&self, place: usize, profile: &GpuProfile) -> Result<u32, Code> {
        self.check_mig(place)?;
        let mut later = self.clone();
        let mut count = 0;
        while later.create_gpu_instance(place, profile, None).is_ok() {
            count += 1;
        }
        Ok(count)
    }

    /// Where the driver puts an instance that is created without a placement.
    fn preferred(&self, place: usize, profile: &GpuProfile) -> Result<Span, Code> {
        let mut spans = profile.preferred.iter().map(|&start| Span { start, size: profile.size });
        spans.find(|&span| self.room(place, profile, span).is_ok()).ok_or(Code::InsufficientResources)
    }

    /// Creates a GPU instance at a placement, or where the driver likes.
    pub(crate) fn create_gpu_instance(
        &mut self,
        place: usize,
        profile: &GpuProfile,
        span: Option<Span>,
    ) -> Result<&GpuInstance, Code> {
        let board = self.check_mig(place)?;
        if board.instances.is_empty() && board.clients.iter().any(|client| client.gpu_instance.is_none()) {
            return Err(Code::InUse);
        }
        let span = span.map_or_else(|| self.preferred(place, profile), Ok)?;
        self.room(place, profile, span)?;
        let id = instance_id(self.board(place)?, span);
        let serial = self.serial();
        let made = GpuInstance { id, serial, profile: profile.id, span, compute: Vec::new(), settling: 0 };
        self.announce(place, Some(id), None);
        let board = self.board_mut(place)?;
        let at = board.instances.partition_point(|other| other.id < id);
        board.instances.insert(at, made);
        Ok(&board.instances[at])
    }

    /// The GPU instance of one incarnation.
    pub(crate) fn gpu_instance(&self, place: usize, serial: u64) -> Result<&GpuInstance, Code> {
        let board = self.board(place)?;
        board.instances.iter().find(|instance| instance.serial == serial).ok_or(Code::InvalidArgument)
    }

    pub(super) fn gpu_instance_mut(&mut self, place: usize, serial: u64) -> Result<&mut GpuInstance, Code> {
        let board = self.board_mut(place)?;
        board.instances.iter_mut().find(|instance| instance.serial == serial).ok_or(Code::InvalidArgument)
    }

    /// Destroys a GPU instance that holds no compute instance and that nobody holds.
    pub(crate) fn destroy_gpu_instance(&mut self, place: usize, serial: u64) -> Result<(), Code> {
        let instance = self.gpu_instance_mut(place, serial)?;
        let id = instance.id;
        if instance.settling > 0 {
            instance.settling -= 1;
            return Err(Code::InUse);
        }
        let full = !instance.compute.is_empty();
        let board = self.board_mut(place)?;
        if full || board.clients.iter().any(|client| client.gpu_instance == Some(id)) {
            return Err(Code::InUse);
        }
        board.instances.retain(|instance| instance.serial != serial);
        self.announce(place, Some(id), None);
        Ok(())
    }
}

/// Whether one more instance finds the media engines that it takes.
fn media_suffices(present: impl Iterator<Item = MediaEngines>, wanted: MediaEngines) -> bool {
    let (mut shared, mut extended, mut all) = (0, 0, 0);
    for engines in present.chain([wanted]) {
        match engines {
            MediaEngines::Standard | MediaEngines::Graphics => shared += 1,
            MediaEngines::Extended => extended += 1,
            MediaEngines::All => all += 1,
            MediaEngines::None => {}
        }
    }
    extended <= 1 && (all == 0 || all == 1 && shared == 0 && extended == 0)
}

/// Place in the id tree: 0 the whole board, 1-2 its halves, 3-6 quarters, 7-14 eighths, from the left.
///
/// Boards that mirror count the right half first: there 4:4 has id 1 and the starts 6, 4, 5, 0, 1, 2, 3 have the ids 9,
/// 7, 8, 11, 12, 13, 14.
fn instance_id(board: &BoardState, span: Span) -> u32 {
    let table = board.table();
    let parts = (table.axis / span.size).max(1);
    let mut nth = span.start / span.size;
    if board.config.mirrored_ids.unwrap_or(table.mirrored_ids) && parts > 1 {
        nth = (nth + parts / 2) % parts;
    }
    parts - 1 + nth
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn ids(key: &str, profile: u32, times: usize) -> Vec<(u32, u32)> {
        let mut node = Node::new(Config::of(&[key])).expect("a board of the fake");
        let profile = node.gpu_profile(0, profile).expect("a profile of the board");
        let mut made = |_| {
            let instance = node.create_gpu_instance(0, profile, None).expect("room");
            (instance.span.start, instance.id)
        };
        (0..times).map(&mut made).collect()
    }

    #[test]
    fn ids_follow_the_tree_in_the_observed_order_of_starts() {
        let expected = [(6, 13), (4, 11), (5, 12), (0, 7), (1, 8), (2, 9), (3, 10)];
        assert_eq!(ids("A100-40GB", 19, 7), expected);
        assert_eq!(ids("A100-40GB", 9, 2), [(4, 2), (0, 1)]);
        assert_eq!(ids("A30-24GB", 14, 4), [(0, 3), (1, 4), (2, 5), (3, 6)]);
        assert_eq!(ids("RTX-PRO-6000-96GB", 5, 2), [(0, 1), (6, 2)]);
    }

    #[test]
    fn the_h100_pcie_mirrors_its_halves() {
        let expected = [(6, 9), (4, 7), (5, 8), (0, 11), (1, 12), (2, 13), (3, 14)];
        assert_eq!(ids("H100-80GB-PCIe", 19, 7), expected);
        assert_eq!(ids("H100-80GB-PCIe", 9, 1), [(4, 1)]);
        assert_eq!(ids("H100-80GB-PCIe", 0, 1), [(0, 0)]);
    }

    #[test]
    fn the_order_of_creation_decides_what_fits() {
        let fits = |order: [u32; 4]| {
            let mut node = Node::new(Config::of(&["A100-40GB"])).expect("a board of the fake");
            order.iter().all(|&id| {
                let profile = node.gpu_profile(0, id).expect("a profile of the board");
                node.create_gpu_instance(0, profile, None).is_ok()
            })
        };
        assert!(!fits([19, 19, 14, 9]));
        assert!(fits([9, 19, 14, 19]));
    }

    /// From every layout that can be reached, every further placement is accepted exactly if the model accepts it.
    #[test]
    fn reachable_layouts_are_those_of_the_model() {
        use std::collections::BTreeSet;

        use retile::model::{Layout, Placement};

        for key in crate::boards::Board::keys() {
            let mut node = Node::new(Config::of(&[key])).expect("a board of the fake");
            let table = node.boards[0].table();
            let every: Vec<Placement> = table.geometry.placements().collect();
            let (mut reached, mut open) = (BTreeSet::from([Vec::new()]), vec![Vec::new()]);
            while let Some(standing) = open.pop() {
                node.boards[0].instances.clear();
                for placement in &standing {
                    stand(&mut node, *placement).expect("reached before");
                }
                for wanted in &every {
                    let mut with: Vec<Placement> = [&standing[..], &[*wanted]].concat();
                    let model = Layout::try_new(&table.geometry, with.clone());
                    let answer = stand(&mut node, *wanted);
                    assert_eq!(answer.is_ok(), model.is_ok(), "{key}: {with:?}");
                    if let Ok(serial) = answer {
                        node.destroy_gpu_instance(0, serial).expect("empty");
                        with.sort_unstable();
                        if reached.insert(with.clone()) {
                            open.push(with);
                        }
                    }
                }
            }
            // 723 placed states of the plain profiles of an 8-unit board, and those with one `+me` besides.
            assert!(table.axis != 8 || reached.len() > 723, "{key}: {}", reached.len());
        }
    }

    fn stand(node: &mut Node, placement: retile::model::Placement) -> Result<u64, Code> {
        let profile = &node.boards[0].table().profiles[placement.profile().index()];
        let span = Span { start: placement.start().into(), size: placement.size().into() };
        node.create_gpu_instance(0, profile, Some(span)).map(|made| made.serial)
    }
}
