//! Compute instances: which profiles a GPU instance offers, where they stand, creation and destruction.

use super::{ComputeInstance, GpuInstance, Node, Span, uuid};
use crate::Code;
use crate::boards::{Architecture, Board, GpuProfile};

/// Slices of the compute instance profiles by enum; enum and profile id are the same number.
const SLICES: [u32; 8] = [1, 2, 3, 4, 7, 8, 6, 1];
/// The profile that gives the double-memory 1g all its multiprocessors.
const ONE_SLICE_REV1: u32 = 7;

/// Ids that compute instances of one GPU instance can have; there are fewer slices.
const SLOTS: u32 = 8;

/// A compute instance profile of one GPU instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeProfile {
    /// Enum and id.
    pub id: u32,
    /// Compute slices.
    pub slices: u32,
    /// Most instances in an empty GPU instance.
    pub max_count: u32,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Legal starts in compute slices.
    pub starts: Vec<u32>,
}

/// The compute instance profile with an enum in GPU instances of a profile.
fn offered(board: &Board, gpu: &GpuProfile, id: u32) -> Result<ComputeProfile, Code> {
    let slices = *SLICES.get(id as usize).ok_or(Code::InvalidArgument)?;
    let revised = id == ONE_SLICE_REV1;
    let doubled = gpu.double_memory() && board.architecture >= Architecture::Hopper;
    if slices > gpu.slices || (revised && !doubled) {
        return Err(Code::NotSupported);
    }
    // A part is placed at multiples of its size, 3 compute slices at the halves of 7.
    let step = if slices == 3 { 4 } else { slices };
    let starts: Vec<u32> = (0..=gpu.slices - slices).step_by(step as usize).collect();
    // Three of four slices, and other parts that the driver does not list.
    let listed = slices == gpu.slices || slices <= gpu.slices.div_ceil(2);
    if !listed {
        return Err(Code::NotSupported);
    }
    let of_slices = board.plain(slices).map_or(gpu.multiprocessors, |plain| plain.multiprocessors);
    let multiprocessors = if slices == gpu.slices && (revised || !doubled) {
        gpu.multiprocessors
    } else {
        of_slices.min(gpu.multiprocessors)
    };
    Ok(ComputeProfile { id, slices, max_count: starts.len() as u32, multiprocessors, starts })
}

/// `1g.10gb` for the compute instance that takes the whole GPU instance, `1c.2g.20gb` for one that takes a part.
pub(crate) fn device_name(gpu_slices: u32, gpu_name: &str, slices: u32) -> String {
    if slices == gpu_slices { gpu_name.to_owned() } else { format!("{slices}c.{gpu_name}") }
}

impl Node {
    /// A compute instance profile of a GPU instance.
    pub(crate) fn compute_profile(&self, place: usize, gpu: u64, id: u32) -> Result<ComputeProfile, Code> {
        let instance = self.gpu_instance(place, gpu)?;
        let profile = self.gpu_profile(place, instance.profile)?;
        offered(self.board(place)?.table(), profile, id)
    }

    fn compute_room(gpu: &GpuInstance, profile: &ComputeProfile, span: Span) -> Result<(), Code> {
        if span.size != profile.slices || !profile.starts.contains(&span.start) {
            return Err(Code::InvalidArgument);
        }
        let blocked = gpu.compute.iter().any(|other| other.span.overlaps(span));
        if blocked { Err(Code::InsufficientResources) } else { Ok(()) }
    }

    fn free_compute_spans<'n>(gpu: &'n GpuInstance, profile: &'n ComputeProfile) -> impl Iterator<Item = Span> + 'n {
        let spans = profile.starts.iter().map(|&start| Span { start, size: profile.slices });
        spans.filter(move |&span| Self::compute_room(gpu, profile, span).is_ok())
    }

    /// How many more compute instances of a profile fit.
    pub(crate) fn compute_capacity(&self, place: usize, gpu: u64, id: u32) -> Result<u32, Code> {
        let profile = self.compute_profile(place, gpu, id)?;
        Ok(Self::free_compute_spans(self.gpu_instance(place, gpu)?, &profile).count() as u32)
    }

    /// Creates a compute instance at a placement, or at the first one that is free.
    pub(crate) fn create_compute_instance(
        &mut self,
        place: usize,
        gpu: u64,
        id: u32,
        span: Option<Span>,
    ) -> Result<&ComputeInstance, Code> {
        let profile = self.compute_profile(place, gpu, id)?;
        let instance = self.gpu_instance(place, gpu)?;
        let free = || Self::free_compute_spans(instance, &profile).next().ok_or(Code::InsufficientResources);
        let span = span.map_or_else(free, Ok)?;
        Self::compute_room(instance, &profile, span)?;
        let gpu_id = instance.id;
        let id = (0..SLOTS).find(|id| instance.compute.iter().all(|other| other.id != *id)).unwrap_or(0);
        let serial = self.serial();
        let uuid = uuid::mig(&self.board(place)?.uuid, serial);
        self.announce(place, Some(gpu_id), Some(id));
        let gpu = self.gpu_instance_mut(place, gpu)?;
        let at = gpu.compute.partition_point(|other| other.id < id);
        gpu.compute.insert(at, ComputeInstance { id, serial, profile: profile.id, span, uuid });
        Ok(&gpu.compute[at])
    }

    /// The compute instance of one incarnation, with its GPU instance.
    pub(crate) fn compute_instance(&self, place: usize, serial: u64) -> Result<(&GpuInstance, &ComputeInstance), Code> {
        let mut devices = self.board(place)?.mig_devices();
        devices.find(|(_, compute)| compute.serial == serial).ok_or(Code::InvalidArgument)
    }

    /// Destroys a compute instance that nobody holds.
    pub(crate) fn destroy_compute_instance(&mut self, place: usize, serial: u64) -> Result<(), Code> {
        let (gpu, compute) = self.compute_instance(place, serial)?;
        let (gpu_id, gpu_serial, id) = (gpu.id, gpu.serial, compute.id);
        if self.board(place)?.clients.iter().any(|client| client.holds_compute(gpu_id, id)) {
            return Err(Code::InUse);
        }
        let settling = self.config.busy_after_ci_destroy;
        let gpu = self.gpu_instance_mut(place, gpu_serial)?;
        gpu.compute.retain(|compute| compute.serial != serial);
        gpu.settling = settling;
        self.announce(place, Some(gpu_id), Some(id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(key: &str, gpu: u32) -> Vec<(u32, u32, u32)> {
        let board = Board::find(key).expect("a board of the fake");
        let gpu = board.profile(gpu).expect("a profile of the board");
        let offers = (0..8).filter_map(|id| offered(board, gpu, id).ok());
        offers.map(|profile| (profile.id, profile.max_count, profile.multiprocessors)).collect()
    }

    #[test]
    fn gpu_instances_offer_the_documented_compute_instances() {
        assert_eq!(counts("A100-40GB", 19), [(0, 1, 14)]);
        assert_eq!(counts("A100-40GB", 14), [(0, 2, 14), (1, 1, 28)]);
        assert_eq!(counts("A100-40GB", 9), [(0, 3, 14), (1, 1, 28), (2, 1, 42)]);
        assert_eq!(counts("A100-40GB", 5), [(0, 4, 14), (1, 2, 28), (3, 1, 56)]);
        assert_eq!(counts("A100-40GB", 0), [(0, 7, 14), (1, 3, 28), (2, 2, 42), (3, 1, 56), (4, 1, 98)]);
    }

    #[test]
    fn the_double_memory_instance_needs_the_revised_profile_from_hopper_on() {
        assert_eq!(counts("A100-80GB", 15), [(0, 1, 14)]);
        assert_eq!(counts("H100-80GB-SXM5", 15), [(0, 1, 16), (7, 1, 26)]);
        assert_eq!(counts("B200-180GB", 15), [(0, 1, 18), (7, 1, 30)]);
    }
}
