//! Finding devices: by index, UUID, PCI address.

use std::ffi::{CStr, c_char, c_uint};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlReturn_t, nvmlUUID_t, nvmlUUIDType_t_NVML_UUID_TYPE_ASCII as UUID_ASCII,
};

use super::{get, put, reply};
use crate::Code;
use crate::handle::Handle;
use crate::node::Node;
use crate::session;

/// Number of GPUs; MIG devices do not count.
///
/// # Safety
/// `count` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvmlReturn_t {
    let answer = session::query("nvmlDeviceGetCount_v2", None, |node| Ok(node.order.len() as c_uint));
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(count, value) }))
}

/// As [`nvmlDeviceGetCount_v2`].
///
/// # Safety
/// `count` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount(count: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    unsafe { nvmlDeviceGetCount_v2(count) }
}

/// The GPU at an index.
///
/// # Safety
/// `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    let answer = session::query("nvmlDeviceGetHandleByIndex_v2", None, |node| {
        let place = *node.order.get(index as usize).ok_or(Code::InvalidArgument)?;
        node.board(place)?;
        Ok(Handle::Gpu(place))
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|handle| unsafe { put(device, handle.pointer()) }))
}

/// As [`nvmlDeviceGetHandleByIndex_v2`].
///
/// # Safety
/// `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex(index: c_uint, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    unsafe { nvmlDeviceGetHandleByIndex_v2(index, device) }
}

/// A text that the caller hands in.
///
/// # Safety
/// `text` is null or a zero-terminated text.
unsafe fn text_of<'t>(text: *const c_char) -> Result<&'t str, Code> {
    if text.is_null() {
        return Err(Code::InvalidArgument);
    }
    // SAFETY: not null, and zero-terminated by the promise of this function.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Code::InvalidArgument)
}

fn with_uuid(node: &Node, uuid: &str) -> Result<Handle, Code> {
    for &place in &node.order {
        let board = &node.boards[place];
        if board.uuid == uuid {
            node.board(place)?;
            return Ok(Handle::Gpu(place));
        }
        if let Some((_, compute)) = board.mig_devices().find(|(_, compute)| compute.uuid == uuid) {
            return Ok(Handle::Mig(place, compute.serial));
        }
    }
    Err(Code::NotFound)
}

fn find_by_uuid(call: &str, uuid: &str) -> Result<Handle, Code> {
    let (answer, wait) = session::query(call, None, |node| Ok((with_uuid(node, uuid), node.config.uuid_lookup_ms)))?;
    std::thread::sleep(std::time::Duration::from_millis(wait));
    answer
}

/// The GPU or MIG device with a UUID; of GPUs with the same UUID the first.
///
/// # Safety
/// `uuid` is null or a zero-terminated text; `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    let uuid = unsafe { text_of(uuid) };
    let answer = uuid.and_then(|uuid| find_by_uuid("nvmlDeviceGetHandleByUUID", uuid));
    // SAFETY: the promise of this function.
    reply(answer.and_then(|handle| unsafe { put(device, handle.pointer()) }))
}

/// As [`nvmlDeviceGetHandleByUUID`], with a versioned argument; only texts are understood, not the binary form.
///
/// # Safety
/// `uuid` is null or valid for reading; `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUIDV(
    uuid: *const nvmlUUID_t,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    let asked = unsafe { get(uuid) };
    let answer = asked.and_then(|asked| {
        if asked.version != (1 << 24 | size_of::<nvmlUUID_t>() as u32) {
            return Err(Code::ArgumentVersionMismatch);
        }
        if asked.type_ != UUID_ASCII {
            return Err(Code::NotSupported);
        }
        // SAFETY: the type says that the text is the member in use; any bytes are valid characters.
        let characters = unsafe { asked.value.str_ };
        let bytes: Vec<u8> = characters.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8).collect();
        let uuid = String::from_utf8(bytes).map_err(|_| Code::InvalidArgument)?;
        find_by_uuid("nvmlDeviceGetHandleByUUIDV", &uuid)
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|handle| unsafe { put(device, handle.pointer()) }))
}

/// The GPU at a PCI address, `0000:07:00.0` with four or eight digits of the domain.
///
/// # Safety
/// `address` is null or a zero-terminated text; `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    address: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    let address = unsafe { text_of(address) };
    let answer = address.and_then(|address| {
        let bus = bus_of(address).ok_or(Code::InvalidArgument)?;
        session::query("nvmlDeviceGetHandleByPciBusId_v2", None, |node| {
            let place = node.boards.iter().position(|board| board.bus == bus).ok_or(Code::NotFound)?;
            node.board(place)?;
            Ok(Handle::Gpu(place))
        })
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|handle| unsafe { put(device, handle.pointer()) }))
}

/// As [`nvmlDeviceGetHandleByPciBusId_v2`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId(
    address: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    unsafe { nvmlDeviceGetHandleByPciBusId_v2(address, device) }
}

/// Bus of an address in domain 0, device 0, function 0: all that the fake's boards have.
fn bus_of(address: &str) -> Option<u32> {
    let (rest, function) = address.split_once('.').unwrap_or((address, "0"));
    let mut parts = rest.rsplit(':').map(|part| u32::from_str_radix(part, 16));
    let (device, bus) = (parts.next()?.ok()?, parts.next()?.ok()?);
    let domain = parts.next().unwrap_or(Ok(0)).ok()?;
    (device == 0 && domain == 0 && function == "0").then_some(bus)
}
