//! Who holds a compute instance, and who can see that.

use crate::model::PodRef;

/// Somebody who holds a compute instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A container of a pod that was given the instance.
    Container {
        /// Its pod.
        pod: PodRef,
        /// Name of the container.
        container: String,
        /// Whether it has opened the GPU. Otherwise it merely may: the driver does not know of it, and destroys the instance.
        opened: bool,
    },
    /// A process of the node's own.
    Process {
        /// What it is called.
        name: String,
    },
    /// A monitor's handle that leaked: no list of processes shows it.
    Monitor {
        /// What it is called.
        name: String,
    },
}

impl Holder {
    /// Whether the driver refuses to destroy the instance because of it.
    pub fn blocks(&self) -> bool {
        match self {
            Self::Container { opened, .. } => *opened,
            Self::Process { .. } | Self::Monitor { .. } => true,
        }
    }

    /// Whether the driver's list of processes shows it.
    pub fn is_listed(&self) -> bool {
        match self {
            Self::Container { opened, .. } => *opened,
            Self::Process { .. } => true,
            Self::Monitor { .. } => false,
        }
    }

    /// The pod, if it is a container's.
    pub fn pod(&self) -> Option<&PodRef> {
        match self {
            Self::Container { pod, .. } => Some(pod),
            Self::Process { .. } | Self::Monitor { .. } => None,
        }
    }
}
