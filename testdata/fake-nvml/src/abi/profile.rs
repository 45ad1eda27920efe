//! GPU instance profiles and their placements.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_t, nvmlGpuInstanceProfileInfo_v2_t,
    nvmlGpuInstanceProfileInfo_v3_t, nvmlReturn_t,
};
use retile::model::MediaEngines;

use super::{Device, ask_gpu, characters, get, put, put_list, reply};
use crate::Code;
use crate::boards::GpuProfile;
use crate::node::Node;
use crate::session;

const CAPS_P2P: u32 = 1;
const CAPS_GFX: u32 = 2;
const VERSION_2: u32 = 0x0200_0098;
const VERSION_3: u32 = 0x0300_0098;

/// Version 1 has no version word.
fn version_1(profile: &GpuProfile) -> nvmlGpuInstanceProfileInfo_t {
    let [copy, decoder, encoder, jpeg, ofa] = profile.engines;
    nvmlGpuInstanceProfileInfo_t {
        id: profile.id,
        isP2pSupported: 0,
        sliceCount: profile.slices,
        instanceCount: profile.max_count,
        multiprocessorCount: profile.multiprocessors,
        copyEngineCount: copy,
        decoderCount: decoder,
        encoderCount: encoder,
        jpegCount: jpeg,
        ofaCount: ofa,
        memorySizeMB: profile.memory_mib,
    }
}

/// Versions 2 and 3 are of one size, which is why one call answers both.
enum Info {
    Two(nvmlGpuInstanceProfileInfo_v2_t),
    Three(nvmlGpuInstanceProfileInfo_v3_t),
}

fn versioned(version: u32, name: &str, profile: &GpuProfile) -> Result<Info, Code> {
    let one = version_1(profile);
    match version {
        VERSION_2 => Ok(Info::Two(nvmlGpuInstanceProfileInfo_v2_t {
            version,
            id: one.id,
            isP2pSupported: one.isP2pSupported,
            sliceCount: one.sliceCount,
            instanceCount: one.instanceCount,
            multiprocessorCount: one.multiprocessorCount,
            copyEngineCount: one.copyEngineCount,
            decoderCount: one.decoderCount,
            encoderCount: one.encoderCount,
            jpegCount: one.jpegCount,
            ofaCount: one.ofaCount,
            memorySizeMB: one.memorySizeMB,
            name: characters(name),
        })),
        VERSION_3 => Ok(Info::Three(nvmlGpuInstanceProfileInfo_v3_t {
            version,
            id: one.id,
            sliceCount: one.sliceCount,
            instanceCount: one.instanceCount,
            multiprocessorCount: one.multiprocessorCount,
            copyEngineCount: one.copyEngineCount,
            decoderCount: one.decoderCount,
            encoderCount: one.encoderCount,
            jpegCount: one.jpegCount,
            ofaCount: one.ofaCount,
            memorySizeMB: one.memorySizeMB,
            name: characters(name),
            capabilities: if profile.media == MediaEngines::Graphics { CAPS_GFX } else { 0 }
                | if one.isP2pSupported > 0 { CAPS_P2P } else { 0 },
        })),
        _ => Err(Code::ArgumentVersionMismatch),
    }
}

/// Numbers of the profile with an enum.
///
/// # Safety
/// `info` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstanceProfileInfo(
    device: nvmlDevice_t,
    profile: c_uint,
    info: *mut nvmlGpuInstanceProfileInfo_t,
) -> nvmlReturn_t {
    let answer = ask_gpu("nvmlDeviceGetGpuInstanceProfileInfo", device, |node, place, _| {
        node.check_queries(place)?;
        Ok(version_1(node.gpu_profile_by_enum(place, profile)?))
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(info, value) }))
}

/// # Safety
/// `info` is null or valid for reading and writing a version 2, which is as large as a version 3.
unsafe fn put_versioned(
    call: &str,
    device: nvmlDevice_t,
    info: *mut nvmlGpuInstanceProfileInfo_v2_t,
    find: impl FnOnce(&Node, usize) -> Result<&'static GpuProfile, Code>,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function; the version word is the first field of either.
    let version = unsafe { get(info.cast::<u32>()) };
    let answer = version.and_then(|version| {
        ask_gpu(call, device, |node, place, board| {
            node.check_queries(place)?;
            let profile = find(node, place)?;
            let name = format!("{}{}", node.config.profile_name_prefix, board.profile_name(&profile.name));
            versioned(version, &name, profile)
        })
    });
    reply(answer.and_then(|answer| match answer {
        // SAFETY: the promise of this function.
        Info::Two(value) => unsafe { put(info, value) },
        // SAFETY: the promise of this function, and the version word says that the caller holds a version 3.
        Info::Three(value) => unsafe { put(info.cast(), value) },
    }))
}

/// Numbers and name of the profile with an enum, in version 2 or 3.
///
/// # Safety
/// `info` is null or valid for reading and writing, its version set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstanceProfileInfoV(
    device: nvmlDevice_t,
    profile: c_uint,
    info: *mut nvmlGpuInstanceProfileInfo_v2_t,
) -> nvmlReturn_t {
    let find = |node: &Node, place| node.gpu_profile_by_enum(place, profile);
    // SAFETY: the promise of this function.
    unsafe { put_versioned("nvmlDeviceGetGpuInstanceProfileInfoV", device, info, find) }
}

/// As [`nvmlDeviceGetGpuInstanceProfileInfoV`], by profile id.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstanceProfileInfoByIdV(
    device: nvmlDevice_t,
    profile: c_uint,
    info: *mut nvmlGpuInstanceProfileInfo_v2_t,
) -> nvmlReturn_t {
    let find = |node: &Node, place| node.gpu_profile(place, profile);
    // SAFETY: the promise of this function.
    unsafe { put_versioned("nvmlDeviceGetGpuInstanceProfileInfoByIdV", device, info, find) }
}

/// Every placement that the board knows for a profile, free or not.
///
/// # Safety
/// `placements` is null or valid for all of them; `count` is null or valid and initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstancePossiblePlacements_v2(
    device: nvmlDevice_t,
    profile: c_uint,
    placements: *mut nvmlGpuInstancePlacement_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let answer = ask_gpu("nvmlDeviceGetGpuInstancePossiblePlacements_v2", device, |node, place, _| {
        session::privileged()?;
        node.check_queries(place)?;
        let profile = node.gpu_profile(place, profile)?;
        let spans = profile.starts.iter().map(|&start| nvmlGpuInstancePlacement_t { start, size: profile.size });
        Ok(spans.collect())
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|list| unsafe { put_list(placements, count, list) }))
}

/// As version 2.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstancePossiblePlacements(
    device: nvmlDevice_t,
    profile: c_uint,
    placements: *mut nvmlGpuInstancePlacement_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    unsafe { nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, profile, placements, count) }
}

/// How many more instances of a profile fit if nothing else is created.
///
/// # Safety
/// `count` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstanceRemainingCapacity(
    device: nvmlDevice_t,
    profile: c_uint,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let answer = ask_gpu("nvmlDeviceGetGpuInstanceRemainingCapacity", device, |node, place, _| {
        session::privileged()?;
        node.check_mig(place)?;
        node.gpu_capacity(place, node.gpu_profile(place, profile)?)
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(count, value) }))
}

super::device_value! {
    /// Most MIG devices that the GPU can hold; none while MIG is off.
    nvmlDeviceGetMaxMigDeviceCount -> c_uint = |_, device| Ok(match *device {
        Device::Gpu(_, board) if board.mig => board.table().max_mig_devices(),
        Device::Gpu(..) => 0,
        Device::Mig(..) => return Err(Code::InvalidArgument),
    });
}
