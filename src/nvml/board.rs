//! What stands on the GPUs: GPU instances, in each its compute instances, and the processes that use them.
//!
//! Input: an initialised library. Outputs: [`Board`]s with everything, and from each a [`BoardState`] as the protocol sees it. GPU instances
//! are listed per profile and compute instances within each of them, never through MIG devices by index, because a GPU instance without a
//! compute instance has no MIG device. Boards are known by UUID and PCI address; two devices of one UUID are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

use crate::exec::port::{BoardState, InstanceState};
use crate::plan::Place;

use super::error::DriverError;
use super::raw::{ComputeInstance, ComputeInstanceInfo, ComputeProfile, GpuInstance, GpuInstanceInfo};
use super::session::Session;
use super::table::{self, Identity, Table};

/// Compute instance profiles asked for at most; the library ends the walk long before.
const NUMBERS: u32 = 64;
/// How often a list is asked for again when it has grown in between.
const TRIES: usize = 4;

pub(super) type Tables = BTreeMap<String, Arc<Table>>;

/// Whether a GPU is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MigMode {
    /// The GPU does not know MIG.
    Unsupported,
    /// Off.
    Disabled,
    /// On.
    Enabled,
    /// On, and off after the next reset.
    Leaving,
    /// Off, and on after the next reset.
    Entering,
}

/// A GPU as the driver shows it.
#[derive(Debug, Clone)]
pub struct Board {
    /// Index on the node, which may change with a reboot.
    pub index: u32,
    /// UUID.
    pub uuid: String,
    /// PCI address.
    pub bus_id: String,
    /// PCI device id, four upper-case hexadecimal digits.
    pub pci_device: String,
    /// Product name.
    pub product: String,
    /// Memory in MiB; none when it cannot be read.
    pub memory_mib: Option<u64>,
    /// Whether it is partitioned.
    pub mig: MigMode,
    /// Geometry; none for a GPU without MIG, or one that does not tell it while MIG is off.
    pub table: Option<Arc<Table>>,
    /// GPU instances, ordered by start.
    pub instances: Vec<GpuInstanceOnBoard>,
}

/// A GPU instance as the driver shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuInstanceOnBoard {
    /// Id of the driver; says nothing about the place.
    pub id: u32,
    /// Profile and place.
    pub place: Place,
    /// Compute instances, ordered by id.
    pub computes: Vec<ComputeInstanceOnBoard>,
}

/// A compute instance, which is a MIG device, as the driver shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeInstanceOnBoard {
    /// Id within the GPU instance.
    pub id: u32,
    /// UUID of the MIG device.
    pub uuid: String,
    /// Whether it takes the whole GPU instance, as the ones that the device plugin offers do.
    pub fills: bool,
    /// Ids of the processes that use it, ordered.
    pub processes: Vec<u32>,
}

/// Everything that the driver shows.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Version of the driver.
    pub driver: String,
    /// Version of the library.
    pub library: String,
    /// GPUs that could be read, ordered by UUID.
    pub boards: Vec<Board>,
    /// GPUs of which something could not be read, with what is known of them and why.
    pub unread: Vec<Unread>,
}

/// A GPU that could not be read to the end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// Index on the node.
    pub index: u32,
    /// Product, UUID and PCI address as far as they are known.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl Board {
    /// The board as the protocol sees it.
    pub fn state(&self) -> BoardState {
        let instances = self.instances.iter().map(|instance| InstanceState {
            place: instance.place.clone(),
            compute: instance.name().map(str::to_owned),
        });
        BoardState {
            index: self.index,
            uuid: self.uuid.clone(),
            model: self.product.clone(),
            mig_mode: self.mig == MigMode::Enabled,
            instances: instances.collect(),
        }
    }
}

impl GpuInstanceOnBoard {
    /// The UUID that stands for it: that of its first compute instance.
    pub fn name(&self) -> Option<&str> {
        self.computes.first().map(|compute| compute.uuid.as_str())
    }

    /// Whether it is as retile makes them: one compute instance that fills it. One without any is on the way to that.
    pub fn ordinary(&self) -> bool {
        match self.computes.as_slice() {
            [] => true,
            [only] => only.fills,
            _ => false,
        }
    }
}

/// Everything that the driver shows; boards that cannot be read beside the rest.
pub(super) fn inventory(session: &Session, tables: &mut Tables) -> Result<Inventory, DriverError> {
    let nvml = session.nvml();
    let driver = session.ask("nvmlSystemGetDriverVersion", || nvml.sys_driver_version())?;
    let library = session.ask("nvmlSystemGetNVMLVersion", || nvml.sys_nvml_version())?;
    let mut boards = Vec::new();
    let mut unread = Vec::new();
    let count = session.ask("nvmlDeviceGetCount_v2", || nvml.device_count())?;
    for index in 0..count {
        let mut what = String::new();
        match one(session, tables, index, &mut what) {
            Ok(board) => boards.push(board),
            Err(error @ DriverError::Hung { .. }) => return Err(error),
            Err(error) => {
                let remedy = error.remedy().to_owned();
                unread.push(Unread { index, what, why: error.to_string(), remedy });
            }
        }
    }
    in_order(boards).map(|boards| Inventory { driver, library, boards, unread })
}

/// All boards, ordered by UUID.
pub(super) fn all(session: &Session, tables: &mut Tables) -> Result<Vec<Board>, DriverError> {
    let count = session.ask("nvmlDeviceGetCount_v2", || session.nvml().device_count())?;
    let boards: Result<Vec<Board>, DriverError> =
        (0..count).map(|index| one(session, tables, index, &mut String::new())).collect();
    in_order(boards?)
}

/// Orders boards by UUID and refuses any UUID that stands twice.
fn in_order(mut boards: Vec<Board>) -> Result<Vec<Board>, DriverError> {
    boards.sort_by(|one, two| one.uuid.cmp(&two.uuid));
    let mut seen = BTreeMap::<&str, String>::new();
    for board in &boards {
        let own = std::iter::once((&board.uuid, format!("the GPU at {}", board.bus_id)));
        let inner = board.instances.iter().flat_map(|instance| {
            let at = format!("an instance {} of the GPU at {}", show(&instance.place), board.bus_id);
            instance.computes.iter().map(move |compute| (&compute.uuid, at.clone()))
        });
        for (uuid, what) in own.chain(inner) {
            if let Some(first) = seen.insert(uuid, what.clone()) {
                return Err(DriverError::DuplicateUuid { uuid: uuid.clone(), first, second: what });
            }
        }
    }
    Ok(boards)
}

/// Reads one GPU. What is known when it fails is in `what`.
fn one(session: &Session, tables: &mut Tables, index: u32, what: &mut String) -> Result<Board, DriverError> {
    let nvml = session.nvml();
    let device = session.ask("nvmlDeviceGetHandleByIndex_v2", || nvml.device_by_index(index))?;
    let pci = session.ask("nvmlDeviceGetPciInfo_v3", || device.pci_info())?;
    what.clone_from(&pci.bus_id);
    let uuid = session.ask("nvmlDeviceGetUUID", || device.uuid())?;
    *what = format!("{uuid} at {what}");
    let product = session.ask("nvmlDeviceGetName", || device.name())?;
    *what = format!("{product} {what}");
    let mig = mig_mode(session, &device)?;
    let memory = memory(session, &device)?;
    let table = match mig {
        MigMode::Unsupported => None,
        MigMode::Disabled | MigMode::Enabled | MigMode::Leaving | MigMode::Entering => {
            table_of(session, tables, &device, &uuid)?
        }
    };
    // A board that is about to leave MIG mode still has its instances.
    let instances = match (mig, &table) {
        (MigMode::Enabled | MigMode::Leaving, Some(table)) => instances(session, &device, table)?,
        (MigMode::Enabled | MigMode::Leaving, None) => {
            return Err(DriverError::Nonsense(format!("{uuid} is in MIG mode and has no profiles")));
        }
        (MigMode::Unsupported | MigMode::Disabled | MigMode::Entering, _) => Vec::new(),
    };
    let (bus_id, pci_device) = (pci.bus_id, pci_device(pci.pci_device_id));
    let memory_mib = memory.map(|bytes| bytes >> 20);
    Ok(Board { index, uuid, bus_id, pci_device, product, memory_mib, mig, table, instances })
}

/// The device's half of NVML's packed PCI id.
fn pci_device(packed: u32) -> String {
    format!("{:04X}", packed >> 16)
}

fn mig_mode(session: &Session, device: &Device<'_>) -> Result<MigMode, DriverError> {
    match session.ask("nvmlDeviceGetMigMode", || device.mig_mode()) {
        Ok(mode) => Ok(match (mode.current != 0, mode.pending != 0) {
            (false, false) => MigMode::Disabled,
            (true, true) => MigMode::Enabled,
            (true, false) => MigMode::Leaving,
            (false, true) => MigMode::Entering,
        }),
        Err(DriverError::Call {
            source: NvmlError::NotSupported | NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_),
            ..
        }) => Ok(MigMode::Unsupported),
        Err(error) => Err(error),
    }
}

/// Bytes of memory. With MIG on, the whole board's memory is told to the privileged only; and boards whose memory is the machine's tell none.
fn memory(session: &Session, device: &Device<'_>) -> Result<Option<u64>, DriverError> {
    match session.ask("nvmlDeviceGetMemoryInfo_v2", || device.memory_info()) {
        Ok(memory) => Ok(Some(memory.total)),
        Err(DriverError::Call {
            source:
                NvmlError::NotSupported
                | NvmlError::NoPermission
                | NvmlError::FunctionNotFound
                | NvmlError::FailedToLoadSymbol(_),
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The table of a GPU, read once; none when it does not tell its profiles.
fn table_of(
    session: &Session,
    tables: &mut Tables,
    device: &Device<'_>,
    uuid: &str,
) -> Result<Option<Arc<Table>>, DriverError> {
    if let Some(table) = tables.get(uuid) {
        return Ok(Some(Arc::clone(table)));
    }
    let product = session.ask("nvmlDeviceGetName", || device.name())?;
    let pci = session.ask("nvmlDeviceGetPciInfo_v3", || device.pci_info())?;
    let memory = memory(session, device)?.unwrap_or(0);
    let who = Identity { product: &product, pci_device: &pci_device(pci.pci_device_id), memory };
    let table = table::read(session, device, who)?.map(Arc::new);
    if let Some(table) = table.as_ref().filter(|table| table.complete) {
        tables.insert(uuid.to_owned(), Arc::clone(table));
    }
    Ok(table)
}

/// The GPU of a UUID, with its table. Every device is asked for its UUID: looking one up by UUID can take the driver seconds, and what was
/// known of an index may have changed.
pub(super) fn find<'s>(
    session: &'s Session,
    tables: &mut Tables,
    uuid: &str,
) -> Result<(Device<'s>, Arc<Table>), DriverError> {
    let nvml = session.nvml();
    let count = session.ask("nvmlDeviceGetCount_v2", || nvml.device_count())?;
    let mut found: Option<Device<'s>> = None;
    for index in 0..count {
        let device = session.ask("nvmlDeviceGetHandleByIndex_v2", || nvml.device_by_index(index))?;
        if session.ask("nvmlDeviceGetUUID", || device.uuid())? == uuid && found.replace(device).is_some() {
            let which = |place: &str| format!("{place} of two GPUs");
            return Err(DriverError::DuplicateUuid {
                uuid: uuid.to_owned(),
                first: which("one"),
                second: which("the other"),
            });
        }
    }
    let device = found.ok_or_else(|| DriverError::NoSuchGpu(uuid.to_owned()))?;
    if mig_mode(session, &device)? != MigMode::Enabled {
        return Err(DriverError::NotInMigMode(uuid.to_owned()));
    }
    let table = table_of(session, tables, &device, uuid)?;
    let table = table.ok_or_else(|| DriverError::Nonsense(format!("{uuid} is in MIG mode and has no profiles")))?;
    Ok((device, table))
}

/// All GPU instances of a board, ordered by start.
fn instances(session: &Session, device: &Device<'_>, table: &Table) -> Result<Vec<GpuInstanceOnBoard>, DriverError> {
    let mut all = Vec::new();
    for live in live(session, device, table)? {
        let mut computes = Vec::new();
        for compute in computes_of(session, &live)? {
            let uuid = compute_uuid(session, &compute.info)?;
            let processes = processes(session, &compute.info.device)?;
            computes.push(ComputeInstanceOnBoard { id: compute.info.id, uuid, fills: compute.fills, processes });
        }
        computes.sort_by_key(|compute| compute.id);
        all.push(GpuInstanceOnBoard { id: live.info.id, place: live.place, computes });
    }
    all.sort_by(|one, two| one.place.cmp(&two.place));
    Ok(all)
}

/// A GPU instance with a handle that is good for this session.
#[derive(Debug)]
pub(super) struct Live<'s> {
    pub(super) handle: GpuInstance<'s>,
    pub(super) info: GpuInstanceInfo,
    pub(super) place: Place,
    /// Compute slices of its profile.
    pub(super) slices: u32,
}

/// A compute instance with a handle that is good for this session.
#[derive(Debug)]
pub(super) struct LiveCompute<'s> {
    pub(super) handle: ComputeInstance<'s>,
    pub(super) info: ComputeInstanceInfo<'s>,
    pub(super) fills: bool,
}

/// All GPU instances of a board, profile by profile.
pub(super) fn live<'s>(session: &'s Session, device: &Device<'s>, table: &Table) -> Result<Vec<Live<'s>>, DriverError> {
    let mut all: Vec<Live<'s>> = Vec::new();
    for (profile, driver) in table.geometry.profiles().iter().zip(&table.driver) {
        let handles =
            session.ask("nvmlDeviceGetGpuInstances", || super::raw::gpu_instances(device, driver.id, driver.count))?;
        for handle in handles {
            let info = session.ask("nvmlGpuInstanceGetInfo", || handle.info())?;
            if info.profile != driver.id {
                let (is, wanted) = (info.profile, driver.id);
                return Err(DriverError::Nonsense(format!("an instance of profile id {is} listed under {wanted}")));
            }
            let unit = |value: u32| {
                u8::try_from(value).map_err(|_| DriverError::Nonsense(format!("an instance at or of {value} units")))
            };
            let place =
                Place { start: unit(info.span.start)?, size: unit(info.span.size)?, profile: profile.name.clone() };
            all.push(Live { handle, info, place, slices: driver.slices });
        }
    }
    Ok(all)
}

/// The compute instance profiles that a GPU instance offers.
pub(super) fn compute_profiles(session: &Session, live: &Live<'_>) -> Result<Vec<ComputeProfile>, DriverError> {
    let mut profiles = Vec::new();
    for number in 0..NUMBERS {
        let call = "nvmlGpuInstanceGetComputeInstanceProfileInfo";
        match session.ask(call, || live.handle.compute_profile(number)) {
            Ok(profile) => profiles.push(profile),
            Err(DriverError::Call { source: NvmlError::NotSupported, .. }) => {}
            Err(DriverError::Call { source: NvmlError::InvalidArg, .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(profiles)
}

/// The compute instances of a GPU instance.
pub(super) fn computes_of<'s>(session: &'s Session, live: &Live<'s>) -> Result<Vec<LiveCompute<'s>>, DriverError> {
    let mut all = Vec::new();
    for profile in compute_profiles(session, live)? {
        let handles = session
            .ask("nvmlGpuInstanceGetComputeInstances", || live.handle.compute_instances(profile.id, profile.count))?;
        for handle in handles {
            let info = session.ask("nvmlComputeInstanceGetInfo_v2", || handle.info())?;
            // Two profiles of one size may list the same instances.
            if info.profile == profile.id {
                all.push(LiveCompute { handle, info, fills: profile.slices == live.slices });
            }
        }
    }
    Ok(all)
}

/// UUID of a compute instance's MIG device.
pub(super) fn compute_uuid(session: &Session, info: &ComputeInstanceInfo<'_>) -> Result<String, DriverError> {
    let uuid = session.ask("nvmlDeviceGetUUID", || info.device.uuid())?;
    if uuid.starts_with("MIG-") {
        return Ok(uuid);
    }
    Err(DriverError::Nonsense(format!("the compute instance {} is the device {uuid}, which is no MIG device", info.id)))
}

/// Processes of a MIG device, ordered. Compute must be told; graphics and MPS are told where the driver knows of them.
fn processes(session: &Session, device: &Device<'_>) -> Result<Vec<u32>, DriverError> {
    let mut pids = Vec::new();
    let told =
        retried(|| session.ask("nvmlDeviceGetComputeRunningProcesses_v3", || device.running_compute_processes()))?;
    pids.extend(told.into_iter().map(|process| process.pid));
    let others = [
        retried(|| session.ask("nvmlDeviceGetGraphicsRunningProcesses_v3", || device.running_graphics_processes())),
        retried(|| {
            session.ask("nvmlDeviceGetMPSComputeRunningProcesses_v3", || device.mps_running_compute_processes())
        }),
    ];
    for other in others {
        match other {
            Ok(told) => pids.extend(told.into_iter().map(|process| process.pid)),
            Err(DriverError::Call {
                source: NvmlError::NotSupported | NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_),
                ..
            }) => {}
            Err(error) => return Err(error),
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// A list that grows between the question for its length and the one for its content is asked for again.
fn retried<T>(mut ask: impl FnMut() -> Result<T, DriverError>) -> Result<T, DriverError> {
    let mut answer = ask();
    for _ in 1..TRIES {
        if !matches!(answer, Err(DriverError::Call { source: NvmlError::InsufficientSize(_), .. })) {
            break;
        }
        answer = ask();
    }
    answer
}

/// `3g.40gb@4:4`.
pub(super) fn show(place: &Place) -> String {
    format!("{}@{}:{}", place.profile, place.start, place.size)
}
