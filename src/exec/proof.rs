//! The proof that nobody holds an instance, without which it cannot be destroyed.

use std::collections::BTreeMap;

use crate::plan::Place;

use super::mutant::{self, Mutant};
use super::port::{BoardState, Occupant};
use super::view::PodView;

/// Proof that one instance was held by nobody, by all three sources, a moment ago. Only [`IdleProof::establish`] makes one, and only a
/// request that carries one destroys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleProof {
    gpu: String,
    place: Place,
    compute: Option<String>,
}

/// Why an instance is not proven idle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIdle {
    /// It is not there.
    #[error("there is no {0} on the board")]
    Absent(String),
    /// A container or process holds it.
    #[error("{0} holds it")]
    Held(String),
    /// A pod of the node asks for such an instance and no source says which one it has.
    #[error("pod {0} asks for such an instance, and which one it holds is not known")]
    Unaccounted(String),
}

impl IdleProof {
    /// Proves that the instance at `place` of the board is idle: nothing that the kubelet or the driver knows holds it, and every pod of the
    /// node that asks for such an instance (by one of `resources`) is known to hold others.
    ///
    /// # Errors
    /// It is not there, or one of the sources says, or cannot rule out, that somebody holds it.
    pub fn establish(
        board: &BoardState,
        place: &Place,
        resources: &[String],
        occupants: &[Occupant],
        pods: &[PodView],
    ) -> Result<Self, NotIdle> {
        let instance = board.instances.iter().find(|instance| instance.place == *place);
        let instance = instance.ok_or_else(|| NotIdle::Absent(format!("{}@{}", place.profile, place.start)))?;
        if let Some(uuid) = &instance.compute
            && let Some(holder) = occupants.iter().find(|occupant| occupant.instance == *uuid)
        {
            let name = holder.pod.as_ref().map_or_else(|| "a process".to_owned(), |pod| format!("pod {pod}"));
            return Err(NotIdle::Held(name));
        }
        let mut known = BTreeMap::<&str, u32>::new();
        for occupant in occupants {
            if let Some(pod) = &occupant.pod {
                *known.entry(pod.uid.as_str()).or_default() += 1;
            }
        }
        let unaccounted =
            pods.iter().filter(|pod| pod.holds_instances() && !(pod.deleting && mutant::on(Mutant(20)))).find(|pod| {
                let asks: u32 = resources.iter().filter_map(|resource| pod.requests.get(resource)).sum();
                let all: u32 = pod.requests.values().sum();
                asks > 0 && known.get(pod.pod.uid.as_str()).copied().unwrap_or(0) < all
            });
        if let Some(pod) = unaccounted.filter(|_| !mutant::on(Mutant(31))) {
            return Err(NotIdle::Unaccounted(pod.pod.to_string()));
        }
        Ok(Self { gpu: board.uuid.clone(), place: place.clone(), compute: instance.compute.clone() })
    }

    /// UUID of the GPU.
    pub fn gpu(&self) -> &str {
        &self.gpu
    }

    /// Profile and place of the GPU instance.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// UUID of the compute instance that it had when it was proven idle.
    pub fn compute(&self) -> Option<&str> {
        self.compute.as_deref()
    }
}
