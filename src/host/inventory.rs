//! What a machine's GPUs are cut into and who holds what, as programs read it: the JSON form, and the `MigNode` that planning reads.
//!
//! Inputs: the driver and, where there is one, the kubelet. Output: [`Report`]. Only reads. A GPU that cannot be read is said so beside the
//! others, and so is a kubelet; without a driver, or with one that hangs, it is an error.

use std::path::Path;

use serde::Serialize;

use crate::exec::ReportedOccupancy;
use crate::model::PodRef;
use crate::nvml::{Board, Difference, Driver, DriverError, GpuInstanceOnBoard, Inventory, MigMode, Unread};
use crate::occupancy::{Occupancy, Source, Sources};
use crate::podresources::{Holding, PodResources};

/// The kubelet's word.
#[derive(Debug)]
pub enum Kubelet {
    /// Not asked for.
    LeftOut,
    /// Not known, and why.
    Failed(String),
    /// Devices that containers hold.
    Read(Vec<Holding>),
}

impl Kubelet {
    /// Asks the kubelet. That it cannot be read is no failure of the whole: what it would tell is unknown then.
    pub async fn ask(socket: &Path) -> Self {
        match PodResources::new(socket).holdings().await {
            Ok(holdings) => Self::Read(holdings),
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Reads a machine. What the API server says of the node's pods is added by whoever plans with the report.
///
/// # Errors
/// The driver cannot be read as a whole, or does not answer.
pub fn read(driver: &Driver, kubelet: &Kubelet) -> Result<(Report, Inventory), DriverError> {
    let inventory = driver.inventory()?;
    let holdings: Source<&[Holding]> = match kubelet {
        Kubelet::LeftOut => Source::LeftOut,
        Kubelet::Failed(_) => Source::Failed,
        Kubelet::Read(holdings) => Source::Read(holdings),
    };
    let sources = Sources { kubelet: holdings, driver: Source::Read(&inventory.boards), pods: Source::LeftOut };
    let report = Report::of(driver.library(), &inventory, kubelet, &Occupancy::of(&sources));
    Ok((report, inventory))
}

/// A machine; the JSON form, a contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of the driver.
    pub driver: String,
    /// Version of its library.
    pub nvml: String,
    /// The library's file.
    pub library: String,
    /// Whether the kubelet was read, and why not.
    pub kubelet: KubeletReport,
    /// GPUs, ordered by UUID.
    pub gpus: Vec<GpuReport>,
    /// GPUs that could not be read.
    pub unread: Vec<Unread>,
}

/// Whether the kubelet was read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeletReport {
    /// `read`, `failed` or `leftOut`.
    pub state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A GPU.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuReport {
    /// Index on the node.
    pub index: u32,
    /// UUID.
    pub uuid: String,
    /// PCI address.
    pub bus_id: String,
    /// PCI device id.
    pub pci_device: String,
    /// Product name.
    pub product: String,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Whether it is partitioned.
    pub mig_mode: MigMode,
    /// Key of the board in the catalogue.
    pub board: Option<String>,
    /// Profiles that the device offers, with their legal starts.
    pub profiles: Vec<ProfileReport>,
    /// GPU instances, ordered by start.
    pub instances: Vec<InstanceReport>,
    /// Where device and catalogue differ.
    pub differences: Vec<Difference>,
}

/// A profile of a device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileReport {
    /// Name.
    pub name: String,
    /// Id of the driver.
    pub id: Option<u32>,
    /// Compute slices.
    pub compute_slices: u8,
    /// Multiprocessors.
    pub multiprocessors: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u32>,
    /// Most instances of it on one board.
    pub most: u8,
    /// Units on the slot axis.
    pub size: Option<u8>,
    /// Legal starts.
    pub starts: Vec<u8>,
}

/// A GPU instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceReport {
    /// Profile.
    pub profile: String,
    /// First unit.
    pub start: u8,
    /// Units.
    pub size: u8,
    /// UUID of its MIG device; none without compute instance.
    pub uuid: Option<String>,
    /// Who holds it, as far as is known.
    pub occupancy: ReportedOccupancy,
    /// Pods that hold it.
    pub pods: Vec<PodRef>,
    /// Ids of the processes that use it.
    pub processes: Vec<u32>,
    /// How many compute instances it has; retile makes one, which fills it.
    pub compute_instances: usize,
    /// Whether the device plugin can offer it: one compute instance, which fills it.
    pub whole: bool,
}

impl Report {
    fn of(library: &Path, inventory: &Inventory, kubelet: &Kubelet, occupancy: &Occupancy) -> Self {
        let Inventory { driver, library: nvml, boards, unread } = inventory;
        let kubelet = match kubelet {
            Kubelet::LeftOut => KubeletReport { state: "leftOut", why: None },
            Kubelet::Failed(why) => KubeletReport { state: "failed", why: Some(why.clone()) },
            Kubelet::Read(_) => KubeletReport { state: "read", why: None },
        };
        Self {
            driver: driver.clone(),
            nvml: nvml.clone(),
            library: library.display().to_string(),
            kubelet,
            gpus: boards.iter().map(|board| gpu(board, occupancy)).collect(),
            unread: unread.clone(),
        }
    }

    /// The report as the object that planning reads. GPUs that could not be read are not in it, and the planner then finds the report at odds
    /// with what the node offers and leaves the node alone.
    pub fn mig_node(&self, node: &str) -> MigNode<'_> {
        let gpus = self.gpus.iter().map(|gpu| {
            let (mig_mode, pending_mig_mode) = match gpu.mig_mode {
                MigMode::Unsupported | MigMode::Disabled => ("Disabled", None),
                MigMode::Enabled => ("Enabled", None),
                MigMode::Leaving => ("Enabled", Some("Disabled")),
                MigMode::Entering => ("Disabled", Some("Enabled")),
            };
            let instances = gpu.instances.iter().map(|instance| ReportedInstance {
                profile: &instance.profile,
                start: instance.start,
                size: instance.size,
                uuid: instance.uuid.as_deref(),
                occupancy: instance.occupancy,
                pods: &instance.pods,
            });
            ReportedGpu {
                index: gpu.index,
                uuid: &gpu.uuid,
                model: &gpu.product,
                mig_mode,
                pending_mig_mode,
                instances: instances.collect(),
            }
        });
        MigNode {
            api_version: "retile.dev/v1alpha1",
            kind: "MigNode",
            metadata: Name { name: node.to_owned() },
            status: Status { node_name: node.to_owned(), gpus: gpus.collect() },
        }
    }
}

fn gpu(board: &Board, occupancy: &Occupancy) -> GpuReport {
    let Board { index, uuid, bus_id, pci_device, product, memory_mib, mig, table, instances } = board;
    let profiles = table.iter().flat_map(|table| table.geometry.profiles()).map(|profile| ProfileReport {
        name: profile.name.clone(),
        id: profile.profile_id,
        compute_slices: profile.compute_slices,
        multiprocessors: profile.multiprocessors,
        memory_mib: profile.memory_mib,
        most: profile.max_count,
        size: profile.size,
        starts: profile.starts.clone(),
    });
    GpuReport {
        index: *index,
        uuid: uuid.clone(),
        bus_id: bus_id.clone(),
        pci_device: pci_device.clone(),
        product: product.clone(),
        memory_mib: *memory_mib,
        mig_mode: *mig,
        board: table.as_ref().and_then(|table| table.catalogue.clone()),
        profiles: profiles.collect(),
        instances: instances.iter().map(|instance| shown(instance, occupancy)).collect(),
        differences: table.as_ref().map(|table| table.differences.clone()).unwrap_or_default(),
    }
}

fn shown(instance: &GpuInstanceOnBoard, occupancy: &Occupancy) -> InstanceReport {
    let (held, pods) = occupancy.of_instance(instance);
    let mut processes: Vec<u32> = instance.computes.iter().flat_map(|compute| compute.processes.clone()).collect();
    processes.sort_unstable();
    processes.dedup();
    InstanceReport {
        profile: instance.place.profile.clone(),
        start: instance.place.start,
        size: instance.place.size,
        uuid: instance.name().map(str::to_owned),
        occupancy: held,
        pods,
        processes,
        compute_instances: instance.computes.len(),
        whole: !instance.computes.is_empty() && instance.ordinary(),
    }
}

/// `MigNode` in the fields that planning reads.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigNode<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Name,
    status: Status<'a>,
}

#[derive(Debug, Serialize)]
struct Name {
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    node_name: String,
    gpus: Vec<ReportedGpu<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportedGpu<'a> {
    index: u32,
    uuid: &'a str,
    model: &'a str,
    mig_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_mig_mode: Option<&'static str>,
    instances: Vec<ReportedInstance<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportedInstance<'a> {
    profile: &'a str,
    start: u8,
    size: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<&'a str>,
    occupancy: ReportedOccupancy,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pods: &'a [PodRef],
}
