//! `db check`: reads every row of every table and every record of the order log, and compares them with
//! each other, with what the headers commit to, and with state roots computed anew.
//!
//! Finds the first contradiction and stops; the order is meta, state, blocks, history, log, so that
//! what a later part relies on is known to hold. Works on one snapshot and changes nothing. The roots
//! are computed by another implementation than the node's, row by row in the order of the tables.

mod blocks;
mod history;
mod journal;
mod log;
mod roots;
mod state;
#[cfg(test)]
mod tests;

pub use log::{CheckedLog, LogInconsistency};

use super::{
    ChainStoreError, Head, Kept,
    progress::{Meter, Report},
    read_head, read_meta,
};
use crate::store::{
    kv::{Access, KvError, KvTransaction},
    log::{BlockRecordError, LogError, LogReader},
    tables::{HashedAccounts, Headers, Key, Meta, MetaKey, TABLES, Table, decode_entry},
};
use alloy::primitives::{Address, B256, Bytes, U256};
use std::ops::ControlFlow;

/// What was read, and found consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The last block in the tables.
    pub head: Head,
    /// State root at that block, computed from the tables.
    pub state_root: B256,
    /// Rows read, some of them more than once.
    pub entries: u64,
    /// The order log; `None` where the tables alone were checked.
    pub log: Option<CheckedLog>,
}

/// A check did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The tables contradict each other.
    #[error(transparent)]
    Inconsistent(Box<Inconsistency>),
    /// A record of the order log contradicts the tables, itself, or the records before it.
    #[error(transparent)]
    InconsistentLog(Box<LogInconsistency>),
    /// The order log is not what was written, or does not continue the tables.
    #[error(transparent)]
    DamagedLog(LogError),
    /// The chain cannot be read at all.
    #[error(transparent)]
    Store(#[from] ChainStoreError),
}

impl From<LogError> for CheckError {
    fn from(error: LogError) -> Self {
        match error {
            // The files cannot be read here and now, which says nothing about what is in them.
            LogError::DiskFull { .. } | LogError::Io { .. } | LogError::NewerFormat { .. } => {
                Self::Store(error.into())
            }
            error => Self::DamagedLog(error),
        }
    }
}

/// The first contradiction, and where.
#[derive(Clone, Debug, thiserror::Error)]
#[error("table {table}, key {key}: {problem}")]
pub struct Inconsistency {
    /// Table of the row that is wrong, or that another one contradicts.
    pub table: &'static str,
    /// Its key.
    pub key: Bytes,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The row is not what this program writes.
    #[error("the row does not decode")]
    Undecodable,
    /// The engine cannot read the row, or the one after it.
    #[error("the row, or the one after it, cannot be read: {0}")]
    Unreadable(String),
    /// The row has to be there.
    #[error("the row is missing")]
    Missing,
    /// The row belongs to nothing.
    #[error("the row should not be there: {0}")]
    Stray(&'static str),
    /// The row needs another one that is not there.
    #[error("table {table} has no row {key} for it")]
    Alone {
        /// Table of the other row.
        table: &'static str,
        /// Key of the other row.
        key: Bytes,
    },
    /// Another row says otherwise.
    #[error("table {table}, key {key}, says otherwise")]
    Contradicted {
        /// Table of the other row.
        table: &'static str,
        /// Key of the other row.
        key: Bytes,
    },
    /// A hash is not that of what it stands for.
    #[error("{what} is {stored}, it should be {computed}")]
    Hash {
        /// Which hash.
        what: &'static str,
        /// As stored.
        stored: B256,
        /// As computed.
        computed: B256,
    },
    /// A record is not the block that it should be.
    #[error("{0}")]
    Block(BlockRecordError),
    /// A change starts from another value than the one that is there.
    #[error("the change of account {address}{} starts from another value", in_slot(*slot))]
    Before {
        /// The account.
        address: Address,
        /// The slot, where it is not the account itself.
        slot: Option<U256>,
    },
    /// A number is not what it should be.
    #[error("{what} is {stored}, not {expected}")]
    Number {
        /// Which number.
        what: &'static str,
        /// As stored.
        stored: u64,
        /// As it should be.
        expected: u64,
    },
    /// A proof does not lead to its account.
    #[error("the proof does not hold: {0}")]
    Proof(String),
}

fn in_slot(slot: Option<U256>) -> String {
    slot.map_or_else(String::new, |slot| format!(", slot {slot}"))
}

/// A walk ends: with a problem of the row that it is at, or of another row.
enum Fault {
    Here(Problem),
    Elsewhere(CheckError),
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Here(problem)
    }
}

impl From<CheckError> for Fault {
    fn from(error: CheckError) -> Self {
        Self::Elsewhere(error)
    }
}

impl From<ChainStoreError> for Fault {
    fn from(error: ChainStoreError) -> Self {
        Self::Elsewhere(error.into())
    }
}

impl From<KvError> for Fault {
    fn from(error: KvError) -> Self {
        Self::Here(Problem::Unreadable(error.to_string()))
    }
}

/// `problem` of the row `key` of table `T`.
fn wrong<T: Table>(key: &T::Key, problem: Problem) -> CheckError {
    wrong_at::<T>(&key.to_key(), problem)
}

fn wrong_at<T: Table>(key: &[u8], problem: Problem) -> CheckError {
    let key = Bytes::copy_from_slice(key);
    CheckError::Inconsistent(Box::new(Inconsistency { table: T::SPEC.name, key, problem }))
}

/// A row that must be there: the problem of another row when it is not.
fn alone<T: Table>(key: &T::Key) -> Problem {
    Problem::Alone { table: T::SPEC.name, key: key.to_key().into() }
}

fn contradicted<T: Table>(key: &T::Key) -> Problem {
    Problem::Contradicted { table: T::SPEC.name, key: key.to_key().into() }
}

fn same_hash(what: &'static str, stored: B256, computed: B256) -> Result<(), Problem> {
    if stored == computed { Ok(()) } else { Err(Problem::Hash { what, stored, computed }) }
}

fn same_number(what: &'static str, stored: u64, expected: u64) -> Result<(), Problem> {
    if stored == expected { Ok(()) } else { Err(Problem::Number { what, stored, expected }) }
}

/// The rows, and how far the check is.
struct Checker<'a, K: Access> {
    rows: &'a KvTransaction<K>,
    meter: Meter<'a>,
    head: Head,
    kept: Kept,
}

impl<K: Access> Checker<'_, K> {
    /// One row; what cannot be read or decoded is wrong where it is.
    fn look<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, CheckError> {
        look::<T, K>(self.rows, key)
    }

    /// Every row of a table, in order.
    fn visit<T: Table>(
        &mut self,
        mut visit: impl FnMut(T::Key, T::Value) -> Result<(), Fault>,
    ) -> Result<(), CheckError> {
        self.visit_rows::<T>(&[], |key, value| {
            visit(key, value)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The rows from `start` on, in order, until `visit` breaks.
    fn visit_rows<T: Table>(
        &mut self,
        start: &[u8],
        mut visit: impl FnMut(T::Key, T::Value) -> Result<ControlFlow<()>, Fault>,
    ) -> Result<(), CheckError> {
        let mut at = start.to_vec();
        let meter = &mut self.meter;
        let walked = self.rows.walk(T::SPEC, start, |key, value| {
            at.clear();
            at.extend_from_slice(key);
            meter.add(key.len() + value.len());
            let Ok((key, value)) = decode_entry::<T>(key, value) else {
                return Err(Problem::Undecodable.into());
            };
            visit(key, value)
        });
        walked.map_err(|fault| match fault {
            Fault::Here(problem) => wrong_at::<T>(&at, problem),
            Fault::Elsewhere(error) => error,
        })
    }

    fn step<T: Table>(&mut self) -> Result<(), CheckError> {
        let entries = self.rows.usage(T::SPEC).map_err(ChainStoreError::from)?.entries;
        self.meter.step(T::SPEC.name, entries);
        Ok(())
    }
}

fn look<T: Table, K: Access>(
    rows: &KvTransaction<K>,
    key: &T::Key,
) -> Result<Option<T::Value>, CheckError> {
    let bytes = key.to_key();
    match rows.get(T::SPEC, &bytes) {
        Ok(None) => Ok(None),
        Ok(Some(value)) => match decode_entry::<T>(&bytes, &value) {
            Ok((_, value)) => Ok(Some(value)),
            Err(_) => Err(wrong_at::<T>(&bytes, Problem::Undecodable)),
        },
        Err(error) => Err(wrong_at::<T>(&bytes, Problem::Unreadable(error.to_string()))),
    }
}

/// Checks everything that `rows` shows, and the order log behind it where there may be one.
pub(super) fn run<K: Access>(
    rows: &KvTransaction<K>,
    log: Option<&LogReader>,
    report: Report<'_>,
) -> Result<Checked, CheckError> {
    let head = read_head(rows)?;
    let kept = Kept::read(rows)?;
    let mut entries = 0;
    for table in TABLES {
        entries += rows.usage(*table).map_err(ChainStoreError::from)?.entries;
    }
    if log.is_some() {
        // The state is read once more, with the changes of the log.
        entries += rows.usage(HashedAccounts::SPEC).map_err(ChainStoreError::from)?.entries;
    }
    // Going back through the blocks is a second walk of the change sets, counted by blocks.
    let meter = Meter::new(entries + head.number - kept.first_state.min(head.number), report);
    let mut checker = Checker { rows, meter, head, kept };
    checker.meta()?;
    let state_root = checker.state()?;
    checker.blocks()?;
    checker.history()?;
    let log = log.map(|log| checker.log(log, state_root)).transpose()?;
    let entries = checker.meter.finish().entries;
    Ok(Checked { head, state_root, entries, log })
}

impl<K: Access> Checker<'_, K> {
    /// Meta against the header of block 0 and the head's.
    fn meta(&mut self) -> Result<(), CheckError> {
        self.step::<Meta>()?;
        self.visit::<Meta>(|_, _| Ok(()))?;
        let genesis: B256 = read_meta(self.rows, MetaKey::GenesisHash)?;
        let first = self.look::<Headers>(&0)?;
        let first = first.ok_or_else(|| wrong::<Headers>(&0, Problem::Missing))?;
        same_hash("the hash of block 0", genesis, first.hash)
            .map_err(|problem| wrong::<Meta>(&MetaKey::GenesisHash, problem))?;
        let number = self.head.number;
        let last = self.look::<Headers>(&number)?;
        let last = last.ok_or_else(|| wrong::<Headers>(&number, Problem::Missing))?;
        let head = |problem| wrong::<Meta>(&MetaKey::Head, problem);
        same_hash("the head's hash", self.head.hash, last.hash).map_err(head)?;
        let time = (self.head.timestamp, last.header.timestamp);
        same_number("the head's timestamp", time.0, time.1).map_err(head)?;
        let Kept { first_state, first_block, final_outputs } = self.kept;
        if final_outputs.is_some_and(|outputs| outputs.block > number) {
            let problem = Problem::Stray("the block is above the head");
            return Err(wrong::<Meta>(&MetaKey::FinalOutputs, problem));
        }
        for (key, first) in [(MetaKey::FirstState, first_state), (MetaKey::FirstBlock, first_block)]
        {
            if first > number.max(1) {
                let what = "the first kept block";
                let problem = Problem::Number { what, stored: first, expected: number };
                return Err(wrong::<Meta>(&key, problem));
            }
        }
        Ok(())
    }
}
