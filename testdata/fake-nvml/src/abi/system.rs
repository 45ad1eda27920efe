//! Initialisation, versions, error texts.

use std::ffi::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::nvmlReturn_t;

use super::{put, put_text, reply};
use crate::Code;
use crate::session;

/// Initialises NVML; counted, each call wants one `nvmlShutdown`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    reply(session::initialise("nvmlInit_v2"))
}

/// As [`nvmlInit_v2`].
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit() -> nvmlReturn_t {
    reply(session::initialise("nvmlInit"))
}

/// As [`nvmlInit_v2`]; the flags change nothing here.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    reply(session::initialise("nvmlInitWithFlags"))
}

/// Undoes one initialisation.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    reply(session::shut_down())
}

/// The text of a return code.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: nvmlReturn_t) -> *const c_char {
    let known = Code::ALL.iter().find(|known| known.number() == code);
    let text = if code == 0 { "Success\0" } else { known.unwrap_or(&Code::Unknown).c_text() };
    text.as_ptr().cast()
}

/// Driver version.
///
/// # Safety
/// `version` is null or valid for writing `length` characters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    let answer = session::query("nvmlSystemGetDriverVersion", None, |node| Ok(node.config.driver_version.clone()));
    // SAFETY: the promise of this function.
    reply(answer.and_then(|text| unsafe { put_text(version, length, &text) }))
}

/// Version of the library: 12 or 13 before the driver's own.
///
/// # Safety
/// `version` is null or valid for writing `length` characters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    let answer = session::query("nvmlSystemGetNVMLVersion", None, |node| {
        Ok(format!("{}.{}", cuda(node.config.driver_branch()).0, node.config.driver_version))
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|text| unsafe { put_text(version, length, &text) }))
}

/// CUDA version that a driver branch brings, major and minor.
fn cuda(branch: u32) -> (i32, i32) {
    match branch {
        580.. => (13, 0),
        570.. => (12, 8),
        550.. => (12, 4),
        535.. => (12, 2),
        525.. => (12, 0),
        510.. => (11, 6),
        _ => (11, 2),
    }
}

/// CUDA version of the driver, as 1000 × major + 10 × minor.
///
/// # Safety
/// `version` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvmlReturn_t {
    let answer = session::query("nvmlSystemGetCudaDriverVersion_v2", None, |node| {
        let (major, minor) = cuda(node.config.driver_branch());
        Ok(major * 1000 + minor * 10)
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(version, value) }))
}

/// As [`nvmlSystemGetCudaDriverVersion_v2`].
///
/// # Safety
/// `version` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion(version: *mut c_int) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    unsafe { nvmlSystemGetCudaDriverVersion_v2(version) }
}
