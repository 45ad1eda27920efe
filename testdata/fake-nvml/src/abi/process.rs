//! Processes on a GPU or a MIG device. All are compute processes; the lists of graphics and MPS processes are empty.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlProcessInfo_t, nvmlProcessInfo_v1_t, nvmlReturn_t};

use super::{Device, ask, get, put, put_list, reply};
use crate::Code;

const NO_INSTANCE: u32 = u32::MAX;

fn processes(call: &str, device: nvmlDevice_t, compute: bool) -> Result<Vec<nvmlProcessInfo_t>, Code> {
    ask(call, device, |node, device| {
        let (place, _) = device.board();
        let of = match *device {
            Device::Gpu(..) => None,
            Device::Mig(_, _, gpu, own) => Some((gpu.id, own.id)),
        };
        let shown = node.visible_clients(place, of)?.filter(|_| compute);
        Ok(shown
            .map(|client| nvmlProcessInfo_t {
                pid: client.pid,
                usedGpuMemory: client.memory_mib << 20,
                gpuInstanceId: client.gpu_instance.unwrap_or(NO_INSTANCE),
                computeInstanceId: client.compute_instance.unwrap_or(NO_INSTANCE),
            })
            .collect())
    })
}

/// Writes a list of processes. Here the length that comes in is the size of the buffer, zero included.
///
/// # Safety
/// `count` is null or valid and initialised; `infos` is null or valid for writing `count` entries.
unsafe fn answer<T>(infos: *mut T, count: *mut c_uint, list: Vec<T>) -> Result<(), Code> {
    // SAFETY: the promise of this function.
    let room = unsafe { get(count) }? as usize;
    if room < list.len() {
        // SAFETY: the promise of this function.
        unsafe { put(count, list.len() as c_uint) }?;
        return Err(Code::InsufficientSize);
    }
    if infos.is_null() && !list.is_empty() {
        return Err(Code::InvalidArgument);
    }
    // SAFETY: the promise of this function; the list is no longer than the buffer.
    unsafe { put_list(infos, count, list) }
}

macro_rules! process_lists {
    ($($name:ident: $type:ty, $compute:literal, $convert:expr;)*) => {$(
        /// Processes, as the version of the call has them.
        ///
        /// # Safety
        /// `count` is null or valid and initialised; `infos` is null or valid for writing `count` entries.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(device: nvmlDevice_t, count: *mut c_uint, infos: *mut $type) -> nvmlReturn_t {
            let list = processes(stringify!($name), device, $compute);
            let list = list.map(|list| list.into_iter().map($convert).collect());
            // SAFETY: the promise of this function.
            reply(list.and_then(|list| unsafe { answer(infos, count, list) }))
        }
    )*};
}

fn same(process: nvmlProcessInfo_t) -> nvmlProcessInfo_t {
    process
}

fn version_1(process: nvmlProcessInfo_t) -> nvmlProcessInfo_v1_t {
    nvmlProcessInfo_v1_t { pid: process.pid, usedGpuMemory: process.usedGpuMemory }
}

process_lists! {
    nvmlDeviceGetComputeRunningProcesses_v3: nvmlProcessInfo_t, true, same;
    nvmlDeviceGetComputeRunningProcesses_v2: nvmlProcessInfo_t, true, same;
    nvmlDeviceGetComputeRunningProcesses: nvmlProcessInfo_v1_t, true, version_1;
    nvmlDeviceGetGraphicsRunningProcesses_v3: nvmlProcessInfo_t, false, same;
    nvmlDeviceGetGraphicsRunningProcesses_v2: nvmlProcessInfo_t, false, same;
    nvmlDeviceGetGraphicsRunningProcesses: nvmlProcessInfo_v1_t, false, version_1;
    nvmlDeviceGetMPSComputeRunningProcesses_v3: nvmlProcessInfo_t, false, same;
    nvmlDeviceGetMPSComputeRunningProcesses_v2: nvmlProcessInfo_t, false, same;
    nvmlDeviceGetMPSComputeRunningProcesses: nvmlProcessInfo_v1_t, false, version_1;
}
