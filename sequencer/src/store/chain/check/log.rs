//! The order log: every record, what it does to the chain of the tables, and the state root after each
//! of them, computed anew from the tables and the changes in the records.
//!
//! Damage of a file is found by the walk that a start makes, too. What a rollback takes back in the
//! tables is read from the change sets; nothing is written.

use super::{
    CheckError, Checker, Fault, Problem, alone, blocks::receipts_agree, journal::Journal, look,
    roots::Roots, same_hash, same_number,
};
use crate::store::{
    chain::{
        ChainStoreError, Head, Kept, Unsealed, has_code, rollback::diff_back_to, write::hashed_slot,
    },
    kv::{Access, KvTransaction},
    log::{
        BlockRecord, LogReader, LogStat, MiniBlockRecord, Place, Record, RecordKind, StageRecord,
    },
    tables::{Bytecodes, HashedAccounts, HashedStorages, Headers, Table},
};
use alloy::primitives::{Address, B256, U256, keccak256};
use executor::{StateDiff, block::transactions_root};
use std::{collections::BTreeSet, path::PathBuf};

/// What was read of the order log, and found consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedLog {
    /// The last block of the chain: that of the tables, unless the log has later records.
    pub head: Head,
    /// State root at that block, computed from the tables and the log.
    pub state_root: B256,
    /// Blocks in the log that the tables do not have, undone ones included.
    pub blocks: u64,
    /// Rollbacks that the tables have not followed.
    pub rollbacks: u64,
    /// Mini-blocks, of blocks that the tables do not have.
    pub mini_blocks: u64,
    /// The log as a whole.
    pub stat: LogStat,
}

/// The first contradiction in the order log, and where.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} at byte {offset}, record {position} about block {height}: {problem}", path.display())]
pub struct LogInconsistency {
    /// The segment.
    pub path: PathBuf,
    /// Byte at which the record begins.
    pub offset: u64,
    /// Its place in the log.
    pub position: u64,
    /// The block that it is about.
    pub height: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// Where a record is.
struct At {
    path: PathBuf,
    offset: u64,
    position: u64,
    height: u64,
}

impl At {
    fn new(place: Place<'_>, record: &Record<'_>) -> Self {
        let Place { path, offset } = place;
        let (position, height) = (record.position, record.height);
        Self { path: path.to_owned(), offset, position, height }
    }

    fn wrong(self, problem: Problem) -> CheckError {
        let Self { path, offset, position, height } = self;
        let found = LogInconsistency { path, offset, position, height, problem };
        CheckError::InconsistentLog(Box::new(found))
    }
}

/// A block of the chain so far, and its version of the state.
struct Link {
    head: Head,
    state_root: B256,
    version: usize,
}

/// The chain as far as the log is read.
struct Replay<'a, K: Access> {
    rows: &'a KvTransaction<K>,
    kept: Kept,
    /// The block of the tables that the others follow.
    base: Link,
    links: Vec<Link>,
    journal: Journal,
    codes: BTreeSet<B256>,
    blocks: u64,
    rollbacks: u64,
    mini_blocks: u64,
    unsealed: Option<Unsealed>,
}

impl<K: Access> Checker<'_, K> {
    /// Checks the log behind the tables, whose head has this state root.
    pub(super) fn log(
        &mut self,
        log: &LogReader,
        state_root: B256,
    ) -> Result<CheckedLog, CheckError> {
        let accounts = self.rows.usage(HashedAccounts::SPEC).map_err(ChainStoreError::from)?;
        self.meter.step("order log", accounts.entries);
        let mut replay = Replay {
            rows: self.rows,
            kept: self.kept,
            base: Link { head: self.head, state_root, version: 0 },
            links: Vec::new(),
            journal: Journal::default(),
            codes: BTreeSet::new(),
            blocks: 0,
            rollbacks: 0,
            mini_blocks: 0,
            unsealed: None,
        };
        let mut versions = Vec::new();
        let stat = log.read(|place, record| {
            let at = At::new(place, &record);
            match replay.record(&record) {
                Ok(()) => {
                    if matches!(record.kind, RecordKind::Block | RecordKind::Rollback) {
                        versions.push((at, replay.last().state_root));
                    }
                    Ok(())
                }
                Err(Fault::Here(problem)) => Err(at.wrong(problem)),
                Err(Fault::Elsewhere(error)) => Err(error),
            }
        })?;
        self.log_roots(&replay.journal, versions)?;
        let Link { head, state_root, .. } = *replay.last();
        let Replay { blocks, rollbacks, mini_blocks, .. } = replay;
        Ok(CheckedLog { head, state_root, blocks, rollbacks, mini_blocks, stat })
    }

    /// Computes the state root after every block and rollback, in one walk over the tables.
    fn log_roots(
        &mut self,
        journal: &Journal,
        versions: Vec<(At, B256)>,
    ) -> Result<(), CheckError> {
        if versions.is_empty() {
            return Ok(());
        }
        let mut roots = Roots::new(self.rows, journal, 1..journal.version() + 1);
        self.visit::<HashedAccounts>(|hash, account| roots.row(hash, account).map(drop))?;
        for ((at, stored), computed) in versions.into_iter().zip(roots.finish()?) {
            same_hash("the state root", stored, computed).map_err(|problem| at.wrong(problem))?;
        }
        Ok(())
    }
}

impl<K: Access> Replay<'_, K> {
    fn last(&self) -> &Link {
        self.links.last().unwrap_or(&self.base)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        match record.kind {
            RecordKind::Block => self.block(record),
            RecordKind::Rollback => {
                self.unsealed = None;
                self.rollback(record.height)
            }
            RecordKind::MiniBlock => self.mini_block(record),
            RecordKind::Retraction => {
                let unsealed = self.unsealed.take();
                let was_open = unsealed.is_some_and(|open| open.number == record.height);
                let stray = Problem::Stray("it retracts a block that is not open");
                if was_open { Ok(()) } else { Err(stray.into()) }
            }
            RecordKind::Stage => match StageRecord::decode(record.payload) {
                Some(_) => Ok(()),
                None => Err(Problem::Stray("it names no stage").into()),
            },
        }
    }

    fn mini_block(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let part = MiniBlockRecord::decode(record.payload).map_err(Problem::Block)?;
        let before = self.last().head;
        same_number("the height", record.height, before.number + 1)?;
        if let Some(opening) = part.opening {
            same_hash("the parent hash", opening.parent_hash, before.hash)?;
            self.unsealed = Some(Unsealed::new(record.height, opening));
        }
        let follows = |unsealed: &&mut Unsealed| unsealed.len() == part.first_index as usize;
        let gap = Problem::Stray("it does not follow the mini-block before");
        self.unsealed.as_mut().filter(follows).ok_or(gap)?.push(record.position, part);
        self.mini_blocks += 1;
        Ok(())
    }

    fn block(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let block = BlockRecord::decode(record.payload).map_err(Problem::Block)?;
        let (header, before) = (&block.header, self.last().head);
        same_number("the number in the header", header.number, record.height)?;
        same_number("the height", record.height, before.number + 1)?;
        same_hash("the parent hash", header.parent_hash, before.hash)?;
        let root = transactions_root(&block.transactions);
        same_hash("the transactions root", header.transactions_root, root)?;
        receipts_agree(header, &block.receipts)?;
        let contents = (header, &block.transactions[..], &block.receipts[..]);
        if self.unsealed.take().is_some_and(|unsealed| !unsealed.is_kept_by(contents)) {
            return Err(Problem::Stray("it differs from its mini-blocks").into());
        }
        self.changes(&block.diff)?;
        self.journal.apply(&block.diff);
        let head = Head { number: header.number, hash: block.hash, timestamp: header.timestamp };
        let version = self.journal.version();
        self.links.push(Link { head, state_root: header.state_root, version });
        self.blocks += 1;
        Ok(())
    }

    /// The state before is the one that the change starts from, and its codes are known.
    fn changes(&mut self, diff: &StateDiff) -> Result<(), Fault> {
        self.codes.extend(diff.codes.keys());
        for (address, change) in &diff.accounts {
            let before = match self.journal.account(*address) {
                Some(account) => account,
                None => look::<HashedAccounts, K>(self.rows, &keccak256(address))?,
            };
            if change.before != before {
                return Err(Problem::Before { address: *address, slot: None }.into());
            }
            for (slot, value) in &change.slots {
                if value.before != self.slot(*address, *slot)? {
                    return Err(Problem::Before { address: *address, slot: Some(*slot) }.into());
                }
            }
            let code_hash = change.after.map(|account| account.code_hash).filter(has_code);
            let Some(code_hash) = code_hash else { continue };
            if !self.codes.contains(&code_hash)
                && look::<Bytecodes, K>(self.rows, &code_hash)?.is_none()
            {
                return Err(alone::<Bytecodes>(&code_hash).into());
            }
        }
        Ok(())
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, Fault> {
        if let Some(value) = self.journal.slot(address, slot) {
            return Ok(value);
        }
        let key = (keccak256(address), hashed_slot(slot));
        Ok(look::<HashedStorages, K>(self.rows, &key)?.unwrap_or_default())
    }

    fn rollback(&mut self, number: u64) -> Result<(), Fault> {
        if number > self.last().head.number {
            return Err(Problem::Stray("it goes back to a block above the head").into());
        }
        self.rollbacks += 1;
        self.links.retain(|link| link.head.number <= number);
        if number >= self.base.head.number {
            self.journal.go_back_to(self.last().version);
            return Ok(());
        }
        // The process ended between the record and the tables' transaction.
        if number < self.kept.rollback_min() {
            return Err(Problem::Stray("the history for it is pruned").into());
        }
        let stored = look::<Headers, K>(self.rows, &number)?;
        let stored = stored.ok_or_else(|| alone::<Headers>(&number))?;
        self.journal.go_back_below(&diff_back_to(self.rows, number)?);
        let head = Head { number, hash: stored.hash, timestamp: stored.header.timestamp };
        let (state_root, version) = (stored.header.state_root, self.journal.version());
        self.base = Link { head, state_root, version };
        Ok(())
    }
}
