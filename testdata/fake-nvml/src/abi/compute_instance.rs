//! Compute instances and their profiles.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlComputeInstance_t, nvmlComputeInstanceInfo_t, nvmlComputeInstancePlacement_t, nvmlComputeInstanceProfileInfo_t,
    nvmlComputeInstanceProfileInfo_v2_t, nvmlComputeInstanceProfileInfo_v3_t, nvmlGpuInstance_t, nvmlReturn_t,
};

use super::gpu_instance::ask_instance;
use super::{characters, get, put, put_list, reply};
use crate::Code;
use crate::handle::Handle;
use crate::node::{GpuInstance, Node, Span};
use crate::session::{self, Work};

const VERSION_2: u32 = 0x0200_0088;
const VERSION_3: u32 = 0x0300_008c;

fn profile_info(
    node: &Node,
    place: usize,
    instance: &GpuInstance,
    (profile, engines): (c_uint, c_uint),
) -> Result<nvmlComputeInstanceProfileInfo_t, Code> {
    if engines != 0 {
        return Err(Code::InvalidArgument);
    }
    let own = node.compute_profile(place, instance.serial, profile)?;
    let [copy, decoder, encoder, jpeg, ofa] = node.gpu_profile(place, instance.profile)?.engines;
    Ok(nvmlComputeInstanceProfileInfo_t {
        id: own.id,
        sliceCount: own.slices,
        instanceCount: own.max_count,
        multiprocessorCount: own.multiprocessors,
        sharedCopyEngineCount: copy,
        sharedDecoderCount: decoder,
        sharedEncoderCount: encoder,
        sharedJpegCount: jpeg,
        sharedOfaCount: ofa,
    })
}

/// Numbers of the compute instance profile with an enum, as this GPU instance offers it.
///
/// # Safety
/// `info` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceGetComputeInstanceProfileInfo(
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    engines: c_uint,
    info: *mut nvmlComputeInstanceProfileInfo_t,
) -> nvmlReturn_t {
    let answer = ask_instance("nvmlGpuInstanceGetComputeInstanceProfileInfo", instance, |node, place, own| {
        profile_info(node, place, own, (profile, engines))
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(info, value) }))
}

/// As [`nvmlGpuInstanceGetComputeInstanceProfileInfo`] with the name, in version 2 or 3.
///
/// # Safety
/// `info` is null or valid for reading a version word and for writing the struct that the word names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceGetComputeInstanceProfileInfoV(
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    engines: c_uint,
    info: *mut nvmlComputeInstanceProfileInfo_v2_t,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function; the version word is the first field of either.
    let version = unsafe { get(info.cast::<u32>()) };
    let answer = version.and_then(|version| {
        if version != VERSION_2 && version != VERSION_3 {
            return Err(Code::ArgumentVersionMismatch);
        }
        ask_instance("nvmlGpuInstanceGetComputeInstanceProfileInfoV", instance, |node, place, own| {
            let one = profile_info(node, place, own, (profile, engines))?;
            let gpu = node.gpu_profile(place, own.profile)?;
            let name = node.board(place)?.profile_name(&gpu.name);
            let name = crate::node::device_name(gpu.slices, name, one.sliceCount);
            Ok((version, one, format!("{}{name}", node.config.profile_name_prefix)))
        })
    });
    reply(answer.and_then(|(version, one, name)| {
        let two = nvmlComputeInstanceProfileInfo_v2_t {
            version,
            id: one.id,
            sliceCount: one.sliceCount,
            instanceCount: one.instanceCount,
            multiprocessorCount: one.multiprocessorCount,
            sharedCopyEngineCount: one.sharedCopyEngineCount,
            sharedDecoderCount: one.sharedDecoderCount,
            sharedEncoderCount: one.sharedEncoderCount,
            sharedJpegCount: one.sharedJpegCount,
            sharedOfaCount: one.sharedOfaCount,
            name: characters(&name),
        };
        // SAFETY: the promise of this function; version 3 begins as version 2 does.
        unsafe { put(info, two) }?;
        if version == VERSION_3 {
            let three = info.cast::<nvmlComputeInstanceProfileInfo_v3_t>();
            // SAFETY: the version word says that the caller holds a version 3.
            let capabilities = unsafe { &raw mut (*three).capabilities };
            // SAFETY: the same.
            unsafe { put(capabilities, 0) }?;
        }
        Ok(())
    }))
}

/// Every placement of a compute instance profile in a GPU instance, in compute slices, free or not.
///
/// # Safety
/// `placements` is null or valid for all of them; `count` is null or valid and initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceGetComputeInstancePossiblePlacements(
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    placements: *mut nvmlComputeInstancePlacement_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let answer = ask_instance("nvmlGpuInstanceGetComputeInstancePossiblePlacements", instance, |node, place, own| {
        session::privileged()?;
        let profile = node.compute_profile(place, own.serial, profile)?;
        let spans = profile.starts.iter().map(|&start| nvmlComputeInstancePlacement_t { start, size: profile.slices });
        Ok(spans.collect())
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|list| unsafe { put_list(placements, count, list) }))
}

/// How many more compute instances of a profile fit.
///
/// # Safety
/// `count` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceGetComputeInstanceRemainingCapacity(
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let answer = ask_instance("nvmlGpuInstanceGetComputeInstanceRemainingCapacity", instance, |node, place, own| {
        session::privileged()?;
        node.compute_capacity(place, own.serial, profile)
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(count, value) }))
}

fn create(
    call: &str,
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    span: Option<Span>,
    out: *mut nvmlComputeInstance_t,
) -> Result<Handle, Code> {
    let Handle::GpuInstance(place, gpu) = Handle::of(instance)? else { return Err(Code::InvalidArgument) };
    if out.is_null() {
        return Err(Code::InvalidArgument);
    }
    session::privileged()?;
    session::change(call, place, Work::Quick, |node| {
        let made = node.create_compute_instance(place, gpu, profile, span)?;
        Ok(Handle::ComputeInstance(place, made.serial))
    })
}

/// Creates a compute instance at the first free placement.
///
/// # Safety
/// `compute` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceCreateComputeInstance(
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    compute: *mut nvmlComputeInstance_t,
) -> nvmlReturn_t {
    let made = create("nvmlGpuInstanceCreateComputeInstance", instance, profile, None, compute);
    // SAFETY: the promise of this function.
    reply(made.and_then(|handle| unsafe { put(compute, handle.pointer()) }))
}

/// Creates a compute instance at a placement.
///
/// # Safety
/// `placement` is null or valid for reading; `compute` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceCreateComputeInstanceWithPlacement(
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    placement: *const nvmlComputeInstancePlacement_t,
    compute: *mut nvmlComputeInstance_t,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    let asked = unsafe { get(placement) };
    let made = asked.and_then(|asked| {
        let span = Span { start: asked.start, size: asked.size };
        create("nvmlGpuInstanceCreateComputeInstanceWithPlacement", instance, profile, Some(span), compute)
    });
    // SAFETY: the promise of this function.
    reply(made.and_then(|handle| unsafe { put(compute, handle.pointer()) }))
}

/// Destroys a compute instance.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlComputeInstanceDestroy(compute: nvmlComputeInstance_t) -> nvmlReturn_t {
    let destroy = || {
        let Handle::ComputeInstance(place, serial) = Handle::of(compute)? else { return Err(Code::InvalidArgument) };
        session::privileged()?;
        session::change("nvmlComputeInstanceDestroy", place, Work::Quick, |node| {
            node.destroy_compute_instance(place, serial)
        })
    };
    reply(destroy())
}

/// The compute instances of a profile in a GPU instance.
///
/// # Safety
/// `list` is null or valid for all of them; `count` is null or valid and initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceGetComputeInstances(
    instance: nvmlGpuInstance_t,
    profile: c_uint,
    list: *mut nvmlComputeInstance_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let answer = ask_instance("nvmlGpuInstanceGetComputeInstances", instance, |node, place, own| {
        session::privileged()?;
        node.compute_profile(place, own.serial, profile)?;
        let found = own.compute.iter().filter(|compute| compute.profile == profile);
        Ok(found.map(|compute| Handle::ComputeInstance(place, compute.serial).pointer()).collect())
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|found| unsafe { put_list(list, count, found) }))
}

/// The compute instance with an id in a GPU instance.
///
/// # Safety
/// `compute` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceGetComputeInstanceById(
    instance: nvmlGpuInstance_t,
    id: c_uint,
    compute: *mut nvmlComputeInstance_t,
) -> nvmlReturn_t {
    let answer = ask_instance("nvmlGpuInstanceGetComputeInstanceById", instance, |_, place, own| {
        session::privileged()?;
        let found = own.compute.iter().find(|compute| compute.id == id).ok_or(Code::NotFound)?;
        Ok(Handle::ComputeInstance(place, found.serial))
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|handle| unsafe { put(compute, handle.pointer()) }))
}

/// MIG device, GPU instance, id, profile and placement of a compute instance.
///
/// # Safety
/// `info` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlComputeInstanceGetInfo_v2(
    compute: nvmlComputeInstance_t,
    info: *mut nvmlComputeInstanceInfo_t,
) -> nvmlReturn_t {
    let handle = Handle::of(compute);
    let place = handle.ok().and_then(Handle::place);
    let answer = session::query("nvmlComputeInstanceGetInfo_v2", place, |node| {
        let Handle::ComputeInstance(place, serial) = handle? else { return Err(Code::InvalidArgument) };
        let (gpu, own) = node.compute_instance(place, serial)?;
        Ok(nvmlComputeInstanceInfo_t {
            device: Handle::Mig(place, serial).pointer(),
            gpuInstance: Handle::GpuInstance(place, gpu.serial).pointer(),
            id: own.id,
            profileId: own.profile,
            placement: nvmlComputeInstancePlacement_t { start: own.span.start, size: own.span.size },
        })
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(info, value) }))
}
