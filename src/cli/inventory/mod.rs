//! `inventory`: what this machine's GPUs are cut into, who holds what, and where the boards differ from the catalogue.
//!
//! Inputs: the driver's library and, where there is one, the kubelet's socket. Output: text, JSON, or a `MigNode` that `plan` reads. Only
//! reads. A GPU that cannot be read is said so beside the others; without a driver, or with one that hangs, it is an error.

mod text;

use std::path::Path;

use super::args::{InventoryArgs, InventoryFormat};
use super::error::CliError;
use super::output::json;
use crate::host::inventory::{self, Kubelet};
use crate::nvml::{Driver, DriverError, WATCHDOG, find_library};

/// Reads this machine and shows it.
pub(crate) fn inventory(args: &InventoryArgs) -> Result<String, CliError> {
    let InventoryArgs { library, driver_root, kubelet, no_kubelet, node, output } = args;
    let library = match library {
        Some(path) => std::path::absolute(path).map_err(|source| CliError::Read { path: path.clone(), source })?,
        None => find_library(driver_root).map_err(|error| failed(&error))?,
    };
    let driver = Driver::start(&library, WATCHDOG).map_err(|error| failed(&error))?;
    let kubelet = if *no_kubelet { Kubelet::LeftOut } else { ask_kubelet(kubelet)? };
    let (report, inventory) = inventory::read(&driver, &kubelet).map_err(|error| failed(&error))?;
    match output {
        InventoryFormat::Text => Ok(text::text(&report, &inventory)),
        InventoryFormat::Json => json("inventory", &report),
        InventoryFormat::Mignode => {
            let node = node.clone().map_or_else(host_name, Ok)?;
            serde_saphyr::to_string(&report.mig_node(&node))
                .map_err(|error| CliError::Internal(format!("the inventory cannot be written as YAML: {error}")))
        }
    }
}

fn failed(error: &DriverError) -> CliError {
    CliError::Machine { message: error.to_string(), help: error.remedy().to_owned() }
}

fn ask_kubelet(socket: &Path) -> Result<Kubelet, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Internal(format!("no event loop can be made: {error}")))?;
    Ok(runtime.block_on(Kubelet::ask(socket)))
}

/// The machine's name, which is the node's unless the kubelet was told another.
fn host_name() -> Result<String, CliError> {
    let path = Path::new("/proc/sys/kernel/hostname");
    let name = std::fs::read_to_string(path).map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    Ok(name.trim().to_lowercase())
}
