//! Who holds a board or something on it: processes, and holders that no process list shows.

use serde::{Deserialize, Serialize};

use super::Node;
use crate::Code;

/// A holder. Nothing that it holds can be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Process id.
    pub pid: u32,
    /// Id of the GPU instance; the whole board when absent.
    pub gpu_instance: Option<u32>,
    /// Id of the compute instance; every one of the GPU instance when absent.
    pub compute_instance: Option<u32>,
    /// Memory in use, MiB.
    pub memory_mib: u64,
    /// Whether process lists show it; a monitor that leaked a handle is not shown.
    pub visible: bool,
}

impl Client {
    /// A process that computes in a compute instance.
    pub fn process(pid: u32, gpu_instance: u32, compute_instance: u32, memory_mib: u64) -> Self {
        let compute_instance = Some(compute_instance);
        Self { pid, gpu_instance: Some(gpu_instance), compute_instance, memory_mib, visible: true }
    }

    /// A monitor that holds a GPU instance and everything in it without a process to be seen.
    pub fn monitor(pid: u32, gpu_instance: u32) -> Self {
        Self { pid, gpu_instance: Some(gpu_instance), compute_instance: None, memory_mib: 0, visible: false }
    }

    /// A process on the whole board, which keeps the first GPU instance from being created.
    pub fn on_board(pid: u32, memory_mib: u64) -> Self {
        Self { pid, gpu_instance: None, compute_instance: None, memory_mib, visible: true }
    }

    pub(super) fn holds_compute(&self, gpu_instance: u32, compute_instance: u32) -> bool {
        self.gpu_instance == Some(gpu_instance) && self.compute_instance.is_none_or(|own| own == compute_instance)
    }
}

impl Node {
    /// Lets a client hold what it names.
    ///
    /// # Errors
    /// There is no such board or instance.
    pub fn attach(&mut self, place: usize, client: Client) -> Result<(), Code> {
        let board = self.board_mut(place)?;
        if let Some(id) = client.gpu_instance {
            let gpu = board.instances.iter().find(|gpu| gpu.id == id).ok_or(Code::NotFound)?;
            if let Some(compute) = client.compute_instance {
                gpu.compute.iter().find(|own| own.id == compute).ok_or(Code::NotFound)?;
            }
        }
        board.clients.push(client);
        Ok(())
    }

    /// Ends a process: everything that it held on any board is free again.
    pub fn detach(&mut self, pid: u32) {
        for board in &mut self.boards {
            board.clients.retain(|client| client.pid != pid);
        }
    }

    /// Clients that a process list shows; of one compute instance, or of the whole board.
    pub(crate) fn visible_clients(
        &self,
        place: usize,
        device: Option<(u32, u32)>,
    ) -> Result<impl Iterator<Item = &Client>, Code> {
        let clients = self.board(place)?.clients.iter().filter(|client| client.visible);
        Ok(clients.filter(move |client| device.is_none_or(|(gpu, compute)| client.holds_compute(gpu, compute))))
    }
}
