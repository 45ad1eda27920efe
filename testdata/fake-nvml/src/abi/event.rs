//! Events: only `MIG_CONFIG_CHANGE` ever happens here.

use std::collections::BTreeMap;
use std::ffi::{c_uint, c_ulonglong};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlReturn_t};

use super::{device_value, put, reply};
use crate::Code;
use crate::handle::Handle;
use crate::node::{Event, MIG_CONFIG_CHANGE};
use crate::session;

/// Event types that clients register for: critical errors (XID), ECC, and changes of the MIG configuration.
const SUPPORTED: u64 = MIG_CONFIG_CHANGE | 0x8 | 0x3;

/// A set: which boards it listens to, and the first event that it has not delivered.
#[derive(Default)]
struct Set {
    boards: BTreeMap<usize, u64>,
    next: u64,
}

fn sets() -> MutexGuard<'static, (u64, BTreeMap<u64, Set>)> {
    static SETS: Mutex<(u64, BTreeMap<u64, Set>)> = Mutex::new((1, BTreeMap::new()));
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

device_value! {
    /// Event types that can be registered for.
    nvmlDeviceGetSupportedEventTypes -> c_ulonglong = |_, device| device.whole().map(|_| SUPPORTED);
}

/// Makes an empty set.
///
/// # Safety
/// `set` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) -> nvmlReturn_t {
    let made = session::peek(|node| {
        let mut sets = sets();
        let number = sets.0;
        sets.0 += 1;
        sets.1.insert(number, Set { boards: BTreeMap::new(), next: node.next_event });
        Handle::EventSet(number)
    });
    // SAFETY: the promise of this function.
    reply(made.and_then(|handle| unsafe { put(set, handle.pointer()) }))
}

fn number(set: nvmlEventSet_t) -> Result<u64, Code> {
    match Handle::of(set)? {
        Handle::EventSet(number) => Ok(number),
        Handle::Gpu(_) | Handle::Mig(..) | Handle::GpuInstance(..) | Handle::ComputeInstance(..) => {
            Err(Code::InvalidArgument)
        }
    }
}

/// Lets a set listen to a GPU.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceRegisterEvents(
    device: nvmlDevice_t,
    types: c_ulonglong,
    set: nvmlEventSet_t,
) -> nvmlReturn_t {
    let register = || {
        let place = super::ask("nvmlDeviceRegisterEvents", device, |_, device| Ok(device.whole()?.0))?;
        if types & !SUPPORTED != 0 {
            return Err(Code::NotSupported);
        }
        let number = number(set)?;
        let mut sets = sets();
        let set = sets.1.get_mut(&number).ok_or(Code::InvalidArgument)?;
        *set.boards.entry(place).or_default() |= types;
        Ok(())
    };
    reply(register())
}

fn next(set: u64) -> Result<Option<Event>, Code> {
    session::peek(|node| {
        let mut sets = sets();
        let set = sets.1.get_mut(&set).ok_or(Code::InvalidArgument)?;
        let wanted = |event: &&Event| set.boards.get(&event.board).is_some_and(|types| types & event.kind != 0);
        let found = node.events.iter().filter(|event| event.number >= set.next).find(wanted).cloned();
        set.next = found.as_ref().map_or(node.next_event, |event| event.number + 1);
        Ok(found)
    })?
}

fn wait(set: nvmlEventSet_t, milliseconds: c_uint) -> Result<nvmlEventData_t, Code> {
    let number = number(set)?;
    let end = Instant::now() + Duration::from_millis(milliseconds.into());
    loop {
        if let Some(event) = next(number)? {
            return Ok(nvmlEventData_t {
                device: Handle::Gpu(event.board).pointer(),
                eventType: event.kind,
                eventData: 0,
                gpuInstanceId: event.gpu_instance.unwrap_or(u32::MAX),
                computeInstanceId: event.compute_instance.unwrap_or(u32::MAX),
            });
        }
        if Instant::now() >= end {
            return Err(Code::Timeout);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for the next event of a set.
///
/// # Safety
/// `data` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(
    set: nvmlEventSet_t,
    data: *mut nvmlEventData_t,
    milliseconds: c_uint,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    reply(wait(set, milliseconds).and_then(|event| unsafe { put(data, event) }))
}

/// Waits for the next event of a set.
///
/// # Safety
/// `data` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait(
    set: nvmlEventSet_t,
    data: *mut nvmlEventData_t,
    milliseconds: c_uint,
) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    unsafe { nvmlEventSetWait_v2(set, data, milliseconds) }
}

/// Ends a set.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlEventSetFree(set: nvmlEventSet_t) -> nvmlReturn_t {
    reply(number(set).and_then(|number| sets().1.remove(&number).map(drop).ok_or(Code::InvalidArgument)))
}
