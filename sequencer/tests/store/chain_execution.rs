//! Blocks executed on views of the store: whatever threads read a view, the block is the same.

use crate::chain_model::genesis;
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Address, B256, Bytes, Signature, TxKind, U256, bytes},
};
use executor::{
    BlockInput, ExecutedBlock, Genesis, Knowledge, L1Origin, Mode, Options, Transaction,
    counters::Strategy, execute_with, genesis::GenesisAccount,
};
use sequencer::store::ChainStore;
use std::num::NonZeroUsize;

const CALLERS: u64 = 400;
const CALLS_EACH: u64 = 2;
/// For each call: logs the sum of its slot 0 and the caller's balance, and counts in a slot of the
/// caller's.
const LEDGER_CODE: Bytes = bytes!("6000543331015f523354600101335560205fa000");
const LEDGERS: u64 = 8;

fn caller(index: u64) -> Address {
    Address::from_word(U256::from(0x1_0000 + index).into())
}

fn ledger(index: u64) -> Address {
    Address::from_word(U256::from(0x2_0000 + index).into())
}

fn peopled() -> Genesis {
    let mut genesis = genesis();
    let balance = U256::from(10_u128.pow(20));
    let rich = |index| (caller(index), GenesisAccount { balance, ..GenesisAccount::default() });
    genesis.alloc.extend((0..CALLERS).map(rich));
    let contract = |index| {
        let storage = [(U256::ZERO, U256::from(index))].into();
        (
            ledger(index),
            GenesisAccount { nonce: 1, code: LEDGER_CODE, storage, ..Default::default() },
        )
    };
    genesis.alloc.extend((0..LEDGERS).map(contract));
    genesis
}

/// Calls by everybody, in rounds; every seventh goes to one ledger that all of them share.
fn calls(genesis: &Genesis, round: u64) -> Vec<Transaction> {
    let call = |at: u64| {
        let (index, nonce) = (at % CALLERS, round * CALLS_EACH + at / CALLERS);
        let to = if at.is_multiple_of(7) { ledger(0) } else { ledger(index % LEDGERS) };
        let unsigned = TxEip1559 {
            chain_id: genesis.rules.chain_id,
            nonce,
            gas_limit: 100_000,
            max_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(to),
            input: Bytes::from_static(&[1, 2, 3, 4]),
            ..TxEip1559::default()
        };
        // Execution trusts the sender that admission recovered.
        let from = caller(index);
        let signature = Signature::new(U256::from_be_slice(from.as_slice()), U256::ONE, false);
        Transaction::from_signed(unsigned.into_signed(signature).into(), from)
    };
    (0..CALLERS * CALLS_EACH).map(call).collect()
}

fn assert_same(one: &ExecutedBlock, other: &ExecutedBlock) {
    assert_eq!(one.header, other.header);
    assert_eq!(one.hash, other.hash);
    assert_eq!(one.receipts, other.receipts);
    assert_eq!(one.diff, other.diff);
    assert!(one.skipped.is_empty() && other.skipped.is_empty());
}

#[test]
fn threads_that_share_a_view_give_the_block_of_one_thread() {
    let genesis = peopled();
    let rules = genesis.chain_rules();
    let directory = tempfile::tempdir().unwrap();
    let store = ChainStore::open(directory.path(), &genesis).unwrap();
    let knowledge = Knowledge::default();
    let origin = L1Origin {
        number: genesis.l1.origin_number,
        hash: genesis.l1.origin_hash,
        parent_hash: B256::ZERO,
        timestamp: genesis.timestamp,
        base_fee_wei: 1,
        blob_base_fee_wei: 1,
        prevrandao: B256::repeat_byte(0x22),
    };
    // The second block meets rows that a commit wrote, and what the first one taught.
    for round in 0..2 {
        let (parent, hash) = store.header(round).unwrap().unwrap();
        let timestamp = parent.timestamp + 1;
        let input =
            BlockInput::rollup(&rules, (&parent, hash), (&origin, round), timestamp, Vec::new())
                .with_transactions(calls(&genesis, round));
        let view = store.view().unwrap();
        let one = execute_with(&view, &input, Mode::Sequential.into()).unwrap();
        assert!(one.receipts.iter().all(|receipt| receipt.success));
        let workers = NonZeroUsize::new(4).unwrap();
        let options = Options { mode: Mode::Parallel { workers }, knowledge: Some(&knowledge) };
        let four = execute_with(&view, &input, options).unwrap();
        assert_eq!((four.counters.strategy, four.counters.workers), (Strategy::Parallel, 4));
        assert_same(&one, &four);
        let options = Options { mode: Mode::Automatic, knowledge: Some(&knowledge) };
        assert_same(&one, &execute_with(&view, &input, options).unwrap());
        println!("block {}: {:?}", round + 1, four.counters);
        store.commit(&four).unwrap();
    }
}
