//! One process per chain directory: an operating-system lock on a file in it.
//!
//! The kernel drops the lock when the process ends, however it ends, so a file left behind by a
//! killed process locks nobody out. Does not know what else is in the directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
};

/// Name of the lock file; it stays empty.
const LOCK_FILE: &str = "lock";

/// The lock; dropping it releases it.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum DirectoryLockError {
    /// Somebody else holds it: another process, or another open store of this one.
    Held,
    /// The file cannot be created or locked.
    Io(io::Error),
}

impl DirectoryLock {
    /// Takes the lock of `directory`, without waiting.
    pub(super) fn acquire(directory: &Path) -> Result<Self, DirectoryLockError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = options.open(directory.join(LOCK_FILE)).map_err(DirectoryLockError::Io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DirectoryLockError::Held),
            Err(TryLockError::Error(error)) => Err(DirectoryLockError::Io(error)),
        }
    }
}
