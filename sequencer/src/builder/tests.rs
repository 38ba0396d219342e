//! The builder over a real store and pool, with L1 standing still.

use super::*;
use crate::txpool::{AccountState, Config, DropReason};
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Bytes, Signature, TxKind, U256, bytes},
};
use batcher::l1::L1Block;
use executor::{
    SkipReason,
    counters::Strategy,
    genesis::{GenesisAccount, GenesisL1},
};
use std::collections::BTreeMap;

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

/// A builder and what it builds from.
struct Site {
    builder: Builder,
    pool: Arc<Mutex<Pool>>,
    _directory: tempfile::TempDir,
}

impl Site {
    fn new(gas_limit: u64, senders: u64) -> Self {
        let genesis = genesis(gas_limit, senders);
        let directory = tempfile::tempdir().unwrap();
        let store = ChainStore::open(directory.path(), &genesis).unwrap();
        let pool = Arc::new(Mutex::new(Pool::new(Config::default())));
        let l1 = L1Chain::new([L1Block { origin: origin(), deposits: Vec::new() }]);
        let config = BuilderConfig {
            // So long that a paused test still has time.
            block_time: Duration::from_secs(60),
            empty_blocks: EmptyBlocks::Always,
            l1_confirmations: 0,
        };
        let builder = Builder::new(config, &genesis, store, pool.clone(), Arc::new(l1));
        Self { builder, pool, _directory: directory }
    }

    /// Adds a transaction as if its sender could pay anything.
    fn add(&self, transaction: Transaction) -> B256 {
        let account = AccountState { nonce: 0, balance_wei: U256::MAX, is_contract: false };
        let mut pool = self.pool.lock().unwrap();
        pool.add(transaction, account, 1, Instant::now()).unwrap().hash
    }

    /// The next block, and the hashes of the users' transactions in it.
    fn build(&mut self) -> (ExecutedBlock, Vec<B256>) {
        let block = self.builder.build_next(NOW_SECS + 1).unwrap().unwrap();
        let users = block.transactions.iter().filter(|tx| tx.as_signed().is_some());
        let users = users.map(Transaction::hash).collect();
        (block, users)
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
    let (block, users) = site.build();
    assert_eq!(users, added, "each once, in their order");
    assert!(block.skipped.is_empty());
    assert!(site.pool.lock().unwrap().is_empty());
}

#[test]
fn one_that_does_not_fit_yet_is_placed_later_in_the_same_block() {
    let mut site = Site::new(2_000_000, 4);
    let [first, wide, after, last] = [
        transfer(sender(0), 0, 500_000, 1),
        transfer(sender(1), 0, 1_700_000, 1),
        transfer(sender(1), 1, 21_000, 1),
        transfer(sender(2), 0, 500_000, 1),
    ]
    .map(|transaction| site.add(transaction));
    let (_, users) = site.build();
    assert_eq!(users, [first, last, wide, after]);
}

#[test]
fn what_can_never_pass_is_dropped_and_what_needs_it_waits() {
    let mut site = Site::new(2_000_000, 2);
    let poor = site.add(transfer(sender(0), 0, 21_000, 2 * RICH_WEI));
    let behind = site.add(transfer(sender(0), 1, 21_000, 1));
    let other = site.add(transfer(sender(1), 0, 21_000, 1));
    let (block, users) = site.build();
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
    assert_eq!(site.build().1, [filler, behind]);
}

#[test]
fn helpers_are_called_for_a_block_of_calls_and_what_it_taught_stays() {
    const CALLERS: u64 = 600;
    let mut site = Site::new(2_200_000_000, CALLERS);
    for nonce in 0..2 {
        let calls = (0..CALLERS).map(|index| site.add(call(sender(index), nonce)));
        let added: Vec<_> = calls.collect();
        let (block, users) = site.build();
        assert_eq!(users, added);
        assert!(block.receipts.iter().all(|receipt| receipt.success));
        if std::thread::available_parallelism().unwrap().get() > 1 {
            assert_eq!(block.counters.strategy, Strategy::Parallel, "{:?}", block.counters);
            assert_eq!(site.builder.knowledge.functions(), 2, "of the contract, of its code");
        }
    }
}
