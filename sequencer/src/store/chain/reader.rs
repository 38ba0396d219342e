//! A chain directory opened for reading only, for the commands that look at it from outside: no lock,
//! no genesis file, nothing created. The engine lets it read beside the process that writes.
//!
//! One snapshot serves one walk. Pages that it sees are not reused meanwhile, so a walk of hours
//! beside a busy node lets the file grow by what the node changes in those hours.

use super::{
    ChainStoreError, Corruption, Head, Kept,
    check::{self, CheckError, Checked},
    progress::Report,
    read_head, read_meta,
};
use crate::store::{
    kv::{DATA_FILE, Kv, KvSnapshot},
    tables::{FORMAT, MetaKey, TABLES},
};
use alloy::primitives::B256;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A chain that somebody else may be writing to.
#[derive(Debug)]
pub struct ChainReader {
    kv: Kv,
    directory: PathBuf,
}

/// What a chain directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainStat {
    /// Layout of the tables.
    pub format: u64,
    /// Hash of block 0.
    pub genesis_hash: B256,
    /// The last block.
    pub head: Head,
    /// What is kept.
    pub kept: Kept,
    /// Size of the database file, in bytes: tables, and pages that are free for reuse.
    pub file_bytes: u64,
    /// The tables.
    pub tables: Vec<TableStat>,
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
        let snapshot = self.snapshot()?;
        let table = |table: &crate::store::kv::TableSpec| -> Result<TableStat, ChainStoreError> {
            let usage = snapshot.usage(*table)?;
            let (entries, pages, bytes) = (usage.entries, usage.pages, usage.bytes);
            Ok(TableStat { name: table.name, entries, pages, bytes })
        };
        let file = fs::metadata(self.directory.join(DATA_FILE));
        Ok(ChainStat {
            format: read_meta(&snapshot, MetaKey::Format)?,
            genesis_hash: read_meta(&snapshot, MetaKey::GenesisHash)?,
            head: read_head(&snapshot)?,
            kept: Kept::read(&snapshot)?,
            file_bytes: file.map_err(ChainStoreError::Directory)?.len(),
            tables: TABLES.iter().map(table).collect::<Result<_, _>>()?,
        })
    }

    /// Reads everything and compares all of it with each other: see [`check`].
    ///
    /// # Errors
    /// [`CheckError::Inconsistent`] with the first contradiction.
    pub fn check(&self, report: Report<'_>) -> Result<Checked, CheckError> {
        check::run(&self.snapshot()?, report)
    }
}

/// Refuses a directory without a chain.
pub(super) fn require_chain(directory: &Path) -> Result<(), ChainStoreError> {
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
