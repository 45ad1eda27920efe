//! MIG devices: what containers get, one per compute instance.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use super::{Device, ask_gpu, device_value, put, reply};
use crate::Code;
use crate::handle::Handle;
use crate::session;

/// The MIG device at an index of a GPU.
///
/// # Safety
/// `mig` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    mig: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let answer = ask_gpu("nvmlDeviceGetMigDeviceHandleByIndex", device, |node, place, board| {
        if board.config.vgpu_guest {
            return Err(Code::NotSupported);
        }
        if index >= board.table().max_mig_devices() {
            return Err(Code::InvalidArgument);
        }
        if let Some(handle) = session::found_before(node, place, index) {
            return Ok(handle);
        }
        let (_, compute) = board.mig_devices().nth(index as usize).ok_or(Code::NotFound)?;
        let handle = Handle::Mig(place, compute.serial);
        session::remember(place, index, handle);
        Ok(handle)
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|handle| unsafe { put(mig, handle.pointer()) }))
}

device_value! {
    /// The GPU of a MIG device.
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle -> nvmlDevice_t = |_, device| match *device {
        Device::Mig(place, ..) => Ok(Handle::Gpu(place).pointer()),
        Device::Gpu(..) => Err(Code::InvalidArgument),
    };
    /// 1 for a MIG device, 0 for a whole GPU.
    nvmlDeviceIsMigDeviceHandle -> c_uint = |_, device| Ok(matches!(device, Device::Mig(..)).into());
    /// GPU instance id of a MIG device.
    nvmlDeviceGetGpuInstanceId -> c_uint = |_, device| match *device {
        Device::Mig(_, _, gpu, _) => Ok(gpu.id),
        Device::Gpu(..) => Err(Code::NotSupported),
    };
    /// Compute instance id of a MIG device.
    nvmlDeviceGetComputeInstanceId -> c_uint = |_, device| match *device {
        Device::Mig(.., compute) => Ok(compute.id),
        Device::Gpu(..) => Err(Code::NotSupported),
    };
}
