//! A chain directory, tables and order log, opened for reading only, for the commands that look at it from outside: no lock,
//! no genesis file, nothing created. The engine lets it read beside the process that writes.
//!
//! One snapshot serves one walk. Pages that it sees are not reused meanwhile, so a walk of hours
//! beside a busy node lets the file grow by what the node changes in those hours.

use super::{
    ChainStoreError, Corruption, Head, Kept, LOG_DIRECTORY,
    check::{self, CheckError, Checked},
    progress::Report,
    read_head, read_meta, read_position,
};
use crate::store::{
    kv::{Access, DATA_FILE, Kv, KvSnapshot, KvTransaction},
    log::{LogError, LogReader, LogStat, RecordKind},
    tables::{FORMAT, MetaKey, TABLES},
};
use alloy::primitives::B256;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Snapshots taken at most to find one that the log continues: between two of them a whole fold passes.
const OPEN_ATTEMPTS_MAX: usize = 16;

/// A chain that somebody else may be writing to.
#[derive(Debug)]
pub struct ChainReader {
    kv: Kv,
    directory: PathBuf,
}

/// What a chain directory holds.
#[derive(Clone, Debug)]
pub struct ChainStat {
    /// Layout of the tables.
    pub format: u64,
    /// Hash of block 0.
    pub genesis_hash: B256,
    /// The last block in the tables.
    pub head: Head,
    /// What is kept.
    pub kept: Kept,
    /// Size of the database file, in bytes: tables, and pages that are free for reuse.
    pub file_bytes: u64,
    /// The tables.
    pub tables: Vec<TableStat>,
    /// The order log, or why it cannot be read.
    pub log: Result<LogTail, LogError>,
}

/// What the order log adds to the tables, as its records say it. Whether they are right is for `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTail {
    /// The log as a whole.
    pub stat: LogStat,
    /// The last block with the log.
    pub head: u64,
    /// The last block that a start leaves as it is in the tables: their head, unless the log has a
    /// rollback that they have not followed.
    pub common: u64,
}

impl LogTail {
    /// Reads the records behind tables with this head.
    pub(super) fn read(log: &LogReader, head: Head) -> Result<Self, LogError> {
        let (mut last, mut common) = (head.number, head.number);
        let stat = log.read::<LogError>(|_, record| {
            match record.kind {
                RecordKind::Block => last = record.height,
                RecordKind::Rollback => {
                    last = record.height;
                    common = common.min(last);
                }
                // Nothing of the chain before it is sealed.
                RecordKind::MiniBlock | RecordKind::Retraction | RecordKind::Stage => {}
            }
            Ok(())
        })?;
        Ok(Self { stat, head: last, common })
    }

    /// Blocks of the chain that are in the log alone.
    #[must_use]
    pub const fn unfolded_blocks(&self) -> u64 {
        self.head.saturating_sub(self.common)
    }
}

/// How much one table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableStat {
    /// Name.
    pub name: &'static str,
    /// Entries.
    pub entries: u64,
    /// Pages of the file.
    pub pages: u64,
    /// Bytes of those pages.
    pub bytes: u64,
}

impl ChainReader {
    /// Opens the chain in `directory`.
    ///
    /// # Errors
    /// The first two groups of [`ChainStoreError`].
    pub fn open(directory: &Path) -> Result<Self, ChainStoreError> {
        require_chain(directory)?;
        let kv = Kv::open_reader(directory, TABLES)?;
        check_format(&kv.snapshot()?)?;
        Ok(Self { kv, directory: directory.to_owned() })
    }

    pub(super) fn snapshot(&self) -> Result<KvSnapshot, ChainStoreError> {
        Ok(self.kv.snapshot()?)
    }

    /// What the directory holds.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn stat(&self) -> Result<ChainStat, ChainStoreError> {
        let (snapshot, log) = self.snapshot_and_log()?;
        let head = read_head(&snapshot)?;
        let table = |table: &crate::store::kv::TableSpec| -> Result<TableStat, ChainStoreError> {
            let usage = snapshot.usage(*table)?;
            let (entries, pages, bytes) = (usage.entries, usage.pages, usage.bytes);
            Ok(TableStat { name: table.name, entries, pages, bytes })
        };
        let file = fs::metadata(self.directory.join(DATA_FILE));
        Ok(ChainStat {
            format: read_meta(&snapshot, MetaKey::Format)?,
            genesis_hash: read_meta(&snapshot, MetaKey::GenesisHash)?,
            head,
            kept: Kept::read(&snapshot)?,
            file_bytes: file.map_err(ChainStoreError::Directory)?.len(),
            tables: TABLES.iter().map(table).collect::<Result<_, _>>()?,
            log: log.and_then(|log| LogTail::read(&log, head)),
        })
    }

    /// Reads everything and compares all of it with each other: see [`check`].
    ///
    /// # Errors
    /// [`CheckError::Inconsistent`] with the first contradiction.
    pub fn check(&self, report: Report<'_>) -> Result<Checked, CheckError> {
        let (snapshot, log) = self.snapshot_and_log()?;
        check::run(&snapshot, Some(&log?), report)
    }

    /// The tables, and the log that continues them. A node beside us folds and drops segments: the log
    /// is opened after the snapshot is taken, and where records between the two are gone by then, a
    /// newer snapshot has them.
    pub(super) fn snapshot_and_log(
        &self,
    ) -> Result<(KvSnapshot, Result<LogReader, LogError>), ChainStoreError> {
        let (mut tried, mut attempts) = (None, 0);
        loop {
            attempts += 1;
            let snapshot = self.snapshot()?;
            let position = read_position(&snapshot)?;
            match open_log(&self.directory, &snapshot)? {
                Err(LogError::Missing { .. })
                    if tried != Some(position) && attempts < OPEN_ATTEMPTS_MAX =>
                {
                    tried = Some(position);
                }
                log => return Ok((snapshot, log)),
            }
        }
    }
}

/// Opens the log of the chain in `directory` behind what `rows` shows of it.
pub(super) fn open_log<K: Access>(
    directory: &Path,
    rows: &KvTransaction<K>,
) -> Result<Result<LogReader, LogError>, ChainStoreError> {
    let (chain, position) = (read_meta(rows, MetaKey::ConfigHash)?, read_position(rows)?);
    Ok(LogReader::open(&directory.join(LOG_DIRECTORY), chain, position))
}

/// Refuses a directory whose database is gone: a new one would begin at block 0 beside a log that goes
/// on elsewhere, or without what the database alone had.
pub(super) fn refuse_log_alone(directory: &Path) -> Result<(), ChainStoreError> {
    let has_database =
        directory.join(DATA_FILE).try_exists().map_err(ChainStoreError::Directory)?;
    if !has_database && LogReader::is_in(&directory.join(LOG_DIRECTORY))? {
        return Err(ChainStoreError::NoDatabase { directory: directory.to_owned() });
    }
    Ok(())
}

/// Refuses a directory without a chain.
pub(super) fn require_chain(directory: &Path) -> Result<(), ChainStoreError> {
    refuse_log_alone(directory)?;
    match fs::metadata(directory.join(DATA_FILE)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ChainStoreError::NoChain { directory: directory.to_owned() })
        }
        Err(error) => Err(ChainStoreError::Directory(error)),
    }
}

fn check_format(snapshot: &KvSnapshot) -> Result<(), ChainStoreError> {
    let found: u64 = read_meta(snapshot, MetaKey::Format)?;
    match found {
        0 => Err(Corruption::Meta.into()),
        1..=FORMAT => Ok(()),
        found => Err(ChainStoreError::NewerFormat { supported: FORMAT, found }),
    }
}
