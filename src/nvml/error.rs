//! What can go wrong between retile and the driver, and what of it the protocol is told.
//!
//! Codes of NVML are ambiguous: "insufficient resources" also means that the instance is already there, "in use" also that a release is not
//! finished. So a code is only passed on; what is true is what the next enumeration shows.

use std::path::PathBuf;

use nvml_wrapper::error::NvmlError;

use crate::exec::port::NodeError;

/// Codes that the bindings have no name for (`nvml.h`).
const INSUFFICIENT_RESOURCES: u32 = 23;
const ARGUMENT_VERSION_MISMATCH: u32 = 25;

/// Why the driver did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The driver's library is nowhere.
    #[error("the NVIDIA driver's library is not installed here: looked for {}", listed(.looked_for))]
    NoLibrary {
        /// Files that were looked for.
        looked_for: Vec<PathBuf>,
    },
    /// A library was found and cannot be used.
    #[error("{} cannot be used: {detail}", .path.display())]
    Library {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A call failed.
    #[error("{call}: {}", explain(.source))]
    Call {
        /// Function of the library.
        call: &'static str,
        /// What it answered.
        source: NvmlError,
    },
    /// A call has not returned within the watchdog's time; no call is made after it.
    #[error("the driver does not answer: {call} has not returned; its thread may be stuck in the kernel")]
    Hung {
        /// Function of the library.
        call: &'static str,
    },
    /// Two devices have one UUID, so that neither can be told from the other.
    #[error("the UUID {uuid} stands for both {first} and {second}")]
    DuplicateUuid {
        /// The UUID.
        uuid: String,
        /// One of the devices.
        first: String,
        /// The other.
        second: String,
    },
    /// No GPU has this UUID.
    #[error("no GPU of this machine has the UUID {0}")]
    NoSuchGpu(String),
    /// The GPU is not in MIG mode, or is about to leave or enter it.
    #[error("the GPU {0} is not in MIG mode, or its mode changes at the next reset")]
    NotInMigMode(String),
    /// The GPU has no such profile, or not at this place.
    #[error("the GPU {gpu} cannot hold {place}")]
    NoSuchPlace {
        /// UUID of the GPU.
        gpu: String,
        /// Profile, start and size.
        place: String,
    },
    /// There is no GPU instance at the place.
    #[error("the GPU {gpu} has no GPU instance {place}")]
    NoSuchInstance {
        /// UUID of the GPU.
        gpu: String,
        /// Profile, start and size.
        place: String,
    },
    /// What is there is not what was proven idle.
    #[error("the GPU instance {place} of {gpu} holds {found}; what was proven idle is {expected}")]
    NotTheProven {
        /// UUID of the GPU.
        gpu: String,
        /// Profile, start and size.
        place: String,
        /// What is there.
        found: String,
        /// What the proof names.
        expected: String,
    },
    /// The driver contradicts itself or what is known of it.
    #[error("the driver says what cannot be: {0}")]
    Nonsense(String),
    /// The thread that calls the driver has ended.
    #[error("the thread that talks to the driver has ended: {0}")]
    Stopped(String),
}

impl DriverError {
    /// What to do about it, for people.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoLibrary { .. } => {
                "install the NVIDIA driver, or name its library or root folder where it is installed elsewhere (in a container, the host's \
                 driver must be mounted); a program linked statically cannot load it at all"
            }
            Self::Library { .. } => {
                "check that the file is the library of the driver that is loaded, for this architecture"
            }
            Self::Call { source: NvmlError::NoPermission | NvmlError::OperatingSystem, .. } => {
                "run as root or with CAP_SYS_ADMIN; reading GPU instances needs it as well as changing them"
            }
            Self::Call { source: NvmlError::DriverNotLoaded, .. } => "load the NVIDIA kernel module",
            Self::Call { source: NvmlError::LibRmVersionMismatch, .. } => {
                "library and kernel module are of different driver versions; start again, or reboot after a driver upgrade"
            }
            Self::Call { source: NvmlError::GpuLost | NvmlError::ResetRequired, .. } => {
                "reset the GPU or reboot the node"
            }
            Self::Call { source: NvmlError::InUse, .. } => {
                "wait until what uses the instance has ended, monitors included"
            }
            Self::Call { .. } => "see the kernel log for messages of the driver (NVRM, Xid)",
            Self::Hung { .. } => "see the kernel log; a process stuck in the driver ends only with a reboot",
            Self::DuplicateUuid { .. } => {
                "nothing is done on a node where GPUs cannot be told apart; restart it, then ask its maker"
            }
            Self::NoSuchGpu(_) | Self::NoSuchPlace { .. } | Self::NoSuchInstance { .. } | Self::NotTheProven { .. } => {
                "read the board again and plan on what is there"
            }
            Self::NotInMigMode(_) => {
                "switch MIG mode on with nvidia-smi -mig 1, and reset the GPU where the mode is pending"
            }
            Self::Nonsense(_) => "nothing was changed; please report this with the output of nvidia-smi -q",
            Self::Stopped(_) => "start the program again; please report this",
        }
    }
}

impl From<&DriverError> for NodeError {
    fn from(error: &DriverError) -> Self {
        match error {
            DriverError::Call { source, .. } => of_code(source).unwrap_or_else(|| Self::Local(error.to_string())),
            DriverError::Hung { .. } => Self::Hung,
            DriverError::NoSuchInstance { .. } | DriverError::NotTheProven { .. } => Self::NotFound,
            DriverError::NoSuchPlace { .. } => Self::InvalidArgument,
            DriverError::NoLibrary { .. }
            | DriverError::Library { .. }
            | DriverError::DuplicateUuid { .. }
            | DriverError::NoSuchGpu(_)
            | DriverError::NotInMigMode(_)
            | DriverError::Nonsense(_)
            | DriverError::Stopped(_) => Self::Local(error.to_string()),
        }
    }
}

/// What a code of NVML is called by the protocol; none for codes that concern this machine's set-up.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "another crate's enumeration, whose other codes have no meaning here"
)]
fn of_code(code: &NvmlError) -> Option<NodeError> {
    Some(match code {
        NvmlError::InUse => NodeError::InUse,
        NvmlError::UnexpectedVariant(INSUFFICIENT_RESOURCES) | NvmlError::InsufficientMemory => {
            NodeError::InsufficientResources
        }
        NvmlError::NotFound => NodeError::NotFound,
        NvmlError::NoPermission | NvmlError::OperatingSystem => NodeError::NoPermission,
        NvmlError::InvalidArg
        | NvmlError::NotSupported
        | NvmlError::InsufficientSize(_)
        | NvmlError::UnexpectedVariant(ARGUMENT_VERSION_MISMATCH) => NodeError::InvalidArgument,
        NvmlError::GpuLost | NvmlError::ResetRequired => NodeError::GpuLost,
        NvmlError::LibRmVersionMismatch => NodeError::LibraryMismatch,
        NvmlError::Unknown
        | NvmlError::Timeout
        | NvmlError::IrqIssue
        | NvmlError::NoData
        | NvmlError::UnexpectedVariant(_) => NodeError::Unknown,
        // What is left concerns loading, initialisation and strings.
        _ => return None,
    })
}

/// The code in words; those without a name in the bindings have one in `nvml.h`.
fn explain(code: &NvmlError) -> String {
    let NvmlError::UnexpectedVariant(number) = code else { return code.to_string() };
    match *number {
        INSUFFICIENT_RESOURCES => "insufficient resources".into(),
        ARGUMENT_VERSION_MISMATCH => "the driver does not know this version of a struct".into(),
        number => format!("NVML error {number}"),
    }
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: NvmlError) -> NodeError {
        NodeError::from(&DriverError::Call { call: "nvmlAnything", source })
    }

    #[test]
    fn codes_without_a_name_in_the_bindings_are_told_apart() {
        assert_eq!(told(NvmlError::UnexpectedVariant(23)), NodeError::InsufficientResources);
        assert_eq!(told(NvmlError::UnexpectedVariant(25)), NodeError::InvalidArgument);
        assert_eq!(told(NvmlError::UnexpectedVariant(29)), NodeError::Unknown);
        assert_eq!(told(NvmlError::InUse), NodeError::InUse);
        assert_eq!(told(NvmlError::ResetRequired), NodeError::GpuLost);
        assert_eq!(told(NvmlError::LibRmVersionMismatch), NodeError::LibraryMismatch);
        let local = told(NvmlError::FailedToLoadSymbol("no nvmlAnything".into()));
        assert_eq!(local, NodeError::Local("nvmlAnything: function symbol failed to load: no nvmlAnything".into()));
    }

    #[test]
    fn a_missing_library_is_named_with_every_place_looked_at() {
        let error =
            DriverError::NoLibrary { looked_for: vec!["/a/libnvidia-ml.so.1".into(), "/b/libnvidia-ml.so.1".into()] };
        assert!(error.to_string().ends_with("looked for /a/libnvidia-ml.so.1, /b/libnvidia-ml.so.1"), "{error}");
    }
}
