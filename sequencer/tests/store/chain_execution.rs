//! Blocks executed on views of the store: whatever threads read a view, the block is the same, and
//! what it read can be had again later.

use crate::chain_model::genesis;
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Address, B256, Bytes, Signature, TxKind, U256, bytes},
};
use executor::{
    BlockEnv, BlockInput, ExecutedBlock, ExecutionWitness, Genesis, Header, Knowledge, L1Origin,
    Mode, Options, Transaction, counters::Strategy, execute, execute_with, genesis::GenesisAccount,
};
use sequencer::{
    node::NodeChain,
    rpc::{RpcContext, RpcOptions, serve},
    store::ChainStore,
    txpool::{self, Pool},
};
use serde_json::{Value, json};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};

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

/// The block after number `round`, which is the head.
fn input(genesis: &Genesis, store: &ChainStore, round: u64) -> BlockInput {
    let origin = L1Origin {
        number: genesis.l1.origin_number,
        hash: genesis.l1.origin_hash,
        parent_hash: B256::ZERO,
        timestamp: genesis.timestamp,
        base_fee_wei: 1,
        blob_base_fee_wei: 1,
        prevrandao: B256::repeat_byte(0x22),
    };
    let (parent, hash) = store.header(round).unwrap().unwrap();
    let (rules, timestamp) = (genesis.chain_rules(), parent.timestamp + 1);
    let input =
        BlockInput::rollup(&rules, (&parent, hash), (&origin, round), timestamp, Vec::new());
    input.with_transactions(calls(genesis, round))
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
    let directory = tempfile::tempdir().unwrap();
    let store = ChainStore::open(directory.path(), &genesis).unwrap();
    let knowledge = Knowledge::default();
    // The second block meets rows that a commit wrote, and what the first one taught.
    for round in 0..2 {
        let input = input(&genesis, &store, round);
        let view = store.view().unwrap();
        let one = execute_with(&view, &input, Mode::Sequential.into()).unwrap();
        assert!(one.receipts.iter().all(|receipt| receipt.success));
        let workers = NonZeroUsize::new(4).unwrap();
        let options = Options {
            mode: Mode::Parallel { workers },
            knowledge: Some(&knowledge),
            ..Options::default()
        };
        let four = execute_with(&view, &input, options).unwrap();
        assert_eq!((four.counters.strategy, four.counters.workers), (Strategy::Parallel, 4));
        assert_same(&one, &four);
        let options = Options { knowledge: Some(&knowledge), ..Options::default() };
        assert_same(&one, &execute_with(&view, &input, options).unwrap());
        println!("block {}: {:?}", round + 1, four.counters);
        store.commit(&four).unwrap();
    }
}

#[tokio::test]
async fn witnesses_of_old_blocks_come_from_tries_rebuilt_after_a_restart() {
    const BLOCKS: u64 = 3;
    let genesis = peopled();
    let directory = tempfile::tempdir().unwrap();
    let store = ChainStore::open(directory.path(), &genesis).unwrap();
    for round in 0..BLOCKS {
        let input = input(&genesis, &store, round);
        let block = execute(&store.view().unwrap(), &input, Mode::Automatic).unwrap();
        store.commit(&block).unwrap();
    }
    store.fold_all().unwrap();
    drop(store);
    let store = ChainStore::open(directory.path(), &genesis).unwrap();

    let (_l1, heads) = watch::channel(batcher::tracker::Heads::default());
    let chain = NodeChain::new(&genesis, store.clone(), heads, Duration::from_secs(1));
    let pool = Arc::new(Mutex::new(Pool::new(txpool::Config::default())));
    let context = Arc::new(RpcContext::new(chain, pool, RpcOptions::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let _server = tokio::spawn(serve(listener, context, std::future::pending()));
    for number in 1..=BLOCKS {
        let (method, params) = ("debug_executionWitness", json!([format!("{number:#x}")]));
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = reqwest::Client::new().post(&url).body(body.to_string()).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        let witness: ExecutionWitness = serde_json::from_value(answer["result"].take()).unwrap();
        let state = witness.to_state().unwrap();
        let block = store.block(number).unwrap().unwrap();
        let Header { mix_hash, timestamp, .. } = block.header;
        let rules = genesis.chain_rules();
        let env = BlockEnv::rollup(&rules, state.parent(), mix_hash, timestamp);
        let input = BlockInput { rules, env, transactions: block.transactions };
        assert_eq!(execute(&state, &input, Mode::Sequential).unwrap().hash, block.hash);
    }
}
