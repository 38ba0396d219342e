//! The chain and its state on disk: blocks, receipts, indexes, current state, history, and the
//! engine of its roots.
//!
//! Authoritative is the order log, which makes a block durable (`commit`), and behind it the file,
//! into which a thread folds many blocks at a time (`fold`). What the log has and the file has not is
//! in memory too (`recent`), so that readers see no seam; a start reads it back (`replay`). The
//! trie in memory (`roots`) follows from both and is checked against state roots when the store opens.
//! Does not execute, and does not decide which block comes next: it only insists that it follows the
//! head.

mod back;
mod batch;
mod cache;
pub mod check;
mod commit;
mod error;
mod fold;
mod follow;
mod foreseen;
mod kept;
mod open_block;
mod outputs;
mod preconfirm;
mod progress;
mod prune;
mod read;
mod reader;
mod recent;
mod replay;
mod rollback;
mod roots;
pub mod snapshot;
mod source;
mod view;
mod write;

pub use error::{ChainStoreError, Corruption};
pub use fold::{FoldLimits, Hurry};
pub use follow::{FollowError, Followed};
pub use kept::{FinalOutputs, Kept};
pub use open_block::{MiniBlock, OpenBlock, Unsealed};
pub use outputs::KeptOutput;
pub use preconfirm::ChainEvent;
pub use progress::{Progress, Report};
pub use prune::{Pruned, prune_directory};
pub use read::{StoredBlock, TransactionAt};
pub use reader::{ChainReader, ChainStat, LogTail, TableStat};
pub use roots::{PROOF_WINDOW_BLOCKS, TrieUsage};
pub use view::ChainView;

use super::{
    directory_lock::{DirectoryLock, DirectoryLockError},
    kv::{Access, Kv, KvSnapshot, KvTransaction, KvWriter},
    log::{DirectoryFiles, LogConfig, LogFiles, OrderLog, SEGMENT_BYTES_MAX},
    tables::{FORMAT, Headers, Key, Meta, MetaKey, TABLES, TableError, Value},
};
use alloy::primitives::{B256, Bytes, KECCAK256_EMPTY};
use batch::Batch;
use cache::StateCache;
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{
    Genesis,
    state::arena::{ArenaOptions, StateArena},
};
use fold::Folder;
use foreseen::Foresight;
use preconfirm::Preconfirmed;
use recent::Recent;
use replay::Replay;
use roots::Roots;
use source::Flat;
use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;
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

/// The order log's place in the chain directory.
const LOG_DIRECTORY: &str = "log";

/// The open chain store; cloning shares it. One per directory in the whole machine.
#[derive(Clone)]
pub struct ChainStore(Arc<Inner>, Arc<Folder>);

/// Bounds of the store, and the files below the order log.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// When and how much is folded.
    pub fold: FoldLimits,
    /// Size in bytes at which a segment of the order log is followed by the next.
    pub segment_bytes_max: u64,
    /// Segments of the order log that are kept beside the newest although the database has them: how
    /// far back those who follow the chain can go on after a pause.
    pub log_segments_kept: usize,
    /// The order log's files; by default a directory beside the database.
    pub log_files: Option<Arc<dyn LogFiles>>,
    /// Bytes of the resident state trie at most; what goes beyond is read back when it is needed. By
    /// default there is no bound.
    pub trie_bytes_max: Option<usize>,
}

impl Default for ChainOptions {
    fn default() -> Self {
        let fold = FoldLimits::default();
        Self {
            fold,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            log_segments_kept: 0,
            log_files: None,
            trie_bytes_max: None,
        }
    }
}

struct Inner {
    kv: Arc<Kv>,
    log: OrderLog,
    /// Blocks that the log has and the file has not.
    recent: Recent,
    /// Held by whoever adds or undoes blocks: they come one after another.
    writer: Mutex<()>,
    /// Held by whoever moves blocks into the file or out of it; taken after `writer`. The memory for
    /// the rows that go in.
    folding: Mutex<Batch>,
    /// Those who are in a hurry: the fold lets them go first.
    hurries: AtomicUsize,
    /// Set when the log has a rollback that the file could not follow: nothing is added any more.
    diverged: AtomicBool,
    roots: Arc<Roots>,
    foresight: Foresight,
    /// Counts views: the later one's hints are those that count.
    tickets: AtomicU64,
    cache: StateCache,
    codes: Codes,
    preconfirmed: Preconfirmed,
    log_segments_kept: usize,
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
        Self::open_with(directory, genesis, ChainOptions::default())
    }

    /// [`Self::open`] with other bounds or other files.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        directory: &Path,
        genesis: &Genesis,
        options: ChainOptions,
    ) -> Result<Self, ChainStoreError> {
        snapshot::refuse_unfinished(directory)?;
        reader::refuse_log_alone(directory)?;
        std::fs::create_dir_all(directory).map_err(ChainStoreError::Directory)?;
        let lock = lock(directory)?;
        let kv = Arc::new(Kv::open(directory, TABLES)?);
        let chain = initialise(&kv, genesis)?;
        let snapshot = kv.snapshot()?;
        let (head, position) = (read_head(&snapshot)?, read_position(&snapshot)?);
        let (arena, state_root) = read_arena(&kv, &snapshot, head)?;
        drop(snapshot);
        let files = match options.log_files {
            Some(files) => files,
            None => {
                let files = DirectoryFiles::new(&directory.join(LOG_DIRECTORY));
                Arc::new(files.map_err(ChainStoreError::Directory)?)
            }
        };
        let config = LogConfig { chain, segment_bytes_max: options.segment_bytes_max };
        let roots = Arc::new(Roots::new(head, arena, options.trie_bytes_max));
        let mut replay = Replay::new(&kv, &roots, (head, state_root));
        let log = OrderLog::open(files, config, position, |record| replay.record(record))?;
        let (layer, unsealed) = replay.finish();
        let version = layer.version;
        let (sender, _) = watch::channel(layer.head());
        let inner = Arc::new(Inner {
            kv,
            log,
            recent: Recent::new(layer),
            writer: Mutex::new(()),
            folding: Mutex::default(),
            hurries: AtomicUsize::new(0),
            diverged: AtomicBool::new(false),
            foresight: Foresight::start(&roots)?,
            roots,
            tickets: AtomicU64::new(1),
            cache: StateCache::new(version),
            codes: Codes::default(),
            preconfirmed: Preconfirmed::new(unsealed),
            log_segments_kept: options.log_segments_kept,
            head: sender,
            _lock: lock,
        });
        let folder = Folder::start(&inner, options.fold)?;
        Ok(Self(inner, Arc::new(folder)))
    }

    /// Sets for how many blocks, the head included, a proof can always be had.
    pub fn set_proof_window(&self, blocks: u64) {
        self.0.roots.set_proof_window(blocks);
    }

    /// How much the resident state trie holds.
    #[must_use]
    pub fn trie_usage(&self) -> TrieUsage {
        self.0.roots.usage()
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
}

impl Inner {
    fn check_not_diverged(&self) -> Result<(), ChainStoreError> {
        let diverged = self.diverged.load(Ordering::Acquire);
        if diverged { Err(ChainStoreError::Diverged) } else { Ok(()) }
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

/// Writes block 0 where there is nothing yet; otherwise checks whose directory it is. The hash of the
/// chain's configuration.
fn initialise(kv: &Kv, genesis: &Genesis) -> Result<B256, ChainStoreError> {
    let (state, header, hash) = genesis.build()?;
    let config_hash = genesis.config_hash(hash);
    let writer = kv.writer()?;
    let Some(format) = writer.read::<Meta>(&MetaKey::Format)? else {
        let diff = genesis.state_diff();
        let block = NewBlock {
            header: &header,
            hash,
            transactions: &[],
            receipts: &[],
            diff: &diff,
            message_passer_root: state.trie().storage_root(L2_TO_L1_MESSAGE_PASSER)?,
        };
        write::blocks(&writer, &mut Batch::default(), &[block], || {})?;
        write_meta(&writer, MetaKey::Format, FORMAT.to_value())?;
        write_meta(&writer, MetaKey::GenesisHash, hash.to_value())?;
        write_meta(&writer, MetaKey::ConfigHash, config_hash.to_value())?;
        writer.commit()?;
        return Ok(config_hash);
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
    if format.as_ref() != FORMAT.to_value() {
        // Format 1 has no order log. Its program must not open what has one: it would not see it.
        write_meta(&writer, MetaKey::Format, FORMAT.to_value())?;
        writer.commit()?;
    }
    Ok(config_hash)
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

/// Position of the last record of the order log that the file has; 0 before the first.
fn read_position<K: Access>(transaction: &KvTransaction<K>) -> Result<u64, ChainStoreError> {
    let Some(bytes) = transaction.read::<Meta>(&MetaKey::LogPosition)? else { return Ok(0) };
    Ok(u64::from_value(&bytes).ok_or(Corruption::Meta)?)
}

fn write_position(writer: &KvWriter, position: u64) -> Result<(), TableError> {
    write_meta(writer, MetaKey::LogPosition, position.to_value())
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

/// Builds the arena from the state tables and compares its root with the head's header.
fn read_arena(
    kv: &Arc<Kv>,
    snapshot: &KvSnapshot,
    head: Head,
) -> Result<(StateArena, B256), ChainStoreError> {
    let source = Box::new(Flat(kv.clone()));
    let arena = StateArena::from_source(ArenaOptions::default(), source).map_err(source::error)?;
    let number = head.number;
    let header = snapshot.read::<Headers>(&number)?;
    let header = header.ok_or(Corruption::Missing { table: "Headers", number })?.header.state_root;
    if arena.root() != header {
        return Err(Corruption::StateRoot { number, header, tables: arena.root() }.into());
    }
    Ok((arena, header))
}

/// Whether an account of this code hash has code to look up.
const fn has_code(code_hash: &B256) -> bool {
    !matches!(code_hash, &KECCAK256_EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tables::{HashedAccounts, HashedStorages, Table};
    use alloy::primitives::U256;
    use executor::Account;
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
