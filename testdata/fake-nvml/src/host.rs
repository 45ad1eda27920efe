//! What the driver shows of a node besides NVML: `/proc` and `/sys`, written into a folder that a test mounts or points at.
//!
//! The minors of the capability device nodes are the driver's static table: 1 for `mig/config`, 2 for `mig/monitor`, and from
//! 3 on nine for each GPU instance id of each board, of which the first is the GPU instance's own.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::node::Node;

/// GPU instance ids per board that have capability minors, 0 to 14.
const GPU_INSTANCES: u32 = 15;
/// Compute instance ids per GPU instance.
const COMPUTE_INSTANCES: u32 = 8;

/// Minor of the capability device node of a GPU instance, or of a compute instance in it.
pub fn capability_minor(board: u32, gpu_instance: u32, compute_instance: Option<u32>) -> u32 {
    let per_instance = COMPUTE_INSTANCES + 1;
    3 + (board * GPU_INSTANCES + gpu_instance) * per_instance + compute_instance.map_or(0, |id| id + 1)
}

/// Writes `driver/nvidia`, `driver/nvidia-caps` and `modules` into a folder that stands for `/proc`.
///
/// # Errors
/// The folder cannot be written.
pub fn write_proc(node: &Node, proc: &Path) -> io::Result<()> {
    fs::create_dir_all(proc.join("driver/nvidia-caps"))?;
    fs::write(proc.join("modules"), "nvidia 1 0 - Live 0x0000000000000000 (O)\n")?;
    fs::write(proc.join("driver/nvidia-caps/mig-minors"), minors(node))?;
    let capabilities = proc.join("driver/nvidia/capabilities");
    if capabilities.exists() {
        fs::remove_dir_all(&capabilities)?;
    }
    let access = |folder: &Path, minor: u32| {
        fs::create_dir_all(folder)?;
        let text = format!("DeviceFileMinor: {minor}\nDeviceFileMode: 256\nDeviceFileModify: 1\n");
        fs::write(folder.join("access"), text)
    };
    fs::create_dir_all(capabilities.join("mig"))?;
    for (name, minor) in [("config", 1), ("monitor", 2)] {
        fs::write(capabilities.join("mig").join(name), format!("DeviceFileMinor: {minor}\nDeviceFileMode: 256\n"))?;
    }
    for board in &node.boards {
        let information = proc.join(format!("driver/nvidia/gpus/0000:{:02x}:00.0", board.bus));
        fs::create_dir_all(&information)?;
        let text = format!(
            "Model: \t\t {}\nGPU UUID: \t {}\nBus Location: \t 0000:{:02x}:00.0\nDevice Minor: \t {}\n",
            board.table().product(),
            board.uuid,
            board.bus,
            board.minor
        );
        fs::write(information.join("information"), text)?;
        let mig = capabilities.join(format!("gpu{}/mig", board.minor));
        fs::create_dir_all(&mig)?;
        for gpu in &board.instances {
            let folder = mig.join(format!("gi{}", gpu.id));
            access(&folder, capability_minor(board.minor, gpu.id, None))?;
            for compute in &gpu.compute {
                let minor = capability_minor(board.minor, gpu.id, Some(compute.id));
                access(&folder.join(format!("ci{}", compute.id)), minor)?;
            }
        }
    }
    let version = &node.config.driver_version;
    fs::write(
        proc.join("driver/nvidia/version"),
        format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}\n"),
    )
}

/// The static table of minors, for as many boards as the node has.
fn minors(node: &Node) -> String {
    let mut text = "config 1\nmonitor 2\n".to_owned();
    for board in 0..node.boards.len() as u32 {
        for gpu in 0..GPU_INSTANCES {
            // Writing to a string does not fail.
            let _ = writeln!(text, "gpu{board}/gi{gpu}/access {}", capability_minor(board, gpu, None));
            for compute in 0..COMPUTE_INSTANCES {
                let minor = capability_minor(board, gpu, Some(compute));
                let _ = writeln!(text, "gpu{board}/gi{gpu}/ci{compute}/access {minor}");
            }
        }
    }
    text
}

/// Writes `bus/pci/devices` into a folder that stands for `/sys`: one 3D controller per board, as NVIDIA's tools read it.
///
/// # Errors
/// The folder cannot be written.
pub fn write_sys(node: &Node, sys: &Path) -> io::Result<()> {
    for board in &node.boards {
        let folder = sys.join(format!("bus/pci/devices/0000:{:02x}:00.0", board.bus));
        fs::create_dir_all(&folder)?;
        let id = board.table().pci_id();
        fs::write(folder.join("vendor"), "0x10de\n")?;
        fs::write(folder.join("device"), format!("0x{:04x}\n", id >> 16))?;
        fs::write(folder.join("class"), "0x030200\n")?;
        fs::write(folder.join("numa_node"), "-1\n")?;
        fs::write(folder.join("resource"), "0x0000000000000000 0x0000000000000000 0x0000000000000000\n".repeat(7))?;
        let mut config = [0_u8; 256];
        config[..4].copy_from_slice(&[0xde, 0x10, (id >> 16) as u8, (id >> 24) as u8]);
        config[9..12].copy_from_slice(&[0, 0x02, 0x03]);
        fs::write(folder.join("config"), config)?;
        let driver = sys.join("bus/pci/drivers/nvidia");
        fs::create_dir_all(&driver)?;
        link(&driver, &folder.join("driver"))?;
    }
    Ok(())
}

fn link(target: &Path, at: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(target, at) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::capability_minor;

    #[test]
    fn minors_are_those_of_the_drivers_table() {
        assert_eq!(capability_minor(0, 0, None), 3);
        assert_eq!(capability_minor(0, 0, Some(0)), 4);
        assert_eq!(capability_minor(0, 1, None), 12);
        assert_eq!(capability_minor(0, 14, Some(7)), 137);
        assert_eq!(capability_minor(1, 0, None), 138);
    }
}
