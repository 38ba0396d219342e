//! That one process at a time posts with a ledger: two would send under the same nonces and each believe
//! what the other wrote. The process that does not post may share it.
//!
//! A lock of the kernel beside an SQLite file, an advisory lock of the session on PostgreSQL: both end
//! with the process, however it ends. A session ends with its server too, so whoever holds the lock checks
//! it before it writes what it is going to send.

use super::{Engine, Ledger, LedgerError};
use sqlx::{AnyConnection, Connection, Row};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::Mutex, time::timeout};

/// Longest wait for the session to answer before it counts as ended.
const SESSION_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a lock that was lost is tried to be had, half a second apart: a server may see later than this
/// process that the old session is over.
const RETAKES_MAX: u32 = 10;
/// Wait between two tries.
const RETAKE_EVERY: Duration = Duration::from_millis(500);

/// Held for as long as this process may post. The submissions of whoever does are written through it.
#[derive(Debug)]
#[must_use = "the lock ends when it is dropped"]
pub struct PostingLock {
    ledger: Ledger,
    held: Held,
}

#[derive(Debug)]
enum Held {
    File(#[allow(dead_code, reason = "the lock is the open file's")] File),
    // None while a lost one cannot be had again. Held across the question whether it is still there: who
    // else asks waits for that answer, which takes bounded time.
    Session(Mutex<Option<AnyConnection>>),
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
            _ => Held::Session(Mutex::new(Some(self.lock_session().await?))),
        };
        Ok(PostingLock { ledger: self.clone(), held })
    }

    /// A session that has the lock.
    async fn lock_session(&self) -> Result<AnyConnection, LedgerError> {
        // Its own from now on: the lock must not go back to the pool with it.
        let mut session = self.pool.acquire().await?.detach();
        let row = sqlx::query("SELECT pg_try_advisory_lock($1) AS is_ours")
            .bind(ADVISORY)
            .fetch_one(&mut session)
            .await?;
        if row.try_get::<bool, _>("is_ours")? {
            Ok(session)
        } else {
            Err(LedgerError::InUse { what: "the PostgreSQL ledger".into() })
        }
    }
}

impl PostingLock {
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether this still is the process that posts. A lock that was lost is taken again.
    ///
    /// # Errors
    /// [`LedgerError::LockLost`] when it was, [`LedgerError::InUse`] when another process has it now,
    /// [`LedgerError::Unavailable`] while the server is away.
    pub(super) async fn check(&self) -> Result<(), LedgerError> {
        let Held::Session(session) = &self.held else { return Ok(()) };
        let mut session = session.lock().await;
        if let Some(held) = session.as_mut()
            && let Ok(Ok(())) = timeout(SESSION_WAIT_MAX, held.ping()).await
        {
            return Ok(());
        }
        // What is left of it must not be in the way of the next one.
        *session = None;
        let mut tries = 1;
        *session = loop {
            match self.ledger.lock_session().await {
                Err(LedgerError::InUse { .. }) if tries < RETAKES_MAX => tries += 1,
                taken => break Some(taken?),
            }
            tokio::time::sleep(RETAKE_EVERY).await;
        };
        tracing::warn!("the session of the posting lock ended; this process has the lock again");
        Err(LedgerError::LockLost)
    }
}
