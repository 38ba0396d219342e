//! What can go wrong in the order log, grouped by what the caller does about it.

use alloy::primitives::B256;
use std::{io, path::PathBuf, sync::Arc};

/// The order log cannot do what was asked. Every message names the file. Cloned, because all records
/// of one group fail together.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    // Wait and try again: nothing of the append counts, and the log goes on when there is room.
    /// The disk is full.
    #[error("the disk is full: cannot {operation} {}: {error}", path.display())]
    DiskFull {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// As the operating system says it.
        error: Arc<io::Error>,
    },

    // Halt, or try again: nothing of the append counts. The next one starts a new segment.
    /// A file cannot be read or written.
    #[error("cannot {operation} {}: {error}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// As the operating system says it.
        error: Arc<io::Error>,
    },

    // Refuse to start. Nothing was changed.
    /// A record that was durable once is not what was written.
    #[error("the order log is damaged: {} at byte {offset}: {damage}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the damaged record starts.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The file has the name of a segment and is none.
    #[error("{} is not a segment of an order log; move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A segment of another chain.
    #[error("{} belongs to chain {found}, not to {expected}", path.display())]
    OtherChain {
        /// The segment.
        path: PathBuf,
        /// Configuration hash of this chain.
        expected: B256,
        /// The one in the segment.
        found: B256,
    },
    /// A newer version of this program wrote the segment.
    #[error(
        "{} has format {found}, this program knows formats up to {supported}: start the newer version",
        path.display()
    )]
    NewerFormat {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known here.
        supported: u32,
    },
    /// Records between what the database holds and what the log holds are missing.
    #[error(
        "the order log lacks record {expected}; it {}",
        found.as_ref().map_or("has nothing after it".to_owned(), |(path, position)| {
            format!("goes on with record {position} in {}", path.display())
        })
    )]
    Missing {
        /// First missing record.
        expected: u64,
        /// The segment after the gap, and its first record.
        found: Option<(PathBuf, u64)>,
    },
    /// There is no log, and the database has its records.
    #[error("{} holds no order log, and the database has its records up to {position}", path.display())]
    Gone {
        /// The log's directory.
        path: PathBuf,
        /// The last record that the database has.
        position: u64,
    },

    // The caller offered what does not fit; nothing was written.
    /// A record longer than the bound.
    #[error("a record of {bytes} bytes, more than {max}")]
    RecordTooLarge {
        /// Size of the payload.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// What is wrong with a record, or with a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes end before the record does.
    #[error("the record is cut off")]
    CutOff,
    /// The bytes do not have their checksum.
    #[error("wrong checksum")]
    Checksum,
    /// A record that does not follow the one before it.
    #[error("not the next record")]
    Order,
    /// A kind of record that this format does not have.
    #[error("unknown kind of record")]
    Kind,
    /// The file is longer than the log ever makes one.
    #[error("the file is too long")]
    TooLong,
    /// The segment's header does not fit its name or the segment before it.
    #[error("the header belongs to another segment")]
    Header,
    /// The segment before it is not there, and older ones are.
    #[error("the segment before it is missing")]
    Sequence,
}

impl LogError {
    /// Whether it goes away when there is room on the disk.
    #[must_use]
    pub const fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    pub(super) fn io(operation: &'static str, path: PathBuf, error: io::Error) -> Self {
        let full =
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let error = Arc::new(error);
        if full {
            Self::DiskFull { operation, path, error }
        } else {
            Self::Io { operation, path, error }
        }
    }
}
