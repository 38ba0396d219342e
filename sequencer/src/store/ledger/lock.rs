//! That one process at a time posts with a ledger: two would send under the same nonces and each believe
//! what the other wrote. The process that does not post may share it.
//!
//! A lock of the kernel beside an SQLite file, an advisory lock of the session on PostgreSQL: both end
//! with the process, however it ends.

use super::{Engine, Ledger, LedgerError};
use sqlx::{AnyConnection, Row};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Held for as long as this process may post.
#[derive(Debug)]
#[must_use = "the lock ends when it is dropped"]
pub struct PostingLock {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    File(#[allow(dead_code, reason = "the lock is the open file's")] File),
    Session(#[allow(dead_code, reason = "the lock is the session's")] Mutex<AnyConnection>),
}

/// Number of the advisory lock: `weftpost`, as bytes. A database is the ledger of one chain.
const ADVISORY: i64 = i64::from_be_bytes(*b"weftpost");

/// The file of an SQLite URL.
pub(super) fn sqlite_file(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite://")?;
    let path = rest.split('?').next()?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Takes a lock of the kernel on a file that is there for nothing else.
///
/// # Errors
/// [`LedgerError::InUse`] when another process has it, [`LedgerError::Lock`] when it cannot be had.
pub fn lock_file(path: &Path) -> Result<File, LedgerError> {
    let failed = |error| LedgerError::Lock { path: path.into(), error };
    let file =
        File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(LedgerError::InUse { what: path.display().to_string() })
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Ledger {
    /// Makes this the process that posts with the ledger.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] when another one does.
    pub async fn lock_posting(&self) -> Result<PostingLock, LedgerError> {
        let held = match (self.engine, &self.file) {
            (Engine::Sqlite, Some(file)) => {
                let mut path = file.clone().into_os_string();
                path.push(".posting");
                Held::File(lock_file(Path::new(&path))?)
            }
            _ => {
                // Its own from now on: the lock must not go back to the pool with it.
                let mut session = self.pool.acquire().await?.detach();
                let row = sqlx::query("SELECT pg_try_advisory_lock($1) AS is_ours")
                    .bind(ADVISORY)
                    .fetch_one(&mut session)
                    .await?;
                if !row.try_get::<bool, _>("is_ours")? {
                    return Err(LedgerError::InUse { what: "the PostgreSQL ledger".into() });
                }
                Held::Session(Mutex::new(session))
            }
        };
        Ok(PostingLock { _held: held })
    }
}
