//! The exported symbols: NVML's C ABI on top of [`crate::session`] and [`crate::node`]. All unsafe code is here and below,
//! but for the signal in `session`.
//!
//! Every function follows one pattern: take the handles apart, ask the node, write the answer through the caller's
//! pointers. Handles are never followed. Pointers are the caller's promise, the same that NVML asks for in its header:
//! null, or valid for what the call writes or reads. `put`, `put_text`, `put_list` and `get` are the only places where they
//! are used, and they refuse null.

mod compute_instance;
mod device;
mod event;
mod field;
mod gpu_instance;
mod identity;
mod mig_device;
mod mode;
mod process;
mod profile;
mod system;
mod unsupported;

use std::ffi::{c_char, c_uint};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::Code;
use crate::handle::Handle;
use crate::node::{BoardState, ComputeInstance, GpuInstance, Node};
use crate::session;

/// What a call answers.
fn reply(result: Result<(), Code>) -> nvmlReturn_t {
    result.map_or_else(Code::number, |()| 0)
}

/// Writes a value.
///
/// # Safety
/// `out` is null or valid for writing a `T`.
unsafe fn put<T>(out: *mut T, value: T) -> Result<(), Code> {
    if out.is_null() {
        return Err(Code::InvalidArgument);
    }
    // SAFETY: not null, and valid by the promise of this function.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// Reads a value.
///
/// # Safety
/// `from` is null or valid for reading a `T` that the caller has initialised.
unsafe fn get<T: Copy>(from: *const T) -> Result<T, Code> {
    if from.is_null() {
        return Err(Code::InvalidArgument);
    }
    // SAFETY: not null, and valid by the promise of this function.
    Ok(unsafe { from.read_unaligned() })
}

/// Writes a text with its zero byte, if the buffer holds it.
///
/// # Safety
/// `buffer` is null or valid for writing `length` characters.
unsafe fn put_text(buffer: *mut c_char, length: c_uint, text: &str) -> Result<(), Code> {
    if buffer.is_null() {
        return Err(Code::InvalidArgument);
    }
    if text.len() >= length as usize {
        return Err(Code::InsufficientSize);
    }
    for (at, byte) in text.bytes().chain([0]).enumerate() {
        // SAFETY: the text and its zero byte are no longer than the buffer.
        let slot = unsafe { buffer.add(at) };
        // SAFETY: the same.
        unsafe { slot.write(byte as c_char) };
    }
    Ok(())
}

/// Writes a list and its length; with a null list the length alone.
///
/// A length that comes in smaller than needed, zero excepted, is refused with the length needed: NVML's header leaves
/// the size of these buffers to the caller's knowledge, and a fake may be kinder than to write past their end.
///
/// # Safety
/// `list` is null or valid for writing all items; `count` is null or valid and initialised.
unsafe fn put_list<T>(list: *mut T, count: *mut c_uint, items: Vec<T>) -> Result<(), Code> {
    // SAFETY: the promise of this function.
    let room = unsafe { get(count) }? as usize;
    let length = items.len();
    // SAFETY: the promise of this function.
    unsafe { put(count, length as c_uint) }?;
    if list.is_null() {
        return Ok(());
    }
    if room != 0 && room < length {
        return Err(Code::InsufficientSize);
    }
    for (at, item) in items.into_iter().enumerate() {
        // SAFETY: the list is valid for all items by the promise of this function.
        let slot = unsafe { list.add(at) };
        // SAFETY: the same.
        unsafe { slot.write_unaligned(item) };
    }
    Ok(())
}

/// Turns a text into a fixed array of characters, cut to fit with its zero byte.
fn characters<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (slot, byte) in array.iter_mut().zip(text.bytes().take(N - 1)) {
        *slot = byte as c_char;
    }
    array
}

/// A device as a client means it.
enum Device<'n> {
    /// A whole GPU, with its place.
    Gpu(usize, &'n BoardState),
    /// A MIG device: place, board, and the two instances that it is.
    Mig(usize, &'n BoardState, &'n GpuInstance, &'n ComputeInstance),
}

impl<'n> Device<'n> {
    /// The device that a handle stands for on the node as it is now.
    fn of(node: &'n Node, device: nvmlDevice_t) -> Result<Self, Code> {
        match Handle::of(device)? {
            Handle::Gpu(place) => Ok(Self::Gpu(place, node.board(place)?)),
            Handle::Mig(place, serial) => {
                let (gpu, compute) = node.compute_instance(place, serial)?;
                Ok(Self::Mig(place, node.board(place)?, gpu, compute))
            }
            Handle::GpuInstance(..) | Handle::ComputeInstance(..) | Handle::EventSet(_) => Err(Code::InvalidArgument),
        }
    }

    /// Place and state of the board that the device is or stands on.
    fn board(&self) -> (usize, &'n BoardState) {
        match *self {
            Self::Gpu(place, board) | Self::Mig(place, board, ..) => (place, board),
        }
    }

    /// The board of a device that must be a whole GPU.
    fn whole(&self) -> Result<(usize, &'n BoardState), Code> {
        match *self {
            Self::Gpu(place, board) => Ok((place, board)),
            Self::Mig(..) => Err(Code::InvalidArgument),
        }
    }
}

/// Asks the node about a device.
fn ask<T>(
    call: &str,
    device: nvmlDevice_t,
    look: impl FnOnce(&Node, &Device<'_>) -> Result<T, Code>,
) -> Result<T, Code> {
    let place = Handle::of(device).ok().and_then(Handle::place);
    session::query(call, place, |node| look(node, &Device::of(node, device)?))
}

/// Asks the node about a whole GPU.
fn ask_gpu<T>(
    call: &str,
    device: nvmlDevice_t,
    look: impl FnOnce(&Node, usize, &BoardState) -> Result<T, Code>,
) -> Result<T, Code> {
    ask(call, device, |node, device| {
        let (place, board) = device.whole()?;
        look(node, place, board)
    })
}

/// Exports functions that answer one value about a device.
macro_rules! device_value {
    ($($(#[$doc:meta])* $name:ident -> $type:ty = |$node:pat_param, $device:pat_param| $body:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `out` is null or valid for writing.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(device: nvmlDevice_t, out: *mut $type) -> nvmlReturn_t {
            let answer = $crate::abi::ask(stringify!($name), device, |$node, $device| $body);
            // SAFETY: the promise of this function.
            $crate::abi::reply(answer.and_then(|value| unsafe { $crate::abi::put(out, value) }))
        }
    )*};
}

/// Exports functions that answer a text about a device.
macro_rules! device_text {
    ($($(#[$doc:meta])* $name:ident = |$node:pat_param, $device:pat_param| $body:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `buffer` is null or valid for writing `length` characters.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            device: nvmlDevice_t,
            buffer: *mut std::ffi::c_char,
            length: std::ffi::c_uint,
        ) -> nvmlReturn_t {
            let answer: Result<String, $crate::Code> =
                $crate::abi::ask(stringify!($name), device, |$node, $device| $body);
            // SAFETY: the promise of this function.
            $crate::abi::reply(answer.and_then(|text| unsafe { $crate::abi::put_text(buffer, length, &text) }))
        }
    )*};
}

pub(in crate::abi) use {device_text, device_value};
