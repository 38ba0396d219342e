//! What can go wrong in the ledger, grouped by what the caller does about it.

use super::ChainIdentity;
use alloy::primitives::B256;
use batcher::encoder::BlockId;
use sqlx::migrate::MigrateError;
use std::{io, path::PathBuf};

/// The ledger cannot do what was asked. Nothing of the call counts.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    // Refuse to start.
    /// Neither `sqlite://path` nor `postgres://...`.
    #[error("the ledger's URL must start with sqlite:// or postgres://")]
    UnsupportedUrl,
    /// The database is the ledger of another chain.
    #[error("the ledger belongs to chain {} with genesis {}, not to chain {} with genesis {}",
        found.chain_id, found.genesis_hash, expected.chain_id, expected.genesis_hash)]
    OtherChain {
        /// The configured chain.
        expected: ChainIdentity,
        /// The chain in the database.
        found: ChainIdentity,
    },
    /// The tables cannot be brought to this program's version; also when a newer program was here.
    #[error("cannot migrate the ledger: {0}")]
    Migration(#[source] Box<MigrateError>),

    /// Another process posts with the same ledger, or uses the same directory.
    #[error("another process has {what}: one at a time")]
    InUse {
        /// What both want.
        what: String,
    },
    /// The lock that keeps others away cannot be had.
    #[error("cannot lock {path}: {error}")]
    Lock {
        /// File of the lock.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },

    // Retry the whole call.
    /// The session that held the posting lock ended, and the lock with it. This process has it again, but
    /// another one may have written meanwhile: start from what the ledger has now.
    #[error("the session of the posting lock ended; the lock was taken again")]
    LockLost,
    /// The database is busy, unreachable, or gave way to a concurrent transaction.
    #[error("the ledger is not available: {0}")]
    Unavailable(#[source] Box<sqlx::Error>),

    // Follow L1's reorganisation: roll back, then append again.
    /// The offered L1 block does not follow the cursor.
    #[error("L1 block {} with parent {offered_parent} does not follow {} ({})",
        offered.number, stored.number, stored.hash)]
    L1ParentMismatch {
        /// The cursor.
        stored: BlockId,
        /// The offered block.
        offered: BlockId,
        /// Its parent hash.
        offered_parent: B256,
    },

    // Halt.
    /// The rollback would reach below what was pruned as final.
    #[error("cannot roll L1 back to block {number}: blocks below {pruned_below} were final")]
    L1RollbackBelowFinal {
        /// Asked number.
        number: u64,
        /// Blocks below this were pruned.
        pruned_below: u64,
    },
    /// An update of a submission that is not stored: a programming error.
    #[error("there is no submission {id}")]
    UnknownSubmission {
        /// Its id.
        id: u64,
    },
    /// A stored value is not what this program writes.
    #[error("the ledger is corrupt: column {column}")]
    Corrupt {
        /// Column of the value.
        column: &'static str,
    },
    /// A number that the column cannot hold.
    #[error("a value for column {column} exceeds 2^63 - 1")]
    OutOfRange {
        /// Column.
        column: &'static str,
    },
    /// Any other failure of the database.
    #[error("the ledger failed: {0}")]
    Database(#[source] Box<sqlx::Error>),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        let is_transient = match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient(&code)),
            _ => false,
        };
        let error = Box::new(error);
        if is_transient { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

impl From<MigrateError> for LedgerError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => error.into(),
            error => Self::Migration(Box::new(error)),
        }
    }
}

/// Whether a database's error code means "again". `SQLite`: busy (5) and locked (6) in the low byte
/// of the extended code. PostgreSQL: serialization failure and deadlock, a row that a concurrent
/// transaction wrote first (ids are chosen here, and again), connection and resource trouble, shutdown
/// and start-up.
fn is_transient(code: &str) -> bool {
    if code.len() == 5 {
        return matches!(code, "40001" | "40P01" | "23505" | "57P01" | "57P02" | "57P03")
            || code.starts_with("08")
            || code.starts_with("53");
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6))
}

#[cfg(test)]
mod tests {
    use super::is_transient;

    #[test]
    fn only_codes_that_mean_again_are_transient() {
        for code in ["5", "6", "261", "517", "40001", "40P01", "23505", "08006", "53300", "57P01"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["1", "11", "1555", "2067", "42P01", ""] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
