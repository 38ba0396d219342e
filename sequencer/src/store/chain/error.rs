//! What can go wrong in the chain store, grouped by what the caller does about it.

use super::Head;
use crate::store::{
    kv::KvError,
    log::{BlockRecordError, LogError},
    tables::TableError,
};
use alloy::primitives::{Address, B256};
use executor::ViewError;
use std::{io, path::PathBuf};

/// The chain store cannot do what was asked. After an error of a write nothing of it counts, in the
/// file and in memory.
#[derive(Debug, thiserror::Error)]
pub enum ChainStoreError {
    // Refuse to start.
    /// Another process (or another open store of this one) has the directory.
    #[error("{} is in use by another process", directory.display())]
    LockedByAnotherProcess {
        /// The chain directory.
        directory: PathBuf,
    },
    /// The directory cannot be created or locked.
    #[error("cannot use the chain directory: {0}")]
    Directory(#[source] io::Error),
    /// The directory holds another chain.
    #[error("the directory holds the chain of genesis block {found}, not {expected}")]
    OtherChain {
        /// Genesis hash of the configured genesis.
        expected: B256,
        /// Genesis hash in the directory.
        found: B256,
    },
    /// The directory holds a chain with the same genesis block and other parameters.
    #[error("the directory holds a chain of configuration {found}, not {expected}")]
    OtherConfiguration {
        /// Configuration hash of the configured genesis.
        expected: B256,
        /// Configuration hash in the directory.
        found: B256,
    },
    /// A newer version of this program wrote the directory.
    #[error("the directory has format {found}; this program knows formats up to {supported}")]
    NewerFormat {
        /// Highest format this program reads.
        supported: u64,
        /// Format of the directory.
        found: u64,
    },

    /// The database cannot be opened: damaged, or another program's.
    #[error(
        "{}: {error}; nothing was changed. Restore the data directory from a copy, or take this one \
         to `sequencer db check`",
        directory.display()
    )]
    Unreadable {
        /// The chain directory.
        directory: PathBuf,
        /// What the engine says.
        error: KvError,
    },
    /// The order log cannot be used: damaged, foreign, or not the database's. While the node runs, an
    /// append failed; it does not count.
    #[error(transparent)]
    Log(LogError),

    // Wait and try again: nothing of the write counts, and nothing was acknowledged.
    /// The disk is full.
    #[error("{reason}")]
    DiskFull {
        /// What cannot be written, and where.
        reason: String,
    },
    /// The fold into the database is as far behind as it may be, and fails.
    #[error(
        "{blocks} blocks wait in the order log, the chain database does not take them: {reason}"
    )]
    FoldFailed {
        /// Blocks in the log and not in the database.
        blocks: usize,
        /// Why the fold fails.
        reason: String,
    },

    // Halt: the file is not what this program wrote, or the engine failed.
    /// What is stored contradicts itself.
    #[error("the chain database is corrupt: {0}")]
    Corrupt(#[from] Corruption),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] KvError),
    /// The trie cannot be read.
    #[error("the state trie failed: {0}")]
    Trie(#[from] ViewError),

    /// The log says that blocks were undone and the database still has them. A start brings them
    /// together.
    #[error("a rollback reached the order log and not the chain database: restart the node")]
    Diverged,

    // The caller offered what does not fit; nothing was written.
    /// The block's parent is not the head.
    #[error("block {number} with parent {parent} does not follow the head {}", head.hash)]
    NotNextBlock {
        /// The head.
        head: Head,
        /// Number of the offered block.
        number: u64,
        /// Its parent.
        parent: B256,
    },
    /// The block's trie is not the one that its header commits to.
    #[error("block {number} commits to state {header} and brings {trie}")]
    OtherState {
        /// Number of the offered block.
        number: u64,
        /// State root in its header.
        header: B256,
        /// Root of its trie.
        trie: B256,
    },
    /// The change removes an account or its storage while slots from before remain; under the
    /// rollup's rules (EIP-6780) no block does that.
    #[error("the storage of {address} would outlive its account")]
    StorageOutlivesAccount {
        /// Account.
        address: Address,
    },
    /// No such block is stored.
    #[error("there is no block {number}; the head is {}", head.number)]
    NoSuchBlock {
        /// The head.
        head: Head,
        /// Asked number.
        number: u64,
    },
    /// The state of the block is further from the head than a trie is rebuilt for.
    #[error("proofs at block {number} are too far back")]
    TrieTooOld {
        /// Asked number.
        number: u64,
    },

    // Retry.
    /// The head moved on every attempt to take a snapshot.
    #[error("the head moves too fast to take a snapshot")]
    Contended,
}

/// How the stored chain contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// A row is not what this program writes.
    #[error("undecodable row in table {table}")]
    Row {
        /// Table.
        table: &'static str,
    },
    /// A row that another row refers to is missing.
    #[error("missing row in table {table} for block {number}")]
    Missing {
        /// Table.
        table: &'static str,
        /// Block it belongs to.
        number: u64,
    },
    /// A meta row is missing or has the wrong size.
    #[error("missing or malformed meta row")]
    Meta,
    /// The state tables do not have the root that the header commits to.
    #[error("block {number} commits to state {header}, the tables hold {tables}")]
    StateRoot {
        /// Block.
        number: u64,
        /// State root in its header.
        header: B256,
        /// Root over the tables.
        tables: B256,
    },
    /// The order log holds something else where a block should be.
    #[error("record {position} of the order log is not block {number}: {error}")]
    LogBlock {
        /// Block.
        number: u64,
        /// Position of the record.
        position: u64,
        /// What is wrong with it.
        error: BlockRecordError,
    },
    /// A record of the log does not follow the chain.
    #[error("record {position} of the order log is for block {number}, the chain ends at {head}")]
    LogOrder {
        /// Block.
        number: u64,
        /// Position of the record.
        position: u64,
        /// Head before the record.
        head: u64,
    },
    /// Stored code does not have the form of code.
    #[error("malformed code {code_hash}")]
    Code {
        /// keccak-256 of the code.
        code_hash: B256,
    },
}

impl ChainStoreError {
    /// Whether it goes away when there is room on the disk.
    #[must_use]
    pub const fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Engine(KvError::Full(_)))
    }
}

impl From<LogError> for ChainStoreError {
    fn from(error: LogError) -> Self {
        if error.is_disk_full() {
            return Self::DiskFull { reason: error.to_string() };
        }
        Self::Log(error)
    }
}

impl From<TableError> for ChainStoreError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Kv(error) => Self::Engine(error),
            TableError::Undecodable { table } => Corruption::Row { table }.into(),
        }
    }
}

impl From<ChainStoreError> for ViewError {
    fn from(error: ChainStoreError) -> Self {
        match error {
            ChainStoreError::Trie(error) => error,
            error => Self::Store(Box::new(error)),
        }
    }
}
