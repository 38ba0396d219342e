//! The chain and its state on disk: blocks, receipts, indexes, current state, history, and the
//! resident trie over it.
//!
//! Authoritative is the file; the tries in memory follow from it and are checked against the head's
//! state root when the store opens. One durable transaction per block for now: a later order log
//! makes blocks durable before they get here, and folds many of them into one transaction. Does not
//! execute, and does not decide which block comes next: it only insists that it follows the head.

pub mod check;
mod error;
mod kept;
mod outputs;
mod progress;
mod proofs;
mod prune;
mod read;
mod reader;
mod rollback;
pub mod snapshot;
mod tries;
mod view;
mod write;

pub use error::{ChainStoreError, Corruption};
pub use kept::{FinalOutputs, Kept};
pub use outputs::KeptOutput;
pub use progress::{Progress, Report};
pub use prune::{Pruned, prune_directory};
pub use read::{StoredBlock, TransactionAt};
pub use reader::{ChainReader, ChainStat, TableStat};
pub use tries::{PROOF_WINDOW_BLOCKS, TRIE_WINDOW_BLOCKS};
pub use view::ChainView;

use super::{
    directory_lock::{DirectoryLock, DirectoryLockError},
    kv::{Access, Kv, KvTransaction, KvWriter},
    tables::{
        FORMAT, HashedAccounts, HashedStorages, Headers, Key, Meta, MetaKey, TABLES, TableError,
        Value,
    },
};
use alloy::primitives::{B256, Bytes, KECCAK256_EMPTY, U256};
use executor::{Account, ExecutedBlock, Genesis, StateTrie, StateView};
use std::{
    fmt,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;
use tries::Tries;
use view::Codes;
use write::NewBlock;

/// The last block of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Height.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// Seconds since 1970.
    pub timestamp: u64,
}

/// The open chain store; cloning shares it. One per directory in the whole machine.
#[derive(Clone)]
pub struct ChainStore(Arc<Inner>);

struct Inner {
    kv: Kv,
    /// Held by whoever writes: blocks come one after another.
    writer: Mutex<()>,
    tries: Tries,
    codes: Codes,
    head: watch::Sender<Head>,
    /// Last, so that it is released once the database is closed.
    _lock: DirectoryLock,
}

impl fmt::Debug for ChainStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChainStore").field(&self.head()).finish()
    }
}

impl ChainStore {
    /// Opens the chain in `directory`; creates it with block 0 on first use. Reads the whole
    /// current state once, to rebuild the trie.
    ///
    /// # Errors
    /// The first two groups of [`ChainStoreError`]: the directory is in use, unusable, of another
    /// chain or of a newer format, or what it holds is damaged.
    pub fn open(directory: &Path, genesis: &Genesis) -> Result<Self, ChainStoreError> {
        snapshot::refuse_unfinished(directory)?;
        std::fs::create_dir_all(directory).map_err(ChainStoreError::Directory)?;
        let lock = lock(directory)?;
        let kv = Kv::open(directory, TABLES)?;
        initialise(&kv, genesis)?;
        let snapshot = kv.snapshot()?;
        let head = read_head(&snapshot)?;
        let tries = Tries::new(head, rebuild_trie(&snapshot, head)?);
        let (sender, _) = watch::channel(head);
        let codes = Codes::default();
        let inner = Inner { kv, writer: Mutex::new(()), tries, codes, head: sender, _lock: lock };
        Ok(Self(Arc::new(inner)))
    }

    /// Sets for how many blocks, the head included, a trie can always be had. Costs memory.
    pub fn set_proof_window(&self, blocks: u64) {
        self.0.tries.set_proof_window(blocks);
    }

    /// The last durably committed block.
    #[must_use]
    pub fn head(&self) -> Head {
        *self.0.head.borrow()
    }

    /// Follows the head: every value is durable when it is seen, and a slow reader sees the latest.
    #[must_use]
    pub fn subscribe_head(&self) -> watch::Receiver<Head> {
        self.0.head.subscribe()
    }

    /// Appends a block in one durable transaction, then publishes the new head. Blocks the thread
    /// for the time of an fsync.
    ///
    /// # Errors
    /// [`ChainStoreError::NotNextBlock`], [`ChainStoreError::OtherState`] and
    /// [`ChainStoreError::StorageOutlivesAccount`] when the block does not fit; otherwise the file
    /// failed and the node should halt.
    pub fn commit(&self, block: &ExecutedBlock) -> Result<(), ChainStoreError> {
        let _writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let number = block.header.number;
        let (head, parent) = (self.head(), block.header.parent_hash);
        if parent != head.hash || number != head.number + 1 {
            return Err(ChainStoreError::NotNextBlock { head, number, parent });
        }
        let (header, trie) = (block.header.state_root, block.trie.root());
        if header != trie {
            return Err(ChainStoreError::OtherState { number, header, trie });
        }
        let next = Head { number, hash: block.hash, timestamp: block.header.timestamp };
        // Known before it is durable: a reader whose snapshot has the block finds its trie.
        self.0.tries.insert(next, block.trie.clone());
        if let Err(error) = self.write_block(&NewBlock::from(block)) {
            self.0.tries.remove_above(head.number);
            return Err(error);
        }
        self.0.tries.trim(number);
        self.0.head.send_replace(next);
        Ok(())
    }

    fn write_block(&self, block: &NewBlock<'_>) -> Result<(), ChainStoreError> {
        let writer = self.0.kv.writer()?;
        write::block(&writer, block)?;
        Ok(writer.commit()?)
    }
}

/// Takes the lock of a chain directory.
fn lock(directory: &Path) -> Result<DirectoryLock, ChainStoreError> {
    DirectoryLock::acquire(directory).map_err(|error| match error {
        DirectoryLockError::Io(error) => ChainStoreError::Directory(error),
        DirectoryLockError::Held => {
            ChainStoreError::LockedByAnotherProcess { directory: directory.to_owned() }
        }
    })
}

/// Writes block 0 where there is nothing yet; otherwise checks whose directory it is.
fn initialise(kv: &Kv, genesis: &Genesis) -> Result<(), ChainStoreError> {
    let (state, header, hash) = genesis.build()?;
    let config_hash = genesis.config_hash(hash);
    let writer = kv.writer()?;
    let Some(format) = writer.read::<Meta>(&MetaKey::Format)? else {
        let diff = genesis.state_diff();
        let trie = state.trie();
        let block =
            NewBlock { header: &header, hash, transactions: &[], receipts: &[], diff: &diff, trie };
        write::block(&writer, &block)?;
        write_meta(&writer, MetaKey::Format, FORMAT.to_value())?;
        write_meta(&writer, MetaKey::GenesisHash, hash.to_value())?;
        write_meta(&writer, MetaKey::ConfigHash, config_hash.to_value())?;
        return Ok(writer.commit()?);
    };
    let found = u64::from_value(&format).ok_or(Corruption::Meta)?;
    if found > FORMAT {
        return Err(ChainStoreError::NewerFormat { supported: FORMAT, found });
    }
    let found = read_meta::<B256, _>(&writer, MetaKey::GenesisHash)?;
    if found != hash {
        return Err(ChainStoreError::OtherChain { expected: hash, found });
    }
    let found = read_meta::<B256, _>(&writer, MetaKey::ConfigHash)?;
    if found != config_hash {
        return Err(ChainStoreError::OtherConfiguration { expected: config_hash, found });
    }
    Ok(())
}

fn read_meta<V: Value, K: Access>(
    transaction: &KvTransaction<K>,
    key: MetaKey,
) -> Result<V, ChainStoreError> {
    let bytes = transaction.read::<Meta>(&key)?.ok_or(Corruption::Meta)?;
    Ok(V::from_value(&bytes).ok_or(Corruption::Meta)?)
}

fn write_meta(writer: &KvWriter, key: MetaKey, value: Vec<u8>) -> Result<(), TableError> {
    writer.write::<Meta>(&key, &Bytes::from(value))
}

/// The head as a transaction sees it.
fn read_head<K: Access>(transaction: &KvTransaction<K>) -> Result<Head, ChainStoreError> {
    read_meta(transaction, MetaKey::Head)
}

fn write_head(writer: &KvWriter, head: Head) -> Result<(), TableError> {
    write_meta(writer, MetaKey::Head, head.to_value())
}

impl Value for Head {
    fn to_value(&self) -> Vec<u8> {
        ((self.number, self.hash), self.timestamp).to_key()
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        let ((number, hash), timestamp) = <((u64, B256), u64)>::read(bytes)?;
        Some(Self { number, hash, timestamp })
    }
}

/// Builds the trie over the state tables and compares it with the head's header.
fn rebuild_trie<K: Access>(
    transaction: &KvTransaction<K>,
    head: Head,
) -> Result<StateTrie, ChainStoreError> {
    let mut accounts: Vec<(B256, Account)> = Vec::new();
    transaction.visit_from::<HashedAccounts, ChainStoreError>(&B256::ZERO, |hash, account| {
        accounts.push((hash, account));
        Ok(ControlFlow::Continue(()))
    })?;
    let trie = StateTrie::from_hashed(accounts.into_iter().map(Ok), |hash| {
        let mut slots: Vec<(B256, U256)> = Vec::new();
        let visit = |(address, slot), value| -> Result<_, ChainStoreError> {
            if address != hash {
                return Ok(ControlFlow::Break(()));
            }
            slots.push((slot, value));
            Ok(ControlFlow::Continue(()))
        };
        transaction.visit_from::<HashedStorages, _>(&hash, visit)?;
        Ok::<_, ChainStoreError>(slots)
    })?;
    let number = head.number;
    let header = transaction.read::<Headers>(&number)?;
    let header = header.ok_or(Corruption::Missing { table: "Headers", number })?.header.state_root;
    if trie.root() != header {
        return Err(Corruption::StateRoot { number, header, tables: trie.root() }.into());
    }
    Ok(trie)
}

/// Whether an account of this code hash has code to look up.
const fn has_code(code_hash: &B256) -> bool {
    !matches!(code_hash, &KECCAK256_EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tables::Table;
    use executor::{RollupRules, genesis::GenesisL1};
    use std::collections::BTreeMap;

    fn genesis() -> Genesis {
        let account = executor::genesis::GenesisAccount {
            nonce: 1,
            storage: BTreeMap::from([(U256::from(1), U256::from(2))]),
            ..Default::default()
        };
        Genesis {
            rules: RollupRules::default(),
            timestamp: 1,
            alloc: BTreeMap::from([(Default::default(), account)]),
            l1: GenesisL1 {
                chain_id: 1,
                origin_number: 0,
                origin_hash: B256::ZERO,
                blob_schedule: BTreeMap::new(),
                inbox: Default::default(),
                outputs: Default::default(),
                portal: Default::default(),
            },
        }
    }

    /// Changes a fresh database behind the store's back and opens it again.
    fn open_after(damage: impl FnOnce(&KvWriter)) -> ChainStoreError {
        let directory = tempfile::tempdir().unwrap();
        let store = ChainStore::open(directory.path(), &genesis()).unwrap();
        let writer = store.0.kv.writer().unwrap();
        damage(&writer);
        writer.commit().unwrap();
        drop(store);
        ChainStore::open(directory.path(), &genesis()).unwrap_err()
    }

    fn hashed_address() -> B256 {
        alloy::primitives::keccak256(alloy::primitives::Address::ZERO)
    }

    #[test]
    fn a_newer_format_is_refused() {
        let error =
            open_after(|w| write_meta(w, MetaKey::Format, (FORMAT + 1).to_value()).unwrap());
        let found = FORMAT + 1;
        assert!(matches!(error, ChainStoreError::NewerFormat { found: f, .. } if f == found));
    }

    #[test]
    fn state_that_differs_from_the_header_is_corrupt() {
        let account = Account { nonce: 2, ..Account::default() };
        let error = open_after(|w| w.write::<HashedAccounts>(&hashed_address(), &account).unwrap());
        let ChainStoreError::Corrupt(Corruption::StateRoot { number: 0, header, tables }) = error
        else {
            panic!("{error}");
        };
        assert_ne!(header, tables);
        let slot = (hashed_address(), write::hashed_slot(U256::from(1)));
        let error = open_after(|w| assert!(w.remove::<HashedStorages>(&slot).unwrap()));
        assert!(matches!(error, ChainStoreError::Corrupt(Corruption::StateRoot { .. })));
    }

    #[test]
    fn foreign_rows_and_missing_rows_are_corrupt() {
        let error = open_after(|w| w.put(HashedAccounts::SPEC, &[0; 32], &[1, 2]).unwrap());
        let expected = Corruption::Row { table: "HashedAccounts" };
        assert!(matches!(error, ChainStoreError::Corrupt(found) if found == expected));
        let error = open_after(|w| assert!(w.remove::<Meta>(&MetaKey::Head).unwrap()));
        assert!(matches!(error, ChainStoreError::Corrupt(Corruption::Meta)), "{error}");
        let error = open_after(|w| assert!(w.remove::<Headers>(&0).unwrap()));
        let expected = Corruption::Missing { table: "Headers", number: 0 };
        assert!(matches!(error, ChainStoreError::Corrupt(found) if found == expected));
    }
}
