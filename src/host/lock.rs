//! One agent per node: an advisory lock that the kernel takes away with the process, however it ends.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// Name of the lock's file in the state folder.
const NAME: &str = "lock";

/// Why the lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("another retile-agent works on this node: it holds {}; end it first, or give this one another state folder on another node", .0.display())]
    Taken(PathBuf),
    /// It cannot be taken.
    #[error("cannot lock {}: {source}; the state folder must be on a local disk of this node", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The lock; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// Open as long as it is locked.
    _file: File,
}

impl Lock {
    /// Takes the lock of a state folder, or says at once who has it.
    pub(super) fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(NAME);
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(|source| LockError::Io { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken(path)),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let first = Lock::take(folder.path()).expect("nobody else");
        assert!(matches!(Lock::take(folder.path()), Err(LockError::Taken(_))));
        drop(first);
        Lock::take(folder.path()).expect("nobody any more");
    }
}
