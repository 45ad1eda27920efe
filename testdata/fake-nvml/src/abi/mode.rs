//! MIG mode.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use super::{ask_gpu, put, reply};
use crate::Code;
use crate::handle::Handle;
use crate::session::{self, Work};

/// MIG mode now and after the next reset.
///
/// # Safety
/// `current` and `pending` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    let answer = ask_gpu("nvmlDeviceGetMigMode", device, |_, _, board| {
        if board.config.vgpu_guest { Err(Code::NotSupported) } else { Ok((board.mig, board.mig_pending)) }
    });
    reply(answer.and_then(|(now, later)| {
        // SAFETY: the promise of this function.
        unsafe { put(current, now.into()) }?;
        // SAFETY: the promise of this function.
        unsafe { put(pending, later.into()) }
    }))
}

/// Sets the MIG mode; success says little, `activation` says whether the mode is active.
///
/// # Safety
/// `activation` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceSetMigMode(
    device: nvmlDevice_t,
    mode: c_uint,
    activation: *mut nvmlReturn_t,
) -> nvmlReturn_t {
    let set = || {
        let Handle::Gpu(place) = Handle::of(device)? else { return Err(Code::InvalidArgument) };
        session::privileged()?;
        if mode > 1 || activation.is_null() {
            return Err(Code::InvalidArgument);
        }
        session::change("nvmlDeviceSetMigMode", place, Work::Quick, |node| node.set_mig_mode(place, mode == 1))
    };
    // SAFETY: the promise of this function.
    reply(set().and_then(|active| unsafe { put(activation, reply(active)) }))
}
