//! Handles: what clients hold instead of pointers. A handle names one incarnation and is never followed.
//!
//! Layout of the 64 bits: mark (8), kind (4), place of the board (4), serial of the incarnation (48). The mark keeps
//! handles out of the range of addresses, so that no garbage collector of a client takes one for its own.

use std::ffi::c_void;

use crate::Code;

const MARK: u64 = 0xfa;

/// What a client means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handle {
    /// A whole GPU, by its place.
    Gpu(usize),
    /// A MIG device, by the serial of its compute instance.
    Mig(usize, u64),
    /// A GPU instance.
    GpuInstance(usize, u64),
    /// A compute instance.
    ComputeInstance(usize, u64),
    /// A set of events.
    EventSet(u64),
}

impl Handle {
    /// The pointer that stands for the handle.
    pub(crate) fn pointer<T>(self) -> *mut T {
        let (kind, place, serial) = match self {
            Self::Gpu(place) => (1, place, 0),
            Self::Mig(place, serial) => (2, place, serial),
            Self::GpuInstance(place, serial) => (3, place, serial),
            Self::ComputeInstance(place, serial) => (4, place, serial),
            Self::EventSet(serial) => (5, 0, serial),
        };
        let bits = MARK << 56 | kind << 52 | (place as u64 & 0xf) << 48 | serial & 0xffff_ffff_ffff;
        std::ptr::without_provenance_mut(bits as usize)
    }

    /// The handle that a pointer stands for.
    pub(crate) fn of<T>(pointer: *mut T) -> Result<Self, Code> {
        let bits = pointer.cast::<c_void>().addr() as u64;
        let (place, serial) = ((bits >> 48 & 0xf) as usize, bits & 0xffff_ffff_ffff);
        match (bits >> 56, bits >> 52 & 0xf) {
            (MARK, 1) => Ok(Self::Gpu(place)),
            (MARK, 2) => Ok(Self::Mig(place, serial)),
            (MARK, 3) => Ok(Self::GpuInstance(place, serial)),
            (MARK, 4) => Ok(Self::ComputeInstance(place, serial)),
            (MARK, 5) => Ok(Self::EventSet(serial)),
            _ => Err(Code::InvalidArgument),
        }
    }

    /// Place of the board that the handle is about.
    pub(crate) fn place(self) -> Option<usize> {
        match self {
            Self::Gpu(place) | Self::Mig(place, _) | Self::GpuInstance(place, _) | Self::ComputeInstance(place, _) => {
                Some(place)
            }
            Self::EventSet(_) => None,
        }
    }
}
