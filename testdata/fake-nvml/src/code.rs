//! NVML's return codes, those that the fake gives or can be told to give.

use serde::{Deserialize, Serialize};

/// An answer other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[error("{}", self.text())]
pub enum Code {
    /// `nvmlInit` was not called, or as often undone.
    Uninitialized,
    /// A null pointer, a handle that is none, a value out of range.
    InvalidArgument,
    /// The device, or its present mode, does not know this.
    NotSupported,
    /// Not root and no capability.
    NoPermission,
    /// No such object.
    NotFound,
    /// The caller's buffer is too small.
    InsufficientSize,
    /// No driver.
    DriverNotLoaded,
    /// The call took too long.
    Timeout,
    /// The symbol is not in the driver.
    FunctionNotFound,
    /// The board fell off the bus.
    GpuIsLost,
    /// The board has to be reset first.
    ResetRequired,
    /// The library is not of the loaded kernel module.
    LibRmVersionMismatch,
    /// Something holds the object.
    InUse,
    /// Out of memory.
    Memory,
    /// Nothing to tell.
    NoData,
    /// No room for the instance.
    InsufficientResources,
    /// The version word is not one that the call knows.
    ArgumentVersionMismatch,
    /// Anything else.
    Unknown,
}

impl Code {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::Uninitialized,
        Self::InvalidArgument,
        Self::NotSupported,
        Self::NoPermission,
        Self::NotFound,
        Self::InsufficientSize,
        Self::DriverNotLoaded,
        Self::Timeout,
        Self::FunctionNotFound,
        Self::GpuIsLost,
        Self::ResetRequired,
        Self::LibRmVersionMismatch,
        Self::InUse,
        Self::Memory,
        Self::NoData,
        Self::InsufficientResources,
        Self::ArgumentVersionMismatch,
        Self::Unknown,
    ];

    /// Value of `nvmlReturn_t`.
    pub fn number(self) -> u32 {
        match self {
            Self::Uninitialized => 1,
            Self::InvalidArgument => 2,
            Self::NotSupported => 3,
            Self::NoPermission => 4,
            Self::NotFound => 6,
            Self::InsufficientSize => 7,
            Self::DriverNotLoaded => 9,
            Self::Timeout => 10,
            Self::FunctionNotFound => 13,
            Self::GpuIsLost => 15,
            Self::ResetRequired => 16,
            Self::LibRmVersionMismatch => 18,
            Self::InUse => 19,
            Self::Memory => 20,
            Self::NoData => 21,
            Self::InsufficientResources => 23,
            Self::ArgumentVersionMismatch => 25,
            Self::Unknown => 999,
        }
    }

    /// What `nvmlErrorString` says.
    pub fn text(self) -> &'static str {
        let text = self.c_text();
        text.strip_suffix('\0').unwrap_or(text)
    }

    /// The text with the zero byte that C wants.
    pub(crate) fn c_text(self) -> &'static str {
        match self {
            Self::Uninitialized => "Uninitialized\0",
            Self::InvalidArgument => "Invalid Argument\0",
            Self::NotSupported => "Not Supported\0",
            Self::NoPermission => "Insufficient Permissions\0",
            Self::NotFound => "Not Found\0",
            Self::InsufficientSize => "Insufficient Size\0",
            Self::DriverNotLoaded => "Driver Not Loaded\0",
            Self::Timeout => "Timeout\0",
            Self::FunctionNotFound => "Function Not Found\0",
            Self::GpuIsLost => "GPU is lost\0",
            Self::ResetRequired => "GPU requires reset\0",
            Self::LibRmVersionMismatch => "Driver/library version mismatch\0",
            Self::InUse => "In use by another client\0",
            Self::Memory => "Insufficient Memory\0",
            Self::NoData => "No data\0",
            Self::InsufficientResources => "Insufficient Resources\0",
            Self::ArgumentVersionMismatch => "Version mismatch\0",
            Self::Unknown => "Unknown Error\0",
        }
    }
}
