//! What can go wrong in the chain store, grouped by what the caller does about it.

use super::Head;
use crate::store::{
    kv::KvError,
    log::{BlockRecordError, LogError},
    tables::TableError,
};
use alloy::primitives::{Address, B256};
use executor::{ViewError, state::arena::ArenaError};
use std::{
    io,
    path::{Path, PathBuf},
};

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

    /// There is no chain to look at.
    #[error("there is no chain in {}", directory.display())]
    NoChain {
        /// The chain directory.
        directory: PathBuf,
    },
    /// The database is gone, and the log that goes with it is not.
    #[error("{} has an order log and no database", directory.display())]
    NoDatabase {
        /// The chain directory.
        directory: PathBuf,
    },
    /// An import ended before the chain was complete.
    #[error("{} is left from an import that did not end", directory.display())]
    UnfinishedImport {
        /// What it left.
        directory: PathBuf,
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
    /// A part of the trie cannot be read.
    #[error("the state trie failed: {0}")]
    Trie(#[from] ViewError),
    /// The engine that computes state roots failed.
    #[error("the state trie failed: {0}")]
    Arena(#[from] ArenaError),

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
    /// No block was begun.
    #[error("no block is open")]
    NothingOpen,
    /// The block is not the one whose mini-blocks were acknowledged.
    #[error("block {number} differs from its mini-blocks")]
    DiffersFromMiniBlocks {
        /// Number of the offered block.
        number: u64,
    },
    /// The block's change does not give the state that its header commits to.
    #[error("block {number} commits to state {header}, which its change does not give")]
    OtherState {
        /// Number of the offered block.
        number: u64,
        /// State root in its header.
        header: B256,
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
    /// The chain cannot go back to this block: what it needs for that is pruned, or was not in the
    /// snapshot.
    #[error("the chain cannot go back to block {number}: history begins at block {first}")]
    HistoryPruned {
        /// Asked number.
        number: u64,
        /// The lowest block that it can go back to.
        first: u64,
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
    /// The message passer's slots do not have the root that the block's output contains.
    #[error(
        "block {number}: the message passer's storage root is {header}, the tables hold {tables}"
    )]
    MessagePasserRoot {
        /// Block.
        number: u64,
        /// Root as it was when the block was stored.
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
    /// A block's change in the log does not give the state that its header commits to.
    #[error("record {position} of the order log: block {number} has another state than its header")]
    LogState {
        /// Block.
        number: u64,
        /// Position of the record.
        position: u64,
    },
    /// A sealed block in the log is not what its mini-blocks said.
    #[error("record {position} of the order log: block {number} differs from its mini-blocks")]
    LogMiniBlocks {
        /// Block.
        number: u64,
        /// Position of the record.
        position: u64,
    },
    /// The changes of later blocks do not lead back to the state of an earlier one.
    #[error("the changes after block {number} do not lead back to its state {header}")]
    WayBack {
        /// Block.
        number: u64,
        /// State root in its header.
        header: B256,
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
    /// The whole story for the operator: where, what, and what helps.
    #[must_use]
    pub fn explain(&self, directory: &Path) -> String {
        let names_directory = matches!(
            self,
            Self::LockedByAnotherProcess { .. }
                | Self::NoChain { .. }
                | Self::NoDatabase { .. }
                | Self::UnfinishedImport { .. }
        );
        let advice = self.advice();
        let stop = if advice.is_empty() { "" } else { ". " };
        if names_directory {
            format!("{self}{stop}{advice}")
        } else {
            format!("{}: {self}{stop}{advice}", directory.display())
        }
    }

    /// What the operator can do about a chain that does not open, as a sentence; empty where the error
    /// says it all. Nothing was changed in any case.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::LockedByAnotherProcess { .. } => "Stop that process first.",
            Self::OtherChain { .. } | Self::OtherConfiguration { .. } => {
                "Give the genesis file of that chain, or another --data-dir."
            }
            Self::NewerFormat { .. } => "Run the version that wrote it, or a later one.",
            Self::NoChain { .. } => {
                "Give the data directory of a node, or make one with `sequencer db import`."
            }
            Self::NoDatabase { .. } => {
                "Nothing was changed. Put its mdbx.dat back; or move the directory away and make a new \
                 one with `sequencer db import`."
            }
            Self::Log(
                LogError::Corrupt { .. }
                | LogError::Foreign { .. }
                | LogError::OtherChain { .. }
                | LogError::Missing { .. }
                | LogError::Gone { .. },
            ) => {
                "Nothing was changed. Put back what is missing, or the whole directory from a copy; or \
                 `sequencer db export` the blocks that the database holds, move this directory away, \
                 and `sequencer db import` them: blocks that were in the log alone are lost then."
            }
            Self::UnfinishedImport { .. } => {
                "Nothing in it is in use: delete it, then run `sequencer db import` again."
            }
            Self::Corrupt(_)
            | Self::Trie(_)
            | Self::Arena(_)
            | Self::Engine(
                KvError::Damaged(_) | KvError::CutOff { .. } | KvError::Foreign { .. },
            ) => {
                "Nothing was changed. `sequencer db check` names the first damaged row where the file \
                 can be read at all; `sequencer db import` makes a new chain directory from a \
                 snapshot, once this one is moved away."
            }
            Self::Engine(KvError::Full(_)) | Self::DiskFull { .. } => "Make room on the disk.",
            _ => "",
        }
    }

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
