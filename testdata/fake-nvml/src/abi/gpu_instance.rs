//! GPU instances.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlGpuInstance_t, nvmlGpuInstanceInfo_t, nvmlGpuInstancePlacement_t, nvmlReturn_t,
};

use super::{ask_gpu, get, put, put_list, reply};
use crate::Code;
use crate::handle::Handle;
use crate::node::{GpuInstance, Node, Span};
use crate::session::{self, Work};

fn create(
    call: &str,
    device: nvmlDevice_t,
    profile: c_uint,
    span: Option<Span>,
    out: *mut nvmlGpuInstance_t,
) -> Result<Handle, Code> {
    let Handle::Gpu(place) = Handle::of(device)? else { return Err(Code::InvalidArgument) };
    if out.is_null() {
        return Err(Code::InvalidArgument);
    }
    session::privileged()?;
    session::change(call, place, Work::Create(profile), |node| {
        node.check_mig(place)?;
        let profile = node.gpu_profile(place, profile)?;
        let made = node.create_gpu_instance(place, profile, span)?;
        Ok(Handle::GpuInstance(place, made.serial))
    })
}

/// Creates a GPU instance where the driver likes.
///
/// # Safety
/// `instance` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceCreateGpuInstance(
    device: nvmlDevice_t,
    profile: c_uint,
    instance: *mut nvmlGpuInstance_t,
) -> nvmlReturn_t {
    let made = create("nvmlDeviceCreateGpuInstance", device, profile, None, instance);
    // SAFETY: the promise of this function.
    reply(made.and_then(|handle| unsafe { put(instance, handle.pointer()) }))
}

/// Creates a GPU instance at a placement.
///
/// # Safety
/// `placement` is null or valid for reading; `instance` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceCreateGpuInstanceWithPlacement(
    device: nvmlDevice_t,
    profile: c_uint,
    placement: *const nvmlGpuInstancePlacement_t,
    instance: *mut nvmlGpuInstance_t,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    let asked = unsafe { get(placement) };
    let made = asked.and_then(|asked| {
        let span = Span { start: asked.start, size: asked.size };
        create("nvmlDeviceCreateGpuInstanceWithPlacement", device, profile, Some(span), instance)
    });
    // SAFETY: the promise of this function.
    reply(made.and_then(|handle| unsafe { put(instance, handle.pointer()) }))
}

/// Destroys a GPU instance.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlGpuInstanceDestroy(instance: nvmlGpuInstance_t) -> nvmlReturn_t {
    let destroy = || {
        let Handle::GpuInstance(place, serial) = Handle::of(instance)? else { return Err(Code::InvalidArgument) };
        session::privileged()?;
        session::change("nvmlGpuInstanceDestroy", place, Work::Destroy(serial), |node| {
            node.destroy_gpu_instance(place, serial)
        })
    };
    reply(destroy())
}

/// The GPU instances of a profile.
///
/// # Safety
/// `instances` is null or valid for all of them; `count` is null or valid and initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstances(
    device: nvmlDevice_t,
    profile: c_uint,
    instances: *mut nvmlGpuInstance_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let answer = ask_gpu("nvmlDeviceGetGpuInstances", device, |node, place, _| {
        session::privileged()?;
        let board = node.check_mig(place)?;
        node.gpu_profile(place, profile)?;
        let own = board.instances.iter().filter(|instance| instance.profile == profile);
        Ok(own.map(|instance| Handle::GpuInstance(place, instance.serial).pointer()).collect())
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|list| unsafe { put_list(instances, count, list) }))
}

/// The GPU instance with an id.
///
/// # Safety
/// `instance` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstanceById(
    device: nvmlDevice_t,
    id: c_uint,
    instance: *mut nvmlGpuInstance_t,
) -> nvmlReturn_t {
    let answer = ask_gpu("nvmlDeviceGetGpuInstanceById", device, |node, place, _| {
        session::privileged()?;
        let board = node.check_mig(place)?;
        let found = board.instances.iter().find(|instance| instance.id == id).ok_or(Code::NotFound)?;
        Ok(Handle::GpuInstance(place, found.serial))
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|handle| unsafe { put(instance, handle.pointer()) }))
}

/// Asks the node about a GPU instance.
pub(super) fn ask_instance<T>(
    call: &str,
    instance: nvmlGpuInstance_t,
    look: impl FnOnce(&Node, usize, &GpuInstance) -> Result<T, Code>,
) -> Result<T, Code> {
    let handle = Handle::of(instance);
    session::query(call, handle.ok().and_then(Handle::place), |node| {
        let Handle::GpuInstance(place, serial) = handle? else { return Err(Code::InvalidArgument) };
        look(node, place, node.gpu_instance(place, serial)?)
    })
}

/// Board, id, profile and placement of a GPU instance.
///
/// # Safety
/// `info` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceGetInfo(
    instance: nvmlGpuInstance_t,
    info: *mut nvmlGpuInstanceInfo_t,
) -> nvmlReturn_t {
    let answer = ask_instance("nvmlGpuInstanceGetInfo", instance, |_, place, own| {
        Ok(nvmlGpuInstanceInfo_t {
            device: Handle::Gpu(place).pointer(),
            id: own.id,
            profileId: own.profile,
            placement: nvmlGpuInstancePlacement_t { start: own.span.start, size: own.span.size },
        })
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(info, value) }))
}
