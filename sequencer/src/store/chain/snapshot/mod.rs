//! Snapshots: a chain with the history of its last blocks in one file, and a chain directory made from
//! it. This file draws the format and says what can be wrong; `chunks` reads and writes bytes, `export`
//! and `import` know the tables.
//!
//! ```text
//! magic "WEFTSNAP" | version u32 | table format u64
//! chain id u64 | genesis hash | configuration hash
//! height u64 | block hash | timestamp u64 | state root
//! first state u64 | first block u64 | final outputs: next index u64, block u64 (0, 0 without)
//! checksum: keccak-256 of everything above
//! chunks, one after another:
//!   table u8 | entries u32 | payload bytes u32 | payload | checksum
//!   payload: key | value bytes u32 | value, `entries` times; the table says how long a key is
//!   checksum: keccak-256 of the checksum before, and of the chunk up to here
//! end: a chunk of table 0 without entries; payload: entries u64 and payload bytes u64 of the file
//! ```
//!
//! Numbers are big endian. The tables come in the order of `Section::ALL`, the rows of each in the
//! order of their keys: state is in hash order. Keys and values are those of the tables. Because each
//! checksum contains the one before, the last one is the checksum of the whole file.

mod chunks;
mod export;
mod import;

pub use export::{ExportOptions, Exported};
pub use import::{Imported, import};

use super::{ChainStoreError, FinalOutputs, Head, check::CheckError};
use crate::store::kv::{DATA_FILE, TableSpec};
use crate::store::tables::{
    AccountChangeSets, BlockBodies, Bytecodes, HashedAccounts, HashedStorages, Headers, Key,
    OutputParts, OutputProofs, Receipts, StorageChangeSets, Table,
};
use alloy::primitives::{B256, Bytes};
use std::{
    io,
    path::{Path, PathBuf},
};

/// First bytes of every snapshot.
const MAGIC: &[u8; 8] = b"WEFTSNAP";
/// Version of the format above.
const VERSION: u32 = 1;
/// Blocks of a snapshot before the first one whose state it has: BLOCKHASH reads 256 back.
const BLOCK_HASH_WINDOW: u64 = 256;

/// What a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Layout of the tables that the rows are from.
    pub table_format: u64,
    /// Chain id.
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis_hash: B256,
    /// Hash of the chain's configuration.
    pub config_hash: B256,
    /// The last block.
    pub head: Head,
    /// State root after it.
    pub state_root: B256,
    /// The first block whose state can be read.
    pub first_state: u64,
    /// The first block from which on every block is there.
    pub first_block: u64,
    /// Outputs that were final on L1.
    pub final_outputs: Option<FinalOutputs>,
}

/// The tables of a snapshot, numbered as in the file. Everything else follows from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Accounts = 1,
    Storages = 2,
    Codes = 3,
    Headers = 4,
    Bodies = 5,
    Receipts = 6,
    OutputParts = 7,
    OutputProofs = 8,
    AccountChanges = 9,
    StorageChanges = 10,
}

impl Section {
    const ALL: [Self; 10] = [
        Self::Accounts,
        Self::Storages,
        Self::Codes,
        Self::Headers,
        Self::Bodies,
        Self::Receipts,
        Self::OutputParts,
        Self::OutputProofs,
        Self::AccountChanges,
        Self::StorageChanges,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|section| *section as u8 == number)
    }

    const fn table(self) -> TableSpec {
        match self {
            Self::Accounts => HashedAccounts::SPEC,
            Self::Storages => HashedStorages::SPEC,
            Self::Codes => Bytecodes::SPEC,
            Self::Headers => Headers::SPEC,
            Self::Bodies => BlockBodies::SPEC,
            Self::Receipts => Receipts::SPEC,
            Self::OutputParts => OutputParts::SPEC,
            Self::OutputProofs => OutputProofs::SPEC,
            Self::AccountChanges => AccountChangeSets::SPEC,
            Self::StorageChanges => StorageChangeSets::SPEC,
        }
    }
}

/// A snapshot was not written or not read. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    // The operator chooses other arguments.
    /// There is a file already; it is not overwritten.
    #[error("{} exists; give another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A chain is imported into a directory without one.
    #[error("{} is not empty; a snapshot is imported into a new data directory", directory.display())]
    NotEmpty {
        /// The chain directory.
        directory: PathBuf,
    },
    /// The genesis file is of another chain than the snapshot or the directory.
    #[error("{what} is of chain {found}, the genesis file is of chain {expected}")]
    OtherChain {
        /// The snapshot or the directory.
        what: &'static str,
        /// Genesis and configuration hash of the genesis file, with its chain id.
        expected: Box<ChainName>,
        /// Those found.
        found: Box<ChainName>,
    },

    // The file cannot be used.
    /// The file does not begin as a snapshot does.
    #[error("{} is not a snapshot", path.display())]
    NotASnapshot {
        /// The file.
        path: PathBuf,
    },
    /// Another version of the program wrote it.
    #[error("{} has {what} {found}; this program reads {supported}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Which version.
        what: &'static str,
        /// In the file.
        found: u64,
        /// What is read.
        supported: u64,
    },
    /// The bytes are not those that were written.
    #[error("{}, byte {at_bytes}{}: {damage}", path.display(), in_table(*table))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged part begins.
        at_bytes: u64,
        /// Table of the damaged part, where that is known.
        table: Option<&'static str>,
        /// What is wrong.
        damage: Damage,
    },
    /// Every byte is as it was written, and the chain in it contradicts itself.
    #[error("the chain in the snapshot is inconsistent: {0}")]
    Inconsistent(#[source] CheckError),
    /// The state root of the imported rows is not the one that the snapshot names.
    #[error("the snapshot names state root {named} at {}, its rows have {computed}", head.hash)]
    StateRoot {
        /// The head that it names.
        head: Head,
        /// Root that it names.
        named: B256,
        /// Root of the rows.
        computed: B256,
    },

    // The system failed.
    /// A file or directory cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The chain directory.
    #[error(transparent)]
    Store(#[from] ChainStoreError),
}

fn in_table(table: Option<&'static str>) -> String {
    table.map_or_else(String::new, |table| format!(", table {table}"))
}

/// What tells one chain from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainName {
    /// Chain id; `None` where only the hashes are known.
    pub chain_id: Option<u64>,
    /// Hash of block 0.
    pub genesis_hash: B256,
    /// Hash of the configuration.
    pub config_hash: B256,
}

impl std::fmt::Display for ChainName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(chain_id) = self.chain_id {
            write!(f, "{chain_id} ")?;
        }
        write!(f, "(genesis {}, configuration {})", self.genesis_hash, self.config_hash)
    }
}

/// What is wrong with the bytes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends before its end.
    #[error("the file is cut off")]
    CutOff,
    /// The checksum is another one.
    #[error("the checksum is not that of the bytes before it")]
    Checksum,
    /// There is more after the end.
    #[error("there is something after the end")]
    AfterEnd,
    /// The totals at the end are others than what was read.
    #[error("the file says that it holds {stated} entries, it holds {found}")]
    Total {
        /// In the file.
        stated: u64,
        /// Read.
        found: u64,
    },
    /// No such table, or not in its order.
    #[error("table number {0} does not follow here")]
    Section(u8),
    /// A chunk longer than chunks are.
    #[error("a chunk of {0} bytes")]
    ChunkSize(u32),
    /// A row that the table does not hold.
    #[error("the row {key} does not decode")]
    Row {
        /// Its key.
        key: Bytes,
    },
    /// A row before the one before it, or the same again.
    #[error("the row {key} is out of order")]
    Order {
        /// Its key.
        key: Bytes,
    },
}

impl SnapshotHeader {
    /// Bytes of the header without magic, version and checksum.
    const BYTES: usize = 8 + 8 + 32 + 32 + 8 + 32 + 8 + 32 + 8 + 8 + 16;

    /// Which chain the snapshot is of.
    #[must_use]
    pub fn chain(&self) -> ChainName {
        let (genesis_hash, config_hash) = (self.genesis_hash, self.config_hash);
        ChainName { chain_id: Some(self.chain_id), genesis_hash, config_hash }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let outputs = self.final_outputs.map_or((0, 0), |o| (o.next_index, o.block));
        (self.table_format, self.chain_id).write(out);
        (self.genesis_hash, self.config_hash).write(out);
        (self.head.number, self.head.hash).write(out);
        (self.head.timestamp, self.state_root).write(out);
        (self.first_state, self.first_block).write(out);
        outputs.write(out);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        type Fields =
            (((u64, u64), (B256, B256)), (((u64, B256), (u64, B256)), ((u64, u64), (u64, u64))));
        let ((ids, hashes), ((head, state), (first, outputs))) = Fields::read(bytes)?;
        let (next_index, block) = outputs;
        Some(Self {
            table_format: ids.0,
            chain_id: ids.1,
            genesis_hash: hashes.0,
            config_hash: hashes.1,
            head: Head { number: head.0, hash: head.1, timestamp: state.0 },
            state_root: state.1,
            first_state: first.0,
            first_block: first.1,
            final_outputs: (next_index > 0).then_some(FinalOutputs { next_index, block }),
        })
    }
}

/// Where a chain is put together before it gets its place: next to it.
fn import_directory(chain: &Path) -> PathBuf {
    chain.with_extension("import")
}

/// Refuses to make a new chain where an import did not end: what the operator wanted is not there.
pub(super) fn refuse_unfinished(chain: &Path) -> Result<(), ChainStoreError> {
    let directory = import_directory(chain);
    if directory.exists() && !chain.join(DATA_FILE).exists() {
        return Err(ChainStoreError::UnfinishedImport { directory });
    }
    Ok(())
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> SnapshotError {
    move |error| SnapshotError::Io { path: path.to_owned(), error }
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> Result<(), SnapshotError> {
    let file = std::fs::File::open(directory).map_err(io_error(directory))?;
    file.sync_all().map_err(io_error(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back() {
        let header = SnapshotHeader {
            table_format: 1,
            chain_id: 2,
            genesis_hash: B256::repeat_byte(3),
            config_hash: B256::repeat_byte(4),
            head: Head { number: 5, hash: B256::repeat_byte(6), timestamp: 7 },
            state_root: B256::repeat_byte(8),
            first_state: 9,
            first_block: 10,
            final_outputs: Some(FinalOutputs { next_index: 11, block: 12 }),
        };
        for header in [header, SnapshotHeader { final_outputs: None, ..header }] {
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            assert_eq!(bytes.len(), SnapshotHeader::BYTES);
            assert_eq!(SnapshotHeader::read(&bytes), Some(header));
            assert_eq!(SnapshotHeader::read(&bytes[1..]), None);
        }
    }

    #[test]
    fn sections_are_numbered_from_one() {
        for (number, section) in (1..).zip(Section::ALL) {
            assert_eq!(Section::of(number), Some(section));
        }
        assert_eq!((Section::of(0), Section::of(11)), (None, None));
    }
}
