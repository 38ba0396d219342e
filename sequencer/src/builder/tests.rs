//! The builder over a real store and pool, with L1 standing still.

mod pressure;

use super::*;
use crate::{
    store::{
        chain::{ChainOptions, StoredBlock},
        log::{DirectoryFiles, LogFile, LogFiles},
    },
    txpool::{
        AccountState, Conditions, Config, DropReason, KnownAccount, Place, Submission, Terms, Unmet,
    },
};
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Address, Bytes, Signature, TxKind, U256, bytes},
};
use batcher::l1::L1Block;
use executor::{
    SkipReason,
    counters::Strategy,
    genesis::{GenesisAccount, GenesisL1},
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

const NOW_SECS: u64 = 1_700_000_000;
const RICH_WEI: u128 = 10_u128.pow(18);
/// Counts each caller's calls in a slot of the caller's own.
const COUNTER: Address = Address::repeat_byte(0xcc);
const COUNTER_CODE: Bytes = bytes!("3354600101335500");

/// Sender `index`, who is rich from genesis on.
fn sender(index: u64) -> Address {
    Address::from_word(U256::from(0x1000 + index).into())
}

fn origin() -> L1Origin {
    L1Origin {
        number: 1,
        hash: B256::repeat_byte(0x11),
        parent_hash: B256::ZERO,
        timestamp: NOW_SECS,
        base_fee_wei: 1,
        blob_base_fee_wei: 1,
        prevrandao: B256::repeat_byte(0x22),
    }
}

fn genesis(gas_limit: u64, senders: u64) -> Genesis {
    let balance = U256::from(RICH_WEI);
    let rich = |index| (sender(index), GenesisAccount { balance, ..GenesisAccount::default() });
    let mut alloc: BTreeMap<_, _> = (0..senders).map(rich).collect();
    let counter = GenesisAccount { nonce: 1, code: COUNTER_CODE, ..GenesisAccount::default() };
    alloc.insert(COUNTER, counter);
    Genesis {
        rules: RollupRules { gas_limit, ..RollupRules::default() },
        timestamp: NOW_SECS,
        alloc,
        l1: GenesisL1 {
            chain_id: 1,
            origin_number: 1,
            origin_hash: origin().hash,
            blob_schedule: BTreeMap::new(),
            inbox: Address::ZERO,
            outputs: Address::ZERO,
            portal: Address::ZERO,
        },
    }
}

/// Never waits.
struct Impatient;

impl Pulse for Impatient {
    fn wait(&mut self, _until: Instant) -> Wake {
        Wake::Time
    }
}

/// A builder and what it builds from.
struct Site {
    builder: Builder,
    pool: Arc<Mutex<Pool>>,
    _directory: tempfile::TempDir,
}

impl Site {
    fn new(gas_limit: u64, senders: u64) -> Self {
        Self::on_disk(gas_limit, senders, |_| ChainOptions::default())
    }

    /// With other options for the store in this directory.
    fn on_disk(gas_limit: u64, senders: u64, options: impl FnOnce(&Path) -> ChainOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path());
        Self::open(gas_limit, senders, directory, options)
    }

    /// On what another site has left.
    fn reopen(gas_limit: u64, senders: u64, directory: tempfile::TempDir) -> Self {
        Self::open(gas_limit, senders, directory, ChainOptions::default())
    }

    fn open(
        gas_limit: u64,
        senders: u64,
        directory: tempfile::TempDir,
        options: ChainOptions,
    ) -> Self {
        let genesis = genesis(gas_limit, senders);
        let store = ChainStore::open_with(directory.path(), &genesis, options).unwrap();
        let pool = Arc::new(Mutex::new(Pool::new(Config::default())));
        let l1 = L1Chain::new([L1Block { origin: origin(), deposits: Vec::new() }]);
        let config = BuilderConfig {
            // So long that a paused test still has time.
            block_time: Duration::from_secs(60),
            mini_block_interval: Duration::ZERO,
            empty_blocks: EmptyBlocks::Always,
            l1_confirmations: 0,
            pressure: Gauge::default(),
        };
        let builder = Builder::new(config, &genesis, store, pool.clone(), Arc::new(l1));
        Self { builder, pool, _directory: directory }
    }

    /// Adds a transaction as if its sender could pay anything.
    fn add(&self, transaction: impl Into<Submission>) -> B256 {
        let account = AccountState { balance_wei: U256::MAX, ..AccountState::default() };
        let mut pool = self.pool.lock().unwrap();
        pool.add(transaction, account, 1, Instant::now()).unwrap().hash
    }

    /// Builds with what the pool has, without waiting for more.
    fn try_build(&mut self) -> Result<Option<Sealed>, BuildError> {
        let slot_end = Instant::now() + self.builder.config.block_time;
        self.builder.build_next(NOW_SECS + 1, slot_end, &mut Impatient)
    }

    /// The next block, what the store has of it, and the hashes of the users' transactions in it.
    fn build(&mut self) -> (Sealed, StoredBlock, Vec<B256>) {
        let sealed = self.try_build().unwrap().unwrap();
        let block = self.builder.store.block(sealed.header.number).unwrap().unwrap();
        let users = block.transactions.iter().filter(|tx| tx.as_signed().is_some());
        let users = users.map(Transaction::hash).collect();
        (sealed, block, users)
    }
}

/// A transaction with a made-up signature: the builder trusts the sender that admission recovered.
fn signed(from: Address, unsigned: TxEip1559) -> Transaction {
    let signature = Signature::new(U256::from_be_slice(from.as_slice()), U256::ONE, false);
    Transaction::from_signed(unsigned.into_signed(signature).into(), from)
}

fn transfer(from: Address, nonce: u64, gas_limit: u64, value: u128) -> Transaction {
    let unsigned = TxEip1559 {
        chain_id: RollupRules::default().chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(0xbb)),
        value: U256::from(value),
        ..TxEip1559::default()
    };
    signed(from, unsigned)
}

fn call(from: Address, nonce: u64) -> Transaction {
    let unsigned = TxEip1559 {
        chain_id: RollupRules::default().chain_id,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(COUNTER),
        input: Bytes::from_static(&[1, 2, 3, 4]),
        ..TxEip1559::default()
    };
    signed(from, unsigned)
}

#[test]
fn a_block_is_filled_by_the_gas_used_not_by_the_limits() {
    // Three of the limits fit at once, and all twenty transfers in what they use.
    let mut site = Site::new(2_000_000, 20);
    let wide = (0..20).map(|index| site.add(transfer(sender(index), 0, 500_000, 1)));
    let added: Vec<_> = wide.collect();
    let (block, _, users) = site.build();
    assert_eq!(users, added, "each once, in their order");
    assert!(block.skipped.is_empty());
    assert!(site.pool.lock().unwrap().is_empty());
}

#[test]
fn one_that_fits_once_those_before_it_used_less_keeps_its_place() {
    let mut site = Site::new(2_000_000, 4);
    let [first, wide, after, last] = [
        transfer(sender(0), 0, 500_000, 1),
        transfer(sender(1), 0, 1_700_000, 1),
        transfer(sender(1), 1, 21_000, 1),
        transfer(sender(2), 0, 500_000, 1),
    ]
    .map(|transaction| site.add(transaction));
    let (_, _, users) = site.build();
    assert_eq!(users, [first, wide, after, last]);
}

#[test]
fn what_can_never_pass_is_dropped_and_what_needs_it_waits() {
    let mut site = Site::new(2_000_000, 2);
    let poor = site.add(transfer(sender(0), 0, 21_000, 2 * RICH_WEI));
    let behind = site.add(transfer(sender(0), 1, 21_000, 1));
    let other = site.add(transfer(sender(1), 0, 21_000, 1));
    let (block, _, users) = site.build();
    assert_eq!(users, [other]);
    let skipped: Vec<_> =
        block.skipped.iter().map(|it| (it.transaction.hash(), &it.reason)).collect();
    let [(first, SkipReason::InsufficientFunds { .. }), (second, SkipReason::NonceTooHigh { .. })] =
        skipped[..]
    else {
        panic!("{skipped:?}")
    };
    assert_eq!([first, second], [poor, behind]);
    let pool = site.pool.lock().unwrap();
    let dropped = pool.dropped(&poor).unwrap();
    assert!(matches!(dropped.reason, DropReason::Skipped(SkipReason::InsufficientFunds { .. })));
    assert!(pool.get(&behind).is_some());
    drop(pool);
    // The gap is filled: both go.
    let filler = site.add(transfer(sender(0), 0, 21_000, 1));
    assert_eq!(site.build().2, [filler, behind]);
}

#[test]
fn helpers_are_called_for_a_block_of_calls_and_what_it_taught_stays() {
    const CALLERS: u64 = 2_000;
    let mut site = Site::new(2_200_000_000, CALLERS);
    for nonce in 0..2 {
        let calls = (0..CALLERS).map(|index| site.add(call(sender(index), nonce)));
        let added: Vec<_> = calls.collect();
        let (sealed, block, users) = site.build();
        assert_eq!(users, added);
        assert!(block.receipts.iter().all(|receipt| receipt.success));
        if std::thread::available_parallelism().unwrap().get() > 1 {
            assert_eq!(sealed.counters.strategy, Strategy::Parallel, "{:?}", sealed.counters);
            assert_eq!(site.builder.knowledge.functions(), 2, "of the contract, of its code");
        }
    }
}

/// Real files on a disk that can be full.
#[derive(Debug)]
struct SmallDisk {
    real: DirectoryFiles,
    full: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct SmallFile {
    real: Box<dyn LogFile>,
    full: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

impl SmallDisk {
    fn file(&self, real: Box<dyn LogFile>) -> Box<dyn LogFile> {
        let (full, refused) = (self.full.clone(), self.refused.clone());
        Box::new(SmallFile { real, full, refused })
    }
}

impl LogFiles for SmallDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(self.file(self.real.create(name)?))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(self.file(self.real.open(name)?))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.real.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.real.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.real.sync_directory()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.real.path(name)
    }
}

impl LogFile for SmallFile {
    fn length(&self) -> io::Result<u64> {
        self.real.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.real.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.full.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.real.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.real.sync_data()
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.real.truncate(length)
    }
}

#[test]
fn a_full_disk_stops_sealing_and_what_was_offered_is_sealed_when_there_is_room() {
    let (full, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut site = Site::on_disk(30_000_000, 2, |directory| {
        let real = DirectoryFiles::new(&directory.join("log")).unwrap();
        let disk = SmallDisk { real, full: full.clone(), refused: refused.clone() };
        ChainOptions { log_files: Some(Arc::new(disk)), ..ChainOptions::default() }
    });
    let first = site.add(transfer(sender(0), 0, 21_000, 1));
    assert_eq!(site.build().2, [first]);
    let second = site.add(transfer(sender(1), 0, 21_000, 1));
    full.store(true, Ordering::Relaxed);
    for attempt in 1..=3 {
        let error = site.try_build().unwrap_err();
        assert!(error.to_string().starts_with("the disk is full: cannot write"), "{error}");
        assert_eq!(site.builder.store.head().number, 1);
        assert_eq!(site.pool.lock().unwrap().counts().ready, 1);
        assert_eq!(refused.load(Ordering::Relaxed), attempt);
    }
    full.store(false, Ordering::Relaxed);
    let (block, _, users) = site.build();
    assert_eq!((block.header.number, users), (2, vec![second]));
    assert!(site.pool.lock().unwrap().is_empty());
}

/// Gives the builder something each time it waits, then lets the time come.
struct Script<'s>(Vec<Box<dyn FnOnce() + 's>>);

impl Pulse for Script<'_> {
    fn wait(&mut self, _until: Instant) -> Wake {
        if self.0.is_empty() {
            return Wake::Time;
        }
        self.0.remove(0)();
        Wake::Transactions
    }
}

#[test]
fn what_comes_while_a_block_is_open_is_executed_and_acknowledged_at_once() {
    let mut site = Site::new(30_000_000, 3);
    let store = site.builder.store.clone();
    let pool = site.pool.clone();
    let account = AccountState { balance_wei: U256::MAX, ..AccountState::default() };
    let add = |index| {
        let (pool, store) = (pool.clone(), store.clone());
        move || {
            let open = store.open_block().unwrap();
            let expected = if index == 0 { 0 } else { usize::try_from(index).unwrap() + 1 };
            assert_eq!(open.len(), expected, "with the attributes");
            assert!(pool.lock().unwrap().is_empty(), "what is executed has left the pool");
            let transaction = transfer(sender(index), 0, 21_000, 1);
            pool.lock().unwrap().add(transaction, account, 1, Instant::now()).unwrap();
        }
    };
    let mut script = Script(vec![Box::new(add(0)), Box::new(add(1)), Box::new(add(2))]);
    let end = Instant::now() + Duration::from_secs(60);
    let sealed = site.builder.build_next(NOW_SECS + 1, end, &mut script).unwrap().unwrap();
    assert_eq!((sealed.transactions, store.head().number), (3, 1));
    assert!(store.open_block().is_none());
}

/// Counts the waits, each of which lets the time come.
struct Counted(usize);

impl Pulse for Counted {
    fn wait(&mut self, _until: Instant) -> Wake {
        self.0 += 1;
        Wake::Time
    }
}

#[test]
fn what_no_block_can_take_is_waited_beside_not_asked_for_again_and_again() {
    let mut site = Site::new(30_000_000, 1);
    // Ready in the pool, and below the base fee.
    let cheap = TxEip1559 {
        chain_id: RollupRules::default().chain_id,
        gas_limit: 21_000,
        max_fee_per_gas: 1,
        to: TxKind::Call(COUNTER),
        ..TxEip1559::default()
    };
    site.add(signed(sender(0), cheap));
    let mut waits = Counted(0);
    let slot_end = Instant::now() + Duration::from_secs(60);
    let sealed = site.builder.build_next(NOW_SECS + 1, slot_end, &mut waits).unwrap().unwrap();
    assert_eq!((sealed.transactions, waits.0), (0, 1));
    assert_eq!(site.pool.lock().unwrap().counts().ready, 1);
}

#[test]
fn a_block_that_was_begun_is_finished_by_the_next_start() {
    let (full, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut site = Site::on_disk(30_000_000, 3, |directory| {
        let real = DirectoryFiles::new(&directory.join("log")).unwrap();
        let disk = SmallDisk { real, full: full.clone(), refused: refused.clone() };
        ChainOptions { log_files: Some(Arc::new(disk)), ..ChainOptions::default() }
    });
    let promised = [site.add(call(sender(0), 0)), site.add(transfer(sender(1), 0, 21_000, 7))];
    // Both are executed and durable; then the disk is full, and the block cannot be sealed.
    let fill = full.clone();
    let mut script = Script(vec![Box::new(move || fill.store(true, Ordering::Relaxed))]);
    let end = Instant::now() + Duration::from_secs(60);
    let error = site.builder.build_next(NOW_SECS + 1, end, &mut script).unwrap_err();
    assert!(error.to_string().starts_with("the disk is full"), "{error}");
    let open = site.builder.store.open_block().unwrap();
    let said: Vec<_> = open.mini_blocks().iter().flat_map(|part| part.receipts.clone()).collect();
    drop(open);
    // The process ends, and another one starts, a second later and with an empty pool.
    full.store(false, Ordering::Relaxed);
    let Site { builder, _directory: directory, .. } = site;
    drop(builder);
    let mut site = Site::reopen(30_000_000, 3, directory);
    let late = site.add(transfer(sender(2), 0, 21_000, 1));
    let slot_end = Instant::now() + Duration::from_secs(60);
    let sealed = site.builder.build_next(NOW_SECS + 9, slot_end, &mut Impatient).unwrap().unwrap();
    assert_eq!(sealed.header.timestamp, NOW_SECS + 1, "the environment that was said");
    let block = site.builder.store.block(1).unwrap().unwrap();
    let hashes: Vec<_> = block.transactions.iter().skip(1).map(Transaction::hash).collect();
    assert_eq!(hashes, [promised[0], promised[1], late]);
    assert_eq!(block.receipts[..said.len()], said);
    assert!(site.builder.store.unsealed().is_none());
}

/// A call of sender `from` under the condition that [`COUNTER`] is as known.
fn knowing(from: u64, known: KnownAccount) -> Submission {
    let known_accounts = BTreeMap::from([(COUNTER, known)]);
    let conditions = Conditions { known_accounts, ..Conditions::default() };
    let terms = Terms { conditions: Some(conditions), ..Terms::default() };
    Submission { terms: Some(Arc::new(terms)), ..call(sender(from), 0).into() }
}

/// How often sender `of` has called the counter.
fn count(of: u64, count: u64) -> KnownAccount {
    let slot = U256::from_be_slice(sender(of).as_slice());
    KnownAccount::Slots(BTreeMap::from([(slot, U256::from(count))]))
}

#[test]
fn conditions_hold_right_before_the_transaction_or_it_is_dropped() {
    let mut site = Site::new(30_000_000, 8);
    let root = KnownAccount::StorageRoot(alloy::consensus::EMPTY_ROOT_HASH);
    let in_time = site.add(knowing(4, root.clone()));
    let first = site.add(call(sender(0), 0));
    let late = site.add(knowing(1, count(0, 0)));
    let right = site.add(knowing(2, count(0, 1)));
    let changed = site.add(knowing(5, root));
    let behind = site.add(call(sender(1), 1));
    let last = site.add(call(sender(3), 0));
    let (block, _, users) = site.build();
    assert_eq!(users, [in_time, first, right, last]);
    assert!(block.skipped.iter().all(|skipped| skipped.transaction.hash() == behind));
    let pool = site.pool.lock().unwrap();
    let unmet = |hash| match pool.dropped(&hash).unwrap().reason {
        DropReason::Conditional(unmet) => unmet,
        other => panic!("{other:?}"),
    };
    assert!(matches!(unmet(late), Unmet::Slot { found, .. } if found == U256::ONE));
    assert!(matches!(unmet(changed), Unmet::StorageRoot { found: None, .. }));
    let place = |hash| pool.explain(&hash, 1, Instant::now(), &|_| U256::ZERO).place;
    assert_eq!(place(right), Place::Ordered { block_number: 1 });
    assert_eq!(place(behind), Place::NonceGap { missing: 0 });
}

#[test]
fn the_bounds_of_conditions_are_those_of_the_block_that_includes() {
    let mut site = Site::new(30_000_000, 3);
    let bounded = |from, conditions| {
        let terms = Terms { conditions: Some(conditions), ..Terms::default() };
        Submission { terms: Some(Arc::new(terms)), ..call(sender(from), 0).into() }
    };
    let until = |timestamp| Conditions { timestamp_max: Some(timestamp), ..Conditions::default() };
    // Blocks are built a second after genesis.
    let expired = site.add(bounded(0, until(NOW_SECS)));
    let in_time = site.add(bounded(1, until(NOW_SECS + 1)));
    assert_eq!(site.build().2, [in_time]);
    let reason = DropReason::Conditional(Unmet::TimestampMax);
    assert_eq!(site.pool.lock().unwrap().dropped(&expired).unwrap().reason, reason);
}

#[test]
fn a_root_of_the_state_before_is_known_in_a_later_block() {
    let mut site = Site::new(30_000_000, 3);
    site.add(call(sender(0), 0));
    site.build();
    let view = site.builder.store.view().unwrap();
    let root = crate::txpool::KnownState::storage_root(&mut &view, COUNTER).unwrap().unwrap();
    assert_ne!(root, alloy::consensus::EMPTY_ROOT_HASH);
    drop(view);
    let known = site.add(knowing(1, KnownAccount::StorageRoot(root)));
    let stale = KnownAccount::StorageRoot(alloy::consensus::EMPTY_ROOT_HASH);
    let stale = site.add(knowing(2, stale));
    assert_eq!(site.build().2, [known]);
    assert!(site.pool.lock().unwrap().dropped(&stale).is_some());
}
