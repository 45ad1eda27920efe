//! The kubelet's device manager with NVIDIA's device plugin behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use fake_nvml::node::{BoardState, Client, ComputeInstance, GpuInstance};
use fake_nvml::{Node, Store};

use super::objects::GPU;
use super::pod_resources::{Holder, Source};

/// A pod that was let in; its devices are MIG UUIDs.
#[derive(Debug)]
struct Held {
    holder: Holder,
    /// Its process on the boards.
    pid: u32,
}

/// Devices of one node and who has them.
#[derive(Debug)]
pub(super) struct Devices {
    store: Store,
    /// Whether the plugin's strategy is `single`.
    single: bool,
    /// What the running plugin enumerated at its start, by resource; none while no plugin runs.
    offered: Option<BTreeMap<String, Vec<String>>>,
    /// Every resource that was ever advertised.
    known: BTreeSet<String>,
    /// By the pod's UID.
    held: BTreeMap<String, Held>,
    next_pid: u32,
}

impl Source for Mutex<Devices> {
    fn holders(&self) -> Vec<Holder> {
        let devices = self.lock().unwrap_or_else(PoisonError::into_inner);
        devices.held.values().map(|held| held.holder.clone()).collect()
    }

    fn offered(&self) -> BTreeMap<String, Vec<String>> {
        self.lock().unwrap_or_else(PoisonError::into_inner).offered.clone().unwrap_or_default()
    }
}

impl Devices {
    pub(super) fn new(store: Store, single: bool) -> Self {
        Self { store, single, offered: None, known: BTreeSet::new(), held: BTreeMap::new(), next_pid: 40_000 }
    }

    /// The plugin starts: it looks at the boards, once.
    pub(super) fn plugin_starts(&mut self) {
        let mut offered = BTreeMap::<String, Vec<String>>::new();
        let node = self.read();
        for (board, gpu, compute) in instances(&node) {
            let resource = if self.single { GPU.to_owned() } else { resource(&board, &gpu) };
            offered.entry(resource).or_default().push(compute.uuid);
        }
        if self.single && !alike(&node) {
            // NVIDIA's plugin offers nothing then.
            offered.clear();
        }
        self.known.extend(offered.keys().cloned());
        self.offered = Some(offered);
    }

    /// The plugin is gone: nothing is given out until there is another.
    pub(super) fn plugin_ends(&mut self) {
        self.offered = None;
    }

    /// Amounts of every resource that was ever advertised; one that is gone stays with 0.
    pub(super) fn allocatable(&self) -> BTreeMap<String, u64> {
        let offered = |resource: &String| self.offered.as_ref().and_then(|offered| offered.get(resource));
        let amount = |resource: &String| offered(resource).map_or(0, Vec::len) as u64;
        self.known.iter().map(|resource| (resource.clone(), amount(resource))).collect()
    }

    pub(super) fn held_by(&self, uid: &str) -> Vec<String> {
        let devices = self.held.get(uid).map(|held| held.holder.devices.clone()).unwrap_or_default();
        devices.into_iter().map(|(_, device)| device).collect()
    }

    /// Gives a pod its devices and starts a process on each.
    ///
    /// # Errors
    /// There are not enough, or one is dead: the kubelet's words.
    pub(super) fn admit(
        &mut self,
        uid: &str,
        (namespace, name): (&str, &str),
        requests: &BTreeMap<String, u64>,
    ) -> Result<(), String> {
        let taken: BTreeSet<String> =
            self.held.values().flat_map(|held| &held.holder.devices).map(|(_, device)| device.clone()).collect();
        let mut devices = Vec::new();
        for (resource, &amount) in requests {
            let offered = self.offered.as_ref().and_then(|offered| offered.get(resource));
            let free = offered.into_iter().flatten().filter(|device| !taken.contains(*device));
            let chosen: Vec<_> = free.take(amount as usize).map(|device| (resource.clone(), device.clone())).collect();
            if (chosen.len() as u64) < amount {
                return Err(format!(
                    "Allocate failed due to requested number of devices unavailable for {resource}. Requested: {amount}, Available: {}, which is unexpected",
                    chosen.len()
                ));
            }
            devices.extend(chosen);
        }
        let pid = self.next_pid;
        self.next_pid += 1;
        let alive = devices.iter().all(|(_, device)| self.start_process(pid, device));
        if !alive {
            self.end_process(pid);
            return Err("failed to create containerd task: the MIG device does not exist".into());
        }
        let holder = Holder { namespace: namespace.to_owned(), name: name.to_owned(), devices };
        self.held.insert(uid.to_owned(), Held { holder, pid });
        Ok(())
    }

    /// A pod has ended.
    pub(super) fn release(&mut self, uid: &str) {
        if let Some(held) = self.held.remove(uid) {
            self.end_process(held.pid);
        }
    }

    fn start_process(&self, pid: u32, device: &str) -> bool {
        let start = |node: &mut Node| {
            for place in 0..node.boards.len() {
                let found = node.boards[place].mig_devices().find(|(_, compute)| compute.uuid == device);
                if let Some((gpu, compute)) = found.map(|(gpu, compute)| (gpu.id, compute.id)) {
                    return node.attach(place, Client::process(pid, gpu, compute, 512)).is_ok();
                }
            }
            false
        };
        self.store.change(start).expect("the node is in its file")
    }

    fn end_process(&self, pid: u32) {
        self.store.change(|node| node.detach(pid)).expect("the node is in its file");
    }

    fn read(&self) -> Node {
        self.store.read().expect("the node is in its file")
    }
}

fn instances(node: &Node) -> Vec<(BoardState, GpuInstance, ComputeInstance)> {
    let on = |board: &BoardState| -> Vec<_> {
        board.mig_devices().map(|(gpu, compute)| (board.clone(), gpu.clone(), compute.clone())).collect()
    };
    node.boards.iter().filter(|board| board.mig && !board.lost).flat_map(on).collect()
}

/// Whether all boards have instances, and all of one profile.
fn alike(node: &Node) -> bool {
    let profiles: BTreeSet<String> = instances(node).iter().map(|(board, gpu, _)| profile(board, gpu)).collect();
    profiles.len() == 1 && node.boards.iter().all(|board| board.mig_devices().next().is_some())
}

fn profile(board: &BoardState, gpu: &GpuInstance) -> String {
    let profile = board.table().profile(gpu.profile).expect("an instance has a profile of its board");
    board.profile_name(&profile.name).to_owned()
}

fn resource(board: &BoardState, gpu: &GpuInstance) -> String {
    format!("nvidia.com/mig-{}", profile(board, gpu).replace('+', "."))
}

/// `profile@start` of all GPU instances of a board.
pub(super) fn layout(node: &Node, board: usize) -> Vec<String> {
    let board = &node.boards[board];
    let mut places: Vec<_> = board.instances.iter().map(|gpu| (gpu.span.start, profile(board, gpu))).collect();
    places.sort();
    places.into_iter().map(|(start, profile)| format!("{profile}@{start}")).collect()
}

/// The UUID of a GPU: the fake's own are the same on every node.
pub(super) fn uuid(node: &str, index: usize) -> String {
    // FNV-1a, so that a node has the same GPUs whenever it is made.
    let hash = node
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let (high, middle, low) = (hash >> 32, hash >> 16 & 0xffff, hash & 0xffff);
    format!("GPU-{high:08x}-{middle:04x}-4{:03x}-8000-{index:012x}", low >> 4)
}
