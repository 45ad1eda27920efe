//! The calls of the driver's library that `nvml-wrapper` does not wrap, or wraps wrongly: GPU instances, compute instances, placements.
//!
//! Inputs: a device of an initialised library. Outputs: plain values, and handles that live no longer than the library's session.
//! **This is the only file of retile with unsafe code.** Three facts make every call here sound:
//!
//! * *Functions*: each is resolved by name when the library is loaded and called with the signature of `nvml.h`, as bindgen has it in
//!   `nvml-wrapper-sys`. One that an older library lacks is an error, not a call.
//! * *Handles*: `Device` comes from the library, and both instance types here are made only from what the library has just returned. All
//!   three borrow the `Nvml`, so none outlives `nvmlShutdown`; destroying an instance consumes its handle. The pointers are opaque and never
//!   dereferenced here.
//! * *Buffers*: what the library writes to is a local value or vector of the struct's own type, initialised before the call, and the length
//!   that is told or documented is the buffer's.
//!
//! No decision is taken here: which call, in which order, and what a code means is for the callers.

use std::ptr;

use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings as sys;

/// `NVML_STRUCT_VERSION(GpuInstanceProfileInfo, 2)`: the struct's size, and its version in the top byte.
const GPU_PROFILE_V2: u32 = version_word(size_of::<sys::nvmlGpuInstanceProfileInfo_v2_t>(), 2);
/// Handles that fit the buffers of the lists. The header asks for as many as the profile has instances at most; a GPU holds 8 GPU instances
/// and a GPU instance 8 compute instances (the resource manager's limits, NV2080), and the callers' count counts when it is more.
const LIST: u32 = 64;
/// More than any list of a GPU has; a greater number is a mistake of the library.
const LONGEST: u32 = 4096;

const fn version_word(size: usize, version: u32) -> u32 {
    size as u32 | (version << 24)
}

/// A GPU instance profile, as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GpuProfile {
    /// Opaque id that every other call takes; not the number that it was asked for by.
    pub(super) id: u32,
    /// Compute slices.
    pub(super) slices: u32,
    /// Most instances, as the driver says; known to be wrong on some boards.
    pub(super) count: u32,
    /// Streaming multiprocessors.
    pub(super) multiprocessors: u32,
    /// Memory in MiB.
    pub(super) memory_mib: u64,
    /// Name, from drivers that tell it.
    pub(super) name: Option<String>,
}

/// A compute instance profile within a GPU instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ComputeProfile {
    /// Opaque id.
    pub(super) id: u32,
    /// Compute slices.
    pub(super) slices: u32,
    /// Most instances.
    pub(super) count: u32,
    /// Streaming multiprocessors.
    pub(super) multiprocessors: u32,
}

/// Units of the placement axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// First unit.
    pub(super) start: u32,
    /// Units taken.
    pub(super) size: u32,
}

/// A live GPU instance; the handle is good until the instance is destroyed or the session ends.
#[derive(Debug)]
pub(super) struct GpuInstance<'n> {
    handle: sys::nvmlGpuInstance_t,
    nvml: &'n Nvml,
}

/// A live compute instance; the handle is good until the instance is destroyed or the session ends.
#[derive(Debug)]
pub(super) struct ComputeInstance<'n> {
    handle: sys::nvmlComputeInstance_t,
    nvml: &'n Nvml,
}

/// What the driver says of a GPU instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GpuInstanceInfo {
    /// Id of the instance; says nothing about its place.
    pub(super) id: u32,
    /// Id of its profile.
    pub(super) profile: u32,
    /// Where it stands.
    pub(super) span: Span,
}

/// What the driver says of a compute instance.
#[derive(Debug)]
pub(super) struct ComputeInstanceInfo<'n> {
    /// Id of the instance within its GPU instance.
    pub(super) id: u32,
    /// Id of its profile.
    pub(super) profile: u32,
    /// The MIG device that it is.
    pub(super) device: Device<'n>,
}

/// A function of the library, or the error that it has none of this name.
macro_rules! function {
    ($nvml:expr, $name:ident) => {
        $nvml.lib().$name.as_ref().map_err(|error| NvmlError::FailedToLoadSymbol(error.to_string()))
    };
}

/// Whether the library can be closed again; without the symbol, dropping an [`Nvml`] panics.
pub(super) fn can_shut_down(nvml: &Nvml) -> Result<(), NvmlError> {
    function!(nvml, nvmlShutdown).map(|_| ())
}

/// Describes the profile of an `NVML_GPU_INSTANCE_PROFILE_*` number, with its name (R510 and later).
///
/// Version 2 of the struct, not 3, because the bindings type the call so; the fields read here mean the same in both, but stand elsewhere.
pub(super) fn named_gpu_profile(device: &Device<'_>, number: u32) -> Result<GpuProfile, NvmlError> {
    let call = function!(device.nvml(), nvmlDeviceGetGpuInstanceProfileInfoV)?;
    let mut info = sys::nvmlGpuInstanceProfileInfo_v2_t {
        version: GPU_PROFILE_V2,
        id: 0,
        isP2pSupported: 0,
        sliceCount: 0,
        instanceCount: 0,
        multiprocessorCount: 0,
        copyEngineCount: 0,
        decoderCount: 0,
        encoderCount: 0,
        jpegCount: 0,
        ofaCount: 0,
        memorySizeMB: 0,
        name: [0; 96],
    };
    // SAFETY: function and device handle as the module says; `info` is a live struct of version 2, whose version word tells the library its
    // size, so that it writes no further.
    nvml_try(unsafe { call(device.handle(), number, &raw mut info) })?;
    let bytes = info.name.iter().map(|&char| char.cast_unsigned()).take_while(|&byte| byte != 0).collect();
    let name = String::from_utf8(bytes).map_err(|error| NvmlError::Utf8Error(error.utf8_error()))?;
    Ok(GpuProfile {
        id: info.id,
        slices: info.sliceCount,
        count: info.instanceCount,
        multiprocessors: info.multiprocessorCount,
        memory_mib: info.memorySizeMB,
        name: Some(name).filter(|name| !name.is_empty()),
    })
}

/// Describes the profile of an `NVML_GPU_INSTANCE_PROFILE_*` number, without its name.
pub(super) fn plain_gpu_profile(device: &Device<'_>, number: u32) -> Result<GpuProfile, NvmlError> {
    let call = function!(device.nvml(), nvmlDeviceGetGpuInstanceProfileInfo)?;
    let mut info = sys::nvmlGpuInstanceProfileInfo_t {
        id: 0,
        isP2pSupported: 0,
        sliceCount: 0,
        instanceCount: 0,
        multiprocessorCount: 0,
        copyEngineCount: 0,
        decoderCount: 0,
        encoderCount: 0,
        jpegCount: 0,
        ofaCount: 0,
        memorySizeMB: 0,
    };
    // SAFETY: function and device handle as the module says; `info` is a live struct of the one type that this call has ever had.
    nvml_try(unsafe { call(device.handle(), number, &raw mut info) })?;
    Ok(GpuProfile {
        id: info.id,
        slices: info.sliceCount,
        count: info.instanceCount,
        multiprocessors: info.multiprocessorCount,
        memory_mib: info.memorySizeMB,
        name: None,
    })
}

/// Where instances of a profile can stand on an empty board.
pub(super) fn placements(device: &Device<'_>, profile: u32) -> Result<Vec<Span>, NvmlError> {
    let call = function!(device.nvml(), nvmlDeviceGetGpuInstancePossiblePlacements_v2)?;
    let mut count = 0;
    // SAFETY: function and device handle as the module says; a null array asks for the number alone (header), which goes to a live integer.
    nvml_try(unsafe { call(device.handle(), profile, ptr::null_mut(), &raw mut count) })?;
    if count > LONGEST {
        return Err(NvmlError::InsufficientSize(Some(count as usize)));
    }
    let mut spans = vec![sys::nvmlGpuInstancePlacement_t { start: 0, size: 0 }; count as usize];
    // SAFETY: as above; the vector has the `count` elements that the library has just said it writes, and `count` tells it so.
    nvml_try(unsafe { call(device.handle(), profile, spans.as_mut_ptr(), &raw mut count) })?;
    spans.truncate(count as usize);
    Ok(spans.into_iter().map(|span| Span { start: span.start, size: span.size }).collect())
}

/// The GPU instances of a profile of which there are at most `most`.
pub(super) fn gpu_instances<'n>(
    device: &Device<'n>,
    profile: u32,
    most: u32,
) -> Result<Vec<GpuInstance<'n>>, NvmlError> {
    let nvml = device.nvml();
    let call = function!(nvml, nvmlDeviceGetGpuInstances)?;
    let mut count = most.clamp(LIST, LONGEST);
    let mut handles = vec![ptr::null_mut(); count as usize];
    // SAFETY: function and device handle as the module says; the vector has room for more instances than the profile can have (`LIST`),
    // which is what the header asks for, and `count` tells the library how many.
    nvml_try(unsafe { call(device.handle(), profile, handles.as_mut_ptr(), &raw mut count) })?;
    handles.truncate(count as usize);
    Ok(handles.into_iter().map(|handle| GpuInstance { handle, nvml }).collect())
}

/// Creates a GPU instance at exactly this place.
pub(super) fn create_gpu_instance<'n>(
    device: &Device<'n>,
    profile: u32,
    span: Span,
) -> Result<GpuInstance<'n>, NvmlError> {
    let nvml = device.nvml();
    let call = function!(nvml, nvmlDeviceCreateGpuInstanceWithPlacement)?;
    let placement = sys::nvmlGpuInstancePlacement_t { start: span.start, size: span.size };
    let mut handle = ptr::null_mut();
    // SAFETY: function and device handle as the module says; the placement is read during the call only, the handle goes to a live pointer.
    nvml_try(unsafe { call(device.handle(), profile, &raw const placement, &raw mut handle) })?;
    Ok(GpuInstance { handle, nvml })
}

impl<'n> GpuInstance<'n> {
    /// What the driver says of it.
    pub(super) fn info(&self) -> Result<GpuInstanceInfo, NvmlError> {
        let call = function!(self.nvml, nvmlGpuInstanceGetInfo)?;
        let mut info = sys::nvmlGpuInstanceInfo_t {
            device: ptr::null_mut(),
            id: 0,
            profileId: 0,
            placement: sys::nvmlGpuInstancePlacement_t { start: 0, size: 0 },
        };
        // SAFETY: function and instance handle as the module says; `info` is a live struct of the one type that this call has.
        nvml_try(unsafe { call(self.handle, &raw mut info) })?;
        let span = Span { start: info.placement.start, size: info.placement.size };
        Ok(GpuInstanceInfo { id: info.id, profile: info.profileId, span })
    }

    /// Destroys it; it must have no compute instance.
    pub(super) fn destroy(self) -> Result<(), NvmlError> {
        let call = function!(self.nvml, nvmlGpuInstanceDestroy)?;
        // SAFETY: function and instance handle as the module says; the handle is consumed, so it is not used again.
        nvml_try(unsafe { call(self.handle) })
    }

    /// Describes the profile of an `NVML_COMPUTE_INSTANCE_PROFILE_*` number in it, with shared engines.
    pub(super) fn compute_profile(&self, number: u32) -> Result<ComputeProfile, NvmlError> {
        let call = function!(self.nvml, nvmlGpuInstanceGetComputeInstanceProfileInfo)?;
        let mut info = sys::nvmlComputeInstanceProfileInfo_t {
            id: 0,
            sliceCount: 0,
            instanceCount: 0,
            multiprocessorCount: 0,
            sharedCopyEngineCount: 0,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
        };
        let shared = sys::NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED;
        // SAFETY: function and instance handle as the module says; `info` is a live struct of the one type that this call has.
        nvml_try(unsafe { call(self.handle, number, shared, &raw mut info) })?;
        Ok(ComputeProfile {
            id: info.id,
            slices: info.sliceCount,
            count: info.instanceCount,
            multiprocessors: info.multiprocessorCount,
        })
    }

    /// The compute instances in it of a profile of which there are at most `most`.
    pub(super) fn compute_instances(&self, profile: u32, most: u32) -> Result<Vec<ComputeInstance<'n>>, NvmlError> {
        let call = function!(self.nvml, nvmlGpuInstanceGetComputeInstances)?;
        let mut count = most.clamp(LIST, LONGEST);
        let mut handles = vec![ptr::null_mut(); count as usize];
        // SAFETY: function and instance handle as the module says; the vector has room for more instances than the profile can have
        // (`LIST`), which is what the header asks for, and `count` tells the library how many.
        nvml_try(unsafe { call(self.handle, profile, handles.as_mut_ptr(), &raw mut count) })?;
        handles.truncate(count as usize);
        let nvml = self.nvml;
        Ok(handles.into_iter().map(|handle| ComputeInstance { handle, nvml }).collect())
    }

    /// Creates a compute instance in it.
    pub(super) fn create_compute_instance(&self, profile: u32) -> Result<ComputeInstance<'n>, NvmlError> {
        let call = function!(self.nvml, nvmlGpuInstanceCreateComputeInstance)?;
        let mut handle = ptr::null_mut();
        // SAFETY: function and instance handle as the module says; the new handle goes to a live pointer.
        nvml_try(unsafe { call(self.handle, profile, &raw mut handle) })?;
        Ok(ComputeInstance { handle, nvml: self.nvml })
    }
}

impl<'n> ComputeInstance<'n> {
    /// What the driver says of it.
    pub(super) fn info(&self) -> Result<ComputeInstanceInfo<'n>, NvmlError> {
        let call = function!(self.nvml, nvmlComputeInstanceGetInfo_v2)?;
        let mut info = sys::nvmlComputeInstanceInfo_t {
            device: ptr::null_mut(),
            gpuInstance: ptr::null_mut(),
            id: 0,
            profileId: 0,
            placement: sys::nvmlComputeInstancePlacement_t { start: 0, size: 0 },
        };
        // SAFETY: function and instance handle as the module says; `info` is a live struct of the one type that this call has.
        nvml_try(unsafe { call(self.handle, &raw mut info) })?;
        if info.device.is_null() {
            return Err(NvmlError::NotFound);
        }
        // SAFETY: the library has just returned this device handle, and the `Device` borrows the session like the others.
        let device = unsafe { Device::new(info.device, self.nvml) };
        Ok(ComputeInstanceInfo { id: info.id, profile: info.profileId, device })
    }

    /// Destroys it; nobody may use it.
    pub(super) fn destroy(self) -> Result<(), NvmlError> {
        let call = function!(self.nvml, nvmlComputeInstanceDestroy)?;
        // SAFETY: function and instance handle as the module says; the handle is consumed, so it is not used again.
        nvml_try(unsafe { call(self.handle) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of `nvml.h`; the version word of NVML's own macro.
    #[test]
    fn structs_are_laid_out_as_the_header_has_them() {
        assert_eq!(GPU_PROFILE_V2, 0x0200_0098);
        assert_eq!(size_of::<sys::nvmlGpuInstanceProfileInfo_t>(), 48);
        assert_eq!(size_of::<sys::nvmlGpuInstancePlacement_t>(), 8);
        assert_eq!(size_of::<sys::nvmlGpuInstanceInfo_t>(), 24);
        assert_eq!(size_of::<sys::nvmlComputeInstanceProfileInfo_t>(), 36);
        assert_eq!(size_of::<sys::nvmlComputeInstanceInfo_t>(), 32);
    }
}
