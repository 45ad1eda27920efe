//! What is asked of a fleet at one moment.

use std::collections::BTreeMap;

/// Instances by profile, as `nvidia-smi mig` spells it.
pub type Instances = BTreeMap<String, u32>;

/// A fleet and the demand for it, per GPU model (product name or key of the catalogue).
pub type State = BTreeMap<String, ModelState>;

/// The GPUs of one model and the demand for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelState {
    /// GPUs by a name that lasts, such as `node/index` or the UUID, and what they are cut into.
    pub gpus: BTreeMap<String, Instances>,
    /// Running pods, counted by what one of them holds.
    pub running: BTreeMap<Instances, u64>,
    /// Waiting pods, counted by what one of them asks for.
    pub pending: BTreeMap<Instances, u64>,
}

impl ModelState {
    /// Running and waiting pods with what one of them asks for.
    pub fn pods(&self) -> impl Iterator<Item = (&Instances, u64)> {
        self.running.iter().chain(&self.pending).map(|(instances, &pods)| (instances, pods))
    }
}
