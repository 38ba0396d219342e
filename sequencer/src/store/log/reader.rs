//! The log looked at from outside: by who holds no lock, beside a process that appends, or on files that
//! nobody uses. Nothing is created, cut or removed. Reads as a start reads (`recovery`): what is
//! damage there is damage here.
//!
//! The segments are opened at once and read later. One that is dropped meanwhile can still be read;
//! what is appended to the last one meanwhile is seen or not; segments that are started later are not.

use super::{
    LogError,
    files::{DirectoryFiles, LogFiles},
    recovery::{self, Expected, Opened, Place, Walked},
    segment::Record,
};
use alloy::primitives::B256;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Attempts to open all segments while somebody drops the oldest: each takes far less time than the
/// fold that comes before a drop.
const OPEN_ATTEMPTS_MAX: usize = 16;

/// The segments of a log, open for reading.
#[derive(Debug)]
pub struct LogReader {
    files: DirectoryFiles,
    expected: Expected,
    opened: Vec<Opened>,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStat {
    /// Segments.
    pub segments: usize,
    /// Bytes of them that count.
    pub bytes: u64,
    /// Position of the first record that is there; 0 where there is none.
    pub first_position: u64,
    /// Position of the last record; 0 where there was none yet.
    pub last_position: u64,
    /// The rest of an unfinished write at the end. The next start cuts it.
    pub torn: Option<TornTail>,
}

/// The rest of a write that was not finished, and never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The last segment.
    pub path: PathBuf,
    /// Where it begins in the segment.
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
}

impl LogReader {
    /// Whether `directory` has segments, or files with their names.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn is_in(directory: &Path) -> Result<bool, LogError> {
        recovery::has_segments(&DirectoryFiles::reader(directory))
    }

    /// Opens the log of `chain` in `directory`; the database has its records up to `after`.
    ///
    /// # Errors
    /// The third group of [`LogError`] where a segment is none, or not of this log; where the first
    /// one begins too late, a database that is read again may have more. Errors of the files.
    pub fn open(directory: &Path, chain: B256, after: u64) -> Result<Self, LogError> {
        let files = DirectoryFiles::reader(directory);
        let expected = Expected { chain, after };
        let mut attempts = 0;
        let opened = loop {
            attempts += 1;
            match recovery::open_segments(&files, chain) {
                // Dropped between the listing and the opening.
                Err(LogError::Io { error, .. })
                    if error.kind() == io::ErrorKind::NotFound && attempts < OPEN_ATTEMPTS_MAX => {}
                opened => break opened?,
            }
        };
        recovery::follows_database(&files, expected, &opened)?;
        Ok(Self { files, expected, opened })
    }

    /// Checks every record, and gives those that the database has not to `visit`, in order.
    ///
    /// # Errors
    /// The third group of [`LogError`] where a record is damaged or missing. Errors of the files, and
    /// of `visit`.
    pub fn read<E: From<LogError>>(
        &self,
        visit: impl FnMut(Place<'_>, Record<'_>) -> Result<(), E>,
    ) -> Result<LogStat, E> {
        let walked = recovery::walk(&self.files, self.expected, &self.opened, visit)?;
        let Walked { next_position, bytes, torn_bytes } = walked;
        let (Some(first), Some(last)) = (self.opened.first(), self.opened.last()) else {
            return Ok(LogStat::default());
        };
        // Of all but the last, the next header says how many bytes count.
        let passed: u64 = self.opened.iter().skip(1).map(|next| next.header.previous_bytes).sum();
        let torn =
            || TornTail { path: self.files.path(&last.name), offset: bytes, bytes: torn_bytes };
        let first_position = first.header.first_position;
        Ok(LogStat {
            segments: self.opened.len(),
            bytes: passed + bytes,
            first_position: if next_position > first_position { first_position } else { 0 },
            last_position: next_position - 1,
            torn: (torn_bytes > 0).then(torn),
        })
    }
}
