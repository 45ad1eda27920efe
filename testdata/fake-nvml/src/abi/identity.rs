//! What a device is: UUID, name, PCI address, memory, architecture.

use std::ffi::{c_int, c_uint};

use nvml_wrapper_sys::bindings::{
    nvmlBrandType_enum_NVML_BRAND_NVIDIA as BRAND_NVIDIA, nvmlBrandType_t, nvmlDevice_t, nvmlDeviceArchitecture_t,
    nvmlDeviceAttributes_t, nvmlMemory_t, nvmlMemory_v2_t, nvmlPciInfo_t, nvmlReturn_t,
};

use super::{Device, ask, characters, device_text, device_value, get, put, reply};
use crate::Code;
use crate::node::{BoardState, ComputeInstance, GpuInstance};

const MIB: u64 = 1 << 20;

device_text! {
    /// UUID, `GPU-…` or `MIG-…`.
    nvmlDeviceGetUUID = |_, device| Ok(match device {
        Device::Gpu(_, board) => board.uuid.clone(),
        Device::Mig(.., compute) => compute.uuid.clone(),
    });
    /// Product name; of a MIG device followed by its profile.
    nvmlDeviceGetName = |_, device| {
        let product = device.board().1.table().product();
        Ok(match device {
            Device::Gpu(..) => product.to_owned(),
            Device::Mig(_, board, gpu, compute) => format!("{product} MIG {}", mig_name(board, gpu, compute)?),
        })
    };
    /// Serial number, made up.
    nvmlDeviceGetSerial = |_, device| Ok(format!("15630{:08}", 20_000 + device.board().0));
    /// VBIOS version, made up.
    nvmlDeviceGetVbiosVersion = |_, _| Ok("92.00.36.00.01".to_owned());
}

/// Name of a MIG device, `1g.10gb` or `1c.2g.20gb`.
fn mig_name(board: &BoardState, gpu: &GpuInstance, compute: &ComputeInstance) -> Result<String, Code> {
    let profile = board.table().profile(gpu.profile).ok_or(Code::Unknown)?;
    let name = board.profile_name(&profile.name);
    Ok(crate::node::device_name(profile.slices, name, compute.span.size))
}

fn pci(device: &Device<'_>) -> nvmlPciInfo_t {
    let (_, board) = device.board();
    let address = |width: usize| format!("{:0width$x}:{:02X}:00.0", 0, board.bus);
    nvmlPciInfo_t {
        busIdLegacy: characters(&address(4)),
        domain: 0,
        bus: board.bus,
        device: 0,
        pciDeviceId: board.table().pci_id(),
        pciSubSystemId: 0x1463_10de,
        busId: characters(&address(8)),
    }
}

/// Memory in use: what the processes that are shown use.
fn memory(device: &Device<'_>) -> Result<nvmlMemory_t, Code> {
    let (_, board) = device.board();
    let (total, used): (u64, u64) = match device {
        Device::Gpu(..) => (board.table().memory_mib, board.clients.iter().map(|client| client.memory_mib).sum()),
        Device::Mig(_, _, gpu, _) => {
            let profile = board.table().profile(gpu.profile).ok_or(Code::Unknown)?;
            let here = board.clients.iter().filter(|client| client.gpu_instance == Some(gpu.id));
            (profile.memory_mib, here.map(|client| client.memory_mib).sum())
        }
    };
    let used = used.min(total);
    Ok(nvmlMemory_t { total: total * MIB, free: (total - used) * MIB, used: used * MIB })
}

device_value! {
    /// PCI address and ids.
    nvmlDeviceGetPciInfo_v3 -> nvmlPciInfo_t = |_, device| Ok(pci(device));
    /// As version 3.
    nvmlDeviceGetPciInfo_v2 -> nvmlPciInfo_t = |_, device| Ok(pci(device));
    /// Memory of the GPU, or of the GPU instance of a MIG device.
    nvmlDeviceGetMemoryInfo -> nvmlMemory_t = |_, device| memory(device);
    /// Architecture.
    nvmlDeviceGetArchitecture -> nvmlDeviceArchitecture_t =
        |_, device| Ok(device.board().1.table().architecture.number());
    /// Brand.
    nvmlDeviceGetBrand -> nvmlBrandType_t = |_, _| Ok(BRAND_NVIDIA);
    /// Minor number of the device node.
    nvmlDeviceGetMinorNumber -> c_uint = |_, device| Ok(device.whole()?.1.minor);
    /// Index of the GPU, or of the MIG device on its GPU.
    nvmlDeviceGetIndex -> c_uint = |node, device| {
        let index = match *device {
            Device::Gpu(place, _) => node.order.iter().position(|&own| own == place),
            Device::Mig(_, board, _, compute) => {
                board.mig_devices().position(|(_, other)| other.serial == compute.serial)
            }
        };
        Ok(index.ok_or(Code::Unknown)? as c_uint)
    };
    /// Engines, slices and memory of a MIG device; a whole GPU has no such attributes.
    nvmlDeviceGetAttributes_v2 -> nvmlDeviceAttributes_t = |node, device| match *device {
        Device::Gpu(..) => Err(Code::NotSupported),
        Device::Mig(place, board, gpu, compute) => {
            let profile = board.table().profile(gpu.profile).ok_or(Code::Unknown)?;
            let own = node.compute_profile(place, gpu.serial, compute.profile)?;
            let [copy, decoder, encoder, jpeg, ofa] = profile.engines;
            Ok(nvmlDeviceAttributes_t {
                multiprocessorCount: own.multiprocessors,
                sharedCopyEngineCount: copy,
                sharedDecoderCount: decoder,
                sharedEncoderCount: encoder,
                sharedJpegCount: jpeg,
                sharedOfaCount: ofa,
                gpuInstanceSliceCount: profile.slices,
                computeInstanceSliceCount: own.slices,
                memorySizeMB: profile.memory_mib,
            })
        }
    };
}

/// Memory as version 2 has it; the part that the board reserves is not modelled and counts as zero.
///
/// # Safety
/// `out` is null or valid for reading and writing, its version set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, out: *mut nvmlMemory_v2_t) -> nvmlReturn_t {
    // SAFETY: the promise of this function.
    let asked = unsafe { get(out) };
    let answer = asked.and_then(|asked| {
        if asked.version != (2 << 24 | size_of::<nvmlMemory_v2_t>() as u32) {
            return Err(Code::ArgumentVersionMismatch);
        }
        let now = ask("nvmlDeviceGetMemoryInfo_v2", device, |_, device| memory(device))?;
        Ok(nvmlMemory_v2_t { version: asked.version, total: now.total, reserved: 0, free: now.free, used: now.used })
    });
    // SAFETY: the promise of this function.
    reply(answer.and_then(|value| unsafe { put(out, value) }))
}

/// CUDA compute capability.
///
/// # Safety
/// `major` and `minor` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    let answer = ask("nvmlDeviceGetCudaComputeCapability", device, |_, device| {
        Ok(device.board().1.table().compute_capability.map(|number| number as c_int))
    });
    reply(answer.and_then(|[high, low]| {
        // SAFETY: the promise of this function.
        unsafe { put(major, high) }?;
        // SAFETY: the promise of this function.
        unsafe { put(minor, low) }
    }))
}
